/*
 * Reassembly: the input is a frame, sent in pieces of a size it chooses, in an order it chooses,
 * some of them twice or changed. What comes out whole is the frame, and nothing else.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

/* Changes one number or byte of a part as `how` says. */
static void change(struct f_part *p, uint8_t how, uint8_t *copy)
{
	switch (how % 8) {
	case 0:
		p->index += how;
		return;
	case 1:
		p->count += how;
		return;
	case 2:
		p->size -= how;
		return;
	case 3:
		p->cut++;
		return;
	case 4:
		p->digest[how % 32] ^= 1;
		return;
	case 5:
		p->bytes.len -= 1;
		return;
	case 6:
		p->size = (uint64_t)how << 56 | how;
		return;
	default:
		memcpy(copy, p->bytes.at, p->bytes.len);
		copy[how % p->bytes.len] ^= 0x80;
		p->bytes.at = copy;
		return;
	}
}

static void add(struct parts **all, const struct f_part *p, struct slice frame, bool changed)
{
	bool whole = false;
	if (!*all && parts_new(all, p, NULL))
		return;
	int rc = parts_add(*all, p, &whole, NULL);
	assert(rc == 0 || rc == NE_PROTOCOL || rc == NE_MALFORMED);
	(void)rc;
	if (whole && !changed)
		assert(slice_eq(parts_frame(*all), frame));
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
	uint8_t digest[32], copy[256];
	struct parts *all = NULL;
	bool changed = false;

	if (len < 2)
		return 0;
	struct slice frame = slice_of(at + 1, len - 1);
	size_t piece = (size_t)at[0] + 1;
	size_t count = parts_count(frame.len, piece);
	parts_digest(frame, digest);
	for (size_t i = 0; i < frame.len && i < 4 * count; i++) {
		struct frame f;
		size_t index = i < 2 * count ? frame.at[i] % count : i % count;
		parts_get(frame, piece, 9, index, digest, &f);
		if (frame.at[i] > 0xe0 && f.part.bytes.len > 1) {
			change(&f.part, frame.at[i], copy);
			changed = true;
		}
		add(&all, &f.part, frame, changed);
	}
	parts_free(all);
	return 0;
}
