/*
 * Quotas of a user (R4): rows and bytes of all its tables, and as much again, but not less than
 * DEAD_ROWS and DEAD_BYTES, of what is remembered of keys that are no rows. A set that makes it
 * more than the quota is refused whole and stays pending at its device; deletes, and whatever else
 * does not make it more, are taken at any time.
 */
#include <stdio.h>

#include "backend/core/ingest_step.h"

/* So that a small account may delete much in the days that tombstones live. */
enum { DEAD_ROWS = 100000, DEAD_BYTES = 16 * 1024 * 1024 };

static int64_t limit(int64_t own, uint64_t all)
{
	if (own != STORE_QUOTA_DEFAULT)
		return own;
	return all && all <= INT64_MAX ? (int64_t)all : STORE_QUOTA_NONE;
}

/* So near that the next set may be the one that is refused. */
static bool near_limit(int64_t has, int64_t may, int64_t set)
{
	return may != STORE_QUOTA_NONE && has > may - set;
}

static int count(struct step *s, struct user_state *us, struct err *e)
{
	if (us->counted)
		return 0;
	TRY(store_quota(s->store, us->u.name.at, &us->quota, e));
	us->quota.rows = limit(us->quota.rows, s->in->c.rows_user);
	us->quota.bytes = limit(us->quota.bytes, s->in->c.bytes_user);
	TRY(store_usage(s->store, &us->u, &us->usage, e));
	if (us->usage.replaced && (near_limit(us->usage.rows, us->quota.rows, LIMIT_ROWS) ||
				   near_limit(us->usage.bytes, us->quota.bytes, LIMIT_SET))) {
		TRY(store_recount(s->store, us->u.name.at, e));
		TRY(store_usage(s->store, &us->u, &us->usage, e));
	}
	us->counted = true;
	return 0;
}

static void over(struct step *s, const struct sender *from, const char *what, int64_t has,
		 int64_t may, struct refusal *why)
{
	struct ingest_stats *st = &s->in->stats;

	why->code = REFUSE_QUOTA;
	err_set(&why->text, NE_LIMIT, "account %s has %lld of %lld %s", from->us->u.name.at,
		(long long)has, (long long)may, what);
	st->over_quota++;
	st->over_user = from->us->u.name;
	st->over_device = from->device;
	snprintf(st->over_why, sizeof st->over_why, "%.150s", why->text.text);
}

static bool dead_over(struct step *s, const struct sender *from, const struct store_usage *after,
		      struct refusal *why)
{
	const struct store_usage *before = &from->us->usage;
	const struct store_quota *q = &from->us->quota;
	int64_t keys = q->rows < DEAD_ROWS ? DEAD_ROWS : q->rows;
	int64_t bytes = q->bytes < DEAD_BYTES ? DEAD_BYTES : q->bytes;

	if (q->rows != STORE_QUOTA_NONE && after->dead > keys && after->dead > before->dead)
		over(s, from, "deleted rows that are remembered", before->dead, keys, why);
	else if (q->bytes != STORE_QUOTA_NONE && after->dead_bytes > bytes &&
		 after->dead_bytes > before->dead_bytes)
		over(s, from, "bytes of deleted rows that are remembered", before->dead_bytes,
		     bytes, why);
	return why->code != 0;
}

static bool append_only(const struct rows *rows)
{
	for (size_t i = 0; i < rows->n_table; i++)
		if (rows->table[i].shape->kind != SHAPE_APPEND)
			return false;
	return rows->n_table > 0;
}

int quota_before(struct step *s, const struct sender *from, const struct rows *rows,
		 struct refusal *why, struct err *e)
{
	struct user_state *us = from->us;

	TRY(count(s, us, e));
	if (!append_only(rows)) /* what it does to the rows shows when it is done */
		return 0;
	if (us->quota.rows != STORE_QUOTA_NONE && us->usage.rows >= us->quota.rows)
		over(s, from, "rows", us->usage.rows, us->quota.rows, why);
	else if (us->quota.bytes != STORE_QUOTA_NONE && us->usage.bytes >= us->quota.bytes)
		over(s, from, "bytes", us->usage.bytes, us->quota.bytes, why);
	return 0;
}

int quota_after(struct step *s, const struct sender *from, struct refusal *why, struct err *e)
{
	struct user_state *us = from->us;
	const struct store_usage before = us->usage;
	struct store_usage after;

	if (us->quota.rows == STORE_QUOTA_NONE && us->quota.bytes == STORE_QUOTA_NONE)
		return 0;
	TRY(store_usage(s->store, &us->u, &after, e));
	if (us->quota.rows != STORE_QUOTA_NONE && after.rows > us->quota.rows &&
	    after.rows > before.rows)
		over(s, from, "rows", before.rows, us->quota.rows, why);
	else if (us->quota.bytes != STORE_QUOTA_NONE && after.bytes > us->quota.bytes &&
		 after.bytes > before.bytes)
		over(s, from, "bytes", before.bytes, us->quota.bytes, why);
	else if (!dead_over(s, from, &after, why))
		us->usage = after;
	return 0;
}
