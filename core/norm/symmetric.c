#include "core/norm/symmetric.h"

#include <math.h>

#include "core/base/cancel.h"
#include "core/base/simd.h"
#include "core/norm/lanes.h"

enum { TILE = 4, PANEL = 64, BLOCK = 32 };

/* out[i][j] = sum_p a[i][p] b[j][p] for 4 rows of each. */
LIP_INLINE void tile_dot(const double *a, size_t lda, const double *b, size_t ldb, size_t n,
                         double out[TILE][TILE]) {
  lip_d8 c[TILE][TILE] = {{{0}}};
  for (size_t p = 0; p < n; p += LIP_LANES) {
    lip_d8 x[TILE], y;
    for (size_t i = 0; i < TILE; i++) LIP_LOAD(x[i], a + i * lda + p);
    for (size_t j = 0; j < TILE; j++) {
      LIP_LOAD(y, b + j * ldb + p);
      for (size_t i = 0; i < TILE; i++) c[i][j] += x[i] * y;
    }
  }
  for (size_t i = 0; i < TILE; i++)
    for (size_t j = 0; j < TILE; j++) out[i][j] = lip_sum_lanes(&c[i][j]);
}

LIP_INLINE bool add_product(double *G, size_t k, const double *A, size_t lda, const double *B, size_t ldb,
                            size_t n, bool polls) {
  double t[TILE][TILE];
  for (size_t jb = 0; jb < k; jb += PANEL) {
    if (polls && lip_cancelled()) return false;
    for (size_t i = jb; i < k; i += TILE) {
      size_t end = jb + PANEL < i + TILE ? jb + PANEL : i + TILE;
      for (size_t j = jb; j < end; j += TILE) {
        tile_dot(A + i * lda, lda, B + j * ldb, ldb, n, t);
        for (size_t r = 0; r < TILE; r++)
          for (size_t c = 0; c < TILE; c++) G[(i + r) * k + j + c] += t[r][c];
      }
    }
  }
  return true;
}

LIP_HOT void lip_sym_add_gram(double *G, size_t k, const double *A, size_t lda, size_t n) {
  add_product(G, k, A, lda, A, lda, n, false);
}

LIP_HOT bool lip_sym_add_gram_polled(double *G, size_t k, const double *A, size_t lda, size_t n) {
  return add_product(G, k, A, lda, A, lda, n, true);
}

LIP_HOT void lip_sym_add_product(double *G, size_t k, const double *A, size_t lda, const double *B,
                                 size_t ldb, size_t n) {
  add_product(G, k, A, lda, B, ldb, n, false);
}

LIP_HOT void lip_sym_multiply(double *C, size_t ldc, const double *A, size_t lda, size_t m, const double *B,
                              size_t ldb, size_t r, size_t n) {
  double t[TILE][TILE];
  for (size_t jb = 0; jb < r; jb += PANEL)
    for (size_t i = 0; i < m; i += TILE)
      for (size_t j = jb; j < (jb + PANEL < r ? jb + PANEL : r); j += TILE) {
        tile_dot(A + i * lda, lda, B + j * ldb, ldb, n, t);
        for (size_t p = 0; p < TILE; p++) memcpy(C + (i + p) * ldc + j, t[p], sizeof t[p]);
      }
}

void lip_sym_mirror(double *G, size_t k) {
  for (size_t ib = 0; ib < k; ib += LIP_PAD)
    for (size_t jb = ib; jb < k; jb += LIP_PAD)
      for (size_t i = ib; i < ib + LIP_PAD; i++)
        for (size_t j = jb > i ? jb : i + 1; j < jb + LIP_PAD; j++) G[i * k + j] = G[j * k + i];
}

/* Columns [J, J+w) of the rows from J to `rows`, less the part of the columns before. */
LIP_INLINE void update(double *B, size_t rows, size_t k, size_t J, size_t w) {
  double t[TILE][TILE];
  if (J == 0) return;
  for (size_t i = J; i < rows; i += TILE) {
    size_t end = J + w < i + TILE ? J + w : i + TILE;
    for (size_t j = J; j < end; j += TILE) {
      tile_dot(B + i * k, k, B + j * k, k, J, t);
      for (size_t r = 0; r < TILE; r++)
        for (size_t c = 0; c < TILE; c++)
          if (j + c <= i + r) B[(i + r) * k + j + c] -= t[r][c];
    }
  }
}

/* Factor of the w x w block at D; its transpose goes to T, whose other entries are zero. */
static bool factor(double *D, size_t k, size_t w, double T[BLOCK][BLOCK]) {
  memset(T, 0, sizeof(double[BLOCK][BLOCK]));
  for (size_t c = 0; c < w; c++) {
    for (size_t r = c; r < w; r++) {
      double s = D[r * k + c];
      for (size_t p = 0; p < c; p++) s -= D[r * k + p] * D[c * k + p];
      if (r == c) {
        if (!(s > 0)) return false;
        D[c * k + c] = sqrt(s);
      } else {
        T[c][r] = D[r * k + c] = s / D[c * k + c];
      }
    }
  }
  return true;
}

/* Four rows below the block: x L^T = b by substitution, column after column. */
LIP_INLINE void substitute(double *x0, size_t ldx, size_t k, size_t w, const double *D,
                           double T[BLOCK][BLOCK]) {
  double x[TILE][BLOCK];
  memset(x, 0, sizeof x);
  for (size_t r = 0; r < TILE; r++) memcpy(x[r], x0 + r * ldx, w * sizeof(double));
  for (size_t c = 0; c < w; c++)
    for (size_t r = 0; r < TILE; r++) {
      double v = x[r][c] / D[c * k + c];
      for (size_t q = 0; q < BLOCK; q++) x[r][q] -= v * T[c][q];
      x[r][c] = v;
    }
  for (size_t r = 0; r < TILE; r++) memcpy(x0 + r * ldx, x[r], w * sizeof(double));
}

LIP_INLINE bool cholesky(double *B, size_t rows, size_t k, bool polls) {
  double T[BLOCK][BLOCK];
  for (size_t J = 0; J < k; J += BLOCK) {
    size_t w = k - J < BLOCK ? k - J : BLOCK;
    double *D = B + J * k + J;
    if (polls && lip_cancelled()) return false;
    update(B, rows, k, J, w);
    if (!factor(D, k, w, T)) return false;
    for (size_t i = J + w; i < rows; i += TILE) substitute(B + i * k + J, k, k, w, D, T);
  }
  return true;
}

LIP_HOT bool lip_sym_cholesky_tall(double *B, size_t rows, size_t k) {
  return cholesky(B, rows, k, false);
}

LIP_HOT bool lip_sym_cholesky_polled(double *B, size_t rows, size_t k) {
  return cholesky(B, rows, k, true);
}

bool lip_sym_cholesky(double *B, size_t k) {
  return lip_sym_cholesky_tall(B, k, k);
}

LIP_HOT void lip_sym_solve_rows(double *X, size_t ldx, size_t m, const double *B, size_t k) {
  double T[BLOCK][BLOCK], t[TILE][TILE];
  for (size_t J = 0; J < k; J += BLOCK) {
    size_t w = k - J < BLOCK ? k - J : BLOCK;
    const double *D = B + J * k + J;
    memset(T, 0, sizeof T);
    for (size_t r = 0; r < w; r++)
      for (size_t c = 0; c < r; c++) T[c][r] = D[r * k + c];
    for (size_t i = 0; i < m; i += TILE) {
      double *x = X + i * ldx;
      for (size_t j = J; J > 0 && j < J + w; j += TILE) {
        tile_dot(x, ldx, B + j * k, k, J, t);
        for (size_t r = 0; r < TILE; r++)
          for (size_t c = 0; c < TILE; c++) x[r * ldx + j + c] -= t[r][c];
      }
      substitute(x + J, ldx, k, w, D, T);
    }
  }
}

LIP_INLINE double dot(const double *x, const double *y, size_t n) {
  lip_d8 s0 = {0}, s1 = {0}, a, b;
  size_t i = 0;
  for (; i + 2 * LIP_LANES <= n; i += 2 * LIP_LANES) {
    LIP_LOAD(a, x + i);
    LIP_LOAD(b, y + i);
    s0 += a * b;
    LIP_LOAD(a, x + i + LIP_LANES);
    LIP_LOAD(b, y + i + LIP_LANES);
    s1 += a * b;
  }
  for (; i < n; i += LIP_LANES) {
    LIP_LOAD(a, x + i);
    LIP_LOAD(b, y + i);
    s0 += a * b;
  }
  s0 += s1;
  return lip_sum_lanes(&s0);
}

LIP_HOT double lip_sym_dot(const double *x, const double *y, size_t n) {
  return dot(x, y, n);
}

LIP_HOT void lip_sym_apply(const double *G, size_t k, const double *x, double *y) {
  for (size_t i = 0; i < k; i++) y[i] = dot(G + i * k, x, k);
}

LIP_HOT void lip_sym_axpy(double *y, double a, const double *x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

void lip_sym_forward(const double *B, size_t k, double *x) {
  for (size_t i = 0; i < k; i++) {
    double s = x[i];
    for (size_t p = 0; p < i; p++) s -= B[i * k + p] * x[p];
    x[i] = s / B[i * k + i];
  }
}

LIP_HOT void lip_sym_backward(const double *B, size_t k, double *x) {
  for (size_t i = k; i-- > 0;) {
    double v = x[i] / B[i * k + i];
    x[i] = v;
    for (size_t p = 0; p < i; p++) x[p] -= v * B[i * k + p];
  }
}
