/*
 * The two workloads, deterministic by seed: W1 is telemetry (one row a sensor
 * and reading, under a UUIDv7), W2 is updates of single columns of state rows,
 * where few rows take most of the updates.
 */
#ifndef NEAP_TESTS_BENCH_WORKLOAD_H
#define NEAP_TESTS_BENCH_WORKLOAD_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

enum { W1_DEVICES = 4, W1_SENSORS = 8, W2_ROWS = 1000, W2_COLUMNS = 9 };

struct w1_row {
	uint8_t id[16];
	char device[20];
	int64_t ts_ms;
	const char *sensor, *unit;
	double value;
	int quality;
};

struct w1 {
	uint32_t random;
	size_t n;
	int64_t ts_ms;
	double value[W1_DEVICES][W1_SENSORS];
};

struct w2_update {
	char id[16];
	unsigned column; /* below W2_COLUMNS */
	int64_t integer; /* columns 0 to 2 */
	double real;	 /* 3 to 5 */
	char text[16];	 /* 6 to 8 */
};

struct w2 {
	uint32_t random;
	double cumulated[W2_ROWS];
	unsigned row[W2_ROWS];
};

extern const char w1_table_sql[];  /* CREATE TABLE readings */
extern const char w1_append_sql[]; /* the same with an INTEGER PRIMARY KEY */
extern const char w2_table_sql[];  /* CREATE TABLE state */
extern const char *const w2_column[W2_COLUMNS];

void w1_begin(struct w1 *w, uint32_t seed);
void w1_next(struct w1 *w, struct w1_row *out);
/* Binds a row's id and six other columns to ?1 to ?7; an integer key where `append`. */
void w1_bind(sqlite3_stmt *s, const struct w1_row *r, size_t n, int append);

/* The rows that both sites begin with, as one transaction. */
void w2_fill(sqlite3 *db, uint32_t seed);
void w2_begin(struct w2 *w, uint32_t seed, char site);
void w2_next(struct w2 *w, struct w2_update *out);
/* The new value to ?1, the id to ?2. */
void w2_bind(sqlite3_stmt *s, const struct w2_update *u);

#endif
