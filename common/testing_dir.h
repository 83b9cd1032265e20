/*
 * Where tests put their files: in memory where that is possible, as a commit on a disk waits for it
 * to sync.
 */
#ifndef NEAP_COMMON_TESTING_DIR_H
#define NEAP_COMMON_TESTING_DIR_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Makes a folder whose name begins with `name`, its path in out; ends the program if it cannot. */
static inline void testing_dir(const char *name, char *out, size_t size)
{
	const char *root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	int n = snprintf(out, size, "%s/%s-XXXXXX", root, name);

	if (n < 0 || (size_t)n >= size || !mkdtemp(out)) {
		perror(out);
		abort();
	}
}

#endif
