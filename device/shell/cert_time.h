/*
 * The time at which certificates are judged on a device whose clock may be at 1970 (rule L4): the
 * latest of the system's clock, the build of this program, and what the server last said. Neither
 * libcurl nor Paho lets a program choose that time, so while the clock is surely behind, OpenSSL's
 * default for TLS clients of this process is set; with a sound clock nothing is changed.
 */
#ifndef NEAP_DEVICE_SHELL_CERT_TIME_H
#define NEAP_DEVICE_SHELL_CERT_TIME_H

#include <stdbool.h>
#include <stdint.h>

/* The server's clock as a login or refresh gave it, in milliseconds since 1970; any thread. */
void cert_time_heard(int64_t server_ms);

/*
 * Before a handshake: sets the time it is judged at, or takes it back when the clock is right
 * again. Returns whether the clock is behind this program's build, so surely wrong: then a
 * certificate made after the build looks as if it were of the future. Out of memory it leaves the
 * system's clock.
 */
bool cert_time_update(void);

/* What cert_time_update() goes by at `now_s`: seconds since 1970; for its test. */
int64_t cert_time_at(int64_t now_s);

#endif
