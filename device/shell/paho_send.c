/* Publishing within the window. */
#include <stdlib.h>
#include <string.h>

#include "device/shell/paho_internal.h"

/* Takes a publish off the list and frees it. */
static void sent_done(struct sent *s)
{
	struct paho *p = s->link;

	pthread_mutex_lock(&p->sent_lock);
	*s->prev = s->next;
	if (s->next)
		s->next->prev = s->prev;
	pthread_mutex_unlock(&p->sent_lock);
	free(s);
}

static void on_sent(void *ctx, MQTTAsync_successData5 *data)
{
	struct sent *s = ctx;
	struct letter *l = letter_new(LETTER_SENT, s->attempt, 0);

	(void)data;
	if (l) {
		l->sent_bytes = s->credit;
		mailbox_post(s->link->mailbox, l);
	}
	sent_done(s);
}

static void on_send_failed(void *ctx, MQTTAsync_failureData5 *data)
{
	struct sent *s = ctx;

	/* Without a reason code the connection is going down, which is told separately. */
	if (paho_reason_of(data))
		paho_post(s->link, LETTER_LOST, s->attempt,
			  paho_code_of_reason(paho_reason_of(data)),
			  "the broker refused a message");
	sent_done(s);
}

void paho_forget_publishes(struct paho *p)
{
	while (p->waiting) {
		struct waiting *w = p->waiting;
		p->waiting = w->next;
		free(w);
	}
	p->waiting_tail = &p->waiting;
	p->n_waiting = 0;
	p->outstanding = 0;
}

static int send_now(struct paho *p, struct slice sealed, size_t credit)
{
	MQTTAsync_responseOptions r = MQTTAsync_responseOptions_initializer;
	struct sent *s = calloc(1, sizeof *s);

	if (!s)
		return NE_MEMORY;
	*s = (struct sent){.link = p, .attempt = atomic_load(&p->attempt), .credit = credit};
	pthread_mutex_lock(&p->sent_lock);
	s->next = p->sent;
	s->prev = &p->sent;
	if (s->next)
		s->next->prev = &s->next;
	p->sent = s;
	pthread_mutex_unlock(&p->sent_lock);
	r.onSuccess5 = on_sent;
	r.onFailure5 = on_send_failed;
	r.context = s;
	if (MQTTAsync_send(p->client, p->plan->up, (int)sealed.len, sealed.at, 1, 0, &r) !=
	    MQTTASYNC_SUCCESS) {
		sent_done(s);
		if (!MQTTAsync_isConnected(p->client))
			paho_post(p, LETTER_LOST, atomic_load(&p->attempt), NE_UNREACHABLE,
				  "the connection to the broker was lost");
		return NE_UNREACHABLE;
	}
	p->outstanding++;
	return NE_OK;
}

int paho_publish(struct link *l, struct slice sealed, size_t credit, struct err *e)
{
	struct paho *p = (struct paho *)l;

	if (sealed.len > LIMIT_MESSAGE)
		return err_set(e, NE_LIMIT, "a message of %zu bytes is larger than %d", sealed.len,
			       LIMIT_MESSAGE);
	if (!p->client || p->phase != PHASE_CONNECTED || p->n_waiting >= LINK_WAITING_MAX)
		return err_set(e, NE_UNREACHABLE, "there is no connection to the broker");
	if (p->outstanding < LINK_WINDOW && !p->waiting) {
		int rc = send_now(p, sealed, credit);
		return rc ? err_set(e, rc, "the MQTT client did not take a message") : NE_OK;
	}
	struct waiting *w = malloc(sizeof *w + sealed.len);
	if (!w)
		return err_set(e, NE_MEMORY, "out of memory");
	*w = (struct waiting){.credit = credit, .len = sealed.len};
	memcpy(w->bytes, sealed.at, sealed.len);
	*p->waiting_tail = w;
	p->waiting_tail = &w->next;
	p->n_waiting++;
	return NE_OK;
}

void paho_fill_window(struct paho *p)
{
	while (p->waiting && p->outstanding < LINK_WINDOW) {
		struct waiting *w = p->waiting;
		/* A failure here is the end of the connection, which is told by a letter. */
		(void)!send_now(p, slice_of(w->bytes, w->len), w->credit);
		p->waiting = w->next;
		if (!p->waiting)
			p->waiting_tail = &p->waiting;
		p->n_waiting--;
		free(w);
	}
}

void paho_sent_free(struct paho *p)
{
	while (p->sent) {
		struct sent *s = p->sent;
		p->sent = s->next;
		free(s);
	}
}
