/* Bare TLS connects, to compare a fleet's return with. */
#ifndef NEAP_TESTS_BENCH_BARE_H
#define NEAP_TESTS_BENCH_BARE_H

#include <openssl/ssl.h>
#include <stddef.h>

/* Seconds for `n` handshakes, as many at a time as the fleet has; all stay open until the last. */
double bare_connects(unsigned short port, SSL_CTX *tls, size_t n);

#endif
