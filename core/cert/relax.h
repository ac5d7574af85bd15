/* Intervals of a net's activations while its input stays in a ball, and lower bounds of linear functions of them, by
 * interval arithmetic and by linear relaxation (Zhang et al. 2018, "CROWN"; Singh et al. 2019, "DeepPoly"). Everything
 * is rounded outwards; the proof stands in relax.c.
 *
 * Units are those of affine.h: of a pair that is put in order, sum and difference. */
#ifndef LIP_CERT_RELAX_H
#define LIP_CERT_RELAX_H

#include <stdbool.h>
#include <stddef.h>

#include "core/affine/affine.h"
#include "core/base/cancel.h"
#include "core/base/error.h"
#include "core/norm/pnorm.h"

/* Whether bounds are about the exact function of the stored weights, or about what float32 arithmetic makes of it: any
 * order of summation, fused or not, denormal numbers kept or flushed. Then the units are the executed numbers. */
typedef enum lip_executed { LIP_EXECUTED_EXACT, LIP_EXECUTED_FLOAT32 } lip_executed;

/* {x' : ||(x' - x) / scale||_p <= eps}, cut with the box from_k <= x'_k <= to_k when `boxed` and x itself lies in the
 * box. */
typedef struct lip_region {
  const float *x; /* (n_in); NULL: the box alone, p = inf, both sides finite; eps and scale do not count */
  lip_p p;
  double eps; /* finite, >= 0; anything else makes every bound infinite */
  bool boxed;
  const double *from, *to; /* (n_in) when `boxed`; infinite: no limit */
  lip_executed executed;
  lip_cancel *cancel;  /* raised: nothing is known; may be NULL */
  const double *scale; /* (n_in) finite, >= 0, 0: x'_k = x_k; NULL: 1 everywhere */
} lip_region;

/* What does not depend on the region: matrices in double. `a` is borrowed, for as long as the result is used. NULL in
 * *out when the net has no such form or its matrices are too large (more than 2^25 numbers; zeros do not count in rows that
 * are mostly zeros). LIP_MEMORY. */
typedef struct lip_relax lip_relax;
lip_status lip_relax_new(const lip_affine *a, lip_p p, lip_relax **out, lip_err *err);
void lip_relax_free(lip_relax *r); /* accepts NULL */

/* Intervals of one region at a time; one thread's own. LIP_MEMORY. */
typedef struct lip_ranges lip_ranges;
lip_status lip_ranges_new(const lip_relax *r, lip_ranges **out, lip_err *err);
void lip_ranges_free(lip_ranges *g); /* accepts NULL */

/* Intervals by interval arithmetic. The region's x is borrowed until the last question about it. */
void lip_ranges_start(lip_ranges *g, const lip_region *region);
/* Makes those of the units whose slope is not yet known smaller by linear relaxation, block after block. */
void lip_ranges_tighten(lip_ranges *g);
/* Interval of unit k after matrix l: `from` and `to` (M), lent; infinite where nothing is known. */
void lip_ranges_at(const lip_ranges *g, size_t l, const double **from, const double **to);
/* low[i] <= C_i . z + d_i everywhere in the region, z the values after matrix l (of a pair the two themselves, before they
 * are put in order): C (m, M), d (m) or NULL: 0. By interval arithmetic (`relaxed` false: cheap) or by relaxation as well;
 * -INFINITY where nothing is known, also of a row with a number that is not finite. */
void lip_ranges_rows(lip_ranges *g, size_t l, const double *C, const double *d, size_t m, bool relaxed,
                     double *low);
/* The rows z_y - z_j of the outputs: (n_out), low[y] = 0. */
void lip_ranges_margins(lip_ranges *g, size_t y, bool relaxed, double *low);
/* Intervals of the first n values after matrix l, as rows: from[k] and to[k] at bounds[2 k] and bounds[2 k + 1];
 * infinite where nothing is known. */
void lip_ranges_values(lip_ranges *g, size_t l, size_t n, bool relaxed, double *bounds);
/* Slopes (M) of what follows matrix l in the region, of a pair of sum and difference; lent. False: nothing is known. */
bool lip_ranges_slopes(const lip_ranges *g, size_t l, const double **low, const double **high);
/* The outputs are the values after matrix lip_ranges_last(g). */
size_t lip_ranges_last(const lip_ranges *g);
/* A copy of the net in which slopes hold for the region only. lip_affine_free; LIP_MEMORY. */
lip_status lip_ranges_affine(const lip_ranges *g, lip_affine *out, lip_err *err);

#endif
