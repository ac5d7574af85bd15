/* The matrices of a net in the units of affine.h (pairs rotated to sum and difference), and the first of them with its
 * wide input replaced by a square one. */
#ifndef LIP_BOUND_COMPRESS_H
#define LIP_BOUND_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/affine/affine.h"
#include "core/base/error.h"

/* Row i of T_l W_l T_{l-1}^-1 with T = [1 1; 1 -1] on a pair: at most LIP_ROTATED roundings per entry, so that it is
 * off by less than gamma of that many times the same entry of `size`, made of |W_l| (and as many roundings). Both (N). */
#define LIP_ROTATED 2
void lip_rotated_row(const lip_affine *a, size_t l, size_t i, double *row, double *size);

/* R (k, k), lower triangle with zeros above, k = units of the first block rounded up to LIP_PAD, with
 *   R R^T - Z diag(d)^-1 Z^T positive semi-definite,  Z = T_1 W_1, rows and columns from M on 0.
 * d (n_in) > 0, or NULL: all 1. *proved is false when that could not be done (numbers that are not finite or too far
 * apart). LIP_MEMORY. */
lip_status lip_compress(const lip_affine *a, const double *d, double *R, bool *proved, lip_err *err);

#endif
