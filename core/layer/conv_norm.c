/* A convolution is a matrix whose row for output (o, oy, ox) holds the taps that fall inside the image, and whose
 * column for input (c, iy, ix) holds the taps that read that place: all ky with ky dilation = iy + padding modulo the stride,
 * fewer near a border. Rows and columns differ by these sets only, and a set is a product of one along y and one
 * along x. So every norm that is a maximum over rows (p->inf) or columns (1->q) is found exactly from the kernel.
 *
 * 2->2, per group (a block-diagonal matrix has the largest norm of its blocks), the smallest of
 *   sqrt(||.||_1->1 ||.||_inf->inf)       Schur's test (Higham 2002, equation 6.20)
 *   sqrt(m) ||R||_2, R = w as (OUT, K)    every patch is mapped by R, and an input place is in at most m patches
 *                                         (Tsuzuku, Sato, Sugiyama 2018)
 *   the matrix written out where that is cheap, else a circular convolution around it (conv_spectral.c), and where that
 *   leaves a gap to what is attained its banded Gram matrix (conv_band.c).
 * The first two are quick and may be twice the norm. The others are within 0.8 % of it, as far as it is known, but for
 * convolutions too large for the band on images that are small beside the kernel: there the circle may be some percent above.
 *
 * Projections: p->inf limits the rows of R; 1->q limits, for every input channel and phase of the stride, the taps of
 * that phase over all outputs, gathered into the rows of a matrix. Both are Euclidean projections of the kernel where
 * some place of the image meets the whole set. 2->2 has no such form: R within budget / sqrt(m) is sufficient, and more than is
 * needed. After an update the norm is estimated by power iteration through the convolution itself, on its real image size,
 * from where the last one arrived (norm/power.h); a group above its budget is scaled, or has R clipped until the norm is within
 * it (lip_project_by). The rigorous projection takes the nearer of R clipped to budget / sqrt(m) and the kernel scaled to the
 * bound. */
#include "core/layer/conv_norm.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/conv_band.h"
#include "core/layer/conv_map.h"
#include "core/layer/conv_spectral.h"
#include "core/layer/init.h"
#include "core/norm/opnorm.h"
#include "core/norm/round.h"
#include "core/tensor/vec.h"

/* ---- which taps meet ---- */

static void add_set(lip_tap_sets *s, uint64_t set, uint64_t all) {
  size_t kept = 0;
  for (size_t i = 0; i < s->n; i++)
    if ((set | s->set[i]) == s->set[i]) return; /* inside one that is there */
  for (size_t i = 0; i < s->n; i++)
    if ((set | s->set[i]) != set) s->set[kept++] = s->set[i];
  s->n = kept;
  if (s->n == LIP_CONV_MAX_SETS) { /* too many to tell apart: all taps is an upper bound */
    s->n = 0;
    set = all;
  }
  s->set[s->n++] = set;
}

static void find_sets(lip_axis a, lip_tap_sets *reads, lip_tap_sets *read_by) {
  uint64_t all = a.kernel == 64 ? ~UINT64_C(0) : (UINT64_C(1) << a.kernel) - 1;
  for (size_t o = 0; o < a.out; o++) {
    uint64_t set = 0;
    for (size_t k = 0; k < a.kernel; k++) {
      size_t i = o * a.stride + k * a.dilation; /* place, moved by the padding */
      if (i >= a.padding && i - a.padding < a.n) set |= UINT64_C(1) << k;
    }
    add_set(reads, set, all);
  }
  for (size_t i = 0; i < a.n; i++) {
    uint64_t set = 0;
    for (size_t k = 0; k < a.kernel && k * a.dilation <= i + a.padding; k++) {
      size_t from = i + a.padding - k * a.dilation;
      if (from % a.stride == 0 && from / a.stride < a.out) set |= UINT64_C(1) << k;
    }
    add_set(read_by, set, all);
  }
}

static size_t largest_set(const lip_tap_sets *s) {
  size_t most = 0;
  for (size_t i = 0; i < s->n; i++) {
    size_t n = 0;
    for (uint64_t set = s->set[i]; set; set &= set - 1) n++;
    if (n > most) most = n;
  }
  return most;
}

/* ---- norms ---- */

/* A running p-norm of float32 numbers; squares and sums in double. */
typedef struct running {
  lip_p p;
  double v;
  size_t n;
} running;

static void running_add(running *r, float w) {
  double a = fabs((double)w);
  r->n++;
  if (r->p == LIP_PINF)
    r->v = a > r->v ? a : r->v;
  else
    r->v += r->p == LIP_P2 ? a * a : a;
}

/* n additions, each off by 2^-53 of a sum that only grows, and the last operations. */
static double running_upper(const running *r) {
  if (r->p == LIP_PINF) return r->v;
  double v = r->v * (1 + (double)(r->n + 4) * 0x1p-52);
  return r->p == LIP_P2 ? sqrt(v) * (1 + 0x1p-51) : v;
}

/* Adds the taps in my x mx of one (output, input channel) kernel. */
static void add_taps(running *r, const float *w, size_t k2, size_t kernel, uint64_t my, uint64_t mx) {
  for (size_t ky = 0; ky * kernel < k2; ky++)
    for (size_t kx = 0; kx < kernel; kx++)
      if (my >> ky & mx >> kx & 1) running_add(r, w[ky * kernel + kx]);
}

/* Largest p-norm of a row that belongs to group g. */
static double row_norm(const lip_conv *c, const float *w, size_t g, lip_p p) {
  const size_t k2 = lip_patches_taps(&c->at);
  double most = 0;
  for (size_t o = g * c->OUTg; o < (g + 1) * c->OUTg; o++)
    for (size_t i = 0; i < c->out_y.n; i++)
      for (size_t j = 0; j < c->out_x.n; j++) {
        running r = {p, 0, 0};
        for (size_t ch = 0; ch < c->Cg; ch++)
          add_taps(&r, w + o * c->K + ch * k2, k2, c->at.kernel, c->out_y.set[i], c->out_x.set[j]);
        most = fmax(most, running_upper(&r));
      }
  return most;
}

static double column_norm(const lip_conv *c, const float *w, size_t g, lip_p p) {
  const size_t k2 = lip_patches_taps(&c->at);
  double most = 0;
  for (size_t ch = 0; ch < c->Cg; ch++)
    for (size_t i = 0; i < c->in_y.n; i++)
      for (size_t j = 0; j < c->in_x.n; j++) {
        running r = {p, 0, 0};
        for (size_t o = g * c->OUTg; o < (g + 1) * c->OUTg; o++)
          add_taps(&r, w + o * c->K + ch * k2, k2, c->at.kernel, c->in_y.set[i], c->in_x.set[j]);
        most = fmax(most, running_upper(&r));
      }
  return most;
}

static double schur(const lip_conv *c, const float *w, size_t g) {
  double v = sqrt(row_norm(c, w, g, LIP_P1) * column_norm(c, w, g, LIP_P1));
  return v * (1 + 0x1p-51) + 0x1p-1022;
}

static double group_abs_norm(const lip_conv *c, const float *w, size_t g, lip_pq pq) {
  if (pq.q == LIP_PINF) return row_norm(c, w, g, lip_p_dual(pq.p));
  if (pq.p == LIP_P1) return column_norm(c, w, g, pq.q);
  return schur(c, w, g);
}

double lip_conv_abs_norm_upper(const lip_conv *c, const float *w, lip_pq pq) {
  double most = 0;
  if (!lip_pq_tractable(pq) || !lip_vec_all_finite(w, c->OUT * c->K)) return INFINITY;
  for (size_t g = 0; g < c->groups; g++) most = fmax(most, group_abs_norm(c, w, g, pq));
  return most;
}

/* 2->2 of one group, from the shape of the kernel. */
static lip_status group_quick(const lip_conv *c, const float *w, size_t g, double *upper, lip_err *err) {
  double sigma, test = schur(c, w, g);
  *upper = test;
  lip_status status =
      lip_opnorm_upper(w + g * c->OUTg * c->K, c->OUTg, c->K, (lip_pq){LIP_P2, LIP_P2}, &sigma, err);
  double reshaped = sqrt((double)c->overlap) * sigma;
  size_t root = (size_t)(sqrt((double)c->overlap) + 0.5);
  if (root * root != c->overlap || root > 2) reshaped *= 1 + 0x1p-51;
  if (!status && reshaped < test) *upper = reshaped;
  return status;
}

/* About 0.2, 1 and 1.4 seconds of one thread. */
#define EXPLICIT_COST 2e9
#define FOURIER_COST 2e10
#define BAND_COST 4e10
/* A bound this close to what is attained is not improved on; closer where that takes less than 50 ms. */
#define CLOSE 1.008
#define CLOSER 1.003
#define CHEAP 1e9

/* The smallest of all. */
static lip_status group_tight(const lip_conv *c, const float *w, size_t g, double *upper, lip_err *err) {
  double other = INFINITY, estimate = 0;
  lip_status status = group_quick(c, w, g, upper, err);
  if (status || *upper == 0) return status;
  if (lip_conv_explicit_cost(c) <= EXPLICIT_COST) {
    status = lip_conv_explicit_upper(c, w, g, &other, err);
    if (!status && other < *upper) *upper = other;
    return status;
  }
  if (lip_conv_fourier_cost(c) <= FOURIER_COST) status = lip_conv_fourier_upper(c, w, g, &other, err);
  if (!status && other < *upper) *upper = other;
  const double cost = lip_conv_band_cost(c);
  if (status || !(cost <= BAND_COST)) return status;
  status = lip_conv_estimate(c, w, g, &estimate, err);
  if (status || *upper <= (cost < CHEAP ? CLOSER : CLOSE) * estimate) return status;
  status = lip_conv_band_upper(c, w, g, estimate, schur(c, w, g), &other, err);
  if (!status && other < *upper) *upper = other;
  return status;
}

typedef lip_status group_bound(const lip_conv *c, const float *w, size_t g, double *upper, lip_err *err);

static lip_status norm_upper(const lip_conv *c, const float *w, lip_pq pq, group_bound *bound, double *upper,
                             lip_err *err) {
  *upper = lip_conv_abs_norm_upper(c, w, pq);
  if (pq.p != LIP_P2 || pq.q != LIP_P2 || isinf(*upper)) return LIP_OK;
  double most = 0;
  for (size_t g = 0; g < c->groups; g++) {
    double one;
    lip_status status = bound(c, w, g, &one, err);
    if (status) return status;
    most = fmax(most, one);
  }
  *upper = most;
  return LIP_OK;
}

lip_status lip_conv_norm_upper(const lip_conv *c, const float *w, lip_pq pq, double *upper, lip_err *err) {
  return norm_upper(c, w, pq, group_tight, upper, err);
}

lip_status lip_conv_norm_quick(const lip_conv *c, const float *w, lip_pq pq, double *upper, lip_err *err) {
  return norm_upper(c, w, pq, group_quick, upper, err);
}

/* ---- projections ---- */

static bool by_columns(lip_pq pq) {
  return pq.p == LIP_P1 && pq.q != LIP_PINF;
}

static bool is_spectral(lip_pq pq) {
  return pq.p == LIP_P2 && pq.q == LIP_P2;
}

static size_t gathered_rows(const lip_conv *c) {
  return c->C * c->y.phases * c->x.phases;
}

static size_t gathered_width(const lip_conv *c) {
  return c->OUTg * c->y.taps * c->x.taps;
}

/* Moves rows [r0, r1) of the gathered matrix out of the kernel or back into it. Places without a tap are zero. */
static void exchange_rows(const lip_conv *c, float *w, size_t r0, size_t r1, bool back) {
  const lip_axis y = lip_patches_y(&c->at), x = lip_patches_x(&c->at);
  const size_t down = lip_axis_lap(&y), right = lip_axis_lap(&x), width = gathered_width(c);
  for (size_t r = r0; r < r1; r++) {
    float *row = c->gathered + r * width;
    size_t channel = r / (c->y.phases * c->x.phases), a = r / c->x.phases % c->y.phases, b = r % c->x.phases;
    float *first = w + channel / c->Cg * c->OUTg * c->K + channel % c->Cg * y.kernel * x.kernel;
    for (size_t o = 0; o < c->OUTg; o++)
      for (size_t ky = a; ky < y.kernel; ky += down)
        for (size_t kx = b; kx < x.kernel; kx += right) {
          float *kernel = first + o * c->K + ky * x.kernel + kx;
          float *place = row + (o * c->y.taps + ky / down) * c->x.taps + kx / right;
          if (back)
            *kernel = *place;
          else
            *place = *kernel;
        }
  }
}

/* The budget less the rounding that the norms above add, so that what sits on the ball is within the budget. */
static double radius_of(const lip_conv *c, double budget) {
  double terms = (double)(by_columns(c->pq) ? gathered_width(c) : c->K);
  double root = is_spectral(c->pq) ? sqrt((double)c->overlap) : 1;
  return isinf(budget) ? budget : budget / root * (1 - (terms + 16) * 0x1p-50);
}

lip_status lip_conv_init(lip_conv *c, lip_pq pq, lip_project_method method, lip_err *err) {
  const lip_patches *g = &c->at;
  const lip_axis y = lip_patches_y(g), x = lip_patches_x(g);
  const size_t down = lip_axis_lap(&y), right = lip_axis_lap(&x);
  c->pq = pq;
  c->method = method;
  c->Cg = c->C / c->groups;
  c->OUTg = c->OUT / c->groups;
  c->K = c->Cg * y.kernel * x.kernel;
  find_sets(y, &c->out_y, &c->in_y);
  find_sets(x, &c->out_x, &c->in_x);
  c->overlap = largest_set(&c->in_y) * largest_set(&c->in_x);
  c->y.phases = down < y.kernel ? down : y.kernel;
  c->y.taps = (y.kernel + down - 1) / down;
  c->x.phases = right < x.kernel ? right : x.kernel;
  c->x.taps = (x.kernel + right - 1) / right;
  c->n_projector = is_spectral(pq) ? c->groups : 1;
  c->projector = lip_alloc(c->n_projector, sizeof(lip_projector *));
  if (by_columns(pq)) c->gathered = lip_alloc(gathered_rows(c), gathered_width(c) * sizeof(float));
  if (is_spectral(pq)) {
    c->power = lip_power_new_map(c->groups, c->OUTg * g->OH * g->OW, c->Cg * g->H * g->W);
    c->sigma = lip_alloc(c->groups, sizeof *c->sigma);
  }
  if (!c->projector || (by_columns(pq) && !c->gathered) || (is_spectral(pq) && !(c->power && c->sigma)))
    return lip_fail(err, LIP_MEMORY, "conv2d: no memory for the projection of %zu weights", c->OUT * c->K);
  size_t rows = is_spectral(pq) ? c->OUTg : c->OUT, width = c->K;
  if (by_columns(pq)) {
    rows = gathered_rows(c);
    width = gathered_width(c);
    pq = (lip_pq){lip_p_dual(pq.q), LIP_PINF}; /* columns have become rows */
  }
  for (size_t i = 0; i < c->n_projector; i++) {
    lip_status status = lip_projector_new(rows, width, pq, method, &c->projector[i], err);
    if (status) return status;
  }
  return LIP_OK;
}

void lip_conv_release(lip_conv *c) {
  for (size_t i = 0; c->projector && i < c->n_projector; i++) lip_projector_free(c->projector[i]);
  lip_free(c->projector);
  lip_free(c->gathered);
  lip_power_free(c->power);
  lip_free(c->sigma);
}

size_t lip_conv_project_units(const lip_conv *c) {
  return is_spectral(c->pq) ? 1 : lip_projector_units(c->projector[0]);
}

static void forward(const void *arg, const float *w, size_t b, const float *x, float *y, void *scratch) {
  lip_conv_map(arg, w, b, x, y, scratch);
}

static void back(const void *arg, const float *w, size_t b, const float *y, float *x, void *scratch) {
  lip_conv_map_back(arg, w, b, y, x, scratch);
}

/* Each group whose norm seems to be above the budget. */
static void scale_groups(lip_conv *c, float *w, double budget, void *scratch) {
  const size_t n = c->OUTg * c->K;
  const lip_power_map map = {n, forward, back, c};
  bool inside = true;
  fenv_t saved;
  lip_ieee_enter(&saved);
  for (size_t g = 0; g < c->groups && inside; g++) inside = schur(c, w, g) <= budget;
  if (!inside) {
    lip_power_norms(c->power, &map, w, c->sigma, scratch);
    for (size_t g = 0; g < c->groups; g++)
      if (c->sigma[g] > budget)
        lip_project_by(c->projector[g], w + g * n, budget / c->sigma[g], radius_of(c, budget), scratch);
  }
  lip_ieee_leave(&saved);
}

void lip_conv_project(lip_conv *c, float *w, double budget, size_t u0, size_t u1, void *scratch) {
  const double radius = radius_of(c, budget);
  if (isinf(budget)) return;
  if (is_spectral(c->pq)) {
    if (u0 < u1) scale_groups(c, w, budget, scratch);
  } else if (by_columns(c->pq)) {
    bool single = lip_projector_units(c->projector[0]) == gathered_rows(c);
    size_t r0 = single ? u0 : 0, r1 = single ? u1 : gathered_rows(c);
    exchange_rows(c, w, r0, r1, false);
    lip_project(c->projector[0], c->gathered, radius, u0, u1, scratch);
    exchange_rows(c, w, r0, r1, true);
  } else {
    lip_project(c->projector[0], w, radius, u0, u1, scratch);
  }
}

/* The bases of clips, if there are any, and the vectors of the estimate. */
bool lip_conv_warm(const lip_conv *c, size_t i, lip_warm *out) {
  const size_t n = is_spectral(c->pq) && c->method == LIP_RADIAL ? 0 : c->n_projector;
  if (i >= n + is_spectral(c->pq)) return false;
  *out = (lip_warm){.wide = false};
  if (i < n)
    *out = lip_projector_warm(c->projector[i]);
  else
    out->data = lip_power_warm(c->power, &out->n);
  return true;
}

/* 2->2 of one group: the nearer of the clipped and the scaled kernel. */
static lip_status project_group(lip_conv *c, float *w, size_t g, double budget, lip_err *err) {
  const size_t n = c->OUTg * c->K;
  float *own = w + g * n;
  double now, size = 0, way = 0;
  lip_status status = group_tight(c, w, g, &now, err);
  if (status || now <= budget) return status;
  float *clipped = lip_alloc(n, sizeof *clipped);
  if (!clipped) return lip_fail(err, LIP_MEMORY, "conv2d: no memory for the projection of %zu weights", n);
  memcpy(clipped, own, n * sizeof *own);
  status = lip_project_exact(c->projector[g], clipped, radius_of(c, budget), err);
  for (size_t i = 0; i < n; i++) {
    double step = (double)own[i] - (double)clipped[i];
    size += (double)own[i] * (double)own[i];
    way += step * step;
  }
  /* float32 rounding may leave the scaled kernel outside: then a little more, and in the end the clipped one */
  for (int i = 0; !status && !(now <= budget) && i < 3; i++) {
    double scale = budget / now * (1 - 0x1p-22);
    if (i == 0 && !((1 - scale) * (1 - scale) * size < way)) break;
    for (size_t k = 0; k < n; k++) own[k] = (float)((double)own[k] * scale);
    status = group_tight(c, w, g, &now, err);
  }
  if (!status && !(now <= budget)) memcpy(own, clipped, n * sizeof *own);
  lip_free(clipped);
  return status;
}

lip_status lip_conv_project_exact(lip_conv *c, float *w, double budget, lip_err *err) {
  const double radius = radius_of(c, budget);
  lip_status status = LIP_OK;
  if (isinf(budget)) return LIP_OK;
  if (is_spectral(c->pq)) {
    for (size_t g = 0; g < c->groups && !status; g++) status = project_group(c, w, g, budget, err);
  } else if (by_columns(c->pq)) {
    exchange_rows(c, w, 0, gathered_rows(c), false);
    status = lip_project_exact(c->projector[0], c->gathered, radius, err);
    if (!status) exchange_rows(c, w, 0, gathered_rows(c), true);
  } else {
    status = lip_project_exact(c->projector[0], w, radius, err);
  }
  return status;
}

/* Scales the gathered rows that are outside (every row, for on_ball) to the ball, inside by float32's rounding. */
static void scale_columns(lip_conv *c, float *w, bool all, double radius) {
  const size_t width = gathered_width(c);
  exchange_rows(c, w, 0, gathered_rows(c), false);
  for (size_t r = 0; r < gathered_rows(c); r++) {
    float *row = c->gathered + r * width;
    double norm = lip_norm_upper(row, width, c->pq.q);
    if (!(norm > radius || (all && norm > 0))) continue;
    double scale = radius / norm * (1 - 0x1p-22);
    for (size_t i = 0; i < width; i++) row[i] = (float)((double)row[i] * scale);
  }
  exchange_rows(c, w, 0, gathered_rows(c), true);
}

lip_status lip_conv_reset(lip_conv *c, float *w, lip_init init, double budget, lip_rng *rng, lip_err *err) {
  const double radius = radius_of(c, budget);
  if (by_columns(c->pq)) {
    lip_status status = lip_init_weights(w, c->OUT, c->K, init, c->pq, INFINITY, rng, err);
    if (!status && isfinite(budget)) scale_columns(c, w, init == LIP_INIT_ON_BALL, radius);
    return status;
  }
  for (size_t g = 0; g < c->n_projector; g++) {
    size_t rows = c->OUT / c->n_projector;
    lip_status status = lip_init_weights(w + g * rows * c->K, rows, c->K, init, c->pq, radius, rng, err);
    if (status) return status;
  }
  return LIP_OK;
}
