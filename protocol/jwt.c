#include "protocol/jwt.h"

#include <jansson.h>
#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base64url.h"
#include "protocol/topic.h"

enum {
	HALF = 32,    /* bytes of r, of s, and of a coordinate of P-256 */
	KID_LEN = 43, /* base64url of a SHA-256 */
	KEYS_MAX = 16,
	CLIENT_ID_MAX = 2 * LIMIT_ID + 1,
};

struct jwt_signer {
	EVP_PKEY *key;
	char kid[KID_LEN + 1];
};

struct jwt_keys {
	size_t n;
	struct {
		EVP_PKEY *key;
		char kid[KID_LEN + 1];
	} at[KEYS_MAX];
};

static bool is_p256(EVP_PKEY *key)
{
	char group[32];

	return EVP_PKEY_is_a(key, "EC") &&
	       EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 &&
	       strcmp(group, "prime256v1") == 0;
}

static int put_coordinate(EVP_PKEY *key, const char *name, struct buf *out)
{
	uint8_t bytes[HALF];
	BIGNUM *n = NULL;
	int ok = EVP_PKEY_get_bn_param(key, name, &n) == 1 && BN_bn2binpad(n, bytes, HALF) == HALF;

	BN_free(n);
	return ok ? base64url_encode(slice_of(bytes, HALF), out) : NE_INTERNAL;
}

/* RFC 7638: SHA-256 of the key's required members in lexicographic order. */
static int thumbprint(EVP_PKEY *key, char out[static KID_LEN + 1], struct err *e)
{
	struct buf jwk = {.max = 256}, kid = {.max = 64};
	uint8_t digest[SHA256_DIGEST_LENGTH];
	int rc = buf_printf(&jwk, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"");

	if (!rc)
		rc = put_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, &jwk);
	if (!rc)
		rc = buf_printf(&jwk, "\",\"y\":\"");
	if (!rc)
		rc = put_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, &jwk);
	if (!rc)
		rc = buf_printf(&jwk, "\"}");
	if (!rc) {
		SHA256(jwk.at, jwk.len, digest);
		rc = base64url_encode(slice_of(digest, sizeof digest), &kid);
	}
	if (!rc && kid.len != KID_LEN)
		rc = NE_INTERNAL;
	if (!rc) {
		memcpy(out, kid.at, KID_LEN);
		out[KID_LEN] = 0;
	}
	buf_free(&jwk);
	buf_free(&kid);
	return rc ? err_set(e, rc, "a token key's thumbprint could not be computed") : 0;
}

/* A key file with a passphrase is refused instead of asking on the terminal. */
static int no_passphrase(char *out, int size, int writing, void *ctx)
{
	(void)out;
	(void)size;
	(void)writing;
	(void)ctx;
	return -1;
}

static EVP_PKEY *read_key(struct slice pem, bool is_private)
{
	BIO *bio = pem.len <= INT_MAX ? BIO_new_mem_buf(pem.at, (int)pem.len) : NULL;
	EVP_PKEY *key = NULL;

	if (bio && is_private)
		key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	else if (bio)
		key = PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	if (key && !is_p256(key)) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	return key;
}

static int put_pem(BIO *bio, struct buf *out)
{
	char *at;
	long len = BIO_get_mem_data(bio, &at);

	return len > 0 ? buf_put(out, at, (size_t)len) : NE_INTERNAL;
}

int jwt_generate(struct buf *private_pem, struct buf *public_pem, struct err *e)
{
	size_t private_before = private_pem->len, public_before = public_pem->len;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	BIO *a = BIO_new(BIO_s_secmem()), *b = BIO_new(BIO_s_mem());
	int rc = NE_INTERNAL;

	if (key && a && b &&
	    PEM_write_bio_PKCS8PrivateKey(a, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	    PEM_write_bio_PUBKEY(b, key) == 1)
		rc = put_pem(a, private_pem);
	if (!rc)
		rc = put_pem(b, public_pem);
	if (rc) {
		private_pem->len = private_before;
		public_pem->len = public_before;
		err_set(e, rc, "a token key could not be made");
	}
	BIO_free(a);
	BIO_free(b);
	EVP_PKEY_free(key);
	return rc;
}

int jwt_signer_new(struct jwt_signer **out, struct slice private_pem, struct err *e)
{
	struct jwt_signer *s = calloc(1, sizeof *s);

	if (!s)
		return err_set(e, NE_MEMORY, "no memory for a token key");
	s->key = read_key(private_pem, true);
	int rc = s->key ? thumbprint(s->key, s->kid, e)
			: err_set(e, NE_MALFORMED, "the token key is no P-256 private key in PEM");
	if (rc) {
		jwt_signer_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void jwt_signer_free(struct jwt_signer *s)
{
	if (!s)
		return;
	EVP_PKEY_free(s->key);
	free(s);
}

const char *jwt_signer_kid(const struct jwt_signer *s)
{
	return s->kid;
}

/* The topics a device may use, as the plugin enforces them. */
static json_t *make_acl(const struct jwt_claims *c)
{
	char up[TOPIC_MAX], presence[TOPIC_MAX], down[TOPIC_MAX], head[TOPIC_MAX];
	char changes[TOPIC_MAX + 16];
	const char *user = c->user.at, *device = c->device.at;

	if (topic_for(TOPIC_UP, user, device, up, NULL) ||
	    topic_for(TOPIC_PRESENCE, user, device, presence, NULL) ||
	    topic_for(TOPIC_DOWN, user, device, down, NULL) ||
	    topic_for(TOPIC_HEAD, user, NULL, head, NULL))
		return NULL;
	int prefix = (int)(strlen(head) - strlen("head"));
	snprintf(changes, sizeof changes, "%.*schanges/+", prefix, head);
	return json_pack("{s:[s,s],s:[s,s,s]}", "pub", up, presence, "sub", down, changes, head);
}

static char *make_payload(const struct jwt_claims *c, struct slice jti)
{
	char client[CLIENT_ID_MAX + 1];
	json_t *acl = make_acl(c);
	char *text = NULL;

	if (!acl)
		return NULL;
	snprintf(client, sizeof client, "%s/%s", c->user.at, c->device.at);
	json_t *p =
		json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:s%,s:o}", "iss", JWT_ISSUER, "aud",
			  JWT_AUDIENCE, "sub", c->user.at, "client_id", client, "iat",
			  (json_int_t)c->iat, "nbf", (json_int_t)c->nbf, "exp", (json_int_t)c->exp,
			  "jti", jti.len ? (const char *)jti.at : "", jti.len, "acl", acl);
	if (p)
		text = json_dumps(p, JSON_COMPACT);
	json_decref(p);
	return text;
}

static int put_signature(EVP_PKEY *key, struct slice signed_text, struct buf *out)
{
	uint8_t der[80], raw[2 * HALF];
	size_t len = sizeof der;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	ECDSA_SIG *sig = NULL;
	int rc = NE_INTERNAL;

	if (ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
	    EVP_DigestSign(ctx, der, &len, signed_text.at, signed_text.len) == 1) {
		const uint8_t *at = der;
		sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
	}
	if (sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, HALF) == HALF &&
	    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + HALF, HALF) == HALF)
		rc = base64url_encode(slice_of(raw, sizeof raw), out);
	ECDSA_SIG_free(sig);
	EVP_MD_CTX_free(ctx);
	return rc;
}

int jwt_sign(const struct jwt_signer *s, const struct jwt_claims *claims, struct slice jti,
	     struct buf *out, struct err *e)
{
	struct buf token = {.max = JWT_MAX}, header = {.max = 128};
	char *payload = make_payload(claims, jti);
	int rc = payload ? 0 : NE_INTERNAL;

	if (!rc)
		rc = buf_printf(&header, "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}",
				s->kid);
	if (!rc)
		rc = base64url_encode(buf_slice(&header), &token);
	if (!rc)
		rc = buf_put_u8(&token, '.');
	if (!rc)
		rc = base64url_encode(slice_str(payload), &token);
	if (!rc) {
		struct slice signed_text = buf_slice(&token);
		struct buf signature = {.max = 128};
		rc = put_signature(s->key, signed_text, &signature);
		if (!rc)
			rc = buf_put_u8(&token, '.');
		if (!rc)
			rc = buf_put(&token, signature.at, signature.len);
		buf_free(&signature);
	}
	if (!rc)
		rc = buf_put(out, token.at, token.len);
	free(payload);
	buf_free(&header);
	buf_free(&token);
	return rc ? err_set(e, rc, "an access token could not be signed") : 0;
}

int jwt_keys_new(struct jwt_keys **out, struct err *e)
{
	*out = calloc(1, sizeof **out);
	return *out ? 0 : err_set(e, NE_MEMORY, "no memory for token keys");
}

void jwt_keys_free(struct jwt_keys *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->n; i++)
		EVP_PKEY_free(k->at[i].key);
	free(k);
}

size_t jwt_keys_count(const struct jwt_keys *k)
{
	return k->n;
}

static EVP_PKEY *find_key(const struct jwt_keys *k, const char *kid)
{
	for (size_t i = 0; i < k->n; i++)
		if (strcmp(k->at[i].kid, kid) == 0)
			return k->at[i].key;
	return NULL;
}

int jwt_keys_add(struct jwt_keys *k, struct slice public_pem, struct err *e)
{
	char kid[KID_LEN + 1];
	EVP_PKEY *key = read_key(public_pem, false);

	if (!key)
		return err_set(e, NE_MALFORMED, "a token key is no P-256 public key in PEM");
	int rc = thumbprint(key, kid, e);
	bool known = !rc && find_key(k, kid);
	if (!rc && !known && k->n == KEYS_MAX)
		rc = err_set(e, NE_LIMIT, "there are more than %d token keys: remove old ones",
			     KEYS_MAX);
	if (rc || known) {
		EVP_PKEY_free(key);
		return rc;
	}
	k->at[k->n].key = key;
	memcpy(k->at[k->n].kid, kid, sizeof kid);
	k->n++;
	return 0;
}

/* Splits a.b.c; false unless there are exactly two dots. */
static bool split(struct slice token, struct slice part[static 3])
{
	size_t n = 0, from = 0;

	for (size_t i = 0; i <= token.len; i++) {
		if (i < token.len && token.at[i] != '.')
			continue;
		if (n == 3)
			return false;
		part[n++] = slice_of(token.at + from, i - from);
		from = i + 1;
	}
	return n == 3;
}

static json_t *decode_object(struct slice part)
{
	struct buf text = {.max = JWT_MAX};
	json_t *object = NULL;

	if (base64url_decode(part, &text) == 0)
		object = json_loadb((const char *)text.at, text.len, JSON_REJECT_DUPLICATES, NULL);
	buf_free(&text);
	if (!json_is_object(object)) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static bool member_is(const json_t *object, const char *member, const char *want)
{
	const char *s = json_string_value(json_object_get(object, member));

	return s && strcmp(s, want) == 0;
}

static int check_header(const struct jwt_keys *k, struct slice part, EVP_PKEY **key, struct err *e)
{
	json_t *header = decode_object(part);
	int rc = 0;

	if (!header)
		return err_set(e, NE_MALFORMED, "an access token's header is not JSON");
	/* Three members and no more: jku, jwk, x5u and crit are refused with anything else. */
	const char *kid = json_string_value(json_object_get(header, "kid"));
	if (json_object_size(header) != 3 || !kid || !member_is(header, "alg", "ES256") ||
	    !member_is(header, "typ", "at+jwt"))
		rc = err_set(e, NE_AUTH, "an access token's header is not that of an ES256 at+jwt");
	else if (!(*key = find_key(k, kid)))
		rc = err_set(e, NE_AUTH, "an access token is signed with a key unknown here");
	json_decref(header);
	return rc;
}

static bool signature_good(EVP_PKEY *key, struct slice signed_text,
			   const uint8_t raw[static 2 * HALF])
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw, HALF, NULL), *s = BN_bin2bn(raw + HALF, HALF, NULL);
	uint8_t *der = NULL;
	bool good = false;

	if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
		BN_free(r);
		BN_free(s);
		ECDSA_SIG_free(sig);
		return false;
	}
	int len = i2d_ECDSA_SIG(sig, &der);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (len > 0 && ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1)
		/* −1 is not a bad signature but an error, and as little good. */
		good = EVP_DigestVerify(ctx, der, (size_t)len, signed_text.at, signed_text.len) ==
		       1;
	EVP_MD_CTX_free(ctx);
	OPENSSL_free(der);
	ECDSA_SIG_free(sig);
	return good;
}

static int check_signature(EVP_PKEY *key, struct slice signed_text, struct slice part,
			   struct err *e)
{
	struct buf raw = {.max = JWT_MAX};
	int rc = base64url_decode(part, &raw);

	if (rc || raw.len != 2 * HALF)
		rc = err_set(e, NE_MALFORMED, "an access token's signature is not 64 bytes");
	else if (!signature_good(key, signed_text, raw.at))
		rc = err_set(e, NE_AUTH, "an access token's signature is wrong");
	buf_free(&raw);
	return rc;
}

static int get_time(const json_t *payload, const char *member, int64_t *out, struct err *e)
{
	const json_t *v = json_object_get(payload, member);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return err_set(e, NE_AUTH, "an access token's %s is no time", member);
	*out = json_integer_value(v);
	return 0;
}

static int check_times(const struct jwt_claims *c, int64_t now_s, struct err *e)
{
	/* None is negative: the differences cannot overflow. */
	if (c->exp <= c->iat || c->exp - c->iat > JWT_LIFE_MAX_S)
		return err_set(e, NE_AUTH, "an access token's life is not within %d s",
			       JWT_LIFE_MAX_S);
	if (now_s - c->exp >= JWT_LEEWAY_S)
		return err_set(e, NE_AUTH, "an access token has expired");
	if (c->nbf - now_s > JWT_LEEWAY_S || c->iat - now_s > JWT_LEEWAY_S)
		return err_set(e, NE_AUTH, "an access token is not valid yet: check the clocks");
	return 0;
}

static int check_names(const json_t *payload, struct jwt_claims *c, struct err *e)
{
	const char *sub = json_string_value(json_object_get(payload, "sub"));
	const char *client = json_string_value(json_object_get(payload, "client_id"));

	if (!member_is(payload, "iss", JWT_ISSUER) || !member_is(payload, "aud", JWT_AUDIENCE))
		return err_set(e, NE_AUTH, "an access token is from or for someone else");
	if (!sub || !client || id_set(&c->user, slice_str(sub), "user", NULL))
		return err_set(e, NE_AUTH, "an access token names no valid user and device");
	size_t len = strlen(sub);
	if (strncmp(client, sub, len) != 0 || client[len] != '/' ||
	    id_set(&c->device, slice_str(client + len + 1), "device", NULL))
		return err_set(e, NE_AUTH,
			       "an access token's client_id is not its user and a device");
	return 0;
}

static int check_payload(struct slice part, int64_t now_s, struct jwt_claims *out, struct err *e)
{
	struct jwt_claims c = {0};
	json_t *payload = decode_object(part);

	if (!payload)
		return err_set(e, NE_MALFORMED, "an access token's payload is not JSON");
	int rc = check_names(payload, &c, e);
	if (!rc)
		rc = get_time(payload, "iat", &c.iat, e);
	if (!rc)
		rc = get_time(payload, "nbf", &c.nbf, e);
	if (!rc)
		rc = get_time(payload, "exp", &c.exp, e);
	if (!rc)
		rc = check_times(&c, now_s, e);
	json_decref(payload);
	if (!rc)
		*out = c;
	return rc;
}

int jwt_verify(const struct jwt_keys *k, struct slice token, int64_t now_s, struct jwt_claims *out,
	       struct err *e)
{
	struct slice part[3];
	EVP_PKEY *key = NULL;

	if (token.len > JWT_MAX || !split(token, part))
		return err_set(e, NE_MALFORMED,
			       "an access token is not three parts within %d bytes", JWT_MAX);
	TRY(check_header(k, part[0], &key, e));
	struct slice signed_text = slice_of(token.at, part[0].len + 1 + part[1].len);
	TRY(check_signature(key, signed_text, part[2], e));
	return check_payload(part[1], now_s, out, e);
}
