/* Convolution without patches, on pixels (order.h) with a border of zeros: what an output reads is a few runs of numbers,
 * and tiles of outputs are summed in registers (conv_tile.h). Arguments are images in either order, those in planes are
 * brought into pixels and back a few at a time; weights are (OUT, C / groups, kernel, kernel).
 *
 * Of images in pixels only the interior is written; what is read of their borders must be zeros.
 *
 * Shapes must be proved by the caller: nothing is checked and nothing can fail. `scratch`: lip_direct_scratch() bytes,
 * aligned to 64, of this thread's own. The bits of an image's output and input gradient depend on that image alone, those
 * of the weight gradient not on how the units are cut. */
#ifndef LIP_TENSOR_CONV_H
#define LIP_TENSOR_CONV_H

#include <stdbool.h>
#include <stddef.h>

#include "core/tensor/im2col.h"
#include "core/tensor/order.h"

typedef struct lip_direct {
  lip_patches at;
  size_t C, OUT, groups;
  lip_order in, out; /* of x and dx, and of y and dy */
  bool relu;         /* y is 0 where the sum is <= 0; NaN passes */
  bool again;        /* scratch is as the same pass with the same weights has left it */
} lip_direct;

/* Whether the orders may be pixels; else both must be planes. */
bool lip_direct_takes_pixels(const lip_direct *s);
/* Whether planes for both are as good as pixels for both. */
bool lip_direct_does_planes(const lip_direct *s);
/* Zeros around the image that x in pixels needs at least, and dy. */
size_t lip_direct_border_in(const lip_direct *s);
size_t lip_direct_border_out(const lip_direct *s);

/* Bytes that one call needs, or 0: there are no kernels for it (see lip_gemm_backend), or they would need more than
 * `most` bytes. Constant after start. */
size_t lip_direct_scratch(const lip_direct *s, double most);

/* y (B images of OUT x OH x OW) from x (B of C x H x W); b (OUT) or NULL. */
void lip_direct_forward(const lip_direct *s, const float *w, const float *b, size_t B, const float *x,
                        float *y, void *scratch);
/* dx (of x's shape) from dy (of y's), and where `gate` (in x's order, pixels unless lip_direct_does_planes) is given 0
 * where it is <= 0; NaN passes.
 * Inputs that no output reads keep in pixels what they are. */
void lip_direct_backward(const lip_direct *s, const float *w, size_t B, const float *dy, const float *gate,
                         float *dx, void *scratch);
/* dw = beta dw + the gradient, for output channels u0..u1 of it; dw is the whole array, beta 0 or 1. */
void lip_direct_grad(const lip_direct *s, size_t B, const float *x, const float *dy, size_t u0, size_t u1,
                     float beta, float *dw, void *scratch);
/* The same of the bias, db (OUT), summed in double. Where dy stands in planes scratch may be NULL, and there need be no
 * kernels. */
void lip_direct_grad_bias(const lip_direct *s, size_t B, const float *dy, size_t u0, size_t u1, float beta,
                          float *db, void *scratch);

/* Both by parts of the batch, so that the parts may be taken in any order: each has sums of its own, lip_direct_sums()
 * floats aligned to 64. `scratch` is lip_direct_scratch_by_parts() bytes, and may be that of lip_direct_backward at the same
 * time: neither disturbs what `again` asks the other for. */
size_t lip_direct_sums(const lip_direct *s);
size_t lip_direct_scratch_by_parts(const lip_direct *s);
/* sums = (fresh) or += what B images give. */
void lip_direct_grad_add(const lip_direct *s, size_t B, const float *x, const float *dy, bool fresh,
                         float *sums, void *scratch);
/* dw = beta dw + the sums of all parts in their order, `step` floats apart, for output channels u0..u1; db (OUT) likewise,
 * or NULL. */
void lip_direct_grad_take(const lip_direct *s, size_t parts, const float *sums, size_t step, size_t u0,
                          size_t u1, float beta, float *dw, float *db, void *scratch);

#endif
