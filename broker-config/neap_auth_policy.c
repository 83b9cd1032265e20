#include "broker-config/neap_auth_policy.h"

#include <stdio.h>
#include <string.h>

static bool same(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

bool policy_device(const char *username, const char *client_id, struct id *user, struct id *device)
{
	if (!username || !client_id)
		return false;
	const char *slash = strchr(client_id, '/');
	if (!slash)
		return false;
	struct slice u = slice_of(client_id, (size_t)(slash - client_id));
	if (!slice_eq(u, slice_str(username)))
		return false;
	return id_set(user, u, "user", NULL) == NE_OK &&
	       id_set(device, slice_str(slash + 1), "device", NULL) == NE_OK;
}

bool policy_is_backend(const char *common_name, const char *username, const char *client_id)
{
	return common_name && username && client_id && same(common_name, POLICY_BACKEND) &&
	       same(username, POLICY_BACKEND) &&
	       strncmp(client_id, POLICY_BACKEND "/", sizeof POLICY_BACKEND) == 0;
}

static bool device_subscribe(const struct id *user, const struct id *device, const char *filter)
{
	char topic[TOPIC_MAX];
	char changes[TOPIC_MAX + 8];

	if (topic_for(TOPIC_DOWN, user->at, device->at, topic, NULL) == NE_OK &&
	    same(filter, topic))
		return true;
	if (topic_for(TOPIC_HEAD, user->at, NULL, topic, NULL) != NE_OK)
		return false;
	if (same(filter, topic))
		return true;
	size_t base = strlen(topic) - strlen("head");
	snprintf(changes, sizeof changes, "%.*schanges/+", (int)base, topic);
	return same(filter, changes);
}

static bool device_allows(const struct policy_request *r, const struct id *user,
			  const struct id *device)
{
	struct topic t;

	if (r->access == POLICY_SUBSCRIBE)
		return device_subscribe(user, device, r->topic);
	if (topic_parse(slice_str(r->topic), &t, NULL) || !same(t.user.at, user->at))
		return false;
	bool own = same(t.peer.at, device->at);
	if (r->access == POLICY_WRITE) {
		if (t.kind == TOPIC_UP)
			return own && !r->retain;
		return t.kind == TOPIC_PRESENCE && own && r->len <= POLICY_PRESENCE_MAX;
	}
	switch (t.kind) {
	case TOPIC_DOWN:
		return own;
	case TOPIC_CHANGES:
		return !own;
	case TOPIC_HEAD:
		return true;
	case TOPIC_UP:
	case TOPIC_PRESENCE:
		break;
	}
	return false;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool backend_subscribe(const char *filter)
{
	static const char head[] = "neap/v1/", tail[] = "/+/+/up";
	size_t n = sizeof head - 1;

	return strlen(filter) == n + 2 + sizeof tail - 1 && strncmp(filter, head, n) == 0 &&
	       is_hex(filter[n]) && is_hex(filter[n + 1]) && same(filter + n + 2, tail);
}

static bool backend_allows(const struct policy_request *r)
{
	struct topic t;

	if (r->access == POLICY_SUBSCRIBE)
		return backend_subscribe(r->topic);
	if (r->access == POLICY_WRITE && same(r->topic, POLICY_CONTROL))
		return !r->retain;
	if (topic_parse(slice_str(r->topic), &t, NULL))
		return false;
	if (r->access == POLICY_READ)
		return t.kind == TOPIC_UP;
	if (t.kind == TOPIC_HEAD)
		return true;
	return (t.kind == TOPIC_DOWN || t.kind == TOPIC_CHANGES) && !r->retain;
}

bool policy_allows(const struct policy_request *r)
{
	struct id user, device;

	if (!r->username || !r->client_id || !r->topic)
		return false;
	/* Only BASIC_AUTH lets this name in, and only with the backend's certificate. */
	if (same(r->username, POLICY_BACKEND))
		return backend_allows(r);
	if (!policy_device(r->username, r->client_id, &user, &device))
		return false;
	return device_allows(r, &user, &device);
}
