/*
 * `<db>.neap-secret`: what a login left on this device, apart from app.db
 * because that gets copied. Never the password. Written whole (temporary file,
 * fsync, rename, fsync of the folder) before a new refresh token is used.
 */
#ifndef NEAP_DEVICE_SHELL_SECRET_H
#define NEAP_DEVICE_SHELL_SECRET_H

#include "device/shell/login.h"

/* ~40 KiB: allocated with secret_new, never on the stack. */
struct secret {
	char server[LOGIN_URL_MAX + 1];
	char ca[LOGIN_PEM_MAX + 1]; /* of the login server; "" trusts the system's certificates */
	int64_t got_ms;		    /* this device's wall clock when the grant arrived */
	struct grant grant;
};

struct secret *secret_new(void);    /* NULL when out of memory */
void secret_drop(struct secret *s); /* wipes; NULL allowed */

/*
 * Reads the file at `path`. NE_LOGIN if there is none or its content is damaged (the sentence names
 * `neap init`), NE_USAGE if it is a link or open to others, NE_DISK, NE_MEMORY.
 */
NEAP_CHECK int secret_load(const char *path, struct secret *out, struct err *e);
/* Durable on return; on error the old file stands. NE_DISK, NE_MEMORY. */
NEAP_CHECK int secret_save(const char *path, const struct secret *s, struct err *e);

#endif
