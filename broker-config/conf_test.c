#include "broker-config/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct broker_conf sample = {
	.bind = "127.0.0.1",
	.mqtt_port = 18883,
	.backend_port = 18884,
	.user = "root",
	.plugin = "/p/neap_auth.so",
	.token_keys = "/p/token-keys",
	.device_cert = "/p/d.pem",
	.device_key = "/p/d.key",
	.backend_ca = "/p/ca.pem",
	.backend_cert = "/p/b.pem",
	.backend_key = "/p/b.key",
};

static void fills_every_field(void **unused)
{
	static const char *const lines[] = {
		"\nuser root\n",
		"\nallow_anonymous false\n",
		"\nplugin /p/neap_auth.so\n",
		"\nplugin_opt_token_keys /p/token-keys\n",
		"\nlistener 18883 127.0.0.1\n",
		"\nlistener 18884 127.0.0.1\n",
		"\nrequire_certificate true\n",
		"\nmax_packet_size 65536\n",
		"\npersistence false\n",
		"\nlog_dest stderr\n",
	};
	struct buf out = {.max = 65536};
	struct err e = {0};

	(void)unused;
	assert_int_equal(broker_conf_write(&sample, &out, &e), NE_OK);
	assert_int_equal(buf_terminate(&out), NE_OK);
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
		if (!strstr((const char *)out.at, lines[i]))
			fail_msg("missing: %s", lines[i]);
	for (const char *line = (const char *)out.at; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		assert_true(*line == '#' || !strchr(line, '@') ||
			    strchr(line, '\n') < strchr(line, '@'));
	}
	buf_free(&out);
}

/* broker-config/mosquitto.conf is what an installed system gets, to be read. */
static void the_readable_file_is_current(void **unused)
{
	struct broker_conf c = {
		.bind = "0.0.0.0",
		.mqtt_port = 8883,
		.backend_port = 8884,
		.plugin = "/usr/lib/neap/neap_auth.so",
		.token_keys = "/etc/neap/broker/token-keys",
		.device_cert = "/etc/neap/broker/cert.pem",
		.device_key = "/etc/neap/broker/key.pem",
		.backend_ca = "/etc/neap/broker/ca.pem",
		.backend_cert = "/etc/neap/broker/cert.pem",
		.backend_key = "/etc/neap/broker/key.pem",
	};
	struct buf out = {.max = 65536};
	struct err e = {0};
	uint8_t file[8192];

	(void)unused;
	assert_int_equal(broker_conf_write(&c, &out, &e), NE_OK);
	FILE *f = fopen(NEAP_SOURCE_DIR "/broker-config/mosquitto.conf", "r");
	assert_non_null(f);
	size_t n = fread(file, 1, sizeof file, f);
	fclose(f);
	if (n != out.len || memcmp(file, out.at, n) != 0) {
		print_message("%.*s", (int)out.len, (const char *)out.at);
		fail_msg("broker-config/mosquitto.conf differs from what mosquitto.conf.in makes "
			 "(above)");
	}
	buf_free(&out);
}

static void refuses_what_would_add_a_line(void **unused)
{
	struct broker_conf c = sample;
	struct buf out = {.max = 65536};
	struct err e = {0};

	(void)unused;
	c.device_cert = "/p/x\nallow_anonymous true";
	assert_int_equal(broker_conf_write(&c, &out, &e), NE_USAGE);
	c.device_cert = NULL;
	assert_int_equal(broker_conf_write(&c, &out, &e), NE_USAGE);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_every_field),
		cmocka_unit_test(the_readable_file_is_current),
		cmocka_unit_test(refuses_what_would_add_a_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
