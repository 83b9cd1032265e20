/* Time and randomness for the cores, which have none of their own. */
#ifndef NEAP_BACKEND_SHELL_OS_H
#define NEAP_BACKEND_SHELL_OS_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

uint64_t wall_ms(void);
uint64_t mono_ms(void);
/* mono_ms() + `ms` as the absolute time a condition of os_cond_init() waits until. */
struct timespec mono_after_ms(uint64_t ms);
/* Fills `out` from the system's generator; ends the process if there is none. `ctx` is unused. */
void os_random(void *ctx, void *out, size_t len);
/* Uniform in [0, upto]. */
uint64_t os_random_upto(uint64_t upto);

#endif
