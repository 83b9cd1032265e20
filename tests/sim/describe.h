/* Frames and rows in words, for the trace. */
#ifndef NEAP_SIM_DESCRIBE_H
#define NEAP_SIM_DESCRIBE_H

#include "tests/sim/sim.h"

/* Traces one plaintext frame: who, a direction or peer, what is in it. */
void describe_frame(const struct world *w, const char *who, const char *direction,
		    struct slice plain);

#endif
