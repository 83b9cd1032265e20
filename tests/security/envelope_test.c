/* The one shape of a sealed message (T14), and a million of them under different IVs (T28). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <cmocka.h>

#include "protocol/seal.h"

static const struct key key = {{9, 8, 7}};
enum { EPOCH = 1790000000, AT_ALG = 5, AT_SID = 17, AT_IV = 28, UNIQUE = SID_LEN + 12 };

static void draw(void *ctx, void *out, size_t len)
{
	(void)ctx;
	assert_int_equal(getrandom(out, len, 0), (ssize_t)len);
}

static struct sealer *new_sealer(void)
{
	struct sealer *s;

	assert_int_equal(sealer_new(&s, &key, EPOCH, SEAL_UP, slice_str("alice"), slice_str("d1"),
				    draw, NULL, NULL),
			 0);
	return s;
}

/* A message with bytes put in place of others; `opened` must be refused and give nothing. */
static void refused(const struct buf *m, size_t at, size_t less, const char *bytes, size_t n)
{
	struct buf changed = {.max = 1000}, out = {.max = 1000};
	struct opener *o;
	struct err e;

	assert_int_equal(
		opener_new(&o, &key, EPOCH, SEAL_UP, slice_str("alice"), slice_str("d1"), &e), 0);
	assert_int_equal(buf_put(&changed, m->at, at), 0);
	assert_int_equal(buf_put(&changed, bytes, n), 0);
	assert_int_equal(buf_put(&changed, m->at + at + less, m->len - at - less), 0);
	assert_int_equal(opener_open(o, buf_slice(&changed), &out, &e), NE_MALFORMED);
	assert_int_equal(out.len, 0);
	opener_free(o);
	buf_free(&changed);
	buf_free(&out);
}

static void t14_other_algorithms_lengths_and_members(void **state)
{
	struct buf m = {.max = 1000};
	struct sealer *s = new_sealer();
	(void)state;

	assert_int_equal(sealer_seal(s, slice_str("the plaintext"), &m, NULL), 0);
	assert_int_equal(m.at[AT_ALG], 3); /* A256GCM */
	assert_int_equal(m.at[AT_ALG - 1], 1);
	refused(&m, AT_ALG, 1, "\x01", 1); /* A128GCM */
	refused(&m, AT_ALG, 1, "\x02", 1); /* A192GCM */
	refused(&m, AT_ALG, 1, "\x18\x18", 2);
	/* IVs of 11, 13 and 16 bytes under heads that say so; none. */
	assert_int_equal(m.at[AT_IV - 1], 0x4c);
	refused(&m, AT_IV - 1, 2, "\x4b", 1);
	refused(&m, AT_IV - 1, 1, "\x4d\0", 2);
	refused(&m, AT_IV - 1, 1, "\x50\0\0\0\0", 5);
	refused(&m, AT_IV - 1, 13, "\x40", 1);
	/* A member more beside the IV, a key id among the unprotected ones, another tag. */
	assert_int_equal(m.at[AT_IV - 3], 0xa1);
	refused(&m, AT_IV - 3, 1, "\xa2\x04\x41\x01", 4);
	assert_int_equal(m.at[0], 0xd0);
	refused(&m, 0, 1, "\xd1", 1);
	refused(&m, 0, 1, "", 0);
	refused(&m, 0, 0, "\xd9\xd9\xf7", 3);
	buf_free(&m);
	sealer_free(s);
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, UNIQUE);
}

static void t28_a_million_seals(void **state)
{
	enum { N = 1000000 };
	uint8_t(*seen)[UNIQUE] = malloc((size_t)N * UNIQUE);
	struct sealer *s = new_sealer();
	struct buf m = {.max = 1000};
	(void)state;

	assert_non_null(seen);
	sealer_set_limit(s, 300000);
	for (size_t i = 0; i < N; i++) {
		buf_clear(&m);
		assert_int_equal(sealer_seal(s, slice_str("x"), &m, NULL), 0);
		memcpy(seen[i], m.at + AT_SID, SID_LEN);
		memcpy(seen[i] + SID_LEN, m.at + AT_IV, 12);
	}
	qsort(seen, N, sizeof seen[0], by_bytes);
	size_t sids = 1;
	for (size_t i = 1; i < N; i++) {
		assert_memory_not_equal(seen[i], seen[i - 1], UNIQUE);
		sids += memcmp(seen[i], seen[i - 1], SID_LEN) != 0;
	}
	assert_int_equal(sids, 4);
	free(seen);
	buf_free(&m);
	sealer_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t14_other_algorithms_lengths_and_members),
		cmocka_unit_test(t28_a_million_seals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
