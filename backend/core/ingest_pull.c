/* What devices ask: hello, declarations, pages. */
#include <string.h>

#include "backend/core/ingest_step.h"

enum { MIN_PAGE_BYTES = 512 };

int send_reset(struct step *s, const struct sender *from, uint64_t nonce, struct err *e)
{
	struct frame f = {.type = FRAME_RESET};

	s->in->stats.resets++;
	f.reset = (struct f_reset){
		.nonce = nonce,
		.store = store_id(s->store),
		.term = store_term(s->store),
		.head = from->us->u.head,
	};
	return send_down(s, from, &f, nonce, e);
}

int position_ok(struct step *s, const struct sender *from, const struct position *at, bool *ok,
		struct err *e)
{
	const struct ingest_break *b = &s->in->c.broken;
	struct store_user u = from->us->u;

	*ok = b->no_term && at->store == store_id(s->store);
	if (at->full ? b->no_gc_base : b->no_gc_check)
		u.gc_seq = 0;
	return *ok ? 0 : store_position_valid(s->store, &u, at, ok, e);
}

static enum site_status judge(const struct step *s, const struct store_site *site,
			      const struct sender *from, const struct f_hello *h)
{
	const struct ingest_break *b = &s->in->c.broken;

	if (!b->no_clash && strcmp(site->device.at, from->device.at) != 0)
		return SITE_CLASH;
	/* Also one that was only told of: what an older copy has given out since is fenced. */
	if ((h->last_number < site->number || h->last_number < site->fence) && !b->no_behind)
		return SITE_BEHIND;
	if (h->last_number == site->number && site->number && h->last_cut != site->cut &&
	    !b->no_cut_id)
		return SITE_BEHIND;
	return SITE_OK;
}

static int unknown_shapes(struct step *s, const struct f_hello *h, struct f_welcome *w,
			  struct err *e)
{
	struct shape_id *id = arena_array(&s->in->work, h->n_shape + 1, sizeof *id);

	if (!id)
		return err_set(e, NE_MEMORY, "no memory for a welcome");
	w->unknown = id;
	for (size_t i = 0; i < h->n_shape; i++)
		if (!store_shape_find(s->store, h->shape[i]))
			id[w->n_unknown++] = h->shape[i];
	return 0;
}

static int join_tables(struct step *s, const struct sender *from, const struct f_hello *h,
		       struct err *e)
{
	for (size_t i = 0; i < h->n_shape; i++) {
		const struct store_shape *sh = store_shape_find(s->store, h->shape[i]);
		if (sh)
			TRY(store_user_joins(s->store, &from->us->u, sh->table, e));
	}
	return store_device_tracks(s->store, &from->us->u, from->device.at, h->shape, h->n_shape,
				   s->now_ms, e);
}

/*
 * The device will cut anew what it learns not to be committed: a set of its that is still on its
 * way must not be committed after that, or a row changed since would stand under two identities.
 */
static int fence(struct step *s, const struct sender *from, const struct f_hello *h,
		 struct store_site *site, bool known, struct err *e)
{
	if (s->in->c.broken.no_fence || !h->site || h->site > INT64_MAX ||
	    h->last_number > INT64_MAX || h->last_number <= site->number ||
	    h->last_number <= site->fence)
		return 0;
	if (!known) {
		int rc = site_add(s, from, h->site, site, e);
		if (rc == NE_LIMIT) /* its sets will be refused, too */
			return 0;
		TRY(rc);
	}
	return store_site_fence(s->store, &from->us->u, site, h->last_number, e);
}

int on_hello(struct step *s, const struct sender *from, const struct f_hello *h, struct err *e)
{
	struct frame f = {.type = FRAME_WELCOME};
	struct store_site site = {.id = 0};
	bool ok = h->at.store == 0, known;

	s->in->stats.hellos++;
	if (!ok)
		TRY(position_ok(s, from, &h->at, &ok, e));
	if (!ok)
		return send_reset(s, from, h->nonce, e);
	f.welcome = (struct f_welcome){
		.nonce = h->nonce,
		.store = store_id(s->store),
		.term = store_term(s->store),
		.head = from->us->u.head,
		.server_ms = s->now_ms,
		.site = h->site,
	};
	TRY(store_site_get(s->store, &from->us->u, h->site, &site, &known, e));
	if (known) {
		f.welcome.site_status = judge(s, &site, from, h);
		f.welcome.last_number = site.number;
		f.welcome.last_cut = site.cut;
		f.welcome.noted = site.noted;
	}
	if (f.welcome.site_status == SITE_OK)
		TRY(fence(s, from, h, &site, known, e));
	TRY(unknown_shapes(s, h, &f.welcome, e));
	TRY(join_tables(s, from, h, e));
	return send_down(s, from, &f, h->nonce, e);
}

static int refuse_shape(struct step *s, const struct sender *from, struct slice encoded,
			enum declare_result result, const struct err *why, struct err *e)
{
	struct frame f = {.type = FRAME_REFUSE};
	struct shape shape;
	bool named = shape_decode(encoded, &s->in->work, &shape, NULL) == 0;

	s->in->stats.refused++;
	f.refuse = (struct f_refuse){
		.store = store_id(s->store),
		.term = store_term(s->store),
		.code = result == DECLARE_LIMIT ? REFUSE_QUOTA : REFUSE_SCHEMA,
		.server_ms = s->now_ms,
		.limit_ms = s->in->c.far_ahead_ms,
		.text = slice_str(why->text),
		.n_shape = named,
		.shape = &shape.id,
	};
	return send_down(s, from, &f, 0, e);
}

static int declared(struct step *s, const struct sender *from, struct slice encoded, struct err *e)
{
	const struct store_shape *sh;
	struct shape shape;

	TRY(shape_decode(encoded, &s->in->work, &shape, e));
	sh = store_shape_find(s->store, shape.id);
	return sh ? store_device_uses(s->store, &from->us->u, from->device.at, sh, s->now_ms, e)
		  : 0;
}

/* Whether it may be declared now: what the store does not know changes its schema or catalogue. */
static int may_declare(struct step *s, const struct sender *from, struct slice encoded, bool *now,
		       struct err *e)
{
	struct shape shape;

	*now = true;
	if (shape_decode(encoded, &s->in->work, &shape, NULL) == 0 &&
	    store_shape_find(s->store, shape.id))
		return 0;
	uint64_t wait = declaration_wait_ms(s, from);
	*now = wait == 0;
	if (*now)
		return declaration_charge(s, from, e);
	s->in->stats.declarations_delayed++;
	return send_busy(s, from, wait, e);
}

int on_declare(struct step *s, const struct sender *from, const struct f_declare *d, struct err *e)
{
	for (size_t i = 0; i < d->n; i++) {
		enum declare_result result;
		struct err why = {.code = 0};
		bool now;

		TRY(may_declare(s, from, d->shape[i], &now, e));
		if (!now) /* nor what follows: the device asks again which are unknown */
			return 0;
		int rc = store_declare(s->store, &from->us->u, d->shape[i], &result, &why);
		if (rc) {
			*e = why;
			return rc;
		}
		TRY(result == DECLARE_OK ? declared(s, from, d->shape[i], e)
					 : refuse_shape(s, from, d->shape[i], result, &why, e));
	}
	return 0;
}

static int fill_page(struct step *s, const struct sender *from, const struct store_page *page,
		     struct frame *f, struct err *e)
{
	struct f_page *out = &f->page;
	struct buf *rows = &s->in->rows;
	struct slice *shape = arena_array(&s->in->work, page->n_table + 1, sizeof *shape);

	if (!shape)
		return err_set(e, NE_MEMORY, "no memory for a page");
	for (size_t i = 0; i < page->n_table; i++)
		shape[i] = page->table[i]->encoded;
	buf_clear(rows);
	TRY(mark_uncompressed(s, from->us, &page->rows, &f->uncompressed, e));
	TRY(rows_encode(&page->rows, SITE_SERVER, rows, e));
	out->n_shape = page->n_table;
	out->shape = shape;
	out->rows = buf_slice(rows);
	out->upto = page->upto;
	out->token = page->token;
	return 0;
}

static size_t page_budget(const struct step *s, const struct f_pull *p)
{
	size_t budget = s->in->c.page_bytes;

	if (p->credit < budget)
		budget = (size_t)p->credit;
	return budget < MIN_PAGE_BYTES ? MIN_PAGE_BYTES : budget;
}

/* P3 broken: rows that only the asking device wrote are not among what it is given. */
static int leave_out_own(struct step *s, const struct sender *from, struct rows *rows,
			 struct err *e)
{
	for (size_t t = 0; t < rows->n_table; t++) {
		struct table_rows *tr = &rows->table[t];
		size_t n = 0;
		for (size_t i = 0; i < tr->n_row; i++) {
			struct row *r = &tr->row[i];
			struct store_site site = {.id = 0};
			uint64_t by = r->n_cell ? r->cell[0].reg.site : r->exist_reg.site;
			bool own;
			TRY(store_site_get(s->store, &from->us->u, by, &site, &own, e));
			own = own && strcmp(site.device.at, from->device.at) == 0;
			for (uint16_t c = 0; c < r->n_cell; c++)
				own = own && r->cell[c].reg.site == by;
			if (!own)
				tr->row[n++] = *r;
		}
		tr->n_row = n;
	}
	return 0;
}

int on_pull(struct step *s, const struct sender *from, const struct f_pull *p, struct err *e)
{
	struct frame f = {.type = FRAME_PAGE};
	struct store_page page;
	bool ok;

	TRY(position_ok(s, from, &p->at, &ok, e));
	if (!ok)
		return send_reset(s, from, p->nonce, e);
	struct store_asked asked = {
		.from = p->table.len ? p->from : p->at.cursor,
		.upto = p->upto,
		.table = p->table,
		.token = p->token,
		.bytes = page_budget(s, p),
	};
	int rc = store_page(s->store, &from->us->u, &asked, &s->in->work, &page, e);
	if (rc == NE_MALFORMED) {
		s->in->stats.malformed++;
		return 0;
	}
	TRY(rc);
	for (size_t i = 0; i < page.rows.n_table; i++)
		s->rows += page.rows.table[i].n_row;
	if (s->in->c.broken.no_own_pull)
		TRY(leave_out_own(s, from, &page.rows, e));
	f.page = (struct f_page){
		.nonce = p->nonce,
		.store = store_id(s->store),
		.term = store_term(s->store),
		.from = asked.from,
		.head = from->us->u.head,
	};
	TRY(fill_page(s, from, &page, &f, e));
	s->in->stats.pages++;
	return send_down(s, from, &f, p->nonce, e);
}
