/* Kernels on one contiguous row (or on any float32 array): norms with their error, and the three ways a row is
 * brought into a ball. Whatever they write is rounded towards zero, so a result that is feasible in exact
 * arithmetic stays feasible as stored. None allocates. */
#ifndef LIP_NORM_ROWS_H
#define LIP_NORM_ROWS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/norm/pnorm.h"

/* low <= exact value <= high; {0, INFINITY} for NaN or infinite input. */
typedef struct lip_interval {
  double low, high;
} lip_interval;

/* A sum of non-negative terms with its rounding errors: value = s + e exactly but for the rounding of e, which is
 * at most n * 2^-53 * size. */
typedef struct lip_exact_sum {
  double s, e, size;
} lip_exact_sum;
lip_interval lip_exact_sum_bounds(const lip_exact_sum *sum, size_t n);

/* The exact norm enclosed; low == high whenever the sum is a double (compensated summation: Ogita, Rump, Oishi
 * 2005, algorithm 4.1). */
lip_interval lip_row_norm(const float *x, size_t n, lip_p p);

/* Cheap sums in double of the absolute values and of the squares; relative error at most
 * lip_row_sum_error(n). NaN or infinite input gives NaN or infinity. */
double lip_row_abs_sum(const float *x, size_t n);
double lip_row_square_sum(const float *x, size_t n);
double lip_row_sum_error(size_t n);
/* Sum and number of the |x_i| > t, and the sum of all. */
typedef struct lip_above {
  double all, sum;
  size_t count;
} lip_above;
lip_above lip_row_above(const float *x, size_t n, float t);
/* Largest |x_i|, infinity for NaN. */
float lip_row_abs_max(const float *x, size_t n);
bool lip_row_all_finite(const float *x, size_t n);

/* x_i * s, 0 <= s <= 1. */
void lip_row_scale(float *x, size_t n, double s);
/* x *= s to nearest, four times as fast; see lip_shrink_inside. */
void lip_row_shrink(float *x, size_t n, float s);
/* sign(x_i) max(|x_i| - tau, 0). */
void lip_row_soft(float *x, size_t n, double tau);
/* Entries beyond +-c become +-c; NaN stays. */
void lip_row_clamp(float *x, size_t n, float c);

/* Factor for lip_row_shrink that brings n elements of 1-, 2- or inf-norm <= high inside radius; 0: use lip_row_scale. */
float lip_shrink_inside(double radius, double high, size_t n);

/* True when the exact norm is <= radius: one cheap sum, and the enclosure only close to the border. */
bool lip_row_inside(const float *x, size_t n, lip_p p, double radius);
/* A factor that brings a vector of norm <= high into the ball of that radius, roundings of the product included. */
double lip_scale_inside(double radius, double high);

#endif
