/*
 * What append rows said when they came (J3), for those that an operator purged since: 32 bits a
 * row, a chunk of consecutive numbers together, for as long as deletes are remembered.
 */
#include <string.h>

#include "backend/core/store_sqlite.h"

enum { HASH_BYTES = 4, CHUNK_ROWS = 1024, SMALL_ROWS = 256, DAY_MS = 24 * 3600 * 1000 };

/* ---- the hash: of the key and of what is not NULL, by words, each mixed in as in splitmix64 ----
 */

static uint64_t mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ h >> 29;
}

static uint64_t mix_bytes(uint64_t h, struct slice s)
{
	uint64_t word;

	h = mix(h, s.len);
	for (size_t i = 0; i < s.len; i += sizeof word) {
		size_t n = s.len - i < sizeof word ? s.len - i : sizeof word;

		word = 0;
		memcpy(&word, s.at + i, n);
		h = mix(h, word);
	}
	return h;
}

static void add_val(uint64_t *h, size_t col, const struct val *v)
{
	uint64_t word;

	if (v->type == VAL_NULL)
		return;
	*h = mix(*h, (uint64_t)col << 8 | v->type);
	if (v->type == VAL_TEXT || v->type == VAL_BLOB) {
		*h = mix_bytes(*h, v->s);
		return;
	}
	memcpy(&word, &v->i, sizeof word); /* of a real: its bits */
	*h = mix(*h, word);
}

/* By the table's columns: a shape that lacks one says no less than one that has NULL there. */
static uint32_t hash_of(const struct store_shape *sh, const struct row *r)
{
	uint64_t h = 0;

	for (uint16_t i = 0; i < sh->shape.n_key; i++)
		add_val(&h, i, &r->key[i]);
	for (uint16_t i = 0; i < r->n_cell; i++)
		add_val(&h, (size_t)sh->shape.n_key + sh->col[r->cell[i].col], &r->cell[i].val);
	return (uint32_t)(h ^ h >> 32);
}

static void put_hash(const struct store_shape *sh, const struct row *r, uint8_t *out)
{
	uint32_t h = hash_of(sh, r);

	for (int i = 0; i < HASH_BYTES; i++)
		out[i] = (uint8_t)(h >> 8 * i);
}

/* ---- chunks ---- */

struct chunk {
	int64_t lo;
	uint64_t day;
	size_t n; /* of `hash` */
	uint8_t hash[CHUNK_ROWS * HASH_BYTES];
};

static int bind_chunk(struct store *s, sqlite3_stmt *st, const struct store_captured *of, int64_t n,
		      struct err *e)
{
	TRY(bind_int(s, st, 1, (uint64_t)of->shape->table->id, e));
	TRY(bind_int(s, st, 2, (uint64_t)of->site->id, e));
	TRY(bind_int(s, st, 3, of->gen, e));
	return bind_int(s, st, 4, (uint64_t)n, e);
}

/* The chunk with the greatest lo ≤ n, if it has n or n comes right behind it. */
static int find_chunk(struct store *s, const struct store_captured *of, int64_t n,
		      struct chunk *out, bool *found, struct err *e)
{
	sqlite3_stmt *st;
	int len = 0;

	TRY(db_prepare(s->db,
		       "SELECT lo, day, hash FROM neap_content WHERE tab = ? AND site = ? AND gen "
		       "= ? AND lo <= ? ORDER BY lo DESC LIMIT 1",
		       &st, e));
	TRY(bind_chunk(s, st, of, n, e));
	TRY(db_step(s->db, st, found, e));
	if (*found) {
		const void *hash = sqlite3_column_blob(st, 2);

		len = sqlite3_column_bytes(st, 2);
		out->lo = sqlite3_column_int64(st, 0);
		out->day = column_u64(st, 1);
		out->n = (size_t)len / HASH_BYTES;
		if ((size_t)len > sizeof out->hash)
			*found = false;
		else if (len)
			memcpy(out->hash, hash, (size_t)len);
	}
	sqlite3_reset(st);
	*found = *found && (uint64_t)n - (uint64_t)out->lo <= out->n;
	return 0;
}

static int put_chunk(struct store *s, const struct store_captured *of, const struct chunk *c,
		     struct err *e)
{
	sqlite3_stmt *st;
	struct val hash = {.type = VAL_BLOB, .s = slice_of(c->hash, c->n * HASH_BYTES)};
	int rc;

	/* `day` is indexed, and stays as it is. */
	TRY(db_prepare(s->db,
		       "INSERT INTO neap_content(tab, site, gen, lo, day, hash) "
		       "VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT(tab, site, gen, lo) DO UPDATE SET "
		       "hash = ?6",
		       &st, e));
	TRY(bind_chunk(s, st, of, c->lo, e));
	TRY(bind_int(s, st, 5, c->day, e));
	TRY(bind_vals(s, st, 6, &hash, 1, e));
	rc = db_run(s->db, st, e);
	sqlite3_clear_bindings(st);
	return rc;
}

/* Rows with consecutive numbers; those of small sets go into the chunk before. */
static int note_run(struct store *s, const struct store_captured *of, const struct row *rows,
		    size_t n, struct err *e)
{
	struct chunk c;
	uint64_t day = of->now_ms / DAY_MS;
	bool found;

	TRY(find_chunk(s, of, rows[0].n, &c, &found, e));
	if (!found || c.day != day || c.n + n > SMALL_ROWS ||
	    (uint64_t)rows[0].n - (uint64_t)c.lo != c.n)
		c = (struct chunk){.lo = rows[0].n, .day = day};
	for (size_t i = 0; i < n; i++, c.n++) {
		if (c.n == CHUNK_ROWS) {
			TRY(put_chunk(s, of, &c, e));
			c = (struct chunk){.lo = rows[i].n, .day = day};
		}
		put_hash(of->shape, &rows[i], c.hash + c.n * HASH_BYTES);
	}
	return put_chunk(s, of, &c, e);
}

int content_note(struct store *s, const struct store_captured *of, const struct row *rows, size_t n,
		 struct err *e)
{
	for (size_t i = 0, len; i < n; i += len) {
		for (len = 1; i + len < n && rows[i + len].n == rows[i + len - 1].n + 1; len++)
			;
		TRY(note_run(s, of, rows + i, len, e));
	}
	return 0;
}

int content_same(struct store *s, const struct store_captured *of, const struct row *r, bool *same,
		 struct err *e)
{
	uint8_t hash[HASH_BYTES];
	struct chunk c;

	TRY(find_chunk(s, of, r->n, &c, same, e));
	if (*same) {
		size_t i = (size_t)((uint64_t)r->n - (uint64_t)c.lo);

		put_hash(of->shape, r, hash);
		*same = i < c.n && memcmp(hash, c.hash + i * HASH_BYTES, HASH_BYTES) == 0;
	}
	return 0;
}

int store_forget_content(struct store *s, uint64_t before_ms, size_t max, struct err *e)
{
	sqlite3_stmt *st;

	TRY(db_prepare(s->db,
		       "DELETE FROM neap_content WHERE (tab, site, gen, lo) IN (SELECT tab, site, "
		       "gen, lo FROM neap_content WHERE day < ?1 ORDER BY day LIMIT ?2)",
		       &st, e));
	TRY(bind_int(s, st, 1, before_ms / DAY_MS, e));
	TRY(bind_int(s, st, 2, max, e));
	return db_run(s->db, st, e);
}
