#include "protocol/topic.h"

#include <stdio.h>
#include <string.h>

static const char prefix[] = "neap/v1/";
static const char hex[] = "0123456789abcdef";

static bool origin_valid(struct slice s)
{
	return id_valid(s) || slice_eq(s, slice_str(TOPIC_ORIGIN_SERVER));
}

static bool peer_valid(enum topic_kind kind, struct slice peer)
{
	switch (kind) {
	case TOPIC_UP:
	case TOPIC_DOWN:
	case TOPIC_PRESENCE:
		return id_valid(peer);
	case TOPIC_CHANGES:
		return origin_valid(peer);
	case TOPIC_HEAD:
		return peer.len == 0;
	}
	return false;
}

int topic_write(const struct topic *t, char out[static TOPIC_MAX], struct err *e)
{
	static const char *const format[] = {
		[TOPIC_UP] = "%s%02x/%s/%s/up",
		[TOPIC_DOWN] = "%s%02x/%s/%s/down",
		[TOPIC_CHANGES] = "%s%02x/%s/changes/%s",
		[TOPIC_HEAD] = "%s%02x/%s/head%s",
		[TOPIC_PRESENCE] = "%s%02x/%s/%s/presence",
	};

	out[0] = 0;
	if (!id_valid(id_slice(&t->user)) || !peer_valid(t->kind, id_slice(&t->peer)))
		return err_set(e, NE_MALFORMED,
			       "no topic can be built for an id that is not valid");
	int n = snprintf(out, TOPIC_MAX, format[t->kind], prefix, t->shard, t->user.at, t->peer.at);
	if (n < 0 || n >= TOPIC_MAX) {
		out[0] = 0;
		return err_set(e, NE_INTERNAL, "a topic is longer than %d bytes", TOPIC_MAX);
	}
	return 0;
}

static bool copy_id(struct id *out, const char *s)
{
	size_t len = strlen(s);

	if (len > LIMIT_ID)
		return false;
	memset(out, 0, sizeof *out);
	memcpy(out->at, s, len);
	return true;
}

int topic_for(enum topic_kind kind, const char *user, const char *peer, char out[static TOPIC_MAX],
	      struct err *e)
{
	struct topic t = {.kind = kind, .shard = id_shard(slice_str(user))};

	if (!copy_id(&t.user, user) || !copy_id(&t.peer, peer ? peer : "")) {
		out[0] = 0;
		return err_set(e, NE_MALFORMED,
			       "no topic can be built for an id that is not valid");
	}
	return topic_write(&t, out, e);
}

/* Takes the bytes up to the next '/' or the end. */
static struct slice next_level(struct slice *s)
{
	struct slice level = {s->at, 0};

	while (level.len < s->len && s->at[level.len] != '/')
		level.len++;
	size_t skip = level.len < s->len ? level.len + 1 : level.len;
	s->at += skip;
	s->len -= skip;
	return level;
}

static bool parse_kind(struct slice a, struct slice b, struct topic *out, struct slice *peer)
{
	static const struct {
		const char *name;
		enum topic_kind kind;
	} last[] = {{"up", TOPIC_UP}, {"down", TOPIC_DOWN}, {"presence", TOPIC_PRESENCE}};

	for (size_t i = 0; i < sizeof last / sizeof last[0]; i++) {
		if (slice_eq(b, slice_str(last[i].name)) && id_valid(a)) {
			out->kind = last[i].kind;
			*peer = a;
			return true;
		}
	}
	return false;
}

int topic_parse(struct slice s, struct topic *out, struct err *e)
{
	struct topic t = {0};
	struct slice rest = s;

	if (s.len < sizeof prefix - 1 || memcmp(s.at, prefix, sizeof prefix - 1) != 0 ||
	    s.at[s.len - 1] == '/')
		goto refuse;
	rest.at += sizeof prefix - 1;
	rest.len -= sizeof prefix - 1;

	struct slice shard = next_level(&rest);
	struct slice user = next_level(&rest);
	struct slice a = next_level(&rest);
	bool two = rest.len > 0;
	struct slice b = next_level(&rest);
	struct slice peer = {NULL, 0};
	if (rest.len > 0 || !id_valid(user))
		goto refuse;
	t.shard = id_shard(user);
	if (shard.len != 2 || shard.at[0] != (uint8_t)hex[t.shard >> 4] ||
	    shard.at[1] != (uint8_t)hex[t.shard & 15])
		goto refuse;
	if (!two && slice_eq(a, slice_str("head"))) {
		t.kind = TOPIC_HEAD;
	} else if (two && slice_eq(a, slice_str("changes")) && origin_valid(b)) {
		t.kind = TOPIC_CHANGES;
		peer = b;
	} else if (!two || !parse_kind(a, b, &t, &peer)) {
		goto refuse;
	}
	memcpy(t.user.at, user.at, user.len);
	if (peer.len)
		memcpy(t.peer.at, peer.at, peer.len);
	*out = t;
	return 0;
refuse:
	return err_set(e, NE_MALFORMED, "a topic is not one of ours");
}
