/* Many devices: back after the broker was killed, and many users at once. */
#include "tests/bench/bare.h"
#include "tests/bench/crowd.h"

enum { USERS = 5 };

static struct crowd all, alone;

static void fleet_begin(void)
{
	size_t n = bench_options.devices;

	stack_start();
	crowd_open();
	crowd_begin(&all, "fleet", n, n < USERS ? n : USERS, bench_options.repeats);
}

/* neapd's processor time: what it does for itself after a broker's restart is not in it. */
static void fleet_repeat(unsigned r)
{
	double bare, storm, cpu;

	(void)r;
	crowd_lose_broker(&all);
	/* While the fleet is away: the broker has no more connections than the fleet's. */
	bare = bare_connects(stack_port(), all.fleet.tls, all.n);
	storm = crowd_come_back(&all, 1);
	crowd_lose_broker(&all);
	cpu = process_cpu_s(stack_backend());
	crowd_come_back(&all, 0);
	cpu = process_cpu_s(stack_backend()) - cpu;
	bench_sample("storm_seconds", storm);
	bench_sample("bare_connects_seconds", bare);
	bench_sample("storm_10k_s", storm / bare);
	bench_sample("idle_reconnect_backend_us", cpu * 1e6 / (double)all.n);
}

static void fleet_end(void)
{
	crowd_end(&all);
	crowd_close();
	stack_stop();
}

static uint64_t users_sets(void)
{
	return bench_options.rows / CROWD_ROWS_A_SET / bench_options.devices + 1;
}

static void users_begin(void)
{
	size_t n = bench_options.devices;

	stack_start();
	crowd_open();
	crowd_begin(&all, "users", n, n, users_sets() * bench_options.repeats);
	crowd_begin(&alone, "alone", 1, 1, users_sets() * n * bench_options.repeats);
}

static void users_repeat(unsigned r)
{
	double many = crowd_send(&all, users_sets());
	double one = crowd_send(&alone, users_sets() * all.n);

	(void)r;
	bench_sample("users_10k_rows_s_ratio", one / many);
}

static void users_end(void)
{
	crowd_end(&alone);
	fleet_end();
}

static const char *const fleet_keys[] = {"idle_reconnect_backend_us", "storm_10k_s",
					 "storm_seconds", "bare_connects_seconds", NULL};
static const char *const users_keys[] = {"users_10k_rows_s_ratio", NULL};
const struct bench_part bench_fleet = {"fleet", fleet_keys, fleet_begin, fleet_repeat, fleet_end};
const struct bench_part bench_users = {"users", users_keys, users_begin, users_repeat, users_end};
