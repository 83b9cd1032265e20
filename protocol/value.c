#include "protocol/value.h"

#include <string.h>

static uint64_t real_bits(double r)
{
	uint64_t bits;
	memcpy(&bits, &r, sizeof bits);
	return bits;
}

bool val_eq(const struct val *a, const struct val *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case VAL_NULL:
		return true;
	case VAL_INT:
		return a->i == b->i;
	case VAL_REAL:
		return real_bits(a->r) == real_bits(b->r);
	case VAL_TEXT:
	case VAL_BLOB:
		return slice_eq(a->s, b->s);
	}
	return false;
}

static int bytes_cmp(struct slice a, struct slice b)
{
	size_t least = a.len < b.len ? a.len : b.len;
	int c = least ? memcmp(a.at, b.at, least) : 0;
	if (c)
		return c < 0 ? -1 : 1;
	return (a.len > b.len) - (a.len < b.len);
}

static int real_cmp(double a, double b)
{
	if (a < b || a > b)
		return a < b ? -1 : 1;
	/* Only the two zeros are equal with other bits: −0.0 comes first. */
	uint64_t x = real_bits(a), y = real_bits(b);
	return (x < y) - (x > y);
}

int val_cmp(const struct val *a, const struct val *b)
{
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	switch (a->type) {
	case VAL_NULL:
		return 0;
	case VAL_INT:
		return (a->i > b->i) - (a->i < b->i);
	case VAL_REAL:
		return real_cmp(a->r, b->r);
	case VAL_TEXT:
	case VAL_BLOB:
		return bytes_cmp(a->s, b->s);
	}
	return 0;
}

size_t val_size(const struct val *v)
{
	return v->type == VAL_TEXT || v->type == VAL_BLOB ? v->s.len : 8;
}

struct val val_column(sqlite3_stmt *stmt, int col)
{
	struct val v = {.type = VAL_NULL};
	switch (sqlite3_column_type(stmt, col)) {
	case SQLITE_INTEGER:
		v.type = VAL_INT;
		v.i = sqlite3_column_int64(stmt, col);
		break;
	case SQLITE_FLOAT:
		v.type = VAL_REAL;
		v.r = sqlite3_column_double(stmt, col);
		break;
	case SQLITE_TEXT:
		v.type = VAL_TEXT;
		v.s.at = sqlite3_column_text(stmt, col);
		v.s.len = (size_t)sqlite3_column_bytes(stmt, col);
		break;
	case SQLITE_BLOB:
		v.type = VAL_BLOB;
		v.s.at = sqlite3_column_blob(stmt, col);
		v.s.len = (size_t)sqlite3_column_bytes(stmt, col);
		break;
	default:
		break;
	}
	return v;
}

int val_bind(sqlite3_stmt *stmt, int index, const struct val *v)
{
	/* SQLite binds NULL for a NULL pointer, also for a text or blob of length 0. */
	switch (v->type) {
	case VAL_NULL:
		return sqlite3_bind_null(stmt, index);
	case VAL_INT:
		return sqlite3_bind_int64(stmt, index, v->i);
	case VAL_REAL:
		return sqlite3_bind_double(stmt, index, v->r);
	case VAL_TEXT:
		return sqlite3_bind_text64(stmt, index, v->s.len ? (const char *)v->s.at : "",
					   v->s.len, SQLITE_STATIC, SQLITE_UTF8);
	case VAL_BLOB:
		return sqlite3_bind_blob64(stmt, index, v->s.len ? (const void *)v->s.at : "",
					   v->s.len, SQLITE_STATIC);
	}
	return SQLITE_MISUSE;
}

bool val_copy(struct arena *a, const struct val *v, struct val *out)
{
	*out = *v;
	if (v->type != VAL_TEXT && v->type != VAL_BLOB)
		return true;
	out->s = arena_copy(a, v->s);
	return out->s.at != NULL;
}
