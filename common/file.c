#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_LEN = 4096 };

static int failed(struct err *e, const char *doing, const char *path)
{
	int code = errno == ENOENT || errno == ENOTDIR ? NE_NOT_FOUND
		   : errno == EEXIST		       ? NE_EXISTS
						       : NE_DISK;

	return err_set(e, code, "cannot %s \"%s\": %s", doing, path, strerror(errno));
}

static int write_all(int fd, struct slice s)
{
	while (s.len) {
		ssize_t n = write(fd, s.at, s.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		s.at += n;
		s.len -= (size_t)n;
	}
	return 0;
}

/* A rename or a new name is durable only once its folder is. */
static int sync_folder(const char *path)
{
	char folder[PATH_LEN];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	if (slash == path)
		len = 1;
	memcpy(folder, path, len);
	folder[len] = 0;
	int fd = open(len ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	int rc = fsync(fd);
	close(fd);
	return rc;
}

/* The file is `path` exactly as given: it must not exist. */
static int write_new(const char *path, struct slice content, mode_t mode, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);

	if (fd < 0)
		return failed(e, "create", path);
	/* fchmod: the umask must not decide, neither to narrow a public file nor to widen. */
	int bad = fchmod(fd, mode) || write_all(fd, content) || fsync(fd);
	int rc = bad ? failed(e, "write", path) : 0;
	if (close(fd) && !rc)
		rc = failed(e, "write", path);
	if (rc)
		unlink(path);
	return rc;
}

static int check_length(const char *path, struct err *e)
{
	if (strlen(path) > PATH_LEN - 64)
		return err_set(e, NE_USAGE, "the path is too long: %.60s…", path);
	return 0;
}

int file_sync_folder(const char *path, struct err *e)
{
	return sync_folder(path) ? failed(e, "sync the folder of", path) : 0;
}

int file_create(const char *path, struct slice content, enum file_mode mode, struct err *e)
{
	TRY(check_length(path, e));
	TRY(write_new(path, content, (mode_t)mode, e));
	int rc = file_sync_folder(path, e);
	if (rc)
		unlink(path);
	return rc;
}

int file_replace(const char *path, struct slice content, enum file_mode mode, struct err *e)
{
	char temp[PATH_LEN];

	TRY(check_length(path, e));
	snprintf(temp, sizeof temp, "%s.%ld.new", path, (long)getpid());
	unlink(temp); /* of a process with our id that died here */
	TRY(write_new(temp, content, (mode_t)mode, e));
	if (rename(temp, path)) {
		int rc = failed(e, "replace", path);
		unlink(temp);
		return rc;
	}
	return file_sync_folder(path, e);
}

static int read_fd(int fd, const char *path, struct buf *out, struct err *e)
{
	uint8_t chunk[4096];
	int rc = 0;

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = failed(e, "read", path);
		if (n <= 0)
			break;
		rc = buf_put(out, chunk, (size_t)n);
		if (rc == NE_LIMIT)
			err_set(e, rc, "\"%s\" is larger than the %zu bytes it may have", path,
				out->max);
		if (rc)
			break;
	}
	explicit_bzero(chunk, sizeof chunk);
	return rc;
}

int file_read(const char *path, struct buf *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return failed(e, "open", path);
	int rc = read_fd(fd, path, out, e);
	close(fd);
	return rc;
}

static int check_secret(int fd, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return failed(e, "look at", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, NE_USAGE, "\"%s\" holds secrets and must be a regular file",
			       path);
	if (st.st_uid != geteuid() && geteuid() != 0)
		return err_set(e, NE_USAGE,
			       "\"%s\" holds secrets and belongs to another user; "
			       "chown it",
			       path);
	if (st.st_mode & 077)
		return err_set(e, NE_USAGE,
			       "\"%s\" holds secrets but others may read it (mode %03o); "
			       "chmod 600 it",
			       path, (unsigned)st.st_mode & 0777U);
	return 0;
}

static int open_secret(const char *path, int *fd, struct err *e)
{
	*fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (*fd < 0 && errno == ELOOP)
		return err_set(e, NE_USAGE, "\"%s\" holds secrets and must not be a symbolic link",
			       path);
	if (*fd < 0)
		return failed(e, "open", path);
	int rc = check_secret(*fd, path, e);
	if (rc)
		close(*fd);
	return rc;
}

int file_check_secret(const char *path, struct err *e)
{
	int fd;

	TRY(open_secret(path, &fd, e));
	close(fd);
	return 0;
}

int file_read_secret(const char *path, struct buf *out, struct err *e)
{
	struct stat st;
	int fd, rc = 0;

	TRY(open_secret(path, &fd, e));
	/* Room for all at once: growing would leave a copy in freed memory. */
	if (!rc && !fstat(fd, &st) && (uint64_t)st.st_size <= out->max)
		rc = buf_reserve(out, (size_t)st.st_size + 1 <= out->max ? (size_t)st.st_size + 1
									 : (size_t)st.st_size);
	if (!rc)
		rc = read_fd(fd, path, out, e);
	close(fd);
	return rc;
}

int file_mkdir(const char *path, struct err *e)
{
	TRY(check_length(path, e));
	if (mkdir(path, 0700))
		return failed(e, "create the folder", path);
	if (chmod(path, 0700) || sync_folder(path))
		return failed(e, "create the folder", path);
	return 0;
}

int file_follow_folder(const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_LEN];
	struct stat st;

	if (geteuid() != 0)
		return 0;
	TRY(check_length(path, e));
	snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
		 slash ? path : ".");
	if (stat(folder, &st) || lchown(path, st.st_uid, st.st_gid))
		return failed(e, "give to its folder's owner", path);
	return 0;
}

void secret_free(struct buf *b)
{
	if (b->at)
		explicit_bzero(b->at, b->cap);
	buf_free(b);
}
