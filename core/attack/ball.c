/* The nearest point to v of a ball cut by caps -a_k <= u_k <= c_k around 0 (a_k, c_k >= 0) is
 *   p = inf  u_k = v_k cut to the caps and to +-eps
 *   p = 2    u_k = s v_k cut to the caps, s <= 1 the largest with ||u||_2 <= eps
 *   p = 1    u_k = sign(v_k) max(|v_k| - t, 0) cut to the caps, t >= 0 the smallest with ||u||_1 <= eps
 * (from the optimality conditions of min ||u - v||^2 with one multiplier for the norm; for p = 1 without caps Duchi et
 * al. 2008, with them Croce and Hein 2021, "Mind the box"). For v = T g with T large the nearest point is the one where
 * <g, u> is largest, since ||u - T g||^2 = ||u||^2 - 2 T <g, u> + const. */
#include "core/attack/ball.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/norm/round.h"

/* ---- distances ---- */

/* |a - b| rounded up: the rounding error of a difference is known exactly (Knuth 1969). */
LIP_INLINE double apart(double a, double b) {
  double s = a - b, t = s - a, err = (a - (s - t)) - (b + t);
  double d = fabs(s);
  bool more = s > 0 ? err > 0 : err < 0;
  return more ? lip_up(d) : d;
}

double lip_ball_distance(const float *a, const float *b, size_t n, lip_p p, double *work) {
  fenv_t saved;
  lip_ieee_enter(&saved);
  for (size_t k = 0; k < n; k++) work[k] = apart((double)a[k], (double)b[k]);
  double d = lip_norm_upper_d(work, n, p);
  lip_ieee_leave(&saved);
  return d;
}

/* ---- limits ---- */

/* The float next to f, which is not 0, towards 0 or away from it. */
LIP_INLINE float next(float f, bool away) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  bits += away ? 1u : -1u;
  memcpy(&f, &bits, sizeof f);
  return f;
}

/* The float next to f upwards or downwards. */
LIP_INLINE float beside(float f, bool up) {
  if (f == 0) return up ? 0x1p-149f : -0x1p-149f;
  return next(f, (f > 0) == up);
}

/* Whether |f - x| > eps, exactly. */
LIP_INLINE bool beyond(float f, float x, double eps) {
  return apart((double)f, (double)x) > eps;
}

static float limit(float x, double eps, float low, float high, bool up) {
  double to = up ? (double)x + eps : (double)x - eps;
  float f = to > (double)high ? high : to < (double)low ? low : (float)to;
  while (f != x && beyond(f, x, eps)) f = beside(f, !up);
  return f;
}

void lip_ball_limits(const lip_ball *b, const float *x, size_t n, float *low, float *high) {
  for (size_t k = 0; k < n; k++) {
    low[k] = limit(x[k], b->eps, b->box_low, b->box_high, false);
    high[k] = limit(x[k], b->eps, b->box_low, b->box_high, true);
  }
}

/* ---- nearest points ---- */

typedef struct caps {
  const float *x, *low, *high;
} caps;

LIP_INLINE double cut(double v, const caps *c, size_t k) {
  double most = (double)c->high[k] - (double)c->x[k], least = (double)c->low[k] - (double)c->x[k];
  v = v > most ? most : v;
  return v < least ? least : v;
}

/* Sums of squares of s v: of the entries cut by the caps (as cut), and of v over the others. */
LIP_HOT static void squares(const double *v, const caps *c, size_t n, double s, double *cut_off,
                            double *free) {
  double a = 0, b = 0;
  for (size_t k = 0; k < n; k++) {
    double w = s * v[k], u = cut(w, c, k);
    a += u != w ? u * u : 0;
    b += u == w ? v[k] * v[k] : 0;
  }
  *cut_off = a;
  *free = b;
}

/* Each s that the free entries would need is too small for the entries it cuts off, so s grows to the answer. */
static void nearest_2(double *v, const caps *c, size_t n, double eps) {
  double s = 1, fixed, loose;
  squares(v, c, n, s, &fixed, &loose);
  if (fixed + loose > eps * eps) {
    squares(v, c, n, 0, &fixed, &loose);
    s = loose > 0 ? fmin(1, eps / sqrt(loose)) : 0;
    for (int i = 0; i < 60; i++) {
      squares(v, c, n, s, &fixed, &loose);
      double more = loose > 0 && eps * eps > fixed ? sqrt((eps * eps - fixed) / loose) : s;
      more = fmin(1, more);
      if (!(more > s * (1 + 0x1p-46))) break;
      s = more;
    }
  }
  for (size_t k = 0; k < n; k++) v[k] = cut(s * v[k], c, k);
}

LIP_INLINE double soft(double v, double t, const caps *c, size_t k) {
  double a = fabs(v) - t;
  return cut(a > 0 ? copysign(a, v) : 0, c, k);
}

/* Sum of |u| for the threshold t, and how many entries move with it. */
LIP_HOT static void sums(const double *v, const caps *c, size_t n, double t, double *sum, double *moving) {
  double a = 0, m = 0;
  for (size_t k = 0; k < n; k++) {
    double w = fabs(v[k]) - t, u = fabs(soft(v[k], t, c, k));
    a += u;
    m += w > 0 && u == w ? 1.0 : 0.0;
  }
  *sum = a;
  *moving = m;
}

/* Newton's steps on a falling, piecewise linear function, kept inside a bracket by halving it. */
static void nearest_1(double *v, const caps *c, size_t n, double eps) {
  double sum, moving, below = 0, above = 0, t = 0;
  for (size_t k = 0; k < n; k++) above = fmax(above, fabs(v[k]));
  sums(v, c, n, 0, &sum, &moving);
  if (sum > eps) {
    for (int i = 0; i < 100 && above - below > above * 0x1p-50; i++) {
      double guess = moving > 0 ? t + (sum - eps) / moving : below;
      t = guess > below && guess < above ? guess : below + (above - below) / 2;
      sums(v, c, n, t, &sum, &moving);
      if (sum > eps)
        below = t;
      else
        above = t;
      if (fabs(sum - eps) <= eps * 0x1p-45) break;
    }
    t = sum > eps ? above : t;
  }
  for (size_t k = 0; k < n; k++) v[k] = soft(v[k], t, c, k);
}

/* x + v in float32, rounded towards x where that is not exact, and within the caps. */
LIP_HOT static void settle(const caps *c, double *v, size_t n, bool inwards, float *out) {
  for (size_t k = 0; k < n; k++) {
    double x = (double)c->x[k];
    float f = (float)(x + v[k]);
    f = f > c->high[k] ? c->high[k] : f;
    f = f < c->low[k] ? c->low[k] : f;
    if (inwards && fabs((double)f - x) > fabs(v[k])) f = beside(f, (double)f < x);
    out[k] = f;
    v[k] = (double)f - x;
  }
}

void lip_ball_project(const lip_ball *b, const float *x, const float *low, const float *high, double *v,
                      size_t n, float *out) {
  const caps c = {x, low, high};
  /* less by what sums of n terms in double may err, here and when the distance is measured upwards */
  double eps = b->eps * (1 - ((double)n + 64) * 0x1p-50);
  if (b->p == LIP_P2) nearest_2(v, &c, n, eps);
  if (b->p == LIP_P1) nearest_1(v, &c, n, eps);
  settle(&c, v, n, b->p != LIP_PINF, out);
}

/* ---- directions ---- */

/* The k-th largest of a (n), 1 <= k <= n; reorders a (Hoare 1961). */
static float largest(float *a, size_t n, size_t k) {
  size_t lo = 0, hi = n - 1, at = n - k;
  while (lo < hi) {
    float pivot = a[lo + (hi - lo) / 2];
    size_t i = lo, j = hi;
    for (;;) {
      while (a[i] < pivot) i++;
      while (a[j] > pivot) j--;
      if (i >= j) break;
      float t = a[i];
      a[i++] = a[j];
      a[j--] = t;
    }
    /* a[lo..j] <= pivot <= a[j+1..hi], j < hi */
    if (at <= j)
      hi = j;
    else
      lo = j + 1;
  }
  return a[at];
}

LIP_INLINE float finite_or_zero(float g) {
  return fabsf(g) <= FLT_MAX ? g : 0;
}

static bool ascend_1(const float *low, const float *high, const float *from, const float *g, size_t n,
                     double length, size_t active, double *v, float *size) {
  float top = 0;
  size_t count = 0;
  for (size_t k = 0; k < n; k++) {
    float a = finite_or_zero(g[k]);
    bool stopped = a > 0 ? from[k] >= high[k] : from[k] <= low[k];
    size[k] = stopped ? 0 : fabsf(a);
    top = size[k] > top ? size[k] : top;
  }
  if (!(top > 0)) return false;
  active = active < 1 ? 1 : active > n ? n : active;
  float *order = size + n;
  memcpy(order, size, n * sizeof *order);
  float least = active == 1 ? top : largest(order, n, active);
  for (size_t k = 0; k < n; k++) count += size[k] > 0 && size[k] >= least;
  double each = length / (double)count;
  for (size_t k = 0; k < n; k++)
    if (size[k] > 0 && size[k] >= least) v[k] += g[k] > 0 ? each : -each;
  return true;
}

LIP_HOT static double length_2(const float *g, size_t n) {
  double sum = 0;
  for (size_t k = 0; k < n; k++) {
    double d = (double)finite_or_zero(g[k]);
    sum += d * d;
  }
  return sqrt(sum);
}

LIP_HOT static double add_signs(const float *g, size_t n, double length, double *v) {
  double any = 0;
  for (size_t k = 0; k < n; k++) {
    float d = finite_or_zero(g[k]);
    double s = d > 0 ? 1.0 : d < 0 ? -1.0 : 0.0;
    v[k] += length * s;
    any += s * s;
  }
  return any;
}

LIP_HOT static void add_scaled(const float *g, size_t n, double s, double *v) {
  for (size_t k = 0; k < n; k++) v[k] += s * (double)finite_or_zero(g[k]);
}

bool lip_ball_ascend(const lip_ball *b, const float *low, const float *high, const float *from,
                     const float *g, size_t n, double length, size_t active, double *v, float *work) {
  if (b->p == LIP_P1) return ascend_1(low, high, from, g, n, length, active, v, work);
  if (b->p == LIP_PINF) return add_signs(g, n, length, v) > 0;
  double size = length_2(g, n);
  if (!(size > 0)) return false;
  add_scaled(g, n, length / size, v);
  return true;
}

bool lip_ball_steepest(const lip_ball *b, const float *g, size_t n, double *v) {
  /* for p = 1 entries of g that differ by less than 2^-30 of the largest share what is left of the radius */
  const double far = 0x1p30 * b->eps;
  memset(v, 0, n * sizeof *v);
  if (b->p == LIP_PINF) return add_signs(g, n, b->eps, v) > 0;
  float top = 0;
  for (size_t k = 0; k < n; k++) {
    float a = fabsf(finite_or_zero(g[k]));
    top = a > top ? a : top;
  }
  if (!(top > 0)) return false;
  add_scaled(g, n, far / (double)top, v);
  return true;
}

void lip_ball_random(const lip_ball *b, size_t n, lip_rng *rng, double *v) {
  double sum = 0, scale = b->eps;
  if (b->p == LIP_PINF) {
    for (size_t k = 0; k < n; k++) v[k] = b->eps * (2 * lip_rng_uniform(rng) - 1);
    return;
  }
  for (size_t k = 0; k < n; k++) {
    v[k] = lip_rng_normal(rng);
    sum += v[k] * v[k];
  }
  /* in norm 1 the nearest point to this has a few entries only, as strong perturbations have */
  if (b->p == LIP_P2) scale = sum > 0 ? b->eps * pow(lip_rng_uniform(rng), 1 / (double)n) / sqrt(sum) : 0;
  for (size_t k = 0; k < n; k++) v[k] *= scale;
}
