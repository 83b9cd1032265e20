/* The state of a node and what its files give each other. */
#ifndef NEAP_DEVICE_SHELL_NODE_INTERNAL_H
#define NEAP_DEVICE_SHELL_NODE_INTERNAL_H

#include <sys/types.h>

#include "device/shell/clock.h"
#include "device/shell/crypt.h"
#include "device/shell/link.h"
#include "device/shell/node.h"
#include "device/shell/secret.h"
#include "device/shell/watch.h"

enum {
	LOCAL_DEBOUNCE_MS = 3,	      /* between a write's notice and the look at it … */
	LOCAL_DEBOUNCE_MAX_MS = 1000, /* … doubling up to this while it is not committed */
	LOCAL_POLL_MS = 5000,	      /* look at data_version at least this often … */
	LOCAL_POLL_BLIND_MS = 250,    /* … or this, where inotify does not work */
	RETRY_MIN_MS = 50,	      /* after a step the database refused */
	RETRY_MAX_MS = 5000,
	CALM_MS = 10 * 1000,  /* without a failed step: the trouble is over */
	LETTERS_A_STEP = 128, /* then other nodes get a turn */
	PROGRESS_MS = 1000,
	STALL_MS = 60 * 1000, /* an impatient sync without any progress ends */
	SILENCE_MS =
		90 * 1000, /* sets in flight and nothing heard: the connection is not trusted */
	RIVAL_HINT_MS = 10 * 60 * 1000, /* it is told for so long after the last sign */
	RIVAL_SUSPECTED = 3,  /* short-lived connections in a row: someone else has our name */
	GIVE_UP_ATTEMPTS = 3, /* failed connections that end an impatient sync */
	DISK_PATIENCE_MS = 3000,
	REFUSED_PATIENCE_MS = 3000, /* for what else there is to send */
	CLOCK_RTT_MAX_MS = 5000,
	QUIET_WAIT_MS =
		2000, /* a renewed token waits so long for a moment with nothing under way */
};

/* Someone who waits: for a sync, or for a verification. */
struct sync {
	uint64_t id;	/* 0: free */
	json_t *verify; /* the request; NULL: a sync */
	bool patient;
	bool asked; /* the engine took it */
	node_sync_fn fn;
	void *ctx;
	uint64_t client;	     /* of the control socket; 0: fn */
	uint64_t began_ms, since_ms; /* mono; of the last progress */
	int64_t mark[5]; /* pending, cursor, acked, in flight, verified rows at that time */
};

struct node {
	struct paths paths;
	struct node_owner owner;
	int lock, watch;
	dev_t dev; /* the database file as it was opened */
	ino_t ino;
	struct http *http;
	struct secret *secret;
	struct engine *engine;
	struct actions actions;
	struct crypt *crypt;
	struct link *link;
	struct control *control;
	struct conn conn;

	uint64_t attempt; /* of the link */
	bool awake;	  /* node_owner.every_ms: this wake-up's sync was begun */
	uint64_t
		change_over_ms; /* mono: when to leave a link that works for a newer token; 0 not */
	bool engine_up;		/* the engine was told EV_LINK_UP last */
	bool down_due;		/* … and is to be told EV_LINK_DOWN next */
	struct letter *held;	/* one the engine could not take yet */
	bool local_due;		/* EV_LOCAL is to be delivered */
	uint64_t look_ms;	/* mono: when to look at data_version */
	uint64_t look_wait_ms;	/* after a notice: until the next look; 0 no notice */
	int64_t data_version;
	bool offset_due;
	int64_t offset_ms;
	uint64_t refresh_sent_ms; /* mono */
	uint64_t heard_ms;	  /* mono: the last message on `down` */

	bool held_back; /* a step failed: nothing is fed before retry_ms */
	uint64_t retry_ms, retry_wait_ms;
	struct err trouble;  /* of the last step that failed; code NE_OK: none for a while */
	uint64_t trouble_ms; /* mono: when that was */

	struct err link_text; /* the connection's last problem */
	int said;	      /* the last problem logged, −1 connected, −2 nothing */
	bool said_login;      /* … as one that only a person ends */
	unsigned failures;    /* attempts since the last connection */
	uint64_t rival_ms;    /* mono: someone else was last seen under our name; 0 never */
	unsigned short_lived; /* connections in a row that were lost soon after they were made */
	struct sync sync[NODE_SYNCS];
	uint64_t last_sync;
	uint64_t progress_ms; /* mono: when to report progress */
	struct buf plain, sealed;
	uint64_t bad_messages;
	uint64_t other_key; /* messages to all, under another group key than the one known */
};

void node_say(struct node *n, const char *fmt, ...) NEAP_PRINTF(2, 3);

/* node_link.c: the connection. */
NEAP_CHECK int node_link_open(struct node *n, struct err *e);
void node_link_start(struct node *n);	    /* with the secret as it is */
void node_link_step(struct node *n);	    /* timers of the connection */
void node_link_change_over(struct node *n); /* if it is due, and now is a good moment */
void node_link_poke(struct node *n);
void node_link_up(struct node *n);
void node_link_lost(struct node *n, const struct letter *l);
void node_link_unknown_key(struct node *n, bool group);
void node_link_sleep(struct node *n, uint64_t until_ms);
void node_link_suspect(struct node *n); /* alive by TCP, dead by every other sign */
void node_secret_changed(struct node *n);
void node_group_key(struct node *n, const struct f_key *key);

/* node_feed.c: the engine. True if the engine took the event. */
bool node_feed(struct node *n, struct event *ev);
void node_feed_all(struct node *n);
/* engine_config.resolve of a node whose owner resolves. */
enum resolution node_resolve(void *ctx, const struct engine_conflict *c, struct val *write);
struct link_view node_view(const struct node *n);

/* node_wake.c: a link that is up only now and then. */
void node_wake_step(struct node *n); /* before the connection's step */
void node_rest_step(struct node *n); /* after all others */

/* node_sync.c: those who wait, and the control socket. */
bool node_syncs_wait(const struct node *n);
void node_synced(struct node *n, uint64_t id);
void node_verified(struct node *n, uint64_t id);
void node_sync_step(struct node *n);
void node_request(void *ctx, uint64_t client, const json_t *request);

#endif
