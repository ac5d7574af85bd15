/* Rows stand in lanes, as in relax_back.c: lane i is u_k, lane half + i is -u_k of the i-th unit. Every step gives bounds that
 * are proved as derived at the top of relax.c, whatever the slopes are; the best is kept. The derivative of a bound in the slope
 * of a line is g' u, g' the coefficient behind phi and u the unit's value where the relaxed function is least. */
#include "core/cert/alpha.h"

#include <math.h>
#include <string.h>

#include "core/affine/bend.h"
#include "core/base/mem.h"
#include "core/cert/tile.h"

#define RATE 0.3
#define DECAY 0.85

struct lip_alpha {
  const lip_relax *r;
  size_t *first;                /* (n) place of a block's first unit */
  double *least, *most, *curve; /* (units) of the free line; least > most: none is */
  double *alpha, *g, *u; /* (units, LIP_CHUNK) slope; coefficient behind phi; value at the least point */
  double *m, *v;         /* likewise: moments of Adam */
  double *x;             /* (n_in, LIP_CHUNK) */
  double *best;          /* (LIP_CHUNK) */
  lip_live *all;         /* (widest) every place */
};

enum { PER_LANE = 5 };

lip_status lip_alpha_new(const lip_relax *r, lip_alpha **out, lip_err *err) {
  size_t units = 0;
  *out = NULL;
  for (size_t l = 0; l < r->n; l++) {
    if (r->slab[l].patterns > 0) return LIP_OK;
    units += r->slab[l].M;
  }
  lip_alpha *w = lip_alloc(1, sizeof *w);
  if (!w) return lip_fail(err, LIP_MEMORY, "out of memory for slopes");
  *w = (lip_alpha){.r = r};
  w->first = lip_alloc(r->n, sizeof *w->first);
  w->all = lip_alloc(r->widest, sizeof *w->all);
  w->alpha = lip_alloc((PER_LANE * units + r->a->n_in + 1) * LIP_CHUNK + 3 * units, sizeof *w->alpha);
  if (!w->first || !w->all || !w->alpha) {
    lip_alpha_free(w);
    return lip_fail(err, LIP_MEMORY, "out of memory for slopes");
  }
  double **lanes[] = {&w->alpha, &w->g, &w->u, &w->m, &w->v}, **one[] = {&w->least, &w->most, &w->curve};
  double *at = w->alpha;
  for (size_t i = 0; i < PER_LANE; i++, at += units * LIP_CHUNK) *lanes[i] = at;
  w->x = at;
  w->best = at += r->a->n_in * LIP_CHUNK;
  at += LIP_CHUNK;
  for (size_t i = 0; i < 3; i++, at += units) *one[i] = at;
  for (size_t l = 0, n = 0; l < r->n; n += r->slab[l++].M) w->first[l] = n;
  for (size_t k = 0; k < r->widest; k++) w->all[k] = (lip_live){(uint32_t)k, (uint32_t)k};
  *out = w;
  return LIP_OK;
}

void lip_alpha_free(lip_alpha *w) {
  if (!w) return;
  lip_free(w->first);
  lip_free(w->all);
  lip_free(w->alpha);
  lip_free(w);
}

/* ---- which lines are free ---- */

static void prepare(lip_alpha *w, const lip_ranges *g, size_t l, size_t L) {
  for (size_t j = 0; j < l; j++) {
    const lip_block *b = w->r->slab[j].block;
    const reach *q = &g->reach[j];
    for (size_t k = 0; k < w->r->slab[j].M; k++) {
      const size_t i = w->first[j] + k;
      w->least[i] = 1;
      w->most[i] = 0;
      if (q->low[k] == q->high[k] || lip_block_is_line(b, k) ||
          !lip_kink_slopes(b, k, q->from[k], q->to[k], &w->least[i], &w->most[i], &w->curve[i])) {
        w->least[i] = 1;
        w->most[i] = 0;
        continue;
      }
      const double line = w->curve[i] > 0 ? q->below_slope[k] : q->above_slope[k];
      const double slope = fmin(fmax(line, w->least[i]), w->most[i]);
      for (size_t r = 0; r < L; r++) w->alpha[i * L + r] = slope;
      memset(w->m + i * L, 0, L * sizeof *w->m);
      memset(w->v + i * L, 0, L * sizeof *w->v);
    }
  }
}

/* ---- backwards ---- */

/* The line that a unit's lanes take below (g >= 0) and above. */
typedef struct lines {
  double below_slope, below, by_below, above_slope, above, by_above;
  const double *below_own, *above_own; /* slopes lane by lane instead; NULL: none */
} lines;

static lines lines_of(const lip_alpha *w, const reach *q, size_t i, size_t k, size_t L) {
  const lip_passage *t = &q->pass[k];
  lines n = {t->below_slope, t->below, t->by_below, t->above_slope, t->above, t->by_above, NULL, NULL};
  if (!(w->least[i] <= w->most[i])) return n;
  const double weight = w->r->gamma * q->after[k] + q->after_off[k];
  if (w->curve[i] > 0) {
    n.below_own = w->alpha + i * L;
    n.below = 0;
    n.by_below = weight;
  } else {
    n.above_own = w->alpha + i * L;
    n.above = 0;
    n.by_above = weight;
  }
  return n;
}

/* Coefficients g of one unit's lanes become h; as pass_on of relax_back.c. */
LIP_HOT static void pass(double *restrict g, size_t L, const lines *n, const lip_passage *t,
                         double *restrict rest, double *restrict slack) {
  for (size_t r = 0; r < L; r++) {
    const bool below = g[r] >= 0;
    const double down = n->below_own ? n->below_own[r] : n->below_slope;
    const double up = n->above_own ? n->above_own[r] : n->above_slope;
    const double h = g[r] * (below ? down : up);
    rest[r] += g[r] * (below ? n->below : n->above) + h * t->c;
    slack[r] += fabs(g[r]) * (below ? n->by_below : n->by_above) + fabs(h) * t->by_h;
    g[r] = h;
  }
}

static void rotate(double *y, const uint32_t *mate, size_t M, size_t L) {
  for (size_t k = 0; mate && k < M; k++) {
    if (mate[k] <= k) continue;
    double *restrict p = y + k * L, *restrict q = y + mate[k] * L;
    for (size_t r = 0; r < L; r++) {
      const double a = p[r], b = q[r];
      p[r] = 0.5 * (a + b);
      q[r] = 0.5 * (a - b);
    }
  }
}

/* to (N, L) = V' (N, M) from (M, L). */
LIP_HOT static void transposed(double *restrict to, const double *restrict from, size_t L, const slab *s,
                               const lip_live *restrict all, double *restrict strip) {
  double out[STRIP][PAIR];
  const bool is_wide = lip_has_wide();
  for (size_t n0 = 0; n0 < s->N; n0 += STRIP) {
    const size_t n = s->N - n0 < STRIP ? s->N - n0 : STRIP;
    pack(strip, s, all, s->M, n0, n);
    for (size_t r0 = 0; r0 < L; r0 += PAIR) {
      tile(out, strip, from + r0, L, all, s->M, is_wide);
      for (size_t c = 0; c < n; c++) memcpy(to + (n0 + c) * L + r0, out[c], sizeof out[c]);
    }
  }
}

/* Rows V_k and -V_k of the units, through all blocks before l: bounds into g->found. */
static void go_back(lip_alpha *w, lip_ranges *g, size_t l, const uint32_t *unit, size_t n, size_t L) {
  const slab *s = &w->r->slab[l];
  const reach *q = &g->reach[l];
  const size_t half = L / 2;
  double *y = g->now.v, *next = g->next.v;
  memset(y, 0, s->N * L * sizeof *y);
  memset(g->rest, 0, L * sizeof *g->rest);
  memset(g->slack, 0, L * sizeof *g->slack);
  for (size_t i = 0; i < n; i++) {
    const size_t k = unit[i];
    const double *v = s->V + s->row[k];
    for (size_t e = 0; e < s->N; e++) {
      y[e * L + i] = v[e];
      y[e * L + half + i] = -v[e];
    }
    g->rest[i] = s->c[k];
    g->rest[half + i] = -s->c[k];
    g->slack[i] = g->slack[half + i] = 2 * w->r->gamma * q->size[k] + q->off[k] + q->tiny;
  }
  for (size_t j = l; j-- > 0;) {
    const slab *b = &w->r->slab[j];
    const reach *p = &g->reach[j];
    const size_t at = w->first[j];
    rotate(y, b->block->mate, b->M, L);
    for (size_t r = 0; r < L; r++) g->slack[r] += w->r->gamma * fabs(g->rest[r]) + p->tiny;
    memcpy(w->g + at * L, y, b->M * L * sizeof *y);
    for (size_t k = 0; k < b->M; k++) {
      const lines both = lines_of(w, p, at + k, k, L);
      pass(y + k * L, L, &both, &p->pass[k], g->rest, g->slack);
    }
    transposed(next, y, L, b, w->all, g->strip);
    double *swap = y;
    y = next;
    next = swap;
  }
  g->now.v = y;
  g->next.v = next;
  g->now.all = true;
  g->now.n = w->r->slab[0].N;
  g->lanes = L;
  lip_relax_end(g, L);
}

/* ---- the least point ---- */

/* Columns n0 .. n0+n-1 of V', that is rows of V, zeros behind. */
static void pack_rows(double *strip, const slab *s, size_t n0, size_t n) {
  for (size_t c = 0; c < STRIP; c++) {
    const double *v = c < n ? s->V + s->row[n0 + c] : NULL;
    for (size_t i = 0; i < s->N; i++) strip[i * STRIP + c] = v ? v[i] : 0;
  }
}

/* to (M, L) = V from (N, L) + c. */
LIP_HOT static void forwards(double *restrict to, const double *restrict from, size_t L, const slab *s,
                             const lip_live *restrict all, double *restrict strip) {
  double out[STRIP][PAIR];
  const bool is_wide = lip_has_wide();
  for (size_t n0 = 0; n0 < s->M; n0 += STRIP) {
    const size_t n = s->M - n0 < STRIP ? s->M - n0 : STRIP;
    pack_rows(strip, s, n0, n);
    for (size_t r0 = 0; r0 < L; r0 += PAIR) {
      tile(out, strip, from + r0, L, all, s->N, is_wide);
      for (size_t c = 0; c < n; c++)
        for (size_t i = 0; i < PAIR; i++) to[(n0 + c) * L + r0 + i] = out[c][i] + s->c[n0 + c];
    }
  }
}

/* Where each row at the input is least, about, into w->x: of balls as if no box cut them. */
static void least_points(lip_alpha *w, const lip_ranges *g, size_t L) {
  const size_t n = w->r->a->n_in;
  const double *a = g->now.v, *s = g->copy.scale;
  if (g->copy.p == LIP_PINF) {
    for (size_t k = 0; k < n; k++)
      for (size_t r = 0; r < L; r++) {
        const double d = a[k * L + r];
        w->x[k * L + r] = g->x_mid[k] - (d > 0 ? g->x_half[k] : d < 0 ? -g->x_half[k] : 0);
      }
    return;
  }
  for (size_t r = 0; r < L; r++) {
    double two = 0, top = 0;
    size_t at = 0;
    for (size_t k = 0; k < n; k++) {
      const double d = fabs(a[k * L + r]) * (s ? s[k] : 1);
      two += d * d;
      if (d > top) top = d, at = k;
    }
    const double by = two > 0 ? g->copy.eps / sqrt(two) : 0;
    for (size_t k = 0; k < n; k++)
      w->x[k * L + r] = g->x[k] - (g->copy.p == LIP_P2 ? by * a[k * L + r] * (s ? s[k] * s[k] : 1) : 0);
    if (g->copy.p == LIP_P1 && top > 0)
      w->x[at * L + r] -= copysign(g->copy.eps * (s ? s[at] : 1), a[at * L + r]);
  }
}

LIP_HOT static void follow_line(double *restrict y, const double *restrict u, const double *restrict g,
                                size_t L, const lines *n) {
  for (size_t r = 0; r < L; r++) {
    const bool below = g[r] >= 0;
    const double down = n->below_own ? n->below_own[r] : n->below_slope;
    const double up = n->above_own ? n->above_own[r] : n->above_slope;
    y[r] = u[r] * (below ? down : up) + (below ? n->below : n->above);
  }
}

/* Values of all units before block l there. */
static void go_forward(lip_alpha *w, const lip_ranges *g, size_t l, size_t L) {
  const double *from = w->x;
  for (size_t j = 0; j < l; j++) {
    const slab *b = &w->r->slab[j];
    const uint32_t *mate = b->block->mate;
    const size_t at = w->first[j];
    double *u = w->u + at * L, *y = g->next.v;
    forwards(u, from, L, b, w->all, g->strip);
    for (size_t k = 0; k < b->M; k++) {
      const lines both = lines_of(w, &g->reach[j], at + k, k, L);
      follow_line(y + k * L, u + k * L, w->g + (at + k) * L, L, &both);
    }
    rotate(y, mate, b->M, L); /* y_a = (s + d) / 2, y_b = (s - d) / 2 */
    memcpy(g->now.v, y, b->M * L * sizeof *y);
    from = g->now.v;
  }
}

/* ---- ascent ---- */

LIP_HOT static void move(double *restrict alpha, const double *restrict g, const double *restrict u,
                         double *restrict m, double *restrict v, size_t L, double curve, double least,
                         double most, double rate, double one, double two) {
  for (size_t r = 0; r < L; r++) {
    const bool used = (curve > 0) == (g[r] >= 0);
    const double d = used ? g[r] * u[r] : 0;
    m[r] = 0.9 * m[r] + 0.1 * d;
    v[r] = 0.999 * v[r] + 0.001 * d * d;
    const double a = alpha[r] + rate * (m[r] / one) / (sqrt(v[r] / two) + 1e-30);
    alpha[r] = a > most ? most : a > least ? a : least; /* NaN becomes least */
  }
}

static void step_up(lip_alpha *w, size_t l, size_t L, size_t t, double rate) {
  const double one = 1 - pow(0.9, (double)t), two = 1 - pow(0.999, (double)t);
  for (size_t i = 0; i < w->first[l]; i++)
    if (w->least[i] <= w->most[i])
      move(w->alpha + i * L, w->g + i * L, w->u + i * L, w->m + i * L, w->v + i * L, L, w->curve[i],
           w->least[i], w->most[i], rate * (w->most[i] - w->least[i]), one, two);
}

void lip_alpha_units(lip_alpha *w, lip_ranges *g, size_t l, const uint32_t *unit, size_t n, size_t steps,
                     double *from, double *to) {
  const size_t half = (n + LIP_LANES - 1) / LIP_LANES * LIP_LANES, L = 2 * half;
  double rate = RATE;
  for (size_t r = 0; r < L; r++) w->best[r] = -INFINITY;
  prepare(w, g, l, L);
  for (size_t t = 1;; t++, rate *= DECAY) {
    if (lip_cancel_raised(g->copy.cancel)) break;
    go_back(w, g, l, unit, n, L);
    for (size_t r = 0; r < L; r++)
      if (g->found[r] > w->best[r]) w->best[r] = g->found[r];
    if (t > steps) break;
    least_points(w, g, L);
    go_forward(w, g, l, L);
    step_up(w, l, L, t, rate);
  }
  for (size_t i = 0; i < n; i++) {
    from[i] = w->best[i];
    to[i] = -w->best[half + i];
  }
}
