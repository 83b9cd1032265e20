/* How long, as a person writes it. */
#ifndef NEAP_COMMON_DURATION_H
#define NEAP_COMMON_DURATION_H

#include <stdbool.h>
#include <stdint.h>

/*
 * "90s", "15m", "12h", "7d": a whole number of 1 or more and its unit, nothing before, between or
 * after, at most `max_s` seconds. False where `text` is none of this; `out_s` is untouched then.
 */
bool duration_read(const char *text, int64_t max_s, int64_t *out_s);

#endif
