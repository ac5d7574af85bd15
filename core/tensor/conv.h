/* Convolution without patches: images are turned into pixels with their channels side by side and a border of zeros, so
 * that what an output reads is a few runs of numbers, and tiles of outputs are summed in registers (conv_tile.h). Only
 * this module knows that order: arguments are (B, C, H, W), weights (OUT, C / groups, kernel, kernel).
 *
 * Shapes must be proved by the caller: nothing is checked and nothing can fail. `scratch`: lip_direct_scratch() bytes,
 * aligned to 64, of this thread's own. The bits of an image's output and input gradient depend on that image alone, those
 * of the weight gradient not on how the units are cut. */
#ifndef LIP_TENSOR_CONV_H
#define LIP_TENSOR_CONV_H

#include <stddef.h>

#include "core/tensor/im2col.h"

typedef struct lip_direct {
  lip_patches at;
  size_t C, OUT, groups;
} lip_direct;

/* Bytes that one call needs, or 0: there are no kernels for it (see lip_gemm_backend), or they would need more than
 * `most` bytes. Constant after start. */
size_t lip_direct_scratch(const lip_direct *s, double most);

/* y (B, OUT, OH, OW) from x (B, C, H, W); b (OUT) or NULL. */
void lip_direct_forward(const lip_direct *s, const float *w, const float *b, size_t B, const float *x,
                        float *y, void *scratch);
/* dx (B, C, H, W) from dy (B, OUT, OH, OW). */
void lip_direct_backward(const lip_direct *s, const float *w, size_t B, const float *dy, float *dx,
                         void *scratch);
/* dw = beta dw + the gradient, for output channels u0..u1 of it; dw is the whole array, beta 0 or 1. */
void lip_direct_grad(const lip_direct *s, size_t B, const float *x, const float *dy, size_t u0, size_t u1,
                     float beta, float *dw, void *scratch);

#endif
