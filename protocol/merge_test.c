#include "protocol/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { COLS = 3, OPS = 12, RUNS = 20000 };

static uint64_t seed;

static uint32_t pick(uint32_t n)
{
	seed ^= seed << 13; /* xorshift64 */
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed >> 20) % n);
}

static bool same(struct reg a, struct reg b)
{
	return a.stamp == b.stamp && a.site == b.site;
}

struct op {
	struct cell cell[COLS];
	struct row row;
	bool shape_has[COLS];
};

/*
 * One site writes one kind of thing at a stamp: a version names one write. Sites differ in which
 * columns they have.
 */
static void random_op(struct op *op, uint64_t site, uint64_t stamp)
{
	memset(op, 0, sizeof *op);
	struct reg reg = {stamp, site};
	uint32_t kind = pick(4);

	op->row.cell = op->cell;
	for (int i = 0; i < COLS; i++)
		op->shape_has[i] = i == 0 || (site + (uint64_t)i) % 3;
	if (kind < 2) {
		op->row.exist = kind == 0 ? EXIST_ALIVE : EXIST_DEAD;
		op->row.exist_reg = reg;
	}
	if (kind == 1)
		return;
	for (uint16_t i = 0; i < COLS; i++) {
		if (!op->shape_has[i] || (kind && !pick(2)))
			continue;
		op->cell[op->row.n_cell++] = (struct cell){
			.col = i,
			.reg = reg,
			.val = {.type = pick(3) ? VAL_INT : VAL_NULL, .i = (int64_t)stamp}};
	}
}

struct state {
	struct standing st;
	struct reg cell[COLS];
	bool has[COLS];
};

static void state_init(struct state *s)
{
	memset(s, 0, sizeof *s);
	s->st.n_col = COLS;
	s->st.cell = s->cell;
	s->st.has = s->has;
}

/* What a write says of a column: *cell its version; false if it says nothing. */
static bool says(const struct op *op, uint16_t col, struct reg *reg)
{
	*reg = op->row.exist_reg;
	for (uint16_t i = 0; i < op->row.n_cell; i++)
		if (op->cell[i].col == col) {
			*reg = op->cell[i].reg;
			return true;
		}
	return op->row.exist == EXIST_DEAD;
}

/* The model: of all that was ever said of existence, and of each column, the newest stands. */
static void model(const struct op *const *seen, size_t n, struct state *out)
{
	state_init(out);
	out->st.known = n > 0;
	for (size_t i = 0; i < n; i++) {
		const struct row *r = &seen[i]->row;
		if (r->exist != EXIST_NONE && reg_cmp(r->exist_reg, out->st.exist) > 0) {
			out->st.exist = r->exist_reg;
			out->st.alive = r->exist == EXIST_ALIVE;
		}
	}
	for (size_t i = 0; i < n; i++) {
		struct reg reg;
		for (uint16_t c = 0; c < COLS; c++) {
			if (!says(seen[i], c, &reg) ||
			    (out->has[c] && reg_cmp(reg, out->cell[c]) <= 0))
				continue;
			out->cell[c] = reg;
			out->has[c] = true;
		}
	}
	/* That a dead row's columns stand at its end goes without saying. */
	for (uint16_t c = 0; c < COLS && !out->st.alive; c++)
		if (reg_cmp(out->cell[c], out->st.exist) <= 0) {
			out->has[c] = false;
			out->cell[c] = (struct reg){0, 0};
		}
}

static void check_equal(const struct state *a, const struct state *b)
{
	assert_int_equal(a->st.known, b->st.known);
	assert_int_equal(a->st.alive, b->st.alive);
	assert_true(same(a->st.exist, b->st.exist));
	for (int i = 0; i < COLS; i++) {
		assert_int_equal(a->has[i], b->has[i]);
		assert_true(same(a->cell[i], b->cell[i]));
	}
}

/* A cell that came as it stands now is taken; one that it finds another in place of, lost. */
static void check_cells(const struct state *before, const struct state *after, const struct op *op,
			const struct merge_result *r, bool *any, bool *lost)
{
	for (uint16_t i = 0; i < op->row.n_cell; i++) {
		const struct cell *c = &op->cell[i];
		bool is = after->has[c->col] && same(after->cell[c->col], c->reg);
		bool was = before->has[c->col] && same(before->cell[c->col], c->reg);
		bool nothing = after->st.alive && c->val.type == VAL_NULL &&
			       reg_cmp(c->reg, after->st.exist) < 0;
		assert_int_equal(r->cell_taken[i], is && !was);
		*any = *any || (is && !was);
		*lost = *lost || !is || (is && !was && nothing);
	}
}

/* What the result says against what changed between the states. */
static void check_result(const struct state *before, const struct state *after, const struct op *op,
			 const struct merge_result *r)
{
	bool lost = false, any = false, named;
	const struct row *in = &op->row;
	struct reg reg;

	bool exist_taken = !same(before->st.exist, after->st.exist);
	if (in->exist != EXIST_NONE && !same(in->exist_reg, after->st.exist))
		lost = true;
	assert_int_equal(r->exist_taken, exist_taken);
	assert_int_equal(r->revived, exist_taken && after->st.alive);
	any = exist_taken;
	check_cells(before, after, op, r, &any, &lost);
	for (uint16_t i = 0; i < COLS; i++) {
		bool moved =
			before->has[i] != after->has[i] || !same(before->cell[i], after->cell[i]);
		named = says(op, i, &reg) && in->exist != EXIST_DEAD;
		/* A late delete that comes again says the same again. */
		if (after->st.alive && in->exist == EXIST_DEAD &&
		    same(after->cell[i], in->exist_reg)) {
			assert_true(r->cell_voided[i]);
			any = true;
			continue;
		}
		assert_int_equal(r->cell_voided[i], moved && !named);
		any = any || moved;
	}
	assert_int_equal(r->any, any);
	assert_int_equal(r->lost, lost);
}

/* Any order, with repetitions, ends at the same registers: a join. */
static void test_server_is_a_join(void **state)
{
	(void)state;
	for (int run = 1; run <= RUNS; run++) {
		struct op op[OPS];
		const struct op *seen[2 * OPS];
		struct state s, before, want;

		seed = 0x9e3779b97f4a7c15u * (uint64_t)run;
		size_t n = 1 + pick(OPS);
		for (size_t i = 0; i < n; i++)
			random_op(&op[i], 1 + i % 3, 1 + i / 3 * 2 + pick(2));
		state_init(&s);
		for (size_t i = 0; i < 2 * n; i++) {
			bool taken[COLS], voided[COLS];
			struct merge_result r = {.cell_taken = taken, .cell_voided = voided};
			const struct op *o = &op[pick((uint32_t)n)];
			before = s;
			seen[i] = o;
			merge_server(&s.st, &o->row, o->shape_has, &r);
			model(seen, i + 1, &want);
			check_equal(&s, &want);
			check_result(&before, &s, o, &r);
		}
	}
}

static void test_insert_voids_only_known_columns(void **state)
{
	struct state s;
	bool taken[COLS], voided[COLS];
	struct merge_result r = {.cell_taken = taken, .cell_voided = voided};
	const bool old_schema[COLS] = {true, true, false};
	struct cell cell[2] = {{.col = 0, .reg = {9, 1}}, {.col = 1, .reg = {9, 1}}};
	struct row insert = {.exist = EXIST_ALIVE, .exist_reg = {9, 1}, .n_cell = 2, .cell = cell};
	(void)state;
	state_init(&s);
	s.st.known = s.st.alive = true;
	s.st.exist = (struct reg){3, 2};
	for (int i = 0; i < COLS; i++) {
		s.has[i] = true;
		s.cell[i] = (struct reg){4, 2};
	}
	merge_server(&s.st, &insert, old_schema, &r);
	assert_true(r.revived && taken[0] && taken[1] && !r.lost);
	assert_true(s.has[2] && s.cell[2].stamp == 4);

	struct row del = {.exist = EXIST_DEAD, .exist_reg = {10, 1}};
	merge_server(&s.st, &del, old_schema, &r);
	assert_true(r.exist_taken && !r.revived && voided[2]);
	assert_false(s.has[2]);

	/* The column stands at the row's end from now on, whatever comes late. */
	insert.exist_reg.stamp = cell[0].reg.stamp = cell[1].reg.stamp = 12;
	merge_server(&s.st, &insert, old_schema, &r);
	assert_true(r.revived && s.has[2] && s.cell[2].stamp == 10);
	struct cell late = {.col = 2, .reg = {9, 2}, .val = {.type = VAL_INT}};
	struct row update = {.n_cell = 1, .cell = &late};
	merge_server(&s.st, &update, old_schema, &r);
	assert_true(r.lost && !r.any);
	late.reg.stamp = 11;
	merge_server(&s.st, &update, old_schema, &r);
	assert_true(!r.lost && taken[0]);
}

/* A NULL that is older than the row's existence is none to devices: all get the whole row. */
static void test_late_null_is_corrected(void **state)
{
	struct state s;
	bool taken[COLS], voided[COLS];
	struct merge_result r = {.cell_taken = taken, .cell_voided = voided};
	const bool old_schema[COLS] = {true, false, false};
	struct cell cell = {.col = 0, .reg = {9, 1}};
	struct row insert = {.exist = EXIST_ALIVE, .exist_reg = {9, 1}, .n_cell = 1, .cell = &cell};
	struct cell null = {.col = 2, .reg = {8, 1}, .val = {.type = VAL_NULL}};
	struct row update = {.n_cell = 1, .cell = &null};
	struct row whole = insert;

	(void)state;
	state_init(&s);
	merge_server(&s.st, &insert, old_schema, &r);
	assert_false(s.has[1] || s.has[2]);
	merge_server(&s.st, &update, old_schema, &r);
	assert_true(taken[0] && r.lost);
	assert_true(cell_no_value(&whole, &null));
	null.reg.stamp = 9;
	assert_false(cell_no_value(&whole, &null));
	merge_server(&s.st, &update, old_schema, &r);
	assert_true(taken[0] && !r.lost);
}

static void test_a_delete_beats_an_insert_of_its_version(void **state)
{
	struct state s;
	bool taken[COLS], voided[COLS], has[COLS] = {true, true, true};
	struct merge_result r = {.cell_taken = taken, .cell_voided = voided};
	struct row insert = {.exist = EXIST_ALIVE, .exist_reg = {9, 1}};
	struct row del = {.exist = EXIST_DEAD, .exist_reg = {9, 1}};
	(void)state;
	state_init(&s);
	merge_server(&s.st, &insert, has, &r);
	assert_true(r.any && !r.lost);
	merge_server(&s.st, &insert, has, &r);
	assert_true(!r.any && !r.lost);
	merge_server(&s.st, &del, has, &r);
	assert_true(r.exist_taken && !r.lost && !s.st.alive);
	merge_server(&s.st, &insert, has, &r);
	assert_true(!r.any && r.lost && !s.st.alive);
}

/*
 * A refused insert whose cell was written later than the row; another site's insert is from
 * between. The cell has that one's value, under a register that the refused one gives way to.
 */
static void test_an_insert_after_a_refused_one(void **state)
{
	struct state s;
	bool taken[COLS], voided[COLS], has[COLS] = {true, true, true};
	struct merge_result r = {.cell_taken = taken, .cell_voided = voided};
	struct cell late[2] = {{.col = 0, .reg = {5, 1}}, {.col = 1, .reg = {9, 1}}};
	struct cell between[2] = {{.col = 0, .reg = {7, 2}}, {.col = 1, .reg = {7, 2}}};
	struct row refused = {.exist = EXIST_ALIVE, .exist_reg = {5, 1}, .n_cell = 2, .cell = late};
	struct row insert = {
		.exist = EXIST_ALIVE, .exist_reg = {7, 2}, .n_cell = 2, .cell = between};
	(void)state;
	state_init(&s);
	merge_refuse(&s.st, &refused, has);
	assert_true(!s.st.alive && same(s.st.exist, (struct reg){5, SITE_REFUSED}));
	assert_true(!s.has[0] && s.has[1]);
	merge_server(&s.st, &insert, has, &r);
	assert_true(s.st.alive && taken[0] && taken[1] && !voided[1]);
	assert_true(same(s.cell[0], (struct reg){7, 2}));
	assert_true(same(s.cell[1], (struct reg){9, SITE_REFUSED}));
	assert_true(r.lost); /* its sender learns of the register */
	/* Now it stands like any other. */
	merge_server(&s.st, &insert, has, &r);
	assert_true(!taken[0] && !taken[1]);
}

struct device {
	struct pending p;
	bool has[COLS];
	struct reg cell[COLS];
};

/* A device with random marks: stamps even; what comes in is odd or an echo. */
static void random_device(struct device *d)
{
	memset(d, 0, sizeof *d);
	d->p = (struct pending){.n_col = COLS, .has = d->has, .cell = d->cell};
	d->p.row_exists = pick(2);
	d->p.has_exist = pick(2);
	if (d->p.has_exist)
		d->p.exist = (struct reg){2 * pick(5), 7};
	for (int i = 0; i < COLS && d->p.row_exists; i++) {
		if (!pick(2))
			continue;
		d->has[i] = true;
		d->cell[i] = (struct reg){d->p.exist.stamp + 2 * pick(4), 7};
	}
}

/* What a cell is worth on the device: its mark, or its pending insert; nothing if settled. */
static bool local_version(const struct device *d, uint16_t col, struct reg *out)
{
	if (d->has[col])
		*out = d->cell[col];
	else if (d->p.has_exist && d->p.row_exists)
		*out = d->p.exist;
	else
		return false;
	return true;
}

static void test_device_against_joined_versions(void **state)
{
	(void)state;
	for (int run = 1; run <= RUNS; run++) {
		struct device d;
		struct op op;
		bool write[COLS], drop[COLS], keep[COLS];
		struct apply_plan plan = {.write = write, .drop_mark = drop, .keep = keep};

		seed = 0xd1342543de82ef95u * (uint64_t)run;
		random_device(&d);
		random_op(&op, 3, 1 + 2 * pick(6));
		const struct row *in = &op.row;
		merge_device(&d.p, in, &plan);

		bool theirs = in->exist != EXIST_NONE &&
			      (!d.p.has_exist || reg_cmp(in->exist_reg, d.p.exist) > 0);
		bool alive = theirs ? in->exist == EXIST_ALIVE : d.p.row_exists;
		assert_int_equal(plan.action, !theirs ? APPLY_NONE
					      : alive ? APPLY_INSERT
						      : APPLY_DELETE);
		assert_int_equal(plan.drop_exist_mark, theirs && d.p.has_exist);
		bool listed[COLS] = {false};
		for (uint16_t i = 0; i < in->n_cell; i++) {
			struct reg local;
			uint16_t col = in->cell[i].col;
			bool wins = !local_version(&d, col, &local) ||
				    reg_cmp(in->cell[i].reg, local) > 0;
			listed[col] = wins;
			assert_int_equal(write[i], alive && wins);
			assert_int_equal(drop[col], alive && wins && d.has[col]);
			assert_false(keep[col] && wins);
		}
		for (uint16_t i = 0; i < COLS; i++) {
			if (listed[i])
				continue;
			assert_int_equal(drop[i], d.has[i] && theirs && !alive);
			assert_int_equal(keep[i],
					 theirs && alive && d.p.has_exist && d.p.row_exists);
		}
	}
}

/* The device's own insert, pulled back: it may be written again and its mark goes. */
static void test_device_takes_its_own_echo(void **state)
{
	struct device d;
	struct op op;
	bool write[COLS], drop[COLS], keep[COLS];
	struct apply_plan plan = {.write = write, .drop_mark = drop, .keep = keep};
	(void)state;
	memset(&d, 0, sizeof d);
	memset(&op, 0, sizeof op);
	d.p = (struct pending){.row_exists = true,
			       .has_exist = true,
			       .exist = {4, 7},
			       .n_col = COLS,
			       .has = d.has,
			       .cell = d.cell};
	d.has[1] = true;
	d.cell[1] = (struct reg){6, 7};
	op.row = (struct row){
		.exist = EXIST_ALIVE, .exist_reg = {4, 7}, .n_cell = 2, .cell = op.cell};
	op.cell[0] = (struct cell){.col = 0, .reg = {4, 7}};
	op.cell[1] = (struct cell){.col = 1, .reg = {6, 7}};
	merge_device(&d.p, &op.row, &plan);
	assert_int_equal(plan.action, APPLY_INSERT);
	assert_true(plan.drop_exist_mark && write[0] && write[1]);
	assert_false(drop[0] || drop[1] || keep[0] || keep[1] || keep[2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_server_is_a_join),
		cmocka_unit_test(test_insert_voids_only_known_columns),
		cmocka_unit_test(test_late_null_is_corrected),
		cmocka_unit_test(test_a_delete_beats_an_insert_of_its_version),
		cmocka_unit_test(test_an_insert_after_a_refused_one),
		cmocka_unit_test(test_device_against_joined_versions),
		cmocka_unit_test(test_device_takes_its_own_echo),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
