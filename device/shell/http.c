#include "device/shell/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "device/shell/cert_time.h"
#include "device/shell/clock.h"

enum {
	CONNECT_TIMEOUT_MS = 10 * 1000,
	TOTAL_TIMEOUT_MS = 30 * 1000,
	RETRY_AFTER_MAX_S = 3600, /* a server that asks for more is asked again after this */
};

struct request {
	struct request *next;
	CURL *easy;
	struct curl_slist *headers;
	char *json;
	char *url;
	struct buf body;
	bool too_long;
	char curl_text[CURL_ERROR_SIZE];
	http_fn done;
	void *ctx;
};

struct http {
	CURLM *multi;
	int epoll;	      /* of curl's sockets */
	uint64_t deadline_ms; /* mono, curl's timer; UINT64_MAX none */
	struct request *list;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global;

static void init_once(void)
{
	global = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* curl tells which sockets it waits for … */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
	const struct http *h = ctx;
	struct epoll_event ev = {.data.fd = fd};

	(void)easy;
	(void)socket_ctx;
	if (what == CURL_POLL_REMOVE) {
		(void)epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	ev.events = (what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U);
	if (epoll_ctl(h->epoll, EPOLL_CTL_MOD, fd, &ev) == 0)
		return 0;
	return errno == ENOENT && epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -1;
}

/* … and how long. */
static int on_timer(CURLM *multi, long wait_ms, void *ctx)
{
	struct http *h = ctx;

	(void)multi;
	h->deadline_ms = wait_ms < 0 ? UINT64_MAX : mono_ms() + (uint64_t)wait_ms;
	return 0;
}

static bool start_multi(struct http *h)
{
	h->multi = global == CURLE_OK ? curl_multi_init() : NULL;
	return h->multi &&
	       curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
	       curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) == CURLM_OK &&
	       curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
	       curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h) == CURLM_OK;
}

int http_new(struct http **out, struct err *e)
{
	pthread_once(&once, init_once);
	struct http *h = calloc(1, sizeof *h);
	if (!h)
		return err_set(e, NE_MEMORY, "out of memory");
	h->deadline_ms = UINT64_MAX;
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (h->epoll < 0 || !start_multi(h)) {
		http_free(h);
		return err_set(e, NE_INTERNAL, "the HTTP client did not start");
	}
	*out = h;
	return NE_OK;
}

static void request_free(struct http *h, struct request *r)
{
	for (struct request **at = &h->list; *at; at = &(*at)->next)
		if (*at == r) {
			*at = r->next;
			break;
		}
	if (r->easy) {
		curl_multi_remove_handle(h->multi, r->easy);
		curl_easy_cleanup(r->easy);
	}
	curl_slist_free_all(r->headers);
	if (r->json)
		OPENSSL_cleanse(r->json, strlen(r->json));
	if (r->body.at)
		OPENSSL_cleanse(r->body.at, r->body.cap);
	buf_free(&r->body);
	free(r->json);
	free(r->url);
	free(r);
}

void http_free(struct http *h)
{
	if (!h)
		return;
	while (h->list)
		request_free(h, h->list);
	if (h->multi)
		curl_multi_cleanup(h->multi);
	if (h->epoll >= 0)
		close(h->epoll);
	free(h);
}

void http_cancel(struct http *h, void *ctx)
{
	struct request *next;

	for (struct request *r = h->list; r; r = next) {
		next = r->next;
		if (r->ctx == ctx)
			request_free(h, r);
	}
}

static size_t on_body(char *at, size_t size, size_t n, void *ctx)
{
	struct request *r = ctx;

	if (buf_put(&r->body, at, size * n)) {
		r->too_long = true;
		return 0;
	}
	return size * n;
}

static bool set_trust(struct request *r, const char *ca_pem)
{
	if (!ca_pem || !ca_pem[0])
		return true;
	/* The default CApath would be trusted beside the blob: take it away. */
	struct curl_blob blob = {
		.data = (void *)(uintptr_t)ca_pem, .len = strlen(ca_pem), .flags = CURL_BLOB_COPY};
	return curl_easy_setopt(r->easy, CURLOPT_CAPATH, NULL) == CURLE_OK &&
	       curl_easy_setopt(r->easy, CURLOPT_CAINFO, NULL) == CURLE_OK &&
	       curl_easy_setopt(r->easy, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK;
}

/* A clock behind the build of this program is wrong: it cannot say that a certificate is of the
 * future. How long it is good is still judged, by cert_time.h. */
static int not_of_the_future(int good, X509_STORE_CTX *ctx)
{
	if (!good && X509_STORE_CTX_get_error(ctx) == X509_V_ERR_CERT_NOT_YET_VALID) {
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		return 1;
	}
	return good;
}

static CURLcode on_tls(CURL *c, void *ssl_ctx, void *unused)
{
	(void)c;
	(void)unused;
	SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, not_of_the_future);
	return CURLE_OK;
}

static bool set_time(struct request *r)
{
	return !cert_time_update() ||
	       curl_easy_setopt(r->easy, CURLOPT_SSL_CTX_FUNCTION, on_tls) == CURLE_OK;
}

static bool set_options(struct request *r)
{
	CURL *c = r->easy;

	return curl_easy_setopt(c, CURLOPT_URL, r->url) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_NOPROXY, "*") == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS) ==
		       CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)TOTAL_TIMEOUT_MS) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_USERAGENT, "neap/" NEAP_VERSION) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_HTTPHEADER, r->headers) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_POST, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->json) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)strlen(r->json)) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEDATA, r) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_ERRORBUFFER, r->curl_text) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_PRIVATE, r) == CURLE_OK;
}

static struct curl_slist *make_headers(void)
{
	struct curl_slist *list = NULL;
	/* "Expect:" empty: a body this small is not worth asking for leave first. */
	static const char *const lines[] = {"Content-Type: application/json",
					    "Accept: application/json, application/problem+json",
					    "Expect:"};

	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		struct curl_slist *more = curl_slist_append(list, lines[i]);
		if (!more) {
			curl_slist_free_all(list);
			return NULL;
		}
		list = more;
	}
	return list;
}

int http_post(struct http *h, const char *url, const char *ca_pem, const char *json, http_fn done,
	      void *ctx, struct err *e)
{
	struct request *r = calloc(1, sizeof *r);

	if (!r)
		return err_set(e, NE_MEMORY, "out of memory");
	r->body.max = HTTP_BODY_MAX;
	r->done = done;
	r->ctx = ctx;
	r->next = h->list;
	h->list = r;
	r->url = strdup(url);
	r->json = strdup(json);
	r->headers = make_headers();
	r->easy = curl_easy_init();
	if (!r->url || !r->json || !r->headers || !r->easy || !set_options(r) ||
	    !set_trust(r, ca_pem) || !set_time(r) ||
	    curl_multi_add_handle(h->multi, r->easy) != CURLM_OK) {
		request_free(h, r);
		return err_set(e, NE_MEMORY, "the HTTP client could not start a request to %s",
			       url);
	}
	return NE_OK;
}

/* What a failed transfer means to the caller, and its sentence. */
static int failed(const struct request *r, CURLcode rc, struct err *e)
{
	const char *why = r->curl_text[0] ? r->curl_text : curl_easy_strerror(rc);

	if (r->too_long)
		return err_set(e, NE_LIMIT, "%s answered with more than %d KiB", r->url,
			       HTTP_BODY_MAX / 1024);
	switch (rc) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ISSUER_ERROR:
		return err_set(e, NE_CERT,
			       "the certificate of the login server at %s is refused: %s; it must "
			       "be signed by the CA given to `neap init --ca`",
			       r->url, why);
	case CURLE_SSL_CACERT_BADFILE:
		return err_set(e, NE_CERT,
			       "the CA for the login server at %s is not a PEM certificate: %s",
			       r->url, why);
	case CURLE_OPERATION_TIMEDOUT:
		return err_set(e, NE_TIMEOUT, "the login server at %s did not answer: %s", r->url,
			       why);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return err_set(e, NE_USAGE,
			       "'%s' is not a usable server address: give https://host[:port]",
			       r->url);
	default:
		return err_set(
			e, NE_UNREACHABLE,
			"the login server at %s cannot be reached: %s; check the address and the "
			"network",
			r->url, why);
	}
}

/* The words of an application/problem+json (RFC 9457) body, or a plain status. */
static void problem_text(struct slice body, int status, char *out, size_t size)
{
	json_t *doc = json_loadb((const char *)body.at, body.len, JSON_REJECT_DUPLICATES, NULL);
	const char *text = json_string_value(json_object_get(doc, "detail"));

	if (!text)
		text = json_string_value(json_object_get(doc, "title"));
	if (text)
		snprintf(out, size, "%.200s", text);
	else
		snprintf(out, size, "status %d", status);
	/* The words are a stranger's until the certificate says otherwise: no control characters.
	 */
	for (char *c = out; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	json_decref(doc);
}

static int refused(const struct request *r, int status, struct err *e)
{
	char why[256];

	problem_text(buf_slice(&r->body), status, why, sizeof why);
	if (status == 401 || status == 403)
		return err_set(e, NE_AUTH, "%s", why);
	if (status == 429 || status >= 500)
		return err_set(e, NE_BUSY, "the login server at %s is busy: %s", r->url, why);
	if (status >= 300 && status < 400)
		return err_set(
			e, NE_PROTOCOL,
			"%s answered with a redirect, which is never followed: give the address "
			"of the login server itself",
			r->url);
	return err_set(e, NE_PROTOCOL, "the login server at %s refused the request: %s", r->url,
		       why);
}

static void finish(struct http *h, struct request *r, CURLcode rc)
{
	struct err err = {0};
	struct http_answer a = {0};
	long status = 0;
	curl_off_t after_s = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &after_s);
	a.status = (int)status;
	a.body = buf_slice(&r->body);
	if (rc != CURLE_OK)
		a.code = failed(r, rc, &err);
	else if (status != 200)
		a.code = refused(r, (int)status, &err);
	if (after_s > 0)
		a.retry_after_ms =
			1000 * (int64_t)(after_s < RETRY_AFTER_MAX_S ? after_s : RETRY_AFTER_MAX_S);
	a.text = err.text;

	/* Out of the list first: the callback may start another request or cancel its own. */
	http_fn done = r->done;
	void *ctx = r->ctx;
	r->ctx = NULL;
	done(ctx, &a);
	request_free(h, r);
}

static void finish_all(struct http *h)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left)) != NULL) {
		struct request *r = NULL;
		CURLcode rc = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
		finish(h, r, rc);
	}
}

int http_fd(const struct http *h)
{
	return h->epoll;
}

uint64_t http_deadline_ms(const struct http *h)
{
	return h->list ? h->deadline_ms : UINT64_MAX;
}

static int curl_events(uint32_t events)
{
	return (events & EPOLLIN ? CURL_CSELECT_IN : 0) |
	       (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
	       (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
}

void http_step(struct http *h)
{
	struct epoll_event ev[16];
	int running;

	if (!h->list)
		return;
	if (mono_ms() >= h->deadline_ms) {
		h->deadline_ms = UINT64_MAX; /* before: curl sets a new one in the call */
		(void)curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	int n = epoll_wait(h->epoll, ev, sizeof ev / sizeof ev[0], 0);
	for (int i = 0; i < n; i++)
		(void)curl_multi_socket_action(h->multi, ev[i].data.fd, curl_events(ev[i].events),
					       &running);
	finish_all(h);
}

int http_wait(struct http *h, int timeout_ms, struct err *e)
{
	struct pollfd p = {.fd = h->epoll, .events = POLLIN};
	uint64_t now = mono_ms(), at = http_deadline_ms(h);

	if (at <= now)
		timeout_ms = 0;
	else if (at - now < (uint64_t)timeout_ms)
		timeout_ms = (int)(at - now);
	if (poll(&p, 1, timeout_ms) < 0 && errno != EINTR)
		return err_set(e, NE_INTERNAL, "poll: %s", strerror(errno));
	http_step(h);
	return NE_OK;
}
