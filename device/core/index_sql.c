#include "device/core/index_sql.h"

#include <sqlite3.h>
#include <string.h>

enum token_kind {
	TOKEN_END,
	TOKEN_WORD,   /* a name, a keyword or a number */
	TOKEN_QUOTED, /* "name", `name`, [name] or 'text' */
	TOKEN_OTHER,  /* one character */
};

struct token {
	enum token_kind kind;
	struct slice text; /* quotes included */
};

static bool is_space(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       c == '_' || c == '$' || c >= 0x80;
}

static struct slice after(struct slice s, size_t n)
{
	return slice_of(s.at + n, s.len - n);
}

/* Length of the comment that `s` begins with; 0 none. */
static size_t comment(struct slice s)
{
	size_t i = 2;

	if (s.len >= 2 && s.at[0] == '-' && s.at[1] == '-') {
		while (i < s.len && s.at[i] != '\n')
			i++;
		return i;
	}
	if (s.len < 2 || s.at[0] != '/' || s.at[1] != '*')
		return 0;
	while (i + 1 < s.len && (s.at[i] != '*' || s.at[i + 1] != '/'))
		i++;
	return i + 1 < s.len ? i + 2 : s.len;
}

/* Length of what is quoted at the start of `s`; a quote twice is one inside. */
static size_t quoted(struct slice s)
{
	uint8_t end = s.at[0] == '[' ? ']' : s.at[0];
	size_t i = 1;

	while (i < s.len) {
		if (s.at[i++] != end)
			continue;
		if (end == ']' || i == s.len || s.at[i] != end)
			return i;
		i++;
	}
	return s.len;
}

static struct token next(struct slice *left)
{
	struct token t = {.kind = TOKEN_END};
	size_t n = 1;

	while (left->len && (is_space(left->at[0]) || comment(*left)))
		*left = after(*left, is_space(left->at[0]) ? 1 : comment(*left));
	if (!left->len)
		return t;
	t.kind = TOKEN_OTHER;
	if (strchr("\"`['", left->at[0]) && left->at[0]) {
		t.kind = TOKEN_QUOTED;
		n = quoted(*left);
	} else if (is_word(left->at[0])) {
		t.kind = TOKEN_WORD;
		while (n < left->len && is_word(left->at[n]))
			n++;
	}
	t.text = slice_of(left->at, n);
	*left = after(*left, n);
	return t;
}

static bool is(struct token t, const char *text)
{
	size_t n = strlen(text);

	return t.kind != TOKEN_END && t.text.len == n &&
	       sqlite3_strnicmp((const char *)t.text.at, text, (int)n) == 0;
}

/* A name with its quotes taken off. */
static bool token_is_name(struct token t, struct slice name)
{
	uint8_t end = t.kind == TOKEN_QUOTED ? t.text.at[t.text.len - 1] : 0;
	size_t at = t.kind == TOKEN_QUOTED, stop = t.text.len - at, i = 0;

	for (; at < stop && i < name.len; at++, i++) {
		if (sqlite3_strnicmp((const char *)&t.text.at[at], (const char *)&name.at[i], 1))
			return false;
		at += end && end != ']' && t.text.at[at] == end;
	}
	return at >= stop && i == name.len;
}

/* The tokens of `sql` up to the end, or to the parenthesis that ends it. */
static bool names(struct slice *sql, struct slice name, bool to_parenthesis)
{
	struct token t = next(sql);
	bool found = false;

	for (int depth = 1; t.kind != TOKEN_END; t = next(sql)) {
		struct slice ahead = *sql;

		depth += is(t, "(") - is(t, ")");
		if (to_parenthesis && depth == 0)
			break;
		if (t.kind == TOKEN_QUOTED || (t.kind == TOKEN_WORD && !is(next(&ahead), "(")))
			found |= token_is_name(t, name);
	}
	return found;
}

bool index_sql_names(struct slice sql, struct slice name)
{
	return names(&sql, name, false);
}

bool index_sql_generated_names(struct slice create_table, struct slice name)
{
	struct slice left = create_table;
	bool found = false, as = false;

	for (struct token t = next(&left); t.kind != TOKEN_END; t = next(&left)) {
		if (as && is(t, "("))
			found |= names(&left, name, true);
		as = t.kind == TOKEN_WORD && is(t, "AS");
	}
	return found;
}

/* A copy without comments: what stands behind the text of a part must not become one. */
static struct slice plain_copy(struct slice sql, struct arena *a)
{
	uint8_t *to = arena_alloc(a, sql.len + 1);
	size_t n = 0;

	while (to && sql.len) {
		size_t skip = comment(sql), len = strchr("\"`['", sql.at[0]) ? quoted(sql) : 1;

		if (skip) {
			to[n++] = ' ';
		} else {
			memcpy(to + n, sql.at, len);
			n += len;
		}
		sql = after(sql, skip ? skip : len);
	}
	return slice_of(to, n);
}

static struct slice between(const uint8_t *from, const uint8_t *to)
{
	while (from < to && is_space(*from))
		from++;
	while (to > from && is_space(to[-1]))
		to--;
	return slice_of(from, (size_t)(to - from));
}

static bool take_part(struct index_sql *out, const uint8_t *from, const uint8_t *to,
		      struct token last)
{
	if (out->n == INDEX_PARTS)
		return false;
	if ((is(last, "ASC") || is(last, "DESC")) && last.text.at > from)
		to = last.text.at;
	out->part[out->n++] = between(from, to);
	return true;
}

/* What stands in the parentheses; `left` begins after the opening one. */
static bool take_parts(struct slice *left, struct index_sql *out)
{
	const uint8_t *from = left->at;
	struct token last = {.kind = TOKEN_END}, t;
	int depth = 1;

	while ((t = next(left)).kind != TOKEN_END) {
		bool ends = depth == 1 && (is(t, ",") || is(t, ")"));

		depth += is(t, "(") - is(t, ")");
		if (ends && !take_part(out, from, t.text.at, last))
			return false;
		if (depth == 0)
			return true;
		if (ends)
			from = left->at;
		last = t;
	}
	return true;
}

int index_sql_parse(struct slice sql, struct arena *a, struct index_sql *out, struct err *e)
{
	struct slice left = plain_copy(sql, a);
	struct token t;

	*out = (struct index_sql){.n = 0};
	if (!left.at)
		return err_set(e, NE_MEMORY, "no memory for the text of an index");
	do
		t = next(&left);
	while (t.kind != TOKEN_END && !is(t, "("));
	if (!take_parts(&left, out))
		return err_set(e, NE_LIMIT, "an index has more than %d parts", INDEX_PARTS);
	t = next(&left);
	if (is(t, "WHERE"))
		out->where = between(left.at, left.at + left.len);
	if (out->n == 0 || (t.kind != TOKEN_END && !out->where.len))
		return err_set(e, NE_MALFORMED, "the text of an index cannot be read: %.*s",
			       sql.len > 200 ? 200 : (int)sql.len, (const char *)sql.at);
	return NE_OK;
}
