#include <string.h>

#include "protocol/cbor_write.h"
#include "protocol/frame.h"
#include "protocol/frame_layout.h"
#include "protocol/zst.h"

/* Every integer of a frame fits SQLite's: the decoder refuses others, so none is sent. */
static int put(struct buf *out, uint64_t v)
{
	if (v > INT64_MAX)
		return NE_USAGE;
	return cbor_put_uint(out, v);
}

/* The head of the frame's array and its first item, the type. */
static int open_frame(struct buf *out, enum frame_type type, size_t n_field)
{
	TRY(cbor_put_array(out, n_field + 1));
	return cbor_put_uint(out, type);
}

static int put_all(struct buf *out, const uint64_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		TRY(put(out, v[i]));
	return 0;
}

static int put_position(struct buf *out, const struct position *p)
{
	TRY(cbor_put_array(out, POSITION_FIELDS));
	const uint64_t v[POSITION_FIELDS] = {p->store, p->term, p->cursor,
					     p->hold,  p->full, p->base};
	return put_all(out, v, POSITION_FIELDS);
}

static int put_ids(struct buf *out, const struct shape_id *id, size_t n)
{
	return cbor_put_bytes(out, slice_of(id, n * sizeof *id));
}

static int put_slices(struct buf *out, const struct slice *s, size_t n)
{
	TRY(cbor_put_array(out, n));
	for (size_t i = 0; i < n; i++)
		TRY(cbor_put_bytes(out, s[i]));
	return 0;
}

static int put_hello(struct buf *out, const struct f_hello *f)
{
	const uint64_t v[] = {f->nonce, f->site, f->last_number, f->last_cut};
	TRY(open_frame(out, FRAME_HELLO, HELLO_FIELDS));
	TRY(put_all(out, v, 4));
	TRY(put_position(out, &f->at));
	return put_ids(out, f->shape, f->n_shape);
}

/*
 * The usual set follows the number before it and has no flags: two fields that are left out, and
 * `seen` with them where it is 0. One more is there only where append rows were captured under an
 * earlier site.
 */
static uint64_t set_fields(const struct f_set *f)
{
	if (f->captured)
		return SET_CAPTURED_FIELDS;
	if (f->prev != f->number - 1 || f->flags)
		return SET_FIELDS;
	return f->seen ? SET_SEEN_FIELDS : SET_SHORT_FIELDS;
}

static int put_set(struct buf *out, const struct f_set *f)
{
	uint64_t fields = set_fields(f);
	const uint64_t v[] = {f->site, f->number, f->cut};
	TRY(open_frame(out, FRAME_SET, fields));
	TRY(put_all(out, v, 3));
	TRY(cbor_put_bytes(out, f->rows));
	if (fields == SET_SHORT_FIELDS)
		return 0;
	TRY(put(out, f->seen));
	if (fields == SET_SEEN_FIELDS)
		return 0;
	TRY(put(out, f->prev));
	TRY(put(out, f->flags));
	return f->captured ? put(out, f->captured) : 0;
}

static int put_part(struct buf *out, const struct f_part *f)
{
	const uint64_t v[] = {f->cut, f->index, f->count, f->size};
	TRY(open_frame(out, FRAME_PART, PART_FIELDS));
	TRY(put_all(out, v, 4));
	TRY(cbor_put_bytes(out, slice_of(f->digest, sizeof f->digest)));
	return cbor_put_bytes(out, f->bytes);
}

static int put_pull(struct buf *out, const struct f_pull *f)
{
	TRY(open_frame(out, FRAME_PULL, f->table.len ? PULL_TABLE_FIELDS : PULL_FIELDS));
	TRY(put(out, f->nonce));
	TRY(put(out, f->number));
	TRY(put_position(out, &f->at));
	TRY(cbor_put_bytes(out, f->token));
	TRY(put(out, f->credit));
	if (!f->table.len)
		return 0;
	TRY(put(out, f->upto));
	TRY(put(out, f->from));
	return cbor_put_text(out, f->table);
}

static int put_declare(struct buf *out, const struct f_declare *f)
{
	TRY(open_frame(out, FRAME_DECLARE, DECLARE_FIELDS));
	return put_slices(out, f->shape, f->n);
}

static int put_verify(struct buf *out, const struct f_verify *f)
{
	TRY(open_frame(out, FRAME_VERIFY, f->absent.len ? VERIFY_ABSENT_FIELDS : VERIFY_FIELDS));
	TRY(put(out, f->nonce));
	TRY(put_position(out, &f->at));
	TRY(put_ids(out, &f->shape, 1));
	TRY(put(out, f->whole));
	TRY(cbor_put_bytes(out, f->from));
	TRY(cbor_put_bytes(out, f->to));
	TRY(cbor_put_bytes(out, f->except));
	return f->absent.len ? cbor_put_bytes(out, f->absent) : 0;
}

static int put_lost(struct buf *out, const struct lost_value *l)
{
	const uint64_t v[] = {l->reg.stamp, l->reg.site, l->won.stamp, l->won.site, l->lost_ms};
	TRY(cbor_put_array(out, LOST_FIELDS));
	TRY(cbor_put_text(out, l->table));
	TRY(cbor_put_text(out, l->key));
	TRY(cbor_put_text(out, l->column));
	TRY(cbor_put_bytes(out, l->value));
	TRY(put_all(out, v, 5));
	return cbor_put_text(out, l->why);
}

static int put_conflicts(struct buf *out, const struct f_conflicts *f)
{
	TRY(open_frame(out, FRAME_CONFLICTS, CONFLICTS_FIELDS));
	TRY(put(out, f->nonce));
	TRY(put(out, f->site));
	TRY(put(out, f->number));
	TRY(cbor_put_array(out, f->n));
	for (size_t i = 0; i < f->n; i++)
		TRY(put_lost(out, &f->lost[i]));
	return 0;
}

static int put_welcome(struct buf *out, const struct f_welcome *f)
{
	const uint64_t v[] = {f->nonce, f->store,	f->term,	f->head,     f->server_ms,
			      f->site,	f->site_status, f->last_number, f->last_cut, f->noted};
	TRY(open_frame(out, FRAME_WELCOME, WELCOME_FIELDS));
	TRY(put_all(out, v, sizeof v / sizeof *v));
	return put_ids(out, f->unknown, f->n_unknown);
}

static int put_ack(struct buf *out, const struct f_ack *f)
{
	const uint64_t v[] = {f->store, f->term, f->site, f->number, f->head};
	TRY(open_frame(out, FRAME_ACK, ACK_FIELDS));
	TRY(put_all(out, v, 5));
	TRY(cbor_put_array(out, 2 * f->n));
	for (size_t i = 0; i < f->n; i++) {
		TRY(put(out, f->set[i].number));
		TRY(put(out, f->set[i].own));
	}
	return 0;
}

static int put_expect(struct buf *out, const struct f_expect *f)
{
	const uint64_t v[EXPECT_FIELDS] = {f->store, f->term, f->site, f->after, f->number};
	TRY(open_frame(out, FRAME_EXPECT, EXPECT_FIELDS));
	return put_all(out, v, EXPECT_FIELDS);
}

static int put_busy(struct buf *out, const struct f_busy *f)
{
	TRY(open_frame(out, FRAME_BUSY, BUSY_FIELDS));
	return put(out, f->retry_ms);
}

static int put_page(struct buf *out, const struct f_page *f)
{
	const uint64_t v[] = {f->nonce, f->store, f->term, f->from, f->upto, f->head};
	TRY(open_frame(out, FRAME_PAGE, PAGE_FIELDS));
	TRY(put_all(out, v, 6));
	TRY(cbor_put_bytes(out, f->token));
	TRY(put_slices(out, f->shape, f->n_shape));
	return cbor_put_bytes(out, f->rows);
}

static int put_reset(struct buf *out, const struct f_reset *f)
{
	const uint64_t v[RESET_FIELDS] = {f->nonce, f->store, f->term, f->head};
	TRY(open_frame(out, FRAME_RESET, RESET_FIELDS));
	return put_all(out, v, RESET_FIELDS);
}

static int put_refuse(struct buf *out, const struct f_refuse *f)
{
	const uint64_t v[] = {f->store, f->term, f->site,      f->number,
			      f->cut,	f->code, f->server_ms, f->limit_ms};
	TRY(open_frame(out, FRAME_REFUSE, REFUSE_FIELDS));
	TRY(put_all(out, v, 8));
	TRY(cbor_put_text(out, f->text));
	TRY(put_ids(out, f->shape, f->n_shape));
	return cbor_put_bytes(out, f->rows);
}

static int put_key(struct buf *out, const struct f_key *f)
{
	TRY(open_frame(out, FRAME_KEY, KEY_FIELDS));
	TRY(put(out, f->epoch));
	return cbor_put_bytes(out, slice_of(f->key, sizeof f->key));
}

static int put_receipt(struct buf *out, const struct f_receipt *f)
{
	TRY(open_frame(out, FRAME_RECEIPT, RECEIPT_FIELDS));
	TRY(put(out, f->cut));
	TRY(cbor_put_array(out, f->n_missing));
	return put_all(out, f->missing, f->n_missing);
}

static int put_reject(struct buf *out, const struct f_reject *f)
{
	TRY(open_frame(out, FRAME_REJECT, REJECT_FIELDS));
	TRY(put(out, f->site));
	TRY(put(out, f->number));
	TRY(cbor_put_text(out, f->text));
	return cbor_put_bytes(out, f->rows);
}

/* A number of an append row: two's complement, big-endian. */
static void put_number(int64_t n, uint8_t *out)
{
	uint64_t v = (uint64_t)n;

	for (int i = NUMBER_BYTES - 1; i >= 0; i--, v >>= 8)
		out[i] = (uint8_t)v;
}

static int put_ask(struct buf *out, const struct f_ask *f)
{
	const uint64_t identity[] = {f->site, f->gen};
	uint8_t span[ASK_SPAN_BYTES];

	put_number(f->after, span);
	put_number(f->upto, span + NUMBER_BYTES);
	TRY(open_frame(out, FRAME_ASK, ASK_FIELDS));
	TRY(put_all(out, &f->nonce, 1));
	TRY(cbor_put_bytes(out, slice_of(&f->shape, sizeof f->shape)));
	TRY(put_all(out, identity, 2));
	TRY(cbor_put_bytes(out, slice_of(span, sizeof span)));
	return put_all(out, &f->salt, 1);
}

static int put_ranges(struct buf *out, const struct f_ranges *f)
{
	const uint64_t v[] = {f->nonce, f->store, f->term, f->foreign};
	uint8_t upto[NUMBER_BYTES];

	put_number(f->upto, upto);
	TRY(open_frame(out, FRAME_RANGES, RANGES_FIELDS));
	TRY(put_all(out, v, 4));
	TRY(cbor_put_bytes(out, slice_of(upto, sizeof upto)));
	TRY(cbor_put_bytes(out, f->runs));
	return cbor_put_bytes(out, f->keys);
}

static int put_digest(struct buf *out, const struct f_digest *f)
{
	const uint64_t v[] = {f->nonce, f->store, f->term, f->head, f->status};
	uint8_t sum[ROW_SUM_BYTES];
	TRY(open_frame(out, FRAME_DIGEST, DIGEST_FIELDS));
	TRY(put_all(out, v, 5));
	TRY(cbor_put_bytes(out, f->upto));
	TRY(put(out, f->sum.n));
	row_sum_put(&f->sum, sum);
	TRY(cbor_put_bytes(out, slice_of(sum, sizeof sum)));
	TRY(cbor_put_bytes(out, f->above));
	return cbor_put_bytes(out, f->rows);
}

static int put_noted(struct buf *out, const struct f_noted *f)
{
	const uint64_t v[NOTED_FIELDS] = {f->nonce, f->store, f->term, f->site, f->number};
	TRY(open_frame(out, FRAME_NOTED, NOTED_FIELDS));
	return put_all(out, v, NOTED_FIELDS);
}

static int put_change(struct buf *out, const struct f_change *f)
{
	TRY(open_frame(out, FRAME_CHANGE, CHANGE_FIELDS));
	TRY(put(out, f->term));
	TRY(put(out, f->seq));
	return cbor_put_bytes(out, f->rows);
}

static int put_head(struct buf *out, const struct f_head *f)
{
	const uint64_t v[HEAD_FIELDS] = {f->store, f->term, f->head, f->prev_term, f->first};
	TRY(open_frame(out, FRAME_HEAD, HEAD_FIELDS));
	return put_all(out, v, HEAD_FIELDS);
}

static int put_frame(struct buf *out, const struct frame *f)
{
	switch (f->type) {
	case FRAME_HELLO:
		return put_hello(out, &f->hello);
	case FRAME_SET:
		return put_set(out, &f->set);
	case FRAME_PART:
		return put_part(out, &f->part);
	case FRAME_PULL:
		return put_pull(out, &f->pull);
	case FRAME_DECLARE:
		return put_declare(out, &f->declare);
	case FRAME_VERIFY:
		return put_verify(out, &f->verify);
	case FRAME_CONFLICTS:
		return put_conflicts(out, &f->conflicts);
	case FRAME_WELCOME:
		return put_welcome(out, &f->welcome);
	case FRAME_ACK:
		return put_ack(out, &f->ack);
	case FRAME_EXPECT:
		return put_expect(out, &f->expect);
	case FRAME_BUSY:
		return put_busy(out, &f->busy);
	case FRAME_PAGE:
		return put_page(out, &f->page);
	case FRAME_RESET:
		return put_reset(out, &f->reset);
	case FRAME_REFUSE:
		return put_refuse(out, &f->refuse);
	case FRAME_KEY:
		return put_key(out, &f->key);
	case FRAME_RECEIPT:
		return put_receipt(out, &f->receipt);
	case FRAME_REJECT:
		return put_reject(out, &f->reject);
	case FRAME_DIGEST:
		return put_digest(out, &f->digest);
	case FRAME_NOTED:
		return put_noted(out, &f->noted);
	case FRAME_ASK:
		return put_ask(out, &f->ask);
	case FRAME_RANGES:
		return put_ranges(out, &f->ranges);
	case FRAME_CHANGE:
		return put_change(out, &f->change);
	case FRAME_HEAD:
		return put_head(out, &f->head);
	}
	return NE_USAGE;
}

/* Parts carry compressed bytes already; a key is random; small frames only grow. */
static bool worth_compressing(const struct frame *f, size_t len)
{
	switch (f->type) {
	case FRAME_PART:
	case FRAME_KEY:
		return false;
	case FRAME_SET:
	case FRAME_CHANGE:
		return len >= FRAME_COMPRESS_ROWS_FROM;
	default:
		return len >= FRAME_COMPRESS_FROM;
	}
}

/* Replaces the frame that begins at `start` by its compressed form if that is shorter. */
static int compress(struct buf *out, size_t start)
{
	struct slice plain = slice_of(out->at + start, out->len - start);
	struct buf z = {.max = LIMIT_FRAME + LIMIT_FRAME / 64};
	int rc = buf_put_u8(&z, FRAME_COMPRESSED);
	if (!rc)
		rc = zst_compress(plain, &z);
	if (!rc && z.len < plain.len) {
		memcpy(out->at + start, z.at, z.len);
		out->len = start + z.len;
	}
	buf_free(&z);
	return rc;
}

int frame_encode(const struct frame *f, struct buf *out, struct err *e)
{
	size_t start = out->len;
	int rc = put_frame(out, f);
	if (!rc && out->len - start > LIMIT_FRAME)
		rc = NE_LIMIT;
	if (!rc && !f->uncompressed && worth_compressing(f, out->len - start))
		rc = compress(out, start);
	if (!rc)
		return 0;
	out->len = start;
	return err_set(e, rc, "a %s frame cannot be encoded: %s", frame_name(f->type), ne_name(rc));
}

const char *frame_name(enum frame_type type)
{
	switch (type) {
	case FRAME_HELLO:
		return "hello";
	case FRAME_SET:
		return "set";
	case FRAME_PART:
		return "part";
	case FRAME_PULL:
		return "pull";
	case FRAME_DECLARE:
		return "declare";
	case FRAME_VERIFY:
		return "verify";
	case FRAME_CONFLICTS:
		return "conflicts";
	case FRAME_WELCOME:
		return "welcome";
	case FRAME_ACK:
		return "ack";
	case FRAME_EXPECT:
		return "expect";
	case FRAME_BUSY:
		return "busy";
	case FRAME_PAGE:
		return "page";
	case FRAME_RESET:
		return "reset";
	case FRAME_REFUSE:
		return "refuse";
	case FRAME_KEY:
		return "key";
	case FRAME_RECEIPT:
		return "receipt";
	case FRAME_REJECT:
		return "reject";
	case FRAME_DIGEST:
		return "digest";
	case FRAME_NOTED:
		return "noted";
	case FRAME_ASK:
		return "ask";
	case FRAME_RANGES:
		return "ranges";
	case FRAME_CHANGE:
		return "change";
	case FRAME_HEAD:
		return "head";
	}
	return "unknown";
}
