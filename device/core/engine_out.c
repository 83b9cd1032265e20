/* What a step hands out: actions, and frames published whole or in parts. */
#include <stdlib.h>

#include "device/core/engine_internal.h"

enum { OUT_MEMORY = 16 * 1024 * 1024 };

void engine_actions_clear(struct actions *a)
{
	a->n = 0;
	arena_free(&a->arena);
	a->arena.max = OUT_MEMORY;
}

void actions_free(struct actions *a)
{
	arena_free(&a->arena);
	free(a->at);
	a->at = NULL;
	a->n = a->cap = 0;
}

struct action *engine_act(struct engine *en, enum action_type type)
{
	struct actions *out = en->out;

	if (out->n == out->cap) {
		size_t cap = out->cap ? 2 * out->cap : 16;
		struct action *at = realloc(out->at, cap * sizeof(*at));

		if (!at)
			return NULL;
		out->at = at;
		out->cap = cap;
	}
	out->at[out->n] = (struct action){.type = type};
	return &out->at[out->n++];
}

int engine_publish_bytes(struct engine *en, struct slice plain)
{
	struct slice copy = arena_copy(&en->out->arena, plain);
	struct action *a;

	if (!copy.at)
		return NE_MEMORY;
	a = engine_act(en, ACT_PUBLISH);
	if (!a)
		return NE_MEMORY;
	a->frame = copy;
	if (!en->outstanding)
		en->sent_at_ms = en->mono_ms;
	en->outstanding += plain.len;
	return NE_OK;
}

static int publish_parts(struct engine *en, struct slice whole, struct err *e)
{
	struct buf part = {.max = LIMIT_MESSAGE};
	size_t n = parts_count(whole.len, en->cfg.piece_bytes);
	uint64_t id = engine_random_id(en);
	uint8_t digest[32];
	int rc = NE_OK;

	parts_digest(whole, digest);
	for (size_t i = 0; i < n && !rc; i++) {
		struct frame f;

		parts_get(whole, en->cfg.piece_bytes, id, i, digest, &f);
		buf_clear(&part);
		rc = frame_encode(&f, &part, e);
		if (!rc)
			rc = engine_publish_bytes(en, buf_slice(&part));
	}
	buf_free(&part);
	return rc;
}

int engine_publish(struct engine *en, const struct frame *f, struct err *e)
{
	struct buf whole = {.max = LIMIT_FRAME};
	int rc = frame_encode(f, &whole, e);

	if (!rc && whole.len > en->cfg.piece_bytes)
		rc = publish_parts(en, buf_slice(&whole), e);
	else if (!rc)
		rc = engine_publish_bytes(en, buf_slice(&whole));
	buf_free(&whole);
	return rc;
}
