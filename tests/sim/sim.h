/*
 * The simulator: real device engines and the real ingest on real SQLite files,
 * under a virtual clock and a network that loses, repeats, reorders and delays.
 * One seed is one run, repeatable to the byte.
 *
 *   world.c    the clock, the queue of what is to happen, setting up, healing
 *   climate.c  how hard a run is, drawn from its seed
 *   chaos.c    what is done to the system
 *   net.c      the broker: topics, retained heads, what the network does to messages
 *   device.c   an engine with its link, keys and clock, killed and reopened
 *   backend.c  the ingest with its store, killed before publishing or at any write
 *   app.c      apps that write plain SQL on a device's file; app_sql.c, app_append.c: their
 *              statements; app_schema.c: their new versions; schema.c: their tables
 *   operator.c plain SQL on the server's store
 *   watch.c    what must hold after every step, watch_added.c: of the backend with old apps;
 *              check.c: once all is healed
 *   winners.c  which write has to win, known beside the system
 */
#ifndef NEAP_SIM_H
#define NEAP_SIM_H

#include <stdarg.h>

#include "backend/core/ingest.h"
#include "device/core/engine.h"
#include "protocol/seal.h"
#include "tests/sim/memvfs.h"
#include "tests/sim/rng.h"

enum sim_bounds {
	USERS_MAX = 64,
	DEVICES_MAX = 1024, /* in all */
	TABLES_MAX = 16,
	FRESH_MAX = 256,    /* append rows of one app transaction */
	SEALED_KEPT = 4000, /* messages recorded to be replayed later */
	COPIES_MAX = 256,   /* of devices' files, in a run */
	FLIGHT_SEEN = 128,  /* sets of a device that are given out and not settled */
};

/* What is done in a run, one thing after the other. */
enum activity {
	DO_APP,
	DO_OPERATOR,
	DO_LINK_DOWN,
	DO_KILL,
	DO_POWER,
	DO_DIE_AT_WRITE,
	DO_BACKEND_KILL,
	DO_BACKEND_DIE,
	DO_WIPE,
	DO_HEAD_LOST,
	DO_CLOCK,
	DO_SYNC,
	DO_REPLAY,
	DO_STORE_BACKUP,
	DO_STORE_RESTORE,
	DO_STORE_WIPE,
	DO_DEVICE_BACKUP,
	DO_DEVICE_RESTORE,
	DO_DEVICE_CLONE,
	DO_UPGRADE,
	/* What follows is drawn only in climates that are made for it. */
	DO_PURGE,
	DO_LATE_SETS,
	DO_MIGRATE,
	DO_TRACK,
	DO_N,
};

/* What is done to the system; counted and printed. */
enum fault {
	FAULT_LOST,
	FAULT_REPEATED,
	FAULT_DELAYED,
	FAULT_REPLAYED,
	FAULT_LINK_CUT,
	FAULT_DEVICE_KILLED,
	FAULT_DEVICE_POWER,
	FAULT_DEVICE_AT_WRITE,
	FAULT_BACKEND_KILLED,
	FAULT_BACKEND_UNPUBLISHED,
	FAULT_BACKEND_AT_WRITE,
	FAULT_BROKER_WIPED,
	FAULT_HEAD_LOST,
	FAULT_CLOCK_JUMP,
	FAULT_APP_LOCK,
	FAULT_OPERATOR,
	FAULT_STORE_RESTORED,
	FAULT_STORE_WIPED,
	FAULT_DEVICE_RESTORED,
	FAULT_DEVICE_CLONED,
	FAULT_UPGRADED,
	FAULT_ALL_REPLAYED,
	FAULT_VANISHED,
	FAULT_PURGED,
	FAULT_MIGRATED,
	FAULT_N,
};
extern const char *const fault_name[FAULT_N];

/* What happened in the runs of a process, for the report at the end. */
struct totals {
	uint64_t fault[FAULT_N];
	uint64_t seeds, app_rows, messages, steps, batches, conflicts;
};

/* Weather that a shorter trace may do without; bits of options.calm. */
enum calm {
	CALM_LOSS = 1,
	CALM_REPEAT = 2,
	CALM_DELAY = 4,
	CALM_REORDER = 8,
	CALM_UNPUBLISHED = 16,
	CALM_SKEW = 32,
	CALM_N = 6,
};

enum kind_of_climate {
	CLIMATE_ANY, /* the seed draws one */
	CLIMATE_TINY,
	CLIMATE_DENSE,
	CLIMATE_MOVING,
	CLIMATE_WIDE,
	/* Each raises the odds of what seldom meets. Drawn only if they are asked for. */
	CLIMATE_COPIES,	  /* restored and copied devices, late and replayed sets, purges */
	CLIMATE_CLOCKS,	  /* clocks far ahead while sets are cut, on a slow network */
	CLIMATE_COLLECT,  /* deletes are forgotten while full pulls are under way */
	CLIMATE_SCHEMA,	  /* old and new versions of an app side by side; migrations */
	CLIMATE_STRICT,	  /* UNIQUE and NOCASE columns, directions, tables tracked later */
	CLIMATE_OPERATOR, /* an operator and devices write the same cells, all at once */
};

/* Whose disk fails at one write, all others being fine. */
enum crash { CRASH_NONE, CRASH_DEVICE, CRASH_STORE };

struct options {
	unsigned devices, devices_most; /* the seed draws how many; of the first user if … */
	unsigned users;	     /* 0: one, and now and then another; else spread over them */
	unsigned activities; /* about so many; 0: the climate's */
	enum kind_of_climate climate;
	bool trace;
	bool verify; /* devices compare their tables, from each connect on: nothing may differ */
	/* Of a run that is cut short (shrink.c): the activities after `stop` do not happen, nor
	 * those whose flag in `drop` is set, nor the weather in `calm`. */
	unsigned stop; /* 0: all happen */
	const bool *drop;
	unsigned n_drop;
	uint32_t calm;
	/* A run in which nothing goes wrong but this: */
	enum crash crash;
	bool power;	   /* what was not synced is lost or torn */
	uint64_t crash_at; /* the write; 0 none, but the writes are counted */
	struct engine_break engine_broken;
	struct ingest_break ingest_broken;
};

/* How hard a run is; drawn from the seed, in parts per thousand where not said otherwise. */
struct climate {
	enum kind_of_climate kind;
	bool tiny;	     /* one table, two keys, two columns */
	uint64_t chaos_ms;   /* length of the part with faults */
	uint32_t activities; /* about so many things done in it */
	uint32_t lose, repeat, delay, reorder_ms;
	uint32_t weight[DO_N];
	uint32_t unpublished, skew, tear;
	uint32_t set_rows;
	uint64_t tombstone_ms;		  /* deletes are forgotten after; 0 not in a run */
	uint32_t page_bytes, piece_bytes; /* of a page, of a message of a device; 0 default */
	bool warm;			  /* all is in sync before the faults begin */
	bool dense;	 /* little time passes between writes and while messages are on their way */
	uint32_t keys;	 /* different values of a key column */
	uint32_t moving; /* everyone works on one key for so many writes, then on the next; 0 not so
			  */
	uint32_t tables; /* chance of each table */
	bool late_touch; /* telemetry is changed soon after it was written */
	bool late_sets;	 /* what is replayed is mostly what devices sent */
	bool year_ahead; /* clocks are a year ahead or right */
	bool defaults;	 /* added columns have a DEFAULT */
	bool breaks_unique;  /* an operator does, until all is healed */
	uint32_t later;	     /* tables that are tracked later */
	uint32_t unmeasured; /* links that come up without the clock having been measured */
};

struct world;

struct sim_table {
	const char *name, *create;
	bool append;
	unsigned n_key, n_col; /* columns: keys first */
	const char *col[8];
	const char *type;  /* one letter a column: i integer, t text, r real, b blob, * any; the
			      token of an append row: T */
	bool rowid_key;	   /* the key is the INTEGER PRIMARY KEY */
	const char *added; /* a column that newer versions of the app have; NULL none */
	bool unique;	   /* rows may be refused */
	const char *same;  /* … where rows a and b have the same values in its constraint */
};

struct sim_user {
	char name[16];
	struct key group;
	uint64_t seq, term; /* newest broadcast seen: they follow each other */
};

enum purged {
	PURGED_NOT,
	PURGED,
	PURGED_ONCE, /* then the store was put back, or wiped */
};

/* Whether a table has its added column. */
enum added {
	ADDED_NOT,
	ADDED,
	ADDED_RENAMED,
};

/* One row an app appended, by the token in it. */
struct token {
	char text[24];
	unsigned device;
	unsigned table;
	bool vanished; /* the app's commit was not durable, and a power cut took it */
	bool touched;  /* updated or deleted since: its values, or its being there, may differ */
	enum purged purged; /* by an operator, on the server */
	bool lost;	    /* its device's file was replaced by one that may not have it */
	bool copied;	    /* another device's file began with it: it goes up under both */
};

/* A set that the backend acknowledged first at this head of its user; cut 0: not known. */
struct committed {
	uint64_t site, number, term, head, cut;
};

struct sim_device {
	struct world *w;
	struct sim_user *user;
	unsigned index;
	char name[16], path[32];
	struct key message;
	struct engine *en;
	struct actions out;
	sqlite3 *app; /* a stock connection, opened when needed */
	bool app_tx;  /* it holds an open write transaction */
	int64_t skew_ms;
	bool link;
	uint64_t link_run;   /* raised at each connect: what belongs to an older one is dropped */
	uint64_t link_up_at; /* reconnects then */
	uint64_t slow_until_ms;	 /* what it sends before takes long */
	uint64_t tick_ms, ticks; /* to notice an engine that spins */
	struct sealer *up;
	struct opener *down, *head;
	struct opener **changes;       /* by origin: 0 the server, else the device's index + 1 */
	uint64_t synced;	       /* newest sync_id that was concluded */
	bool verified;		       /* … a verification, since device_verify */
	uint64_t tokens;	       /* append rows written so far */
	struct token fresh[FRESH_MAX]; /* of the app's open transaction */
	size_t n_fresh;
	struct memimage *backup; /* NULL: none yet */
	enum added added[TABLES_MAX], backup_added[TABLES_MAX];
	uint32_t untracked; /* tables that are to be tracked later; bits */
	struct {
		uint64_t store, term, site, cursor, hold, acked;
		uint64_t flight[FLIGHT_SEEN];
		size_t n_flight;
	} seen; /* what may only grow while the first three stay; the sets in flight */
	uint64_t cut[FLIGHT_SEEN]; /* sets in flight that winners.c knows */
	size_t n_cut;
	struct committed *committed;
	size_t n_committed, cap_committed;
	bool restored;	      /* its file was an older one */
	bool renewed;	      /* a site of its rows is another device's: they got new identities */
	size_t backup_tokens; /* the world's when the copy was made */
};

struct sim_backend {
	struct store *store;
	struct ingest *in;
	struct out_messages out;
	uint64_t link_run;
	struct sealer **down, **head; /* by device, by user */
	struct sealer **changes;      /* by user and origin, see sim_device */
	struct opener **up;	      /* by device */
	uint64_t wake_ms;	      /* handles what has arrived then; UINT64_MAX: nothing has */
	uint64_t tick_ms;	      /* upkeep then */
	struct memimage *backup;      /* NULL: none yet */
	bool restored; /* the store lost what was committed: append rows may be missing */
};

/* Something that is to happen: a message's arrival or a delayed event of a link. */
enum item_type {
	ITEM_MESSAGE,	 /* to a device or the backend */
	ITEM_SENT,	 /* EV_SENT */
	ITEM_RETRY,	 /* an event the engine was too busy for */
	ITEM_LOCAL,	 /* EV_LOCAL */
	ITEM_SQL,	 /* IN_SQL */
	ITEM_BROKER,	 /* IN_BROKER */
	ITEM_APP_COMMIT, /* ends the app's open transaction */
	ITEM_BEGIN_ANEW, /* the device's file is put back, or it is killed */
};

struct item {
	uint64_t at_ms, order;
	enum item_type type;
	int device; /* index; −1 the backend */
	uint64_t link_run;
	struct topic topic;
	struct event event; /* ITEM_RETRY */
	size_t bytes;	    /* ITEM_SENT */
	struct buf sealed;  /* or a plain frame of an ITEM_RETRY */
};

struct recorded {
	struct topic topic;
	struct buf sealed;
};

struct world {
	const struct options *opt;
	struct totals *totals;
	uint64_t seed;
	struct rng chance; /* faults and writes */
	struct rng ids;	   /* what engines and ingest draw */
	struct climate c;
	uint64_t now_ms;  /* true time since 1970 */
	bool healed;	  /* no more faults */
	uint64_t late_ms; /* of the message that is published: it arrives so much later */
	uint64_t sync_id; /* asked of everyone; 0 nothing */

	unsigned n_user, n_device, n_table;
	struct sim_user user[USERS_MAX];
	unsigned cap_device;
	struct sim_device *device; /* n_device of cap_device exist by now */
	struct sim_table const *table[TABLES_MAX];
	uint32_t down; /* tables that only the operator writes; bits */
	uint32_t up;   /* merge tables that devices write and do not receive; bits */
	struct sim_backend backend;

	struct item **queue; /* a heap by (at_ms, order) */
	size_t n_queue, cap_queue;
	uint64_t order;
	struct item **inbox; /* of the backend */
	size_t n_inbox, cap_inbox;
	struct buf retained[USERS_MAX];
	unsigned n_activity; /* activities so far */
	struct recorded recorded[SEALED_KEPT];
	size_t n_recorded;

	uint64_t spot; /* writes so far: where everyone is, in a climate that moves */
	struct token *token;
	size_t n_token, cap_token;
	struct {
		unsigned of, by; /* device `by` was started from a copy of `of` */
	} copy[COPIES_MAX];
	size_t n_copy;

	struct winners *winners; /* NULL: not known */
	bool operator_wrote;	 /* since winners.c last looked */

	bool failed;
	char why[4096];
};

/* The part of a run before its faults were healed, as it turned out. */
struct outcome {
	bool ok;
	char why[4096];
	unsigned activities;
	uint64_t writes; /* with options.crash: to the disk concerned */
};

/* world.c */
void world_run(uint64_t seed, const struct options *opt, struct totals *totals,
	       struct outcome *out);
void sim_fail(struct world *w, const char *fmt, ...) NEAP_PRINTF(2, 3);
void sim_trace(const struct world *w, const char *fmt, ...) NEAP_PRINTF(2, 3);
void sim_fault(struct world *w, enum fault f);
/* The clock SQLite sees until the next call: the device's, or with NULL the true one. */
void sim_clock(const struct world *w, const struct sim_device *d);
struct item *queue_add(struct world *w, enum item_type type, uint64_t after_ms, int device);
void item_free(struct item *it);

/* Which device has this name, an origin's or a topic's; NULL none. */
struct sim_device *device_named(struct world *w, const char *name);

/* climate.c */
void draw_climate(struct world *w);
void choose_tables(struct world *w);

/* chaos.c */
/* The part of a run with faults: activities, and what comes of them. */
void chaos(struct world *w);
/* Does one thing that is due; false if nothing is before `limit`, which is then the time. */
bool do_next(struct world *w, uint64_t limit);

/* net.c */
/* Publishes sealed bytes on a topic; `from` as queue_add's device. */
void net_publish(struct world *w, int from, const struct topic *t, struct slice sealed,
		 bool retain);
void net_subscribed(struct world *w, struct sim_device *d); /* retained messages are handed out */
void net_wipe(struct world *w);
void net_replay(struct world *w);
void net_replay_all(struct world *w);
void net_free(struct world *w);

/* device.c */
void device_init(struct world *w, unsigned index, struct sim_user *user);
void device_open(struct sim_device *d);
/* Steps the engine and does what it says. */
void device_step(struct sim_device *d, struct event *ev);
void device_receive(struct sim_device *d, const struct item *it);
void device_link_up(struct sim_device *d);
void device_verify(struct sim_device *d); /* begins one */
void device_link_down(struct sim_device *d);
void device_kill(struct sim_device *d, bool power);
void device_die_at_write(struct sim_device *d);
/* If an armed failure struck, the device is reopened from what its disk held: true. */
bool device_struck(struct sim_device *d);
/* A copy of the device's file is kept, and put back later. */
void device_backup(struct sim_device *d);
void device_restore(struct sim_device *d);
/* Sets that the device cuts now arrive when it has begun anew. */
void device_late_sets(struct sim_device *d);
void device_begin_anew(struct sim_device *d);
/* The device's file is replaced by a copy of another's of the same user. */
void device_clone(struct sim_device *d);
/* Tracks a table that is not yet, all of them with `all`. */
void device_track(struct sim_device *d, bool all);
/* Which rows of the app a power cut took. */
void app_note_vanished(struct sim_device *d);
void device_free(struct sim_device *d);
uint64_t device_wall_ms(const struct sim_device *d);

/* backend.c */
void backend_open(struct world *w);
void backend_run(struct world *w);
void backend_deliver(struct world *w, struct item *it); /* takes the item */
void backend_tick(struct world *w);
void backend_kill(struct world *w);
void backend_die_at_write(struct world *w);
/* An operator keeps a copy of the store, and puts it back, or loses the store. */
void backend_backup(struct world *w);
void backend_restore(struct world *w);
void backend_wipe(struct world *w);
void backend_free(struct world *w);
#define STORE_PATH "store.db"

/* app_schema.c */
/* The app gets a newer version: a column is added to one of its tables. */
void app_upgrade(struct sim_device *d);
/* A table is rebuilt (create, copy, drop, rename), or its added column renamed or dropped. */
void app_migrate(struct sim_device *d);
/* The name that the added column has, NULL if the table has none. */
const char *app_added(const struct sim_device *d, unsigned table);
/* Looks which tables have it. */
void app_look_at_schema(struct sim_device *d);

/* app.c */
sqlite3 *app_connection(struct sim_device *d);
void app_close(struct sim_device *d);
void app_write(struct sim_device *d);
/* Changes some telemetry that was written lately. */
void app_touch(struct sim_device *d);
/* Writes `last` into a cell of every merge table with rows. */
void app_write_last(struct sim_device *d, const char *last);
/* Rows for a climate that moves, written before it begins. */
void app_prefill(struct sim_device *d);
/* Keeps those of an interrupted transaction's tokens that are in the database. */
void app_keep_found(struct sim_device *d, const struct token *fresh, size_t n);
void app_end(struct sim_device *d); /* commits or rolls back the open transaction */
/*
 * Beside a table that only goes up its app keeps another, not tracked, and writes both alike: what
 * it wrote there nobody else may change.
 */
bool app_create_twin(struct sim_device *d, const struct sim_table *t);
#define TWIN "mine_"
/* A value for a column of `type` (see sim_table), bound to the statement. */
void app_bind_value(struct world *w, sqlite3_stmt *s, int at, char type);
void app_bind_key(struct world *w, sqlite3_stmt *s, int at, char type);

/* schema.c */
/* Its place in the run's tables. */
unsigned table_index(const struct world *w, const struct sim_table *t);
extern const struct sim_table sim_tables[], sim_strict_tables[];
extern const unsigned n_sim_tables, n_sim_strict_tables;

/* operator.c */
void operator_write(struct world *w);
/* Deletes rows on the server that break a UNIQUE constraint of the devices. */
void operator_repair(struct world *w);
/* Deletes some telemetry on the server. */
void operator_purge(struct world *w);

/* watch.c */
/* What the backend's step has to say, before it is published. */
void watch_backend(struct world *w, const struct in_event *ev, size_t n);
/* After every step of a device, and of a backend that starts again on its own store. */
void check_device_moves(struct sim_device *d);
void check_acked(struct world *w);

/* watch_added.c */
struct added_values {
	sqlite3 *db;
	uint32_t tables; /* looked at; bits */
};
/* Keeps the values of added columns that the backend's step must leave as they are. */
void added_note(struct world *w, const struct in_event *ev, size_t n, struct added_values *was);
/* Compares them if the step was done, and forgets them. */
void added_check(struct world *w, struct added_values *was, bool stepped);

/* winners.c, winners_server.c */
void winners_open(struct world *w);
/* From here on it cannot be known which write wins: stores or devices were put back. */
void winners_close(struct world *w);
void winners_note_cuts(struct sim_device *d); /* after each step of a device */
void winners_step(struct world *w);	      /* after each step of the backend that committed */
void winners_check(struct world *w);	      /* the server's tables say what won */

/* check.c */
void check_all(struct world *w);
void check_verified(struct sim_device *d);
/* `last` was written after all was in sync: the server has it. */
void check_last(struct world *w, const struct sim_device *d, const char *last);

#endif
