/*
 * Why a TLS connection fails. Paho says no more than "TCP/TLS connect failure",
 * also for a certificate of another host.
 */
#ifndef NEAP_NET_PROBE_H
#define NEAP_NET_PROBE_H

#include <stdint.h>

#include "common/error.h"

enum { PROBE_TIMEOUT_S = 5 }; /* of each step: connecting, handshake */

struct probe_target {
	const char *host;
	uint16_t port;
	/* The authorities to trust, nothing else: as PEM text, or in a file. */
	const char *ca_pem, *ca_file;
	const char *cert_file, *key_file; /* ours, PEM; NULL: none */
};

/*
 * Connects, shakes hands, hangs up; blocks. NE_OK: TLS works. NE_UNREACHABLE: the name cannot be
 * resolved, the connection is refused, or what else failed. NE_CERT names the peer's certificate
 * and what is wrong with it. NE_AUTH: the peer does not take ours.
 */
NEAP_CHECK int probe_tls(const struct probe_target *t, struct err *e);

#endif
