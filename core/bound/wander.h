/* A search among the linear pieces of a net, from points that are steep already. Nothing here needs to be exact. */
#ifndef LIP_BOUND_WANDER_H
#define LIP_BOUND_WANDER_H

#include "core/base/cancel.h"
#include "core/bound/slope.h"

typedef struct lip_wander {
  lip_slope *slope;
  lip_cancel *cancel;
  lip_p p, q;
  bool whole;  /* the norm of all outputs is wanted: u follows J v; else u stays, and |u' J| is */
  size_t rows; /* at most slope->P and LIP_SLOPE_ROWS */
  size_t steps;
  uint64_t seed;
  float *x, *u;            /* (rows, n_in) and (rows, C): where to begin, and where it ends */
  float *y, *v, *g, *grad; /* (rows, n_in): scratch */
  float *t;                /* (rows, C): scratch */
  float *best_x;           /* (n_in) the steepest point so far */
  double best;             /* how steep it is; negative: none */
} lip_wander;

void lip_wander_run(lip_wander *w);

#endif
