#include "protocol/parts.h"

#include <assert.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

size_t parts_count(size_t frame_len, size_t piece)
{
	assert(piece > 0);
	return frame_len == 0 ? 1 : (frame_len - 1) / piece + 1;
}

void parts_get(struct slice frame, size_t piece, uint64_t cut, size_t index,
	       const uint8_t digest[static 32], struct frame *out)
{
	size_t count = parts_count(frame.len, piece);
	assert(index < count);
	size_t start = index * piece;
	size_t len = index + 1 < count ? piece : frame.len - start;
	*out = (struct frame){.type = FRAME_PART};
	out->part = (struct f_part){
		.cut = cut,
		.index = index,
		.count = count,
		.size = frame.len,
		.bytes = slice_of(frame.at + start, len),
	};
	memcpy(out->part.digest, digest, sizeof out->part.digest);
}

void parts_digest(struct slice frame, uint8_t out[static 32])
{
	SHA256(frame.at, frame.len, out);
}

struct parts {
	uint64_t cut;
	size_t count, size, piece;
	size_t n_have;
	uint8_t digest[32];
	bool have[LIMIT_PARTS];
	uint8_t bytes[]; /* `size` of them */
};

/* The piece length a part implies; 0 if its numbers contradict each other. */
static size_t piece_of(const struct f_part *p)
{
	size_t len = p->bytes.len;
	if (p->count == 0 || p->index >= p->count || len == 0 || len > p->size)
		return 0;
	if (p->index + 1 < p->count || p->count == 1)
		return parts_count(p->size, len) == p->count ? len : 0;
	/* The last one: what is before it divides evenly, into pieces no shorter than it. */
	size_t before = p->size - len;
	if (before == 0 || before % (p->count - 1))
		return 0;
	size_t piece = before / (p->count - 1);
	return len <= piece ? piece : 0;
}

int parts_new(struct parts **out, const struct f_part *first, struct err *e)
{
	if (first->count > LIMIT_PARTS || first->size > LIMIT_FRAME)
		return err_set(e, NE_LIMIT,
			       "a frame of %llu bytes in %llu parts is more than is allowed",
			       (unsigned long long)first->size, (unsigned long long)first->count);
	size_t piece = piece_of(first);
	if (piece == 0)
		return err_set(e, NE_MALFORMED,
			       "part %llu of %llu with %zu of %llu bytes does not add up",
			       (unsigned long long)first->index, (unsigned long long)first->count,
			       first->bytes.len, (unsigned long long)first->size);
	struct parts *p = malloc(sizeof *p + first->size);
	if (!p)
		return err_set(e, NE_MEMORY, "no memory to put a frame of %llu bytes together",
			       (unsigned long long)first->size);
	memset(p, 0, sizeof *p);
	p->cut = first->cut;
	p->count = first->count;
	p->size = first->size;
	p->piece = piece;
	memcpy(p->digest, first->digest, sizeof p->digest);
	*out = p;
	return 0;
}

void parts_free(struct parts *p)
{
	free(p);
}

uint64_t parts_cut(const struct parts *p)
{
	return p->cut;
}

size_t parts_bytes(const struct parts *p)
{
	return sizeof *p + p->size;
}

static bool fits(const struct parts *p, const struct f_part *part)
{
	return part->cut == p->cut && part->count == p->count && part->size == p->size &&
	       memcmp(part->digest, p->digest, sizeof p->digest) == 0 && piece_of(part) == p->piece;
}

int parts_add(struct parts *p, const struct f_part *part, bool *whole, struct err *e)
{
	*whole = false;
	if (!fits(p, part))
		return err_set(e, NE_PROTOCOL, "a part contradicts the first one of its frame");
	if (!p->have[part->index]) {
		memcpy(p->bytes + part->index * p->piece, part->bytes.at, part->bytes.len);
		p->have[part->index] = true;
		p->n_have++;
	}
	if (p->n_have < p->count)
		return 0;
	uint8_t digest[32];
	parts_digest(parts_frame(p), digest);
	if (memcmp(digest, p->digest, sizeof digest) != 0)
		return err_set(e, NE_MALFORMED,
			       "the parts of a frame do not have the digest they announced");
	*whole = true;
	return 0;
}

struct slice parts_frame(const struct parts *p)
{
	return slice_of(p->bytes, p->size);
}

size_t parts_missing(const struct parts *p, uint64_t *out, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; i < p->count && n < max; i++)
		if (!p->have[i])
			out[n++] = i;
	return n;
}
