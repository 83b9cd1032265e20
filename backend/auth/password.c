#include "backend/auth/password.h"

#include <argon2.h>
#include <openssl/rand.h>
#include <string.h>
#include <unistd.h>

enum { MEMORY_KIB = 19 * 1024, PASSES = 2, LANES = 1, SALT_LEN = 16, HASH_LEN = 32 };

int password_hash(struct slice password, char out[static PASSWORD_HASH_MAX], struct err *e)
{
	uint8_t salt[SALT_LEN];

	if (RAND_bytes(salt, sizeof salt) != 1)
		return err_set(e, NE_INTERNAL, "no random bytes for a password's salt");
	int rc = argon2id_hash_encoded(PASSES, MEMORY_KIB, LANES, password.at, password.len, salt,
				       sizeof salt, HASH_LEN, out, PASSWORD_HASH_MAX);
	if (rc == ARGON2_MEMORY_ALLOCATION_ERROR)
		return err_set(e, NE_MEMORY, "no memory to hash a password");
	if (rc != ARGON2_OK)
		return err_set(e, NE_INTERNAL, "cannot hash the password: %s",
			       argon2_error_message(rc));
	return 0;
}

int password_verify(struct slice password, const char *hash, struct err *e)
{
	int rc = argon2id_verify(hash, password.at, password.len);

	if (rc == ARGON2_MEMORY_ALLOCATION_ERROR)
		return err_set(e, NE_MEMORY, "no memory to check a password");
	if (rc != ARGON2_OK)
		return err_set(e, NE_AUTH, "wrong password");
	return 0;
}

void hash_gate_init(struct hash_gate *g)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	memset(g, 0, sizeof *g);
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->left, NULL);
	g->inside_max = cores >= 4 ? (unsigned)cores / 2 : 1;
}

void hash_gate_destroy(struct hash_gate *g)
{
	pthread_cond_destroy(&g->left);
	pthread_mutex_destroy(&g->lock);
}

int hash_gate_enter(struct hash_gate *g)
{
	int rc = 0;

	pthread_mutex_lock(&g->lock);
	if (g->inside >= g->inside_max && g->waiting >= PASSWORD_QUEUE) {
		rc = NE_BUSY;
	} else {
		g->waiting++;
		while (g->inside >= g->inside_max)
			pthread_cond_wait(&g->left, &g->lock);
		g->waiting--;
		g->inside++;
	}
	pthread_mutex_unlock(&g->lock);
	return rc;
}

void hash_gate_leave(struct hash_gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->inside--;
	pthread_cond_signal(&g->left);
	pthread_mutex_unlock(&g->lock);
}
