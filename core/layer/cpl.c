/* cpl: y = x - (2 / c) W' relu(W x + b), W (h, n), c >= ||W||_2^2 (Meunier, Delattre, Araujo, Allauzen 2022), as
 * y = x - 2 A' relu(A x + b) with A = W / sqrt(c) (potential.h; b is theirs divided by sqrt(c)). Trained: W ("free"), b.
 *
 *   c       ||G^m||_F^(1/m), m = 16, for the smaller G of WW' and W'W: at least the largest eigenvalue, and at most
 *           rank^(1/32) times that (the Gram iteration of Delattre et al. 2023). By squares N_0 = G, P_i = N_i / f_i,
 *           f_i = ||N_i||_F, N_i+1 = P_i^2:  c = prod f_i^(2^-i)
 *   dc/dG   c R / <R, G>, R = P_0 P_1 ... P_4, which is G^31 but for its size
 *   dW      dA / sqrt(c) - c^-3/2 <dA, W> (dc/dG) W, or W (dc/dG)
 *   constant  as in potential.h: of the stored A, however c was computed. 1 after a projection
 * W = 0 has c = 0: A is 0, and stays; so it is where c is no number that float32 holds. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/layer/init.h"
#include "core/layer/potential.h"
#include "core/tensor/vec.h"

static const lip_opt options[] = {LIP_POTENTIAL_OPTIONS, {.name = NULL}};

enum { FREE, SQUARES = 4 };

typedef struct state {
  lip_potential potential;
  float root;     /* 1 / sqrt(c), 0 where there is none */
  double largest; /* f_0 */
} state;

static const state *of(const lip_layer *l) {
  return l->state;
}

static size_t side(const lip_layer *l) {
  const lip_potential *m = &of(l)->potential;
  return m->h < m->n ? m->h : m->n;
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)spec;
  lip_status status = lip_potential_plan(l, sizeof(state), p, err);
  if (status) return status;
  lip_layer_add_param(l, "free", 2, (size_t[]){of(l)->potential.h, of(l)->potential.n}, true);
  return LIP_OK;
}

/* Working memory: P_0 ... P_4, two more, all (side, side). */
static float *square(const lip_layer *l, size_t i) {
  return of(l)->potential.inner.room + i * side(l) * side(l);
}

static lip_status reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  const lip_potential *m = &of(l)->potential;
  lip_status status = lip_inner_take(l, (SQUARES + 3) * side(l) * side(l), err);
  if (status) return status;
  return lip_init_weights(l->param[FREE].value, m->h, m->n, l->plan->init, (lip_pq){LIP_P2, LIP_P2}, INFINITY,
                          rng, err);
}

/* Divides by the Frobenius norm and returns it. */
static double normalised(float *P, size_t n) {
  const double f = sqrt(lip_vec_square_sum(P, n));
  if (f > 0) lip_vec_scale(P, (float)(1 / f), n);
  return f;
}

static void renew(lip_layer *l, const lip_team *team) {
  const size_t h = of(l)->potential.h, n = of(l)->potential.n, k = side(l), size = k * k;
  const float *W = l->param[FREE].value;
  float *A = lip_potential_matrix(l);
  lip_team_gram(team, h <= n ? LIP_N : LIP_T, k, h <= n ? n : h, 1, W, n, 0, square(l, 0), k);
  state *s = l->state;
  s->largest = normalised(square(l, 0), size);
  double logs = log(s->largest), share = 1;
  for (size_t i = 1; i <= SQUARES; i++) {
    lip_team_symmetric(team, LIP_N, LIP_N, k, k, 1, square(l, i - 1), k, square(l, i - 1), k, 0, square(l, i),
                       k);
    share /= 2;
    logs += share * log(normalised(square(l, i), size));
  }
  const float root = (float)exp(-0.5 * logs);
  s->root = isinf(root) ? 0 : root; /* NaN stays visible */
  for (size_t i = 0; i < h * n; i++) A[i] = s->root == 0 ? 0 : root * W[i];
  lip_potential_store(l);
}

/* R, up to its size; one of the two last rooms. */
static const float *odd_power(const lip_layer *l, const lip_team *team) {
  const size_t k = side(l);
  const float *R = square(l, 0);
  for (size_t i = 1; i <= SQUARES; i++) {
    float *to = square(l, SQUARES + 1 + i % 2);
    lip_team_symmetric(team, LIP_N, LIP_N, k, k, 1, R, k, square(l, i), k, 0, to, k);
    normalised(to, k * k);
    R = to;
  }
  return R;
}

static void pull(lip_layer *l, const lip_team *team, float accumulate) {
  const size_t h = of(l)->potential.h, n = of(l)->potential.n, k = side(l);
  const float root = of(l)->root, *W = l->param[FREE].value;
  float *dA = lip_potential_gradient(l), *dW = l->param[FREE].grad;
  lip_potential_gather(l);
  if (accumulate == 0) memset(dW, 0, h * n * sizeof *dW);
  if (root != 0) {
    /* 2 (dL/dc) dc/dG with dL/dc = -<dA, W> / (2 c sqrt(c)) and dc/dG = (c / f_0) R / <R, P_0> */
    const float *R = odd_power(l, team);
    const double inner = lip_vec_dot(R, square(l, 0), k * k), along = lip_vec_dot(dA, W, h * n);
    const double size = of(l)->largest, factor = -along * (double)root / (size * inner);
    lip_vec_axpy(dW, root, dA, h * n);
    if (h <= n)
      lip_team_gemm(team, LIP_N, LIP_N, h, n, h, (float)factor, R, h, W, n, 1, dW, n);
    else
      lip_team_gemm(team, LIP_N, LIP_N, h, n, n, (float)factor, W, n, R, n, 1, dW, n);
  }
  lip_potential_clear(l);
}

const lip_layer_kind lip_layer_cpl = {
    .desc = {"cpl", "x - (2 / c) W' relu(W x + b), c >= ||W||^2: of constant 1 (norm 2)", options,
             sizeof(lip_potential_conf)},
    .plan = plan,
    .reset = reset,
    .renew = renew,
    .pull = pull,
    LIP_POTENTIAL_KIND,
};
