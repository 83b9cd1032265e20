#include <string.h>

#include "device/core/capture.h"
#include "protocol/value_bytes.h"

int key_pack(struct buf *out, const struct val *key, size_t n)
{
	return values_put(out, key, n);
}

int key_unpack(struct slice bytes, struct val *out, size_t n)
{
	int rc = values_take(&bytes, out, n);

	return rc || bytes.len ? NE_CORRUPT : NE_OK;
}

static size_t trimmed(struct slice s)
{
	size_t len = s.len;

	while (len && s.at[len - 1] == ' ')
		len--;
	return len;
}

static bool text_same(enum shape_collation c, struct slice a, struct slice b)
{
	if (c == COLL_RTRIM) {
		a.len = trimmed(a);
		b.len = trimmed(b);
	}
	if (a.len != b.len)
		return false;
	if (c == COLL_NOCASE)
		return a.len == 0 ||
		       sqlite3_strnicmp((const char *)a.at, (const char *)b.at, (int)a.len) == 0;
	return a.len == 0 || memcmp(a.at, b.at, a.len) == 0;
}

static bool is_number(const struct val *v)
{
	return v->type == VAL_INT || v->type == VAL_REAL;
}

static bool int_is_real(int64_t i, double r)
{
	return r >= -9223372036854775808.0 && r < 9223372036854775808.0 && (int64_t)r == i &&
	       !(r < (double)(int64_t)r) && !(r > (double)(int64_t)r);
}

static bool value_same(enum shape_collation c, const struct val *a, const struct val *b)
{
	if (is_number(a) && is_number(b)) {
		if (a->type == VAL_INT)
			return b->type == VAL_INT ? a->i == b->i : int_is_real(a->i, b->r);
		if (b->type == VAL_INT)
			return int_is_real(b->i, a->r);
		return !(a->r < b->r) && !(a->r > b->r);
	}
	if (a->type != b->type)
		return false;
	if (a->type == VAL_NULL)
		return true;
	return text_same(a->type == VAL_TEXT ? c : COLL_BINARY, a->s, b->s);
}

bool key_same(const struct shape *s, const struct val *a, const struct val *b)
{
	for (uint16_t i = 0; i < s->n_key; i++) {
		if (!value_same(s->key[i].collation, &a[i], &b[i]))
			return false;
	}
	return true;
}
