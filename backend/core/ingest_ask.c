/* What the server has of a device's append rows: asked after it lost some (P8). */
#include <string.h>

#include "backend/core/ingest_step.h"

static int find(struct step *s, const struct sender *from, const struct f_ask *a,
		const struct store_shape *sh, const struct store_site *site,
		struct store_known *known, struct err *e)
{
	const struct store_span span = {.gen = a->gen, .after = a->after, .upto = a->upto};

	return a->salt ? store_keys(s->store, &from->us->u, site, sh, &span, a->salt, known, e)
		       : store_ranges(s->store, &from->us->u, site, sh, &span, known, e);
}

static int answer(struct step *s, const struct sender *from, const struct f_ask *a, bool foreign,
		  const struct store_known *known, struct err *e)
{
	struct frame f = {.type = FRAME_RANGES};

	f.ranges = (struct f_ranges){
		.nonce = a->nonce,
		.store = store_id(s->store),
		.term = store_term(s->store),
		.foreign = foreign,
		.upto = known->upto,
		.runs = buf_slice(&known->runs),
		.keys = buf_slice(&known->keys),
	};
	return send_down(s, from, &f, a->nonce, e);
}

int on_ask(struct step *s, const struct sender *from, const struct f_ask *a, struct err *e)
{
	const struct store_shape *sh = store_shape_find(s->store, a->shape);
	struct store_known known = {
		.upto = a->upto, .runs = {.max = LIMIT_MESSAGE}, .keys = {.max = LIMIT_MESSAGE}};
	struct store_site site = {.id = 0};
	bool there;
	int rc = 0;

	if (sh && sh->shape.kind != SHAPE_APPEND) {
		s->in->stats.malformed++;
		return 0;
	}
	if (sh && sh->table->missing) /* it will be asked again */
		return 0;
	TRY(store_site_get(s->store, &from->us->u, a->site, &site, &there, e));
	s->rows += ASK_ROWS;
	if (sh && there)
		rc = find(s, from, a, sh, &site, &known, e);
	if (!rc)
		rc = answer(s, from, a, there && strcmp(site.device.at, from->device.at) != 0,
			    &known, e);
	buf_free(&known.runs);
	buf_free(&known.keys);
	return rc;
}
