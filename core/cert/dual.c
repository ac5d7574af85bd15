#include "core/cert/dual.h"

#include <math.h>
#include <string.h>

#include "core/affine/bend.h"
#include "core/affine/rounding.h"
#include "core/base/mem.h"
#include "core/base/simd.h"

enum { ARRAYS = 15 };

lip_status lip_dual_new(const lip_relax *r, lip_dual **out, lip_err *err) {
  lip_dual *d = lip_alloc(1, sizeof *d);
  *out = NULL;
  if (!d) return lip_fail(err, LIP_MEMORY, "out of memory for multipliers");
  *d = (lip_dual){.r = r};
  d->first = lip_alloc(r->n, sizeof *d->first);
  for (size_t l = 0; d->first && l < r->n; l++) {
    d->first[l] = d->units;
    if (l + 1 < r->n) d->units += r->slab[l].M;
  }
  const size_t n = d->units, n_in = r->a->n_in;
  double *at = lip_alloc(ARRAYS * n + 2 * n_in + 2 * r->widest + 1, sizeof *at);
  if (!d->first || !at) {
    lip_free(at);
    lip_free(d->first);
    lip_free(d);
    return lip_fail(err, LIP_MEMORY, "out of memory for multipliers");
  }
  double **part[ARRAYS] = {&d->alpha, &d->beta, &d->side,       &d->least,     &d->most,
                           &d->g,     &d->h,    &d->u,          &d->ma,        &d->va,
                           &d->mb,    &d->vb,   &d->best_alpha, &d->best_beta, &d->curve};
  memset(at, 0, (ARRAYS * n + 2 * n_in + 2 * r->widest + 1) * sizeof *at);
  for (size_t i = 0; i < ARRAYS; i++) *part[i] = at + i * n;
  d->a = at + ARRAYS * n;
  d->x = d->a + n_in;
  d->y = d->x + n_in;
  d->z = d->y + r->widest;
  for (size_t i = 0; i < n; i++) d->alpha[i] = NAN;
  *out = d;
  return LIP_OK;
}

void lip_dual_free(lip_dual *d) {
  if (!d) return;
  lip_free(d->alpha);
  lip_free(d->first);
  lip_free(d);
}

/* ---- which lines are free ---- */

/* Whether a row with coefficient g takes the free line of place i. */
static bool takes_free(const lip_dual *d, size_t i, double g) {
  return d->least[i] <= d->most[i] && (d->curve[i] > 0) == (g >= 0);
}

void lip_dual_prepare(lip_dual *d, const lip_ranges *g) {
  for (size_t l = 0; l + 1 < d->r->n; l++) {
    const lip_block *b = d->r->slab[l].block;
    const reach *q = &g->reach[l];
    for (size_t k = 0; k < d->r->slab[l].M; k++) {
      const size_t i = d->first[l] + k;
      double least = 1, most = 0;
      if (q->low[k] == q->high[k] || lip_block_is_line(b, k) ||
          !lip_kink_slopes(b, k, q->from[k], q->to[k], &least, &most, &d->curve[i])) {
        d->least[i] = 1;
        d->most[i] = 0;
        d->alpha[i] = NAN;
        continue;
      }
      d->least[i] = least;
      d->most[i] = most;
      if (isnan(d->alpha[i])) d->alpha[i] = d->curve[i] < 0 ? q->above_slope[k] : q->below_slope[k];
      if (!(d->alpha[i] >= least)) d->alpha[i] = least;
      if (!(d->alpha[i] <= most)) d->alpha[i] = most;
    }
  }
}

/* ---- backwards ---- */

LIP_HOT static void add_scaled_full(double *restrict to, const double *restrict v, double h, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] += h * v[i];
}

static void add_scaled(double *to, lip_row v, double h) {
  if (!v.at) add_scaled_full(to, v.v, h, v.n);
  for (size_t i = 0; v.at && i < v.n; i++) to[v.at[i]] += h * v.v[i];
}

/* y over activations of block l becomes the same over its units. */
static void through_pairs(double *y, const slab *s) {
  const uint32_t *mate = s->block->mate;
  for (size_t k = 0; mate && k < s->M; k++) {
    if (mate[k] <= k) continue;
    const double p = y[k], q = y[mate[k]];
    y[k] = 0.5 * (p + q);
    y[mate[k]] = 0.5 * (p - q);
  }
}

/* The row y over what block l gives becomes one over what it takes. As pass_on of relax_back.c, with slopes of our own and
 * multipliers: h = g slope + beta side is rounded twice, which |h| + beta times by_h has room for. */
static void step_back(lip_dual *d, const lip_ranges *g, size_t l, double *rest, double *slack) {
  const slab *s = &d->r->slab[l];
  const reach *q = &g->reach[l];
  const size_t at = d->first[l];
  double gamma = d->r->gamma;
  through_pairs(d->y, s);
  *slack += gamma * fabs(*rest) + q->tiny;
  for (size_t k = 0; k < s->M; k++) {
    const lip_passage *t = &q->pass[k];
    const size_t i = at + k;
    const double gk = d->y[k];
    const bool below = gk >= 0;
    double slope = below ? t->below_slope : t->above_slope, line = below ? t->below : t->above;
    double weight = below ? t->by_below : t->by_above;
    if (takes_free(d, i, gk)) {
      slope = d->alpha[i];
      line = 0;
      weight = gamma * q->after[k] + q->after_off[k];
    }
    const double h = gk * slope + d->beta[i] * d->side[i];
    *rest += gk * line + h * t->c;
    *slack += fabs(gk) * weight + (fabs(h) + d->beta[i]) * t->by_h;
    d->g[i] = gk;
    d->h[i] = h;
  }
  memset(d->y, 0, s->N * sizeof *d->y);
  for (size_t k = 0; k < s->M; k++)
    if (d->h[at + k] != 0) add_scaled(d->y, lip_slab_row(s, k), d->h[at + k]);
}

static double at_input(lip_dual *d, lip_ranges *g, double rest, double slack) {
  const size_t n = d->r->a->n_in;
  const lip_row row = {d->y, NULL, n};
  const bool box = g->copy.p == LIP_PINF;
  lip_sums t;
  memcpy(d->a, d->y, n * sizeof *d->a);
  d->rest = lip_step_down(rest - slack * (1 + 0x1p-20));
  lip_row_sums(row, box ? g->x_mid : g->x, g->x_half, g->x_bulk, &t);
  double away = t.half;
  if (!box && !g->boxed && !g->copy.scale && g->copy.p == LIP_P2) {
    double two = 0;
    for (size_t i = 0; i < n; i++) two += d->y[i] * d->y[i];
    away = g->copy.eps * (sqrt(two) * (1 + d->r->gamma) + 0x1p-500);
  } else if (!box) {
    away = lip_region_away(g, row, false);
  }
  return lip_settle(rest, t.at, t.size, away, slack, d->r->gamma);
}

/* The weighted sum as one row; what its rounding may take from the bound (mix.c): gamma_{2 n + 2} of all products with what the
 * outputs can be. */
static double put_sum(lip_dual *d, lip_ranges *g, const lip_rows *rows) {
  const size_t last = d->r->n - 1, C = d->r->slab[last].M;
  if (rows->n == 1) {
    lip_relax_put(g, last, rows->w, rows->c[0], 0);
    return 0;
  }
  const double *from, *to;
  double c = 0, size = 0;
  lip_ranges_at(g, last, &from, &to);
  memset(rows->sum, 0, C * sizeof *rows->sum);
  for (size_t j = 0; j < rows->n; j++) {
    const double share = rows->share[j], *w = rows->w + j * C;
    if (share == 0) continue;
    for (size_t k = 0; k < C; k++) {
      rows->sum[k] += share * w[k];
      size += fabs(share * w[k]) * fmax(fabs(from[k]), fabs(to[k]));
    }
    c += share * rows->c[j];
    size += fabs(share * rows->c[j]);
  }
  lip_relax_put(g, last, rows->sum, c, 0);
  return d->r->gamma * (double)(rows->n + 1) * size + 0x1p-900 * (1 + size);
}

double lip_dual_bound(lip_dual *d, lip_ranges *g, const lip_rows *rows) {
  const size_t last = d->r->n - 1;
  if (!g->known) return -INFINITY;
  const double off = put_sum(d, g, rows);
  memcpy(d->y, g->G, d->r->slab[last].N * sizeof *d->y);
  double rest = g->rest[0], slack = g->slack[0] + off;
  for (size_t l = last; l-- > 0;) step_back(d, g, l, &rest, &slack);
  return at_input(d, g, rest, slack);
}

/* ---- the point ---- */

/* Where the last row is least over the region, about: of balls as if no box cut them. */
static void least_point(lip_dual *d, lip_ranges *g) {
  const size_t n = d->r->a->n_in;
  const double *s = g->copy.scale;
  double two = 0, top = 0;
  size_t at = 0;
  if (g->copy.p == LIP_PINF) {
    for (size_t i = 0; i < n; i++)
      d->x[i] = g->x_mid[i] + (d->a[i] > 0 ? -g->x_half[i] : d->a[i] < 0 ? g->x_half[i] : 0);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    const double v = fabs(d->a[i]) * (s ? s[i] : 1);
    two += v * v;
    if (v > top) top = v, at = i;
    d->x[i] = g->x[i];
  }
  if (!(two > 0)) return;
  if (g->copy.p == LIP_P1) d->x[at] -= copysign(g->copy.eps * (s ? s[at] : 1), d->a[at]);
  for (size_t i = 0; i < n && g->copy.p == LIP_P2; i++)
    d->x[i] -= g->copy.eps * d->a[i] * (s ? s[i] * s[i] : 1) / sqrt(two);
}

LIP_HOT static double dot(const double *restrict a, const double *restrict b, size_t n) {
  double s[8] = {0};
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (size_t j = 0; j < 8; j++) s[j] += a[i + j] * b[i + j];
  double sum = 0;
  for (; i < n; i++) sum += a[i] * b[i];
  for (size_t j = 0; j < 8; j++) sum += s[j];
  return sum;
}

static double row_dot(lip_row v, const double *y) {
  if (!v.at) return dot(v.v, y, v.n);
  double sum = 0;
  for (size_t e = 0; e < v.n; e++) sum += v.v[e] * y[v.at[e]];
  return sum;
}

/* What the line that the last bound took gives for u. */
static double on_line(const lip_dual *d, const reach *q, size_t i, size_t k, double u) {
  const bool below = d->g[i] >= 0;
  if (takes_free(d, i, d->g[i])) return d->alpha[i] * u;
  return below ? q->below_slope[k] * u + q->below[k] : q->above_slope[k] * u + q->above[k];
}

static void activate(lip_dual *d, const lip_ranges *g, size_t l) {
  const slab *s = &d->r->slab[l];
  const reach *q = &g->reach[l];
  const uint32_t *mate = s->block->mate;
  const size_t at = d->first[l];
  for (size_t k = 0; k < s->M; k++) {
    const size_t m = mate ? mate[k] : k, p = k < m ? k : m, r = k < m ? m : k;
    const double a = on_line(d, q, at + p, p, d->u[at + p]);
    d->y[k] = p == r ? a : 0.5 * (a + (k == p ? 1 : -1) * on_line(d, q, at + r, r, d->u[at + r]));
  }
}

void lip_dual_point(lip_dual *d, lip_ranges *g, const lip_rows *rows, double *value) {
  const size_t last = d->r->n - 1;
  least_point(d, g);
  for (size_t l = 0; l < last; l++) {
    const slab *s = &d->r->slab[l];
    const double *y = l == 0 ? d->x : d->y;
    for (size_t k = 0; k < s->M; k++) d->u[d->first[l] + k] = row_dot(lip_slab_row(s, k), y) + s->c[k];
    activate(d, g, l);
  }
  if (!value) return;
  const slab *s = &d->r->slab[last];
  for (size_t k = 0; k < s->M; k++) d->z[k] = row_dot(lip_slab_row(s, k), last == 0 ? d->x : d->y) + s->c[k];
  for (size_t j = 0; j < rows->n; j++) value[j] = dot(rows->w + j * s->M, d->z, s->M) + rows->c[j];
}

/* ---- ascent ---- */

typedef struct adam {
  double rate, one, two; /* 1 - b1^t, 1 - b2^t */
} adam;

static double move(const adam *a, double grad, double *m, double *v) {
  *m = 0.9 * *m + 0.1 * grad;
  *v = 0.999 * *v + 0.001 * grad * grad;
  return a->rate * (*m / a->one) / (sqrt(*v / a->two) + 1e-30);
}

static void step_up(lip_dual *d, size_t t, double rate) {
  const adam a = {rate, 1 - pow(0.9, (double)t), 1 - pow(0.999, (double)t)};
  for (size_t l = 0; l + 1 < d->r->n; l++) {
    const size_t M = d->r->slab[l].M, at = d->first[l];
    double large = 0;
    for (size_t k = 0; k < M; k++) large = fmax(large, fabs(d->g[at + k]));
    for (size_t k = 0; k < M; k++) {
      const size_t i = at + k;
      if (d->side[i] != 0) {
        d->beta[i] += 2 * large * move(&a, d->side[i] * d->u[i], &d->mb[i], &d->vb[i]);
        if (!(d->beta[i] > 0)) d->beta[i] = 0;
      }
      if (!(d->least[i] <= d->most[i])) continue;
      const bool used = takes_free(d, i, d->g[i]);
      d->alpha[i] +=
          (d->most[i] - d->least[i]) * move(&a, used ? d->g[i] * d->u[i] : 0, &d->ma[i], &d->va[i]);
      if (!(d->alpha[i] > d->least[i])) d->alpha[i] = d->least[i];
      if (d->alpha[i] > d->most[i]) d->alpha[i] = d->most[i];
    }
  }
}

/* Shares move by their rows' values (exponentiated gradient: Kivinen, Warmuth 1997). */
static void shift_shares(const lip_rows *rows, const double *value, double rate) {
  double most = 0, sum = 0, mean = 0;
  for (size_t j = 0; j < rows->n; j++) mean += rows->share[j] * value[j];
  for (size_t j = 0; j < rows->n; j++) most = fmax(most, fabs(value[j] - mean));
  if (!(most > 0) || !isfinite(most)) return;
  for (size_t j = 0; j < rows->n; j++) sum += rows->share[j] *= exp(rate * (value[j] - mean) / most);
  for (size_t j = 0; j < rows->n; j++) rows->share[j] /= sum;
}

static void keep(lip_dual *d, const lip_rows *rows, double *share) {
  memcpy(d->best_alpha, d->alpha, d->units * sizeof *d->alpha);
  memcpy(d->best_beta, d->beta, d->units * sizeof *d->beta);
  memcpy(share, rows->share, rows->n * sizeof *share);
}

static void take_back(lip_dual *d, const lip_rows *rows, const double *share) {
  memcpy(d->alpha, d->best_alpha, d->units * sizeof *d->alpha);
  memcpy(d->beta, d->best_beta, d->units * sizeof *d->beta);
  memcpy(rows->share, share, rows->n * sizeof *share);
}

#define RATE 0.25
#define DECAY 0.95

double lip_dual_ascend(lip_dual *d, lip_ranges *g, const lip_rows *rows, size_t steps) {
  double best = -INFINITY, rate = RATE, value[LIP_ROWS] = {0}, share[LIP_ROWS];
  double *values = rows->n > 1 ? value : NULL;
  memset(d->ma, 0, 4 * d->units * sizeof *d->ma);
  for (size_t t = 1;; t++, rate *= DECAY) {
    const double now = lip_dual_bound(d, g, rows);
    if (now > best || t == 1) {
      best = now;
      keep(d, rows, share);
    }
    if (best > 0 || t > steps || !isfinite(now)) break;
    lip_dual_point(d, g, rows, values);
    step_up(d, t, rate);
    if (values) shift_shares(rows, value, rate);
  }
  take_back(d, rows, share);
  if (best > 0) return best;
  best = fmax(best, lip_dual_bound(d, g, rows));
  lip_dual_point(d, g, rows, values);
  return best;
}

double lip_dual_loss(const lip_dual *d, const lip_ranges *g, size_t l, size_t k) {
  const reach *q = &g->reach[l];
  const size_t i = d->first[l] + k;
  lip_range r;
  const double u = fmin(fmax(d->u[i], q->from[k]), q->to[k]);
  lip_phi_range(d->r->slab[l].block, k, u, u, &r);
  return fabs(d->g[i]) * fabs(0.5 * (r.least + r.most) - on_line(d, q, i, k, u));
}
