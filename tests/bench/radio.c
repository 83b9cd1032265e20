/*
 * What a radio has to carry in an hour: connected all the time, and with `neap run --every 5m`.
 * Each is put together from what was measured of its parts: nobody waits for hours.
 */
#include <string.h>
#include <unistd.h>

#include "tests/bench/proxy.h"
#include "tests/bench/stack.h"
#include "tests/bench/workload.h"

enum {
	HOUR_S = 3600,
	IDLE_S = 125,		/* two pings of the MQTT client */
	WAKE_S = 285,		/* 5 minutes, up to a tenth less */
	ASK_S = 675,		/* a device that hears nothing asks after 7.5 to 15 minutes */
	SETTLE_US = 100 * 1000, /* nothing more comes of what was said */
};

static struct device d;
static struct w1 w;

static bool small(void)
{
	return bench_options.rows < 10000;
}

/* The count once nothing was said for a moment. */
static struct proxy_count settled(void)
{
	struct proxy_count now = proxy_count(), before;

	do {
		before = now;
		usleep(SETTLE_US);
		now = proxy_count();
	} while (now.records > before.records);
	return now;
}

static void put(const char *bytes, const char *messages, const struct proxy_count *sum)
{
	bench_sample(bytes, sum->up + sum->down);
	bench_sample(messages, sum->records);
}

/* Adds what came since `before`, `times`. */
static void add(struct proxy_count *sum, const struct proxy_count *before, double times)
{
	struct proxy_count now = settled();

	sum->up += (now.up - before->up) * times;
	sum->down += (now.down - before->down) * times;
	sum->records += (now.records - before->records) * times;
}

static void connected(unsigned r)
{
	const unsigned idle_s = small() ? 1 : IDLE_S, rows = small() ? 5 : 50;
	struct proxy_count idle = {0}, busy = {0}, before;

	device_start(&d);
	device_w1(&d, &w, 1, 1, false); /* the first of a table says more */
	device_acked(&d);
	before = settled();
	if (!r) {
		sleep(idle_s);
		add(&idle, &before, (double)HOUR_S / idle_s);
		before = settled();
		device_sync(&d);
		add(&idle, &before, (double)HOUR_S / ASK_S);
		put("radio_idle_bytes_hour", "radio_idle_messages_hour", &idle);
		before = settled();
	}
	for (unsigned i = 0; i < rows; i++) {
		device_w1(&d, &w, 1, 1, false);
		device_acked(&d);
		usleep(small() ? 1000 : 100000);
	}
	add(&busy, &before, (double)HOUR_S / rows);
	put("radio_busy_bytes_hour", "radio_busy_messages_hour", &busy);
	device_stop(&d);
}

static void await_sleep(void)
{
	struct neap_status s = {.size = sizeof s};
	double began = bench_now();

	do {
		if (neap_status(d.handle, &s))
			bench_die("%s: %s", d.path, neap_error(d.handle));
		if (bench_now() - began > 60)
			bench_die("%s does not go to sleep: %s", d.path, s.state);
		usleep(1000);
	} while (strcmp(s.state, "asleep") != 0);
}

static void wake_up(const char *bytes, const char *messages)
{
	struct proxy_count sum = {0}, before = settled();

	device_sync(&d); /* as when the time has come */
	await_sleep();
	add(&sum, &before, (double)HOUR_S / WAKE_S);
	put(bytes, messages, &sum);
}

static void now_and_then(void)
{
	device_start_every(&d, "1h");
	await_sleep();
	wake_up("radio_5m_idle_bytes_hour", "radio_5m_idle_messages_hour");
	for (unsigned i = 0; i < WAKE_S; i++)
		device_w1(&d, &w, 1, 1, false);
	wake_up("radio_5m_busy_bytes_hour", "radio_5m_busy_messages_hour");
	device_stop(&d);
}

static void repeat(unsigned r)
{
	stack_start();
	stack_user("bench");
	device_make(&d, "bench", "a", w1_table_sql, false);
	device_through(&d, proxy_start(stack_port()));
	w1_begin(&w, r + 1);
	connected(r);
	now_and_then();
	device_free(&d);
	stack_stop();
}

static const char *const keys[] = {
	"radio_idle_bytes_hour",    "radio_idle_messages_hour",	   "radio_busy_bytes_hour",
	"radio_busy_messages_hour", "radio_5m_idle_bytes_hour",	   "radio_5m_idle_messages_hour",
	"radio_5m_busy_bytes_hour", "radio_5m_busy_messages_hour", NULL};
const struct bench_part bench_radio = {"radio", keys, NULL, repeat, NULL};
