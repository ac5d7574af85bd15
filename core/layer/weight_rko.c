/* rko: the kernel of a convolution, reshaped to a matrix R = V as (OUT, C taps), divided by a bound of the convolution's norm:
 *
 *   W = V / s,  s = sqrt(m) ||R||_S,  ||R||_S = tr(A^p)^(1/2p) >= ||R||_2,  A = R R' or R'R, whichever is smaller, p = 128
 *
 * Every patch is mapped by R and an input place is in at most m patches (Tsuzuku, Sato, Sugiyama 2018; borders, stride and dilation
 * are in m), so the norm 2->2 is at most 1. The Schatten norm is the Gram iteration of Delattre et al. 2023, whose squarings give
 * A^p: above the norm by n^(1/2p) at most, n the rows of A (1.6 % for 64), and by next to nothing where one value is the largest.
 * Unlike a power iteration it is a bound however far it is carried, and has an exact gradient:
 *
 *   ds/dR = s A^(p-1) R / tr(A^p),   A^(p-1) = A A^2 A^4 ... A^(p/2)
 *   dV    = (dW - <dW, V> A^(p-1) R / tr(A^p)) / s
 *
 * Groups by themselves. A kernel of zeros stays, and has no gradient. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/conv_norm.h"
#include "core/layer/parametrisation.h"
#include "core/tensor/vec.h"

enum { DOUBLINGS = 7 }; /* p = 2^7 */

typedef struct job {
  const lip_weight *w;
  size_t n, size, group; /* rows of A, numbers of a group */
  bool rows;             /* A = R R' */
  const float *V;
  float *G, *dG, *dV;
  float *power; /* product of A's powers, each of Frobenius norm 1; (n, n) for each group, in keep */
  float *inverse, *share; /* 1 / s, and what the product is to be taken by: for each group, in keep */
  float *M, *next;        /* (n, n), in tmp */
  float scale, accumulate;
} job;

static size_t rounded(size_t n) {
  return (n + 15) / 16 * 16;
}

static job make_job(const lip_weight *w) {
  const lip_conv *c = w->conv;
  job j = {.w = w, .rows = c->OUTg <= c->K, .size = c->OUTg * c->K};
  j.n = j.rows ? c->OUTg : c->K;
  j.power = w->keep;
  j.inverse = j.power + rounded(j.n * j.n) * c->groups;
  j.share = j.inverse + rounded(c->groups);
  j.M = w->tmp + rounded(w->M * w->N);
  j.next = j.M + rounded(j.n * j.n);
  return j;
}

static lip_status plan(lip_weight *w, lip_err *err) {
  if (w->pq.p != LIP_P2 || w->pq.q != LIP_P2)
    return lip_fail(err, LIP_UNSUPPORTED, "divides by a bound of the norm from 2 to 2; this step is %s",
                    lip_pq_name(w->pq));
  const job j = make_job(w);
  w->kept = rounded(j.n * j.n) * w->conv->groups + 2 * rounded(w->conv->groups);
  w->work = rounded(w->M * w->N) + 2 * rounded(j.n * j.n);
  return LIP_OK;
}

/* M divided by its Frobenius norm; the logarithm of that. */
static double normalise(float *M, size_t n) {
  const double norm = sqrt(lip_vec_square_sum(M, n));
  lip_vec_scale(M, (float)(1 / norm), n);
  return log(norm);
}

/* Norm and product of powers of one group. */
static void measure(job *j, const lip_team *team) {
  const lip_conv *c = j->w->conv;
  const size_t n = j->n, nn = n * n, g = j->group;
  const float *R = j->V + g * j->size;
  float *power = j->power + g * rounded(nn);
  lip_team_gram(team, j->rows ? LIP_N : LIP_T, n, j->rows ? c->K : c->OUTg, 1, R, c->K, 0, j->M, n);
  j->inverse[g] = j->share[g] = 0;
  memset(power, 0, nn * sizeof *power);
  if (lip_vec_square_sum(j->M, nn) == 0) return;
  double size = normalise(j->M, nn), all = size; /* logarithms of ||A^(2^k)||_F, and their sum */
  memcpy(power, j->M, nn * sizeof *power);
  for (int k = 1; k < DOUBLINGS; k++) {
    lip_team_symmetric(team, LIP_N, LIP_N, n, n, 1, j->M, n, j->M, n, 0, j->next, n);
    size = 2 * size + normalise(j->next, nn);
    all += size;
    float *t = j->M;
    j->M = j->next, j->next = t;
    lip_team_symmetric(team, LIP_N, LIP_N, n, n, 1, power, n, j->M, n, 0, j->next, n);
    all += normalise(j->next, nn);
    memcpy(power, j->next, nn * sizeof *power);
  }
  const double p = ldexp(1, DOUBLINGS); /* tr(A^p) = ||A^(p/2)||_F^2 */
  j->inverse[g] = (float)(exp(-size / p) / sqrt((double)c->overlap));
  j->share[g] = (float)exp(all - 2 * size);
}

static void divide(void *arg, const lip_worker *me) {
  const job *j = arg;
  const size_t N = j->w->N, rows = j->w->conv->OUTg;
  size_t i, end;
  lip_share(me, j->w->M, 1, &i, &end);
  for (; i < end; i++) {
    const float a = j->inverse[i / rows], *V = j->V + i * N, *dG = j->dG ? j->dG + i * N : NULL;
    float *out = (dG ? j->dV : j->G) + i * N;
    if (!dG)
      for (size_t k = 0; k < N; k++) out[k] = a * V[k];
    else if (j->accumulate != 0)
      for (size_t k = 0; k < N; k++) out[k] += a * j->scale * dG[k];
    else
      for (size_t k = 0; k < N; k++) out[k] = a * j->scale * dG[k];
  }
}

static void g(const lip_weight *w, const lip_team *team, const float *V, float *G) {
  job j = make_job(w);
  j.V = lip_weight_in_range(w, V, w->tmp, &j.scale);
  j.G = G;
  for (; j.group < w->conv->groups; j.group++) measure(&j, team);
  lip_team_run(team, (double)(w->M * w->N), divide, &j);
}

static void pull(const lip_weight *w, const lip_team *team, const float *V, const float *G, float *dG,
                 float *dV, float accumulate) {
  job j = make_job(w);
  const lip_conv *c = w->conv;
  (void)G;
  j.V = lip_weight_in_range(w, V, w->tmp, &j.scale);
  j.dG = dG;
  j.dV = dV;
  j.accumulate = accumulate;
  lip_team_run(team, (double)(w->M * w->N), divide, &j);
  for (size_t i = 0; i < c->groups; i++) {
    const float *R = j.V + i * j.size, *power = j.power + i * rounded(j.n * j.n);
    const double along = lip_vec_dot(dG + i * j.size, R, j.size);
    const float a = (float)(-along * (double)j.share[i] * (double)j.inverse[i] * (double)j.scale);
    if (j.rows)
      lip_team_gemm(team, LIP_N, LIP_N, j.n, c->K, j.n, a, power, j.n, R, c->K, 1, dV + i * j.size, c->K);
    else
      lip_team_gemm(team, LIP_N, LIP_N, c->OUTg, j.n, j.n, a, R, c->K, power, j.n, 1, dV + i * j.size, c->K);
  }
}

/* ---- plain ---- */

/* A = R R' of one group, squared until it is A^(p/2), each time divided by its norm. */
static lip_status wide_norm(const double *R, size_t rows, size_t K, double *norm) {
  double *A = lip_alloc(2 * rows * rows, sizeof *A), *next = A ? A + rows * rows : NULL, size = 0;
  if (!A) return LIP_MEMORY;
  for (size_t i = 0; i < rows * rows; i++)
    for (size_t k = 0; k < K; k++) A[i] += R[i / rows * K + k] * R[i % rows * K + k];
  for (int d = 0; d < DOUBLINGS; d++) {
    double sum = 0;
    for (size_t i = 0; i < rows * rows; i++) sum += A[i] * A[i];
    size = 2 * size + log(sum) / 2;
    for (size_t i = 0; i < rows * rows; i++) {
      next[i] = 0;
      for (size_t k = 0; k < rows; k++) next[i] += A[i / rows * rows + k] * A[k * rows + i % rows] / sum;
    }
    memcpy(A, next, rows * rows * sizeof *A);
  }
  lip_free(A);
  *norm = exp(size / ldexp(1, DOUBLINGS));
  return LIP_OK;
}

static lip_status wide(const lip_weight *w, const double *V, double *G) {
  const lip_conv *c = w->conv;
  const size_t size = c->OUTg * c->K;
  for (size_t g0 = 0; g0 < c->groups; g0++) {
    double norm;
    lip_status status = wide_norm(V + g0 * size, c->OUTg, c->K, &norm);
    if (status) return status;
    for (size_t i = g0 * size; i < (g0 + 1) * size; i++)
      G[i] = norm > 0 ? V[i] / (norm * sqrt((double)c->overlap)) : V[i];
  }
  return LIP_OK;
}

const lip_parametrisation lip_weight_rko = {
    .desc = {"rko", "the kernel divided by a bound of the convolution's norm (step 2->2)", NULL, 0},
    .flags = LIP_WEIGHT_BOUNDED | LIP_WEIGHT_IDEMPOTENT,
    .plan = plan,
    .g = g,
    .pull = pull,
    .wide = wide,
};
