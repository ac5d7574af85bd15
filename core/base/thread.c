/* A region is a number, and each of its shares goes to the first thread that claims it. What a thread has claimed it must
 * finish, but one that the scheduler has put aside holds nothing, and the caller runs its share instead: a busy
 * neighbour costs the second core, not a slice of the scheduler (4 to 8 ms) per region.
 *
 * Between two regions threads spin for 50 to 200 us, as long as a pause takes 10 to 40 ns, then sleep: a step of a small
 * network takes tens of microseconds, less than going to sleep and waking up. Measured on two cores under Linux 6.18: with
 * one or two busy neighbours the median of a step is that of one thread or better whatever the numbers; yielding
 * between spinning and sleeping gained nothing, since a thread that has slept is let in sooner than one that has
 * yielded; after 2 us of spinning the threads fall asleep between the steps of a quiet machine. */
#define _GNU_SOURCE
#include "core/base/thread.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "core/base/cancel.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/processors.h"

enum { SPINS = 5000 };

typedef struct slot {
  _Alignas(64) atomic_uint taken; /* the last region whose share of this number somebody has begun */
  lip_pool *pool;
  size_t id;
  pthread_t thread;
} slot;

struct lip_pool {
  size_t count;
  atomic_uint region;   /* a new number opens a region */
  atomic_uint finished; /* shares, of all regions so far */
  atomic_uint sleepers;
  atomic_bool stop;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  lip_task *task; /* of the open region, as are the next two */
  void *arg;
  bool flush;
  lip_cancel *cancel; /* the caller's flag */
  slot slots[LIP_MAX_THREADS];
};

static void relax(void) {
#if defined(__SSE__)
  _mm_pause();
#endif
}

/* Shares run with the same mode on every thread, whatever the caller's and whatever it was when the pool was made: round
 * to nearest, no exception unmasked, and on request flush to zero (bit 15) and denormals are zero (bit 6). */
static unsigned enter_mode(bool flush) {
#if defined(__SSE__)
  unsigned old = _mm_getcsr();
  _mm_setcsr(flush ? 0x9fc0u : 0x1f80u);
  return old;
#else
  (void)flush;
  return 0;
#endif
}

static void leave_mode(unsigned old) {
#if defined(__SSE__)
  _mm_setcsr(old);
#else
  (void)old;
#endif
}

/* All shares of a region are begun before the next one opens. So this fails for whoever comes too late, and fails before
 * anything of the region, which may be over, has been touched. */
static bool take(lip_pool *p, size_t id, unsigned region) {
  unsigned before = region - 1;
  return atomic_compare_exchange_strong(&p->slots[id].taken, &before, region);
}

/* One's own share first: its data may still be in this core's cache. */
static void run_shares(lip_pool *p, size_t id, unsigned region) {
  for (size_t k = 0; k < p->count; k++) {
    lip_worker me = {(id + k) % p->count, p->count};
    if (!take(p, me.id, region)) continue;
    unsigned mode = enter_mode(p->flush);
    lip_cancel *own = lip_cancel_watch(p->cancel);
    p->task(p->arg, &me);
    lip_cancel_watch(own);
    leave_mode(mode);
    atomic_fetch_add(&p->finished, 1);
  }
}

/* Returns the number of the open region, which is not `seen`. */
static unsigned wait_for_work(lip_pool *p, unsigned seen) {
  unsigned region;
  for (int tries = 0; tries < SPINS; tries++, relax())
    if ((region = atomic_load(&p->region)) != seen) return region;
  pthread_mutex_lock(&p->mutex);
  atomic_fetch_add(&p->sleepers, 1);
  while ((region = atomic_load(&p->region)) == seen) pthread_cond_wait(&p->wake, &p->mutex);
  atomic_fetch_sub(&p->sleepers, 1);
  pthread_mutex_unlock(&p->mutex);
  return region;
}

static void *worker_main(void *arg) {
  slot *s = arg;
  lip_pool *p = s->pool;
  for (unsigned seen = 0;;) {
    seen = wait_for_work(p, seen);
    if (atomic_load(&p->stop)) return NULL;
    run_shares(p, s->id, seen);
  }
}

static unsigned open_region(lip_pool *p) {
  unsigned region = atomic_fetch_add(&p->region, 1) + 1;
  if (atomic_load(&p->sleepers) == 0) return region;
  pthread_mutex_lock(&p->mutex);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->mutex);
  return region;
}

void lip_pool_run(lip_pool *p, bool flush, lip_task *task, void *arg) {
  if (!p || p->count == 1) {
    lip_worker alone = {0, 1};
    unsigned mode = enter_mode(flush);
    task(arg, &alone);
    leave_mode(mode);
    return;
  }
  p->task = task;
  p->arg = arg;
  p->flush = flush;
  p->cancel = lip_cancel_watched();
  unsigned region = open_region(p), all = region * (unsigned)p->count;
  run_shares(p, 0, region);
  for (int tries = 0; atomic_load(&p->finished) != all; tries++)
    if (tries < SPINS)
      relax();
    else
      sched_yield(); /* whoever has claimed a share may be waiting for this very core */
}

size_t lip_default_threads(lip_err *err) {
  const char *text = getenv("LIPWB_THREADS");
  size_t n = text && *text ? lip_whole(text) : lip_processors();
  if (n == 0)
    lip_fail(err, LIP_ARGUMENT, "LIPWB_THREADS expects a whole number of threads from 1 on, got '%s'", text);
  return n < LIP_MAX_THREADS ? n : LIP_MAX_THREADS;
}

static bool start_workers(lip_pool *p) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old); /* threads inherit the mask: signals go to the caller */
  size_t made = 1;
  for (; made < p->count; made++) {
    p->slots[made].pool = p;
    p->slots[made].id = made;
    if (pthread_create(&p->slots[made].thread, NULL, worker_main, &p->slots[made])) break;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  bool ok = made == p->count;
  p->count = made;
  return ok;
}

lip_pool *lip_pool_new(size_t threads, lip_err *err) {
  if (threads == 0 && (threads = lip_default_threads(err)) == 0) return NULL;
  if (threads > LIP_MAX_THREADS) {
    lip_fail(err, LIP_ARGUMENT, "threads: at most %d, got %zu", LIP_MAX_THREADS, threads);
    return NULL;
  }
  lip_pool *p = lip_alloc(1, sizeof *p);
  if (!p) {
    lip_fail(err, LIP_MEMORY, "no memory for a pool of %zu threads", threads);
    return NULL;
  }
  p->count = threads;
  pthread_mutex_init(&p->mutex, NULL);
  pthread_cond_init(&p->wake, NULL);
  if (!start_workers(p)) {
    lip_fail(err, LIP_MEMORY, "the system gave only %zu of %zu threads", p->count, threads);
    lip_pool_free(p);
    return NULL;
  }
  return p;
}

void lip_pool_free(lip_pool *p) {
  if (!p) return;
  atomic_store(&p->stop, true);
  open_region(p);
  for (size_t i = 1; i < p->count; i++) pthread_join(p->slots[i].thread, NULL);
  pthread_mutex_destroy(&p->mutex);
  pthread_cond_destroy(&p->wake);
  lip_free(p);
}

size_t lip_pool_threads(const lip_pool *p) {
  return p ? p->count : 1;
}

void lip_share(const lip_worker *me, size_t n, size_t grain, size_t *begin, size_t *end) {
  size_t blocks = (n + grain - 1) / grain;
  size_t first = blocks * me->id / me->count, last = blocks * (me->id + 1) / me->count;
  *begin = first * grain < n ? first * grain : n;
  *end = last * grain < n ? last * grain : n;
}

/* ---- one task on a thread of its own ---- */

typedef struct apart {
  void (*task)(void *arg), (*drop)(void *arg);
  void *arg;
  pthread_mutex_t mutex;
  pthread_cond_t over;
  bool done, left; /* the task has ended; nobody waits for it */
} apart;

static void apart_free(apart *a) {
  pthread_cond_destroy(&a->over);
  pthread_mutex_destroy(&a->mutex);
  lip_free(a);
}

static void *apart_main(void *arg) {
  apart *a = arg;
  a->task(a->arg);
  pthread_mutex_lock(&a->mutex);
  a->done = true;
  bool left = a->left;
  pthread_cond_signal(&a->over);
  pthread_mutex_unlock(&a->mutex);
  if (!left) return NULL;
  a->drop(a->arg);
  apart_free(a);
  return NULL;
}

/* True when the task is over. */
static bool wait_or_leave(apart *a) {
  const double pause = 0.02; /* seconds between two looks at the flag */
  pthread_mutex_lock(&a->mutex);
  while (!a->done && !lip_cancelled()) {
    double until = lip_seconds() + pause, whole = floor(until);
    struct timespec at = {(time_t)whole, (long)((until - whole) * 1e9)};
    pthread_cond_timedwait(&a->over, &a->mutex, &at);
  }
  bool done = a->done;
  a->left = !done;
  pthread_mutex_unlock(&a->mutex);
  return done;
}

static apart *apart_new(void (*task)(void *), void (*drop)(void *), void *arg) {
  pthread_condattr_t attr;
  apart *a = lip_alloc(1, sizeof *a);
  if (!a) return NULL;
  *a = (apart){.task = task, .drop = drop, .arg = arg};
  pthread_mutex_init(&a->mutex, NULL);
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&a->over, &attr);
  pthread_condattr_destroy(&attr);
  return a;
}

bool lip_run_apart(void (*task)(void *arg), void (*drop)(void *arg), void *arg) {
  sigset_t all, old;
  pthread_t thread;
  apart *a = lip_cancel_watched() ? apart_new(task, drop, arg) : NULL;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  bool runs = a && pthread_create(&thread, NULL, apart_main, a) == 0;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (!runs) {
    if (a) apart_free(a);
    task(arg);
    return true;
  }
  if (!wait_or_leave(a)) {
    pthread_detach(thread); /* it frees what it holds */
    return false;
  }
  pthread_join(thread, NULL);
  apart_free(a);
  return true;
}
