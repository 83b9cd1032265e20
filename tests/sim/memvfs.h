/*
 * A file system in memory for SQLite, named "sim": deterministic, fast, with a
 * clock of its own, and with power that can be cut at any write. A file is
 * known by its path; all functions below work on the files whose path begins
 * with `prefix` (a database, its journal and its WAL).
 */
#ifndef NEAP_SIM_MEMVFS_H
#define NEAP_SIM_MEMVFS_H

#include "tests/sim/rng.h"

#define MEMVFS_NAME "sim"

/* Registers the VFS; once in a process. */
void memvfs_register(void);
/* What `julianday('now')` says from now on. */
void memvfs_set_now(uint64_t unix_ms);

/* The content of files at one moment. */
struct memimage;
/*
 * What a disk would hold if the power went now: with `tear`, each block written since the file's
 * last sync is there or not, as chance has it; without, everything written is there (a killed
 * process).
 */
struct memimage *memvfs_image(const char *prefix, struct rng *tear);
/* The files of a database under another name. */
void memimage_rename(struct memimage *image, const char *from, const char *to);
void memimage_free(struct memimage *image);
/* Replaces the files of `prefix` by the image's. No connection to them may be open. */
void memvfs_restore(const char *prefix, const struct memimage *image);
void memvfs_remove(const char *prefix);

/*
 * From the n-th write on (1 is the next) every write to `prefix` fails, as if the process had been
 * killed there; the image of that moment is kept. Only one prefix at a time; n 0 disarms.
 */
void memvfs_fail_at(const char *prefix, uint64_t n, struct rng *tear);
/* How many writes until the armed failure strikes. */
uint64_t memvfs_armed(void);
/* The image kept when the armed failure struck, once; NULL if it did not. The caller owns it. */
struct memimage *memvfs_failed(void);

/* Removes every file; no connection may be open. */
void memvfs_clear(void);

#endif
