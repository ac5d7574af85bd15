/* Two bounds of a convolution's 2->2 norm that are tighter than those from the kernel's shape, one group at a time. */
#ifndef LIP_LAYER_CONV_SPECTRAL_H
#define LIP_LAYER_CONV_SPECTRAL_H

#include "core/base/error.h"
#include "core/layer/conv_norm.h"

/* Multiplications, roughly: what to choose by. */
double lip_conv_explicit_cost(const lip_conv *c);
double lip_conv_fourier_cost(const lip_conv *c);

/* The norm of group g written out as a matrix: exact but for rounding (opnorm.h). LIP_MEMORY. */
lip_status lip_conv_explicit_upper(const lip_conv *c, const float *w, size_t g, double *upper, lip_err *err);
/* The norm of a circular convolution that contains group g. LIP_MEMORY. */
lip_status lip_conv_fourier_upper(const lip_conv *c, const float *w, size_t g, double *upper, lip_err *err);

#endif
