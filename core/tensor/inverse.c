/* Gauss-Jordan elimination in blocks of columns K: with P the inverse of the block A_KK as the steps before have left it and
 * R = P A_K, its rows solved for,
 *   A <- A - A_,K R outside of the rows K,   A_,K <- -A_,K P,   A_K <- R,   A_KK <- P,
 * which is one product of matrices once the columns K are put aside and stand at zero. */
#include "core/tensor/inverse.h"

#include <string.h>

enum { BLOCK = 64 };

size_t lip_team_invert_work(size_t n) {
  return 2 * n * BLOCK;
}

/* The inverse of the block (b, b) at A, in place and in double. */
static void invert_block(float *A, size_t lda, size_t b) {
  double D[BLOCK * BLOCK];
  for (size_t i = 0; i < b; i++)
    for (size_t j = 0; j < b; j++) D[i * b + j] = (double)A[i * lda + j];
  for (size_t k = 0; k < b; k++) {
    double *own = D + k * b, pivot = 1 / own[k];
    own[k] = 1;
    for (size_t j = 0; j < b; j++) own[j] *= pivot;
    for (size_t i = 0; i < b; i++) {
      double *row = D + i * b, f = row[k];
      if (i == k) continue;
      row[k] = 0;
      for (size_t j = 0; j < b; j++) row[j] -= f * own[j];
    }
  }
  for (size_t i = 0; i < b; i++)
    for (size_t j = 0; j < b; j++) A[i * lda + j] = (float)D[i * b + j];
}

void lip_team_invert(const lip_team *t, size_t n, float *A, float *work) {
  float *R = work, *column = work + n * BLOCK; /* (b, n); (n, b) */
  for (size_t k = 0; k < n; k += BLOCK) {
    const size_t b = n - k < BLOCK ? n - k : BLOCK;
    float *P = column; /* until its columns are put there */
    invert_block(A + k * n + k, n, b);
    for (size_t i = 0; i < b; i++) memcpy(P + i * b, A + (k + i) * n + k, b * sizeof *P);
    lip_team_gemm(t, LIP_N, LIP_N, b, n, b, 1, P, b, A + k * n, n, 0, R, n);
    for (size_t i = 0; i < b; i++) memcpy(R + i * n + k, P + i * b, b * sizeof *P);
    for (size_t i = 0; i < n; i++) {
      float *from = A + i * n + k;
      const bool own = i >= k && i < k + b;
      if (own)
        memset(column + i * b, 0, b * sizeof *column);
      else
        memcpy(column + i * b, from, b * sizeof *column);
      memset(from, 0, b * sizeof *from);
    }
    for (size_t i = 0; i < b; i++) memcpy(A + (k + i) * n, R + i * n, n * sizeof *R);
    lip_team_gemm(t, LIP_N, LIP_N, n, n, b, -1, column, b, R, n, 1, A, n);
  }
}
