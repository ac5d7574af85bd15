/* The region of inputs: how far a linear function of them can fall over the ball and the box together.
 *
 * With e_k = (x'_k - x_k) / s_k (s the scale of the ball, 1 without one; s_k = 0 keeps x_k where it is) the region is
 *   ||e||_p <= eps,  -down_k <= e_k <= up_k,  0 <= down_k, up_k <= eps,
 * and a row g falls by at most the largest value of sum_k m_k t_k, m_k = |g_k| s_k, over 0 <= t_k <= c_k, ||t||_p <= eps:
 * each e_k goes against the sign of g_k, so c_k is down_k where g_k > 0 and up_k elsewhere. For every split m = v + w into
 * parts >= 0, one paid for by the ball and one by the box (Rockafellar 1970, theorem 16.4: the support function of an
 * intersection),
 *   sum_k m_k t_k <= eps ||v||_{p*} + sum_k w_k c_k.
 * This is the proof: it holds whatever the split is, all terms are >= 0, and each of n of them is rounded three times (m
 * by the scale, w, the product), so that gamma_{n+8} of the sum covers it. The best split, with one number mu >= 0,
 *   p = 2   v_k = min(m_k, mu c_k)   t_k = min(m_k / mu, c_k), mu such that ||t||_2 = eps
 *   p = 1   v_k = min(m_k, mu)       t_k = c_k where m_k > mu, mu such that ||t||_1 = eps
 * mu = 0 is the box alone, mu = infinity (or the largest m_k) the ball alone. For p = 2 ||t||^2 is concave in mu^-2, so
 * Newton's steps come to mu from one side; for p = 1 the bound is convex and piecewise linear in mu, and the lines at both
 * ends of a bracket meet at the next mu (Kelley 1960) until the value there is the one of the lines. */
#include <math.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/base/simd.h"
#include "core/cert/relax_parts.h"
#include "core/norm/lanes.h"

/* ---- the region ---- */

/* x - `limit` in units of s > 0, rounded up, at most eps. */
static double room(double x, double limit, double s, double eps) {
  double d = x - limit;
  d = d > 0 ? lip_step_up(d) : 0;
  if (s != 1 && d > 0) d = lip_step_up(d / s);
  return d < eps ? d : eps;
}

/* Coordinate i; false when it is not finite. */
static bool start_coordinate(lip_ranges *g, size_t i) {
  const lip_region *c = &g->copy;
  double x = (double)c->x[i], s = c->scale ? c->scale[i] : 1, r = lip_up_mul(c->eps, s);
  double from = lip_step_down(x - r), to = -lip_step_down(-x - r);
  bool cut = false;
  if (!isfinite(x) || !(s >= 0) || !(s < INFINITY)) return false;
  if (g->boxed && from < c->from[i]) from = c->from[i], cut = true;
  if (g->boxed && to > c->to[i]) to = c->to[i], cut = true;
  if (s == 0) from = to = x, cut = false;
  double m = cut ? 0.5 * (from + to) : x;
  g->x[i] = x;
  g->x_mid[i] = m;
  g->x_half[i] = cut ? lip_step_up(fmax(to - m, m - from)) : r;
  g->x_bulk[i] = lip_step_up(fabs(m) + g->x_half[i]);
  g->down[i] = s == 0 ? 0 : g->boxed ? room(x, c->from[i], s, c->eps) : c->eps;
  g->up[i] = s == 0 ? 0 : g->boxed ? room(-x, -c->to[i], s, c->eps) : c->eps;
  return true;
}

/* The same of a box that is no part of a ball: between doubles, of which none need be a float. */
static bool start_side(lip_ranges *g, size_t i) {
  const double from = g->copy.from[i], to = g->copy.to[i];
  const double m = from == to ? from : 0.5 * from + 0.5 * to;
  if (!(from <= to) || !isfinite(from) || !isfinite(to)) return false;
  g->x[i] = g->x_mid[i] = m;
  g->x_half[i] = to > from ? lip_step_up(fmax(to - m, m - from)) : 0;
  g->x_bulk[i] = fmax(fabs(from), fabs(to));
  g->down[i] = g->up[i] = 0; /* of balls */
  return true;
}

bool lip_region_start(lip_ranges *g) {
  const lip_region *c = &g->copy;
  size_t n = g->r->a->n_in;
  if (!c->x) {
    if (c->p != LIP_PINF || g->r->p != LIP_PINF || !c->boxed) return false;
    g->boxed = true;
    for (size_t i = 0; i < n; i++)
      if (!start_side(g, i)) return false;
    memcpy(g->centre, g->x_mid, n * sizeof *g->centre);
    memcpy(g->half, g->x_half, n * sizeof *g->half);
    memcpy(g->bulk, g->x_bulk, n * sizeof *g->bulk);
    return true;
  }
  if (!(c->eps >= 0) || !(c->eps < INFINITY) || c->p != g->r->p) return false;
  g->boxed = c->boxed;
  for (size_t i = 0; g->boxed && i < n; i++)
    g->boxed = (double)c->x[i] >= c->from[i] && (double)c->x[i] <= c->to[i];
  for (size_t i = 0; i < n; i++)
    if (!start_coordinate(g, i)) return false;
  memcpy(g->centre, g->x_mid, n * sizeof *g->centre);
  memcpy(g->half, g->x_half, n * sizeof *g->half);
  memcpy(g->bulk, g->x_bulk, n * sizeof *g->bulk);
  return true;
}

/* ---- sums over a row, all of whole vectors: behind n stand zeros ---- */

LIP_INLINE void keep(lip_d8 *v, const lip_l8 *mask) {
  *v = (lip_d8)((lip_l8)*v & *mask);
}

LIP_INLINE void larger(lip_d8 *top, const lip_d8 *m) {
  lip_l8 more = *m > *top;
  *top = (lip_d8)(((lip_l8)*m & more) | ((lip_l8)*top & ~more));
}

LIP_INLINE void smaller(lip_d8 *to, const lip_d8 *m) {
  lip_l8 less = *m < *to;
  *to = (lip_d8)(((lip_l8)*m & less) | ((lip_l8)*to & ~less));
}

static double largest(const lip_d8 *v) {
  double top = 0;
  for (size_t i = 0; i < LIP_LANES; i++) top = (*v)[i] > top ? (*v)[i] : top;
  return top;
}

/* Where m and c of a row come from. */
typedef struct source {
  lip_row row;
  const double *scale;           /* may be NULL */
  const double *against, *along; /* how far e_k may go where g_k > 0 and elsewhere */
} source;

/* What belongs to numbers k to k + most - 1 of the row. */
LIP_INLINE void load_at(lip_d8 *v, const double *x, const uint32_t *at, size_t k, size_t most) {
  double t[LIP_LANES] = {0};
  if (!at) {
    lip_load_d(v, x + k, most);
    return;
  }
  for (size_t i = 0; i < most; i++) t[i] = x[at[k + i]];
  LIP_LOAD(*v, t);
}

/* Numbers k to k + most - 1 of a row, eight at most; m^2 where c > 0 is added to *square. */
LIP_INLINE void size_lanes(const source *f, size_t k, size_t most, double *size, double *cap,
                           lip_d8 *square) {
  lip_d8 g, s, a, b;
  lip_load_d(&g, f->row.v + k, most);
  load_at(&a, f->against, f->row.at, k, most);
  load_at(&b, f->along, f->row.at, k, most);
  lip_l8 positive = g > 0;
  lip_d8 m = (lip_d8)((lip_l8)g & INT64_MAX), c = (lip_d8)(((lip_l8)a & positive) | ((lip_l8)b & ~positive));
  if (f->scale) {
    load_at(&s, f->scale, f->row.at, k, most);
    m *= s;
  }
  LIP_STORE(size + k, m);
  LIP_STORE(cap + k, c);
  lip_l8 moves = c > 0;
  m *= m;
  keep(&m, &moves);
  *square += m;
}

/* m and c of a row; returns the sum of m^2 over c > 0. */
LIP_HOT static double sizes(const source *from, size_t n, double *restrict size, double *restrict cap) {
  const source f = *from;
  lip_d8 square = {0};
  size_t k = 0;
  for (; k + LIP_LANES <= n; k += LIP_LANES) size_lanes(&f, k, LIP_LANES, size, cap, &square);
  if (k < n) size_lanes(&f, k, n - k, size, cap, &square);
  return lip_sum_lanes(&square);
}

/* p = 2, t = 1 / mu: sum of c^2 where t m > c, and of m^2 elsewhere. */
LIP_HOT static void squares(const double *restrict size, const double *restrict cap, size_t n, double t,
                            double *fixed, double *loose) {
  lip_d8 f = {0}, l = {0};
  for (size_t k = 0; k < n; k += LIP_LANES) {
    lip_d8 m, c;
    LIP_LOAD(m, size + k);
    LIP_LOAD(c, cap + k);
    lip_l8 over = t * m > c, under = ~over;
    lip_d8 cc = c * c, mm = m * m;
    keep(&cc, &over);
    keep(&mm, &under);
    f += cc;
    l += mm;
  }
  *fixed = lip_sum_lanes(&f);
  *loose = lip_sum_lanes(&l);
}

/* p = 1: sums of c and of m c where m > mu. */
LIP_HOT static void filled(const double *restrict size, const double *restrict cap, size_t n, double mu,
                           double *caps, double *value) {
  lip_d8 f = {0}, v = {0};
  for (size_t k = 0; k < n; k += LIP_LANES) {
    lip_d8 m, c;
    LIP_LOAD(m, size + k);
    LIP_LOAD(c, cap + k);
    lip_l8 over = m > mu;
    keep(&c, &over);
    f += c;
    v += m * c;
  }
  *caps = lip_sum_lanes(&f);
  *value = lip_sum_lanes(&v);
}

/* The split at mu: what the box pays, and ||v||_{p*} or its square. A NaN leaves v = m. */
LIP_HOT static void split(const double *restrict size, const double *restrict cap, size_t n, double mu,
                          bool one, double *box, double *norm) {
  lip_d8 b = {0}, two = {0}, top = {0}, flat = {mu, mu, mu, mu, mu, mu, mu, mu};
  for (size_t k = 0; k < n; k += LIP_LANES) {
    lip_d8 m, c, v;
    LIP_LOAD(m, size + k);
    LIP_LOAD(c, cap + k);
    v = m;
    lip_d8 most = one ? flat : mu * c;
    smaller(&v, &most);
    b += (m - v) * c;
    two += v * v;
    larger(&top, &v);
  }
  *box = lip_sum_lanes(&b);
  *norm = one ? largest(&top) : lip_sum_lanes(&two);
}

/* ---- mu ---- */

/* Close enough: what the bound loses is of the order of the square of this. */
#define NEAR 0x1p-12

/* `mobile`: sum of m^2 over c > 0. */
static double choose_2(const lip_ranges *g, size_t n, double mobile) {
  double eps = g->copy.eps, t = eps / sqrt(mobile), fixed, loose;
  for (int i = 0; i < 40; i++) {
    squares(g->size, g->cap, n, t, &fixed, &loose);
    if (!(loose > 0)) return 0; /* the box's corner lies in the ball */
    double more = sqrt((eps * eps - fixed) / loose);
    bool settled = !(more > t * (1 + NEAR));
    if (more > t) t = more;
    if (settled) break;
  }
  return 1 / t;
}

static double choose_1(const lip_ranges *g, size_t n) {
  double eps = g->copy.eps, best = INFINITY, found = 0;
  double caps[2] = {0}, value[2] = {0}, now_caps, now; /* at both ends of the bracket */
  filled(g->size, g->cap, n, 0, &caps[0], &value[0]);
  if (caps[0] <= eps) return 0;
  for (int i = 0; i < 60; i++) {
    double mu = (value[0] - value[1]) / (caps[0] - caps[1]), lines = value[1] + mu * (eps - caps[1]);
    filled(g->size, g->cap, n, mu, &now_caps, &now);
    double bound = now + mu * (eps - now_caps);
    if (bound < best) best = bound, found = mu;
    if (best - lines <= best * NEAR * NEAR) break;
    int end = now_caps > eps ? 0 : 1;
    if (now_caps == caps[end]) break;
    caps[end] = now_caps;
    value[end] = now;
  }
  return found;
}

double lip_settle(double rest, double at, double size, double away, double slack, double gamma) {
  double v = rest + at - away;
  double off = slack + gamma * (fabs(rest) + size + away) + 0x1p-900;
  v = lip_step_down(v - off * (1 + 0x1p-20));
  return v > -INFINITY ? v : -(double)INFINITY; /* NaN too */
}

double lip_region_away(lip_ranges *g, lip_row row, bool rise) {
  size_t n = row.n, whole = (n + LIP_LANES - 1) / LIP_LANES * LIP_LANES;
  const source from = {row, g->copy.scale, rise ? g->up : g->down, rise ? g->down : g->up};
  double gamma = g->r->gamma, eps = g->copy.eps, box = 0, norm;
  bool one = g->copy.p == LIP_P1;
  double mobile = sizes(&from, n, g->size, g->cap),
         mu = one ? choose_1(g, whole) : choose_2(g, whole, mobile);
  g->mu = mu;
  split(g->size, g->cap, whole, mu, one, &box, &norm);
  if (!one) norm = sqrt(norm) * (1 + gamma) + 0x1p-500;
  return (box + eps * norm) * (1 + 2 * gamma) + 0x1p-900 * (1 + eps);
}

/* sum of a_k s_k t_k against the sign of the row, t_k = c_k where m_k > mu, else m_k / mu (p = 2) or 0; and what is left of
 * eps for p = 1. */
LIP_HOT static double along(const lip_ranges *g, const double *restrict row, const double *restrict a,
                            size_t n, double *left) {
  const double mu = g->mu, eps = g->copy.eps, *m = g->size, *c = g->cap, *s = g->copy.scale;
  const bool one = g->copy.p == LIP_P1;
  double sum = 0, caps = 0;
  for (size_t k = 0; k < n; k++) {
    double t = m[k] > mu * (one ? 1 : c[k]) ? c[k] : one || !(mu > 0) ? 0 : m[k] / mu;
    double w = row[k] > 0 ? a[k] : -a[k];
    sum += t * (s ? w * s[k] : w);
    caps += t;
  }
  *left = eps - caps;
  return sum;
}

double lip_region_change(const lip_ranges *g, const double *row, const double *a) {
  size_t n = g->r->a->n_in, next = SIZE_MAX;
  double left, change = 0, fall = along(g, row, a, n, &left);
  for (size_t k = 0; k < n; k++) {
    change += a[k] * g->x[k];
    if (g->copy.p == LIP_P1 && g->size[k] <= g->mu && (next == SIZE_MAX || g->size[k] > g->size[next]))
      next = k;
  }
  if (next == SIZE_MAX || !(left > 0)) return change - fall;
  double t = left < g->cap[next] ? left : g->cap[next], w = row[next] > 0 ? a[next] : -a[next];
  return change - fall - t * (g->copy.scale ? w * g->copy.scale[next] : w);
}
