#include "protocol/key_set.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/value_bytes.h"

int key_take(struct slice *in, const struct shape *s, struct val *out)
{
	struct slice t = *in;

	TRY(values_take(&t, out, s->n_key));
	for (uint16_t i = 0; i < s->n_key; i++)
		if (out[i].type == VAL_NULL)
			return NE_MALFORMED;
	*in = t;
	return NE_OK;
}

int key_take_whole(struct slice bytes, const struct shape *s, struct val *out)
{
	TRY(key_take(&bytes, s, out));
	return bytes.len ? NE_MALFORMED : NE_OK;
}

static int slice_cmp(const void *x, const void *y)
{
	const struct slice *a = x, *b = y;
	int c = memcmp(a->at, b->at, a->len < b->len ? a->len : b->len);

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

static int count(const struct shape *s, struct slice bytes, size_t max, size_t *n)
{
	struct val key[LIMIT_KEY_COLUMNS];

	for (*n = 0; bytes.len; ++*n) {
		if (*n == max)
			return NE_LIMIT;
		TRY(key_take(&bytes, s, key));
	}
	return NE_OK;
}

static int read_one(struct slice *in, struct arena *a, struct buf *scratch, struct key_set *out)
{
	struct val key[LIMIT_KEY_COLUMNS];

	TRY(key_take(in, out->s, key));
	buf_clear(scratch);
	TRY(key_put_canonical(scratch, out->s, key));
	out->at[out->n] = arena_copy(a, buf_slice(scratch));
	return out->at[out->n++].at ? NE_OK : NE_MEMORY;
}

int key_set_read(const struct shape *s, struct slice bytes, size_t max, struct arena *a,
		 struct key_set *out)
{
	/* No longer than as sent. */
	struct buf scratch = {.max = bytes.len + 1};
	struct key_set k = {.s = s};
	size_t n;
	int rc;

	TRY(count(s, bytes, max, &n));
	k.at = arena_array(a, n + 1, sizeof *k.at);
	rc = k.at ? NE_OK : NE_MEMORY;
	while (!rc && bytes.len)
		rc = read_one(&bytes, a, &scratch, &k);
	buf_free(&scratch);
	TRY(rc);
	if (n)
		qsort(k.at, n, sizeof *k.at, slice_cmp);
	*out = k;
	return NE_OK;
}

int key_set_has(const struct key_set *k, const struct val *key, struct buf *scratch, bool *yes)
{
	struct slice s;

	*yes = false;
	if (!k->n)
		return NE_OK;
	buf_clear(scratch);
	TRY(key_put_canonical(scratch, k->s, key));
	s = buf_slice(scratch);
	*yes = bsearch(&s, k->at, k->n, sizeof *k->at, slice_cmp) != NULL;
	return NE_OK;
}
