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
 * change no sum, so n counts those where neither w_k nor h_k is zero: projections leave rows with few. In the norm q over the units: T and |z| by their norms.
 *
 * || |W||h| ||_2 without all its products: weights of random signs make |W| nearly of rank one. For any u (M), v (N),
 *   |W| h = u (v.h) + E h,   || |W| h ||^2 = |u|^2 (v.h)^2 + 2 (v.h) u'E h + |E h|^2,   E = |W| - u v',
 * where v = |W|'u / |u|^2 would make u'E zero. As computed each of its entries is at most g = (2 M + 16) 2^-53 of
 * (|W|'u)_k, so |u'E h| <= g || |W| || |u| |h| = e |h|, and 2 (v.h) e |h| <= e ((v.h)^2 + |h|^2).
 *
 * Below FLT_MIN (2^-126) the relative bounds fail. Each of the n products and n additions may lose 2^-126 in its
 * result and in each operand when denormals are flushed, which multiplies the lost operand's partner; all of it is
 * bounded by tiny() so that the claim holds with denormals on, flushed or read as zero. */
#include "core/affine/rounding.h"

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

LIP_INLINE double abs_dot(const float *w, const double *v, size_t n) {
  double sum[8] = {0}, t = 0;
  size_t k = 0;
  for (; k + 8 <= n; k += 8)
    for (size_t j = 0; j < 8; j++) sum[j] += fabs((double)w[k + j]) * v[k + j];
  for (; k < n; k++) t += fabs((double)w[k]) * v[k];
  for (size_t j = 0; j < 8; j++) t += sum[j];
  return t;
}

/* s (N) = |W|' |W| v */
LIP_HOT static void abs_gram_apply(const float *W, size_t M, size_t N, const double *v, double *s) {
  memset(s, 0, N * sizeof *s);
  for (size_t i = 0; i < M; i++) {
    const float *w = W + i * N;
    double t = abs_dot(w, v, N);
    for (size_t k = 0; k < N; k++) s[k] += fabs((double)w[k]) * t;
  }
}

/* u (M) = |W| v */
LIP_HOT static void abs_apply(const float *W, size_t M, size_t N, const double *v, double *u) {
  for (size_t i = 0; i < M; i++) u[i] = abs_dot(W + i * N, v, N);
}

/* v (N) = |W|' u */
LIP_HOT static void abs_apply_transposed(const float *W, size_t M, size_t N, const double *u, double *v) {
  memset(v, 0, N * sizeof *v);
  for (size_t i = 0; i < M; i++)
    for (size_t k = 0; k < N; k++) v[k] += fabs((double)W[i * N + k]) * u[i];
}

/* || |W| ||_{2->2}; v (N) becomes the last vector of the iteration. */
static double abs_norm2(const float *W, size_t M, size_t N, double *v, double *s) {
  enum { ITERATIONS = 40 };
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
    if (!(ratio < INFINITY)) return INFINITY; /* NaN or infinite weights: unknown */
    bool settled = ratio > best * (1 - 1e-4);
    if (ratio < best) best = ratio;
    if (settled || top <= 0) break;
    for (size_t k = 0; k < N; k++) v[k] = s[k] / top + 1e-9; /* any positive vector will do */
  }
  /* the products may underflow only where v and w are below 2^-1000, far under what a float32 can hold */
  return best < INFINITY ? lip_up_mul(sqrt(inflate(best, 2 * (M + N))), 1 + 0x1p-51) : (double)INFINITY;
}

lip_status lip_abs_opnorm_upper(const float *W, size_t M, size_t N, lip_pq pq, double *upper, lip_err *err) {
  if (pq.p != LIP_P2 || pq.q != LIP_P2) return lip_opnorm_upper(W, M, N, pq, upper, err);
  *upper = INFINITY;
  double *v = lip_alloc(2 * N, sizeof *v);
  if (!v) return lip_fail(err, LIP_MEMORY, "out of memory for the norm of a %zux%zu matrix", M, N);
  *upper = abs_norm2(W, M, N, v, v + N);
  lip_free(v);
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

/* E = |W| - u v' as float32 numbers; returns a bound of the Frobenius norm of what that leaves out. */
LIP_HOT static double residual(const lip_dense_error *d, const double *u, float *E) {
  double squares = 0, parts = 0;
  for (size_t i = 0; i < d->M; i++)
    for (size_t k = 0; k < d->N; k++) {
      double w = fabs((double)d->W[i * d->N + k]), uv = u[i] * d->column[k], e = w - uv;
      E[i * d->N + k] = (float)e;
      squares += e * e;
      parts += w + uv;
    }
  /* e rounds a product and a difference, its float32 rounds once more or is below FLT_MIN */
  double left = 0x1p-24 * sqrt(squares) + 0x1p-51 * parts + 0x1p-125 * (double)d->N * (double)d->M;
  return left * (1 + 0x1p-20);
}

/* column, along, rest of a 2->2 step. */
static lip_status fit_terms(lip_dense_error *d, lip_err *err) {
  enum { DOUBLINGS = 2 }; /* of the Gram iteration: ||E|| is a small part of the whole */
  size_t M = d->M, N = d->N;
  d->along = 0;
  d->rest = lip_up_mul(d->abs_norm, d->abs_norm);
  double *u = lip_alloc(M + 2 * N, sizeof *u), *v = u + M, squares = 0, left = INFINITY, norm = INFINITY;
  float *E = lip_alloc(M * N, sizeof *E);
  lip_status status = LIP_OK;
  if (!u || !E) status = lip_fail(err, LIP_MEMORY, "out of memory for the rounding of a %zux%zu layer", M, N);
  if (!status && abs_norm2(d->W, M, N, v, v + N) < INFINITY) {
    abs_apply(d->W, M, N, v, u);
    for (size_t i = 0; i < M; i++) squares += u[i] * u[i];
    for (size_t i = 0; i < M && squares > 0; i++) u[i] /= sqrt(squares);
    squares = 0;
    for (size_t i = 0; i < M; i++) squares += u[i] * u[i];
    abs_apply_transposed(d->W, M, N, u, d->column);
    for (size_t k = 0; k < N && squares > 0; k++) d->column[k] /= squares;
    left = residual(d, u, E);
    if (squares > 0.5 && left < INFINITY) status = lip_opnorm_gram_upper(E, M, N, DOUBLINGS, &norm, err);
  }
  if (!status && norm < INFINITY) {
    double all = lip_up_add(norm, left),
           e = lip_up_mul(inflate(d->abs_norm, 0), (double)(2 * M + 16) * 0x1p-52);
    double rest = lip_up_add(lip_up_mul(all, all), e);
    if (rest < d->rest) d->rest = rest, d->along = lip_up_add(inflate(squares, M), e);
  }
  lip_free(u);
  lip_free(E);
  return status;
}

/* The most weights of one row that are not zero. */
static size_t fullest_row(const float *W, size_t M, size_t N) {
  size_t most = 0;
  for (size_t i = 0; i < M; i++) {
    size_t n = 0;
    for (size_t k = 0; k < N; k++) n += W[i * N + k] != 0;
    if (n > most) most = n;
  }
  return most;
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
  d->most = fullest_row(d->W, d->M, d->N);
  lip_status status = lip_abs_opnorm_upper(d->W, d->M, d->N, d->pq, &d->abs_norm, err);
  if (status) return status;
  d->column = lip_alloc(d->N, sizeof *d->column);
  if (!d->column) return lip_fail(err, LIP_MEMORY, "out of memory for %zu column norms", d->N);
  if (pq.p == LIP_P2 && pq.q == LIP_P2) return fit_terms(d, err);
  column_sums(d->W, d->M, d->N, d->pq.q, d->column);
  for (size_t k = 0; k < d->N; k++)
    d->column[k] = inflate(d->pq.q == LIP_P2 ? sqrt(d->column[k]) : d->column[k], d->M);
  return LIP_OK;
}

void lip_dense_error_free(lip_dense_error *d) {
  lip_free(d->column);
  d->column = NULL;
}

/* One variant of lip_row_scan; p and whether there are weights c are constants where it is inlined. */
LIP_INLINE lip_scan scan(const float *h, const double *c, size_t n, lip_p p) {
  lip_d8 dot = {0}, size = {0};
  lip_l8 zeros = {0}, odd = {0}; /* true is -1 */
  lip_scan out = {0, 0, 0};
  size_t k = 0;
  for (; k + LIP_LANES <= n; k += LIP_LANES) {
    lip_f8 f;
    lip_load(&f, h + k, LIP_LANES);
    lip_abs(&f);
    lip_d8 d = __builtin_convertvector(f, lip_d8), w;
    if (p == LIP_PINF) { /* NaN would be lost by the next comparison */
      lip_l8 keep = size >= d;
      odd |= ~(d < (double)INFINITY);
      size = (lip_d8)((keep & (lip_l8)size) | (~keep & (lip_l8)d));
    } else {
      size += p == LIP_P1 ? d : d * d;
    }
    if (!c) continue;
    LIP_LOAD(w, c + k);
    dot += w * d;
    zeros += d == 0;
  }
  bool finite = true;
  for (size_t j = 0; j < LIP_LANES; j++) {
    out.norm = p == LIP_PINF ? fmax(out.norm, size[j]) : out.norm + size[j];
    out.dot += dot[j];
    out.nonzero += (size_t)-zeros[j];
    finite = finite && !odd[j];
  }
  for (; k < n; k++) {
    double d = fabs((double)h[k]);
    out.norm = p == LIP_PINF ? fmax(out.norm, d) : out.norm + (p == LIP_P1 ? d : d * d);
    if (c) out.dot += c[k] * d;
    out.nonzero += d == 0;
    finite = finite && d < INFINITY;
  }
  out.nonzero = n - out.nonzero;
  if (!finite) out.norm = INFINITY;
  return out;
}

/* Squares of float32 neither overflow nor underflow in double. */
LIP_HOT lip_scan lip_row_scan(const float *h, const double *c, size_t n, lip_p p) {
  lip_scan s = p == LIP_P1   ? (c ? scan(h, c, n, LIP_P1) : scan(h, NULL, n, LIP_P1))
               : p == LIP_P2 ? (c ? scan(h, c, n, LIP_P2) : scan(h, NULL, n, LIP_P2))
                             : (c ? scan(h, c, n, LIP_PINF) : scan(h, NULL, n, LIP_PINF));
  if (p == LIP_P2) s.norm = sqrt(s.norm);
  if (s.norm > 0 && p != LIP_PINF) s.norm = inflate(s.norm, n);
  if (s.dot > 0) s.dot = inflate(s.dot, n);
  if (!(s.norm < INFINITY)) s.norm = s.dot = INFINITY;
  return s;
}

static double tiny(size_t n, double size, double entry) {
  return 0x1p-124 * ((double)n + 1) * (8 + size + entry);
}

/* (n u (T + z) / 2 + u T) / (1 - n u); infinite where the analysis needs more room than float32 has. */
static double accumulated(size_t n, double T, double z) {
  double nu = (double)n * UNIT;
  if (!(nu < 0.25) || !(T < FLT_MAX / 4)) return INFINITY;
  /* eight roundings of positive numbers, far inside the factor 1 + 2^-40 */
  return (nu * 0.5 * (T + (z < T ? z : T)) + UNIT * T) / (1 - nu) * (1 + 0x1p-40);
}

double lip_dense_error_terms(const lip_dense_error *d, const lip_scan *h) {
  double sum = h->dot, all = lip_up_mul(d->abs_norm, h->norm);
  if (d->pq.p == LIP_P2 && d->pq.q == LIP_P2) {
    double along = lip_up_mul(d->along, lip_up_mul(sum, sum));
    double rest = lip_up_mul(d->rest, lip_up_mul(h->norm, h->norm));
    sum = lip_step_up(sqrt(lip_up_add(along, rest)));
  }
  return lip_up_add(sum < all ? sum : all, d->bias);
}

LIP_HOT double lip_dense_error_rows(const lip_dense_error *d, const double *h, double *rows) {
  for (size_t i = 0; i < d->M; i++) {
    const float *w = d->W + i * d->N;
    lip_d8 sum = {0};
    double rest = d->b ? fabs((double)d->b[i]) : 0;
    size_t k = 0;
    for (; k + LIP_LANES <= d->N; k += LIP_LANES) {
      lip_f8 f;
      lip_d8 v;
      LIP_LOAD(f, w + k);
      LIP_LOAD(v, h + k);
      lip_d8 t = __builtin_convertvector(f, lip_d8) * v;
      sum += (lip_d8)((lip_l8)t & INT64_MAX);
    }
    for (; k < d->N; k++) rest += fabs((double)w[k] * h[k]);
    rows[i] = inflate(lip_sum_lanes(&sum) + rest, 2 * d->N);
  }
  return lip_norm_upper_d(rows, d->M, d->pq.q);
}

double lip_dense_error_local(const lip_dense_error *d, size_t n, double size, double terms, double result) {
  double units = d->pq.q == LIP_PINF ? 1 : (double)d->M;
  double e = accumulated(n, terms, result) + 2 * units * tiny(d->N, size, d->abs_norm);
  return e < INFINITY ? e : (double)INFINITY;
}

double lip_dot_error(size_t n, double size, double terms, double result, double entry) {
  double e = accumulated(n, terms, result) + 2 * tiny(n, size, entry);
  return e < INFINITY ? e : (double)INFINITY;
}
