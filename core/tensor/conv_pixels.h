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

#endif
