#include "protocol/shape.h"

#include <openssl/sha.h>
#include <string.h>

#include "protocol/cbor_read.h"
#include "protocol/cbor_write.h"

enum { SHAPE_FIELDS = 7 };

bool shape_id_eq(struct shape_id a, struct shape_id b)
{
	return memcmp(a.at, b.at, sizeof a.at) == 0;
}

static uint8_t fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool same_folded(struct slice a, struct slice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (fold(a.at[i]) != fold(b.at[i]))
			return false;
	return true;
}

static bool starts_folded(struct slice s, const char *prefix)
{
	size_t n = strlen(prefix);
	return s.len >= n && same_folded(slice_of(s.at, n), slice_str(prefix));
}

/* Of valid UTF-8: U+0000 … U+001F, U+007F … U+009F. */
static bool has_control(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.at[i] < 0x20 || s.at[i] == 0x7f)
			return true;
		if (s.at[i] == 0xc2 && s.at[i + 1] < 0xa0)
			return true;
	}
	return false;
}

static int check_name(struct slice name, const char *what, struct err *e)
{
	if (name.len == 0)
		return err_set(e, NE_MALFORMED, "a %s's name is empty", what);
	if (name.len > LIMIT_NAME)
		return err_set(e, NE_LIMIT, "the %s name '%.*s…' is longer than %d bytes", what, 20,
			       (const char *)name.at, LIMIT_NAME);
	if (!utf8_valid(name))
		return err_set(e, NE_MALFORMED, "a %s's name is not valid UTF-8", what);
	if (has_control(name))
		return err_set(e, NE_MALFORMED, "a %s's name holds a control character", what);
	if (starts_folded(name, "sqlite_") || starts_folded(name, "neap_"))
		return err_set(e, NE_MALFORMED,
			       "the %s name '%.*s' is reserved: names beginning with sqlite_ or "
			       "neap_ cannot be synced",
			       what, (int)name.len, (const char *)name.at);
	return 0;
}

/* Column `i`, counted over the key and then the others. */
static const struct shape_col *nth(const struct shape *s, size_t i)
{
	return i < s->n_key ? &s->key[i] : &s->col[i - s->n_key];
}

static int check_columns(const struct shape *s, struct err *e)
{
	size_t n = (size_t)s->n_key + s->n_col;
	if (s->n_key == 0)
		return err_set(e, NE_MALFORMED, "table '%.*s' has no key", (int)s->name.len,
			       (const char *)s->name.at);
	if (s->n_key > LIMIT_KEY_COLUMNS || n > LIMIT_COLUMNS)
		return err_set(e, NE_LIMIT,
			       "table '%.*s' has %zu columns, %u of them in the key; at most %d "
			       "and %d can be synced",
			       (int)s->name.len, (const char *)s->name.at, n, s->n_key,
			       LIMIT_COLUMNS, LIMIT_KEY_COLUMNS);
	for (size_t i = 0; i < n; i++) {
		const struct shape_col *c = nth(s, i);
		TRY(check_name(c->name, "column", e));
		if (c->affinity > AFF_REAL || c->collation > COLL_RTRIM)
			return err_set(e, NE_MALFORMED,
				       "column '%.*s' has an unknown affinity or collation",
				       (int)c->name.len, (const char *)c->name.at);
		for (size_t k = 0; k < i; k++)
			if (same_folded(c->name, nth(s, k)->name))
				return err_set(e, NE_MALFORMED, "column '%.*s' is named twice",
					       (int)c->name.len, (const char *)c->name.at);
	}
	return 0;
}

static int check_uniques(const struct shape *s, struct err *e)
{
	if (s->n_unique > LIMIT_UNIQUES)
		return err_set(e, NE_LIMIT, "more than %d UNIQUE constraints", LIMIT_UNIQUES);
	for (size_t i = 0; i < s->n_unique; i++) {
		const struct shape_unique *u = &s->unique[i];
		bool seen[LIMIT_COLUMNS] = {false};
		if (u->n == 0 || u->n > LIMIT_KEY_COLUMNS)
			return err_set(e, NE_LIMIT, "a UNIQUE constraint of %u columns", u->n);
		for (size_t k = 0; k < u->n; k++) {
			if (u->col[k] >= s->n_key + s->n_col || seen[u->col[k]])
				return err_set(e, NE_MALFORMED,
					       "a UNIQUE constraint on a column that is not there "
					       "or was named before");
			seen[u->col[k]] = true;
		}
	}
	return 0;
}

int shape_check(const struct shape *s, struct err *e)
{
	TRY(check_name(s->name, "table", e));
	TRY(check_columns(s, e));
	if (s->kind > SHAPE_APPEND || s->direction > DIR_DOWN)
		return err_set(e, NE_MALFORMED, "unknown kind of table or direction");
	if (s->kind == SHAPE_APPEND && s->direction != DIR_UP)
		return err_set(e, NE_MALFORMED, "an append table goes up only");
	if (s->key_is_number &&
	    (s->kind != SHAPE_APPEND || s->n_key != 1 || s->key[0].affinity != AFF_INTEGER))
		return err_set(e, NE_MALFORMED,
			       "only an append table with one INTEGER key is numbered by it");
	return check_uniques(s, e);
}

static void set_id(struct shape *s, struct slice encoded)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	SHA256(encoded.at, encoded.len, digest);
	memcpy(s->id.at, digest, sizeof s->id.at);
}

/* Outside the key a collation is named only if it is another than BINARY. */
static int write_column(struct buf *out, const struct shape_col *c, bool key)
{
	bool named = key || c->collation != COLL_BINARY;

	TRY(cbor_put_array(out, named ? 3 : 2));
	TRY(cbor_put_text(out, c->name));
	TRY(cbor_put_uint(out, c->affinity));
	return named ? cbor_put_uint(out, c->collation) : NE_OK;
}

static int write_shape(const struct shape *s, struct buf *out)
{
	TRY(cbor_put_array(out, s->uncompressed ? SHAPE_FIELDS + 1 : SHAPE_FIELDS));
	TRY(cbor_put_text(out, s->name));
	TRY(cbor_put_uint(out, s->kind));
	TRY(cbor_put_uint(out, s->direction));
	TRY(cbor_put_uint(out, s->key_is_number));
	TRY(cbor_put_array(out, s->n_key));
	for (size_t i = 0; i < s->n_key; i++)
		TRY(write_column(out, &s->key[i], true));
	TRY(cbor_put_array(out, s->n_col));
	for (size_t i = 0; i < s->n_col; i++)
		TRY(write_column(out, &s->col[i], false));
	TRY(cbor_put_array(out, s->n_unique));
	for (size_t i = 0; i < s->n_unique; i++) {
		TRY(cbor_put_array(out, s->unique[i].n));
		for (size_t k = 0; k < s->unique[i].n; k++)
			TRY(cbor_put_uint(out, s->unique[i].col[k]));
	}
	return s->uncompressed ? cbor_put_uint(out, 1) : 0;
}

int shape_encode(struct shape *s, struct buf *out, struct err *e)
{
	size_t start = out->len;
	TRY(shape_check(s, e));
	int rc = write_shape(s, out);
	if (rc) {
		out->len = start;
		return err_set(e, rc, "the declaration of table '%.*s' does not fit its buffer",
			       (int)s->name.len, (const char *)s->name.at);
	}
	set_id(s, slice_of(out->at + start, out->len - start));
	return 0;
}

/* An array of at most `max` items. */
static int read_array(struct cbor_in *r, size_t max, size_t *n)
{
	TRY(cbor_get_array(r, n));
	return *n > max ? NE_LIMIT : NE_OK;
}

static int read_max(struct cbor_in *r, uint64_t max, uint64_t *v)
{
	TRY(cbor_get_uint(r, v));
	return *v > max ? NE_MALFORMED : NE_OK;
}

static int read_column(struct cbor_in *r, struct arena *a, bool key, struct shape_col *c)
{
	size_t fields;
	uint64_t affinity, collation = COLL_BINARY;
	struct slice name;
	TRY(read_array(r, 3, &fields));
	if (fields != 3 && (key || fields != 2))
		return NE_MALFORMED;
	TRY(cbor_get_text(r, &name));
	TRY(read_max(r, AFF_REAL, &affinity));
	if (fields == 3)
		TRY(read_max(r, COLL_RTRIM, &collation));
	if (fields == 3 && !key && collation == COLL_BINARY)
		return NE_MALFORMED;
	cbor_leave(r);
	c->name = arena_copy(a, name);
	c->affinity = (enum shape_affinity)affinity;
	c->collation = (enum shape_collation)collation;
	return c->name.at ? NE_OK : NE_MEMORY;
}

static int read_columns(struct cbor_in *r, struct arena *a, bool key, uint16_t *n_out,
			struct shape_col **out)
{
	size_t n;
	TRY(read_array(r, LIMIT_COLUMNS, &n));
	struct shape_col *cols = arena_array(a, n, sizeof *cols);
	if (!cols)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++)
		TRY(read_column(r, a, key, &cols[i]));
	cbor_leave(r);
	*n_out = (uint16_t)n;
	*out = cols;
	return 0;
}

static int read_unique(struct cbor_in *r, struct arena *a, struct shape_unique *u)
{
	size_t n;
	TRY(read_array(r, LIMIT_KEY_COLUMNS, &n));
	u->col = arena_array(a, n, sizeof *u->col);
	if (!u->col)
		return NE_MEMORY;
	for (size_t k = 0; k < n; k++) {
		uint64_t col;
		TRY(read_max(r, LIMIT_COLUMNS, &col));
		u->col[k] = (uint16_t)col;
	}
	cbor_leave(r);
	u->n = (uint16_t)n;
	return 0;
}

static int read_uniques(struct cbor_in *r, struct arena *a, struct shape *s)
{
	size_t n;
	TRY(read_array(r, LIMIT_UNIQUES, &n));
	s->unique = arena_array(a, n, sizeof *s->unique);
	if (!s->unique)
		return NE_MEMORY;
	for (size_t i = 0; i < n; i++)
		TRY(read_unique(r, a, &s->unique[i]));
	cbor_leave(r);
	s->n_unique = (uint16_t)n;
	return 0;
}

static int read_shape(struct cbor_in *r, struct arena *a, struct shape *s)
{
	size_t fields;
	uint64_t kind, direction, numbered, uncompressed = 0;
	struct slice name;
	TRY(read_array(r, SHAPE_FIELDS + 1, &fields));
	if (fields < SHAPE_FIELDS)
		return NE_MALFORMED;
	TRY(cbor_get_text(r, &name));
	TRY(read_max(r, SHAPE_APPEND, &kind));
	TRY(read_max(r, DIR_DOWN, &direction));
	TRY(read_max(r, 1, &numbered));
	TRY(read_columns(r, a, true, &s->n_key, &s->key));
	TRY(read_columns(r, a, false, &s->n_col, &s->col));
	TRY(read_uniques(r, a, s));
	if (fields > SHAPE_FIELDS) {
		TRY(read_max(r, 1, &uncompressed));
		if (!uncompressed) /* left out where it is not set */
			return NE_MALFORMED;
	}
	cbor_leave(r);
	TRY(cbor_end(r));
	s->name = arena_copy(a, name);
	s->kind = (enum shape_kind)kind;
	s->direction = (enum shape_direction)direction;
	s->key_is_number = numbered != 0;
	s->uncompressed = uncompressed != 0;
	return s->name.at ? NE_OK : NE_MEMORY;
}

int shape_decode(struct slice bytes, struct arena *a, struct shape *out, struct err *e)
{
	struct cbor_in r = {.left = bytes};
	struct shape s = {0};
	int rc = read_shape(&r, a, &s);
	if (rc)
		return err_set(e, rc,
			       "the declaration of a table is not valid (at byte %zu of %zu)",
			       bytes.len - r.left.len, bytes.len);
	TRY(shape_check(&s, e));
	set_id(&s, bytes);
	*out = s;
	return 0;
}
