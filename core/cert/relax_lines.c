/* Lines below and above an activation on an interval; why they hold stands at the top of relax.c. */
#include <math.h>

#include "core/affine/bend.h"
#include "core/cert/relax_parts.h"

void lip_phi_range(const lip_block *b, size_t k, double from, double to, lip_range *r) {
  if (b->mate && b->mate[k] < k) { /* the difference of a pair */
    double near = from <= 0 && to >= 0 ? 0 : fmin(fabs(from), fabs(to)), far = fmax(fabs(from), fabs(to));
    double low = from >= 0 ? 1 : -1, high = to <= 0 ? -1 : 1;
    *r = b->descending ? (lip_range){low, high, near, far, 0, 1}
                       : (lip_range){-high, -low, -far, -near, 0, -1};
  } else if (k < b->n_phi) {
    lip_block_range(b, k, from, to, r);
  } else {
    *r = (lip_range){1, 1, from, to, 0, 1};
  }
}

/* v - a x rounded up; exact where the product is exact and equals v. */
static double above(double v, double a, double x) {
  double p = a * x;
  if (p == v && fma(a, x, -p) == 0) return 0;
  return v - p + (fabs(v) + fabs(p)) * 0x1p-51 + 0x1p-1000;
}

static double below(double v, double a, double x) {
  return -above(-v, a, -x);
}

/* What lies over a convex function, or under a concave one (sign -1): the chord. */
static void chord(const lip_range *p, const lip_range *q, double from, double to, double sign, double *slope,
                  double *line) {
  double u = sign > 0 ? p->most : p->least, v = sign > 0 ? q->most : q->least;
  double s = to > from ? (v - u) / (to - from) : 0;
  if (!isfinite(s)) s = 0;
  *slope = s;
  *line = sign > 0 ? fmax(above(u, s, from), above(v, s, to)) : fmin(below(u, s, from), below(v, s, to));
}

/* The other side: a tangent in the middle, whose slope is known to lie in [t.low, t.high]. */
static void tangent(const lip_range *t, double c, double from, double to, double sign, double *slope,
                    double *line) {
  double away = (t->high - t->low) * fmax(to - c, c - from) * (1 + 0x1p-50);
  *slope = t->low;
  *line = sign > 0 ? below(t->least, t->low, c) : above(t->most, t->low, c);
  if (away > 0) *line -= sign * (away + fabs(*line) * 0x1p-52);
}

/* ---- convex on the left of an inflexion at 0, concave on its right ---- */

/* The function, or -phi(-u), which is of the same shape and whose line above is phi's line below. */
typedef struct bent {
  const lip_block *b;
  size_t k;
  bool turned;
} bent;

static lip_range bent_at(const bent *f, double u) {
  lip_range r;
  u = f->turned ? -u : u;
  lip_phi_range(f->b, f->k, u, u, &r);
  if (f->turned) r = (lip_range){r.low, r.high, -r.most, -r.least, r.off, -r.curve};
  return r;
}

/* How far (from, f(from)) lies below the tangent at d >= 0: rises with d, and is < 0 at 0. */
static double gap_at(const lip_range *t, double d, const lip_range *p, double from) {
  return t->most - p->most - t->low * (d - from);
}

/* About where on [0, to] the tangent passes through the left end; to where it would be farther on. */
static double touching(const bent *f, const lip_range *p, double from, double to) {
  enum { STEPS = 24 };
  double low = 0, high = to;
  lip_range t = bent_at(f, to);
  if (!(gap_at(&t, to, p, from) > 0)) return to;
  for (int i = 0; i < STEPS; i++) {
    double d = high > 4 ? sqrt((1 + low) * (1 + high)) - 1 : 0.5 * (low + high); /* of 1e300 likewise */
    t = bent_at(f, d);
    if (gap_at(&t, d, p, from) > 0)
      high = d;
    else
      low = d;
  }
  return high;
}

/* Above f on [from, to], from < 0 < to: whatever s and d are, the constant is proved for them. On [from, 0] f(u) - s u is
 * convex, so largest at an end. On [0, to] f(u) - s u <= f(d) - s d + (f'(d) - s) (u - d), which is largest at an end, too;
 * of f'(d) only [low, high] is known. */
static void bent_line(const bent *f, double from, double to, double *slope, double *line) {
  lip_range p = bent_at(f, from);
  double d = touching(f, &p, from, to);
  lip_range t = bent_at(f, d);
  double s = d < to ? t.low : (t.most - p.most) / (to - from);
  if (!isfinite(s)) s = t.low;
  double away = fmax(fmax(t.high - s, 0) * (to - d), fmax(s - t.low, 0) * d);
  double right = above(t.most, s, d);
  if (away > 0) right += away * (1 + 0x1p-49) + fabs(right) * 0x1p-52 + 0x1p-1000;
  *slope = s;
  *line = fmax(above(p.most, s, from), right);
}

static bool is_bent(const lip_block *b, size_t k, double from, double to) {
  if (!(from < 0 && to > 0)) return false;
  lip_range left, right;
  lip_phi_range(b, k, from, 0, &left);
  lip_phi_range(b, k, 0, to, &right);
  return left.curve > 0 && right.curve < 0;
}

void lip_set_lines(reach *q, const lip_block *b, size_t k, lip_executed executed) {
  double from = q->from[k], to = q->to[k], c = 0.5 * (from + to);
  lip_range r, p, s, t;
  lip_phi_range(b, k, from, to, &r);
  lip_phi_range(b, k, from, from, &p);
  lip_phi_range(b, k, to, to, &s);
  q->low[k] = r.low;
  q->high[k] = r.high;
  q->after_off[k] = executed == LIP_EXECUTED_FLOAT32 ? r.off : 0;
  q->after[k] = fmax(fabs(r.least), fabs(r.most)) + q->after_off[k];
  if (r.curve == 0 && is_bent(b, k, from, to)) {
    bent_line(&(bent){b, k, false}, from, to, &q->above_slope[k], &q->above[k]);
    bent_line(&(bent){b, k, true}, -to, -from, &q->below_slope[k], &q->below[k]);
    q->below[k] = -q->below[k];
    return;
  }
  if (r.low == r.high || r.curve == 0) { /* one slope on both sides */
    q->below_slope[k] = q->above_slope[k] = r.low;
    q->below[k] = below(p.least, r.low, from);
    q->above[k] = r.low == r.high ? above(p.most, r.low, from) : above(s.most, r.low, to);
    return;
  }
  lip_phi_range(b, k, c, c, &t);
  if (r.curve > 0) {
    chord(&p, &s, from, to, 1, &q->above_slope[k], &q->above[k]);
    tangent(&t, c, from, to, 1, &q->below_slope[k], &q->below[k]);
  } else {
    chord(&p, &s, from, to, -1, &q->below_slope[k], &q->below[k]);
    tangent(&t, c, from, to, -1, &q->above_slope[k], &q->above[k]);
  }
}

/* With phi(0) = 0 and slopes of
 * at most a left of 0 and at least b >= a right of it, phi(u) >= c u for every c in [a, b]; above likewise. */
bool lip_kink_slopes(const lip_block *b, size_t k, double from, double to, double *least, double *most,
                     double *curve) {
  lip_range left, right, kink;
  if (!(from < 0 && to > 0)) return false;
  lip_phi_range(b, k, 0, 0, &kink);
  if (kink.least != 0 || kink.most != 0) return false;
  lip_phi_range(b, k, from, 0, &left);
  lip_phi_range(b, k, 0, to, &right);
  *curve = left.high < right.low ? 1 : -1;
  *least = *curve > 0 ? left.high : right.high;
  *most = *curve > 0 ? right.low : left.low;
  return *least < *most;
}
