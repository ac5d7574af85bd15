/* One flag that a signal handler may raise and long loops poll (once per batch or block). */
#ifndef LIP_BASE_CANCEL_H
#define LIP_BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

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

#endif
