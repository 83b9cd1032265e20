/*
 * The fleet generator: many devices in one process and thread. Each logs in,
 * connects over TLS, declares one append table and sends its sets; then all
 * stay connected for a while. Prints rates; fails unless every set was
 * acknowledged in time.
 *
 *   neap_fleet --server URL --ca FILE --broker-ca FILE --mqtt-port N --password-file FILE
 *              [--users N] [--devices N] [--sets N] [--rows N] [--hold S] [--timeout S]
 *
 * Users fleet-0 … exist already; devices are spread over them.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/shape.h"
#include "tests/e2e/fleet_device.h"

static struct options {
	const char *server, *ca, *broker_ca, *password_file;
	uint16_t mqtt_port;
	size_t users, devices, rows;
	uint64_t sets, hold_s, timeout_s;
} opt = {.users = 1, .devices = 100, .rows = 100, .sets = 10, .timeout_s = 120};

static void usage(void)
{
	fprintf(stderr,
		"usage: neap_fleet --server URL --ca FILE --broker-ca FILE --mqtt-port N "
		"--password-file FILE\n         [--users N] [--devices N] [--sets N] [--rows N] "
		"[--hold S] [--timeout S]\n");
	exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
	char *end;
	errno = 0;
	uint64_t n = strtoull(text, &end, 10);
	if (errno || end == text || *end || n > max)
		usage();
	return n;
}

static void parse(int argc, char **argv)
{
	static const struct option known[] = {
		{"server", 1, NULL, 's'},	 {"ca", 1, NULL, 'c'},
		{"broker-ca", 1, NULL, 'b'},	 {"mqtt-port", 1, NULL, 'p'},
		{"password-file", 1, NULL, 'P'}, {"users", 1, NULL, 'u'},
		{"devices", 1, NULL, 'd'},	 {"sets", 1, NULL, 'n'},
		{"rows", 1, NULL, 'r'},		 {"hold", 1, NULL, 'h'},
		{"timeout", 1, NULL, 't'},	 {NULL, 0, NULL, 0},
	};

	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		switch (c) {
		case 's':
			opt.server = optarg;
			break;
		case 'c':
			opt.ca = optarg;
			break;
		case 'b':
			opt.broker_ca = optarg;
			break;
		case 'P':
			opt.password_file = optarg;
			break;
		case 'p':
			opt.mqtt_port = (uint16_t)number(optarg, 65535);
			break;
		case 'u':
			opt.users = number(optarg, 10000);
			break;
		case 'd':
			opt.devices = number(optarg, 20000);
			break;
		case 'n':
			opt.sets = number(optarg, 1000000);
			break;
		case 'r':
			opt.rows = number(optarg, LIMIT_ROWS);
			break;
		case 'h':
			opt.hold_s = number(optarg, 86400);
			break;
		case 't':
			opt.timeout_s = number(optarg, 86400);
			break;
		default:
			usage();
		}
	}
	if (!opt.server || !opt.ca || !opt.broker_ca || !opt.mqtt_port || !opt.password_file ||
	    !opt.users || !opt.devices || !opt.rows || !opt.sets)
		usage();
}

static void read_password(char *out, size_t size)
{
	FILE *f = fopen(opt.password_file, "r");
	if (!f || !fgets(out, (int)size, f)) {
		perror(opt.password_file);
		exit(1);
	}
	fclose(f);
	out[strcspn(out, "\r\n")] = '\0';
}

static struct fleet_device *log_in_all(struct fleet *f)
{
	struct fleet_device *all = calloc(opt.devices, sizeof *all);
	char password[256], user[32], device[32];
	uint64_t began = fleet_now_us();

	if (!all)
		abort();
	read_password(password, sizeof password);
	for (size_t i = 0; i < opt.devices; i++) {
		snprintf(user, sizeof user, "fleet-%zu", i % opt.users);
		snprintf(device, sizeof device, "d%zu", i);
		fleet_login(opt.server, opt.ca, user, password, device, &all[i].session);
		fleet_device_init(&all[i], f);
	}
	double s = (double)(fleet_now_us() - began) / 1e6;
	printf("logins      %zu in %.1f s, %.1f ms each\n", opt.devices, s,
	       s * 1000 / (double)opt.devices);
	fflush(stdout);
	return all;
}

/* Runs until `until_us`, or all are done and `stop_early`. */
static void run(struct fleet *f, struct fleet_device *all, uint64_t until_us, bool stop_early)
{
	uint64_t look_us = 0;

	for (;;) {
		uint64_t now = fleet_now_us();
		if (now >= until_us || (stop_early && f->done == opt.devices))
			return;
		if (now >= look_us) {
			for (size_t i = 0; i < opt.devices; i++)
				fleet_device_look(&all[i], now);
			look_us = now + 10000;
		}
		mqtt5_loop_run(f->loop, 5);
	}
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void report(struct fleet *f, double s)
{
	uint64_t n = f->acked_sets, rows = n * opt.rows;

	qsort(f->latency_us, n, sizeof *f->latency_us, by_size);
	printf("connects    %llu, lost %llu, refused %llu\n", (unsigned long long)f->connects,
	       (unsigned long long)f->lost, (unsigned long long)f->refused);
	printf("sets        %llu acknowledged of %llu, resent %llu, busy %llu\n",
	       (unsigned long long)n, (unsigned long long)(opt.sets * opt.devices),
	       (unsigned long long)f->resent, (unsigned long long)f->busy);
	printf("rows        %llu in %.2f s, %.0f rows/s, %.2f bytes a row sealed\n",
	       (unsigned long long)rows, s, (double)rows / s,
	       rows ? (double)f->bytes_up / (double)rows : 0);
	if (n)
		printf("ack         p50 %.1f ms, p99 %.1f ms, max %.1f ms\n",
		       (double)f->latency_us[n / 2] / 1000,
		       (double)f->latency_us[n - 1 - n / 100] / 1000,
		       (double)f->latency_us[n - 1] / 1000);
}

static void make_tls(struct fleet *f)
{
	f->tls = SSL_CTX_new(TLS_client_method());
	if (!f->tls || SSL_CTX_load_verify_file(f->tls, opt.broker_ca) != 1) {
		fprintf(stderr, "fleet: %s is no CA file\n", opt.broker_ca);
		exit(1);
	}
	SSL_CTX_set_verify(f->tls, SSL_VERIFY_PEER, NULL);
}

int main(int argc, char **argv)
{
	static struct fleet f;

	parse(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	f.mqtt_port = opt.mqtt_port;
	f.sets = opt.sets;
	f.rows = opt.rows;
	f.loop = mqtt5_loop_new();
	f.latency_us = calloc(opt.sets * opt.devices, sizeof *f.latency_us);
	if (!f.latency_us)
		abort();
	fleet_make_shape(&f);
	make_tls(&f);
	struct fleet_device *all = log_in_all(&f);

	uint64_t began = fleet_now_us();
	run(&f, all, began + opt.timeout_s * 1000000, true);
	double s = (double)(fleet_now_us() - began) / 1e6;
	bool ok = f.done == opt.devices;
	uint64_t lost = f.lost;
	if (ok && opt.hold_s)
		run(&f, all, fleet_now_us() + opt.hold_s * 1000000, false);
	report(&f, s);
	if (ok && opt.hold_s)
		printf("held        %zu connections for %llu s, lost %llu\n", opt.devices,
		       (unsigned long long)opt.hold_s, (unsigned long long)(f.lost - lost));
	for (size_t i = 0; i < opt.devices; i++)
		fleet_device_free(&all[i]);
	free(all);
	free(f.latency_us);
	buf_free(&f.shape);
	mqtt5_loop_free(f.loop);
	SSL_CTX_free(f.tls);
	if (!ok)
		fprintf(stderr, "fleet: %llu of %zu devices finished in time\n",
			(unsigned long long)f.done, opt.devices);
	return ok ? 0 : 1;
}
