#include "tests/e2e/client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t client_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void on_connack(void *ctx, struct mqtt5 *conn, int reason)
{
	struct client *c = ctx;
	(void)conn;
	c->connack = reason;
}

static void on_closed(void *ctx, struct mqtt5 *conn, int reason)
{
	struct client *c = ctx;
	(void)conn;
	c->closed = reason;
}

static void on_suback(void *ctx, struct mqtt5 *conn, uint16_t id, struct slice reasons)
{
	struct client *c = ctx;
	(void)conn;
	(void)id;
	c->suback = reasons.len ? reasons.at[0] : 0xff;
}

static void on_puback(void *ctx, struct mqtt5 *conn, uint16_t id, int reason)
{
	struct client *c = ctx;
	(void)conn;
	(void)id;
	c->puback = reason;
}

static void on_message(void *ctx, struct mqtt5 *conn, struct slice topic, struct slice payload,
		       bool retained)
{
	struct client *c = ctx;
	(void)conn;
	assert(c->n_inbox < CLIENT_INBOX && topic.len < sizeof c->inbox[0].topic);
	memcpy(c->inbox[c->n_inbox].topic, topic.at, topic.len);
	c->inbox[c->n_inbox].topic[topic.len] = '\0';
	c->inbox[c->n_inbox].len = payload.len;
	c->inbox[c->n_inbox].retained = retained;
	c->n_inbox++;
}

/* Waits until *what is no longer pending or the connection is over. */
static int wait_for(struct client *c, int *what, const char *name)
{
	uint64_t until = client_now_ms() + CLIENT_DEADLINE_MS;

	while (*what == CLIENT_PENDING && c->closed == CLIENT_PENDING) {
		if (client_now_ms() > until) {
			fprintf(stderr, "no %s within %d ms\n", name, CLIENT_DEADLINE_MS);
			exit(1);
		}
		mqtt5_loop_run(c->loop, 50);
	}
	return *what == CLIENT_PENDING ? MQTT5_CLOSED : *what;
}

bool client_open(struct client *c, struct mqtt5_loop *l, const struct mqtt5_options *o)
{
	struct mqtt5_events ev = {on_connack, on_suback, on_puback, on_message, on_closed, c};

	memset(c, 0, sizeof *c);
	c->loop = l;
	c->connack = c->closed = c->suback = c->puback = CLIENT_PENDING;
	c->conn = mqtt5_connect(l, o, &ev);
	assert(c->conn);
	return wait_for(c, &c->connack, "CONNACK") == 0;
}

void client_close(struct client *c)
{
	mqtt5_free(c->conn);
	c->conn = NULL;
}

int client_subscribe(struct client *c, const char *filter)
{
	c->suback = CLIENT_PENDING;
	mqtt5_subscribe(c->conn, &filter, 1);
	return wait_for(c, &c->suback, "SUBACK");
}

int client_publish(struct client *c, const char *topic, struct slice payload, bool retain)
{
	c->puback = CLIENT_PENDING;
	mqtt5_publish(c->conn, topic, payload, 1, retain);
	return wait_for(c, &c->puback, "PUBACK");
}

bool client_wait_closed(struct client *c, int ms)
{
	uint64_t until = client_now_ms() + (uint64_t)ms;

	while (c->closed == CLIENT_PENDING && client_now_ms() < until)
		mqtt5_loop_run(c->loop, 20);
	return c->closed != CLIENT_PENDING;
}

size_t client_wait_message(struct client *c, const char *topic)
{
	uint64_t until = client_now_ms() + CLIENT_DEADLINE_MS;

	for (size_t i = 0;;) {
		for (; i < c->n_inbox; i++) {
			if (strcmp(c->inbox[i].topic, topic) != 0)
				continue;
			size_t rest = c->n_inbox - i - 1;
			memmove(&c->inbox[0], &c->inbox[i + 1], rest * sizeof c->inbox[0]);
			c->n_inbox = rest;
			return i;
		}
		if (client_now_ms() > until || c->closed != CLIENT_PENDING) {
			fprintf(stderr, "no message on %s within %d ms\n", topic,
				CLIENT_DEADLINE_MS);
			exit(1);
		}
		mqtt5_loop_run(c->loop, 50);
	}
}
