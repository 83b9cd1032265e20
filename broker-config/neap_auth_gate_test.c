#include "broker-config/neap_auth_gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/jwt.h"

enum { NOW = 1800000000 };

struct world {
	char folder[64], pem[96];
	struct jwt_signer *signer;
	struct gate *gate;
	struct buf token;
};

static void write_file(const char *path, struct slice s)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(s.at, 1, s.len, f), s.len);
	assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct buf private_pem = {.max = 4096}, public_pem = {.max = 4096};
	struct err e = {0};

	assert_non_null(w);
	strcpy(w->folder, "/tmp/neap_gate.XXXXXX");
	assert_non_null(mkdtemp(w->folder));
	snprintf(w->pem, sizeof w->pem, "%s/one.pem", w->folder);
	assert_int_equal(jwt_generate(&private_pem, &public_pem, &e), NE_OK);
	write_file(w->pem, buf_slice(&public_pem));
	assert_int_equal(jwt_signer_new(&w->signer, buf_slice(&private_pem), &e), NE_OK);
	assert_int_equal(gate_new(&w->gate, w->folder, &e), NE_OK);
	w->token.max = JWT_MAX + 1;
	buf_free(&private_pem);
	buf_free(&public_pem);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	gate_free(w->gate);
	jwt_signer_free(w->signer);
	buf_free(&w->token);
	unlink(w->pem);
	rmdir(w->folder);
	free(w);
	return 0;
}

static const char *token(struct world *w, const char *user, const char *device, int64_t iat,
			 int64_t exp)
{
	struct jwt_claims c = {.iat = iat, .nbf = iat, .exp = exp};
	assert_int_equal(id_set(&c.user, slice_str(user), "user", NULL), NE_OK);
	assert_int_equal(id_set(&c.device, slice_str(device), "device", NULL), NE_OK);
	buf_clear(&w->token);
	assert_int_equal(jwt_sign(w->signer, &c, slice_str("j"), &w->token, NULL), NE_OK);
	assert_int_equal(buf_terminate(&w->token), NE_OK);
	return (const char *)w->token.at;
}

static enum gate_verdict try_connect(struct world *w, const char *username, const char *client_id,
				     const char *password, int64_t now)
{
	struct gate_connect c = {5, client_id, username, password, NULL};
	struct err why = {0};
	enum gate_verdict v = gate_connect(w->gate, &c, now, &why);
	assert_true((v == GATE_ALLOW) == (why.text[0] == '\0'));
	return v;
}

static enum gate_verdict good_connect(struct world *w, int64_t iat)
{
	return try_connect(w, "alice", "alice/d1", token(w, "alice", "d1", iat, iat + 3600), NOW);
}

static int control(struct world *w, const char *json)
{
	return gate_control(w->gate, slice_str(json), NULL);
}

static void nobody_enters_before_the_list(void **state)
{
	struct world *w = *state;
	char json[96];
	unsigned shard = id_shard(slice_str("alice"));

	assert_int_equal(good_connect(w, NOW), GATE_NOT_READY);
	assert_int_equal(control(w, "{\"shards\":[0,255],\"void\":[]}"), NE_OK);
	assert_int_equal(good_connect(w, NOW), GATE_NOT_READY);
	snprintf(json, sizeof json, "{\"shards\":[%u,%u],\"last\":true,\"void\":[]}", shard ^ 1,
		 shard ^ 1);
	assert_int_equal(control(w, json), NE_OK);
	assert_int_equal(good_connect(w, NOW), GATE_NOT_READY);
	snprintf(json, sizeof json, "{\"shards\":[%u,%u],\"last\":true,\"void\":[]}", shard, shard);
	assert_int_equal(control(w, json), NE_OK);
	assert_int_equal(good_connect(w, NOW), GATE_ALLOW);
}

static void binds_identity_to_token(void **state)
{
	struct world *w = *state;
	assert_int_equal(control(w, "{\"shards\":[0,255],\"last\":true,\"void\":[]}"), NE_OK);

	const char *t = token(w, "alice", "d1", NOW, NOW + 3600);
	assert_int_equal(try_connect(w, "alice", "alice/d1", t, NOW), GATE_ALLOW);
	assert_int_equal(try_connect(w, "bob", "bob/d1", t, NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, "alice", "alice/d2", t, NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, "bob", "alice/d1", t, NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, "alice", "d1", t, NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, "alice", "", t, NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, "alice", NULL, t, NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, NULL, "alice/d1", t, NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, "alice", "alice/d1", NULL, NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, "alice", "alice/d1", "", NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, "alice", "alice/d1", "x.y.z", NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, "$neapd", "$neapd/0-255", t, NOW), GATE_REFUSE);
	assert_int_equal(try_connect(w, "alice", "alice/d1", t, NOW + 3600 + 59), GATE_ALLOW);
	assert_int_equal(try_connect(w, "alice", "alice/d1", t, NOW + 3600 + 61), GATE_REFUSE);
}

static void only_mqtt_5_and_its_own_listener(void **state)
{
	struct world *w = *state;
	assert_int_equal(control(w, "{\"shards\":[0,255],\"last\":true,\"void\":[]}"), NE_OK);
	struct gate_connect c = {4, "alice/d1", "alice", token(w, "alice", "d1", NOW, NOW + 60),
				 NULL};

	assert_int_equal(gate_connect(w->gate, &c, NOW, NULL), GATE_REFUSE);
	c.mqtt_version = 5;
	assert_int_equal(gate_connect(w->gate, &c, NOW, NULL), GATE_ALLOW);
	c.common_name = "$neapd";
	assert_int_equal(gate_connect(w->gate, &c, NOW, NULL), GATE_REFUSE);
	c = (struct gate_connect){5, "$neapd/0-255", "$neapd", NULL, "$neapd"};
	assert_int_equal(gate_connect(w->gate, &c, NOW, NULL), GATE_ALLOW);
	c.mqtt_version = 4;
	assert_int_equal(gate_connect(w->gate, &c, NOW, NULL), GATE_REFUSE);
}

static char kicked[8][140];
static size_t n_kicked;

static const char *kicked_why;

static void note_kick(const char *client_id, const char *why)
{
	assert_true(n_kicked < 8);
	kicked_why = why;
	strcpy(kicked[n_kicked++], client_id);
}

static void kicks_when_the_token_ends(void **state)
{
	struct world *w = *state;
	assert_int_equal(control(w, "{\"shards\":[0,255],\"last\":true,\"void\":[]}"), NE_OK);
	assert_int_equal(good_connect(w, NOW), GATE_ALLOW);

	n_kicked = 0;
	gate_tick(w->gate, NOW + 3600 + JWT_LEEWAY_S, note_kick);
	assert_int_equal(n_kicked, 0);
	/* A connection with a newer token replaced it. */
	assert_int_equal(try_connect(w, "alice", "alice/d1",
				     token(w, "alice", "d1", NOW + 3000, NOW + 6600), NOW + 3000),
			 GATE_ALLOW);
	gate_tick(w->gate, NOW + 3600 + JWT_LEEWAY_S + 1, note_kick);
	assert_int_equal(n_kicked, 0);
	gate_tick(w->gate, NOW + 6600 + JWT_LEEWAY_S + 1, note_kick);
	assert_int_equal(n_kicked, 1);
	assert_string_equal(kicked[0], "alice/d1");
	assert_string_equal(kicked_why, "token_ended");
	gate_tick(w->gate, NOW + 6600 + JWT_LEEWAY_S + 2, note_kick);
	assert_int_equal(n_kicked, 1);
}

static void revokes_a_device_and_a_user(void **state)
{
	struct world *w = *state;
	char json[160];

	assert_int_equal(control(w, "{\"shards\":[0,255],\"last\":true,\"void\":[]}"), NE_OK);
	assert_int_equal(good_connect(w, NOW), GATE_ALLOW);
	assert_int_equal(
		try_connect(w, "alice", "alice/d2", token(w, "alice", "d2", NOW, NOW + 60), NOW),
		GATE_ALLOW);
	assert_int_equal(try_connect(w, "al", "al/d1", token(w, "al", "d1", NOW, NOW + 60), NOW),
			 GATE_ALLOW);
	n_kicked = 0;
	snprintf(json, sizeof json,
		 "{\"void\":[{\"user\":\"alice\",\"device\":\"d1\",\"iat\":%d,\"until\":%d}]}", NOW,
		 NOW + 7200);
	assert_int_equal(control(w, json), NE_OK);
	gate_tick(w->gate, NOW, note_kick);
	assert_int_equal(n_kicked, 1);
	assert_string_equal(kicked[0], "alice/d1");
	assert_string_equal(kicked_why, "revoked");
	assert_int_equal(good_connect(w, NOW), GATE_REFUSE);
	assert_int_equal(good_connect(w, NOW + 1), GATE_ALLOW);

	snprintf(json, sizeof json, "{\"void\":[{\"user\":\"alice\",\"iat\":%d,\"until\":%d}]}",
		 NOW + 1, NOW + 7200);
	n_kicked = 0;
	assert_int_equal(control(w, json), NE_OK);
	gate_tick(w->gate, NOW, note_kick);
	assert_int_equal(n_kicked, 2);
	assert_int_equal(good_connect(w, NOW + 1), GATE_REFUSE);
	gate_tick(w->gate, NOW + 7201, note_kick);
	assert_int_equal(try_connect(w, "al", "al/d1", token(w, "al", "d1", NOW, NOW + 60), NOW),
			 GATE_ALLOW);
}

static void odd_lists_change_nothing(void **state)
{
	struct world *w = *state;
	static const char *const odd[] = {
		"",
		"[",
		"[]",
		"{}",
		"{\"void\":1}",
		"{\"void\":[1]}",
		"{\"void\":[{\"user\":1}]}",
		"{\"void\":[{\"user\":\"a/#\",\"iat\":1,\"until\":2}]}",
		"{\"void\":[{\"user\":\"a\",\"iat\":1.5,\"until\":2}]}",
		"{\"void\":[{\"user\":\"a\",\"device\":null,\"iat\":1,\"until\":2}]}",
		"{\"void\":[],\"void\":[],\"shards\":[0,255],\"last\":true}",
		"{\"void\":[],\"last\":true}",
		"{\"void\":[],\"last\":true,\"shards\":[0,256]}",
		"{\"void\":[],\"last\":true,\"shards\":[9,8]}",
		"{\"void\":[],\"last\":true,\"shards\":[-1,8]}",
	};

	for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
		assert_int_equal(control(w, odd[i]), NE_MALFORMED);
	assert_int_equal(good_connect(w, NOW), GATE_NOT_READY);
}

static void keys_are_read_again_when_the_folder_changes(void **state)
{
	struct world *w = *state;
	char second[96], third[96];
	struct err e = {0};
	size_t n;
	struct buf private_pem = {.max = 4096}, public_pem = {.max = 4096};
	struct jwt_signer *other, *first = w->signer;

	assert_int_equal(control(w, "{\"shards\":[0,255],\"last\":true,\"void\":[]}"), NE_OK);
	assert_int_equal(jwt_generate(&private_pem, &public_pem, NULL), NE_OK);
	assert_int_equal(jwt_signer_new(&other, buf_slice(&private_pem), NULL), NE_OK);
	w->signer = other;
	assert_int_equal(good_connect(w, NOW), GATE_REFUSE);
	snprintf(second, sizeof second, "%s/two.pem", w->folder);
	write_file(second, buf_slice(&public_pem));
	assert_int_equal(gate_reload(w->gate, false, &n, NULL), NE_OK);
	assert_int_equal(n, 2);
	assert_int_equal(gate_reload(w->gate, false, &n, NULL), NE_OK);
	assert_int_equal(n, 0);
	assert_int_equal(gate_reload(w->gate, true, &n, NULL), NE_OK);
	assert_int_equal(n, 2);
	assert_int_equal(good_connect(w, NOW), GATE_ALLOW);
	w->signer = first;
	assert_int_equal(good_connect(w, NOW), GATE_ALLOW);

	/* A broken file is no key, and is looked at again; a key that is gone is trusted no more.
	 */
	snprintf(third, sizeof third, "%s/three.pem", w->folder);
	write_file(third, slice_str("nonsense"));
	unlink(second);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(gate_reload(w->gate, false, &n, &e), NE_MALFORMED);
		assert_non_null(strstr(e.text, "three.pem"));
		assert_int_equal(n, 1);
	}
	assert_int_equal(good_connect(w, NOW), GATE_ALLOW);
	w->signer = other;
	assert_int_equal(good_connect(w, NOW), GATE_REFUSE);
	unlink(third);
	assert_int_equal(gate_reload(w->gate, false, &n, &e), NE_OK);
	assert_int_equal(n, 1);
	w->signer = first;
	jwt_signer_free(other);
	buf_free(&private_pem);
	buf_free(&public_pem);
}

static void nobody_enters_without_keys(void **state)
{
	struct world *w = *state;
	struct err e = {0};
	size_t n;

	assert_int_equal(control(w, "{\"shards\":[0,255],\"last\":true,\"void\":[]}"), NE_OK);
	assert_int_equal(good_connect(w, NOW), GATE_ALLOW);
	write_file(w->pem, slice_str(""));
	assert_int_not_equal(gate_reload(w->gate, true, &n, &e), NE_OK);
	assert_int_equal(good_connect(w, NOW), GATE_NOT_READY);
	unlink(w->pem);
	assert_int_equal(gate_reload(w->gate, false, &n, &e), NE_NOT_FOUND);
	assert_int_equal(good_connect(w, NOW), GATE_NOT_READY);
}

static void no_key_no_gate(void **state)
{
	struct world *w = *state;
	struct gate *g;
	struct err e = {0};

	assert_int_equal(gate_new(&g, "/nonexistent/keys", &e), NE_NOT_FOUND);
	unlink(w->pem);
	assert_int_equal(gate_new(&g, w->folder, &e), NE_NOT_FOUND);
	assert_non_null(strstr(e.text, w->folder));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_enters_before_the_list),
		TEST(binds_identity_to_token),
		TEST(only_mqtt_5_and_its_own_listener),
		TEST(kicks_when_the_token_ends),
		TEST(revokes_a_device_and_a_user),
		TEST(odd_lists_change_nothing),
		TEST(keys_are_read_again_when_the_folder_changes),
		TEST(nobody_enters_without_keys),
		TEST(no_key_no_gate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
