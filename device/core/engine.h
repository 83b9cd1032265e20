/*
 * The device's sync engine: one step function. Events go in with the time in
 * them, an ordered list of actions comes out; the only I/O is the database.
 * Sealing, sockets, login and timers live in the shell around it. Frames come
 * in and go out as plaintext of protocol/frame.h.
 */
#ifndef NEAP_DEVICE_CORE_ENGINE_H
#define NEAP_DEVICE_CORE_ENGINE_H

#include "device/core/cut.h"
#include "device/core/verify.h"

struct engine;

/* A pending write of this device that lost to one of others, as neap_conflict keeps it. */
struct engine_conflict {
	const char *table;
	const char *key;	    /* the row's key, JSON */
	const char *column;	    /* NULL: the row's insert or delete, or a settled row */
	struct val local, incoming; /* NULL where the row was deleted, and without a column */
	const char *reason;
};

enum resolution {
	RESOLVE_KEEP,  /* the incoming value stays */
	RESOLVE_WRITE, /* another one is written */
};

struct engine_config {
	const char *path;
	const char *vfs; /* NULL: the default */
	void (*random)(void *ctx, void *out, size_t len);
	void *random_ctx;
	/* Tunables; 0 means the default in brackets. */
	size_t set_rows;	/* rows of a set [2000] */
	size_t set_bytes;	/* values of a set, before packing [192 KiB] */
	size_t piece_bytes;	/* a message [LIMIT_PIECE] */
	size_t inflight_bytes;	/* sealed bytes published and not yet sent on (EV_SENT) [12288] */
	unsigned inflight_sets; /* published and not acknowledged [8]; halves on busy */
	uint64_t ack_ms;	/* resend when no acknowledgement came, doubles to 8 times [4000] */
	int busy_ms;		/* wait in a step for the lock of another writer [2000] */
	uint64_t check_ms;	/* ask the server when nothing was heard, jittered [900000] */
	/* Whether ACT_CONFLICT is wanted. */
	bool conflicts;
	/*
	 * Asked once for each cell of a row still there that lost with another value, unless the
	 * app has written it again since; in a transaction, so it may neither wait nor use the
	 * database. `write` borrows what it sets until the next call. What it chooses is a new
	 * write, committed together with the note that it was asked: a call whose transaction
	 * failed or was cut off by a crash is made again, as if it had not been. NULL: none.
	 */
	enum resolution (*resolve)(void *ctx, const struct engine_conflict *c, struct val *write);
	void *resolve_ctx;
	struct engine_break broken;
};

enum event_type {
	EV_TICK,    /* the deadline was reached, or just look */
	EV_LINK_UP, /* connected and subscribed */
	EV_LINK_DOWN,
	EV_DOWN,    /* a frame on our `down` */
	EV_CHANGES, /* a frame on changes/<origin> */
	EV_HEAD,    /* a frame on head */
	EV_SENT,    /* the link took `bytes` of what was published: PUBACK, or written for QoS 0 */
	EV_LOCAL,   /* the database may have been written by someone else */
	EV_OFFSET,  /* a clock offset measured at login: server minus ours */
	EV_SYNC,    /* report ACT_SYNCED once nothing is pending and the server said so */
	EV_VERIFY,  /* compare tables with the server's, then report ACT_VERIFIED; replaces one
		       under way */
};

struct event {
	enum event_type type;
	uint64_t now_ms;  /* wall clock, as wrong as the device's */
	uint64_t mono_ms; /* steady clock for deadlines */
	union {
		struct slice frame; /* EV_DOWN, EV_CHANGES, EV_HEAD: plaintext */
		size_t sent_bytes;
		int64_t offset_ms;
		uint64_t sync_id;
		struct {
			uint64_t id;
			bool repair;
			size_t n;		  /* 0: all tables */
			const char *const *table; /* names; unknown ones are passed over */
		} verify;
	};
};

enum action_type {
	ACT_PUBLISH,  /* seal and publish `frame` on our `up`, report EV_SENT with its length */
	ACT_KEY,      /* a new group key arrived: store and use it */
	ACT_SYNCED,   /* `sync_id` is concluded: all is acknowledged and the cursor is at head */
	ACT_VERIFIED, /* `sync_id`: the verification is done, see engine_verify_report */
	ACT_CHANGED,  /* rows of `table` were changed by others */
	ACT_CONFLICT, /* a write of ours lost: `conflict`; told once, perhaps not if we crash now */
	ACT_NEW_SITE, /* state changed so that a person should know: see status */
};

struct action {
	enum action_type type;
	struct slice frame; /* valid until the next engine_step */
	struct f_key key;
	uint64_t sync_id;
	const char *table;
	const struct engine_conflict *conflict; /* valid until the next engine_step */
};

struct actions {
	size_t n, cap;
	struct action *at;
	struct arena arena;
};
void actions_free(struct actions *a);

/* NE_NOT_FOUND, NE_LOCKED (not here: the shell holds the lock), NE_DISK, NE_CORRUPT, NE_BUSY. */
NEAP_CHECK int engine_open(struct engine **out, const struct engine_config *c, struct err *e);
void engine_close(struct engine *en);
/* The engine's database, for track and status by the same process. */
struct devdb *engine_devdb(struct engine *en);

/*
 * Advances by one event; replaces `out`'s content by what the caller must do,
 * in order. A malformed frame is not an error of the step: it is counted and
 * dropped. Errors: NE_DISK, NE_BUSY (try the step again later), NE_CORRUPT,
 * NE_MEMORY; the database is as before the step, `out` is empty.
 */
NEAP_CHECK int engine_step(struct engine *en, const struct event *ev, struct actions *out,
			   struct err *e);

/* How the verification of a table stands. */
enum verify_outcome {
	VERIFY_WAITS, /* for the server, the connection, or the tables before it */
	VERIFY_DONE,
	/* It cannot be compared: */
	VERIFY_APPEND,	 /* no numbers are kept of its rows that the server could be asked by */
	VERIFY_UP,	 /* the server sends no rows of tables that only go up */
	VERIFY_CAPTURE,	 /* capture is broken, or lost and being made good */
	VERIFY_NO_TABLE, /* the server does not have it */
	VERIFY_FAILED,	 /* a row of it takes more memory than a row may */
};

struct verify_table {
	char name[LIMIT_NAME + 1];
	enum verify_outcome outcome;
	uint64_t total; /* rows when it began; counted up to VERIFY_TOTAL_MAX */
	struct verify_counts n;
};
enum { VERIFY_TOTAL_MAX = 10000000 };

struct verify_report {
	uint64_t id; /* 0: there was none since the engine was opened */
	bool named;  /* tables were asked for by name */
	bool repair, done;
	size_t n, at; /* tables; the one under way */
	struct verify_table table[LIMIT_TABLES];
};
/* Of the newest one; valid until the next engine_step. */
const struct verify_report *engine_verify_report(const struct engine *en);
/* Forgets one under way; no ACT_VERIFIED comes of it. */
void engine_verify_cancel(struct engine *en);

/* When to deliver EV_TICK, in mono_ms; UINT64_MAX if never. */
uint64_t engine_deadline_ms(const struct engine *en);

enum engine_state {
	ENGINE_OFFLINE,
	ENGINE_HELLO, /* waiting for the server's welcome */
	ENGINE_READY,
	ENGINE_PULLING,
};

/*
 * What is in the way, or worth knowing: docs/operations.md lists the states. The code says how a
 * sync ends that it keeps from ending well; NE_OK where it keeps nothing.
 */
struct engine_trouble {
	const char *state;
	int code; /* enum ne */
	char reason[200];
	char next_step[200];
};
enum { ENGINE_TROUBLES = 16 };

struct engine_status {
	enum engine_state state;
	uint64_t store, term, cursor, hold, head; /* head: the newest heard of, a hint */
	bool full_pull;
	bool asking; /* the server lost rows that it had, and is yet to tell which */
	uint64_t acked_number, last_number;
	uint64_t verified_wall_ms; /* when the server last confirmed, by an echoed nonce, that
				      nothing is missing */
	size_t inflight_sets, inflight_bytes;
	int64_t pending_rows, pending_bytes, oldest_pending_ms;
	int64_t parked_rows, rejected_rows;
	uint64_t bad_frames;
	bool comparing; /* a table is compared with the server: problem is NE_CAPTURE until it is */
	int64_t conflict_rows, dropped_rows, clock_offset_ms;
	bool pending_estimated; /* pending_bytes is one */
	size_t n_trouble;
	struct engine_trouble trouble[ENGINE_TROUBLES]; /* the worst first */
	/* Of the worst: its code, and its words. */
	int problem;
	char reason[200];
	char next_step[200];
};
NEAP_CHECK int engine_status(struct engine *en, struct engine_status *out, struct err *e);
/* Nothing published waits for an answer: a connection that ends now costs no message twice. */
bool engine_quiet(const struct engine *en);

#endif
