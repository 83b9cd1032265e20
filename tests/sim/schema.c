#include "tests/sim/sim.h"

/* Keys are drawn from a few values, so that devices meet on the same rows. */
const struct sim_table sim_tables[] = {
	{.name = "item",
	 .create = "CREATE TABLE item(id INTEGER PRIMARY KEY, a, b TEXT, c REAL)",
	 .n_key = 1,
	 .n_col = 4,
	 .col = {"id", "a", "b", "c"},
	 .added = "extra",
	 .type = "i*tr",
	 .rowid_key = true},
	{.name = "pair",
	 .create = "CREATE TABLE pair(v BLOB, y TEXT, w NUMERIC DEFAULT 7, x INTEGER, PRIMARY "
		   "KEY(x, y))",
	 .n_key = 2,
	 .n_col = 4,
	 .col = {"x", "y", "v", "w"},
	 .added = "extra",
	 .type = "it**"},
	{.name = "word",
	 .create = "CREATE TABLE word(k TEXT PRIMARY KEY, n INTEGER, s TEXT DEFAULT 'd') WITHOUT "
		   "ROWID",
	 .n_key = 1,
	 .n_col = 3,
	 .col = {"k", "n", "s"},
	 .added = "extra",
	 .type = "tit"},
	{.name = "flag",
	 .create = "CREATE TABLE flag(a TEXT, b BLOB, PRIMARY KEY(a, b)) WITHOUT ROWID",
	 .n_key = 2,
	 .n_col = 2,
	 .col = {"a", "b"},
	 .type = "tb"},
	{.name = "note",
	 .create = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT NOT NULL DEFAULT '', n "
		   "INTEGER)",
	 .n_key = 1,
	 .n_col = 3,
	 .col = {"id", "body", "n"},
	 .type = "iNi",
	 .rowid_key = true},
	{.name = "log",
	 .create = "CREATE TABLE log(id INTEGER PRIMARY KEY, token TEXT, v, r REAL)",
	 .append = true,
	 .n_key = 1,
	 .n_col = 4,
	 .col = {"id", "token", "v", "r"},
	 .type = "iT*r",
	 .rowid_key = true},
	{.name = "event",
	 .create = "CREATE TABLE event(dev TEXT, n INTEGER, token TEXT, v, PRIMARY KEY(dev, n))",
	 .append = true,
	 .n_key = 2,
	 .n_col = 4,
	 .col = {"dev", "n", "token", "v"},
	 .type = "tiT*"},
};

/* With constraints beside the key, and keys that are equal in several spellings. */
const struct sim_table sim_strict_tables[] = {
	{.name = "seat",
	 .create = "CREATE TABLE seat(id INTEGER PRIMARY KEY, u TEXT UNIQUE, n INTEGER)",
	 .n_key = 1,
	 .n_col = 3,
	 .col = {"id", "u", "n"},
	 .type = "iui",
	 .rowid_key = true,
	 .unique = true,
	 .same = "a.u = b.u"},
	{.name = "plan",
	 .create = "CREATE TABLE plan(k TEXT PRIMARY KEY, a TEXT, b TEXT, n, UNIQUE(a, b))",
	 .n_key = 1,
	 .n_col = 4,
	 .col = {"k", "a", "b", "n"},
	 .type = "tuu*",
	 .unique = true,
	 .same = "a.a = b.a AND a.b = b.b"},
	{.name = "tag",
	 .create = "CREATE TABLE tag(k TEXT COLLATE NOCASE PRIMARY KEY, v, w INTEGER)",
	 .n_key = 1,
	 .n_col = 3,
	 .col = {"k", "v", "w"},
	 .type = "t*i"},
	{.name = "place",
	 .create = "CREATE TABLE place(a TEXT COLLATE NOCASE, b INTEGER, v TEXT COLLATE NOCASE, "
		   "PRIMARY KEY(a, b)) WITHOUT ROWID",
	 .n_key = 2,
	 .n_col = 3,
	 .col = {"a", "b", "v"},
	 .type = "tit"},
};
const unsigned n_sim_strict_tables = sizeof sim_strict_tables / sizeof sim_strict_tables[0];

const unsigned n_sim_tables = sizeof sim_tables / sizeof sim_tables[0];

unsigned table_index(const struct world *w, const struct sim_table *t)
{
	unsigned i = 0;

	while (w->table[i] != t)
		i++;
	return i;
}
