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
