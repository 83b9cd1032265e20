/*
 * What the HTTP library lets through and we do not (rule L9): requests whose
 * length could be read in two ways, so that nothing can be smuggled behind one.
 */
#ifndef NEAP_BACKEND_AUTH_STRICT_H
#define NEAP_BACKEND_AUTH_STRICT_H

#include "common/bytes.h"

/* Filled by strict_header() for each header of a request; zero-initialised. */
struct strict {
	unsigned lengths; /* Content-Length headers */
	uint64_t length;
	bool bad_length; /* not a plain number */
	bool bad_name;	 /* a name no honest client sends */
	bool transfer;	 /* Transfer-Encoding */
	bool json;	 /* Content-Type: application/json */
};

void strict_header(struct strict *s, const char *name, const char *value);

/*
 * 0 if the request may go on, else the HTTP status to refuse it with and *detail. `post`: a body
 * of 1 … `max` bytes must follow, announced by one Content-Length; otherwise there must be none.
 */
int strict_verdict(const struct strict *s, bool post, uint64_t max, const char **detail);

#endif
