#include "device/shell/cert_time.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

/* A self-signed certificate, good from `from_s` on for a day. */
static X509 *certificate(EVP_PKEY *key, int64_t from_s)
{
	X509 *x = X509_new();

	assert_non_null(x);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), 1), 1);
	assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from_s));
	assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(from_s + 86400)));
	X509_NAME *name = X509_get_subject_name(x);
	assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
						    (const unsigned char *)"x", -1, -1, 0),
			 1);
	assert_int_equal(X509_set_issuer_name(x, name), 1);
	assert_int_equal(X509_set_pubkey(x, key), 1);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	return x;
}

/* As a TLS client verifies the other end: by the default named "ssl_server". */
static int verdict(X509 *x)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	assert_int_equal(X509_STORE_add_cert(store, x), 1);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, x, NULL), 1);
	assert_int_equal(X509_STORE_CTX_set_default(ctx, "ssl_server"), 1);
	(void)X509_verify_cert(ctx);
	int code = X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return code;
}

static void certificates_are_judged_at_the_latest_time_known(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	int64_t now = (int64_t)time(NULL), tomorrow = now + 86400;
	X509 *x = certificate(key, tomorrow);

	(void)state;
	assert_false(cert_time_update());
	assert_int_equal(verdict(x), X509_V_ERR_CERT_NOT_YET_VALID);
	cert_time_heard((tomorrow + 10) * 1000);
	(void)cert_time_update();
	assert_int_equal(verdict(x), X509_V_OK);
	cert_time_heard(1000); /* never back */
	(void)cert_time_update();
	assert_int_equal(verdict(x), X509_V_OK);

	X509 *old = certificate(key, now - 2 * 86400);
	assert_int_equal(verdict(old), X509_V_ERR_CERT_HAS_EXPIRED);
	X509_free(old);
	X509_free(x);
	EVP_PKEY_free(key);
}

static void the_build_is_the_least(void **state)
{
	(void)state;
	assert_true(cert_time_at(0) > 1700000000);
	assert_true(cert_time_at(INT64_MAX) == INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_build_is_the_least),
		cmocka_unit_test(certificates_are_judged_at_the_latest_time_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
