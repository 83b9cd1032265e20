/*
 * Random sets of three devices, lost, repeated and out of order, against a
 * small model of registers: whatever the order, the store must hold the join
 * of what was committed (J1), and a reader that applies what was broadcast,
 * pulling where nothing was, must hold the same rows.
 */
#include "backend/core/testing.h"

enum { DEVICES = 3, KEYS = 4, COLS = 2, STEPS = 60, RUNS = 100 };

struct cell_model {
	bool has;
	struct reg reg;
	int64_t v;
};
struct row_model {
	struct reg exist;
	bool alive;
	struct cell_model cell[COLS];
};
struct reader_row {
	bool alive, has[COLS];
	int64_t v[COLS];
};

struct device {
	uint64_t site, number, acked;
	struct slice sent[STEPS]; /* by number */
	struct builder set;	  /* the newest, as built */
};

struct run {
	struct world *w;
	struct device d[DEVICES];
	struct row_model model[KEYS];
	struct reader_row reader[KEYS];
	uint64_t cursor, stamp;
	bool replayed; /* a set committed before was taken again */
};

static uint64_t pick(struct run *r, uint64_t n)
{
	uint32_t v;

	world_random(&r->w->random, &v, sizeof v);
	return v % n;
}

static const char *name_of(const struct run *r, const struct device *d)
{
	static const char *const names[DEVICES] = {"a", "b", "c"};

	return names[d - r->d];
}

/* Of two writes of one version the delete is the later: stamps here may meet. */
static bool later(const struct row *r, const struct row_model *m)
{
	int order = reg_cmp(r->exist_reg, m->exist);

	return order > 0 || (order == 0 && m->alive && r->exist == EXIST_DEAD);
}

/* The join, written the plain way: a delete ends older cells, an insert voids them. */
static void model_take(struct row_model *m, const struct row *r)
{
	if (r->exist != EXIST_NONE && later(r, m)) {
		m->exist = r->exist_reg;
		m->alive = r->exist == EXIST_ALIVE;
		for (int c = 0; c < COLS; c++)
			if (reg_cmp(m->cell[c].reg, m->exist) < !m->alive)
				m->cell[c].has = false;
	}
	for (uint16_t i = 0; i < r->n_cell; i++) {
		struct cell_model *c = &m->cell[r->cell[i].col];
		struct reg reg = r->cell[i].reg;
		if (reg_cmp(reg, m->exist) < (!m->alive && m->exist.stamp) ||
		    (c->has && reg_cmp(reg, c->reg) <= 0))
			continue;
		*c = (struct cell_model){true, reg, r->cell[i].val.i};
	}
}

static void model_commit(struct run *r, const struct device *d)
{
	for (size_t i = 0; i < d->set.table[0].n_row; i++) {
		const struct row *row = &d->set.row[0][i];
		model_take(&r->model[row->key[0].i], row);
	}
}

/* A write in the past or the future of the others': clocks are a few stamps apart. */
static uint64_t stamp_near(struct run *r)
{
	return ++r->stamp * 4 + pick(r, 24);
}

static void build(struct run *r, struct device *d)
{
	struct builder *b = set_new(d->site, d->number + 1, d->number);
	bool used[KEYS] = {false};

	for (uint64_t n = 1 + pick(r, KEYS); n; n--) {
		int64_t key = (int64_t)pick(r, KEYS);
		uint64_t stamp = stamp_near(r);
		if (used[key])
			continue;
		used[key] = true;
		switch (pick(r, 4)) {
		case 0:
			put_insert(b, key, stamp, (int64_t)stamp, -(int64_t)stamp);
			break;
		case 1:
			put_delete(b, key, stamp);
			break;
		default:
			put_update(b, key, stamp, (uint16_t)pick(r, COLS), (int64_t)stamp);
		}
	}
	d->sent[d->number] = set_bytes(r->w, b);
	d->number++;
	d->set = *b;
	/* The copy's pointers are those of the original, which the next set overwrites. */
	for (size_t i = 0; i < b->table[0].n_row; i++) {
		d->set.row[0][i].key = &d->set.key[0][i];
		d->set.row[0][i].cell = d->set.cell[0][i];
	}
}

static void reader_take(struct run *r, const struct rows *rows)
{
	for (size_t i = 0; rows->n_table && i < rows->table[0].n_row; i++) {
		const struct row *row = &rows->table[0].row[i];
		struct reader_row *to = &r->reader[row->key[0].i];
		if (row->exist == EXIST_DEAD)
			*to = (struct reader_row){.alive = false};
		else if (row->exist == EXIST_ALIVE)
			*to = (struct reader_row){.alive = true};
		for (uint16_t c = 0; to->alive && c < row->n_cell; c++) {
			to->has[row->cell[c].col] = true;
			to->v[row->cell[c].col] = row->cell[c].val.i;
		}
	}
}

static void reader_pull(struct run *r)
{
	struct frame f = {.type = FRAME_PULL};

	f.pull = (struct f_pull){
		.nonce = 1,
		.number = 1,
		.at = {store_id(r->w->store), store_term(r->w->store), r->cursor, 0, false, 0},
		.credit = 1 << 20};
	give(r->w, "u", "reader", &f);
	find_out(r->w, FRAME_PAGE, 0, &f);
	assert_int_equal(f.page.upto, f.page.head);
	struct rows rows = rows_of(r->w, f.page.rows);
	reader_take(r, &rows);
	r->cursor = f.page.upto;
}

/* Reads the step's messages: sets acknowledged, and changes in seq order unless some get lost. */
static void listen(struct run *r, struct device *d, bool lossy)
{
	size_t n = r->w->out.n;

	for (size_t i = 0; i < n; i++) {
		struct frame f = decoded(r->w, &r->w->out.at[i]);
		if (f.type == FRAME_ACK) {
			r->replayed = r->replayed || f.ack.number < d->acked;
			assert_true(f.ack.number <= d->number);
			if (f.ack.number > d->acked)
				model_commit(r, d);
			d->acked = f.ack.number;
		}
		if (f.type == FRAME_CHANGE && !(lossy && pick(r, 3) == 0) &&
		    f.change.seq == r->cursor + 1) {
			struct rows rows = rows_of(r->w, f.change.rows);
			reader_take(r, &rows);
			r->cursor = f.change.seq;
		}
	}
}

static void deliver(struct run *r, struct device *d, uint64_t number)
{
	struct in_event ev = {.type = IN_FRAME,
			      .user = "u",
			      .device = name_of(r, d),
			      .frame = d->sent[number - 1]};

	step_n(r->w, &ev, 1);
	listen(r, d, true);
}

static uint64_t head_of(struct run *r)
{
	return strtoull(query(r->w, "SELECT head FROM neap_user WHERE name = 'u'"), NULL, 10);
}

static void one_step(struct run *r)
{
	struct device *d = &r->d[pick(r, DEVICES)];

	if (d->number == STEPS)
		return;
	if (d->acked == d->number)
		build(r, d);
	if (d->acked && pick(r, 4) == 0) {
		/* A recorded set of any age comes again: it must change nothing. */
		uint64_t head = head_of(r);
		deliver(r, d, 1 + pick(r, d->acked));
		r->replayed = r->replayed || head_of(r) != head;
	}
	if (pick(r, 5))
		deliver(r, d, d->number);
	if (pick(r, 10) == 0)
		reader_pull(r);
	if (pick(r, 40) == 0) {
		world_stop(r->w);
		world_start(r->w);
	}
}

static void model_text(const struct run *r, struct buf *out)
{
	for (int k = 0; k < KEYS; k++) {
		const struct row_model *m = &r->model[k];
		if (!m->alive)
			continue;
		assert_int_equal(buf_printf(out, "%s%d", out->len ? " " : "", k), 0);
		for (int c = 0; c < COLS; c++)
			assert_int_equal(m->cell[c].has
						 ? buf_printf(out, ",%lld", (long long)m->cell[c].v)
						 : buf_printf(out, ",NULL"),
					 0);
	}
	assert_int_equal(buf_terminate(out), 0);
}

static bool reader_is_right(const struct run *r)
{
	for (int k = 0; k < KEYS; k++) {
		const struct row_model *m = &r->model[k];
		const struct reader_row *have = &r->reader[k];
		if (have->alive != m->alive)
			return false;
		for (int c = 0; m->alive && c < COLS; c++)
			if (have->has[c] != m->cell[c].has ||
			    (have->has[c] && have->v[c] != m->cell[c].v))
				return false;
	}
	return true;
}

static bool store_is_right(const struct run *r)
{
	struct buf want = {.max = 4096};

	model_text(r, &want);
	const char *got = query(r->w, "SELECT id, x, y FROM notes ORDER BY id");
	bool same = strcmp(got, (const char *)want.at) == 0;
	buf_free(&want);
	return same;
}

static bool run_seed(uint64_t seed, struct ingest_break broken)
{
	static struct run r;

	memset(&r, 0, sizeof r);
	r.w = world_new_broken(broken);
	r.w->random = seed * 7919;
	r.stamp = 100;
	for (uint64_t i = 0; i < DEVICES; i++)
		r.d[i].site = i + 1;
	declare_shape(r.w, "u", "a", notes());
	for (int i = 0; i < STEPS; i++)
		one_step(&r);
	reader_pull(&r);
	bool right = store_is_right(&r) && reader_is_right(&r) && !r.replayed;
	world_free(r.w);
	return right;
}

static void any_order_gives_the_join(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= RUNS; seed++)
		if (!run_seed(seed, (struct ingest_break){.no_join = false}))
			fail_msg("seed %llu: the store or its reader differs from the model",
				 (unsigned long long)seed);
}

static void notices(struct ingest_break broken)
{
	uint64_t seed = 1;

	while (seed <= RUNS && run_seed(seed, broken))
		seed++;
	assert_true(seed <= RUNS);
}

/* The test can fail: each rule broken on purpose is noticed. */
static void broken_rules_are_noticed(void **state)
{
	(void)state;
	notices((struct ingest_break){.no_join = true});
	notices((struct ingest_break){.publish_as_sent = true});
	notices((struct ingest_break){.no_successor = true});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_order_gives_the_join),
		cmocka_unit_test(broken_rules_are_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
