/* A convolution without its bias as a linear map of a few images at a time, on the image size it is used with. */
#ifndef LIP_LAYER_CONV_MAP_H
#define LIP_LAYER_CONV_MAP_H

#include <stddef.h>

#include "core/layer/conv_norm.h"

/* Bytes of one group's patches of an image (K, OH OW), a multiple of 64: what plain loops keep in front of scratch, with
 * that of their product (lip_gemm_scratch) behind it. */
size_t lip_conv_patch_bytes(const lip_conv *c);
/* Bytes of scratch, aligned to 64. */
size_t lip_conv_map_scratch(const lip_conv *c);
/* y (B, OUT, OH, OW) of x (B, C, H, W), and the transposed map. */
void lip_conv_map(const lip_conv *c, const float *w, size_t B, const float *x, float *y, void *scratch);
void lip_conv_map_back(const lip_conv *c, const float *w, size_t B, const float *y, float *x, void *scratch);

/* The 2->2 norm of group g as far as Lanczos' method finds it, from below but for float32 rounding: not a bound. LIP_MEMORY,
 * LIP_CANCELLED. Weights must be finite. */
lip_status lip_conv_estimate(const lip_conv *c, const float *w, size_t g, double *norm, lip_err *err);

#endif
