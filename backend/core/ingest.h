/*
 * The backend's ingest: frames of devices in, committed effects out. One step
 * is one transaction of the store (group commit); what it returns is ordered
 * commit → broadcast → head → ack (P6) and may be published only because the
 * commit is done. No sockets, threads, clocks or keys inside.
 */
#ifndef NEAP_BACKEND_CORE_INGEST_H
#define NEAP_BACKEND_CORE_INGEST_H

#include "backend/core/store.h"
#include "protocol/frame.h"
#include "protocol/topic.h"

struct ingest;

struct ingest_config {
	struct store *store;
	void (*random)(void *ctx, void *out, size_t len);
	void *random_ctx;
	uint64_t far_ahead_ms;	 /* stamps further ahead are bounced [300000] */
	uint64_t tombstone_ms;	 /* deletes are remembered for so long [90 days] (P7) */
	size_t page_bytes;	 /* of a page's rows [32768] */
	size_t parts_bytes_user; /* being put together, a user [8 MiB] */
	size_t parts_bytes;	 /* … in all [64 MiB] */
	uint64_t parts_ms;	 /* an unfinished frame is dropped after [60000] */
	/* Writes that lost: kept so long [90 days], and of a user so many of so many bytes. */
	uint64_t conflict_keep_ms;
	uint64_t conflicts_user;      /* [100000] */
	uint64_t conflict_bytes_user; /* [64 MiB] */
	/*
	 * While others wait: messages and rows a second of a device [1000, 50000], bursts of five
	 * seconds' worth. Declarations that change the catalogue: one a second per user, and so
	 * many at once [16].
	 */
	uint64_t device_messages_s, device_rows_s, declarations_burst;
	/* What a user's rows may take unless the store says otherwise; 0: no limit. */
	uint64_t rows_user, bytes_user;
	struct ingest_break broken;
};

enum in_type {
	IN_FRAME,  /* a frame a device published, opened and authenticated */
	IN_SQL,	   /* someone else wrote the store: look for server-side changes */
	IN_BROKER, /* the broker does not know our session: publish heads again */
	IN_TICK,   /* bounds by age; the store's own upkeep */
};

struct in_event {
	enum in_type type;
	const char *user, *device;
	struct slice frame; /* plaintext */
};

struct out_message {
	enum topic_kind kind; /* TOPIC_DOWN, TOPIC_CHANGES or TOPIC_HEAD */
	struct id user;
	struct id peer; /* device; or origin: a device or TOPIC_ORIGIN_SERVER */
	bool retain;
	struct slice frame; /* plaintext to seal; valid until the next step */
};

struct out_messages {
	size_t n, cap;
	struct out_message *at;
	struct arena arena;
};
void out_messages_free(struct out_messages *o);

/* Takes a new term in the store (P1). NE_DISK, NE_CORRUPT, NE_BUSY. */
NEAP_CHECK int ingest_open(struct ingest **out, const struct ingest_config *c, uint64_t now_ms,
			   struct err *e);
void ingest_close(struct ingest *in);

/*
 * Handles `n` events in one store transaction and replaces `out`'s content. Malformed frames are
 * counted and dropped. Errors: NE_BUSY and NE_DISK (nothing was committed or will be published; the
 * same events may be given again), NE_LOCKED (a newer committer took the store: exit), NE_CORRUPT.
 */
NEAP_CHECK int ingest_step(struct ingest *in, uint64_t now_ms, const struct in_event *ev, size_t n,
			   struct out_messages *out, struct err *e);

struct ingest_stats {
	uint64_t sets, rows, duplicates, refused, rejected, malformed, pages, resets, hellos,
		server_changes;
	uint64_t captures_repaired; /* tables whose capture triggers an operator had dropped */
	uint64_t verifies, unseen;  /* ranges compared; rows that SQL had changed unseen */
	uint64_t conflicts;	    /* found or reported, also when kept already */
	/* Messages answered `busy` for their device's rate or user's share; the last one's. */
	uint64_t slowed;
	struct id slowed_user, slowed_device;
	uint64_t declarations_delayed;
	/* Sets refused as their user's quota is used up; the last one's user, device and why. */
	uint64_t over_quota;
	struct id over_user, over_device;
	char over_why[160];
	/*
	 * Writes of an operator's that no device gets: without a whole key (its user among it), or
	 * a value above LIMIT_VALUE. The last such table, with what is wrong.
	 */
	uint64_t not_sent;
	char not_sent_last[LIMIT_NAME + 64];
};
void ingest_stats(const struct ingest *in, struct ingest_stats *out);

#endif
