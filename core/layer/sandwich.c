/* sandwich: y = K sqrt(2) A' Psi phi(sqrt(2) Psi^-1 B x + b), A (n, n), B (n, m), AA' + BB' = I, Psi = diag(exp(log_psi)),
 * slopes of phi in [0, 1]; with activation "none" y = K B x + b (Wang, Manchester 2023, section 3). K is the layer's budget,
 * 1 without one. Trained: X (n, n) and below it Y (m, n) ("free"; normal at first, whatever `init`), log_psi (n), b. By the
 * Cayley transform
 *   Z = X - X' + Y'Y,  N = (I + Z)^-1,  A' = 2 N - I,  B = -2 N'Y'
 * where the symmetric part of I + Z is at least I, so that N exists for every X and Y.
 *
 *   with E = dB, F = dA':  dN = 2 F - 2 Y'E',  dZ = -N' dN N',  dX = dZ - dZ',  dY = Y (dZ + dZ') - 2 E'N'
 *   dlog_psi_i  <column i of A' Psi, its gradient> - <row i of Psi^-1 B, its gradient>
 *
 * What is stored is D = sqrt(2) Psi^-1 B and C = K sqrt(2) A' Psi, rounded (W = K B without phi). Constant 2 -> 2: for all C
 * and D, u, x of norm 1, slopes s in [0, 1] and P > 0 diagonal, with a = P^-1 C'u and b = P D x
 *   u'C diag(s) D x = sum s_i a_i b_i <= sum max(0, a_i b_i) <= |a + b|^2 / 4 <= ||[P^-1 C', P D]||^2 |(u, x)|^2 / 4
 * so that the constant is at most ||[P^-1 C', P D]||_2^2 / 2, which is K but for rounding at P = sqrt(K) Psi. Other norms:
 * the product of both norms. A projection scales C and D (W) by what is missing to K. */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/inner.h"
#include "core/norm/opnorm.h"
#include "core/norm/round.h"
#include "core/tensor/inverse.h"
#include "core/tensor/vec.h"

typedef struct conf {
  size_t out;
  int activation;
} conf;

static const lip_opt options[] = {
    {.name = "out",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(conf, out),
     .required = true,
     .low = 1,
     .high = 1 << 20,
     .help = "number of output features"},
    {.name = "activation",
     .type = LIP_OPT_ENUM,
     .offset = offsetof(conf, activation),
     .names = lip_inner_names,
     .help = "a function with slopes in [0, 1]; none: y = B x + b, for the last layer"},
    {.name = NULL},
};

enum { FREE, LOG_PSI };

static const double ROOT2 = 1.41421356237309504880;

/* n is l->n_out, m is l->n_in. */
static bool bent(const lip_layer *l) {
  return ((const conf *)l->conf)->activation != LIP_INNER_NONE;
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  const conf *o = spec->conf;
  l->state = lip_alloc(1, sizeof(lip_inner));
  if (!l->state) return lip_fail(err, LIP_MEMORY, "sandwich: out of memory");
  lip_status status = lip_inner_plan(l, o->out, o->activation, o->out, false, p, err);
  if (status) return status;
  l->out = (lip_shape){1, {o->out, 0, 0}};
  lip_layer_add_param(l, "free", 2, (size_t[]){o->out + l->in.dim[0], o->out}, true);
  if (bent(l)) lip_layer_add_param(l, "log_psi", 1, (size_t[]){o->out}, false);
  return LIP_OK;
}

/* Working memory: N and three more (n, n), psi (n), then what the inversion takes. */
static float *square(const lip_layer *l, size_t i) {
  return ((const lip_inner *)l->state)->room + i * l->n_out * l->n_out;
}

static float *psi(const lip_layer *l) {
  return square(l, 3);
}

static lip_status reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  const size_t n = l->n_out, m = l->n_in;
  lip_status status = lip_inner_take(l, 3 * n * n + (n + 15) / 16 * 16 + lip_inverse_work(n), err);
  if (status) return status;
  lip_rng_fill_normal(rng, l->param[FREE].value, (n + m) * n, 0, sqrtf(2 / (float)(2 * n + m)));
  return LIP_OK;
}

/* N into the first square. */
static void invert(const lip_layer *l, const lip_team *team) {
  const size_t n = l->n_out, m = l->n_in;
  const float *X = l->param[FREE].value, *Y = X + n * n;
  float *N = square(l, 0);
  lip_team_gram(team, LIP_T, n, m, 1, Y, n, 0, N, n);
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < n; j++) N[i * n + j] += X[i * n + j] - X[j * n + i];
    N[i * n + i] += 1;
  }
  lip_team_inverse(team, n, N, n, 0, psi(l) + (n + 15) / 16 * 16);
}

static void renew(lip_layer *l, const lip_team *team) {
  const size_t n = l->n_out, m = l->n_in;
  const float K = lip_budget_factor(l->budget), *Y = l->param[FREE].value + n * n, *N = square(l, 0);
  float *D = lip_inner_first(l)->param[0].value;
  invert(l, team);
  lip_team_gemm(team, LIP_T, LIP_T, n, m, n, -2 * (bent(l) ? (float)ROOT2 : K), N, n, Y, n, 0, D, m);
  if (!bent(l)) return;
  float *C = lip_inner_second(l)->param[0].value, *p = psi(l);
  for (size_t i = 0; i < n; i++) {
    p[i] = expf(l->param[LOG_PSI].value[i]);
    lip_vec_scale(D + i * m, 1 / p[i], m);
  }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      C[i * n + j] = K * (float)ROOT2 * p[j] * (2 * N[i * n + j] - (i == j ? 1.0f : 0.0f));
}

/* ---- gradients ---- */

/* dlog_psi; E = dB in place of the gradient of D, F = dA' in the third square. */
static void pull_scales(lip_layer *l, float accumulate) {
  const size_t n = l->n_out, m = l->n_in;
  const float K = lip_budget_factor(l->budget), *D = lip_inner_first(l)->param[0].value, *p = psi(l);
  const float *C = lip_inner_second(l)->param[0].value, *dC = lip_inner_second(l)->param[0].grad;
  float *E = lip_inner_first(l)->param[0].grad, *F = square(l, 2), *d = l->param[LOG_PSI].grad;
  if (accumulate == 0) memset(d, 0, n * sizeof *d);
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < n; j++) {
      d[j] += dC[i * n + j] * C[i * n + j];
      F[i * n + j] = K * (float)ROOT2 * p[j] * dC[i * n + j];
    }
  }
  for (size_t i = 0; i < n; i++) {
    d[i] -= (float)lip_vec_dot(E + i * m, D + i * m, m);
    lip_vec_scale(E + i * m, (float)ROOT2 / p[i], m);
  }
}

/* dX, and dZ + dZ' in place of dZ. */
static void pull_skew(const lip_layer *l, float *dZ, float *dX, float accumulate) {
  const size_t n = l->n_out;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j <= i; j++) {
      const float a = dZ[i * n + j], b = dZ[j * n + i];
      dX[i * n + j] = (accumulate != 0 ? dX[i * n + j] : 0) + (a - b);
      dX[j * n + i] = i == j ? dX[i * n + i] : (accumulate != 0 ? dX[j * n + i] : 0) + (b - a);
      dZ[i * n + j] = dZ[j * n + i] = a + b;
    }
}

static void pull(lip_layer *l, const lip_team *team, float accumulate) {
  const size_t n = l->n_out, m = l->n_in;
  const float *Y = l->param[FREE].value + n * n, *N = square(l, 0);
  float *E = lip_inner_first(l)->param[0].grad, *dX = l->param[FREE].grad, *dY = dX + n * n;
  float *dN = square(l, 1), *other = square(l, 2); /* which holds F at first */
  if (bent(l))
    pull_scales(l, accumulate);
  else
    lip_vec_scale(E, lip_budget_factor(l->budget), n * m);
  if (bent(l))
    for (size_t i = 0; i < n * n; i++) dN[i] = 2 * other[i];
  lip_team_gemm(team, LIP_T, LIP_T, n, n, m, -2, Y, n, E, m, bent(l) ? 1 : 0, dN, n);
  lip_team_gemm(team, LIP_T, LIP_N, n, n, n, -1, N, n, dN, n, 0, other, n);
  lip_team_gemm(team, LIP_N, LIP_T, n, n, n, 1, other, n, N, n, 0, dN, n); /* dZ */
  pull_skew(l, dN, dX, accumulate);
  lip_team_gemm(team, LIP_T, LIP_T, m, n, n, -2, E, m, N, n, accumulate, dY, n);
  lip_team_gemm(team, LIP_N, LIP_N, m, n, n, 1, Y, n, dN, n, 1, dY, n);
  memset(E, 0, n * m * sizeof *E);
  if (bent(l)) memset(lip_inner_second(l)->param[0].grad, 0, n * n * sizeof(float));
}

/* ---- constants ---- */

/* P of unit i: any positive number will do. */
static double weight_of(const lip_layer *l, size_t i) {
  const double p = exp((double)l->param[LOG_PSI].value[i]) * sqrt(isfinite(l->budget) ? l->budget : 1);
  return p >= 0x1p-60 && p <= 0x1p60 ? p : 1;
}

/* [P^-1 C', P D] (n, n + m), rounded. */
static void scaled_rows(const lip_layer *l, float *S) {
  const size_t n = l->n_out, m = l->n_in;
  const float *D = lip_inner_first(l)->param[0].value, *C = lip_inner_second(l)->param[0].value;
  for (size_t i = 0; i < n; i++) {
    const double p = weight_of(l, i);
    float *row = S + i * (n + m);
    for (size_t j = 0; j < n; j++) row[j] = (float)((double)C[j * n + i] / p);
    for (size_t j = 0; j < m; j++) row[n + j] = (float)((double)D[i * m + j] * p);
  }
}

/* ||[P^-1 C', P D]||_2^2 / 2. Entries of S are rounded to double and to float32: each is off by less than
 * 2^-24 (1 + 2^-20) of itself and the smallest float32 number, and so is the norm by less than that of all. */
static lip_status sandwich_bound(const lip_layer *l, double *upper, lip_err *err) {
  const size_t n = l->n_out, all = n * (n + l->n_in);
  double s = INFINITY;
  float *S = lip_alloc(all, sizeof *S);
  if (!S) return lip_fail(err, LIP_MEMORY, "sandwich: no memory for %zu numbers", all);
  scaled_rows(l, S);
  lip_status status = lip_opnorm_upper(S, n, n + l->n_in, (lip_pq){LIP_P2, LIP_P2}, &s, err);
  const double off = lip_norm_upper(S, all, LIP_P2) * 0x1p-24 * (1 + 0x1p-18) + 0x1p-140 * (double)all;
  lip_free(S);
  s = lip_add_up(s, lip_up(off));
  *upper = lip_mul_up(s, s) / 2;
  return status;
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  double other = INFINITY;
  *upper = INFINITY;
  if (!lip_pq_tractable(pq)) return LIP_OK;
  lip_status status = LIP_OK;
  const bool euclidean = pq.p == LIP_P2 && pq.q >= LIP_P2 && bent(l);
  if (euclidean) status = sandwich_bound(l, upper, err);
  if (!(*upper >= 0)) *upper = INFINITY;
  const double K = isfinite(l->budget) ? l->budget : 1;
  if (status || *upper <= K * (1 + 1e-3)) return status;
  status = lip_inner_bound(l, pq, &other, err);
  if (other < *upper) *upper = other;
  return status;
}

static lip_status set_budget(lip_layer *l, double budget, lip_err *err) {
  (void)l, (void)budget, (void)err; /* nothing inside has one */
  return LIP_OK;
}

static void scale_weights(lip_layer *dense, double by) {
  float *W = dense->param[0].value;
  for (size_t i = 0; i < lip_param_size(&dense->param[0]); i++) W[i] = (float)((double)W[i] * by);
}

static bool is_finite(const lip_layer *dense) {
  return lip_vec_all_finite(dense->param[0].value, lip_param_size(&dense->param[0]));
}

/* C and D alike, so that the same P serves. */
static lip_status project_exact(lip_layer *l, lip_err *err) {
  lip_layer *first = lip_inner_first(l), *second = lip_inner_second(l);
  double upper, margin = 0x1p-23;
  if (!isfinite(l->budget)) return LIP_OK;
  if (!is_finite(first) || (second && !is_finite(second)))
    return lip_fail(err, LIP_NOT_FINITE, "sandwich: a weight is NaN or infinite: not projected");
  lip_status status = lip_layer_bound(l, l->pq, &upper, err);
  while (!status && upper > l->budget) {
    const double by = lip_shrink(upper, l->budget, &margin);
    scale_weights(first, second ? sqrt(by) : by);
    if (second) scale_weights(second, sqrt(by));
    status = lip_layer_bound(l, l->pq, &upper, err);
  }
  return status;
}

/* K^2 |x|^2 - |C v|^2 - sum lambda v (z - v) with lambda = 2 (K Psi)^2 is |K x - sqrt(2) K B' Psi v|^2 >= 0. */
static double multipliers(const lip_layer *l, double *lambda) {
  const double K = isfinite(l->budget) ? l->budget : 1;
  for (size_t i = 0; bent(l) && i < l->n_out; i++) {
    const double p = K * exp((double)l->param[LOG_PSI].value[i]);
    lambda[i] = 2 * p * p;
  }
  return K;
}

const lip_layer_kind lip_layer_sandwich = {
    .desc = {"sandwich", "C relu(D x + b) of constant 1 (norm 2): sandwich{out = 64}", options, sizeof(conf)},
    .flags = LIP_LAYER_WEIGHTED,
    .plan = plan,
    .release = lip_inner_release,
    .reset = reset,
    .bind = lip_inner_bind,
    .forward = lip_chain_forward,
    .backward = lip_chain_backward,
    .renew = renew,
    .pull = pull,
    .project_exact = project_exact,
    .set_budget = set_budget,
    .bound = bound,
    .form = lip_inner_form,
    .multipliers = multipliers,
    .emit = lip_inner_emit,
    .deviate = lip_inner_deviate,
};
