/* A TCP relay to the broker that counts what devices send and get. */
#ifndef NEAP_TESTS_BENCH_PROXY_H
#define NEAP_TESTS_BENCH_PROXY_H

/* Payload of TCP, and of it what is in TLS records as application data, padding and tags left out.
 * (In TLS 1.3 that has the encrypted part of a handshake in it.) */
struct proxy_count {
	double up, down, up_plain, down_plain;
	double records; /* of TLS, both ways */
};

/*
 * Listens on the port returned, for as long as the program runs, in a thread of its own. Called
 * again it only changes where later connections go.
 */
unsigned short proxy_start(unsigned short to_port);
struct proxy_count proxy_count(void);

#endif
