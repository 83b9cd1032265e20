/*
 * The real broker with our plugin, and nothing else of ours running: who is let
 * in (T4), who may do what (T5), takeover (T6), revocation and expiry (T7).
 *
 *   broker_test NEAPD MOSQUITTO      (paths of the programs)
 */
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/jwt.h"
#include "protocol/topic.h"
#include "tests/e2e/client.h"

static const char *neapd, *mosquitto;

static struct world {
	char dir[64];
	char conf[96];
	uint16_t mqtt_port, backend_port;
	pid_t broker;
	struct jwt_signer *signer;
	SSL_CTX *tls, *backend_tls;
	struct mqtt5_loop *loop;
	struct client backend;
} w;

/* --- the broker --- */

static uint16_t free_port(void)
{
	/* Below the range of outgoing connections, where a port found free may be taken again. */
	for (int i = 0; i < 200; i++) {
		struct sockaddr_in a = {.sin_family = AF_INET};
		uint16_t port = (uint16_t)(10000 + (getpid() * 7919 + rand()) % 22000);
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		a.sin_port = htons(port);
		int rc = bind(fd, (struct sockaddr *)&a, sizeof a);
		close(fd);
		if (rc == 0)
			return port;
	}
	fail_msg("no free port");
	return 0;
}

static pid_t spawn(const char *log, char *const argv[])
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(fd, 1);
		dup2(fd, 2);
		execv(argv[0], argv);
		_exit(127);
	}
	return pid;
}

static void start_broker(void)
{
	char log[96];
	snprintf(log, sizeof log, "%s/broker.log", w.dir);
	w.broker = spawn(log, (char *[]){(char *)(uintptr_t)mosquitto, (char *)(uintptr_t) "-c",
					 w.conf, NULL});
}

static void kill_broker(void)
{
	kill(w.broker, SIGKILL);
	waitpid(w.broker, NULL, 0);
}

static void init_set_up(void)
{
	char login[8], mqtt[8], backend[8], log[96];
	int status;

	w.mqtt_port = free_port();
	w.backend_port = free_port();
	snprintf(login, sizeof login, "%u", free_port());
	snprintf(mqtt, sizeof mqtt, "%u", w.mqtt_port);
	snprintf(backend, sizeof backend, "%u", w.backend_port);
	snprintf(log, sizeof log, "%s/init.log", w.dir);
	const char *argv[] = {neapd,   "init",
			      w.dir,   "--login-port",
			      login,   "--mqtt-port",
			      mqtt,    "--backend-port",
			      backend, geteuid() ? NULL : "--broker-user",
			      "root",  NULL};
	pid_t pid = spawn(log, (char *const *)(uintptr_t)argv);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void load_signer(void)
{
	char path[512], pem[4096];
	struct err e = {0};

	snprintf(path, sizeof path, "%s/auth/keys", w.dir);
	DIR *d = opendir(path);
	assert_non_null(d);
	for (struct dirent *entry; (entry = readdir(d));) {
		if (strncmp(entry->d_name, "token-", 6) != 0)
			continue;
		snprintf(path, sizeof path, "%s/auth/keys/%s", w.dir, entry->d_name);
		FILE *f = fopen(path, "r");
		assert_non_null(f);
		size_t n = fread(pem, 1, sizeof pem, f);
		fclose(f);
		assert_int_equal(jwt_signer_new(&w.signer, slice_of(pem, n), &e), NE_OK);
		break;
	}
	closedir(d);
	assert_non_null(w.signer);
}

static SSL_CTX *tls_context(bool backend)
{
	char path[128];
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	assert_non_null(ctx);
	snprintf(path, sizeof path, "%s/ca/broker.pem", w.dir);
	assert_int_equal(SSL_CTX_load_verify_file(ctx, path), 1);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (!backend)
		return ctx;
	snprintf(path, sizeof path, "%s/tls/backend-cert.pem", w.dir);
	assert_int_equal(SSL_CTX_use_certificate_chain_file(ctx, path), 1);
	snprintf(path, sizeof path, "%s/tls/backend-key.pem", w.dir);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM), 1);
	return ctx;
}

static bool open_backend(struct client *c)
{
	struct mqtt5_options o = {
		.port = w.backend_port,
		.tls = w.backend_tls,
		.client_id = "$neapd/0-255",
		.username = "$neapd",
	};
	return client_open(c, w.loop, &o);
}

/* The broker needs a moment to listen: tries until it answers. */
static void wait_backend(struct client *c)
{
	uint64_t until = client_now_ms() + CLIENT_DEADLINE_MS;

	while (!open_backend(c)) {
		client_close(c);
		if (client_now_ms() > until)
			fail_msg("the broker does not answer; see %s/broker.log", w.dir);
		nanosleep(&(struct timespec){0, 20000000}, NULL);
	}
}

static void control(const char *json)
{
	assert_int_equal(client_publish(&w.backend, "$CONTROL/neap/v1", slice_str(json), false), 0);
}

/* --- devices --- */

static const char *token_at(const char *user, const char *device, int64_t iat, int64_t life)
{
	static char text[4][JWT_MAX + 1];
	static unsigned next;
	struct jwt_claims claims = {.iat = iat, .nbf = iat, .exp = iat + life};
	struct buf out = {.max = JWT_MAX};

	assert_int_equal(id_set(&claims.user, slice_str(user), "user", NULL), NE_OK);
	assert_int_equal(id_set(&claims.device, slice_str(device), "device", NULL), NE_OK);
	assert_int_equal(jwt_sign(w.signer, &claims, slice_str("jti"), &out, NULL), NE_OK);
	char *to = text[next++ % 4];
	memcpy(to, out.at, out.len);
	to[out.len] = '\0';
	buf_free(&out);
	return to;
}

static const char *token(const char *user, const char *device)
{
	return token_at(user, device, time(NULL), 3600);
}

static struct mqtt5_options device(const char *client_id, const char *username,
				   const char *password)
{
	return (struct mqtt5_options){
		.port = w.mqtt_port,
		.tls = w.tls,
		.client_id = client_id,
		.username = username,
		.password = password,
	};
}

static bool try_open(struct mqtt5_options o)
{
	struct client c;
	bool in = client_open(&c, w.loop, &o);
	client_close(&c);
	return in;
}

static void open_device(struct client *c, const char *user, const char *name)
{
	char id[140];
	snprintf(id, sizeof id, "%s/%s", user, name);
	struct mqtt5_options o = device(id, user, token(user, name));
	if (!client_open(c, w.loop, &o))
		fail_msg("%s was not let in (reason %d)", id, c->connack);
}

static const char *topic(enum topic_kind kind, const char *user, const char *peer)
{
	static char text[8][TOPIC_MAX];
	static unsigned next;
	char *to = text[next++ % 8];
	assert_int_equal(topic_for(kind, user, peer, to, NULL), NE_OK);
	return to;
}

/* --- T4 --- */

static void connects_only_as_itself(void **unused)
{
	const char *t = token("alice", "d1");
	struct mqtt5_options o;

	(void)unused;
	assert_true(try_open(device("alice/d1", "alice", t)));
	assert_false(try_open(device("alice/d1", "bob", t)));
	assert_false(try_open(device("bob/d1", "bob", t)));
	assert_false(try_open(device("alice/d2", "alice", t)));
	assert_false(try_open(device("", "alice", t)));
	assert_false(try_open(device("d1", "alice", t)));
	assert_false(try_open(device("alice/d1", NULL, NULL)));
	assert_false(try_open(device("alice/d1", NULL, t)));
	assert_false(try_open(device("alice/d1", "alice", NULL)));
	assert_false(try_open(device("alice/d1", "alice", "")));
	assert_false(try_open(device("alice/d1", "alice", "a.b.c")));
	assert_false(try_open(device("$neapd/0-255", "$neapd", t)));
	assert_false(try_open(device("$neapd/0-255", "$neapd", NULL)));
	assert_false(try_open(device("neapd/d1", "neapd", t)));
	for (int v = 0; v < 4; v++) {
		static const uint8_t versions[] = {3, 4, 0x84, 0x85};
		o = device("alice/d1", "alice", t);
		o.version = versions[v];
		if (try_open(o))
			fail_msg("version byte %#x was let in", versions[v]);
	}
	assert_true(try_open(device("alice/d1", "alice", t)));
}

static void the_backends_listener_wants_its_certificate(void **unused)
{
	struct mqtt5_options o = device("alice/d1", "alice", token("alice", "d1"));

	(void)unused;
	o.port = w.backend_port;
	assert_false(try_open(o));
	o.tls = w.backend_tls; /* the backend's certificate does not make a device */
	assert_false(try_open(o));
	o = device("$neapd/0-255", "$neapd", NULL);
	o.tls = w.backend_tls; /* nor does it count on the devices' listener */
	assert_false(try_open(o));
}

/* --- T5 --- */

enum who { SELF, SIBLING, STRANGER, BACKEND, N_WHO };

/* p publish, R publish retained, s subscribe; by person in the order of enum who. */
static const struct cell {
	const char *topic; /* ~ stands for alice's prefix */
	const char *may[N_WHO];
} cells[] = {
	{"~/d1/up", {"p", "", "", ""}},
	{"~/d1/down", {"s", "", "", "p"}},
	{"~/d1/presence", {"pR", "", "", ""}},
	{"~/d2/up", {"", "p", "", ""}},
	{"~/d2/down", {"", "s", "", "p"}},
	{"~/d2/presence", {"", "pR", "", ""}},
	{"~/changes/d1", {"", "", "", "p"}},
	{"~/changes/d2", {"", "", "", "p"}},
	{"~/changes/server", {"", "", "", "p"}},
	{"~/changes/+", {"s", "s", "", ""}},
	{"~/head", {"s", "s", "", "pR"}},
	{"~/+/up", {"", "", "", ""}},
	{"~/+/down", {"", "", "", ""}},
	{"~/+/+", {"", "", "", ""}},
	{"~/#", {"", "", "", ""}},
	{"#", {"", "", "", ""}},
	{"+/#", {"", "", "", ""}},
	{"+", {"", "", "", ""}},
	{"$SYS/broker/version", {"", "", "", ""}},
	{"$SYS/#", {"", "", "", ""}},
	{"$CONTROL/neap/v1", {"", "", "", "p"}},
	{"$CONTROL/dynamic-security/v1", {"", "", "", ""}},
	{"$share/g/~/d1/down", {"", "", "", ""}},
	{"$share/g/~/head", {"", "", "", ""}},
	{"$share/g/~/changes/+", {"", "", "", ""}},
	{"neap/v1/00/+/+/up", {"", "", "", "s"}},
	{"neap/v1/+/+/+/up", {"", "", "", ""}},
};

static void expand(const char *in, char out[static 256])
{
	const char *prefix = topic(TOPIC_HEAD, "alice", NULL);
	size_t n = 0, len = strlen(prefix) - strlen("/head");

	for (; *in; in++) {
		if (*in == '~') {
			memcpy(out + n, prefix, len);
			n += len;
		} else {
			out[n++] = *in;
		}
	}
	out[n] = '\0';
}

static void expect(enum who who, char way, const char *name, bool expected, int reason)
{
	bool allowed = reason >= 0 && reason < 0x80;
	if (allowed != expected)
		fail_msg("person %d, '%c' on %s: reason %d, should be %s", (int)who, way, name,
			 reason, expected ? "allowed" : "refused");
}

static void try_cell(struct client *c, enum who who, const struct cell *cell)
{
	static const char json[] = "{\"void\":[]}"; /* harmless where $CONTROL takes it */
	char name[256];

	expand(cell->topic, name);
	if (!strpbrk(name, "+#")) {
		int plain = client_publish(c, name, slice_str(json), false);
		expect(who, 'p', name, strchr(cell->may[who], 'p') != NULL, plain);
		int retained = client_publish(c, name, slice_str(json), true);
		expect(who, 'R', name, strchr(cell->may[who], 'R') != NULL, retained);
	}
	int sub = client_subscribe(c, name);
	expect(who, 's', name, strchr(cell->may[who], 's') != NULL, sub);
}

static void allows_exactly_the_table(void **unused)
{
	struct client people[N_WHO];
	char long_presence[80];

	(void)unused;
	open_device(&people[SELF], "alice", "d1");
	open_device(&people[SIBLING], "alice", "d2");
	open_device(&people[STRANGER], "bob", "d1");
	for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
		for (enum who who = 0; who < BACKEND; who++)
			try_cell(&people[who], who, &cells[i]);
		try_cell(&w.backend, BACKEND, &cells[i]);
		for (enum who who = 0; who < BACKEND; who++)
			people[who].n_inbox = 0;
		w.backend.n_inbox = 0;
	}
	memset(long_presence, 'x', sizeof long_presence);
	assert_true(client_publish(&people[SELF], topic(TOPIC_PRESENCE, "alice", "d1"),
				   slice_of(long_presence, 65), true) >= 0x80);
	for (enum who who = 0; who < BACKEND; who++)
		client_close(&people[who]);
}

/* Neither is let in, so there is no topic for them to try; on their way out nothing is left behind.
 */
static void t05_revoked_and_ended_tokens_have_no_rights(void **unused)
{
	struct client c, other;
	char json[200];
	int64_t now = time(NULL);
	const char *ended = token_at("erin", "d1", now - 3600, 3600 - JWT_LEEWAY_S - 1);
	struct mqtt5_options o = device("erin/d1", "erin", ended);

	(void)unused;
	for (int will = 0; will < 2; will++) {
		o.will_topic = will ? topic(TOPIC_UP, "erin", "d1") : NULL;
		o.will_payload = will ? "from the grave" : NULL;
		assert_false(try_open(o));
	}
	o = device("erin/d1", "erin", token_at("erin", "d1", now - 5, 3600));
	assert_true(client_open(&c, w.loop, &o));
	open_device(&other, "erin", "d2");
	snprintf(json, sizeof json,
		 "{\"void\":[{\"user\":\"erin\",\"device\":\"d1\",\"iat\":%lld,\"until\":%lld}]}",
		 (long long)now - 1, (long long)now + 3600);
	control(json);
	/* What is said behind the list is no longer taken. */
	int said = client_publish(&c, topic(TOPIC_UP, "erin", "d1"), slice_str("x"), false);
	assert_true(said < 0 || said >= 0x80);
	assert_true(client_wait_closed(&c, 1000));
	client_close(&c);
	assert_false(try_open(o));
	assert_true(client_publish(&other, topic(TOPIC_UP, "erin", "d2"), slice_str("x"), false) <
		    0x80);
	client_close(&other);
}

static void say(const char *to)
{
	assert_true(client_publish(&w.backend, to, slice_str("x"), false) < 0x80);
}

static void withholds_the_own_echo(void **unused)
{
	struct client d1, d2;
	char filter[256];

	(void)unused;
	open_device(&d1, "alice", "d1");
	open_device(&d2, "alice", "d2");
	expand("~/changes/+", filter);
	assert_true(client_subscribe(&d1, filter) < 0x80);
	assert_true(client_subscribe(&d2, filter) < 0x80);
	say(topic(TOPIC_CHANGES, "alice", "d1"));
	say(topic(TOPIC_CHANGES, "alice", "server"));
	assert_int_equal(client_wait_message(&d1, topic(TOPIC_CHANGES, "alice", "server")), 0);
	assert_int_equal(client_wait_message(&d2, topic(TOPIC_CHANGES, "alice", "server")), 1);
	client_close(&d1);
	client_close(&d2);
}

static void a_will_has_no_more_rights(void **unused)
{
	static const struct {
		enum topic_kind kind;
		const char *peer;
		bool arrives;
	} wills[] = {{TOPIC_DOWN, "d2", false}, {TOPIC_UP, "d1", true}, {TOPIC_UP, "d2", false}};
	struct client d1, d2;
	char filter[32];

	(void)unused;
	open_device(&d2, "alice", "d2");
	assert_true(client_subscribe(&d2, topic(TOPIC_DOWN, "alice", "d2")) < 0x80);
	snprintf(filter, sizeof filter, "neap/v1/%02x/+/+/up", id_shard(slice_str("alice")));
	assert_true(client_subscribe(&w.backend, filter) < 0x80);
	for (size_t i = 0; i < sizeof wills / sizeof wills[0]; i++) {
		struct mqtt5_options o = device("alice/d1", "alice", token("alice", "d1"));
		o.will_topic = topic(wills[i].kind, "alice", wills[i].peer);
		o.will_payload = "forged";
		assert_true(client_open(&d1, w.loop, &o));
		client_close(&d1);
		/* Taking the session over sends the will, if it had not been sent before. */
		open_device(&d1, "alice", "d1");
		say(topic(TOPIC_DOWN, "alice", "d2"));
		assert_int_equal(client_wait_message(&d2, topic(TOPIC_DOWN, "alice", "d2")), 0);
		assert_int_equal(d2.inbox[0].len, 1);
		d2.n_inbox = 0;
		assert_true(client_publish(&d1, topic(TOPIC_UP, "alice", "d1"), slice_str("end"),
					   false) < 0x80);
		size_t before = client_wait_message(&w.backend, topic(TOPIC_UP, "alice", "d1"));
		assert_int_equal(before, 0);
		if (wills[i].arrives) /* that was the will; the end follows */
			assert_int_equal(
				client_wait_message(&w.backend, topic(TOPIC_UP, "alice", "d1")), 0);
		assert_int_equal(w.backend.n_inbox, 0);
		client_close(&d1);
	}
	client_close(&d2);
}

/* --- T6 --- */

static void nobody_takes_over_anothers_session(void **unused)
{
	struct client victim;

	(void)unused;
	open_device(&victim, "alice", "d1");
	assert_false(try_open(device("alice/d1", "bob", token("bob", "d1"))));
	assert_false(try_open(device("alice/d1", "alice", token("alice", "d2"))));
	assert_false(try_open(device("alice/d1", "alice", token("bob", "d1"))));
	assert_false(try_open(device("$neapd/0-255", "bob", token("bob", "d1"))));
	assert_true(client_publish(&victim, topic(TOPIC_UP, "alice", "d1"), slice_str("x"), false) <
		    0x80);
	assert_int_equal(victim.closed, CLIENT_PENDING);
	assert_int_equal(w.backend.closed, CLIENT_PENDING);
	client_close(&victim);
}

/* --- T7 --- */

static void revoked_tokens_are_dropped_and_stay_out(void **unused)
{
	struct client c;
	char json[160];
	int64_t now = time(NULL);
	const char *old = token_at("carol", "d1", now - 5, 3600);
	struct mqtt5_options o = device("carol/d1", "carol", old);

	(void)unused;
	assert_true(client_open(&c, w.loop, &o));
	snprintf(json, sizeof json,
		 "{\"void\":[{\"user\":\"carol\",\"device\":\"d1\",\"iat\":%lld,\"until\":%lld}]}",
		 (long long)now - 1, (long long)now + 3600);
	control(json);
	assert_true(client_wait_closed(&c, 1000));
	client_close(&c);
	assert_false(try_open(o));
	assert_true(try_open(device("carol/d1", "carol", token("carol", "d1"))));
	assert_true(try_open(device("carol/d2", "carol", token_at("carol", "d2", now - 5, 3600))));
}

static void a_device_cannot_revoke(void **unused)
{
	struct client c;
	char json[160];
	int64_t now = time(NULL);
	struct mqtt5_options o =
		device("alice/d1", "alice", token_at("alice", "d1", now - 5, 3600));

	(void)unused;
	snprintf(json, sizeof json, "{\"void\":[{\"user\":\"alice\",\"iat\":%lld,\"until\":%lld}]}",
		 (long long)now + 1, (long long)now + 3600);
	assert_true(client_open(&c, w.loop, &o));
	assert_true(client_publish(&c, "$CONTROL/neap/v1", slice_str(json), false) >= 0x80);
	client_close(&c);
	assert_true(try_open(o));
}

static void an_ended_token_ends_the_connection(void **unused)
{
	struct client c;
	int64_t now = time(NULL);
	/* Its end plus the leeway is two seconds away. */
	struct mqtt5_options o = device(
		"alice/d1", "alice", token_at("alice", "d1", now - 3600, 3600 - JWT_LEEWAY_S + 2));

	(void)unused;
	assert_true(client_open(&c, w.loop, &o));
	assert_true(client_wait_closed(&c, 5000));
	assert_in_range(time(NULL), now + 2, now + 5);
	client_close(&c);
	assert_false(try_open(o));
}

static void a_new_broker_waits_for_the_list(void **unused)
{
	struct mqtt5_options o = device("alice/d1", "alice", token("alice", "d1"));
	struct client c;

	(void)unused;
	kill_broker();
	client_close(&w.backend);
	start_broker();
	wait_backend(&w.backend);
	/* Connected, but its list has not come: a revoked token must not come to life. */
	assert_false(client_open(&c, w.loop, &o));
	assert_int_equal(c.connack,
			 CLIENT_PENDING); /* no verdict: the device keeps its token and retries */
	client_close(&c);
	control("{\"shards\":[0,255],\"last\":true,\"void\":[]}");
	assert_true(try_open(o));
}

/* --- --- */

static int group_setup(void **unused)
{
	(void)unused;
	srand((unsigned)time(NULL));
	strcpy(w.dir, "/tmp/neap-broker.XXXXXX");
	assert_non_null(mkdtemp(w.dir));
	snprintf(w.conf, sizeof w.conf, "%s/broker/mosquitto.conf", w.dir);
	w.loop = mqtt5_loop_new();
	init_set_up();
	load_signer();
	w.tls = tls_context(false);
	w.backend_tls = tls_context(true);
	start_broker();
	wait_backend(&w.backend);
	control("{\"shards\":[0,255],\"last\":true,\"void\":[]}");
	return 0;
}

static int group_teardown(void **unused)
{
	char command[128];

	(void)unused;
	client_close(&w.backend);
	kill_broker();
	mqtt5_loop_free(w.loop);
	SSL_CTX_free(w.tls);
	SSL_CTX_free(w.backend_tls);
	jwt_signer_free(w.signer);
	snprintf(command, sizeof command, "rm -rf '%s'", w.dir);
	return system(command);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connects_only_as_itself),
		cmocka_unit_test(the_backends_listener_wants_its_certificate),
		cmocka_unit_test(allows_exactly_the_table),
		cmocka_unit_test(t05_revoked_and_ended_tokens_have_no_rights),
		cmocka_unit_test(withholds_the_own_echo),
		cmocka_unit_test(a_will_has_no_more_rights),
		cmocka_unit_test(nobody_takes_over_anothers_session),
		cmocka_unit_test(revoked_tokens_are_dropped_and_stay_out),
		cmocka_unit_test(a_device_cannot_revoke),
		cmocka_unit_test(an_ended_token_ends_the_connection),
		cmocka_unit_test(a_new_broker_waits_for_the_list),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: broker_test NEAPD MOSQUITTO\n");
		return 2;
	}
	neapd = argv[1];
	mosquitto = argv[2];
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
