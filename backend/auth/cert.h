/*
 * Certificates for a private set-up: ECDSA P-256, authorities for 10 years
 * and what they sign for 825 days. All as PEM.
 */
#ifndef NEAP_BACKEND_AUTH_CERT_H
#define NEAP_BACKEND_AUTH_CERT_H

#include "common/bytes.h"

enum { CERT_PEM_MAX = 8192, CERT_CA_DAYS = 3650, CERT_LEAF_DAYS = 825, CERT_NAMES = 8 };

/* Zero-initialise with `.cert.max = .key.max = CERT_PEM_MAX`, or use CERT_PAIR. */
struct cert_pair {
	struct buf cert, key;
};
#define CERT_PAIR                                                            \
	{                                                                    \
		.cert = {.max = CERT_PEM_MAX}, .key = {.max = CERT_PEM_MAX } \
	}
void cert_pair_free(struct cert_pair *p); /* wipes the key */

/* A new authority. NE_INTERNAL (the crypto library), NE_MEMORY. */
NEAP_CHECK int cert_authority(const char *common_name, struct cert_pair *out, struct err *e);

/* NULL-terminated; host names and addresses. */
typedef const char *cert_names[CERT_NAMES + 1];

/* For a TLS server of these names. NE_USAGE: no host name nor address. */
NEAP_CHECK int cert_server(const struct cert_pair *ca, const char *common_name,
			   const cert_names names, struct cert_pair *out, struct err *e);
/* For a TLS client. */
NEAP_CHECK int cert_client(const struct cert_pair *ca, const char *common_name,
			   struct cert_pair *out, struct err *e);

#endif
