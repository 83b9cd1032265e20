#include "tests/sim/memvfs.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512, SHM_SLOTS = 8, PATH_MAX_LEN = 64, REGIONS_MAX = 64 };

struct handle;

/* A file: what is written, and what was synced. Equal outside [dirty_lo, dirty_hi). */
struct memfile {
	struct memfile *next;
	char path[PATH_MAX_LEN];
	unsigned refs;
	bool deleted;
	uint8_t *data, *synced;
	size_t size, cap, synced_size, synced_cap;
	size_t dirty_lo, dirty_hi;
	/* Locks of the rollback journal protocol. */
	unsigned n_shared;
	const struct handle *reserved, *pending;
	/* Shared memory of the WAL protocol. */
	unsigned shm_refs, n_region;
	void *region[REGIONS_MAX];
	unsigned shm_shared[SHM_SLOTS];
	const struct handle *shm_exclusive[SHM_SLOTS];
};

struct handle {
	sqlite3_file base;
	struct memfile *file;
	int level;
	bool shm;
	uint16_t shm_shared, shm_exclusive; /* slots held */
};

static struct memfile *files;
static uint64_t now_ms;

static struct {
	char prefix[PATH_MAX_LEN];
	uint64_t left; /* writes until it strikes; 0 disarmed */
	struct rng *tear;
	bool struck;
	struct memimage *image;
} trap;

struct memimage {
	struct memimage *next;
	char path[PATH_MAX_LEN];
	uint8_t *data;
	size_t size;
};

static bool has_prefix(const char *path, const char *prefix)
{
	return strncmp(path, prefix, strlen(prefix)) == 0;
}

static struct memfile *find(const char *path)
{
	for (struct memfile *f = files; f; f = f->next)
		if (!f->deleted && strcmp(f->path, path) == 0)
			return f;
	return NULL;
}

static void grow(uint8_t **at, size_t *cap, size_t need)
{
	if (need <= *cap)
		return;
	size_t to = *cap ? *cap : 4096;
	while (to < need)
		to *= 2;
	*at = realloc(*at, to);
	assert(*at);
	*cap = to;
}

static struct memfile *create(const char *path)
{
	struct memfile *f = calloc(1, sizeof *f);

	assert(f && strlen(path) < PATH_MAX_LEN);
	snprintf(f->path, sizeof f->path, "%s", path);
	f->dirty_lo = SIZE_MAX;
	f->next = files;
	files = f;
	return f;
}

static void release(struct memfile *f)
{
	if (f->refs > 0 || !f->deleted)
		return;
	struct memfile **at = &files;
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	for (unsigned i = 0; i < f->n_region; i++)
		free(f->region[i]);
	free(f->data);
	free(f->synced);
	free(f);
}

static void set_dirty(struct memfile *f, size_t lo, size_t hi)
{
	if (lo < f->dirty_lo)
		f->dirty_lo = lo;
	if (hi > f->dirty_hi)
		f->dirty_hi = hi;
}

static struct memimage *image_of(const struct memfile *f, struct rng *tear)
{
	struct memimage *image = calloc(1, sizeof *image);

	assert(image);
	memcpy(image->path, f->path, sizeof image->path);
	image->size = f->size;
	image->data = malloc(f->size + 1);
	assert(image->data);
	if (f->size)
		memcpy(image->data, f->data, f->size);
	if (!tear || f->dirty_lo >= f->dirty_hi)
		return image;
	if (f->size != f->synced_size && rng_chance(tear, 500)) {
		/* The new length did not reach the disk. */
		if (f->synced_size > f->size) {
			image->data = realloc(image->data, f->synced_size + 1);
			assert(image->data);
			memcpy(image->data + f->size, f->synced + f->size,
			       f->synced_size - f->size);
		}
		image->size = f->synced_size;
	}
	uint32_t keep = rng_below(tear, 3) * 500; /* none, half or all of the blocks */
	for (size_t at = f->dirty_lo / BLOCK * BLOCK; at < f->dirty_hi; at += BLOCK) {
		if (rng_chance(tear, keep))
			continue;
		for (size_t i = at; i < at + BLOCK && i < image->size; i++)
			image->data[i] = i < f->synced_size ? f->synced[i] : 0;
	}
	return image;
}

struct memimage *memvfs_image(const char *prefix, struct rng *tear)
{
	struct memimage *all = NULL;

	for (struct memfile *f = files; f; f = f->next) {
		if (f->deleted || !has_prefix(f->path, prefix))
			continue;
		struct memimage *one = image_of(f, tear);
		one->next = all;
		all = one;
	}
	if (!all) {
		/* No file is an image too. */
		all = calloc(1, sizeof *all);
		assert(all);
	}
	return all;
}

void memimage_free(struct memimage *image)
{
	while (image) {
		struct memimage *next = image->next;
		free(image->data);
		free(image);
		image = next;
	}
}

void memvfs_remove(const char *prefix)
{
	struct memfile *next;

	for (struct memfile *f = files; f; f = next) {
		next = f->next;
		if (f->deleted || !has_prefix(f->path, prefix))
			continue;
		assert(f->refs == 0);
		f->deleted = true;
		release(f);
	}
}

void memvfs_restore(const char *prefix, const struct memimage *image)
{
	memvfs_remove(prefix);
	for (; image; image = image->next) {
		if (!image->path[0])
			continue;
		struct memfile *f = create(image->path);
		grow(&f->data, &f->cap, image->size);
		grow(&f->synced, &f->synced_cap, image->size);
		if (image->size) {
			memcpy(f->data, image->data, image->size);
			memcpy(f->synced, image->data, image->size);
		}
		f->size = f->synced_size = image->size;
	}
}

void memvfs_clear(void)
{
	memvfs_fail_at("", 0, NULL);
	memvfs_remove("");
	assert(!files);
}

void memvfs_fail_at(const char *prefix, uint64_t n, struct rng *tear)
{
	memimage_free(trap.image);
	trap.image = NULL;
	trap.struck = false;
	trap.left = n;
	trap.tear = tear;
	snprintf(trap.prefix, sizeof trap.prefix, "%s", prefix);
}

uint64_t memvfs_armed(void)
{
	return trap.left;
}

void memimage_rename(struct memimage *image, const char *from, const char *to)
{
	for (; image; image = image->next) {
		char path[PATH_MAX_LEN + PATH_MAX_LEN];
		if (!has_prefix(image->path, from))
			continue;
		int n = snprintf(path, sizeof path, "%s%s", to, image->path + strlen(from));
		assert(n > 0 && n < PATH_MAX_LEN);
		memcpy(image->path, path, sizeof image->path);
	}
}

struct memimage *memvfs_failed(void)
{
	struct memimage *image = trap.image;

	trap.image = NULL;
	return image;
}

/* True if this change must not happen any more. */
static bool trapped(const struct memfile *f)
{
	if ((trap.left == 0 && !trap.struck) || !has_prefix(f->path, trap.prefix))
		return false;
	if (!trap.struck && --trap.left == 0) {
		trap.image = memvfs_image(trap.prefix, trap.tear);
		trap.struck = true;
	}
	return trap.struck;
}

/* ---- sqlite3_io_methods ---- */

static int x_close(sqlite3_file *base)
{
	struct handle *h = (struct handle *)base;

	h->file->refs--;
	release(h->file);
	return SQLITE_OK;
}

static int x_read(sqlite3_file *base, void *out, int n, sqlite3_int64 at)
{
	struct memfile *f = ((struct handle *)base)->file;
	size_t want = (size_t)n, from = (size_t)at;
	size_t have = from < f->size ? f->size - from : 0;

	if (have > want)
		have = want;
	if (have)
		memcpy(out, f->data + from, have);
	if (have == want)
		return SQLITE_OK;
	memset((uint8_t *)out + have, 0, want - have);
	return SQLITE_IOERR_SHORT_READ;
}

static int x_write(sqlite3_file *base, const void *from, int n, sqlite3_int64 at)
{
	struct memfile *f = ((struct handle *)base)->file;
	size_t lo = (size_t)at, hi = lo + (size_t)n;

	if (trapped(f))
		return SQLITE_IOERR_WRITE;
	grow(&f->data, &f->cap, hi);
	if (lo > f->size)
		memset(f->data + f->size, 0, lo - f->size);
	memcpy(f->data + lo, from, (size_t)n);
	set_dirty(f, lo < f->size ? lo : f->size, hi);
	if (hi > f->size)
		f->size = hi;
	return SQLITE_OK;
}

static int x_truncate(sqlite3_file *base, sqlite3_int64 size)
{
	struct memfile *f = ((struct handle *)base)->file;

	if (trapped(f))
		return SQLITE_IOERR_TRUNCATE;
	if ((size_t)size < f->size) {
		set_dirty(f, (size_t)size, f->size);
		f->size = (size_t)size;
	}
	return SQLITE_OK;
}

static int x_sync(sqlite3_file *base, int flags)
{
	struct memfile *f = ((struct handle *)base)->file;

	(void)flags;
	if (trapped(f))
		return SQLITE_IOERR_FSYNC;
	grow(&f->synced, &f->synced_cap, f->size);
	size_t hi = f->dirty_hi < f->size ? f->dirty_hi : f->size;
	if (f->dirty_lo < hi)
		memcpy(f->synced + f->dirty_lo, f->data + f->dirty_lo, hi - f->dirty_lo);
	f->synced_size = f->size;
	f->dirty_lo = SIZE_MAX;
	f->dirty_hi = 0;
	return SQLITE_OK;
}

static int x_file_size(sqlite3_file *base, sqlite3_int64 *size)
{
	*size = (sqlite3_int64)((struct handle *)base)->file->size;
	return SQLITE_OK;
}

static int x_lock(sqlite3_file *base, int level)
{
	struct handle *h = (struct handle *)base;
	struct memfile *f = h->file;

	if (h->level >= level)
		return SQLITE_OK;
	if (h->level == SQLITE_LOCK_NONE) {
		if (f->pending && f->pending != h)
			return SQLITE_BUSY;
		f->n_shared++;
		h->level = SQLITE_LOCK_SHARED;
	}
	if (level == SQLITE_LOCK_SHARED)
		return SQLITE_OK;
	if (f->reserved && f->reserved != h)
		return SQLITE_BUSY;
	if (level == SQLITE_LOCK_RESERVED) {
		f->reserved = h;
		h->level = SQLITE_LOCK_RESERVED;
		return SQLITE_OK;
	}
	if (f->pending && f->pending != h)
		return SQLITE_BUSY;
	f->pending = h;
	h->level = SQLITE_LOCK_PENDING;
	if (f->n_shared > 1)
		return SQLITE_BUSY;
	f->reserved = h;
	h->level = SQLITE_LOCK_EXCLUSIVE;
	return SQLITE_OK;
}

static int x_unlock(sqlite3_file *base, int level)
{
	struct handle *h = (struct handle *)base;
	struct memfile *f = h->file;

	if (h->level <= level)
		return SQLITE_OK;
	if (f->reserved == h)
		f->reserved = NULL;
	if (f->pending == h)
		f->pending = NULL;
	if (level == SQLITE_LOCK_NONE)
		f->n_shared--;
	h->level = level;
	return SQLITE_OK;
}

static int x_check_reserved(sqlite3_file *base, int *out)
{
	*out = ((struct handle *)base)->file->reserved != NULL;
	return SQLITE_OK;
}

static int x_file_control(sqlite3_file *base, int op, void *arg)
{
	(void)base;
	(void)op;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int x_sector_size(sqlite3_file *base)
{
	(void)base;
	return BLOCK;
}

static int x_characteristics(sqlite3_file *base)
{
	(void)base;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int x_shm_map(sqlite3_file *base, int index, int size, int extend, void volatile **out)
{
	struct handle *h = (struct handle *)base;
	struct memfile *f = h->file;

	if (!h->shm) {
		h->shm = true;
		f->shm_refs++;
	}
	*out = NULL;
	assert(index >= 0 && index < REGIONS_MAX);
	while (extend && f->n_region <= (unsigned)index) {
		f->region[f->n_region] = calloc(1, (size_t)size);
		assert(f->region[f->n_region]);
		f->n_region++;
	}
	if ((unsigned)index < f->n_region)
		*out = f->region[index];
	return SQLITE_OK;
}

static int x_shm_lock(sqlite3_file *base, int offset, int n, int flags)
{
	struct handle *h = (struct handle *)base;
	struct memfile *f = h->file;

	for (int i = offset; i < offset + n; i++) {
		uint16_t bit = (uint16_t)(1u << i);
		if (!(flags & SQLITE_SHM_LOCK))
			continue;
		if (f->shm_exclusive[i] && f->shm_exclusive[i] != h)
			return SQLITE_BUSY;
		if ((flags & SQLITE_SHM_EXCLUSIVE) &&
		    f->shm_shared[i] > (h->shm_shared & bit ? 1u : 0u))
			return SQLITE_BUSY;
	}
	for (int i = offset; i < offset + n; i++) {
		uint16_t bit = (uint16_t)(1u << i);
		if (flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE)) {
			f->shm_exclusive[i] = h;
			h->shm_exclusive |= bit;
		} else if (flags == (SQLITE_SHM_LOCK | SQLITE_SHM_SHARED)) {
			if (!(h->shm_shared & bit))
				f->shm_shared[i]++;
			h->shm_shared |= bit;
		} else if (flags == (SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE)) {
			f->shm_exclusive[i] = NULL;
			h->shm_exclusive &= (uint16_t)~bit;
		} else if (h->shm_shared & bit) {
			f->shm_shared[i]--;
			h->shm_shared &= (uint16_t)~bit;
		}
	}
	return SQLITE_OK;
}

static void x_shm_barrier(sqlite3_file *base)
{
	(void)base;
}

static int x_shm_unmap(sqlite3_file *base, int delete)
{
	struct handle *h = (struct handle *)base;
	struct memfile *f = h->file;

	(void)delete;
	if (!h->shm)
		return SQLITE_OK;
	h->shm = false;
	if (--f->shm_refs == 0) {
		for (unsigned i = 0; i < f->n_region; i++)
			free(f->region[i]);
		f->n_region = 0;
	}
	return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = x_close,
	.xRead = x_read,
	.xWrite = x_write,
	.xTruncate = x_truncate,
	.xSync = x_sync,
	.xFileSize = x_file_size,
	.xLock = x_lock,
	.xUnlock = x_unlock,
	.xCheckReservedLock = x_check_reserved,
	.xFileControl = x_file_control,
	.xSectorSize = x_sector_size,
	.xDeviceCharacteristics = x_characteristics,
	.xShmMap = x_shm_map,
	.xShmLock = x_shm_lock,
	.xShmBarrier = x_shm_barrier,
	.xShmUnmap = x_shm_unmap,
};

/* ---- sqlite3_vfs ---- */

static int x_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *out_flags)
{
	struct handle *h = (struct handle *)base;
	struct memfile *f = path ? find(path) : NULL;

	(void)vfs;
	memset(h, 0, sizeof *h);
	if (!f && !(flags & SQLITE_OPEN_CREATE))
		return SQLITE_CANTOPEN;
	if (!f)
		f = create(path ? path : "");
	if (!path || flags & SQLITE_OPEN_DELETEONCLOSE)
		f->deleted = true;
	f->refs++;
	h->file = f;
	h->base.pMethods = &methods;
	if (out_flags)
		*out_flags = flags;
	return SQLITE_OK;
}

static int x_delete(sqlite3_vfs *vfs, const char *path, int sync)
{
	struct memfile *f = find(path);

	(void)vfs;
	(void)sync;
	if (!f)
		return SQLITE_IOERR_DELETE_NOENT;
	if (trapped(f))
		return SQLITE_IOERR_DELETE;
	f->deleted = true;
	release(f);
	return SQLITE_OK;
}

static int x_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
	const struct memfile *f = find(path);

	(void)vfs;
	*out = f && !(flags == SQLITE_ACCESS_EXISTS && f->size == 0);
	return SQLITE_OK;
}

static int x_full_pathname(sqlite3_vfs *vfs, const char *path, int n, char *out)
{
	(void)vfs;
	sqlite3_snprintf(n, out, "%s", path);
	return SQLITE_OK;
}

static int x_randomness(sqlite3_vfs *vfs, int n, char *out)
{
	/* SQLite asks once in a process; each run seeds its generator anew. */
	(void)vfs;
	memset(out, 1, (size_t)n);
	return n;
}

static int x_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return us;
}

static int x_time(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
	static const sqlite3_int64 epoch = 24405875 * (sqlite3_int64)8640000;

	(void)vfs;
	*out = epoch + (sqlite3_int64)now_ms;
	return SQLITE_OK;
}

static int x_time_old(sqlite3_vfs *vfs, double *out)
{
	sqlite3_int64 t;

	x_time(vfs, &t);
	*out = (double)t / 86400000.0;
	return SQLITE_OK;
}

static int x_last_error(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	(void)n;
	(void)out;
	return 0;
}

void memvfs_register(void)
{
	static sqlite3_vfs vfs = {
		.iVersion = 2,
		.szOsFile = sizeof(struct handle),
		.mxPathname = PATH_MAX_LEN,
		.zName = MEMVFS_NAME,
		.xOpen = x_open,
		.xDelete = x_delete,
		.xAccess = x_access,
		.xFullPathname = x_full_pathname,
		.xRandomness = x_randomness,
		.xSleep = x_sleep,
		.xCurrentTime = x_time_old,
		.xGetLastError = x_last_error,
		.xCurrentTimeInt64 = x_time,
	};

	int rc = sqlite3_vfs_register(&vfs, 0);
	assert(rc == SQLITE_OK);
}

void memvfs_set_now(uint64_t unix_ms)
{
	now_ms = unix_ms;
}
