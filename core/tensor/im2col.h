/* Patches of an image as the columns of a matrix, so that a convolution is a matrix product. */
#ifndef LIP_TENSOR_IM2COL_H
#define LIP_TENSOR_IM2COL_H

#include <stdbool.h>
#include <stddef.h>

/* Square kernel whose taps are `dilation` apart, so that it spans (kernel - 1) dilation + 1 places;
 * OH = (H + 2 padding - span) / stride + 1, OW likewise. Flat: a kernel of one row, 1 x kernel, that slides along every
 * row of the image by itself, OH = H. */
typedef struct lip_patches {
  size_t H, W, kernel, stride, padding, dilation, OH, OW;
  bool flat;
} lip_patches;

/* One side of it: output o < out reads inputs o stride + k dilation - padding, k < kernel, of n. */
typedef struct lip_axis {
  size_t n, out, kernel, stride, padding, dilation;
} lip_axis;
lip_axis lip_patches_y(const lip_patches *g);
lip_axis lip_patches_x(const lip_patches *g);
size_t lip_patches_taps(const lip_patches *g); /* of the kernel, rows times columns */

/* Taps k and k + lap meet the same inputs, and no tap between them does: stride / gcd(stride, dilation). */
size_t lip_axis_lap(const lip_axis *a);
size_t lip_patches_lap(const lip_patches *g); /* of a square kernel, both sides alike */

/* col (C * taps, OH * OW): row (c, ky, kx), column (oy, ox) = x[c, oy*stride + ky*dilation - padding, ...] with the numbers
 * of each side, 0 outside. x (C, H, W). */
void lip_im2col(float *col, const float *x, size_t C, const lip_patches *g);
/* The transposed map, added to x (C, H, W). */
void lip_col2im_add(float *x, const float *col, size_t C, const lip_patches *g);

#endif
