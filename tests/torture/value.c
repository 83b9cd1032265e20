#include <stdio.h>
#include <string.h>

#include "tests/torture/torture.h"

enum { KEYS = 8 };

static const char *const integers[] = {"0",
				       "1",
				       "-1",
				       "2",
				       "3",
				       "255",
				       "65536",
				       "9223372036854775807",
				       "-9223372036854775808",
				       "9007199254740993",
				       "-2147483649"};
static const char *const reals[] = {
	"0.0",	 "-0.0",	 "1.5",	  "0.1",    "3.0",
	"1e300", "5e-324",	 "9e999", "-9e999", "9007199254740993.0",
	"-2.25", "9e999 - 9e999"};
/* Also text with NULs, and text that is not UTF-8. */
static const char *const texts[] = {"''",
				    "'a'",
				    "'A'",
				    "'a '",
				    "'b'",
				    "'1'",
				    "'1.0'",
				    "' 1'",
				    "'0x10'",
				    "'1e3'",
				    "'é'",
				    "'🌊'",
				    "'it''s'",
				    "'x' || char(0) || 'y'",
				    "CAST(x'61006200' AS TEXT)",
				    "CAST(x'fffe80c0' AS TEXT)",
				    "CAST(x'c3' AS TEXT)",
				    "CAST(x'eda080' AS TEXT)",
				    "'9223372036854775808'",
				    "replace(hex(zeroblob(600)), '00', 'ab')"};
static const char *const blobs[] = {"x''",	 "x'00'",	  "x'0000'", "x'61'",
				    "x'ff00ff'", "zeroblob(700)", "x'31'",   "x'6100'"};

#define PICK(w, list) list[rng_below(&(w)->chance, sizeof(list) / sizeof *(list))]

static const char *some_text(struct world *w)
{
	const char *text = PICK(w, texts);

	return w->utf16 && strncmp(text, "CAST", 4) == 0 ? "'x'" : text;
}

static const char *any_value(struct world *w)
{
	switch (rng_below(&w->chance, 9)) {
	case 0:
		return "NULL";
	case 1:
	case 2:
		return PICK(w, reals);
	case 3:
	case 4:
		return PICK(w, blobs);
	case 5:
	case 6:
		return PICK(w, integers);
	default:
		return some_text(w);
	}
}

static bool has(const char *type, const char *part)
{
	return strstr(type, part) != NULL;
}

void put_value(struct world *w, struct buf *b, const struct column *c)
{
	if (rng_chance(&w->chance, c->not_null ? 30 : 110)) {
		put(b, "NULL");
		return;
	}
	if (rng_chance(&w->chance, 200) || !*c->type || has(c->type, "ANY")) {
		put(b, "%s", any_value(w));
		return;
	}
	/* Mostly few values, so that they meet in UNIQUE constraints. */
	if (has(c->type, "INT")) {
		if (rng_chance(&w->chance, 700))
			put(b, "%u", rng_below(&w->chance, 12));
		else
			put(b, "%s", PICK(w, integers));
	} else if (has(c->type, "TEXT") || has(c->type, "CHAR")) {
		if (rng_chance(&w->chance, 400))
			put(b, "'t%u'", rng_below(&w->chance, 12));
		else
			put(b, "%s", some_text(w));
	} else if (has(c->type, "BLOB")) {
		put(b, "%s", PICK(w, blobs));
	} else {
		if (rng_chance(&w->chance, 500))
			put(b, "%u.25", rng_below(&w->chance, 20));
		else
			put(b, "%s", PICK(w, reals));
	}
}

void put_key_value(struct world *w, struct buf *b, const struct column *c)
{
	static const char *const text[KEYS] = {"'a'", "'A'", "'b'",  "'a '",
					       "''",  "'é'", "'cc'", "'CC'"};
	static const char *const blob[KEYS] = {"x''",	"x'00'",   "x'61'", "x'6100'",
					       "x'62'", "x'ff00'", "x'ff'", "x'6162'"};
	static const char *const real[KEYS] = {"0.0",	"1",   "1.5",	"-2.25",
					       "1e300", "3.0", "9e999", "-9e999"};
	static const char *const mixed[KEYS] = {"1",   "1.0", "'1'", "x'31'",
						"'a'", "'A'", "2.5", "''"};
	unsigned n = rng_below(&w->chance, KEYS);

	if (rng_chance(&w->chance, 25)) {
		put(b, c->not_null ? "1" : "NULL");
		return;
	}
	if (rng_chance(&w->chance, 25) && !c->not_null) {
		put(b, "%s", any_value(w));
		return;
	}
	if (has(c->type, "INT")) {
		if (rng_chance(&w->chance, 40))
			put(b, "%s", PICK(w, integers));
		else
			put(b, "%u", 1 + rng_below(&w->chance, 16));
	} else if (has(c->type, "TEXT")) {
		put(b, "%s", text[n]);
	} else if (has(c->type, "BLOB")) {
		put(b, "%s", blob[n]);
	} else if (has(c->type, "REAL") || has(c->type, "NUM")) {
		put(b, "%s", real[n]);
	} else {
		put(b, "%s", mixed[n]);
	}
}
