/* A private broker and neapd, and devices of it, each with its agent. */
#ifndef NEAP_TESTS_BENCH_STACK_H
#define NEAP_TESTS_BENCH_STACK_H

#include "device/include/neap.h"
#include "tests/bench/bench.h"
#include "tests/bench/process.h"

struct device {
	char path[300];
	struct process agent;
	neap *handle; /* only looks: the agent is the engine */
	sqlite3 *app;
};

/* Starts one that knows nothing; one at a time. */
void stack_start(void);
void stack_stop(void); /* also where none runs */
pid_t stack_backend(void);
const char *stack_store(void);
const char *stack_config(void); /* neapd's */
unsigned short stack_port(void);

/* What a fleet logs in with: the server, its CA, the broker's CA. */
struct stack_login {
	const char *server, *ca, *broker_ca, *password;
};
struct stack_login stack_login(void);
void stack_restart_broker(void); /* kills it; neapd is connected again when this returns */

void stack_user(const char *user);
/* Makes a database with the table of `sql`, tracked; `append` as telemetry. */
void device_make(struct device *d, const char *user, const char *name, const char *sql,
		 bool append);
/* Its connection to the broker goes to this port from the next start on. */
void device_through(struct device *d, unsigned short port);
/* Starts the agent and waits until it is in sync. */
void device_start(struct device *d);
/* The same with `neap run --every`. */
void device_start_every(struct device *d, const char *every);
void device_stop(struct device *d); /* the agent alone */
void device_free(struct device *d);
/* Waits until the server has everything and nothing is missing here. */
void device_sync(struct device *d);
/* Waits until the server has everything, without asking it anything. */
void device_acked(struct device *d);

/* Writes rows n + 1 … n + rows of W1 in transactions of `tx` rows. */
struct w1;
void device_w1(struct device *d, struct w1 *w, size_t rows, size_t tx, bool append);

#endif
