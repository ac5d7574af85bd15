/* Rounding upwards and downwards in plain round-to-nearest arithmetic: no rounding mode is changed, so compilers
 * and threads cannot spoil it. For finite values >= 0. */
#ifndef LIP_NORM_ROUND_H
#define LIP_NORM_ROUND_H

#include <fenv.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/base/ieee.h"

/* Unit roundoff of double: fl(a op b) = (a op b)(1 + d), |d| <= LIP_U. */
#define LIP_U 0x1p-53

/* Next double outside [0, x] and inside it. */
static inline double lip_up(double x) {
  return nextafter(x, INFINITY);
}
static inline double lip_down(double x) {
  return x > 0 ? nextafter(x, 0) : 0;
}
static inline double lip_mul_up(double a, double b) {
  return lip_up(a * b);
}
static inline double lip_add_up(double a, double b) {
  return lip_up(a + b);
}
/* Exact when a is a square: the sign of r*r - a is known through one fused multiply-add. */
static inline double lip_sqrt_up(double a) {
  double r = sqrt(a);
  return fma(r, r, -a) < 0 ? lip_up(r) : r;
}
static inline double lip_sqrt_down(double a) {
  double r = sqrt(a);
  return fma(r, r, -a) > 0 ? lip_down(r) : r;
}
/* gamma_k = k u / (1 - k u) rounded upwards (Higham 2002, section 3.1); INFINITY when k u >= 1/2. */
static inline double lip_gamma(size_t k) {
  double ku = (double)k * LIP_U;
  return ku < 0.5 ? ku / (1 - ku) * (1 + 0x1p-50) : INFINITY;
}
/* Largest float <= x, for 0 <= x. */
static inline float lip_float_down(double x) {
  float f = (float)x;
  uint32_t bits; /* one less is the float below */
  memcpy(&bits, &f, sizeof bits);
  bits -= (double)f > x;
  memcpy(&f, &bits, sizeof f);
  return f;
}

/* Factor for numbers whose bound is `upper` > limit, less than limit / upper by `margin`, which is doubled: rounding of what is
 * scaled may leave a little above the limit, and then more is taken off, until it holds. An infinite bound tells nothing. */
static inline double lip_shrink(double upper, double limit, double *margin) {
  const double by = isfinite(upper) && *margin < 0.5 ? limit / upper * (1 - *margin) : 0x1p-64;
  *margin *= 2;
  return by;
}
/* What weights of norm 1 are multiplied by: the budget or the float below it, 1 where there is none. */
static inline float lip_budget_factor(double budget) {
  return isfinite(budget) ? lip_float_down(budget) : 1;
}

/* Training threads run with denormals flushed; norms and projections are exact about them, so they work in the
 * default environment (FE_DFL_ENV clears flush-to-zero and sets round-to-nearest) and put the caller's back. */
static inline void lip_ieee_enter(fenv_t *saved) {
  fegetenv(saved);
  fesetenv(FE_DFL_ENV);
}
static inline void lip_ieee_leave(const fenv_t *saved) {
  fesetenv(saved);
}

#endif
