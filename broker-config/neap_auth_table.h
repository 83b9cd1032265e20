/*
 * Two tables keyed by name: the connections let in ("user/device", until their
 * token ends) and the tokens declared void ("user" or "user/device"). No broker
 * calls inside; names, never pointers of the broker's.
 */
#ifndef NEAP_BROKER_TABLE_H
#define NEAP_BROKER_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct table;

struct entry {
	struct entry *next; /* the table's */
	int64_t iat;	    /* connections: issue time of its token; void: tokens up to this time */
	int64_t until;	    /* the entry is dropped after this second */
	bool kick;	    /* connections: to be disconnected at the next tick */
	char key[];
};

/* `max` entries at most. NE_MEMORY. */
NEAP_CHECK int table_new(struct table **out, size_t max);
void table_free(struct table *t);
size_t table_count(const struct table *t);
struct entry *table_find(const struct table *t, const char *key);
/* The entry of `key`, new ones zeroed. NE_LIMIT, NE_MEMORY. */
NEAP_CHECK int table_put(struct table *t, const char *key, struct entry **out);
/* Calls `fn` for each entry; one for which it returns true is removed. */
void table_sweep(struct table *t, bool (*fn)(void *ctx, struct entry *e), void *ctx);

#endif
