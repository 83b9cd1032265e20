/* For the tests of neap.h: a bound database whose servers nobody listens at. */
#ifndef NEAP_DEVICE_SHELL_NEAP_FIXTURE_H
#define NEAP_DEVICE_SHELL_NEAP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/testing_dir.h"
#include "device/core/devdb.h"
#include "device/include/neap.h"
#include "device/shell/clock.h"
#include "device/shell/secret.h"

static char dir[64], path[128];

/* A database bound to u/d with one table, and a login that is still good. */
static inline int make_db_at(const char *at)
{
	struct db *db;
	struct secret *s = secret_new();
	char secret[160];

	if (!s)
		return -1;
	snprintf(secret, sizeof secret, "%s.neap-secret", at);
	strcpy(s->server, "https://127.0.0.1:1");
	strcpy(s->grant.user.at, "u");
	strcpy(s->grant.device.at, "d");
	strcpy(s->grant.access, "a.b.c");
	strcpy(s->grant.refresh, "r");
	s->got_ms = (int64_t)wall_ms();
	s->grant.life_s = 3600;
	s->grant.server_ms = 1;
	s->grant.message_epoch = s->grant.group_epoch = 1;
	strcpy(s->grant.broker_host, "127.0.0.1");
	s->grant.broker_port = 1;
	strcpy(s->grant.broker_ca, "-----BEGIN CERTIFICATE-----\n");
	int rc = devdb_init(at, NULL, "u", "d", 7, NULL) || secret_save(secret, s, NULL) ||
		 db_open(&db, at, DB_KEEP_JOURNAL, NULL, 1000, NULL);
	secret_drop(s);
	if (rc)
		return -1;
	rc = db_exec(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE nokey(v)", NULL);
	db_close(db);
	return rc;
}

static inline int make_db(void **state)
{
	(void)state;
	testing_dir("neap-api", dir, sizeof dir);
	snprintf(path, sizeof path, "%s/app.db", dir);
	return make_db_at(path);
}

static inline int drop_db(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -r '%s'", dir);
	return system(command);
}

static inline neap *opened_at(const char *at)
{
	neap *n;

	assert_int_equal(neap_open(at, &n), NEAP_OK);
	assert_string_equal(neap_error(n), "");
	return n;
}

static inline neap *opened(void)
{
	return opened_at(path);
}

static inline void write_row(int id)
{
	struct db *db;
	char sql[80];

	snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d, 'x')", id);
	assert_int_equal(db_open(&db, path, DB_KEEP_JOURNAL, NULL, 5000, NULL), NE_OK);
	assert_int_equal(db_exec(db, sql, NULL), NE_OK);
	db_close(db);
}

#define WITH_DB(test) cmocka_unit_test_setup_teardown(test, make_db, drop_db)

#endif
