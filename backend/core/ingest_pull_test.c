/* P1, P3, P7: positions, pages. */
#include "backend/core/testing.h"

enum { SITE_A = 11 };

static void commit_rows(struct world *w, uint64_t number, int64_t from, int64_t n, uint64_t stamp)
{
	struct builder *b = set_new(SITE_A, number, number - 1);

	for (int64_t i = from; i < from + n; i++)
		put_insert(b, i, stamp, i * 10, i);
	give_set(w, "u", "a", b);
}

static struct position here(struct world *w, uint64_t cursor)
{
	return (struct position){store_id(w->store), store_term(w->store), cursor, 0, false, 0};
}

static enum frame_type say_hello(struct world *w, struct position at)
{
	struct frame f = {.type = FRAME_HELLO}, got;

	f.hello = (struct f_hello){.nonce = 5, .site = SITE_A, .last_number = 2, .at = at};
	give(w, "u", "a", &f);
	assert_int_equal(w->out.n, 1);
	got = decoded(w, &w->out.at[0]);
	return got.type;
}

static struct frame pull(struct world *w, struct position at, struct slice token, uint64_t credit)
{
	struct frame f = {.type = FRAME_PULL};

	f.pull = (struct f_pull){
		.nonce = 9, .number = 1, .at = at, .token = token, .credit = credit};
	give(w, "u", "b", &f);
	assert_true(w->out.n >= 1);
	assert_string_equal(w->out.at[w->out.n - 1].peer.at, "b");
	return decoded(w, &w->out.at[w->out.n - 1]);
}

static struct world *some_rows(void)
{
	struct world *w = world_new();

	declare_shape(w, "u", "a", notes());
	commit_rows(w, 1, 1, 3, 100);
	commit_rows(w, 2, 4, 2, 100);
	return w;
}

static void positions_within_a_term(void **state)
{
	struct world *w = some_rows();
	struct position at = here(w, 2);
	(void)state;

	assert_int_equal(say_hello(w, at), FRAME_WELCOME);
	at.cursor = 3;
	assert_int_equal(say_hello(w, at), FRAME_RESET);
	at = here(w, 0);
	at.store ^= 1;
	assert_int_equal(say_hello(w, at), FRAME_RESET);
	at = here(w, 0);
	at.term ^= 1;
	assert_int_equal(say_hello(w, at), FRAME_RESET);
	assert_int_equal(say_hello(w, (struct position){0}), FRAME_WELCOME);
	world_free(w);
}

static void positions_of_older_terms(void **state)
{
	struct world *w = some_rows();
	struct position at = here(w, 2);
	struct frame f;
	(void)state;

	world_stop(w);
	world_start(w);
	tick(w);
	find_out(w, FRAME_HEAD, 0, &f);
	assert_int_equal(f.head.prev_term, at.term);
	assert_int_equal(f.head.first, 3);
	assert_int_equal(say_hello(w, at), FRAME_WELCOME);
	commit_rows(w, 3, 6, 1, 100);
	assert_int_equal(say_hello(w, at), FRAME_WELCOME);
	at.cursor = 3; /* that seq was given out in the next term */
	assert_int_equal(say_hello(w, at), FRAME_RESET);
	world_stop(w);
	world_start(w);
	tick(w);
	find_out(w, FRAME_HEAD, 0, &f);
	assert_int_equal(f.head.first, 4);
	assert_int_equal(say_hello(w, at), FRAME_RESET);
	at.cursor = 2;
	assert_int_equal(say_hello(w, at), FRAME_WELCOME);
	world_free(w);
}

static void copy_file(const char *from, const char *to)
{
	char buf[4096];
	FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
	size_t n;

	assert_true(in && out);
	while ((n = fread(buf, 1, sizeof buf, in)) > 0)
		assert_int_equal(fwrite(buf, 1, n, out), n);
	fclose(in);
	assert_int_equal(fclose(out), 0);
}

/* T18: a restored backup is noticed, also once it has caught up in number. */
static void a_restored_store_is_noticed(void **state)
{
	struct world *w = some_rows();
	char backup[120];
	(void)state;

	world_stop(w);
	snprintf(backup, sizeof backup, "%s.backup", w->path);
	copy_file(w->path, backup);
	world_start(w);
	for (uint64_t i = 3; i < 10; i++)
		commit_rows(w, i, (int64_t)i * 10, 1, 100);
	struct position lost = here(w, 9), before = here(w, 2);
	world_stop(w);
	copy_file(backup, w->path);
	unlink(backup);
	world_start(w);
	tick(w);
	assert_int_equal(say_hello(w, lost), FRAME_RESET);
	for (uint64_t i = 3; i < 20; i++)
		commit_rows(w, i, (int64_t)i * 10, 1, 100);
	assert_int_equal(say_hello(w, lost), FRAME_RESET);
	/* Even where both agree: the term itself was lost with the backup. */
	assert_int_equal(say_hello(w, before), FRAME_RESET);
	world_free(w);
}

/*
 * A device in the middle of a pull has rows newer than its cursor. They were lost with the end of
 * its term if the store was put back between the two, and pages from the cursor on would not
 * bring their older state.
 */
static void what_pages_brought_counts(void **state)
{
	struct world *w = some_rows();
	struct position at = here(w, 1);
	(void)state;

	at.hold = 2;
	world_stop(w);
	world_start(w);
	commit_rows(w, 3, 30, 1, 100);
	assert_int_equal(say_hello(w, at), FRAME_WELCOME);
	assert_int_equal(pull(w, at, slice_of(NULL, 0), 1 << 20).type, FRAME_PAGE);
	at.hold = 3;
	assert_int_equal(say_hello(w, at), FRAME_RESET);
	assert_int_equal(pull(w, at, slice_of(NULL, 0), 1 << 20).type, FRAME_RESET);
	world_free(w);
}

/* Current rows in seq order, each once; an old seq whose rows moved on has nothing. */
static void pages_hold_current_rows(void **state)
{
	struct world *w = some_rows();
	struct builder *b = set_new(SITE_A, 3, 2);
	(void)state;

	put_update(b, 1, 200, 1, 77);
	put_delete(b, 2, 200);
	give_set(w, "u", "a", b);
	struct frame f = pull(w, here(w, 0), slice_of(NULL, 0), 1 << 20);
	assert_int_equal(f.type, FRAME_PAGE);
	assert_int_equal(f.page.nonce, 9);
	assert_int_equal(f.page.from, 0);
	assert_int_equal(f.page.upto, 3);
	assert_int_equal(f.page.head, 3);
	assert_int_equal(f.page.token.len, 0);
	assert_int_equal(f.page.n_shape, 1);
	struct rows rows = rows_of(w, f.page.rows);
	assert_int_equal(rows.table[0].n_row, 5);
	const struct row *r = rows.table[0].row;
	assert_int_equal(r[0].key[0].i, 3);
	assert_int_equal(r[3].key[0].i, 1);
	assert_int_equal(r[3].exist, EXIST_ALIVE);
	assert_int_equal(r[3].cell[1].val.i, 77);
	assert_int_equal(r[3].cell[1].reg.stamp, 200);
	assert_int_equal(r[3].cell[0].reg.stamp, 100);
	assert_int_equal(r[4].key[0].i, 2);
	assert_int_equal(r[4].exist, EXIST_DEAD);
	assert_int_equal(r[4].n_cell, 0);
	f = pull(w, here(w, 3), slice_of(NULL, 0), 1 << 20);
	assert_int_equal(f.page.upto, 3);
	assert_int_equal(rows_of(w, f.page.rows).n_table, 0);
	world_free(w);
}

/* What a device would hold after pulling page by page. */
static size_t pull_all(struct world *w, uint64_t credit, size_t *pages)
{
	uint64_t cursor = 0, head = 1;
	struct slice token = {NULL, 0};
	size_t n = 0;

	*pages = 0;
	while (cursor < head || token.len) {
		struct frame f = pull(w, here(w, cursor), token, credit);
		assert_int_equal(f.type, FRAME_PAGE);
		assert_int_equal(f.page.from, cursor);
		assert_true((f.page.upto > cursor) != (f.page.token.len > 0));
		struct rows rows = rows_of(w, f.page.rows);
		for (size_t i = 0; i < rows.n_table; i++)
			n += rows.table[i].n_row;
		cursor = f.page.upto;
		head = f.page.head;
		token = f.page.token;
		(*pages)++;
	}
	return n;
}

static void large_seqs_continue_by_token(void **state)
{
	struct world *w = some_rows();
	struct shape other = *notes();
	size_t pages;
	(void)state;

	other.name = slice_str("other");
	declare_shape(w, "u", "a", &other);
	commit_rows(w, 3, 100, 1000, 100);
	/* One seq over two tables. */
	struct builder *b = set_new(SITE_A, 4, 3);
	for (int i = 0; i < 500; i++) {
		put_insert(b, 2000 + i, 100, i, i);
		struct row *r = row_add(b, &other, i);
		r->exist = EXIST_ALIVE;
		r->exist_reg = (struct reg){100, SITE_A};
	}
	give_set(w, "u", "a", b);
	commit_rows(w, 5, 3000, 1, 100);
	assert_int_equal(pull_all(w, 1 << 20, &pages), 3 + 2 + 1000 + 1000 + 1);
	assert_true(pages >= 2);
	assert_int_equal(pull_all(w, 1, &pages), 3 + 2 + 1000 + 1000 + 1);
	assert_true(pages > 50);
	world_free(w);
}

/* A seq is never split across an advance of the cursor. */
static void a_seq_is_whole_or_continued(void **state)
{
	struct world *w = some_rows();
	(void)state;

	commit_rows(w, 3, 100, 40, 100);
	struct frame f = pull(w, here(w, 0), slice_of(NULL, 0), 600);
	assert_int_equal(f.page.upto, 2);
	assert_int_equal(f.page.token.len, 0);
	assert_int_equal(rows_of(w, f.page.rows).table[0].n_row, 5);
	f = pull(w, here(w, 2), slice_of(NULL, 0), 600);
	assert_int_equal(f.page.upto, 2);
	assert_true(f.page.token.len > 0);
	world_free(w);
}

static void give_large(struct world *w, uint64_t number, uint16_t col, size_t len)
{
	struct builder *b = set_new(SITE_A, number, number - 1);
	struct row *r = row_add(b, notes(), 1);
	uint8_t *zeros = calloc(1, len);

	assert_non_null(zeros);
	cell_add(r, col, 500 + number, SITE_A,
		 (struct val){.type = VAL_BLOB, .s = slice_of(zeros, len)});
	give_set(w, "u", "a", b);
	free(zeros);
}

/* A row that no page could carry is refused; one that an operator made is served without the
 * excess. */
static void rows_too_large_for_a_page(void **state)
{
	struct world *w = some_rows();
	struct frame f;
	(void)state;

	give_large(w, 3, 0, 3 << 20);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	give_large(w, 4, 1, 3 << 20);
	find_out(w, FRAME_REJECT, 0, &f);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(query(w, "SELECT length(x), length(y) FROM notes WHERE id = 1"),
			    "3145728,1");
	give_large(w, 5, 1, 100);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	sql(w, "UPDATE notes SET y = zeroblob(5000000) WHERE id = 2");
	f = pull(w, here(w, 2), slice_of(NULL, 0), 1 << 20);
	assert_int_equal(f.type, FRAME_PAGE);
	struct rows rows = rows_of(w, f.page.rows);
	assert_int_equal(rows.table[0].row[0].key[0].i, 1);
	assert_int_equal(rows.table[0].row[0].n_cell, 2);
	f = pull(w, here(w, f.page.upto), slice_of(NULL, 0), 1 << 20);
	rows = rows_of(w, f.page.rows);
	assert_int_equal(rows.table[0].row[0].key[0].i, 2);
	assert_int_equal(rows.table[0].row[0].n_cell, 1);
	world_free(w);
}

static void a_token_of_others_is_ignored(void **state)
{
	struct world *w = some_rows();
	struct frame f = {.type = FRAME_PULL};
	struct ingest_stats stats;
	(void)state;

	f.pull = (struct f_pull){
		.nonce = 9, .number = 1, .at = here(w, 0), .token = slice_str("token")};
	give(w, "u", "b", &f);
	assert_int_equal(w->out.n, 0);
	ingest_stats(w->in, &stats);
	assert_int_equal(stats.malformed, 1);
	world_free(w);
}

/* P7: after tombstones are gone a device from before them starts over; in a full pull its base
 * counts. */
static void tombstones_gone_mean_reset(void **state)
{
	struct world *w = some_rows();
	struct builder *b = set_new(SITE_A, 3, 2);
	(void)state;

	put_delete(b, 2, stamp_from_ms(NOW_MS));
	give_set(w, "u", "a", b);
	w->now_ms += 80ull * 24 * 3600 * 1000;
	tick(w);
	assert_int_equal(say_hello(w, here(w, 2)), FRAME_WELCOME);
	w->now_ms += 11ull * 24 * 3600 * 1000;
	tick(w);
	assert_string_equal(query(w, "SELECT count(*) FROM neap_r1 WHERE state & 1 = 0"), "0");
	assert_string_equal(query(w, "SELECT gc_seq FROM neap_user"), "3");
	assert_int_equal(say_hello(w, here(w, 2)), FRAME_RESET);
	assert_int_equal(say_hello(w, here(w, 3)), FRAME_WELCOME);
	struct position at = here(w, 1);
	at.full = true;
	at.base = 3;
	assert_int_equal(say_hello(w, at), FRAME_WELCOME);
	at.base = 2;
	assert_int_equal(say_hello(w, at), FRAME_RESET);
	world_free(w);
}

static struct frame pull_notes(struct world *w, struct position at, uint64_t from, uint64_t upto,
			       struct slice token, const char *table)
{
	struct frame f = {.type = FRAME_PULL};

	f.pull = (struct f_pull){.nonce = 9,
				 .number = 1,
				 .at = at,
				 .token = token,
				 .credit = 1,
				 .from = from,
				 .upto = upto,
				 .table = slice_str(table)};
	give(w, "u", "b", &f);
	assert_true(w->out.n >= 1);
	return decoded(w, &w->out.at[w->out.n - 1]);
}

/* J5: of one table alone, only what did not change behind `upto`. */
static void one_table_is_pulled_alone(void **state)
{
	struct world *w = some_rows();
	struct shape *other = notes();
	struct builder *b = set_new(SITE_A, 3, 2);
	size_t n = 0;
	(void)state;

	put_update(b, 1, 200, 1, 77); /* seq 3 */
	give_set(w, "u", "a", b);
	other->name = slice_str("Others");
	declare_shape(w, "u", "a", other);
	sql(w, "INSERT INTO Others(user_id, id, x) VALUES('u', 1, zeroblob(600)),"
	       "('u', 2, 6)");
	tick(w); /* seq 4 */
	struct frame f = pull_notes(w, here(w, 4), 0, 4, slice_of(NULL, 0), "oTHERS");
	assert_int_equal(f.type, FRAME_PAGE);
	assert_int_equal(f.page.from, 0);
	assert_int_equal(f.page.head, 4);
	/* One seq, more than the credit: it goes on by a token. */
	assert_int_equal(f.page.upto, 0);
	assert_true(f.page.token.len > 0);
	assert_int_equal(rows_of(w, f.page.rows).table[0].row[0].key[0].i, 1);
	f = pull_notes(w, here(w, 4), 0, 4, f.page.token, "others");
	assert_int_equal(f.page.upto, 4);
	assert_int_equal(rows_of(w, f.page.rows).table[0].row[0].key[0].i, 2);

	for (uint64_t from = 0; from < 2; from = f.page.upto) {
		struct slice token = slice_of(NULL, 0);
		do {
			f = pull_notes(w, here(w, 4), from, 2, token, "notes");
			struct rows rows = rows_of(w, f.page.rows);
			n += rows.n_table ? rows.table[0].n_row : 0;
			for (size_t i = 0; rows.n_table && i < rows.table[0].n_row; i++)
				assert_int_not_equal(rows.table[0].row[i].key[0].i, 1);
			assert_int_equal(f.page.from, from);
			token = f.page.token;
		} while (token.len);
	}
	assert_int_equal(f.page.upto, 2);
	assert_int_equal(n, 4);
	f = pull_notes(w, here(w, 4), 1, 4, slice_of(NULL, 0), "nobody's");
	assert_int_equal(f.page.upto, 4);
	assert_int_equal(rows_of(w, f.page.rows).n_table, 0);
	/* The stream's position counts. */
	struct position at = here(w, 4);
	at.term ^= 1;
	f = pull_notes(w, at, 0, 4, slice_of(NULL, 0), "notes");
	assert_int_equal(f.type, FRAME_RESET);
	world_free(w);
}

/* Pages are the user's own. */
static void users_do_not_see_each_other(void **state)
{
	struct world *w = some_rows();
	struct frame f = {.type = FRAME_PULL}, got;
	(void)state;

	declare_shape(w, "v", "x", notes());
	f.pull = (struct f_pull){.nonce = 9, .number = 1, .at = here(w, 0), .credit = 99999};
	give(w, "v", "x", &f);
	got = decoded(w, &w->out.at[0]);
	assert_int_equal(got.page.head, 0);
	assert_int_equal(rows_of(w, got.page.rows).n_table, 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(positions_within_a_term),
		cmocka_unit_test(positions_of_older_terms),
		cmocka_unit_test(a_restored_store_is_noticed),
		cmocka_unit_test(what_pages_brought_counts),
		cmocka_unit_test(pages_hold_current_rows),
		cmocka_unit_test(large_seqs_continue_by_token),
		cmocka_unit_test(a_seq_is_whole_or_continued),
		cmocka_unit_test(rows_too_large_for_a_page),
		cmocka_unit_test(a_token_of_others_is_ignored),
		cmocka_unit_test(tombstones_gone_mean_reset),
		cmocka_unit_test(one_table_is_pulled_alone),
		cmocka_unit_test(users_do_not_see_each_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
