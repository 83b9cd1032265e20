/*
 * When to refresh, when to connect, how long to wait: the connection's life
 * as a state machine without I/O. Events go in, at most one order comes out.
 *
 * Back-off has full jitter (a uniform draw from 0 to a bound that doubles from
 * 1 s to 60 s), so that a fleet does not return in the same second. The access
 * token is renewed at 60 to 80 % of its life; the link then changes over.
 */
#ifndef NEAP_DEVICE_SHELL_CONN_H
#define NEAP_DEVICE_SHELL_CONN_H

#include <stdint.h>

#include "common/error.h"

enum {
	CONN_BACKOFF_MIN_MS = 1000,
	CONN_BACKOFF_MAX_MS = 60 * 1000,
	CONN_STEADY_MS = 60 * 1000,	  /* up this long: the next loss starts the back-off anew */
	CONN_LINK_TIMEOUT_MS = 45 * 1000, /* connecting and subscribing together */
	CONN_KEY_REFRESH_MS = 5 * 60 * 1000, /* refreshes for an unknown key epoch, at most (K2) */
	CONN_KEY_WAIT_MS = 2000, /* and not before the key had this long to come by itself */
	CONN_KEY_JITTER_MS = 5000,
	CONN_TOKEN_SLACK_MS = 30 * 1000, /* a token this close to its end is not tried */
};

enum conn_state {
	CONN_IDLE,    /* before conn_start and after conn_stop */
	CONN_LOGIN,   /* refresh was refused: only a new login helps */
	CONN_WAITING, /* for the back-off timer */
	CONN_ASLEEP,  /* by choice, until the deadline: see conn_sleep */
	CONN_REFRESHING,
	CONN_CONNECTING, /* and subscribing */
	CONN_UP,
};

enum conn_order {
	CONN_NOTHING,
	CONN_REFRESH,	 /* POST /v1/refresh; then conn_refreshed */
	CONN_CONNECT,	 /* with the newest token; then conn_link_up or conn_link_lost */
	CONN_DISCONNECT, /* drop the link or the attempt; no event is expected */
};

struct conn {
	enum conn_state state;
	bool was_refused;     /* the broker refused the token: refresh before the next try */
	bool fresh;	      /* the token came by refresh since then */
	bool renewing;	      /* a refresh runs while the link is up */
	unsigned attempts;    /* since the last steady connection */
	uint64_t deadline_ms; /* mono; of the state; UINT64_MAX never */
	uint64_t up_since_ms;
	uint64_t renew_ms;   /* mono: when to renew the token */
	uint64_t expires_ms; /* mono: when the token ends */
	uint64_t key_ms;     /* mono: when to refresh for an unknown key; UINT64_MAX not */
	bool key_group;	     /* it is a group's, which may still come by `key` */
	uint64_t last_key_refresh_ms;
	bool had_key_refresh;
	int problem; /* enum ne of the last failure; NE_OK once up */
	uint32_t (*random)(void *ctx);
	void *random_ctx;
};

void conn_init(struct conn *c, uint32_t (*random)(void *ctx), void *random_ctx);

/* A token with `left_ms` of `life_ms` to live (0 left: none) was loaded; begin. */
enum conn_order conn_start(struct conn *c, uint64_t now_ms, uint64_t left_ms, uint64_t life_ms);
/* The deadline was reached. */
enum conn_order conn_tick(struct conn *c, uint64_t now_ms);
/* A person or program asks now: ends a wait, or sleep, early. */
enum conn_order conn_poke(struct conn *c, uint64_t now_ms);
/*
 * The refresh ended with `code`: NE_OK (a token of `life_ms`), NE_AUTH (login required), anything
 * else is tried again, not before `retry_after_ms`.
 */
enum conn_order conn_refreshed(struct conn *c, uint64_t now_ms, int code, uint64_t life_ms,
			       uint64_t retry_after_ms);
/*
 * Nothing is to be said until `until_ms`: the link, or the attempt to connect, ends. What the
 * server asked for (Retry-After) may make it later. Only conn_poke ends it. Not while a token is
 * being fetched (conn_may_sleep), nor where only a new login helps.
 */
bool conn_may_sleep(const struct conn *c);
enum conn_order conn_sleep(struct conn *c, uint64_t now_ms, uint64_t until_ms);
void conn_link_up(struct conn *c, uint64_t now_ms);
/* The attempt failed or the link was lost: NE_AUTH (the token was refused), NE_CERT, others. */
enum conn_order conn_link_lost(struct conn *c, uint64_t now_ms, int code);
/* A message came in a key epoch that is not known, of the group or the device: perhaps refresh. */
void conn_unknown_key(struct conn *c, uint64_t now_ms, bool group);
/* The group's key came: no refresh is needed for it. */
void conn_group_key(struct conn *c);
/* When to call conn_tick; UINT64_MAX never. */
uint64_t conn_deadline_ms(const struct conn *c);

const char *conn_state_name(enum conn_state state);

#endif
