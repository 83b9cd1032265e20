/*
 * The link over Eclipse Paho's asynchronous client, in four files. Paho's callbacks run in
 * its threads under a process-wide lock: they post a letter and return. Everything else,
 * every Paho call included, happens in the agent's thread.
 */
#ifndef NEAP_DEVICE_SHELL_PAHO_INTERNAL_H
#define NEAP_DEVICE_SHELL_PAHO_INTERNAL_H

#include <MQTTAsync.h>
#include <pthread.h>
#include <stdatomic.h>

#include "device/shell/link.h"
#include "device/shell/login.h"

enum { N_TOPIC = 3 };

enum phase { PHASE_IDLE, PHASE_CONNECTING, PHASE_CONNECTED, PHASE_CLOSING };

/* One connection to be made; texts copied from link_target. */
struct plan {
	char uri[LOGIN_HOST_MAX + 32];
	char host[LOGIN_HOST_MAX + 1];
	uint16_t port;
	char user[LIMIT_ID + 1];
	char client_id[2 * LIMIT_ID + 2];
	char token[JWT_MAX + 1];
	char up[TOPIC_MAX], presence[TOPIC_MAX];
	char sub[N_TOPIC][TOPIC_MAX];
	char ca[LOGIN_PEM_MAX + 1];
	int ca_fd; /* memfd with it, for Paho; -1 none */
};

/* A publish the broker has not acknowledged yet. */
struct sent {
	struct sent *next, **prev;
	struct paho *link;
	uint64_t attempt;
	size_t credit;
};

/* A publish that waits for the window. */
struct waiting {
	struct waiting *next;
	size_t credit, len;
	uint8_t bytes[];
};

struct paho {
	struct link link;
	struct mailbox *mailbox;
	MQTTAsync client;
	char client_id[2 * LIMIT_ID + 2]; /* the client was made for this id */
	enum phase phase;
	_Atomic uint64_t attempt;
	_Atomic int reason;  /* of the server's DISCONNECT in this attempt; 0 none */
	struct plan *plan;   /* of the current attempt */
	bool connect_after;  /* start the plan's attempt once the old connection is closed */
	unsigned failures;   /* attempts without a reason, in a row, to one place */
	struct err found;    /* found for the last of them that was looked into */
	struct probe *probe; /* what looks for the reason; NULL none */
	size_t outstanding;
	size_t n_waiting;
	struct waiting *waiting, **waiting_tail;
	pthread_mutex_t sent_lock; /* never held across a Paho call */
	struct sent *sent;
};

/* paho_callbacks.c: in Paho's threads. `ctx` is the struct paho. */
void paho_post(struct paho *p, enum letter_type type, uint64_t attempt, int code, const char *text);
int paho_code_of_reason(int reason);
/* The broker's reason for a refusal, 0 if it gave none. */
int paho_reason_of(const MQTTAsync_failureData5 *data);
int paho_on_message(void *ctx, char *name, int name_len, MQTTAsync_message *m);
void paho_on_server_disconnect(void *ctx, MQTTProperties *properties, enum MQTTReasonCodes reason);
void paho_on_lost(void *ctx, char *cause);
void paho_on_connected(void *ctx, MQTTAsync_successData5 *data);
void paho_on_connect_failed(void *ctx, MQTTAsync_failureData5 *data);
void paho_on_subscribed(void *ctx, MQTTAsync_successData5 *data);
void paho_on_subscribe_failed(void *ctx, MQTTAsync_failureData5 *data);
void paho_on_closed(void *ctx, MQTTAsync_successData5 *data);
void paho_on_close_failed(void *ctx, MQTTAsync_failureData5 *data);

/* paho_connect.c: link.h's connect and disconnect, and their parts. */
int paho_connect(struct link *l, const struct link_target *t, uint64_t *attempt, struct err *e);
void paho_disconnect(struct link *l);
/* Begins the attempt of p->plan, with a client made where there is none. */
NEAP_CHECK int paho_start(struct paho *p, struct err *e);
int paho_start_close(struct paho *p); /* Paho's code */
void paho_client_free(struct paho *p);
void paho_plan_free(struct plan *plan);

/* paho_send.c: link.h's publish, and the window. */
int paho_publish(struct link *l, struct slice sealed, size_t credit, struct err *e);
void paho_fill_window(struct paho *p);
void paho_forget_publishes(struct paho *p);
void paho_sent_free(struct paho *p); /* once no callback can come any more */

#endif
