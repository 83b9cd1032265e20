/* Helpers of the tests of this folder: hex and the JSON files in tests/vectors. */
#ifndef NEAP_PROTOCOL_TESTING_H
#define NEAP_PROTOCOL_TESTING_H

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/bytes.h"

/* tests/vectors/<name>; the caller decrefs. Aborts the test program when it cannot be read. */
static inline json_t *load_vectors(const char *name)
{
	char path[512];
	json_error_t why;

	snprintf(path, sizeof path, "%s/tests/vectors/%s", NEAP_SOURCE_DIR, name);
	json_t *v = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	if (!v)
		fprintf(stderr, "%s: %s\n", path, why.text);
	assert(v);
	return v;
}

static inline const char *text_of(const json_t *object, const char *member)
{
	const char *s = json_string_value(json_object_get(object, member));

	assert(s);
	return s;
}

static inline uint64_t uint_of(const json_t *object, const char *member)
{
	assert(json_is_integer(json_object_get(object, member)));
	return (uint64_t)json_integer_value(json_object_get(object, member));
}

static inline uint8_t nibble(char c)
{
	const char *digits = "0123456789abcdef", *at = strchr(digits, c);

	assert(c && at);
	return (uint8_t)(at - digits);
}

/* Decodes a member of hex digits into `out`; returns the bytes. */
static inline size_t hex_of(const json_t *object, const char *member, uint8_t *out, size_t max)
{
	const char *s = text_of(object, member);
	size_t n = strlen(s) / 2;

	assert(n <= max);
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(nibble(s[2 * i]) << 4 | nibble(s[2 * i + 1]));
	return n;
}

#endif
