/* neap init: log in, bind this database. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "common/file.h"
#include "device/cmd/cmd.h"
#include "device/shell/bind.h"

enum { PASSWORD_MAX = 1024 };

enum { OPT_SERVER = 256, OPT_USER, OPT_DEVICE, OPT_CA, OPT_PASSWORD_FILE };

struct args {
	const char *db, *server, *user, *device, *ca_file, *password_file;
};

/* One line from the terminal without echo, or from a pipe. */
static int ask_password(struct buf *out, struct err *e)
{
	struct termios before, quiet;
	bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
	char line[PASSWORD_MAX];

	if (terminal) {
		quiet = before;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		fprintf(stderr, "password: ");
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	}
	const char *got = fgets(line, sizeof line, stdin);
	if (terminal) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
		fputc('\n', stderr);
	}
	int rc = got ? buf_put(out, line, strlen(line))
		     : err_set(e, NE_USAGE,
			       "no password was given; type it, or give --password-file F");
	explicit_bzero(line, sizeof line);
	return rc;
}

/* A file named by an option: the sentence names the option, too. */
static int read_option(const char *option, const char *file, struct buf *out, struct err *e)
{
	struct err why = {0};
	int rc = file_read(file, out, &why);

	return rc ? err_set(e, rc, "%s: %s", option, why.text) : NE_OK;
}

static int read_password(const struct args *a, struct buf *out, struct err *e)
{
	TRY(a->password_file ? read_option("--password-file", a->password_file, out, e)
			     : ask_password(out, e));
	while (out->len > 0 && (out->at[out->len - 1] == '\n' || out->at[out->len - 1] == '\r'))
		out->len--;
	if (out->len == 0)
		return err_set(e, NE_USAGE, "the password is empty");
	TRY(buf_terminate(out));
	return strlen((char *)out->at) == out->len
		       ? NE_OK
		       : err_set(e, NE_USAGE, "the password has a NUL byte in it");
}

static int read_ca(const struct args *a, struct buf *out, struct err *e)
{
	if (!a->ca_file)
		return NE_OK;
	TRY(read_option("--ca", a->ca_file, out, e));
	return buf_terminate(out);
}

/* Before the server takes down a new device: the database can be made where it is said to be. */
static int check_folder(const char *db, struct err *e)
{
	char dir[PATH_MAX] = ".";
	const char *slash = strrchr(db, '/');
	struct stat st;

	if (slash)
		snprintf(dir, sizeof dir, "%.*s", (int)(slash == db ? 1 : slash - db), db);
	if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
		return err_set(e, NE_NOT_FOUND, "there is no folder '%s'; make it first", dir);
	return NE_OK;
}

static int bind(const struct args *a, struct err *e)
{
	struct buf password = {.max = PASSWORD_MAX}, ca = {.max = LOGIN_PEM_MAX};
	int rc = check_folder(a->db, e);

	if (!rc)
		rc = read_ca(a, &ca, e);
	if (!rc)
		rc = read_password(a, &password, e);
	if (!rc) {
		const struct bind_request request = {
			.db = a->db,
			.server = a->server,
			.user = a->user,
			.device = a->device,
			.password = (const char *)password.at,
			.ca_pem = a->ca_file ? (const char *)ca.at : NULL,
		};
		rc = bind_database(&request, e);
	}
	secret_free(&password);
	buf_free(&ca);
	return rc;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		{"server", required_argument, NULL, OPT_SERVER},
		{"user", required_argument, NULL, OPT_USER},
		{"device", required_argument, NULL, OPT_DEVICE},
		{"ca", required_argument, NULL, OPT_CA},
		{"password-file", required_argument, NULL, OPT_PASSWORD_FILE},
		CMD_HELP,
		{0},
	};
	struct args a = {0};
	struct err e = {0};
	int o, code;

	while ((o = cmd_option(&cmd_init, argc, argv, options, &code)) != -1) {
		switch (o) {
		case OPT_SERVER:
			a.server = optarg;
			break;
		case OPT_USER:
			a.user = optarg;
			break;
		case OPT_DEVICE:
			a.device = optarg;
			break;
		case OPT_CA:
			a.ca_file = optarg;
			break;
		case OPT_PASSWORD_FILE:
			a.password_file = optarg;
			break;
		default:
			return code;
		}
	}
	if (argc - optind != 1)
		return cmd_usage(&cmd_init, "give one database");
	a.db = argv[optind];
	if (!a.server || !a.user || !a.device)
		return cmd_usage(&cmd_init, "--server, --user and --device are needed");
	int rc = bind(&a, &e);
	if (rc)
		return cmd_fail(&cmd_init, rc, &e);
	printf("%s is bound to user %s, device %s. Next: neap track %s TABLE\n", a.db, a.user,
	       a.device, a.db);
	return 0;
}

const struct command cmd_init = {
	.name = "init",
	.run = run,
	.line = "log in and bind a database to an account",
	.help = "neap init DB --server URL --user U --device D [--ca F] [--password-file F]\n\n"
		"Logs in at the server and binds the database (made if it is missing) to user U, "
		"as\n"
		"device D. Keys and tokens go to DB.neap-secret, readable by you alone; the "
		"password is\n"
		"not kept. Run it again for the same user whenever a login is required: what is "
		"pending\n"
		"stays, and a running agent takes up the new login.\n\n"
		"  --server URL       https://host[:port] of the login server\n"
		"  --user U           the account: a data set and the devices that share it\n"
		"  --device D         this device's name, one of its own per device of the user;\n"
		"                     ids are letters, digits, '.', '_' and '-', at most 64\n"
		"  --ca F             PEM file with the CA that signed the login server's "
		"certificate;\n"
		"                     without it the system's certificates are trusted\n"
		"  --password-file F  read the password from F instead of asking for it\n",
};
