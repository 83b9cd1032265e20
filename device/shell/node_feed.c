/* The engine's part of a node: events in, actions out. */
#include <stdlib.h>

#include "device/shell/node_internal.h"

static void publish(struct node *n, struct slice frame)
{
	struct err e = {0};

	/* Not connected any more: the engine hears of that next and sends again later. */
	if (!n->engine_up || n->down_due)
		return;
	if (crypt_seal(n->crypt, frame, &n->sealed, &e) ||
	    n->link->publish(n->link, buf_slice(&n->sealed), frame.len, &e))
		node_say(n, "a message was not sent: %s", e.text);
}

static void act(struct node *n, const struct action *a)
{
	switch (a->type) {
	case ACT_PUBLISH:
		publish(n, a->frame);
		break;
	case ACT_KEY:
		node_group_key(n, &a->key);
		break;
	case ACT_SYNCED:
		node_synced(n, a->sync_id);
		break;
	case ACT_VERIFIED:
		node_verified(n, a->sync_id);
		break;
	case ACT_CHANGED:
		if (n->owner.changed && a->table)
			n->owner.changed(n->owner.ctx, n->paths.db, a->table);
		break;
	case ACT_CONFLICT:
		if (n->owner.conflict)
			n->owner.conflict(n->owner.ctx, n->paths.db, a->conflict);
		break;
	case ACT_NEW_SITE:
		node_say(n, "this database has a new site id (it was a copy or a restored backup)");
		break;
	}
}

enum resolution node_resolve(void *ctx, const struct engine_conflict *c, struct val *write)
{
	struct node *n = ctx;

	return n->owner.resolve(n->owner.ctx, n->paths.db, c, write);
}

/* The database refused: hold everything back for a while, longer each time. */
static void hold_back(struct node *n, int code, const struct err *e)
{
	uint64_t now = mono_ms();

	if (!n->trouble.code)
		n->retry_wait_ms = RETRY_MIN_MS;
	else if (n->retry_wait_ms < RETRY_MAX_MS)
		n->retry_wait_ms *= 2;
	if (n->trouble.code != code && code != NE_BUSY)
		node_say(n, "the database cannot be written: %s", e->text);
	n->trouble = *e;
	n->trouble.code = code;
	n->trouble_ms = now;
	n->retry_ms = now + n->retry_wait_ms;
	n->held_back = true;
}

/* A step that writes nothing succeeds also on a full disk: only time tells. */
static void calm_down(struct node *n)
{
	if (!n->trouble.code || n->held_back || mono_ms() - n->trouble_ms < CALM_MS)
		return;
	if (n->trouble.code != NE_BUSY)
		node_say(n, "the database can be written again");
	n->trouble = (struct err){0};
}

bool node_feed(struct node *n, struct event *ev)
{
	struct err e = {0};

	ev->now_ms = wall_ms();
	ev->mono_ms = mono_ms();
	int rc = engine_step(n->engine, ev, &n->actions, &e);
	if (rc) {
		hold_back(n, rc, &e);
		return false;
	}
	n->held_back = false;
	/* By index: a callback of an action must not step the engine, and none does. */
	for (size_t i = 0; i < n->actions.n; i++)
		act(n, &n->actions.at[i]);
	return true;
}

/* A sealed message. False: the engine must be given it again. */
static bool feed_message(struct node *n, const struct letter *l)
{
	struct event ev = {0};
	enum crypt_epoch epoch;

	if (crypt_open(n->crypt, &l->topic, slice_of(l->bytes, l->len), &n->plain, &epoch, NULL)) {
		bool group = l->topic.kind != TOPIC_DOWN;

		/*
		 * Keys change while messages are on their way: that is no fault. A device's own is
		 * new when the server's store was replaced.
		 */
		if (epoch == CRYPT_NEWER || (group && epoch != CRYPT_SAME))
			n->other_key++;
		else
			n->bad_messages++;
		if (epoch == CRYPT_NEWER)
			node_link_unknown_key(n, group);
		return true;
	}
	ev.frame = buf_slice(&n->plain);
	if (l->topic.kind == TOPIC_DOWN) {
		ev.type = EV_DOWN;
		n->heard_ms = mono_ms();
	} else {
		ev.type = l->topic.kind == TOPIC_HEAD ? EV_HEAD : EV_CHANGES;
	}
	return node_feed(n, &ev);
}

static bool feed_letter(struct node *n, const struct letter *l)
{
	struct event ev = {0};

	/* What belongs to a connection that is gone is gone with it. */
	if (l->attempt != n->attempt)
		return true;
	switch (l->type) {
	case LETTER_UP:
		ev.type = EV_LINK_UP;
		n->engine_up = true; /* before: the step's own actions are to be published */
		node_link_up(n);
		return node_feed(n, &ev);
	case LETTER_LOST:
		node_link_lost(n, l);
		return true;
	case LETTER_MESSAGE:
		return feed_message(n, l);
	case LETTER_SENT:
		ev.type = EV_SENT;
		ev.sent_bytes = l->sent_bytes;
		return node_feed(n, &ev);
	default:
		return true;
	}
}

/* What has to be told before the next letter. */
static bool feed_notices(struct node *n)
{
	struct event down = {.type = EV_LINK_DOWN};
	struct event offset = {.type = EV_OFFSET, .offset_ms = n->offset_ms};

	if (n->down_due) {
		if (!node_feed(n, &down))
			return false;
		n->down_due = n->engine_up = false;
	}
	if (n->offset_due) {
		if (!node_feed(n, &offset))
			return false;
		n->offset_due = false;
	}
	return true;
}

static bool feed_letters(struct node *n)
{
	for (unsigned i = 0; i < LETTERS_A_STEP; i++) {
		if (!feed_notices(n))
			return false;
		struct letter *l = n->held ? n->held : n->link->take(n->link);
		if (!l)
			return true;
		n->held = NULL;
		if (!feed_letter(n, l)) {
			n->held = l;
			return false;
		}
		free(l);
	}
	return true;
}

/*
 * When to look again. The last write to a file may be long before the commit shows (an fsync lies
 * between, and the WAL's index is mapped memory that no notice tells of): look on for a while.
 */
static uint64_t next_look_ms(struct node *n, bool changed)
{
	uint64_t wait = n->look_wait_ms;

	if (!changed && wait > 0 && wait <= LOCAL_DEBOUNCE_MAX_MS) {
		n->look_wait_ms = wait * 2;
		return wait;
	}
	n->look_wait_ms = 0;
	return n->watch < 0 ? LOCAL_POLL_BLIND_MS : LOCAL_POLL_MS;
}

/* PRAGMA data_version tells whether someone else wrote; the engine's own commits do not show. */
static void look(struct node *n)
{
	int64_t version = n->data_version;
	uint64_t now = mono_ms();

	if (now < n->look_ms)
		return;
	/* In doubt, let the engine look. */
	bool changed =
		db_int(engine_devdb(n->engine)->db, "PRAGMA data_version", 0, &version, NULL) ||
		version != n->data_version;
	n->data_version = version;
	n->local_due = n->local_due || changed;
	n->look_ms = now + next_look_ms(n, changed);
}

void node_feed_all(struct node *n)
{
	struct event local = {.type = EV_LOCAL}, tick = {.type = EV_TICK};

	look(n);
	calm_down(n);
	if (n->held_back && mono_ms() < n->retry_ms)
		return;
	if (!feed_letters(n))
		return;
	if (n->local_due) {
		if (!node_feed(n, &local))
			return;
		n->local_due = false;
	}
	if (n->held_back || mono_ms() >= engine_deadline_ms(n->engine))
		(void)node_feed(n, &tick);
}
