/* Files that are either there in full or not at all. */
#ifndef LIP_BASE_ATOMIC_H
#define LIP_BASE_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"

/* A file being written under a temporary name in the folder of its final one: ".NAME.PID-COUNT.part", NAME cut to
 * what names have room for. Its writer holds a lock (flock) on it for as long as it lives, so that what a killed one
 * has left is known by being free; the next writer of the same name removes it. */
typedef struct lip_atomic lip_atomic;

/* Only a regular file (or nothing) may stand at `path`. A symbolic link is followed, and the file it leads to is
 * replaced; not one that somebody else has put into a folder where everybody may write (/tmp). LIP_IO, LIP_NOT_FOUND
 * (no such folder), LIP_MEMORY. Ends with lip_atomic_commit or lip_atomic_abandon. */
lip_status lip_atomic_open(const char *path, lip_atomic **out, lip_err *err);
/* `name` (without a slash) in the folder that is open as `folder`, which stays the caller's; a symbolic link is
 * refused. `path` is what messages call it. */
lip_status lip_atomic_open_in(int folder, const char *name, const char *path, lip_atomic **out, lip_err *err);
/* The first failure is remembered: later writes do nothing and commit reports it. */
void lip_atomic_write(lip_atomic *a, const void *bytes, size_t n);
/* Flushes to the disk and closes: nothing is written after it. Who changes several files together finishes all of them
 * before the first is committed, so that a full disk leaves the old ones. The same failure again at commit. LIP_IO. */
lip_status lip_atomic_finish(lip_atomic *a, lip_err *err);
/* Finishes, takes the final name, flushes the folder; releases `a`. On failure what stood at the path
 * before is untouched and the temporary file is gone; only should the very last step fail, the new file is in place
 * and may not survive a power cut. LIP_IO. */
lip_status lip_atomic_commit(lip_atomic *a, lip_err *err);
/* Removes the temporary file and releases `a`; accepts NULL. */
void lip_atomic_abandon(lip_atomic *a);

/* Whether `name` in the open folder is such a temporary file whose writer lives no more. */
bool lip_atomic_is_left(int folder, const char *name);

#endif
