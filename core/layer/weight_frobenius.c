/* frobenius: every row of V scaled to length 1, w_i = v_i / ||v_i||_2; a row of zeros stays, and has no gradient.
 *
 *   dv_i = (dw_i - w_i <w_i, dw_i>) / ||v_i||_2
 *   norm   2->inf: the largest ||w_i||_2, which is 1. For outputs of which each is compared with the others, and for a single
 *          output
 *
 * (Each neuron normalised by itself: Serrurier et al. 2021, section 4.) Lengths in double, where squares of float32 numbers
 * neither overflow nor vanish. */
#include <math.h>

#include "core/layer/parametrisation.h"
#include "core/tensor/vec.h"

static lip_status plan(lip_weight *w, lip_err *err) {
  if (w->pq.p == LIP_P2 && (w->pq.q == LIP_PINF || w->M == 1)) return LIP_OK;
  return lip_fail(err, LIP_UNSUPPORTED,
                  "rows of length 1 bound the step 2->inf and single outputs from norm 2; this step is %s",
                  lip_pq_name(w->pq));
}

typedef struct job {
  const lip_weight *w;
  const float *V, *G, *dG;
  float *out; /* G or dV */
  float accumulate;
} job;

/* 1 / ||v||_2, 0 for zeros. */
static double inverse_length(const float *v, size_t n) {
  const double square = lip_vec_square_sum(v, n);
  return square == 0 ? 0 : 1 / sqrt(square);
}

static void rows_of_g(void *arg, const lip_worker *me) {
  const job *j = arg;
  const size_t N = j->w->N;
  size_t i, end;
  lip_share(me, j->w->M, 1, &i, &end);
  for (; i < end; i++) {
    const double a = inverse_length(j->V + i * N, N);
    for (size_t k = i * N; k < (i + 1) * N; k++) j->out[k] = (float)(a * (double)j->V[k]);
  }
}

static void g(const lip_weight *w, const lip_team *team, const float *V, float *G) {
  job j = {.w = w, .V = V, .out = G};
  lip_team_run(team, 2 * (double)(w->M * w->N), rows_of_g, &j);
}

static void rows_of_pull(void *arg, const lip_worker *me) {
  const job *j = arg;
  const size_t N = j->w->N;
  size_t i, end;
  lip_share(me, j->w->M, 1, &i, &end);
  for (; i < end; i++) {
    const double a = inverse_length(j->V + i * N, N), along = lip_vec_dot(j->G + i * N, j->dG + i * N, N);
    for (size_t k = i * N; k < (i + 1) * N; k++) {
      const double d = a * ((double)j->dG[k] - (double)j->G[k] * along);
      j->out[k] = (float)(j->accumulate != 0 ? (double)j->out[k] + d : d);
    }
  }
}

static void pull(const lip_weight *w, const lip_team *team, const float *V, const float *G, float *dG,
                 float *dV, float accumulate) {
  job j = {w, V, G, dG, dV, accumulate};
  lip_team_run(team, 4 * (double)(w->M * w->N), rows_of_pull, &j);
}

static lip_status wide(const lip_weight *w, const double *V, double *G) {
  for (size_t i = 0; i < w->M; i++) {
    double square = 0;
    for (size_t k = i * w->N; k < (i + 1) * w->N; k++) square += V[k] * V[k];
    for (size_t k = i * w->N; k < (i + 1) * w->N; k++) G[k] = square == 0 ? V[k] : V[k] / sqrt(square);
  }
  return LIP_OK;
}

const lip_parametrisation lip_weight_frobenius = {
    .desc = {"frobenius", "every row scaled to length 1 (steps 2->inf)", NULL, 0},
    .flags = LIP_WEIGHT_BOUNDED | LIP_WEIGHT_IDEMPOTENT,
    .plan = plan,
    .g = g,
    .pull = pull,
    .wide = wide,
};
