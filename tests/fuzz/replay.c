/* Runs one fuzzer on the files of folders: fuzz_…_replay FOLDER… As a test, without a fuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES_MAX = 1024 * 1024, PATH_BYTES = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

/* In memory of its own size, so that a read beyond the end shows. */
static void run_file(const char *path)
{
	static uint8_t bytes[BYTES_MAX];
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(1);
	}
	size_t len = fread(bytes, 1, sizeof bytes, f);
	fclose(f);
	uint8_t *at = malloc(len + 1);
	if (!at)
		abort();
	memcpy(at, bytes, len);
	printf("%s\n", path); /* the last one named is the one that failed */
	LLVMFuzzerTestOneInput(at, len);
	free(at);
}

static size_t run_folder(const char *path)
{
	DIR *d = opendir(path);
	size_t n = 0;

	if (!d) {
		perror(path);
		exit(1);
	}
	for (struct dirent *x = readdir(d); x; x = readdir(d)) {
		char file[PATH_BYTES];
		if (x->d_name[0] == '.')
			continue;
		snprintf(file, sizeof file, "%s/%s", path, x->d_name);
		run_file(file);
		n++;
	}
	closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	size_t n = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++)
		n += run_folder(argv[i]);
	printf("%zu inputs\n", n);
	return n ? 0 : 1;
}
