/* Lower bounds of a net's Lipschitz constant that are attained. */
#ifndef LIP_BOUND_ATTAIN_H
#define LIP_BOUND_ATTAIN_H

#include "core/affine/affine.h"
#include "core/base/error.h"
#include "core/norm/pnorm.h"

/* Working memory for one net. LIP_MEMORY. Free with lip_attain_free also after a failure. */
typedef struct lip_attain {
  const lip_affine *a;                                                         /* borrowed */
  double *value, *value_error, *tangent, *tangent_error, *spare, *spare_error; /* (widest) each, owned */
} lip_attain;
lip_status lip_attain_init(lip_attain *w, const lip_affine *a, lip_err *err);
void lip_attain_free(lip_attain *w);

/* Points arbitrarily close to x, one apart from the other by a multiple of v, move the outputs at least that fast: raises
 * *lower to ||J v||_q / ||v||_p, and pair[i, j] (C, C; NULL: not wanted) to |(J v)_i - (J v)_j| / ||v||_p, where these are
 * larger; all rounded down. */
void lip_attain_at(lip_attain *w, const float *x, const float *v, lip_p p, lip_p q, double *lower, double *pair);

#endif
