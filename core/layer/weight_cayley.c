/* cayley: orthonormal rows (M <= N) or columns by Cayley's transform of a matrix whose skew part is free (Cayley 1846;
 * rectangular: Trockman, Kolter 2021, section 4; with W on the left Wang, Manchester 2023, equation 5).
 *
 *   M <= N  V = [U R], U (M,M):   A = U - U' + R R',   X = (I + A)^-1,   G = [2X - I   -2 X R],   G G' = I
 *   M >  N  V = [U; R], U (N,N):  A = U - U' + R'R,    X = (I + A)^-1,   G = [2X - I;  -2 R X],   G'G  = I
 *
 * With D = [D1 D2] the gradient of G, dX = 2 D1 - 2 D2 R' (2 D1 - 2 R'D2), dA = -X' dX X', dU = dA - dA' and
 * dR = -2 X'D2 + (dA + dA') R (-2 D2 X' + R (dA + dA')). I + A has a symmetric part of at least I: it is always invertible,
 * without exchange of rows, and no pivot is below 1.
 *
 * Not every orthogonal matrix: -1 is no eigenvalue of a square G, but in the limit of V to infinity. V is scaled back to
 * MOST times the norm of an orthogonal matrix where it is larger, and so is no worse conditioned than float32 can bear. */
#include <math.h>

#include "core/base/mem.h"
#include "core/layer/orthogonal.h"
#include "core/tensor/inverse.h"
#include "core/tensor/vec.h"

static const double MOST = 8;

typedef struct sizes {
  size_t n, rest; /* the smaller side, and what the other one has more */
  size_t at;      /* where R begins in V, and its part in G */
  size_t ld;
} sizes;

static sizes sizes_of(const lip_weight *w) {
  const size_t n = w->M < w->N ? w->M : w->N;
  return (sizes){n, w->M + w->N - 2 * n, w->M > w->N ? n * w->N : n, w->N};
}

static double most_of(const lip_weight *w) {
  return MOST * sqrt((double)sizes_of(w).n);
}

/* keep: X, the factor of V, V times that where it is not 1. tmp: the inverse's, or two (n,n). */
static lip_status plan(lip_weight *w, lip_err *err) {
  const size_t n = sizes_of(w).n;
  w->kept = n * n + 1 + w->M * w->N;
  w->work = 2 * n * n;
  return lip_orthogonal_fits(w, err);
}

/* From -W0: for orthonormal W0, G has then R's part along W0's, and angles of all sizes. */
static lip_status start(lip_weight *w, float *V, const float *W0, lip_rng *rng, lip_err *err) {
  (void)rng, (void)err;
  for (size_t i = 0; i < w->M * w->N; i++) V[i] = -W0[i];
  return LIP_OK;
}

static void g(const lip_weight *w, const lip_team *t, const float *V, float *G) {
  const sizes z = sizes_of(w);
  const size_t n = z.n, ld = z.ld;
  const bool tall = w->M > w->N;
  const double s = lip_orthogonal_scale(V, w->M * w->N, most_of(w));
  float *X = w->keep, *shorter = X + n * n + 1;
  X[n * n] = (float)s;
  if (s < 1) {
    for (size_t i = 0; i < w->M * w->N; i++) shorter[i] = (float)(s * (double)V[i]);
    V = shorter;
  }
  const float *R = V + z.at;
  if (z.rest > 0) lip_team_gram(t, tall ? LIP_T : LIP_N, n, z.rest, 1, R, ld, 0, X, n);
  lip_team_fold(t, n, 1, V, ld, -1, z.rest > 0 ? 1 : 0, X, n);
  for (size_t i = 0; i < n; i++) X[i * n + i] += 1;
  lip_team_inverse(t, n, X, n, 0.5f, w->tmp);
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < n; j++) G[i * ld + j] = 2 * X[i * n + j];
    G[i * ld + i] -= 1;
  }
  if (tall)
    lip_team_gemm(t, LIP_N, LIP_N, z.rest, n, n, -2, R, ld, X, n, 0, G + z.at, ld);
  else
    lip_team_gemm(t, LIP_N, LIP_N, n, z.rest, n, -2, X, n, R, ld, 0, G + z.at, ld);
}

static void pull(const lip_weight *w, const lip_team *t, const float *V, const float *G, float *dG, float *dV,
                 float accumulate) {
  const sizes z = sizes_of(w);
  const size_t n = z.n, ld = z.ld;
  const bool tall = w->M > w->N;
  const float *X = w->keep, s = X[n * n], *R = (s < 1 ? X + n * n + 1 : V) + z.at;
  float *D2 = dG + z.at, *P = w->tmp, *dA = P + n * n, *dR = dV + z.at;
  const double along = s < 1 && accumulate != 0 ? lip_vec_dot(V, dV, w->M * w->N) : 0;
  (void)G;
  if (tall) /* D1 becomes dX / 2 */
    lip_team_gemm(t, LIP_T, LIP_N, n, n, z.rest, -1, R, ld, D2, ld, 1, dG, ld);
  else
    lip_team_gemm(t, LIP_N, LIP_T, n, n, z.rest, -1, D2, ld, R, ld, 1, dG, ld);
  lip_team_gemm(t, LIP_T, LIP_N, n, n, n, -2, X, n, dG, ld, 0, P, n);
  lip_team_gemm(t, LIP_N, LIP_T, n, n, n, 1, P, n, X, n, 0, dA, n);
  lip_team_fold(t, n, s, dA, n, -1, accumulate, dV, ld);
  if (z.rest > 0) {
    lip_team_fold(t, n, 1, dA, n, 1, 0, P, n);
    if (tall) {
      lip_team_gemm(t, LIP_N, LIP_T, z.rest, n, n, -2 * s, D2, ld, X, n, accumulate, dR, ld);
      lip_team_gemm(t, LIP_N, LIP_N, z.rest, n, n, s, R, ld, P, n, 1, dR, ld);
    } else {
      lip_team_gemm(t, LIP_T, LIP_N, n, z.rest, n, -2 * s, X, n, D2, ld, accumulate, dR, ld);
      lip_team_gemm(t, LIP_N, LIP_N, n, z.rest, n, s, P, n, R, ld, 1, dR, ld);
    }
  }
  if (s < 1) lip_orthogonal_scale_pull(V, dV, w->M * w->N, along);
}

/* For M > N by way of the transposes. */
static lip_status wide(const lip_weight *w, const double *V, double *G) {
  const sizes z = sizes_of(w);
  const size_t n = z.n, m = n + z.rest;
  const bool tall = w->M > w->N;
  double *A = lip_alloc(2 * n * n + 2 * n * m, sizeof *A), *X = A + n * n, *T = X + n * n, *Y = T + n * m;
  double norm = 0;
  if (!A) return LIP_MEMORY;
  for (size_t i = 0; i < n * m; i++) norm += V[i] * V[i];
  const double s = fmin(1, most_of(w) / sqrt(norm));
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < m; j++) T[i * m + j] = s * (tall ? V[j * n + i] : V[i * m + j]);
  /* A of the transpose is the transpose of A, so that one formula serves: T = [U' R'] gives X', G' */
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      A[i * n + j] = (i == j) + T[i * m + j] - T[j * m + i];
      for (size_t k = n; k < m; k++) A[i * n + j] += T[i * m + k] * T[j * m + k];
    }
  lip_plain_inverse(n, A, 0.5);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < m; j++) {
      double sum = 0;
      for (size_t k = 0; k < n && j >= n; k++) sum -= 2 * A[i * n + k] * T[k * m + j];
      Y[i * m + j] = j < n ? 2 * A[i * n + j] - (i == j) : sum;
      if (tall)
        G[j * n + i] = Y[i * m + j];
      else
        G[i * m + j] = Y[i * m + j];
    }
  lip_free(A);
  return LIP_OK;
}

const lip_parametrisation lip_weight_cayley = {
    .desc = {"cayley", "orthonormal rows or columns by Cayley's transform", NULL, 0},
    .flags = LIP_WEIGHT_BOUNDED,
    .plan = plan,
    .start = start,
    .g = g,
    .pull = pull,
    .wide = wide,
};
