/* A fixed pool of threads. Work is split by index, never by who comes first, so results do not
 * depend on the number of threads as long as the pieces are independent. */
#ifndef LIP_BASE_THREAD_H
#define LIP_BASE_THREAD_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"

#define LIP_MAX_THREADS 64

typedef struct lip_pool lip_pool;

/* `threads` workers in all, the calling thread included (1: no thread is made); 0 means the
 * processors that the process may use (core/base/processors.h), or what LIPWB_THREADS says. NULL + err on failure.
 * Workers block every signal. Owned by the caller: lip_pool_free. */
lip_pool *lip_pool_new(size_t threads, lip_err *err);
void lip_pool_free(lip_pool *pool);            /* accepts NULL */
size_t lip_pool_threads(const lip_pool *pool); /* 1 for NULL */

/* Number of threads that lip_pool_new(0) would take; 0 + err: LIPWB_THREADS is no whole number. */
size_t lip_default_threads(lip_err *err);

/* One share of a parallel region. */
typedef struct lip_worker {
  size_t id, count; /* 0 <= id < count, the pool's number of threads */
} lip_worker;

typedef void lip_task(void *arg, const lip_worker *me);

/* Runs task(arg, share) once for every share and waits for all. A thread begins with the share of its own number; one
 * that nobody has begun goes to whoever is through, so that the caller never waits for a thread that is not running.
 * Shares may thus run one after the other: a task cannot wait for another share. They round to
 * nearest, with `flush` also with FTZ and DAZ set (denormals are zero); the caller's own mode is restored after. pool
 * may be NULL: then there is one share. Not reentrant, and for one caller at a time. */
void lip_pool_run(lip_pool *pool, bool flush, lip_task *task, void *arg);

/* Runs task(arg) on a thread of its own and waits for its end, or until the flag that the caller watches (cancel.h) is
 * raised: then false, and the task goes on by itself, with `arg`, until it ends and drop(arg) frees it. For what cannot
 * poll: LAPACK. The caller runs it where no flag is watched or no thread is to be had. */
bool lip_run_apart(void (*task)(void *arg), void (*drop)(void *arg), void *arg);

/* The share [*begin, *end) of 0..n-1 for worker `me`, in multiples of `grain` (the last may be short).
 * Depends on n, grain, id and count only. */
void lip_share(const lip_worker *me, size_t n, size_t grain, size_t *begin, size_t *end);

#endif
