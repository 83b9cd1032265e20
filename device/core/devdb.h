/*
 * The device's database as the engine sees it: the app's file, our tables
 * `neap_*` in it, one connection with triggers off. Every other module of the
 * device core takes a `struct devdb`.
 */
#ifndef NEAP_DEVICE_CORE_DEVDB_H
#define NEAP_DEVICE_CORE_DEVDB_H

#include "common/db.h"
#include "protocol/frame.h"
#include "protocol/id.h"

/* A tracked table, loaded from neap_table and checked against the app's schema. */
struct tracked {
	int64_t id;
	struct shape shape; /* memory from the devdb's schema arena: valid until devdb_reload */
	struct slice encoded_shape;
	int priority;	  /* 0 first … 9; class of a cut */
	int64_t keep_ms;  /* append: local retention; 0 none */
	bool capture_ok;  /* triggers are there and as they should be */
	char marks[32];	  /* name of the mark table (merge) or number table (append) */
};

struct devdb {
	struct db *db;
	size_t n_table;
	struct tracked *table; /* ordered by id */
	struct id user, device;
	uint64_t site;
	struct arena schema;
	int64_t schema_version; /* PRAGMA schema_version at the last reload */
};

/*
 * Opens a database that `devdb_init` bound. `vfs` may be NULL. Errors: NE_NOT_FOUND (no such
 * file, or not initialised: the sentence names `neap init`), NE_DISK, NE_CORRUPT, NE_BUSY.
 */
NEAP_CHECK int devdb_open(struct devdb **out, const char *path, const char *vfs, struct err *e);
void devdb_close(struct devdb *d);

/*
 * Creates our tables in `path` (which may not exist yet) and binds it to user and device with the
 * new site id `site` (1 … 2^63−1). Bound to the same user already: changes nothing but the device
 * name. NE_EXISTS if it is bound to another user.
 */
NEAP_CHECK int devdb_init(const char *path, const char *vfs, const char *user, const char *device,
			  uint64_t site, struct err *e);

/* Reads neap_table again and checks every table's capture triggers; after any schema change. */
NEAP_CHECK int devdb_reload(struct devdb *d, struct err *e);

NEAP_CHECK int devdb_begin(struct devdb *d, struct err *e); /* BEGIN IMMEDIATE */
NEAP_CHECK int devdb_commit(struct devdb *d, struct err *e);
void devdb_rollback(struct devdb *d);

/* Integers and text by name in neap_meta; unset reads as 0 or "". */
NEAP_CHECK int devdb_get(struct devdb *d, const char *key, int64_t *out, struct err *e);
NEAP_CHECK int devdb_set(struct devdb *d, const char *key, int64_t value, struct err *e);
NEAP_CHECK int devdb_get_text(struct devdb *d, const char *key, struct buf *out, struct err *e);
NEAP_CHECK int devdb_set_text(struct devdb *d, const char *key, struct slice value, struct err *e);

struct tracked *devdb_table_by_name(struct devdb *d, struct slice name); /* ASCII case-folded */
struct tracked *devdb_table_by_shape(struct devdb *d, struct shape_id id);

/* The clock row: offset of the server's clock, the floor no new stamp may be at or below, the generation. */
struct dev_clock {
	int64_t offset_ms;
	uint64_t floor;
	int64_t gen;
};
NEAP_CHECK int devdb_clock(struct devdb *d, struct dev_clock *out, struct err *e);
/* floor = max(floor, stamp): every stamp received or cleared passes here (M1). */
NEAP_CHECK int devdb_raise_floor(struct devdb *d, uint64_t stamp, struct err *e);
/* Stores a new offset and re-stamps the marks never cut, in order, in one transaction (M1). */
NEAP_CHECK int devdb_set_offset(struct devdb *d, int64_t offset_ms, struct err *e);

#endif
