/* sll: y = x - 2 W T^-1 relu(W'x + b), W (n, h), T_i = sum_j |W'W|_ij q_j / q_i, q = exp(log_q) (Araujo, Havens, Delattre,
 * Allauzen, Hu 2023, theorem 3), as y = x - 2 A' relu(A x + b) with A = T^-1/2 W' (potential.h; b is theirs times T^-1/2).
 * Trained: V = W' ("free", (h, n)), log_q (h), b.
 *
 *   ||A||_2 <= 1  T - W'W is q^-1 times a matrix that dominates its diagonal, times q, hence positive semi-definite
 *   dV      rows r_i = T_i^-1/2 of dA, and with t_i = -T_i^-3/2 <dA_i, V_i> / 2, S_ij = t_i q_j / q_i sgn (VV')_ij
 *           also (S + S') V
 *   dlog_q  sum_i t_i |VV'|_ij q_j / q_i - t_j T_j
 *   constant  as in potential.h: of the stored A, however T was computed. 1 after a projection
 * A row of V that is 0 has T_i = 0: that row of A is 0, and stays. So it is where T_i is no number that float32 holds.
 * Nothing is added to T. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/layer/init.h"
#include "core/layer/potential.h"
#include "core/tensor/vec.h"

static const lip_opt options[] = {LIP_POTENTIAL_OPTIONS, {.name = NULL}};

enum { FREE, LOG_Q };

static const lip_potential *of(const lip_layer *l) {
  return l->state;
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)spec;
  lip_status status = lip_potential_plan(l, sizeof(lip_potential), p, err);
  if (status) return status;
  lip_layer_add_param(l, "free", 2, (size_t[]){of(l)->h, of(l)->n}, true);
  lip_layer_add_param(l, "log_q", 1, (size_t[]){of(l)->h}, false);
  return LIP_OK;
}

/* Working memory: q (h) and the gradients of T over q (h) in double; VV' (h, h), T, T^-1/2 and the
 * gradient of T (h) each, then S + S' (h, h). */
static double *weights(const lip_layer *l) {
  return (double *)(void *)of(l)->inner.room;
}

static float *gram(const lip_layer *l) {
  return of(l)->inner.room + (4 * of(l)->h + 15) / 16 * 16;
}

static float *vector(const lip_layer *l, size_t i) {
  return gram(l) + of(l)->h * (of(l)->h + i);
}

static float *symmetric(const lip_layer *l) {
  return vector(l, 3);
}

static lip_status reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  const size_t h = of(l)->h, n = of(l)->n;
  lip_status status = lip_inner_take(l, (4 * h + 15) / 16 * 16 + h * (2 * h + 3), err);
  if (status) return status;
  return lip_init_weights(l->param[FREE].value, h, n, l->plan->init, (lip_pq){LIP_P2, LIP_P2}, INFINITY, rng,
                          err);
}

/* q but for a factor, which A does not depend on: the largest is 1. */
static void make_weights(const lip_layer *l) {
  const float *log_q = l->param[LOG_Q].value;
  double *q = weights(l), top = -INFINITY;
  for (size_t i = 0; i < of(l)->h; i++) top = fmax(top, (double)log_q[i]);
  for (size_t i = 0; i < of(l)->h; i++) q[i] = exp((double)log_q[i] - top);
}

/* sum_j |g_j| q_j, in lanes: a fixed order. */
LIP_HOT static double weighted_sum(const float *g, const double *q, size_t n) {
  double lane[8] = {0}, sum = 0;
  size_t j = 0;
  for (; j + 8 <= n; j += 8)
    for (size_t k = 0; k < 8; k++) lane[k] += (double)fabsf(g[j + k]) * q[j + k];
  for (; j < n; j++) sum += (double)fabsf(g[j]) * q[j];
  for (size_t k = 0; k < 8; k++) sum += lane[k];
  return sum;
}

/* to = from root; root 0: 0. */
LIP_HOT static void scaled(float *restrict to, const float *restrict from, float root, size_t n) {
  if (root == 0)
    memset(to, 0, n * sizeof *to);
  else
    for (size_t k = 0; k < n; k++) to[k] = root * from[k];
}

static void renew(lip_layer *l, const lip_team *team) {
  const size_t h = of(l)->h, n = of(l)->n;
  const float *V = l->param[FREE].value;
  const double *q = weights(l);
  float *G = gram(l), *T = vector(l, 0), *root = vector(l, 1), *A = lip_potential_matrix(l);
  make_weights(l);
  lip_team_gram(team, LIP_N, h, n, 1, V, n, 0, G, h);
  for (size_t i = 0; i < h; i++) {
    const double sum = weighted_sum(G + i * h, q, h);
    T[i] = sum == 0 ? 0 : (float)(sum / q[i]);
    root[i] = T[i] == 0 || isinf(T[i]) ? 0 : (float)sqrt(q[i] / sum); /* NaN stays visible */
    scaled(A + i * n, V + i * n, root[i], n);
  }
  lip_potential_store(l);
}

/* One row of S + S' as far as the diagonal, and of what q gets: both ways, which differ in sign. Returns its sum. */
LIP_HOT static double pull_row(float *restrict S, float *restrict dlog_q, const float *restrict g,
                               const double *restrict q, const double *restrict out, size_t i) {
  const double out_i = out[i], q_i = q[i];
  double sum = 0;
  for (size_t j = 0; j < i; j++) {
    const double s = out_i * q[j], r = out[j] * q_i;
    const float both = (float)(s + r);
    S[j] = g[j] > 0 ? both : g[j] < 0 ? -both : 0 * g[j];
    dlog_q[j] += (float)((double)fabsf(g[j]) * (s - r));
  }
  for (size_t j = 0; j < i; j++) sum += (double)fabsf(g[j]) * (out_i * q[j] - out[j] * q_i);
  return sum;
}

/* S + S', t (h) given; dlog_q. Where a row of A is 0 its t is 0, and q may be too. */
static void pull_sums(const lip_layer *l, float *dlog_q) {
  const size_t h = of(l)->h;
  const float *t = vector(l, 2);
  double *q = weights(l), *out = q + h;
  float *S = symmetric(l);
  for (size_t i = 0; i < h; i++) {
    out[i] = t[i] == 0 ? 0 : (double)t[i] / q[i];
    dlog_q[i] -= (float)pull_row(S + i * h, dlog_q, gram(l) + i * h, q, out, i);
    S[i * h + i] = 2 * t[i];
  }
  for (size_t i = 0; i < h; i++)
    for (size_t j = 0; j < i; j++) S[j * h + i] = S[i * h + j];
}

static void pull(lip_layer *l, const lip_team *team, float accumulate) {
  const size_t h = of(l)->h, n = of(l)->n;
  const float *V = l->param[FREE].value, *T = vector(l, 0), *root = vector(l, 1);
  float *t = vector(l, 2), *dA = lip_potential_gradient(l), *dV = l->param[FREE].grad,
        *dlog_q = l->param[LOG_Q].grad;
  lip_potential_gather(l);
  if (accumulate == 0) memset(dlog_q, 0, h * sizeof *dlog_q);
  for (size_t i = 0; i < h; i++) {
    const float *row = dA + i * n;
    t[i] = root[i] == 0 ? 0 : (float)(-0.5 * lip_vec_dot(row, V + i * n, n) * (double)root[i] / (double)T[i]);
    if (accumulate == 0)
      scaled(dV + i * n, row, root[i], n);
    else if (root[i] != 0)
      lip_vec_axpy(dV + i * n, root[i], row, n);
  }
  pull_sums(l, dlog_q);
  lip_team_gemm(team, LIP_N, LIP_N, h, n, h, 1, symmetric(l), h, V, n, 1, dV, n);
  lip_potential_clear(l);
}

const lip_layer_kind lip_layer_sll = {
    .desc = {"sll", "x - 2 W T^-1 relu(W'x + b), T made of W: of constant 1 (norm 2)", options,
             sizeof(lip_potential_conf)},
    .plan = plan,
    .reset = reset,
    .renew = renew,
    .pull = pull,
    LIP_POTENTIAL_KIND,
};
