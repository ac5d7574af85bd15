#include "core/affine/wide.h"

#include <string.h>

#include "core/norm/lanes.h"

enum { ROWS = 4, WIDTH = 2 * LIP_LANES };

/* m (1..ROWS) rows, WIDTH columns. */
LIP_INLINE void tile(size_t m, size_t K, const double *A, size_t lda, const double *B, size_t ldb, double *C,
                     size_t ldc) {
  lip_d8 c[ROWS][2] = {{{0}}}, b0, b1;
  for (size_t k = 0; k < K; k++) {
    LIP_LOAD(b0, B + k * ldb);
    LIP_LOAD(b1, B + k * ldb + LIP_LANES);
    for (size_t i = 0; i < m; i++) {
      c[i][0] += A[i * lda + k] * b0;
      c[i][1] += A[i * lda + k] * b1;
    }
  }
  for (size_t i = 0; i < m; i++) {
    LIP_LOAD(b0, C + i * ldc);
    LIP_LOAD(b1, C + i * ldc + LIP_LANES);
    b0 += c[i][0];
    b1 += c[i][1];
    LIP_STORE(C + i * ldc, b0);
    LIP_STORE(C + i * ldc + LIP_LANES, b1);
  }
}

/* What is left of a row: n < WIDTH columns. */
LIP_INLINE void edge(size_t n, size_t K, const double *A, const double *B, size_t ldb, double *C) {
  double c[WIDTH] = {0};
  for (size_t k = 0; k < K; k++)
    for (size_t j = 0; j < n; j++) c[j] += A[k] * B[k * ldb + j];
  for (size_t j = 0; j < n; j++) C[j] += c[j];
}

LIP_HOT static void multiply(size_t M, size_t N, size_t K, const double *A, size_t lda, const double *B,
                             size_t ldb, double *C, size_t ldc) {
  size_t j = 0;
  for (; j + WIDTH <= N; j += WIDTH) {
    size_t i = 0;
    for (; i + ROWS <= M; i += ROWS) tile(ROWS, K, A + i * lda, lda, B + j, ldb, C + i * ldc + j, ldc);
    for (; i < M; i++) tile(1, K, A + i * lda, lda, B + j, ldb, C + i * ldc + j, ldc);
  }
  for (size_t i = 0; j < N && i < M; i++) edge(N - j, K, A + i * lda, B + j, ldb, C + i * ldc + j);
}

typedef struct job {
  size_t M, N, K, lda, ldb, ldc;
  const double *A, *B;
  double *C;
} job;

static void share(void *arg, const lip_worker *me) {
  const job *w = arg;
  size_t i0, i1;
  lip_share(me, w->M, ROWS, &i0, &i1);
  if (i0 < i1)
    multiply(i1 - i0, w->N, w->K, w->A + i0 * w->lda, w->lda, w->B, w->ldb, w->C + i0 * w->ldc, w->ldc);
}

void lip_wide_product(size_t M, size_t N, size_t K, const double *A, size_t lda, const double *B, size_t ldb,
                      double *C, size_t ldc, lip_pool *pool) {
  const double worth = 1e6; /* multiplications that pay for waking threads up */
  job w = {M, N, K, lda, ldb, ldc, A, B, C};
  lip_pool_run((double)M * (double)N * (double)K < worth ? NULL : pool, false, share, &w);
}

void lip_block_turn(const lip_block *k, double *v, size_t n, bool back) {
  const double scale = back ? 0.5 : 1;
  for (size_t a = 0; k->mate && a < k->M; a++) {
    size_t b = k->mate[a];
    if (b <= a) continue;
    double *x = v + a * n, *y = v + b * n;
    for (size_t c = 0; c < n; c++) {
      double sum = (x[c] + y[c]) * scale, difference = (x[c] - y[c]) * scale;
      x[c] = sum;
      y[c] = difference;
    }
  }
}
