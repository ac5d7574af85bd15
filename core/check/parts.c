/* The memory of a check, in one list. */
#include "core/check/parts.h"

#include <stdint.h>

#include "core/base/mem.h"

typedef struct held {
  struct held *next;
  double numbers[7]; /* what follows starts aligned */
} held;

void *lip_check_take(lip_check *c, size_t a, size_t b) {
  size_t n;
  held *h = lip_mul_fits(a, b, &n) && n < SIZE_MAX / 16 ? lip_alloc(sizeof *h + n * 8, 1) : NULL;
  c->failed = c->failed || !h;
  if (!h) return NULL;
  h->next = c->held;
  c->held = h;
  return h + 1;
}

void lip_check_drop(lip_check *c, held *until) {
  while (c->held != until) {
    held *h = c->held;
    c->held = h->next;
    lip_free(h);
  }
}
