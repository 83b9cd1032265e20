#include "tests/e2e/fleet_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "protocol/frame.h"

enum {
	CONNECTING_MAX = 64, /* TLS handshakes at a time */
	AGAIN_US = 4000000,  /* no answer: once more */
	RECONNECT_US = 300000,
	ROW_STEP_MS = 1000,
};

static const int64_t epoch_ms = 1767225600000; /* 2026-01-01 */

void fleet_make_shape(struct fleet *f)
{
	static struct shape_col key = {.affinity = AFF_INTEGER};
	static struct shape_col col[3] = {
		{.affinity = AFF_INTEGER}, {.affinity = AFF_REAL}, {.affinity = AFF_TEXT}};
	static struct shape shape = {.kind = SHAPE_APPEND,
				     .direction = DIR_UP,
				     .key_is_number = true,
				     .n_key = 1,
				     .n_col = 3,
				     .key = &key,
				     .col = col};
	struct err e = {0};

	shape.name = slice_str("fleet_readings");
	key.name = slice_str("id");
	col[0].name = slice_str("at_ms");
	col[1].name = slice_str("value");
	col[2].name = slice_str("status");
	f->shape.max = 4096;
	if (shape_encode(&shape, &f->shape, &e)) {
		fprintf(stderr, "fleet: shape: %s\n", e.text);
		exit(1);
	}
	f->readings = &shape;
}

uint64_t fleet_now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void fleet_random(void *ctx, void *out, size_t len)
{
	(void)ctx;
	if (getrandom(out, len, 0) != (ssize_t)len)
		abort();
}

static uint64_t random_id(void)
{
	uint64_t id;
	fleet_random(NULL, &id, sizeof id);
	return (id >> 1) | 1;
}

static void must(int rc, const struct err *e, const char *what)
{
	if (!rc)
		return;
	fprintf(stderr, "fleet: %s: %s: %s\n", what, ne_name(rc), e->text);
	exit(1);
}

void fleet_device_init(struct fleet_device *d, struct fleet *f)
{
	struct fleet_session *s = &d->session;
	struct err e = {0};

	d->fleet = f;
	d->site = random_id();
	d->next_number = 1;
	snprintf(d->client_id, sizeof d->client_id, "%s/%s", s->user.at, s->device.at);
	must(topic_for(TOPIC_UP, s->user.at, s->device.at, d->up_topic, &e), &e, "topic");
	must(topic_for(TOPIC_DOWN, s->user.at, s->device.at, d->down_topic, &e), &e, "topic");
	must(topic_for(TOPIC_HEAD, s->user.at, NULL, d->head_topic, &e), &e, "topic");
	snprintf(d->changes_filter, sizeof d->changes_filter, "%.*schanges/+",
		 (int)(strlen(d->head_topic) - strlen("head")), d->head_topic);
	must(sealer_new(&d->up, &s->message_key, s->epoch, SEAL_UP, id_slice(&s->user),
			id_slice(&s->device), fleet_random, NULL, &e),
	     &e, "sealer");
	must(opener_new(&d->down, &s->message_key, s->epoch, SEAL_DOWN, id_slice(&s->user),
			id_slice(&s->device), &e),
	     &e, "opener");
	for (size_t i = 0; i < FLEET_WINDOW; i++)
		d->flight[i].frame.max = LIMIT_MESSAGE;
}

void fleet_device_free(struct fleet_device *d)
{
	mqtt5_free(d->conn);
	sealer_free(d->up);
	opener_free(d->down);
	for (size_t i = 0; i < FLEET_WINDOW; i++)
		buf_free(&d->flight[i].frame);
}

static void send_plain(struct fleet_device *d, struct slice plain)
{
	struct buf sealed = {.max = LIMIT_MESSAGE};
	struct err e = {0};

	must(sealer_seal(d->up, plain, &sealed, &e), &e, "seal");
	mqtt5_publish(d->conn, d->up_topic, buf_slice(&sealed), 0, false);
	d->fleet->bytes_up += sealed.len;
	buf_free(&sealed);
}

static void send_frame(struct fleet_device *d, const struct frame *f)
{
	struct buf plain = {.max = LIMIT_MESSAGE};
	struct err e = {0};

	must(frame_encode(f, &plain, &e), &e, "encode");
	send_plain(d, buf_slice(&plain));
	buf_free(&plain);
}

static void send_hello(struct fleet_device *d)
{
	struct frame f = {.type = FRAME_HELLO};

	d->nonce = random_id();
	f.hello.nonce = d->nonce;
	f.hello.site = d->site;
	f.hello.last_number = d->next_number - 1;
	f.hello.last_cut = d->last_cut;
	f.hello.n_shape = 1;
	f.hello.shape = &d->fleet->readings->id;
	send_frame(d, &f);
	d->retry_us = fleet_now_us() + AGAIN_US;
}

/* --- sets --- */

/* Sensor-like rows: time, a slowly moving value, a state. */
static void make_rows(struct fleet_device *d, uint64_t number, struct buf *out)
{
	const struct fleet *f = d->fleet;
	struct row *rows = calloc(f->rows, sizeof *rows);
	struct cell *cells = calloc(f->rows * 3, sizeof *cells);
	struct val *keys = calloc(f->rows, sizeof *keys);
	struct table_rows table = {.shape = f->readings, .n_row = f->rows, .row = rows};
	struct rows all = {.n_table = 1, .table = &table};
	struct err e = {0};

	if (!rows || !cells || !keys)
		abort();
	for (size_t i = 0; i < f->rows; i++) {
		int64_t n = (int64_t)((number - 1) * f->rows + i + 1);
		struct cell *c = cells + 3 * i;
		keys[i] = (struct val){.type = VAL_INT, .i = n};
		c[0] = (struct cell){.col = 0,
				     .val = {.type = VAL_INT, .i = epoch_ms + n * ROW_STEP_MS}};
		c[1] = (struct cell){.col = 1,
				     .val = {.type = VAL_REAL, .r = (double)(200 + n % 50) / 10}};
		c[2] = (struct cell){
			.col = 2,
			.val = {.type = VAL_TEXT, .s = slice_str(n % 7 ? "ok" : "check")}};
		rows[i] = (struct row){.key = &keys[i], .n_cell = 3, .cell = c, .gen = 1, .n = n};
	}
	must(rows_encode(&all, d->site, out, &e), &e, "rows");
	free(rows);
	free(cells);
	free(keys);
}

static void cut_set(struct fleet_device *d, uint64_t now_us)
{
	struct fleet_flight *flight = &d->flight[d->n_flight++];
	struct buf rows = {.max = LIMIT_SET};
	struct frame f = {.type = FRAME_SET};
	struct err e = {0};

	flight->number = d->next_number++;
	flight->cut = d->last_cut = random_id();
	flight->sent_us = now_us;
	make_rows(d, flight->number, &rows);
	f.set.site = d->site;
	f.set.number = flight->number;
	f.set.prev = flight->number - 1;
	f.set.cut = flight->cut;
	f.set.rows = buf_slice(&rows);
	buf_clear(&flight->frame);
	must(frame_encode(&f, &flight->frame, &e), &e, "set");
	buf_free(&rows);
	send_plain(d, buf_slice(&flight->frame));
	d->retry_us = now_us + AGAIN_US;
}

static void send_more(struct fleet_device *d)
{
	uint64_t now = fleet_now_us();

	while (d->n_flight < FLEET_WINDOW && d->next_number <= d->fleet->sets)
		cut_set(d, now);
	if (d->n_flight == 0) {
		d->phase = FLEET_DONE;
		d->fleet->done++;
	}
}

static void send_again(struct fleet_device *d)
{
	for (size_t i = 0; i < d->n_flight; i++) {
		send_plain(d, buf_slice(&d->flight[i].frame));
		d->fleet->resent++;
	}
	d->retry_us = fleet_now_us() + AGAIN_US;
}

static void on_ack(struct fleet_device *d, const struct f_ack *ack)
{
	uint64_t now = fleet_now_us();
	size_t gone = 0;

	if (ack->site != d->site || ack->number <= d->acked)
		return;
	d->acked = ack->number;
	while (gone < d->n_flight && d->flight[gone].number <= ack->number) {
		d->fleet->latency_us[d->fleet->acked_sets++] = now - d->flight[gone].sent_us;
		gone++;
	}
	/* The buffers go round. */
	struct fleet_flight done[FLEET_WINDOW];
	memcpy(done, d->flight, gone * sizeof *done);
	memmove(d->flight, d->flight + gone, (d->n_flight - gone) * sizeof *done);
	memcpy(d->flight + d->n_flight - gone, done, gone * sizeof *done);
	d->n_flight -= gone;
	d->retry_us = now + AGAIN_US;
	if (d->phase == FLEET_SENDING)
		send_more(d);
}

static void resume(struct fleet_device *d)
{
	d->phase = FLEET_SENDING;
	if (d->n_flight)
		send_again(d);
	else
		send_more(d);
}

static void on_welcome(struct fleet_device *d, const struct f_welcome *w)
{
	struct slice shape = buf_slice(&d->fleet->shape);
	struct frame f = {.type = FRAME_DECLARE, .declare = {1, &shape}};

	if (d->phase != FLEET_GREETING || w->nonce != d->nonce)
		return;
	if (w->site_status != SITE_OK) {
		fprintf(stderr, "fleet: %s: site status %d\n", d->client_id, (int)w->site_status);
		exit(1);
	}
	if (w->n_unknown)
		send_frame(d, &f);
	d->greeted = true;
	resume(d);
}

static void on_frame(struct fleet_device *d, const struct frame *f)
{
	switch (f->type) {
	case FRAME_WELCOME:
		on_welcome(d, &f->welcome);
		break;
	case FRAME_ACK:
		on_ack(d, &f->ack);
		break;
	case FRAME_BUSY:
		d->fleet->busy++;
		d->retry_us = fleet_now_us() + f->busy.retry_ms * 1000;
		break;
	case FRAME_EXPECT:
		break; /* a set before it was shed: all in flight are sent again in time */
	case FRAME_REFUSE:
		fprintf(stderr, "fleet: %s: refused (%d): %.*s\n", d->client_id,
			(int)f->refuse.code, (int)f->refuse.text.len,
			(const char *)f->refuse.text.at);
		exit(1);
	default:
		break;
	}
}

/* --- the connection --- */

static void on_message(void *ctx, struct mqtt5 *c, struct slice topic, struct slice payload,
		       bool retained)
{
	struct fleet_device *d = ctx;
	struct buf plain = {.max = LIMIT_MESSAGE};
	struct arena arena = {.max = LIMIT_DECODED};
	struct frame f;
	struct err e = {0};

	(void)c;
	(void)retained;
	if (!slice_eq(topic, slice_str(d->down_topic)))
		return;
	must(opener_open(d->down, payload, &plain, &e), &e, "open");
	must(frame_decode(buf_slice(&plain), &arena, &f, &e), &e, "decode");
	on_frame(d, &f);
	arena_free(&arena);
	buf_free(&plain);
}

static void leave_connecting(struct fleet_device *d)
{
	if (d->phase == FLEET_CONNECTING)
		d->fleet->connecting--;
}

static void on_connack(void *ctx, struct mqtt5 *c, int reason)
{
	struct fleet_device *d = ctx;
	const char *const filters[] = {d->down_topic, d->head_topic, d->changes_filter};

	if (reason) {
		fprintf(stderr, "fleet: %s was refused: %d\n", d->client_id, reason);
		d->fleet->refused++;
		return;
	}
	leave_connecting(d);
	d->fleet->connects++;
	mqtt5_subscribe(c, filters, 3);
	if (d->fleet->resumes && d->greeted) {
		resume(d);
		return;
	}
	d->phase = FLEET_GREETING;
	send_hello(d);
}

static void on_closed(void *ctx, struct mqtt5 *c, int reason)
{
	struct fleet_device *d = ctx;

	(void)reason;
	leave_connecting(d);
	mqtt5_free(c);
	d->conn = NULL;
	d->fleet->lost++;
	d->fleet->done -= d->phase == FLEET_DONE;
	d->phase = FLEET_OFF;
	d->retry_us = fleet_now_us() + RECONNECT_US;
}

static void begin_connect(struct fleet_device *d)
{
	struct mqtt5_events ev = {
		.connack = on_connack, .message = on_message, .closed = on_closed, .ctx = d};
	struct mqtt5_options o = {
		.port = d->fleet->mqtt_port,
		.tls = d->fleet->tls,
		.client_id = d->client_id,
		.username = d->session.user.at,
		.password = d->session.token,
		.keep_alive_s = 600,
	};

	d->conn = mqtt5_connect(d->fleet->loop, &o, &ev);
	if (!d->conn) {
		perror("fleet: socket");
		exit(1);
	}
	d->phase = FLEET_CONNECTING;
	d->fleet->connecting++;
}

void fleet_device_look(struct fleet_device *d, uint64_t now_us)
{
	if (now_us < d->retry_us)
		return;
	switch (d->phase) {
	case FLEET_OFF:
		if (d->fleet->connecting < CONNECTING_MAX)
			begin_connect(d);
		break;
	case FLEET_GREETING:
		send_hello(d);
		break;
	case FLEET_SENDING:
		resume(d);
		break;
	case FLEET_CONNECTING:
	case FLEET_DONE:
		break;
	}
}
