/* Errors per thread, and which thread runs which loop. */
#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "device/shell/neap_internal.h"

static _Thread_local struct {
	const neap *of;
	struct err err;
} last;

static _Thread_local struct api_loop *loops;

int api_done(const neap *n, int rc, const struct err *e)
{
	last.of = n;
	if (rc)
		last.err = *e;
	else
		last.err.text[0] = '\0';
	return ne_exit_code(rc);
}

const char *neap_error(const neap *n)
{
	return !n || n == last.of ? last.err.text : "";
}

void api_loop_push(struct api_loop *l, neap *n)
{
	*l = (struct api_loop){.next = loops, .n = n};
	loops = l;
}

void api_loop_pop(struct api_loop *l)
{
	struct api_loop **at = &loops;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
}

static struct api_loop *find(const neap *n)
{
	struct api_loop *l = loops;

	while (l && l->n != n)
		l = l->next;
	return l;
}

void api_calling(const neap *n, bool calling)
{
	struct api_loop *l = find(n);

	assert(l && l->calling != calling);
	l->calling = calling;
}

static bool in_callback(void)
{
	const struct api_loop *l = loops;

	while (l && !l->calling)
		l = l->next;
	return l != NULL;
}

int api_enter(const neap *n, const char *function, struct api_loop **here)
{
	struct err e = {0};
	int rc = NE_OK;

	if (!n)
		rc = err_set(&e, NE_USAGE, "%s: the handle is NULL", function);
	else if (n->pid != getpid())
		rc = err_set(&e, NE_USAGE,
			     "%s: the handle was opened before fork(); open one in this process",
			     function);
	else if (in_callback())
		rc = err_set(&e, NE_USAGE, "%s was called from inside a callback", function);
	if (here)
		*here = rc ? NULL : find(n);
	return rc ? api_done(n, rc, &e) : NE_OK;
}

int api_may_wait(const neap *n, struct err *e)
{
	for (const struct api_loop *l = loops; l; l = l->next)
		if (l->n != n && !strcmp(l->n->paths.db, n->paths.db))
			return err_set(e, NE_USAGE,
				       "this thread runs the loop of '%.200s' by another handle, "
				       "and would wait for itself: use that handle",
				       n->paths.db);
	return NE_OK;
}
