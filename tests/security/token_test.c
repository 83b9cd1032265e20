/* Access tokens of other algorithms, each with a signature that its own rules call right (T1 to
 * T3). */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "protocol/base64url.h"
#include "protocol/jwt.h"
#include "protocol/testing.h"

enum { NOW_S = 1790000010 };

static struct fixture {
	json_t *vector;
	struct jwt_keys *keys;
	EVP_PKEY *key;
	const char *pem, *kid;
} fx;

static int set_up(void **state)
{
	struct err e;

	(void)state;
	fx.vector = load_vectors("jwt.json");
	fx.pem = text_of(fx.vector, "public_pem");
	fx.kid = text_of(fx.vector, "kid");
	const char *private = text_of(fx.vector, "private_pem");
	BIO *bio = BIO_new_mem_buf(private, -1);
	fx.key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	return jwt_keys_new(&fx.keys, &e) || jwt_keys_add(fx.keys, slice_str(fx.pem), &e);
}

static int tear_down(void **state)
{
	(void)state;
	EVP_PKEY_free(fx.key);
	jwt_keys_free(fx.keys);
	json_decref(fx.vector);
	return 0;
}

/* "header.payload" of an algorithm, for `kid`. */
static void begin(struct buf *out, const char *alg, const char *kid, const char *payload)
{
	char header[200];

	snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", alg,
		 kid);
	buf_clear(out);
	assert_int_equal(base64url_encode(slice_str(header), out), 0);
	assert_int_equal(buf_put_u8(out, '.'), 0);
	assert_int_equal(base64url_encode(slice_str(payload), out), 0);
}

static int end(struct buf *token, struct slice signature)
{
	struct jwt_claims c = {.iat = -7};
	struct err e;

	assert_int_equal(buf_put_u8(token, '.'), 0);
	assert_int_equal(base64url_encode(signature, token), 0);
	int rc = jwt_verify(fx.keys, buf_slice(token), NOW_S, &c, &e);
	assert_int_equal(rc ? -7 : 1790000000, c.iat);
	return rc;
}

/* Signed by the key's own algorithm; an EC signature as r and s, as JWS wants it. */
static struct slice sign(EVP_PKEY *key, const EVP_MD *md, struct slice text, uint8_t out[512])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t der[512];
	const uint8_t *at = der;
	size_t len = sizeof der;

	assert_int_equal(EVP_DigestSignInit(ctx, NULL, md, NULL, key), 1);
	assert_int_equal(EVP_DigestSign(ctx, der, &len, text.at, text.len), 1);
	EVP_MD_CTX_free(ctx);
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) {
		memcpy(out, der, len);
		return slice_of(out, len);
	}
	int half = EVP_PKEY_get_bits(key) / 8;
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, half), half);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + half, half), half);
	ECDSA_SIG_free(sig);
	return slice_of(out, 2 * (size_t)half);
}

static int signed_token(const char *alg, EVP_PKEY *key, const EVP_MD *md, const char *payload)
{
	struct buf token = {.max = 3 * JWT_MAX};
	uint8_t bytes[512];

	begin(&token, alg, fx.kid, payload);
	int rc = end(&token, sign(key, md, buf_slice(&token), bytes));
	buf_free(&token);
	return rc;
}

static void t01_other_algorithms(void **state)
{
	const char *payload = text_of(fx.vector, "payload");
	EVP_PKEY *rsa = EVP_RSA_gen(2048), *p384 = EVP_EC_gen("P-384"), *p256 = EVP_EC_gen("P-256");
	struct buf token = {.max = 3 * JWT_MAX};
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned len;
	(void)state;

	assert_int_equal(signed_token("ES256", fx.key, EVP_sha256(), payload), 0);
	begin(&token, "none", fx.kid, payload);
	assert_int_not_equal(end(&token, slice_str("")), 0);
	/* The public key as the secret of a MAC: with and without its last line end. */
	for (size_t cut = 0; cut < 2; cut++) {
		begin(&token, "HS256", fx.kid, payload);
		HMAC(EVP_sha256(), fx.pem, (int)(strlen(fx.pem) - cut), token.at, token.len, mac,
		     &len);
		assert_int_not_equal(end(&token, slice_of(mac, len)), 0);
	}
	assert_int_not_equal(signed_token("RS256", rsa, EVP_sha256(), payload), 0);
	assert_int_not_equal(signed_token("ES384", p384, EVP_sha384(), payload), 0);
	assert_int_not_equal(signed_token("ES384", fx.key, EVP_sha384(), payload), 0);
	/* Another key of the right kind under our kid. */
	assert_int_not_equal(signed_token("ES256", p256, EVP_sha256(), payload), 0);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(p256);
	buf_free(&token);
}

static void t02_times_at_the_end_of_integers(void **state)
{
	static const char *const names[] = {"iat", "nbf", "exp"};
	static const char *const values[] = {
		"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-1", "1e9",
		"0x6ab13b80"};
	char payload[400];
	(void)state;

	for (size_t i = 0; i < 3; i++) {
		for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
			const char *t[] = {"1790000000", "1790000000", "1790003600"};
			t[i] = values[v];
			snprintf(payload, sizeof payload,
				 "{\"iss\":\"neapd\",\"aud\":\"neap-broker\",\"sub\":\"a\","
				 "\"client_id\":\"a/b\",\"%s\":%s,\"%s\":%s,\"%s\":%s}",
				 names[0], t[0], names[1], t[1], names[2], t[2]);
			assert_int_not_equal(signed_token("ES256", fx.key, EVP_sha256(), payload),
					     0);
		}
	}
}

/* The other alphabet of base64 stands for the same bytes, and is refused. */
static void t03_the_other_alphabet(void **state)
{
	struct buf token = {.max = 3 * JWT_MAX};
	struct jwt_claims c;
	struct err e;
	size_t changed = 0;
	(void)state;

	for (int n = 0; n < 20; n++) {
		uint8_t bytes[512];
		begin(&token, "ES256", fx.kid, text_of(fx.vector, "payload"));
		assert_int_equal(end(&token, sign(fx.key, EVP_sha256(), buf_slice(&token), bytes)),
				 0);
		for (size_t i = 0; i < token.len; i++) {
			uint8_t was = token.at[i];
			if (was != '-' && was != '_')
				continue;
			token.at[i] = was == '-' ? '+' : '/';
			assert_int_equal(jwt_verify(fx.keys, buf_slice(&token), NOW_S, &c, &e),
					 NE_MALFORMED);
			token.at[i] = was;
			changed++;
		}
	}
	assert_true(changed > 0);
	buf_free(&token);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t01_other_algorithms),
		cmocka_unit_test(t02_times_at_the_end_of_integers),
		cmocka_unit_test(t03_the_other_alphabet),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
