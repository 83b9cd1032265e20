/* What the files of the ingest share. Not for others: see ingest.h. */
#ifndef NEAP_BACKEND_CORE_INGEST_STEP_H
#define NEAP_BACKEND_CORE_INGEST_STEP_H

#include "backend/core/ingest.h"
#include "backend/core/rate.h"
#include "protocol/parts.h"

enum ingest_limits {
	OUT_BYTES = 256 * 1024 * 1024,		/* of one step's messages; then NE_MEMORY */
	OUT_BROADCAST_BYTES = 64 * 1024 * 1024, /* beyond, a step's changes are left to be pulled */
	OUT_ANSWER_BYTES = 96 * 1024 * 1024,	/* beyond, devices are told to come again */
	STEP_BYTES = 64 * 1024 * 1024,
	WORK_BYTES = 256 * 1024 * 1024, /* of one event, beyond the decoded frame */
	BROADCAST_MAX = 56 * 1024,	/* a larger effect is not broadcast: devices pull it */
	DOWN_MAX = LIMIT_MESSAGE - 256, /* a larger frame goes down in parts … */
	DOWN_PIECE = 48 * 1024,		/* … of this size */
	HEADS_A_STEP = 500,
	VERIFY_ROWS = 1000, /* what answers to these count, for the rates */
	ASK_ROWS = 1000,
};

struct assembly; /* a frame arriving in parts */

struct ingest {
	struct ingest_config c;
	struct store *store;
	struct ingest_stats stats;
	struct buf rows, frame;		     /* scratch for encoding */
	struct arena decoded;		     /* the frame being handled */
	struct arena work;		     /* what handling it takes */
	struct assembly *parts;		     /* oldest first */
	struct assembly *parts_put_together; /* of frames that this step handled */
	size_t parts_bytes;
	bool heads_due; /* heads of users after heads_uid are to be published */
	int64_t heads_uid;
	uint64_t gc_due_ms;
	struct rates *devices, *declarations;
};

/* A user in this step. */
struct user_state {
	struct user_state *next;
	struct store_user u;
	bool head_due; /* publish its head after the broadcasts */
	bool verified; /* it had its answer to a verify */
	uint64_t work; /* rows handled in this step */
	bool counted;  /* usage and quota were read */
	struct store_usage usage;
	struct store_quota quota; /* STORE_QUOTA_NONE, or a number */
	struct sql_chunk *sql;
};

struct ack_state {
	struct ack_state *next;
	struct id user, device;
	struct user_state *us;
	uint64_t site, number;
	size_t n;
	struct ack_set set[LIMIT_ACK_SETS];
};

/* Messages for `down` wait here until broadcasts and heads are listed. */
struct down {
	struct down *next;
	struct out_message msg;
};

struct step {
	struct ingest *in;
	struct store *store;
	uint64_t now_ms;
	struct out_messages *out;
	struct arena arena; /* of the step's own lists */
	struct user_state *users;
	unsigned verified; /* answers to verifies */
	bool many_users, many_devices;
	uint64_t work, rows; /* rows handled: in this step; for the frame at hand */
	struct rate_touched *touched;
	struct ack_state *acks;
	struct down *down, **down_end;
	struct down *rejects, **rejects_end; /* go out before the acks */
};

/* Who sent the frame at hand. */
struct sender {
	struct user_state *us;
	struct id device;
};

NEAP_CHECK int step_user(struct step *s, const char *name, struct user_state **out, struct err *e);

/* ---- messages (ingest_out.c) ---- */

/* Queues a frame for the sender's `down`; in parts named `nonce` if it is too large for one. */
NEAP_CHECK int send_down(struct step *s, const struct sender *to, const struct frame *f,
			 uint64_t nonce, struct err *e);
/* A reject, which fits a message: goes out before the acks. */
NEAP_CHECK int queue_reject(struct step *s, const struct sender *to, const struct frame *f,
			    struct err *e);
/* Notes which tables of `rows` must not be compressed for the user, and whether any. */
NEAP_CHECK int mark_uncompressed(struct step *s, const struct user_state *us,
				 const struct rows *rows, bool *any, struct err *e);
/* Publishes rows as the user's seq; *sent is false if they are too large and have to be pulled. */
NEAP_CHECK int broadcast(struct step *s, struct user_state *us, const char *origin,
			 const struct rows *rows, struct err *e);
/* The ack of this step for (sender, site) covers `number` as well. */
NEAP_CHECK int ack_add(struct step *s, const struct sender *from, uint64_t site, uint64_t newest,
		       uint64_t number, uint64_t own, struct err *e);
/* Puts heads, acks and what waits for `down` behind the broadcasts (P6). */
NEAP_CHECK int finish_out(struct step *s, struct err *e);

struct rejected_row;
/* Tells the sender of set `number` which of its rows were not taken. */
NEAP_CHECK int send_rejects(struct step *s, const struct sender *to, uint64_t site, uint64_t number,
			    const struct rejected_row *list, struct err *e);

struct refusal {
	enum refuse_code code;
	struct err text;
	bool has_shape;
	struct shape_id shape;
	/*
	 * REFUSE_ROWS, REFUSE_COLLISION: rows of one table; in the frame's memory. Their shape by
	 * its id: taking the set back may load the catalogue anew.
	 */
	size_t n_row;
	const struct row *row[STORE_REFUSED];
	struct shape_id row_shape;
};

/* ---- events ---- */

NEAP_CHECK int on_frame(struct step *s, const struct sender *from, struct slice plain,
			struct err *e);
NEAP_CHECK int on_hello(struct step *s, const struct sender *from, const struct f_hello *f,
			struct err *e);
NEAP_CHECK int on_pull(struct step *s, const struct sender *from, const struct f_pull *f,
		       struct err *e);
NEAP_CHECK int on_ask(struct step *s, const struct sender *from, const struct f_ask *f,
		      struct err *e);
NEAP_CHECK int on_verify(struct step *s, const struct sender *from, const struct f_verify *v,
			 struct err *e);
/* Whether what is asked at `at` may be answered; otherwise the answer is a reset. */
NEAP_CHECK int position_ok(struct step *s, const struct sender *from, const struct position *at,
			   bool *ok, struct err *e);
NEAP_CHECK int send_reset(struct step *s, const struct sender *from, uint64_t nonce, struct err *e);
NEAP_CHECK int on_declare(struct step *s, const struct sender *from, const struct f_declare *f,
			  struct err *e);
/* Remembers a site of the sender's. NE_LIMIT: as store_site_add. */
NEAP_CHECK int site_add(struct step *s, const struct sender *from, uint64_t site,
			struct store_site *out, struct err *e);
NEAP_CHECK int on_set(struct step *s, const struct sender *from, const struct f_set *f,
		      struct err *e);
/* *whole is set to a frame that became complete; valid until the next part of that sender. */
NEAP_CHECK int on_part(struct step *s, const struct sender *from, const struct f_part *f,
		       struct slice *whole, struct err *e);
/* The frame was handled. Its parts are kept until the step is settled, which may be done again. */
void parts_done(struct ingest *in, struct slice whole);
void parts_settle(struct ingest *in, bool committed);
void parts_expire(struct ingest *in, uint64_t now_ms, bool all);

/* ---- writes that lost (ingest_conflict.c) ---- */

/* A row of a set after its merge, of which something was not taken. */
struct merged_row {
	struct user_state *us;
	const struct id *device; /* who sent it */
	const struct store_shape *sh;
	struct store_table *t;
	const struct row *in, *mapped; /* by the sender's and the table's columns */
	const struct merge_result *got;
	const struct standing *st; /* as merged */
	const struct val *kept;	   /* values of a row that is not alive */
};
NEAP_CHECK int note_lost(struct step *s, const struct merged_row *m, struct err *e);

/* Whose writes, and of whom they may have known. */
struct writer {
	const struct id *device;
	uint64_t site;
	uint64_t seen; /* f_set.seen */
};
/* Whether the row at hand, merged from `before`, lost writes of others that `w` had not seen. */
bool overwrites_unseen(const struct writer *w, const struct store_row *before,
		       const struct standing *now);
/*
 * Keeps those writes, of the devices that made them. Of `m` us, sh, t, in, mapped and st count;
 * `was`: the row's values before, where it was alive.
 */
NEAP_CHECK int note_overwritten(struct step *s, const struct merged_row *m, const struct writer *w,
				const struct store_row *before, const struct val *was,
				struct err *e);
NEAP_CHECK int on_conflicts(struct step *s, const struct sender *from, const struct f_conflicts *f,
			    struct err *e);
/* The user's oldest go above the bounds; the oldest of all at their age. */
NEAP_CHECK int conflicts_trim(struct step *s, const struct user_state *us, struct err *e);
NEAP_CHECK int conflicts_expire(struct step *s, struct err *e);

/* ---- content of a set ---- */

/* A row of a merge table that was not taken, and why. */
struct rejected_row {
	struct rejected_row *next;
	const struct shape *shape;
	const struct row *row; /* as sent */
	const char *reason;
};

struct set_effect {
	struct rows rows; /* what goes out; memory from in->work */
	bool lost;	  /* something was not taken as sent (P5) */
	struct writer by; /* who sent the set */
	bool noted;	  /* something went to the conflicts (J7) */
	size_t n_row;
	struct rejected_row *rejected;
	size_t n_rejected;
};

/*
 * Merges rows of a merge table into the store and adds what was taken to `out`. `capacity` is an
 * upper bound for the rows of the whole set.
 */
NEAP_CHECK int merge_table(struct step *s, struct user_state *us, const struct table_rows *tr,
			   size_t capacity, struct set_effect *out, struct err *e);

/* ---- who is served now (ingest_rate.c) ---- */

NEAP_CHECK int rates_open(struct ingest *in, struct err *e);
void rates_begin(struct step *s, const struct in_event *ev, size_t n);
void rates_undo(struct step *s); /* the step failed */
/* Whether the sender's message is handled now; if not it was told when to come again. */
NEAP_CHECK int rates_admit(struct step *s, const struct sender *from, bool *now, struct err *e);
/* It was, and s->rows were handled for it. */
NEAP_CHECK int rates_did(struct step *s, const struct sender *from, struct err *e);
NEAP_CHECK int send_busy(struct step *s, const struct sender *to, uint64_t retry_ms, struct err *e);
/* How long the user may not change the catalogue; 0: it may now. */
uint64_t declaration_wait_ms(struct step *s, const struct sender *from);
NEAP_CHECK int declaration_charge(struct step *s, const struct sender *from, struct err *e);

/* ---- what a user's rows may take (ingest_quota.c) ---- */

/* Before a set is committed: reads usage and quota; says why one of append rows cannot be taken. */
NEAP_CHECK int quota_before(struct step *s, const struct sender *from, const struct rows *rows,
			    struct refusal *why, struct err *e);
/* After it was applied: says why it cannot stay. What does not make it more always can. */
NEAP_CHECK int quota_after(struct step *s, const struct sender *from, struct refusal *why,
			   struct err *e);

/* ---- one table of a set being merged (ingest_merge.c, ingest_unique.c) ---- */

struct candidate; /* a row that a UNIQUE constraint may take back */

/* Everything for one table of the set; arrays serve row after row. */
struct merging {
	struct step *s;
	struct user_state *us;
	const struct store_shape *sh;
	struct store_table *t;
	struct arena *a;
	bool same_cols; /* the shape's columns are the table's first ones */
	struct store_row row;
	struct merge_result got;
	struct cell *cell; /* the row's cells by the table's columns */
	struct val *vals;  /* values by the table's columns */
	bool *write;	   /* columns of vals to be written */
	bool *taken;	   /* cells taken, by the table's columns */
	const bool *voids; /* columns that an insert of the sender voids */
	struct writer by;
	struct store_row before; /* the row at hand as it was, where that will be asked for */
	struct set_effect *out;
	struct table_rows *sent,
		*whole; /* where effects go, by the sender's and the table's shape */
	size_t capacity;
	uint32_t uniques; /* constraints that hold for the user's rows */
	size_t n_row;	  /* of the table in the set */
	struct candidate *candidate;
	size_t n_candidate;
};

/* `r` with its cells named by the table's columns, ascending; valid until the next call. */
struct row merging_mapped(struct merging *m, const struct row *r);
/*
 * Takes nothing of `in`: what stands is restored to the sender by the effect, with registers just
 * after those refused. The row's registers in the store are as before the set.
 */
NEAP_CHECK int merging_refuse(struct merging *m, const struct row *in, const char *reason,
			      struct err *e);
/*
 * The effect of a row taken (m->row, m->got, m->taken), and its registers. `written`: m->vals are
 * all its values.
 */
NEAP_CHECK int merging_finish(struct merging *m, const struct row *in, bool written, bool existed,
			      struct err *e);
/* The conflicts (J7) of a row that was taken: what it lost to it, m->row, unseen by its sender. */
NEAP_CHECK int merging_overwritten(struct merging *m, const struct row *in,
				   const struct store_row *before, const struct val *was,
				   struct err *e);

/* The constraints, by bit, that the row at hand may break once all of the set is written. */
uint32_t unique_concerns(const struct merging *m, bool was_alive);
/* Before the row at hand is written: remembers what it was (m->before, and its values). */
NEAP_CHECK int unique_watch(struct merging *m, const struct row *in, uint32_t concerns,
			    struct err *e);
/* All are written: takes back and refuses those that break a constraint; effects of all watched. */
NEAP_CHECK int unique_settle(struct merging *m, struct err *e);

/* Turns what an operator's SQL did into change sets of the server's own (J4). */
NEAP_CHECK int server_changes(struct step *s, struct err *e);

#endif
