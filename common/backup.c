#define _GNU_SOURCE /* renameat2 */
#include "common/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/db.h"
#include "common/file.h"

enum { STEP_PAGES = 256, BUSY_MS = 5000, PATH_BYTES = 4096 };

struct copying {
	struct db *from, *to;
	void (*progress)(void *ctx, int pages_done, int pages);
	void *ctx;
};

/*
 * One snapshot for all steps: without a transaction of ours SQLite would begin anew whenever
 * someone else has written.
 */
static int hold_snapshot(struct db *db, struct err *e)
{
	int64_t version;

	TRY(db_exec(db, "BEGIN", e));
	return db_int(db, "PRAGMA schema_version", 0, &version, e);
}

static int copy_pages(struct copying *c, struct err *e)
{
	sqlite3 *to = db_handle(c->to);
	sqlite3_backup *b = sqlite3_backup_init(to, "main", db_handle(c->from), "main");
	int rc;

	if (!b)
		return db_error(c->to, e, "beginning the copy");
	do {
		rc = sqlite3_backup_step(b, STEP_PAGES);
		if (c->progress)
			c->progress(c->ctx,
				    sqlite3_backup_pagecount(b) - sqlite3_backup_remaining(b),
				    sqlite3_backup_pagecount(b));
	} while (rc == SQLITE_OK);
	int end = sqlite3_backup_finish(b);
	if (rc == SQLITE_DONE && end == SQLITE_OK)
		return NE_OK;
	rc = rc == SQLITE_DONE ? end : rc;
	int code = ne_from_sqlite(rc);
	return err_set(e, code ? code : NE_INTERNAL, "copying the database: %s",
		       sqlite3_errstr(rc));
}

static int copy_into(struct copying *c, const char *from, const char *part, struct err *e)
{
	int rc = db_open(&c->from, from, DB_KEEP_JOURNAL, NULL, BUSY_MS, e);

	if (!rc)
		rc = hold_snapshot(c->from, e);
	if (!rc)
		rc = db_open(&c->to, part, DB_KEEP_JOURNAL, NULL, BUSY_MS, e);
	/* A copy that is not finished is removed: its journal need not last, and it is synced at
	 * the end. */
	if (!rc)
		rc = db_exec(c->to, "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF", e);
	if (!rc)
		rc = copy_pages(c, e);
	db_close(c->to);
	db_close(c->from);
	return rc;
}

/* Gives the complete file its name unless that is taken. */
static int publish(const char *part, const char *to, struct err *e)
{
	int fd = open(part, O_RDONLY | O_CLOEXEC);
	int bad = fd < 0 || fsync(fd);

	if (fd >= 0)
		close(fd);
	if (bad)
		return err_set(e, NE_DISK, "cannot sync \"%s\": %s", part, strerror(errno));
	if (renameat2(AT_FDCWD, part, AT_FDCWD, to, RENAME_NOREPLACE)) {
		int code = errno == EEXIST ? NE_EXISTS : NE_DISK;
		return err_set(e, code, "cannot name the copy \"%s\": %s", to, strerror(errno));
	}
	return file_sync_folder(to, e);
}

int backup_copy(const char *from, const char *to,
		void (*progress)(void *ctx, int pages_done, int pages), void *ctx, struct err *e)
{
	struct copying c = {.progress = progress, .ctx = ctx};
	char part[PATH_BYTES];

	if (snprintf(part, sizeof part, "%s.partial", to) >= (int)sizeof part)
		return err_set(e, NE_USAGE, "the path is too long: %.60s…", to);
	if (access(from, F_OK))
		return err_set(e, NE_NOT_FOUND, "there is no database \"%s\"", from);
	if (!access(to, F_OK))
		return err_set(e, NE_EXISTS,
			       "\"%s\" exists already and is not overwritten; give another name",
			       to);
	int rc = file_create(part, slice_of("", 0), FILE_SECRET, e);
	if (rc == NE_EXISTS)
		return err_set(
			e, rc,
			"\"%s\" exists: another backup is running, or one was killed; remove "
			"it in that case",
			part);
	TRY(rc);
	rc = copy_into(&c, from, part, e);
	if (!rc)
		rc = publish(part, to, e);
	if (rc)
		unlink(part);
	return rc;
}
