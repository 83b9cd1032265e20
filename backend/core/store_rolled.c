/*
 * Triggers of an operator's that end the whole transaction: RAISE(ROLLBACK), or ON CONFLICT
 * ROLLBACK of a table they write. SQLite leaves nothing to go on with, so the step is done again,
 * and the row that met the trigger is then refused without being written. A table with many such
 * rows in one step is refused whole in it, so that a step is done again a bounded number of times.
 */
#include <stdio.h>
#include <string.h>

#include "backend/core/store_sqlite.h"
#include "protocol/parts.h"
#include "protocol/value_bytes.h"

enum { ROWS_A_TABLE = 8, KEY_BYTES = 8 * 1024 * 1024 };

static int digest_of(const struct val *id, size_t n, uint8_t out[static ROLLED_DIGEST],
		     struct err *e)
{
	struct buf b = {.max = KEY_BYTES};
	uint8_t digest[32];
	int rc = 0;

	for (size_t i = 0; !rc && i < n; i++)
		rc = value_put(&b, &id[i]);
	if (!rc)
		parts_digest(buf_slice(&b), digest);
	buf_free(&b);
	if (rc)
		return err_set(e, rc, "no memory for the key of a row");
	memcpy(out, digest, ROLLED_DIGEST);
	return 0;
}

static bool names(const struct rolled_row *r, const struct store_user *u,
		  const struct store_table *t, const uint8_t *digest)
{
	if (r->table != t->id)
		return false;
	return r->whole || (r->uid == u->uid && memcmp(r->digest, digest, ROLLED_DIGEST) == 0);
}

int rolled_refuses(struct store *s, const struct store_user *u, const struct store_table *t,
		   const struct val *id, size_t n, struct err *e)
{
	uint8_t digest[ROLLED_DIGEST];
	bool refused = s->rolled.all;

	if (!s->rolled.n)
		return 0;
	TRY(digest_of(id, n, digest, e));
	for (size_t i = 0; !refused && i < s->rolled.n; i++)
		refused = names(&s->rolled.row[i], u, t, digest);
	return refused ? err_set(e, NE_ROWS, "%.300s", s->rolled.why) : 0;
}

/* The message alone does not tell where it comes from. */
static void say_why(struct store *s, const struct store_table *t, const char *message)
{
	sqlite3_stmt *st;
	bool row = false;
	const char *trigger = NULL;

	if (!db_prepare(s->db,
			"SELECT group_concat(name, ', ') FROM sqlite_master WHERE type = 'trigger'"
			" AND sql LIKE '%rollback%' AND name NOT GLOB 'neap_*'",
			&st, NULL) &&
	    !db_step(s->db, st, &row, NULL) && row)
		trigger = (const char *)sqlite3_column_text(st, 0);
	snprintf(s->rolled.why, sizeof s->rolled.why,
		 "%.120s (table %s: a trigger rolls back%s%.80s; RAISE(ABORT) would refuse the row "
		 "alone)",
		 message, t->name, trigger ? ": " : "", trigger ? trigger : "");
	if (row)
		sqlite3_reset(st);
}

int rolled_note(struct store *s, const struct store_user *u, const struct store_table *t,
		const struct val *id, size_t n, struct err *e)
{
	struct rolled_row r = {.uid = u->uid, .table = t->id};
	char message[160];
	size_t same = 0;

	snprintf(message, sizeof message, "%s", sqlite3_errmsg(db_handle(s->db)));
	TRY(digest_of(id, n, r.digest, e));
	for (size_t i = 0; i < s->rolled.n; i++)
		same += s->rolled.row[i].table == t->id;
	r.whole = same >= ROWS_A_TABLE;
	if (s->rolled.n < ROLLED_MAX)
		s->rolled.row[s->rolled.n++] = r;
	else
		s->rolled.all = true;
	s->rolled.ended = true;
	say_why(s, t, message);
	return err_set(e, NE_BUSY, "%s", s->rolled.why);
}

bool store_rolled_back(struct store *s)
{
	bool ended = s->rolled.ended;

	s->rolled.ended = false;
	return ended;
}
