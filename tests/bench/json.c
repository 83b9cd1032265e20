#include "tests/bench/json.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/process.h"

enum { START_S = 10 };

static struct process broker, server, watcher, pinger;
static char port[8];

static int try_connect(unsigned short to)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(to)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&a, sizeof a);
	close(fd);
	return rc;
}

static unsigned short free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) ||
	    getsockname(fd, (struct sockaddr *)&a, &len))
		bench_die("no free port");
	close(fd);
	return ntohs(a.sin_port);
}

static void start_broker(void)
{
	char config[300];
	unsigned short to = free_port();
	double began = bench_now();
	FILE *f;

	snprintf(port, sizeof port, "%u", to);
	snprintf(config, sizeof config, "%s/json.conf", bench_dir);
	f = fopen(config, "w");
	if (!f || fprintf(f,
			  "listener %u 127.0.0.1\nallow_anonymous true\npersistence false\n"
			  "max_inflight_messages 1000\nmax_queued_messages 100000\n"
			  "set_tcp_nodelay true\n",
			  to) < 0)
		bench_die("cannot write %s", config);
	fclose(f);
	process_start(&broker, (const char *const[]){NEAP_MOSQUITTO, "-c", config, NULL});
	while (try_connect(to)) {
		if (bench_now() - began > START_S)
			bench_die("%s does not start", NEAP_MOSQUITTO);
		usleep(2000);
	}
}

static const char *program(void)
{
	static char path[300];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 10);

	if (n < 0)
		bench_die("cannot find out where this program is");
	snprintf(path + n, sizeof path - (size_t)n, "_json");
	return path;
}

static void path_of(char *out, size_t size, const char *name)
{
	snprintf(out, size, "%s/json-%s.db", bench_dir, name);
}

static double read_line(struct process *p)
{
	char line[64];

	if (!fgets(line, sizeof line, p->out))
		bench_die("the JSON baseline ended; what it said is in %s/log", bench_dir);
	return strtod(line, NULL);
}

static void start_server(int group_ms, bool fan)
{
	char path[300], group[16];

	start_broker();
	path_of(path, sizeof path, "server");
	snprintf(group, sizeof group, "%d", group_ms);
	process_start(&server, (const char *const[]){program(), "server", port, path, group,
						     fan ? "1" : "0", NULL});
	read_line(&server);
}

static void stop_server(void)
{
	char path[300];

	process_stop(&server);
	process_stop(&broker);
	path_of(path, sizeof path, "server");
	bench_remove_db(path);
}

double json_ingest(size_t rows, size_t batch, size_t window, int group_ms)
{
	struct process sender;
	char path[300], n[3][24], line[64];

	start_server(group_ms, false);
	path_of(path, sizeof path, "sender");
	snprintf(n[0], sizeof n[0], "%zu", rows);
	snprintf(n[1], sizeof n[1], "%zu", batch);
	snprintf(n[2], sizeof n[2], "%zu", window);
	process_start(&sender,
		      (const char *const[]){program(), "send", port, path, n[0], n[1], n[2], NULL});
	process_finish(&sender, line, sizeof line);
	stop_server();
	bench_remove_db(path);
	return strtod(line, NULL);
}

void json_ping_begin(void)
{
	char path[300];

	start_server(0, true);
	path_of(path, sizeof path, "watcher");
	process_start(&watcher, (const char *const[]){program(), "watch", port, path, NULL});
	read_line(&watcher);
	path_of(path, sizeof path, "pinger");
	process_start(&pinger, (const char *const[]){program(), "ping", port, path, NULL});
	read_line(&pinger);
}

double json_ping(void)
{
	double sent;

	fputs("\n", pinger.in);
	fflush(pinger.in);
	sent = read_line(&pinger);
	return (read_line(&watcher) - sent) * 1000;
}

void json_ping_end(void)
{
	process_stop(&pinger);
	process_stop(&watcher);
	stop_server();
}
