/* Topics: what is parsed is written back as it was; no wildcard or blank gets through. */
#include <assert.h>
#include <string.h>

#include "protocol/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
	struct topic t;
	char text[TOPIC_MAX];

	if (topic_parse(slice_of(at, len), &t, NULL))
		return 0;
	assert(topic_write(&t, text, NULL) == 0);
	assert(slice_eq(slice_str(text), slice_of(at, len)));
	assert(!memchr(at, '+', len) && !memchr(at, '#', len) && !memchr(at, 0, len));
	return 0;
}
