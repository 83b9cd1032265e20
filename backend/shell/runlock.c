#include "backend/shell/runlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int runlock_take(const struct config *c, int *out, struct err *e)
{
	char path[CONFIG_PATH + 16];

	if (mkdir(c->run_dir, 0700) && errno != EEXIST)
		return err_set(e, NE_DISK, "%s cannot be made: %s", c->run_dir, strerror(errno));
	snprintf(path, sizeof path, "%s/neapd.lock", c->run_dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(e, NE_DISK, "%s cannot be made: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		*out = fd;
		return NE_OK;
	}
	close(fd);
	return err_set(e, NE_LOCKED,
		       "a neapd is already running with this configuration (%s is locked)", path);
}
