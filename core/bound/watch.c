#include "core/bound/watch.h"

#include "core/base/clock.h"

void lip_watch_begin(lip_watch *p, const char *method, size_t total) {
  if (!p) return;
  double now = lip_seconds();
  if (!(p->began > 0)) {
    p->began = now;
    atomic_store(&p->next, now + p->every);
  }
  p->method = method;
  atomic_store(&p->done, 0);
  atomic_store(&p->total, total);
}

bool lip_watch_stopped(const lip_watch *p) {
  return p && atomic_load(&p->stopped);
}

static bool due(const lip_watch *p) {
  return lip_seconds() >= atomic_load(&p->next);
}

bool lip_watch_waits(const lip_watch *p) {
  return p && (atomic_load(&p->stopped) || (!p->anywhere && due(p)));
}

bool lip_watch_tell(lip_watch *p, bool inside) {
  if (!p) return true;
  if ((p->anywhere || !inside) && due(p) && !atomic_flag_test_and_set(&p->showing)) {
    if (!p->show(p)) atomic_store(&p->stopped, true);
    atomic_store(&p->next, lip_seconds() + p->every);
    atomic_flag_clear(&p->showing);
  }
  return !atomic_load(&p->stopped);
}

void lip_watch_add(lip_watch *p, size_t done) {
  if (p) atomic_fetch_add(&p->done, done);
}
