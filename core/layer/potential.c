#include "core/layer/potential.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/norm/opnorm.h"
#include "core/norm/round.h"
#include "core/tensor/vec.h"

const char *const lip_potential_names[] = {"relu", "tanh", "sigmoid", "softplus", NULL};

static const lip_potential *of(const lip_layer *l) {
  return l->state;
}

static bool is_euclidean(lip_pq pq) {
  return pq.p == LIP_P2 && pq.q >= LIP_P2;
}

lip_status lip_potential_plan(lip_layer *l, size_t size, lip_plan *plan, lip_err *err) {
  const lip_potential_conf *conf = l->conf;
  if (plan->bounded && !is_euclidean(l->pq))
    return lip_fail(
        err, LIP_UNSUPPORTED,
        "%s: has the constant 1 from norm 2 only, and nothing limits it from others; this step is %s: "
        "that suits a net in norm 2, or one of budget math.huge",
        l->kind->desc.name, lip_pq_name(l->pq));
  lip_potential *m = l->state = lip_alloc(1, size);
  if (!m) return lip_fail(err, LIP_MEMORY, "%s: out of memory", l->kind->desc.name);
  m->n = l->n_in;
  m->h = conf->hidden > 0 ? conf->hidden : l->n_in;
  lip_status status = lip_inner_plan(l, m->h, conf->activation, m->n, true, plan, err);
  l->out = l->in;
  return status;
}

float *lip_potential_matrix(const lip_layer *l) {
  return lip_inner_first(l)->param[0].value;
}

float *lip_potential_gradient(const lip_layer *l) {
  return lip_inner_first(l)->param[0].grad;
}

/* ---- the second matrix ---- */

enum { TILE = 16 };

/* to (N, M) = beta to + factor A', A (M, N). */
static void transposed(float *to, float beta, float factor, const float *A, size_t M, size_t N) {
  for (size_t i0 = 0; i0 < M; i0 += TILE)
    for (size_t j0 = 0; j0 < N; j0 += TILE)
      for (size_t j = j0; j < N && j < j0 + TILE; j++)
        for (size_t i = i0; i < M && i < i0 + TILE; i++) {
          float *at = to + j * M + i;
          *at = (beta != 0 ? beta * *at : 0) + factor * A[i * N + j];
        }
}

void lip_potential_store(const lip_layer *l) {
  transposed(lip_inner_second(l)->param[0].value, 0, -2, lip_potential_matrix(l), of(l)->h, of(l)->n);
}

void lip_potential_gather(const lip_layer *l) {
  transposed(lip_potential_gradient(l), 1, -2, lip_inner_second(l)->param[0].grad, of(l)->n, of(l)->h);
}

void lip_potential_clear(const lip_layer *l) {
  const size_t bytes = of(l)->h * of(l)->n * sizeof(float);
  memset(lip_potential_gradient(l), 0, bytes);
  memset(lip_inner_second(l)->param[0].grad, 0, bytes);
}

/* ---- constants ---- */

/* Whether what is stored is -2 A' to the bit, and a number; a script may have changed either. */
static bool is_symmetric(const lip_layer *l) {
  const size_t h = of(l)->h, n = of(l)->n;
  const float *A = lip_potential_matrix(l), *C = lip_inner_second(l)->param[0].value;
  for (size_t i = 0; i < h; i++)
    for (size_t j = 0; j < n; j++)
      if (C[j * h + i] != -2 * A[i * n + j] || isinf(C[j * h + i])) return false;
  return true;
}

/* max(1, 2 s^2 - 1), rounded up. */
static double of_norm(double s) {
  return s <= 1 ? 1 : lip_up(2 * lip_mul_up(s, s) - 1);
}

static lip_status norm_of(const lip_layer *l, double *s, lip_err *err) {
  return lip_opnorm_upper(lip_potential_matrix(l), of(l)->h, of(l)->n, (lip_pq){LIP_P2, LIP_P2}, s, err);
}

lip_status lip_potential_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  const bool euclidean = is_euclidean(pq);
  double s = INFINITY;
  *upper = INFINITY;
  if (!lip_pq_tractable(pq)) return LIP_OK;
  if (!lip_potential_matrix(l)) { /* not laid out yet: what a projection will make of it */
    *upper = euclidean ? 1 : (double)INFINITY;
    return LIP_OK;
  }
  if (!euclidean || !is_symmetric(l)) return lip_inner_bound(l, pq, upper, err);
  lip_status status = norm_of(l, &s, err);
  if (!status) *upper = of_norm(s);
  return status;
}

/* Towards 0 until the norm is proved to be at most 1. */
lip_status lip_potential_project_exact(lip_layer *l, lip_err *err) {
  const size_t size = of(l)->h * of(l)->n;
  float *A = lip_potential_matrix(l);
  double s, margin = 0x1p-23;
  if (!lip_vec_all_finite(A, size))
    return lip_fail(err, LIP_NOT_FINITE, "%s: a weight is NaN or infinite: not projected",
                    l->kind->desc.name);
  lip_status status = norm_of(l, &s, err);
  while (!status && s > 1) {
    const double by = lip_shrink(s, 1, &margin);
    for (size_t i = 0; i < size; i++) A[i] = (float)((double)A[i] * by);
    status = norm_of(l, &s, err);
  }
  if (!status) lip_potential_store(l);
  return status;
}

/* |x|^2 - |x - 2 A'v|^2 = 4 z'v - 4 v'AA'v with z = A x, and 4 v'(z - v) takes |v|^2 - |A'v|^2 >= 0 more. */
double lip_potential_multipliers(const lip_layer *l, double *lambda) {
  for (size_t i = 0; i < of(l)->h; i++) lambda[i] = 4;
  return 1;
}
