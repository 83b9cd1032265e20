#include "protocol/stamp.h"

enum { COUNTER_BITS = 16 };

uint64_t stamp_from_ms(uint64_t ms)
{
	return ms > ((uint64_t)STAMP_MAX >> COUNTER_BITS) ? (uint64_t)STAMP_MAX
							  : ms << COUNTER_BITS;
}

uint64_t stamp_ms(uint64_t stamp)
{
	return stamp >> COUNTER_BITS;
}

uint64_t stamp_next(uint64_t last, uint64_t now_ms)
{
	uint64_t now = stamp_from_ms(now_ms);

	if (last >= (uint64_t)STAMP_MAX)
		return (uint64_t)STAMP_MAX;
	return now > last ? now : last + 1;
}

int reg_cmp(struct reg a, struct reg b)
{
	if (a.stamp != b.stamp)
		return a.stamp < b.stamp ? -1 : 1;
	if (a.site != b.site)
		return a.site < b.site ? -1 : 1;
	return 0;
}
