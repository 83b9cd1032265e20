#include "net/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ALERT_WAIT_MS = 1000 };

static int dial(const struct addrinfo *a)
{
	const struct timeval limit = {.tv_sec = PROBE_TIMEOUT_S};
	int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);

	if (fd < 0)
		return -1;
	/* On Linux the send timeout bounds connect(), too. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
		return fd;
	int why = errno;
	close(fd);
	errno = why == EINPROGRESS ? ETIMEDOUT : why;
	return -1;
}

static int dial_any(const char *host, uint16_t port, int *fd, struct err *e)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	char service[8];

	snprintf(service, sizeof service, "%u", (unsigned)port);
	int rc = getaddrinfo(host, service, &hints, &list);
	if (rc)
		return err_set(e, NE_UNREACHABLE, "its name cannot be resolved: %s",
			       gai_strerror(rc));
	*fd = -1;
	for (const struct addrinfo *a = list; a && *fd < 0; a = a->ai_next)
		*fd = dial(a);
	int why = errno;
	freeaddrinfo(list);
	return *fd < 0 ? err_set(e, NE_UNREACHABLE, "%s", strerror(why)) : NE_OK;
}

static bool trust(SSL_CTX *ctx, const struct probe_target *t)
{
	BIO *bio = t->ca_pem ? BIO_new_mem_buf(t->ca_pem, -1) : BIO_new_file(t->ca_file, "r");
	X509 *cert;
	bool any = false;

	while (bio && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		any = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1 || any;
		X509_free(cert);
	}
	BIO_free(bio);
	ERR_clear_error();
	return any;
}

static bool show_ours(SSL_CTX *ctx, const struct probe_target *t)
{
	bool ok = !t->cert_file ||
		  (SSL_CTX_use_certificate_chain_file(ctx, t->cert_file) == 1 &&
		   SSL_CTX_use_PrivateKey_file(ctx, t->key_file, SSL_FILETYPE_PEM) == 1);

	ERR_clear_error();
	return ok;
}

static bool expect_host(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	struct in6_addr any;

	SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	if (inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
	return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 &&
	       SSL_set_tlsext_host_name(ssl, host) == 1;
}

/* The subject of the certificate that was refused, for the sentence. */
static int last_subject(X509_STORE_CTX *ctx, char *out, int size)
{
	X509 *cert = X509_STORE_CTX_get0_cert(ctx);

	return cert && X509_NAME_oneline(X509_get_subject_name(cert), out, size) ? 0 : -1;
}

static int keep_subject(int ok, X509_STORE_CTX *ctx)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	char *subject = ssl ? SSL_get_app_data(ssl) : NULL;

	if (!ok && subject && last_subject(ctx, subject, 100))
		subject[0] = '\0';
	return ok;
}

/* The alerts with which a peer refuses our certificate, or that there is none. */
static bool refuses_ours(unsigned long code)
{
	switch (ERR_GET_REASON(code)) {
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return ERR_GET_LIB(code) == ERR_LIB_SSL;
	default:
		return false;
	}
}

static int failed(const char *what, struct err *e)
{
	unsigned long code = ERR_peek_error();
	const char *why = code ? ERR_reason_error_string(code) : "no answer";

	if (refuses_ours(code))
		return err_set(e, NE_AUTH, "it refuses our certificate: %s", why ? why : "?");
	return err_set(e, NE_UNREACHABLE, "%s failed: %s", what, why ? why : "?");
}

/* With TLS 1.3 a peer that refuses our certificate says so after the handshake. */
static int wait_for_alert(SSL *ssl, int fd, struct err *e)
{
	struct pollfd in = {.fd = fd, .events = POLLIN};
	char byte;

	if (poll(&in, 1, ALERT_WAIT_MS) <= 0)
		return NE_OK;
	ERR_clear_error();
	if (SSL_read(ssl, &byte, 1) > 0 || !ERR_peek_error())
		return NE_OK;
	return failed("TLS", e);
}

static int shake_hands(SSL *ssl, struct err *e)
{
	char subject[100] = "";

	SSL_set_app_data(ssl, subject);
	SSL_set_verify(ssl, SSL_VERIFY_PEER, keep_subject);
	ERR_clear_error();
	if (SSL_connect(ssl) == 1)
		return NE_OK;
	long verify = SSL_get_verify_result(ssl);
	if (verify != X509_V_OK)
		return err_set(e, NE_CERT, "%s: %s", subject[0] ? subject : "its certificate",
			       X509_verify_cert_error_string(verify));
	return failed("the TLS handshake", e);
}

static int probe_socket(int fd, const struct probe_target *t, struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = NULL;
	int rc = NE_OK;

	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1)
		rc = err_set(e, NE_INTERNAL, "TLS cannot be set up");
	else if (!trust(ctx, t))
		rc = err_set(e, NE_CERT, "the CA to trust it by is not a certificate");
	else if (!show_ours(ctx, t))
		rc = err_set(e, NE_AUTH,
			     "our own certificate and key cannot be read or do not fit");
	else if (!(ssl = SSL_new(ctx)) || !SSL_set_fd(ssl, fd) || !expect_host(ssl, t->host))
		rc = err_set(e, NE_INTERNAL, "TLS cannot be set up");
	else
		rc = shake_hands(ssl, e);
	if (!rc && t->cert_file)
		rc = wait_for_alert(ssl, fd, e);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return rc;
}

int probe_tls(const struct probe_target *t, struct err *e)
{
	int fd;

	TRY(dial_any(t->host, t->port, &fd, e));
	int rc = probe_socket(fd, t, e);
	close(fd);
	return rc;
}
