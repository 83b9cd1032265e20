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

enum { OPT_SERVER = 256, OPT_USER, OPT_DEVICE, OPT_CA, OPT_PASSWORD_FILE, OPT_CODE };

struct args {
	const char *db, *server, *user, *device, *ca_file, *password_file, *code;
};

/* One line from the terminal without echo, or from a pipe. */
static int ask(const char *what, struct buf *out, struct err *e)
{
	struct termios before, quiet;
	bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
	char line[PASSWORD_MAX];

	if (terminal) {
		quiet = before;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		fprintf(stderr, "%s: ", what);
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	}
	const char *got = fgets(line, sizeof line, stdin);
	if (terminal) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
		fputc('\n', stderr);
	}
	int rc = got ? buf_put(out, line, strlen(line))
		     : err_set(e, NE_USAGE, "no %s was given; type it, or see neap init --help",
			       what);
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

static bool wants_code(const struct args *a)
{
	return a->code != NULL;
}

/* The password, or the code: from where the options say. */
static int read_secret(const struct args *a, struct buf *out, struct err *e)
{
	const char *what = wants_code(a) ? "code" : "password";

	if (wants_code(a) && strcmp(a->code, "-") != 0)
		TRY(buf_put(out, a->code, strlen(a->code)));
	else if (a->password_file)
		TRY(read_option("--password-file", a->password_file, out, e));
	else
		TRY(ask(what, out, e));
	while (out->len > 0 && (out->at[out->len - 1] == '\n' || out->at[out->len - 1] == '\r'))
		out->len--;
	if (out->len == 0)
		return err_set(e, NE_USAGE, "the %s is empty", what);
	TRY(buf_terminate(out));
	return strlen((char *)out->at) == out->len
		       ? NE_OK
		       : err_set(e, NE_USAGE, "the %s has a NUL byte in it", what);
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

static int bind(const struct args *a, struct bound *bound, struct err *e)
{
	struct buf secret = {.max = PASSWORD_MAX}, ca = {.max = LOGIN_PEM_MAX};
	int rc = check_folder(a->db, e);

	if (!rc)
		rc = read_ca(a, &ca, e);
	if (!rc)
		rc = read_secret(a, &secret, e);
	if (!rc) {
		const struct bind_request request = {
			.db = a->db,
			.server = a->server,
			.user = a->user,
			.device = a->device,
			.password = wants_code(a) ? NULL : (const char *)secret.at,
			.code = wants_code(a) ? (const char *)secret.at : NULL,
			.ca_pem = a->ca_file ? (const char *)ca.at : NULL,
		};
		rc = bind_database(&request, bound, e);
	}
	secret_free(&secret);
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
		{"code", required_argument, NULL, OPT_CODE},
		CMD_HELP,
		{0},
	};
	struct bound bound;
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
		case OPT_CODE:
			a.code = optarg;
			break;
		default:
			return code;
		}
	}
	if (argc - optind != 1)
		return cmd_usage(&cmd_init, "give one database");
	a.db = argv[optind];
	if (a.code && (a.user || a.device || a.password_file))
		return cmd_usage(&cmd_init, "--code says for whom it is: no --user, --device or "
					    "--password-file beside it");
	if (!a.server || (!a.code && (!a.user || !a.device)))
		return cmd_usage(&cmd_init,
				 "--server is needed, and --code, or --user and --device");
	int rc = bind(&a, &bound, &e);
	if (rc)
		return cmd_fail(&cmd_init, rc, &e);
	printf("%s is bound to user %s, device %s. Next: neap track %s TABLE\n", a.db,
	       bound.user.at, bound.device.at, a.db);
	return 0;
}

const struct command cmd_init = {
	.name = "init",
	.run = run,
	.line = "log in and bind a database to an account",
	.help = "neap init DB --server URL --user U --device D [--ca F] [--password-file F]\n"
		"       neap init DB --server URL --code C [--ca F]\n\n"
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
		"  --password-file F  read the password from F instead of asking for it\n"
		"  --code C           a one-time code instead of user, device and password, which "
		"the\n"
		"                     operator gets by `neapd device enrol`; \"-\" reads it from "
		"standard\n"
		"                     input, so that it does not show in the list of processes\n",
};
