/* One flag that a signal handler may raise and long loops poll (once per batch or block). */
#ifndef LIP_BASE_CANCEL_H
#define LIP_BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/base/error.h"

typedef struct lip_cancel {
  atomic_int raised;
} lip_cancel;

/* Safe inside a signal handler. */
static inline void lip_cancel_raise(lip_cancel *c) {
  atomic_store(&c->raised, 1);
}
static inline void lip_cancel_clear(lip_cancel *c) {
  atomic_store(&c->raised, 0);
}
/* False for NULL. */
static inline bool lip_cancel_raised(lip_cancel *c) {
  return c && atomic_load_explicit(&c->raised, memory_order_relaxed) != 0;
}

/* The flag that operations on this thread poll which are handed none: norms, projections and decompositions of large
 * matrices, drawing of data. Like the rounding mode it belongs to the thread, and lip_pool_run lends it to the pool's.
 * NULL (the start): nothing stops them. Returns the one before. */
lip_cancel *lip_cancel_watch(lip_cancel *c);
lip_cancel *lip_cancel_watched(void);
/* Whether that flag is raised. What such an operation was about to give is then not there: it fails with LIP_CANCELLED
 * (lip_cancel_check), or answers "not proved" where that is an answer. */
bool lip_cancelled(void);
lip_status lip_cancel_check(const char *what, lip_err *err);

#endif
