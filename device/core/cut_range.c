#include <stdlib.h>

#include "device/core/cut_internal.h"

enum { RANGE_FIELDS = 4 };

/* A range is four values packed as a key is: table, kind, lo, hi; then the length says where it
 * ends. */
int range_put(struct buf *out, const struct range *r)
{
	struct val v[RANGE_FIELDS] = {{.type = VAL_INT, .i = r->table},
				      {.type = VAL_INT, .i = r->kind},
				      {.type = VAL_BLOB, .s = r->lo},
				      {.type = VAL_BLOB, .s = r->hi}};
	struct buf one = {.max = out->max};
	uint8_t len[4];
	int rc = key_pack(&one, v, RANGE_FIELDS);

	for (int i = 0; i < 4; i++)
		len[i] = (uint8_t)(one.len >> (24 - 8 * i));
	rc = rc ? rc : buf_put(out, len, sizeof len);
	rc = rc ? rc : buf_put(out, one.at, one.len);
	buf_free(&one);
	return rc;
}

int range_next(struct slice *left, struct range *out, bool *any)
{
	struct val v[RANGE_FIELDS];
	size_t len = 0;

	*any = left->len > 0;
	if (!*any)
		return NE_OK;
	if (left->len < 4)
		return NE_CORRUPT;
	for (int i = 0; i < 4; i++)
		len = len << 8 | left->at[i];
	if (len > left->len - 4)
		return NE_CORRUPT;
	TRY(key_unpack(slice_of(left->at + 4, len), v, RANGE_FIELDS));
	if (v[0].type != VAL_INT || v[1].type != VAL_INT || v[2].type != VAL_BLOB ||
	    v[3].type != VAL_BLOB || v[1].i < RANGE_MARKS || v[1].i > RANGE_LOST)
		return NE_CORRUPT;
	*out = (struct range){
		.table = v[0].i, .kind = (enum range_kind)v[1].i, .lo = v[2].s, .hi = v[3].s};
	*left = slice_of(left->at + 4 + len, left->len - 4 - len);
	return NE_OK;
}

int segments_add(struct segments *s, struct slice hi, int64_t gen)
{
	struct segment *one;

	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 4;
		struct segment *at = realloc(s->at, cap * sizeof *at);

		if (!at)
			return NE_MEMORY;
		s->at = at;
		s->cap = cap;
	}
	one = &s->at[s->n];
	*one = (struct segment){.hi = {.max = LIMIT_DECODED}, .gen = gen};
	TRY(buf_put(&one->hi, hi.at, hi.len));
	s->n++;
	return NE_OK;
}

void segments_free(struct segments *s)
{
	for (size_t i = 0; i < s->n; i++)
		buf_free(&s->at[i].hi);
	free(s->at);
	*s = (struct segments){0};
}

int cut_put_bound(struct buf *out, uint16_t n_key, const char *op, int *param)
{
	TRY(buf_printf(out, " AND ("));
	for (uint16_t i = 0; i < n_key; i++)
		TRY(buf_printf(out, "%sk%u", i ? ", " : "", (unsigned)i));
	TRY(buf_printf(out, ") %s (", op));
	for (uint16_t i = 0; i < n_key; i++)
		TRY(buf_printf(out, "%s?%d", i ? ", " : "", (*param)++));
	return buf_printf(out, ")");
}

int cut_bind_bound(struct db *db, sqlite3_stmt *s, struct slice bound, uint16_t n_key, int *param,
		   struct err *e)
{
	struct val key[LIMIT_KEY_COLUMNS];

	if (key_unpack(bound, key, n_key))
		return err_set(e, NE_CORRUPT, "a range of a set in flight is damaged");
	for (uint16_t i = 0; i < n_key; i++) {
		if (val_bind(s, (*param)++, &key[i]) != SQLITE_OK)
			return db_error(db, e, "binding a key");
	}
	return NE_OK;
}

int cut_prepare(struct db *db, struct buf *sql, sqlite3_stmt **out, struct err *e)
{
	int rc = buf_terminate(sql);

	if (rc)
		return err_set(e, rc, "no memory for an SQL text");
	return db_prepare(db, (const char *)sql->at, out, e);
}
