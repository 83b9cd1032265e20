#include "device/shell/cert_time.h"

#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stddef.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t heard_s;
static X509_VERIFY_PARAM *ours; /* OpenSSL's from add0_table on; it stays there */

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

void cert_time_heard(int64_t server_ms)
{
	pthread_mutex_lock(&lock);
	heard_s = later(heard_s, server_ms / 1000);
	pthread_mutex_unlock(&lock);
}

int64_t cert_time_at(int64_t now_s)
{
	pthread_mutex_lock(&lock);
	int64_t at = later(now_s, later(NEAP_BUILD_S, heard_s));
	pthread_mutex_unlock(&lock);
	return at;
}

/* A copy of OpenSSL's own default for checking a server, which ours then replaces by its name. */
static X509_VERIFY_PARAM *make_param(void)
{
	X509_VERIFY_PARAM *p = X509_VERIFY_PARAM_new();
	const X509_VERIFY_PARAM *standard = X509_VERIFY_PARAM_lookup("ssl_server");

	if (p && standard && X509_VERIFY_PARAM_inherit(p, standard) &&
	    X509_VERIFY_PARAM_set1_name(p, "ssl_server") && X509_VERIFY_PARAM_add0_table(p))
		return p;
	X509_VERIFY_PARAM_free(p);
	return NULL;
}

bool cert_time_update(void)
{
	int64_t now = (int64_t)time(NULL), at = cert_time_at(now);

	pthread_mutex_lock(&lock);
	if (at > now && !ours)
		ours = make_param();
	if (ours && at > now)
		X509_VERIFY_PARAM_set_time(ours, (time_t)at);
	else if (ours)
		(void)X509_VERIFY_PARAM_clear_flags(ours, X509_V_FLAG_USE_CHECK_TIME);
	pthread_mutex_unlock(&lock);
	return now < NEAP_BUILD_S;
}
