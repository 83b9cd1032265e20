/*
 * One MQTT connection that says whatever a script tells it to: lines in, lines out.
 *
 *   neap_hostile PORT CA CLIENT_ID USER PASSWORD_FILE|- [CERT KEY]
 *
 *   sub FILTER                            → "sub REASON"
 *   pub TOPIC HEX [retain]                → "pub REASON"     QoS 1
 *   flood N TOPIC HEX                     → "flood N"        QoS 0, all written to the socket
 *   seal KIND USER PEER KEY EPOCH HEX     → "seal HEX"       KIND up, down, changes or head
 *
 * What arrives comes in between as "got TOPIC HEX"; the end of the connection as "closed REASON".
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "protocol/limits.h"
#include "protocol/seal.h"
#include "tests/e2e/mqtt5.h"

enum { LINE_BYTES = 2 * LIMIT_MESSAGE + 2048, WORDS = 8, UNSENT_MAX = 1 << 20 };

static struct mqtt5_loop *loop;
static struct mqtt5 *conn;
static bool open_now;

static void die(const char *what)
{
	fprintf(stderr, "hostile: %s\n", what);
	exit(1);
}

static void say_hex(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		printf("%02x", s.at[i]);
	printf("\n");
	fflush(stdout);
}

static void say(const char *what, long value)
{
	printf("%s %ld\n", what, value);
	fflush(stdout);
}

/* --- the connection --- */

static void on_connack(void *ctx, struct mqtt5 *c, int reason)
{
	(void)ctx;
	(void)c;
	open_now = reason == 0;
	say("connected", reason);
}

static void on_suback(void *ctx, struct mqtt5 *c, uint16_t id, struct slice reasons)
{
	(void)ctx;
	(void)c;
	(void)id;
	say("sub", reasons.len ? reasons.at[0] : 0xff);
}

static void on_puback(void *ctx, struct mqtt5 *c, uint16_t id, int reason)
{
	(void)ctx;
	(void)c;
	(void)id;
	say("pub", reason);
}

static void on_message(void *ctx, struct mqtt5 *c, struct slice topic, struct slice payload,
		       bool retained)
{
	(void)ctx;
	(void)c;
	(void)retained;
	printf("got %.*s ", (int)topic.len, (const char *)topic.at);
	say_hex(payload);
}

static void on_closed(void *ctx, struct mqtt5 *c, int reason)
{
	(void)ctx;
	(void)c;
	say("closed", reason);
	exit(0);
}

static SSL_CTX *tls_context(char **argv, int argc)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

	if (!tls || SSL_CTX_load_verify_file(tls, argv[2]) != 1)
		die("the CA cannot be read");
	SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
	if (argc == 8 && (SSL_CTX_use_certificate_chain_file(tls, argv[6]) != 1 ||
			  SSL_CTX_use_PrivateKey_file(tls, argv[7], SSL_FILETYPE_PEM) != 1))
		die("the certificate or its key cannot be read");
	return tls;
}

static void connect_as(char **argv, int argc)
{
	static char password[8192];
	struct mqtt5_events ev = {on_connack, on_suback, on_puback, on_message, on_closed, NULL};
	struct mqtt5_options o = {
		.port = (uint16_t)atoi(argv[1]),
		.tls = tls_context(argv, argc),
		.client_id = argv[3],
		.username = argv[4],
	};

	if (strcmp(argv[5], "-") != 0) {
		FILE *f = fopen(argv[5], "r");
		if (!f || !fgets(password, sizeof password, f))
			die("the password cannot be read");
		fclose(f);
		password[strcspn(password, "\n")] = '\0';
		o.password = password;
	}
	loop = mqtt5_loop_new();
	conn = mqtt5_connect(loop, &o, &ev);
	if (!conn)
		die("no socket");
	while (!open_now)
		mqtt5_loop_run(loop, 50);
	SSL_CTX_free(o.tls);
}

/* --- commands --- */

static int nibble(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
	if (!at)
		die("not hexadecimal");
	return (int)(at - digits);
}

/* In place: the bytes are shorter than their text. "-" stands for none. */
static struct slice from_hex(char *text)
{
	size_t n = strcmp(text, "-") == 0 ? 0 : strlen(text) / 2;

	for (size_t i = 0; i < n; i++)
		text[i] = (char)(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
	return slice_of(text, n);
}

static void draw(void *ctx, void *out, size_t len)
{
	(void)ctx;
	if (getrandom(out, len, 0) != (ssize_t)len)
		abort();
}

static enum seal_kind kind_of(const char *name)
{
	for (int k = SEAL_UP; k <= SEAL_HEAD; k++)
		if (strcmp(name, seal_kind_name((enum seal_kind)k)) == 0)
			return (enum seal_kind)k;
	die("no such kind of seal");
	return SEAL_UP;
}

static void seal(char **w)
{
	struct key key;
	struct slice k = from_hex(w[4]);
	struct sealer *s = NULL;
	struct buf out = {.max = LIMIT_MESSAGE};
	struct err e = {0};
	struct slice peer = slice_str(strcmp(w[3], "-") == 0 ? "" : w[3]);

	if (k.len != KEY_LEN)
		die("a key has 32 bytes");
	memcpy(key.at, k.at, KEY_LEN);
	if (sealer_new(&s, &key, (uint32_t)strtoul(w[5], NULL, 10), kind_of(w[1]), slice_str(w[2]),
		       peer, draw, NULL, &e) ||
	    sealer_seal(s, from_hex(w[6]), &out, &e))
		die(e.text);
	printf("seal ");
	say_hex(buf_slice(&out));
	sealer_free(s);
	buf_free(&out);
}

static void flood(char **w)
{
	long n = strtol(w[1], NULL, 10);
	struct slice payload = from_hex(w[3]);

	for (long i = 0; i < n; i++) {
		mqtt5_publish(conn, w[2], payload, 0, false);
		while (mqtt5_unsent(conn) > UNSENT_MAX)
			mqtt5_loop_run(loop, 10);
	}
	while (mqtt5_unsent(conn) > 0)
		mqtt5_loop_run(loop, 10);
	say("flood", n);
}

static void obey(char *line)
{
	char *w[WORDS] = {0}, *rest = NULL;
	size_t n = 0;

	for (char *at = strtok_r(line, " \n", &rest); at && n < WORDS;
	     at = strtok_r(NULL, " \n", &rest))
		w[n++] = at;
	if (n == 2 && strcmp(w[0], "sub") == 0) {
		const char *filter = w[1];
		mqtt5_subscribe(conn, &filter, 1);
	} else if (n >= 3 && strcmp(w[0], "pub") == 0) {
		mqtt5_publish(conn, w[1], from_hex(w[2]), 1, n == 4);
	} else if (n == 4 && strcmp(w[0], "flood") == 0) {
		flood(w);
	} else if (n == 7 && strcmp(w[0], "seal") == 0) {
		seal(w);
	} else {
		die("unknown command");
	}
}

int main(int argc, char **argv)
{
	static char line[LINE_BYTES];
	struct pollfd in = {.fd = 0, .events = POLLIN};

	if (argc != 6 && argc != 8)
		die("usage: neap_hostile PORT CA CLIENT_ID USER PASSWORD_FILE|- [CERT KEY]");
	signal(SIGPIPE, SIG_IGN);
	/* One line at a time, so that poll tells the truth about what is left. */
	setvbuf(stdin, NULL, _IONBF, 0);
	connect_as(argv, argc);
	for (;;) {
		mqtt5_loop_run(loop, 10);
		while (poll(&in, 1, 0) > 0) {
			if (!fgets(line, sizeof line, stdin))
				return 0;
			obey(line);
		}
	}
}
