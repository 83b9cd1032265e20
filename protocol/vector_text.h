/*
 * The readable side of tests/vectors: what a shape, rows or a frame say, in words that a person
 * can check against docs/protocol.md. Each function appends to a buffer.
 */
#ifndef NEAP_PROTOCOL_VECTOR_TEXT_H
#define NEAP_PROTOCOL_VECTOR_TEXT_H

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "protocol/frame.h"

#define SAY(...)                                   \
	do {                                       \
		int rc_ = buf_printf(__VA_ARGS__); \
		assert(rc_ == 0);                  \
		(void)rc_;                         \
	} while (0)

static inline void say_hex(struct buf *b, struct slice s)
{
	SAY(b, "x'");
	for (size_t i = 0; i < s.len; i++)
		SAY(b, "%02x", s.at[i]);
	SAY(b, "'");
}

static inline void say_text(struct buf *b, struct slice s)
{
	SAY(b, "'");
	for (size_t i = 0; i < s.len; i++) {
		if (s.at[i] < 0x20 || s.at[i] >= 0x7f)
			SAY(b, "\\x%02x", s.at[i]);
		else
			SAY(b, "%c", s.at[i]);
	}
	SAY(b, "'");
}

static inline void say_val(struct buf *b, const struct val *v)
{
	switch (v->type) {
	case VAL_NULL:
		SAY(b, "null");
		return;
	case VAL_INT:
		SAY(b, "%" PRId64, v->i);
		return;
	case VAL_REAL:
		SAY(b, "real %.17g", v->r);
		return;
	case VAL_TEXT:
		say_text(b, v->s);
		return;
	case VAL_BLOB:
		say_hex(b, v->s);
		return;
	}
}

static inline void say_columns(struct buf *b, const struct shape_col *c, size_t n)
{
	static const char *affinity[] = {"blob", "text", "numeric", "integer", "real"};
	static const char *collation[] = {"", " nocase", " rtrim"};
	for (size_t i = 0; i < n; i++) {
		SAY(b, "%s", i ? ", " : "");
		say_text(b, c[i].name);
		SAY(b, " %s%s", affinity[c[i].affinity], collation[c[i].collation]);
	}
}

static inline void say_shape(struct buf *b, const struct shape *s)
{
	static const char *direction[] = {"both", "up", "down"};
	SAY(b, "%s table ", s->kind == SHAPE_APPEND ? "append" : "merge");
	say_text(b, s->name);
	SAY(b, ", %s%s; key: ", direction[s->direction], s->key_is_number ? ", key is number" : "");
	say_columns(b, s->key, s->n_key);
	SAY(b, "; columns: ");
	say_columns(b, s->col, s->n_col);
	for (size_t i = 0; i < s->n_unique; i++) {
		SAY(b, "; unique:");
		for (size_t k = 0; k < s->unique[i].n; k++)
			SAY(b, " %u", s->unique[i].col[k]);
	}
	SAY(b, "%s; id ", s->uncompressed ? "; uncompressed" : "");
	say_hex(b, slice_of(s->id.at, sizeof s->id.at));
}

static inline void say_reg(struct buf *b, struct reg r)
{
	SAY(b, " @%" PRIu64 "+%" PRIu64 "/%" PRIu64, r.stamp >> 16, r.stamp & 0xffff, r.site);
}

/* "key (…) …: column = value @ms+counter/site, …" */
static inline void say_row(struct buf *b, const struct shape *s, const struct row *r)
{
	static const char *exist[] = {"update", "alive", "dead"};
	SAY(b, "key (");
	for (size_t k = 0; k < s->n_key; k++) {
		SAY(b, "%s", k ? ", " : "");
		say_val(b, &r->key[k]);
	}
	SAY(b, ")");
	if (s->kind == SHAPE_APPEND) {
		SAY(b, " gen %" PRIu64 " n %" PRId64, r->gen, r->n);
	} else {
		SAY(b, " %s", exist[r->exist]);
		if (r->exist != EXIST_NONE)
			say_reg(b, r->exist_reg);
	}
	for (size_t c = 0; c < r->n_cell; c++) {
		struct slice name = s->col[r->cell[c].col].name;
		SAY(b, "%s%.*s = ", c ? ", " : ": ", (int)name.len, (const char *)name.at);
		say_val(b, &r->cell[c].val);
		if (s->kind == SHAPE_MERGE)
			say_reg(b, r->cell[c].reg);
	}
}

static inline void say_numbers(struct buf *b, const char *names, const uint64_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strcspn(names, " ");
		SAY(b, " %.*s=%" PRIu64, (int)len, names, v[i]);
		names += len + (names[len] == ' ');
	}
}

#define SAY_NUMBERS(b, names, ...)                             \
	say_numbers(b, names, (const uint64_t[]){__VA_ARGS__}, \
		    sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static inline void say_bytes(struct buf *b, const char *name, struct slice s)
{
	SAY(b, " %s=", name);
	say_hex(b, s);
}

static inline void say_position(struct buf *b, const struct position *p)
{
	SAY(b, " at=[");
	SAY_NUMBERS(b, "store term cursor hold full base", p->store, p->term, p->cursor, p->hold,
		    p->full, p->base);
	SAY(b, " ]");
}

static inline void say_ids(struct buf *b, const char *name, const struct shape_id *id, size_t n)
{
	SAY(b, " %s=[", name);
	for (size_t i = 0; i < n; i++)
		say_bytes(b, "id", slice_of(id[i].at, sizeof id[i].at));
	SAY(b, " ]");
}

static inline void say_slices(struct buf *b, const char *name, const struct slice *s, size_t n)
{
	SAY(b, " %s=[", name);
	for (size_t i = 0; i < n; i++)
		say_bytes(b, "bytes", s[i]);
	SAY(b, " ]");
}

static inline void say_text_field(struct buf *b, struct slice s)
{
	SAY(b, " text=");
	say_text(b, s);
}

static inline void say_conflicts(struct buf *b, const struct f_conflicts *f)
{
	SAY_NUMBERS(b, "nonce site number", f->nonce, f->site, f->number);
	SAY(b, " lost=[");
	for (size_t i = 0; i < f->n; i++) {
		const struct lost_value *l = &f->lost[i];
		SAY(b, " table=");
		say_text(b, l->table);
		SAY(b, " key=");
		say_text(b, l->key);
		SAY(b, " column=");
		say_text(b, l->column);
		say_bytes(b, "value", l->value);
		SAY_NUMBERS(b, "stamp site won_stamp won_site lost_ms", l->reg.stamp, l->reg.site,
			    l->won.stamp, l->won.site, l->lost_ms);
		SAY(b, " why=");
		say_text(b, l->why);
	}
	SAY(b, " ]");
}

static inline void say_verify(struct buf *b, const struct f_verify *f)
{
	SAY_NUMBERS(b, "nonce", f->nonce);
	say_position(b, &f->at);
	say_ids(b, "shape", &f->shape, 1);
	SAY_NUMBERS(b, "whole", f->whole);
	say_bytes(b, "from", f->from);
	say_bytes(b, "to", f->to);
	say_bytes(b, "except", f->except);
	if (f->absent.len)
		say_bytes(b, "absent", f->absent);
}

static inline void say_up(struct buf *b, const struct frame *f)
{
	switch (f->type) {
	case FRAME_HELLO:
		SAY_NUMBERS(b, "nonce site last_number last_cut", f->hello.nonce, f->hello.site,
			    f->hello.last_number, f->hello.last_cut);
		say_position(b, &f->hello.at);
		say_ids(b, "shapes", f->hello.shape, f->hello.n_shape);
		return;
	case FRAME_SET:
		SAY_NUMBERS(b, "site number prev cut flags", f->set.site, f->set.number,
			    f->set.prev, f->set.cut, f->set.flags);
		if (f->set.captured)
			SAY_NUMBERS(b, "captured", f->set.captured);
		if (f->set.seen)
			SAY_NUMBERS(b, "seen", f->set.seen);
		say_bytes(b, "rows", f->set.rows);
		return;
	case FRAME_PART:
		SAY_NUMBERS(b, "cut index count size", f->part.cut, f->part.index, f->part.count,
			    f->part.size);
		say_bytes(b, "digest", slice_of(f->part.digest, sizeof f->part.digest));
		say_bytes(b, "bytes", f->part.bytes);
		return;
	case FRAME_PULL:
		SAY_NUMBERS(b, "nonce number", f->pull.nonce, f->pull.number);
		say_position(b, &f->pull.at);
		say_bytes(b, "token", f->pull.token);
		SAY_NUMBERS(b, "credit", f->pull.credit);
		if (f->pull.table.len) {
			SAY_NUMBERS(b, "upto from", f->pull.upto, f->pull.from);
			SAY(b, " table=");
			say_text(b, f->pull.table);
		}
		return;
	case FRAME_ASK:
		SAY_NUMBERS(b, "nonce", f->ask.nonce);
		say_ids(b, "shape", &f->ask.shape, 1);
		SAY_NUMBERS(b, "site gen", f->ask.site, f->ask.gen);
		SAY(b, " after=%" PRId64 " upto=%" PRId64, f->ask.after, f->ask.upto);
		SAY_NUMBERS(b, "salt", f->ask.salt);
		return;
	case FRAME_VERIFY:
		say_verify(b, &f->verify);
		return;
	case FRAME_CONFLICTS:
		say_conflicts(b, &f->conflicts);
		return;
	default:
		say_slices(b, "shapes", f->declare.shape, f->declare.n);
		return;
	}
}

static inline void say_ack(struct buf *b, const struct f_ack *f)
{
	SAY_NUMBERS(b, "store term site number head", f->store, f->term, f->site, f->number,
		    f->head);
	SAY(b, " sets=[");
	for (size_t i = 0; i < f->n; i++)
		SAY_NUMBERS(b, "number own", f->set[i].number, f->set[i].own);
	SAY(b, " ]");
}

static inline void say_refuse(struct buf *b, const struct f_refuse *f)
{
	SAY_NUMBERS(b, "store term site number cut code server_ms limit_ms", f->store, f->term,
		    f->site, f->number, f->cut, f->code, f->server_ms, f->limit_ms);
	say_text_field(b, f->text);
	say_ids(b, "shapes", f->shape, f->n_shape);
	if (f->rows.len)
		say_bytes(b, "rows", f->rows);
}

static inline void say_page(struct buf *b, const struct f_page *f)
{
	SAY_NUMBERS(b, "nonce store term from upto head", f->nonce, f->store, f->term, f->from,
		    f->upto, f->head);
	say_bytes(b, "token", f->token);
	say_slices(b, "shapes", f->shape, f->n_shape);
	say_bytes(b, "rows", f->rows);
}

static inline void say_welcome(struct buf *b, const struct f_welcome *f)
{
	SAY_NUMBERS(b,
		    "nonce store term head server_ms site site_status last_number last_cut noted",
		    f->nonce, f->store, f->term, f->head, f->server_ms, f->site, f->site_status,
		    f->last_number, f->last_cut, f->noted);
	say_ids(b, "unknown", f->unknown, f->n_unknown);
}

static inline void say_digest(struct buf *b, const struct f_digest *f)
{
	uint8_t sum[ROW_SUM_BYTES];

	row_sum_put(&f->sum, sum);
	SAY_NUMBERS(b, "nonce store term head status", f->nonce, f->store, f->term, f->head,
		    f->status);
	say_bytes(b, "upto", f->upto);
	SAY_NUMBERS(b, "count", f->sum.n);
	say_bytes(b, "sum", slice_of(sum, sizeof sum));
	say_bytes(b, "above", f->above);
	say_bytes(b, "rows", f->rows);
}

static inline void say_down(struct buf *b, const struct frame *f)
{
	switch (f->type) {
	case FRAME_WELCOME:
		say_welcome(b, &f->welcome);
		return;
	case FRAME_ACK:
		say_ack(b, &f->ack);
		return;
	case FRAME_EXPECT:
		SAY_NUMBERS(b, "store term site after number", f->expect.store, f->expect.term,
			    f->expect.site, f->expect.after, f->expect.number);
		return;
	case FRAME_BUSY:
		SAY_NUMBERS(b, "retry_ms", f->busy.retry_ms);
		return;
	case FRAME_PAGE:
		say_page(b, &f->page);
		return;
	case FRAME_RESET:
		SAY_NUMBERS(b, "nonce store term head", f->reset.nonce, f->reset.store,
			    f->reset.term, f->reset.head);
		return;
	case FRAME_REFUSE:
		say_refuse(b, &f->refuse);
		return;
	case FRAME_KEY:
		SAY_NUMBERS(b, "epoch", f->key.epoch);
		say_bytes(b, "key", slice_of(f->key.key, sizeof f->key.key));
		return;
	case FRAME_RECEIPT:
		SAY_NUMBERS(b, "cut", f->receipt.cut);
		SAY(b, " missing=[");
		for (size_t i = 0; i < f->receipt.n_missing; i++)
			SAY_NUMBERS(b, "index", f->receipt.missing[i]);
		SAY(b, " ]");
		return;
	case FRAME_RANGES:
		SAY_NUMBERS(b, "nonce store term foreign", f->ranges.nonce, f->ranges.store,
			    f->ranges.term, (uint64_t)f->ranges.foreign);
		SAY(b, " upto=%" PRId64, f->ranges.upto);
		say_bytes(b, "runs", f->ranges.runs);
		say_bytes(b, "keys", f->ranges.keys);
		return;
	case FRAME_DIGEST:
		say_digest(b, &f->digest);
		return;
	case FRAME_NOTED:
		SAY_NUMBERS(b, "nonce store term site number", f->noted.nonce, f->noted.store,
			    f->noted.term, f->noted.site, f->noted.number);
		return;
	default:
		SAY_NUMBERS(b, "site number", f->reject.site, f->reject.number);
		say_text_field(b, f->reject.text);
		say_bytes(b, "rows", f->reject.rows);
		return;
	}
}

static inline void say_frame(struct buf *b, const struct frame *f)
{
	SAY(b, "%s", frame_name(f->type));
	if (f->type == FRAME_CHANGE) {
		SAY_NUMBERS(b, "term seq", f->change.term, f->change.seq);
		say_bytes(b, "rows", f->change.rows);
	} else if (f->type == FRAME_HEAD) {
		SAY_NUMBERS(b, "store term head prev_term first", f->head.store, f->head.term,
			    f->head.head, f->head.prev_term, f->head.first);
	} else if (f->type < FRAME_WELCOME) {
		say_up(b, f);
	} else {
		say_down(b, f);
	}
}

#endif
