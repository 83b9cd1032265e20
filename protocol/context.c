#include "protocol/context.h"

#include <cbor.h>
#include <string.h>

/* libcbor's encoders return the bytes written, 0 when there is no room. */
static void took(struct context *c, size_t n)
{
	if (n == 0)
		c->full = true;
	else
		c->len += n;
}

static uint8_t *end(struct context *c)
{
	return c->at + c->len;
}

static size_t room(const struct context *c)
{
	return c->full ? 0 : sizeof c->at - c->len;
}

void context_array(struct context *c, size_t n)
{
	took(c, cbor_encode_array_start(n, end(c), room(c)));
}

void context_map(struct context *c, size_t n)
{
	took(c, cbor_encode_map_start(n, end(c), room(c)));
}

void context_uint(struct context *c, uint64_t v)
{
	took(c, cbor_encode_uint(v, end(c), room(c)));
}

void context_null(struct context *c)
{
	took(c, cbor_encode_null(end(c), room(c)));
}

static void put(struct context *c, struct slice s)
{
	if (s.len > room(c)) {
		c->full = true;
		return;
	}
	if (s.len)
		memcpy(end(c), s.at, s.len);
	c->len += s.len;
}

void context_text(struct context *c, const char *s)
{
	context_text_slice(c, slice_str(s));
}

void context_text_slice(struct context *c, struct slice s)
{
	took(c, cbor_encode_string_start(s.len, end(c), room(c)));
	put(c, s);
}

void context_bytes(struct context *c, struct slice s)
{
	took(c, cbor_encode_bytestring_start(s.len, end(c), room(c)));
	put(c, s);
}
