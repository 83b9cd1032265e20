#include "protocol/column_real.h"

#include <math.h>
#include <string.h>

#include "protocol/column.h"
#include "protocol/column_int.h"
#include "protocol/column_io.h"

enum {
	NO_DECIMAL = COLUMN_DECIMAL_MAX + 1,
	ROUND_BITS = COLUMN_EXACT_BITS - 1, /* below 2^52 adding ½ is exact */
	EXCEPTIONS = 16,		    /* at most one value in so many is an exception */
};

static uint64_t bits_of(double r)
{
	uint64_t bits;
	memcpy(&bits, &r, sizeof bits);
	return bits;
}

/* Whether r is i / 10^e bit for bit: −0.0, infinities and long fractions are not. */
static bool decimal_at(double r, unsigned e, int64_t *i)
{
	const double exact = (double)((int64_t)1 << ROUND_BITS);
	double scaled = r * column_power[e];
	if (!(scaled > -exact && scaled < exact))
		return false;
	int64_t n = (int64_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
	if (bits_of((double)n / column_power[e]) != bits_of(r))
		return false;
	*i = n;
	return true;
}

unsigned real_decimal(double r, int64_t *i)
{
	for (unsigned e = 0; e <= COLUMN_DECIMAL_MAX; e++)
		if (decimal_at(r, e, i))
			return e;
	*i = 0;
	return NO_DECIMAL;
}

int real_put_raw(struct buf *out, double r)
{
	uint64_t bits = bits_of(r);
	uint8_t b[8];
	for (unsigned k = 0; k < 8; k++)
		b[k] = (uint8_t)(bits >> (56 - 8 * k));
	return buf_put(out, b, sizeof b);
}

int reals_put_planes(const struct val *v, size_t n, struct buf *out)
{
	TRY(buf_put_u8(out, COLUMN_REALS));
	if (n > SIZE_MAX / 8)
		return NE_LIMIT;
	TRY(buf_reserve(out, n * 8));
	uint8_t *at = out->at + out->len;
	for (size_t i = 0; i < n; i++) {
		uint64_t bits = bits_of(v[i].r);
		for (unsigned k = 0; k < 8; k++)
			at[k * n + i] = (uint8_t)(bits >> (56 - 8 * k));
	}
	out->len += n * 8;
	return 0;
}

/*
 * The least e that is exact for all values but a few; NO_DECIMAL if there is none. A value exact
 * at some e is so at every greater one as long as it fits 53 bits.
 */
static unsigned common_exponent(const struct val *v, size_t n)
{
	size_t count[NO_DECIMAL + 1] = {0};
	unsigned e = 0;
	for (size_t i = 0; i < n; i++) {
		int64_t d;
		/* Usually the value before had as many digits: then one attempt settles it. */
		if (e > COLUMN_DECIMAL_MAX || !decimal_at(v[i].r, e, &d) || (e && d % 10 == 0))
			e = real_decimal(v[i].r, &d);
		count[e]++;
		if (i == 63 && count[NO_DECIMAL] > 32)
			return NO_DECIMAL;
	}
	size_t covered = 0;
	for (e = 0; e <= COLUMN_DECIMAL_MAX; e++) {
		covered += count[e];
		if (n - covered <= n / EXCEPTIONS)
			return e;
	}
	return NO_DECIMAL;
}

struct decimals {
	int64_t *i;   /* an exception repeats the value before it */
	int64_t *gap; /* rows skipped before each exception */
	size_t n_exception;
};

static void to_decimals(const struct val *v, size_t n, unsigned e, struct decimals *d)
{
	size_t after = 0;
	int64_t last = 0;
	for (size_t k = 0; k < n; k++) {
		if (!decimal_at(v[k].r, e, &last)) {
			d->gap[d->n_exception++] = (int64_t)(k - after);
			after = k + 1;
		}
		d->i[k] = last;
	}
}

static int put_exceptions(const struct val *v, const struct decimals *d, struct buf *out,
			  struct arena *tmp)
{
	TRY(put_varint(out, d->n_exception));
	TRY(ints_encode(d->gap, d->n_exception, out, tmp));
	size_t at = 0;
	for (size_t k = 0; k < d->n_exception; k++) {
		at += (size_t)d->gap[k];
		TRY(real_put_raw(out, v[at++].r));
	}
	return 0;
}

int reals_encode(const struct val *v, size_t n, struct buf *out, struct arena *tmp)
{
	unsigned e = common_exponent(v, n);
	if (e > COLUMN_DECIMAL_MAX)
		return reals_put_planes(v, n, out);
	struct decimals d = {
		.i = arena_array(tmp, n, sizeof *d.i),
		.gap = arena_array(tmp, n, sizeof *d.gap),
	};
	if (!d.i || !d.gap)
		return NE_MEMORY;
	to_decimals(v, n, e, &d);
	/* Values that fit 53 bits by themselves may not do so at the common exponent. */
	if (d.n_exception > n / 4)
		return reals_put_planes(v, n, out);
	TRY(buf_put_u8(out, d.n_exception ? COLUMN_DECIMALS_BUT : COLUMN_DECIMALS));
	TRY(buf_put_u8(out, (uint8_t)e));
	TRY(ints_encode(d.i, n, out, tmp));
	return d.n_exception ? put_exceptions(v, &d, out, tmp) : 0;
}
