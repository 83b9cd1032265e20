#include "common/file.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], path[128], other[128];

static int begin(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/neap-file-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/file", dir);
	snprintf(other, sizeof other, "%s/other", dir);
	return 0;
}

static int end(void **state)
{
	(void)state;
	unlink(path);
	unlink(other);
	return rmdir(dir); /* fails, and the test with it, if a temporary file was left */
}

static unsigned mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(stat(name, &st), 0);
	return st.st_mode & 0777U;
}

static void assert_content(const char *name, const char *want)
{
	struct buf b = {.max = 100};
	struct err e;

	assert_int_equal(file_read(name, &b, &e), 0);
	assert_true(slice_eq(buf_slice(&b), slice_str(want)));
	buf_free(&b);
}

static void create_is_exclusive_and_ignores_the_umask(void **state)
{
	struct err e;

	(void)state;
	mode_t old = umask(0);
	assert_int_equal(file_create(path, slice_str("one"), FILE_SECRET, &e), 0);
	umask(077);
	assert_int_equal(file_create(other, slice_str("two"), FILE_PUBLIC, &e), 0);
	umask(old);
	assert_int_equal(mode_of(path), 0600);
	assert_int_equal(mode_of(other), 0644);
	assert_int_equal(file_create(path, slice_str("three"), FILE_SECRET, &e), NE_EXISTS);
	assert_content(path, "one");
}

static void create_does_not_follow_a_link(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(file_create(path, slice_str("x"), FILE_SECRET, &e), NE_EXISTS);
	assert_int_equal(access(other, F_OK), -1);
}

static void replace_swaps_the_content_and_the_mode(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(file_replace(path, slice_str("one"), FILE_PUBLIC, &e), 0);
	assert_int_equal(file_replace(path, slice_str("two"), FILE_SECRET, &e), 0);
	assert_content(path, "two");
	assert_int_equal(mode_of(path), 0600);
}

static void a_replaced_link_is_not_followed(void **state)
{
	struct stat st;
	struct err e;

	(void)state;
	assert_int_equal(file_create(other, slice_str("kept"), FILE_SECRET, &e), 0);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(file_replace(path, slice_str("new"), FILE_SECRET, &e), 0);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_content(other, "kept");
}

static void missing_things_are_named(void **state)
{
	char nowhere[160];
	struct buf b = {.max = 10};
	struct err e;

	(void)state;
	snprintf(nowhere, sizeof nowhere, "%s/no/file", dir);
	assert_int_equal(file_read(nowhere, &b, &e), NE_NOT_FOUND);
	assert_non_null(strstr(e.text, nowhere));
	assert_int_equal(file_create(nowhere, slice_str("x"), FILE_SECRET, &e), NE_NOT_FOUND);
	assert_int_equal(file_replace(nowhere, slice_str("x"), FILE_SECRET, &e), NE_NOT_FOUND);
}

static void reading_is_bounded(void **state)
{
	struct buf exact = {.max = 5}, small = {.max = 4};
	struct err e;

	(void)state;
	assert_int_equal(file_create(path, slice_str("12345"), FILE_SECRET, &e), 0);
	assert_int_equal(file_read_secret(path, &exact, &e), 0);
	assert_int_equal(exact.len, 5);
	assert_int_equal(file_read_secret(path, &small, &e), NE_LIMIT);
	assert_int_equal(file_read(path, &small, &e), NE_LIMIT);
	secret_free(&exact);
	secret_free(&small);
}

static void secrets_open_to_others_are_refused(void **state)
{
	static const mode_t wide[] = {0640, 0604, 0620, 0601, 0660};
	struct buf b = {.max = 10};
	struct err e;

	(void)state;
	assert_int_equal(file_create(path, slice_str("x"), FILE_SECRET, &e), 0);
	for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
		assert_int_equal(chmod(path, wide[i]), 0);
		assert_int_equal(file_read_secret(path, &b, &e), NE_USAGE);
		assert_int_equal(file_check_secret(path, &e), NE_USAGE);
		assert_non_null(strstr(e.text, "chmod 600"));
	}
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(file_check_secret(path, &e), 0);
	assert_int_equal(symlink(path, other), 0);
	assert_int_equal(file_read_secret(other, &b, &e), NE_USAGE);
	assert_int_equal(file_read_secret(dir, &b, &e), NE_USAGE);
	assert_int_equal(b.len, 0);
}

static void folders_are_private(void **state)
{
	struct err e;

	(void)state;
	mode_t old = umask(0);
	assert_int_equal(file_mkdir(path, &e), 0);
	umask(old);
	assert_int_equal(mode_of(path), 0700);
	assert_int_equal(file_mkdir(path, &e), NE_EXISTS);
	assert_int_equal(rmdir(path), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(create_is_exclusive_and_ignores_the_umask),
		T(create_does_not_follow_a_link),
		T(replace_swaps_the_content_and_the_mode),
		T(a_replaced_link_is_not_followed),
		T(missing_things_are_named),
		T(reading_is_bounded),
		T(secrets_open_to_others_are_refused),
		T(folders_are_private),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
