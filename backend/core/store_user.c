/* Users, their sequence of commits, and which positions may continue. */
#include <string.h>

#include "backend/core/store_sqlite.h"

#define USER_COLUMNS "uid, name, head, gc_seq, last_term"

static void read_user(sqlite3_stmt *st, struct store_user *out)
{
	*out = (struct store_user){
		.uid = sqlite3_column_int64(st, 0),
		.name = column_id(st, 1),
		.head = column_u64(st, 2),
		.gc_seq = column_u64(st, 3),
		.last_term = sqlite3_column_int64(st, 4),
	};
}

int store_user_get(struct store *s, const char *name, struct store_user *out, bool *found,
		   struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db, "SELECT " USER_COLUMNS " FROM neap_user WHERE name = ?", &st, e));
	TRY(bind_text(s, st, 1, name, e));
	TRY(db_step(s->db, st, found, e));
	if (*found)
		read_user(st, out);
	sqlite3_reset(st);
	return 0;
}

int store_user_ensure(struct store *s, const char *name, struct store_user *out, struct err *e)
{
	sqlite3_stmt *st;
	struct id id;
	bool found;

	TRY(id_set(&id, slice_str(name), "user", e));
	TRY(store_user_get(s, name, out, &found, e));
	if (found)
		return 0;
	TRY(db_prepare(s->db, "INSERT INTO neap_user(name) VALUES(?) ON CONFLICT DO NOTHING", &st,
		       e));
	TRY(bind_text(s, st, 1, name, e));
	TRY(db_run(s->db, st, e));
	/* Rows that an operator wrote for this name before it existed are due now. */
	s->look = true;
	TRY(store_user_get(s, name, out, &found, e));
	return found ? 0 : err_set(e, NE_CORRUPT, "user %s cannot be stored", name);
}

int store_users(struct store *s, int64_t after, struct store_user *out, size_t max, size_t *n,
		struct err *e)
{
	sqlite3_stmt *st;
	bool row = true;

	*n = 0;
	TRY(db_prepare(s->db,
		       "SELECT " USER_COLUMNS " FROM neap_user WHERE uid > ? ORDER BY uid LIMIT ?",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)after, e));
	TRY(bind_int(s, st, 2, max, e));
	for (;;) {
		TRY(db_step(s->db, st, &row, e));
		if (!row)
			break;
		read_user(st, &out[(*n)++]);
	}
	sqlite3_reset(st);
	return 0;
}

static int note_first(struct store *s, const struct store_user *u, uint64_t first, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "INSERT INTO neap_term_first(uid, ord, first) VALUES(?, ?, ?)"
		       " ON CONFLICT DO NOTHING",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, (uint64_t)s->term_ord, e));
	TRY(bind_int(s, st, 3, first, e));
	return db_run(s->db, st, e);
}

int store_user_advance(struct store *s, struct store_user *u, struct err *e)
{
	sqlite3_stmt *st;

	if (u->last_term != s->term_ord)
		TRY(note_first(s, u, u->head + 1, e));
	TRY(db_prepare(s->db, "UPDATE neap_user SET head = ?2, last_term = ?3 WHERE uid = ?1", &st,
		       e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, u->head + 1, e));
	TRY(bind_int(s, st, 3, (uint64_t)s->term_ord, e));
	TRY(db_run(s->db, st, e));
	u->head++;
	u->last_term = s->term_ord;
	return 0;
}

int store_user_term(struct store *s, const struct store_user *u, uint64_t *prev_term,
		    uint64_t *first, struct err *e)
{
	sqlite3_stmt *st;
	bool row;

	*prev_term = s->prev_term;
	*first = u->head + 1;
	if (u->last_term != s->term_ord)
		return 0;
	TRY(db_prepare(s->db, "SELECT first FROM neap_term_first WHERE uid = ? AND ord = ?", &st,
		       e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, (uint64_t)s->term_ord, e));
	TRY(db_step(s->db, st, &row, e));
	if (row)
		*first = column_u64(st, 0);
	sqlite3_reset(st);
	return 0;
}

/* The first seq that the user got in any term after `term`; *known: whether the term is ours. */
static int next_first(struct store *s, const struct store_user *u, uint64_t term, bool *known,
		      bool *any, uint64_t *first, struct err *e)
{
	sqlite3_stmt *st;

	*any = false;
	TRY(db_prepare(s->db,
		       "SELECT (SELECT min(first) FROM neap_term_first f"
		       "        WHERE f.uid = ?1 AND f.ord > t.ord)"
		       " FROM neap_term t WHERE t.term = ?2",
		       &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_int(s, st, 2, term, e));
	TRY(db_step(s->db, st, known, e));
	if (*known && sqlite3_column_type(st, 0) != SQLITE_NULL) {
		*any = true;
		*first = column_u64(st, 0);
	}
	sqlite3_reset(st);
	return 0;
}

int store_position_valid(struct store *s, const struct store_user *u, const struct position *at,
			 bool *valid, struct err *e)
{
	bool known, later;
	uint64_t first = 0, newest = at->cursor > at->hold ? at->cursor : at->hold;

	*valid = false;
	if (at->store != s->id || at->term > INT64_MAX)
		return 0;
	TRY(next_first(s, u, at->term, &known, &later, &first, e));
	if (!known)
		return 0;
	if (later ? newest >= first : newest > u->head)
		return 0;
	*valid = (at->full ? at->base : at->cursor) >= u->gc_seq;
	return 0;
}
