/* Intervals and linear relaxation over a ball, with every rounding counted.
 *
 * Form. Block l gives u = V y + c, y the activations before it, V = T W and c = T b in double (T: sum and difference of
 * a pair, else the identity), then y' = phi(u) unit by unit. Of a pair, u_s = z_a + z_b passes and u_d = z_a - z_b
 * becomes |u_d| where the larger value comes first, -|u_d| where it comes last; y_a = (y'_s + y'_d)/2 and
 * y_b = (y'_s - y'_d)/2.
 *
 * Lines. On [from, to] let phi have values at the ends p, q and slopes in [low, high]. A convex phi lies below its chord
 * and above any tangent; a concave one the other way round; in general phi(u) >= phi(from) + low (u - from) and phi(u) <=
 * phi(to) - low (to - u), because phi(u) - low u rises. The slope of the chord may be rounded at will: with it the
 * constant is the larger of q - slope to and p - slope from, rounded up, and convexity does the rest. The tangent is
 * taken in the middle (for relu: slope 1 when to >= -from, else 0, as Zhang et al. 2018 choose; for |u| the sign of the
 * middle). Across an inflexion, convex on its left and concave on its right, the line above is the tangent of the right
 * part that passes through the left end, or the chord when it would touch beyond the right end; below likewise (Zhang et al.
 * 2018, table 2). The point of contact is only looked for: the constant is proved for whichever it is (relax_lines.c).
 *
 * Backwards. A row is a claim: f >= g . y + rest - slack all over the region, for real numbers g, rest, slack that are
 * doubles. Going back over a block, with g' = T^-T g (halved sums and differences) and for each unit the line below y'_k
 * (g'_k >= 0) or above (g'_k < 0), slope s_k and constant t_k,
 *   g . y' >= sum_k h_k u_k + g'_k t_k,  h_k = g'_k s_k,   sum_k h_k u_k = (h V) . y + h . c.
 * In floating point, u = 2^-53, gamma = gamma_n for n >= 2 K + 64, K the number of units and of inputs (Higham 2002,
 * section 3.1; any order of summation, fused or not), and with bounds  size_k >= sum_i |V_ki| |y_i| + |c_k| >= |u_k| and
 * after_k >= |y'_k|  over the region:
 *   g' is rounded once:            |g'_k| u after_k       for each k
 *   h is rounded once:             |h_k| u size_k
 *   V and c are rounded once:      |h_k| u size_k         (sum of two float32 numbers)
 *   h V:                           gamma_K sum_k |h_k| sum_i |V_ki| |y_i|  <= gamma_K sum_k |h_k| size_k
 *   the new constant, 2 K + 1 terms: gamma (|rest| + sum |g'_k t_k| + sum |h_k c_k|),  |c_k| <= size_k
 * so that slack grows by less than gamma (3 sum |h_k| size_k + sum |g'_k| (after_k + 2 |t_k|) + |rest|). The slack is a
 * sum of positive terms and itself right to a relative error of 2 gamma < 2^-20, which is added at the end.
 * At the input, over the ball, g . x >= g . x_0 - eps ||g||_{p*}, or over a box, g . m - |g| . h with middle m and half
 * widths h; sums of N + 3 terms: gamma (|rest| + |g| . |x_0| + eps ||g||). Over both together: relax_region.c.
 * Underflow: every operation may lose 2^-1074 besides; a block loses less than 2^-900 (1 + sum of all sizes) in all.
 *
 * Forwards. The same with middle and half width in place of the ball: u_k is within |V_k| . h + gamma size_k of V_k . m +
 * c_k. In the first block what V_k . x can fall and rise over the ball and the box gives a second interval; both hold. A pair also has the
 * intervals of z_a and z_b, hence those of the larger and the smaller.
 *
 * As executed in float32. The u_k that a program computes from the y it has computed is off by e_k,
 *   |e_k| <= off_k = (n v size_k + v size_k) / (1 - n v) + (what flushing denormals does),  v = 2^-24,
 * n the number of terms (derived at the top of rounding.c), of a pair the errors of both added; phi is off by at most
 * after_off_k. With u_k = V_k . y + c_k + e_k and y'_k = phi(u_k) + e'_k all of the above holds for the executed numbers
 * when off_k is added to intervals and |h_k| off_k + |g'_k| after_off_k to the slack. So the bounds are about the executed
 * net itself, and rounding errors pass through the net with the signs they have there.
 *
 * A block that has taken in others (core/affine/fold.h) has its own account of e_k, and of how far its bias is from the
 * exact one; the latter is part of off_k in every arithmetic, and |c_k| of size_k is then the sum of the bias's terms.
 *
 * Anything not finite makes the whole region unknown: every comparison is written so that NaN means "no". */
#include "core/cert/relax.h"

#include <math.h>
#include <string.h>

#include "core/affine/bend.h"
#include "core/affine/block.h"
#include "core/affine/rounding.h"
#include "core/base/mem.h"
#include "core/cert/relax_parts.h"
#include "core/norm/lanes.h"
#include "core/norm/round.h"

/* ---- what does not depend on the region ---- */

lip_status lip_relax_new(const lip_affine *a, lip_p p, lip_relax **out, lip_err *err) {
  *out = NULL;
  size_t numbers = 0, widest = a->n_in;
  bool large = false, ok = true;
  for (size_t l = 0; l < a->n; l++) {
    const lip_block *b = &a->block[l];
    widest = b->M > widest ? b->M : widest;
    widest = b->N > widest ? b->N : widest;
  }
  if (a->n == 0) return LIP_OK;
  lip_relax *r = lip_alloc(1, sizeof *r);
  if (!r) return lip_fail(err, LIP_MEMORY, "out of memory for the relaxation of a net");
  *r = (lip_relax){.a = a, .p = p, .widest = widest, .gamma = lip_gamma(2 * widest + 64)};
  r->slab = lip_alloc(a->n, sizeof *r->slab);
  for (; r->slab && ok && r->n < a->n; r->n++)
    ok = lip_slab_init(&r->slab[r->n], &a->block[r->n], r->n == 0, p, &numbers, &large);
  if (r->slab && ok && p == LIP_P2 && r->n > 1) r->gram = lip_slab_gram(&r->slab[0], &ok);
  if (!r->slab || !ok) {
    lip_relax_free(r);
    return large ? LIP_OK : lip_fail(err, LIP_MEMORY, "out of memory for the relaxation of a net");
  }
  *out = r;
  return LIP_OK;
}

void lip_relax_free(lip_relax *r) {
  if (!r) return;
  for (size_t l = 0; l < r->n; l++) lip_slab_free(&r->slab[l]);
  lip_free(r->slab);
  lip_free(r->gram);
  lip_free(r);
}

/* ---- memory of one region ---- */

enum { PARTS = 14, INDICES = 8 }; /* arrays of a reach; of indices */

static double *take(double **at, size_t n) {
  double *p = *at;
  if (p) *at += n;
  return p;
}

static void lay_out(lip_ranges *g, double *at) {
  const lip_relax *r = g->r;
  size_t w = r->widest, n_in = r->a->n_in;
  for (size_t l = 0; l < r->n; l++) {
    size_t M = r->slab[l].M;
    reach *q = &g->reach[l];
    double **part[PARTS] = {&q->from,        &q->to,     &q->size, &q->off,         &q->after,
                            &q->after_off,   &q->y_from, &q->y_to, &q->below_slope, &q->below,
                            &q->above_slope, &q->above,  &q->low,  &q->high};
    for (size_t i = 0; i < PARTS; i++) *part[i] = take(&at, M);
  }
  double **wide[] = {&g->centre, &g->half, &g->bulk};
  for (size_t i = 0; i < 3; i++) *wide[i] = take(&at, w);
  double **input[] = {&g->x, &g->x_mid, &g->x_half, &g->x_bulk, &g->down, &g->up, &g->size, &g->cap};
  for (size_t i = 0; i < 8; i++) *input[i] = take(&at, n_in + (i < 6 ? 0 : LIP_LANES));
  g->first = take(&at, r->slab[0].M);
  double **row[] = {&g->cut.a, &g->cut.row, &g->cut.sum};
  for (size_t i = 0; i < 3; i++) *row[i] = take(&at, n_in);
  g->kept = at;
}

/* What the relaxation works with: the numbers that are vectors first, for their alignment. Returns where it ends. */
static double *lay_out_rows(lip_ranges *g) {
  double *at = g->numbers;
  size_t w = g->r->widest;
  g->now.v = take(&at, LIP_CHUNK * w);
  g->next.v = take(&at, LIP_CHUNK * w);
  g->G = take(&at, LIP_CHUNK * w);
  g->strip = take(&at, 8 * w);
  g->rest = take(&at, LIP_CHUNK);
  g->slack = take(&at, LIP_CHUNK);
  g->found = take(&at, LIP_CHUNK);
  uint32_t **index[] = {&g->now.at, &g->next.at, &g->link,  &g->touched,
                        &g->spot,   &g->waiting, &g->where, &g->head};
  for (size_t i = 0; i < INDICES; i++) *index[i] = g->indices + i * w;
  lip_passage *pass = g->passes;
  for (size_t l = 0; l < g->r->n; pass += g->r->slab[l++].M) g->reach[l].pass = pass;
  return at;
}

lip_status lip_ranges_new(const lip_relax *r, lip_ranges **out, lip_err *err) {
  *out = NULL;
  lip_ranges *g = lip_alloc(1, sizeof *g);
  if (!g) return lip_fail(err, LIP_MEMORY, "out of memory for intervals");
  *g = (lip_ranges){.r = r};
  size_t units = 0, w = r->widest;
  for (size_t l = 0; l < r->n; l++) units += r->slab[l].M;
  g->reach = lip_alloc(r->n, sizeof *g->reach);
  g->live = lip_alloc(w, sizeof *g->live);
  g->part = lip_alloc(w, sizeof *g->part);
  g->sum = lip_alloc(w, sizeof *g->sum);
  g->passes = lip_alloc(units, 2 * sizeof *g->passes); /* kept ones behind */
  g->indices = lip_alloc(w, INDICES * sizeof *g->indices);
  g->numbers = lip_alloc((3 * LIP_CHUNK + 8 + 3) * w + 3 * LIP_CHUNK + 2 * PARTS * units + r->n +
                             r->slab[0].M + 11 * r->a->n_in + 2 * LIP_LANES,
                         sizeof(double));
  if (!g->reach || !g->live || !g->part || !g->sum || !g->passes || !g->indices || !g->numbers) {
    lip_ranges_free(g);
    return lip_fail(err, LIP_MEMORY, "out of memory for intervals");
  }
  lay_out(g, lay_out_rows(g));
  *out = g;
  return LIP_OK;
}

void lip_ranges_free(lip_ranges *g) {
  if (!g) return;
  lip_free(g->reach);
  lip_free(g->live);
  lip_free(g->part);
  lip_free(g->sum);
  lip_free(g->passes);
  lip_free(g->indices);
  lip_free(g->numbers);
  lip_free(g);
}

/* ---- interval arithmetic ---- */

/* [m - r, m + r], `slack` added, rounded outwards. */
static void spread(double m, double r, double slack, double gamma, double *from, double *to) {
  double w = (r + slack) * (1 + gamma) + 0x1p-900;
  *from = lip_step_down(m - w);
  *to = -lip_step_down(-m - w);
}

static void meet(double *from, double *to, double other_from, double other_to) {
  if (other_from > *from) *from = other_from;
  if (other_to < *to) *to = other_to;
}

static bool is_interval(double from, double to) {
  return from <= to && from > -INFINITY && to < INFINITY;
}

static void set_rounding(lip_ranges *g, size_t l, double bulk) {
  const slab *s = &g->r->slab[l];
  reach *q = &g->reach[l];
  for (size_t k = 0; k < s->M; k++) {
    size_t m = s->block->mate ? s->block->mate[k] : k;
    q->off[k] = lip_bias_off(s, k);
    if (g->copy.executed != LIP_EXECUTED_FLOAT32) continue;
    if (m == k) {
      q->off[k] += lip_unit_rounding(s, k, q->size[k], bulk);
    } else { /* |W_a| |y| <= (|V_s| + |V_d|) |y| / 2 */
      double size = 0.5 * (q->size[k] + q->size[m]);
      q->off[k] += lip_unit_rounding(s, k, size, bulk) + lip_unit_rounding(s, m, size, bulk);
    }
  }
  for (size_t k = 0; k < s->M; k++) q->size[k] += q->off[k];
}

/* >= sum of |V_ki| |y_i| and |c_k|; all sums over rows into g->sum. */
static void set_sizes(lip_ranges *g, size_t l, double gamma) {
  const slab *s = &g->r->slab[l];
  reach *q = &g->reach[l];
  for (size_t k = 0; k < s->M; k++) {
    lip_row_sums(lip_slab_row(s, k), g->centre, g->half, g->bulk, &g->sum[k]);
    q->size[k] = (g->sum[k].size + lip_bias_size(s, k)) * (1 + 4 * gamma) + 0x1p-900;
  }
}

/* Over the region a row of the first block is within what it may fall and rise of its value m at x; `norm` is the row's
 * dual norm. */
static void meet_region(lip_ranges *g, double m, lip_row row, double norm, double slack, double *from,
                        double *to) {
  bool round = !g->boxed && !g->copy.scale;
  double gamma = g->r->gamma, fall = g->copy.eps * norm, rise = fall;
  if (!round) {
    fall = lip_region_away(g, row, false);
    rise = lip_region_away(g, row, true);
  }
  double low, high, least, most;
  spread(m, fall, slack, gamma, &low, &most);
  spread(m, rise, slack, gamma, &least, &high);
  meet(from, to, low, high);
}

/* V_k . x of the first block: x is the middle unless the ball is cut. */
static double value_at_x(const lip_ranges *g, size_t k) {
  lip_sums t = g->sum[k];
  if (g->boxed) lip_row_sums(lip_slab_row(&g->r->slab[0], k), g->x, g->x_half, g->x_half, &t);
  return t.at;
}

/* Unit k before phi: over the box of what comes in, in the first block also over ball and box together. */
static void unit_interval(lip_ranges *g, size_t l, size_t k) {
  const slab *s = &g->r->slab[l];
  reach *q = &g->reach[l];
  double gamma = g->r->gamma;
  if (l == 0) g->first[k] = g->sum[k].at;
  double slack = 4 * gamma * q->size[k] + q->tiny + q->off[k];
  spread(g->sum[k].at + s->c[k], g->sum[k].half, slack, gamma, &q->from[k], &q->to[k]);
  if (l > 0 || g->copy.p == LIP_PINF) return;
  meet_region(g, value_at_x(g, k) + s->c[k], lip_slab_row(s, k), s->norm[k], slack, &q->from[k], &q->to[k]);
}

/* The two values of the pair (k, m), k < m, put in order: from their own intervals, and from sum and difference. */
static void pair_interval(lip_ranges *g, size_t l, size_t k, size_t m) {
  const slab *s = &g->r->slab[l];
  reach *q = &g->reach[l];
  lip_row p = lip_slab_row(s, k), v = lip_slab_row(s, m);
  double gamma = g->r->gamma, from[2], to[2], slack;
  slack =
      8 * gamma * (q->size[k] + q->size[m]) + q->tiny + q->off[k]; /* of the pair's sum: enough for each */
  double sum = g->sum[k].at + s->c[k], difference = g->sum[m].at + s->c[m];
  for (int i = 0; i < 2; i++) {
    double sign = i ? -1 : 1, at = 0.5 * (sum + sign * difference);
    spread(at, 0.5 * lip_row_raw_half(p, v, sign, g->half), slack, gamma, &from[i], &to[i]);
  }
  if (l == 0 && g->copy.p != LIP_PINF) {
    sum = value_at_x(g, k) + s->c[k];
    difference = value_at_x(g, m) + s->c[m];
    for (int i = 0; i < 2; i++) {
      double sign = i ? -1 : 1, at = 0.5 * (sum + sign * difference), *row = g->G;
      size_t start = (i ? m : k) * s->N;
      for (size_t j = 0; j < p.n; j++) row[j] = lip_block_weight(s->block, start + (p.at ? p.at[j] : j));
      meet_region(g, at, (lip_row){row, p.at, p.n}, s->raw_norm[i ? m : k], slack, &from[i], &to[i]);
    }
  }
  size_t big = s->block->descending ? k : m, small = s->block->descending ? m : k;
  q->y_from[big] = fmax(from[0], from[1]);
  q->y_to[big] = fmax(to[0], to[1]);
  q->y_from[small] = fmin(from[0], from[1]);
  q->y_to[small] = fmin(to[0], to[1]);
  meet(&q->from[m], &q->to[m], lip_step_down(from[0] - to[1]), -lip_step_down(from[1] - to[0]));
}

/* Weights for the slack as derived above. */
static void set_pass(reach *q, const slab *s, size_t k, double gamma) {
  q->pass[k] = (lip_passage){.below_slope = q->below_slope[k],
                             .below = q->below[k],
                             .above_slope = q->above_slope[k],
                             .above = q->above[k],
                             .c = s->c[k],
                             .by_h = 3 * gamma * q->size[k] + q->off[k],
                             .by_below = gamma * (q->after[k] + 2 * fabs(q->below[k])) + q->after_off[k],
                             .by_above = gamma * (q->after[k] + 2 * fabs(q->above[k])) + q->after_off[k]};
}

/* Activations behind a block from the intervals of its units; false when one is not finite. */
static bool activations(lip_ranges *g, size_t l) {
  const slab *s = &g->r->slab[l];
  reach *q = &g->reach[l];
  for (size_t k = 0; k < s->M; k++) {
    if (!is_interval(q->from[k], q->to[k])) return false;
    lip_set_lines(q, s->block, k, g->copy.executed);
    if (!(q->after[k] < INFINITY) || !isfinite(q->below[k]) || !isfinite(q->above[k])) return false;
    set_pass(q, s, k, g->r->gamma);
  }
  for (size_t k = 0; k < s->M; k++) {
    size_t m = s->block->mate ? s->block->mate[k] : k;
    lip_range r, t;
    lip_phi_range(s->block, k, q->from[k], q->to[k], &r);
    if (m == k) {
      q->y_from[k] = lip_step_down(r.least - q->after_off[k]);
      q->y_to[k] = -lip_step_down(-r.most - q->after_off[k]);
    } else if (m > k) { /* y_k = (y'_k + y'_m) / 2, y_m = (y'_k - y'_m) / 2 */
      lip_phi_range(s->block, m, q->from[m], q->to[m], &t);
      meet(&q->y_from[k], &q->y_to[k], lip_step_down(0.5 * (r.least + t.least)),
           -lip_step_down(-0.5 * (r.most + t.most)));
      meet(&q->y_from[m], &q->y_to[m], lip_step_down(0.5 * (r.least - t.most)),
           -lip_step_down(-0.5 * (r.most - t.least)));
    }
  }
  return true;
}

bool lip_relax_lines(lip_ranges *g, size_t l) {
  return activations(g, l);
}

/* Middle, half width and largest absolute value of intervals; false when they are not finite. */
static bool middles(lip_ranges *g, const double *from, const double *to, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double m = 0.5 * (from[i] + to[i]), h = fmax(to[i] - m, m - from[i]);
    if (!is_interval(from[i], to[i]) || !isfinite(m)) return false;
    g->centre[i] = m;
    g->half[i] = h > 0 ? lip_step_up(h) : 0;
    g->bulk[i] = fmax(fabs(from[i]), fabs(to[i]));
  }
  return true;
}

/* Block l from the intervals in centre, half and bulk (N); the last block ends with its units. */
static bool forward_block(lip_ranges *g, size_t l) {
  const slab *s = &g->r->slab[l];
  reach *q = &g->reach[l];
  double bulk = 0;
  for (size_t i = 0; i < s->N; i++) bulk += g->bulk[i];
  q->tiny = 0x1p-900 * (1 + bulk);
  set_sizes(g, l, g->r->gamma);
  set_rounding(g, l, bulk);
  for (size_t k = 0; k < s->M; k++) unit_interval(g, l, k);
  for (size_t k = 0; k < s->M; k++) {
    size_t m = s->block->mate ? s->block->mate[k] : k;
    if (m > k) pair_interval(g, l, k, m);
    q->tiny += 0x1p-900 * q->size[k];
  }
  return activations(g, l);
}

void lip_ranges_start(lip_ranges *g, const lip_region *region) {
  g->copy = *region;
  g->known = lip_region_start(g);
  for (size_t l = 0; g->known && l < g->r->n; l++) {
    if (l > 0) g->known = middles(g, g->reach[l - 1].y_from, g->reach[l - 1].y_to, g->r->slab[l].N);
    if (g->known) g->known = forward_block(g, l);
  }
}

bool lip_relax_before(lip_ranges *g, size_t l) {
  if (!g->known) return false;
  return l == 0 ? lip_region_start(g)
                : middles(g, g->reach[l - 1].y_from, g->reach[l - 1].y_to, g->r->slab[l].N);
}

double lip_relax_plain(const lip_ranges *g, const double *v, size_t n, double rest, double slack) {
  lip_row row = {v, NULL, n};
  double gamma = g->r->gamma, from, to;
  lip_sums t;
  lip_row_sums(row, g->centre, g->half, g->bulk, &t);
  spread(t.at + rest, t.half, slack + 4 * gamma * (t.size + fabs(rest)), gamma, &from, &to);
  return from > -INFINITY ? from : -(double)INFINITY; /* NaN too */
}

/* ---- relaxation ---- */

/* n waiting units of block l. */
static void tighten_units(lip_ranges *g, size_t l, size_t n) {
  reach *q = &g->reach[l];
  lip_relax_units(g, l, g->waiting, n);
  for (size_t i = 0; i < n; i++)
    meet(&q->from[g->waiting[i]], &q->to[g->waiting[i]], g->found[i], -g->found[n + i]);
}

/* Units go back with others of their pattern; those of several patterns together while they are few. */
static void tighten_block(lip_ranges *g, size_t l) {
  const slab *s = &g->r->slab[l];
  const reach *q = &g->reach[l];
  enum { FULL = LIP_CHUNK / 2, ENOUGH = 8 };
  size_t n = 0;
  for (size_t i = 0; i < s->M; i++) {
    size_t k = s->unit[i];
    bool end = i == 0 || s->pattern[k] != s->pattern[s->unit[i - 1]];
    if (n == FULL || (n >= ENOUGH && end)) {
      if (lip_cancel_raised(g->copy.cancel)) return;
      tighten_units(g, l, n);
      n = 0;
    }
    if (q->low[k] != q->high[k] && !lip_block_is_line(s->block, k)) g->waiting[n++] = (uint32_t)k;
  }
  if (n > 0 && !lip_cancel_raised(g->copy.cancel)) tighten_units(g, l, n);
}

void lip_ranges_tighten(lip_ranges *g) {
  for (size_t l = 1; g->known && l + 1 < g->r->n; l++) {
    tighten_block(g, l);
    g->known = !lip_cancel_raised(g->copy.cancel) && activations(g, l) &&
               middles(g, g->reach[l].y_from, g->reach[l].y_to, g->r->slab[l + 1].N) &&
               forward_block(g, l + 1);
  }
}

bool lip_relax_renew(lip_ranges *g, size_t l, bool *empty) {
  const slab *s = &g->r->slab[l];
  reach *q = &g->reach[l];
  double *from = g->now.v, *to = g->now.v + s->M; /* free between two rows */
  *empty = false;
  if (l > 0) {
    memcpy(from, q->from, s->M * sizeof *from);
    memcpy(to, q->to, s->M * sizeof *to);
    if (!lip_relax_before(g, l) || !forward_block(g, l)) return false;
    for (size_t k = 0; k < s->M; k++) meet(&q->from[k], &q->to[k], from[k], to[k]);
  }
  if (l + 1 < g->r->n) tighten_block(g, l);
  for (size_t k = 0; k < s->M; k++) *empty |= q->from[k] > q->to[k];
  return !*empty && !lip_cancel_raised(g->copy.cancel) && activations(g, l);
}

static size_t all_units(const lip_ranges *g) {
  size_t n = 0;
  for (size_t l = 0; l < g->r->n; l++) n += g->r->slab[l].M;
  return n;
}

/* The reaches lie one behind the other, from the first number of the first (lay_out). */
void lip_relax_keep(lip_ranges *g) {
  size_t n = all_units(g);
  memcpy(g->kept, g->reach[0].from, PARTS * n * sizeof *g->kept);
  for (size_t l = 0; l < g->r->n; l++) g->kept[PARTS * n + l] = g->reach[l].tiny;
  memcpy(g->passes + n, g->passes, n * sizeof *g->passes);
}

void lip_relax_restore(lip_ranges *g) {
  size_t n = all_units(g);
  memcpy(g->reach[0].from, g->kept, PARTS * n * sizeof *g->kept);
  for (size_t l = 0; l < g->r->n; l++) g->reach[l].tiny = g->kept[PARTS * n + l];
  memcpy(g->passes, g->passes + n, n * sizeof *g->passes);
}

void lip_ranges_at(const lip_ranges *g, size_t l, const double **from, const double **to) {
  reach *q = &g->reach[l];
  if (!g->known)
    for (size_t k = 0; k < g->r->slab[l].M; k++) q->from[k] = -INFINITY, q->to[k] = INFINITY;
  *from = q->from;
  *to = q->to;
}

/* ---- slopes of the region ---- */

static void *copy_of(const void *from, size_t n, size_t size) {
  void *p = lip_alloc(n, size);
  if (p) memcpy(p, from, n * size);
  return p;
}

lip_status lip_ranges_affine(const lip_ranges *g, lip_affine *out, lip_err *err) {
  const lip_affine *a = g->r->a;
  *out = (lip_affine){.n_in = a->n_in, .n_out = a->n_out};
  out->block = lip_alloc(a->n, sizeof *out->block);
  bool complete = out->block != NULL;
  for (size_t l = 0; complete && l < a->n; l++) {
    const lip_block *b = &a->block[l];
    lip_block *c = &out->block[out->n++];
    *c = *b;
    c->W = copy_of(b->W, b->M * b->N, sizeof *b->W);
    c->b = copy_of(b->b, b->M, sizeof *b->b);
    c->fold = b->fold ? lip_fold_copy(b) : NULL;
    c->low = copy_of(b->low, b->M, sizeof *b->low);
    c->high = copy_of(b->high, b->M, sizeof *b->high);
    c->mate = b->mate ? copy_of(b->mate, b->M, sizeof *b->mate) : NULL;
    c->bend = b->bend ? copy_of(b->bend, b->n_phi, sizeof *b->bend) : NULL;
    complete = c->W && c->b && (c->fold || !b->fold) && c->low && c->high && (c->mate || !b->mate) &&
               (c->bend || !b->bend);
    for (size_t k = 0; complete && g->known && l + 1 < a->n && k < b->M; k++) {
      if (c->low[k] == c->high[k]) continue; /* also of a unit that never moves: any slope is true of it */
      c->low[k] = fmax(c->low[k], g->reach[l].low[k]);
      c->high[k] = fmin(c->high[k], g->reach[l].high[k]);
    }
  }
  if (complete) return LIP_OK;
  lip_affine_free(out);
  return lip_fail(err, LIP_MEMORY, "out of memory for a net's slopes");
}
