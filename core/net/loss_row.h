/* What the rows of all losses share: a row with NaN or infinity in it gives NaN, in the value and in each gradient,
 * however the formula would have swallowed it (a maximum with 0 turns NaN and -infinity into a harmless number). */
#ifndef LIP_NET_LOSS_ROW_H
#define LIP_NET_LOSS_ROW_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/base/simd.h"

/* By the bits: an integer "or" over a row becomes vectors, a chain of isfinite does not. */
LIP_INLINE bool lip_row_finite(const float *x, size_t n) {
  uint32_t bad = 0;
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bad |= (bits & 0x7f800000u) == 0x7f800000u;
  }
  return !bad;
}

/* dz (C) may be NULL. */
LIP_INLINE void lip_row_refuse(double *value, float *dz, size_t C) {
  *value = NAN;
  for (size_t i = 0; dz && i < C; i++) dz[i] = NAN;
}

#endif
