#include "tests/bench/crowd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/auth/auth.h"

/* What one device may take, and what any fleet may: handshakes are 1 to 2 ms each. */
enum { DEADLINE_S = 120, DEVICES_A_S = 50 };

static struct config config;
static struct auth *accounts;

static void must(int rc, const struct err *e)
{
	if (rc)
		bench_die("%s", e->text);
}

void crowd_open(void)
{
	struct err e = {0};

	must(config_read(stack_config(), &config, &e), &e);
	must(auth_open(&accounts, &config, &e), &e);
}

void crowd_close(void)
{
	auth_close(accounts);
	accounts = NULL;
}

static void account(const char *user)
{
	struct err e = {0};

	must(auth_user_add(accounts, user, slice_str(stack_login().password), &e), &e);
}

static void enrol(const char *user, const char *device, struct fleet_session *out)
{
	char code[ENROL_CODE_LEN + 1];
	struct auth_denial why = {0};
	struct auth_session s = {0};
	struct err e = {0};

	must(auth_device_enrol(accounts, user, device, ENROL_VALID_MAX_S, code, &e), &e);
	must(auth_enrol(accounts, slice_str(code), slice_str("an attempt of the bench"), &s, &why,
			&e),
	     &e);
	*out = (struct fleet_session){.user = s.user,
				      .device = s.device,
				      .message_key = s.message.key,
				      .epoch = s.message.epoch};
	if (strlen(s.access) >= sizeof out->token)
		bench_die("the access token of %s/%s has %zu bytes", user, device,
			  strlen(s.access));
	memcpy(out->token, s.access, strlen(s.access) + 1);
	auth_session_wipe(&s);
}

static double deadline_s(const struct crowd *c)
{
	return DEADLINE_S + (double)c->n / DEVICES_A_S;
}

/* Until all are done. */
static double run(struct crowd *c)
{
	double began = bench_now();

	while (c->fleet.done < c->n) {
		uint64_t now = fleet_now_us();

		for (size_t i = 0; i < c->n; i++)
			fleet_device_look(&c->device[i], now);
		mqtt5_loop_run(c->fleet.loop, 5);
		if (bench_now() - began > deadline_s(c))
			bench_die("%llu of %zu devices in %.0f s",
				  (unsigned long long)c->fleet.done, c->n, deadline_s(c));
	}
	return bench_now() - began;
}

static void add_sets(struct crowd *c, uint64_t sets)
{
	c->fleet.sets += sets;
	if (c->fleet.sets > c->room)
		bench_die("a fleet was to send %llu sets and has room for %llu",
			  (unsigned long long)c->fleet.sets, (unsigned long long)c->room);
}

static void make(struct crowd *c, size_t n, uint64_t sets)
{
	*c = (struct crowd){.n = n, .room = sets + 1};
	c->fleet.mqtt_port = stack_port();
	c->fleet.rows = CROWD_ROWS_A_SET;
	c->fleet.resumes = true;
	c->fleet.loop = mqtt5_loop_new();
	c->fleet.latency_us = calloc(c->room * n, sizeof *c->fleet.latency_us);
	c->device = calloc(n, sizeof *c->device);
	c->fleet.tls = SSL_CTX_new(TLS_client_method());
	if (!c->fleet.latency_us || !c->device || !c->fleet.tls ||
	    SSL_CTX_load_verify_file(c->fleet.tls, stack_login().broker_ca) != 1)
		bench_die("cannot begin with a fleet");
	SSL_CTX_set_verify(c->fleet.tls, SSL_VERIFY_PEER, NULL);
	fleet_make_shape(&c->fleet);
}

void crowd_begin(struct crowd *c, const char *name, size_t n, size_t users, uint64_t sets)
{
	char user[32], device[48];

	make(c, n, sets);
	for (size_t i = 0; i < users; i++) {
		snprintf(user, sizeof user, "%s-%zu", name, i);
		account(user);
		if (i % 100 == 99)
			bench_progress("%s: %zu of %zu accounts", name, i + 1, users);
	}
	for (size_t i = 0; i < n; i++) {
		snprintf(user, sizeof user, "%s-%zu", name, i % users);
		snprintf(device, sizeof device, "d%zu", i);
		enrol(user, device, &c->device[i].session);
		fleet_device_init(&c->device[i], &c->fleet);
		if (i % 100 == 99)
			bench_progress("%s: %zu of %zu devices", name, i + 1, n);
	}
	c->fleet.sets = 1;
	run(c);
}

void crowd_end(struct crowd *c)
{
	for (size_t i = 0; i < c->n; i++)
		fleet_device_free(&c->device[i]);
	free(c->device);
	free(c->fleet.latency_us);
	buf_free(&c->fleet.shape);
	mqtt5_loop_free(c->fleet.loop);
	SSL_CTX_free(c->fleet.tls);
}

double crowd_send(struct crowd *c, uint64_t sets)
{
	add_sets(c, sets);
	c->fleet.done = 0;
	for (size_t i = 0; i < c->n; i++) {
		c->device[i].phase = FLEET_SENDING;
		c->device[i].retry_us = 0;
	}
	return run(c);
}

void crowd_lose_broker(struct crowd *c)
{
	double began = bench_now();

	c->fleet.lost = 0;
	stack_restart_broker();
	while (c->fleet.lost < c->n) {
		mqtt5_loop_run(c->fleet.loop, 5);
		if (bench_now() - began > deadline_s(c))
			bench_die("the fleet did not notice that the broker was killed");
	}
}

double crowd_come_back(struct crowd *c, uint64_t sets)
{
	add_sets(c, sets);
	for (size_t i = 0; i < c->n; i++)
		c->device[i].retry_us = 0;
	return run(c);
}
