/* Many devices: back after the broker was killed, and many users at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/shape.h"
#include "tests/bench/bare.h"
#include "tests/bench/stack.h"
#include "tests/e2e/fleet_device.h"

enum { USERS = 5, ROWS_A_SET = 100, DEADLINE_S = 120 };

static struct fleet fleet;
static struct fleet_device *device;
static size_t n_device;

/* Until all are done, or have lost their connection. */
static void run_until(const uint64_t *what, uint64_t wanted)
{
	double began = bench_now();

	while (*what < wanted) {
		uint64_t now = fleet_now_us();

		for (size_t i = 0; i < n_device; i++)
			fleet_device_look(&device[i], now);
		mqtt5_loop_run(fleet.loop, 5);
		if (bench_now() - began > DEADLINE_S)
			bench_die("%llu of %llu devices in %d s", (unsigned long long)*what,
				  (unsigned long long)wanted, DEADLINE_S);
	}
}

/* `n` devices of `users` users, each of which has sent its sets. Seconds for that. */
static double begin(size_t n, size_t users, uint64_t sets)
{
	struct stack_login login = stack_login();
	char user[32], name[48];

	memset(&fleet, 0, sizeof fleet);
	fleet.mqtt_port = stack_port();
	fleet.rows = ROWS_A_SET;
	fleet.resumes = true;
	fleet.loop = mqtt5_loop_new();
	fleet.latency_us = calloc((sets + 4) * n, sizeof *fleet.latency_us);
	device = calloc(n, sizeof *device);
	fleet.tls = SSL_CTX_new(TLS_client_method());
	if (!fleet.latency_us || !device || !fleet.tls ||
	    SSL_CTX_load_verify_file(fleet.tls, login.broker_ca) != 1)
		bench_die("cannot begin with a fleet");
	SSL_CTX_set_verify(fleet.tls, SSL_VERIFY_PEER, NULL);
	fleet_make_shape(&fleet);
	n_device = n;
	for (size_t i = 0; i < n; i++) {
		snprintf(user, sizeof user, "fleet-%zu", i % users);
		snprintf(name, sizeof name, "d%zu-%zu", i, n);
		fleet_login(login.server, login.ca, user, login.password, name, &device[i].session);
		fleet_device_init(&device[i], &fleet);
	}
	fleet.sets = 1;
	run_until(&fleet.done, n);
	fleet.sets += sets;
	fleet.done = 0;
	for (size_t i = 0; i < n; i++) {
		device[i].phase = FLEET_SENDING;
		device[i].retry_us = 0;
	}
	double began = bench_now();
	run_until(&fleet.done, n);
	return bench_now() - began;
}

static void end(void)
{
	for (size_t i = 0; i < n_device; i++)
		fleet_device_free(&device[i]);
	free(device);
	free(fleet.latency_us);
	buf_free(&fleet.shape);
	mqtt5_loop_free(fleet.loop);
	SSL_CTX_free(fleet.tls);
}

/*
 * Kills the broker and lets all come back, each with `sets` changes pending. Seconds, and neapd's
 * processor time: what it does for itself after a broker's restart is not in it.
 */
static double come_back(uint64_t sets, double *cpu_s)
{
	double began = bench_now();

	fleet.lost = 0;
	stack_restart_broker();
	while (fleet.lost < n_device) {
		mqtt5_loop_run(fleet.loop, 5);
		if (bench_now() - began > DEADLINE_S)
			bench_die("the fleet did not notice that the broker was killed");
	}
	fleet.sets += sets;
	for (size_t i = 0; i < n_device; i++)
		device[i].retry_us = 0;
	*cpu_s = process_cpu_s(stack_backend());
	began = bench_now();
	run_until(&fleet.done, n_device);
	began = bench_now() - began;
	*cpu_s = process_cpu_s(stack_backend()) - *cpu_s;
	return began;
}

static void fleet_repeat(unsigned r)
{
	double cpu, storm, bare;
	char user[32];

	(void)r;
	stack_start();
	for (size_t i = 0; i < USERS; i++) {
		snprintf(user, sizeof user, "fleet-%zu", i);
		stack_user(user);
	}
	begin(bench_options.devices, USERS, 0);
	bare = bare_connects(stack_port(), fleet.tls, n_device);
	storm = come_back(1, &cpu);
	bench_sample("storm_seconds", storm);
	bench_sample("bare_connects_seconds", bare);
	bench_sample("storm_10k_s", storm / bare);
	come_back(0, &cpu);
	bench_sample("idle_reconnect_backend_us", cpu * 1e6 / (double)n_device);
	end();
	stack_stop();
}

static void users_repeat(unsigned r)
{
	size_t n = bench_options.devices;
	uint64_t sets = bench_options.rows / ROWS_A_SET / n + 1;
	double many, one;
	char user[32];

	(void)r;
	stack_start();
	for (size_t i = 0; i < n; i++) {
		snprintf(user, sizeof user, "fleet-%zu", i);
		stack_user(user);
	}
	many = begin(n, n, sets);
	end();
	one = begin(1, 1, sets * n);
	end();
	stack_stop();
	bench_sample("users_10k_rows_s_ratio", one / many);
}

static const char *const fleet_keys[] = {"idle_reconnect_backend_us", "storm_10k_s",
					 "storm_seconds", "bare_connects_seconds", NULL};
static const char *const users_keys[] = {"users_10k_rows_s_ratio", NULL};
const struct bench_part bench_fleet = {"fleet", fleet_keys, NULL, fleet_repeat, NULL};
const struct bench_part bench_users = {"users", users_keys, NULL, users_repeat, NULL};
