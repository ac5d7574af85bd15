/* Workers spin a little, then yield, then sleep on a condition variable: a step of a small network takes
 * tens of microseconds, so going to sleep between two steps would cost more than the step; and on a
 * machine whose cores are all busy a pure spin would cost whole scheduler slices. */
#define _GNU_SOURCE
#include "core/base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "core/base/mem.h"

enum { SPINS = 200, YIELDS = 2000 };

typedef struct slot {
  lip_pool *pool;
  size_t id;
  pthread_t thread;
} slot;

struct lip_pool {
  size_t count;
  atomic_uint generation;     /* a new value starts a region */
  atomic_uint arrived, phase; /* barrier: who is here, and how many times it opened */
  atomic_uint sleepers;
  atomic_bool stop;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  lip_task *task;
  void *arg;
  bool flush;
  slot slots[LIP_MAX_THREADS];
};

static void relax(void) {
#if defined(__SSE__)
  _mm_pause();
#endif
}

/* MXCSR bits: flush to zero (15) and denormals are zero (6). */
static unsigned set_flush(void) {
#if defined(__SSE__)
  unsigned old = _mm_getcsr();
  _mm_setcsr(old | 0x8040u);
  return old;
#else
  return 0;
#endif
}

static void restore_mode(unsigned old) {
#if defined(__SSE__)
  _mm_setcsr(old);
#else
  (void)old;
#endif
}

static bool changed(atomic_uint *word, unsigned from, int *tries) {
  if (atomic_load_explicit(word, memory_order_acquire) != from) return true;
  if (++*tries < SPINS)
    relax();
  else
    sched_yield();
  return false;
}

void lip_barrier(const lip_worker *me) {
  lip_pool *p = me->pool;
  if (!p || me->count == 1) return;
  unsigned phase = atomic_load(&p->phase);
  if (atomic_fetch_add(&p->arrived, 1) + 1 == me->count) {
    atomic_store(&p->arrived, 0);
    atomic_fetch_add(&p->phase, 1);
    return;
  }
  int tries = 0;
  while (!changed(&p->phase, phase, &tries)) {
  }
}

static void run_share(lip_pool *p, size_t id) {
  lip_worker me = {p, id, p->count};
  unsigned mode = p->flush ? set_flush() : 0;
  p->task(p->arg, &me);
  if (p->flush) restore_mode(mode);
  lip_barrier(&me);
}

static void wait_for_work(lip_pool *p, unsigned seen) {
  int tries = 0;
  while (tries < SPINS + YIELDS)
    if (changed(&p->generation, seen, &tries)) return;
  pthread_mutex_lock(&p->mutex);
  atomic_fetch_add(&p->sleepers, 1);
  while (atomic_load(&p->generation) == seen) pthread_cond_wait(&p->wake, &p->mutex);
  atomic_fetch_sub(&p->sleepers, 1);
  pthread_mutex_unlock(&p->mutex);
}

static void *worker_main(void *arg) {
  slot *s = arg;
  lip_pool *p = s->pool;
  unsigned seen = 0;
  for (;;) {
    wait_for_work(p, seen);
    seen++;
    if (atomic_load(&p->stop)) return NULL;
    run_share(p, s->id);
  }
}

static void start_region(lip_pool *p) {
  atomic_fetch_add(&p->generation, 1);
  if (atomic_load(&p->sleepers) == 0) return;
  pthread_mutex_lock(&p->mutex);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->mutex);
}

void lip_pool_run(lip_pool *p, bool flush, lip_task *task, void *arg) {
  if (!p || p->count == 1) {
    lip_worker alone = {NULL, 0, 1};
    unsigned mode = flush ? set_flush() : 0;
    task(arg, &alone);
    if (flush) restore_mode(mode);
    return;
  }
  p->task = task;
  p->arg = arg;
  p->flush = flush;
  start_region(p);
  run_share(p, 0);
}

static size_t positive_env(const char *name) {
  const char *text = getenv(name);
  if (!text) return 0;
  long n = strtol(text, NULL, 10);
  return n > 0 ? (size_t)n : 0;
}

size_t lip_default_threads(void) {
  size_t n = positive_env("LIPWB_THREADS");
  if (n == 0) n = positive_env("SLURM_CPUS_PER_TASK");
  if (n == 0) {
    cpu_set_t set;
    n = sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
  }
  return n < LIP_MAX_THREADS ? n : LIP_MAX_THREADS;
}

static bool start_workers(lip_pool *p) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old); /* threads inherit the mask: signals go to the caller */
  size_t made = 1;
  for (; made < p->count; made++) {
    p->slots[made] = (slot){.pool = p, .id = made};
    if (pthread_create(&p->slots[made].thread, NULL, worker_main, &p->slots[made])) break;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  bool ok = made == p->count;
  p->count = made;
  return ok;
}

lip_pool *lip_pool_new(size_t threads, lip_err *err) {
  if (threads == 0) threads = lip_default_threads();
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
  start_region(p);
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
