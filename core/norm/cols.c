#include "core/norm/cols.h"

#include <math.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/norm/l1ball.h"
#include "core/norm/lanes.h"
#include "core/norm/quick_cols.h"
#include "core/norm/round.h"

enum { BLOCK = 64 }; /* columns enclosed at a time */

/* ---- enclosures ---- */

LIP_INLINE void enclose(const float *W, size_t M, size_t N, size_t width, int square, lip_exact_sum *out) {
  double s[BLOCK] = {0}, e[BLOCK] = {0}, size[BLOCK] = {0};
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < width; j++) {
      double d = fabs((double)W[i * N + j]);
      if (square) d *= d;
      double t = s[j] + d, b = t - s[j], err = (s[j] - (t - b)) + (d - b);
      s[j] = t;
      e[j] += err;
      size[j] += fabs(err);
    }
  for (size_t j = 0; j < width; j++) out[j] = (lip_exact_sum){s[j], e[j], size[j]};
}
LIP_HOT static void enclose_abs(const float *W, size_t M, size_t N, size_t width, lip_exact_sum *out) {
  enclose(W, M, N, width, 0, out);
}
LIP_HOT static void enclose_square(const float *W, size_t M, size_t N, size_t width, lip_exact_sum *out) {
  enclose(W, M, N, width, 1, out);
}

static lip_interval bounds(const lip_exact_sum *sum, size_t M, lip_p p) {
  lip_interval v = lip_exact_sum_bounds(sum, M);
  if (p == LIP_P2) {
    v.low = lip_sqrt_down(v.low);
    if (isfinite(v.high)) v.high = lip_sqrt_up(v.high);
  }
  return v;
}

lip_interval lip_cols_norm(const float *W, size_t M, size_t N, lip_p p) {
  lip_interval top = {0, 0};
  lip_exact_sum sum[BLOCK];
  for (size_t j = 0; j < N; j += BLOCK) {
    size_t width = N - j < BLOCK ? N - j : BLOCK;
    (p == LIP_P1 ? enclose_abs : enclose_square)(W + j, M, N, width, sum);
    for (size_t k = 0; k < width; k++) {
      lip_interval v = bounds(&sum[k], M, p);
      top.low = v.low > top.low ? v.low : top.low;
      top.high = v.high > top.high ? v.high : top.high;
    }
  }
  return top;
}

lip_interval lip_col_norm(const float *W, size_t M, size_t N, size_t j, lip_p p) {
  lip_exact_sum sum;
  (p == LIP_P1 ? enclose_abs : enclose_square)(W + j, M, N, 1, &sum);
  return bounds(&sum, M, p);
}

/* ---- streaming passes over the columns 0..n-1 of W, leading dimension N ---- */

LIP_HOT static void add_abs(const float *W, size_t M, size_t N, size_t n, double *restrict all) {
  memset(all, 0, n * sizeof *all);
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < n; j++) all[j] += fabs((double)W[i * N + j]);
}

LIP_HOT static void add_squares(const float *W, size_t M, size_t N, size_t n, double *restrict all) {
  memset(all, 0, n * sizeof *all);
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < n; j++) all[j] += (double)W[i * N + j] * (double)W[i * N + j];
}

/* Sum and number of the elements above each column's level. */
LIP_HOT static void add_above(const float *W, size_t M, size_t N, size_t n, const float *restrict level,
                              double *restrict sum, uint32_t *restrict count) {
  memset(sum, 0, n * sizeof *sum);
  memset(count, 0, n * sizeof *count);
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < n; j++) {
      float z = fabsf(W[i * N + j]);
      sum[j] += (double)(z > level[j] ? z : 0);
      count[j] += z > level[j];
    }
}

LIP_HOT static void add_first(const float *W, size_t M, size_t N, size_t n, const float *restrict level,
                              double *restrict all, double *restrict sum, uint32_t *restrict count) {
  add_abs(W, M, N, n, all);
  add_above(W, M, N, n, level, sum, count);
}

/* sign(w) max(|w| - tau, 0) towards zero; tau = 0 leaves every bit of a column, NaN included. */
LIP_HOT static void soft(float *W, size_t M, size_t N, size_t n, const double *tau) {
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < n; j += LIP_LANES) {
      float *x = W + i * N + j;
      lip_f8 f, y;
      lip_d8 t;
      lip_load(&f, x, n - j);
      lip_load_d(&t, tau + j, n - j);
      lip_i8 sign = (lip_i8)f & INT32_MIN;
      lip_abs(&f);
      lip_d8 d = __builtin_convertvector(f, lip_d8) - t;
      d = (lip_d8)((lip_l8)d & ~(d <= 0));
      lip_narrow_down(&y, &d);
      y = (lip_f8)((lip_i8)y | sign);
      lip_store(x, &y, n - j);
    }
}

/* w * s towards zero; s = 1 leaves every bit. */
LIP_HOT static void scale(float *W, size_t M, size_t N, size_t n, const double *s) {
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < n; j += LIP_LANES) {
      float *x = W + i * N + j;
      lip_f8 f, y;
      lip_d8 t;
      lip_load(&f, x, n - j);
      lip_load_d(&t, s + j, n - j);
      lip_i8 sign = (lip_i8)f & INT32_MIN;
      lip_abs(&f);
      lip_d8 d = __builtin_convertvector(f, lip_d8) * t;
      lip_narrow_down(&y, &d);
      y = (lip_f8)((lip_i8)y | sign);
      lip_store(x, &y, n - j);
    }
}

/* ---- projections ---- */

/* True when the column must change, given its sum of absolute values or squares; NaN and infinity: false. */
static bool outside(const float *W, size_t M, size_t N, size_t j, lip_p p, double sum, double radius) {
  double error = 2 * lip_gamma(M + 2), most = sum * (1 + error), least = sum * (1 - error);
  if (p == LIP_P2) most = sqrt(most), least = sqrt(least);
  if (!isfinite(sum) || most * (1 + 0x1p-50) <= radius) return false;
  if (least * (1 - 0x1p-50) > radius) return true;
  return !(lip_col_norm(W, M, N, j, p).high <= radius);
}

/* Products rounded towards zero, for any range of numbers. */
static void exact_scale(float *W, size_t M, size_t N, lip_p p, double radius, lip_cols *c, size_t u0,
                        size_t u1) {
  bool any = false;
  (p == LIP_P1 ? add_abs : add_squares)(W + u0, M, N, u1 - u0, c->all + u0);
  for (size_t j = u0; j < u1; j++) {
    c->sum[j] = 1;
    if (!outside(W, M, N, j, p, c->all[j], radius)) continue;
    double most = c->all[j] * (1 + 2 * lip_gamma(M + 2));
    c->sum[j] = lip_scale_inside(radius, (p == LIP_P2 ? sqrt(most) : most) * (1 + 0x1p-50));
    any = true;
  }
  if (any) scale(W + u0, M, N, u1 - u0, c->sum + u0);
}

/* Sums of a block's columns, enclosed; in double where float32 leaves one too close to the radius to call, as it does
 * with columns that were projected before and have not moved since. */
typedef struct sums {
  double least[LIP_BLOCK], most[LIP_BLOCK];
} sums;

static bool bracket(sums *s, size_t k, lip_p p, double sum, double error, double radius) {
  s->most[k] = sum * (1 + error) * (1 + 0x1p-50);
  s->least[k] = sum * (1 - error) * (1 - 0x1p-50);
  if (p == LIP_P2) {
    s->most[k] = sqrt(s->most[k]) * (1 + 0x1p-50);
    s->least[k] = sqrt(s->least[k]) * (1 - 0x1p-50);
  }
  return s->most[k] > radius && s->least[k] <= radius;
}

/* From their sums by add_squares or lip_quick_cols_sum. */
static void measure(const float *W, size_t M, size_t N, size_t width, lip_p p, double radius,
                    const double *all, sums *s) {
  double exact = 2 * lip_gamma(M + 2), error = p == LIP_P2 ? exact : lip_quick_cols_error(M) * (1 + 0x1p-10);
  bool close[LIP_BLOCK], any = false;
  for (size_t k = 0; k < width; k++) {
    close[k] = bracket(s, k, p, all[k], error, radius);
    any |= close[k];
  }
  if (!any || p == LIP_P2) return;
  double sum[LIP_BLOCK];
  lip_cols_sum(W, M, N, width, sum);
  for (size_t k = 0; k < width; k++) /* the others as they are: what becomes of a column is its own affair */
    if (close[k]) bracket(s, k, p, sum[k], exact, radius);
}

/* Columns clearly outside are scaled to nearest, a block at a time; the others go the exact way one by one. */
void lip_cols_scale(float *W, size_t M, size_t N, lip_p p, double radius, lip_cols *c, size_t u0, size_t u1) {
  (p == LIP_P1 ? lip_quick_cols_sum : add_squares)(W + u0, M, N, u1 - u0, c->all + u0);
  for (size_t j = u0; j < u1; j += LIP_BLOCK) {
    size_t width = u1 - j < LIP_BLOCK ? u1 - j : LIP_BLOCK;
    float factor[LIP_BLOCK];
    bool any = false;
    sums s;
    measure(W + j, M, N, width, p, radius, c->all + j, &s);
    for (size_t k = 0; k < width; k++) {
      factor[k] = 1;
      if (s.most[k] <= radius) continue;
      float f = s.least[k] > radius ? lip_shrink_inside(radius, s.most[k], M) : 0;
      if (f > 0)
        factor[k] = f, any = true;
      else
        exact_scale(W, M, N, p, radius, c, j + k, j + k + 1);
    }
    if (any) lip_quick_cols_shrink(W + j, M, N, width, factor);
  }
}

/* Newton step number `step` of every column still moving: its next threshold and level. False when none moves. */
static bool newton(lip_cols *c, double radius, size_t u0, size_t u1, int step) {
  bool moving = false;
  for (size_t j = u0; j < u1; j++) {
    if (c->level[j] == INFINITY || c->count[j] == c->before[j]) continue;
    double next = c->count[j] ? (c->sum[j] - radius) / (double)c->count[j] : 0;
    /* rounding: the root is reached, or every active element equals it; only a remembered threshold may be too high */
    if (step > 0 && next <= c->tau[j]) {
      c->before[j] = c->count[j];
      continue;
    }
    c->tau[j] = next > 0 ? next : 0;
    c->level[j] = lip_float_down(c->tau[j]);
    c->before[j] = c->count[j];
    moving = true;
  }
  return moving;
}

/* Iterates in double. */
static void exact_l1(float *W, size_t M, size_t N, double radius, lip_cols *c, size_t u0, size_t u1) {
  size_t n = u1 - u0;
  bool any = false;
  for (size_t j = u0; j < u1; j++) c->level[j] = lip_float_down(c->tau[j]);
  add_first(W + u0, M, N, n, c->level + u0, c->all + u0, c->sum + u0, c->count + u0);
  for (size_t j = u0; j < u1; j++) {
    bool change = outside(W, M, N, j, LIP_P1, c->all[j], radius);
    /* a level that nothing exceeds, not even itself: the column is left alone */
    if (!change) c->level[j] = INFINITY;
    c->before[j] = UINT32_MAX;
    any |= change;
  }
  if (!any) return;
  for (int step = 0; newton(c, radius, u0, u1, step); step++)
    add_above(W + u0, M, N, n, c->level + u0, c->sum + u0, c->count + u0);
  double error = 2 * lip_gamma(M + 2);
  for (size_t j = u0; j < u1; j++) {
    double *tau = &c->all[j];
    if (c->level[j] == INFINITY)
      *tau = 0;
    else if (c->count[j] == 0) /* rounding at the top: every active element equals tau */
      *tau = INFINITY;
    else
      *tau = fmax(c->tau[j], lip_l1_threshold(c->sum[j], radius, c->count[j], error));
  }
  soft(W + u0, M, N, n, c->all + u0);
}

/* Blocks in float32, and the columns which that does not settle in double. */
void lip_cols_l1(float *W, size_t M, size_t N, double radius, lip_cols *c, size_t u0, size_t u1) {
  lip_quick_cols_sum(W + u0, M, N, u1 - u0, c->all + u0);
  for (size_t j = u0; j < u1; j += LIP_BLOCK) {
    size_t width = u1 - j < LIP_BLOCK ? u1 - j : LIP_BLOCK;
    bool todo[LIP_BLOCK], any = false;
    sums s;
    measure(W + j, M, N, width, LIP_P1, radius, c->all + j, &s);
    for (size_t k = 0; k < width; k++) {
      todo[k] = radius > 0x1p-80 && isfinite(s.most[k]) && s.least[k] > radius;
      any |= todo[k];
    }
    if (any) lip_quick_cols_l1(W + j, M, N, width, radius, c->tau + j, todo);
    for (size_t k = 0; k < width; k++) {
      bool settled = s.most[k] <= radius || (radius > 0x1p-80 && isfinite(s.most[k]) && s.least[k] > radius);
      if (todo[k] || !settled) exact_l1(W, M, N, radius, c, j + k, j + k + 1);
    }
  }
}
