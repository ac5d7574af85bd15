/* Rounding error of y = W h + b in float32, for every order of summation.
 *
 * One unit adds n + 1 terms t_k (the products w_k h_k and the bias) in some binary tree with n additions; u = 2^-24.
 * A product is off by at most u |t_k| (nothing when fused). An addition of computed values a, b is off by at most
 * u |a + b|, and a + b is the exact sum of a subset of the terms plus the errors made below it. With
 *   P, Q  sums of the positive terms and of the absolute negative terms,  T = P + Q = sum |t_k|,
 *   max(P, Q) = (T + |P - Q|) / 2 = (T + |z|) / 2,  z the exact result,
 * a subset sum is at most max(P, Q). For e, the sum of all absolute errors of additions,
 *   e <= n u (max(P, Q) + u T + e),   hence   |executed - exact| <= e + u T <= (n u max(P, Q) + u T) / (1 - n u).
 * This is half of the usual gamma_n T (Higham 2002, section 3.1) where the terms cancel. Terms that are exactly zero
 * change no sum, so n counts the nonzero ones. In the norm q over the units: T by its norm, |z| by ||W|| ||h|| + ||b||.
 *
 * Below FLT_MIN (2^-126) the relative bounds fail. Each of the n products and n additions may lose 2^-126 in its
 * result and in each operand when denormals are flushed, which multiplies the lost operand's partner; all of it is
 * bounded by tiny() so that the claim holds with denormals on, flushed or read as zero. */
#include "core/cert/rounding.h"

#include <float.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/norm/lanes.h"
#include "core/norm/opnorm.h"

#define UNIT 0x1p-24 /* rounding to nearest in float32 */

/* Relative inflation that covers k operations in double on terms of one sign. */
static double inflate(double v, size_t k) {
  return lip_up_mul(v, 1 + ((double)k + 8) * 0x1p-52);
}

/* t (M) = |W| v, s (N) = |W|' t */
LIP_HOT static void abs_gram_apply(const float *W, size_t M, size_t N, const double *v, double *s) {
  memset(s, 0, N * sizeof *s);
  for (size_t i = 0; i < M; i++) {
    const float *w = W + i * N;
    double sum[8] = {0}, t = 0;
    size_t k = 0;
    for (; k + 8 <= N; k += 8)
      for (size_t j = 0; j < 8; j++) sum[j] += fabs((double)w[k + j]) * v[k + j];
    for (; k < N; k++) t += fabs((double)w[k]) * v[k];
    for (size_t j = 0; j < 8; j++) t += sum[j];
    for (k = 0; k < N; k++) s[k] += fabs((double)w[k]) * t;
  }
}

lip_status lip_abs_opnorm_upper(const float *W, size_t M, size_t N, lip_pq pq, double *upper, lip_err *err) {
  if (pq.p != LIP_P2 || pq.q != LIP_P2) return lip_opnorm_upper(W, M, N, pq, upper, err);
  enum { ITERATIONS = 40 };
  *upper = INFINITY;
  double *v = lip_alloc(N, sizeof *v), *s = lip_alloc(N, sizeof *s);
  if (!v || !s) {
    lip_free(v);
    lip_free(s);
    return lip_fail(err, LIP_MEMORY, "out of memory for the norm of a %zux%zu matrix", M, N);
  }
  double best = INFINITY;
  for (size_t k = 0; k < N; k++) v[k] = 1;
  for (int it = 0; it < ITERATIONS; it++) {
    abs_gram_apply(W, M, N, v, s);
    double ratio = 0, top = 0;
    for (size_t k = 0; k < N; k++) {
      double r = s[k] / v[k];
      if (!(r <= ratio)) ratio = r; /* NaN stays */
      if (s[k] > top) top = s[k];
    }
    if (!(ratio < INFINITY)) break; /* NaN or infinite weights: unknown */
    bool settled = ratio > best * (1 - 1e-4);
    if (ratio < best) best = ratio;
    if (settled || top <= 0) break;
    for (size_t k = 0; k < N; k++) v[k] = s[k] / top + 1e-9; /* any positive vector will do */
  }
  /* the products may underflow only where v and w are below 2^-1000, far under what a float32 can hold */
  if (best < INFINITY) *upper = lip_up_mul(sqrt(inflate(best, 2 * (M + N))), 1 + 0x1p-51);
  lip_free(v);
  lip_free(s);
  return LIP_OK;
}

LIP_HOT static void column_sums(const float *W, size_t M, size_t N, lip_p q, double *c) {
  memset(c, 0, N * sizeof *c);
  for (size_t i = 0; i < M; i++) {
    const float *w = W + i * N;
    if (q == LIP_P1) {
      for (size_t k = 0; k < N; k++) c[k] += fabs((double)w[k]);
    } else if (q == LIP_P2) {
      for (size_t k = 0; k < N; k++) c[k] += (double)w[k] * (double)w[k];
    } else {
      for (size_t k = 0; k < N; k++) c[k] = fabs((double)w[k]) <= c[k] ? c[k] : fabs((double)w[k]);
    }
  }
}

/* Differences of float32 are exact in double unless they lose 2^-53. */
LIP_HOT double lip_difference_norm(const float *a, const float *b, size_t n, lip_p p) {
  double sum[8] = {0}, top = 0;
  bool finite = true;
  for (size_t k = 0; k < n; k++) {
    double d = fabs((double)a[k] - (double)b[k]);
    if (p == LIP_P1)
      sum[k % 8] += d;
    else if (p == LIP_P2)
      sum[k % 8] += d * d;
    else if (d > top)
      top = d;
    finite = finite && d < INFINITY;
  }
  for (size_t j = 0; j < 8; j++) top += p == LIP_PINF ? 0 : sum[j];
  if (!finite) return INFINITY;
  if (top == 0) return 0;
  return lip_up_mul(p == LIP_P2 ? sqrt(top) : top, 1 + ((double)n + 16) * 0x1p-52);
}

double lip_unit_difference(lip_p q) {
  return q == LIP_PINF ? 2 : q == LIP_P1 ? 1 : nextafter(sqrt(2.0), 2);
}

static const lip_param *find_param(const lip_layer *l, const char *name) {
  for (size_t i = 0; i < l->n_param; i++)
    if (strcmp(l->param[i].name, name) == 0) return &l->param[i];
  return NULL;
}

lip_status lip_dense_error_init(lip_dense_error *d, const lip_layer *dense, lip_pq pq, double norm,
                                lip_err *err) {
  const lip_param *w = find_param(dense, "weight"), *b = find_param(dense, "bias");
  *d = (lip_dense_error){.M = dense->n_out, .N = dense->n_in, .pq = pq, .norm = norm};
  if (!w || w->ndim != 2 || w->shape[0] != d->M || w->shape[1] != d->N)
    return lip_fail(err, LIP_STATE, "layer %s has no weight of shape %zux%zu", dense->kind->desc.name, d->M,
                    d->N);
  d->W = w->value;
  d->b = b ? b->value : NULL;
  d->bias = d->b ? lip_norm_upper(d->b, d->M, d->pq.q) : 0;
  lip_status status = lip_abs_opnorm_upper(d->W, d->M, d->N, d->pq, &d->abs_norm, err);
  if (status) return status;
  d->column = lip_alloc(d->N, sizeof *d->column);
  if (!d->column) return lip_fail(err, LIP_MEMORY, "out of memory for %zu column norms", d->N);
  column_sums(d->W, d->M, d->N, d->pq.q, d->column);
  for (size_t k = 0; k < d->N; k++)
    d->column[k] = inflate(d->pq.q == LIP_P2 ? sqrt(d->column[k]) : d->column[k], d->M);
  return LIP_OK;
}

void lip_dense_error_free(lip_dense_error *d) {
  lip_free(d->column);
  d->column = NULL;
}

LIP_HOT static double weighted_sum(const double *c, const float *h, size_t n, size_t *nonzero) {
  lip_d8 sum = {0};
  lip_l8 zeros = {0}; /* counted downwards: true is -1 */
  double total = 0;
  size_t k = 0, tail = 0;
  for (; k + LIP_LANES <= n; k += LIP_LANES) {
    lip_f8 f;
    lip_d8 w;
    lip_load(&f, h + k, LIP_LANES);
    memcpy(&w, c + k, sizeof w);
    lip_abs(&f);
    lip_d8 d = __builtin_convertvector(f, lip_d8);
    sum += w * d;
    zeros += d == 0;
  }
  for (; k < n; k++) {
    total += c[k] * fabs((double)h[k]);
    tail += h[k] == 0;
  }
  for (size_t j = 0; j < LIP_LANES; j++) {
    total += sum[j];
    tail += (size_t)-zeros[j];
  }
  *nonzero = n - tail;
  return total;
}

double lip_dense_error_columns(const lip_dense_error *d, const float *h, size_t *nonzero) {
  double sum = weighted_sum(d->column, h, d->N, nonzero);
  return sum == 0 ? 0 : inflate(sum, d->N);
}

static double tiny(size_t n, double size, double entry) {
  return 0x1p-124 * ((double)n + 1) * (8 + size + entry);
}

/* (n u (T + z) / 2 + u T) / (1 - n u); infinite where the analysis needs more room than float32 has. */
static double accumulated(size_t n, double T, double z) {
  double nu = (double)n * UNIT;
  if (!(nu < 0.25) || !(T < FLT_MAX / 4)) return INFINITY;
  /* eight roundings of positive numbers, far inside the factor 1 + 2^-40 */
  return (nu * 0.5 * (T + fmin(z, T)) + UNIT * T) / (1 - nu) * (1 + 0x1p-40);
}

double lip_dense_error_local(const lip_dense_error *d, double size, double terms, size_t n) {
  double T = lip_up_add(terms, d->bias), z = lip_up_add(lip_up_mul(d->norm, size), d->bias);
  double units = d->pq.q == LIP_PINF ? 1 : (double)d->M;
  double e = accumulated(n, T, z) + 2 * units * tiny(d->N, size, d->abs_norm);
  return e < INFINITY ? e : (double)INFINITY;
}

double lip_dot_error(size_t n, double size, double terms, double entry) {
  double e = accumulated(n, terms, terms) + 2 * tiny(n, size, entry);
  return e < INFINITY ? e : (double)INFINITY;
}
