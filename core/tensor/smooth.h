/* Smooth functions of contiguous float32 arrays, vectorised. Errors are against the exact function of the stored
 * argument, measured over every float32 (2.51, 3.04, 3.81) and rounded up; units are u = 2^-24 (half an ulp of 1).
 *
 * NaN gives NaN; infinities give the limits. Results below 2^-126 may come out as 0 (sigmoid, softplus). y may be x.
 * The bits of an element depend on its own argument only, not on n or its place. */
#ifndef LIP_TENSOR_SMOOTH_H
#define LIP_TENSOR_SMOOTH_H

#include <stddef.h>

#define LIP_TANH_ERROR 3.0    /* relative, in u */
#define LIP_SIGMOID_ERROR 3.5 /* relative, in u, where the result is normal */
#define LIP_SOFTPLUS_ERROR                                                                                   \
  5.0 /* relative, in u, for a normal result: 4 for beta = 1, and the division by beta */

void lip_vec_tanh(float *y, const float *x, size_t n);
/* 1 / (1 + exp(-x)) */
void lip_vec_sigmoid(float *y, const float *x, size_t n);
/* log(1 + exp(beta x)) / beta, beta > 0. The product beta x is rounded once; its effect, at most
 * u |x| sigmoid(beta x), adds to the error above. */
void lip_vec_softplus(float *y, const float *x, float beta, size_t n);

#endif
