/* Intervals of partial derivatives over a region.
 *
 * In the units of affine.h (of pairs sum and difference, y'_l what phi makes of them) the net is y'_l = phi_l(K_l y'_{l-1} +
 * c_l), z = K_n y'_{n-1} + c_n, K_l = T W_l T^-1 with the T of its own block in front and that of the block before behind.
 * Between any two points of the region, and at any point for every limit of gradients there, phi_l acts as a diagonal D_l
 * with entries in the slopes [low, high] of the units' intervals, which are open on both sides, being rounded outwards. So
 *   Q_{n-1} = K_n,   Q_{l-1} = Q_l D_l K_l,   Q_0 = dz/dx
 * in two ways, the better one for each entry:
 *   - interval arithmetic: the interval Q_l D_l, entry by entry, times the matrix (Weng et al. 2018, "Fast-Lip"). Here the two
 *     of a pair are not rotated, W_l stands for K_l and D_l of a pair (a, b) is the set of
 *       h_a = theta g_a + (1 - theta) g_b,  h_b = (1 - theta) g_a + theta g_b,  theta in [0, 1], or 0 or 1 where the order
 *     is known: means of the two, which keeps signs;
 *   - with C_l the middles of the slopes, R_l their half widths and P_{m,t} = K_m C_{m-1} K_{m-1} ... C_{t+1} K_{t+1},
 *       Q_t = P_{n,t} + sum_{t<m<n} Q_m (D_m - C_m) P_{m,t},   so   |Q_t - P_{n,t}| <= sum_m |Q_m| R_m |P_{m,t}|:
 *     there the products keep what cancels in them, and only the first factor is an interval.
 * The first knows signs, the second is narrower where slopes are nearly known.
 *
 * Rounding. gamma = gamma_n for n >= 2 K + 64, K the largest side. Entries of K_l are sums of up to four numbers, halved:
 * off by at most 4 u hat(K)_ki, hat the same sum of absolute values. With m + r >= |H| for the middles m and radii
 * r of the interval H = Q_l D_l, whose ends are right to a few u, the product is m K_l +- (r + g (m + r)) hat(K), g = 4
 * gamma. Of P, with the same products of absolute values hat(P) beside it, the computed one is off by s g hat(P) after s
 * products, since each product adds gamma hat(P) and carries on what was there; all of hat(P), computed itself, is right to
 * s gamma. Underflow: a product of the computed K C with P may lose
 * 2^-1074 |P| and 2^-1074 besides; 2^-1000 more in |K C| and 2^-900 in every entry of hat(P) and of each radius outweigh it,
 * g being more than 2^-50. What is not finite is unknown. */
#include <math.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/cert/enclose.h"
#include "core/norm/round.h"

enum { LARGEST_PRODUCT = 1 << 23 };
#define MOST_WORK 0x1p33 /* multiplications for one P, some seconds */
#define LEAST 0x1p-900

/* Intervals of Q over what comes into a block, (out, N) each. */
typedef struct interval {
  double *low, *high;
} interval;

typedef struct work {
  const lip_affine *a;
  lip_cancel *cancel;
  size_t n, out, widest;
  double g;       /* of one product */
  double *slopes; /* (n, 4, widest): low, high, middle, half width */
  interval *q;    /* (n) over the values themselves; q[0] is the result */
  interval *r;    /* (n) over sums and differences; q[l] itself where the block before has no pairs */
  double *P[2];   /* P and the next one */
  double *hat[2];
  double *row[4];  /* (widest) */
  double *wide[4]; /* (out, widest) */
} work;

/* ---- matrices ---- */

/* The partner of unit k in a block, itself without one. */
static size_t mate_of(const lip_block *b, size_t k) {
  return b && b->mate ? b->mate[k] : k;
}

/* Columns i and its partner of row k of W, in units of the block before. */
static double column(const lip_block *b, size_t k, size_t i, size_t m, double *size) {
  double v = lip_block_weight(b, k * b->N + i), w = lip_block_weight(b, k * b->N + m);
  *size = fabs(v);
  if (m == i) return v;
  *size = 0.5 * (fabs(v) + fabs(w));
  return i < m ? 0.5 * (v + w) : 0.5 * (w - v);
}

static void weight_row(const lip_block *b, size_t k, double *row) {
  for (size_t i = 0; i < b->N; i++) row[i] = lip_block_weight(b, k * b->N + i);
}

/* Row k of K_l and of hat(K_l). Made when it is asked for: matrices are large, and rows needed a few times only. */
static void fill_row(const work *w, size_t l, size_t k, double *row, double *hat) {
  const lip_block *b = &w->a->block[l], *before = l > 0 ? b - 1 : NULL;
  size_t m = l + 1 < w->n ? mate_of(b, k) : k, lower = m < k ? m : k, upper = m < k ? k : m;
  double size, other, sign = m < k ? -1 : 1;
  if (m == k && !(before && before->mate)) {
    weight_row(b, k, row);
    for (size_t i = 0; i < b->N; i++) hat[i] = fabs(row[i]);
    return;
  }
  for (size_t i = 0; i < b->N; i++) {
    size_t j = mate_of(before, i);
    row[i] = column(b, lower, i, j, &size);
    if (m != k) {
      row[i] += sign * column(b, upper, i, j, &other);
      size += other;
    }
    hat[i] = size;
  }
}

static double *slope(const work *w, size_t l, size_t which) {
  return w->slopes + (l * 4 + which) * w->widest;
}

static bool fill_slopes(work *w, const lip_ranges *g, size_t l) {
  const double *low, *high;
  if (!lip_ranges_slopes(g, l, &low, &high)) return false;
  for (size_t k = 0; k < w->a->block[l].M; k++) {
    double c = 0.5 * (low[k] + high[k]);
    if (!(low[k] <= high[k]) || !(fabs(low[k]) < 0x1p100) || !(fabs(high[k]) < 0x1p100)) return false;
    double r = fmax(high[k] - c, c - low[k]);
    slope(w, l, 0)[k] = low[k];
    slope(w, l, 1)[k] = high[k];
    slope(w, l, 2)[k] = c;
    slope(w, l, 3)[k] = r > 0 ? lip_step_up(r) : 0;
  }
  return true;
}

/* ---- products ---- */

/* to += u K_k, size += v |hat_k|. */
LIP_HOT static void add_row(double *restrict to, double *restrict size, double u, const double *restrict K,
                            double v, const double *restrict hat, size_t n) {
  for (size_t i = 0; i < n; i++) {
    to[i] += u * K[i];
    size[i] += v * fabs(hat[i]);
  }
}

/* to (N) = u (M) K, size (N) = v (M) |hat|. False: cancelled. */
static bool multiply(const work *w, const double *u, const double *v, size_t M, size_t N, const double *K,
                     const double *hat, double *to, double *size) {
  memset(to, 0, N * sizeof *to);
  memset(size, 0, N * sizeof *size);
  if (lip_cancel_raised(w->cancel)) return false;
  for (size_t k = 0; k < M; k++)
    if (u[k] != 0 || v[k] != 0) add_row(to, size, u[k], K + k * N, v[k], hat + k * N, N);
  return true;
}

/* [low, high] becomes its meet with at +- radius, rounded outwards; NaN leaves it as it is. */
static void meet(const work *w, double at, double radius, double *low, double *high) {
  double r = radius * (1 + w->g) + LEAST, from = lip_step_down(at - r), to = -lip_step_down(-at - r);
  if (from > *low) *low = from;
  if (to < *high) *high = to;
}

/* Lower bounds of s (a + b) and s (a - b) from those of a, b and -b, s a power of two. */
static void raise_pair(double a, double b, double minus_b, double *sum, double *difference, double s) {
  double v = lip_step_down(s * lip_step_down(a + b)), d = lip_step_down(s * lip_step_down(a + minus_b));
  if (v > *sum) *sum = v;
  if (d > *difference) *difference = d;
}

static void drop_pair(double a, double b, double minus_b, double *sum, double *difference, double s) {
  double v = -lip_step_down(-s * -lip_step_down(-a - b)),
         d = -lip_step_down(-s * -lip_step_down(-a - minus_b));
  if (v < *sum) *sum = v;
  if (d < *difference) *difference = d;
}

/* Q D for a pair (a, b), a < b: the hull of both where the order is not known. */
static void mix(const work *w, size_t l, size_t i, size_t a, size_t b, double *low, double *high) {
  const interval *q = &w->q[l + 1];
  size_t row = i * w->a->block[l].M;
  bool straight = slope(w, l, 1)[b] > -1, crossed = slope(w, l, 0)[b] < 1; /* NaN cannot be here */
  for (int side = 0; side < 2; side++) {
    size_t own = row + (side ? b : a), other = row + (side ? a : b), to = side ? b : a;
    low[to] = straight ? q->low[own] : q->low[other];
    high[to] = straight ? q->high[own] : q->high[other];
    if (straight && crossed) {
      low[to] = fmin(low[to], q->low[other]);
      high[to] = fmax(high[to], q->high[other]);
    }
  }
}

/* Row i of Q D over the values after matrix l. */
static void bend(const work *w, size_t l, size_t i, double *low, double *high) {
  const double *a = slope(w, l, 0), *b = slope(w, l, 1);
  const double *from = w->q[l + 1].low + i * w->a->block[l].M, *to = w->q[l + 1].high + i * w->a->block[l].M;
  for (size_t j = 0; j < w->a->block[l].M; j++) {
    size_t m = mate_of(&w->a->block[l], j);
    if (m > j) mix(w, l, i, j, m, low, high);
    if (m != j) continue;
    double p = from[j] * a[j], q = from[j] * b[j], r = to[j] * a[j], s = to[j] * b[j];
    bool known = isfinite(p) && isfinite(q) && isfinite(r) && isfinite(s); /* fmin would drop NaN */
    low[j] = known ? fmin(fmin(p, q), fmin(r, s)) : -INFINITY;
    high[j] = known ? fmax(fmax(p, q), fmax(r, s)) : INFINITY;
  }
}

/* Middles and radii of the intervals of all of Q D, (out, M), from the lows and highs that stand there. */
static void centre_rows(const work *w, size_t n, double *middle, double *radius) {
  for (size_t j = 0; j < n; j++) {
    double least = middle[j], most = radius[j], m = 0.5 * (least + most), h = fmax(most - m, m - least);
    bool zero = least == 0 && most == 0;
    middle[j] = m; /* NaN of infinite ends: nothing becomes known */
    radius[j] = zero ? 0 : h + w->g * (fabs(m) + h) + 0x1p-1060;
  }
}

/* Q_l from Q_{l+1}, over what comes into blocks l and l + 1. */
static bool step(const work *w, size_t l) {
  const lip_block *b = &w->a->block[l];
  double *middle = w->wide[0], *radius = w->wide[1], *at = w->wide[2], *size = w->wide[3], *row = w->row[0];
  for (size_t i = 0; i < w->out; i++) bend(w, l, i, middle + i * b->M, radius + i * b->M);
  centre_rows(w, w->out * b->M, middle, radius);
  memset(at, 0, w->out * b->N * sizeof *at);
  memset(size, 0, w->out * b->N * sizeof *size);
  for (size_t k = 0; k < b->M; k++) {
    if (lip_cancel_raised(w->cancel)) return false;
    weight_row(b, k, row);
    for (size_t i = 0; i < w->out; i++) {
      double u = middle[i * b->M + k], v = radius[i * b->M + k];
      if (u != 0 || v != 0) add_row(at + i * b->N, size + i * b->N, u, row, v, row, b->N);
    }
  }
  for (size_t i = 0; i < w->out * b->N; i++) meet(w, at[i], size[i], &w->q[l].low[i], &w->q[l].high[i]);
  return true;
}

/* What is known of values is made known of sums and differences, and the other way round: f = Q_a y_a + Q_b y_b is Q_s s +
 * Q_d d with Q_s = (Q_a + Q_b) / 2, Q_d = (Q_a - Q_b) / 2. */
static void exchange(const work *w, size_t l) {
  const lip_block *before = &w->a->block[l - 1];
  const interval *q = &w->q[l], *r = &w->r[l];
  size_t N = w->a->block[l].N;
  for (size_t i = 0; i < w->out * N; i++) {
    size_t a = i % N, m = mate_of(before, a), j = i - a + m;
    if (m == a) { /* one number in both */
      q->low[i] = r->low[i] = fmax(q->low[i], r->low[i]);
      q->high[i] = r->high[i] = fmin(q->high[i], r->high[i]);
    }
    if (m <= a) continue;
    raise_pair(q->low[i], q->low[j], -q->high[j], &r->low[i], &r->low[j], 0.5);
    drop_pair(q->high[i], q->high[j], -q->low[j], &r->high[i], &r->high[j], 0.5);
    raise_pair(r->low[i], r->low[j], -r->high[j], &q->low[i], &q->low[j], 1);
    drop_pair(r->high[i], r->high[j], -r->low[j], &q->high[i], &q->high[j], 1);
  }
}

/* What the slopes of block m, whose matrix ends P (M_m, width), take and add: radius (out, width) += |Q| R |P|, with the
 * rounding of P, `off` times hat. */
static bool add_spread(work *w, size_t m, size_t width, double off, double *radius) {
  const double *r = slope(w, m, 3);
  for (size_t i = 0; i < w->out; i++) {
    const double *from = w->r[m + 1].low + i * w->a->block[m].M,
                 *to = w->r[m + 1].high + i * w->a->block[m].M;
    double *v = w->row[0], *to_radius = radius + i * width;
    for (size_t k = 0; k < w->a->block[m].M; k++)
      v[k] = r[k] > 0 ? fmax(fabs(from[k]), fabs(to[k])) * r[k] : 0; /* infinite: stays */
    if (!multiply(w, v, v, w->a->block[m].M, width, w->hat[0], w->P[0], w->row[2], w->row[3])) return false;
    for (size_t k = 0; k < width; k++) to_radius[k] += w->row[3][k] + off * w->row[2][k] + LEAST;
  }
  return true;
}

/* P and hat(P) of block m from those of the block before. */
static bool grow(work *w, size_t m, size_t width) {
  const lip_block *b = &w->a->block[m];
  const double *c = slope(w, m - 1, 2);
  double *row = w->row[0], *hat = w->row[1];
  for (size_t i = 0; i < b->M; i++) {
    fill_row(w, m, i, row, hat);
    for (size_t j = 0; j < b->N; j++) {
      row[j] *= c[j];
      hat[j] = hat[j] != 0 && c[j] != 0 ? fabs(hat[j] * c[j]) + 0x1p-1000 : 0;
    }
    double *to = w->P[1] + i * width, *size = w->hat[1] + i * width;
    if (!multiply(w, row, hat, b->N, width, w->P[0], w->hat[0], to, size)) return false;
    for (size_t j = 0; j < width; j++) size[j] += LEAST;
  }
  double *P = w->P[0], *old = w->hat[0];
  w->P[0] = w->P[1];
  w->hat[0] = w->hat[1];
  w->P[1] = P;
  w->hat[1] = old;
  return true;
}

/* Whether the products behind what comes into block t are worth their cost. */
static bool is_worth(const work *w, size_t t) {
  double cost = 0, width = (double)w->a->block[t].N;
  for (size_t m = t; m < w->n; m++) {
    if ((double)w->a->block[m].M * width > LARGEST_PRODUCT) return false;
    if (m > t) cost += (double)w->a->block[m].M * (double)w->a->block[m].N * width;
  }
  return cost <= MOST_WORK;
}

/* The second way, for all rows of Q over what comes into block t. */
static bool centre(work *w, size_t t) {
  const lip_block *b = &w->a->block[t];
  size_t width = b->N;
  double off = w->g, *radius = w->wide[0];
  memset(radius, 0, w->out * width * sizeof *radius);
  for (size_t i = 0; i < b->M; i++) fill_row(w, t, i, w->P[0] + i * width, w->hat[0] + i * width);
  for (size_t i = 0; i < b->M * width; i++) w->hat[0][i] += LEAST;
  for (size_t m = t; m + 1 < w->n; m++, off += w->g)
    if (!add_spread(w, m, width, off, radius) || !grow(w, m + 1, width)) return false;
  for (size_t i = 0; i < w->out * width; i++)
    meet(w, w->P[0][i], radius[i] + off * w->hat[0][i], &w->r[t].low[i], &w->r[t].high[i]);
  return true;
}

/* ---- the whole ---- */

static bool open_interval(const work *w, size_t l, double *numbers, interval *q) {
  size_t n = w->out * w->a->block[l].N;
  *q = (interval){numbers, numbers ? numbers + n : NULL};
  for (size_t i = 0; numbers && i < n; i++) q->low[i] = -INFINITY, q->high[i] = INFINITY;
  return numbers != NULL;
}

/* Q over what comes into block l; numbers of q[0] are the caller's. */
static bool open_level(work *w, size_t l, double *low_high) {
  size_t n = 2 * w->out * w->a->block[l].N;
  if (!open_interval(w, l, l == 0 ? low_high : lip_alloc(n, sizeof(double)), &w->q[l])) return false;
  w->r[l] = w->q[l];
  if (l == 0 || !w->a->block[l - 1].mate) return true;
  return open_interval(w, l, lip_alloc(n, sizeof(double)), &w->r[l]);
}

static size_t widest_side(const lip_affine *a) {
  size_t most = a->n_in;
  for (size_t l = 0; l < a->n; l++) most = a->block[l].M > most ? a->block[l].M : most;
  return most;
}

/* The largest P. */
static size_t largest_product(const work *w) {
  size_t most = 1;
  for (size_t t = 0; t < w->n; t++)
    for (size_t m = t; m < w->n && is_worth(w, t); m++) {
      size_t size = w->a->block[m].M * w->a->block[t].N;
      most = size > most ? size : most;
    }
  return most;
}

static lip_status reserve(work *w, double *low_high, lip_err *err) {
  w->widest = widest_side(w->a);
  w->q = lip_alloc(w->n, sizeof *w->q);
  w->r = lip_alloc(w->n, sizeof *w->r);
  if (w->q) memset(w->q, 0, w->n * sizeof *w->q);
  if (w->r) memset(w->r, 0, w->n * sizeof *w->r);
  bool complete = w->q && w->r;
  for (size_t l = 0; complete && l < w->n; l++) complete = open_level(w, l, low_high);
  size_t product = complete ? largest_product(w) : 1;
  w->slopes = lip_alloc(w->n * 4 * w->widest, sizeof *w->slopes);
  complete = complete && w->slopes;
  for (size_t i = 0; complete && i < 4; i++) {
    w->row[i] = lip_alloc(w->widest, sizeof(double));
    w->wide[i] = lip_alloc(w->out * w->widest, sizeof(double));
    complete = w->row[i] && w->wide[i];
  }
  for (size_t i = 0; complete && i < 2; i++) {
    w->P[i] = lip_alloc(product, sizeof(double));
    w->hat[i] = lip_alloc(product, sizeof(double));
    complete = w->P[i] && w->hat[i];
  }
  return complete ? LIP_OK : lip_fail(err, LIP_MEMORY, "out of memory for the derivatives of a net");
}

static void release(work *w) {
  for (size_t l = 0; w->q && w->r && l < w->n; l++) {
    if (w->r[l].low != w->q[l].low) lip_free(w->r[l].low);
    if (l > 0) lip_free(w->q[l].low);
  }
  for (size_t i = 0; i < 4; i++) {
    lip_free(w->row[i]);
    lip_free(w->wide[i]);
  }
  for (size_t i = 0; i < 2; i++) {
    lip_free(w->P[i]);
    lip_free(w->hat[i]);
  }
  lip_free(w->slopes);
  lip_free(w->q);
  lip_free(w->r);
}

/* Q from the last block to the input. False: cancelled. */
static bool go_back(work *w) {
  size_t last = w->n - 1, N = w->a->block[last].N;
  const interval *q = &w->q[last], *r = &w->r[last];
  for (size_t i = 0; i < w->out; i++) {
    weight_row(&w->a->block[last], i, w->row[0]);
    for (size_t j = 0; j < N; j++) meet(w, w->row[0][j], 0, &q->low[i * N + j], &q->high[i * N + j]);
    fill_row(w, last, i, w->row[0], w->row[1]);
    for (size_t j = 0; j < N; j++)
      meet(w, w->row[0][j], w->g * w->row[1][j], &r->low[i * N + j], &r->high[i * N + j]);
  }
  for (size_t l = last; l-- > 0;) {
    if (!step(w, l)) return false;
    if (w->r[l].low != w->q[l].low) exchange(w, l);
    if (is_worth(w, l) && !centre(w, l)) return false;
    if (w->r[l].low != w->q[l].low) exchange(w, l);
  }
  return true;
}

static lip_status enclose(work *w, const lip_ranges *g, double *low_high, lip_err *err) {
  const double *low, *high;
  lip_status status = reserve(w, low_high, err);
  if (status) return status;
  w->g = 4 * lip_gamma(2 * w->widest + 64);
  bool known = w->g * (double)w->n < 0x1p-12 && lip_ranges_slopes(g, w->n - 1, &low, &high);
  for (size_t l = 0; known && l + 1 < w->n; l++) known = fill_slopes(w, g, l);
  if (known) known = go_back(w);
  if (!known) open_interval(w, 0, low_high, &w->q[0]);
  return LIP_OK;
}

lip_status lip_enclose_jacobian(const lip_affine *a, const lip_region *region, double *low, double *high,
                                lip_err *err) {
  size_t all = a->n_out * a->n_in;
  for (size_t i = 0; i < all; i++) low[i] = -INFINITY, high[i] = INFINITY;
  lip_region exact = *region;
  exact.executed = LIP_EXECUTED_EXACT;
  lip_relax *r = NULL;
  lip_ranges *g = NULL;
  work w = {.a = a, .cancel = region->cancel, .n = a->n, .out = a->n_out};
  double *both = NULL;
  fenv_t saved;
  lip_ieee_enter(&saved);
  lip_status status = lip_relax_new(a, region->p, &r, err);
  if (!status && r) status = lip_ranges_new(r, &g, err);
  if (!status && g) {
    lip_ranges_start(g, &exact);
    lip_ranges_tighten(g);
    both = lip_alloc(2 * all, sizeof *both);
    status = both ? enclose(&w, g, both, err)
                  : lip_fail(err, LIP_MEMORY, "out of memory for the derivatives of a net");
    release(&w);
  }
  for (size_t i = 0; both && !status && i < all; i++) {
    low[i] = both[i];
    high[i] = both[all + i];
  }
  lip_free(both);
  lip_ranges_free(g);
  lip_relax_free(r);
  lip_ieee_leave(&saved);
  if (!status && lip_cancel_raised(region->cancel))
    status = lip_fail(err, LIP_CANCELLED, "jacobian: cancelled");
  return status;
}
