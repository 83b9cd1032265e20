/* `neapd init`: a private set-up in one folder, ready to be served. */
#ifndef NEAP_BACKEND_AUTH_SETUP_H
#define NEAP_BACKEND_AUTH_SETUP_H

#include "backend/auth/config.h"

enum { SETUP_HOSTS = 4 };

struct setup {
	const char *dir;
	const char *bind; /* address of the login server and of the broker's listeners */
	const char *hosts[SETUP_HOSTS]; /* more names of the login server, NULL where unused */
	const char *broker_host;	/* what devices and the backend connect to */
	const char *broker_user;	/* Unix user of the broker; NULL: whoever starts it */
	const char *plugin;		/* neap_auth.so, absolute */
	uint16_t login_port, mqtt_port, backend_port; /* 0: a free one is found and set here */
	int64_t token_life_s;
};

/*
 * Writes into `dir` (made if missing): neapd.conf last, so that a set-up with it is whole.
 * NE_EXISTS if it or one of its files is there, NE_USAGE, NE_DISK; what was written before stays.
 */
NEAP_CHECK int setup_write(struct setup *s, struct err *e);

#endif
