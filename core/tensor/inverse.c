/* Halves: with S = D - C A^-1 B (Schur 1917; the recursion is Strassen's, 1969),
 *
 *   [A B]^-1   [A^-1 + Y S^-1 Z   -Y S^-1]
 *   [C D]    = [-S^-1 Z              S^-1]    Y = A^-1 B, Z = C A^-1
 *
 * and S has a positive definite symmetric part where the whole has one. Small matrices by Gauss and Jordan's elimination in
 * place. */
#include "core/tensor/inverse.h"

#include <string.h>

#include "core/base/simd.h"

enum { SMALL = 32 };

/* Elimination of one column after the other, each replaced by its part of the inverse. */
LIP_HOT static void invert_small(size_t n, float *restrict A, size_t lda, float least) {
  float a[SMALL][SMALL];
  memset(a, 0, sizeof a);
  for (size_t i = 0; i < n; i++) memcpy(a[i], A + i * lda, n * sizeof *A);
  for (size_t k = 0; k < n; k++) {
    if (a[k][k] < least || a[k][k] == 0) {
      for (size_t i = 0; i < n; i++) a[k][i] = a[i][k] = 0;
      continue;
    }
    const float inverse = 1 / a[k][k];
    a[k][k] = 1;
    for (size_t j = 0; j < SMALL; j++) a[k][j] *= inverse;
    for (size_t i = 0; i < n; i++) {
      if (i == k) continue;
      float f = a[i][k];
      a[i][k] = 0;
      for (size_t j = 0; j < SMALL; j++) a[i][j] -= f * a[k][j];
    }
  }
  for (size_t i = 0; i < n; i++) memcpy(A + i * lda, a[i], n * sizeof *A);
}

/* Rows of the first half, the larger one and a multiple of SMALL. */
static size_t half(size_t n) {
  return ((n + 1) / 2 + SMALL - 1) / SMALL * SMALL;
}

/* Both off-diagonal blocks once, and what the halves need after each other. */
size_t lip_inverse_work(size_t n) {
  if (n <= SMALL) return 0;
  const size_t h = half(n);
  return 2 * h * (n - h) + lip_inverse_work(h);
}

void lip_team_inverse(const lip_team *t, size_t n, float *A, size_t lda, float least, float *work) {
  if (n <= SMALL) {
    invert_small(n, A, lda, least);
    return;
  }
  const size_t h = half(n), r = n - h;
  float *B = A + h, *C = A + h * lda, *D = C + h, *Y = work, *Z = Y + h * r, *rest = Z + h * r;
  lip_team_inverse(t, h, A, lda, least, rest);
  lip_team_gemm(t, LIP_N, LIP_N, r, h, h, 1, C, lda, A, lda, 0, Z, h);
  lip_team_gemm(t, LIP_N, LIP_N, r, r, h, -1, Z, h, B, lda, 1, D, lda);
  lip_team_inverse(t, r, D, lda, least, rest);
  lip_team_gemm(t, LIP_N, LIP_N, h, r, h, 1, A, lda, B, lda, 0, Y, r);
  lip_team_gemm(t, LIP_N, LIP_N, r, h, r, -1, D, lda, Z, h, 0, C, lda);
  lip_team_gemm(t, LIP_N, LIP_N, h, r, r, -1, Y, r, D, lda, 0, B, lda);
  lip_team_gemm(t, LIP_N, LIP_N, h, h, r, -1, Y, r, C, lda, 1, A, lda);
}

/* Z = Y', C = B'. */
void lip_team_inverse_symmetric(const lip_team *t, size_t n, float *A, size_t lda, float least, float *work) {
  if (n <= SMALL) {
    invert_small(n, A, lda, least);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < i; j++) A[j * lda + i] = A[i * lda + j];
    return;
  }
  const size_t h = half(n), r = n - h;
  float *B = A + h, *C = A + h * lda, *D = C + h, *Y = work, *rest = Y + h * r;
  lip_team_inverse_symmetric(t, h, A, lda, least, rest);
  lip_team_gemm(t, LIP_N, LIP_N, h, r, h, 1, A, lda, B, lda, 0, Y, r);
  lip_team_symmetric(t, LIP_N, LIP_N, r, h, -1, C, lda, Y, r, 1, D, lda);
  lip_team_inverse_symmetric(t, r, D, lda, least, rest);
  lip_team_gemm(t, LIP_N, LIP_N, h, r, r, -1, Y, r, D, lda, 0, B, lda);
  lip_team_symmetric(t, LIP_N, LIP_T, h, r, -1, B, lda, Y, r, 1, A, lda);
  for (size_t i = 0; i < r; i++)
    for (size_t j = 0; j < h; j++) C[i * lda + j] = B[j * lda + i];
}
