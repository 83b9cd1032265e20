/*
 * Telling a device which of its rows were not taken. The effect of the set restores what stands,
 * and says so by its registers (SITE_REFUSED): a reject that gets lost loses only the reason.
 */
#include <string.h>

#include "backend/core/ingest_step.h"

enum { REJECT_BYTES = DOWN_MAX - 1024 }; /* of the rows in one frame */

/* Rows of one table and reason; all the list's others are left for the next call. */
struct batch {
	const struct shape *shape;
	const char *reason;
	struct row *row;
	size_t n;
};

static int send(struct step *s, const struct sender *to, uint64_t site, uint64_t number,
		const struct batch *b, struct err *e)
{
	struct table_rows table = {.shape = b->shape, .n_row = b->n, .row = b->row};
	struct rows rows = {.n_table = 1, .table = &table};
	struct frame f = {.type = FRAME_REJECT};
	struct buf *out = &s->in->rows;

	buf_clear(out);
	TRY(mark_uncompressed(s, to->us, &rows, &f.uncompressed, e));
	TRY(rows_encode(&rows, SITE_SERVER, out, e));
	if (out->len > REJECT_BYTES) {
		struct batch half = *b;
		if (b->n == 1) /* a huge key: the effect tells of it */
			return 0;
		half.n = b->n / 2;
		TRY(send(s, to, site, number, &half, e));
		half.row += half.n;
		half.n = b->n - half.n;
		return send(s, to, site, number, &half, e);
	}
	f.reject = (struct f_reject){.site = site,
				     .number = number,
				     .text = slice_str(b->reason),
				     .rows = buf_slice(out)};
	return queue_reject(s, to, &f, e);
}

int send_rejects(struct step *s, const struct sender *to, uint64_t site, uint64_t number,
		 const struct rejected_row *list, struct err *e)
{
	size_t n = 0;

	for (const struct rejected_row *r = list; r; r = r->next)
		n++;
	struct row *row = arena_array(&s->in->work, n + 1, sizeof *row);
	if (!row)
		return err_set(e, NE_MEMORY, "no memory for a reject");
	/* Runs of the same table and reason; sets are made table by table. */
	while (list) {
		struct batch b = {.shape = list->shape, .reason = list->reason, .row = row};
		for (; list && list->shape == b.shape && strcmp(list->reason, b.reason) == 0;
		     list = list->next)
			b.row[b.n++] = (struct row){.key = list->row->key};
		TRY(send(s, to, site, number, &b, e));
	}
	return 0;
}
