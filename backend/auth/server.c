#include "backend/auth/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "backend/auth/audit.h"
#include "backend/auth/deadline.h"
#include "backend/auth/reply.h"
#include "backend/auth/strict.h"
#include "common/file.h"
#include "common/log.h"

enum {
	PEM_MAX = 65536,
	IDLE_S = 10,
	LIFE_MS = 20000,
	MEMORY_OF_CONNECTION = 16384, /* headers above it are refused by the library */
	STACK = 1024 * 1024,
	RETRY_LATER_S = 5,
};

struct login_server {
	struct auth *auth;
	const struct config *config;
	const struct login_hooks *hooks;
	struct MHD_Daemon *daemon;
	struct deadline deadline;
	bool deadline_runs;
	struct buf broker_ca;
};

enum route { ROUTE_LOGIN, ROUTE_REFRESH, ROUTE_ENROL, ROUTE_HEALTH };

/* One request being read. */
struct request {
	enum route route;
	size_t len;
	uint8_t body[REQUEST_MAX];
};

static int64_t realtime_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void wipe_text(void *text)
{
	if (text) {
		explicit_bzero(text, strlen(text));
		free(text);
	}
}

/* Takes `text`. Every answer ends its connection: nothing can be smuggled behind a request. */
static enum MHD_Result answer(struct MHD_Connection *c, int status, char *text, int retry_after_s)
{
	struct MHD_Response *r;
	char seconds[16];

	if (!text)
		return MHD_NO;
	r = MHD_create_response_from_buffer_with_free_callback(strlen(text), text, wipe_text);
	if (!r) {
		wipe_text(text);
		return MHD_NO;
	}
	MHD_add_response_header(r, "Connection", "close");
	MHD_add_response_header(r, "Cache-Control", "no-store");
	MHD_add_response_header(r, "Content-Type",
				status == 200 ? "application/json" : "application/problem+json");
	if (status == 405)
		MHD_add_response_header(r, "Allow", "POST");
	if (retry_after_s) {
		snprintf(seconds, sizeof seconds, "%d", retry_after_s);
		MHD_add_response_header(r, "Retry-After", seconds);
	}
	enum MHD_Result done = MHD_queue_response(c, (unsigned)status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result refuse(struct MHD_Connection *c, int status, const char *detail,
			      int retry_after_s)
{
	return answer(c, status, reply_problem(status, detail), retry_after_s);
}

/* Our own failure: said to the operator, not to the caller. */
static enum MHD_Result fail(struct MHD_Connection *c, const struct err *e)
{
	log_err(LOG_ERROR, "login_failed", e);
	return refuse(c, 503, "the server cannot answer now; try again later", RETRY_LATER_S);
}

static void address_of(struct MHD_Connection *c, char out[static AUDIT_ADDRESS])
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	audit_address(info ? info->client_addr : NULL, out);
}

/* A request that breaks the rules before anyone is named in it. */
static enum MHD_Result refuse_request(struct MHD_Connection *c, int status, const char *detail)
{
	const struct audit_claim nobody = {0};
	char from[AUDIT_ADDRESS];

	address_of(c, from);
	audit_refused("request_refused", from, &nobody, status, detail);
	return refuse(c, status, detail, 0);
}

static enum MHD_Result answer_session(struct login_server *s, struct MHD_Connection *c,
				      struct auth_session *session)
{
	struct reply_broker broker = {
		.host = s->config->device_broker_host,
		.port = s->config->device_broker_port,
		.ca = (const char *)s->broker_ca.at,
	};
	struct err e;

	if (s->hooks && s->hooks->user && s->hooks->user(s->hooks->ctx, session->user.at, &e))
		return fail(c, &e);
	return answer(c, 200, reply_session(session, &broker, realtime_ms()), 0);
}

static int login(struct login_server *s, const struct request *q, struct auth_session *out,
		 struct auth_denial *why, struct audit_claim *claim, struct err *e)
{
	struct login_request in;

	int rc = request_login(slice_of(q->body, q->len), &in, e);
	if (!rc)
		audit_claim(claim, in.user, in.device);
	if (!rc && !id_valid(slice_str(in.device)))
		rc = err_set(e, NE_MALFORMED,
			     "\"device\" is no id: letters, digits, '.', '_', '-', at most %d",
			     (int)LIMIT_ID);
	if (!rc)
		rc = auth_login(s->auth, slice_str(in.user), slice_str(in.password),
				slice_str(in.device), out, why, e);
	explicit_bzero(&in, sizeof in);
	return rc;
}

static int refresh(struct login_server *s, const struct request *q, struct auth_session *out,
		   struct auth_denial *why, struct audit_claim *claim, struct err *e)
{
	char token[REQUEST_MAX];

	(void)claim; /* a token names nobody until it is believed */
	int rc = request_refresh(slice_of(q->body, q->len), token, e);
	if (!rc)
		rc = auth_refresh(s->auth, slice_str(token), out, why, e);
	explicit_bzero(token, sizeof token);
	return rc;
}

static int enrol(struct login_server *s, const struct request *q, struct auth_session *out,
		 struct auth_denial *why, struct audit_claim *claim, struct err *e)
{
	struct enrol_request in;

	(void)claim;
	int rc = request_enrol(slice_of(q->body, q->len), &in, e);
	if (!rc)
		rc = auth_enrol(s->auth, slice_str(in.code), slice_str(in.attempt), out, why, e);
	explicit_bzero(&in, sizeof in);
	return rc;
}

typedef int (*handler_fn)(struct login_server *s, const struct request *q, struct auth_session *out,
			  struct auth_denial *why, struct audit_claim *claim, struct err *e);
static const struct {
	handler_fn fn;
	const char *granted, *refused; /* events of the audit trail */
} handler[] = {
	[ROUTE_LOGIN] = {login, "login", "login_refused"},
	[ROUTE_REFRESH] = {refresh, "refresh", "refresh_refused"},
	[ROUTE_ENROL] = {enrol, "enrol", "enrol_refused"},
};

static enum MHD_Result handle_body(struct login_server *s, struct MHD_Connection *c,
				   const struct request *q)
{
	struct auth_session session;
	struct auth_denial why = {0};
	struct audit_claim claim = {0};
	char from[AUDIT_ADDRESS];
	struct err e;
	int status = 400;

	memset(&session, 0, sizeof session);
	address_of(c, from);
	int rc = handler[q->route].fn(s, q, &session, &why, &claim, &e);
	if (!rc) {
		audit_granted(handler[q->route].granted, from, &session);
		enum MHD_Result done = answer_session(s, c, &session);
		auth_session_wipe(&session);
		return done;
	}
	auth_session_wipe(&session);
	if (rc != NE_MALFORMED) {
		status = why.status;
		if (!status || (rc != NE_AUTH && rc != NE_BUSY))
			return fail(c, &e);
	}
	audit_refused(handler[q->route].refused, from, &claim, status, e.text);
	return refuse(c, status, e.text, status == 400 ? 0 : why.retry_after_s);
}

static enum MHD_Result see_header(void *cls, enum MHD_ValueKind kind, const char *name,
				  const char *value)
{
	(void)kind;
	strict_header(cls, name, value);
	return MHD_YES;
}

static bool find_route(const char *url, enum route *out)
{
	static const char *const path[] = {
		[ROUTE_LOGIN] = "/v1/login",
		[ROUTE_REFRESH] = "/v1/refresh",
		[ROUTE_ENROL] = "/v1/enrol",
		[ROUTE_HEALTH] = "/v1/health",
	};

	for (*out = ROUTE_LOGIN; *out <= ROUTE_HEALTH; (*out)++)
		if (!strcmp(url, path[*out]))
			return true;
	return false;
}

/* The header is here, the body is not: whatever can be refused is refused before it is read. */
static enum MHD_Result begin(struct MHD_Connection *c, const char *url, const char *method,
			     void **con_cls)
{
	bool post = !strcmp(method, "POST");
	struct strict strict = {0};
	const char *detail;
	enum route route;

	MHD_get_connection_values(c, MHD_HEADER_KIND, see_header, &strict);
	int status = strict_verdict(&strict, post, REQUEST_MAX, &detail);
	if (status)
		return refuse_request(c, status, detail);
	if (!find_route(url, &route))
		return refuse_request(c, 404,
				      "no such page; see /v1/login, /v1/refresh and /v1/enrol");
	if (route == ROUTE_HEALTH)
		return strcmp(method, "GET") ? refuse_request(c, 405, "only GET is answered here")
					     : answer(c, 200, strdup("{\"status\":\"ok\"}"), 0);
	if (!post)
		return refuse_request(c, 405, "only POST is answered here");
	struct request *q = calloc(1, sizeof *q);
	if (!q)
		return MHD_NO;
	q->route = route;
	*con_cls = q;
	return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *size, void **con_cls)
{
	struct request *q = *con_cls;

	(void)version;
	if (!q)
		return begin(c, url, method, con_cls);
	if (*size == 0)
		return handle_body(cls, c, q);
	if (*size > sizeof q->body - q->len)
		return MHD_NO; /* more than was announced */
	memcpy(q->body + q->len, data, *size);
	q->len += *size;
	*size = 0;
	return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *c, void **con_cls,
			 enum MHD_RequestTerminationCode code)
{
	(void)cls;
	(void)c;
	(void)code;
	if (*con_cls) {
		explicit_bzero(*con_cls, sizeof(struct request));
		free(*con_cls);
		*con_cls = NULL;
	}
}

static void on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct login_server *s = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info =
			MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
		*socket_context = info ? deadline_add(&s->deadline, info->connect_fd) : NULL;
	} else {
		deadline_remove(&s->deadline, *socket_context);
		*socket_context = NULL;
	}
}

/* Strangers' broken handshakes are no news. */
static void no_log(void *cls, const char *fmt, va_list args)
{
	(void)cls;
	(void)fmt;
	(void)args;
}

static int resolve(const struct config *c, struct sockaddr_storage *out, bool *v6, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *list;
	char port[8];

	snprintf(port, sizeof port, "%u", c->listen_port);
	int bad = getaddrinfo(c->listen_host, port, &hints, &list);
	if (bad)
		return err_set(e, NE_USAGE,
			       "cannot listen on \"%s\": %s; change \"listen\" in \"%s\"",
			       c->listen_host, gai_strerror(bad), c->file);
	memcpy(out, list->ai_addr, list->ai_addrlen);
	*v6 = list->ai_family == AF_INET6;
	freeaddrinfo(list);
	return 0;
}

static int start_daemon(struct login_server *s, const char *cert, const char *key, struct err *e)
{
	struct sockaddr_storage address;
	bool v6 = false;

	TRY(resolve(s->config, &address, &v6, e));
	unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION |
			 MHD_USE_POLL | MHD_USE_TLS | MHD_USE_ERROR_LOG | (v6 ? MHD_USE_IPv6 : 0);
	errno = 0;
	s->daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL,
		MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_HTTPS_MEM_CERT, cert,
		MHD_OPTION_HTTPS_MEM_KEY, key, MHD_OPTION_HTTPS_PRIORITIES,
		"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)s->config->connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		(unsigned)s->config->connections_per_address, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_OF_CONNECTION,
		MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
		MHD_OPTION_LISTEN_BACKLOG_SIZE, 1024U, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1U,
		MHD_OPTION_END);
	if (s->daemon)
		return 0;
	if (errno == EADDRINUSE || errno == EACCES || errno == EADDRNOTAVAIL)
		return err_set(e, NE_UNREACHABLE,
			       "cannot listen on %s:%u: %s; change \"listen\" in "
			       "\"%s\"",
			       s->config->listen_host, s->config->listen_port, strerror(errno),
			       s->config->file);
	return err_set(e, NE_USAGE,
		       "cannot start the login server: \"%s\" and \"%s\" may not fit together",
		       s->config->login_cert, s->config->login_key);
}

static int start(struct login_server *s, struct err *e)
{
	struct buf cert = {.max = PEM_MAX}, key = {.max = PEM_MAX};

	TRY(file_read(s->config->device_broker_ca, &s->broker_ca, e));
	TRY(buf_terminate(&s->broker_ca));
	TRY(deadline_start(&s->deadline, LIFE_MS, e));
	s->deadline_runs = true;
	int rc = file_read(s->config->login_cert, &cert, e);
	if (!rc)
		rc = buf_terminate(&cert);
	if (!rc)
		rc = file_read_secret(s->config->login_key, &key, e);
	if (!rc)
		rc = buf_terminate(&key);
	if (!rc)
		rc = start_daemon(s, (const char *)cert.at, (const char *)key.at, e);
	buf_free(&cert);
	secret_free(&key);
	return rc;
}

int login_server_start(struct login_server **out, struct auth *a, const struct config *c,
		       const struct login_hooks *hooks, struct err *e)
{
	struct login_server *s = calloc(1, sizeof *s);

	if (!s)
		return err_set(e, NE_MEMORY, "no memory for the login server");
	*s = (struct login_server){
		.auth = a, .config = c, .hooks = hooks, .broker_ca = {.max = PEM_MAX}};
	int rc = start(s, e);
	if (rc) {
		login_server_stop(s);
		return rc;
	}
	*out = s;
	return 0;
}

uint16_t login_server_port(const struct login_server *s)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);

	return info ? info->port : 0;
}

void login_server_stop(struct login_server *s)
{
	if (!s)
		return;
	if (s->daemon)
		MHD_stop_daemon(s->daemon);
	if (s->deadline_runs)
		deadline_stop(&s->deadline);
	buf_free(&s->broker_ca);
	free(s);
}
