#include "tests/bench/workload.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/bench/bench.h"

static const struct {
	const char *name, *unit;
	double start, step;
} sensors[W1_SENSORS] = {
	{"temperature", "C", 21.5, 0.08},  {"humidity", "%", 48, 0.2},
	{"pressure", "hPa", 1013.2, 0.12}, {"vibration", "mm/s", 2.4, 0.05},
	{"current", "A", 7.3, 0.1},	   {"voltage", "V", 231, 0.3},
	{"flow", "l/min", 118, 0.9},	   {"level", "mm", 1540, 1.5},
};

#define W1_COLUMNS                                                         \
	"device TEXT NOT NULL DEFAULT '', ts INTEGER NOT NULL DEFAULT 0, " \
	"sensor TEXT NOT NULL DEFAULT '', value REAL NOT NULL DEFAULT 0, " \
	"unit TEXT NOT NULL DEFAULT '', quality INTEGER NOT NULL DEFAULT 0)"
const char w1_table_sql[] = "CREATE TABLE readings(id BLOB PRIMARY KEY NOT NULL, " W1_COLUMNS;
const char w1_append_sql[] = "CREATE TABLE readings(id INTEGER PRIMARY KEY, " W1_COLUMNS;
const char w2_table_sql[] = "CREATE TABLE state(id TEXT PRIMARY KEY NOT NULL, i1 INTEGER, "
			    "i2 INTEGER, i3 INTEGER, r1 REAL, r2 REAL, r3 REAL, t1 TEXT, t2 TEXT, "
			    "t3 TEXT)";
const char *const w2_column[W2_COLUMNS] = {"i1", "i2", "i3", "r1", "r2", "r3", "t1", "t2", "t3"};

/* mulberry32 */
static uint32_t next_u32(uint32_t *state)
{
	uint32_t t = *state += 0x6D2B79F5;

	t = (t ^ (t >> 15)) * (t | 1);
	t = (t + (t ^ (t >> 7)) * (t | 61)) ^ t;
	return t ^ (t >> 14);
}

static double next_unit(uint32_t *state)
{
	return next_u32(state) / 4294967296.0;
}

/* Appends `n` hexadecimal digits. */
static void put_hex(uint32_t *state, unsigned n, char *out)
{
	char digits[9];

	for (unsigned done = 0; done < n; done += 8) {
		snprintf(digits, sizeof digits, "%08x", next_u32(state));
		strncat(out, digits, n - done);
	}
}

void w1_begin(struct w1 *w, uint32_t seed)
{
	*w = (struct w1){.random = seed, .ts_ms = 1767225600000};
	for (unsigned d = 0; d < W1_DEVICES; d++) {
		for (unsigned k = 0; k < W1_SENSORS; k++)
			w->value[d][k] = sensors[k].start;
	}
}

/* 48 bits of time, then 74 random ones around the version and the variant. */
static void make_id(struct w1 *w, uint8_t *out)
{
	uint32_t a = next_u32(&w->random) >> 20, variant = next_u32(&w->random) >> 30;
	uint64_t rest = (uint64_t)next_u32(&w->random) << 28;

	rest |= next_u32(&w->random) >> 4;
	for (unsigned i = 0; i < 6; i++)
		out[i] = (uint8_t)(w->ts_ms >> (40 - 8 * i));
	out[6] = (uint8_t)(0x70 | a >> 8);
	out[7] = (uint8_t)a;
	out[8] = (uint8_t)((8 + variant) << 4 | rest >> 56);
	for (unsigned i = 0; i < 7; i++)
		out[9 + i] = (uint8_t)(rest >> (48 - 8 * i));
}

void w1_next(struct w1 *w, struct w1_row *out)
{
	size_t d = w->n / W1_SENSORS % W1_DEVICES, k = w->n % W1_SENSORS;
	double moved;

	w->n++;
	w->ts_ms += 20 + (int64_t)(next_unit(&w->random) * 22);
	moved = next_unit(&w->random);
	moved = (moved + next_unit(&w->random) - 1) * sensors[k].step;
	w->value[d][k] = floor((w->value[d][k] + moved) * 100 + 0.5) / 100;
	out->quality = 192;
	if (next_unit(&w->random) >= 0.97)
		out->quality = next_unit(&w->random) < 0.5 ? 64 : 0;
	make_id(w, out->id);
	snprintf(out->device, sizeof out->device, "pump-station-%03zu", 17 + d);
	out->ts_ms = w->ts_ms;
	out->sensor = sensors[k].name;
	out->unit = sensors[k].unit;
	out->value = w->value[d][k];
}

void w1_bind(sqlite3_stmt *s, const struct w1_row *r, size_t n, int append)
{
	if (append)
		sqlite3_bind_int64(s, 1, (int64_t)n);
	else
		sqlite3_bind_blob(s, 1, r->id, sizeof r->id, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, r->device, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 3, r->ts_ms);
	sqlite3_bind_text(s, 4, r->sensor, -1, SQLITE_STATIC);
	sqlite3_bind_double(s, 5, r->value);
	sqlite3_bind_text(s, 6, r->unit, -1, SQLITE_STATIC);
	sqlite3_bind_int(s, 7, r->quality);
}

static void make_value(uint32_t *random, struct w2_update *u)
{
	static const char *const words[] = {"running",	   "stopped", "starting", "fault",
					    "maintenance", "standby", "manual",	  "auto"};
	char text[40];

	if (u->column < 3) {
		u->integer = (int64_t)(next_unit(random) * 100000);
	} else if (u->column < 6) {
		u->real = floor(next_unit(random) * 100000 + 0.5) / 100;
	} else {
		snprintf(text, sizeof text, "%s-", words[next_u32(random) >> 29]);
		put_hex(random, 12, text);
		snprintf(u->text, sizeof u->text, "%.12s", text);
	}
}

static void bind_value(sqlite3_stmt *s, int at, const struct w2_update *u)
{
	if (u->column < 3)
		sqlite3_bind_int64(s, at, u->integer);
	else if (u->column < 6)
		sqlite3_bind_double(s, at, u->real);
	else
		sqlite3_bind_text(s, at, u->text, -1, SQLITE_TRANSIENT);
}

void w2_fill(sqlite3 *db, uint32_t seed)
{
	sqlite3_stmt *s =
		bench_prepare(db, "INSERT INTO state VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)");
	uint32_t random = seed ^ 0x5157;
	char id[16];

	bench_sql(db, "BEGIN");
	for (unsigned i = 0; i < W2_ROWS; i++) {
		snprintf(id, sizeof id, "asset-%04u", i);
		sqlite3_bind_text(s, 1, id, -1, SQLITE_STATIC);
		for (unsigned c = 0; c < W2_COLUMNS; c++) {
			struct w2_update u = {.column = c};

			make_value(&random, &u);
			bind_value(s, (int)c + 2, &u);
		}
		bench_step(db, s);
	}
	bench_sql(db, "COMMIT");
	sqlite3_finalize(s);
}

void w2_begin(struct w2 *w, uint32_t seed, char site)
{
	uint32_t shuffle = 99;
	double sum = 0;

	w->random = seed * 7919 + (unsigned char)site;
	for (unsigned k = 0; k < W2_ROWS; k++) {
		w->cumulated[k] = sum += 1.0 / (k + 1);
		w->row[k] = k;
	}
	for (unsigned i = W2_ROWS - 1; i > 0; i--) {
		unsigned j = (unsigned)(next_unit(&shuffle) * (i + 1)), kept = w->row[i];

		w->row[i] = w->row[j];
		w->row[j] = kept;
	}
}

void w2_next(struct w2 *w, struct w2_update *out)
{
	double u = next_unit(&w->random) * w->cumulated[W2_ROWS - 1];
	unsigned lo = 0, hi = W2_ROWS - 1;

	while (lo < hi) {
		unsigned middle = (lo + hi) / 2;

		if (w->cumulated[middle] < u)
			lo = middle + 1;
		else
			hi = middle;
	}
	snprintf(out->id, sizeof out->id, "asset-%04u", w->row[lo]);
	out->column = (unsigned)(next_unit(&w->random) * W2_COLUMNS);
	make_value(&w->random, out);
}

void w2_bind(sqlite3_stmt *s, const struct w2_update *u)
{
	bind_value(s, 1, u);
	sqlite3_bind_text(s, 2, u->id, -1, SQLITE_TRANSIENT);
}
