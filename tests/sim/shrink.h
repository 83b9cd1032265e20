/* The shortest trace of a failing seed. */
#ifndef NEAP_SIM_SHRINK_H
#define NEAP_SIM_SHRINK_H

#include "tests/sim/sim.h"

/*
 * Runs `seed` again and again with less of what happened in it, as long as it still fails, for at
 * most `seconds`, and prints the trace of the shortest run found on stdout, with the options that
 * were taken from it.
 */
void shrink(uint64_t seed, const struct options *opt, unsigned seconds);

#endif
