/* Rotation of keys, and what the audit trail is told, on real files with a clock of our own. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/auth/testing.h"

static struct testing t;

static int begin(void **state)
{
	(void)state;
	testing_begin(&t);
	return 0;
}

static int end(void **state)
{
	(void)state;
	testing_end(&t);
	return 0;
}

/* Runs `fn` and returns what went to stderr meanwhile. */
static const char *said(void (*fn)(void))
{
	static char text[8192];
	int fds[2], saved = dup(STDERR_FILENO);

	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	fn();
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[1]);
	ssize_t n = read(fds[0], text, sizeof text - 1);
	close(fds[0]);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void look(void)
{
	struct err e;
	assert_int_equal(auth_keys_look(t.auth, &e), 0);
	assert_int_equal(auth_trail(t.auth, &e), 0);
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;
	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

/* An admin's command: another process, as far as auth.db is concerned. */
static struct auth *admin(void)
{
	struct auth *a;
	struct err e;

	assert_int_equal(auth_open(&a, &t.config, &e), 0);
	auth_set_clock(a, testing_now, &t.now_s);
	return a;
}

static int count_keys(void *ctx, const struct auth_key_info *k, struct err *e)
{
	(void)k;
	(void)e;
	++*(int *)ctx;
	return 0;
}

static int retired(void)
{
	struct auth *a = admin();
	struct err e;
	int n = 0;

	assert_int_equal(auth_retire_keys(a, count_keys, &n, &e), 0);
	auth_close(a);
	return n;
}

static void kid_of(const char *token, char out[static 64])
{
	const char *dot = strchr(token, '.');
	assert_non_null(dot);
	snprintf(out, 64, "%.*s", (int)(dot - token < 63 ? dot - token : 63), token);
}

static void a_new_token_key_signs_when_its_time_comes(void **state)
{
	struct auth_session old, s;
	struct jwt_claims claims;
	char first[64], now[64];
	struct err e;
	int64_t from_s;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &old), 0);
	kid_of(old.access, first);
	t.now_s += 10;
	struct auth *a = admin();
	assert_int_equal(auth_rotate_token(a, 60, &from_s, &e), 0);
	assert_int_equal(from_s, t.now_s + 60);
	assert_int_equal(auth_rotate_token(a, 30, &from_s, &e), NE_EXISTS);
	auth_close(a);
	const char *text = said(look);
	assert_int_equal(count(text, "event=token_key_added kid="), 1);
	assert_int_equal(count(text, "event=token_key_signs kid="), 1); /* the first look */
	/* The broker has its public half before it signs. */
	t.now_s += 59;
	assert_int_equal(count(said(look), "event="), 0);
	assert_int_equal(testing_refresh(&t, old.refresh, &s), 0);
	kid_of(s.access, now);
	assert_string_equal(now, first);
	t.now_s += 1;
	assert_int_equal(count(said(look), "event=token_key_signs kid="), 1);
	assert_int_equal(testing_refresh(&t, s.refresh, &s), 0);
	kid_of(s.access, now);
	assert_string_not_equal(now, first);
	assert_int_equal(testing_verify(&t, s.access, &claims), 0);
	assert_int_equal(testing_verify(&t, old.access, &claims), 0);

	t.now_s += JWT_LIFE_MAX_S + JWT_LEEWAY_S - 1;
	assert_int_equal(retired(), 0);
	t.now_s += 1;
	assert_int_equal(retired(), 1);
	assert_int_equal(count(said(look), "event=token_key_removed kid="), 1);
	assert_int_equal(testing_verify(&t, old.access, &claims), NE_AUTH);
	assert_int_equal(testing_refresh(&t, s.refresh, &s), 0);
	assert_int_equal(testing_verify(&t, s.access, &claims), 0);
}

static void assert_same_key(const struct auth_key *x, const struct auth_key *y)
{
	assert_int_equal(x->epoch, y->epoch);
	assert_memory_equal(&x->key, &y->key, KEY_LEN);
}

static void a_new_master_key_reaches_a_running_server(void **state)
{
	struct auth_session s, away, out;
	struct auth_key k, group;
	struct err e;
	int64_t from_s;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	assert_int_equal(testing_login(&t, "d2", &away), 0);
	t.now_s += 10;
	uint64_t seen = auth_revision(t.auth);
	struct auth *a = admin();
	assert_int_equal(auth_rotate_master(a, &from_s, &e), 0);
	for (int i = 0; i < 5000 && auth_revision(t.auth) == seen; i++)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	/* Also before it looks at the folder it takes no older key for a newer epoch. */
	assert_int_equal(auth_group_key(t.auth, "anna", 0, &k, &e), 0);
	assert_int_equal(auth_group_key(a, "anna", 0, &group, &e), 0);
	assert_same_key(&k, &group);
	assert_true(k.epoch >= from_s);
	auth_close(a);
	said(look);

	/* Devices are not asked to come at once: each gets its key with its next refresh. */
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", 0, &k, &e), 0);
	assert_memory_equal(&k.key, &s.message.key, KEY_LEN);
	t.now_s = from_s;
	assert_int_equal(testing_refresh(&t, s.refresh, &out), 0);
	assert_int_equal(out.message.epoch, from_s);
	assert_same_key(&out.group, &group);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", s.message.epoch, &k, &e), 0);
	assert_memory_equal(&k.key, &s.message.key, KEY_LEN);

	t.now_s += JWT_LIFE_MAX_S + JWT_LEEWAY_S - 1;
	assert_int_equal(retired(), 0);
	t.now_s += 1;
	assert_int_equal(retired(), 1);
	assert_int_equal(count(said(look), "event=master_key_removed id="), 1);
	/* One that slept through all of it has only to refresh. */
	assert_int_equal(auth_device_key(t.auth, "anna", "d2", away.message.epoch, &k, &e),
			 NE_AUTH);
	assert_int_equal(testing_refresh(&t, away.refresh, &away), 0);
	assert_int_equal(auth_device_key(t.auth, "anna", "d2", 0, &k, &e), 0);
	assert_same_key(&k, &away.message);
	assert_int_equal(testing_refresh(&t, out.refresh, &out), 0);
}

static void a_key_that_cannot_be_read_changes_nothing(void **state)
{
	char path[CONFIG_PATH + 64];
	struct auth_session s;
	struct err e;

	(void)state;
	snprintf(path, sizeof path, "%s/token-%lld-x.pem", t.config.keys, (long long)t.now_s);
	assert_int_equal(file_create(path, slice_str("nonsense"), FILE_SECRET, &e), 0);
	assert_int_not_equal(auth_keys_look(t.auth, &e), 0);
	assert_non_null(strstr(e.text, path));
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	unlink(path);
	assert_int_equal(auth_keys_look(t.auth, &e), 0);
}

static void change_accounts(void)
{
	char code[ENROL_CODE_LEN + 1];
	struct auth *a = admin();
	struct err e;

	assert_int_equal(auth_user_add(a, "bert", slice_str(TEST_PASSWORD), &e), 0);
	assert_int_equal(auth_device_enrol(a, "bert", "d9", 600, code, &e), 0);
	assert_int_equal(auth_user_passwd(a, "anna", slice_str("another one"), &e), 0);
	assert_int_equal(auth_user_remove(a, "bert", &e), 0);
	auth_close(a);
}

static void changes_of_accounts_are_told_once(void **state)
{
	static const char *const want[] = {
		"event=device_revoked user=anna device=d1 at=",
		"event=device_allowed user=anna device=d1 at=",
		"event=account_added user=bert at=",
		"event=code_made user=bert device=d9 at=",
		"event=password_changed user=anna at=",
		"event=account_removed user=bert at=",
	};
	struct auth_session s;
	char uid[32];
	struct err e;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	assert_int_equal(count(said(look), "event=account_added user=anna"), 1);
	assert_int_equal(auth_device_revoke(t.auth, "anna", "d1", &e), 0);
	assert_int_equal(auth_device_allow(t.auth, "anna", "d1", &e), 0);
	change_accounts();
	auth_close(t.auth); /* nobody served while it happened */
	testing_open(&t);
	const char *text = said(look);
	snprintf(uid, sizeof uid, " uid=%ld\n", (long)getuid());
	assert_int_equal(count(text, uid), sizeof want / sizeof want[0]);
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		if (!strstr(text, want[i]))
			fail_msg("missing: %s in\n%s", want[i], text);
		text = strstr(text, want[i]);
	}
	assert_null(strstr(text, "another one"));
	assert_int_equal(count(said(look), "event="), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_new_token_key_signs_when_its_time_comes),
		T(a_new_master_key_reaches_a_running_server),
		T(a_key_that_cannot_be_read_changes_nothing),
		T(changes_of_accounts_are_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
