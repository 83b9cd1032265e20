#include "protocol/column_dictionary.h"

#include <string.h>

#include "protocol/column_io.h"

enum {
	NUMBERS_MAX = 64, /* more distinct numbers than this go better as numbers */
	TRIAL = 32,	  /* values after which too many distinct ones end the attempt */
};

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

/* Not keyed: values come from our own database, and a bad distribution costs time only. */
static uint64_t hash(const struct val *v)
{
	uint64_t h = 0;
	if (v->type != VAL_TEXT && v->type != VAL_BLOB)
		return mix((uint64_t)v->i);
	size_t i = 0;
	for (; i + 8 <= v->s.len; i += 8) {
		uint64_t part;
		memcpy(&part, v->s.at + i, 8);
		h = mix(h ^ part);
	}
	uint64_t last = 0;
	if (i < v->s.len)
		memcpy(&last, v->s.at + i, v->s.len - i);
	return mix(h ^ last ^ (uint64_t)v->s.len << 56);
}

/* The most distinct values worth a dictionary, after `seen` values. */
static size_t most_distinct(enum val_type type, size_t seen)
{
	size_t half = TRIAL / 2 + seen / 2;
	bool number = type == VAL_INT || type == VAL_REAL;
	return number && half > NUMBERS_MAX ? NUMBERS_MAX : half;
}

/* The slot that holds `v`, or the free one where it belongs; 0 is free, else index + 1. */
static uint32_t *slot_of(uint32_t *slot, size_t mask, const struct val *distinct,
			 const struct val *v)
{
	size_t at = (size_t)hash(v) & mask;
	while (slot[at] && !val_eq(&distinct[slot[at] - 1], v))
		at = (at + 1) & mask;
	return &slot[at];
}

int dictionary_make(const struct val *v, size_t n, struct dictionary *out, struct arena *tmp)
{
	size_t size = 2;
	*out = (struct dictionary){0};
	while (size < 2 * most_distinct(v->type, n) && size < 2 * n)
		size *= 2;
	uint32_t *slot = arena_array(tmp, size, sizeof *slot);
	struct val *distinct = arena_array(tmp, size, sizeof *distinct);
	int64_t *index = arena_array(tmp, n, sizeof *index);
	if (!slot || !distinct || !index)
		return NE_MEMORY;
	size_t count = 0;
	for (size_t i = 0; i < n; i++) {
		uint32_t *s = slot_of(slot, size - 1, distinct, &v[i]);
		if (*s == 0) {
			if (count == most_distinct(v->type, i))
				return 0;
			distinct[count++] = v[i];
			*s = (uint32_t)count;
		}
		index[i] = *s - 1;
	}
	if (count == n)
		return 0;
	*out = (struct dictionary){.n = count, .val = distinct, .index = index};
	return 0;
}

bool dictionary_sure(const struct dictionary *d, const struct val *v, size_t n)
{
	bool number = v->type == VAL_INT || v->type == VAL_REAL;
	return !number && d->n <= n / 4;
}
