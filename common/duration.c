#include "common/duration.h"

#include <stddef.h>
#include <stdlib.h>

bool duration_read(const char *text, int64_t max_s, int64_t *out_s)
{
	static const struct {
		char unit;
		int64_t s;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	char *end;
	/* Out of range it is the greatest there is, which no bound allows. */
	long long n = strtoll(text, &end, 10);

	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
		if (*text >= '0' && *text <= '9' && end[0] == units[i].unit && !end[1] && n >= 1 &&
		    n <= max_s / units[i].s) {
			*out_s = n * units[i].s;
			return true;
		}
	return false;
}
