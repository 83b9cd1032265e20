#include "backend/auth/cert.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "common/file.h"

enum { SERIAL_LEN = 16, DAY_S = 86400 };

void cert_pair_free(struct cert_pair *p)
{
	buf_free(&p->cert);
	secret_free(&p->key);
}

static int failed(struct err *e)
{
	return err_set(e, NE_INTERNAL, "the crypto library failed to make a certificate");
}

/* A memory BIO's content. */
static int take(BIO *bio, struct buf *out)
{
	char *at;
	long len = BIO_get_mem_data(bio, &at);

	buf_clear(out);
	int rc = len > 0 ? buf_put(out, at, (size_t)len) : NE_INTERNAL;
	BIO_free(bio);
	return rc;
}

static int write_pair(X509 *cert, EVP_PKEY *key, struct cert_pair *out, struct err *e)
{
	BIO *bio = BIO_new(BIO_s_mem());

	if (!bio || PEM_write_bio_X509(bio, cert) != 1) {
		BIO_free(bio);
		return failed(e);
	}
	if (take(bio, &out->cert))
		return failed(e);
	bio = BIO_new(BIO_s_secmem());
	if (!bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
		BIO_free(bio);
		return failed(e);
	}
	return take(bio, &out->key) ? failed(e) : 0;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool good = x && X509_add_ext(cert, x, -1) == 1;
	X509_EXTENSION_free(x);
	return good;
}

static bool set_serial(X509 *cert)
{
	uint8_t random[SERIAL_LEN];
	BIGNUM *n;

	if (RAND_bytes(random, sizeof random) != 1)
		return false;
	random[0] = (random[0] & 0x7f) | 0x40; /* positive and of full length */
	n = BN_bin2bn(random, sizeof random, NULL);
	bool good = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
	BN_free(n);
	return good;
}

/* Valid since yesterday: a device whose clock is a little behind must not be shut out. */
static bool set_frame(X509 *cert, X509_NAME *issuer, const char *common_name, int days,
		      EVP_PKEY *key)
{
	X509_NAME *subject = X509_get_subject_name(cert);

	return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_S) &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), (long)days * DAY_S) &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
					  (const unsigned char *)common_name, -1, -1, 0) == 1 &&
	       X509_set_issuer_name(cert, issuer ? issuer : subject) == 1 &&
	       X509_set_pubkey(cert, key) == 1;
}

int cert_authority(const char *common_name, struct cert_pair *out, struct err *e)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();

	bool good =
		key && cert && set_frame(cert, NULL, common_name, CERT_CA_DAYS, key) &&
		add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
		add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		add_extension(cert, cert, NID_subject_key_identifier, "hash") &&
		X509_sign(cert, key, EVP_sha256()) > 0;
	int rc = good ? write_pair(cert, key, out, e) : failed(e);
	X509_free(cert);
	EVP_PKEY_free(key);
	return rc;
}

static int read_pair(const struct cert_pair *p, X509 **cert, EVP_PKEY **key, struct err *e)
{
	BIO *bio = BIO_new_mem_buf(p->cert.at, (int)p->cert.len);

	*cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	bio = BIO_new_mem_buf(p->key.at, (int)p->key.len);
	*key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	if (*cert && *key)
		return 0;
	X509_free(*cert);
	EVP_PKEY_free(*key);
	return err_set(e, NE_CORRUPT, "an authority's certificate or key cannot be read");
}

/* `names` is the text of subjectAltName, NULL for a client. */
static int sign(const struct cert_pair *ca, const char *common_name, const char *names,
		struct cert_pair *out, struct err *e)
{
	X509 *issuer, *cert = X509_new();
	EVP_PKEY *issuer_key, *key = EVP_EC_gen("P-256");

	int rc = read_pair(ca, &issuer, &issuer_key, e);
	if (!rc) {
		bool good =
			cert && key &&
			set_frame(cert, X509_get_subject_name(issuer), common_name, CERT_LEAF_DAYS,
				  key) &&
			add_extension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
			add_extension(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
			add_extension(cert, issuer, NID_ext_key_usage,
				      names ? "serverAuth" : "clientAuth") &&
			add_extension(cert, issuer, NID_subject_key_identifier, "hash") &&
			add_extension(cert, issuer, NID_authority_key_identifier, "keyid") &&
			(!names || add_extension(cert, issuer, NID_subject_alt_name, names)) &&
			X509_sign(cert, issuer_key, EVP_sha256()) > 0;
		rc = good ? write_pair(cert, key, out, e) : failed(e);
		X509_free(issuer);
		EVP_PKEY_free(issuer_key);
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	return rc;
}

/* The text of an extension is a language of its own: only what cannot be part of it gets in. */
static int put_name(const char *name, struct buf *out, struct err *e)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789.-";
	unsigned char address[16];
	bool ip = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
	size_t len = strlen(name);

	if (!ip && (len == 0 || len > 253 || strspn(name, letters) != len || name[0] == '-'))
		return err_set(e, NE_USAGE, "\"%.80s\" is no host name nor address", name);
	return buf_printf(out, "%s%s:%s", out->len ? "," : "", ip ? "IP" : "DNS", name);
}

int cert_server(const struct cert_pair *ca, const char *common_name, const cert_names names,
		struct cert_pair *out, struct err *e)
{
	struct buf text = {.max = 4096};
	int rc = 0;

	for (size_t i = 0; !rc && names[i]; i++)
		rc = put_name(names[i], &text, e);
	if (!rc)
		rc = buf_terminate(&text);
	if (!rc)
		rc = sign(ca, common_name, (const char *)text.at, out, e);
	buf_free(&text);
	return rc;
}

int cert_client(const struct cert_pair *ca, const char *common_name, struct cert_pair *out,
		struct err *e)
{
	return sign(ca, common_name, NULL, out, e);
}
