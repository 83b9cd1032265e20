/*
 * The one error scheme of the project. A function that can fail returns an
 * `int`: 0 (NE_OK) or a member of `enum ne`, marked NEAP_CHECK so that the
 * compiler refuses to drop it. The words for a person go into `struct err`.
 *
 * A bad peer, a full disk or a wrong argument is an error; a broken invariant
 * of our own is an assert.
 */
#ifndef NEAP_COMMON_ERROR_H
#define NEAP_COMMON_ERROR_H

#include <stdbool.h>

#define NEAP_CHECK __attribute__((warn_unused_result))
#define NEAP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Returns the error of `x` from the calling function. */
#define TRY(x)                          \
	do {                            \
		int try_rc_ = (x);      \
		if (try_rc_)            \
			return try_rc_; \
	} while (0)

/* The hundreds digit is the category, see ne_category(). */
enum ne {
	NE_OK = 0,

	/* Retry later: nothing is wrong with what was asked. */
	NE_BUSY = 100,	/* a lock, a queue or the peer is busy */
	NE_UNREACHABLE, /* no connection, or it was lost */
	NE_TIMEOUT,	/* no answer in time */

	/* The peer is wrong: what it sent is refused. */
	NE_MALFORMED = 200, /* bytes that break the format */
	NE_AUTH,	    /* wrong password, token or signature */
	NE_CERT,	    /* its certificate is not trusted */
	NE_LIMIT,	    /* larger or more than is allowed */
	NE_UNKNOWN_SHAPE,   /* a table shape nobody declared here */
	NE_PROTOCOL,	    /* well-formed but not allowed now */

	/* Local corruption: our own file says something impossible. */
	NE_CORRUPT = 300,
	NE_CAPTURE, /* a table's capture triggers are missing or changed */

	/* Misuse: the caller asked for what cannot be. */
	NE_USAGE = 400,
	NE_NOT_FOUND, /* no such database, table, key, user */
	NE_EXISTS,
	NE_LOCKED, /* another engine holds this file */
	NE_LOGIN,  /* a login is needed first */
	NE_ROWS,   /* rejected or parked rows */

	/* Out of resources. */
	NE_MEMORY = 500,
	NE_DISK, /* full, read-only or failing disk */
	NE_INTERNAL,
};

enum ne_category {
	NE_CAT_NONE,
	NE_CAT_RETRY,
	NE_CAT_PEER,
	NE_CAT_CORRUPT,
	NE_CAT_MISUSE,
	NE_CAT_RESOURCES,
};

/* What went wrong, for a person: what with what, and what to do next. */
struct err {
	int code; /* enum ne */
	char text[384];
};

/*
 * Stores `code` and the formatted sentence in `e` (which may be NULL) and
 * returns `code`, so that a failing function ends in `return err_set(...)`.
 */
int err_set(struct err *e, int code, const char *fmt, ...) NEAP_PRINTF(3, 4);

/* Puts "<context>: " in front of the text already in `e`; returns e->code. */
int err_wrap(struct err *e, const char *fmt, ...) NEAP_PRINTF(2, 3);

enum ne_category ne_category(int code);

/* A short constant name such as "busy" or "malformed"; never NULL. */
const char *ne_name(int code);

/*
 * The exit code of a command that ended with `code`: 0 done, 1 internal,
 * 2 usage, 3 unreachable or timed out, 4 login required, 5 certificate,
 * 6 rejected or parked rows, 7 locked by another engine, 8 no such database,
 * table or key, 9 disk, 10 capture broken.
 */
int ne_exit_code(int code);

#endif
