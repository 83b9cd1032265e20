/* Steps that are too much at once, or end and are done again: the server goes on, nothing is lost.
 */
#include "backend/core/store_sqlite.h"
#include "backend/core/testing.h"

enum { SITE_A = 11, ASKERS = 60, LARGE = 3000000, PIECE = 1000 };

static struct world *begin(void)
{
	struct world *w = world_new();

	declare_shape(w, "u", "a", notes());
	return w;
}

static struct slice pull(struct world *w, const struct position *at)
{
	struct frame f = {.type = FRAME_PULL};

	f.pull = (struct f_pull){.nonce = 7, .number = 1, .at = *at, .credit = 4096};
	return encoded(w, &f);
}

/* As count_out, of more than the arena holds at once. */
static size_t count_all(struct world *w, enum frame_type type)
{
	size_t n = 0;

	for (size_t i = 0; i < w->out.n; i++) {
		arena_free(&w->arena);
		n += decoded(w, &w->out.at[i]).type == type;
	}
	return n;
}

/* A row too large to be broadcast: all devices of the user pull it in the same moment. */
static void all_pull_a_large_row_at_once(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(SITE_A, 1, 0);
	struct in_event ev[ASKERS + 1];
	uint8_t *noise = malloc(LARGE);
	(void)state;

	assert_non_null(noise);
	world_random(&w->random, noise, LARGE); /* does not compress */
	struct row *r = row_add(b, notes(), 1);
	r->exist = EXIST_ALIVE;
	r->exist_reg = (struct reg){100, SITE_A};
	cell_add(r, 0, 100, SITE_A, (struct val){.type = VAL_BLOB, .s = slice_of(noise, LARGE)});
	give_set(w, "u", "a", b);
	free(noise);
	const struct position at = {store_id(w->store), store_term(w->store), 0, 0, false, 0};
	for (size_t i = 0; i < ASKERS; i++)
		ev[i] = (struct in_event){IN_FRAME, "u", "b", pull(w, &at)};
	b = set_new(33, 1, 0);
	declare_shape(w, "v", "x", notes());
	put_insert(b, 1, 100, 1, 2);
	ev[ASKERS] = (struct in_event){IN_FRAME, "v", "x", set_bytes(w, b)};
	step_n(w, ev, ASKERS + 1);
	assert_true(count_all(w, FRAME_PART) > 0);
	assert_int_equal(count_all(w, FRAME_BUSY), 2); /* each device that came too late */
	world_free(w);
}

static void give_part(struct world *w, struct slice whole, uint64_t cut, size_t index)
{
	uint8_t digest[32];
	struct frame part;

	parts_digest(whole, digest);
	parts_get(whole, PIECE, cut, index, digest, &part);
	give(w, "u", "a", &part);
}

/* An operator's trigger ends the transaction: the set's parts are still there when it is redone. */
static void a_set_in_parts_is_done_again(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(SITE_A, 1, 0);
	(void)state;

	sql(w, "CREATE TRIGGER odd BEFORE INSERT ON notes WHEN NEW.id = 7"
	       " BEGIN SELECT RAISE(ROLLBACK, 'not seven'); END");
	for (int64_t i = 0; i < 300; i++) {
		int64_t v;
		world_random(&w->random, &v, sizeof v);
		put_insert(b, i, 100, v, v);
	}
	struct slice whole = set_bytes(w, b);
	size_t n = parts_count(whole.len, PIECE);
	assert_true(n > 1);
	for (size_t i = 0; i < n; i++)
		give_part(w, whole, b->set.cut, i);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_int_equal(count_out(w, FRAME_REJECT), 1);
	assert_string_equal(query(w, "SELECT count(*) FROM notes"), "299");
	world_free(w);
}

/* words(word PRIMARY KEY COLLATE NOCASE, x). */
static struct shape *words(void)
{
	static struct shape_col key[1], col[1];
	static struct shape s;
	struct buf b = {.max = 4096};
	struct err e;

	key[0] = (struct shape_col){slice_str("word"), AFF_TEXT, COLL_NOCASE};
	col[0] = (struct shape_col){slice_str("x"), AFF_BLOB, COLL_BINARY};
	s = (struct shape){
		.name = slice_str("words"), .n_key = 1, .n_col = 1, .key = key, .col = col};
	assert_int_equal(shape_encode(&s, &b, &e), 0);
	buf_free(&b);
	return &s;
}

static void put_word(struct builder *b, size_t i, const char *word, uint64_t stamp)
{
	struct row *r = row_add(b, words(), 0);

	b->key[table_at(b, words())][i] = (struct val){.type = VAL_TEXT, .s = slice_str(word)};
	r->exist = EXIST_ALIVE;
	r->exist_reg = (struct reg){stamp, b->set.site};
	cell_add(r, 0, stamp, b->set.site, int_val((int64_t)stamp));
}

/* The new spelling of a key meets an operator's trigger that ends the transaction. */
static void a_spelling_that_rolls_back(void **state)
{
	struct world *w = begin();
	struct builder *b = set_new(SITE_A, 1, 0);
	(void)state;

	declare_shape(w, "u", "a", words());
	put_word(b, 0, "one", 100);
	give_set(w, "u", "a", b);
	sql(w, "CREATE TRIGGER fix BEFORE UPDATE OF word ON words"
	       " BEGIN SELECT RAISE(ROLLBACK, 'words stay'); END");
	b = set_new(SITE_A, 2, 1);
	put_word(b, 0, "ONE", 200);
	put_word(b, 1, "two", 200);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_int_equal(count_out(w, FRAME_REJECT), 1);
	assert_string_equal(query(w, "SELECT word, x FROM words ORDER BY word"), "one,100 two,200");
	/* One that refuses the spelling alone does not refuse the row. */
	sql(w, "DROP TRIGGER fix; CREATE TRIGGER fix BEFORE UPDATE OF word ON words"
	       " BEGIN SELECT RAISE(ABORT, 'words stay'); END");
	b = set_new(SITE_A, 3, 2);
	put_word(b, 0, "TWO", 300);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(query(w, "SELECT word, x FROM words ORDER BY word"), "one,100 two,300");
	world_free(w);
}

/* Declares a table and sends rows in one step; *version: of the schema that it met. */
static int declare_and_send(struct world *w, int64_t *version)
{
	struct builder *b = set_new(SITE_A, 2, 1);
	struct frame f = {.type = FRAME_DECLARE};
	struct buf shape = {.max = 4096};

	ok(w, shape_encode(words(), &shape, &w->e));
	struct slice declared = buf_slice(&shape);
	f.declare.n = 1;
	f.declare.shape = &declared;
	for (int i = 0; i < 2000; i++)
		put_insert(b, i, 200, i, i);
	const struct in_event ev[] = {{IN_FRAME, "u", "a", encoded(w, &f)},
				      {IN_FRAME, "u", "a", set_bytes(w, b)}};
	buf_free(&shape);
	int rc = ingest_step(w->in, w->now_ms, ev, 2, &w->out, &w->e);
	*version = w->store->triggers_version;
	return rc;
}

static struct world *with_a_row(void)
{
	struct world *w = begin();
	struct builder *b = set_new(SITE_A, 1, 0);

	put_insert(b, 1, 100, 1, 1);
	give_set(w, "u", "a", b);
	return w;
}

/* What was found of a schema whose transaction was undone does not hold for the next of its number.
 */
static void an_operators_trigger_after_an_undone_step(void **state)
{
	struct world *w = with_a_row();
	struct builder *b;
	int64_t version, pages;
	char text[60];
	(void)state;

	ok(w, declare_and_send(w, &version));
	world_free(w);
	w = with_a_row();
	ok(w, db_int(w->store->db, "PRAGMA page_count", 0, &pages, &w->e));
	ok(w, db_execf(w->store->db, &w->e, "PRAGMA max_page_count = %lld", (long long)pages + 20));
	int64_t ignored;
	assert_int_equal(declare_and_send(w, &ignored), NE_DISK);
	ok(w, db_exec(w->store->db, "PRAGMA max_page_count = 1000000", &w->e));
	sql(w, "CREATE TABLE seen(id); CREATE TRIGGER watch AFTER UPDATE ON notes"
	       " BEGIN INSERT INTO seen VALUES(NEW.id); END");
	snprintf(text, sizeof text, "PRAGMA schema_version = %lld", (long long)version);
	sql(w, text);
	b = set_new(SITE_A, 2, 1);
	put_update(b, 1, 300, 0, 5);
	give_set(w, "u", "a", b);
	assert_int_equal(count_out(w, FRAME_ACK), 1);
	assert_string_equal(query(w, "SELECT id FROM seen"), "1");
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_pull_a_large_row_at_once),
		cmocka_unit_test(a_set_in_parts_is_done_again),
		cmocka_unit_test(a_spelling_that_rolls_back),
		cmocka_unit_test(an_operators_trigger_after_an_undone_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
