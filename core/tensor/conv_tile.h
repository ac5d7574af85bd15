/* Inside of core/tensor: the innermost loops of direct convolution (conv.c), one set per family of kernels.
 *
 * A tile is `places` rows of `lanes` or twice as many numbers, kept in registers while it is summed. Every number is one
 * chain of additions in the order the terms are given, so it has the same bits wherever in a tile it stands. */
#ifndef LIP_TENSOR_CONV_TILE_H
#define LIP_TENSOR_CONV_TILE_H

#include <stddef.h>

enum { LIP_TILE_PLACES = 12, LIP_TILE_WIDTH = 32 }; /* of the largest tile */

/* What becomes of a sum before it is written. */
typedef enum lip_tile_end {
  LIP_TILE_AS_IT_IS,
  LIP_TILE_RELU, /* 0 where it is <= 0 */
  LIP_TILE_GATED /* 0 where gate[i][v] <= 0 */
} lip_tile_end;

/* y[i][v] = bias[v] + sum over terms t of w[t * strip + v] x[i][at(t)]: runs of `length` numbers side by side, `cols` of
 * them `col_step` apart, and `rows` such rows `row_step` apart. */
typedef struct lip_tile_sum {
  const float *x[LIP_TILE_PLACES];
  float *y[LIP_TILE_PLACES];
  const float *gate[LIP_TILE_PLACES]; /* LIP_TILE_GATED alone */
  const float *w, *bias;
  size_t rows, cols, length, row_step, col_step;
  lip_tile_end end;
} lip_tile_sum;

/* dw[i][v] += sum over places p < n, from 0, of dy[dy_at[p] + v] x[x_at[p] + term[i]]. */
typedef struct lip_tile_outer {
  const float *x, *dy;
  const size_t *x_at, *dy_at;
  size_t n, term[LIP_TILE_PLACES];
  float *dw[LIP_TILE_PLACES];
} lip_tile_outer;

typedef struct lip_tile {
  size_t places, lanes, strip;           /* strip: 2 * lanes, a full row */
  void (*sum[2])(const lip_tile_sum *t); /* of one and of two vectors in a row */
  void (*outer[2])(const lip_tile_outer *t);
} lip_tile;

typedef enum lip_tile_kind {
  LIP_TILE_FULL, /* as many places as registers hold */
  LIP_TILE_EACH, /* where x is read at a place it is read at v places further on: every channel meets itself alone */
  LIP_TILE_LOW /* 4 or 8 places, for places that are channels: their numbers are mostly multiples of it */
} lip_tile_kind;

/* That of the kernel's family; NULL: plain loops are asked for. The same answer for the whole run. */
const lip_tile *lip_tile_get(lip_tile_kind kind);

#endif
