/* Lower bounds of linear functions of activations, by going backwards through the net; what rounding takes is counted
 * as derived at the top of relax.c. */
#include <math.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/base/simd.h"
#include "core/cert/relax_parts.h"
#include "core/norm/lanes.h"

enum { STRIP = 2 * LIP_LANES, TILE = 8 };

/* out (rows <= TILE, STRIP) = A (rows, K) B (K, STRIP), A with row length `la`. */
LIP_INLINE void tile(double (*out)[STRIP], const double *A, size_t la, const double *B, size_t K) {
  lip_d8 sum[TILE][2];
  memset(sum, 0, sizeof sum);
  for (size_t k = 0; k < K; k++) {
    lip_d8 b0, b1;
    LIP_LOAD(b0, B + k * STRIP);
    LIP_LOAD(b1, B + k * STRIP + LIP_LANES);
    for (size_t i = 0; i < TILE; i++) {
      double a = A[i * la + k];
      sum[i][0] += a * b0;
      sum[i][1] += a * b1;
    }
  }
  memcpy(out, sum, sizeof sum);
}

/* Columns n0 .. n0+n-1 of the rows live[0..K-1] of V, zeros behind. */
static void pack(double *strip, const double *V, size_t N, const size_t *live, size_t K, size_t n0,
                 size_t n) {
  for (size_t k = 0; k < K; k++) {
    memcpy(strip + k * STRIP, V + live[k] * N + n0, n * sizeof *strip);
    memset(strip + k * STRIP + n, 0, (STRIP - n) * sizeof *strip);
  }
}

/* G (R, N) = H (R, K) V[live], rows of H `lh` apart and padded to TILE. */
LIP_HOT static void multiply(double *G, const double *H, size_t lh, size_t R, size_t K, const double *V,
                             size_t N, const size_t *live, double *strip) {
  double out[TILE][STRIP];
  for (size_t n0 = 0; n0 < N; n0 += STRIP) {
    size_t n = N - n0 < STRIP ? N - n0 : STRIP;
    pack(strip, V, N, live, K, n0, n);
    for (size_t r = 0; r < R; r += TILE) {
      tile(out, H + r * lh, lh, strip, K);
      for (size_t i = 0; i < TILE && r + i < R; i++) memcpy(G + (r + i) * N + n0, out[i], n * sizeof *G);
    }
  }
}

/* Coefficients of the activations of pairs to those of sum and difference. */
static void rotate(double *row, const uint32_t *mate, size_t M) {
  for (size_t k = 0; k < M; k++) {
    size_t m = mate[k];
    if (m <= k) continue;
    double a = row[k], b = row[m];
    row[k] = 0.5 * (a + b);
    row[m] = 0.5 * (a - b);
  }
}

/* One row through phi: h (K) over the live units; the constant terms of lines and biases into *rest, and what the
 * rounding of all this and of the product that follows may take into *slack. */
LIP_HOT static void through(double *restrict h, const double *restrict row, const size_t *restrict live,
                            size_t K, const reach *q, const double *restrict c, double gamma,
                            double *restrict rest, double *restrict slack) {
  double sum = *rest, one = 0, two = 0, executed = 0;
  for (size_t i = 0; i < K; i++) {
    size_t k = live[i];
    double g = row[k];
    double slope = g >= 0 ? q->below_slope[k] : q->above_slope[k];
    double line = g >= 0 ? q->below[k] : q->above[k];
    h[i] = g * slope;
    sum += g * line + h[i] * c[k];
    one += fabs(h[i]) * q->size[k];
    two += fabs(g) * (q->after[k] + 2 * fabs(line));
    executed += fabs(h[i]) * q->off[k] + fabs(g) * q->after_off[k];
  }
  *slack += gamma * (3 * one + two + fabs(*rest)) + executed + q->tiny;
  *rest = sum;
}

static bool is_dead(const reach *q, size_t k) {
  return q->below_slope[k] == 0 && q->above_slope[k] == 0 && q->below[k] == 0 && q->above[k] == 0 &&
         q->after_off[k] == 0;
}

/* Units that matter, those with full rows of V first; *full: how many these are. */
static size_t live_units(const slab *s, const reach *q, size_t *live, size_t *full) {
  size_t K = 0;
  for (size_t k = 0; k < s->M; k++)
    if (!is_dead(q, k) && !lip_few_has(&s->few, k)) live[K++] = k;
  *full = K;
  for (size_t k = 0; k < s->M; k++)
    if (!is_dead(q, k) && lip_few_has(&s->few, k)) live[K++] = k;
  return K;
}

static void step_back(lip_ranges *g, size_t j, size_t R) {
  const slab *s = &g->r->slab[j];
  const reach *q = &g->reach[j];
  size_t full, K = live_units(s, q, g->live, &full);
  for (size_t r = 0; r < R; r++) {
    double *row = g->G + r * s->M;
    if (s->block->mate) rotate(row, s->block->mate, s->M);
    through(g->H + r * K, row, g->live, K, q, s->c, g->r->gamma, &g->rest[r], &g->slack[r]);
  }
  size_t padded = (R + TILE - 1) / TILE * TILE;
  memset(g->H + R * K, 0, (padded - R) * K * sizeof *g->H);
  if (s->V) {
    multiply(g->G, g->H, K, R, full, s->V, s->N, g->live, g->strip);
    for (size_t r = 0; full < K && r < R; r++)
      lip_few_add(&s->few, g->G + r * s->N, g->H + r * K + full, g->live + full, K - full);
    return;
  }
  memset(g->G, 0, R * s->N * sizeof *g->G);
  for (size_t r = 0; r < R; r++)
    for (size_t i = 0; i < K; i++) g->G[r * s->N + g->live[i]] = g->H[r * K + i];
}

/* ---- at the input ---- */

typedef struct sums {
  double at, size, one, two, top; /* g.c, |g|.|c|, |g|_1 (or |g|.w), |g|_2^2, |g|_inf */
} sums;

LIP_HOT static void sum_up(const double *restrict v, const double *restrict c, const double *restrict w,
                           size_t n, sums *out) {
  lip_d8 at = {0}, size = {0}, one = {0}, two = {0}, top = {0};
  sums s = {0};
  size_t k = 0;
  for (; k + LIP_LANES <= n; k += LIP_LANES) {
    lip_d8 a, b, h;
    LIP_LOAD(a, v + k);
    LIP_LOAD(b, c + k);
    LIP_LOAD(h, w + k);
    lip_d8 t = a * b, m = (lip_d8)((lip_l8)a & INT64_MAX);
    at += t;
    size += (lip_d8)((lip_l8)t & INT64_MAX);
    one += m * h;
    two += a * a;
    lip_l8 more = m > top;
    top = (lip_d8)(((lip_l8)m & more) | ((lip_l8)top & ~more));
  }
  for (; k < n; k++) {
    double m = fabs(v[k]);
    s.at += v[k] * c[k];
    s.size += fabs(v[k] * c[k]);
    s.one += m * w[k];
    s.two += v[k] * v[k];
    s.top = fmax(s.top, m);
  }
  s.at += lip_sum_lanes(&at);
  s.size += lip_sum_lanes(&size);
  s.one += lip_sum_lanes(&one);
  s.two += lip_sum_lanes(&two);
  for (size_t i = 0; i < LIP_LANES; i++) s.top = fmax(s.top, top[i]);
  *out = s;
}

/* rest + at - away, rounded down; `slack` and the rounding of these sums taken off. */
static double settle(double rest, double at, double size, double away, double slack, double gamma) {
  double v = rest + at - away;
  double off = slack + gamma * (fabs(rest) + size + away) + 0x1p-900;
  v = lip_step_down(v - off * (1 + 0x1p-20));
  return v > -INFINITY ? v : -(double)INFINITY; /* NaN too */
}

static double concretise(lip_ranges *g, const double *row, double rest, double slack) {
  size_t n = g->r->a->n_in;
  double gamma = g->r->gamma, away;
  bool box = g->copy.p == LIP_PINF;
  sums s;
  sum_up(row, box ? g->x_mid : g->x, g->x_half, n, &s);
  if (box)
    away = s.one;
  else if (g->boxed || g->copy.scale)
    away = lip_region_away(g, row, false);
  else
    away = g->copy.eps * (g->copy.p == LIP_P1 ? s.top : sqrt(s.two) * (1 + gamma) + 0x1p-500);
  return settle(rest, s.at, s.size, away, slack, gamma);
}

void lip_relax_back(lip_ranges *g, size_t at, size_t R) {
  for (size_t j = at; j-- > 0;) step_back(g, j, R);
  for (size_t r = 0; r < R; r++)
    g->found[r] = concretise(g, g->G + r * g->r->a->n_in, g->rest[r], g->slack[r]);
}
