#include "tests/fuzz/moves.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/parts.h"
#include "protocol/value_bytes.h"

enum { ROWS = 6, TEXT = 12 };

static const char *const names[] = {
	"notes",     "NOTES",
	"log",	     "id",
	"x",	     "y",
	"n",	     "v",
	"rowid",     "oid",
	"users",     "user_id",
	"select",    "a\"; DROP TABLE notes;--",
	"",	     "neap_r1",
	"sqlite_x",  "\xc3\xa9",
	"e\xcc\x81", "app_user_id",
};

/* --- the input --- */

static uint8_t take(struct moves *m)
{
	if (m->left.len == 0)
		return 0;
	m->left.len--;
	return *m->left.at++;
}

static uint64_t take_long(struct moves *m)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | take(m);
	return v;
}

/* Small numbers mostly, where something may happen; now and then any. */
static uint64_t take_number(struct moves *m)
{
	uint8_t b = take(m);

	return b < 0xf0 ? b % 16 : b == 0xff ? UINT64_MAX : take_long(m);
}

static struct slice take_bytes(struct moves *m, size_t len)
{
	struct slice s = slice_of(m->left.at, len < m->left.len ? len : m->left.len);

	m->left = slice_of(m->left.at + s.len, m->left.len - s.len);
	return s;
}

static struct slice take_name(struct moves *m)
{
	return slice_str(names[take(m) % (sizeof names / sizeof names[0])]);
}

static struct val take_value(struct moves *m, bool null)
{
	static const double reals[] = {0.0, -0.0, 1.5, 1e300, 3.0, 9007199254740993.0};
	struct val v = {.type = (enum val_type)(take(m) % 5)};

	switch (v.type) {
	case VAL_REAL:
		v.r = reals[take(m) % 6];
		break;
	case VAL_TEXT:
		v.s = take_name(m); /* valid, as SQLite gives it */
		break;
	case VAL_BLOB:
		v.s = take_bytes(m, take(m) % TEXT);
		break;
	case VAL_INT:
	case VAL_NULL:
	default:
		v = (struct val){.type = VAL_INT, .i = (int64_t)take_number(m)};
		if (null && v.i == 15)
			v.type = VAL_NULL;
	}
	return v;
}

static uint64_t take_site(struct moves *m)
{
	static const uint64_t sites[] = {11, 12, 11, 12, 0, 1};
	uint8_t b = take(m) % 7;

	return b < 6 ? sites[b] : m->foreign_site;
}

static struct reg take_reg(struct moves *m)
{
	static const uint64_t bases[] = {0, 100, 1790000000000ull << 16, 1790000301000ull << 16};
	uint64_t base = bases[take(m) % 4];

	return (struct reg){base + take(m) % 16, take_site(m)};
}

/* The store's own place mostly, so that a pull is answered. */
static struct position take_position(struct moves *m)
{
	uint8_t how = take(m);

	return (struct position){.store = how & 1   ? m->store + 1
					  : how & 2 ? 0
						    : m->store,
				 .term = how & 4 ? m->term + 1 : m->term,
				 .cursor = take_number(m),
				 .hold = how & 8 ? take_number(m) : 0,
				 .full = how & 16,
				 .base = how & 16 ? take_number(m) : 0};
}

static void *more(struct moves *m, size_t count, size_t size)
{
	void *at = arena_array(&m->a, count ? count : 1, size);

	if (!at)
		abort();
	return at;
}

static const struct shape *take_shape(struct moves *m)
{
	return &m->shape[take(m) % MOVES_SHAPES];
}

/* --- shapes --- */

static void columns(struct moves *m, struct shape *s, const char *key, enum shape_affinity a,
		    size_t n)
{
	static const char *const col[] = {"x", "y", "z"};

	s->n_key = 1;
	s->n_col = (uint16_t)n;
	s->key = more(m, 1, sizeof *s->key);
	s->col = more(m, n, sizeof *s->col);
	s->key[0] = (struct shape_col){slice_str(key), a, COLL_BINARY};
	for (size_t i = 0; i < n; i++)
		s->col[i] = (struct shape_col){slice_str(col[i]), AFF_BLOB, COLL_BINARY};
}

static bool set_id(struct shape *s)
{
	struct buf b = {.max = 64 * 1024};
	int rc = shape_encode(s, &b, NULL);

	buf_free(&b);
	return !rc;
}

static struct shape_col take_column(struct moves *m)
{
	uint8_t b = take(m);

	return (struct shape_col){take_name(m), (enum shape_affinity)(b % 5),
				  (enum shape_collation)(b / 5 % 3)};
}

static struct shape any_shape(struct moves *m)
{
	uint8_t how = take(m);
	struct shape s = {
		.name = take_name(m),
		.kind = how & 1 ? SHAPE_APPEND : SHAPE_MERGE,
		.direction = (enum shape_direction)(how / 2 % 3),
		.uncompressed = how & 8,
		.key_is_number = how & 16,
		.n_key = (uint16_t)(1 + how / 32 % 2),
		.n_col = (uint16_t)(take(m) % 5),
	};

	s.key = more(m, s.n_key, sizeof *s.key);
	s.col = more(m, s.n_col, sizeof *s.col);
	for (size_t i = 0; i < s.n_key; i++)
		s.key[i] = take_column(m);
	for (size_t i = 0; i < s.n_col; i++)
		s.col[i] = take_column(m);
	s.n_unique = how >> 7;
	if (s.n_unique) {
		s.unique = more(m, 1, sizeof *s.unique);
		s.unique->n = 1;
		s.unique->col = more(m, 1, sizeof *s.unique->col);
		s.unique->col[0] = (uint16_t)(take(m) % (s.n_key + s.n_col));
	}
	return s;
}

/* --- frames --- */

static void hello(struct moves *m, struct frame *f)
{
	struct shape_id *ids = more(m, MOVES_SHAPES, sizeof *ids);

	for (size_t i = 0; i < MOVES_SHAPES; i++)
		ids[i] = m->shape[i].id;
	f->hello = (struct f_hello){.nonce = 7,
				    .site = take_site(m),
				    .last_number = take_number(m),
				    .last_cut = take_number(m),
				    .at = take_position(m),
				    .n_shape = take(m) % (MOVES_SHAPES + 1),
				    .shape = ids};
}

static void row(struct moves *m, const struct shape *s, struct row *r)
{
	struct val *key = more(m, s->n_key, sizeof *key);
	struct cell *cell = more(m, s->n_col, sizeof *cell);
	uint8_t how = take(m);

	for (size_t k = 0; k < s->n_key; k++)
		key[k] = take_value(m, false);
	*r = (struct row){.key = key, .cell = cell};
	if (s->kind == SHAPE_APPEND) {
		r->gen = 1 + how % 3;
		r->n = (int64_t)take_number(m);
		if (s->key_is_number)
			key[0] = (struct val){.type = VAL_INT, .i = r->n};
	} else {
		r->exist = (enum row_exist)(how % 3);
		r->exist_reg = r->exist ? take_reg(m) : (struct reg){0, 0};
	}
	for (uint16_t c = 0; c < s->n_col; c++)
		if (s->kind == SHAPE_APPEND || how & 8 << c % 5)
			cell[r->n_cell++] = (struct cell){
				c, s->kind == SHAPE_APPEND ? (struct reg){0, 0} : take_reg(m),
				take_value(m, true)};
}

static void set(struct moves *m, struct frame *f)
{
	struct table_rows *t = more(m, 2, sizeof *t);
	struct rows rows = {.table = t, .n_table = 1 + take(m) % 2};
	struct buf b = {.max = LIMIT_SET};

	f->set = (struct f_set){.site = take_site(m),
				.number = take_number(m),
				.prev = take_number(m),
				.cut = 1 + take(m),
				.flags = take(m) % 2,
				.captured = take(m) % 4 ? 0 : take_site(m),
				.seen = take_number(m)};
	for (size_t i = 0; i < rows.n_table; i++) {
		t[i].shape = take_shape(m);
		if (i && t[i].shape == t[0].shape)
			rows.n_table = 1;
		t[i].n_row = 1 + take(m) % ROWS;
		t[i].row = more(m, t[i].n_row, sizeof *t[i].row);
		for (size_t k = 0; k < t[i].n_row; k++)
			row(m, t[i].shape, &t[i].row[k]);
	}
	if (!rows_encode(&rows, f->set.site, &b, NULL))
		f->set.rows = arena_copy(&m->a, buf_slice(&b));
	buf_free(&b);
}

static void pull(struct moves *m, struct frame *f)
{
	f->pull = (struct f_pull){.nonce = 9,
				  .number = 1 + take(m),
				  .at = take_position(m),
				  .credit = take(m) % 4 ? 65536 : take_number(m)};
	if (take(m) % 4 == 0)
		f->pull.token = take_bytes(m, take(m) % 32);
	if (take(m) % 4 == 0) {
		f->pull.table = take_name(m);
		f->pull.upto = take_number(m);
		f->pull.from = take_number(m);
	}
}

static void declare(struct moves *m, struct frame *f)
{
	struct shape s = take(m) % 4 ? any_shape(m) : m->shape[take(m) % MOVES_SHAPES];
	struct buf b = {.max = 64 * 1024};
	struct slice *bytes = more(m, 1, sizeof *bytes);

	if (!shape_encode(&s, &b, NULL)) {
		m->shape[MOVES_SHAPES - 1] = s;
		*bytes = arena_copy(&m->a, buf_slice(&b));
		f->declare = (struct f_declare){1, bytes};
	}
	buf_free(&b);
}

static struct slice take_key(struct moves *m)
{
	struct buf b = {.max = 1024};
	struct val v = take_value(m, false);
	struct slice s = {0};

	if (take(m) % 2 && !value_put(&b, &v))
		s = arena_copy(&m->a, buf_slice(&b));
	buf_free(&b);
	return s;
}

static void verify(struct moves *m, struct frame *f)
{
	f->verify = (struct f_verify){.nonce = 5,
				      .at = take_position(m),
				      .shape = take_shape(m)->id,
				      .whole = take(m) & 1,
				      .from = take_key(m),
				      .to = take_key(m),
				      .except = take_key(m),
				      .absent = take_key(m)};
}

static void conflicts(struct moves *m, struct frame *f)
{
	struct lost_value *l = more(m, 1, sizeof *l);

	*l = (struct lost_value){.table = take_name(m),
				 .key = take_name(m),
				 .column = take_name(m),
				 .value = take_key(m),
				 .reg = take_reg(m),
				 .won = take_reg(m),
				 .lost_ms = take_number(m),
				 .why = slice_str("why")};
	f->conflicts = (struct f_conflicts){9, take_site(m), take_number(m), 1, l};
}

static void ask(struct moves *m, struct frame *f)
{
	f->ask = (struct f_ask){.nonce = 3,
				.shape = take_shape(m)->id,
				.site = take_site(m),
				.gen = take_number(m),
				.after = (int64_t)take_number(m),
				.upto = (int64_t)take_number(m),
				.salt = take(m) % 2};
}

static void part(struct moves *m, struct frame *f)
{
	if (m->last.len == 0)
		m->last = slice_str("no frame was sent before");
	size_t piece = 1 + take(m), count = parts_count(m->last.len, piece);
	uint8_t digest[32];

	parts_digest(m->last, digest);
	parts_get(m->last, piece, 1 + take(m) % 3, take(m) % count, digest, f);
	if (take(m) % 8 == 0)
		f->part.size = take_number(m);
}

typedef void (*fill_fn)(struct moves *m, struct frame *f);
static const struct kind {
	enum frame_type type;
	fill_fn fill;
} kinds[] = {
	{FRAME_HELLO, hello},	  {FRAME_SET, set},	  {FRAME_PULL, pull},
	{FRAME_DECLARE, declare}, {FRAME_VERIFY, verify}, {FRAME_CONFLICTS, conflicts},
	{FRAME_ASK, ask},	  {FRAME_PART, part},	  {FRAME_SET, set},
};
enum { N_KIND = sizeof kinds / sizeof kinds[0], OTHER = 5 };

/* A frame of that kind, or nothing where it cannot be encoded; `wild`: with bytes changed. */
static struct slice frame_of(struct moves *m, const struct kind *k, bool wild)
{
	struct frame f = {.type = k->type, .uncompressed = true};
	struct buf b = {.max = LIMIT_FRAME};
	struct slice s = {0};

	k->fill(m, &f);
	if (!frame_encode(&f, &b, NULL)) {
		for (int i = take(m) % 4; wild && i >= 0 && b.len; i--) {
			size_t at = ((size_t)take(m) << 8 | take(m)) % b.len;
			b.at[at] = take(m);
		}
		s = arena_copy(&m->a, buf_slice(&b));
	}
	buf_free(&b);
	if (k->type != FRAME_PART && s.len)
		m->last = s;
	return s;
}

/* --- --- */

static const char *const operators[] = {
	"UPDATE notes SET x = 5 WHERE user_id = 'u'",
	"DELETE FROM notes WHERE user_id = 'u'",
	"INSERT OR REPLACE INTO notes(user_id, id, x) VALUES('u', 2, 1)",
	"DELETE FROM log WHERE user_id = 'u'",
	"INSERT INTO notes(user_id, id, x) VALUES('a/#', 3, 1)",
	"UPDATE notes SET id = NULL WHERE user_id = 'u' AND id = 2",
};

void moves_begin(struct moves *m)
{
	m->a.max = 32 * 1024 * 1024;
	for (size_t i = 0; i < MOVES_SHAPES; i++)
		columns(m, &m->shape[i], "id", AFF_INTEGER, 2);
	columns(m, &m->shape[1], "n", AFF_INTEGER, 1);
	columns(m, &m->shape[2], "id", AFF_TEXT, 3);
	m->shape[1].kind = SHAPE_APPEND;
	m->shape[1].direction = DIR_UP;
	m->shape[1].key_is_number = true;
	for (size_t i = 0; i < MOVES_SHAPES; i++) {
		m->shape[i].name = slice_str(i == 1 ? "log" : "notes");
		if (!set_id(&m->shape[i]))
			abort();
	}
}

bool moves_next(struct moves *m, struct move *out)
{
	if (m->left.len == 0 || m->n++ == MOVES_MAX)
		return false;
	uint8_t how = take(m), what = how & 0x1f;

	*out = (struct move){.type = MOVE_FRAME, .device = how >> 5 & 1};
	if (what < N_KIND) {
		out->frame = frame_of(m, &kinds[what], how >> 7);
	} else if (what < 2 * N_KIND) {
		out->frame = frame_of(m, &kinds[what - N_KIND], false);
	} else if (what % OTHER == 0) {
		out->type = MOVE_OPERATOR;
		out->sql = operators[take(m) % (sizeof operators / sizeof operators[0])];
	} else if (what % OTHER == 1) {
		out->type = MOVE_TIME;
		out->ms = (uint64_t)take(m) * take(m) * take(m) * 1000;
	} else if (what % OTHER == 2 && take(m) % 4 == 0) {
		out->type = MOVE_RESTART;
	} else { /* bytes as they come */
		size_t len = (size_t)take(m) << 8 | take(m);
		out->frame = take_bytes(m, len);
	}
	return true;
}

void moves_end(struct moves *m)
{
	arena_free(&m->a);
}
