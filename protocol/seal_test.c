#include "protocol/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "protocol/testing.h"

static const struct key key = {{1, 2, 3}};
enum { EPOCH = 1790000000, AT_KID = 8, AT_SID = 17, AT_IV = 28, HEADER = 40 };

/* Counts: every draw differs. */
static void counting_random(void *ctx, void *out, size_t len)
{
	uint8_t *n = ctx, *at = out;

	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(*n + i);
	*n = (uint8_t)(*n + 1);
}

/* Hands out the bytes of a vector: sid, then the IV before the one wanted. */
static void fixed_random(void *ctx, void *out, size_t len)
{
	const uint8_t *vector = ctx;

	memcpy(out, len == SID_LEN ? vector : vector + SID_LEN, len);
}

static struct sealer *new_sealer(uint8_t *count)
{
	struct sealer *s;
	struct err e;

	assert_int_equal(sealer_new(&s, &key, EPOCH, SEAL_UP, slice_str("alice"), slice_str("d1"),
				    counting_random, count, &e),
			 0);
	return s;
}

static struct opener *new_opener(void)
{
	struct opener *o;
	struct err e;

	assert_int_equal(
		opener_new(&o, &key, EPOCH, SEAL_UP, slice_str("alice"), slice_str("d1"), &e), 0);
	return o;
}

static void test_vectors(void **state)
{
	json_t *v = load_vectors("seal.json"), *one;
	size_t i;
	(void)state;
	json_array_foreach(json_object_get(v, "seals"), i, one)
	{
		uint8_t vector[SID_LEN + 12], plain[600], want[600];
		struct buf got = {.max = 1000}, back = {.max = 1000};
		struct key k;
		struct sealer *s;
		struct opener *o;
		struct err e;
		int kind = SEAL_UP;
		uint32_t epoch = (uint32_t)uint_of(one, "epoch");
		struct slice user = slice_str(text_of(one, "user"));
		struct slice peer = slice_str(text_of(one, "peer"));

		hex_of(one, "key", k.at, KEY_LEN);
		hex_of(one, "sid", vector, SID_LEN);
		hex_of(one, "iv", vector + SID_LEN, 12);
		vector[SID_LEN + 11]--;
		size_t n_plain = hex_of(one, "plain", plain, sizeof plain);
		size_t n_want = hex_of(one, "sealed", want, sizeof want);
		while (strcmp(seal_kind_name((enum seal_kind)kind), text_of(one, "kind")) != 0)
			kind++;
		assert_int_equal(sealer_new(&s, &k, epoch, (enum seal_kind)kind, user, peer,
					    fixed_random, vector, &e),
				 0);
		assert_int_equal(sealer_seal(s, slice_of(plain, n_plain), &got, &e), 0);
		assert_int_equal(got.len, n_want);
		assert_memory_equal(got.at, want, n_want);
		assert_int_equal(opener_new(&o, &k, epoch, (enum seal_kind)kind, user, peer, &e),
				 0);
		assert_int_equal(opener_open(o, buf_slice(&got), &back, &e), 0);
		assert_true(slice_eq(buf_slice(&back), slice_of(plain, n_plain)));
		sealer_free(s);
		opener_free(o);
		buf_free(&got);
		buf_free(&back);
	}
	assert_int_equal(i, 5);
	json_decref(v);
}

static void test_sizes(void **state)
{
	static const size_t size[] = {1, 2, 7, 8, 239, 240, 65519, 65520, 70000};
	uint8_t count = 0, *plain = calloc(1, 70000);
	struct sealer *s = new_sealer(&count);
	struct opener *o = new_opener();
	struct buf m = {.max = 80000}, back = {.max = 80000};
	struct err e;
	(void)state;
	for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
		buf_clear(&m);
		buf_clear(&back);
		assert_int_equal(sealer_seal(s, slice_of(plain, size[i]), &m, &e), 0);
		assert_true(m.len <= size[i] + SEAL_OVERHEAD);
		assert_int_equal(opener_open(o, buf_slice(&m), &back, &e), 0);
		assert_int_equal(back.len, size[i]);
	}
	assert_int_equal(sealer_seal(s, slice_of(plain, 0), &m, &e), NE_LIMIT);
	m.max = 100;
	buf_free(&m);
	assert_int_equal(sealer_seal(s, slice_of(plain, 70), &m, &e), NE_LIMIT);
	assert_int_equal(m.len, 0);
	buf_free(&m);
	buf_free(&back);
	sealer_free(s);
	opener_free(o);
	free(plain);
}

/* T14: every byte of a message matters, and nothing is put out. */
static void test_every_byte_counts(void **state)
{
	uint8_t count = 0;
	struct sealer *s = new_sealer(&count);
	struct opener *o = new_opener();
	struct buf m = {.max = 1000}, out = {.max = 1000};
	struct err e;
	(void)state;
	assert_int_equal(sealer_seal(s, slice_str("the plaintext"), &m, &e), 0);
	for (size_t i = 0; i < m.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			m.at[i] = (uint8_t)(m.at[i] ^ 1 << bit);
			int rc = opener_open(o, buf_slice(&m), &out, &e);
			bool free_byte = (i >= AT_KID && i < AT_KID + 4) ||
					 (i >= AT_SID && i < AT_SID + SID_LEN) ||
					 (i >= AT_IV && i < HEADER) ||
					 i > HEADER + 1; /* a head of two bytes */
			assert_int_equal(rc, free_byte ? NE_AUTH : NE_MALFORMED);
			assert_int_equal(out.len, 0);
			m.at[i] = (uint8_t)(m.at[i] ^ 1 << bit);
		}
	}
	assert_int_equal(opener_open(o, buf_slice(&m), &out, &e), 0);
	buf_free(&m);
	buf_free(&out);
	sealer_free(s);
	opener_free(o);
}

/* T14: short tags, other lengths, longer heads, trailing bytes. */
static void test_other_shapes(void **state)
{
	uint8_t count = 0, bytes[200];
	struct sealer *s = new_sealer(&count);
	struct opener *o = new_opener();
	struct buf m = {.max = 1000}, out = {.max = 1000};
	struct err e;
	uint32_t epoch;
	(void)state;
	assert_int_equal(sealer_seal(s, slice_str("xy"), &m, &e), 0);
	for (size_t n = 0; n < m.len; n++) {
		assert_int_equal(opener_open(o, slice_of(m.at, n), &out, &e), NE_MALFORMED);
		assert_int_equal(seal_peek(slice_of(m.at, n), &epoch, &e), NE_MALFORMED);
	}
	/* A tag cut to 1 … 15 bytes under a head that admits it. */
	for (size_t cut = 1; cut < 18; cut++) {
		memcpy(bytes, m.at, m.len);
		bytes[HEADER] = (uint8_t)(bytes[HEADER] - cut);
		int rc = opener_open(o, slice_of(bytes, m.len - cut), &out, &e);
		assert_int_equal(rc, cut == 1 ? NE_AUTH : NE_MALFORMED);
	}
	memcpy(bytes, m.at, m.len);
	bytes[m.len] = 0;
	assert_int_equal(opener_open(o, slice_of(bytes, m.len + 1), &out, &e), NE_MALFORMED);
	/* The same length written with a head of two bytes. */
	memmove(bytes + HEADER + 2, m.at + HEADER + 1, m.len - HEADER - 1);
	bytes[HEADER] = 0x58;
	bytes[HEADER + 1] = 18;
	assert_int_equal(opener_open(o, slice_of(bytes, m.len + 1), &out, &e), NE_MALFORMED);
	assert_int_equal(out.len, 0);
	assert_int_equal(seal_peek(buf_slice(&m), &epoch, &e), 0);
	assert_int_equal(epoch, EPOCH);
	buf_free(&m);
	buf_free(&out);
	sealer_free(s);
	opener_free(o);
}

static int open_as(struct slice m, const struct key *k, uint32_t epoch, enum seal_kind kind,
		   const char *user, const char *peer)
{
	struct buf out = {.max = 1000};
	struct opener *o;
	struct err e;

	assert_int_equal(opener_new(&o, k, epoch, kind, slice_str(user), slice_str(peer), &e), 0);
	int rc = opener_open(o, m, &out, &e);
	assert_true(rc == 0 || out.len == 0);
	buf_free(&out);
	opener_free(o);
	return rc;
}

/* T14, T15: another user, device, kind, epoch or key opens nothing. */
static void test_scope(void **state)
{
	uint8_t count = 0;
	struct sealer *s = new_sealer(&count);
	struct buf m = {.max = 1000};
	struct key other = key;
	struct err e;
	(void)state;
	assert_int_equal(sealer_seal(s, slice_str("the plaintext"), &m, &e), 0);
	struct slice b = buf_slice(&m);
	assert_int_equal(open_as(b, &key, EPOCH, SEAL_UP, "alice", "d1"), 0);
	assert_int_equal(open_as(b, &key, EPOCH, SEAL_DOWN, "alice", "d1"), NE_AUTH);
	assert_int_equal(open_as(b, &key, EPOCH, SEAL_UP, "bob", "d1"), NE_AUTH);
	assert_int_equal(open_as(b, &key, EPOCH, SEAL_UP, "alice", "d2"), NE_AUTH);
	assert_int_equal(open_as(b, &key, EPOCH, SEAL_UP, "aliced", "1"), NE_AUTH);
	assert_int_equal(open_as(b, &key, EPOCH + 1, SEAL_UP, "alice", "d1"), NE_AUTH);
	assert_int_equal(open_as(b, &key, EPOCH - 1, SEAL_UP, "alice", "d1"), NE_AUTH);
	other.at[31] ^= 1;
	assert_int_equal(open_as(b, &other, EPOCH, SEAL_UP, "alice", "d1"), NE_AUTH);
	buf_free(&m);
	sealer_free(s);
}

static void test_forged_sids_push_nothing_out(void **state)
{
	uint8_t count = 0;
	struct sealer *s = new_sealer(&count);
	struct opener *o = new_opener();
	struct buf m = {.max = 1000}, out = {.max = 100000};
	struct err e;
	(void)state;
	for (int round = 0; round < 20; round++) { /* more sids than are kept */
		assert_int_equal(sealer_renew(s, &e), 0);
		buf_clear(&m);
		assert_int_equal(sealer_seal(s, slice_str("good"), &m, &e), 0);
		assert_int_equal(opener_open(o, buf_slice(&m), &out, &e), 0);
		m.at[AT_SID] ^= 0x80;
		assert_int_equal(opener_open(o, buf_slice(&m), &out, &e), NE_AUTH);
		m.at[AT_SID] ^= 0x80;
		assert_int_equal(opener_open(o, buf_slice(&m), &out, &e), 0);
	}
	buf_free(&m);
	buf_free(&out);
	sealer_free(s);
	opener_free(o);
}

/* T28: a new sid at the limit, at renew and after a fork; no IV twice under one. */
static void test_sids_and_ivs(void **state)
{
	enum { N = 200 };
	static uint8_t seen[N][SID_LEN + 12];
	uint8_t count = 0;
	struct sealer *s = new_sealer(&count);
	struct buf m = {.max = 1000};
	struct err e;
	size_t sids = 1;
	(void)state;
	sealer_set_limit(s, 8);
	for (size_t i = 0; i < N; i++) {
		buf_clear(&m);
		assert_int_equal(sealer_seal(s, slice_str("x"), &m, &e), 0);
		memcpy(seen[i], m.at + AT_SID, SID_LEN);
		memcpy(seen[i] + SID_LEN, m.at + AT_IV, 12);
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(seen[i], seen[j], sizeof seen[i]);
		if (i)
			sids += memcmp(seen[i], seen[i - 1], SID_LEN) != 0;
	}
	assert_int_equal(sids, N / 8);
	sealer_set_limit(s, UINT64_MAX);

	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		buf_clear(&m);
		int rc = sealer_seal(s, slice_str("x"), &m, &e);
		_exit(rc || memcmp(m.at + AT_SID, seen[N - 1], SID_LEN) == 0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	buf_free(&m);
	sealer_free(s);
}

/* The counting part of the IV carries over all its eight bytes. */
static void test_iv_counter_carries(void **state)
{
	uint8_t vector[SID_LEN + 12];
	struct buf m = {.max = 1000};
	struct sealer *s;
	struct err e;
	(void)state;
	memset(vector, 0xff, sizeof vector);
	assert_int_equal(sealer_new(&s, &key, EPOCH, SEAL_HEAD, slice_str("alice"), slice_str(""),
				    fixed_random, vector, &e),
			 0);
	assert_int_equal(sealer_seal(s, slice_str("x"), &m, &e), 0);
	const uint8_t want[12] = {0xff, 0xff, 0xff, 0xff};
	assert_memory_equal(m.at + AT_IV, want, 12);
	buf_free(&m);
	sealer_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_every_byte_counts),
		cmocka_unit_test(test_other_shapes),
		cmocka_unit_test(test_scope),
		cmocka_unit_test(test_forged_sids_push_nothing_out),
		cmocka_unit_test(test_sids_and_ivs),
		cmocka_unit_test(test_iv_counter_carries),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
