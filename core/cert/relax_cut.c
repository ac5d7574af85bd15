/* Rows where something is supposed of the inputs besides the region: a . x + rest <= 0.
 *
 * For every gamma >= 0 a row that claims f >= b . x + rest_b all over the region claims
 *   f >= min over the region of (b + gamma a) . x + rest_b + gamma rest    where a . x + rest <= 0,
 * and for one such half space the best gamma gives all there is (Lagrange duality; Rockafellar 1970, theorem 28.2). The right
 * side is concave in gamma; its derivative is a . x + rest at the point x where the minimum is attained, and gamma is looked
 * for where that has a zero. Any gamma is a proof, so the search may be rough.
 *
 * Rounding. a . x + rest <= 0 itself comes from a row that claims f >= a . x + rest' - slack, with rest <= rest' - slack. Of
 * r_i, the computed b_i + gamma a_i, the error is at most u (gamma |a_i| + |r_i|) (1 + u); with X_i >= |x_i| over the region
 * and size = sum (|b_i| + gamma |a_i|) X_i + |rest_b| + gamma |rest| all of them change r . x by less than 3 u size, the new
 * constant is off by less than 3 u size, and |r| . |x| < 2 size: gamma_n times 4 size, which is taken off, is more than these
 * and what the sum r . x may be off by. */
#include <math.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/base/simd.h"
#include "core/cert/relax_parts.h"
#include "core/norm/lanes.h"

/* Sums over r = b + gamma a: r . x and r . middle; |r| . half; ||r||^2; (|b| + gamma |a|) . bulk; and for the derivative by
 * gamma a . middle - sign(r) a . half, a . x, a . r. */
typedef struct sums {
  double at, middle, one, two, size, corner, a_at, a_r;
} sums;

typedef struct vectors {
  const double *b, *a, *x, *mid, *half, *bulk;
} vectors;

LIP_INLINE void add_lanes(lip_d8 s[8], const vectors *f, double gamma, size_t i, size_t k) {
  const lip_l8 sign = (lip_l8){0} + INT64_MIN;
  lip_d8 b, a, x, mid, half, bulk, t;
  lip_load_d(&b, f->b + i, k);
  lip_load_d(&a, f->a + i, k);
  lip_load_d(&x, f->x + i, k);
  lip_load_d(&mid, f->mid + i, k);
  lip_load_d(&half, f->half + i, k);
  lip_load_d(&bulk, f->bulk + i, k);
  lip_d8 ga = gamma * a, r = b + ga, m = (lip_d8)((lip_l8)r & ~sign);
  s[0] += r * x;
  s[1] += r * mid;
  s[2] += m * half;
  s[3] += r * r;
  s[4] += ((lip_d8)((lip_l8)b & ~sign) + (lip_d8)((lip_l8)ga & ~sign)) * bulk;
  t = (lip_d8)((lip_l8)half | ((lip_l8)r & sign));
  s[5] += a * (mid - t);
  s[6] += a * x;
  s[7] += a * r;
}

LIP_HOT static void sum_up(const vectors *from, double gamma, size_t n, sums *out) {
  const vectors f = *from;
  lip_d8 s[8];
  memset(s, 0, sizeof s);
  size_t i = 0;
  for (; i + LIP_LANES <= n; i += LIP_LANES) add_lanes(s, &f, gamma, i, LIP_LANES);
  if (i < n) add_lanes(s, &f, gamma, i, n - i);
  *out = (sums){lip_sum_lanes(&s[0]), lip_sum_lanes(&s[1]), lip_sum_lanes(&s[2]), lip_sum_lanes(&s[3]),
                lip_sum_lanes(&s[4]), lip_sum_lanes(&s[5]), lip_sum_lanes(&s[6]), lip_sum_lanes(&s[7])};
}

/* What the row is at least for one gamma, and about how that changes with gamma. */
typedef struct value {
  double least, change, norm; /* norm: of b + gamma a, about */
} value;

/* b + gamma a, rounded as in sum_up. */
LIP_HOT static void combine(double *restrict to, const double *restrict b, const double *restrict a,
                            double gamma, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = b[i] + gamma * a[i];
}

static value at_gamma(lip_ranges *g, double rest, double slack, double gamma) {
  const lip_cut *c = &g->cut;
  const double grown = g->r->gamma;
  size_t n = g->r->a->n_in;
  vectors f = {c->row, c->a, g->x, g->x_mid, g->x_half, g->x_bulk};
  sums s;
  sum_up(&f, gamma, n, &s);
  double k = rest + gamma * c->rest, size = 4 * (s.size + fabs(rest) + gamma * fabs(c->rest));
  double norm = sqrt(s.two), away;
  if (g->copy.p == LIP_PINF)
    return (value){lip_settle(k, s.middle, size, s.one, slack, grown), s.corner + c->rest, norm};
  if (g->copy.p == LIP_P2 && !g->boxed && !g->copy.scale) {
    away = g->copy.eps * (norm * (1 + grown) + 0x1p-500);
    return (value){lip_settle(k, s.at, size, away, slack, grown),
                   s.a_at + c->rest - g->copy.eps * s.a_r / norm, norm};
  }
  combine(c->sum, c->row, c->a, gamma, n);
  away = lip_region_away(g, (lip_row){c->sum, NULL, n}, false);
  return (value){lip_settle(k, s.at, size, away, slack, grown), lip_region_change(g, c->sum, c->a) + c->rest,
                 norm};
}

/* max over gamma: looked for where the change has a zero. */
static double raised(lip_ranges *g, double rest, double slack, double found) {
  enum { GROW = 6, STEPS = 2 };
  value low = at_gamma(g, rest, slack, 0), high = low;
  double best = fmax(found, low.least), from = 0, to = low.norm / g->cut.norm;
  if (!(low.change > 0) || !isfinite(to)) return best;
  for (int i = 0; i < GROW; i++) {
    high = at_gamma(g, rest, slack, to);
    if (high.least > best) best = high.least;
    if (!(high.change > 0)) break;
    from = to, low = high, to *= 4;
  }
  for (int i = 0; i < STEPS && high.change < 0; i++) {
    double middle = i % 2 ? 0.5 * (from + to) : from + (to - from) * low.change / (low.change - high.change);
    value now = at_gamma(g, rest, slack, middle);
    if (now.least > best) best = now.least;
    if (now.change > 0)
      from = middle, low = now;
    else
      to = middle, high = now;
  }
  return best;
}

/* Whether there is a row in that lane. */
static bool take_row(const lip_ranges *g, size_t r, double *row) {
  const sheaf *x = &g->now;
  const size_t L = g->lanes;
  bool any = false;
  if (!x->all) memset(row, 0, g->r->a->n_in * sizeof *row);
  for (size_t i = 0; i < x->n; i++) {
    double v = x->v[i * L + r];
    row[x->all ? i : x->at[i]] = v;
    any |= v != 0;
  }
  return any;
}

void lip_cut_rows(lip_ranges *g) {
  for (size_t r = 0; r < g->lanes; r++)
    if (take_row(g, r, g->cut.row)) g->found[r] = raised(g, g->rest[r], g->slack[r], g->found[r]);
}

/* What stands in cut.a, and rest. */
static bool suppose(lip_ranges *g, double rest) {
  lip_cut *c = &g->cut;
  double two = 0;
  for (size_t i = 0; i < g->r->a->n_in; i++) two += c->a[i] * c->a[i];
  c->norm = sqrt(two);
  c->rest = rest;
  c->on = isfinite(two) && isfinite(rest);
  return c->on;
}

bool lip_cut_suppose(lip_ranges *g, size_t r) {
  take_row(g, r, g->cut.a);
  return suppose(g, lip_step_down(g->rest[r] - g->slack[r] * (1 + 0x1p-20))); /* its own error: relax.c */
}

bool lip_cut_suppose_row(lip_ranges *g, const double *a, double rest) {
  memcpy(g->cut.a, a, g->r->a->n_in * sizeof *a);
  return suppose(g, rest);
}

double lip_cut_excess(lip_ranges *g, size_t r, double low) {
  double at = g->rest[r];
  take_row(g, r, g->cut.row);
  for (size_t i = 0; i < g->r->a->n_in; i++) at += g->cut.row[i] * g->x[i];
  return at > 0 ? -low / (at - low) : (double)INFINITY;
}
