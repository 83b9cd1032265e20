#include "device/shell/conn.h"

#include <assert.h>

#define BIT(state) (1u << (state))

/* Which moves are legal. */
static const unsigned may_go[] = {
	[CONN_IDLE] = BIT(CONN_REFRESHING) | BIT(CONN_CONNECTING),
	[CONN_LOGIN] = BIT(CONN_REFRESHING) | BIT(CONN_CONNECTING),
	[CONN_WAITING] = BIT(CONN_REFRESHING) | BIT(CONN_CONNECTING) | BIT(CONN_ASLEEP),
	[CONN_ASLEEP] = BIT(CONN_REFRESHING) | BIT(CONN_CONNECTING),
	[CONN_REFRESHING] = BIT(CONN_LOGIN) | BIT(CONN_WAITING) | BIT(CONN_CONNECTING),
	[CONN_CONNECTING] = BIT(CONN_UP) | BIT(CONN_WAITING) | BIT(CONN_REFRESHING) |
			    BIT(CONN_LOGIN) | BIT(CONN_ASLEEP),
	[CONN_UP] = BIT(CONN_WAITING) | BIT(CONN_CONNECTING) | BIT(CONN_REFRESHING) |
		    BIT(CONN_LOGIN) | BIT(CONN_ASLEEP),
};

static void move(struct conn *c, enum conn_state to, uint64_t deadline_ms)
{
	assert(may_go[c->state] & BIT(to));
	c->state = to;
	c->deadline_ms = deadline_ms;
}

void conn_init(struct conn *c, uint32_t (*random)(void *ctx), void *random_ctx)
{
	*c = (struct conn){
		.state = CONN_IDLE,
		.deadline_ms = UINT64_MAX,
		.renew_ms = UINT64_MAX,
		.key_ms = UINT64_MAX,
		.random = random,
		.random_ctx = random_ctx,
	};
}

static uint64_t draw(struct conn *c, uint64_t bound)
{
	return c->random(c->random_ctx) % (bound + 1);
}

static uint64_t backoff_ms(struct conn *c)
{
	uint64_t bound = CONN_BACKOFF_MIN_MS;

	for (unsigned i = 0; i < c->attempts && bound < CONN_BACKOFF_MAX_MS; i++)
		bound *= 2;
	if (bound > CONN_BACKOFF_MAX_MS)
		bound = CONN_BACKOFF_MAX_MS;
	c->attempts++;
	return draw(c, bound);
}

static void wait_for(struct conn *c, uint64_t now_ms, uint64_t at_least_ms)
{
	move(c, CONN_WAITING, now_ms + at_least_ms + backoff_ms(c));
}

/* Renewal falls at 60 to 80 % of the token's whole life, or at once where that is past. */
static void set_token(struct conn *c, uint64_t now_ms, uint64_t left_ms, uint64_t life_ms)
{
	uint64_t keep_ms = life_ms - (life_ms / 10 * 6 + draw(c, life_ms / 5));

	c->key_ms = UINT64_MAX;
	c->expires_ms = now_ms + left_ms;
	c->renew_ms = left_ms > keep_ms ? c->expires_ms - keep_ms : now_ms;
}

static enum conn_order refresh(struct conn *c)
{
	move(c, CONN_REFRESHING, UINT64_MAX);
	return CONN_REFRESH;
}

static enum conn_order connect_link(struct conn *c, uint64_t now_ms)
{
	move(c, CONN_CONNECTING, now_ms + CONN_LINK_TIMEOUT_MS);
	return CONN_CONNECT;
}

static bool token_usable(const struct conn *c, uint64_t now_ms)
{
	return c->expires_ms > now_ms && c->expires_ms - now_ms > CONN_TOKEN_SLACK_MS;
}

/* From rest: connect with the token at hand, or get one. */
static enum conn_order go(struct conn *c, uint64_t now_ms)
{
	if (token_usable(c, now_ms) && (!c->was_refused || c->fresh))
		return connect_link(c, now_ms);
	return refresh(c);
}

enum conn_order conn_start(struct conn *c, uint64_t now_ms, uint64_t left_ms, uint64_t life_ms)
{
	assert(left_ms <= life_ms);
	c->was_refused = c->fresh = c->renewing = false;
	c->attempts = 0;
	c->problem = NE_OK;
	set_token(c, now_ms, left_ms, life_ms);
	return go(c, now_ms);
}

static uint64_t refresh_due_ms(const struct conn *c)
{
	return c->key_ms < c->renew_ms ? c->key_ms : c->renew_ms;
}

enum conn_order conn_tick(struct conn *c, uint64_t now_ms)
{
	if (c->state == CONN_UP && !c->renewing && now_ms >= refresh_due_ms(c)) {
		if (now_ms >= c->key_ms) {
			c->had_key_refresh = true;
			c->last_key_refresh_ms = now_ms;
			c->key_ms = UINT64_MAX;
		}
		c->renewing = true;
		return CONN_REFRESH;
	}
	if (now_ms < c->deadline_ms)
		return CONN_NOTHING;
	if (c->state == CONN_WAITING)
		return go(c, now_ms);
	if (c->state == CONN_CONNECTING) {
		c->problem = NE_TIMEOUT;
		wait_for(c, now_ms, 0);
		return CONN_DISCONNECT;
	}
	return CONN_NOTHING;
}

/* A token that is due for renewal is renewed first: while the link is up it would take another
 * connection. Should that fail, the old one serves as long as it is good.
 */
static enum conn_order wake(struct conn *c, uint64_t now_ms)
{
	if (c->problem == NE_BUSY && now_ms < c->deadline_ms)
		return CONN_NOTHING;
	return now_ms >= refresh_due_ms(c) ? refresh(c) : go(c, now_ms);
}

bool conn_may_sleep(const struct conn *c)
{
	return may_go[c->state] & BIT(CONN_ASLEEP) && !c->renewing;
}

enum conn_order conn_sleep(struct conn *c, uint64_t now_ms, uint64_t until_ms)
{
	bool linked = c->state == CONN_UP || c->state == CONN_CONNECTING;

	assert(conn_may_sleep(c));
	if (c->state == CONN_WAITING && c->problem == NE_BUSY && c->deadline_ms > until_ms)
		until_ms = c->deadline_ms;
	c->attempts = 0; /* the next wake-up is not to pay for this one */
	move(c, CONN_ASLEEP, until_ms > now_ms ? until_ms : now_ms);
	return linked ? CONN_DISCONNECT : CONN_NOTHING;
}

enum conn_order conn_poke(struct conn *c, uint64_t now_ms)
{
	if (c->state == CONN_ASLEEP)
		return wake(c, now_ms);
	/* What the server asked for (Retry-After) is kept; our own back-off is cut short. */
	if (c->state != CONN_WAITING || c->problem == NE_BUSY)
		return CONN_NOTHING;
	return go(c, now_ms);
}

/* The new token serves the next connection; the running link changes over to it. */
static enum conn_order renewed(struct conn *c, uint64_t now_ms, int code, uint64_t retry_after_ms)
{
	c->renewing = false;
	if (code == NE_OK)
		return connect_link(c, now_ms);
	c->problem = code;
	if (code == NE_AUTH) {
		move(c, CONN_LOGIN, UINT64_MAX);
		return CONN_DISCONNECT;
	}
	/* The old token still stands: try again later, the link stays. */
	c->renew_ms = now_ms + retry_after_ms + CONN_BACKOFF_MIN_MS + backoff_ms(c);
	return CONN_NOTHING;
}

enum conn_order conn_refreshed(struct conn *c, uint64_t now_ms, int code, uint64_t life_ms,
			       uint64_t retry_after_ms)
{
	if (code == NE_OK) {
		set_token(c, now_ms, life_ms, life_ms);
		c->fresh = true;
	}
	if (c->renewing && c->state == CONN_UP)
		return renewed(c, now_ms, code, retry_after_ms);
	c->renewing = false;
	if (c->state != CONN_REFRESHING)
		return CONN_NOTHING;
	if (code == NE_OK)
		return connect_link(c, now_ms);
	c->problem = code;
	if (code == NE_AUTH)
		move(c, CONN_LOGIN, UINT64_MAX);
	else
		wait_for(c, now_ms, retry_after_ms);
	return CONN_NOTHING;
}

void conn_link_up(struct conn *c, uint64_t now_ms)
{
	if (c->state != CONN_CONNECTING)
		return;
	move(c, CONN_UP, UINT64_MAX);
	c->up_since_ms = now_ms;
	c->was_refused = c->fresh = false;
	c->problem = NE_OK;
}

enum conn_order conn_link_lost(struct conn *c, uint64_t now_ms, int code)
{
	if (c->state != CONN_CONNECTING && c->state != CONN_UP)
		return CONN_NOTHING;
	if (c->state == CONN_UP && now_ms - c->up_since_ms >= CONN_STEADY_MS)
		c->attempts = 0;
	c->problem = code;
	if (code == NE_AUTH && !(c->was_refused && c->fresh)) {
		/* The first refusal: the token may be old or the keys may have moved on. */
		c->was_refused = true;
		c->fresh = false;
	}
	if (c->renewing) { /* its answer decides what is next */
		c->renewing = false;
		move(c, CONN_REFRESHING, UINT64_MAX);
		return CONN_NOTHING;
	}
	wait_for(c, now_ms, 0);
	return CONN_NOTHING;
}

void conn_unknown_key(struct conn *c, uint64_t now_ms, bool group)
{
	if (c->state != CONN_UP || c->renewing)
		return;
	if (c->had_key_refresh && now_ms - c->last_key_refresh_ms < CONN_KEY_REFRESH_MS)
		return;
	if (c->key_ms != UINT64_MAX) { /* due already; a device's key comes by no other way */
		c->key_group = c->key_group && group;
		return;
	}
	/* Every device of the user sees the same message: do not ask in the same instant. */
	c->key_group = group;
	c->key_ms = now_ms + CONN_KEY_WAIT_MS + draw(c, CONN_KEY_JITTER_MS);
}

void conn_group_key(struct conn *c)
{
	if (c->key_group)
		c->key_ms = UINT64_MAX;
}

uint64_t conn_deadline_ms(const struct conn *c)
{
	if (c->state == CONN_UP && !c->renewing)
		return refresh_due_ms(c);
	return c->deadline_ms;
}

const char *conn_state_name(enum conn_state state)
{
	static const char *const names[] = {
		[CONN_IDLE] = "stopped",	  [CONN_LOGIN] = "login-required",
		[CONN_WAITING] = "offline",	  [CONN_REFRESHING] = "connecting",
		[CONN_CONNECTING] = "connecting", [CONN_UP] = "connected",
		[CONN_ASLEEP] = "asleep",
	};
	return names[state];
}
