#include "device/shell/ops.h"

#include <string.h>

#include "device/core/track.h"
#include "device/shell/clock.h"
#include "device/shell/control.h"
#include "device/shell/crypt.h"
#include "device/shell/members.h"

enum { LOCK_WAIT_MS = 2000, ANSWER_WAIT_MS = 30 * 1000 };

static int read_direction(const json_t *request, struct track_options *o, struct err *e)
{
	const char *text = json_string_value(json_object_get(request, "direction"));
	static const struct {
		const char *name;
		enum shape_direction direction;
	} known[] = {{"up", DIR_UP}, {"down", DIR_DOWN}, {"both", DIR_BOTH}};

	o->direction = o->append ? DIR_UP : DIR_BOTH;
	if (!text)
		return NE_OK;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (!strcmp(known[i].name, text)) {
			o->direction = known[i].direction;
			return o->append && o->direction != DIR_UP
				       ? err_set(e, NE_USAGE,
						 "an append table goes up only; leave --direction "
						 "out, or --append")
				       : NE_OK;
		}
	return err_set(e, NE_USAGE, "'%s' is not a direction: up, down or both", text);
}

static int optional_int(const json_t *request, const char *name, int64_t hi, int64_t none,
			int64_t *out, struct err *e)
{
	*out = none;
	return json_object_get(request, name) ? member_int(request, name, 0, hi, out, e) : NE_OK;
}

static int read_compress(const json_t *request, struct track_options *o, struct err *e)
{
	const char *text = json_string_value(json_object_get(request, "compress"));

	o->uncompressed = text && !strcmp(text, "off");
	return !text || o->uncompressed || !strcmp(text, "on")
		       ? NE_OK
		       : err_set(e, NE_USAGE, "'%s' is not a way to compress: on or off", text);
}

static int read_policy(const json_t *request, struct policy *p, struct err *e)
{
	const struct {
		const char *name;
		int64_t *out;
	} limits[] = {
		{"keep_ms", &p->keep_ms},
		{"keep_rows", &p->keep_rows},
		{"keep_bytes", &p->keep_bytes},
		{"pending_rows", &p->pending_rows},
		{"pending_bytes", &p->pending_bytes},
	};

	for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
		TRY(optional_int(request, limits[i].name, INT64_MAX / 2, 0, limits[i].out, e));
	p->drop_oldest = json_is_true(json_object_get(request, "drop_oldest"));
	return NE_OK;
}

static int do_track(struct devdb *d, const json_t *request, struct err *e)
{
	struct track_options o = {.append = json_is_true(json_object_get(request, "append"))};
	char table[1024];
	int64_t priority;

	TRY(member_text(request, "table", table, sizeof table, e));
	TRY(read_direction(request, &o, e));
	TRY(read_compress(request, &o, e));
	TRY(read_policy(request, &o.policy, e));
	TRY(optional_int(request, "priority", 9, o.append ? 7 : 5, &priority, e));
	o.priority = (int)priority;
	return track_table(d, table, &o, e);
}

static int do_untrack(struct devdb *d, const json_t *request, struct err *e)
{
	char table[1024];

	TRY(member_text(request, "table", table, sizeof table, e));
	return untrack_table(d, table, e);
}

int ops_do(struct engine *en, const char *db, const json_t *request, const struct link_view *view,
	   json_t **out, bool *changed, struct err *e)
{
	char op[16];

	*out = NULL;
	*changed = false;
	TRY(member_text(request, "op", op, sizeof op, e));
	if (!strcmp(op, "status")) {
		json_t *status;
		TRY(ops_status(en, db, view, &status, e));
		*out = json_pack("{s:o}", "status", status);
	} else if (!strcmp(op, "track") || !strcmp(op, "untrack")) {
		struct devdb *d = engine_devdb(en);
		TRY(*op == 't' ? do_track(d, request, e) : do_untrack(d, request, e));
		*changed = true;
		*out = json_object();
	} else if (!strcmp(op, "rejected")) {
		return ops_rejected(engine_devdb(en), request, out, changed, e);
	} else if (!strcmp(op, "conflicts")) {
		return ops_conflicts(engine_devdb(en), request, out, e);
	} else {
		return err_set(e, NE_USAGE, "'%s' is not a request", op);
	}
	return *out ? NE_OK : err_set(e, NE_MEMORY, "out of memory");
}

/* With the lock held. */
static int do_here(const struct paths *p, const json_t *request, json_t **out, struct err *e)
{
	const struct engine_config config = {.path = p->db, .random = crypt_random};
	struct engine *en;
	bool changed;

	TRY(engine_open(&en, &config, e));
	int rc = ops_do(en, p->db, request, NULL, out, &changed, e);
	engine_close(en);
	return rc;
}

static void keep_last(void *ctx, const json_t *line)
{
	json_t **out = ctx;

	json_decref(*out);
	*out = json_deep_copy(line);
}

int ops_ask(const char *db, const json_t *request, json_t **out, struct err *e)
{
	struct paths p;
	struct err first = {0};
	json_t *answer = NULL;
	int fd;

	TRY(paths_of(db, &p, e));
	const uint64_t until_ms = mono_ms() + LOCK_WAIT_MS;
	for (;;) {
		int rc = lock_take(&p, 0, &fd, &first);
		if (!rc) {
			rc = do_here(&p, request, &answer, e);
			lock_drop(fd);
		} else if (rc == NE_LOCKED) {
			rc = control_call(&p, request, ANSWER_WAIT_MS, keep_last, &answer, e);
			/* The holder may be a short command without a socket, or just starting. */
			if (rc == NE_UNREACHABLE && mono_ms() < until_ms) {
				const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
				nanosleep(&pause, NULL);
				continue;
			}
			if (rc == NE_UNREACHABLE)
				rc = err_set(e, NE_LOCKED, "%s", first.text);
		} else {
			rc = err_set(e, rc, "%s", first.text);
		}
		if (out && !rc)
			*out = answer;
		else
			json_decref(answer);
		return rc;
	}
}
