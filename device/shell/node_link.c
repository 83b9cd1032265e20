/* The connection's part of a node: carries out what conn.c orders. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/shell/cert_time.h"
#include "device/shell/node_internal.h"

static uint32_t random_u32(void *ctx)
{
	uint32_t n;

	crypt_random(ctx, &n, sizeof n);
	return n;
}

static void do_order(struct node *n, enum conn_order order);

static void failed(struct node *n, int code, const char *text)
{
	/* The broker refuses with the same code before the login server does. */
	bool login = code == NE_AUTH && n->conn.state == CONN_LOGIN;

	(void)err_set(&n->link_text, code, "%s", text);
	n->failures++;
	if (n->said != code || n->said_login != login)
		node_say(n, "%s: %s", login ? "login required" : "offline", text);
	n->said = code;
	n->said_login = login;
}

/* A server's answer is taken only for the identity this database is bound to. */
static int check_grant(const struct node *n, const struct grant *g, struct err *e)
{
	const struct grant *have = &n->secret->grant;

	if (!strcmp(g->user.at, have->user.at) && !strcmp(g->device.at, have->device.at))
		return NE_OK;
	return err_set(e, NE_PROTOCOL, "the login server answered for %s/%s instead of %s/%s",
		       g->user.at, g->device.at, have->user.at, have->device.at);
}

/* The new token is on disk before it is used (L1); until then the old one stands. */
static int take_grant(struct node *n, const struct grant *g, struct err *e)
{
	struct secret *s = secret_new();
	struct crypt *crypt = NULL;

	if (!s)
		return err_set(e, NE_MEMORY, "out of memory");
	*s = *n->secret;
	s->grant = *g;
	s->got_ms = (int64_t)wall_ms();
	if (n->secret->grant.group_epoch > g->group_epoch) { /* a newer one came on `down` */
		s->grant.group = n->secret->grant.group;
		s->grant.group_epoch = n->secret->grant.group_epoch;
	}
	int rc = secret_save(n->paths.secret, s, e);
	if (!rc)
		rc = crypt_new(&crypt, &s->grant, e);
	if (rc) {
		secret_drop(s);
		return rc;
	}
	secret_drop(n->secret);
	crypt_free(n->crypt);
	n->secret = s;
	n->crypt = crypt;
	cert_time_heard(g->server_ms);
	return NE_OK;
}

static void measure_clock(struct node *n, int64_t server_ms)
{
	uint64_t rtt_ms = mono_ms() - n->refresh_sent_ms;

	if (rtt_ms > CLOCK_RTT_MAX_MS)
		return;
	n->offset_ms = server_ms + (int64_t)rtt_ms / 2 - (int64_t)wall_ms();
	n->offset_due = true;
}

static int read_answer(struct node *n, const struct http_answer *a, int64_t *life_ms, struct err *e)
{
	if (a->code)
		return err_set(e, a->code, "%s", a->text);
	struct grant *g = calloc(1, sizeof *g);
	if (!g)
		return err_set(e, NE_MEMORY, "out of memory");
	int rc = grant_parse(a->body, g, e);
	if (!rc)
		rc = check_grant(n, g, e);
	if (!rc)
		rc = take_grant(n, g, e);
	if (!rc) {
		measure_clock(n, g->server_ms);
		*life_ms = g->life_s * 1000;
	}
	grant_wipe(g);
	free(g);
	return rc;
}

static void on_refreshed(void *ctx, const struct http_answer *a)
{
	struct node *n = ctx;
	struct err e = {0};
	int64_t life_ms = 0;
	int rc = read_answer(n, a, &life_ms, &e);
	enum conn_order order = conn_refreshed(&n->conn, mono_ms(), rc, (uint64_t)life_ms,
					       (uint64_t)a->retry_after_ms);

	if (rc)
		failed(n, rc, e.text);
	do_order(n, order);
}

static int start_refresh(struct node *n, struct err *e)
{
	char url[LOGIN_URL_MAX + 1];

	TRY(login_url(n->secret->server, "/v1/refresh", url, e));
	char *body = login_refresh_body(n->secret->grant.refresh);
	if (!body)
		return err_set(e, NE_MEMORY, "out of memory");
	n->refresh_sent_ms = mono_ms();
	int rc = http_post(n->http, url, n->secret->ca, body, on_refreshed, n, e);
	login_body_free(body);
	return rc;
}

static int start_connect(struct node *n, struct err *e)
{
	const struct grant *g = &n->secret->grant;
	const struct link_target target = {
		.host = g->broker_host,
		.port = g->broker_port,
		.ca_pem = g->broker_ca,
		.user = g->user.at,
		.device = g->device.at,
		.token = g->access,
	};

	n->down_due = n->engine_up;
	TRY(crypt_renew(n->crypt, e));
	return n->link->connect(n->link, &target, &n->attempt, e);
}

static void connect_now(struct node *n)
{
	struct err e = {0};
	int rc = start_connect(n, &e);

	n->change_over_ms = 0;
	if (rc) {
		failed(n, rc, e.text);
		(void)conn_link_lost(&n->conn, mono_ms(), rc);
	}
}

/*
 * The old token still holds for a while, so the old link goes on until what is under way was
 * answered: nothing is sent twice then, unless the app writes without a pause.
 */
void node_link_change_over(struct node *n)
{
	if (n->change_over_ms && (engine_quiet(n->engine) || mono_ms() >= n->change_over_ms))
		connect_now(n);
}

static void do_order(struct node *n, enum conn_order order)
{
	struct err e = {0};
	int rc;

	switch (order) {
	case CONN_NOTHING:
		return;
	case CONN_DISCONNECT:
		n->change_over_ms = 0;
		n->down_due = n->engine_up;
		n->link->disconnect(n->link);
		return;
	case CONN_REFRESH:
		rc = start_refresh(n, &e);
		if (rc) {
			failed(n, rc, e.text);
			/* Never NE_OK, so no order can follow but a wait. */
			(void)conn_refreshed(&n->conn, mono_ms(), NE_INTERNAL, 0, 0);
		}
		return;
	case CONN_CONNECT:
		if (!n->engine_up || n->down_due) {
			connect_now(n);
			return;
		}
		n->change_over_ms = mono_ms() + QUIET_WAIT_MS;
		node_link_change_over(n);
		return;
	}
}

int node_link_open(struct node *n, struct err *e)
{
	conn_init(&n->conn, random_u32, NULL);
	n->said = -2;
	TRY(crypt_new(&n->crypt, &n->secret->grant, e));
	return link_paho_new(&n->link, e);
}

void node_link_start(struct node *n)
{
	int64_t life_ms = n->secret->grant.life_s * 1000, now = (int64_t)wall_ms();
	int64_t age_ms = now - n->secret->got_ms;

	/* A wall clock that went back says nothing about the token's age. */
	int64_t left_ms = age_ms < 0 || age_ms > life_ms ? 0 : life_ms - age_ms;
	n->failures = 0;
	do_order(n, conn_start(&n->conn, mono_ms(), (uint64_t)left_ms, (uint64_t)life_ms));
}

void node_link_step(struct node *n)
{
	if (mono_ms() < conn_deadline_ms(&n->conn))
		return;
	bool was_trying = n->conn.state == CONN_CONNECTING;
	enum conn_order order = conn_tick(&n->conn, mono_ms());
	if (was_trying && order == CONN_DISCONNECT)
		failed(n, NE_TIMEOUT, "the broker did not answer in time");
	do_order(n, order);
}

void node_link_poke(struct node *n)
{
	do_order(n, conn_poke(&n->conn, mono_ms()));
}

void node_link_up(struct node *n)
{
	conn_link_up(&n->conn, mono_ms());
	n->failures = 0;
	n->heard_ms = mono_ms();
	n->link_text = (struct err){0};
	if (n->said != -1)
		node_say(n, "connected to %s:%u", n->secret->grant.broker_host,
			 (unsigned)n->secret->grant.broker_port);
	n->said = -1;
}

/*
 * Two connections with one id take the session from each other for ever, and Mosquitto ends the
 * older one with a plain close: only the pattern tells.
 */
static bool rival_suspected(struct node *n)
{
	if (n->conn.state != CONN_UP)
		return n->short_lived >= RIVAL_SUSPECTED;
	if (mono_ms() - n->conn.up_since_ms >= CONN_STEADY_MS)
		n->short_lived = 0;
	else
		n->short_lived++;
	return n->short_lived >= RIVAL_SUSPECTED;
}

static void describe_loss(struct node *n, const struct letter *l, char *out, size_t size)
{
	const struct grant *g = &n->secret->grant;
	unsigned port = g->broker_port;

	if (l->code == NE_CERT)
		snprintf(out, size, "the certificate of the broker at %.60s:%u is refused: %.200s",
			 g->broker_host, port, l->text);
	else if (rival_suspected(n)) {
		n->rival_ms = mono_ms();
		snprintf(
			out, size,
			"the broker at %.60s:%u: %.80s; the last %u connections did not last: does "
			"another one run as %.64s/%.64s?",
			g->broker_host, port, l->text, n->short_lived, g->user.at, g->device.at);
	} else
		snprintf(out, size, "the broker at %.60s:%u: %.200s", g->broker_host, port,
			 l->text);
}

void node_link_lost(struct node *n, const struct letter *l)
{
	char text[sizeof n->link_text.text];

	/* A loss may be told twice. */
	if (n->conn.state != CONN_CONNECTING && n->conn.state != CONN_UP)
		return;
	n->down_due = n->engine_up;
	n->change_over_ms = 0;
	describe_loss(n, l, text, sizeof text);
	enum conn_order order = conn_link_lost(&n->conn, mono_ms(), l->code);
	failed(n, l->code, text);
	do_order(n, order);
}

void node_link_sleep(struct node *n, uint64_t until_ms)
{
	n->failures = 0;
	do_order(n, conn_sleep(&n->conn, mono_ms(), until_ms));
}

void node_link_unknown_key(struct node *n, bool group)
{
	conn_unknown_key(&n->conn, mono_ms(), group);
}

void node_link_suspect(struct node *n)
{
	enum conn_order order = conn_link_lost(&n->conn, mono_ms(), NE_TIMEOUT);

	n->down_due = n->engine_up;
	n->link->disconnect(n->link);
	failed(n, NE_TIMEOUT, "nothing was heard from the server; connecting anew");
	do_order(n, order);
}

/* A login by another process (`neap init`) left a new refresh token. */
void node_secret_changed(struct node *n)
{
	struct secret *s = secret_new();
	struct crypt *crypt = NULL;
	struct err e = {0};

	if (!s || secret_load(n->paths.secret, s, &e) ||
	    !strcmp(s->grant.refresh, n->secret->grant.refresh) || check_grant(n, &s->grant, &e) ||
	    crypt_new(&crypt, &s->grant, &e)) {
		secret_drop(s);
		return;
	}
	secret_drop(n->secret);
	crypt_free(n->crypt);
	n->secret = s;
	n->crypt = crypt;
	cert_time_heard(s->grant.server_ms);
	http_cancel(n->http, n);
	n->change_over_ms = 0;
	n->down_due = n->engine_up;
	n->link->disconnect(n->link);
	conn_init(&n->conn, random_u32, NULL);
	n->awake = false;
	node_say(n, "a new login was found");
	node_link_start(n);
}

void node_group_key(struct node *n, const struct f_key *key)
{
	struct grant *g = &n->secret->grant;
	struct key k;
	struct err e = {0};

	if (key->epoch > UINT32_MAX || key->epoch <= g->group_epoch)
		return;
	memcpy(k.at, key->key, sizeof k.at);
	if (!crypt_set_group(n->crypt, &k, (uint32_t)key->epoch, &e)) {
		conn_group_key(&n->conn);
		g->group = k;
		g->group_epoch = (uint32_t)key->epoch;
		/* Unsaved, it comes again with the next refresh. */
		if (secret_save(n->paths.secret, n->secret, &e))
			node_say(n, "%s", e.text);
	}
	key_wipe(&k);
}
