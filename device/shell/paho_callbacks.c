/* What Paho calls, in its threads and under its lock: paho_post a letter and return. */
#include <stdio.h>
#include <string.h>

#include "device/shell/paho_internal.h"

void paho_post(struct paho *p, enum letter_type type, uint64_t attempt, int code, const char *text)
{
	struct letter *l = letter_new(type, attempt, 0);

	if (!l)
		return;
	l->code = code;
	snprintf(l->text, sizeof l->text, "%.255s", text ? text : "");
	mailbox_post(p->mailbox, l);
}

int paho_code_of_reason(int reason)
{
	switch (reason) {
	case MQTTREASONCODE_BAD_USER_NAME_OR_PASSWORD:
	case MQTTREASONCODE_NOT_AUTHORIZED:
	case MQTTREASONCODE_CLIENT_IDENTIFIER_NOT_VALID:
	case MQTTREASONCODE_ADMINISTRATIVE_ACTION:
		return NE_AUTH;
	case MQTTREASONCODE_SERVER_BUSY:
	case MQTTREASONCODE_SERVER_UNAVAILABLE:
	case MQTTREASONCODE_QUOTA_EXCEEDED:
		return NE_BUSY;
	default:
		return NE_UNREACHABLE;
	}
}

static const char *text_of_reason(int reason)
{
	if (reason == MQTTREASONCODE_SESSION_TAKEN_OVER)
		return "another connection uses the same user and device";
	return MQTTReasonCode_toString((enum MQTTReasonCodes)reason);
}

/*
 * The broker's reason for a refusal, 0 if it gave none. Paho 1.3.12 puts that of a CONNACK into
 * `code`, where its own errors are negative.
 */
int paho_reason_of(const MQTTAsync_failureData5 *data)
{
	if (data && (int)data->reasonCode >= 0x80)
		return (int)data->reasonCode;
	return data && data->code >= 0x80 && data->code <= 0xff ? data->code : 0;
}

int paho_on_message(void *ctx, char *name, int name_len, MQTTAsync_message *m)
{
	struct paho *p = ctx;
	struct topic topic;
	size_t len = name_len > 0 ? (size_t)name_len : strlen(name);

	if (m->payloadlen > 0 && !topic_parse(slice_of(name, len), &topic, NULL)) {
		struct letter *l =
			letter_new(LETTER_MESSAGE, atomic_load(&p->attempt), (size_t)m->payloadlen);
		if (l) {
			l->topic = topic;
			memcpy(l->bytes, m->payload, l->len);
		}
		mailbox_post(p->mailbox, l);
	}
	MQTTAsync_freeMessage(&m);
	MQTTAsync_free(name);
	return 1;
}

void paho_on_server_disconnect(void *ctx, MQTTProperties *properties, enum MQTTReasonCodes reason)
{
	struct paho *p = ctx;

	(void)properties;
	atomic_store(&p->reason, (int)reason);
	/* Paho does not call paho_on_lost after a DISCONNECT of the broker. */
	paho_post(p, LETTER_LOST, atomic_load(&p->attempt), paho_code_of_reason((int)reason),
		  text_of_reason((int)reason));
}

void paho_on_lost(void *ctx, char *cause)
{
	struct paho *p = ctx;
	int reason = atomic_load(&p->reason);

	(void)cause;
	paho_post(p, LETTER_LOST, atomic_load(&p->attempt),
		  reason ? paho_code_of_reason(reason) : NE_UNREACHABLE,
		  reason ? text_of_reason(reason) : "the connection to the broker was lost");
}

void paho_on_connected(void *ctx, MQTTAsync_successData5 *data)
{
	struct paho *p = ctx;

	(void)data;
	paho_post(p, LETTER_CONNECTED, atomic_load(&p->attempt), NE_OK, "");
}

void paho_on_connect_failed(void *ctx, MQTTAsync_failureData5 *data)
{
	struct paho *p = ctx;
	uint64_t attempt = atomic_load(&p->attempt);

	int reason = paho_reason_of(data);

	if (reason)
		paho_post(p, LETTER_LOST, attempt, paho_code_of_reason(reason),
			  text_of_reason(reason));
	else
		paho_post(p, LETTER_FAILED, attempt, NE_UNREACHABLE,
			  data && data->message ? data->message : "it cannot be reached");
}

void paho_on_subscribed(void *ctx, MQTTAsync_successData5 *data)
{
	struct paho *p = ctx;
	uint64_t attempt = atomic_load(&p->attempt);
	bool good = data && data->alt.sub.reasonCodeCount == N_TOPIC;

	for (int i = 0; good && i < N_TOPIC; i++)
		good = (int)data->alt.sub.reasonCodes[i] < 0x80;
	if (good)
		paho_post(p, LETTER_UP, attempt, NE_OK, "");
	else
		paho_post(p, LETTER_LOST, attempt, NE_AUTH, "the broker refused a subscription");
}

void paho_on_subscribe_failed(void *ctx, MQTTAsync_failureData5 *data)
{
	struct paho *p = ctx;
	bool refused = paho_reason_of(data) != 0;

	paho_post(p, LETTER_LOST, atomic_load(&p->attempt), refused ? NE_AUTH : NE_UNREACHABLE,
		  refused ? "the broker refused a subscription" : "subscribing failed");
}

void paho_on_closed(void *ctx, MQTTAsync_successData5 *data)
{
	struct paho *p = ctx;

	(void)data;
	paho_post(p, LETTER_CLOSED, atomic_load(&p->attempt), NE_OK, "");
}

void paho_on_close_failed(void *ctx, MQTTAsync_failureData5 *data)
{
	(void)data;
	paho_on_closed(ctx, NULL);
}
