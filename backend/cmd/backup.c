#include "common/backup.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "backend/cmd/cmd.h"

enum { PROGRESS_AFTER_S = 2, BAR = 30 };

struct bar {
	time_t began;
	bool terminal, drawn;
	int pages;
};

static time_t steady_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static void draw(void *ctx, int done, int pages)
{
	struct bar *b = ctx;
	char cells[BAR + 1];

	b->pages = pages;
	if (!b->terminal || pages <= 0 || steady_s() - b->began < PROGRESS_AFTER_S)
		return;
	int full = (int)((int64_t)done * BAR / pages);
	for (int i = 0; i < BAR; i++)
		cells[i] = i < full ? '#' : '.';
	cells[BAR] = '\0';
	fprintf(stderr, "\r[%s] %d of %d pages\033[K", cells, done, pages);
	b->drawn = true;
}

int cmd_backup(const struct command *self, int argc, char **argv, struct err *e)
{
	struct bar bar = {.began = steady_s(), .terminal = isatty(STDERR_FILENO)};
	struct config c;
	struct args args;

	TRY(cmd_args(self, argc, argv, "a", 1, 1, &args, e));
	TRY(cmd_config(&args, &c, e));
	const char *from = args.auth ? c.auth_db : c.store;
	int rc = backup_copy(from, args.operand[0], draw, &bar, e);
	if (bar.drawn)
		fprintf(stderr, "\r\033[K");
	if (!rc)
		printf("copied %s to %s, %d pages\n", from, args.operand[0], bar.pages);
	return rc;
}
