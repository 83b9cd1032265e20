/* Logging in with a password or a one-time code and binding a database to the account: `neap init`.
 */
#ifndef NEAP_DEVICE_SHELL_BIND_H
#define NEAP_DEVICE_SHELL_BIND_H

#include "device/shell/secret.h"

struct bind_request {
	const char *db;			      /* made if it does not exist */
	const char *server;		      /* https://host[:port] */
	const char *user, *password, *device; /* all of them, or: */
	const char *code;		      /* a one-time code, which says for whom it is */
	const char *ca_pem;		      /* NULL: the system's certificates */
};

struct bound {
	struct id user, device;
};

/*
 * Logs in, creates Neap's tables in the database and writes `<db>.neap-secret`. Run again for the
 * same user it logs in anew and keeps all that is pending, also while an agent runs, which then
 * picks the new login up. Nothing is written if the login fails. `*bound`, if not NULL, is told
 * user and device.
 * NE_USAGE, NE_AUTH (wrong password or code, revoked), NE_BUSY, NE_UNREACHABLE, NE_TIMEOUT,
 * NE_CERT, NE_EXISTS (bound to another user), NE_LOCKED, NE_DISK.
 */
NEAP_CHECK int bind_database(const struct bind_request *r, struct bound *bound, struct err *e);

#endif
