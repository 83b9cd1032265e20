/* Rows of merge tables: registers in the shadow, values in the table itself. */
#include <string.h>

#include "backend/core/registers.h"
#include "backend/core/store_sqlite.h"

enum { REGS_BYTES = 8 * 1024 * 1024 };

int store_row_init(const struct store_table *t, struct arena *a, struct store_row *row,
		   struct err *e)
{
	size_t n = t->shape.n_col;

	*row = (struct store_row){
		.st = {.n_col = t->shape.n_col,
		       .cell = arena_array(a, n + 1, sizeof *row->st.cell),
		       .has = arena_array(a, n + 1, sizeof *row->st.has)},
		.kept = arena_array(a, n + 1, sizeof *row->kept),
		.cell_seq = arena_array(a, n + 1, sizeof *row->cell_seq),
	};
	if (!row->st.cell || !row->st.has || !row->kept || !row->cell_seq)
		return err_set(e, NE_MEMORY, "no memory for a row of table %s", t->name);
	return 0;
}

void store_row_copy(struct store_row *out, const struct store_row *from)
{
	size_t n = from->st.n_col;

	memcpy(out->st.cell, from->st.cell, n * sizeof *out->st.cell);
	memcpy(out->st.has, from->st.has, n * sizeof *out->st.has);
	memcpy(out->kept, from->kept, n * sizeof *out->kept);
	memcpy(out->cell_seq, from->cell_seq, n * sizeof *out->cell_seq);
	out->st.known = from->st.known;
	out->st.alive = from->st.alive;
	out->st.exist = from->st.exist;
	out->seq = from->seq;
	out->exist_seq = from->exist_seq;
}

static int no_registers(struct store_row *row)
{
	row->seq = row->exist_seq = 0;
	row->st.known = row->st.alive = false;
	row->st.exist = (struct reg){0, 0};
	for (uint16_t i = 0; i < row->st.n_col; i++) {
		row->st.has[i] = false;
		row->st.cell[i] = (struct reg){0, 0};
		row->cell_seq[i] = 0;
	}
	return 0;
}

int store_row_get(struct store *s, const struct store_user *u, struct store_table *t,
		  const struct val *key, struct arena *a, struct store_row *row, struct err *e)
{
	sqlite3_stmt *st;
	bool found;

	TRY(table_stmt(s, t, TQ_REG_GET, &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	TRY(db_step(s->db, st, &found, e));
	if (!found) {
		sqlite3_reset(st);
		return no_registers(row);
	}
	row->seq = column_u64(st, 0);
	int rc = registers_decode(
		sqlite3_column_int64(st, 1), (struct reg){column_u64(st, 2), column_u64(st, 3)},
		slice_of(sqlite3_column_blob(st, 4), (size_t)sqlite3_column_bytes(st, 4)), a, row);
	sqlite3_reset(st);
	return rc ? err_set(e, rc, "registers of a row of table %s cannot be read", t->name) : 0;
}

static int run_put(struct store *s, const struct store_user *u, struct store_table *t,
		   const struct val *key, const struct store_row *row, bool existed,
		   const struct buf *regs, struct err *e)
{
	int p = t->shape.n_key + 2;
	sqlite3_stmt *st;

	TRY(table_stmt(s, t, existed ? TQ_REG_SET : TQ_REG_ADD, &st, e));
	TRY(bind_int(s, st, 1, (uint64_t)u->uid, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	TRY(bind_int(s, st, p, row->seq, e));
	TRY(bind_int(s, st, p + 1, (uint64_t)registers_state(row), e));
	TRY(bind_int(s, st, p + 2, row->st.exist.stamp, e));
	TRY(bind_int(s, st, p + 3, row->st.exist.site, e));
	int rc = regs->len ? sqlite3_bind_blob64(st, p + 4, regs->at, regs->len, SQLITE_STATIC)
			   : sqlite3_bind_null(st, p + 4);
	if (rc)
		return db_error(s->db, e, "binding registers");
	return db_run(s->db, st, e);
}

static int count_dead(struct store *s, const struct store_user *u, const struct store_table *t,
		      const struct val *key, bool dead, bool existed, size_t regs, struct err *e)
{
	struct usage *c = &s->usage;

	for (uint16_t i = 0; !existed && i < t->shape.n_key; i++)
		c->key_bytes += (int64_t)usage_size(&key[i]);
	if (dead) {
		c->dead++;
		c->dead_bytes += c->key_bytes + (int64_t)regs;
	}
	return usage_dead(s, u->uid, t, c->dead, c->dead_bytes, e);
}

int store_row_put(struct store *s, const struct store_user *u, struct store_table *t,
		  const struct val *key, const struct store_row *row, bool existed, struct err *e)
{
	struct buf regs = {.max = REGS_BYTES};
	int rc = registers_encode(row, &regs);

	s->usage.dead = s->usage.dead_bytes = s->usage.key_bytes = 0;

	if (rc)
		err_set(e, rc, "registers of a row of table %s are too large", t->name);
	else
		rc = run_put(s, u, t, key, row, existed, &regs, e);
	if (!rc)
		rc = count_dead(s, u, t, key, !row->st.alive, existed, regs.len, e);
	buf_free(&regs);
	return rc;
}

int store_values_get(struct store *s, const struct store_user *u, struct store_table *t,
		     const struct val *key, struct arena *a, struct val *out, bool *found,
		     struct err *e)
{
	sqlite3_stmt *st;
	bool copied = true;

	TRY(table_stmt(s, t, TQ_ROW_GET, &st, e));
	TRY(bind_text(s, st, 1, u->name.at, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	TRY(db_step(s->db, st, found, e));
	for (uint16_t i = 0; *found && copied && i < t->shape.n_col; i++) {
		struct val v = val_column(st, i + 1);
		copied = val_copy(a, &v, &out[i]);
	}
	sqlite3_reset(st);
	return copied ? 0 : err_set(e, NE_MEMORY, "no memory for a row of table %s", t->name);
}

int row_write(struct store *s, const struct store_user *u, const struct store_table *t,
	      const struct val *key, sqlite3_stmt *st, struct err *e)
{
	struct err why;

	TRY(rolled_refuses(s, u, t, key, t->shape.n_key, e));
	int64_t changes = sqlite3_total_changes64(db_handle(s->db));
	int rc = db_run(s->db, st, &why);
	if (!rc)
		return 0;
	if ((sqlite3_errcode(db_handle(s->db)) & 0xff) != SQLITE_CONSTRAINT)
		return err_set(e, rc, "%s", why.text);
	if (sqlite3_get_autocommit(db_handle(s->db)))
		return rolled_note(s, u, t, key, t->shape.n_key, e);
	/* RAISE(FAIL) in an AFTER trigger: the row stands all the same. */
	if (sqlite3_total_changes64(db_handle(s->db)) != changes)
		return err_set(
			e, NE_INTERNAL,
			"%.200s (table %s: RAISE(FAIL) leaves the row written; use RAISE(ABORT))",
			sqlite3_errmsg(db_handle(s->db)), t->name);
	return err_set(e, NE_ROWS, "%.300s", sqlite3_errmsg(db_handle(s->db)));
}

int store_values_insert(struct store *s, const struct store_user *u, struct store_table *t,
			const struct val *key, const struct val *values, struct err *e)
{
	sqlite3_stmt *st;

	TRY(table_stmt(s, t, TQ_ROW_PUT, &st, e));
	TRY(bind_text(s, st, 1, u->name.at, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	TRY(bind_vals(s, st, 2 + t->shape.n_key, values, t->shape.n_col, e));
	TRY(row_write(s, u, t, key, st, e));
	int64_t bytes = 0;
	for (uint16_t i = 0; i < t->shape.n_key; i++)
		bytes += (int64_t)usage_size(&key[i]);
	for (uint16_t i = 0; i < t->shape.n_col; i++)
		bytes += (int64_t)usage_size(&values[i]);
	return usage_add(s, u, t, 1, bytes, e);
}

static int update_one(struct store *s, const struct store_user *u, struct store_table *t,
		      const struct val *key, uint16_t col, const struct val *value, struct err *e)
{
	sqlite3_stmt *st;

	TRY(table_stmt_col(s, t, col, &st, e));
	TRY(bind_text(s, st, 1, u->name.at, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	TRY(bind_vals(s, st, 2 + t->shape.n_key, value, 1, e));
	return row_write(s, u, t, key, st, e);
}

static int update_many(struct store *s, const struct store_user *u, struct store_table *t,
		       const struct val *key, const struct val *values, const bool *write,
		       struct err *e)
{
	int p = t->shape.n_key + 2;
	sqlite3_stmt *st;

	TRY(table_stmt(s, t, TQ_ROW_CHANGE, &st, e));
	TRY(bind_text(s, st, 1, u->name.at, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	for (uint16_t i = 0; i < t->shape.n_col; i++) {
		static const struct val nothing = {.type = VAL_NULL};
		TRY(bind_int(s, st, p + 2 * i, write[i], e));
		TRY(bind_vals(s, st, p + 2 * i + 1, write[i] ? &values[i] : &nothing, 1, e));
	}
	return row_write(s, u, t, key, st, e);
}

int store_values_update(struct store *s, const struct store_user *u, struct store_table *t,
			const struct val *key, const struct val *values, const bool *write,
			struct err *e)
{
	uint16_t n = 0, last = 0;

	for (uint16_t i = 0; i < t->shape.n_col; i++)
		if (write[i]) {
			n++;
			last = i;
		}
	if (n == 0)
		return 0;
	s->usage.value = 0;
	if (n == 1)
		TRY(update_one(s, u, t, key, last, &values[last], e));
	else
		TRY(update_many(s, u, t, key, values, write, e));
	return usage_add(s, u, t, 0, s->usage.value, e);
}

int store_values_delete(struct store *s, const struct store_user *u, struct store_table *t,
			const struct val *key, struct err *e)
{
	sqlite3_stmt *st;

	TRY(table_stmt(s, t, TQ_ROW_DELETE, &st, e));
	TRY(bind_text(s, st, 1, u->name.at, e));
	TRY(bind_vals(s, st, 2, key, t->shape.n_key, e));
	int64_t changes = sqlite3_total_changes64(db_handle(s->db));
	s->usage.value = 0;
	TRY(row_write(s, u, t, key, st, e));
	return usage_add(s, u, t, changes - sqlite3_total_changes64(db_handle(s->db)),
			 s->usage.value, e);
}
