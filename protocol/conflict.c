#include "protocol/conflict.h"

#include <string.h>

#include "protocol/column.h"
#include "protocol/parts.h"
#include "protocol/row_text.h"

enum { KEY_MAX = 6 * LIMIT_SET + LIMIT_SLICE, HASH_BYTES = 8, VALUE_MAX = LIMIT_VALUE + 64 };

struct slice conflict_cut(struct slice text, size_t max)
{
	if (text.len <= max)
		return text;
	while (max && (text.at[max] & 0xc0) == 0x80)
		max--;
	return slice_of(text.at, max);
}

/* The text's beginning and a hash of all of it. */
static int shorten(struct buf *out, size_t start)
{
	struct slice all = slice_of(out->at + start, out->len - start);
	uint8_t digest[32];

	parts_digest(all, digest);
	out->len = start + conflict_cut(all, CONFLICT_KEY_BYTES - 32).len;
	TRY(buf_printf(out, "...#"));
	return buf_put_hex(out, slice_of(digest, HASH_BYTES));
}

int conflict_key(const struct shape *s, const struct val *key, struct buf *out)
{
	struct buf text = {.max = KEY_MAX};
	int rc = text_key(s, key, &text);

	if (!rc && text.len > CONFLICT_KEY_BYTES)
		rc = shorten(&text, 0);
	if (!rc)
		rc = buf_put(out, text.at, text.len);
	buf_free(&text);
	return rc;
}

int conflict_put_value(const struct val *v, struct buf *out)
{
	struct arena tmp = {.max = LIMIT_DECODED};
	int rc = column_encode_apart(v, 1, out, &tmp);

	arena_free(&tmp);
	return rc;
}

int conflict_get_value(struct slice bytes, struct arena *a, struct val *out)
{
	struct arena tmp = {.max = LIMIT_DECODED};
	struct column_in in = {
		.left = bytes, .a = a, .tmp = &tmp, .room = VALUE_MAX, .pool_room = VALUE_MAX};
	int rc = column_decode(&in, 1, out);

	arena_free(&tmp);
	return !rc && in.left.len ? NE_MALFORMED : rc;
}

static int put_number(struct buf *out, uint64_t v)
{
	uint8_t at[8];

	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(v >> (56 - 8 * i));
	return buf_put(out, at, sizeof at);
}

static int put_sized(struct buf *out, struct slice s)
{
	TRY(put_number(out, s.len));
	return buf_put(out, s.at, s.len);
}

static int put_identity(const struct lost_value *l, struct buf *out)
{
	bool settled = l->reg.stamp == 0 && l->reg.site == 0;

	TRY(put_sized(out, l->table));
	TRY(put_sized(out, l->key));
	TRY(put_sized(out, l->column));
	TRY(put_number(out, l->reg.stamp));
	TRY(put_number(out, l->reg.site));
	if (!settled)
		return 0;
	TRY(put_number(out, l->lost_ms));
	return put_sized(out, l->value);
}

int conflict_digest(const struct lost_value *l, uint8_t out[static CONFLICT_DIGEST])
{
	struct buf b = {.max = LIMIT_FRAME};
	uint8_t digest[32];
	int rc = put_identity(l, &b);

	if (!rc) {
		parts_digest(buf_slice(&b), digest);
		memcpy(out, digest, CONFLICT_DIGEST);
	}
	buf_free(&b);
	return rc;
}
