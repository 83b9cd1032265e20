#define _GNU_SOURCE /* strptime, timegm */
/* neapd conflicts: what devices wrote and lost. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cmd/cmd.h"
#include "common/duration.h"
#include "protocol/conflict.h"
#include "protocol/row_text.h"
#include "protocol/stamp.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 100000, TEXT_CUT = 400 };

struct listing {
	struct store_conflict_query q;
	json_t *rows; /* NULL: printed as they come */
	size_t n;
	int64_t last;
};

static bool number(const char *text, int64_t max, int64_t *out)
{
	char *end;
	long long v = strtoll(text, &end, 10);

	*out = v;
	return *text >= '0' && *text <= '9' && !*end && v >= 1 && v <= max;
}

static bool age(const char *text, uint64_t now_ms, uint64_t *out)
{
	int64_t s;

	if (!duration_read(text, (int64_t)(now_ms / 1000), &s))
		return false;
	*out = now_ms - (uint64_t)s * 1000;
	return true;
}

static bool time_of(const char *text, uint64_t *out)
{
	struct tm tm = {.tm_mday = 1};
	const char *end = strptime(text, "%Y-%m-%d", &tm);

	if (end && *end)
		end = strptime(end, *end == 'T' ? "T%H:%M:%SZ" : " %H:%M:%SZ", &tm);
	time_t at = end && !*end ? timegm(&tm) : -1;
	*out = at < 0 ? 0 : (uint64_t)at * 1000;
	return at >= 0;
}

static int read_args(const struct args *args, struct store_conflict_query *q, struct err *e)
{
	uint64_t now_ms = (uint64_t)time(NULL) * 1000;
	int64_t limit = LIMIT_DEFAULT;

	if (args->since && !age(args->since, now_ms, &q->since_ms) &&
	    !time_of(args->since, &q->since_ms))
		return err_set(
			e, NE_USAGE,
			"\"%.40s\" is no time: give an age as in 12h, a day as in 2026-01-31, "
			"or 2026-01-31T12:00:00Z",
			args->since);
	if (args->limit && !number(args->limit, LIMIT_MAX, &limit))
		return err_set(e, NE_USAGE, "\"%.40s\" is no number from 1 to %d", args->limit,
			       LIMIT_MAX);
	if (args->before && !number(args->before, INT64_MAX, &q->before_id))
		return err_set(e, NE_USAGE, "\"%.40s\" is not the id of a conflict", args->before);
	q->max = (size_t)limit;
	q->user = args->operands ? args->operand[0] : NULL;
	return NE_OK;
}

/* A text's beginning; what is not UTF-8 in it is said to be so. */
static json_t *cut(struct slice s)
{
	struct slice t = conflict_cut(s, TEXT_CUT);
	json_t *out = json_stringn(t.len ? (const char *)t.at : "", t.len);

	return out ? out : json_string("(not text)");
}

static json_t *optional(const char *text)
{
	return *text ? json_string(text) : json_null();
}

/* {"": value} as JSON, a long one cut. */
static int value_text(const struct val *v, struct buf *out)
{
	struct val v_cut = *v;

	if (v->type == VAL_TEXT || v->type == VAL_BLOB)
		v_cut.s = conflict_cut(v->s, TEXT_CUT);
	TRY(text_member(slice_str(""), &v_cut, true, out));
	return buf_put_u8(out, '}');
}

static json_t *value_json(const struct val *v)
{
	struct buf text = {.max = 64 * 1024};
	json_t *doc = NULL, *out;

	if (!value_text(v, &text))
		doc = json_loadb((const char *)text.at, text.len, 0, NULL);
	out = json_incref(json_object_get(doc, ""));
	json_decref(doc);
	buf_free(&text);
	return out ? out : json_string("(not for JSON)"); /* an infinity */
}

static void print_value(const struct val *v)
{
	struct buf text = {.max = 64 * 1024};
	const size_t head = sizeof "{\"\": " - 1;

	if (!value_text(v, &text))
		printf("%.*s", (int)(text.len - head - 1), (const char *)text.at + head);
	buf_free(&text);
}

static int add_json(struct listing *l, const struct store_conflict *c)
{
	const struct lost_value *x = &c->lost;
	json_t *row = json_pack(
		"{s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:I}", "id",
		(json_int_t)c->id, "user", c->user.at, "device", optional(c->device.at), "table",
		cut(x->table), "key", cut(x->key), "column",
		x->column.len ? cut(x->column) : json_null(), "value", value_json(&c->value),
		"written_ms", (json_int_t)stamp_ms(x->reg.stamp), "site", (json_int_t)x->reg.site,
		"won_ms", (json_int_t)stamp_ms(x->won.stamp), "won_site", (json_int_t)x->won.site,
		"won_device", optional(c->won_device.at), "why", cut(x->why), "at_ms",
		(json_int_t)c->at_ms);

	return row && !json_array_append_new(l->rows, row) ? NE_OK : NE_MEMORY;
}

static void print_text(const struct store_conflict *c)
{
	const struct lost_value *x = &c->lost;
	struct slice key = conflict_cut(x->key, TEXT_CUT), why = conflict_cut(x->why, TEXT_CUT);
	char noted[32], written[32];

	printf("%lld  %s  %s/%s  %.*s %.*s", (long long)c->id,
	       cmd_time((int64_t)(c->at_ms / 1000), noted), c->user.at,
	       *c->device.at ? c->device.at : "?", (int)x->table.len, (const char *)x->table.at,
	       (int)key.len, (const char *)key.at);
	if (x->column.len)
		printf("  %.*s = ", (int)x->column.len, (const char *)x->column.at);
	else if (c->value.type != VAL_NULL)
		printf("  ");
	if (x->column.len || c->value.type != VAL_NULL)
		print_value(&c->value);
	printf("\n    %.*s", (int)why.len, (const char *)why.at);
	if (*c->won_device.at)
		printf(", by %s", c->won_device.at);
	if (x->reg.stamp)
		printf("; this one is of %s",
		       cmd_time((int64_t)(stamp_ms(x->reg.stamp) / 1000), written));
	putchar('\n');
}

static int see(void *ctx, const struct store_conflict *c)
{
	struct listing *l = ctx;

	l->n++;
	l->last = c->id;
	if (l->rows)
		return add_json(l, c);
	print_text(c);
	return NE_OK;
}

static int print_json(struct listing *l, struct err *e)
{
	bool more = l->n == l->q.max;
	json_t *doc = json_pack("{s:O, s:o}", "conflicts", l->rows, "before",
				more ? json_integer((json_int_t)l->last) : json_null());
	int rc = doc && !json_dumpf(doc, stdout, JSON_INDENT(2))
			 ? NE_OK
			 : err_set(e, NE_MEMORY, "out of memory");

	putchar('\n');
	json_decref(doc);
	return rc;
}

static int user_known(struct store *s, const char *user, struct err *e)
{
	struct store_user u;
	bool found;

	TRY(store_user_get(s, user, &u, &found, e));
	return found ? NE_OK : err_set(e, NE_NOT_FOUND, "the store knows no user \"%.80s\"", user);
}

static int list(struct store *s, struct listing *l, struct err *e)
{
	if (l->q.user)
		TRY(user_known(s, l->q.user, e));
	TRY(store_each_conflict(s, &l->q, see, l, e));
	if (l->rows)
		return print_json(l, e);
	if (l->n == 0)
		puts("no conflicts");
	else if (l->n == l->q.max)
		printf("(older ones: --before %lld)\n", (long long)l->last);
	return NE_OK;
}

int cmd_conflicts(const struct command *self, int argc, char **argv, struct err *e)
{
	struct listing l = {.n = 0};
	struct store *store;
	struct config c;
	struct args args;

	TRY(cmd_args(self, argc, argv, "jslb", 0, 1, &args, e));
	TRY(read_args(&args, &l.q, e));
	TRY(cmd_config(&args, &c, e));
	TRY(cmd_open_store(&c, &store, e));
	l.rows = args.json ? json_array() : NULL;
	int rc = args.json && !l.rows ? err_set(e, NE_MEMORY, "out of memory") : list(store, &l, e);
	json_decref(l.rows);
	store_close(store);
	return rc;
}
