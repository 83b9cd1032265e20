#include "tests/sim/sim.h"

static const uint32_t base_weight[DO_N] = {
	[DO_APP] = 120,	       [DO_OPERATOR] = 10,     [DO_LINK_DOWN] = 8,
	[DO_KILL] = 5,	       [DO_POWER] = 4,	       [DO_DIE_AT_WRITE] = 8,
	[DO_BACKEND_KILL] = 3, [DO_BACKEND_DIE] = 5,   [DO_WIPE] = 2,
	[DO_HEAD_LOST] = 2,    [DO_CLOCK] = 4,	       [DO_SYNC] = 4,
	[DO_REPLAY] = 6,       [DO_STORE_BACKUP] = 6,  [DO_STORE_RESTORE] = 4,
	[DO_STORE_WIPE] = 2,   [DO_DEVICE_BACKUP] = 8, [DO_DEVICE_RESTORE] = 5,
	[DO_DEVICE_CLONE] = 3, [DO_UPGRADE] = 5,
};

static void restful(struct climate *c, struct rng *r)
{
	bool restores = rng_chance(r, 150); /* of the store or of devices, from copies */

	for (unsigned i = DO_STORE_BACKUP; i <= DO_DEVICE_CLONE && !restores; i++)
		c->weight[i] = 0;
}

static void draw_weather(struct climate *c, struct rng *r)
{
	static const uint32_t swarm[] = {0, 1, 1, 3};

	c->lose = rng_chance(r, 700) ? rng_below(r, 250) : 0;
	c->repeat = rng_chance(r, 600) ? rng_below(r, 150) : 0;
	c->delay = rng_chance(r, 500) ? rng_below(r, 100) : 0;
	c->reorder_ms = rng_chance(r, 700) ? rng_below(r, 3000) : 5;
	c->unpublished = rng_chance(r, 500) ? rng_below(r, 60) : 0;
	c->skew = rng_chance(r, 500) ? 700 : 0;
	c->tear = 500;
	c->tombstone_ms = rng_chance(r, 300) ? rng_range(r, c->chaos_ms / 20 + 1, c->chaos_ms) : 0;
	c->set_rows = rng_chance(r, 500) ? (uint32_t)rng_range(r, 1, 12) : 0;
	for (unsigned i = 0; i <= DO_UPGRADE; i++)
		c->weight[i] = base_weight[i] * swarm[rng_below(r, 4)];
	restful(c, r);
	c->weight[DO_APP] += base_weight[DO_APP];
	c->page_bytes = rng_chance(r, 600) ? (uint32_t)rng_range(r, 60, 2000) : 0;
	c->piece_bytes = rng_chance(r, 200) ? (uint32_t)rng_range(r, 150, 1000) : 0;
}

/* Everyone meets on a few cells, or spreads out. */
static void draw_wide(struct climate *c, struct rng *r)
{
	bool hot = rng_chance(r, 500);

	c->chaos_ms = hot ? rng_range(r, 2000, 60000) : rng_range(r, 20, 900) * 1000;
	c->activities = (uint32_t)rng_range(r, 20, 120);
	c->keys = hot ? (uint32_t)rng_range(r, 1, 2) : (uint32_t)rng_range(r, 2, 6);
	c->tables = hot ? 150 : 450;
	c->moving = rng_chance(r, hot ? 700 : 200) ? (uint32_t)rng_range(r, 3, 16) : 0;
	if (c->kind == CLIMATE_MOVING || c->kind == CLIMATE_DENSE)
		c->moving = (uint32_t)rng_range(r, 3, 16);
	c->dense = c->kind == CLIMATE_DENSE || (c->moving && rng_chance(r, 600));
	c->warm = c->moving || rng_chance(r, 300);
	draw_weather(c, r);
	if (!c->dense)
		return;
	/* Much at once, so that answers, broadcasts and writes cross each other. */
	c->activities = (uint32_t)rng_range(r, 60, 160);
	c->chaos_ms = c->activities * rng_range(r, 15, 80);
	c->reorder_ms = (uint32_t)rng_range(r, 30, 400);
	c->lose /= 8;
	c->delay = 0;
}

/* Few things on one or two rows of one table: cheap, so that rare meetings are met often. */
static void draw_tiny(struct climate *c, struct rng *r)
{
	c->activities = (uint32_t)rng_range(r, 6, 40);
	c->chaos_ms = c->activities * rng_range(r, 20, 600);
	c->keys = 2;
	c->tiny = true;
	c->warm = rng_chance(r, 500);
	draw_weather(c, r);
	c->reorder_ms = (uint32_t)rng_range(r, 5, 1500);
	c->lose = c->lose / 2;
	c->delay = 0;
	c->piece_bytes = 0;
}

static void set_weights(struct climate *c, const uint32_t *weight, struct rng *r)
{
	for (unsigned i = 0; i < DO_N; i++)
		c->weight[i] = weight[i] * rng_below(r, 4) / 2;
	c->weight[DO_APP] = weight[DO_APP];
}

/*
 * Late sets of a device whose file was put back, or that another has, too: numbers and identities
 * meet their likes (M3, M5, J3).
 */
static void draw_copies(struct climate *c, struct rng *r)
{
	static const uint32_t weight[DO_N] = {
		[DO_APP] = 100,	       [DO_LINK_DOWN] = 20,	[DO_KILL] = 20,
		[DO_REPLAY] = 30,      [DO_DEVICE_BACKUP] = 25, [DO_DEVICE_RESTORE] = 20,
		[DO_DEVICE_CLONE] = 4, [DO_BACKEND_KILL] = 4,	[DO_PURGE] = 12,
		[DO_LATE_SETS] = 15,
	};

	c->activities = (uint32_t)rng_range(r, 20, 90);
	c->chaos_ms = c->activities * rng_range(r, 20, 1500);
	c->keys = 3;
	c->tables = 200;
	c->warm = rng_chance(r, 500);
	draw_weather(c, r);
	set_weights(c, weight, r);
	c->delay = rng_below(r, 300);
	c->lose = rng_below(r, 200);
	c->set_rows = (uint32_t)rng_range(r, 1, 6);
	c->tombstone_ms = 0;
	c->late_touch = c->late_sets = true;
}

/* Sets cut under a clock that was found right, and was not, or is right again (M1). */
static void draw_clocks(struct climate *c, struct rng *r)
{
	static const uint32_t weight[DO_N] = {
		[DO_APP] = 100, [DO_OPERATOR] = 5, [DO_LINK_DOWN] = 20,
		[DO_KILL] = 10, [DO_CLOCK] = 40,   [DO_SYNC] = 4,
	};

	c->activities = (uint32_t)rng_range(r, 20, 60);
	c->chaos_ms = c->activities * rng_range(r, 200, 6000);
	c->keys = 2;
	c->tables = 200;
	c->warm = rng_chance(r, 500);
	draw_weather(c, r);
	set_weights(c, weight, r);
	c->reorder_ms = (uint32_t)rng_range(r, 100, 8000);
	c->lose /= 4;
	c->tombstone_ms = 0;
	c->year_ahead = true;
	c->unmeasured = 900;
}

/* Full pulls of many pages, and deletes forgotten within seconds (P7). */
static void draw_collect(struct climate *c, struct rng *r)
{
	static const uint32_t weight[DO_N] = {
		[DO_APP] = 100,	       [DO_OPERATOR] = 20,     [DO_LINK_DOWN] = 30,
		[DO_KILL] = 10,	       [DO_POWER] = 4,	       [DO_BACKEND_KILL] = 5,
		[DO_STORE_BACKUP] = 4, [DO_STORE_RESTORE] = 4, [DO_UPGRADE] = 20,
	};

	c->activities = (uint32_t)rng_range(r, 60, 150);
	c->chaos_ms = c->activities * rng_range(r, 200, 2000);
	c->keys = 6;
	c->tables = 700;
	c->warm = true;
	draw_weather(c, r);
	set_weights(c, weight, r);
	c->moving = 3;
	c->page_bytes = 1;
	c->tombstone_ms = rng_range(r, 1, 6000);
	c->reorder_ms = (uint32_t)rng_range(r, 100, 2000);
	c->lose /= 4;
}

/* Old and new versions of the apps write the same rows (J1, J5). */
static void draw_schema(struct climate *c, struct rng *r)
{
	static const uint32_t weight[DO_N] = {
		[DO_APP] = 100, [DO_OPERATOR] = 5, [DO_LINK_DOWN] = 10,
		[DO_KILL] = 5,	[DO_POWER] = 4,	   [DO_DIE_AT_WRITE] = 8,
		[DO_SYNC] = 4,	[DO_UPGRADE] = 25, [DO_MIGRATE] = 20,
	};

	c->activities = (uint32_t)rng_range(r, 20, 80);
	c->chaos_ms = c->activities * rng_range(r, 20, 1500);
	c->keys = (uint32_t)rng_range(r, 1, 3);
	c->tables = 300;
	c->warm = rng_chance(r, 500);
	draw_weather(c, r);
	set_weights(c, weight, r);
	c->defaults = rng_chance(r, 500);
}

/* UNIQUE and NOCASE columns (J2), tables that are tracked when others are in sync already. */
static void draw_strict(struct climate *c, struct rng *r)
{
	static const uint32_t weight[DO_N] = {
		[DO_APP] = 100, [DO_OPERATOR] = 10, [DO_LINK_DOWN] = 10,
		[DO_KILL] = 5,	[DO_POWER] = 4,	    [DO_DIE_AT_WRITE] = 8,
		[DO_SYNC] = 4,	[DO_TRACK] = 12,    [DO_BACKEND_DIE] = 4,
	};

	c->activities = (uint32_t)rng_range(r, 20, 80);
	c->chaos_ms = c->activities * rng_range(r, 20, 1500);
	c->keys = (uint32_t)rng_range(r, 2, 6);
	c->tables = 200;
	draw_weather(c, r);
	set_weights(c, weight, r);
	c->later = rng_chance(r, 500) ? 400 : 0;
	c->warm = !c->later && rng_chance(r, 500);
	c->breaks_unique = rng_chance(r, 500);
}

/* An operator writes the cells that devices write, whose clocks nobody measured (J4). */
static void draw_operator(struct climate *c, struct rng *r)
{
	static const uint32_t weight[DO_N] = {
		[DO_APP] = 100, [DO_OPERATOR] = 60, [DO_LINK_DOWN] = 20,
		[DO_SYNC] = 4,	[DO_KILL] = 5,	    [DO_BACKEND_DIE] = 5,
	};

	c->activities = (uint32_t)rng_range(r, 60, 160);
	c->chaos_ms = c->activities * rng_range(r, 15, 80);
	c->keys = 1;
	c->dense = true;
	c->tables = 200;
	c->warm = true;
	draw_weather(c, r);
	set_weights(c, weight, r);
	c->weight[DO_OPERATOR] = weight[DO_OPERATOR];
	c->lose = (uint32_t)rng_range(r, 50, 350);
	c->reorder_ms = (uint32_t)rng_range(r, 30, 600);
	c->skew = 700;
	c->tombstone_ms = 0;
}

static void calm_down(struct climate *c, uint32_t calm)
{
	if (calm & CALM_LOSS)
		c->lose = 0;
	if (calm & CALM_REPEAT)
		c->repeat = 0;
	if (calm & CALM_DELAY)
		c->delay = 0;
	if (calm & CALM_REORDER)
		c->reorder_ms = 0;
	if (calm & CALM_UNPUBLISHED)
		c->unpublished = 0;
	if (calm & CALM_SKEW)
		c->skew = 0;
}

void draw_climate(struct world *w)
{
	struct rng *r = &w->chance;
	struct climate *c = &w->c;

	c->kind = w->opt->climate;
	if (c->kind == CLIMATE_ANY)
		c->kind = rng_chance(r, 300) ? CLIMATE_TINY : CLIMATE_WIDE;
	c->unmeasured = 300;
	if (c->kind == CLIMATE_TINY)
		draw_tiny(c, r);
	else if (c->kind == CLIMATE_COPIES)
		draw_copies(c, r);
	else if (c->kind == CLIMATE_CLOCKS)
		draw_clocks(c, r);
	else if (c->kind == CLIMATE_COLLECT)
		draw_collect(c, r);
	else if (c->kind == CLIMATE_SCHEMA)
		draw_schema(c, r);
	else if (c->kind == CLIMATE_STRICT)
		draw_strict(c, r);
	else if (c->kind == CLIMATE_OPERATOR)
		draw_operator(c, r);
	else
		draw_wide(c, r);
	/* Calm seeds find what faults would hide. */
	if (rng_chance(r, 100)) {
		c->lose = c->repeat = c->delay = c->unpublished = c->skew = 0;
		for (unsigned i = 0; i < DO_N; i++)
			c->weight[i] = i == DO_APP || i == DO_OPERATOR ? base_weight[i] : 0;
	}
	if (w->opt->crash) {
		/* Nothing goes wrong but the one write. */
		c->lose = c->repeat = c->delay = c->unpublished = c->skew = 0;
		for (unsigned i = 0; i < DO_N; i++)
			c->weight[i] = i == DO_APP ? 120 : i == DO_LINK_DOWN ? 40 : 0;
		if (c->kind == CLIMATE_SCHEMA)
			c->weight[DO_UPGRADE] = c->weight[DO_MIGRATE] = 60;
		c->activities = 10;
		c->chaos_ms = 10000;
		c->warm = false;
	}
	if (w->opt->activities)
		c->activities = w->opt->activities;
	calm_down(c, w->opt->calm);
}

void choose_tables(struct world *w)
{
	if (w->c.kind == CLIMATE_COPIES)
		for (unsigned i = 0; i < n_sim_tables; i++)
			if (sim_tables[i].append &&
			    (w->n_table == 0 || rng_chance(&w->chance, 500)))
				w->table[w->n_table++] = &sim_tables[i];
	for (unsigned i = 0; i < n_sim_strict_tables && w->c.kind == CLIMATE_STRICT; i++)
		if (rng_chance(&w->chance, 500)) {
			bool down = !sim_strict_tables[i].unique && rng_chance(&w->chance, 300);
			w->down |= (down ? 1u : 0) << w->n_table;
			w->table[w->n_table++] = &sim_strict_tables[i];
		}
	for (unsigned i = 0; i < n_sim_tables && w->c.kind == CLIMATE_STRICT; i++)
		if (!sim_tables[i].append && rng_chance(&w->chance, 150)) {
			w->up |= 1u << w->n_table;
			w->table[w->n_table++] = &sim_tables[i];
		}
	if (w->c.tiny)
		w->table[w->n_table++] = &sim_tables[rng_below(&w->chance, n_sim_tables)];
	while (w->n_table == 0)
		for (unsigned i = 0; i < n_sim_tables; i++)
			if (rng_chance(&w->chance, w->c.tables))
				w->table[w->n_table++] = &sim_tables[i];
}
