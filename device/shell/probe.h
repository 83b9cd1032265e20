/*
 * Why a TLS connection fails. Paho says no more than "TCP/TLS connect failure",
 * also for a certificate of another host.
 */
#ifndef NEAP_DEVICE_SHELL_PROBE_H
#define NEAP_DEVICE_SHELL_PROBE_H

#include <stdint.h>

#include "common/error.h"

enum { PROBE_TIMEOUT_S = 5 }; /* of each step: connecting, handshake */

/*
 * Connects, shakes hands trusting only `ca_pem`, hangs up; blocks. NE_OK: TLS works. NE_CERT names
 * the certificate and the reason; NE_UNREACHABLE says what failed.
 */
NEAP_CHECK int probe_tls(const char *host, uint16_t port, const char *ca_pem, struct err *e);

#endif
