#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "backend/auth/testing.h"
#include "common/db.h"
#include "common/file.h"
#include "protocol/jwt.h"

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

static void login_gives_what_a_device_needs(void **state)
{
	struct auth_session s;
	struct auth_key k;
	struct jwt_claims claims;
	struct err e;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	assert_string_equal(s.user.at, "anna");
	assert_string_equal(s.device.at, "d1");
	assert_int_equal(strlen(s.refresh), REFRESH_TOKEN_LEN);
	assert_in_range(s.expires_in_s, 3240, 3960);
	assert_int_equal(testing_verify(&t, s.access, &claims), 0);
	assert_string_equal(claims.device.at, "d1");
	assert_int_equal(claims.exp - claims.iat, s.expires_in_s);

	assert_int_equal(auth_device_key(t.auth, "anna", "d1", s.message.epoch, &k, &e), 0);
	assert_memory_equal(&k.key, &s.message.key, KEY_LEN);
	assert_int_equal(auth_group_key(t.auth, "anna", 0, &k, &e), 0);
	assert_int_equal(k.epoch, s.group.epoch);
	assert_memory_not_equal(&k.key, &s.message.key, KEY_LEN);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", s.message.epoch + 1, &k, &e),
			 NE_AUTH);
	assert_int_equal(auth_device_key(t.auth, "anna", "d2", 0, &k, &e), NE_NOT_FOUND);
	assert_int_equal(auth_group_key(t.auth, "otto", 0, &k, &e), NE_NOT_FOUND);
}

static void wrong_login_is_one_answer(void **state)
{
	static const char *const user[] = {"anna", "nobody", "a/#", ""};
	struct auth_session s;
	struct auth_denial why;
	struct err e;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(auth_login(t.auth, slice_str(user[i]), slice_str("wrong password"),
					    slice_str("d1"), &s, &why, &e),
				 NE_AUTH);
		assert_int_equal(why.status, 401);
		assert_string_equal(e.text, "wrong user or password: check both and try again");
	}
}

static void wait_for_change(uint64_t seen)
{
	struct timespec pause = {0, 1000000};

	for (int i = 0; i < 5000 && auth_revision(t.auth) == seen; i++)
		nanosleep(&pause, NULL);
	assert_int_not_equal(auth_revision(t.auth), seen);
}

static void a_disabled_user_is_out(void **state)
{
	struct auth_session s, out;
	struct auth_key k;
	struct db *db;
	struct err e;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	uint64_t seen = auth_revision(t.auth);
	assert_int_equal(db_open(&db, t.config.auth_db, 0, NULL, 1000, &e), 0);
	assert_int_equal(db_exec(db,
				 "BEGIN; UPDATE users SET disabled = 1;"
				 " UPDATE meta SET revision = revision + 1; COMMIT",
				 &e),
			 0);
	db_close(db);
	wait_for_change(seen);
	assert_int_equal(testing_login(&t, "d1", &out), NE_AUTH);
	assert_int_equal(testing_refresh(&t, s.refresh, &out), NE_AUTH);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", 0, &k, &e), NE_AUTH);
	assert_int_equal(auth_group_key(t.auth, "anna", 0, &k, &e), NE_AUTH);
}

static void failures_slow_a_name_down_but_never_lock_it(void **state)
{
	struct auth_session s;
	struct auth_denial why;
	struct err e;

	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(auth_login(t.auth, slice_str("anna"), slice_str("wrong password"),
					    slice_str("d1"), &s, &why, &e),
				 NE_AUTH);
		if (i < 2)
			continue;
		int rc = testing_login(&t, "d1", &s);
		assert_int_equal(rc, NE_BUSY);
		assert_int_equal(auth_login(t.auth, slice_str("anna"), slice_str(TEST_PASSWORD),
					    slice_str("d1"), &s, &why, &e),
				 NE_BUSY);
		assert_int_equal(why.status, 429);
		assert_in_range(why.retry_after_s, 1, 300);
		assert_true(i > 10 || why.retry_after_s == 1 << (i - 2));
		t.now_s += why.retry_after_s;
	}
	assert_int_equal(testing_login(&t, "d1", &s), 0);
}

static void refresh_rotates_and_survives_a_lost_reply(void **state)
{
	struct auth_session first, lost, again, next;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &first), 0);
	assert_int_equal(testing_refresh(&t, first.refresh, &lost), 0);
	/* The reply did not arrive: the device asks again with what it has. */
	assert_int_equal(testing_refresh(&t, first.refresh, &again), 0);
	assert_string_not_equal(lost.refresh, again.refresh);
	assert_int_equal(testing_refresh(&t, again.refresh, &next), 0);
	assert_memory_equal(&next.message, &first.message, sizeof next.message);
}

static void reuse_ends_the_family(void **state)
{
	struct auth_session first, second, third;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &first), 0);
	assert_int_equal(testing_refresh(&t, first.refresh, &second), 0);
	assert_int_equal(testing_refresh(&t, second.refresh, &third), 0);
	assert_int_equal(testing_refresh(&t, first.refresh, &second), NE_AUTH);
	assert_int_equal(testing_refresh(&t, third.refresh, &second), NE_AUTH);
	assert_int_equal(testing_login(&t, "d1", &first), 0);
	assert_int_equal(testing_refresh(&t, first.refresh, &second), 0);
}

static void broken_refresh_tokens_are_refused(void **state)
{
	struct auth_session s, out;
	char token[REFRESH_TOKEN_LEN + 2];

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	assert_int_equal(testing_refresh(&t, "", &out), NE_AUTH);
	for (size_t i = 0; i < REFRESH_TOKEN_LEN; i++) {
		memcpy(token, s.refresh, sizeof s.refresh);
		token[i] = token[i] == 'A' ? 'B' : 'A';
		assert_int_equal(testing_refresh(&t, token, &out), NE_AUTH);
	}
	snprintf(token, sizeof token, "%sA", s.refresh);
	assert_int_equal(testing_refresh(&t, token, &out), NE_AUTH);
	assert_int_equal(testing_refresh(&t, s.refresh, &out), 0);
}

static void refresh_tokens_age(void **state)
{
	struct auth_session s, out;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	t.now_s += t.config.refresh_idle_s;
	assert_int_equal(testing_refresh(&t, s.refresh, &out), 0);
	t.now_s += t.config.refresh_idle_s + 1;
	assert_int_equal(testing_refresh(&t, out.refresh, &s), NE_AUTH);
}

static void epochs_end_after_30_days(void **state)
{
	struct auth_session s, out;
	struct auth_key k;
	struct err e;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	t.now_s += 31 * 86400;
	assert_int_equal(testing_refresh(&t, s.refresh, &out), 0);
	assert_int_equal(out.message.epoch, t.now_s);
	assert_int_equal(out.group.epoch, t.now_s);
	/* What the device sealed before it heard is still opened. */
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", s.message.epoch, &k, &e), 0);
	assert_memory_equal(&k.key, &s.message.key, KEY_LEN);
	t.now_s += 31 * 86400;
	assert_int_equal(testing_refresh(&t, out.refresh, &out), 0);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", s.message.epoch, &k, &e), NE_AUTH);
}

static int count_void(void *ctx, const struct auth_void *v, struct err *e)
{
	int *n = ctx;

	(void)e;
	assert_string_equal(v->user, "anna");
	assert_true(v->until_s > v->iat_s);
	++*n;
	return 0;
}

static void revocation_by_another_process_is_seen(void **state)
{
	struct auth_session s, other, out;
	struct auth_denial why;
	struct auth *admin;
	struct auth_key k;
	int voids = 0;
	struct err e;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	assert_int_equal(testing_login(&t, "d2", &other), 0);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", 0, &k, &e), 0);
	uint64_t seen = auth_revision(t.auth);

	assert_int_equal(auth_open(&admin, &t.config, &e), 0);
	assert_int_equal(auth_device_revoke(admin, "anna", "nobody", &e), NE_NOT_FOUND);
	assert_int_equal(auth_device_revoke(admin, "anna", "d1", &e), 0);
	wait_for_change(seen);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", 0, &k, &e), NE_AUTH);
	assert_int_equal(auth_device_key(t.auth, "anna", "d2", 0, &k, &e), 0);
	assert_int_equal(auth_group_key(t.auth, "anna", 0, &k, &e), 0);
	assert_true(k.epoch > s.group.epoch);
	assert_int_equal(auth_each_void(t.auth, count_void, &voids, &e), 0);
	assert_int_equal(voids, 1);
	assert_int_equal(testing_refresh(&t, s.refresh, &out), NE_AUTH);
	assert_int_equal(testing_refresh(&t, other.refresh, &out), 0);
	assert_int_equal(auth_login(t.auth, slice_str("anna"), slice_str(TEST_PASSWORD),
				    slice_str("d1"), &out, &why, &e),
			 NE_AUTH);
	assert_int_equal(why.status, 403);

	assert_int_equal(auth_device_allow(admin, "anna", "d1", &e), 0);
	auth_close(admin);
	assert_int_equal(testing_login(&t, "d1", &out), 0);
	assert_true(out.message.epoch > s.message.epoch);
}

static int stop_at_void(void *ctx, const struct auth_void *v, struct err *e)
{
	(void)e;
	*(int64_t *)ctx = v->iat_s;
	return 0;
}

static void a_new_password_voids_all(void **state)
{
	struct auth_session s, out;
	struct auth_denial why;
	struct jwt_claims claims;
	struct auth_key k;
	int64_t voided = 0;
	struct err e;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	assert_int_equal(auth_user_passwd(t.auth, "otto", slice_str("another one"), &e),
			 NE_NOT_FOUND);
	assert_int_equal(auth_user_passwd(t.auth, "anna", slice_str("another one"), &e), 0);
	assert_int_equal(testing_refresh(&t, s.refresh, &out), NE_AUTH);
	assert_int_equal(testing_login(&t, "d1", &out), NE_AUTH);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", s.message.epoch, &k, &e), NE_AUTH);
	assert_int_equal(auth_login(t.auth, slice_str("anna"), slice_str("another one"),
				    slice_str("d1"), &out, &why, &e),
			 0);
	/* In the same second, yet not among the tokens that are void. */
	assert_int_equal(auth_each_void(t.auth, stop_at_void, &voided, &e), 0);
	assert_int_equal(testing_verify(&t, out.access, &claims), 0);
	assert_true(claims.iat > voided);
}

static void removed_users_leave_no_epoch_behind(void **state)
{
	struct auth_session s, out;
	struct err e;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	assert_int_equal(auth_user_remove(t.auth, "anna", &e), 0);
	assert_int_equal(auth_user_remove(t.auth, "anna", &e), NE_NOT_FOUND);
	assert_int_equal(auth_user_add(t.auth, "anna", slice_str(TEST_PASSWORD), &e), 0);
	assert_int_equal(testing_refresh(&t, s.refresh, &out), NE_AUTH);
	assert_int_equal(testing_login(&t, "d1", &out), 0);
	assert_true(out.group.epoch > s.group.epoch);
	assert_true(out.message.epoch > s.message.epoch);
}

static void copy_file(const char *from, const char *to)
{
	struct buf b = {.max = 1 << 24};
	struct err e;

	assert_int_equal(file_read(from, &b, &e), 0);
	assert_int_equal(file_replace(to, buf_slice(&b), FILE_SECRET, &e), 0);
	buf_free(&b);
}

static void a_restored_auth_db_revives_nobody(void **state)
{
	struct auth_session revoked, kept, out;
	char backup[128], wal[CONFIG_PATH + 8];
	struct auth_key k;
	struct err e;

	(void)state;
	snprintf(backup, sizeof backup, "%s/backup", t.dir);
	assert_int_equal(testing_login(&t, "d1", &revoked), 0);
	assert_int_equal(testing_login(&t, "d2", &kept), 0);
	auth_close(t.auth); /* checkpoints: the file is whole */
	copy_file(t.config.auth_db, backup);

	testing_open(&t);
	assert_int_equal(auth_device_revoke(t.auth, "anna", "d1", &e), 0);
	assert_int_equal(testing_refresh(&t, kept.refresh, &kept), 0);
	assert_int_equal(testing_refresh(&t, kept.refresh, &kept), 0);
	auth_close(t.auth);
	copy_file(backup, t.config.auth_db);
	snprintf(wal, sizeof wal, "%s-wal", t.config.auth_db);
	unlink(wal);

	t.now_s += 7 * 86400;
	testing_open(&t);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", 0, &k, &e), NE_AUTH);
	assert_int_equal(testing_refresh(&t, revoked.refresh, &out), NE_AUTH);
	/* The other one goes on without a password, though its token is newer than the file. */
	assert_int_equal(testing_refresh(&t, kept.refresh, &out), 0);
	assert_int_equal(out.group.epoch, t.now_s);
	assert_int_equal(testing_refresh(&t, out.refresh, &out), 0);
}

/* A disk that was full left half a line in the log: what is written behind it counts all the same.
 */
static void half_a_line_hides_no_revocation(void **state)
{
	char log[128], backup[128], wal[CONFIG_PATH + 8];
	struct auth_session s;
	struct auth_key k;
	struct err e;

	(void)state;
	snprintf(backup, sizeof backup, "%s/backup", t.dir);
	snprintf(log, sizeof log, "%s/auth/revocations.log", t.dir);
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	auth_close(t.auth);
	copy_file(t.config.auth_db, backup);

	testing_open(&t);
	FILE *f = fopen(log, "ae");
	assert_non_null(f);
	assert_true(fputs("1790000000 revoke an", f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(auth_device_revoke(t.auth, "anna", "d1", &e), 0);
	auth_close(t.auth);
	copy_file(backup, t.config.auth_db);
	snprintf(wal, sizeof wal, "%s-wal", t.config.auth_db);
	unlink(wal);

	testing_open(&t);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", 0, &k, &e), NE_AUTH);
}

static void another_store_begins_new_epochs(void **state)
{
	struct auth_session s;
	struct auth_key k, now;
	struct err e;

	(void)state;
	assert_int_equal(auth_store_opened(t.auth, 11, 0, 100, &e), 0);
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	assert_int_equal(auth_store_opened(t.auth, 11, 100, 101, &e), 0);
	assert_int_equal(auth_group_key(t.auth, "anna", 0, &k, &e), 0);
	assert_int_equal(k.epoch, s.group.epoch);
	assert_int_equal(auth_store_opened(t.auth, 11, 99, 102, &e), 0); /* a restored one */
	assert_int_equal(auth_group_key(t.auth, "anna", 0, &k, &e), 0);
	assert_true(k.epoch > s.group.epoch);
	assert_int_equal(auth_store_opened(t.auth, 12, 0, 103, &e), 0); /* a new one */
	assert_int_equal(auth_group_key(t.auth, "anna", 0, &now, &e), 0);
	assert_true(now.epoch > k.epoch);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", 0, &k, &e), 0);
	assert_true(k.epoch > s.message.epoch && !k.ended);
	/* Two stores ago: nothing. */
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", s.message.epoch, &k, &e), NE_AUTH);
}

static void a_new_master_key_moves_all_epochs(void **state)
{
	uint8_t secret[KEY_LEN] = {7};
	char path[CONFIG_PATH + 32];
	struct auth_session s, out;
	struct auth_key k;
	struct err e;

	(void)state;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	auth_close(t.auth);
	t.now_s += 10;
	snprintf(path, sizeof path, "%s/master-%lld", t.config.keys, (long long)t.now_s);
	assert_int_equal(file_create(path, slice_of(secret, KEY_LEN), FILE_SECRET, &e), 0);
	testing_open(&t);
	assert_int_equal(testing_refresh(&t, s.refresh, &out), 0);
	assert_true(out.message.epoch > s.message.epoch && out.group.epoch > s.group.epoch);
	assert_int_equal(auth_device_key(t.auth, "anna", "d1", s.message.epoch, &k, &e), 0);
	assert_memory_equal(&k.key, &s.message.key, KEY_LEN);
}

static void open_refuses_secrets_that_others_may_read(void **state)
{
	char path[CONFIG_PATH + 32], link_path[CONFIG_PATH + 32];
	struct auth *a;
	struct err e;

	(void)state;
	snprintf(path, sizeof path, "%s/refresh", t.config.keys);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(auth_open(&a, &t.config, &e), NE_USAGE);
	assert_non_null(strstr(e.text, "chmod 600"));
	assert_int_equal(chmod(path, 0600), 0);
	snprintf(link_path, sizeof link_path, "%s/moved", t.dir);
	assert_int_equal(rename(path, link_path), 0);
	assert_int_equal(symlink(link_path, path), 0);
	assert_int_equal(auth_open(&a, &t.config, &e), NE_USAGE);
	assert_non_null(strstr(e.text, "symbolic link"));
}

static void names_and_passwords_are_checked(void **state)
{
	static const char *const bad[] = {"", "neapd", "server", "a/b", "-x", "$neapd", "#"};
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(auth_user_add(t.auth, bad[i], slice_str(TEST_PASSWORD), &e),
				 NE_USAGE);
	assert_int_equal(auth_user_add(t.auth, "bert", slice_str("short"), &e), NE_USAGE);
	assert_int_equal(auth_user_add(t.auth, "anna", slice_str(TEST_PASSWORD), &e), NE_EXISTS);
}

static void devices_are_bounded(void **state)
{
	struct auth_session s;

	(void)state;
	t.config.devices_per_user = 2;
	assert_int_equal(testing_login(&t, "d1", &s), 0);
	assert_int_equal(testing_login(&t, "d2", &s), 0);
	assert_int_equal(testing_login(&t, "d3", &s), NE_AUTH);
	assert_int_equal(testing_login(&t, "d1", &s), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(login_gives_what_a_device_needs),
		T(wrong_login_is_one_answer),
		T(a_disabled_user_is_out),
		T(failures_slow_a_name_down_but_never_lock_it),
		T(refresh_rotates_and_survives_a_lost_reply),
		T(reuse_ends_the_family),
		T(broken_refresh_tokens_are_refused),
		T(refresh_tokens_age),
		T(epochs_end_after_30_days),
		T(revocation_by_another_process_is_seen),
		T(a_new_password_voids_all),
		T(removed_users_leave_no_epoch_behind),
		T(a_restored_auth_db_revives_nobody),
		T(half_a_line_hides_no_revocation),
		T(another_store_begins_new_epochs),
		T(a_new_master_key_moves_all_epochs),
		T(open_refuses_secrets_that_others_may_read),
		T(names_and_passwords_are_checked),
		T(devices_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
