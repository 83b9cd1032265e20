#include "protocol/keys.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "protocol/context.h"

static int hkdf(const struct key *from, const struct context *info, struct key *out, struct err *e)
{
	EVP_KDF *kdf = info->full ? NULL : EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)from->at, KEY_LEN),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info->at, info->len),
		OSSL_PARAM_construct_end(),
	};
	struct key key;
	int ok = ctx && EVP_KDF_derive(ctx, key.at, KEY_LEN, params) == 1;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	if (!ok)
		return err_set(e, NE_INTERNAL, "a key could not be derived");
	*out = key;
	key_wipe(&key);
	return 0;
}

int key_derive(const struct key *master, uint32_t master_id, enum key_purpose purpose,
	       struct slice user, struct slice device, uint32_t epoch, struct key *out,
	       struct err *e)
{
	struct context info = {0};

	context_array(&info, 6);
	context_text(&info, "neap/v1");
	context_text(&info, purpose == KEY_MESSAGE ? "message" : "group");
	context_uint(&info, master_id);
	context_text_slice(&info, user);
	if (purpose == KEY_MESSAGE)
		context_text_slice(&info, device);
	else
		context_null(&info);
	context_uint(&info, epoch);
	return hkdf(master, &info, out, e);
}

int key_subkey(const struct key *key, enum seal_kind kind, struct slice user, struct slice peer,
	       const uint8_t sid[static SID_LEN], struct key *out, struct err *e)
{
	struct context info = {0};

	context_array(&info, 6);
	context_text(&info, "neap/v1");
	context_text(&info, "seal");
	context_text(&info, seal_kind_name(kind));
	context_text_slice(&info, user);
	context_text_slice(&info, peer);
	context_bytes(&info, slice_of(sid, SID_LEN));
	return hkdf(key, &info, out, e);
}

const char *seal_kind_name(enum seal_kind kind)
{
	static const char *const name[] = {
		[SEAL_UP] = "up",
		[SEAL_DOWN] = "down",
		[SEAL_CHANGES] = "changes",
		[SEAL_HEAD] = "head",
	};

	return name[kind];
}

void key_wipe(struct key *key)
{
	OPENSSL_cleanse(key->at, sizeof key->at);
}
