/* Row i of a band keeps the columns from the block `blocks` before its own on; all rows of a block begin at the same
 * column, so that dot products of rows of two blocks run over columns that lie side by side in both. */
#include "core/norm/band.h"

#include <math.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/mem.h"
#include "core/norm/round.h"
#include "core/norm/symmetric.h"
#include "core/norm/tiles.h"

bool lip_band_open(lip_band *g, size_t n, size_t half) {
  const size_t own = (n + LIP_BLOCK - 1) / LIP_BLOCK, reach = (half + LIP_BLOCK - 1) / LIP_BLOCK;
  *g = (lip_band){.n = n, .rows = own * LIP_BLOCK, .blocks = reach < own ? reach : own - 1};
  g->width = (g->blocks + 1) * LIP_BLOCK;
  g->cell = lip_alloc(g->rows, g->width * sizeof *g->cell);
  return g->cell != NULL;
}

LIP_INLINE double *at(const lip_band *g, size_t i, size_t j) {
  return g->cell + i * g->width + j + g->blocks * LIP_BLOCK - i / LIP_BLOCK * LIP_BLOCK;
}

double *lip_band_at(const lip_band *g, size_t i, size_t j) {
  return at(g, i, j);
}

/* The first column that rows of block I keep. */
LIP_INLINE size_t first(const lip_band *g, size_t I) {
  return I > g->blocks ? (I - g->blocks) * LIP_BLOCK : 0;
}

double lip_band_cost(size_t n, size_t half) {
  double b = (double)(half < n ? half : n) + LIP_BLOCK;
  return (double)n * b * (b / 2 + LIP_BLOCK);
}

/* Block (I, J) less the part of the columns before. */
LIP_INLINE void update(lip_band *B, size_t I, size_t J) {
  const size_t p0 = first(B, I), n = J * LIP_BLOCK - p0, ld = B->width;
  double t[LIP_TILE][LIP_TILE];
  for (size_t i = I * LIP_BLOCK; i < (I + 1) * LIP_BLOCK; i += LIP_TILE)
    for (size_t j = J * LIP_BLOCK; j < (J + 1) * LIP_BLOCK && j <= i; j += LIP_TILE) {
      lip_tile_dot(at(B, i, p0), ld, at(B, j, p0), ld, n, t);
      for (size_t r = 0; r < LIP_TILE; r++)
        for (size_t c = 0; c < LIP_TILE; c++)
          if (j + c <= i + r) *at(B, i + r, j + c) -= t[r][c];
    }
}

/* Cholesky factorisation in place; false as soon as a pivot is not positive (NaN included). */
LIP_HOT static bool cholesky(lip_band *B) {
  const size_t blocks = B->rows / LIP_BLOCK, ld = B->width;
  double T[LIP_BLOCK][LIP_BLOCK];
  for (size_t J = 0; J < blocks; J++) {
    double *D = at(B, J * LIP_BLOCK, J * LIP_BLOCK);
    if (lip_cancelled()) return false;
    for (size_t I = J; I <= J + B->blocks && I < blocks; I++) {
      if (J * LIP_BLOCK > first(B, I)) update(B, I, J);
      if (I == J && !lip_tile_factor(D, ld, LIP_BLOCK, T)) return false;
      for (size_t i = I * LIP_BLOCK; I > J && i < (I + 1) * LIP_BLOCK; i += LIP_TILE)
        lip_tile_substitute(at(B, i, J * LIP_BLOCK), ld, ld, LIP_BLOCK, D, T);
    }
  }
  return true;
}

bool lip_band_below(lip_band *g, double base, double e, double *a) {
  double trace = 0, most = 0;
  for (size_t i = 0; i < g->rows * g->width; i++) g->cell[i] = -g->cell[i];
  for (size_t i = 0; i < g->rows; i++) {
    double *d = at(g, i, i), b = base + *d;
    *d = b;
    trace += fabs(b);
    most = fabs(b) > most ? fabs(b) : most;
  }
  *a = lip_up(base + lip_sym_proof_shift(g->rows, trace, most, e));
  return isfinite(*a) && cholesky(g);
}
