/*
 * Neap keeps tables of a SQLite database in step with a server, through any length of time offline.
 *
 * The app keeps its own tables and writes them with plain SQL, from any process, with nothing of
 * this library loaded. This header is for programs that want to start the syncing themselves
 *instead of running the `neap` command beside them. Link with -lneap.
 *
 *	neap *n;
 *	if (neap_open("app.db", &n) == NEAP_OK && neap_start(n) == NEAP_OK) {
 *		... write to app.db as ever ...
 *		neap_sync(n, 10000);
 *		neap_stop(n);
 *	}
 *	neap_close(n);
 *
 * One `neap` is used by one thread at a time; several may be open, for other databases. Every
 *function that returns an int returns NEAP_OK or an error, whose sentence neap_error() gives.
 */
#ifndef NEAP_H
#define NEAP_H

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
 * Logs in and binds the database (made if it is missing) to user and device. `ca_file` NULL
 * trusts the system's certificates. The password is not kept. Run again for the same user it
 * renews the login; what is pending stays. `error` (may be NULL) of `size` bytes takes the
 * sentence.
 */
int neap_init(const char *path, const char *server, const char *user, const char *password,
	      const char *device, const char *ca_file, char *error, unsigned size);

/*
 * Opens a database that neap_init or `neap init` has bound. Starts nothing. *out is set also on an
 * error, for neap_error(), unless memory ran out; neap_close() it.
 */
int neap_open(const char *path, neap **out);
/* Stops the thread if it runs. NULL is allowed. */
void neap_close(neap *n);
/* The last error's sentence: what was wrong and what to do next. "" after none. Valid until the
 * next call. */
const char *neap_error(const neap *n);

enum neap_direction { NEAP_BOTH, NEAP_UP, NEAP_DOWN };

struct neap_track_options {
	int append;	 /* rows are only inserted: telemetry, up only */
	int direction;	 /* enum neap_direction; NEAP_BOTH or NEAP_UP for an append table */
	int64_t keep_ms; /* append: delete acknowledged rows older than this; 0 keeps all */
	int priority;	 /* 0 (first) to 9; −1 the default */
};

/* `options` NULL: a merge table, both ways. Tracking again changes the options. */
int neap_track(neap *n, const char *table, const struct neap_track_options *options);
int neap_untrack(neap *n, const char *table);

/*
 * Starts and stops a thread that keeps the database in sync. NEAP_LOCKED if another engine (a
 * `neap run`, say) does so already: everything else then works through that one.
 */
int neap_start(neap *n);
void neap_stop(neap *n);

/*
 * Waits until nothing is pending and the server has confirmed that nothing is missing: NEAP_OK only
 * then. 0 gives up by itself when nothing moves for a minute. Works with and without a thread or an
 * agent.
 */
int neap_sync(neap *n, unsigned timeout_ms);

struct neap_status {
	int64_t pending_rows; /* written here, not committed by the server */
	int64_t pending_bytes;
	int64_t oldest_pending_ms; /* age of the oldest of them */
	int64_t acked_number;	   /* the newest change set that the server has committed */
	int64_t cursor, head;	   /* applied here; newest known of on the server */
	int64_t verified_ms; /* wall time at which the server last confirmed that nothing is missing
			      */
	int64_t rejected_rows, parked_rows;
	char state[24];	  /* stopped, login-required, offline, connecting, catching-up, sending,
			     in-sync */
	char reason[256]; /* what is in the way; "" nothing */
	char next_step[256];
};

int neap_status(neap *n, struct neap_status *out);

/*
 * Called from the thread of neap_start whenever rows of `table` were changed by others. Set it
 * before neap_start. It must not call into `n`; to look at the rows use a connection of your own.
 */
void neap_on_change(neap *n, void (*fn)(void *ctx, const char *table), void *ctx);

#ifdef __cplusplus
}
#endif

#endif
