/* Frames arriving in parts (M4): bounded per device, per user and in all. */
#include <stdlib.h>
#include <string.h>

#include "backend/core/ingest_step.h"

enum { SETS_A_DEVICE = 2, BUSY_MS = 2000, RECEIPT_MISSING = 256 };

struct assembly {
	struct assembly *next; /* younger */
	struct id user, device;
	struct parts *parts;
	uint64_t begun_ms;
	size_t bytes; /* held, as counted in ingest.parts_bytes */
};

static struct assembly *take_out(struct ingest *in, struct assembly **at)
{
	struct assembly *a = *at;

	*at = a->next;
	in->parts_bytes -= a->bytes;
	return a;
}

static void put_first(struct assembly **list, struct assembly *a)
{
	a->next = *list;
	*list = a;
}

static void drop(struct ingest *in, struct assembly **at)
{
	struct assembly *a = take_out(in, at);

	parts_free(a->parts);
	free(a);
}

void parts_expire(struct ingest *in, uint64_t now_ms, bool all)
{
	struct assembly **at = &in->parts;

	while (*at) {
		bool old = now_ms > (*at)->begun_ms && now_ms - (*at)->begun_ms > in->c.parts_ms;
		if (all || old)
			drop(in, at);
		else
			at = &(*at)->next;
	}
}

void parts_done(struct ingest *in, struct slice whole)
{
	for (struct assembly **at = &in->parts; *at; at = &(*at)->next)
		if (parts_frame((*at)->parts).at == whole.at) {
			put_first(&in->parts_put_together, take_out(in, at));
			return;
		}
}

void parts_settle(struct ingest *in, bool committed)
{
	while (in->parts_put_together) {
		struct assembly *a = in->parts_put_together;

		in->parts_put_together = a->next;
		in->parts_bytes += a->bytes;
		put_first(&in->parts, a);
		if (committed)
			drop(in, &in->parts);
	}
}

static bool of_user(const struct assembly *a, const struct sender *from)
{
	return strcmp(a->user.at, from->us->u.name.at) == 0;
}

static bool of_device(const struct assembly *a, const struct sender *from)
{
	return of_user(a, from) && strcmp(a->device.at, from->device.at) == 0;
}

static struct assembly *find(struct ingest *in, const struct sender *from, uint64_t cut)
{
	for (struct assembly *a = in->parts; a; a = a->next)
		if (of_device(a, from) && parts_cut(a->parts) == cut)
			return a;
	return NULL;
}

/* Drops the user's (or, with `device`, the device's) oldest but `keep`; false if there is none. */
static bool drop_oldest(struct ingest *in, const struct sender *from, bool device,
			const struct assembly *keep)
{
	for (struct assembly **at = &in->parts; *at; at = &(*at)->next)
		if (*at != keep && (device ? of_device(*at, from) : of_user(*at, from))) {
			drop(in, at);
			return true;
		}
	return false;
}

static size_t held(const struct ingest *in, const struct sender *from, bool device, size_t *bytes)
{
	size_t n = 0;

	*bytes = 0;
	for (const struct assembly *a = in->parts; a; a = a->next)
		if (device ? of_device(a, from) : of_user(a, from)) {
			n++;
			*bytes += a->bytes;
		}
	return n;
}

/* Over a bound the same tenant's oldest goes; false: `a` itself is what is too much. */
static bool keep_bounds(struct ingest *in, const struct sender *from, const struct assembly *a)
{
	size_t bytes;

	while (held(in, from, true, &bytes) > SETS_A_DEVICE)
		if (!drop_oldest(in, from, true, a))
			return false;
	while (held(in, from, false, &bytes) && bytes > in->c.parts_bytes_user)
		if (!drop_oldest(in, from, false, a))
			return false;
	while (in->parts_bytes > in->c.parts_bytes)
		if (!drop_oldest(in, from, false, a))
			return false;
	return true;
}

static int begin(struct step *s, const struct sender *from, const struct f_part *f,
		 struct assembly **out, struct err *e)
{
	struct assembly *a = calloc(1, sizeof *a);
	struct assembly **end = &s->in->parts;

	if (!a)
		return err_set(e, NE_MEMORY, "no memory for a frame in parts");
	int rc = parts_new(&a->parts, f, e);
	if (rc) {
		free(a);
		return rc;
	}
	a->user = from->us->u.name;
	a->device = from->device;
	a->begun_ms = s->now_ms;
	while (*end)
		end = &(*end)->next;
	*end = a;
	*out = a;
	return 0;
}

static void discard(struct ingest *in, struct assembly *a)
{
	for (struct assembly **at = &in->parts; *at; at = &(*at)->next)
		if (*at == a) {
			drop(in, at);
			return;
		}
}

/* Says what is missing once the last part is there, or one came twice. */
static int receipt(struct step *s, const struct sender *from, struct assembly *a, struct err *e)
{
	struct frame f = {.type = FRAME_RECEIPT};
	uint64_t missing[RECEIPT_MISSING];

	f.receipt = (struct f_receipt){
		.cut = parts_cut(a->parts),
		.n_missing = parts_missing(a->parts, missing, RECEIPT_MISSING),
		.missing = missing,
	};
	return send_down(s, from, &f, 0, e);
}

static int add(struct step *s, const struct sender *from, struct assembly *a,
	       const struct f_part *f, struct slice *whole, struct err *e)
{
	uint64_t missing[LIMIT_PARTS];
	size_t before = parts_missing(a->parts, missing, LIMIT_PARTS);
	bool complete = false;
	int rc = parts_add(a->parts, f, &complete, e);

	if (rc == NE_PROTOCOL || rc == NE_MALFORMED || rc == NE_LIMIT) {
		s->in->stats.malformed++;
		discard(s->in, a);
		return 0;
	}
	TRY(rc);
	size_t bytes = parts_bytes(a->parts);
	bool twice = parts_missing(a->parts, missing, LIMIT_PARTS) == before;
	s->in->parts_bytes += bytes - a->bytes;
	a->bytes = bytes;
	if (!keep_bounds(s->in, from, a)) {
		discard(s->in, a);
		return send_busy(s, from, BUSY_MS, e);
	}
	if (complete)
		*whole = parts_frame(a->parts);
	else if (twice || f->index + 1 == f->count)
		return receipt(s, from, a, e);
	return 0;
}

int on_part(struct step *s, const struct sender *from, const struct f_part *f, struct slice *whole,
	    struct err *e)
{
	struct assembly *a = find(s->in, from, f->cut);
	int rc = a ? 0 : begin(s, from, f, &a, e);

	if (rc == NE_MALFORMED || rc == NE_LIMIT || rc == NE_PROTOCOL) {
		s->in->stats.malformed++;
		return 0;
	}
	TRY(rc);
	return add(s, from, a, f, whole, e);
}
