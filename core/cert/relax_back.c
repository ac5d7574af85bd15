/* Lower bounds of linear functions of activations, by going backwards through the net; what rounding takes is counted
 * as derived at the top of relax.c.
 *
 * Rows go back side by side, each in a lane of its own: a sheaf holds for every column that some row has a number in the
 * numbers of all rows. A unit of a convolution depends on few values before it, and those on few before them: columns
 * out of its reach are not there. */
#include <math.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/base/simd.h"
#include "core/cert/relax_parts.h"
#include "core/cert/tile.h"
#include "core/norm/lanes.h"


LIP_INLINE void absolute(lip_d8 *v) {
  *v = (lip_d8)((lip_l8)*v & INT64_MAX);
}

LIP_INLINE void choose(lip_d8 *out, const lip_l8 *first, double a, double b) {
  lip_d8 x = (lip_d8){0} + a, y = (lip_d8){0} + b;
  *out = (lip_d8)(((lip_l8)x & *first) | ((lip_l8)y & ~*first));
}

/* ---- the columns of a sheaf ---- */

static size_t place(const lip_ranges *g, const sheaf *x, size_t k) {
  return x->all ? k : g->where[k] - 1;
}

static void add_column(lip_ranges *g, sheaf *x, size_t k) {
  if (g->where[k]) return;
  x->at[x->n++] = (uint32_t)k;
  g->where[k] = (uint32_t)x->n;
}

/* Columns of one pattern of a block, and the partners of what comes before it. */
static void add_pattern(lip_ranges *g, sheaf *x, size_t block, size_t p) {
  const slab *s = &g->r->slab[block];
  const uint32_t *mate = block > 0 ? g->r->slab[block - 1].block->mate : NULL;
  for (size_t e = s->column0[p]; e < s->column0[p + 1]; e++) {
    add_column(g, x, s->column[e]);
    if (mate) add_column(g, x, mate[s->column[e]]);
  }
}

static void forget_columns(lip_ranges *g, sheaf *x) {
  for (size_t i = 0; !x->all && i < x->n; i++) g->where[x->at[i]] = 0;
}

/* ---- through phi ---- */

/* Coefficients of the activations of pairs to those of sum and difference. */
static void rotate(const lip_ranges *g, sheaf *x, const uint32_t *mate, size_t L) {
  for (size_t i = 0; i < x->n; i++) {
    size_t k = x->all ? i : x->at[i], m = mate[k];
    if (m <= k) continue;
    double *restrict p = x->v + i * L, *restrict q = x->v + place(g, x, m) * L;
    for (size_t r = 0; r < L; r++) {
      double a = p[r], b = q[r];
      p[r] = 0.5 * (a + b);
      q[r] = 0.5 * (a - b);
    }
  }
}

/* Eight rows at one unit: g becomes h; what is added to the constant term and to the slack. */
LIP_INLINE void pass_on(lip_d8 *g, const lip_passage *t, lip_d8 *sum, lip_d8 *slack) {
  lip_l8 below = *g >= 0;
  lip_d8 slope, line, weight, h, size = *g;
  choose(&slope, &below, t->below_slope, t->above_slope);
  choose(&line, &below, t->below, t->above);
  choose(&weight, &below, t->by_below, t->by_above);
  h = *g * slope;
  *sum += *g * line + h * t->c;
  absolute(&size);
  *slack += size * weight;
  *g = h;
  absolute(&h);
  *slack += h * t->by_h;
}

/* The rows in lanes r0 .. r0+PAIR-1 through phi. */
LIP_HOT static void through(double *restrict v, size_t L, size_t r0, const lip_live *restrict u, size_t K,
                            const lip_passage *restrict pass, double *restrict rest, double *restrict slack) {
  lip_d8 sum[2], take[2];
  memcpy(sum, rest + r0, sizeof sum);
  memcpy(take, slack + r0, sizeof take);
  for (size_t i = 0; i < K; i++) {
    lip_d8 g[2];
    memcpy(g, v + u[i].place * L + r0, sizeof g);
    pass_on(&g[0], &pass[u[i].unit], &sum[0], &take[0]);
    pass_on(&g[1], &pass[u[i].unit], &sum[1], &take[1]);
    memcpy(v + u[i].place * L + r0, g, sizeof g);
  }
  memcpy(rest + r0, sum, sizeof sum);
  memcpy(slack + r0, take, sizeof take);
}

static bool is_dead(const lip_passage *t) {
  return t->below_slope == 0 && t->above_slope == 0 && t->below == 0 && t->above == 0 && t->by_below == 0 &&
         t->by_above == 0;
}

/* Units of the sheaf that matter, those with full rows of V first; *full: how many these are. */
static size_t live_units(lip_ranges *g, const slab *s, const reach *q, const sheaf *x, size_t *full) {
  size_t K = 0, few = x->n;
  for (size_t i = 0; i < x->n; i++) {
    size_t k = x->all ? i : x->at[i];
    if (is_dead(&q->pass[k])) continue;
    lip_live u = {(uint32_t)k, (uint32_t)i};
    if (s->pattern[k] == LIP_FULL)
      g->live[K++] = u;
    else
      g->live[--few] = u;
  }
  *full = K;
  memmove(g->live + K, g->live + few, (x->n - few) * sizeof *g->live);
  return K + x->n - few;
}

/* ---- products ---- */

/* y (N, L) = product of the sheaf's numbers with K full rows of V. */
LIP_HOT static void multiply(double *restrict y, const double *restrict v, size_t L, const slab *s,
                             const lip_live *restrict u, size_t K, double *restrict strip) {
  double out[STRIP][PAIR];
  const bool is_wide = lip_has_wide();
  for (size_t n0 = 0; n0 < s->N; n0 += STRIP) {
    size_t n = s->N - n0 < STRIP ? s->N - n0 : STRIP;
    if (n == STRIP)
      pack(strip, s, u, K, n0, STRIP);
    else
      pack(strip, s, u, K, n0, n);
    for (size_t r0 = 0; r0 < L; r0 += PAIR) {
      tile(out, strip, v + r0, L, u, K, is_wide);
      for (size_t c = 0; c < n; c++) memcpy(y + (n0 + c) * L + r0, out[c], sizeof out[c]);
    }
  }
}

/* C columns of units that have the same ones, added to the rows `to` of y. */
LIP_INLINE void add_columns(double *y, const double *v, size_t L, const uint32_t *to, size_t C,
                            const lip_part *u, size_t K, size_t e) {
  for (size_t r0 = 0; r0 < L; r0 += PAIR) {
    lip_d8 sum[STRIP][2];
    for (size_t c = 0; c < C; c++) memcpy(sum[c], y + to[c] * L + r0, sizeof sum[c]);
    for (size_t k = 0; k < K; k++) {
      lip_d8 h0, h1;
      LIP_LOAD(h0, v + u[k].place * L + r0);
      LIP_LOAD(h1, v + u[k].place * L + r0 + LIP_LANES);
      for (size_t c = 0; c < C; c++) {
        double w = u[k].v[e + c];
        sum[c][0] += w * h0;
        sum[c][1] += w * h1;
      }
    }
    for (size_t c = 0; c < C; c++) memcpy(y + to[c] * L + r0, sum[c], sizeof sum[c]);
  }
}

/* The same in plain loops. */
LIP_INLINE void add_narrow(double *y, const double *v, size_t L, const uint32_t *to, size_t C,
                           const lip_part *u, size_t K, size_t e) {
  for (size_t r0 = 0; r0 < L; r0 += LIP_LANES) {
    double sum[FEW][LIP_LANES];
    for (size_t c = 0; c < C; c++) memcpy(sum[c], y + to[c] * L + r0, sizeof sum[c]);
    for (size_t k = 0; k < K; k++) narrow_tile(sum, u[k].v + e, v + u[k].place * L + r0, C);
    for (size_t c = 0; c < C; c++) memcpy(y + to[c] * L + r0, sum[c], sizeof sum[c]);
  }
}

LIP_HOT static void add_few(double *restrict y, const double *restrict v, size_t L,
                            const uint32_t *restrict to, size_t n, const lip_part *restrict u, size_t K) {
  const bool is_wide = lip_has_wide();
  size_t e = 0;
  for (; is_wide && e + STRIP <= n; e += STRIP) add_columns(y, v, L, to + e, STRIP, u, K, e);
  for (; is_wide && e + FEW <= n; e += FEW) add_columns(y, v, L, to + e, FEW, u, K, e);
  for (; is_wide && e < n; e++) add_columns(y, v, L, to + e, 1, u, K, e);
  for (; e + FEW <= n; e += FEW) add_narrow(y, v, L, to + e, FEW, u, K, e);
  for (; e < n; e++) add_narrow(y, v, L, to + e, 1, u, K, e);
}

/* Units u (K) by pattern: chains of indices + 1 that begin at g->head; the patterns into g->touched. */
static size_t chain_units(lip_ranges *g, const slab *s, const lip_live *u, size_t K) {
  size_t n = 0;
  for (size_t i = 0; i < K; i++) {
    uint32_t p = s->pattern[u[i].unit];
    if (!g->head[p]) g->touched[n++] = p;
    g->link[i] = g->head[p];
    g->head[p] = (uint32_t)i + 1;
  }
  return n;
}

/* One pattern's chain, taken off: its units into g->part, places of its columns into g->spot. */
static size_t take_chain(lip_ranges *g, const slab *s, const sheaf *y, const lip_live *u, size_t p) {
  size_t n = 0;
  for (uint32_t i = g->head[p]; i; i = g->link[i - 1])
    g->part[n++] = (lip_part){s->V + s->row[u[i - 1].unit], u[i - 1].place};
  g->head[p] = 0;
  for (size_t e = s->column0[p]; e < s->column0[p + 1]; e++)
    g->spot[e - s->column0[p]] = (uint32_t)place(g, y, s->column[e]);
  return n;
}

/* ---- one block ---- */

/* Rows over what a block gives become rows over its units: those that matter into g->live, *full of them with full rows
 * of V first. */
static size_t cross(lip_ranges *g, size_t j, size_t L, size_t *full) {
  const slab *s = &g->r->slab[j];
  const reach *q = &g->reach[j];
  sheaf *x = &g->now;
  if (s->block->mate) rotate(g, x, s->block->mate, L);
  size_t K = live_units(g, s, q, x, full);
  for (size_t r = 0; r < L; r++) g->slack[r] += g->r->gamma * fabs(g->rest[r]) + q->tiny;
  for (size_t r0 = 0; r0 < L; r0 += PAIR) through(x->v, L, r0, g->live, K, q->pass, g->rest, g->slack);
  forget_columns(g, x);
  return K;
}

static void step_back(lip_ranges *g, size_t j, size_t L) {
  const slab *s = &g->r->slab[j];
  sheaf *x = &g->now, *y = &g->next;
  size_t full, K = cross(g, j, L, &full);
  const lip_live *few = g->live + full;
  size_t patterns = chain_units(g, s, few, K - full);
  y->all = x->all || full > 0;
  y->n = y->all ? s->N : 0;
  for (size_t i = 0; !y->all && i < patterns; i++) add_pattern(g, y, j, g->touched[i]);
  if (full > 0)
    multiply(y->v, x->v, L, s, g->live, full, g->strip);
  else
    memset(y->v, 0, y->n * L * sizeof *y->v);
  for (size_t i = 0; i < patterns; i++) {
    size_t p = g->touched[i], n = take_chain(g, s, y, few, p);
    add_few(y->v, x->v, L, g->spot, s->column0[p + 1] - s->column0[p], g->part, n);
  }
  sheaf swap = *x;
  *x = *y;
  *y = swap;
}

/* ---- at the input ---- */

typedef struct sums {
  lip_d8 at, size, one, two, top; /* g.c, |g|.|c|, |g|.w, |g|_2^2, |g|_inf */
} sums;

LIP_INLINE void sum_column(sums *s, const lip_d8 *v, double c, double w) {
  lip_d8 g = *v, t = g * c;
  s->at += t;
  absolute(&t);
  s->size += t;
  s->two += g * g;
  absolute(&g);
  s->one += g * w;
  lip_l8 more = g > s->top;
  s->top = (lip_d8)(((lip_l8)g & more) | ((lip_l8)s->top & ~more));
}

/* Eight rows, over the columns `unit` that stand at `place`. */
LIP_HOT static void sum_up(const double *restrict v, size_t L, const lip_live *restrict u, size_t n,
                           const double *restrict c, const double *restrict w, sums *out) {
  sums s;
  memset(&s, 0, sizeof s);
  for (size_t i = 0; i < n; i++) {
    lip_d8 g;
    LIP_LOAD(g, v + u[i].place * L);
    sum_column(&s, &g, c[u[i].unit], w[u[i].unit]);
  }
  *out = s;
}

/* How far rows r0 .. r0+7 can fall from their values at the region's x, p = 1 or 2. */
static void fall_away(lip_ranges *g, size_t L, size_t r0, const sums *s, double *away) {
  const sheaf *x = &g->now;
  double gamma = g->r->gamma;
  bool round = !g->boxed && !g->copy.scale;
  for (size_t i = 0; !round && i < x->n; i++)
    for (size_t r = 0; r < LIP_LANES; r++) g->G[r * x->n + i] = x->v[i * L + r0 + r];
  for (size_t r = 0; r < LIP_LANES; r++) {
    lip_row row = {g->G + r * x->n, x->all ? NULL : x->at, x->n};
    double norm = g->copy.p == LIP_P1 ? s->top[r] : sqrt(s->two[r]) * (1 + gamma) + 0x1p-500;
    away[r] = round ? g->copy.eps * norm : lip_region_away(g, row, false);
  }
}

/* Rows r0 .. r0+7 over the region, into g->found; the columns stand in g->live. */
static void concretise(lip_ranges *g, size_t L, size_t r0) {
  bool box = g->copy.p == LIP_PINF;
  double away[LIP_LANES];
  sums s;
  sum_up(g->now.v + r0, L, g->live, g->now.n, box ? g->x_mid : g->x, g->x_half, &s);
  if (box)
    memcpy(away, &s.one, sizeof away);
  else
    fall_away(g, L, r0, &s, away);
  for (size_t r = 0; r < LIP_LANES; r++)
    g->found[r0 + r] =
        lip_settle(g->rest[r0 + r], s.at[r], s.size[r], away[r], g->slack[r0 + r], g->r->gamma);
}

void lip_relax_end(lip_ranges *g, size_t L) {
  const sheaf *x = &g->now;
  for (size_t i = 0; i < x->n; i++) g->live[i] = (lip_live){x->all ? (uint32_t)i : x->at[i], (uint32_t)i};
  for (size_t r0 = 0; r0 < L; r0 += LIP_LANES) concretise(g, L, r0);
  if (g->cut.on) lip_cut_rows(g);
  forget_columns(g, &g->now);
}

/* ---- at the first block, over a ball of norm 2 ----
 *
 * There a row h over the units has the bound rest + sum_k h_k d_k - eps ||h V||, d_k = V_k . x_0, and ||h V||^2 = h G h'
 * with G = V V', which does not depend on the region: no row over the inputs is needed. d_k is off by gamma_N |V_k| . |x_0|
 * <= gamma size_k, for which the slack has room where h V had its error; G_kl by gamma_N |V_k| . |V_l| <= gamma ||V_k||
 * ||V_l||, and in sum_k h_k (h_k G_kk + sum_{l<k} 2 G_kl h_l) every product passes at most 2 K + 4 roundings, so the sum is
 * off by less than 3 gamma S^2 in all, S = sum_k |h_k| ||V_k||. */

static bool has_gram(const lip_ranges *g) {
  return g->r->gram && !g->boxed && !g->copy.scale && !g->cut.wanted;
}

/* Columns n0 .. n0+n-1 (of the live ones) of G, rows 0 .. n0+n-1, for sums over l <= k; zeros behind. */
static void pack_gram(double *strip, const double *gram, size_t M, const lip_live *u, size_t n0, size_t n) {
  for (size_t k = 0; k < n0 + n; k++)
    for (size_t c = 0; c < STRIP; c++) {
      double two = k < n0 + c ? 2 : k == n0 + c ? 1 : 0;
      strip[k * STRIP + c] = c < n && two > 0 ? two * gram[u[n0 + c].unit * M + u[k].unit] : 0;
    }
}

/* square (L) = h G h' of all rows. */
LIP_HOT static void squares(double *restrict square, const double *restrict v, size_t L,
                            const double *restrict gram, size_t M, const lip_live *restrict u, size_t K,
                            double *restrict strip) {
  const bool is_wide = lip_has_wide();
  memset(square, 0, L * sizeof *square);
  for (size_t n0 = 0; n0 < K; n0 += STRIP) {
    size_t n = K - n0 < STRIP ? K - n0 : STRIP;
    pack_gram(strip, gram, M, u, n0, n);
    for (size_t r0 = 0; r0 < L; r0 += PAIR) {
      double out[STRIP][PAIR];
      tile(out, strip, v + r0, L, u, n0 + n, is_wide);
      for (size_t c = 0; c < n; c++)
        for (size_t i = 0; i < PAIR; i++) square[r0 + i] += v[u[n0 + c].place * L + r0 + i] * out[c][i];
    }
  }
}

static void end_at_units(lip_ranges *g, size_t L) {
  const slab *s = &g->r->slab[0];
  double gamma = g->r->gamma;
  size_t full, K = cross(g, 0, L, &full);
  squares(g->found, g->now.v, L, g->r->gram, s->M, g->live, K, g->strip);
  for (size_t r0 = 0; r0 < L; r0 += LIP_LANES) {
    sums t;
    sum_up(g->now.v + r0, L, g->live, K, g->first, s->norm, &t);
    for (size_t i = 0; i < LIP_LANES; i++) {
      double square = g->found[r0 + i] + 4 * gamma * t.one[i] * t.one[i];
      double norm = sqrt(square) * (1 + gamma) + 0x1p-500;
      g->found[r0 + i] =
          lip_settle(g->rest[r0 + i], t.at[i], t.size[i], g->copy.eps * norm, g->slack[r0 + i], gamma);
    }
  }
}

/* ---- from the start to the end ---- */

static size_t lanes_for(size_t R) {
  return (R + PAIR - 1) / PAIR * PAIR;
}

/* The sheaf's rows over the input of block `at`, R of its lanes in use. */
static void go_back(lip_ranges *g, size_t at, size_t L) {
  for (size_t j = at; j-- > 1;) step_back(g, j, L);
  if (at > 0 && has_gram(g)) {
    end_at_units(g, L);
    return;
  }
  if (at > 0) step_back(g, 0, L);
  lip_relax_end(g, L);
}

/* Lanes R .. L-1 hold nothing. */
static void begin(lip_ranges *g, size_t R, size_t L, bool all, size_t n) {
  g->lanes = L;
  g->now.all = all;
  g->now.n = n;
  for (size_t r = R; r < L; r++) g->rest[r] = g->slack[r] = 0;
}

void lip_relax_back(lip_ranges *g, size_t at, size_t R) {
  size_t N = g->r->slab[at].N, L = lanes_for(R);
  begin(g, R, L, true, N);
  for (size_t i = 0; i < N; i++)
    for (size_t r = 0; r < L; r++) g->now.v[i * L + r] = r < R ? g->G[r * N + i] : 0;
  go_back(g, at, L);
}

/* Rows V_k in lanes 0 .. n-1, -V_k behind L / 2. */
static void put_units(lip_ranges *g, const slab *s, const uint32_t *unit, size_t n, size_t L) {
  sheaf *x = &g->now;
  memset(x->v, 0, x->n * L * sizeof *x->v);
  for (size_t i = 0; i < n; i++) {
    lip_row v = lip_slab_row(s, unit[i]);
    for (size_t e = 0; e < v.n; e++) {
      double *to = x->v + place(g, x, v.at ? v.at[e] : e) * L + i;
      to[0] = v.v[e];
      to[L / 2] = -v.v[e];
    }
  }
}

void lip_relax_units(lip_ranges *g, size_t l, const uint32_t *unit, size_t n) {
  const slab *s = &g->r->slab[l];
  const reach *q = &g->reach[l];
  size_t half = (n + LIP_LANES - 1) / LIP_LANES * LIP_LANES, L = 2 * half;
  bool all = false;
  for (size_t i = 0; i < n; i++) all |= s->pattern[unit[i]] == LIP_FULL;
  begin(g, 0, L, all, all ? s->N : 0);
  for (size_t i = 0; !all && i < n; i++)
    if (i == 0 || s->pattern[unit[i]] != s->pattern[unit[i - 1]])
      add_pattern(g, &g->now, l, s->pattern[unit[i]]);
  put_units(g, s, unit, n, L);
  for (size_t i = 0; i < n; i++) {
    size_t k = unit[i];
    g->rest[i] = s->c[k];
    g->rest[half + i] = -s->c[k];
    g->slack[i] = g->slack[half + i] = 2 * g->r->gamma * q->size[k] + q->off[k] + q->tiny;
  }
  go_back(g, l, L);
  for (size_t i = 0; i < n; i++) g->found[n + i] = g->found[half + i];
}
