/* The slope of a net at x in the direction v, in double and with every rounding counted.
 *
 * Values z^ of units are carried along with errors e: |z^ - z| <= e. With e raised by a little that is never zero, the
 * exact values of every point near enough to x lie in [z^ - e, z^ + e] too. On that interval the layer's `range` tells
 * all values and all slopes s between two points; so for x' = x + h v with h small enough the increments of the net are
 * h t with t_l = W_l (s t_{l-1}) for slopes s in those intervals, and
 *   ||f(x') - f(x)||_q / ||x' - x||_p = ||t_n||_q / ||v||_p.
 * Carrying t^ and an error that holds for all s in the intervals gives a quotient that is attained, whether f has a
 * derivative at x or not. Two values of a pair that may come in either order have increments in either order, or between.
 *
 * Errors: a sum of K products of magnitudes |w| |y^| errs by gamma_{K+1} |w| |y^|, the errors of what went in add |w| e
 * (Higham 2002, section 3.5); each is raised by 1 + 2^-30 for its own roundings (at most 2^20 terms: more give nothing)
 * and by 2^-900 for all that underflows. */
#include "core/bound/attain.h"

#include <math.h>
#include <string.h>

#include "core/affine/bend.h"
#include "core/affine/rounding.h"
#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/norm/round.h"

#define TINY 0x1p-900
static const double raise = 1 + 0x1p-30;

lip_status lip_attain_init(lip_attain *w, const lip_affine *a, lip_err *err) {
  size_t n = a->n_in;
  for (size_t l = 0; l < a->n; l++) n = a->block[l].M > n ? a->block[l].M : n;
  *w = (lip_attain){a, NULL, NULL, NULL, NULL, NULL, NULL};
  w->value = lip_alloc(6 * n, sizeof(double));
  if (!w->value) return lip_fail(err, LIP_MEMORY, "out of memory for a lower bound");
  w->value_error = w->value + n;
  w->tangent = w->value + 2 * n;
  w->tangent_error = w->value + 3 * n;
  w->spare = w->value + 4 * n;
  w->spare_error = w->value + 5 * n;
  return LIP_OK;
}

void lip_attain_free(lip_attain *w) {
  lip_free(w->value);
  *w = (lip_attain){0};
}

/* sum_j w_j y_j, sum_j |w_j| |y_j| and sum_j |w_j| e_j. */
LIP_INLINE void dot(const float *w, const double *wide, const double *y, const double *e, size_t n,
                    double out[3]) {
  enum { LANES = 8 };
  double s[LANES] = {0}, t[LANES] = {0}, u[LANES] = {0};
  size_t j = 0;
  for (; j + LANES <= n; j += LANES)
    for (size_t k = 0; k < LANES; k++) {
      double a = wide ? wide[j + k] : (double)w[j + k], b = a * y[j + k];
      s[k] += b;
      t[k] += fabs(b);
      u[k] += fabs(a) * e[j + k];
    }
  for (; j < n; j++) {
    double a = wide ? wide[j] : (double)w[j], b = a * y[j];
    s[0] += b;
    t[0] += fabs(b);
    u[0] += fabs(a) * e[j];
  }
  out[0] = out[1] = out[2] = 0;
  for (size_t k = 0; k < LANES; k++) {
    out[0] += s[k];
    out[1] += t[k];
    out[2] += u[k];
  }
}

LIP_HOT static void dot_float(const float *w, const double *y, const double *e, size_t n, double out[3]) {
  dot(w, NULL, y, e, n, out);
}

LIP_HOT static void dot_double(const double *w, const double *y, const double *e, size_t n, double out[3]) {
  dot(NULL, w, y, e, n, out);
}

/* (v, e) of a block's inputs become those of its units. */
static void multiply(lip_attain *w, const lip_block *k, bool biased, double *v, double *e) {
  double g = lip_gamma(k->N + 2);
  for (size_t i = 0; i < k->M; i++) {
    double s[3], bias = !biased ? 0 : k->fold ? k->fold->c[i] : (double)k->b[i];
    double off = biased && k->fold ? k->fold->off[i] : 0;
    if (k->fold)
      dot_double(k->fold->W + i * k->N, v, e, k->N, s);
    else
      dot_float(k->W + i * k->N, v, e, k->N, s);
    w->spare[i] = s[0] + bias;
    w->spare_error[i] = (s[2] + off + g * (s[1] + fabs(bias))) * raise + TINY;
  }
  memcpy(v, w->spare, k->M * sizeof *v);
  memcpy(e, w->spare_error, k->M * sizeof *e);
}

/* The middle and half the width of [least, most]. */
static void enclose(double least, double most, double *v, double *e) {
  *v = least + (most - least) / 2;
  *e = fmax(most - *v, *v - least) * raise + 4 * LIP_U * fabs(*v) + TINY;
}

static void respond(lip_attain *w, const lip_block *k) {
  for (size_t i = 0; i < k->n_phi; i++) {
    double s, width, from = w->value[i] - w->value_error[i], to = w->value[i] + w->value_error[i];
    from = nextafter(from, -INFINITY), to = nextafter(to, INFINITY);
    lip_range r = {.low = -INFINITY, .high = INFINITY, .least = -INFINITY, .most = INFINITY};
    if (isfinite(from) && isfinite(to)) lip_block_range(k, i, from, to, &r);
    enclose(r.least, r.most, &w->value[i], &w->value_error[i]);
    enclose(r.low, r.high, &s, &width);
    double t = w->tangent[i], e = w->tangent_error[i];
    w->tangent[i] = s * t;
    w->tangent_error[i] = (fabs(s) * e + width * (fabs(t) + e) + 2 * LIP_U * fabs(s * t)) * raise + TINY;
  }
}

/* A pair (a, b): `first` gets the larger value. */
static void order(lip_attain *w, size_t a, size_t b, bool descending) {
  double *v = w->value, *e = w->value_error, *t = w->tangent, *d = w->tangent_error;
  double far = fmax(e[a], e[b]), gap = v[a] - v[b], doubt = (e[a] + e[b]) * raise + 4 * LIP_U * fabs(gap);
  bool known = fabs(gap) > doubt, swap = known && (gap > 0) != descending;
  if (!(v[a] <= v[b] || v[a] >= v[b])) far = INFINITY; /* NaN */
  double more = fmax(v[a], v[b]), less = fmin(v[a], v[b]);
  v[a] = descending ? more : less;
  v[b] = descending ? less : more;
  e[a] = e[b] = far;
  if (swap) {
    double x = t[a], y = d[a];
    t[a] = t[b], d[a] = d[b];
    t[b] = x, d[b] = y;
  } else if (!known) {
    double middle = t[a] / 2 + t[b] / 2;
    double wide =
        (fabs(t[a] - middle) + fabs(t[b] - middle) + d[a] + d[b] + 4 * LIP_U * fabs(middle)) * raise + TINY;
    t[a] = t[b] = middle;
    d[a] = d[b] = wide;
  }
}

/* ||t||_q of numbers that are off by at most e, rounded down. */
static double norm_below(const double *t, const double *e, size_t n, lip_p q) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    double v = lip_down_sub(fabs(t[i]), e[i]);
    if (!(v > 0) || !(v < INFINITY)) continue; /* NaN says nothing */
    sum = q == LIP_PINF ? fmax(sum, v) : sum + (q == LIP_P2 ? v * v : v);
  }
  if (!(sum < INFINITY) || sum < 0x1p-900) return 0;
  double shrink = 1 - 2 * lip_gamma(n + 8);
  return q == LIP_P2 ? sqrt(sum) * shrink : sum * shrink;
}

static void take(const lip_attain *w, double length, lip_p q, double *lower, double *pair) {
  size_t C = w->a->n_out;
  const double *t = w->tangent, *e = w->tangent_error;
  double v = lip_below_div(norm_below(t, e, C, q), length);
  if (v > *lower) *lower = v;
  for (size_t i = 0; pair && i < C; i++)
    for (size_t j = 0; j < i; j++) {
      double d = lip_down_sub(lip_down_sub(fabs(t[i] - t[j]), lip_up_add(e[i], e[j])),
                              2 * LIP_U * fabs(t[i] - t[j]));
      double slope = d > 0 && d < INFINITY ? lip_below_div(d, length) : 0;
      if (slope > pair[i * C + j]) pair[i * C + j] = pair[j * C + i] = slope;
    }
}

void lip_attain_at(lip_attain *w, const float *x, const float *v, lip_p p, lip_p q, double *lower,
                   double *pair) {
  const lip_affine *a = w->a;
  fenv_t saved;
  lip_ieee_enter(&saved);
  double length = lip_norm_upper(v, a->n_in, p);
  bool ready = length > 0 && length < INFINITY && lip_norm_upper(x, a->n_in, LIP_PINF) < INFINITY;
  for (size_t i = 0; ready && i < a->n_in; i++) {
    w->value[i] = (double)x[i];
    w->tangent[i] = (double)v[i];
    w->value_error[i] = w->tangent_error[i] = 0;
  }
  for (size_t l = 0; ready && l < a->n; l++) {
    const lip_block *k = &a->block[l];
    ready = k->N < 1 << 20;
    if (!ready) break;
    multiply(w, k, true, w->value, w->value_error);
    multiply(w, k, false, w->tangent, w->tangent_error);
    if (l + 1 == a->n) break;
    respond(w, k);
    for (size_t i = 0; k->mate && i < k->M; i++)
      if (k->mate[i] > i) order(w, i, k->mate[i], k->descending);
  }
  if (ready) take(w, length, q, lower, pair);
  lip_ieee_leave(&saved);
}
