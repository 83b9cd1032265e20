/*
 * What a team writes without Neap: rows as JSON over MQTT (QoS 1, TCP_NODELAY,
 * no TLS, nothing sealed), a server that inserts them and says after COMMIT
 * which message it has, an outbox on the device.
 */
#ifndef NEAP_TESTS_BENCH_JSON_H
#define NEAP_TESTS_BENCH_JSON_H

#include <stddef.h>

/* Rows a second from the first local write to the last answer. `batch` above 1: zstd. */
double json_ingest(size_t rows, size_t batch, size_t window, int group_ms);
/* A broker, a server, a sender and a second device, for json_ping. */
void json_ping_begin(void);
/* Milliseconds from a commit on one device until it is committed on the other. */
double json_ping(void);
void json_ping_end(void);

#endif
