/* Rows that no set can hold: kept in neap_rejected, so that they hold up nothing else. */
#include <string.h>

#include "device/core/apply_internal.h"
#include "device/core/cut_internal.h"
#include "device/core/rejected.h"

/* A set's frame and its other fields need this much at most. */
enum { SET_OVERHEAD = 65536 };

static const char reason[] = "too large: a value may have 3.5 MiB, a row 4 MiB; shorten it and "
			     "write the row again";

bool cut_fits_a_set(size_t largest, size_t bytes)
{
	return largest <= LIMIT_VALUE && bytes <= LIMIT_SET - SET_OVERHEAD;
}

int cut_reject(struct cutting *c, const struct tracked *t, const struct val *key, struct err *e)
{
	struct image *im = arena_alloc(c->arena, sizeof *im);

	if (!im)
		return err_set(e, NE_MEMORY, "no memory for a key");
	memcpy(im->key, key, t->shape.n_key * sizeof *key);
	c->rejects = true;
	return rejected_keep(c->d, t, im, false, reason, e);
}

int cut_look_for_rejects(struct cutting *c, struct err *e)
{
	int64_t n;

	TRY(db_int(c->d->db, "SELECT EXISTS(SELECT 1 FROM neap_rejected)", 0, &n, e));
	c->rejects = n != 0;
	TRY(db_int(c->d->db, "SELECT EXISTS(SELECT 1 FROM neap_parked)", 0, &n, e));
	c->parked = n != 0;
	return NE_OK;
}
