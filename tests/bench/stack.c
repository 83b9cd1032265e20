#include "tests/bench/stack.h"

#include <jansson.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/workload.h"

enum { SYNC_MS = 600000, LOOK_US = 500, DEADLINE_S = 60 };

#define PASSWORD "a long enough password"

static char folder[300], server[200], ca[300], store[300], bin[200];
static unsigned short mqtt_port;
static pid_t backend;
static bool started;

static void stack(const char *command)
{
	const char *const argv[] = {"/bin/bash", NEAP_SOURCE_DIR "/scripts/stack", command, folder,
				    NULL};

	process_run(argv);
}

static void find_bin(void)
{
	char self[200], build[210];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	if (n < 0)
		bench_die("cannot find out where this program is");
	self[n] = '\0';
	snprintf(bin, sizeof bin, "%s", dirname(self));
	snprintf(build, sizeof build, "%s/..", bin);
	setenv("NEAP_BUILD", build, 1);
}

static void take_env(void)
{
	char path[400], line[400];
	FILE *f;

	snprintf(path, sizeof path, "%s/env", folder);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "NEAP_SERVER=", 12))
			snprintf(server, sizeof server, "%.190s", line + 12);
		else if (!strncmp(line, "NEAP_CA=", 8))
			snprintf(ca, sizeof ca, "%.290s", line + 8);
		else if (!strncmp(line, "NEAP_STORE=", 11))
			snprintf(store, sizeof store, "%.290s", line + 11);
		else if (!strncmp(line, "NEAP_MQTT_PORT=", 15))
			mqtt_port = (unsigned short)atoi(line + 15);
		else if (!strncmp(line, "NEAPD_PID=", 10))
			backend = (pid_t)atoi(line + 10);
	}
	if (!f)
		bench_die("%s is missing", path);
	fclose(f);
}

struct stack_login stack_login(void)
{
	static char broker_ca[340];

	snprintf(broker_ca, sizeof broker_ca, "%s/ca/broker.pem", folder);
	return (struct stack_login){server, ca, broker_ca, PASSWORD};
}

void stack_restart_broker(void)
{
	stack("restart-broker");
}

static const char *password_file(void)
{
	static char path[300];
	FILE *f;

	snprintf(path, sizeof path, "%s/password", bench_dir);
	if (access(path, F_OK)) {
		f = fopen(path, "w");
		if (!f || fputs(PASSWORD "\n", f) < 0 || fclose(f) || chmod(path, 0600))
			bench_die("cannot write %s", path);
	}
	return path;
}

void stack_start(void)
{
	static unsigned n;

	find_bin();
	snprintf(folder, sizeof folder, "%s/stack-%u", bench_dir, n++);
	started = true;
	stack("start");
	take_env();
}

void stack_stop(void)
{
	const char *const remove[] = {"/bin/rm", "-rf", folder, NULL};

	if (!started)
		return;
	started = false;
	stack("stop");
	process_run(remove);
}

pid_t stack_backend(void)
{
	return backend;
}

const char *stack_store(void)
{
	return store;
}

unsigned short stack_port(void)
{
	return mqtt_port;
}

const char *stack_config(void)
{
	static char path[400];

	snprintf(path, sizeof path, "%s/neapd.conf", folder);
	return path;
}

void stack_user(const char *user)
{
	char neapd[300];

	snprintf(neapd, sizeof neapd, "%s/neapd", bin);
	process_run((const char *const[]){neapd, "user", "add", user, "--password-file",
					  password_file(), "--config", stack_config(), NULL});
}

void device_make(struct device *d, const char *user, const char *name, const char *sql, bool append)
{
	char neap_path[300];
	const char *table = strstr(sql, " state(") ? "state" : "readings";

	*d = (struct device){0};
	snprintf(neap_path, sizeof neap_path, "%s/neap", bin);
	snprintf(d->path, sizeof d->path, "%s/%s-%s.db", bench_dir, user, name);
	bench_remove_db(d->path);
	d->app = bench_open(d->path, false);
	bench_sql(d->app, "%s", sql);
	process_run((const char *const[]){neap_path, "init", d->path, "--server", server, "--user",
					  user, "--device", name, "--ca", ca, "--password-file",
					  password_file(), NULL});
	process_run((const char *const[]){neap_path, "track", d->path, table,
					  append ? "--append" : NULL, NULL});
	if (neap_open(d->path, &d->handle))
		bench_die("%s: %s", d->path, neap_error(NULL));
}

void device_through(struct device *d, unsigned short port)
{
	char path[320];
	json_t *settings, *broker;

	snprintf(path, sizeof path, "%s.neap-secret", d->path);
	settings = json_load_file(path, 0, NULL);
	broker = json_object_get(json_object_get(settings, "grant"), "broker");
	if (!broker || json_object_set_new(broker, "port", json_integer(port)) ||
	    json_dump_file(settings, path, 0))
		bench_die("cannot change the broker's port in %s", path);
	json_decref(settings);
}

static void start(struct device *d, const char *const *options)
{
	char neap_path[300], socket[320];
	double began = bench_now();

	snprintf(neap_path, sizeof neap_path, "%s/neap", bin);
	snprintf(socket, sizeof socket, "%s.neap-sock", d->path);
	process_start(&d->agent, (const char *const[]){neap_path, "run", d->path, options[0],
						       options[1], NULL});
	while (access(socket, F_OK)) {
		if (bench_now() - began > DEADLINE_S)
			bench_die("the agent of %s does not start", d->path);
		usleep(LOOK_US);
	}
	device_sync(d);
}

void device_start(struct device *d)
{
	start(d, (const char *const[]){NULL, NULL});
}

void device_start_every(struct device *d, const char *every)
{
	start(d, (const char *const[]){"--every", every});
}

void device_stop(struct device *d)
{
	process_stop(&d->agent);
}

void device_free(struct device *d)
{
	device_stop(d);
	if (d->handle && neap_close(d->handle))
		bench_die("cannot close %s", d->path);
	sqlite3_close(d->app);
	bench_remove_db(d->path);
	*d = (struct device){0};
}

void device_sync(struct device *d)
{
	if (neap_sync(d->handle, SYNC_MS))
		bench_die("%s: %s", d->path, neap_error(d->handle));
}

void device_acked(struct device *d)
{
	struct neap_status s = {.size = sizeof s};
	double began = bench_now();

	do {
		if (neap_status(d->handle, &s))
			bench_die("%s: %s", d->path, neap_error(d->handle));
		if (bench_now() - began > DEADLINE_S)
			bench_die("%s: still %lld rows pending: %s", d->path,
				  (long long)s.pending_rows, s.reason);
		usleep(LOOK_US);
	} while (s.pending_rows);
}

void device_w1(struct device *d, struct w1 *w, size_t rows, size_t tx, bool append)
{
	sqlite3_stmt *s =
		bench_prepare(d->app, "INSERT INTO readings VALUES(?1,?2,?3,?4,?5,?6,?7)");
	struct w1_row row;

	for (size_t i = 0; i < rows; i++) {
		if (tx > 1 && i % tx == 0)
			bench_sql(d->app, "BEGIN IMMEDIATE");
		w1_next(w, &row);
		w1_bind(s, &row, w->n, append);
		bench_step(d->app, s);
		if (tx > 1 && (i % tx == tx - 1 || i == rows - 1))
			bench_sql(d->app, "COMMIT");
	}
	sqlite3_finalize(s);
}
