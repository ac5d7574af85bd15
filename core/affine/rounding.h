/* Outward arithmetic, and the rounding error of one dense layer in float32. */
#ifndef LIP_AFFINE_ROUNDING_H
#define LIP_AFFINE_ROUNDING_H

#include <math.h>
#include <stddef.h>

#include "core/base/error.h"
#include "core/layer/layer.h"
#include "core/norm/pnorm.h"

/* ---- one operation, then one step outwards: never on the wrong side of the exact result ---- */

/* At least the next double above v >= 0: v 2^-52 is at least one unit in the last place, and rounding is monotone.
 * NaN and infinity stay. */
static inline double lip_step_up(double v) {
  return v >= 0x1p-900 ? v + v * 0x1p-52 : nextafter(v, INFINITY);
}
/* At most the next double below v, of any sign. */
static inline double lip_step_down(double v) {
  return fabs(v) >= 0x1p-900 ? v - fabs(v) * 0x1p-52 : nextafter(v, -INFINITY);
}

/* For operands >= 0. A zero factor gives an exact zero unless the other one is infinite: then INFINITY, since the
 * infinite one means "unknown". NaN stays NaN: every test is written so that NaN fails it. */
static inline double lip_up_mul(double a, double b) {
  if (a == 0 || b == 0) return isinf(a) || isinf(b) ? (double)INFINITY : a * b;
  return a == 1 ? b : b == 1 ? a : lip_step_up(a * b);
}
static inline double lip_up_add(double a, double b) {
  return a == 0 ? b : b == 0 ? a : lip_step_up(a + b);
}
static inline double lip_down_sub(double a, double b) {
  return b == 0 ? a : lip_step_down(a - b);
}
/* Strictly below the exact quotient of a > 0 and b > 0 (or 0). */
static inline double lip_below_div(double a, double b) {
  return fmax(lip_step_down(a / b), 0.0);
}

/* ---- || |W| || ---- */

/* Upper bound of the norm of |W| (M, N), entry by entry absolute. For 2->2 by Collatz and Wielandt: rho(A) <=
 * max_k (A v)_k / v_k for every positive v, A = |W|' |W| (Horn, Johnson 2013, theorem 8.1.26); for the other pairs
 * it is the norm of W itself. LIP_MEMORY (*upper is then INFINITY). */
lip_status lip_abs_opnorm_upper(const float *W, size_t M, size_t N, lip_pq pq, double *upper, lip_err *err);

/* ---- differences of outputs ---- */

/* ||a - b||_p of two rows of float32 numbers, rounded up. */
double lip_difference_norm(const float *a, const float *b, size_t n, lip_p p);
/* ||e_i - e_j||_{q*}, i != j, rounded up: what a pair of logits takes from a norm q. */
double lip_unit_difference(lip_p q);

/* ---- y = W h + b in float32, in any order of summation, with or without fused multiply-add ---- */

typedef struct lip_dense_error {
  size_t M, N;
  lip_pq pq;
  const float *W, *b; /* borrowed; b may be NULL */
  double norm;        /* >= ||W||_{p->q} */
  double abs_norm;    /* >= || |W| ||_{p->q} */
  double bias;        /* >= ||b||_q */
  size_t most;        /* weights of a row that are not zero, at most */
  double *column;     /* (N), owned: >= ||W e_k||_q, or the fit of |W| for 2->2 */
  double along,
      rest; /* 2->2: || |W| h ||^2 <= along (column.h)^2 + rest ||h||^2 for h >= 0; rest may be INFINITY */
} lip_dense_error;

/* From a planned layer of kind "dense", whose bound `norm` in pq is already known. LIP_MEMORY. */
lip_status lip_dense_error_init(lip_dense_error *d, const lip_layer *dense, lip_pq pq, double norm,
                                lip_err *err);
void lip_dense_error_free(lip_dense_error *d);

/* One pass over h (n): ||h||_p and sum_k c_k |h_k|, c >= 0, rounded up (infinite when h is not finite), and how many h_k
 * are not zero. Without c the last two are 0 and n. */
typedef struct lip_scan {
  double norm, dot;
  size_t nonzero;
} lip_scan;
lip_scan lip_row_scan(const float *h, const double *c, size_t n, lip_p p);

/* >= || |W||h| + |b| ||_q from a scan of h with d->column, in the norm d->pq.p; h->norm may have been made smaller. */
double lip_dense_error_terms(const lip_dense_error *d, const lip_scan *h);
/* The same by all products, for h in double; rows (M) receives each >= |w_i|.|h| + |b_i|. */
double lip_dense_error_rows(const lip_dense_error *d, const double *h, double *rows);

/* Bound of ||executed - exact||_q for inputs h (float32, given exactly) with ||h||_p <= size, at most n products w_k h_k
 * of a unit not zero,
 * || |W||h| + |b| ||_q <= terms and ||W h + b||_q <= result; INFINITY when an intermediate value could overflow.
 * It is a monotone function of all of them, and for sums in double instead at most 2^-29 of this. */
double lip_dense_error_local(const lip_dense_error *d, size_t n, double size, double terms, double result);
/* The same for one row: terms >= |w|.|h| + |beta|, result >= |w.h + beta|, entry >= every |w_k|. */
double lip_dot_error(size_t n, double size, double terms, double result, double entry);

#endif
