#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/auth/setup.h"
#include "backend/cmd/cmd.h"

enum option_letter {
	O_LOGIN_PORT = 'l',
	O_MQTT_PORT = 'm',
	O_BACKEND_PORT = 'b',
	O_BIND = 'a',
	O_HOST = 'h',
	O_BROKER_HOST = 'H',
	O_BROKER_USER = 'u',
	O_PLUGIN = 'p',
	O_TOKEN_LIFE = 't',
};

static const struct option options[] = {
	{"login-port", required_argument, NULL, O_LOGIN_PORT},
	{"mqtt-port", required_argument, NULL, O_MQTT_PORT},
	{"backend-port", required_argument, NULL, O_BACKEND_PORT},
	{"bind", required_argument, NULL, O_BIND},
	{"host", required_argument, NULL, O_HOST},
	{"broker-host", required_argument, NULL, O_BROKER_HOST},
	{"broker-user", required_argument, NULL, O_BROKER_USER},
	{"plugin", required_argument, NULL, O_PLUGIN},
	{"token-life", required_argument, NULL, O_TOKEN_LIFE},
	{NULL, 0, NULL, 0},
};

static int number(const char *name, const char *text, long min, long max, long *out, struct err *e)
{
	char *end;

	errno = 0;
	*out = strtol(text, &end, 10);
	if (errno || end == text || *end || *out < min || *out > max)
		return err_set(e, NE_USAGE, "--%s \"%.40s\": a number from %ld to %ld is wanted",
			       name, text, min, max);
	return 0;
}

static int add_host(struct setup *s, const char *name, struct err *e)
{
	for (size_t i = 0; i < SETUP_HOSTS; i++)
		if (!s->hosts[i]) {
			s->hosts[i] = name;
			return 0;
		}
	return err_set(e, NE_USAGE, "--host \"%.80s\": more than %d", name, (int)SETUP_HOSTS);
}

static int take_option(struct setup *s, int o, const char *name, struct err *e)
{
	long n = 0;

	switch (o) {
	case O_LOGIN_PORT:
	case O_MQTT_PORT:
	case O_BACKEND_PORT:
		TRY(number(name, optarg, 0, 65535, &n, e));
		*(o == O_LOGIN_PORT  ? &s->login_port
		  : o == O_MQTT_PORT ? &s->mqtt_port
				     : &s->backend_port) = (uint16_t)n;
		return 0;
	case O_TOKEN_LIFE:
		TRY(number(name, optarg, 2, 6500, &n, e));
		s->token_life_s = n;
		return 0;
	case O_HOST:
		return add_host(s, optarg, e);
	default:
		*(o == O_BIND	       ? &s->bind
		  : o == O_BROKER_HOST ? &s->broker_host
		  : o == O_BROKER_USER ? &s->broker_user
				       : &s->plugin) = optarg;
		return 0;
	}
}

/* As built (bin/ and lib/ side by side) and as installed. */
static int find_plugin(char out[static PATH_MAX], struct err *e)
{
	static const char *const places[] = {"../lib/neap_auth.so", "../lib/neap/neap_auth.so",
					     "neap_auth.so"};
	char exe[PATH_MAX], path[PATH_MAX + 32];
	ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);

	exe[len > 0 ? len : 0] = 0;
	char *slash = strrchr(exe, '/');
	if (slash)
		slash[1] = 0;
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		snprintf(path, sizeof path, "%s%s", exe, places[i]);
		if (realpath(path, out))
			return 0;
	}
	return err_set(e, NE_NOT_FOUND,
		       "the broker's plugin neap_auth.so is not beside this program; "
		       "say where with --plugin");
}

/* The folder, made if missing, as an absolute path: mosquitto.conf needs those. */
static int find_dir(const char *name, char out[static PATH_MAX], struct err *e)
{
	if (mkdir(name, 0700) && errno != EEXIST)
		return err_set(e, errno == ENOENT ? NE_NOT_FOUND : NE_DISK,
			       "cannot create the folder \"%.200s\": %s", name, strerror(errno));
	if (!realpath(name, out))
		return err_set(e, NE_NOT_FOUND, "\"%.200s\": %s", name, strerror(errno));
	return 0;
}

static void report(const struct setup *s)
{
	const char *host = s->hosts[0] ? s->hosts[0] : "localhost";

	printf("wrote a set-up into %s\n\n", s->dir);
	/* Debian has it where an ordinary user's PATH does not look. */
	printf("  broker      /usr/sbin/mosquitto -c %s/broker/mosquitto.conf\n", s->dir);
	printf("  backend     neapd serve --config %s/neapd.conf\n", s->dir);
	printf("  an account  neapd user add NAME --config %s/neapd.conf\n", s->dir);
	printf("  a device    neap init app.db --server https://%s:%u --ca %s/ca/login.pem --user "
	       "NAME "
	       "--device D\n",
	       host, s->login_port, s->dir);
}

int cmd_init(const struct command *self, int argc, char **argv, struct err *e)
{
	struct setup s = {.bind = "127.0.0.1",
			  .broker_host = "127.0.0.1",
			  .login_port = 8443,
			  .mqtt_port = 8883,
			  .backend_port = 8884,
			  .token_life_s = 3600};
	char plugin[PATH_MAX], dir[PATH_MAX];
	int o, index = 0;

	opterr = 0;
	while ((o = getopt_long(argc, argv, ":", options, &index)) != -1) {
		if (o == '?' || o == ':')
			return cmd_bad_option(self, argv, e);
		TRY(take_option(&s, o, options[index].name, e));
	}
	if (argc - optind != 1)
		return err_set(e, NE_USAGE, "usage: neapd init DIR [options]");
	if (!s.plugin) {
		TRY(find_plugin(plugin, e));
		s.plugin = plugin;
	} else if (!realpath(s.plugin, plugin)) {
		snprintf(plugin, sizeof plugin, "%s", s.plugin); /* on the broker's host */
		s.plugin = plugin;
	}
	TRY(find_dir(argv[optind], dir, e));
	s.dir = dir;
	TRY(setup_write(&s, e));
	report(&s);
	return 0;
}
