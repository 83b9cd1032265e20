#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "backend/cmd/cmd.h"
#include "common/file.h"

enum { LINE_LEN = PASSWORD_MAX + 2, FILE_MAX_LEN = 4096 };

/* The first line, without its end. */
static void cut_line(struct buf *b)
{
	const uint8_t *end = b->len ? memchr(b->at, '\n', b->len) : NULL;

	if (end)
		b->len = (size_t)(end - b->at);
	if (b->len && b->at[b->len - 1] == '\r')
		b->len--;
}

static int read_line(struct buf *out, struct err *e)
{
	char line[LINE_LEN];

	/* Not through stdio, whose buffer nobody wipes. */
	size_t len = 0;
	while (len < sizeof line && read(STDIN_FILENO, line + len, 1) == 1 && line[len] != '\n')
		len++;
	int rc = len == sizeof line ? NE_LIMIT : buf_put(out, line, len);
	explicit_bzero(line, sizeof line);
	if (rc)
		return err_set(e, NE_USAGE, "the password is longer than %d bytes",
			       (int)PASSWORD_MAX);
	cut_line(out);
	return 0;
}

static int prompt(const char *text, struct buf *out, struct err *e)
{
	struct termios old, quiet;

	if (tcgetattr(STDIN_FILENO, &old))
		return err_set(e, NE_USAGE,
			       "cannot turn the terminal's echo off; use --password-file");
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	fputs(text, stderr);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	int rc = read_line(out, e);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
	fputs("\n", stderr);
	return rc;
}

int cmd_password(const struct args *args, bool again, struct buf *out, struct err *e)
{
	struct buf second = {.max = FILE_MAX_LEN};

	out->max = FILE_MAX_LEN;
	if (args->password_file) {
		TRY(file_read(args->password_file, out, e));
		cut_line(out);
		return 0;
	}
	if (!isatty(STDIN_FILENO))
		return read_line(out, e);
	TRY(prompt("Password: ", out, e));
	if (!again)
		return 0;
	int rc = prompt("The same again: ", &second, e);
	if (!rc && !slice_eq(buf_slice(out), buf_slice(&second)))
		rc = err_set(e, NE_USAGE,
			     "these were two different passwords; nothing was changed");
	secret_free(&second);
	return rc;
}
