/* Products of a matrix with rows that lie side by side, in registers: STRIP columns of PAIR lanes at a time. For files that
 * include it once. */
#ifndef LIP_CERT_TILE_H
#define LIP_CERT_TILE_H

#include <string.h>

#include "core/base/simd.h"
#include "core/cert/relax_parts.h"
#include "core/norm/lanes.h"

enum { PAIR = 2 * LIP_LANES, STRIP = 8 }; /* lanes and columns that are summed in registers */

/* Columns n0 .. n0+n-1 of rows of V, zeros behind. */
LIP_INLINE void pack(double *strip, const slab *s, const lip_live *u, size_t K, size_t n0, size_t n) {
  for (size_t k = 0; k < K; k++) {
    lip_d8 v;
    lip_load_d(&v, s->V + s->row[u[k].unit] + n0, n);
    LIP_STORE(strip + k * STRIP, v);
  }
}

/* Where a vector of eight is more than one register gcc keeps arrays of such vectors in memory, piece by piece; plain loops
 * over fewer sums do what they should. Every sum has the same order, so the numbers are the same. */
#define UNROLL _Pragma("GCC unroll 8")
enum { FEW = STRIP / 2 }; /* columns that such loops sum at a time, LIP_LANES lanes of each */

/* C columns, LIP_LANES lanes: sum over k of a row's numbers w_k times those of unit k. */
LIP_INLINE void narrow_tile(double (*sum)[LIP_LANES], const double *w, const double *h, size_t C) {
  UNROLL for (size_t c = 0; c < C; c++) for (size_t i = 0; i < LIP_LANES; i++) sum[c][i] += w[c] * h[i];
}

LIP_INLINE void narrow(double (*out)[PAIR], const double *strip, const double *v, size_t L, const lip_live *u,
                       size_t K) {
  for (size_t c = 0; c < STRIP; c += FEW)
    for (size_t i = 0; i < PAIR; i += LIP_LANES) {
      double sum[FEW][LIP_LANES] = {{0}};
      for (size_t k = 0; k < K; k++) narrow_tile(sum, strip + k * STRIP + c, v + u[k].place * L + i, FEW);
      for (size_t d = 0; d < FEW; d++) memcpy(out[c + d] + i, sum[d], sizeof sum[d]);
    }
}

LIP_INLINE void wide(double (*out)[PAIR], const double *strip, const double *v, size_t L, const lip_live *u,
                     size_t K) {
  lip_d8 sum[STRIP][2];
  memset(sum, 0, sizeof sum);
  for (size_t k = 0; k < K; k++) {
    lip_d8 h0, h1;
    LIP_LOAD(h0, v + u[k].place * L);
    LIP_LOAD(h1, v + u[k].place * L + LIP_LANES);
    for (size_t c = 0; c < STRIP; c++) {
      double w = strip[k * STRIP + c];
      sum[c][0] += w * h0;
      sum[c][1] += w * h1;
    }
  }
  memcpy(out, sum, sizeof sum);
}

/* out (STRIP columns, PAIR lanes) = sum over k of what stands in the strip times the rows' numbers. */
LIP_INLINE void tile(double (*out)[PAIR], const double *strip, const double *v, size_t L, const lip_live *u,
                     size_t K, bool is_wide) {
  if (is_wide)
    wide(out, strip, v, L, u, K);
  else
    narrow(out, strip, v, L, u, K);
}

#endif
