/* A clause of n rows that needs k of them fails at a point only if some n - k + 1 rows are all <= 0 there, and so is each
 * sum of these with weights >= 0. Rows whose own bounds are above 0 take their part; of the others, u of them of which k' are
 * needed, every set of s = u - k' + 1 must have a sum that is above 0 all over the region. (The weights are the
 * multipliers of the set's rows in the dual of "all of them <= 0".)
 *
 * Weights are from a fixed list: equal, larger for rows that are nearly proved, and two rows at a time. A sum is one row,
 * rounded: with v = sum_r a_r w_r of s terms and z_k in [-t_k, t_k] it is off by at most gamma_{2 s} (sum_k (sum_r a_r
 * |w_rk|) t_k + sum_r a_r |d_r|), products and sums, whatever the a_r are; the bound must be above that, and above 2^-900
 * times all t_k and 1 for what underflows. */
#include "core/cert/mix.h"

#include <math.h>
#include <string.h>

#include "core/norm/round.h"

enum { MIXES = 64, OPEN = 16 }; /* sums that are tried; rows in a set, at most */

size_t lip_mix_work(size_t C) {
  return MIXES * (C + 3);
}

typedef struct mixing {
  lip_ranges *g;
  const lip_property *p;
  size_t y, n, row[OPEN]; /* the rows that are not proved */
  double low[OPEN];
  const double *from, *to; /* of the outputs */
  double *weight, *constant, *found, *slack;
} mixing;

/* Adds a row to sum i of the working memory; `size` takes what the rounding is measured by. */
static void add_row(const mixing *m, size_t i, size_t r, double a) {
  const lip_property *p = m->p;
  double *w = m->weight + i * p->C, size = 0;
  if (p->asked != LIP_ASK_ROWS) { /* z_y - z_r */
    w[m->y] += a;
    w[r] -= a;
    size = a * (fmax(fabs(m->from[m->y]), fabs(m->to[m->y])) + fmax(fabs(m->from[r]), fabs(m->to[r])));
  } else {
    const double *v = p->weight + r * p->C;
    for (size_t k = 0; k < p->C; k++) {
      w[k] += a * v[k];
      size += a * fabs(v[k]) * fmax(fabs(m->from[k]), fabs(m->to[k]));
    }
    m->constant[i] += a * p->constant[r];
    size += a * fabs(p->constant[r]);
  }
  m->slack[i] += size;
}

/* Weights number `which` of the rows in the set (bits); false: there are no more. */
static bool choose(const mixing *m, unsigned set, size_t which, double *a) {
  size_t member[OPEN], s = 0;
  for (size_t i = 0; i < m->n; i++)
    if (set >> i & 1u) member[s++] = i;
  for (size_t i = 0; i < m->n; i++) a[i] = 0;
  if (which == 0) {
    for (size_t i = 0; i < s; i++) a[member[i]] = 1 / (double)s;
    return true;
  }
  if (which == 1) { /* nearly proved rows more */
    double sum = 0;
    for (size_t i = 0; i < s; i++) sum += 1 / fmax(1e-6, -m->low[member[i]]);
    for (size_t i = 0; i < s; i++) a[member[i]] = 1 / fmax(1e-6, -m->low[member[i]]) / sum;
    return true;
  }
  static const double share[] = {0.5, 0.25, 0.75};
  size_t pair = (which - 2) / 3;
  for (size_t i = 0; i < s; i++)
    for (size_t j = i + 1; j < s; j++, pair--)
      if (pair == 0) {
        a[member[i]] = share[(which - 2) % 3];
        a[member[j]] = 1 - a[member[i]];
        return true;
      }
  return false;
}

/* Whether one of up to `tries` sums of the set is above 0. */
static bool set_is_refuted(const mixing *m, unsigned set, size_t tries) {
  const lip_property *p = m->p;
  double a[OPEN], bulk = 1;
  size_t n = 0;
  for (size_t k = 0; k < p->C; k++) bulk += fmax(fabs(m->from[k]), fabs(m->to[k]));
  for (; n < tries && choose(m, set, n, a); n++) {
    memset(m->weight + n * p->C, 0, p->C * sizeof *m->weight);
    m->constant[n] = m->slack[n] = 0;
    for (size_t i = 0; i < m->n; i++)
      if (a[i] > 0) add_row(m, n, m->row[i], a[i]);
  }
  lip_ranges_rows(m->g, lip_ranges_last(m->g), m->weight, m->constant, n, true, m->found);
  for (size_t i = 0; i < n; i++) {
    double off = 2 * lip_gamma(2 * OPEN + p->C) * m->slack[i] + 0x1p-900 * bulk;
    if (m->found[i] > off) return true; /* NaN is not */
  }
  return false;
}

/* Sets of s of n, one after the other: the next larger number with as many bits (Gosper's step). */
static unsigned next_set(unsigned set) {
  unsigned lowest = set & (~set + 1u), carried = set + lowest;
  return (((carried ^ set) / lowest) >> 2) | carried;
}

static double count_sets(size_t n, size_t s) {
  double count = 1;
  for (size_t i = 0; i < s; i++) count = count * (double)(n - i) / (double)(i + 1);
  return count;
}

static bool clause_holds(mixing *m, const lip_clause *c, const double *low) {
  size_t above = 0;
  m->n = 0;
  for (size_t r = c->first; r < c->first + c->n; r++) {
    if (r == c->skip) continue;
    if (low[r] > 0) {
      above++;
      continue;
    }
    if (m->n == OPEN) return false;
    m->low[m->n] = low[r];
    m->row[m->n++] = r;
  }
  if (above >= c->need) return true;
  size_t s = m->n - (c->need - above) + 1;
  double sets = count_sets(m->n, s);
  if (s < 2 || sets > MIXES / 2) return false;
  for (unsigned set = (1u << s) - 1; set < 1u << m->n; set = next_set(set))
    if (!set_is_refuted(m, set, (size_t)(MIXES / sets))) return false;
  return true;
}

bool lip_mix_proves(lip_ranges *g, const lip_property *p, size_t y, const double *low, double *work) {
  mixing m = {.g = g, .p = p, .y = y, .weight = work, .constant = work + MIXES * p->C};
  m.found = m.constant + MIXES;
  m.slack = m.found + MIXES;
  lip_ranges_at(g, lip_ranges_last(g), &m.from, &m.to);
  size_t n = lip_property_clauses(p, y);
  for (size_t i = 0; i < n; i++) {
    lip_clause c = lip_property_clause(p, y, i);
    if (!clause_holds(&m, &c, low)) return false;
  }
  return n > 0;
}
