/* neapd: the backend of Neap, and its admin commands. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "backend/cmd/cmd.h"

static const struct command commands[] = {
	{"init", cmd_init, "DIR [options]", "write a private set-up: config, keys, certificates",
	 "  --login-port N       HTTPS login [8443]; 0 finds a free port\n"
	 "  --mqtt-port N        the broker's port for devices [8883]; 0 finds a free one\n"
	 "  --backend-port N     the broker's port for neapd [8884]; 0 finds a free one\n"
	 "  --bind ADDRESS       what all of them listen on [127.0.0.1]\n"
	 "  --host NAME          a name by which devices reach the login server, beside localhost\n"
	 "                       and 127.0.0.1; goes into its certificate (up to 4)\n"
	 "  --broker-host NAME   where devices and neapd find the broker [127.0.0.1]\n"
	 "  --broker-user NAME   Unix user of the broker; gets DIR/broker\n"
	 "  --plugin FILE        the broker's plugin [neap_auth.so beside this program]\n"
	 "  --token-life SECONDS of access tokens [3600]\n\n"
	 "Prints the commands that start the broker and the backend, make an account and bind a\n"
	 "device. Nothing outside DIR is touched, and an existing set-up is never overwritten.\n"},
	{"serve", cmd_serve, "", "run the backend until SIGTERM",
	 "Logs one line an event to stderr. Starts without a broker, too, and goes on trying.\n\n"},
	{"user", cmd_user, "add|passwd|list|quota|remove [NAME]", "accounts",
	 "  add NAME      a new account; asks for its password\n"
	 "  passwd NAME   a new password; every device of the account has to log in again\n"
	 "  list          all accounts\n"
	 "  quota [NAME]  rows and bytes that the account's data takes in the store, and may take\n"
	 "  remove NAME   the account and its devices; its data in the store stays\n"
	 "  --rows N, --bytes N   of quota: from now on; bytes also as 500M or 20G; none: no "
	 "limit;\n"
	 "                        default: what neapd.conf says\n"
	 "  --recount             of quota: count the account's rows one by one; commits wait\n"
	 "  --json                of quota: users[] (user, rows, rows_quota, bytes, bytes_quota; "
	 "null:\n"
	 "                        no limit)\n"
	 "  --password-file FILE  read the password from FILE (its first line)\n"},
	{"device", cmd_device, "list|enrol|revoke|allow USER [DEVICE]", "devices of an account",
	 "  list USER            its devices\n"
	 "  enrol USER DEVICE    print a one-time code with which `neap init --code` binds DEVICE: "
	 "no\n"
	 "                       password is typed on it. A new one replaces the one before\n"
	 "  revoke USER DEVICE   refuse it from now on; the others get a new key\n"
	 "  allow USER DEVICE    a revoked device may log in again\n\n"
	 "  --valid TIME         of a code: 90m, 24h, 7d [24h]\n"
	 "  --json               of a code: user, device, code, until_ms\n"},
	{"key", cmd_key, "list|rotate|retire [master|token]",
	 "keys, and new ones for a running fleet",
	 "A running neapd and its broker take up what changed by themselves; no device has to log\n"
	 "in for it.\n\n"
	 "  list            each key, since when it is used, and until when it may be needed\n"
	 "  rotate token    a new key for access tokens; the broker's folder gets its public half "
	 "at\n"
	 "                  once, it signs after the time of --after\n"
	 "  rotate master   a new key that all message and group keys follow from; devices get "
	 "theirs\n"
	 "                  with their next refresh. Back it up\n"
	 "  retire          remove the keys that nothing depends on any more: two hours after the\n"
	 "                  next one came into use\n\n"
	 "  --after TIME    of rotate token: 90s, 10m, 2h [60s]; as long as it takes you to copy "
	 "the\n"
	 "                  public half to a broker on another host\n"
	 "  --json          list: one object: keys[] (kind, name, from_ms, until_ms, retire_ms, "
	 "in_use)\n"},
	{"status", cmd_status, "[--json]", "how the running backend does",
	 "Look at broker.connected first, then at committer.trouble: what keeps it from\n"
	 "committing, a full disk for instance.\n\n"
	 "  --json          as JSON\n"},
	{"conflicts", cmd_conflicts, "[USER] [options]", "what was written and lost",
	 "Each write that lost to a later one, the newest first: whose, what, the value, and what\n"
	 "won. Works whether neapd serve runs or not. Long keys and values are cut; whole ones "
	 "are\n"
	 "in the store's table neap_conflict, by id.\n\n"
	 "  --since WHEN    noted since then: an age (90s, 15m, 12h, 30d), a day (2026-01-31) or "
	 "a\n"
	 "                  time (2026-01-31T12:00:00Z)\n"
	 "  --limit N       at most so many, up to 100000 [100]\n"
	 "  --before ID     those older than this one\n"
	 "  --json          one object: conflicts[] (id, user, device, table, key, column or "
	 "null,\n"
	 "                  value, written_ms, site, won_ms, won_site, won_device or null, why,\n"
	 "                  at_ms), before (null: there are no older ones)\n"},
	{"schema", cmd_schema, "show [--json] | from TABLE devices|server|both | lock | unlock",
	 "tables of the data store, and who may write them",
	 "Works whether neapd serve runs or not.\n\n"
	 "  show            each table with its kind, direction, policy, rows, columns, and how\n"
	 "                  many rows are parked (never reach devices) and why\n"
	 "  from TABLE WHO  who writes the table: with server, rows of devices are refused one by\n"
	 "                  one and what stands is sent back; with devices, SQL that writes it is\n"
	 "                  refused where it is run; both is the default\n"
	 "  lock, unlock    whether devices may add tables and columns\n"
	 "  --json          show: one object: locked, tables[] (name, kind, direction, from, "
	 "rows,\n"
	 "                  parked_user, parked_key, parked_size, columns[])\n"},
	{"backup", cmd_backup, "FILE [--auth]", "copy the data store, also while neapd runs",
	 "Makes FILE (0600), a consistent copy of the data store as it is at the start; devices "
	 "and\n"
	 "operators go on writing. An existing FILE is never overwritten. To restore it, stop\n"
	 "neapd, put FILE in the place of the store, remove the store's -wal and -shm, and start\n"
	 "neapd: docs/operations.md says what devices then do.\n\n"
	 "  --auth          copy the accounts (auth.db) instead; keep that, the keys and\n"
	 "                  revocations.log apart from the data\n"},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *to)
{
	fprintf(to, "usage: neapd COMMAND [arguments]\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-9s %-32s %s\n", commands[i].name, commands[i].synopsis,
			commands[i].about);
	fprintf(to,
		"\nEvery command takes --help; all but init take --config FILE (else $NEAP_CONFIG, "
		"else /etc/neap/neapd.conf).\n\n"
		"A first time: neapd init DIR prints what to run next.\n\n"
		"Exit codes: 0 done, 1 internal, 2 usage, 3 unreachable or timed out, 5 "
		"certificate, "
		"7 another neapd\nruns on this set-up, 8 not found, 9 disk.\n");
}

static void print_help(const struct command *c)
{
	printf("usage: neapd %s%s%s\n\n%s\n\n%s", c->name, *c->synopsis ? " " : "", c->synopsis,
	       c->about, c->help);
	if (c->run != cmd_init)
		printf("  --config FILE   else $NEAP_CONFIG, else /etc/neap/neapd.conf\n");
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

static int run(const struct command *c, int argc, char **argv)
{
	struct err e = {0};

	if (wants_help(argc, argv)) {
		print_help(c);
		return 0;
	}
	int rc = c->run(c, argc, argv, &e);
	if (!rc && fflush(stdout))
		rc = err_set(&e, NE_DISK, "the output could not be written");
	if (rc)
		fprintf(stderr, "neapd %s: %s\n", c->name, *e.text ? e.text : ne_name(rc));
	return ne_exit_code(rc);
}

int main(int argc, char **argv)
{
	/* Nothing of ours is for others to read, and keys do not belong into core dumps. */
	umask(077);
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});

	if (argc < 2) {
		print_usage(stderr);
		return ne_exit_code(NE_USAGE);
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("neapd " NEAP_VERSION);
		return 0;
	}
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return run(&commands[i], argc - 1, argv + 1);
	fprintf(stderr, "neapd: \"%s\" is no command; see neapd --help\n", argv[1]);
	return ne_exit_code(NE_USAGE);
}
