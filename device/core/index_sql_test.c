#include "device/core/index_sql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* "part|part?where" */
static const char *parts(const char *sql)
{
	static char text[400];
	struct arena a = {.max = 4096};
	struct index_sql x;
	struct err e;
	size_t n = 0;

	assert_int_equal(index_sql_parse(slice_str(sql), &a, &x, &e), NE_OK);
	for (size_t i = 0; i < x.n; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", i ? "|" : "",
				      (int)x.part[i].len, (const char *)x.part[i].at);
	if (x.where.len)
		snprintf(text + n, sizeof text - n, "?%.*s", (int)x.where.len,
			 (const char *)x.where.at);
	arena_free(&a);
	return text;
}

static void test_parts(void **state)
{
	(void)state;
	assert_string_equal(parts("CREATE UNIQUE INDEX i ON t(a)"), "a");
	assert_string_equal(parts("CREATE UNIQUE INDEX i on\n t ( a DESC , b asc,c)"), "a|b|c");
	assert_string_equal(parts("CREATE UNIQUE INDEX i ON t(a COLLATE NOCASE DESC)"),
			    "a COLLATE NOCASE");
	assert_string_equal(parts("CREATE UNIQUE INDEX i ON t(substr(a, 1, 2), (b))"),
			    "substr(a, 1, 2)|(b)");
	assert_string_equal(parts("CREATE UNIQUE INDEX i ON t(desc)"), "desc");
}

static void test_where(void **state)
{
	(void)state;
	assert_string_equal(parts("CREATE UNIQUE INDEX i ON t(a) WHERE b IS NOT NULL "),
			    "a?b IS NOT NULL");
	assert_string_equal(parts("CREATE UNIQUE INDEX i ON t(a)where(b)"), "a?(b)");
}

static void test_quotes_and_comments(void **state)
{
	(void)state;
	assert_string_equal(parts("CREATE UNIQUE INDEX \"i(,\" ON [t(](\"a,)\", `b``(`)"),
			    "\"a,)\"|`b``(`");
	assert_string_equal(parts("CREATE UNIQUE INDEX i ON t(a || ')''--' -- last, )\n, b)"),
			    "a || ')''--'|b");
	assert_string_equal(parts("CREATE UNIQUE INDEX i ON t(a /* , ) */) WHERE b -- now"), "a?b");
}

static void test_what_is_no_index(void **state)
{
	struct arena a = {.max = 4096};
	struct index_sql x;
	char many[400] = "CREATE UNIQUE INDEX i ON t(a";
	struct err e;

	(void)state;
	assert_int_equal(index_sql_parse(slice_str("CREATE"), &a, &x, &e), NE_MALFORMED);
	assert_int_equal(index_sql_parse(slice_str("CREATE INDEX i ON t(a) b"), &a, &x, &e),
			 NE_MALFORMED);
	for (int i = 0; i < INDEX_PARTS; i++)
		strcat(many, ", a");
	strcat(many, ")");
	assert_int_equal(index_sql_parse(slice_str(many), &a, &x, &e), NE_LIMIT);
	arena_free(&a);
}

static bool has(const char *sql, const char *name)
{
	return index_sql_names(slice_str(sql), slice_str(name));
}

static void test_names(void **state)
{
	(void)state;
	assert_true(has("lower(Name)", "name"));
	assert_false(has("lower(names)", "name"));
	assert_false(has("lower(x)", "lower"));
	assert_true(has("\"na\"\"me\" > 1", "na\"me"));
	assert_true(has("[name]", "name"));
	assert_true(has("`n``e`", "n`e"));
	assert_true(has("t.name", "name"));
	assert_false(has("1 /* name */", "name"));
	assert_false(has("\"\"", "name"));
}

static void test_names_of_generated_columns(void **state)
{
	struct slice sql = slice_str("CREATE TABLE t(id INTEGER PRIMARY KEY, a DEFAULT (b), g AS "
				     "(lower(a) || (id)) STORED, h generated always as (2))");

	(void)state;
	assert_true(index_sql_generated_names(sql, slice_str("id")));
	assert_true(index_sql_generated_names(sql, slice_str("a")));
	assert_false(index_sql_generated_names(sql, slice_str("b")));
	assert_false(index_sql_generated_names(sql, slice_str("g")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_where),
		cmocka_unit_test(test_quotes_and_comments),
		cmocka_unit_test(test_what_is_no_index),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_names_of_generated_columns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
