/*
 * Rows for tests: a telemetry workload (four stations with eight sensors taking turns, about 32
 * rows a second, values that drift) from a seed, always the same.
 */
#ifndef NEAP_PROTOCOL_ROWS_WORKLOAD_H
#define NEAP_PROTOCOL_ROWS_WORKLOAD_H

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "protocol/rows.h"

enum { W1_SENSORS = 8, W1_DEVICES = 4, W1_COLUMNS = 6 };

struct w1 {
	uint32_t random;
	int64_t ts, n;
	double value[W1_DEVICES][W1_SENSORS];
};

static const struct {
	const char *name, *unit;
	double start, step;
} w1_sensor[W1_SENSORS] = {
	{"temperature", "C", 21.5, 0.08},  {"humidity", "%", 48, 0.2},
	{"pressure", "hPa", 1013.2, 0.12}, {"vibration", "mm/s", 2.4, 0.05},
	{"current", "A", 7.3, 0.1},	   {"voltage", "V", 231, 0.3},
	{"flow", "l/min", 118, 0.9},	   {"level", "mm", 1540, 1.5},
};

static inline double w1_random(struct w1 *w)
{
	w->random += 0x6D2B79F5u;
	uint32_t t = (w->random ^ w->random >> 15) * (1 | w->random);
	t = (t + (t ^ t >> 7) * (61 | t)) ^ t;
	return (t ^ t >> 14) / 4294967296.0;
}

static inline struct w1 w1_start(uint32_t seed)
{
	struct w1 w = {.random = seed, .ts = 1767225600000};
	for (size_t d = 0; d < W1_DEVICES; d++)
		for (size_t k = 0; k < W1_SENSORS; k++)
			w.value[d][k] = w1_sensor[k].start;
	return w;
}

static inline struct val w1_text(struct arena *a, const char *s)
{
	return (struct val){.type = VAL_TEXT, .s = arena_copy(a, slice_str(s))};
}

/* UUIDv7: 48 bits of milliseconds, 74 random ones. */
static inline struct val w1_uuid(struct w1 *w, struct arena *a)
{
	uint8_t b[16];
	for (size_t i = 0; i < 6; i++)
		b[i] = (uint8_t)(w->ts >> (40 - 8 * i));
	for (size_t i = 6; i < 16; i++)
		b[i] = (uint8_t)(w1_random(w) * 256);
	b[6] = (uint8_t)(0x70 | (b[6] & 15));
	b[8] = (uint8_t)(0x80 | (b[8] & 63));
	return (struct val){.type = VAL_BLOB, .s = arena_copy(a, slice_of(b, sizeof b))};
}

/* The next row: device, ts, sensor, value, unit, quality; its key a number or a UUID. */
static inline struct row w1_row(struct w1 *w, struct arena *a, bool uuid)
{
	size_t d = (size_t)(w->n / W1_SENSORS % W1_DEVICES), k = (size_t)(w->n % W1_SENSORS);
	w->ts += 20 + (int64_t)(w1_random(w) * 22);
	double *v = &w->value[d][k];
	*v = round((*v + (w1_random(w) + w1_random(w) - 1) * w1_sensor[k].step) * 100) / 100;
	int64_t quality = w1_random(w) < 0.97 ? 192 : w1_random(w) < 0.5 ? 64 : 0;
	char device[32];
	snprintf(device, sizeof device, "pump-station-%03d", 17 + (int)d);

	struct cell *cell = arena_array(a, W1_COLUMNS, sizeof *cell);
	struct val *key = arena_alloc(a, sizeof *key);
	assert(cell && key);
	w->n++;
	*key = uuid ? w1_uuid(w, a) : (struct val){.type = VAL_INT, .i = w->n};
	cell[0].val = w1_text(a, device);
	cell[1].val = (struct val){.type = VAL_INT, .i = w->ts};
	cell[2].val = w1_text(a, w1_sensor[k].name);
	cell[3].val = (struct val){.type = VAL_REAL, .r = *v};
	cell[4].val = w1_text(a, w1_sensor[k].unit);
	cell[5].val = (struct val){.type = VAL_INT, .i = quality};
	struct row row = {.key = key, .n_cell = W1_COLUMNS, .cell = cell, .n = w->n, .gen = 1};
	for (uint16_t c = 0; c < W1_COLUMNS; c++)
		cell[c].col = c;
	return row;
}

static struct shape_col w1_key_number[] = {{{(const uint8_t *)"id", 2}, AFF_INTEGER, COLL_BINARY}};
static struct shape_col w1_key_uuid[] = {{{(const uint8_t *)"id", 2}, AFF_BLOB, COLL_BINARY}};
static struct shape_col w1_col[W1_COLUMNS] = {
	{{(const uint8_t *)"device", 6}, AFF_TEXT, COLL_BINARY},
	{{(const uint8_t *)"ts", 2}, AFF_INTEGER, COLL_BINARY},
	{{(const uint8_t *)"sensor", 6}, AFF_TEXT, COLL_BINARY},
	{{(const uint8_t *)"value", 5}, AFF_REAL, COLL_BINARY},
	{{(const uint8_t *)"unit", 4}, AFF_TEXT, COLL_BINARY},
	{{(const uint8_t *)"quality", 7}, AFF_INTEGER, COLL_BINARY},
};

static inline struct shape w1_shape(bool append)
{
	struct shape s = {
		.name = slice_str("readings"),
		.kind = append ? SHAPE_APPEND : SHAPE_MERGE,
		.direction = append ? DIR_UP : DIR_BOTH,
		.key_is_number = append,
		.n_key = 1,
		.n_col = W1_COLUMNS,
		.key = append ? w1_key_number : w1_key_uuid,
		.col = w1_col,
	};
	struct buf b = {.max = 4096};
	int rc = shape_encode(&s, &b, NULL);
	assert(rc == 0);
	(void)rc;
	buf_free(&b);
	return s;
}

#endif
