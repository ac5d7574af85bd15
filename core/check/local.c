/* Local claims: lines around every unit, put in from the last one back to the input. README.md, "local", derives all of it. */
#include <string.h>

#include "core/base/simd.h"
#include "core/check/parts.h"

/* What holds for every float32 input of one region. Values (stack): executed ones are within `wide` of the computed centre,
 * and within `off` of it and their form. Variables (K): at most `size`. Units: w >= k0 z + t0 and w <= k1 z + t1, z its form,
 * itself within `slop` of what the computed coefficients say, times a factor; the last slop: of lip_check_last_form. */
typedef struct around {
  lip_check *c;
  const forms *f;
  double R, *low, *high; /* (n_in) of the input's increments */
  double *wide, *off, *more, *size, *line[4], *slop, *g;
} around;

/* sum_k of the least g d + mu |d| (p = 1) or g d + mu d^2 / 2 (p = 2) over low <= d <= high, minus what mu costs at most: a
 * lower bound of g d over ball and box for every mu >= 0, rounded down. *used: the norm of d, to its power. */
LIP_HOT static double dual(const around *a, const double *g, double mu, double *used) {
  size_t n = a->c->net->n_in;
  int p = a->c->claims->path[0];
  double sum = 0, all = 0, d2 = 0, half = p == 2 ? mu / 2 : 0, one = p == 1 ? mu : 0;
  for (size_t k = 0; k < n; k++) {
    double low = a->low[k], high = a->high[k], d = p == 2 && mu > 0 ? -g[k] / mu : g[k] > 0 ? low : high;
    double still = low > 0 ? low : high < 0 ? high : 0; /* the least |d| */
    d = p == 1 && fabs(g[k]) <= mu ? still : d < low ? low : d > high ? high : d;
    sum += g[k] * d + one * fabs(d) + half * d * d;
    all += fabs(g[k] * d) + one * fabs(d) + half * d * d;
    d2 += p == 1 ? fabs(d) : d * d;
  }
  *used = d2;
  double cost = p == 1 ? mu * a->R : p == 2 ? half * a->R * a->R : 0;
  return sum - cost - (GAMMA(n + 16) * all + 0x1p-50 * cost + FLOOR);
}

/* The best of some mu, halving between 0 and what a ball without a box asks for. */
static double least_input(const around *a, const double *g) {
  size_t n = a->c->net->n_in;
  int p = a->c->claims->path[0];
  double sum = 0, used, low = 0, R = p == 2 ? a->R * a->R : a->R;
  for (size_t k = 0; k < n; k++) sum = lip_check_add(sum, g[k], DUAL(p));
  double high = p == 0 || R == 0 ? 0
                : p == 2         ? sqrt(sum) / a->R
                                 : sum,
         mu = high, best = dual(a, g, mu, &used);
  for (int it = 0; it < 14 && high > 0 && !(used > R * 0.999999 && used < R * 1.000001); it++) {
    *(used > R ? &low : &high) = mu;
    mu = low + (high - low) / 2;
    double value = dual(a, g, mu, &used);
    best = value > best ? value : best;
  }
  return best;
}

LIP_HOT static void add_row(double *restrict g, const double *h, double m, size_t n) {
  for (size_t k = 0; k < n; k++) g[k] += m * h[k];
}

/* The slop of row v of H: sum of |g| |variable| or more, of its twin. */
static void weigh(const around *a, size_t v) {
  const forms *f = a->f;
  const double *twin = f->H + (2 * v + 1) * f->K;
  double mass = 0;
  for (size_t j = 0; j < f->base + v; j++) mass += twin[j] * a->size[j];
  a->slop[v] = lip_check_up(mass * (1 + GAMMA(f->K + 16)));
}

/* A lower bound of sign times row `row` of H over the region. */
static double least(const around *a, size_t row, double sign) {
  const forms *f = a->f;
  double fixed = 0, all = 0, slack = a->slop[row], *g = a->g;
  for (size_t j = 0; j < f->base + row; j++) g[j] = sign * f->H[row * 2 * f->K + j];
  for (size_t v = row; v-- > 0;) {
    double w = g[f->base + v];
    const bool up = w < 0;
    double m = w * a->line[2 * up][v], t = w * a->line[2 * up + 1][v];
    if (w == 0) continue;
    fixed += t;
    all += fabs(t);
    slack += fabs(m) * a->slop[v];
    if (m != 0) add_row(g, f->H + v * 2 * f->K, m, f->base + v);
  }
  double input = least_input(a, g), error = 2 * GAMMA(f->ops) + GAMMA(f->vars + 64);
  return fixed + input - lip_check_up((error * slack + GAMMA(2 * row + 64) * (all + fabs(input))) * 1.0001);
}

/* ---- lines ---- */

/* The slope of a unit, to a relative 2^-40. */
static double slope_at(const step *s, double z) {
  double e = exp(-fabs(s->unit == LIP_CHECK_SOFTPLUS ? s->slope * z : s->unit == LIP_CHECK_TANH ? 2 * z : z));
  if (s->unit == LIP_CHECK_LEAKY) return z >= 0 ? 1 : s->slope;
  if (s->unit == LIP_CHECK_SOFTPLUS) return (z >= 0 ? 1 : e) / (1 + e);
  return (s->unit == LIP_CHECK_TANH ? 4 : 1) * e / ((1 + e) * (1 + e));
}

/* Slopes k[0] below and k[1] above phi(at + d) - phi(at), low <= d <= high; t so that k[i] d + t[i] are bounds. Returns the
 * largest |phi(at + d) - phi(at)|. */
static double lines(const step *s, double at, double low, double high, double open, double k[2],
                    double t[2]) {
  const bool leaky = s->unit == LIP_CHECK_LEAKY, kink = leaky && at + low < 0 && at + high > 0;
  const double y = lip_check_unit(s, at), top = fmax(fabs(s->low), fabs(s->high));
  double ends[2] = {slope_at(s, at + low), slope_at(s, at + high)}, mid = low + (high - low) / 2;
  double point[3] = {low, high, kink ? -at : mid}, tangent = slope_at(s, at + mid), most = 0;
  double chord = high > low ? (lip_check_unit(s, at + high) - lip_check_unit(s, at + low)) / (high - low) : 0;
  const bool convex = leaky ? s->slope <= 1 : s->unit == LIP_CHECK_SOFTPLUS || at + high <= 0;
  const bool curved = leaky ? kink : convex || at + low >= 0;
  if (open == LIP_CHECK_OWN)
    open = at + high >= -(at + low) ? 1 : s->slope; /* Zhang et al. 2018, section 3.3 */
  double flat = leaky ? tangent : fmin(ends[0], ends[1]) * (1 - 0x1p-38);
  k[!convex] = kink ? open : curved ? tangent : flat;
  k[convex] = curved ? chord : flat;
  double steep = curved && !leaky ? 0x1p-38 * tangent + 0x1p-1000 : 0, /* of the tangent's slope; of values */
      error = leaky ? 0 : 2 * lip_check_unit_error(s, false, fabs(at) + fmax(fabs(low), fabs(high)), 1);
  t[0] = INFINITY;
  t[1] = -INFINITY;
  for (int i = 0; i < 3; i++) {
    double d = point[i], f = (kink && i == 2 ? 0 : lip_check_unit(s, at + d)) - y;
    double own = error + 0x1p-48 * (top * (fabs(at) + fabs(d)) + (fabs(k[0]) + fabs(k[1])) * fabs(d)) +
                 steep * (high - low);
    t[0] = fmin(t[0], f - k[0] * d - own);
    t[1] = fmax(t[1], f - k[1] * d + own);
    most = fmax(most, fabs(f) + own);
  }
  return lip_check_up(most);
}

/* ---- forwards ---- */

static void through(around *a, const step *s) {
  lip_check *c = a->c;
  double *h = c->h + s->at, *wide = a->wide + s->at, *off = a->off + s->at, size = 0,
         factor = 1 + 2 * GAMMA(s->N + 16), *q = a->more, *g = q + c->stack, *unused = g + c->stack;
  for (size_t k = 0; k < s->N; k++) size = fmax(size, fabs(h[k]) + wide[k]);
  lip_check_apply(c, s);
  memset(q, 0, 2 * c->stack * sizeof *q);
  lip_check_columns(s, wide, unused, q);
  lip_check_columns(s, off, unused, g);
  for (size_t i = 0; i < s->M; i++) {
    double own = ERROR64(s) * c->t[i], moved = q[i] * factor, T = lip_check_up((c->t[i] + q[i]) * factor);
    own += lip_check_error32(s, T, lip_check_up(fabs(h[i]) + own + moved), size, 1);
    wide[i] = lip_check_up(moved + own);
    off[i] = lip_check_up(g[i] * factor + own);
  }
}

/* Unit `var` of step s at value i, whose partner is m. */
static void unit(around *a, const step *s, size_t i, size_t m, size_t var, double open) {
  const bool pair = s->mate;
  double *h = a->c->h + s->at, *wide = a->wide + s->at, *off = a->off + s->at, k[2], t[2], bound[2];
  double at = pair ? h[m] - h[i] : h[i], room = 0x1p-52 * fabs(at),
         reach = lip_check_up(pair ? wide[m] + wide[i] + room : wide[i]),
         own = (pair ? off[m] + off[i] : off[i]) + room;
  weigh(a, var);
  for (int side = 0; side < 2; side++) /* of z and of -z */
    bound[side] = fmin(lip_check_up(own - least(a, var, side ? 1 : -1)), reach);
  double e = lip_check_unit_error(s, true, lip_check_up(fabs(at) + reach), 1) +
             lip_check_unit_error(s, false, fabs(at), 1);
  double most = lines(s, at, -bound[1], bound[0], open, k, t), C = a->f->C[var],
         far = fmax(bound[0], bound[1]) + own;
  for (int side = 0; side < 2; side++) {
    a->line[2 * side][var] = k[side] - C;
    double more = lip_check_up(fabs(k[side]) * own + e + 0x1p-50 * (fabs(k[side]) + fabs(C)) * far);
    a->line[2 * side + 1][var] = t[side] + (side ? more : -more);
  }
  a->size[a->f->base + var] = lip_check_up(most + e + fabs(C) * far);
  wide[i] = wide[m] = pair ? fmax(wide[i], wide[m]) : lip_check_up(most + e);
  off[i] = off[m] = pair ? lip_check_up((off[i] + off[m]) / 2) : 0;
}

/* The region and room for what holds in it. False: no memory, too large, or outside of the box. */
static bool start(lip_check *c, const float *x, double R) {
  const lip_check_claims *claims = c->claims;
  const forms *f = lip_check_forms(c);
  around *a = c->around = lip_check_take(c, 1, (sizeof *a + 7) / 8);
  if (!f || !a) return false;
  *a = (around){.c = c, .f = f, .R = R};
  a->low = lip_check_take(c, f->base, 2);
  a->wide = c->wide = lip_check_take(c, c->stack, 5);
  a->size = lip_check_take(c, f->K, 2);
  a->slop = lip_check_take(c, f->vars + 1, 5);
  if (c->failed) return false;
  a->high = a->low + f->base;
  a->more = (a->off = a->wide + c->stack) + c->stack;
  a->g = a->size + f->K;
  for (size_t i = 0; i < 4; i++) a->line[i] = a->slop + (i + 1) * (f->vars + 1);
  for (size_t k = 0; k < f->base; k++) {
    double v = c->h[k] = (double)x[k], room = 0x1p-50 * fabs(v);
    a->low[k] = fmax(-R, claims->from - v - room - 0x1p-50 * fabs(claims->from));
    a->high[k] = fmin(R, claims->to - v + room + 0x1p-50 * fabs(claims->to));
    a->size[k] = a->wide[k] = fmax(fabs(a->low[k]), fabs(a->high[k]));
    if (!(a->low[k] <= a->high[k])) return false;
  }
  return true;
}

bool lip_check_around(lip_check *c, size_t row, const float *x, double R) {
  const double *slope = c->claims->slope ? c->claims->slope + row * c->units : NULL;
  if (!start(c, x, R)) return false;
  around *a = c->around;
  size_t var = 0;
  for (const step *s = c->step; s < c->step + c->n && !lip_check_stopped(c); s++) {
    for (size_t i = 0, m; s->op == UNITS && i < s->M && !lip_check_stopped(c); i++)
      if (lip_check_is_unit(s, i, &m)) unit(a, s, i, m, var, slope ? slope[var] : LIP_CHECK_OWN), var++;
    if (s->op == MOVE) memmove(a->wide + s->at, a->wide + s->from_at, s->M * sizeof *a->wide);
    if (s->op == MOVE) memmove(a->off + s->at, a->off + s->from_at, s->M * sizeof *a->off);
    if (s->op == LINEAR) through(a, s);
    if (s->op != LINEAR) lip_check_apply(c, s);
  }
  return !lip_check_stopped(c);
}

double lip_check_least(lip_check *c, size_t i, size_t j) {
  const around *a = c->around;
  lip_check_last_form(a->f, i, j);
  weigh(a, a->f->vars);
  double m = c->h[i] - c->h[j], low = least(a, a->f->vars, 1);
  return m + low - lip_check_up(a->off[i] + a->off[j] + 0x1p-50 * (fabs(m) + fabs(low)));
}
