/*
 * What one input may cost: 100 ms. libFuzzer's -timeout is whole seconds of the clock, in which a
 * busy machine may do nothing, so this counts the processor's time. Sanitizers make it ten times as
 * long; scripts/fuzz therefore finds what is far above, and the replay of the corpus, which has
 * none, what is above at all.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef NEAP_FUZZ_SANITIZED
enum { LIMIT_MS = 1000 };
#else
enum { LIMIT_MS = 100 };
#endif

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);
int fuzz_input(const uint8_t *at, size_t len); /* the fuzzer's own, renamed when it is compiled */

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
	static bool begun; /* the first one makes what all use */
	double start = now_ms();
	int rc = fuzz_input(at, len);
	double took = now_ms() - start;

	if (begun && took > LIMIT_MS) {
		fprintf(stderr, "an input of %zu bytes took %.0f ms, more than %d\n", len, took,
			LIMIT_MS);
		abort();
	}
	begun = true;
	return rc;
}
