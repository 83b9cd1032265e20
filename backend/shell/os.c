#include "backend/shell/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static uint64_t clock_ms(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t wall_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

uint64_t mono_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

struct timespec mono_after_ms(uint64_t ms)
{
	uint64_t at = mono_ms() + ms;
	return (struct timespec){(time_t)(at / 1000), (long)(at % 1000) * 1000000};
}

void os_random(void *ctx, void *out, size_t len)
{
	uint8_t *at = out;

	(void)ctx;
	while (len) {
		ssize_t n = getrandom(at, len, 0);
		if (n <= 0) {
			fprintf(stderr, "neapd: the system gives no randomness; stopping\n");
			abort();
		}
		at += n;
		len -= (size_t)n;
	}
}

uint64_t os_random_upto(uint64_t upto)
{
	uint64_t r;
	os_random(NULL, &r, sizeof r);
	return upto == UINT64_MAX ? r : r % (upto + 1);
}
