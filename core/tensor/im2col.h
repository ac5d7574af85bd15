/* Patches of an image as the columns of a matrix, so that a convolution is a matrix product. */
#ifndef LIP_TENSOR_IM2COL_H
#define LIP_TENSOR_IM2COL_H

#include <stddef.h>

/* Square kernel whose taps are `dilation` apart, so that it spans (kernel - 1) dilation + 1 places;
 * OH = (H + 2 padding - span) / stride + 1, OW likewise. */
typedef struct lip_patches {
  size_t H, W, kernel, stride, padding, dilation, OH, OW;
} lip_patches;

/* Taps k and k + lap meet the same inputs, and no tap between them does: stride / gcd(stride, dilation). */
size_t lip_patches_lap(const lip_patches *g);

/* col (C * kernel * kernel, OH * OW): row (c, ky, kx), column (oy, ox) = x[c, oy*stride + ky*dilation - padding, ...], 0
 * outside. x (C, H, W). */
void lip_im2col(float *col, const float *x, size_t C, const lip_patches *g);
/* The transposed map, added to x (C, H, W). */
void lip_col2im_add(float *x, const float *col, size_t C, const lip_patches *g);

#endif
