/* The 2->2 norm of one group of a convolution by a factorisation of its banded Gram matrix. */
#ifndef LIP_LAYER_CONV_BAND_H
#define LIP_LAYER_CONV_BAND_H

#include "core/base/error.h"
#include "core/layer/conv_norm.h"

/* Multiplications of one attempt, roughly; INFINITY where it would need too much memory. */
double lip_conv_band_cost(const lip_conv *c);
/* Upper bound of the norm of group g, a little above `estimate` when that is close to it (0.1 to 0.4 %, less where an attempt is
 * cheap), INFINITY when it is not. `schur`: an upper bound of sqrt(||.||_1->1 ||.||_inf->inf) of the group. LIP_MEMORY, LIP_CANCELLED. */
lip_status lip_conv_band_upper(const lip_conv *c, const float *w, size_t g, double estimate, double schur,
                               double *upper, lip_err *err);

#endif
