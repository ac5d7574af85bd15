/* Which input to split: a guess, which no proof rests on.
 *
 * The bound of a row g falls short by what the lines of its units are away from phi: unit k is in the way with |g_k| times
 * that gap, and its gap comes from the width of its interval, to which input i contributes |J_ki| w_i, J the derivative of
 * unit k by the input along lines in the middle, w the widths of the box. So a part |J_ki| w_i / sum_j |J_kj| w_j of what unit
 * k takes is put down to input i. Besides, the bound of one of the two halves gets better by |a_i| w_i / 2 alone, a the
 * row's coefficients at the input, which is worth something as well (Wang et al. 2018, "smear"), but leaves the other half as
 * it is. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/cert/decide_parts.h"
#include "core/cert/relax_parts.h"

#define LINEAR 0.5

struct lip_score {
  const lip_relax *r;
  double *J;          /* (units, n_in) of u, block after block */
  double *y;          /* (widest, n_in) of the activations before a block */
  double *now, *next; /* (widest) the row over activations; over units */
};

lip_score *lip_score_new(const lip_relax *r) {
  size_t units = 0, n = r->a->n_in;
  for (size_t l = 0; l < r->n; l++) units += r->slab[l].M;
  lip_score *s = lip_alloc(1, sizeof *s);
  if (!s) return NULL;
  *s = (lip_score){.r = r};
  s->J = lip_alloc((units + r->widest) * n + 2 * r->widest, sizeof *s->J);
  if (!s->J) {
    lip_free(s);
    return NULL;
  }
  s->y = s->J + units * n;
  s->now = s->y + r->widest * n;
  s->next = s->now + r->widest;
  return s;
}

void lip_score_free(lip_score *s) {
  if (!s) return;
  lip_free(s->J);
  lip_free(s);
}

static double middle_slope(const reach *q, size_t k) {
  return 0.5 * (q->below_slope[k] + q->above_slope[k]);
}

/* Derivatives of all units into s->J. */
static void derive(lip_score *s, const lip_ranges *g) {
  const size_t n = s->r->a->n_in;
  double *J = s->J;
  for (size_t l = 0; l < s->r->n; l++) {
    const slab *b = &s->r->slab[l];
    memset(J, 0, b->M * n * sizeof *J);
    for (size_t k = 0; k < b->M; k++) {
      const lip_row v = lip_slab_row(b, k);
      for (size_t e = 0; e < v.n; e++) {
        const size_t j = v.at ? v.at[e] : e;
        if (l == 0)
          J[k * n + j] = v.v[e];
        else if (v.v[e] != 0)
          for (size_t i = 0; i < n; i++) J[k * n + i] += v.v[e] * s->y[j * n + i];
      }
    }
    if (l + 1 == s->r->n) return;
    const reach *q = &g->reach[l];
    const uint32_t *mate = b->block->mate;
    for (size_t k = 0; k < b->M; k++) {
      const size_t m = mate ? mate[k] : k, p = k < m ? k : m, d = k < m ? m : k; /* sum and difference */
      const double at_p = middle_slope(q, p) * (p == d ? 1 : 0.5),
                   at_d = p == d ? 0 : middle_slope(q, d) * (k == p ? 0.5 : -0.5);
      for (size_t i = 0; i < n; i++) s->y[k * n + i] = at_p * J[p * n + i] + at_d * J[d * n + i];
    }
    J += b->M * n;
  }
}

/* How far the line below (g >= 0) or above is from phi on the unit's interval, about. */
static double gap(const reach *q, size_t k, double g) {
  const double from = q->from[k], to = q->to[k], c = 0.5 * (from + to);
  const double slope = q->above_slope[k] - q->below_slope[k], line = q->above[k] - q->below[k];
  /* the chord meets phi at the ends, the tangent in the middle, and between the two lines is at most so much */
  const bool is_chord = g < 0 ? q->above_slope[k] != q->high[k] && q->above_slope[k] != q->low[k]
                              : q->below_slope[k] != q->high[k] && q->below_slope[k] != q->low[k];
  return is_chord ? fmax(slope * c + line, 0) : fmax(fmax(slope * from + line, slope * to + line), 0);
}

/* Puts what one unit takes down to the inputs. */
static void blame(const double *J, double took, const double *width, size_t n, double *score) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += fabs(J[i]) * width[i];
  if (!(sum > 0)) return;
  for (size_t i = 0; i < n; i++) score[i] += took * fabs(J[i]) * width[i] / sum;
}

/* s->now, over the activations behind block l, becomes the same over its units. */
static void through_pairs(lip_score *s, const slab *b) {
  const uint32_t *mate = b->block->mate;
  for (size_t k = 0; mate && k < b->M; k++) {
    if (mate[k] <= k) continue;
    const double p = s->now[k], q = s->now[mate[k]];
    s->now[k] = 0.5 * (p + q);
    s->now[mate[k]] = 0.5 * (p - q);
  }
}

void lip_score_inputs(lip_score *s, const lip_ranges *g, const double *w, const double *from,
                      const double *to, const double *a, double *score) {
  const size_t n = s->r->a->n_in, last = s->r->n - 1;
  const double *J = s->J;
  double *width = s->y; /* free when the derivatives are there */
  derive(s, g);
  for (size_t l = 0; l < last; l++) J += s->r->slab[l].M * n;
  for (size_t i = 0; i < n; i++) {
    width[i] = to[i] - from[i];
    score[i] = 0;
  }
  memcpy(s->next, w, s->r->slab[last].M * sizeof *w);
  for (size_t l = last; l > 0; l--) {
    const slab *b = &s->r->slab[l], *before = &s->r->slab[l - 1];
    const reach *q = &g->reach[l - 1];
    memset(s->now, 0, b->N * sizeof *s->now);
    for (size_t k = 0; k < b->M; k++) {
      const lip_row v = lip_slab_row(b, k);
      if (s->next[k] != 0)
        for (size_t e = 0; e < v.n; e++) s->now[v.at ? v.at[e] : e] += s->next[k] * v.v[e];
    }
    through_pairs(s, before);
    J -= before->M * n;
    for (size_t k = 0; k < before->M; k++) {
      if (q->low[k] != q->high[k]) blame(J + k * n, fabs(s->now[k]) * gap(q, k, s->now[k]), width, n, score);
      s->next[k] = s->now[k] * middle_slope(q, k);
    }
  }
  for (size_t i = 0; i < n; i++) score[i] += LINEAR * fabs(a[i]) * width[i];
}
