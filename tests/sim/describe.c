#include "tests/sim/describe.h"

#include <stdio.h>

typedef unsigned long long ull;

enum { LINE_MAX = 4000 };

struct words {
	char at[LINE_MAX];
	size_t len;
};

static void put(struct words *o, const char *fmt, ...) NEAP_PRINTF(2, 3);
static void put(struct words *o, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int n = vsnprintf(o->at + o->len, sizeof o->at - o->len, fmt, args);
	va_end(args);
	if (n > 0)
		o->len += (size_t)n < sizeof o->at - o->len ? (size_t)n : sizeof o->at - o->len - 1;
}

static void put_val(struct words *o, const struct val *v)
{
	switch (v->type) {
	case VAL_NULL:
		put(o, "null");
		break;
	case VAL_INT:
		put(o, "%lld", (long long)v->i);
		break;
	case VAL_REAL:
		put(o, "%.17g", v->r);
		break;
	case VAL_TEXT:
		put(o, "'%.*s'", v->s.len > 20 ? 20 : (int)v->s.len, (const char *)v->s.at);
		break;
	case VAL_BLOB:
		put(o, "x");
		for (size_t i = 0; i < v->s.len && i < 6; i++)
			put(o, "%02x", v->s.at[i]);
		if (v->s.len > 6)
			put(o, "..%zu", v->s.len);
	}
}

/* Stamps relative to the run's start, in ms and counter, and the head of the site. */
static void put_reg(struct words *o, struct reg r)
{
	uint64_t ms = stamp_ms(r.stamp);

	if (ms > 1700000000000u)
		put(o, "@%llu.%llu/%llx", (ull)(ms - 1700000000000u), (ull)(r.stamp & 0xffff),
		    (ull)(r.site >> 48));
	else
		put(o, "@%llu/%llx", (ull)r.stamp, (ull)(r.site >> 48));
}

static void put_row(struct words *o, const struct shape *s, const struct row *r)
{
	put(o, "\n        %.*s[", (int)s->name.len, (const char *)s->name.at);
	for (unsigned i = 0; i < s->n_key; i++) {
		put(o, i ? "," : "");
		put_val(o, &r->key[i]);
	}
	put(o, "]");
	if (s->kind == SHAPE_APPEND)
		put(o, " gen %llu n %lld", (ull)r->gen, (long long)r->n);
	if (r->exist != EXIST_NONE) {
		put(o, r->exist == EXIST_ALIVE ? " alive" : " dead");
		put_reg(o, r->exist_reg);
	}
	for (unsigned i = 0; i < r->n_cell; i++) {
		const struct shape_col *c = &s->col[r->cell[i].col];
		put(o, " %.*s=", (int)c->name.len, (const char *)c->name.at);
		put_val(o, &r->cell[i].val);
		if (s->kind == SHAPE_MERGE)
			put_reg(o, r->cell[i].reg);
	}
}

/* Shapes of a page, and of every device's tables. */
struct known {
	const struct world *w;
	size_t n;
	struct shape *shape;
};

static const struct shape *find_shape(void *ctx, struct shape_id id)
{
	const struct known *k = ctx;

	for (size_t i = 0; i < k->n; i++)
		if (shape_id_eq(k->shape[i].id, id))
			return &k->shape[i];
	for (unsigned i = 0; i < k->w->n_device; i++) {
		struct engine *en = k->w->device[i].en;
		struct tracked *t = en ? devdb_table_by_shape(engine_devdb(en), id) : NULL;
		if (t)
			return &t->shape;
	}
	if (k->w->backend.store) {
		const struct store_shape *s = store_shape_find(k->w->backend.store, id);
		if (s)
			return &s->shape;
	}
	return NULL;
}

static void put_rows(struct words *o, struct known *k, struct slice bytes, uint64_t home,
		     struct arena *a)
{
	struct rows rows;
	struct err e;

	if (rows_decode(bytes, home, (struct shape_finder){find_shape, k}, a, &rows, NULL, &e)) {
		put(o, " rows: %s", e.text);
		return;
	}
	for (size_t t = 0; t < rows.n_table; t++)
		for (size_t i = 0; i < rows.table[t].n_row && i < 20; i++)
			put_row(o, rows.table[t].shape, &rows.table[t].row[i]);
}

static void put_position(struct words *o, const struct position *p)
{
	put(o, " term %llx cursor %llu hold %llu", (ull)(p->term >> 48), (ull)p->cursor,
	    (ull)p->hold);
	if (p->full)
		put(o, " full base %llu", (ull)p->base);
}

static void put_frame(struct words *o, struct known *k, const struct frame *f, struct arena *a)
{
	switch (f->type) {
	case FRAME_HELLO:
		put(o, " site %llx last %llu", (ull)(f->hello.site >> 48),
		    (ull)f->hello.last_number);
		put_position(o, &f->hello.at);
		break;
	case FRAME_SET:
		put(o, " site %llx number %llu after %llu seen %llu", (ull)(f->set.site >> 48),
		    (ull)f->set.number, (ull)f->set.prev, (ull)f->set.seen);
		put_rows(o, k, f->set.rows, f->set.site, a);
		break;
	case FRAME_PART:
		put(o, " cut %llx %llu/%llu", (ull)(f->part.cut >> 48), (ull)f->part.index,
		    (ull)f->part.count);
		break;
	case FRAME_PULL:
		put(o, " %llu", (ull)f->pull.number);
		put_position(o, &f->pull.at);
		break;
	case FRAME_WELCOME:
		put(o, " term %llx head %llu status %d last %llu, %zu unknown",
		    (ull)(f->welcome.term >> 48), (ull)f->welcome.head, f->welcome.site_status,
		    (ull)f->welcome.last_number, f->welcome.n_unknown);
		break;
	case FRAME_ACK:
		put(o, " number %llu head %llu:", (ull)f->ack.number, (ull)f->ack.head);
		for (size_t i = 0; i < f->ack.n; i++)
			put(o, " %llu own %llu", (ull)f->ack.set[i].number, (ull)f->ack.set[i].own);
		break;
	case FRAME_EXPECT:
		put(o, " after %llu, not %llu", (ull)f->expect.after, (ull)f->expect.number);
		break;
	case FRAME_PAGE:
		put(o, " term %llx %llu to %llu, head %llu%s", (ull)(f->page.term >> 48),
		    (ull)f->page.from, (ull)f->page.upto, (ull)f->page.head,
		    f->page.token.len ? ", goes on" : "");
		k->n = 0;
		k->shape = arena_array(a, f->page.n_shape + 1, sizeof *k->shape);
		for (size_t i = 0; k->shape && i < f->page.n_shape; i++)
			if (!shape_decode(f->page.shape[i], a, &k->shape[k->n], NULL))
				k->n++;
		put_rows(o, k, f->page.rows, 0, a);
		break;
	case FRAME_RESET:
		put(o, " term %llx head %llu", (ull)(f->reset.term >> 48), (ull)f->reset.head);
		break;
	case FRAME_REFUSE:
		put(o, " number %llu code %d %.*s", (ull)f->refuse.number, f->refuse.code,
		    (int)f->refuse.text.len, (const char *)f->refuse.text.at);
		break;
	case FRAME_REJECT:
		put(o, " number %llu %.*s", (ull)f->reject.number, (int)f->reject.text.len,
		    (const char *)f->reject.text.at);
		put_rows(o, k, f->reject.rows, 0, a);
		break;
	case FRAME_CHANGE:
		put(o, " seq %llu", (ull)f->change.seq);
		put_rows(o, k, f->change.rows, 0, a);
		break;
	case FRAME_HEAD:
		put(o, " term %llx head %llu first %llu", (ull)(f->head.term >> 48),
		    (ull)f->head.head, (ull)f->head.first);
		break;
	default:
		break;
	}
}

void describe_frame(const struct world *w, const char *who, const char *direction,
		    struct slice plain)
{
	struct arena a = {.max = 4 * LIMIT_DECODED};
	struct known k = {.w = w};
	static struct words o;
	struct frame f;
	struct err e;

	if (!w->opt->trace)
		return;
	o.len = 0;
	o.at[0] = 0;
	if (frame_decode(plain, &a, &f, &e)) {
		sim_trace(w, "%s %s undecodable: %s", who, direction, e.text);
	} else {
		put_frame(&o, &k, &f, &a);
		sim_trace(w, "%s %s %s%s", who, direction, frame_name(f.type), o.at);
	}
	arena_free(&a);
}
