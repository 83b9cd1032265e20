#include "protocol/row_text.h"

#include <math.h>

#include "protocol/cbor_read.h"

/* Bytes of the UTF-8 sequence at the front of `s`; 0 if it begins with none. */
static size_t sequence(struct slice s)
{
	for (size_t n = 1; n <= 4 && n <= s.len; n++)
		if (utf8_valid(slice_of(s.at, n)))
			return n;
	return 0;
}

/* At the front of valid UTF-8. U+0080…9F are c2 80 … c2 9f. */
static bool is_control(struct slice s)
{
	return s.at[0] < 0x20 || s.at[0] == 0x7f ||
	       (s.at[0] == 0xc2 && s.len > 1 && s.at[1] < 0xa0);
}

bool text_shows(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (is_control(slice_of(s.at + i, s.len - i)))
			return false;
	return true;
}

static int put_char(struct slice s, size_t *used, struct buf *out)
{
	size_t n = sequence(s);

	*used = n ? n : 1;
	if (!n)
		return buf_put(out, "\xef\xbf\xbd", 3);
	if (*s.at == '"' || *s.at == '\\')
		return buf_printf(out, "\\%c", *s.at);
	if (is_control(s))
		return buf_printf(out, "\\u%04x", s.at[n - 1]);
	return buf_put(out, s.at, n);
}

static int put_string(struct slice s, struct buf *out)
{
	size_t used;

	TRY(buf_put_u8(out, '"'));
	for (size_t i = 0; i < s.len; i += used)
		TRY(put_char(slice_of(s.at + i, s.len - i), &used, out));
	return buf_put_u8(out, '"');
}

static int put_value(const struct val *v, struct buf *out)
{
	switch (v->type) {
	case VAL_INT:
		return buf_printf(out, "%lld", (long long)v->i);
	case VAL_REAL:
		/* JSON has no infinity; SQLite reads this as one. */
		if (isinf(v->r))
			return buf_printf(out, v->r > 0 ? "9e999" : "-9e999");
		return buf_printf(out, "%.17g", v->r);
	case VAL_TEXT:
		return put_string(v->s, out);
	case VAL_BLOB:
		TRY(buf_printf(out, "\"x'"));
		TRY(buf_put_hex(out, v->s));
		return buf_printf(out, "'\"");
	default:
		return buf_printf(out, "null");
	}
}

int text_member(struct slice name, const struct val *v, bool first, struct buf *out)
{
	TRY(buf_printf(out, first ? "{" : ", "));
	TRY(put_string(name, out));
	TRY(buf_printf(out, ": "));
	return put_value(v, out);
}

int text_key(const struct shape *s, const struct val *key, struct buf *out)
{
	for (uint16_t i = 0; i < s->n_key; i++)
		TRY(text_member(s->key[i].name, &key[i], i == 0, out));
	return buf_put_u8(out, '}');
}
