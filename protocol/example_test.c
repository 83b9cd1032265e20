/* The worked example of docs/protocol.md: every byte of it is computed here and looked up there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/context.h"
#include "protocol/frame.h"
#include "protocol/seal.h"
#include "protocol/testing.h"

enum { EPOCH = 1790000000, MASTER_ID = 7, TEXT_MAX = 512 * 1024, BYTES_MAX = 4096 };

static const uint8_t sid[SID_LEN] = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7};
static struct buf document = {.max = TEXT_MAX}; /* without blanks, with its NUL */

static void read_document(void)
{
	FILE *f = fopen(NEAP_SOURCE_DIR "/docs/protocol.md", "re");
	int c;

	assert_non_null(f);
	while ((c = fgetc(f)) != EOF)
		if (c != ' ' && c != '\n')
			assert_int_equal(buf_put_u8(&document, (uint8_t)c), 0);
	fclose(f);
	assert_int_equal(buf_terminate(&document), 0);
}

static void assert_documented(const char *what, struct slice bytes)
{
	struct buf hex = {.max = 2 * BYTES_MAX + 1};

	for (size_t i = 0; i < bytes.len; i++)
		assert_int_equal(buf_printf(&hex, "%02x", bytes.at[i]), 0);
	assert_int_equal(buf_terminate(&hex), 0);
	if (!strstr((const char *)document.at, (const char *)hex.at))
		fail_msg("docs/protocol.md lacks %s: %s", what, (const char *)hex.at);
	buf_free(&hex);
}

static const json_t *frame_vector(const json_t *all, const char *name)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(all, "frames"), i,
			   one) if (!strcmp(text_of(one, "name"), name)) return one;
	fail_msg("no frame vector %s", name);
	return NULL;
}

static void message_key(struct key *out)
{
	json_t *v = load_vectors("keys.json");
	struct key master;

	assert_int_equal(hex_of(v, "master", master.at, KEY_LEN), KEY_LEN);
	assert_documented("the master key", slice_of(master.at, KEY_LEN));
	assert_int_equal(key_derive(&master, MASTER_ID, KEY_MESSAGE, slice_str("alice"),
				    slice_str("d1"), EPOCH, out, NULL),
			 0);
	json_decref(v);
	assert_documented("the message key", slice_of(out->at, KEY_LEN));
}

static void subkey(const struct key *key, enum seal_kind kind)
{
	struct key out;

	assert_int_equal(
		key_subkey(key, kind, slice_str("alice"), slice_str("d1"), sid, &out, NULL), 0);
	assert_documented("a subkey", slice_of(out.at, KEY_LEN));
}

/* The sid, then the IV before 01 02 … 0c. */
static void fixed_random(void *ctx, void *out, size_t len)
{
	(void)ctx;
	if (len == SID_LEN) {
		memcpy(out, sid, SID_LEN);
		return;
	}
	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = (uint8_t)(i + 1 < len ? i + 1 : i);
}

static void sealed(const struct key *key, enum seal_kind kind, struct slice plain)
{
	struct buf out = {.max = BYTES_MAX};
	struct sealer *s;

	assert_int_equal(sealer_new(&s, key, EPOCH, kind, slice_str("alice"), slice_str("d1"),
				    fixed_random, NULL, NULL),
			 0);
	assert_int_equal(sealer_seal(s, plain, &out, NULL), 0);
	assert_documented("a sealed message", buf_slice(&out));
	sealer_free(s);
	buf_free(&out);
}

static void declare(const json_t *shapes)
{
	uint8_t bytes[BYTES_MAX];
	const json_t *readings = json_array_get(json_object_get(shapes, "shapes"), 0);
	struct slice shape = slice_of(bytes, hex_of(readings, "hex", bytes, sizeof bytes));
	struct frame f = {.type = FRAME_DECLARE, .declare = {.n = 1, .shape = &shape}};
	struct buf out = {.max = BYTES_MAX};

	assert_int_equal(frame_encode(&f, &out, NULL), 0);
	assert_documented("the declare frame", buf_slice(&out));
	buf_free(&out);
}

/* The answer to the vector "set": an append row, so no seq stands for it. */
static void ack(const struct frame *set, const struct frame *welcome, struct buf *out)
{
	const struct ack_set covered = {.number = set->set.number, .own = 0};
	struct frame f = {
		.type = FRAME_ACK,
		.ack = {.store = welcome->welcome.store,
			.term = welcome->welcome.term,
			.site = set->set.site,
			.number = set->set.number,
			.head = welcome->welcome.head,
			.n = 1,
			.set = &covered},
	};

	assert_int_equal(frame_encode(&f, out, NULL), 0);
	assert_documented("the ack frame", buf_slice(out));
}

static struct slice vector(const json_t *all, const char *name, uint8_t out[static BYTES_MAX])
{
	struct slice bytes = slice_of(out, hex_of(frame_vector(all, name), "hex", out, BYTES_MAX));

	assert_documented(name, bytes);
	return bytes;
}

static void test_the_example_in_the_documentation(void **state)
{
	json_t *frames = load_vectors("frames.json"), *shapes = load_vectors("shapes.json");
	uint8_t bytes[3][BYTES_MAX];
	struct arena a = {.max = LIMIT_DECODED};
	struct buf answer = {.max = BYTES_MAX};
	struct frame set, welcome;
	struct key key;
	(void)state;

	read_document();
	message_key(&key);
	subkey(&key, SEAL_UP);
	subkey(&key, SEAL_DOWN);
	vector(frames, "hello", bytes[0]);
	struct slice w = vector(frames, "welcome", bytes[1]);
	struct slice s = vector(frames, "set", bytes[2]);
	assert_int_equal(frame_decode(w, &a, &welcome, NULL), 0);
	assert_int_equal(frame_decode(s, &a, &set, NULL), 0);
	declare(shapes);
	sealed(&key, SEAL_UP, s);
	ack(&set, &welcome, &answer);
	sealed(&key, SEAL_DOWN, buf_slice(&answer));
	buf_free(&answer);
	buf_free(&document);
	arena_free(&a);
	json_decref(frames);
	json_decref(shapes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_example_in_the_documentation)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
