/*
 * Two or three devices write rows with UNIQUE columns at random, over a network that loses
 * messages; engines crash now and then. Whatever the server refuses: once all is quiet the devices
 * hold what the server holds, nothing is pending or parked, and no two rows of the server share a
 * value.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/core/ingest.h"
#include "common/testing_dir.h"
#include "device/core/engine.h"
#include "device/core/track.h"

enum {
	DEVICES = 3,
	ROUNDS = 120,
	MORE_ROUNDS = 200,
	QUEUE = 4096,
	RUNS = 100,
	KEYS = 8,
	VALUES = 6,
	QUIET = 4000,
	ENOUGH = 400
};

struct letter {
	enum event_type type;
	struct slice frame; /* malloc'd */
};
struct dev {
	char path[80];
	sqlite3 *app;
	struct engine *en;
	struct actions acts;
	struct letter in[QUEUE];
	size_t n_in;
	uint64_t synced;
};
struct run {
	char dir[64], store_path[80];
	struct dev d[DEVICES];
	unsigned n; /* devices */
	struct store *store;
	struct ingest *in;
	struct out_messages out;
	uint64_t random, server_random, mono_ms, frames;
	bool lossy;
	struct err e;
};

#define ok(r, call)                                                                  \
	do {                                                                         \
		int ok_rc_ = (call);                                                 \
		if (ok_rc_)                                                          \
			fail_msg("%s: %s: %s", #call, ne_name(ok_rc_), (r)->e.text); \
	} while (0)

static void draw(void *ctx, void *out, size_t len)
{
	uint64_t *x = ctx;
	uint8_t *at = out;

	for (size_t i = 0; i < len; i++) {
		*x = *x * 6364136223846793005ull + 1442695040888963407ull;
		at[i] = (uint8_t)(*x >> 56);
	}
}

static unsigned pick(struct run *r, unsigned n)
{
	uint32_t v;

	draw(&r->random, &v, sizeof v);
	return v % n;
}

/* Triggers stamp by the machine's clock, so the server's has to be that one. */
static uint64_t wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static const char *name_of(const struct run *r, const struct dev *d)
{
	static const char *const names[DEVICES] = {"a", "b", "c"};

	return names[d - r->d];
}

static void post(struct run *r, struct dev *d, enum event_type type, struct slice frame)
{
	uint8_t *copy = malloc(frame.len);

	if (r->lossy && pick(r, 6) == 0) {
		free(copy);
		return;
	}
	assert_non_null(copy);
	assert_true(d->n_in < QUEUE);
	memcpy(copy, frame.at, frame.len);
	d->in[d->n_in++] = (struct letter){type, slice_of(copy, frame.len)};
}

static void serve(struct run *r, struct dev *from, struct slice frame)
{
	struct in_event ev = {
		.type = IN_FRAME, .user = "u", .device = name_of(r, from), .frame = frame};

	r->frames++;
	ok(r, ingest_step(r->in, wall_ms(), &ev, 1, &r->out, &r->e));
	for (size_t i = 0; i < r->out.n; i++) {
		const struct out_message *m = &r->out.at[i];
		for (struct dev *d = r->d; d < r->d + r->n; d++) {
			bool own = strcmp(m->peer.at, name_of(r, d)) == 0;
			if (m->kind == TOPIC_DOWN && own)
				post(r, d, EV_DOWN, m->frame);
			if (m->kind == TOPIC_CHANGES && !own)
				post(r, d, EV_CHANGES, m->frame);
			if (m->kind == TOPIC_HEAD)
				post(r, d, EV_HEAD, m->frame);
		}
	}
}

static void step(struct run *r, struct dev *d, struct event ev)
{
	struct action acts[256];
	size_t sent = 0, n;

	ev.now_ms = wall_ms();
	ev.mono_ms = r->mono_ms;
	ok(r, engine_step(d->en, &ev, &d->acts, &r->e));
	n = d->acts.n;
	assert_true(n < 256);
	memcpy(acts, d->acts.at, n * sizeof *acts);
	for (size_t i = 0; i < n; i++) {
		if (acts[i].type == ACT_SYNCED)
			d->synced = acts[i].sync_id;
		if (acts[i].type != ACT_PUBLISH)
			continue;
		sent += acts[i].frame.len;
		if (!(r->lossy && pick(r, 8) == 0))
			serve(r, d, acts[i].frame);
	}
	if (sent)
		step(r, d, (struct event){.type = EV_SENT, .sent_bytes = sent});
}

static void read_letter(struct run *r, struct dev *d)
{
	struct letter l;

	if (!d->n_in)
		return;
	l = d->in[0];
	d->n_in--;
	memmove(d->in, d->in + 1, d->n_in * sizeof *d->in);
	step(r, d, (struct event){.type = l.type, .frame = l.frame});
	free((void *)(uintptr_t)l.frame.at);
}

static void start(struct run *r, struct dev *d)
{
	struct engine_config c = {.path = d->path, .random = draw, .random_ctx = &r->random};

	ok(r, engine_open(&d->en, &c, &r->e));
}

static void crash(struct run *r, struct dev *d)
{
	engine_close(d->en);
	for (; d->n_in; d->n_in--)
		free((void *)(uintptr_t)d->in[d->n_in - 1].frame.at);
	start(r, d);
	step(r, d, (struct event){.type = EV_LINK_UP});
}

static void app(struct dev *d, const char *sql)
{
	int rc = sqlite3_exec(d->app, sql, NULL, NULL, NULL);

	/* What the app's own table refuses is the app's affair. */
	assert_true(rc == SQLITE_OK || rc == SQLITE_CONSTRAINT);
	if (!sqlite3_get_autocommit(d->app))
		sqlite3_exec(d->app, "ROLLBACK", NULL, NULL, NULL);
}

static void write_something(struct run *r, struct dev *d)
{
	static const char *const values[VALUES] = {"'x'", "'X'", "'y'", "'z'", "'Z'", "NULL"};
	unsigned k = 1 + pick(r, KEYS), k2 = 1 + pick(r, KEYS), v = pick(r, VALUES);
	char sql[400];

	switch (pick(r, 7)) {
	case 0:
		snprintf(sql, sizeof sql, "DELETE FROM t WHERE id = %u", k);
		break;
	case 1: /* two rows swap their values */
		snprintf(sql, sizeof sql,
			 "BEGIN; CREATE TEMP TABLE s AS SELECT id, email FROM t WHERE id IN (%u, "
			 "%u);"
			 "UPDATE t SET email = NULL WHERE id IN (%u, %u);"
			 "UPDATE t SET email = (SELECT email FROM s WHERE s.id <> t.id LIMIT 1)"
			 " WHERE id IN (SELECT id FROM s) AND (SELECT count(*) FROM s) = 2;"
			 "DROP TABLE s; COMMIT",
			 k, k2, k, k2);
		break;
	case 2:
		snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO t VALUES(%u, %s, %u, %u)", k,
			 values[v], pick(r, 3), pick(r, 3));
		break;
	case 3:
		snprintf(sql, sizeof sql, "UPDATE t SET a = %u, b = %u WHERE id = %u", pick(r, 3),
			 pick(r, 3), k);
		break;
	case 4:
		snprintf(sql, sizeof sql, "UPDATE t SET email = %s WHERE id = %u", values[v], k);
		break;
	default:
		snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%u, %s, %u, %u)", k, values[v],
			 pick(r, 3), pick(r, 3));
	}
	app(d, sql);
	step(r, d, (struct event){.type = EV_LOCAL});
}

static void one_round(struct run *r)
{
	struct dev *d = &r->d[pick(r, r->n)];

	switch (pick(r, 5)) {
	case 0:
	case 1:
		write_something(r, d);
		break;
	case 2:
		r->mono_ms += pick(r, 3000);
		step(r, d, (struct event){.type = EV_TICK});
		break;
	case 3:
		if (pick(r, 10) == 0)
			crash(r, d);
		break;
	default:
		for (unsigned n = pick(r, 8); n; n--)
			read_letter(r, d);
	}
}

static void text_of(sqlite3 *db, const char *sql, char *out, size_t size)
{
	sqlite3_stmt *s;
	size_t len = 0;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
	*out = '\0';
	while (sqlite3_step(s) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(s); i++) {
			const char *v = (const char *)sqlite3_column_text(s, i);
			len += (size_t)snprintf(out + len, size - len, "%s,", v ? v : "NULL");
			assert_true(len < size);
		}
		len += (size_t)snprintf(out + len, size - len, " ");
	}
	sqlite3_finalize(s);
}

/* All has settled; what is wrong then stays so. */
static bool quiet(struct run *r)
{
	char marks[32];

	for (struct dev *d = r->d; d < r->d + r->n; d++) {
		text_of(d->app, "SELECT count(*) FROM neap_m1", marks, sizeof marks);
		if (!d->synced || d->n_in || strcmp(marks, "0, ") != 0)
			return false;
	}
	return true;
}

static bool heal(struct run *r)
{
	r->lossy = false;
	for (struct dev *d = r->d; d < r->d + r->n; d++)
		step(r, d, (struct event){.type = EV_SYNC, .sync_id = 1});
	for (int i = 0; i < QUIET; i++) {
		for (struct dev *d = r->d; d < r->d + r->n; d++) {
			while (d->n_in)
				read_letter(r, d);
			step(r, d, (struct event){.type = EV_TICK});
		}
		r->mono_ms += 500;
		if (i % ENOUGH == ENOUGH - 1 && quiet(r))
			break;
	}
	for (struct dev *d = r->d; d < r->d + r->n; d++)
		if (!d->synced)
			return false;
	return true;
}

static void begin(struct run *r, unsigned n, uint64_t seed)
{
	struct store_config sc = {.random = draw, .random_ctx = &r->random};
	struct track_options o = {.priority = 5};

	memset(r, 0, sizeof *r);
	r->n = n;
	r->random = r->server_random = seed * 7919;
	r->lossy = true;
	testing_dir("neap-pair", r->dir, sizeof r->dir);
	snprintf(r->store_path, sizeof r->store_path, "%s/store.db", r->dir);
	sc.path = r->store_path;
	ok(r, store_open(&r->store, &sc, &r->e));
	struct ingest_config ic = {
		.store = r->store, .random = draw, .random_ctx = &r->server_random};
	ok(r, ingest_open(&r->in, &ic, wall_ms(), &r->e));
	for (unsigned i = 0; i < r->n; i++) {
		struct dev *d = &r->d[i];
		char dir[sizeof r->dir];

		memcpy(dir, r->dir, sizeof dir); /* gcc: it may overlap the path, in one struct */
		snprintf(d->path, sizeof d->path, "%s/%u.db", dir, i);
		ok(r, devdb_init(d->path, NULL, "u", name_of(r, d), 1000 + i, &r->e));
		assert_int_equal(sqlite3_open(d->path, &d->app), SQLITE_OK);
		app(d,
		    "CREATE TABLE t(id INTEGER PRIMARY KEY, email TEXT COLLATE NOCASE UNIQUE, a, b,"
		    " UNIQUE(a, b))");
		start(r, d);
		ok(r, track_table(engine_devdb(d->en), "t", &o, &r->e));
		step(r, d, (struct event){.type = EV_LINK_UP});
	}
}

static void end(struct run *r)
{
	static const char *const names[] = {"0.db", "1.db", "2.db", "store.db"};
	static const char *const tails[] = {"", "-wal", "-shm"};
	char path[120];

	for (struct dev *d = r->d; d < r->d + r->n; d++) {
		engine_close(d->en);
		actions_free(&d->acts);
		sqlite3_close(d->app);
		for (; d->n_in; d->n_in--)
			free((void *)(uintptr_t)d->in[d->n_in - 1].frame.at);
	}
	ingest_close(r->in);
	store_close(r->store);
	out_messages_free(&r->out);
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < 3; k++) {
			snprintf(path, sizeof path, "%s/%s%s", r->dir, names[i], tails[k]);
			unlink(path);
		}
	rmdir(r->dir);
}

static void compare(struct run *r, uint64_t seed)
{
	static char server[4096], mine[4096];
	sqlite3 *db;

	assert_int_equal(sqlite3_open(r->store_path, &db), SQLITE_OK);
	text_of(db,
		"SELECT 1 FROM t GROUP BY email COLLATE NOCASE HAVING email NOT NULL AND count(*) "
		"> 1"
		" UNION ALL SELECT 2 FROM t GROUP BY a, b HAVING count(*) > 1",
		server, sizeof server);
	assert_string_equal(server, "");
	text_of(db, "SELECT id, email, a, b FROM t ORDER BY id", server, sizeof server);
	sqlite3_close(db);
	for (struct dev *d = r->d; d < r->d + r->n; d++) {
		text_of(d->app, "SELECT id, email, a, b FROM t ORDER BY id", mine, sizeof mine);
		if (strcmp(server, mine) != 0)
			fail_msg("seed %llu, device %s:\n%s\nserver:\n%s", (unsigned long long)seed,
				 name_of(r, d), mine, server);
		text_of(d->app, "SELECT count(*) FROM neap_parked", mine, sizeof mine);
		assert_string_equal(mine, "0, ");
		text_of(d->app, "SELECT count(*) FROM neap_m1", mine, sizeof mine);
		assert_string_equal(mine, "0, ");
	}
}

struct seen {
	uint64_t rejected;
	unsigned long listed;
};

static void one_run(unsigned n, uint64_t seed, struct seen *seen)
{
	static struct run r;
	struct ingest_stats stats;
	char told[64];

	begin(&r, n, seed);
	for (int i = 0; i < (n > 2 ? MORE_ROUNDS : ROUNDS); i++)
		one_round(&r);
	if (!heal(&r))
		fail_msg("seed %llu of %u: no end", (unsigned long long)seed, n);
	compare(&r, seed);
	ingest_stats(r.in, &stats);
	seen->rejected += stats.rejected;
	for (struct dev *d = r.d; d < r.d + r.n; d++) {
		text_of(d->app, "SELECT count(*) FROM neap_rejected", told, sizeof told);
		seen->listed += strtoul(told, NULL, 10);
	}
	end(&r);
}

static void all_follow_the_server(void **state)
{
	struct seen seen = {0};
	const char *only = getenv("PAIR_SEED");
	uint64_t first = only ? strtoull(only, NULL, 10) : 1, last = only ? first : RUNS;
	(void)state;

	for (uint64_t seed = first; seed <= last; seed++)
		one_run(2, seed, &seen);
	/* The test has seen what it is about. */
	assert_true(seen.rejected > 0 || only);
	assert_true(seen.listed > 0 || only);
}

/*
 * The device's own write made room for a parked row, and nothing came after it; a row that the app
 * had written anew, and displaced again, was taken for the parked one (2263).
 */
static void seeds_that_once_failed(void **state)
{
	static const uint64_t once[] = {422, 735, 885, 989, 2263};
	struct seen seen = {0};
	(void)state;

	for (size_t i = 0; i < sizeof once / sizeof *once; i++)
		one_run(2, once[i], &seen);
}

/*
 * An insert was refused, one cell of which was written later, and another device's insert of the
 * row was from between.
 */
static void three_devices(void **state)
{
	struct seen seen = {0};
	(void)state;

	for (uint64_t seed = 173; seed < 178; seed++)
		one_run(3, seed, &seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(all_follow_the_server),
					   cmocka_unit_test(seeds_that_once_failed),
					   cmocka_unit_test(three_devices)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
