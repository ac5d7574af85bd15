/* Optimisers over the flat weight vector, in ranges, so that threads can share one update. */
#ifndef LIP_NET_OPTIM_H
#define LIP_NET_OPTIM_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/opt.h"

typedef struct lip_optim_kind {
  lip_desc desc; /* every kind has the option "lr" as its first member: double */
  size_t slots;  /* float arrays of state per parameter (momentum, second moment, ...) */
  /* w[i] for i in [i0,i1): one update with gradient g. slot[k] are the state arrays; t = 1, 2, ... counts updates;
   * lr is the rate of this update; decay[i] scales weight decay (0 for biases), may be NULL = 1. */
  void (*update)(const void *conf, float *w, const float *g, float *const *slot, const float *decay,
                 size_t i0, size_t i1, double lr, uint64_t t);
} lip_optim_kind;

/* An optimiser with its state. The state is sized at the first use with a net (lip_optim_reserve). */
typedef struct lip_optim {
  const lip_optim_kind *kind;
  void *conf;
  double lr;        /* rate of the next update; starts as the option */
  double clip_norm; /* rescale the gradient to this l2 norm when larger; INFINITY = never */
  uint64_t t;       /* updates done */
  double loss;      /* before the last one, when lip_net_step made it; else 0 */
  size_t n;         /* parameters */
  float *state;     /* slots * n floats, slot-major */
} lip_optim;

/* With a copy of `conf` (NULL: the defaults); lr and clip_norm are taken from it. LIP_MEMORY. Owned: lip_optim_free. */
lip_status lip_optim_new(const lip_optim_kind *kind, const void *conf, lip_optim **out, lip_err *err);
void lip_optim_free(lip_optim *o); /* accepts NULL */
/* Allocates zero state for n parameters if it has none; LIP_STATE when it belongs to another size. */
lip_status lip_optim_reserve(lip_optim *o, size_t n, lip_err *err);

const lip_optim_kind *lip_optim_kind_at(size_t i); /* rows of optims.def */
const lip_optim_kind *lip_optim_kind_find(const char *name);

#endif
