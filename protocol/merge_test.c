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

/* One site writes one kind of thing at a stamp: a version names one write. */
static void random_op(struct op *op, uint64_t site, uint64_t stamp)
{
	memset(op, 0, sizeof *op);
	struct reg reg = {stamp, site};
	uint32_t kind = pick(4);

	op->row.cell = op->cell;
	for (int i = 0; i < COLS; i++)
		op->shape_has[i] = true;
	if (kind < 2) {
		op->row.exist = kind == 0 ? EXIST_ALIVE : EXIST_DEAD;
		op->row.exist_reg = reg;
	}
	if (kind == 1)
		return;
	for (uint16_t i = 0; i < COLS; i++)
		if (kind == 0 || pick(2))
			op->cell[op->row.n_cell++] = (struct cell){.col = i, .reg = reg};
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

/* The model: of all writes ever seen the greatest wins, and cells below existence are void. */
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
		const struct row *r = &seen[i]->row;
		for (uint16_t c = 0; c < r->n_cell; c++) {
			uint16_t col = r->cell[c].col;
			if (reg_cmp(r->cell[c].reg, out->st.exist) < 0)
				continue;
			if (!out->has[col] || reg_cmp(r->cell[c].reg, out->cell[col]) > 0)
				out->cell[col] = r->cell[c].reg;
			out->has[col] = true;
		}
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

/* What the result says against what changed between the states. */
static void check_result(const struct state *before, const struct state *after, const struct op *op,
			 const struct merge_result *r)
{
	bool lost = false, any = false;
	const struct row *in = &op->row;

	bool exist_taken = !same(before->st.exist, after->st.exist);
	if (in->exist != EXIST_NONE && !same(in->exist_reg, after->st.exist))
		lost = true;
	assert_int_equal(r->exist_taken, exist_taken);
	assert_int_equal(r->revived, exist_taken && after->st.alive);
	any = exist_taken;
	for (uint16_t i = 0; i < in->n_cell; i++) {
		uint16_t col = in->cell[i].col;
		bool is = after->has[col] && same(after->cell[col], in->cell[i].reg);
		bool was = before->has[col] && same(before->cell[col], in->cell[i].reg);
		assert_int_equal(r->cell_taken[i], is && !was);
		any = any || (is && !was);
		lost = lost || !is;
	}
	for (int i = 0; i < COLS; i++)
		assert_int_equal(r->cell_voided[i], before->has[i] && !after->has[i]);
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
}

static void test_same_version_of_other_kind_is_lost(void **state)
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
	assert_true(!r.any && r.lost && s.st.alive);
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
		bool write[COLS], drop[COLS];
		struct apply_plan plan = {.write = write, .drop_mark = drop};

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
			listed[col] = true;
			assert_int_equal(write[i], alive && wins);
			assert_int_equal(drop[col], alive && wins && d.has[col]);
		}
		for (uint16_t i = 0; i < COLS; i++) {
			if (listed[i])
				continue;
			bool gone = theirs && (!alive || reg_cmp(d.cell[i], in->exist_reg) < 0);
			assert_int_equal(drop[i], d.has[i] && gone);
		}
	}
}

/* The device's own insert, pulled back: it may be written again and its mark goes. */
static void test_device_takes_its_own_echo(void **state)
{
	struct device d;
	struct op op;
	bool write[COLS], drop[COLS];
	struct apply_plan plan = {.write = write, .drop_mark = drop};
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
	assert_true(plan.drop_exist_mark && write[0]);
	assert_false(write[1] || drop[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_server_is_a_join),
		cmocka_unit_test(test_insert_voids_only_known_columns),
		cmocka_unit_test(test_same_version_of_other_kind_is_lost),
		cmocka_unit_test(test_device_against_joined_versions),
		cmocka_unit_test(test_device_takes_its_own_echo),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
