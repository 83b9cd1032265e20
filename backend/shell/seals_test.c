#include "backend/shell/seals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/auth/setup.h"
#include "backend/shell/os.h"

/* A set-up with one user and two devices that logged in. */
static struct world {
	char dir[64];
	struct config config;
	struct auth *auth;
	struct seals *seals;
	struct id user, d1, d2;
} w;

static void log_in(const char *device)
{
	static struct auth_session session;
	struct auth_denial why;
	struct err e = {0};

	if (auth_login(w.auth, slice_str("u"), slice_str("a long password"), slice_str(device),
		       &session, &why, &e))
		fail_msg("%s", e.text);
	auth_session_wipe(&session);
}

static int set_up(void **unused)
{
	struct setup s = {.bind = "127.0.0.1",
			  .broker_host = "127.0.0.1",
			  .login_port = 1,
			  .mqtt_port = 2,
			  .backend_port = 3,
			  .token_life_s = 60,
			  .plugin = "/x.so"};
	char file[96];
	struct err e = {0};

	(void)unused;
	strcpy(w.dir, "/tmp/neap_seals.XXXXXX");
	assert_non_null(mkdtemp(w.dir));
	s.dir = w.dir;
	snprintf(file, sizeof file, "%s/neapd.conf", w.dir);
	if (setup_write(&s, &e) || config_read(file, &w.config, &e) ||
	    auth_open(&w.auth, &w.config, &e) ||
	    auth_user_add(w.auth, "u", slice_str("a long password"), &e) ||
	    seals_new(&w.seals, w.auth, 100, &e))
		fail_msg("%s", e.text);
	strcpy(w.user.at, "u");
	strcpy(w.d1.at, "d1");
	strcpy(w.d2.at, "d2");
	log_in("d1");
	log_in("d2");
	return 0;
}

static int tear_down(void **unused)
{
	char command[96];

	(void)unused;
	seals_free(w.seals);
	auth_close(w.auth);
	snprintf(command, sizeof command, "rm -rf '%s'", w.dir);
	return system(command);
}

/* What a device seals for its `up`. */
static void seal_up(const struct id *device, struct buf *out)
{
	struct auth_key key;
	struct sealer *s;

	assert_int_equal(auth_device_key(w.auth, "u", device->at, 0, &key, NULL), NE_OK);
	assert_int_equal(sealer_new(&s, &key.key, key.epoch, SEAL_UP, id_slice(&w.user),
				    id_slice(device), os_random, NULL, NULL),
			 NE_OK);
	buf_clear(out);
	assert_int_equal(sealer_seal(s, slice_str("hello"), out, NULL), NE_OK);
	sealer_free(s);
}

static bool ended; /* by the last open_up */

static int open_up(const struct id *device, const struct buf *sealed)
{
	struct buf plain = {.max = 1000};
	int rc = seals_open(w.seals, &w.user, device, buf_slice(sealed), &plain, &ended, NULL);
	if (!rc)
		assert_true(slice_eq(buf_slice(&plain), slice_str("hello")));
	buf_free(&plain);
	return rc;
}

static void opens_what_the_device_sealed_and_nothing_else(void **unused)
{
	struct buf sealed = {.max = 1000};

	(void)unused;
	seal_up(&w.d1, &sealed);
	assert_int_equal(open_up(&w.d1, &sealed), NE_OK);
	assert_int_equal(open_up(&w.d1, &sealed), NE_OK);
	assert_int_equal(open_up(&w.d2, &sealed), NE_AUTH);
	sealed.at[sealed.len - 1] ^= 1;
	assert_int_equal(open_up(&w.d1, &sealed), NE_AUTH);
	sealed.len = 3;
	assert_int_equal(open_up(&w.d1, &sealed), NE_MALFORMED);
	buf_free(&sealed);
}

static uint32_t epoch_of(enum seal_kind kind, const struct id *peer)
{
	struct buf sealed = {.max = 1000};
	uint32_t epoch;

	assert_int_equal(seals_seal(w.seals, kind, &w.user, peer, slice_str("x"), &sealed, NULL),
			 NE_OK);
	assert_int_equal(seal_peek(buf_slice(&sealed), &epoch, NULL), NE_OK);
	buf_free(&sealed);
	return epoch;
}

static void a_revoked_device_is_refused_at_once(void **unused)
{
	struct buf sealed = {.max = 1000}, out = {.max = 1000};
	static const struct id none;

	(void)unused;
	seal_up(&w.d2, &sealed);
	assert_int_equal(open_up(&w.d2, &sealed), NE_OK);
	uint32_t before = epoch_of(SEAL_HEAD, &none);
	assert_int_equal(auth_device_revoke(w.auth, "u", "d2", NULL), NE_OK);
	/* Its opener is at hand, and still it is refused; nothing is sealed for it any more. */
	assert_int_equal(open_up(&w.d2, &sealed), NE_AUTH);
	assert_int_equal(seals_seal(w.seals, SEAL_DOWN, &w.user, &w.d2, slice_str("x"), &out, NULL),
			 NE_AUTH);
	/* The group's key moved on, the other device is served as before. */
	assert_true(epoch_of(SEAL_HEAD, &none) > before);
	seal_up(&w.d1, &sealed);
	assert_int_equal(open_up(&w.d1, &sealed), NE_OK);
	buf_free(&sealed);
	buf_free(&out);
}

/* What was sealed for another store is refused, and its device known for it; forgeries are not. */
static void another_store_ends_the_keys_of_devices(void **unused)
{
	struct buf sealed = {.max = 1000}, now = {.max = 1000};

	(void)unused;
	assert_int_equal(auth_store_opened(w.auth, 11, 0, 100, NULL), NE_OK);
	seal_up(&w.d1, &sealed);
	assert_int_equal(auth_store_opened(w.auth, 11, 100, 101, NULL), NE_OK); /* the same */
	assert_int_equal(open_up(&w.d1, &sealed), NE_OK);
	assert_int_equal(auth_store_opened(w.auth, 11, 100, 102, NULL), NE_OK); /* put back */
	assert_int_equal(open_up(&w.d1, &sealed), NE_AUTH);
	assert_true(ended);
	sealed.at[sealed.len - 1] ^= 1;
	assert_int_equal(open_up(&w.d1, &sealed), NE_AUTH);
	assert_false(ended);
	sealed.at[sealed.len - 1] ^= 1;
	seal_up(&w.d1, &now);
	assert_int_equal(open_up(&w.d1, &now), NE_OK);
	assert_false(ended);
	assert_int_equal(auth_store_opened(w.auth, 12, 0, 103, NULL), NE_OK); /* a new one */
	assert_int_equal(open_up(&w.d1, &now), NE_AUTH);
	assert_true(ended);
	assert_int_equal(open_up(&w.d1, &sealed), NE_AUTH);
	buf_free(&sealed);
	buf_free(&now);
}

static void more_devices_than_it_keeps(void **unused)
{
	struct seals *few;
	struct buf sealed = {.max = 1000}, plain = {.max = 1000};
	struct err e = {0};

	(void)unused;
	assert_int_equal(seals_new(&few, w.auth, 1, &e), NE_OK);
	log_in("d3");
	struct id d3 = {"d3"};
	for (int i = 0; i < 4; i++) {
		const struct id *device = i % 2 ? &d3 : &w.d1;
		seal_up(device, &sealed);
		buf_clear(&plain);
		assert_int_equal(
			seals_open(few, &w.user, device, buf_slice(&sealed), &plain, &ended, &e),
			NE_OK);
	}
	seals_free(few);
	buf_free(&sealed);
	buf_free(&plain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_what_the_device_sealed_and_nothing_else),
		cmocka_unit_test(a_revoked_device_is_refused_at_once),
		cmocka_unit_test(another_store_ends_the_keys_of_devices),
		cmocka_unit_test(more_devices_than_it_keeps),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
