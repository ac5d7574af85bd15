#include "core/layer/orthogonal.h"

#include <math.h>

#include "core/tensor/vec.h"

lip_status lip_orthogonal_fits(const lip_weight *w, lip_err *err) {
  if (w->pq.p <= LIP_P2 && w->pq.q >= LIP_P2) return LIP_OK;
  return lip_fail(
      err, LIP_UNSUPPORTED,
      "orthonormal rows or columns bound steps from norm 1 or 2 to norm 2 or inf; this step is %s",
      lip_pq_name(w->pq));
}

double lip_orthogonal_scale(const float *V, size_t n, double most) {
  const double norm = sqrt(lip_vec_square_sum(V, n));
  return norm > most ? most / norm : 1;
}

void lip_orthogonal_scale_pull(const float *V, float *dV, size_t n, double along) {
  const double a = (lip_vec_dot(V, dV, n) - along) / lip_vec_square_sum(V, n);
  for (size_t i = 0; i < n; i++) dV[i] = (float)((double)dV[i] - a * (double)V[i]);
}

void lip_plain_product(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, const double *A,
                       const double *B, double *C) {
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < N; j++) {
      double sum = 0;
      for (size_t k = 0; k < K; k++)
        sum += (ta == LIP_N ? A[i * K + k] : A[k * M + i]) * (tb == LIP_N ? B[k * N + j] : B[j * K + k]);
      C[i * N + j] = sum;
    }
}

void lip_plain_inverse(size_t n, double *A, double least) {
  for (size_t k = 0; k < n; k++) {
    const double pivot = A[k * n + k];
    for (size_t i = 0; pivot < least && i < n; i++) A[k * n + i] = A[i * n + k] = 0;
    if (pivot < least) continue;
    A[k * n + k] = 1;
    for (size_t j = 0; j < n; j++) A[k * n + j] /= pivot;
    for (size_t i = 0; i < n; i++) {
      if (i == k) continue;
      const double f = A[i * n + k];
      A[i * n + k] = 0;
      for (size_t j = 0; j < n; j++) A[i * n + j] -= f * A[k * n + j];
    }
  }
}
