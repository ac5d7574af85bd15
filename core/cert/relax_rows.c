/* Lower bounds of linear functions of the values z after a matrix: margins are such functions of the outputs.
 *
 * A row is w . z + d. In the units of its block it is h . u + d, with h = w but for pairs: there z_a = (u_s + u_d) / 2 and
 * z_b = (u_s - u_d) / 2, so h_s = (w_a + w_b) / 2 and h_d = (w_a - w_b) / 2. With u_k = V_k . y + c_k + e_k, |e_k| <=
 * off_k, and size_k >= sum_i |V_ki| |y_i| + |c_k| over the region (relax.c), it is
 *   (h V) . y + (d + h . c) + h . e.
 * In floating point, K terms at most in each sum:
 *   h is rounded once, V and c are rounded once:   2 u sum |h_k| size_k
 *   h V:                                           gamma_K sum |h_k| size_k
 *   d + h . c, K + 1 terms:                        gamma_{K+1} (|d| + sum |h_k| |c_k|)
 * together less than 2 gamma (|d| + sum |h_k| size_k), gamma of more than twice as many terms; h . e takes sum |h_k|
 * off_k, underflow at most `tiny`. */
#include <math.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/cert/relax_parts.h"

/* Rows on their way. */
typedef struct batch {
  size_t l, n;
  bool relaxed, plain;       /* plain: what comes into the block is known */
  size_t waiting[LIP_CHUNK]; /* places in `low` */
  double *low;
} batch;

/* Coefficient of unit k. */
static double unit_weight(const lip_block *b, const double *w, size_t k) {
  size_t m = b->mate ? b->mate[k] : k;
  if (m == k) return w[k];
  return k < m ? 0.5 * (w[k] + w[m]) : 0.5 * (w[m] - w[k]);
}

LIP_HOT static void add_full(double *restrict to, const double *restrict v, double h, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] += h * v[i];
}

static void add_scaled(double *to, lip_row v, double h) {
  if (!v.at) add_full(to, v.v, h, v.n);
  for (size_t i = 0; v.at && i < v.n; i++) to[v.at[i]] += h * v.v[i];
}

void lip_relax_put(lip_ranges *g, size_t l, const double *w, double d, size_t row) {
  const slab *s = &g->r->slab[l];
  const reach *q = &g->reach[l];
  double *v = g->G + row * s->N, rest = d, size = fabs(d), executed = 0;
  memset(v, 0, s->N * sizeof *v);
  for (size_t k = 0; k < s->M; k++) {
    double h = unit_weight(s->block, w, k);
    if (h == 0) continue; /* not so of NaN */
    add_scaled(v, lip_slab_row(s, k), h);
    rest += h * s->c[k];
    size += fabs(h) * q->size[k];
    executed += fabs(h) * q->off[k];
  }
  g->rest[row] = rest;
  g->slack[row] = 2 * g->r->gamma * size + executed + q->tiny;
}

static void flush(lip_ranges *g, batch *b) {
  if (b->n > 0 && b->relaxed && !lip_cancel_raised(g->copy.cancel)) {
    lip_relax_back(g, b->l, b->n);
    for (size_t i = 0; i < b->n; i++)
      if (g->found[i] > b->low[b->waiting[i]]) b->low[b->waiting[i]] = g->found[i];
  }
  b->n = 0;
}

static void push(lip_ranges *g, batch *b, const double *w, double d, size_t place) {
  lip_relax_put(g, b->l, w, d, b->n);
  size_t N = g->r->slab[b->l].N;
  if (b->plain) {
    double from = lip_relax_plain(g, g->G + b->n * N, N, g->rest[b->n], g->slack[b->n]);
    if (from > b->low[place]) b->low[place] = from;
  }
  b->waiting[b->n++] = place;
  if (b->n == LIP_CHUNK) flush(g, b);
}

void lip_ranges_rows(lip_ranges *g, size_t l, const double *C, const double *d, size_t m, bool relaxed,
                     double *low) {
  for (size_t i = 0; i < m; i++) low[i] = -INFINITY;
  if (!g->known) return;
  batch b = {.l = l, .relaxed = relaxed, .plain = lip_relax_before(g, l), .low = low};
  for (size_t i = 0; i < m && !lip_cancel_raised(g->copy.cancel); i++)
    push(g, &b, C + i * g->r->slab[l].M, d ? d[i] : 0, i);
  flush(g, &b);
}

void lip_ranges_margins(lip_ranges *g, size_t y, bool relaxed, double *low) {
  size_t C = g->r->a->n_out;
  for (size_t j = 0; j < C; j++) low[j] = j == y ? 0 : -INFINITY;
  if (!g->known) return;
  batch b = {.l = lip_ranges_last(g), .relaxed = relaxed, .low = low};
  b.plain = lip_relax_before(g, b.l);
  for (size_t j = 0; j < C; j++) {
    if (j == y) continue;
    double *w = g->now.v; /* free between two rows */
    memset(w, 0, C * sizeof *w);
    w[y] = 1;
    w[j] = -1;
    push(g, &b, w, 0, j);
  }
  flush(g, &b);
}

void lip_ranges_values(lip_ranges *g, size_t l, size_t n, bool relaxed, double *bounds) {
  size_t M = g->r->slab[l].M;
  for (size_t i = 0; i < 2 * n; i++) bounds[i] = -INFINITY;
  batch b = {.l = l, .relaxed = relaxed, .low = bounds};
  b.plain = lip_relax_before(g, l);
  for (size_t i = 0; g->known && i < 2 * n && !lip_cancel_raised(g->copy.cancel); i++) {
    double *w = g->now.v; /* free between two rows */
    memset(w, 0, M * sizeof *w);
    w[i / 2] = i % 2 ? -1 : 1;
    push(g, &b, w, 0, i);
  }
  flush(g, &b);
  const slab *s = &g->r->slab[l];
  const reach *q = &g->reach[l];
  for (size_t k = 0; k < n; k++) {
    double *from = &bounds[2 * k], *to = &bounds[2 * k + 1];
    *to = -*to;
    if (!g->known || (s->block->mate && s->block->mate[k] != k)) continue;
    if (q->from[k] > *from) *from = q->from[k];
    if (q->to[k] < *to) *to = q->to[k];
  }
}

bool lip_ranges_slopes(const lip_ranges *g, size_t l, const double **low, const double **high) {
  *low = g->reach[l].low;
  *high = g->reach[l].high;
  return g->known;
}

size_t lip_ranges_last(const lip_ranges *g) {
  return g->r->n - 1;
}
