#include "protocol/jwt.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/base64url.h"
#include "protocol/testing.h"

static const int64_t now = 1790000010;

static struct fixture {
	json_t *vector;
	struct slice private_pem;
	const char *kid;
	struct jwt_keys *keys;
	EVP_PKEY *key; /* the private one, to sign what jwt_sign would not */
} fx;

static int setup(void **state)
{
	(void)state;
	fx.vector = load_vectors("jwt.json");
	fx.private_pem = slice_str(text_of(fx.vector, "private_pem"));
	fx.kid = text_of(fx.vector, "kid");
	struct err e;
	if (jwt_keys_new(&fx.keys, &e) ||
	    jwt_keys_add(fx.keys, slice_str(text_of(fx.vector, "public_pem")), &e))
		return -1;
	BIO *bio = BIO_new_mem_buf(fx.private_pem.at, (int)fx.private_pem.len);
	fx.key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	return fx.key ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	jwt_keys_free(fx.keys);
	EVP_PKEY_free(fx.key);
	json_decref(fx.vector);
	return 0;
}

static void sign_raw(struct slice text, uint8_t raw[static 64], struct buf *der)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t bytes[80];
	size_t len = sizeof bytes;
	const uint8_t *at = bytes;

	assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, fx.key), 1);
	assert_int_equal(EVP_DigestSign(ctx, bytes, &len, text.at, text.len), 1);
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32), 32);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32), 32);
	ECDSA_SIG_free(sig);
	EVP_MD_CTX_free(ctx);
	if (der)
		assert_int_equal(buf_put(der, bytes, len), 0);
}

/* A token of any header and payload under a right signature. */
static void make(struct buf *out, const char *header, struct slice payload)
{
	uint8_t raw[64];

	buf_clear(out);
	assert_int_equal(base64url_encode(slice_str(header), out), 0);
	assert_int_equal(buf_put_u8(out, '.'), 0);
	assert_int_equal(base64url_encode(payload, out), 0);
	sign_raw(buf_slice(out), raw, NULL);
	assert_int_equal(buf_put_u8(out, '.'), 0);
	assert_int_equal(base64url_encode(slice_of(raw, 64), out), 0);
}

static const char *good_header(void)
{
	return text_of(fx.vector, "header");
}

static int verify(struct slice token)
{
	struct jwt_claims c = {.iat = -7};
	struct err e;
	int rc = jwt_verify(fx.keys, token, now, &c, &e);

	if (rc) {
		assert_int_equal(rc, e.code);
		assert_true(rc == NE_AUTH || rc == NE_MALFORMED);
		assert_int_equal(c.iat, -7);
	}
	return rc;
}

static int verify_made(const char *header, const char *payload)
{
	struct buf token = {.max = 3 * JWT_MAX};

	make(&token, header, slice_str(payload));
	int rc = verify(buf_slice(&token));
	buf_free(&token);
	return rc;
}

static void test_vector(void **state)
{
	struct jwt_claims c;
	struct err e;
	(void)state;
	assert_int_equal(jwt_verify(fx.keys, slice_str(text_of(fx.vector, "token")), now, &c, &e),
			 0);
	assert_string_equal(c.user.at, "alice");
	assert_string_equal(c.device.at, "d1");
	assert_int_equal(c.iat, 1790000000);
	assert_int_equal(c.exp, 1790003600);
	assert_int_equal(verify_made(good_header(), text_of(fx.vector, "payload")), 0);
}

static void test_sign_is_byte_exact(void **state)
{
	struct jwt_claims c = {.user = {"alice"},
			       .device = {"d1"},
			       .iat = 1790000000,
			       .nbf = 1790000000,
			       .exp = 1790003600};
	struct jwt_signer *s;
	struct buf token = {.max = JWT_MAX};
	struct err e;
	(void)state;
	assert_int_equal(jwt_signer_new(&s, fx.private_pem, &e), 0);
	assert_string_equal(jwt_signer_kid(s), fx.kid);
	assert_int_equal(jwt_sign(s, &c, slice_str("1"), &token, &e), 0);
	const char *want = text_of(fx.vector, "token");
	size_t unsigned_part = (size_t)(strrchr(want, '.') - want) + 1;
	assert_true(token.len > unsigned_part);
	assert_memory_equal(token.at, want, unsigned_part);
	assert_int_equal(verify(buf_slice(&token)), 0);
	jwt_signer_free(s);
	buf_free(&token);
}

/* T1 */
static void test_headers(void **state)
{
	static const char *const format[] = {
		"{\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}",
		"{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}",
		"{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}",
		"{\"alg\":\"ES384\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}",
		"{\"alg\":\"es256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}",
		"{\"alg\":[\"ES256\"],\"typ\":\"at+jwt\",\"kid\":\"%s\"}",
		"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%s\"}",
		"{\"alg\":\"ES256\",\"kid\":\"%s\"}",
		"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%sA\"}",
		"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%s\",\"jku\":\"https://x\"}",
		"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%s\",\"jwk\":{}}",
		"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%s\",\"x5u\":\"x\"}",
		"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%s\",\"crit\":[\"exp\"]}",
		"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%s\",\"kid\":\"x\"}",
		"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}}",
		"[\"ES256\",\"at+jwt\",\"%s\"]",
	};
	char header[300];
	const char *payload = text_of(fx.vector, "payload");
	(void)state;
	for (size_t i = 0; i < sizeof format / sizeof format[0]; i++) {
		snprintf(header, sizeof header, format[i], fx.kid);
		assert_int_not_equal(verify_made(header, payload), 0);
	}
	assert_int_not_equal(verify_made("{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}", payload), 0);
	assert_int_not_equal(
		verify_made("{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":7}", payload), 0);
	assert_int_not_equal(verify_made("{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":"
					 "\"../../etc/passwd\"}",
					 payload),
			     0);
	assert_int_not_equal(verify_made("", payload), 0);
	/* Other spacing and order say the same. */
	snprintf(header, sizeof header, "{ \"kid\":\"%s\", \"typ\":\"at+jwt\",\"alg\":\"ES256\" }",
		 fx.kid);
	assert_int_equal(verify_made(header, payload), 0);
}

static int verify_with(const char *member, const char *json)
{
	json_t *p = json_loads(text_of(fx.vector, "payload"), 0, NULL);
	json_t *v = json ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL;

	assert_true(!json || v);
	if (v)
		assert_int_equal(json_object_set_new(p, member, v), 0);
	else
		assert_int_equal(json_object_del(p, member), 0);
	char *text = json_dumps(p, JSON_COMPACT);
	int rc = verify_made(good_header(), text);
	free(text);
	json_decref(p);
	return rc;
}

/* T2 */
static void test_claims(void **state)
{
	static const char *const times[] = {"iat", "nbf", "exp"};
	static const char *const texts[] = {"iss", "aud", "sub", "client_id"};
	static const char *const wrong[] = {"\"1790000000\"", "1790000000.5", "1790000000.0", "-1",
					    "null",	      "true",	      "[1790000000]", "{}"};
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_not_equal(verify_with(times[i], NULL), 0);
		for (size_t j = 0; j < sizeof wrong / sizeof wrong[0]; j++)
			assert_int_not_equal(verify_with(times[i], wrong[j]), 0);
		assert_int_not_equal(verify_with(times[i], "9223372036854775807"), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		assert_int_not_equal(verify_with(texts[i], NULL), 0);
		assert_int_not_equal(verify_with(texts[i], "\"\""), 0);
		assert_int_not_equal(verify_with(texts[i], "\"bob\""), 0);
		assert_int_not_equal(verify_with(texts[i], "7"), 0);
		assert_int_not_equal(verify_with(texts[i], "[\"neap-broker\"]"), 0);
	}
	assert_int_not_equal(verify_with("client_id", "\"alice/\""), 0);
	assert_int_not_equal(verify_with("client_id", "\"alice/d/1\""), 0);
	assert_int_not_equal(verify_with("client_id", "\"alice/neapd\""), 0);
	assert_int_not_equal(verify_with("client_id", "\"alic/ed1\""), 0);
	assert_int_equal(verify_with("client_id", "\"alice/d2\""), 0);
	/* 2^63 does not fit: jansson refuses the text. */
	assert_int_not_equal(
		verify_made(good_header(),
			    "{\"iss\":\"neapd\",\"aud\":\"neap-broker\",\"sub\":\"a\","
			    "\"client_id\":\"a/b\",\"iat\":1790000000,\"nbf\":1790000000,"
			    "\"exp\":9223372036854775808}"),
		0);
}

static int verify_times(int64_t iat, int64_t nbf, int64_t exp)
{
	char payload[300];

	snprintf(payload, sizeof payload,
		 "{\"iss\":\"neapd\",\"aud\":\"neap-broker\",\"sub\":\"a\",\"client_id\":\"a/b\","
		 "\"iat\":%lld,\"nbf\":%lld,\"exp\":%lld}",
		 (long long)iat, (long long)nbf, (long long)exp);
	return verify_made(good_header(), payload);
}

/* T2: only the two 59 s cases pass */
static void test_times(void **state)
{
	(void)state;
	assert_int_equal(verify_times(now - 100, now - 100, now - 59), 0);
	assert_int_not_equal(verify_times(now - 100, now - 100, now - 61), 0);
	assert_int_equal(verify_times(now, now + 59, now + 100), 0);
	assert_int_not_equal(verify_times(now, now + 61, now + 100), 0);
	assert_int_not_equal(verify_times(now + 61, now, now + 100), 0);
	assert_int_equal(verify_times(now, now, now + 7200), 0);
	assert_int_not_equal(verify_times(now, now, now + 7201), 0);
	assert_int_not_equal(verify_times(now + 5, now, now + 5), 0);
	assert_int_not_equal(verify_times(now, now, INT64_MAX), 0);
	assert_int_not_equal(verify_times(0, 0, INT64_MAX), 0);
}

/* The vector's token with another text in place of its signature. */
static int verify_signature(struct slice signature)
{
	const char *token = text_of(fx.vector, "token");
	struct buf b = {.max = 3 * JWT_MAX};

	assert_int_equal(buf_put(&b, token, (size_t)(strrchr(token, '.') - token) + 1), 0);
	assert_int_equal(buf_put(&b, signature.at, signature.len), 0);
	int rc = verify(buf_slice(&b));
	buf_free(&b);
	return rc;
}

static int verify_signature_bytes(const uint8_t *bytes, size_t len)
{
	struct buf text = {.max = 500};

	assert_int_equal(base64url_encode(slice_of(bytes, len), &text), 0);
	int rc = verify_signature(buf_slice(&text));
	buf_free(&text);
	return rc;
}

/* T3 */
static void test_signatures(void **state)
{
	const char *token = text_of(fx.vector, "token");
	struct slice text = slice_of(token, (size_t)(strrchr(token, '.') - token));
	struct buf der = {.max = 200};
	uint8_t raw[65] = {0}, zero[64] = {0}, high[64];
	(void)state;
	sign_raw(text, raw, &der);
	assert_int_equal(verify_signature_bytes(raw, 64), 0);
	assert_int_not_equal(verify_signature_bytes(raw, 0), 0);
	assert_int_not_equal(verify_signature_bytes(raw, 63), 0);
	assert_int_not_equal(verify_signature_bytes(raw, 65), 0);
	assert_int_not_equal(verify_signature_bytes(zero, 64), 0);
	memset(high, 0xff, sizeof high);
	assert_int_not_equal(verify_signature_bytes(high, 64), 0);
	assert_int_not_equal(verify_signature_bytes(der.at, der.len), 0);
	for (size_t i = 0; i < 64; i++) {
		raw[i] = (uint8_t)(raw[i] ^ 1 << (i % 8));
		assert_int_not_equal(verify_signature_bytes(raw, 64), 0);
		raw[i] = (uint8_t)(raw[i] ^ 1 << (i % 8));
	}
	buf_free(&der);
}

/* T3: one text for each token. */
static void test_texts(void **state)
{
	const char *token = text_of(fx.vector, "token");
	struct buf b = {.max = 3 * JWT_MAX};
	size_t len = strlen(token);
	(void)state;
	for (size_t i = 0; i < len; i++) {
		b.len = 0;
		assert_int_equal(buf_put(&b, token, len), 0);
		for (int bit = 0; bit < 8; bit++) {
			b.at[i] = (uint8_t)(token[i] ^ 1 << bit);
			assert_int_not_equal(verify(buf_slice(&b)), 0);
		}
	}
	static const char *const behind[] = {"=", "==", ".", ".x", "\n", "+", "/", "A"};
	for (size_t i = 0; i < sizeof behind / sizeof behind[0]; i++) {
		buf_clear(&b);
		assert_int_equal(buf_printf(&b, "%s%s", token, behind[i]), 0);
		assert_int_not_equal(verify(buf_slice(&b)), 0);
	}
	buf_clear(&b);
	assert_int_equal(buf_put(&b, token, len + 1), 0); /* its NUL */
	assert_int_not_equal(verify(buf_slice(&b)), 0);
	assert_int_not_equal(verify(slice_str("")), 0);
	assert_int_not_equal(verify(slice_str("..")), 0);
	assert_int_not_equal(verify(slice_str("...")), 0);
	buf_free(&b);
}

/* T3: duplicate members, NUL in a value, and the length limit. */
static void test_payload_texts(void **state)
{
	char payload[6000];
	(void)state;
	const char *begin =
		"{\"iss\":\"neapd\",\"aud\":\"neap-broker\",\"client_id\":\"a/b\",\"iat\":"
		"1790000000,\"nbf\":1790000000,\"exp\":1790003600,\"sub\":\"a\"";
	snprintf(payload, sizeof payload, "%s}", begin);
	assert_int_equal(verify_made(good_header(), payload), 0);
	snprintf(payload, sizeof payload, "%s,\"sub\":\"a\"}", begin);
	assert_int_not_equal(verify_made(good_header(), payload), 0);
	snprintf(payload, sizeof payload, "%s,\"x\":\"a\\u0000b\"}", begin);
	assert_int_not_equal(verify_made(good_header(), payload), 0);
	snprintf(payload, sizeof payload, "%s} ", begin);
	assert_int_equal(verify_made(good_header(), payload), 0);
	snprintf(payload, sizeof payload, "%s}x", begin);
	assert_int_not_equal(verify_made(good_header(), payload), 0);

	/* Fill until the token is one byte over the limit, then just within. */
	struct buf token = {.max = 3 * JWT_MAX};
	size_t within = 0, over = 0;
	for (int fill = 2500; fill < 3000 && !over; fill++) {
		snprintf(payload, sizeof payload, "%s,\"x\":\"%*d\"}", begin, fill, 1);
		make(&token, good_header(), slice_str(payload));
		int rc = verify(buf_slice(&token));
		assert_int_equal(rc, token.len <= JWT_MAX ? 0 : NE_MALFORMED);
		*(token.len <= JWT_MAX ? &within : &over) = token.len;
	}
	assert_true(within >= JWT_MAX - 1 && over > JWT_MAX && over <= JWT_MAX + 2);
	buf_free(&token);
}

static void test_keys(void **state)
{
	struct buf a = {.max = 1000}, b = {.max = 1000};
	struct jwt_keys *k;
	struct jwt_signer *s;
	struct err e;
	(void)state;
	assert_int_equal(jwt_keys_new(&k, &e), 0);
	assert_int_equal(jwt_keys_add(k, fx.private_pem, &e), NE_MALFORMED);
	assert_int_equal(jwt_keys_add(k, slice_str("-----BEGIN PUBLIC KEY-----\n"), &e),
			 NE_MALFORMED);
	assert_int_equal(jwt_keys_add(k, slice_str(""), &e), NE_MALFORMED);
	assert_int_equal(jwt_signer_new(&s, slice_str(text_of(fx.vector, "public_pem")), &e),
			 NE_MALFORMED);
	/* P-384 and RSA keys are no token keys. */
	EVP_PKEY *other[] = {EVP_EC_gen("P-384"), EVP_RSA_gen(2048)};
	for (size_t i = 0; i < 2; i++) {
		BIO *bio = BIO_new(BIO_s_mem());
		char *at;
		assert_int_equal(PEM_write_bio_PUBKEY(bio, other[i]), 1);
		long len = BIO_get_mem_data(bio, &at);
		assert_int_equal(jwt_keys_add(k, slice_of(at, (size_t)len), &e), NE_MALFORMED);
		BIO_free(bio);
		EVP_PKEY_free(other[i]);
	}
	assert_int_equal(jwt_keys_count(k), 0);
	for (int i = 0; i < 17; i++) {
		buf_clear(&a);
		buf_clear(&b);
		assert_int_equal(jwt_generate(&a, &b, &e), 0);
		assert_int_equal(jwt_keys_add(k, buf_slice(&b), &e), i < 16 ? 0 : NE_LIMIT);
		if (i < 16)
			assert_int_equal(jwt_keys_add(k, buf_slice(&b), &e),
					 0); /* known: ignored */
	}
	assert_int_equal(jwt_keys_count(k), 16);
	assert_int_equal(jwt_signer_new(&s, buf_slice(&a), &e), 0);
	jwt_signer_free(s);
	jwt_keys_free(k);
	buf_free(&a);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector),	cmocka_unit_test(test_sign_is_byte_exact),
		cmocka_unit_test(test_headers), cmocka_unit_test(test_claims),
		cmocka_unit_test(test_times),	cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_texts),	cmocka_unit_test(test_payload_texts),
		cmocka_unit_test(test_keys),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
