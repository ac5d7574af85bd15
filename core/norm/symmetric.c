#include "core/norm/symmetric.h"

#include <math.h>

#include "core/base/cancel.h"
#include "core/base/simd.h"
#include "core/norm/lanes.h"
#include "core/norm/round.h"
#include "core/norm/tiles.h"

enum { PANEL = 64 };

LIP_INLINE bool add_product(double *G, size_t k, const double *A, size_t lda, const double *B, size_t ldb,
                            size_t n, bool polls) {
  double t[LIP_TILE][LIP_TILE];
  for (size_t jb = 0; jb < k; jb += PANEL) {
    if (polls && lip_cancelled()) return false;
    for (size_t i = jb; i < k; i += LIP_TILE) {
      size_t end = jb + PANEL < i + LIP_TILE ? jb + PANEL : i + LIP_TILE;
      for (size_t j = jb; j < end; j += LIP_TILE) {
        lip_tile_dot(A + i * lda, lda, B + j * ldb, ldb, n, t);
        for (size_t r = 0; r < LIP_TILE; r++)
          for (size_t c = 0; c < LIP_TILE; c++) G[(i + r) * k + j + c] += t[r][c];
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
  double t[LIP_TILE][LIP_TILE];
  for (size_t jb = 0; jb < r; jb += PANEL)
    for (size_t i = 0; i < m; i += LIP_TILE)
      for (size_t j = jb; j < (jb + PANEL < r ? jb + PANEL : r); j += LIP_TILE) {
        lip_tile_dot(A + i * lda, lda, B + j * ldb, ldb, n, t);
        for (size_t p = 0; p < LIP_TILE; p++) memcpy(C + (i + p) * ldc + j, t[p], sizeof t[p]);
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
  double t[LIP_TILE][LIP_TILE];
  if (J == 0) return;
  for (size_t i = J; i < rows; i += LIP_TILE) {
    size_t end = J + w < i + LIP_TILE ? J + w : i + LIP_TILE;
    for (size_t j = J; j < end; j += LIP_TILE) {
      lip_tile_dot(B + i * k, k, B + j * k, k, J, t);
      for (size_t r = 0; r < LIP_TILE; r++)
        for (size_t c = 0; c < LIP_TILE; c++)
          if (j + c <= i + r) B[(i + r) * k + j + c] -= t[r][c];
    }
  }
}

LIP_INLINE bool cholesky(double *B, size_t rows, size_t k, bool polls) {
  double T[LIP_BLOCK][LIP_BLOCK];
  for (size_t J = 0; J < k; J += LIP_BLOCK) {
    size_t w = k - J < LIP_BLOCK ? k - J : LIP_BLOCK;
    double *D = B + J * k + J;
    if (polls && lip_cancelled()) return false;
    update(B, rows, k, J, w);
    if (!lip_tile_factor(D, k, w, T)) return false;
    for (size_t i = J + w; i < rows; i += LIP_TILE) lip_tile_substitute(B + i * k + J, k, k, w, D, T);
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

/* The trace has k roundings, what follows fewer than 16. */
double lip_sym_proof_shift(size_t k, double trace, double most, double e) {
  double phi = lip_gamma(k + 1);
  if (!(phi < 0.25)) return INFINITY;
  phi = lip_up(phi / (1 - phi));
  return (phi * trace * (1 + 2 * lip_gamma(k)) + LIP_U * most + e + 0x1p-900) * (1 + 0x1p-48);
}

LIP_HOT void lip_sym_solve_rows(double *X, size_t ldx, size_t m, const double *B, size_t k) {
  double T[LIP_BLOCK][LIP_BLOCK], t[LIP_TILE][LIP_TILE];
  for (size_t J = 0; J < k; J += LIP_BLOCK) {
    size_t w = k - J < LIP_BLOCK ? k - J : LIP_BLOCK;
    const double *D = B + J * k + J;
    memset(T, 0, sizeof T);
    for (size_t r = 0; r < w; r++)
      for (size_t c = 0; c < r; c++) T[c][r] = D[r * k + c];
    for (size_t i = 0; i < m; i += LIP_TILE) {
      double *x = X + i * ldx;
      for (size_t j = J; J > 0 && j < J + w; j += LIP_TILE) {
        lip_tile_dot(x, ldx, B + j * k, k, J, t);
        for (size_t r = 0; r < LIP_TILE; r++)
          for (size_t c = 0; c < LIP_TILE; c++) x[r * ldx + j + c] -= t[r][c];
      }
      lip_tile_substitute(x + J, ldx, k, w, D, T);
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
