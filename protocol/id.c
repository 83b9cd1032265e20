#include "protocol/id.h"

#include <openssl/sha.h>
#include <string.h>

static const char *const reserved[] = {"neapd", "server", "changes"};

static bool alphanumeric(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool id_valid(struct slice s)
{
	if (s.len == 0 || s.len > LIMIT_ID || !alphanumeric(s.at[0]))
		return false;
	for (size_t i = 1; i < s.len; i++)
		if (!alphanumeric(s.at[i]) && s.at[i] != '.' && s.at[i] != '_' && s.at[i] != '-')
			return false;
	for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
		if (slice_eq(s, slice_str(reserved[i])))
			return false;
	return true;
}

int id_set(struct id *out, struct slice s, const char *what, struct err *e)
{
	if (!id_valid(s))
		return err_set(
			e, NE_MALFORMED,
			"the %s is not valid: use 1 to %d of A-Z a-z 0-9 . _ -, a letter or digit "
			"first; neapd, server and changes are reserved",
			what, LIMIT_ID);
	memcpy(out->at, s.at, s.len);
	memset(out->at + s.len, 0, sizeof out->at - s.len);
	return 0;
}

uint8_t id_shard(struct slice user)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256(user.at, user.len, digest);
	return digest[0];
}
