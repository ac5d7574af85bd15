/* Inside of core/tensor: ways to convolve channel planes as they stand, where that is faster than to bring them into pixels.
 * The functions take the arguments of lip_direct_forward, lip_direct_backward and lip_direct_grad; of finite
 * numbers they make the same bits as those do by tiles of pixels, but for the weight gradient of lip_planes_depthwise. */
#ifndef LIP_TENSOR_CONV_PLANES_H
#define LIP_TENSOR_CONV_PLANES_H

#include "core/tensor/conv.h"

typedef struct lip_planes {
  /* Floats of scratch, or 0: not this way. There must be kernels, and sizes that fit (lip_direct_scratch). */
  size_t (*room)(const lip_direct *s);
  void (*forward)(const lip_direct *s, const float *w, const float *b, size_t B, const float *x, float *y,
                  float *scratch);
  void (*backward)(const lip_direct *s, const float *w, size_t B, const float *dy, const float *gate,
                   float *dx, float *scratch);
  void (*grad)(const lip_direct *s, size_t B, const float *x, const float *dy, size_t u0, size_t u1,
               float beta, float *dw, float *scratch);
} lip_planes;

/* The way that is taken instead of pixels, or NULL. */
const lip_planes *lip_planes_of(const lip_direct *s);

extern const lip_planes lip_planes_depthwise; /* every channel alone, 3x3, stride 1 */
extern const lip_planes lip_planes_point;     /* 1x1, stride 1 */

#endif
