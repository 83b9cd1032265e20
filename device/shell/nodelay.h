/*
 * Paho makes no setsockopt call and gives no way to its socket, but a PUBACK followed by
 * a PUBLISH then waits 40 ms for the peer's delayed acknowledgement.
 */
#ifndef NEAP_DEVICE_SHELL_NODELAY_H
#define NEAP_DEVICE_SHELL_NODELAY_H

#include <stdint.h>

enum { NODELAY_USER_TIMEOUT_MS = 30 * 1000 };

/*
 * Sets TCP_NODELAY on every connected TCP socket of this process whose peer's port is `port`, and
 * a bound on how long sent data may stay unacknowledged (a pulled cable shows sooner than by
 * keep-alive). Returns the number of sockets; harmless to any other of them.
 */
unsigned nodelay_set(uint16_t port);

#endif
