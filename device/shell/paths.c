#include "device/shell/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/db.h"

static bool append(const char *db, const char *suffix, char out[static PATH_MAX])
{
	return snprintf(out, PATH_MAX, "%s%s", db, suffix) < PATH_MAX;
}

int paths_of(const char *db, struct paths *out, struct err *e)
{
	struct paths p;
	struct stat st;

	if (!realpath(db, p.db) || stat(p.db, &st) != 0)
		return err_set(e, NE_NOT_FOUND,
			       "there is no database '%s' (%s); `neap init` makes one", db,
			       strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, NE_USAGE, "'%s' is not a file", db);
	if (!db_is_database(p.db))
		return err_set(e, NE_NOT_FOUND, "'%s' is not a SQLite database", db);
	const char *slash = strrchr(p.db, '/');
	snprintf(p.dir, sizeof p.dir, "%.*s", (int)(slash == p.db ? 1 : slash - p.db), p.db);
	snprintf(p.name, sizeof p.name, "%.*s", NAME_MAX, slash + 1);
	if (!append(p.db, ".neap-secret", p.secret) || !append(p.db, ".neap-lock", p.lock) ||
	    !append(p.db, ".neap-sock", p.sock) || strlen(p.name) > NAME_MAX - 20)
		return err_set(e, NE_USAGE, "the path of '%s' is too long", db);
	*out = p;
	return NE_OK;
}

static int locked(const struct paths *p, int fd, struct err *e)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return err_set(e, NE_LOCKED,
		       "another engine (process %ld) works on %s; one database takes one engine: "
		       "stop that one first",
		       strtol(text, NULL, 10), p->db);
}

/* The process id in it is for the message only; the lock itself is the kernel's. */
static void sign(int fd)
{
	char text[32];
	int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());

	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
		return;
}

int lock_take(const struct paths *p, int wait_ms, int *fd, struct err *e)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	int f = open(p->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (f < 0)
		return err_set(e, NE_DISK, "the lock file %s cannot be opened: %s", p->lock,
			       strerror(errno));
	while (flock(f, LOCK_EX | LOCK_NB) != 0) {
		if (wait_ms <= 0 || (errno != EWOULDBLOCK && errno != EINTR)) {
			int rc = locked(p, f, e);
			close(f);
			return rc;
		}
		nanosleep(&pause, NULL);
		wait_ms -= 20;
	}
	sign(f);
	*fd = f;
	return NE_OK;
}

void lock_drop(int fd)
{
	if (fd >= 0)
		close(fd);
}
