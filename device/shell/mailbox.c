#include "device/shell/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
	pthread_mutex_t lock;
	int fd;
	struct letter *head, **tail;
	size_t n_message, n_byte;
	uint64_t dropped;
};

int mailbox_new(struct mailbox **out, struct err *e)
{
	struct mailbox *m = calloc(1, sizeof *m);

	if (!m)
		return err_set(e, NE_MEMORY, "out of memory");
	m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->fd < 0) {
		free(m);
		return err_set(e, NE_INTERNAL, "eventfd: %s", strerror(errno));
	}
	pthread_mutex_init(&m->lock, NULL);
	m->tail = &m->head;
	*out = m;
	return NE_OK;
}

void mailbox_free(struct mailbox *m)
{
	struct letter *l;

	if (!m)
		return;
	while ((l = mailbox_take(m)) != NULL)
		free(l);
	close(m->fd);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

int mailbox_fd(const struct mailbox *m)
{
	return m->fd;
}

struct letter *letter_new(enum letter_type type, uint64_t attempt, size_t len)
{
	struct letter *l = len > LIMIT_MESSAGE ? NULL : calloc(1, sizeof *l + len);

	if (l) {
		l->type = type;
		l->attempt = attempt;
		l->len = len;
	}
	return l;
}

/* Room for a message; notices always have it. */
static bool has_room(const struct mailbox *m, const struct letter *l)
{
	return l->type != LETTER_MESSAGE ||
	       (m->n_message < MAILBOX_MESSAGES && l->len <= MAILBOX_BYTES - m->n_byte);
}

bool mailbox_post(struct mailbox *m, struct letter *l)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&m->lock);
	bool taken = l && has_room(m, l);
	if (taken) {
		l->next = NULL;
		*m->tail = l;
		m->tail = &l->next;
		if (l->type == LETTER_MESSAGE) {
			m->n_message++;
			m->n_byte += l->len;
		}
		/* Cannot fail: the counter is reset at each take that empties the queue. */
		(void)!write(m->fd, &one, sizeof one);
	} else {
		m->dropped++;
	}
	pthread_mutex_unlock(&m->lock);
	if (!taken)
		free(l);
	return taken;
}

struct letter *mailbox_take(struct mailbox *m)
{
	uint64_t count;

	pthread_mutex_lock(&m->lock);
	struct letter *l = m->head;
	if (l) {
		m->head = l->next;
		if (l->type == LETTER_MESSAGE) {
			m->n_message--;
			m->n_byte -= l->len;
		}
	}
	if (!m->head) {
		m->tail = &m->head;
		(void)!read(m->fd, &count, sizeof count);
	}
	pthread_mutex_unlock(&m->lock);
	return l;
}

uint64_t mailbox_dropped(struct mailbox *m)
{
	pthread_mutex_lock(&m->lock);
	uint64_t n = m->dropped;
	pthread_mutex_unlock(&m->lock);
	return n;
}
