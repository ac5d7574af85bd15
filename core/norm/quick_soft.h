/* The soft threshold on sixteen lanes, with the precision of double out of float32 operations. */
#ifndef LIP_NORM_QUICK_SOFT_H
#define LIP_NORM_QUICK_SOFT_H

#include "core/norm/lanes.h"
#include "core/norm/round.h"

/* A threshold in two floats: high <= tau, high + low >= tau. */
typedef struct lip_split {
  float high, low;
} lip_split;

LIP_INLINE lip_split lip_split_up(double tau) {
  lip_split s = {.high = lip_float_down(tau)};
  double rest = tau - (double)s.high; /* exact */
  s.low = (float)rest;
  uint32_t bits;
  memcpy(&bits, &s.low, sizeof bits);
  bits += (double)s.low < rest;
  memcpy(&s.low, &bits, sizeof bits);
  return s;
}

/* v = sign(v) max(|v| - high - low, 0) towards zero, 0 <= low <= ulp(high).
 * s + e = |v| - high exactly where that is positive (Dekker 1971), r = e - low with an error below 2^-46 |v|, and x the
 * float nearest to s + r: x - s is exact again, and larger than r just when x was rounded up. */
LIP_INLINE void lip_soft16(lip_f16 *v, const lip_f16 *high, const lip_f16 *low) {
  lip_i16 bits = (lip_i16)*v, sign = bits & INT32_MIN;
  lip_f16 a = (lip_f16)(bits & INT32_MAX), s = a - *high, r = ((a - s) - *high) - *low, x = s + r;
  lip_i16 rounded_up = (x - s) > r, active = x > 0;
  *v = (lip_f16)((((lip_i16)x + rounded_up) & active) | sign);
}

#endif
