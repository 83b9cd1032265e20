#include "backend/auth/setup.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/auth/cert.h"
#include "backend/auth/keyring.h"
#include "broker-config/conf.h"
#include "common/file.h"

/* The name that gives the backend its rights at the broker; no user can have it (L7). */
#define BACKEND_NAME "$neapd"

enum { PATH_LEN = 2048, TEXT_MAX = 65536 };

static int path_in(const struct setup *s, const char *name, char out[static PATH_LEN],
		   struct err *e)
{
	int n = snprintf(out, PATH_LEN, "%s/%s", s->dir, name);

	if (n < 0 || n >= CONFIG_PATH)
		return err_set(e, NE_USAGE, "the path is too long: %.60s…", s->dir);
	return 0;
}

static int write_file(const struct setup *s, const char *name, const struct buf *content,
		      enum file_mode mode, struct err *e)
{
	char path[PATH_LEN];

	TRY(path_in(s, name, path, e));
	int rc = file_create(path, buf_slice(content), mode, e);
	if (rc == NE_EXISTS)
		return err_set(e, rc,
			       "\"%s\" exists: a set-up was begun here; remove it or choose "
			       "another folder",
			       path);
	return rc;
}

static int make_folder(const char *path, struct err *e)
{
	struct stat st;
	int rc = file_mkdir(path, e);

	/* It may be there already, as a mount point. */
	if (rc == NE_EXISTS && !stat(path, &st) && S_ISDIR(st.st_mode))
		return 0;
	return rc;
}

static int make_folders(const struct setup *s, struct err *e)
{
	static const char *const names[] = {
		"ca", "tls", "auth", "auth/keys", "broker", "broker/token-keys", "data", "run"};
	char path[PATH_LEN];

	TRY(make_folder(s->dir, e));
	TRY(path_in(s, "neapd.conf", path, e));
	if (access(path, F_OK) == 0)
		return err_set(e, NE_EXISTS, "there is a set-up already: \"%s\"", path);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		TRY(path_in(s, names[i], path, e));
		TRY(make_folder(path, e));
	}
	return 0;
}

static int free_port(uint16_t *port, int *fd, struct err *e)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;

	*fd = -1;
	if (*port)
		return 0;
	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0 || bind(*fd, (struct sockaddr *)&a, sizeof a) ||
	    getsockname(*fd, (struct sockaddr *)&a, &len))
		return err_set(e, NE_UNREACHABLE, "no free port on 127.0.0.1");
	*port = ntohs(a.sin_port);
	return 0;
}

static int choose_ports(struct setup *s, struct err *e)
{
	uint16_t *const port[] = {&s->login_port, &s->mqtt_port, &s->backend_port};
	int fd[3] = {-1, -1, -1};
	int rc = 0;

	/* Held until all are chosen: else the same one might come twice. */
	for (int i = 0; i < 3 && !rc; i++)
		rc = free_port(port[i], &fd[i], e);
	for (int i = 0; i < 3; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	return rc;
}

static int write_pair(const struct setup *s, const struct cert_pair *p, const char *cert,
		      const char *key, struct err *e)
{
	TRY(write_file(s, key, &p->key, FILE_SECRET, e));
	return write_file(s, cert, &p->cert, FILE_PUBLIC, e);
}

static int write_login_certs(const struct setup *s, struct err *e)
{
	struct cert_pair ca = CERT_PAIR, server = CERT_PAIR;
	cert_names names = {"localhost", "127.0.0.1", "::1"};

	for (size_t i = 0; i < SETUP_HOSTS; i++)
		names[3 + i] = s->hosts[i];
	int rc = cert_authority("Neap login CA", &ca, e);
	if (!rc)
		rc = write_pair(s, &ca, "ca/login.pem", "ca/login-key.pem", e);
	if (!rc)
		rc = cert_server(&ca, s->hosts[0] ? s->hosts[0] : "localhost", names, &server, e);
	if (!rc)
		rc = write_pair(s, &server, "tls/login-cert.pem", "tls/login-key.pem", e);
	cert_pair_free(&ca);
	cert_pair_free(&server);
	return rc;
}

/* An authority of its own, trusted for MQTT only: else the broker could pose as the login server.
 */
static int write_broker_certs(const struct setup *s, struct err *e)
{
	struct cert_pair ca = CERT_PAIR, server = CERT_PAIR, client = CERT_PAIR;
	cert_names names = {"localhost", "127.0.0.1", "::1", s->broker_host};

	int rc = cert_authority("Neap broker CA", &ca, e);
	if (!rc)
		rc = write_pair(s, &ca, "ca/broker.pem", "ca/broker-key.pem", e);
	if (!rc)
		rc = write_file(s, "broker/ca.pem", &ca.cert, FILE_PUBLIC, e);
	if (!rc)
		rc = cert_server(&ca, s->broker_host, names, &server, e);
	if (!rc)
		rc = write_pair(s, &server, "broker/cert.pem", "broker/key.pem", e);
	if (!rc)
		rc = cert_client(&ca, BACKEND_NAME, &client, e);
	if (!rc)
		rc = write_pair(s, &client, "tls/backend-cert.pem", "tls/backend-key.pem", e);
	cert_pair_free(&ca);
	cert_pair_free(&server);
	cert_pair_free(&client);
	return rc;
}

static int write_keys(const struct setup *s, struct err *e)
{
	char keys[PATH_LEN], token_keys[PATH_LEN];

	TRY(path_in(s, "auth/keys", keys, e));
	TRY(path_in(s, "broker/token-keys", token_keys, e));
	return keyring_create(keys, token_keys, (int64_t)time(NULL), e);
}

static int write_broker_conf(const struct setup *s, struct err *e)
{
	char token_keys[PATH_LEN], cert[PATH_LEN], key[PATH_LEN], ca[PATH_LEN];
	struct buf text = {.max = TEXT_MAX};

	TRY(path_in(s, "broker/token-keys", token_keys, e));
	TRY(path_in(s, "broker/cert.pem", cert, e));
	TRY(path_in(s, "broker/key.pem", key, e));
	TRY(path_in(s, "broker/ca.pem", ca, e));
	struct broker_conf c = {
		.bind = s->bind,
		.backend_bind = s->bind,
		.mqtt_port = s->mqtt_port,
		.backend_port = s->backend_port,
		/* Started as root it must stay root to read a folder that is root's. */
		.user = s->broker_user	 ? s->broker_user
			: geteuid() == 0 ? "root"
					 : NULL,
		.plugin = s->plugin,
		.token_keys = token_keys,
		.device_cert = cert,
		.device_key = key,
		.backend_ca = ca,
		.backend_cert = cert,
		.backend_key = key,
	};
	int rc = broker_conf_write(&c, &text, e);
	if (!rc)
		rc = write_file(s, "broker/mosquitto.conf", &text, FILE_PUBLIC, e);
	buf_free(&text);
	return rc;
}

static int give(const struct setup *s, const char *name, const struct passwd *to, struct err *e)
{
	char path[PATH_LEN];

	TRY(path_in(s, name, path, e));
	if (lchown(path, to->pw_uid, to->pw_gid))
		return err_set(e, NE_DISK, "cannot give \"%s\" to user \"%s\"", path, to->pw_name);
	return 0;
}

/* The broker's user gets its folder; of the rest it can read nothing. */
static int give_to_broker(const struct setup *s, struct err *e)
{
	static const char *const names[] = {"broker",	      "broker/token-keys",
					    "broker/ca.pem",  "broker/cert.pem",
					    "broker/key.pem", "broker/mosquitto.conf"};

	if (!s->broker_user || geteuid() != 0)
		return 0;
	const struct passwd *to = getpwnam(s->broker_user);
	if (!to)
		return err_set(e, NE_USAGE, "there is no Unix user \"%.60s\" for the broker",
			       s->broker_user);
	if (to->pw_uid == 0)
		return 0;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		TRY(give(s, names[i], to, e));
	/* On its way to its folder it passes this one; all others in it stay closed to it. */
	if (chmod(s->dir, 0711))
		return err_set(e, NE_DISK, "cannot open \"%s\" for user \"%s\" to pass", s->dir,
			       to->pw_name);
	return 0;
}

static const char *address(char out[static CONFIG_HOST + 16], const char *host, uint16_t port)
{
	snprintf(out, CONFIG_HOST + 16, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
	return out;
}

static int write_config(const struct setup *s, struct err *e)
{
	char listen[CONFIG_HOST + 16], broker[CONFIG_HOST + 16], backend[CONFIG_HOST + 16];
	json_t *root = json_pack(
		"{s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", //
		"listen", address(listen, s->bind, s->login_port),			       //
		"login_certificate", "tls/login-cert.pem",				       //
		"login_key", "tls/login-key.pem",					       //
		"token_life_s", (json_int_t)s->token_life_s,				       //
		"device_broker", address(broker, s->broker_host, s->mqtt_port),		       //
		"device_broker_ca", "ca/broker.pem",					       //
		"broker", address(backend, s->broker_host, s->backend_port),		       //
		"broker_ca", "ca/broker.pem",						       //
		"broker_certificate", "tls/backend-cert.pem",				       //
		"broker_key", "tls/backend-key.pem",					       //
		"auth_db", "auth/auth.db",						       //
		"keys", "auth/keys",							       //
		"token_keys", "broker/token-keys",					       //
		"store", "data/store.db",						       //
		"run", "run");
	char *json = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	struct buf text = {.max = TEXT_MAX};

	json_decref(root);
	int rc = json ? buf_printf(&text, "%s\n", json) : NE_MEMORY;
	free(json);
	if (rc)
		return err_set(e, rc, "no memory for the config");
	rc = write_file(s, "neapd.conf", &text, FILE_SECRET, e);
	buf_free(&text);
	return rc;
}

int setup_write(struct setup *s, struct err *e)
{
	TRY(make_folders(s, e));
	TRY(choose_ports(s, e));
	TRY(write_login_certs(s, e));
	TRY(write_broker_certs(s, e));
	TRY(write_keys(s, e));
	TRY(write_broker_conf(s, e));
	TRY(give_to_broker(s, e));
	return write_config(s, e);
}
