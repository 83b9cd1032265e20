/* Small messages that claim much (T26): refused by their claims, before memory is asked for. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#include <cmocka.h>

#include "protocol/frame.h"

enum { DEEP = 60000, BIG = 8 << 20 };

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/*
 * Decodes it as a frame: it must be refused, having taken less than a mebibyte. The time is
 * printed: what is refused by its head takes microseconds.
 */
static void refused(const char *what, const void *bytes, size_t len)
{
	struct arena a = {.max = LIMIT_DECODED};
	struct frame f;
	struct err e;
	size_t before = mallinfo2().uordblks;
	double at = cpu_ms();

	int rc = frame_decode(slice_of(bytes, len), &a, &f, &e);
	double took = cpu_ms() - at;
	if (rc != NE_MALFORMED && rc != NE_LIMIT)
		fail_msg("%s: not refused (%s)", what, ne_name(rc));
	assert_true(a.used < 1 << 20);
	size_t after = mallinfo2().uordblks; /* 0 under a sanitizer's allocator */
	assert_true(after < before + (1 << 20));
	print_message("%-30s %6zu bytes, refused in %.3f ms\n", what, len, took);
	arena_free(&a);
}

/* A frame marked as compressed, with one zstd frame of `n` zeros. */
static size_t compressed(uint8_t *out, size_t room, size_t n, bool with_size)
{
	uint8_t *zeros = calloc(1, n);
	ZSTD_CCtx *c = ZSTD_createCCtx();

	assert_non_null(zeros);
	assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, with_size)));
	assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, 19)));
	out[0] = 1;
	size_t len = ZSTD_compress2(c, out + 1, room - 1, zeros, n);
	assert_false(ZSTD_isError(len));
	ZSTD_freeCCtx(c);
	free(zeros);
	return len + 1;
}

static void t26_zstd(void **state)
{
	static uint8_t z[8192];
	size_t n = compressed(z, sizeof z, BIG, true);
	(void)state;

	assert_true(BIG / n > 8000);
	refused("zstd: 8 MiB of zeros", z, n);
	/* Many of those that are allowed, one behind the other: above a frame's limit. */
	n = compressed(z, sizeof z, LIMIT_SLICE, true);
	size_t one = n - 1, at = n;
	while (at + one < sizeof z) {
		memcpy(z + at, z + 1, one);
		at += one;
	}
	assert_true(at / one * LIMIT_SLICE > LIMIT_FRAME);
	refused("zstd: many frames", z, at);
	n = compressed(z, sizeof z, 200000, false);
	refused("zstd: no size", z, n);
	n = compressed(z, sizeof z, 200000, true);
	z[6] ^= 1; /* in its content size */
	refused("zstd: a lying size", z, n);
	memcpy(z, "\1\x50\x2a\x4d\x18\xff\xff\xff\x7f", 9);
	refused("zstd: skippable", z, 9);
}

static void t26_cbor(void **state)
{
	static uint8_t deep[DEEP];
	(void)state;

	refused("CBOR: array of 2^30", "\0\x9a\x40\0\0\0", 6);
	refused("CBOR: array of 2^62", "\0\x9b\x40\0\0\0\0\0\0\0", 10);
	refused("CBOR: bytes of 2^30", "\0\x85\x02\x5a\x40\0\0\0", 8);
	refused("CBOR: bytes of 2^63", "\0\x85\x02\x5b\x80\0\0\0\0\0\0\0", 12);
	refused("CBOR: map of 2^30", "\0\xba\x40\0\0\0", 6);
	refused("CBOR: indefinite array", "\0\x9f\x02\xff", 4);
	refused("CBOR: indefinite bytes", "\0\x82\x02\x5f\x41\0\xff", 7);
	memset(deep, 0x81, sizeof deep);
	deep[0] = 0;
	refused("CBOR: arrays in arrays", deep, sizeof deep);
	memset(deep + 1, 0xc1, sizeof deep - 1);
	refused("CBOR: tags on tags", deep, sizeof deep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t26_zstd),
		cmocka_unit_test(t26_cbor),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
