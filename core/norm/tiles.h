/* What factorisations of symmetric double matrices are made of, whole (symmetric.c) or in a band (band.c): tiles of dot
 * products and blocks of columns. For inside of hot functions. */
#ifndef LIP_NORM_TILES_H
#define LIP_NORM_TILES_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "core/base/simd.h"
#include "core/norm/lanes.h"

enum { LIP_TILE = 4, LIP_BLOCK = 32 };

/* out[i][j] = sum_p a[i][p] b[j][p] for 4 rows of each. */
LIP_INLINE void lip_tile_dot(const double *a, size_t lda, const double *b, size_t ldb, size_t n,
                             double out[LIP_TILE][LIP_TILE]) {
  lip_d8 c[LIP_TILE][LIP_TILE] = {{{0}}};
  for (size_t p = 0; p < n; p += LIP_LANES) {
    lip_d8 x[LIP_TILE], y;
    for (size_t i = 0; i < LIP_TILE; i++) LIP_LOAD(x[i], a + i * lda + p);
    for (size_t j = 0; j < LIP_TILE; j++) {
      LIP_LOAD(y, b + j * ldb + p);
      for (size_t i = 0; i < LIP_TILE; i++) c[i][j] += x[i] * y;
    }
  }
  for (size_t i = 0; i < LIP_TILE; i++)
    for (size_t j = 0; j < LIP_TILE; j++) out[i][j] = lip_sum_lanes(&c[i][j]);
}

/* Factor of the w x w block at D; its transpose goes to T, whose other entries are zero. */
LIP_INLINE bool lip_tile_factor(double *D, size_t k, size_t w, double T[LIP_BLOCK][LIP_BLOCK]) {
  memset(T, 0, sizeof(double[LIP_BLOCK][LIP_BLOCK]));
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
LIP_INLINE void lip_tile_substitute(double *x0, size_t ldx, size_t k, size_t w, const double *D,
                                    double T[LIP_BLOCK][LIP_BLOCK]) {
  double x[LIP_TILE][LIP_BLOCK];
  memset(x, 0, sizeof x);
  for (size_t r = 0; r < LIP_TILE; r++) memcpy(x[r], x0 + r * ldx, w * sizeof(double));
  for (size_t c = 0; c < w; c++)
    for (size_t r = 0; r < LIP_TILE; r++) {
      double v = x[r][c] / D[c * k + c];
      for (size_t q = 0; q < LIP_BLOCK; q++) x[r][q] -= v * T[c][q];
      x[r][c] = v;
    }
  for (size_t r = 0; r < LIP_TILE; r++) memcpy(x0 + r * ldx, x[r], w * sizeof(double));
}

#endif
