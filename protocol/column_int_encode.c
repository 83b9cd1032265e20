#include <assert.h>

#include "protocol/column_int.h"
#include "protocol/column_io.h"
#include "protocol/column_rice.h"

enum {
	SAMPLE = 48,	  /* rows compared at each lag */
	MIDDLE_OF = 24,	  /* values whose median is taken */
	LAG_TRIED = 64,	  /* longest lag looked for */
	SEARCH_FROM = 12, /* fewer values: no lag, no Rice */
	WHOLE_HEAD_BITS = 24,
};

/* How one column is going to be written. */
struct plan {
	enum ints_predictor predictor;
	size_t head; /* values the prediction starts from: 0, 1, 2 or the lag */
	enum ints_coder coder;
	int64_t base;
	unsigned width;		/* packed */
	unsigned start, phases; /* Rice */
	size_t bits;		/* what the rest takes */
};

static int encode(const int64_t *v, size_t n, struct buf *out, struct arena *tmp, unsigned depth);

static void residuals(const int64_t *v, size_t n, enum ints_predictor predictor, size_t head,
		      int64_t *r)
{
	switch (predictor) {
	case PREDICT_NONE:
		for (size_t i = 0; i < n; i++)
			r[i] = v[i];
		return;
	case PREDICT_LINE:
		for (size_t i = 2; i < n; i++)
			r[i - 2] = wrap_sub(wrap_sub(v[i], v[i - 1]), wrap_sub(v[i - 1], v[i - 2]));
		return;
	case PREDICT_BEFORE:
	case PREDICT_LAG:
		for (size_t i = head; i < n; i++)
			r[i - head] = wrap_sub(v[i], v[i - head]);
		return;
	}
}

/* The median of an evenly spread sample: the value most residuals are near or equal to. */
static int64_t median(const int64_t *r, size_t n)
{
	int64_t s[MIDDLE_OF];
	assert(n > 0);
	size_t count = n < MIDDLE_OF ? n : MIDDLE_OF;
	for (size_t i = 0; i < count; i++) {
		int64_t x = r[i * n / count];
		size_t k = i;
		for (; k > 0 && s[k - 1] > x; k--)
			s[k] = s[k - 1];
		s[k] = x;
	}
	return s[count / 2];
}

struct spread {
	int64_t min, max, mid;
	size_t others;	   /* residuals that are not `mid` */
	size_t other_bits; /* what their distances from it take */
};

static struct spread measure(const int64_t *r, size_t n)
{
	struct spread s = {.min = r[0], .max = r[0], .mid = median(r, n)};
	for (size_t i = 0; i < n; i++) {
		s.min = r[i] < s.min ? r[i] : s.min;
		s.max = r[i] > s.max ? r[i] : s.max;
		unsigned bits = bit_length(zigzag(wrap_sub(r[i], s.mid)));
		s.others += bits != 0;
		s.other_bits += bits;
	}
	return s;
}

static unsigned range_bits(const struct spread *s)
{
	return bit_length((uint64_t)s->max - (uint64_t)s->min);
}

/* Bits of x positions among n and of the values there: their distances, in a few bits each. */
static size_t sparse_bits(const struct spread *s, size_t n)
{
	if (s->others == 0)
		return 0;
	return 64 + s->others * (bit_length(n / s->others) + 1) + s->other_bits;
}

/* A quick guess at what residuals will take, good enough to choose a predictor by. */
static size_t guess_bits(const struct spread *s, size_t n)
{
	size_t packed = n * range_bits(s);
	size_t rice = s->other_bits + n;
	size_t sparse = sparse_bits(s, n);
	size_t least = packed < rice ? packed : rice;
	return least < sparse ? least : sparse;
}

static size_t rice_cost(const int64_t *r, size_t n, int64_t base, unsigned start, unsigned phases)
{
	struct rice_phase phase[RICE_PHASES];
	for (size_t i = 0; i < phases; i++)
		phase[i] = rice_start(start);
	size_t bits = 0;
	for (size_t i = 0, p = 0; i < n; i++) {
		uint64_t u = zigzag(wrap_sub(r[i], base));
		unsigned k = rice_parameter(&phase[p]);
		bits += rice_bits(u, k);
		rice_learn(&phase[p], u, k);
		p = p + 1 < phases ? p + 1 : 0;
	}
	return bits;
}

static void consider(struct plan *p, enum ints_coder coder, int64_t base, size_t bits)
{
	if (bits >= p->bits)
		return;
	p->coder = coder;
	p->base = base;
	p->bits = bits;
}

/* Series taking turns often share a scale: the lag itself and its divisors by two are tried. */
static void consider_rice(struct plan *p, const int64_t *r, size_t n, const struct spread *s)
{
	unsigned start = (unsigned)(s->other_bits / n);
	unsigned least = p->predictor == PREDICT_LAG ? (unsigned)p->head : 1;
	if (start > RICE_START_MAX)
		return;
	for (unsigned phases = least, tries = 0; tries < 4; phases /= 2, tries++) {
		size_t bits = 32 + rice_cost(r, n, s->mid, start, phases);
		if (bits < p->bits) {
			consider(p, CODE_RICE, s->mid, bits);
			p->start = start;
			p->phases = phases;
		}
		if (phases % 2 || phases == 1)
			break;
	}
}

static size_t varint_bits(const int64_t *r, size_t n)
{
	size_t bytes = 0;
	for (size_t i = 0; i < n; i++)
		bytes += (bit_length(zigzag(r[i]) | 1) + 6) / 7;
	return bytes * 8;
}

/* The coder that takes least for the residuals of a plan whose predictor is chosen. */
static void choose_coder(struct plan *p, const int64_t *r, size_t n, unsigned depth)
{
	struct spread s = measure(r, n);
	p->bits = SIZE_MAX;
	if (s.min == s.max) {
		consider(p, CODE_CONSTANT, s.min, 8);
		return;
	}
	consider(p, CODE_VARINT, 0, varint_bits(r, n));
	p->width = range_bits(&s);
	consider(p, CODE_PACKED, s.min, 16 + n * p->width);
	if (n < SEARCH_FROM)
		return;
	consider_rice(p, r, n, &s);
	/* Its two lists are columns again: not on the last level. */
	if (s.others <= n / 4 && depth + 1 < INTS_DEPTH)
		consider(p, CODE_SPARSE, s.mid, sparse_bits(&s, n));
}

/* The lag at which the last rows repeat themselves best; 0 if there is no room for one. */
static size_t best_lag(const int64_t *v, size_t n)
{
	size_t longest = n / 2 < LAG_TRIED ? n / 2 : LAG_TRIED;
	size_t best = 0, best_bits = SIZE_MAX;
	for (size_t lag = 2; lag <= longest; lag++) {
		size_t from = n - lag < SAMPLE ? lag : n - SAMPLE;
		/* Samples shrink with the lag; a longer lag must earn its longer head. */
		size_t scale = 16 * SAMPLE / (n - from);
		size_t bits = lag;
		for (size_t i = from; i < n && bits < best_bits; i++) {
			uint64_t u = zigzag(wrap_sub(v[i], v[i - lag]));
			bits += (bit_length(u) + (u != 0)) * scale;
		}
		if (bits < best_bits) {
			best_bits = bits;
			best = lag;
		}
	}
	return best;
}

struct search {
	const int64_t *v;
	size_t n;
	int64_t *r; /* room for n residuals */
	struct plan best;
	size_t best_bits;
};

static void try_predictor(struct search *t, enum ints_predictor predictor, size_t head)
{
	if (t->n <= head)
		return;
	size_t rest = t->n - head;
	residuals(t->v, t->n, predictor, head, t->r);
	struct spread s = measure(t->r, rest);
	size_t bits = guess_bits(&s, rest);
	if (predictor == PREDICT_LAG)
		bits += 32 + head * WHOLE_HEAD_BITS / 2;
	else
		bits += head * 32;
	if (bits < t->best_bits) {
		t->best_bits = bits;
		t->best.predictor = predictor;
		t->best.head = head;
	}
}

static void choose(struct search *t, unsigned depth)
{
	t->best_bits = SIZE_MAX;
	try_predictor(t, PREDICT_NONE, 0);
	if (t->best_bits > 0 && t->n > 1)
		try_predictor(t, PREDICT_BEFORE, 1);
	if (t->best_bits > t->n && t->n >= SEARCH_FROM) {
		try_predictor(t, PREDICT_LINE, 2);
		size_t lag = depth + 1 < INTS_DEPTH ? best_lag(t->v, t->n) : 0;
		if (lag)
			try_predictor(t, PREDICT_LAG, lag);
	}
	residuals(t->v, t->n, t->best.predictor, t->best.head, t->r);
	choose_coder(&t->best, t->r, t->n - t->best.head, depth);
}

static int put_packed(struct buf *out, const struct plan *p, const int64_t *r, size_t n)
{
	TRY(put_zigzag(out, p->base));
	TRY(buf_put_u8(out, (uint8_t)p->width));
	size_t bytes = (n * p->width + 7) / 8;
	TRY(buf_reserve(out, bytes));
	struct bit_writer w = {.at = out->at + out->len};
	for (size_t i = 0; i < n; i++)
		bits_put_wide(&w, (uint64_t)wrap_sub(r[i], p->base), p->width);
	bits_finish(&w);
	out->len += bytes;
	return 0;
}

int ints_encode_fixed(const int64_t *v, size_t n, unsigned width, struct buf *out)
{
	struct plan p = {.coder = CODE_PACKED, .predictor = PREDICT_NONE, .width = width};

	TRY(buf_put_u8(out, (uint8_t)(p.coder | p.predictor << INTS_PREDICTOR_SHIFT)));
	return put_packed(out, &p, v, n);
}

static int put_rice(struct buf *out, const struct plan *p, const int64_t *r, size_t n)
{
	TRY(put_zigzag(out, p->base));
	TRY(buf_put_u8(out, (uint8_t)p->start));
	TRY(buf_put_u8(out, (uint8_t)p->phases));
	size_t bytes = (rice_cost(r, n, p->base, p->start, p->phases) + 7) / 8;
	TRY(buf_reserve(out, bytes));
	struct rice_phase phase[RICE_PHASES];
	for (size_t i = 0; i < p->phases; i++)
		phase[i] = rice_start(p->start);
	struct bit_writer w = {.at = out->at + out->len};
	for (size_t i = 0, at = 0; i < n; i++) {
		uint64_t u = zigzag(wrap_sub(r[i], p->base));
		unsigned k = rice_parameter(&phase[at]);
		rice_put(&w, u, k);
		rice_learn(&phase[at], u, k);
		at = at + 1 < p->phases ? at + 1 : 0;
	}
	bits_finish(&w);
	assert(w.at == out->at + out->len + bytes);
	out->len += bytes;
	return 0;
}

static int put_sparse(struct buf *out, const struct plan *p, const int64_t *r, size_t n,
		      struct arena *tmp, unsigned depth)
{
	int64_t *gap = arena_array(tmp, n, sizeof *gap);
	int64_t *value = arena_array(tmp, n, sizeof *value);
	if (!gap || !value)
		return NE_MEMORY;
	size_t x = 0, after = 0;
	for (size_t i = 0; i < n; i++) {
		if (r[i] == p->base)
			continue;
		gap[x] = (int64_t)(i - after);
		value[x++] = r[i];
		after = i + 1;
	}
	TRY(put_zigzag(out, p->base));
	TRY(put_varint(out, x));
	TRY(encode(gap, x, out, tmp, depth + 1));
	return encode(value, x, out, tmp, depth + 1);
}

static int put_rest(struct buf *out, const struct plan *p, const int64_t *r, size_t n,
		    struct arena *tmp, unsigned depth)
{
	switch (p->coder) {
	case CODE_CONSTANT:
		return put_zigzag(out, p->base);
	case CODE_PACKED:
		return put_packed(out, p, r, n);
	case CODE_RICE:
		return put_rice(out, p, r, n);
	case CODE_VARINT:
		for (size_t i = 0; i < n; i++)
			TRY(put_zigzag(out, r[i]));
		return 0;
	case CODE_SPARSE:
		return put_sparse(out, p, r, n, tmp, depth);
	}
	return NE_INTERNAL;
}

static int put_head(struct buf *out, const struct plan *p, const int64_t *v, struct arena *tmp,
		    unsigned depth)
{
	switch (p->predictor) {
	case PREDICT_NONE:
		return 0;
	case PREDICT_BEFORE:
		return put_zigzag(out, v[0]);
	case PREDICT_LINE:
		TRY(put_zigzag(out, v[0]));
		return put_zigzag(out, wrap_sub(v[1], v[0]));
	case PREDICT_LAG:
		TRY(buf_put_u8(out, (uint8_t)p->head));
		return encode(v, p->head, out, tmp, depth + 1);
	}
	return NE_INTERNAL;
}

static bool all_equal(const int64_t *v, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (v[i] != v[0])
			return false;
	return true;
}

static int encode(const int64_t *v, size_t n, struct buf *out, struct arena *tmp, unsigned depth)
{
	if (n == 0)
		return 0;
	if (all_equal(v, n)) {
		if (v[0] >= 0 && v[0] < INTS_SMALL)
			return buf_put_u8(out, (uint8_t)(INTS_SMALL | v[0]));
		TRY(buf_put_u8(out, CODE_CONSTANT));
		return put_zigzag(out, v[0]);
	}
	struct search t = {.v = v, .n = n, .r = arena_array(tmp, n, sizeof *t.r)};
	if (!t.r)
		return NE_MEMORY;
	choose(&t, depth);
	const struct plan *p = &t.best;
	assert(depth < INTS_DEPTH);
	TRY(buf_put_u8(out, (uint8_t)(p->coder | p->predictor << INTS_PREDICTOR_SHIFT)));
	TRY(put_head(out, p, v, tmp, depth));
	return put_rest(out, p, t.r, n - p->head, tmp, depth);
}

int ints_encode(const int64_t *v, size_t n, struct buf *out, struct arena *tmp)
{
	return encode(v, n, out, tmp, 0);
}
