#include "backend/core/catalogue.h"

static uint8_t fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

bool name_same(struct slice a, struct slice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (fold(a.at[i]) != fold(b.at[i]))
			return false;
	return true;
}

static int find_col(const struct shape_col *col, uint16_t n, struct slice name)
{
	for (uint16_t i = 0; i < n; i++)
		if (name_same(col[i].name, name))
			return i;
	return -1;
}

bool catalogue_fits(const struct shape *table, const struct shape *s)
{
	if (!name_same(table->name, s->name) || table->kind != s->kind ||
	    table->n_key != s->n_key || table->key_is_number != s->key_is_number)
		return false;
	for (uint16_t i = 0; i < s->n_key; i++)
		if (!name_same(table->key[i].name, s->key[i].name) ||
		    table->key[i].affinity != s->key[i].affinity ||
		    table->key[i].collation != s->key[i].collation)
			return false;
	for (uint16_t i = 0; i < s->n_col; i++) {
		int at = find_col(table->col, table->n_col, s->col[i].name);
		if (find_col(table->key, table->n_key, s->col[i].name) >= 0)
			return false;
		if (at >= 0 && table->col[at].affinity != s->col[i].affinity)
			return false;
	}
	return true;
}

int catalogue_widen(const struct shape *table, const struct shape *s, struct arena *a,
		    struct shape *out, bool *grown, struct err *e)
{
	size_t room = (size_t)table->n_col + s->n_col;
	struct shape_col *col = arena_array(a, room + 1, sizeof *col);
	uint16_t n = table->n_col;

	if (!col)
		return err_set(e, NE_MEMORY, "no memory for a table's columns");
	for (uint16_t i = 0; i < table->n_col; i++)
		col[i] = table->col[i];
	for (uint16_t i = 0; i < s->n_col; i++)
		if (find_col(table->col, table->n_col, s->col[i].name) < 0)
			col[n++] = s->col[i];
	if (n + table->n_key > LIMIT_COLUMNS)
		return err_set(e, NE_LIMIT, "table %.*s would have more than %d columns",
			       (int)table->name.len, (const char *)table->name.at, LIMIT_COLUMNS);
	*out = *table;
	out->col = col;
	out->n_col = n;
	*grown = n > table->n_col;
	return 0;
}

int catalogue_map(struct store_shape *sh, struct arena *a, struct err *e)
{
	const struct shape *s = &sh->shape, *t = &sh->table->shape;

	sh->col = arena_array(a, (size_t)s->n_col + 1, sizeof *sh->col);
	sh->has = arena_array(a, (size_t)t->n_col + 1, sizeof *sh->has);
	sh->from = arena_array(a, (size_t)t->n_col + 1, sizeof *sh->from);
	if (!sh->col || !sh->has || !sh->from)
		return err_set(e, NE_MEMORY, "no memory for the catalogue");
	for (uint16_t i = 0; i < t->n_col; i++)
		sh->from[i] = -1;
	sh->in_order = true;
	for (uint16_t i = 0; i < s->n_col; i++) {
		int at = find_col(t->col, t->n_col, s->col[i].name);
		if (at < 0)
			return err_set(e, NE_CORRUPT, "table %s lacks a column of its shape",
				       sh->table->name);
		sh->col[i] = (uint16_t)at;
		sh->has[at] = true;
		sh->from[at] = i;
		if (i && sh->col[i] <= sh->col[i - 1])
			sh->in_order = false;
	}
	return 0;
}
