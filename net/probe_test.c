#include "net/probe.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/auth/cert.h"

/* A server that shakes hands once. */
struct server {
	pthread_t thread;
	int listener;
	uint16_t port;
	const struct cert_pair *cert;
	const struct cert_pair *client_ca; /* of clients, which then need a certificate */
	bool plain;			   /* no TLS at all */
};

static struct cert_pair authority = CERT_PAIR, other = CERT_PAIR, good = CERT_PAIR,
			mine = CERT_PAIR, foreign = CERT_PAIR;
static char dir[] = "/tmp/neap-probe-XXXXXX";

static X509 *read_cert(const struct cert_pair *p)
{
	BIO *bio = BIO_new_mem_buf(p->cert.at, (int)p->cert.len);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(cert);
	return cert;
}

static EVP_PKEY *read_key(const struct cert_pair *p)
{
	BIO *bio = BIO_new_mem_buf(p->key.at, (int)p->key.len);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(key);
	return key;
}

static SSL_CTX *server_context(const struct server *s)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	X509 *cert = read_cert(s->cert);
	EVP_PKEY *key = read_key(s->cert);

	SSL_CTX_use_certificate(ctx, cert);
	SSL_CTX_use_PrivateKey(ctx, key);
	X509_free(cert);
	EVP_PKEY_free(key);
	if (s->client_ca) {
		X509 *ca = read_cert(s->client_ca);
		X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca);
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		X509_free(ca);
	}
	return ctx;
}

static void *serve(void *arg)
{
	struct server *s = arg;
	int fd = accept(s->listener, NULL, NULL);
	char bytes[64];

	if (s->plain) {
		(void)!write(fd, "220 mail.example ESMTP\r\n", 24);
		(void)!read(fd, bytes, sizeof bytes);
		close(fd);
		return NULL;
	}
	SSL_CTX *ctx = server_context(s);
	SSL *ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1)
		(void)SSL_read(ssl, bytes, sizeof bytes);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return NULL;
}

static int listen_here(uint16_t *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

/* Probes a server; what it finds must be `code` and its sentence have `text` in it. */
static void expect(struct server s, struct probe_target t, int code, const char *text)
{
	struct err e = {0};

	s.listener = listen_here(&s.port);
	if (!s.cert)
		s.cert = &good;
	assert_int_equal(pthread_create(&s.thread, NULL, serve, &s), 0);
	t.port = s.port;
	if (!t.host)
		t.host = "127.0.0.1";
	if (!t.ca_pem && !t.ca_file)
		t.ca_pem = (const char *)authority.cert.at;
	int rc = probe_tls(&t, &e);
	pthread_join(s.thread, NULL);
	close(s.listener);
	if (rc != code || (text && !strstr(e.text, text)))
		fail_msg("%s: %s; not %s: %s", ne_name(rc), e.text, ne_name(code), text);
}

static void test_a_certificate_that_is_good(void **state)
{
	(void)state;
	expect((struct server){0}, (struct probe_target){0}, NE_OK, NULL);
}

static void test_what_is_wrong_with_a_certificate(void **state)
{
	struct cert_pair elsewhere = CERT_PAIR, old = CERT_PAIR;
	struct err e;
	(void)state;

	expect((struct server){0}, (struct probe_target){.ca_pem = (const char *)other.cert.at},
	       NE_CERT, "unable to get local issuer certificate");
	assert_int_equal(cert_server(&authority, "broker", (cert_names){"broker.example", NULL},
				     &elsewhere, &e),
			 0);
	expect((struct server){.cert = &elsewhere}, (struct probe_target){0}, NE_CERT,
	       "/CN=broker: IP address mismatch");
	expect((struct server){.cert = &elsewhere}, (struct probe_target){.host = "localhost"},
	       NE_CERT, "/CN=broker: hostname mismatch");

	X509 *cert = read_cert(&good);
	EVP_PKEY *key = read_key(&authority);
	X509_gmtime_adj(X509_getm_notAfter(cert), -60);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	BIO *bio = BIO_new(BIO_s_mem());
	char *at;
	assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
	long len = BIO_get_mem_data(bio, &at);
	assert_int_equal(buf_put(&old.cert, at, (size_t)len), 0);
	assert_int_equal(buf_put(&old.key, good.key.at, good.key.len), 0);
	expect((struct server){.cert = &old}, (struct probe_target){0}, NE_CERT,
	       "certificate has expired");
	BIO_free(bio);
	X509_free(cert);
	EVP_PKEY_free(key);
	cert_pair_free(&elsewhere);
	cert_pair_free(&old);
	expect((struct server){0}, (struct probe_target){.ca_pem = "nothing"}, NE_CERT,
	       "is not a certificate");
}

static void save(const char *name, const struct buf *b, char path[64])
{
	snprintf(path, 64, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(b->at, 1, b->len, f), b->len);
	fclose(f);
}

static void test_our_own_certificate(void **state)
{
	char ca[64], cert[64], key[64], wrong_cert[64], wrong_key[64];
	struct server asks = {.client_ca = &authority};
	(void)state;

	save("ca", &authority.cert, ca);
	save("cert", &mine.cert, cert);
	save("key", &mine.key, key);
	save("wrong-cert", &foreign.cert, wrong_cert);
	save("wrong-key", &foreign.key, wrong_key);
	expect(asks, (struct probe_target){.ca_file = ca, .cert_file = cert, .key_file = key},
	       NE_OK, NULL);
	expect(asks,
	       (struct probe_target){.ca_file = ca, .cert_file = wrong_cert, .key_file = wrong_key},
	       NE_AUTH, "it refuses our certificate");
	expect((struct server){0},
	       (struct probe_target){.ca_file = ca, .cert_file = cert, .key_file = wrong_key},
	       NE_AUTH, "do not fit");
}

static void test_no_connection(void **state)
{
	struct probe_target t = {.host = "127.0.0.1", .ca_pem = (const char *)authority.cert.at};
	struct err e;
	(void)state;

	close(listen_here(&t.port));
	assert_int_equal(probe_tls(&t, &e), NE_UNREACHABLE);
	assert_non_null(strstr(e.text, "Connection refused"));
	t.host = "no-such-host.invalid";
	assert_int_equal(probe_tls(&t, &e), NE_UNREACHABLE);
	assert_non_null(strstr(e.text, "its name cannot be resolved"));
	expect((struct server){.plain = true}, (struct probe_target){0}, NE_UNREACHABLE,
	       "the TLS handshake failed: wrong version number");
}

static int setup(void **state)
{
	struct err e;
	(void)state;

	signal(SIGPIPE, SIG_IGN);
	assert_non_null(mkdtemp(dir));
	assert_int_equal(cert_authority("ca", &authority, &e), 0);
	assert_int_equal(cert_authority("another ca", &other, &e), 0);
	assert_int_equal(buf_terminate(&authority.cert), 0);
	assert_int_equal(buf_terminate(&other.cert), 0);
	assert_int_equal(cert_server(&authority, "broker",
				     (cert_names){"127.0.0.1", "localhost", NULL}, &good, &e),
			 0);
	assert_int_equal(cert_client(&authority, "neapd", &mine, &e), 0);
	return cert_client(&other, "stranger", &foreign, &e);
}

static int teardown(void **state)
{
	static const char *const names[] = {"ca", "cert", "key", "wrong-cert", "wrong-key"};
	char path[64];
	(void)state;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
	cert_pair_free(&authority);
	cert_pair_free(&other);
	cert_pair_free(&good);
	cert_pair_free(&mine);
	cert_pair_free(&foreign);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_certificate_that_is_good),
		cmocka_unit_test(test_what_is_wrong_with_a_certificate),
		cmocka_unit_test(test_our_own_certificate),
		cmocka_unit_test(test_no_connection),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
