/* How far a bound has come, for people who wait: what is at work, how much of it is done, and who is told. */
#ifndef LIP_BOUND_WATCH_H
#define LIP_BOUND_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct lip_watch {
  /* Called every `every` seconds at most; false: stop, which ends the method with LIP_CANCELLED. */
  bool (*show)(struct lip_watch *p);
  void *arg;
  bool anywhere; /* any thread may call show; else only the one that asked, outside of parallel regions */
  double every;
  /* what show reads; kept by the methods */
  const char *method;
  atomic_size_t done, total;
  double began;
  _Atomic double next;
  atomic_flag showing;
  atomic_bool stopped;
} lip_watch;

/* Both accept NULL, which nobody waits for. `total` pieces of work begin. */
void lip_watch_begin(lip_watch *p, const char *method, size_t total);
/* Shows where things stand when it is time. False: stop. `inside`: the caller is in a parallel region. */
bool lip_watch_tell(lip_watch *p, bool inside);
/* Whether a region should end so that the thread that asked can tell. */
bool lip_watch_waits(const lip_watch *p);
void lip_watch_add(lip_watch *p, size_t done);
bool lip_watch_stopped(const lip_watch *p);

#endif
