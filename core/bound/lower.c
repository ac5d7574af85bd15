/* A lower bound of the Lipschitz constant that is attained: the slope of the net at points that a search has found
 * (ascend.h, attain.h) where the net has the form of affine.h; otherwise, for float32 points a, b and executed logits z~,
 *   ||f(a) - f(b)||_q / ||a - b||_p >= (||z~(a) - z~(b)||_q - off(a) - off(b)) / ||a - b||_p,
 * off the rounding error of a forward pass (walk.h), all rounded downwards. How the points are found does not matter
 * for that: rows of x against each other, and steps of several lengths t around every row by the power method for
 * mixed norms (Boyd 1974), b = x + t argmax_{||v||_p = 1} <J(b)' u, v>, u the dual vector of z~(b) - z~(x). */
#include <math.h>
#include <string.h>

#include "core/affine/affine.h"
#include "core/affine/walk.h"
#include "core/base/mem.h"
#include "core/bound/ascend.h"
#include "core/bound/bound.h"
#include "core/bound/slope.h"
#include "core/norm/round.h"

enum { ROWS = 64, ITERATIONS = 5, SCALES = 5 };

typedef struct search {
  lip_net *net;
  lip_walk walk;
  lip_centre centre;
  lip_p p, q;
  size_t n_in, C;
  float *to;       /* (ROWS, n_in) the second points */
  float *z;        /* (ROWS, C) logits of the first points */
  float *u;        /* (ROWS, C) */
  double *off;     /* (ROWS) error of z */
  double *numbers; /* of the centre */
  double best;
  double *pair; /* (C, C) or NULL: not asked for */
} search;

/* ||a - b||_p of float32 data, moved by the rounding of n operations downwards (or upwards). */
static double gap(const float *a, const float *b, size_t n, lip_p p, bool upwards) {
  double sum = 0;
  for (size_t k = 0; k < n; k++) {
    double d = fabs((double)a[k] - (double)b[k]);
    if (!(d < INFINITY)) return upwards ? (double)INFINITY : 0;
    if (p == LIP_PINF)
      sum = d > sum ? d : sum;
    else
      sum += p == LIP_P2 ? d * d : d;
  }
  double slip = ((double)n + 16) * 0x1p-52, v = p == LIP_P2 ? sqrt(sum) : sum;
  return upwards ? lip_up_mul(v, 1 + slip) : v * (1 - slip);
}

static void try_pair(search *s, const float *a, const float *za, double offa, const float *b, const float *zb,
                     double offb) {
  double length = gap(a, b, s->n_in, s->p, true), rise = gap(za, zb, s->C, s->q, false);
  double sure = lip_down_sub(lip_down_sub(rise, offa), offb);
  if (!(length > 0) || !(length < INFINITY)) return;
  if (sure > 0) s->best = fmax(s->best, lip_below_div(sure, length));
  double off = lip_up_mul(lip_up_add(offa, offb), lip_unit_difference(s->q));
  for (size_t i = 0; s->pair && i < s->C; i++)
    for (size_t j = 0; j < i; j++) {
      double d =
          fabs(((double)za[i] - (double)zb[i]) - ((double)za[j] - (double)zb[j])); /* two roundings more */
      double size = fabs((double)za[i]) + fabs((double)zb[i]) + fabs((double)za[j]) + fabs((double)zb[j]);
      sure = lip_down_sub(lip_down_sub(d, off), 0x1p-50 * size);
      double *best = &s->pair[i * s->C + j];
      if (sure > 0 && sure < INFINITY && lip_below_div(sure, length) > *best)
        *best = s->pair[j * s->C + i] = lip_below_div(sure, length);
    }
}

/* ---- directions ---- */

/* v with ||v||_p = 1 and <g, v> = ||g||_{p*}: the dual vector of g in the dual norm. */
static void step_from(float *to, const float *x, const float *g, size_t n, lip_p p, double t) {
  lip_dual_vector(to, g, n, lip_p_dual(p));
  for (size_t k = 0; k < n; k++) to[k] = (float)((double)x[k] + t * (double)to[k]);
}

/* A cancelled pass leaves rows as an earlier one filled them: nothing may be read from it. */
static lip_status whole(const search *s, lip_err *err) {
  return lip_cancel_raised(s->net->engine.cancel) ? lip_fail(err, LIP_CANCELLED, "bound: cancelled") : LIP_OK;
}

static lip_status run(search *s, const float *x, size_t B, lip_err *err) {
  lip_net_forward(s->net, x, B, false);
  return whole(s, err);
}

static void take_dual(void *arg, const lip_worker *me, size_t r0, size_t r1) {
  (void)me;
  const search *s = arg;
  memcpy(s->net->dlogits + r0 * s->C, s->u + r0 * s->C, (r1 - r0) * s->C * sizeof(float));
}

static double error_of_row(search *s, const float *x, size_t r) {
  lip_walk_centre(&s->walk, x, r, &s->centre);
  return s->centre.off[s->walk.n];
}

/* ---- the search ---- */

static void pairs_of_rows(search *s, const float *x, size_t B) {
  for (size_t i = 0; i + 1 < B; i++)
    for (size_t j = i + 1; j < B; j++)
      try_pair(s, x + i * s->n_in, s->z + i * s->C, s->off[i], x + j * s->n_in, s->z + j * s->C, s->off[j]);
}

/* One step of the power method for all rows: b from the gradient at b, u from the logits at b. */
static lip_status power_step(search *s, const float *x, size_t B, double scale, bool first, lip_err *err) {
  size_t n = s->n_in, C = s->C;
  const lip_probe probe = {.stream = {.use = take_dual, .arg = s}}; /* outside training, as the net is used */
  lip_net_probe(s->net, first ? x : s->to, B, &probe);
  lip_status status = whole(s, err);
  if (status) return status;
  for (size_t r = 0; r < B; r++) {
    double t = scale * fmax(lip_norm(x + r * n, n, s->p), 0x1p-10);
    step_from(s->to + r * n, x + r * n, s->net->dinput + r * n, n, s->p, t);
  }
  status = run(s, s->to, B, err);
  if (status) return status;
  for (size_t r = 0; r < B; r++) {
    const float *zb = s->net->logits + r * C, *za = s->z + r * C;
    try_pair(s, x + r * n, za, s->off[r], s->to + r * n, zb, error_of_row(s, s->to, r));
    float *u = s->u + r * C;
    bool moved = false;
    for (size_t k = 0; k < C; k++) {
      u[k] = zb[k] - za[k];
      moved = moved || u[k] != 0;
      if (!isfinite(u[k])) u[k] = 0;
    }
    if (!moved) u[r % C] = 1; /* nothing to follow: look at another output */
    lip_dual_vector(u, u, C, s->q);
  }
  return LIP_OK;
}

static lip_status search_rows(search *s, const float *x, size_t B, lip_err *err) {
  static const double scale[SCALES] = {1, 0.25, 0x1p-4, 0x1p-6, 0x1p-8};
  lip_status status = run(s, x, B, err);
  if (status) return status;
  memcpy(s->z, s->net->logits, B * s->C * sizeof *s->z);
  for (size_t r = 0; r < B; r++) s->off[r] = error_of_row(s, x, r);
  pairs_of_rows(s, x, B);
  for (size_t k = 0; k < SCALES; k++) {
    memset(s->u, 0, B * s->C * sizeof *s->u);
    for (size_t r = 0; r < B; r++) s->u[r * s->C + (r + k) % s->C] = 1;
    for (int i = 0; i < ITERATIONS; i++) {
      status = power_step(s, x, B, scale[k], i == 0, err);
      if (status) return status;
    }
  }
  return LIP_OK;
}

static lip_status search_init(search *s, size_t rows, lip_err *err) {
  size_t places = s->walk.n + 1;
  s->to = lip_alloc(rows * s->n_in, sizeof *s->to);
  s->z = lip_alloc(rows * s->C, sizeof *s->z);
  s->u = lip_alloc(rows * s->C, sizeof *s->u);
  s->off = lip_alloc(rows, sizeof *s->off);
  s->numbers = lip_alloc(2 * places, sizeof *s->numbers);
  if (!s->to || !s->z || !s->u || !s->off || !s->numbers)
    return lip_fail(err, LIP_MEMORY, "out of memory for a lower bound");
  s->centre.size = s->numbers;
  s->centre.off = s->numbers + places;
  return LIP_OK;
}

static void search_free(search *s) {
  lip_walk_free(&s->walk);
  lip_free(s->to);
  lip_free(s->z);
  lip_free(s->u);
  lip_free(s->off);
  lip_free(s->numbers);
}

/* Executed quotients: for nets that have no other form. */
static lip_status from_quotients(lip_net *net, const lip_path *path, const float *x, size_t B, double *lower,
                                 double *pair, lip_err *err) {
  search s = {.net = net, .n_in = net->root->n_in, .C = net->root->n_out, .pair = pair};
  size_t rows = B < ROWS ? B : ROWS;
  fenv_t saved;
  s.p = lip_path_at(path, 0);
  s.q = lip_path_at(path, lip_net_weighted(net));
  lip_ieee_enter(&saved);
  lip_status status = lip_net_reserve(net, rows, err);
  if (!status) status = lip_walk_init(&s.walk, net, path, err);
  if (!status) status = search_init(&s, rows, err);
  for (size_t r = 0; !status && r < B; r += rows)
    status = search_rows(&s, x + r * s.n_in, B - r < rows ? B - r : rows, err);
  if (s.best > *lower) *lower = s.best;
  search_free(&s);
  lip_ieee_leave(&saved);
  if (net->lent) lip_net_touch(net);
  return status;
}

lip_status lip_bound_lower(lip_net *net, const lip_path *path, const float *x, size_t B, double *lower,
                           double *pair, lip_err *err) {
  const double work = 2e10; /* about a second */
  lip_affine a;
  *lower = 0;
  for (size_t i = 0; pair && i < net->root->n_out * net->root->n_out; i++) pair[i] = 0;
  if (B == 0) return LIP_OK;
  if (!path) path = &net->conf.path;
  lip_net_touch(
      net); /* what runs is what is bounded, even if somebody wrote to the weights and did not say so */
  lip_status status = lip_affine_init(&a, net, err);
  if (!status && a.n > 0) {
    lip_ascent how = {.a = &a,
                      .p = lip_path_at(path, 0),
                      .q = lip_path_at(path, lip_net_weighted(net)),
                      .x = x,
                      .B = B,
                      .work = work,
                      .pool = net->engine.pool,
                      .cancel = net->engine.cancel};
    status = lip_ascend(&how, lower, pair, err);
  } else if (!status) {
    status = from_quotients(net, path, x, B, lower, pair, err);
  }
  lip_affine_free(&a);
  return status;
}
