/* What the threads count, for `neapd status`. Each is written by one or more threads, read by any.
 */
#ifndef NEAP_BACKEND_SHELL_STATS_H
#define NEAP_BACKEND_SHELL_STATS_H

#include <stdatomic.h>
#include <stdint.h>

struct serve_stats {
	_Atomic uint64_t received;     /* messages on up */
	_Atomic uint64_t bad_topic;    /* … with RETAIN set or on a topic that is none of ours */
	_Atomic uint64_t shed;	       /* … answered busy: queue full */
	_Atomic uint64_t opened;       /* … opened and authenticated */
	_Atomic uint64_t refused;      /* … not: wrong key, revoked, not the pinned shape */
	_Atomic uint64_t steps;	       /* transactions of the ingest */
	_Atomic uint64_t step_events;  /* events in them */
	_Atomic uint64_t step_retries; /* store busy or disk full: tried again */
	_Atomic uint64_t published;    /* messages given to the broker */
	_Atomic uint64_t unpublished; /* … not, because it was not connected or the user is gone */
	_Atomic uint64_t bytes_in, bytes_out;
};

#endif
