/* Inside of core/tensor: rows of numbers (channel planes, kernels) into places where those of one column stand side by
 * side, and back. */
#ifndef LIP_TENSOR_CONV_PIXELS_H
#define LIP_TENSOR_CONV_PIXELS_H

#include <stddef.h>

/* to[place[i] + r] = from[r * step + i], i < n, r < rows. */
void lip_pixels_spread(float *to, const size_t *place, size_t n, const float *from, size_t rows, size_t step);
/* to[r * step + i] = beta to[r * step + i] + from[place[i] + r]; beta 0 (to is not read) or 1. */
void lip_pixels_collect(float *to, size_t rows, size_t step, const float *from, const size_t *place, size_t n,
                        float beta);
/* sum[i] += from[p * step + i], p from 0 to n - 1, i < rows. */
void lip_pixels_sum(double *sum, size_t rows, const float *from, size_t n, size_t step);

enum {
  LIP_PIXELS_MOST = 16, /* images that are taken at a time */
  LIP_PIXELS_PLACES =
      128 /* of dy and x that the weight gradient goes over again and again: they stay in the first cache */
};
/* Images of P places that are taken at a time: so many that tiles are full. */
size_t lip_pixels_images(size_t P);
/* place[i] = i * step, i < n. */
void lip_pixels_steps(size_t *place, size_t n, size_t step);
/* Where so many floats of scratch begin, on a boundary of 64 bytes; *end is moved behind them. */
size_t lip_pixels_room(size_t *end, size_t floats);

#endif
