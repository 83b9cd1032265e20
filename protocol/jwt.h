/*
 * Access tokens: JWT (RFC 7519, RFC 9068 profile) signed with ES256, checked
 * offline with a key parsed once (rule L6). Header exactly
 * {"alg":"ES256","typ":"at+jwt","kid":…}; kid is the key's RFC 7638 thumbprint.
 */
#ifndef NEAP_PROTOCOL_JWT_H
#define NEAP_PROTOCOL_JWT_H

#include "protocol/id.h"

enum { JWT_MAX = 4096, JWT_LIFE_MAX_S = 7200, JWT_LEEWAY_S = 60 };

#define JWT_ISSUER "neapd"
#define JWT_AUDIENCE "neap-broker"

struct jwt_claims {
	struct id user;	  /* sub */
	struct id device; /* client_id claim is "user/device" */
	int64_t iat, nbf, exp;
};

/* An ES256 private key for signing. */
struct jwt_signer;
/* Public keys by kid, for checking. Safe to use from several threads once filled. */
struct jwt_keys;

/* A new P-256 key as PKCS#8 PEM, and its public half as SPKI PEM. */
NEAP_CHECK int jwt_generate(struct buf *private_pem, struct buf *public_pem, struct err *e);
NEAP_CHECK int jwt_signer_new(struct jwt_signer **out, struct slice private_pem, struct err *e);
void jwt_signer_free(struct jwt_signer *s);
const char *jwt_signer_kid(const struct jwt_signer *s);
/*
 * Appends a token. Its payload: iss, aud, sub, client_id, iat, nbf, exp, jti,
 * and acl {"pub": […], "sub": […]} with the topics of the user and device.
 */
NEAP_CHECK int jwt_sign(const struct jwt_signer *s, const struct jwt_claims *claims,
			struct slice jti, struct buf *out, struct err *e);

NEAP_CHECK int jwt_keys_new(struct jwt_keys **out, struct err *e);
void jwt_keys_free(struct jwt_keys *k);
/* Adds a P-256 public key (SPKI PEM); NE_MALFORMED for anything else. */
NEAP_CHECK int jwt_keys_add(struct jwt_keys *k, struct slice public_pem, struct err *e);
size_t jwt_keys_count(const struct jwt_keys *k);
/* NE_AUTH with the reason, NE_MALFORMED; `out` untouched on error. */
NEAP_CHECK int jwt_verify(const struct jwt_keys *k, struct slice token, int64_t now_s,
			  struct jwt_claims *out, struct err *e);

#endif
