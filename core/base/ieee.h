/* What every bound rests on: IEEE 754 arithmetic, rounded to nearest, as written. Compilers are asked here, processors by
 * lip_ieee_check. */
#ifndef LIP_BASE_IEEE_H
#define LIP_BASE_IEEE_H

#include <stdbool.h>

#include "core/base/error.h"

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) ||               \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
#error "lipwb cannot be built with -ffast-math, -Ofast or a part of them: certificates would not be sound"
#endif

/* Whether this thread computes as the bounds assume, now: rounding to nearest, no excess precision, and with `gradual`
 * denormal numbers neither flushed to zero nor read as zero. LIP_UNSUPPORTED with what is wrong. */
lip_status lip_ieee_check(bool gradual, lip_err *err);

#endif
