#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "backend/auth/cert.h"
#include "backend/auth/testing.h"
#include "common/file.h"

static char dir[64];

static int begin(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/neap-setup-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	testing_remove(dir);
	return 0;
}

static struct setup ordinary(void)
{
	return (struct setup){.dir = dir,
			      .bind = "127.0.0.1",
			      .broker_host = "broker.example",
			      .hosts = {"login.example"},
			      .plugin = "/nowhere/neap_auth.so",
			      .token_life_s = 60};
}

static X509 *load(const char *name)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "re");
	assert_non_null(f);
	X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	assert_non_null(cert);
	return cert;
}

static bool trusts(const char *ca, const char *leaf, int purpose)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509 *root = load(ca), *cert = load(leaf);

	X509_STORE_add_cert(store, root);
	X509_STORE_CTX_init(ctx, store, cert, NULL);
	X509_STORE_CTX_set_purpose(ctx, purpose);
	X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT);
	bool good = X509_verify_cert(ctx) == 1;
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(root);
	X509_free(cert);
	return good;
}

static bool is_for(const char *leaf, const char *host)
{
	X509 *cert = load(leaf);
	bool good = X509_check_host(cert, host, 0, 0, NULL) == 1 ||
		    X509_check_ip_asc(cert, host, 0) == 1;

	X509_free(cert);
	return good;
}

static void certificates_are_for_what_they_are(void **state)
{
	struct setup s = ordinary();
	struct err e = {0};
	char name[64];

	(void)state;
	if (setup_write(&s, &e))
		fail_msg("%s", e.text);
	assert_true(trusts("ca/login.pem", "tls/login-cert.pem", X509_PURPOSE_SSL_SERVER));
	assert_true(trusts("ca/broker.pem", "broker/cert.pem", X509_PURPOSE_SSL_SERVER));
	assert_true(trusts("broker/ca.pem", "tls/backend-cert.pem", X509_PURPOSE_SSL_CLIENT));
	/* Two authorities: the broker cannot pose as the login server, nor the other way round. */
	assert_false(trusts("ca/login.pem", "broker/cert.pem", X509_PURPOSE_SSL_SERVER));
	assert_false(trusts("ca/broker.pem", "tls/login-cert.pem", X509_PURPOSE_SSL_SERVER));
	/* The broker's own certificate gives no rights of the backend. */
	assert_false(trusts("ca/broker.pem", "broker/cert.pem", X509_PURPOSE_SSL_CLIENT));
	assert_false(trusts("ca/broker.pem", "tls/backend-cert.pem", X509_PURPOSE_SSL_SERVER));

	assert_true(is_for("tls/login-cert.pem", "localhost"));
	assert_true(is_for("tls/login-cert.pem", "127.0.0.1"));
	assert_true(is_for("tls/login-cert.pem", "login.example"));
	assert_false(is_for("tls/login-cert.pem", "broker.example"));
	assert_true(is_for("broker/cert.pem", "broker.example"));
	X509 *client = load("tls/backend-cert.pem");
	X509_NAME_get_text_by_NID(X509_get_subject_name(client), NID_commonName, name, sizeof name);
	assert_string_equal(name, "$neapd");
	X509_free(client);
}

static void check_modes(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	struct stat st;

	assert_non_null(d);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777U, 0700);
	while ((entry = readdir(d))) {
		char below[512];
		int n = snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
		if (entry->d_name[0] == '.' || n >= (int)sizeof below)
			continue;
		assert_int_equal(lstat(below, &st), 0);
		if (S_ISDIR(st.st_mode))
			check_modes(below);
		else if (strstr(entry->d_name, "key.pem") || strstr(path, "/auth") ||
			 !strcmp(entry->d_name, "neapd.conf"))
			assert_int_equal(st.st_mode & 0777U, 0600);
		else
			assert_int_equal(st.st_mode & 0777U, 0644);
	}
	closedir(d);
}

static void secrets_are_private(void **state)
{
	struct setup s = ordinary();
	struct err e;

	(void)state;
	mode_t old = umask(0);
	assert_int_equal(setup_write(&s, &e), 0);
	umask(old);
	check_modes(dir);
}

static void ports_are_found_and_a_set_up_is_not_written_over(void **state)
{
	struct setup s = ordinary();
	struct config c;
	char file[128];
	struct err e;

	(void)state;
	s.mqtt_port = 1883;
	assert_int_equal(setup_write(&s, &e), 0);
	snprintf(file, sizeof file, "%s/neapd.conf", dir);
	assert_int_equal(config_read(file, &c, &e), 0);
	assert_int_equal(c.device_broker_port, 1883);
	assert_true(c.listen_port && c.broker_port && c.listen_port != c.broker_port);
	assert_int_equal(c.listen_port, s.login_port);
	assert_int_equal(c.token_life_s, 60);
	assert_string_equal(c.broker_host, "broker.example");
	assert_int_equal(setup_write(&s, &e), NE_EXISTS);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(setup_write(&s, &e), NE_EXISTS); /* its keys are not either */
}

static void names_cannot_add_to_a_certificate(void **state)
{
	static const char *const bad[] = {"a,DNS:b", "a b", "", "-a", "DNS:a", "a\n", "*.a;b"};
	struct cert_pair ca = CERT_PAIR, out = CERT_PAIR;
	struct err e;

	(void)state;
	assert_int_equal(cert_authority("test", &ca, &e), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		cert_names names = {bad[i]};
		assert_int_equal(cert_server(&ca, "x", names, &out, &e), NE_USAGE);
	}
	cert_pair_free(&ca);
	cert_pair_free(&out);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(certificates_are_for_what_they_are),
		T(secrets_are_private),
		T(ports_are_found_and_a_set_up_is_not_written_over),
		T(names_cannot_add_to_a_certificate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
