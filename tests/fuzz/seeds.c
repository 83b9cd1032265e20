/*
 * Writes the vectors as seeds of the fuzzers: fuzz-seeds CORPUS makes CORPUS/<fuzzer>/<vector>.
 * Existing files are overwritten; what a fuzzer found itself has other names and stays.
 */
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { BYTES_MAX = 4096 };

struct source {
	const char *file, *list, *fuzzer;
	const char *prefix; /* first bytes, where the fuzzer takes some that choose */
};

static const struct source sources[] = {
	{"frames.json", "frames", "fuzz_frame", ""},
	{"frames.json", "frames", "fuzz_ingest", "\x12\xff\xff"},
	{"frames.json", "frames", "fuzz_parts", "\7"},
	{"rows.json", "rows", "fuzz_rows", "\2"},
	{"shapes.json", "shapes", "fuzz_rows", "\1"},
};

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "fuzz-seeds: %s: %s\n", what, why);
	exit(1);
}

static void make_folder(const char *path)
{
	if (mkdir(path, 0777) && errno != EEXIST)
		fail(path, strerror(errno));
}

static size_t from_hex(const char *hex, uint8_t *out)
{
	size_t n = strlen(hex) / 2;
	if (n > BYTES_MAX)
		fail("a vector", "longer than expected");
	for (size_t i = 0; i < n; i++) {
		unsigned v;
		if (sscanf(hex + 2 * i, "%2x", &v) != 1)
			fail("a vector", "not hex");
		out[i] = (uint8_t)v;
	}
	return n;
}

static void write_seed(const char *path, const struct source *s, const char *hex)
{
	uint8_t bytes[BYTES_MAX];
	size_t n = from_hex(hex, bytes);
	FILE *f = fopen(path, "wb");
	if (!f)
		fail(path, strerror(errno));
	fputs(s->prefix, f);
	fwrite(bytes, 1, n, f);
	if (fclose(f))
		fail(path, strerror(errno));
}

static void write_all(const char *corpus, const struct source *s)
{
	char path[1024];
	json_error_t why;
	json_t *one;
	size_t i;
	snprintf(path, sizeof path, "%s/tests/vectors/%s", NEAP_SOURCE_DIR, s->file);
	json_t *v = json_load_file(path, 0, &why);
	if (!v)
		fail(path, why.text);
	snprintf(path, sizeof path, "%s/%s", corpus, s->fuzzer);
	make_folder(path);
	json_array_foreach(json_object_get(v, s->list), i, one)
	{
		snprintf(path, sizeof path, "%s/%s/%s-%zu", corpus, s->fuzzer, s->list, i);
		write_seed(path, s, json_string_value(json_object_get(one, "hex")));
	}
	json_decref(v);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		fail("usage", "fuzz-seeds CORPUS");
	make_folder(argv[1]);
	for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
		write_all(argv[1], &sources[i]);
	return 0;
}
