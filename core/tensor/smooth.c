/* exp of a non-positive argument carries all three functions: exp(-|x|) never overflows, and each is a ratio or a
 * logarithm of it without cancellation. The polynomials are minimax fits in the relative error of the whole function
 * (Lawson's iteratively reweighted least squares), then rounded to float32. */
#include "core/tensor/smooth.h"

#include <math.h>

#include "core/base/simd.h"
#include "core/tensor/vmath.h"

/* log(1 + e) for e in [0, 1] or NaN: 2 artanh(s), s = e / (2 + e) in [0, 1/3]. */
LIP_INLINE float log1p_unit(float e) {
  float s = e / (2.0f + e), z = s * s;
  float p = 1.400633305311203e-1f;
  p = p * z + 1.4000838994979858e-1f;
  p = p * z + 2.001076638698578e-1f;
  p = p * z + 3.333320915699005e-1f;
  return 2.0f * (s + s * (z * p));
}

LIP_INLINE float tanh_one(float x) {
  float a = fabsf(x), z = x * x;
  float p = -5.704749375581741e-3f;
  p = p * z + 2.0638883113861084e-2f;
  p = p * z - 5.373965576291084e-2f;
  p = p * z + 1.3331441581249237e-1f;
  p = p * z - 3.333328068256378e-1f;
  float small = x + x * (z * p);
  float e = lip_expf(-2.0f * a);
  float large = copysignf((1.0f - e) / (1.0f + e), x);
  return a < 0.625f ? small : large;
}

LIP_INLINE float sigmoid_one(float x) {
  float e = lip_expf(-fabsf(x));
  float top = x < 0 ? e : 1.0f;
  return top / (1.0f + e);
}

LIP_HOT void lip_vec_tanh(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = tanh_one(x[i]);
}

LIP_HOT void lip_vec_sigmoid(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = sigmoid_one(x[i]);
}

LIP_HOT void lip_vec_softplus(float *y, const float *x, float beta, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float v = x[i];
    float tail = log1p_unit(lip_expf(-fabsf(beta * v))) / beta;
    y[i] = (v > 0 ? v : 0.0f) + tail; /* NaN survives in the tail */
  }
}
