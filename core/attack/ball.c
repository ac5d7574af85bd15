/* The nearest point to v of a ball cut by caps -a_k <= u_k <= c_k around 0 (a_k, c_k >= 0), all in the ball's units, is
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
#include "core/norm/lanes.h"
#include "core/norm/round.h"

/* ---- distances ---- */

/* |a - b| rounded up: the rounding error of a difference is known exactly (Knuth 1969). */
LIP_INLINE double apart(double a, double b) {
  double s = a - b, t = s - a, err = (a - (s - t)) - (b + t);
  double d = fabs(s);
  bool more = s > 0 ? err > 0 : err < 0;
  return more ? lip_up(d) : d;
}

/* d in units of s, rounded up. */
LIP_INLINE double units_up(double d, double s) {
  return d == 0 ? 0 : s == 0 ? (double)INFINITY : lip_up(d / s);
}

double lip_ball_distance(const lip_ball *b, const float *to, const float *from, size_t n, double *work) {
  fenv_t saved;
  lip_ieee_enter(&saved);
  for (size_t k = 0; k < n; k++) work[k] = apart((double)to[k], (double)from[k]);
  for (size_t k = 0; b->scale && k < n; k++) work[k] = units_up(work[k], b->scale[k]);
  double d = lip_norm_upper_d(work, n, b->p);
  lip_ieee_leave(&saved);
  return d;
}

void lip_ball_units(const lip_ball *b, double *v, size_t n) {
  for (size_t k = 0; b->scale && k < n; k++) v[k] *= b->inverse[k];
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
    /* less by what the product here and the quotient of a distance may err */
    double eps = b->scale ? b->eps * b->scale[k] * (1 - 0x1p-50) : b->eps;
    float least = b->box_low ? b->box_low[k] : -FLT_MAX, most = b->box_high ? b->box_high[k] : FLT_MAX;
    low[k] = limit(x[k], eps, least, most, false);
    high[k] = limit(x[k], eps, least, most, true);
  }
}

/* ---- nearest points ---- */

typedef struct caps {
  const float *x, *low, *high;
  const double *scale, *inverse; /* NULL: 1 */
} caps;

LIP_INLINE double cut(double v, const caps *c, size_t k) {
  double unit = c->inverse ? c->inverse[k] : 1;
  double most = ((double)c->high[k] - (double)c->x[k]) * unit;
  double least = ((double)c->low[k] - (double)c->x[k]) * unit;
  v = v > most ? most : v;
  return v < least ? least : v;
}

LIP_INLINE caps caps_from(const caps *c, size_t k) {
  return (caps){c->x + k, c->low + k, c->high + k, NULL, c->inverse ? c->inverse + k : NULL};
}

/* Sums over n terms are kept in so many parts: the compiler turns the loop over them into vectors for every processor,
 * and the order does not depend on which. */
enum { PARTS = 64 };

static double sum_parts(const double *part) {
  double sum = 0;
  for (size_t i = 0; i < PARTS; i++) sum += part[i];
  return sum;
}

/* Sums of squares: of what the caps leave of s v_k where they cut it, of v_k over the others, and of all v_k that the caps
 * let move at all. */
typedef struct squares {
  double fixed, loose, mobile;
} squares;

LIP_HOT static void add_squares(const double *v, const caps *c, size_t n, double s, squares *out) {
  double a[PARTS] = {0}, b[PARTS] = {0}, d[PARTS] = {0};
  for (size_t k = 0; k < n; k += PARTS) {
    const caps from = caps_from(c, k);
    const size_t m = n - k < PARTS ? n - k : PARTS;
    for (size_t i = 0; i < m; i++) {
      double whole = v[k + i], w = s * whole, u = cut(w, &from, i), square = whole * whole;
      double cut_off = u != w ? 1.0 : 0.0,
             moves = u != 0 ? 1.0 : 0.0; /* factors: gcc makes branches of the rest */
      a[i] += cut_off * (u * u);
      b[i] += (1 - cut_off) * square;
      d[i] += moves * square;
    }
  }
  *out = (squares){sum_parts(a), sum_parts(b), sum_parts(d)};
}

/* Close enough to a radius, from inside: less than float32 can tell. */
#define NEAR 0x1p-26

/* Each s that the free entries would need is too small for the entries it cuts off, so s grows to the answer. */
static void nearest_2(double *v, const caps *c, size_t n, double eps) {
  double s = 1;
  squares q;
  add_squares(v, c, n, s, &q);
  if (q.fixed + q.loose > eps * eps) {
    s = fmin(1, eps / sqrt(q.mobile));
    for (int i = 0; i < 60; i++) {
      add_squares(v, c, n, s, &q);
      double more = q.loose > 0 && eps * eps > q.fixed ? sqrt((eps * eps - q.fixed) / q.loose) : s;
      more = fmin(1, more);
      if (!(more > s * (1 + NEAR))) break;
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
  double a[PARTS] = {0}, b[PARTS] = {0};
  for (size_t k = 0; k < n; k += PARTS) {
    const caps from = caps_from(c, k);
    const size_t m = n - k < PARTS ? n - k : PARTS;
    for (size_t i = 0; i < m; i++) {
      double size = fabs(v[k + i]) - t, w = v[k + i] < 0 ? -size : size;
      w = size > 0 ? w : 0;
      double u = cut(w, &from, i);
      a[i] += fabs(u);
      b[i] += u != w || !(size > 0) ? 0.0 : 1.0;
    }
  }
  *sum = sum_parts(a);
  *moving = sum_parts(b);
}

/* Newton's steps on a falling, piecewise linear function, kept inside a bracket by halving it. */
static void nearest_1(double *v, const caps *c, size_t n, double eps) {
  double sum, moving, below = 0, above = 0, t = 0;
  sums(v, c, n, 0, &sum, &moving);
  if (sum > eps) {
    for (size_t k = 0; k < n; k++) above = fabs(v[k]) > above ? fabs(v[k]) : above;
    for (int i = 0; i < 100 && above - below > above * 0x1p-50; i++) {
      double guess = moving > 0 ? t + (sum - eps) / moving : below;
      t = guess > below && guess < above ? guess : below + (above - below) / 2;
      sums(v, c, n, t, &sum, &moving);
      if (sum > eps)
        below = t;
      else
        above = t;
      if (fabs(sum - eps) <= eps * NEAR) break;
    }
    if (sum > eps * (1 + NEAR)) sums(v, c, n, t = above, &sum, &moving);
  }
  double shrink = sum > eps ? eps / sum : 1; /* by no more than NEAR */
  for (size_t k = 0; k < n; k++) v[k] = shrink * soft(v[k], t, c, k);
}

/* x + s v in float32, rounded towards x where that is not exact, and within the caps. */
LIP_HOT static void settle(const caps *c, double *v, size_t n, bool inwards, float *out) {
  for (size_t k = 0; k < n; k++) {
    double x = (double)c->x[k], move = c->scale ? c->scale[k] * v[k] : v[k];
    float f = (float)(x + move);
    f = f > c->high[k] ? c->high[k] : f;
    f = f < c->low[k] ? c->low[k] : f;
    if (inwards && fabs((double)f - x) > fabs(move)) f = beside(f, (double)f < x);
    out[k] = f;
    v[k] = (double)f - x;
  }
}

void lip_ball_project(const lip_ball *b, const float *x, const float *low, const float *high, double *v,
                      size_t n, float *out) {
  const caps c = {x, low, high, b->scale, b->inverse};
  /* less by what sums of n terms in double may err, here and when the distance is measured upwards */
  double eps = b->eps * (1 - ((double)n + 64) * 0x1p-50);
  if (b->p == LIP_P2) nearest_2(v, &c, n, eps);
  if (b->p == LIP_P1) nearest_1(v, &c, n, eps);
  settle(&c, v, n, b->p != LIP_PINF, out);
  lip_ball_units(b, v, n);
}

/* ---- directions ---- */

LIP_INLINE float finite_or_zero(float g) {
  return fabsf(g) <= FLT_MAX ? g : 0;
}

LIP_HOT static size_t count_from(const uint32_t *bits, size_t n, uint32_t least) {
  uint32_t count = 0;
  for (size_t k = 0; k < n; k++) count += bits[k] >= least;
  return count;
}

/* The bits of the k-th largest of n floats >= 0, whose bits are ordered as they are: found bit by bit. */
static uint32_t largest(const uint32_t *bits, size_t n, size_t k) {
  uint32_t found = 0;
  for (int b = 30; b >= 0; b--)
    if (count_from(bits, n, found | 1u << b) >= k) found |= 1u << b;
  return found;
}

/* |g_k| as bits, 0 where the limits stop a step up. */
LIP_HOT static void free_sizes(const float *low, const float *high, const float *from, const float *g,
                               size_t n, uint32_t *bits) {
  for (size_t k = 0; k < n; k++) {
    float a = finite_or_zero(g[k]);
    float room = a > 0 ? high[k] - from[k] : from[k] - low[k];
    float size = room > 0 ? fabsf(a) : 0;
    memcpy(&bits[k], &size, sizeof size);
  }
}

static bool ascend_1(const float *low, const float *high, const float *from, const float *g, size_t n,
                     double length, size_t active, double *v, uint32_t *bits) {
  free_sizes(low, high, from, g, n, bits);
  active = active < 1 ? 1 : active > n ? n : active;
  uint32_t least = largest(bits, n, active);
  if (least == 0) least = 1; /* no more than that go anywhere */
  size_t count = count_from(bits, n, least);
  if (count == 0) return false;
  double each = length / (double)count;
  for (size_t k = 0; k < n; k++)
    if (bits[k] >= least) v[k] += g[k] > 0 ? each : -each;
  return true;
}

LIP_HOT static double length_2(const float *g, size_t n) {
  lip_d8 sum = {0};
  for (size_t k = 0; k < n; k += LIP_LANES) {
    lip_f8 f;
    lip_load(&f, g + k, n - k);
    lip_f8 size = f;
    lip_abs(&size);
    f = (lip_f8)((lip_i8)f & (size <= FLT_MAX));
    lip_d8 d = __builtin_convertvector(f, lip_d8);
    sum += d * d;
  }
  return sqrt(lip_sum_lanes(&sum));
}

/* Returns whether any of the signs is not 0. */
LIP_HOT static bool add_signs(const float *g, size_t n, double length, double *v) {
  const lip_d8 each = {length, length, length, length, length, length, length, length};
  lip_l8 any = {0};
  for (size_t k = 0; k < n; k += LIP_LANES) {
    lip_f8 f, size;
    lip_d8 to;
    lip_load(&f, g + k, n - k);
    lip_load_d(&to, v + k, n - k);
    size = f;
    lip_abs(&size);
    lip_l8 live = __builtin_convertvector((size <= FLT_MAX) & (size > 0), lip_l8);
    lip_l8 sign = (lip_l8) __builtin_convertvector(f, lip_d8) & INT64_MIN;
    to += (lip_d8)(live & ((lip_l8)each | sign));
    any |= live;
    lip_store_d(v + k, &to, n - k);
  }
  return (any[0] | any[1] | any[2] | any[3] | any[4] | any[5] | any[6] | any[7]) != 0;
}

LIP_HOT static void add_scaled(const float *g, size_t n, double s, double *v) {
  for (size_t k = 0; k < n; k++) v[k] += s * (double)finite_or_zero(g[k]);
}

bool lip_ball_ascend(const lip_ball *b, const float *low, const float *high, const float *from,
                     const float *g, size_t n, double length, size_t active, double *v, uint32_t *work) {
  if (b->p == LIP_P1) return ascend_1(low, high, from, g, n, length, active, v, work);
  if (b->p == LIP_PINF) return add_signs(g, n, length, v);
  double size = length_2(g, n);
  if (!(size > 0)) return false;
  add_scaled(g, n, length / size, v);
  return true;
}

bool lip_ball_steepest(const lip_ball *b, const float *g, size_t n, double *v) {
  /* for p = 1 entries of g that differ by less than 2^-30 of the largest share what is left of the radius */
  const double far = 0x1p30 * b->eps;
  memset(v, 0, n * sizeof *v);
  if (b->p == LIP_PINF) return add_signs(g, n, b->eps, v);
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
