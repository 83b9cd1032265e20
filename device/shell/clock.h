/* The two clocks: wall time, as wrong as the device's, and a steady one for deadlines. */
#ifndef NEAP_DEVICE_SHELL_CLOCK_H
#define NEAP_DEVICE_SHELL_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_read_ms(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline uint64_t wall_ms(void)
{
	return clock_read_ms(CLOCK_REALTIME);
}

/* CLOCK_BOOTTIME: a suspended device has waited, too. */
static inline uint64_t mono_ms(void)
{
	return clock_read_ms(CLOCK_BOOTTIME);
}

#endif
