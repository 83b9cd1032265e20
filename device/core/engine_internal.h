/*
 * The engine's state and the functions its files give each other.
 *
 * What is durable (position) is written in the transaction it describes
 * and copied to `struct engine` only after the commit. All the rest may be lost
 * at any moment: engine_forget leaves the engine as after a crash.
 */
#ifndef NEAP_DEVICE_CORE_ENGINE_INTERNAL_H
#define NEAP_DEVICE_CORE_ENGINE_INTERNAL_H

#include "device/core/apply.h"
#include "device/core/coverage.h"
#include "device/core/engine.h"
#include "device/core/lost.h"
#include "protocol/parts.h"

#define NEVER_MS UINT64_MAX

enum engine_bounds {
	FLIGHT_MAX = 128,	    /* sets given out and not settled */
	FLIGHT_BYTES_MAX = 2 << 20, /* of their frames; one set is always allowed */
	HEARD_MAX = 256,	    /* broadcasts that wait for an earlier one */
	HEARD_BYTES_MAX = 1 << 20,
	LEARNT_MAX = 256,	/* shapes of others; a page declares up to LIMIT_TABLES */
	SYNCS_MAX = 16,		/* EV_SYNC not yet answered; more are merged into the last */
	SKIP_MASK = 0x7fffffff, /* numbers of sets that a run leaves out before its first */
	SLICE_ROWS = 1000,	/* rows written under one lock */
	SETTLE_ROWS = 4000,	/* rows settled under one lock, but for the last set's */
	PULL_CREDIT = 64 * 1024,
	BUSY_MS = 100,	      /* another writer held the database: try again after */
	STUCK_MS = 60000,     /* a window that stays full so long is not believed */
	GAP_MS = 100,	      /* how long a gap may be mere reordering */
	CUT_PAUSE_MS = 20,    /* between cuts while sets are in flight */
	RETRY_MS = 2000,      /* first retry of a question, doubles … */
	RETRY_MAX_MS = 60000, /* … up to this */
	HEAD_WAIT_MS = 10000, /* for the retained head after a reconnect */
	RTT_MAX_MS = 5000,    /* a clock is not measured on a longer round trip */
	OFFSET_MIN_MS = 2000, /* smaller differences of clocks are left alone */
	AGAIN_MS = 1000,      /* first pause after a refusal that we can cure, doubles … */
	REFUSED_MS = 300000,  /* first pause after a refusal that waits for people, doubles … */
	REFUSED_MAX_MS = 3600000, /* … up to this */
	QUOTA_MS = 15000,	  /* first pause while the server has no room, doubles … */
	QUOTA_MAX_MS = 300000,	  /* … up to this */
	REFUSED_SHAPES_MAX = 5,	  /* declarations in a row that did not help */
	UNREAD_ROWS_MAX = 3,	  /* rows in a row that the server could not read */
};

/* A set that was given out and is not settled. */
struct flight {
	uint64_t number, prev, cut;
	int64_t gen_hi;
	size_t n_row;
	struct buf frame; /* empty when only the database remembers the set */
	uint8_t digest[32];
	size_t n_piece, n_want; /* pieces; pieces to publish */
	bool *want;
	uint64_t sent_ms; /* the last piece was published; NEVER_MS before */
	uint64_t due_ms;  /* resend then; NEVER_MS while pieces are waiting */
	/* Refusals in a row for an unknown shape, and which it was. */
	unsigned undeclared;
	struct shape_id undeclared_shape;
	bool acked;
	bool deletes;	    /* it was cut of deletes alone */
	uint64_t captured;  /* site in the identity of its append rows; 0: ours */
	uint64_t head, own; /* of the ack; own 0: nothing stands in for the echo */
	bool overtaken;	    /* a mark it may have carried lost since: `own` does not stand in */
};

/* A question to the server: only the answer that echoes its nonce counts (P2). */
struct question {
	bool open;
	bool clean; /* asked when nothing was pending nor in flight */
	uint64_t nonce;
	struct position at; /* as asked */
	int64_t table;	    /* of one table alone: its id; 0 the stream */
	uint64_t from;	    /* … the seq behind which, */
	uint64_t upto;	    /* … and the one up to which rows were asked for */
	uint64_t site;
	uint64_t last_number; /* hello: newest given out when it was asked */
	uint64_t head;	      /* the hint when it was asked */
	uint64_t sent_ms, due_ms;
	uint64_t backoff_ms;
};

/* A broadcast that waits for an earlier one, as it came. */
struct heard {
	uint64_t seq;
	struct buf frame;
};

struct learnt {
	struct shape shape;
	struct arena arena;
};

/*
 * A verification under way (J6): tables one after the other, each from its first key to its last in
 * ranges of many rows by their sum; a range that differs in smaller ones; and such a one row by
 * row. A crash ends it: whoever wants it begins it again.
 */
enum verify_level { LEVEL_TABLE, LEVEL_RANGE, LEVEL_ROWS, LEVELS };

struct verification {
	bool on;
	struct verify_report report;
	int64_t table[LIMIT_TABLES]; /* ids */
	bool begun;		     /* the table at hand, in … */
	struct shape_id shape;	     /* … this shape */
	enum verify_level level;
	struct buf from;	/* done up to this key */
	struct buf end[LEVELS]; /* a level is done at this key; empty: at the table's last */
	struct buf to, except;	/* as asked */
	struct buf absent;	/* verify_absent of the table at hand */
	struct question question;
	unsigned differ; /* small ranges in a row that differed */
	unsigned moved;	 /* answers in a row that met rows pending since they were asked for */
	unsigned silent; /* questions in a row without an answer that counts */
	uint64_t ask_at_ms;
	/* Of an append table: where it stands, what was asked, and that no set may be in flight. */
	struct lost_compare append;
	struct lost_question asked;
	bool hold_cuts;
};

/* A table that is pulled by itself, as neap_catchup has it (engine_backfill.c). */
struct backfill {
	int64_t table; /* its id; 0: none */
	uint64_t from; /* how far it has come */
	bool within;   /* the engine's token continues a seq of it */
	bool reached;  /* it has come to where the stream was: what it lacks comes by that */
	bool turn;     /* the last pull was for it, not for the stream */
};

/* Where the device stands once rows are applied. */
struct progress {
	struct position at;
	int64_t table; /* that is pulled by itself, 0: none, and how far it has come */
	uint64_t from;
};

struct engine {
	struct engine_config cfg;
	struct devdb *d;
	struct cutter *cutter;
	struct actions *out; /* of the step under way */
	struct arena tmp;    /* of the step under way */
	uint64_t now_ms, mono_ms;

	/* Durable. */
	struct position at;
	struct backfill backfill;
	bool opening;	/* a full pull begins: what the server is known to have is settled */
	bool closing;	/* it ends: what it covered is settled */
	bool save_lost; /* the full pull began with a reset: lost values are kept (P8) */
	uint64_t acked_number, verified_wall_ms;

	/* Link and questions. */
	bool link, stale; /* stale: the last step failed, read the durable state again */
	bool welcomed;	  /* the server told its newest number since the last forget */
	bool quiet;	  /* cut nothing before the next welcome: it must know our last number, or
			     tell the time anew */
	bool clock_seen;
	int64_t clock_ahead_ms; /* the wall clock less the steady one, when it was last set */
	struct question hello, pull, lost;
	struct lost_question lost_question;
	uint64_t lost_at_ms;		  /* look what of the lost rows is to be asked; NEVER_MS */
	uint64_t hello_at_ms, pull_at_ms; /* ask then; NEVER_MS */
	uint64_t check_at_ms, retry_at_ms;
	uint64_t pull_number;
	struct buf token;      /* the page continues with it */
	uint64_t head;	       /* newest heard of in this term: a hint */
	struct f_head odd;     /* the last head that made us ask, */
	uint64_t odd_until_ms; /* and until when it does not again */
	struct parts *parts;

	/* Down. */
	struct heard heard[HEARD_MAX];
	size_t n_heard, heard_bytes;
	struct learnt learnt[LEARNT_MAX];
	size_t n_learnt, next_learnt;

	/* Up. */
	struct flight *flight[FLIGHT_MAX]; /* rising by number */
	size_t n_flight;
	bool numbered; /* a set was cut in this run */
	bool restart;  /* nothing unacknowledged counts: cut anew once the rest is settled */
	bool restamp;  /* … and give marks new stamps: the server found them far ahead */
	bool has_offset;
	int64_t offset_ms; /* measured and not yet stored */
	unsigned new_sites;
	bool any_held;			 /* tables the server refuses are left out … */
	uint64_t held_until_ms, held_ms; /* … until then */
	uint64_t disown;		 /* a site whose rows we may not send; 0 none */
	/*
	 * The server has no room for what is pending until a set that is more than deletes is
	 * acknowledged; now, after a refusal, deletes alone are sent.
	 */
	bool no_room, deletes;
	bool declaring;	    /* shapes that the server did not know were declared; it may be slow */
	size_t few_rows;    /* rows of a set while one to blame is looked for; 0: as set */
	size_t unread;	    /* single rows refused as malformed since a set was committed */
	uint64_t committed; /* newest number the server has, as of its welcome or ack */
	bool dirty;	    /* something may be pending that is not in flight */
	int64_t data_version, schema_version; /* as last looked at */
	unsigned window;
	unsigned backoff;    /* of resends: 1, 2, 4, 8 */
	size_t outstanding;  /* bytes published and not yet taken by the link */
	uint64_t sent_at_ms; /* the link last took something, or had nothing to take */
	uint64_t busy_until_ms, refused_until_ms, refused_ms, cut_at_ms, resent_ms;
	size_t set_bytes;

	/* Conflicts (J7). */
	struct flight *report; /* what is on its way to the server's list; NULL nothing */
	bool report_due;       /* there may be more that it has not noted */
	uint64_t report_nonce, report_number;
	unsigned report_backoff;
	bool ask_due, tell_due; /* records may wait for a resolver, for the callback */
	uint64_t tell_at_ms;

	struct verification verify;

	/* Policies. */
	bool has_server_ms; /* the server's time, heard in this run at server_mono_ms */
	int64_t server_ms;
	uint64_t server_mono_ms;
	uint64_t keep_at_ms; /* mono: the next step; NEVER_MS */

	uint64_t syncs[SYNCS_MAX];
	size_t n_sync;

	uint64_t bad_frames;
	uint64_t locked_since_ms; /* mono: the database refuses since then; 0 it does not */
	uint64_t locked_seen_ms;  /* … and did so last then */
	bool cut_locked;	  /* … to a cut, which does not fail the step */
	unsigned lock_waits;	  /* cuts it has refused in a row */
	const char *problem_state;
	int problem;
	char reason[200], next_step[200];
};

/* engine.c */
uint64_t engine_random_id(struct engine *en);
/* Between half of `ms` and all of it. */
uint64_t engine_jitter(struct engine *en, uint64_t ms);

/* `problem_state`, for the status, is "refused" until the caller says what it is. */
void engine_problem(struct engine *en, int code, const char *reason, const char *next_step);
const struct shape *engine_find_shape(void *ctx, struct shape_id id);

/* engine_out.c */
void engine_actions_clear(struct actions *a);
/* NULL when there is no memory. */
struct action *engine_act(struct engine *en, enum action_type type);
/* Encodes and publishes a frame, in parts if it is larger than a piece. */
NEAP_CHECK int engine_publish(struct engine *en, const struct frame *f, struct err *e);
/* Publishes encoded bytes as one message. */
NEAP_CHECK int engine_publish_bytes(struct engine *en, struct slice plain);

/* engine_events.c */
NEAP_CHECK int engine_dispatch(struct engine *en, const struct event *ev, struct err *e);

/* engine_state.c */
NEAP_CHECK int engine_load(struct engine *en, struct err *e);
/* Whether the device still is where a question was asked. */
bool engine_stands_at(const struct engine *en, const struct position *p);
/* Writes a position inside the caller's transaction. */
NEAP_CHECK int engine_put_position(struct engine *en, const struct position *at, struct err *e);
/* Drops all that a crash would lose but the link and the waiting EV_SYNCs. */
NEAP_CHECK int engine_forget(struct engine *en, struct err *e);
/* Takes a new term (and store) without moving: forgets. Own transaction. */
NEAP_CHECK int engine_adopt(struct engine *en, uint64_t store, uint64_t term, struct err *e);
/* Begins a full pull at `head`. `save`: it answers a reset. Own transaction. */
NEAP_CHECK int engine_begin_full(struct engine *en, uint64_t store, uint64_t term, uint64_t head,
				 bool save, struct err *e);
/* A new random site: marks keep the old one, numbers start anew, all is forgotten. */
NEAP_CHECK int engine_new_site(struct engine *en, bool anothers, struct err *e);

/* engine_up.c: what sets and reports share. `want_all` publishes all pieces (again). */
NEAP_CHECK int engine_make_flight(struct engine *en, const struct frame *f, uint64_t id,
				  struct flight **out, struct err *e);
void engine_free_flight(struct flight *f);
void engine_want_all(struct flight *f);
NEAP_CHECK int engine_pump_flight(struct engine *en, struct flight *f, struct err *e);

/* engine_report.c: conflicts that the server has not noted go up when nothing else waits. */
NEAP_CHECK int engine_report(struct engine *en, struct err *e);
/* A welcome: what the server does not have is told again, as after a restore of its store. */
NEAP_CHECK int engine_tell_again(struct engine *en, uint64_t term, uint64_t noted, struct err *e);
NEAP_CHECK int engine_on_noted(struct engine *en, const struct f_noted *n, struct err *e);
/* Whether the server has yet to note what lost; it is not waited for after a few reports in vain.
 */
NEAP_CHECK int engine_unreported(struct engine *en, bool *any, struct err *e);
/* When engine_report has something to do; NEVER_MS if only an event can tell. */
uint64_t engine_report_time(const struct engine *en);
void engine_report_drop(struct engine *en);
void engine_report_resend(struct engine *en);
/* Somebody asks for a sync: what was sent in vain is sent once more, and waited for. */
void engine_report_again(struct engine *en);

/* engine_conflict.c */
/* Asks the resolver about what waits for it. Own transactions. */
NEAP_CHECK int engine_resolve(struct engine *en, struct err *e);
/* Lists what is to be told; the last thing of a step, so that nothing takes it back. */
NEAP_CHECK int engine_tell(struct engine *en, struct err *e);

/* engine_hello.c */
NEAP_CHECK int engine_ask_hello(struct engine *en, struct err *e);
NEAP_CHECK int engine_on_welcome(struct engine *en, const struct f_welcome *w, struct err *e);
NEAP_CHECK int engine_declare(struct engine *en, const struct shape_id *only, size_t n,
			      struct err *e);
/* Sends what questions are due. */
NEAP_CHECK int engine_ask(struct engine *en, struct err *e);
/* Sees to it that a hello is sent within `ms`. */
void engine_want_hello(struct engine *en, uint64_t ms);
void engine_question_open(struct engine *en, struct question *q, bool clean);
void engine_question_close(struct question *q);
/* A reply echoed `q`'s nonce and said `head`: corrects the hint, notes what is verified. */
NEAP_CHECK int engine_answered(struct engine *en, const struct question *q, uint64_t head,
			       struct err *e);
/* Nothing pending, nothing in flight, and the server has noted what lost. */
NEAP_CHECK int engine_clean(struct engine *en, bool *clean, struct err *e);

/* engine_lost.c */
/* Whether the server is still to be asked what it lost; nothing is in flight. */
NEAP_CHECK int engine_look_for_lost(struct engine *en, struct err *e);
/* No answer will come: asked again when the link is back. */
void engine_lost_close(struct engine *en);
/* Does the next piece of it, if that is due. */
NEAP_CHECK int engine_ask_lost(struct engine *en, struct err *e);
/* When engine_ask_lost has something to do; NEVER_MS if only an event can tell. */
uint64_t engine_lost_time(const struct engine *en);
NEAP_CHECK int engine_on_ranges(struct engine *en, const struct f_ranges *r, struct err *e);

/* engine_pull.c */
bool engine_behind(const struct engine *en);
void engine_want_pull(struct engine *en, uint64_t ms);
NEAP_CHECK int engine_ask_pull(struct engine *en, struct err *e);
NEAP_CHECK int engine_on_page(struct engine *en, const struct f_page *p, struct err *e);
NEAP_CHECK int engine_on_reset(struct engine *en, const struct f_reset *r, struct err *e);

/* engine_backfill.c */
/*
 * Begins, goes on with or ends the pull of one table by itself, if one waits and the server's
 * welcome was heard. Own transactions.
 */
NEAP_CHECK int engine_backfill(struct engine *en, struct err *e);
/* Whether the next pull is for that table; if so engine_backfill_ask says what to ask. */
bool engine_backfill_turn(struct engine *en);
void engine_backfill_ask(struct engine *en, struct f_pull *p);
/* While a page of it is asked for the cursor stays: rows in it would be older than here. */
bool engine_backfill_holds(const struct engine *en);
/* Whether a page is what was asked for, and is still to be had. */
bool engine_backfill_answers(const struct engine *en, const struct f_page *p);
/* Applies it; fills in what `to` says of the table. */
NEAP_CHECK int engine_backfill_page(struct engine *en, const struct f_page *p,
				    const struct rows *rows, struct progress *to, struct err *e);

/* engine_down.c */
NEAP_CHECK int engine_on_change(struct engine *en, const struct f_change *c, struct slice plain,
				struct err *e);
void engine_on_head(struct engine *en, const struct f_head *h);
/*
 * What was applied: where a mark was overtaken, own seqs of sets that may have carried it are
 * pulled, not skipped (P5); what lost is to be reported and told (J7).
 */
void engine_applied(struct engine *en, const struct applied *done);
/* Tells of the tables that `rows` are of, once each a step. */
NEAP_CHECK int engine_tell_changed(struct engine *en, const struct rows *rows);
/* Drops broadcasts up to and including `seq`. */
void engine_drop_heard(struct engine *en, uint64_t seq);
/* Moves the cursor over what is known, then settles the sets it covers. */
NEAP_CHECK int engine_settle(struct engine *en, struct err *e);
/*
 * At the start of a full pull, once the server told which sets it has, and before it is asked for a
 * page: settles those. They are in every page, and where one has older registers, because a
 * tombstone went and an older write came since, it is right.
 */
NEAP_CHECK int engine_settle_known(struct engine *en, struct err *e);
/* At the end of a full pull, before its sweep: settles the sets that the pages covered. */
NEAP_CHECK int engine_settle_covered(struct engine *en, struct err *e);
/*
 * Applies rows in slices, each its own transaction. `to->at.hold` is stored with the first one, the
 * rest of `to` with the last one; what of it is in `en` is so when it is durable.
 */
NEAP_CHECK int engine_apply(struct engine *en, const struct rows *rows, const struct progress *to,
			    struct err *e);

/* engine_up.c */
NEAP_CHECK int engine_upload(struct engine *en, struct err *e);
/* When the next set may be cut; NEVER_MS if something else must happen first. */
uint64_t engine_cut_time(const struct engine *en);
struct flight *engine_flight(struct engine *en, uint64_t number);
void engine_drop_flight(struct engine *en, struct flight *f);
void engine_drop_flights(struct engine *en);
void engine_resend(struct engine *en);
/* No set is cut for a while that doubles with each call until a set is acknowledged. */
void engine_back_off(struct engine *en, uint64_t first_ms);
/* All that is pending is tried again after a while that doubles. */
void engine_wait_for_room(struct engine *en);
size_t engine_unacked(const struct engine *en);

/* engine_ack.c */
NEAP_CHECK int engine_on_ack(struct engine *en, const struct f_ack *a, struct err *e);
NEAP_CHECK int engine_on_expect(struct engine *en, const struct f_expect *x, struct err *e);
NEAP_CHECK int engine_on_refuse(struct engine *en, const struct f_refuse *r, struct err *e);
void engine_on_busy(struct engine *en, const struct f_busy *b);
void engine_on_receipt(struct engine *en, const struct f_receipt *r);

/* engine_keep.c */
/* Does a step of what the tables' policies ask for, if one is due. */
NEAP_CHECK int engine_keep(struct engine *en, struct err *e);
/* Something was acknowledged, written or set: look soon. */
void engine_keep_wake(struct engine *en);
/* The server told its time, in an answer to our own question. */
void engine_heard_time(struct engine *en, uint64_t server_ms);

/* engine_verify.c: asks about the next range if that is possible now. */
NEAP_CHECK int engine_verify(struct engine *en, struct err *e);
NEAP_CHECK int engine_verify_begin(struct engine *en, const struct event *ev, struct err *e);
NEAP_CHECK int engine_on_digest(struct engine *en, const struct f_digest *d, struct err *e);
uint64_t engine_verify_time(const struct engine *en);
/* The answer to what was asked will not come. */
void engine_verify_again(struct engine *en);
void engine_verify_free(struct engine *en);
/* The table at hand is done with. */
NEAP_CHECK int engine_verify_end_table(struct engine *en, enum verify_outcome outcome,
				       struct err *e);
/* Asked again after a while, longer each time. */
void engine_verify_pause(struct engine *en);

/* engine_verify_append.c: of an append table the server is asked which rows it has. */
NEAP_CHECK int engine_verify_append(struct engine *en, const struct tracked *t, struct err *e);
/* *taken: it answers a question of ours. */
NEAP_CHECK int engine_verify_ranges(struct engine *en, const struct f_ranges *r, bool *taken,
				    struct err *e);

/* engine_reject.c */
NEAP_CHECK int engine_on_reject(struct engine *en, const struct f_reject *r, struct err *e);
/*
 * The rows of a refused set that are to blame, *done of them: kept as rejected, or, if their
 * identities collided, given new ones.
 */
NEAP_CHECK int engine_refused_rows(struct engine *en, const struct f_refuse *r,
				   const struct flight *f, size_t *done, struct err *e);

#endif
