/* Derivatives of a net in the form of affine.h at batches of points, in float32, for heuristics. */
#ifndef LIP_BOUND_SLOPE_H
#define LIP_BOUND_SLOPE_H

#include "core/affine/affine.h"
#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/norm/pnorm.h"

enum { LIP_SLOPE_ROWS = 32 }; /* the most points of lip_slope_cross */

/* Up to P points of one net at a time. */
typedef struct lip_slope {
  const lip_affine *a;
  size_t P;
  struct lip_slope_block *at; /* (n), owned */
  float *y, *h;               /* (P, widest): scratch */
  void *scratch;              /* of lip_gemm */
} lip_slope;

/* LIP_MEMORY. Free with lip_slope_free also after a failure. */
lip_status lip_slope_init(lip_slope *w, const lip_affine *a, size_t P, lip_err *err);
void lip_slope_free(lip_slope *w);

/* Values and slopes at x (P, n_in), P <= w->P. With `width` > 0 also how the slopes would change if every unit's were
 * averaged over `width` times the typical size of its block's values. */
void lip_slope_at(lip_slope *w, const float *x, size_t P, double width);
/* g (P, n_in) = J' u, u (P, C). */
void lip_slope_pull(lip_slope *w, const float *u, size_t P, float *g);
/* t (P, C) = J v, v (P, n_in). */
void lip_slope_push(lip_slope *w, const float *v, size_t P, float *t);
/* After pull of u and push of v: the gradient (P, n_in) of u' J(x) v in x, slopes averaged as asked for. */
void lip_slope_bend(lip_slope *w, size_t P, float *grad);

/* After the same two: the step (P, n_in) that takes one unit of each row to the other side of 0, as if the slopes of
 * those before it stayed. The unit is drawn among those whose slope there would raise u' J v most. */
void lip_slope_cross(lip_slope *w, size_t P, lip_rng *rng, float *step);

/* u with ||u||_{q*} = 1 and <u, d> = ||d||_q, up to rounding; u may be d. */
void lip_dual_vector(float *u, const float *d, size_t n, lip_p q);

#endif
