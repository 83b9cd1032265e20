#include <string.h>

#include "protocol/cbor_read.h"
#include "protocol/frame.h"
#include "protocol/frame_layout.h"
#include "protocol/zst.h"

/* A frame being read: its bytes are already in the arena, so slices may borrow from them. */
struct reader {
	struct cbor_in in;
	struct arena *a;
	size_t fields; /* after the type */
};

static int get(struct reader *r, uint64_t *out)
{
	uint64_t v;
	TRY(cbor_get_uint(&r->in, &v));
	if (v > INT64_MAX)
		return NE_MALFORMED;
	*out = v;
	return 0;
}

/* An id that is never 0. */
static int get_id(struct reader *r, uint64_t *out)
{
	TRY(get(r, out));
	return *out ? 0 : NE_MALFORMED;
}

static int get_store_term(struct reader *r, uint64_t *store, uint64_t *term)
{
	TRY(get_id(r, store));
	return get_id(r, term);
}

static int want(const struct reader *r, size_t fields)
{
	return r->fields == fields ? 0 : NE_MALFORMED;
}

static int get_flag(struct reader *r, bool *out)
{
	uint64_t v;
	TRY(get(r, &v));
	*out = v == 1;
	return v > 1 ? NE_MALFORMED : 0;
}

static int get_32(struct reader *r, uint8_t out[static 32])
{
	struct slice s;
	TRY(cbor_get_bytes(&r->in, &s));
	if (s.len != 32)
		return NE_MALFORMED;
	memcpy(out, s.at, 32);
	return 0;
}

static int get_position(struct reader *r, struct position *p)
{
	size_t n;
	TRY(cbor_get_array(&r->in, &n));
	if (n != POSITION_FIELDS)
		return NE_MALFORMED;
	TRY(get(r, &p->store));
	TRY(get(r, &p->term));
	TRY(get(r, &p->cursor));
	TRY(get(r, &p->hold));
	TRY(get_flag(r, &p->full));
	TRY(get(r, &p->base));
	cbor_leave(&r->in);
	return 0;
}

static int get_ids(struct reader *r, const struct shape_id **id, size_t *n)
{
	struct slice s;
	TRY(cbor_get_bytes(&r->in, &s));
	if (s.len % sizeof **id)
		return NE_MALFORMED;
	if (s.len / sizeof **id > LIMIT_TABLES)
		return NE_LIMIT;
	*n = s.len / sizeof **id;
	/* An array of bytes: it may lie anywhere. */
	*id = (const struct shape_id *)(const void *)s.at;
	return 0;
}

static int get_slices(struct reader *r, const struct slice **out, size_t *count)
{
	size_t n;
	TRY(cbor_get_array(&r->in, &n));
	if (n > LIMIT_TABLES)
		return NE_LIMIT;
	struct slice *s = arena_array(r->a, n, sizeof *s);
	if (!s)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++)
		TRY(cbor_get_bytes(&r->in, &s[i]));
	cbor_leave(&r->in);
	*out = s;
	*count = n;
	return 0;
}

/* A number of an append row: two's complement, big-endian. */
static int64_t get_number(const uint8_t *at)
{
	uint64_t v = 0;

	for (int i = 0; i < NUMBER_BYTES; i++)
		v = v << 8 | at[i];
	return (int64_t)v;
}

static int get_ask(struct reader *r, struct f_ask *f)
{
	struct slice id, span;

	TRY(want(r, ASK_FIELDS));
	TRY(get(r, &f->nonce));
	TRY(cbor_get_bytes(&r->in, &id));
	if (id.len != sizeof f->shape)
		return NE_MALFORMED;
	memcpy(&f->shape, id.at, sizeof f->shape);
	TRY(get_id(r, &f->site));
	TRY(get(r, &f->gen));
	TRY(cbor_get_bytes(&r->in, &span));
	if (span.len != ASK_SPAN_BYTES)
		return NE_MALFORMED;
	f->after = get_number(span.at);
	f->upto = get_number(span.at + NUMBER_BYTES);
	TRY(get(r, &f->salt));
	return f->after < f->upto ? 0 : NE_MALFORMED;
}

static int get_ranges(struct reader *r, struct f_ranges *f)
{
	struct slice upto;

	TRY(want(r, RANGES_FIELDS));
	TRY(get(r, &f->nonce));
	TRY(get_store_term(r, &f->store, &f->term));
	TRY(get_flag(r, &f->foreign));
	TRY(cbor_get_bytes(&r->in, &upto));
	if (upto.len != NUMBER_BYTES)
		return NE_MALFORMED;
	f->upto = get_number(upto.at);
	TRY(cbor_get_bytes(&r->in, &f->runs));
	TRY(cbor_get_bytes(&r->in, &f->keys));
	return f->runs.len > LIMIT_MESSAGE || f->keys.len > LIMIT_MESSAGE ? NE_LIMIT : 0;
}

static int get_hello(struct reader *r, struct f_hello *f)
{
	TRY(want(r, HELLO_FIELDS));
	TRY(get(r, &f->nonce));
	TRY(get_id(r, &f->site));
	TRY(get(r, &f->last_number));
	TRY(get(r, &f->last_cut));
	TRY(get_position(r, &f->at));
	return get_ids(r, &f->shape, &f->n_shape);
}

static int get_set(struct reader *r, struct f_set *f)
{
	if (r->fields != SET_SHORT_FIELDS && r->fields != SET_SEEN_FIELDS &&
	    r->fields != SET_FIELDS && r->fields != SET_CAPTURED_FIELDS)
		return NE_MALFORMED;
	TRY(get_id(r, &f->site));
	TRY(get_id(r, &f->number));
	TRY(get_id(r, &f->cut));
	TRY(cbor_get_bytes(&r->in, &f->rows));
	f->prev = f->number - 1;
	if (r->fields == SET_SHORT_FIELDS)
		return 0;
	if (r->fields == SET_SEEN_FIELDS)
		return get_id(r, &f->seen);
	TRY(get(r, &f->seen));
	TRY(get(r, &f->prev));
	TRY(get(r, &f->flags));
	if (r->fields == SET_CAPTURED_FIELDS) {
		TRY(get_id(r, &f->captured));
		if (f->captured == f->site)
			return NE_MALFORMED;
	}
	return f->prev < f->number && f->flags <= SET_PARTIAL ? 0 : NE_MALFORMED;
}

static int get_part(struct reader *r, struct f_part *f)
{
	TRY(want(r, PART_FIELDS));
	TRY(get_id(r, &f->cut));
	TRY(get(r, &f->index));
	TRY(get(r, &f->count));
	TRY(get(r, &f->size));
	TRY(get_32(r, f->digest));
	TRY(cbor_get_bytes(&r->in, &f->bytes));
	if (f->count > LIMIT_PARTS || f->size > LIMIT_FRAME)
		return NE_LIMIT;
	if (f->index >= f->count || f->bytes.len == 0 || f->bytes.len > f->size)
		return NE_MALFORMED;
	return 0;
}

static int get_pull(struct reader *r, struct f_pull *f)
{
	if (r->fields != PULL_FIELDS && r->fields != PULL_TABLE_FIELDS)
		return NE_MALFORMED;
	TRY(get(r, &f->nonce));
	TRY(get(r, &f->number));
	TRY(get_position(r, &f->at));
	TRY(cbor_get_bytes(&r->in, &f->token));
	TRY(get(r, &f->credit));
	if (r->fields == PULL_FIELDS)
		return 0;
	TRY(get_id(r, &f->upto));
	TRY(get(r, &f->from));
	TRY(cbor_get_text(&r->in, &f->table));
	return f->table.len && f->from < f->upto && f->upto <= f->at.cursor && !f->at.full
		       ? 0
		       : NE_MALFORMED;
}

static int get_declare(struct reader *r, struct f_declare *f)
{
	TRY(want(r, DECLARE_FIELDS));
	return get_slices(r, &f->shape, &f->n);
}

static int get_verify(struct reader *r, struct f_verify *f)
{
	const struct shape_id *shape;
	size_t n;
	if (r->fields != VERIFY_FIELDS && r->fields != VERIFY_ABSENT_FIELDS)
		return NE_MALFORMED;
	TRY(get(r, &f->nonce));
	TRY(get_position(r, &f->at));
	TRY(get_ids(r, &shape, &n));
	if (n != 1)
		return NE_MALFORMED;
	f->shape = *shape;
	TRY(get_flag(r, &f->whole));
	TRY(cbor_get_bytes(&r->in, &f->from));
	TRY(cbor_get_bytes(&r->in, &f->to));
	TRY(cbor_get_bytes(&r->in, &f->except));
	if (r->fields == VERIFY_FIELDS)
		return 0;
	TRY(cbor_get_bytes(&r->in, &f->absent));
	return f->absent.len ? 0 : NE_MALFORMED;
}

static int get_lost(struct reader *r, struct lost_value *l)
{
	size_t n;
	TRY(cbor_get_array(&r->in, &n));
	if (n != LOST_FIELDS)
		return NE_MALFORMED;
	TRY(cbor_get_text(&r->in, &l->table));
	TRY(cbor_get_text(&r->in, &l->key));
	TRY(cbor_get_text(&r->in, &l->column));
	TRY(cbor_get_bytes(&r->in, &l->value));
	TRY(get(r, &l->reg.stamp));
	TRY(get(r, &l->reg.site));
	TRY(get(r, &l->won.stamp));
	TRY(get(r, &l->won.site));
	TRY(get(r, &l->lost_ms));
	TRY(cbor_get_text(&r->in, &l->why));
	cbor_leave(&r->in);
	return 0;
}

static int get_conflicts(struct reader *r, struct f_conflicts *f)
{
	size_t n;
	TRY(want(r, CONFLICTS_FIELDS));
	TRY(get(r, &f->nonce));
	TRY(get_id(r, &f->site));
	TRY(get_id(r, &f->number));
	TRY(cbor_get_array(&r->in, &n));
	if (n > LIMIT_LOST)
		return NE_LIMIT;
	struct lost_value *lost = arena_array(r->a, n, sizeof *lost);
	if (!lost)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++)
		TRY(get_lost(r, &lost[i]));
	cbor_leave(&r->in);
	f->lost = lost;
	f->n = n;
	return 0;
}

static int get_welcome(struct reader *r, struct f_welcome *f)
{
	uint64_t status;
	TRY(want(r, WELCOME_FIELDS));
	TRY(get(r, &f->nonce));
	TRY(get_store_term(r, &f->store, &f->term));
	TRY(get(r, &f->head));
	TRY(get(r, &f->server_ms));
	TRY(get_id(r, &f->site));
	TRY(get(r, &status));
	if (status > SITE_BEHIND)
		return NE_MALFORMED;
	f->site_status = (enum site_status)status;
	TRY(get(r, &f->last_number));
	TRY(get(r, &f->last_cut));
	TRY(get(r, &f->noted));
	return get_ids(r, &f->unknown, &f->n_unknown);
}

/* The sets of an ack: numbers rising, none above the ack's own. */
static int get_ack_sets(struct reader *r, struct f_ack *f)
{
	size_t n;
	TRY(cbor_get_array(&r->in, &n));
	if (n % 2)
		return NE_MALFORMED;
	if (n / 2 > LIMIT_ACK_SETS)
		return NE_LIMIT;
	struct ack_set *set = arena_array(r->a, n / 2, sizeof *set);
	if (!set)
		return NE_MEMORY;
	for (size_t i = 0; i < n / 2; i++) {
		TRY(get(r, &set[i].number));
		TRY(get(r, &set[i].own));
		if (set[i].number > f->number || (i && set[i].number <= set[i - 1].number))
			return NE_MALFORMED;
	}
	cbor_leave(&r->in);
	f->set = set;
	f->n = n / 2;
	return 0;
}

static int get_ack(struct reader *r, struct f_ack *f)
{
	TRY(want(r, ACK_FIELDS));
	TRY(get_store_term(r, &f->store, &f->term));
	TRY(get_id(r, &f->site));
	TRY(get(r, &f->number));
	TRY(get(r, &f->head));
	return get_ack_sets(r, f);
}

static int get_expect(struct reader *r, struct f_expect *f)
{
	TRY(want(r, EXPECT_FIELDS));
	TRY(get_store_term(r, &f->store, &f->term));
	TRY(get_id(r, &f->site));
	TRY(get(r, &f->after));
	return get(r, &f->number);
}

static int get_busy(struct reader *r, struct f_busy *f)
{
	TRY(want(r, BUSY_FIELDS));
	return get(r, &f->retry_ms);
}

static int get_page(struct reader *r, struct f_page *f)
{
	TRY(want(r, PAGE_FIELDS));
	TRY(get(r, &f->nonce));
	TRY(get_store_term(r, &f->store, &f->term));
	TRY(get(r, &f->from));
	TRY(get(r, &f->upto));
	TRY(get(r, &f->head));
	TRY(cbor_get_bytes(&r->in, &f->token));
	if (f->from > f->upto || (f->token.len && f->from != f->upto))
		return NE_MALFORMED;
	TRY(get_slices(r, &f->shape, &f->n_shape));
	return cbor_get_bytes(&r->in, &f->rows);
}

static int get_reset(struct reader *r, struct f_reset *f)
{
	TRY(want(r, RESET_FIELDS));
	TRY(get(r, &f->nonce));
	TRY(get_store_term(r, &f->store, &f->term));
	return get(r, &f->head);
}

static int get_refuse(struct reader *r, struct f_refuse *f)
{
	uint64_t code;
	TRY(want(r, REFUSE_FIELDS));
	TRY(get_store_term(r, &f->store, &f->term));
	TRY(get(r, &f->site)); /* 0: it answers a declaration */
	TRY(get(r, &f->number));
	TRY(get(r, &f->cut));
	TRY(get(r, &code));
	if (code < REFUSE_UNKNOWN_SHAPE || code > REFUSE_ROWS)
		return NE_MALFORMED;
	f->code = (enum refuse_code)code;
	TRY(get(r, &f->server_ms));
	TRY(get(r, &f->limit_ms));
	TRY(cbor_get_text(&r->in, &f->text));
	TRY(get_ids(r, &f->shape, &f->n_shape));
	return cbor_get_bytes(&r->in, &f->rows);
}

static int get_key(struct reader *r, struct f_key *f)
{
	TRY(want(r, KEY_FIELDS));
	TRY(get(r, &f->epoch));
	return get_32(r, f->key);
}

static int get_receipt(struct reader *r, struct f_receipt *f)
{
	size_t n;
	TRY(want(r, RECEIPT_FIELDS));
	TRY(get_id(r, &f->cut));
	TRY(cbor_get_array(&r->in, &n));
	if (n > LIMIT_PARTS)
		return NE_LIMIT;
	uint64_t *missing = arena_array(r->a, n, sizeof *missing);
	if (!missing)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++)
		TRY(get(r, &missing[i]));
	cbor_leave(&r->in);
	f->missing = missing;
	f->n_missing = n;
	return 0;
}

static int get_reject(struct reader *r, struct f_reject *f)
{
	TRY(want(r, REJECT_FIELDS));
	TRY(get_id(r, &f->site));
	TRY(get(r, &f->number));
	TRY(cbor_get_text(&r->in, &f->text));
	return cbor_get_bytes(&r->in, &f->rows);
}

static int get_digest(struct reader *r, struct f_digest *f)
{
	uint64_t status, n;
	struct slice sum;
	TRY(want(r, DIGEST_FIELDS));
	TRY(get(r, &f->nonce));
	TRY(get_store_term(r, &f->store, &f->term));
	TRY(get(r, &f->head));
	TRY(get(r, &status));
	if (status > DIGEST_NO_TABLE)
		return NE_MALFORMED;
	f->status = (enum digest_status)status;
	TRY(cbor_get_bytes(&r->in, &f->upto));
	TRY(get(r, &n));
	TRY(cbor_get_bytes(&r->in, &sum));
	if (sum.len != ROW_SUM_BYTES)
		return NE_MALFORMED;
	row_sum_take(sum.at, &f->sum);
	f->sum.n = n;
	TRY(cbor_get_bytes(&r->in, &f->above));
	return cbor_get_bytes(&r->in, &f->rows);
}

static int get_noted(struct reader *r, struct f_noted *f)
{
	TRY(want(r, NOTED_FIELDS));
	TRY(get(r, &f->nonce));
	TRY(get_store_term(r, &f->store, &f->term));
	TRY(get_id(r, &f->site));
	return get_id(r, &f->number);
}

static int get_change(struct reader *r, struct f_change *f)
{
	TRY(want(r, CHANGE_FIELDS));
	TRY(get_id(r, &f->term));
	TRY(get_id(r, &f->seq));
	return cbor_get_bytes(&r->in, &f->rows);
}

static int get_head(struct reader *r, struct f_head *f)
{
	TRY(want(r, HEAD_FIELDS));
	TRY(get_store_term(r, &f->store, &f->term));
	TRY(get(r, &f->head));
	TRY(get(r, &f->prev_term));
	return get(r, &f->first);
}

static int get_fields(struct reader *r, struct frame *f)
{
	switch (f->type) {
	case FRAME_HELLO:
		return get_hello(r, &f->hello);
	case FRAME_SET:
		return get_set(r, &f->set);
	case FRAME_PART:
		return get_part(r, &f->part);
	case FRAME_PULL:
		return get_pull(r, &f->pull);
	case FRAME_DECLARE:
		return get_declare(r, &f->declare);
	case FRAME_VERIFY:
		return get_verify(r, &f->verify);
	case FRAME_CONFLICTS:
		return get_conflicts(r, &f->conflicts);
	case FRAME_WELCOME:
		return get_welcome(r, &f->welcome);
	case FRAME_ACK:
		return get_ack(r, &f->ack);
	case FRAME_EXPECT:
		return get_expect(r, &f->expect);
	case FRAME_BUSY:
		return get_busy(r, &f->busy);
	case FRAME_PAGE:
		return get_page(r, &f->page);
	case FRAME_RESET:
		return get_reset(r, &f->reset);
	case FRAME_REFUSE:
		return get_refuse(r, &f->refuse);
	case FRAME_KEY:
		return get_key(r, &f->key);
	case FRAME_RECEIPT:
		return get_receipt(r, &f->receipt);
	case FRAME_REJECT:
		return get_reject(r, &f->reject);
	case FRAME_DIGEST:
		return get_digest(r, &f->digest);
	case FRAME_NOTED:
		return get_noted(r, &f->noted);
	case FRAME_ASK:
		return get_ask(r, &f->ask);
	case FRAME_RANGES:
		return get_ranges(r, &f->ranges);
	case FRAME_CHANGE:
		return get_change(r, &f->change);
	case FRAME_HEAD:
		return get_head(r, &f->head);
	}
	return NE_MALFORMED;
}

static int get_frame(struct slice cbor, struct arena *a, struct frame *f)
{
	struct reader r = {.in = {.left = cbor}, .a = a};
	uint64_t type;
	size_t n;
	TRY(cbor_get_array(&r.in, &n));
	if (n < 2)
		return NE_MALFORMED;
	r.fields = n - 1;
	TRY(get(&r, &type));
	if (type > FRAME_HEAD)
		return NE_MALFORMED;
	f->type = (enum frame_type)type;
	TRY(get_fields(&r, f));
	cbor_leave(&r.in);
	return cbor_end(&r.in);
}

/* The frame's CBOR, in the arena. */
static int unpack(struct slice plain, struct arena *a, struct slice *cbor)
{
	if (plain.len == 0)
		return NE_MALFORMED;
	if (plain.len > LIMIT_FRAME)
		return NE_LIMIT;
	if (plain.at[0] != FRAME_COMPRESSED) {
		*cbor = arena_copy(a, plain);
		return cbor->at ? 0 : NE_MEMORY;
	}
	struct slice z = slice_of(plain.at + 1, plain.len - 1);
	size_t size;
	TRY(zst_size(z, LIMIT_FRAME, &size));
	uint8_t *at = arena_alloc(a, size);
	if (!at)
		return NE_MEMORY;
	*cbor = slice_of(at, size);
	return zst_decompress(z, at, size);
}

int frame_decode(struct slice plain, struct arena *a, struct frame *out, struct err *e)
{
	struct frame f = {0};
	struct slice cbor;
	int rc = unpack(plain, a, &cbor);
	if (!rc)
		rc = get_frame(cbor, a, &f);
	if (rc)
		return err_set(e, rc, "a message of %zu bytes is no valid frame: %s", plain.len,
			       ne_name(rc));
	*out = f;
	return 0;
}
