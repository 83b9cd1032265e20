#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "backend/auth/testing.h"
#include "common/file.h"

#define ATTEMPT "0123456789abcdef"

static struct testing t;
static char code[ENROL_CODE_LEN + 1];

static int begin(void **state)
{
	struct err e;

	(void)state;
	testing_begin(&t);
	assert_int_equal(auth_device_enrol(t.auth, "anna", "d1", 3600, code, &e), 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	testing_end(&t);
	return 0;
}

/* The status of a denial, 0 for a session. */
static int enrol_as(const char *text, const char *attempt, struct auth_session *s)
{
	struct auth_denial why;
	struct err e;

	int rc = auth_enrol(t.auth, slice_str(text), slice_str(attempt), s, &why, &e);
	assert_true(rc == 0 || rc == NE_AUTH);
	return rc ? why.status : 0;
}

static void a_code_is_a_login_of_its_device(void **state)
{
	struct auth_session s, next;

	(void)state;
	assert_int_equal(strlen(code), ENROL_CODE_LEN);
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 0);
	assert_string_equal(s.user.at, "anna");
	assert_string_equal(s.device.at, "d1");
	assert_int_equal(testing_refresh(&t, s.refresh, &next), 0);
}

static void it_is_good_once(void **state)
{
	struct auth_session s;

	(void)state;
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 0);
	assert_int_equal(enrol_as(code, "another attempt!", &s), 401);
}

/* An answer that got lost is asked for again, and is a login of its own. */
static void the_same_attempt_is_answered_again_for_a_while(void **state)
{
	struct auth_session first, second, next;

	(void)state;
	assert_int_equal(enrol_as(code, ATTEMPT, &first), 0);
	t.now_s += ENROL_REPEAT_S;
	assert_int_equal(enrol_as(code, ATTEMPT, &second), 0);
	assert_int_equal(testing_refresh(&t, first.refresh, &next), NE_AUTH);
	assert_int_equal(testing_refresh(&t, second.refresh, &next), 0);
	t.now_s += 1;
	assert_int_equal(enrol_as(code, ATTEMPT, &first), 401);
}

static void it_may_be_typed_as_a_person_would(void **state)
{
	char typed[2 * ENROL_CODE_LEN + 1];
	struct auth_session s;
	size_t n = 0;

	(void)state;
	for (const char *c = code; *c; c++) {
		if (*c == '-')
			continue;
		typed[n++] = ' ';
		typed[n++] = *c == '0' ? 'o' : *c == '1' ? 'l' : (char)(*c | (*c >= 'A' ? 32 : 0));
	}
	typed[n] = 0;
	assert_int_equal(enrol_as(typed, ATTEMPT, &s), 0);
}

static void others_are_refused(void **state)
{
	char longer[ENROL_CODE_LEN + 2], changed[ENROL_CODE_LEN + 1];
	struct auth_session s;
	struct auth_denial why;
	struct err e;

	(void)state;
	snprintf(longer, sizeof longer, "%s0", code);
	memcpy(changed, code, sizeof changed);
	changed[7] = changed[7] == '0' ? '2' : '0';
	const char *const bad[] = {"",
				   "-",
				   longer,
				   changed,
				   "UUUUU-UUUUU-UUUUU-UUUUU-UUUUU",
				   "\xff\xfe",
				   "00000-00000-00000-00000-0000"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(enrol_as(bad[i], ATTEMPT, &s), 401);
	assert_int_equal(auth_enrol(t.auth, slice_str(code), slice_str("short"), &s, &why, &e),
			 NE_MALFORMED);
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 0);
}

static void it_ends_by_time(void **state)
{
	struct auth_session s;

	(void)state;
	t.now_s += 3601;
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 401);
}

static void a_new_code_replaces_it(void **state)
{
	char second[ENROL_CODE_LEN + 1];
	struct auth_session s;
	struct err e;

	(void)state;
	assert_int_equal(auth_device_enrol(t.auth, "anna", "d1", 3600, second, &e), 0);
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 401);
	assert_int_equal(enrol_as(second, ATTEMPT, &s), 0);
}

static void it_ends_with_password_and_revocation(void **state)
{
	struct auth_session s;
	struct err e;

	(void)state;
	assert_int_equal(auth_user_passwd(t.auth, "anna", slice_str("another password"), &e), 0);
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 401);

	assert_int_equal(auth_device_enrol(t.auth, "anna", "d1", 3600, code, &e), 0);
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 0);
	assert_int_equal(auth_device_enrol(t.auth, "anna", "d1", 3600, code, &e), 0);
	assert_int_equal(auth_device_revoke(t.auth, "anna", "d1", &e), 0);
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 401);
	assert_int_equal(auth_device_enrol(t.auth, "anna", "d1", 3600, code, &e), NE_USAGE);
	assert_non_null(strstr(e.text, "device allow"));
}

static void it_ends_with_the_account(void **state)
{
	struct auth_session s;
	struct err e;

	(void)state;
	assert_int_equal(auth_user_remove(t.auth, "anna", &e), 0);
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 401);
}

static void what_cannot_be_is_refused(void **state)
{
	char out[ENROL_CODE_LEN + 1];
	struct err e;

	(void)state;
	assert_int_equal(auth_device_enrol(t.auth, "nobody", "d1", 60, out, &e), NE_NOT_FOUND);
	assert_int_equal(auth_device_enrol(t.auth, "anna", "a/b", 60, out, &e), NE_USAGE);
	assert_int_equal(auth_device_enrol(t.auth, "anna", "d1", 59, out, &e), NE_USAGE);
	assert_int_equal(auth_device_enrol(t.auth, "anna", "d1", ENROL_VALID_MAX_S + 1, out, &e),
			 NE_USAGE);
}

static void a_full_account_takes_no_other_device(void **state)
{
	struct auth_session s;

	(void)state;
	t.config.devices_per_user = 0;
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 403);
	t.config.devices_per_user = 1;
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 0);
}

/* Rule L2: the log of what was used is not in the backup. */
static void a_restored_file_does_not_make_it_good_again(void **state)
{
	struct buf before = {.max = 1 << 20};
	struct auth_session s;
	struct err e;

	(void)state;
	auth_close(t.auth);
	assert_int_equal(file_read(t.config.auth_db, &before, &e), 0);
	testing_open(&t);
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 0);
	auth_close(t.auth);
	FILE *f = fopen(t.config.auth_db, "wb");
	assert_int_equal(fwrite(before.at, 1, before.len, f), before.len);
	assert_int_equal(fclose(f), 0);
	buf_free(&before);
	testing_open(&t);
	assert_int_equal(enrol_as(code, ATTEMPT, &s), 401);
	assert_int_equal(enrol_as(code, "another attempt!", &s), 401);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_code_is_a_login_of_its_device, begin, end),
		cmocka_unit_test_setup_teardown(it_is_good_once, begin, end),
		cmocka_unit_test_setup_teardown(the_same_attempt_is_answered_again_for_a_while,
						begin, end),
		cmocka_unit_test_setup_teardown(it_may_be_typed_as_a_person_would, begin, end),
		cmocka_unit_test_setup_teardown(others_are_refused, begin, end),
		cmocka_unit_test_setup_teardown(it_ends_by_time, begin, end),
		cmocka_unit_test_setup_teardown(a_new_code_replaces_it, begin, end),
		cmocka_unit_test_setup_teardown(it_ends_with_password_and_revocation, begin, end),
		cmocka_unit_test_setup_teardown(it_ends_with_the_account, begin, end),
		cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, begin, end),
		cmocka_unit_test_setup_teardown(a_full_account_takes_no_other_device, begin, end),
		cmocka_unit_test_setup_teardown(a_restored_file_does_not_make_it_good_again, begin,
						end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
