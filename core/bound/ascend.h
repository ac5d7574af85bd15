/* A search for points where a net is steep. What it finds is measured by attain.h: nothing here needs to be exact. */
#ifndef LIP_BOUND_ASCEND_H
#define LIP_BOUND_ASCEND_H

#include "core/affine/affine.h"
#include "core/base/cancel.h"
#include "core/base/error.h"
#include "core/base/thread.h"
#include "core/norm/pnorm.h"

typedef struct lip_ascent {
  const lip_affine *a;
  lip_p p, q;
  const float *x; /* (B, n_in) where to begin */
  size_t B;
  double work; /* multiplications to spend, about */
  lip_pool *pool;
  lip_cancel *cancel;
} lip_ascent;

/* Raises *lower and pair (C, C; NULL: not wanted) to what is attained at the steepest points found: see attain.h. The
 * same for any number of threads. LIP_MEMORY, LIP_CANCELLED. */
lip_status lip_ascend(const lip_ascent *how, double *lower, double *pair, lip_err *err);

#endif
