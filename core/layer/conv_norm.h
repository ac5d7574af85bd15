/* Operator norms and projections of a convolution seen as one big matrix, from its kernel alone. */
#ifndef LIP_LAYER_CONV_NORM_H
#define LIP_LAYER_CONV_NORM_H

#include "core/base/error.h"
#include "core/layer/layer.h"
#include "core/norm/power.h"
#include "core/norm/project.h"
#include "core/tensor/im2col.h"

#define LIP_CONV_MAX_KERNEL 64
#define LIP_CONV_MAX_SETS 64

/* The sets of taps (bit k = tap k) that meet at one place along one side of the image, none inside another. */
typedef struct lip_tap_sets {
  size_t n;
  uint64_t set[LIP_CONV_MAX_SETS];
} lip_tap_sets;

/* w (OUT, C / groups, kernel, kernel), flat (OUT, C / groups, kernel), maps (C, H, W) to (OUT, OH, OW). */
typedef struct lip_conv {
  lip_patches at;
  size_t C, OUT, groups, Cg, OUTg,
      K; /* channels of one group; K = Cg * taps of the kernel, length of a unit's weights */
  lip_tap_sets out_y, out_x; /* taps that an output place reads */
  lip_tap_sets in_y, in_x;   /* taps that read an input place */
  size_t overlap;            /* most patches that share an input place */
  lip_pq pq;
  lip_project_method method;
  lip_projector **projector; /* one, or one per group for 2->2 */
  size_t n_projector;
  lip_power *power; /* 2->2: the in-step projection, through the convolution itself, and norms by group */
  double *sigma;
  float *
      gathered; /* for 1->1 and 1->2: (C * phases, OUTg * taps), products of those of the sides; one limited piece per row */
  struct {
    size_t phases, taps;
  } y, x;
  bool direct; /* conv2d.c: without patches */
} lip_conv;

/* Fills everything but the geometry (at, C, OUT, groups), which is given. LIP_MEMORY. */
lip_status lip_conv_init(lip_conv *c, lip_pq pq, lip_project_method method, lip_err *err);
void lip_conv_release(lip_conv *c);

/* Upper bound of ||conv||_{p->q}, rounding included. 1->q and p->inf: exact but for rounding, borders and stride
 * considered. 2->2: see conv_norm.c; up to a second or two for large ones. Non-finite weights: INFINITY. */
lip_status lip_conv_norm_upper(const lip_conv *c, const float *w, lip_pq pq, double *upper, lip_err *err);
/* The same, but for 2->2 from the shape of the kernel alone: quick, up to twice as large. */
lip_status lip_conv_norm_quick(const lip_conv *c, const float *w, lip_pq pq, double *upper, lip_err *err);
/* The same for the kernel |w|, without allocating. */
double lip_conv_abs_norm_upper(const lip_conv *c, const float *w, lip_pq pq);

size_t lip_conv_project_units(const lip_conv *c);
/* After an update; for 2->2 by an estimate (conv_norm.c), then scratch is lip_conv_map_scratch() bytes (conv_map.h), else
 * lip_gemm_scratch(). */
void lip_conv_project(lip_conv *c, float *w, double budget, size_t u0, size_t u1, void *scratch);
/* What the next of these depends on beside the weights, the i-th array; false past the end. */
bool lip_conv_warm(const lip_conv *c, size_t i, lip_warm *out);
lip_status lip_conv_project_exact(lip_conv *c, float *w, double budget, lip_err *err);
/* Initial weights as lip_init_weights gives them, in the norms of the convolution. */
lip_status lip_conv_reset(lip_conv *c, float *w, lip_init init, double budget, lip_rng *rng, lip_err *err);

#endif
