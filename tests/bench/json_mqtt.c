/*
 * The processes of json.h. A message is one row, or a batch as an array; the topic of a message
 * ends with its number, and the answer to it is that number.
 *
 *   neap_bench_json server PORT DB GROUP_MS FAN   inserts; commits each message, or what came in
 *                                                 GROUP_MS; FAN 1: sends it on after the commit
 *   neap_bench_json send PORT DB ROWS BATCH WINDOW  prints rows a second
 *   neap_bench_json watch PORT DB                 inserts what is sent on; a line for each
 *   neap_bench_json ping PORT DB                  a row for each line read
 */
#include <MQTTAsync.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "device/shell/nodelay.h"
#include "tests/bench/bench.h"
#include "tests/bench/workload.h"

enum { ROW_MAX = 400, PENDING_MAX = 1000, INFLIGHT = 1000 };

static MQTTAsync client;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int done_steps;
static volatile sig_atomic_t stop;

void bench_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- MQTT --- */

static void on_success(void *ctx, MQTTAsync_successData *data)
{
	(void)ctx;
	(void)data;
	pthread_mutex_lock(&lock);
	done_steps++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void on_failure(void *ctx, MQTTAsync_failureData *data)
{
	(void)ctx;
	(void)data;
	bench_die("json: the broker refused");
}

static void on_lost(void *ctx, char *cause)
{
	(void)ctx;
	(void)cause;
	if (!stop)
		bench_die("json: connection lost");
}

static void wait_steps(int n)
{
	pthread_mutex_lock(&lock);
	while (done_steps < n)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void join(const char *port, const char *id, MQTTAsync_messageArrived *arrived,
		 const char *topic)
{
	MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
	MQTTAsync_connectOptions o = MQTTAsync_connectOptions_initializer;
	MQTTAsync_responseOptions r = MQTTAsync_responseOptions_initializer;
	char url[64];

	snprintf(url, sizeof url, "tcp://127.0.0.1:%s", port);
	create.maxBufferedMessages = 100000;
	o.cleansession = 1;
	o.keepAliveInterval = 60;
	o.maxInflight = INFLIGHT;
	o.onSuccess = on_success;
	o.onFailure = on_failure;
	if (MQTTAsync_createWithOptions(&client, url, id, MQTTCLIENT_PERSISTENCE_NONE, NULL,
					&create) ||
	    MQTTAsync_setCallbacks(client, NULL, on_lost, arrived, NULL) ||
	    MQTTAsync_connect(client, &o))
		bench_die("json: cannot connect to %s", url);
	wait_steps(1);
	if (!nodelay_set((uint16_t)atoi(port)))
		bench_die("json: TCP_NODELAY was not set");
	if (!topic)
		return;
	r.onSuccess = on_success;
	r.onFailure = on_failure;
	if (MQTTAsync_subscribe(client, topic, 1, &r))
		bench_die("json: cannot subscribe");
	wait_steps(2);
}

static void publish(const char *topic, const void *payload, size_t len)
{
	MQTTAsync_message m = MQTTAsync_message_initializer;
	int rc;

	m.payload = (void *)(uintptr_t)payload;
	m.payloadlen = (int)len;
	m.qos = 1;
	while ((rc = MQTTAsync_sendMessage(client, topic, &m, NULL)) ==
	       MQTTASYNC_MAX_BUFFERED_MESSAGES)
		usleep(200);
	if (rc)
		bench_die("json: cannot publish (%d)", rc);
}

/* --- rows --- */

static size_t put_row(const struct w1_row *r, char *out)
{
	char id[33];

	for (size_t i = 0; i < 16; i++) {
		id[2 * i] = "0123456789abcdef"[r->id[i] >> 4];
		id[2 * i + 1] = "0123456789abcdef"[r->id[i] & 15];
	}
	id[32] = '\0';
	return (size_t)snprintf(out, ROW_MAX,
				"{\"id\":\"%s\",\"device\":\"%s\",\"ts\":%lld,\"sensor\":\"%s\","
				"\"value\":%.10g,\"unit\":\"%s\",\"quality\":%d}",
				id, r->device, (long long)r->ts_ms, r->sensor, r->value, r->unit,
				r->quality);
}

static sqlite3 *db;
static sqlite3_stmt *insert;

static void open_db(const char *path, bool full)
{
	bench_remove_db(path);
	db = bench_open(path, full);
	bench_sql(db, "%s", w1_table_sql);
	insert = bench_prepare(db, "INSERT INTO readings VALUES(?1,?2,?3,?4,?5,?6,?7)");
}

static unsigned nibble(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10) & 15;
}

static void insert_json(const json_t *o)
{
	const char *id, *device, *sensor, *unit;
	struct w1_row r;
	json_int_t ts;

	if (json_unpack((json_t *)(uintptr_t)o, "{s:s,s:s,s:I,s:s,s:F,s:s,s:i}", "id", &id,
			"device", &device, "ts", &ts, "sensor", &sensor, "value", &r.value, "unit",
			&unit, "quality", &r.quality))
		bench_die("json: not a row");
	if (strlen(id) != 2 * sizeof r.id)
		bench_die("json: not an id");
	for (size_t i = 0; i < sizeof r.id; i++)
		r.id[i] = (uint8_t)(nibble(id[2 * i]) << 4 | nibble(id[2 * i + 1]));
	snprintf(r.device, sizeof r.device, "%s", device);
	r.sensor = sensor;
	r.unit = unit;
	r.ts_ms = ts;
	w1_bind(insert, &r, 0, 0);
	bench_step(db, insert);
}

static void insert_payload(const char *text, size_t len, bool packed)
{
	char *plain = NULL;
	const json_t *row;
	json_t *all;
	size_t i;

	if (packed) {
		size_t size = (size_t)ZSTD_getFrameContentSize(text, len);

		plain = malloc(size);
		if (!plain || ZSTD_isError(len = ZSTD_decompress(plain, size, text, len)))
			bench_die("json: cannot decompress");
		text = plain;
	}
	all = json_loadb(text, len, 0, NULL);
	if (json_is_array(all)) {
		json_array_foreach(all, i, row) insert_json(row);
	} else {
		insert_json(all);
	}
	json_decref(all);
	free(plain);
}

/* --- server --- */

static struct {
	int group_ms;
	bool fan, open;
	size_t n;
	char number[PENDING_MAX][16];
} server;

/* Paho calls with its own lock held, so answers go out after ours is released. */
static size_t commit(char (*out)[16])
{
	size_t n = server.n;

	if (!server.open)
		return 0;
	bench_sql(db, "COMMIT");
	memcpy(out, server.number, n * sizeof *out);
	server.open = false;
	server.n = 0;
	return n;
}

static void answer(char (*number)[16], size_t n)
{
	for (size_t i = 0; i < n; i++)
		publish("t/ack", number[i], strlen(number[i]));
}

/* Topics: t/up/j/NUMBER, or z where it is compressed. */
static int on_upload(void *ctx, char *topic, int topic_len, MQTTAsync_message *m)
{
	static char acked[PENDING_MAX][16];
	size_t n = 0;

	(void)ctx;
	(void)topic_len;
	pthread_mutex_lock(&lock);
	if (!server.open)
		bench_sql(db, "BEGIN IMMEDIATE");
	server.open = true;
	insert_payload(m->payload, (size_t)m->payloadlen, topic[5] == 'z');
	snprintf(server.number[server.n++], sizeof *server.number, "%.15s", topic + 7);
	if (!server.group_ms || server.n == PENDING_MAX)
		n = commit(acked);
	pthread_mutex_unlock(&lock);
	if (server.fan)
		publish("t/down", m->payload, (size_t)m->payloadlen);
	answer(acked, n);
	MQTTAsync_freeMessage(&m);
	MQTTAsync_free(topic);
	return 1;
}

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static int serve(char **argv)
{
	static char acked[PENDING_MAX][16];

	open_db(argv[3], true);
	server.group_ms = atoi(argv[4]);
	server.fan = atoi(argv[5]);
	signal(SIGTERM, on_signal);
	join(argv[2], "server", on_upload, "t/up/#");
	puts("ready");
	fflush(stdout);
	while (!stop) {
		size_t n;

		usleep(server.group_ms ? (unsigned)server.group_ms * 1000 : 50000);
		pthread_mutex_lock(&lock);
		n = commit(acked);
		pthread_mutex_unlock(&lock);
		answer(acked, n);
	}
	return 0;
}

/* --- sender --- */

static size_t n_acked;

static int on_answer(void *ctx, char *topic, int topic_len, MQTTAsync_message *m)
{
	(void)ctx;
	(void)topic_len;
	pthread_mutex_lock(&lock);
	n_acked++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	MQTTAsync_freeMessage(&m);
	MQTTAsync_free(topic);
	return 1;
}

static size_t wait_acked(size_t n)
{
	size_t acked;

	pthread_mutex_lock(&lock);
	while (n_acked < n)
		pthread_cond_wait(&changed, &lock);
	acked = n_acked;
	pthread_mutex_unlock(&lock);
	return acked;
}

/* Commits the rows with their message in the outbox; returns the message's length. */
static size_t write_batch(struct w1 *w, size_t number, size_t rows, bool packed, char *text,
			  char *out, size_t out_size)
{
	static sqlite3_stmt *outbox;
	struct w1_row row;
	size_t len = 0;

	if (!outbox)
		outbox = bench_prepare(db, "INSERT INTO outbox VALUES(?1, ?2)");
	bench_sql(db, "BEGIN IMMEDIATE");
	for (size_t i = 0; i < rows; i++) {
		w1_next(w, &row);
		w1_bind(insert, &row, 0, 0);
		bench_step(db, insert);
		if (packed)
			text[len++] = i ? ',' : '[';
		len += put_row(&row, text + len);
	}
	if (packed) {
		text[len++] = ']';
		len = ZSTD_compress(out, out_size, text, len, 3);
	} else {
		memcpy(out, text, len);
	}
	sqlite3_bind_int64(outbox, 1, (sqlite3_int64)number);
	sqlite3_bind_blob(outbox, 2, out, (int)len, SQLITE_STATIC);
	bench_step(db, outbox);
	bench_sql(db, "COMMIT");
	return len;
}

static int send_rows(char **argv)
{
	size_t rows = strtoul(argv[4], NULL, 10), batch = strtoul(argv[5], NULL, 10);
	size_t window = strtoul(argv[6], NULL, 10), size = ROW_MAX * (batch + 1), n = 0, gone = 0;
	char *text = malloc(size), *out = malloc(ZSTD_compressBound(size));
	struct w1 w;
	double began;

	if (!text || !out)
		bench_die("json: no memory");
	open_db(argv[3], false);
	bench_sql(db, "CREATE TABLE outbox(number INTEGER PRIMARY KEY, body BLOB)");
	join(argv[2], "sender", on_answer, "t/ack");
	w1_begin(&w, 1);
	began = now_s();
	for (size_t left = rows; left; n++) {
		size_t take = left < batch ? left : batch, acked, len;
		char topic[40];

		len = write_batch(&w, n, take, batch > 1, text, out, ZSTD_compressBound(size));
		snprintf(topic, sizeof topic, "t/up/%c/%zu", batch > 1 ? 'z' : 'j', n);
		publish(topic, out, len);
		acked = wait_acked(n + 1 > window ? n + 1 - window : 0);
		if (acked / 100 != gone / 100) {
			gone = acked;
			bench_sql(db, "DELETE FROM outbox WHERE number < %lld", (long long)gone);
		}
		left -= take;
	}
	wait_acked(n);
	bench_sql(db, "DELETE FROM outbox");
	printf("%.1f\n", (double)rows / (now_s() - began));
	return 0;
}

/* --- ping --- */

static int on_sent_on(void *ctx, char *topic, int topic_len, MQTTAsync_message *m)
{
	(void)ctx;
	(void)topic_len;
	bench_sql(db, "BEGIN IMMEDIATE");
	insert_payload(m->payload, (size_t)m->payloadlen, false);
	bench_sql(db, "COMMIT");
	printf("%.6f\n", now_s());
	fflush(stdout);
	MQTTAsync_freeMessage(&m);
	MQTTAsync_free(topic);
	return 1;
}

static int watch(char **argv)
{
	open_db(argv[3], false);
	signal(SIGTERM, on_signal);
	join(argv[2], "watcher", on_sent_on, "t/down");
	puts("ready");
	fflush(stdout);
	while (!stop)
		pause();
	return 0;
}

static int ping(char **argv)
{
	char line[16], text[ROW_MAX], out[ROW_MAX], topic[40];
	struct w1 w;

	open_db(argv[3], false);
	bench_sql(db, "CREATE TABLE outbox(number INTEGER PRIMARY KEY, body BLOB)");
	join(argv[2], "pinger", on_answer, "t/ack");
	w1_begin(&w, 1);
	puts("ready");
	fflush(stdout);
	for (size_t n = 0; fgets(line, sizeof line, stdin); n++) {
		size_t len = write_batch(&w, n, 1, false, text, out, sizeof out);

		printf("%.6f\n", now_s());
		fflush(stdout);
		snprintf(topic, sizeof topic, "t/up/j/%zu", n);
		publish(topic, out, len);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "server"))
		return serve(argv);
	if (argc == 7 && !strcmp(argv[1], "send"))
		return send_rows(argv);
	if (argc == 4 && !strcmp(argv[1], "watch"))
		return watch(argv);
	if (argc == 4 && !strcmp(argv[1], "ping"))
		return ping(argv);
	fprintf(stderr, "neap_bench_json is started by neap_bench\n");
	return 2;
}
