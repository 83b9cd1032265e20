/*
 * Neap keeps tables of a SQLite database in step with a server, through any length of time offline.
 *
 * The app keeps its own tables and writes them with plain SQL, from any process, with nothing of
 * this library loaded. This header is for programs that want to do the syncing themselves instead
 * of running the `neap` command beside them. Link with `pkg-config --cflags --libs neap`.
 *
 * With a thread of the library:
 *
 *	neap *n;
 *	if (neap_open("app.db", &n) == NEAP_OK && neap_start(n) == NEAP_OK) {
 *		... write to app.db as ever ...
 *		neap_sync(n, 10000);
 *	}
 *	neap_close(n);
 *
 * In the app's own loop, with any poll, epoll or event library:
 *
 *	int fd, wait_ms;
 *	neap_poll_begin(n, &fd);
 *	while (running && neap_dispatch(n, &wait_ms) == NEAP_OK) {
 *		struct pollfd p = {fd, POLLIN, 0};
 *		poll(&p, 1, wait_ms);
 *	}
 *
 * RESULTS. Every function that returns an int returns NEAP_OK or another enum neap_code;
 * neap_error() then has a sentence. Misuse that can be seen (a NULL where none is allowed, the
 * wrong thread, a call from a callback) is NEAP_USAGE and changes nothing.
 *
 * THREADS. Any function may be called from any thread at any time, but
 * - neap_close(): no other call on this handle may be under way or follow, as with free();
 * - neap_poll_begin() binds the loop to its thread: neap_dispatch(), neap_stop() and neap_close()
 *   belong to that one until neap_stop(). From others neap_status(), neap_sync(), neap_verify(),
 *   neap_track() and neap_untrack() work, and wait until the loop dispatches;
 * - neap_init(), neap_enrol(): one at a time for one database.
 * "The loop" below is the thread of neap_start(), or the one that calls neap_dispatch(), or, while
 * nothing else syncs this database, the one inside neap_sync() or neap_verify(). Callbacks are
 *called from the loop, with no lock held, after the transaction is committed that they tell of; a
 *resolver is asked within one. From inside a callback every call with a handle is NEAP_USAGE (it
 *would wait for itself, or for one that waits for it); only neap_error(), neap_strerror() and
 *neap_version() are allowed. A callback that takes long holds up the syncing; longjmp() or a C++
 *exception must not leave it.
 *
 * PROCESS. The MQTT client (Paho) has two threads of its own in a process that syncs, whatever the
 * mode, and ignores SIGPIPE. Threads of the library block all signals. After a fork() the child may
 * use none of the parent's handles (NEAP_USAGE); a child that does not exec keeps the parent's lock
 * on the database for as long as it lives.
 *
 * ABI. Functions and members are only added. Structs that may grow begin with `size`: sizeof of the
 * struct as the side that fills it in was compiled; what it does not cover is not there. Structs
 * without `size` stay as they are. Numbers may be added to enums: treat an unknown code as an
 *error, an unknown word of a state as trouble.
 */
#ifndef NEAP_H
#define NEAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct neap neap;

/* The same numbers as the exit codes of the `neap` command. */
enum neap_code {
	NEAP_OK = 0,
	NEAP_INTERNAL = 1,
	NEAP_USAGE = 2,
	NEAP_UNREACHABLE = 3, /* or timed out */
	NEAP_LOGIN = 4,	      /* a login is required; pending changes are kept */
	NEAP_CERT = 5,	      /* a certificate is not trusted */
	NEAP_ROWS = 6,	      /* in sync but for rejected or parked rows */
	NEAP_LOCKED = 7,      /* another engine works on this database */
	NEAP_NOT_FOUND = 8,   /* no such database or table */
	NEAP_DISK = 9,
	NEAP_CAPTURE = 10 /* a table's triggers are gone: its changes are not seen */
};

/* A constant phrase for a code. */
const char *neap_strerror(int code);
const char *neap_version(void);

/*
 * What was wrong in the calling thread's last call on `n`, and what to do next: one sentence. ""
 * after a success, and when this thread called for another handle since. `n` NULL: in this thread's
 * last call on any handle; so for a neap_open() that failed, for neap_init() and neap_enrol().
 * Never NULL; valid until the next call of this thread.
 */
const char *neap_error(const neap *n);

/*
 * Logs in and binds the database (made if it is missing) to user and device. `ca_file` NULL
 * trusts the system's certificates. The password is not kept. Run again for the same user it
 * renews the login; what is pending stays. Waits for the network.
 */
int neap_init(const char *path, const char *server, const char *user, const char *password,
	      const char *device, const char *ca_file);

/*
 * The same with a one-time code of the operator's (`neapd device enrol`) instead of user, password
 * and device, which come with the answer: no password is ever typed on the device.
 */
int neap_enrol(const char *path, const char *server, const char *code, const char *ca_file);

/*
 * Opens a database that neap_init() or `neap init` has bound. Starts nothing. On an error *out is
 * NULL.
 */
int neap_open(const char *path, neap **out);
/* Stops what runs and frees `n`; NULL is allowed. On an error `n` stays as it is. */
int neap_close(neap *n);

enum neap_direction { NEAP_BOTH, NEAP_UP, NEAP_DOWN };

/* Begin with NEAP_TRACK_OPTIONS, then change members by name. */
struct neap_track_options {
	size_t size;
	int append;    /* rows are only inserted: telemetry, up only */
	int direction; /* enum neap_direction; NEAP_BOTH or NEAP_UP for an append table */
	int priority;  /* 0 (first) to 9; −1 the default */
	/* append: acknowledged rows are deleted here, the oldest first, once this much time is over
	 * since, and while more than so many or so many bytes of them are left; 0 no limit */
	int64_t keep_ms, keep_rows, keep_bytes;
	/* with more pending than this the status says so; 0 no bound */
	int64_t pending_rows, pending_bytes;
	int drop_oldest; /* append: and the oldest pending rows are deleted unsent */
	/* secrets beside text that others choose: sizes then depend on lengths of values alone */
	int uncompressed;
};
/* clang-format off */
#define NEAP_TRACK_OPTIONS {sizeof(struct neap_track_options), 0, NEAP_BOTH, -1, 0, 0, 0, 0, 0, 0, 0}
/* clang-format on */

/* `options` NULL: a merge table, both ways. Tracking again changes the options. */
int neap_track(neap *n, const char *table, const struct neap_track_options *options);
int neap_untrack(neap *n, const char *table);

/*
 * Starts a thread that keeps the database in sync until neap_stop(). NEAP_LOCKED if another engine
 * (a `neap run`, say, or a neap_sync() under way) does so already: everything else then works
 * through that one. NEAP_OK if it runs. What goes wrong later, with network or database, is in
 * neap_status().
 */
int neap_start(neap *n);

/*
 * Lets the calling thread's own loop do the syncing, until neap_stop(). *fd becomes readable
 * whenever neap_dispatch() has something to do; it stays the same and belongs to `n`: watch it for
 * reading, do not read or close it. Errors as of neap_start().
 */
int neap_poll_begin(neap *n, int *fd);
/*
 * Does what can be done without waiting for the network. *wait_ms (may be NULL) is when to call it
 * again at the latest, 0 to 60000, if *fd does not become readable before. Takes some milliseconds
 * of SQLite's work; more while another process holds the database's write lock. An error is final
 * (NEAP_NOT_FOUND: the file was replaced or removed): neap_stop() then.
 */
int neap_dispatch(neap *n, int *wait_ms);

/* Ends neap_start() or neap_poll_begin(); NEAP_OK if nothing runs. What is pending stays. */
int neap_stop(neap *n);

/*
 * Waits until nothing is pending and the server has confirmed that nothing is missing: NEAP_OK only
 * then. 0 gives up by itself when nothing moves for a minute. Works with and without a thread or an
 * agent; in the thread of neap_poll_begin() it does the dispatching itself.
 */
int neap_sync(neap *n, unsigned timeout_ms);

/* Set `size` before the call; afterwards it is how much was filled. */
struct neap_status {
	size_t size;
	int64_t pending_rows; /* written here, not committed by the server */
	int64_t pending_bytes;
	int64_t oldest_pending_ms; /* age of the oldest of them */
	int64_t acked_number;	   /* the newest change set that the server has committed */
	int64_t cursor, head;	   /* applied here; newest known of on the server */
	int64_t verified_ms; /* wall time at which the server last confirmed that nothing is missing
			      */
	int64_t rejected_rows, parked_rows;
	char state[32];	  /* one word, as of `neap status --json`: stopped, offline, in-sync, … */
	char reason[400]; /* what is in the way; "" nothing */
	char next_step[400];
};

int neap_status(neap *n, struct neap_status *out);

/* What a comparison of a table with the server's rows found. Memory as of the callback. */
struct neap_verified {
	size_t size; /* sizeof as this library was compiled */
	const char *table;
	const char *outcome; /* "compared"; "waits": not yet; else why not, as of `neap verify` */
	int64_t total;	     /* rows here when it began */
	int64_t rows;	     /* compared */
	int64_t left_out;    /* pending, rejected, or changing meanwhile */
	int64_t differed;    /* other values here */
	int64_t missing;     /* not here */
	int64_t extra;	     /* only here */
	int64_t repaired;    /* of the three */
};

/*
 * Compares `table` (NULL: all that are tracked) with the server's rows, by sums, and with `repair`
 * mends what differs, as `neap verify` does: the server's row overwrites the one here, which is in
 * `neap conflicts` then. Writing may go on. NEAP_OK: all is equal, or now is. NEAP_ROWS:
 * differences remain, or a table could not be compared; NEAP_CAPTURE: for its capture.
 * NEAP_NOT_FOUND: no such table. NEAP_LOCKED: another comparison is under way. It waits as
 * neap_sync() does.
 *
 * `fn` (or NULL) is called in this thread: now and then for the table that is being compared
 * ("waits"), and before the return once for each table, unless time is up. Rules as for all
 * callbacks.
 */
typedef void (*neap_verified_fn)(void *ctx, const struct neap_verified *v);
int neap_verify(neap *n, const char *table, int repair, unsigned timeout_ms, neap_verified_fn fn,
		void *ctx);

/*
 * Has `fn` called after rows of `table` were changed by others: once or a few times for what came
 * together, not once a row. `table` NULL: of any table, besides the functions of single tables.
 * Names compare as SQL does; a table need not be tracked yet. Again for the same table it replaces
 * the function; `fn` NULL removes it. Only while `n` neither runs nor syncs: NEAP_USAGE. Changes
 * that another process's agent brings are not told. To look at the rows use a connection of your
 * own. At most NEAP_CHANGE_FUNCTIONS.
 */
typedef void (*neap_change_fn)(void *ctx, const char *table);
enum { NEAP_CHANGE_FUNCTIONS = 256 };
int neap_on_change(neap *n, const char *table, neap_change_fn fn, void *ctx);

/*
 * For a radio, or a connection that is paid for: neap_start() and neap_poll_begin() then connect
 * only every `every_ms`, or up to a tenth earlier, send what has gathered, fetch what is missing,
 * and disconnect. neap_sync() and neap_verify() connect at once. In between neap_status() has the
 * state "asleep" and says when the next one is. 0: connected all the time, as without it; else
 * 1,000 to 604,800,000 (7 days). Only while `n` neither runs nor syncs.
 */
int neap_every(neap *n, int64_t every_ms);

/*
 * A value of a cell, with SQLite's numbers for the types. It stands inside other structs and will
 * not grow: SQLite has no other types of values.
 */
enum neap_type { NEAP_INTEGER = 1, NEAP_REAL = 2, NEAP_TEXT = 3, NEAP_BLOB = 4, NEAP_NULL = 5 };

struct neap_value {
	int type; /* enum neap_type; the other members count as it says */
	int64_t integer;
	double real;
	const void *bytes; /* of text (UTF-8, no NUL at the end) and blob; borrowed */
	size_t len;
};

/*
 * A write of this device that lost to a later one of others before the server had taken it, or a
 * row that was overwritten when the server's store was reset. It is in `neap conflicts` and in the
 * server's list as well. Memory is good until the callback returns.
 */
struct neap_conflict {
	size_t size; /* sizeof as this library was compiled */
	const char *table;
	const char *key;	    /* of the row, as JSON: {"id": 5} */
	const char *column;	    /* NULL: the row itself, inserted, deleted or overwritten */
	struct neap_value local;    /* what lost; NEAP_NULL without a column */
	struct neap_value incoming; /* what stands now; NEAP_NULL where the row was deleted */
	const char *reason;	    /* a sentence's part: "a later write won" */
};

/*
 * Has `fn` called once for each; one whose change was committed just before a crash may not be
 * told, and is in the list all the same. Rules as of neap_on_change(). `fn` NULL removes it.
 * Conflicts that another process's agent meets are not told.
 */
typedef void (*neap_conflict_fn)(void *ctx, const struct neap_conflict *c);
int neap_on_conflict(neap *n, neap_conflict_fn fn, void *ctx);

/*
 * Has `fn` asked once for each cell of `table` that lost with another value while its row is still
 * there, and that the app has not written again meanwhile. NEAP_KEEP leaves what came in;
 * NEAP_WRITE writes *write instead (set before the call to what stands now; bytes are borrowed
 * until the next call of `fn`, or the loop's end): a new write like any of the app's, later than
 * the winner, that goes to the server and all devices. It may lose in its turn, and is asked about
 * again then: resolvers of several devices must come to the same value, or one must keep. What
 * violates a constraint of the table is not written. The app's triggers do not run.
 *
 * Not asked about rows as such: one that others deleted, or that was deleted here and written by
 * others, is told to the conflict callback and is in the list with its values; an app that wants it
 * otherwise writes it again.
 *
 * Asked from the loop, before the conflict callback, INSIDE the transaction that writes the answer:
 * the database's write lock is held, so `fn` must return at once, may not read or write this
 * database and may not call into the library. A call whose transaction fails, or is cut off by a
 * crash, is made again, as if it had never been; after that never. At most NEAP_RESOLVERS tables,
 * names compare as SQL does. Only while `n` neither runs nor syncs; `fn` NULL removes it.
 */
enum neap_resolution { NEAP_KEEP = 0, NEAP_WRITE = 1 };
enum { NEAP_RESOLVERS = 256 };
typedef int (*neap_resolver_fn)(void *ctx, const struct neap_conflict *c, struct neap_value *write);
int neap_set_resolver(neap *n, const char *table, neap_resolver_fn fn, void *ctx);

#ifdef __cplusplus
}
#endif

#endif
