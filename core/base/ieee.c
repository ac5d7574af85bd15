/* Every number passes through memory, so that the processor computes at run time and the compiler nothing before. */
#include "core/base/ieee.h"

#include <fenv.h>
#include <float.h>
#include <stddef.h>

/* Ties and directions: 1 + u is a tie that goes to the even 1; 1 + 3u is one that goes up; the negatives alike. */
static bool rounds_to_nearest(void) {
  volatile double one = 1, u = 0x1p-53;
  volatile double tie = one + u, up = one + 3 * u, down = -one - u, third = one / 3, back = -one / 3;
  volatile float single = 1, v = 0x1p-24f;
  volatile float float_tie = single + v, float_up = single + 3 * v;
  return fegetround() == FE_TONEAREST && tie == 1 && up == 1 + 0x1p-51 && down == -1 && third == -back &&
         float_tie == 1 && float_up == 1 + 0x1p-22f;
}

/* Sums that need one bit more than the type has: an x87 would keep it. */
static bool keeps_no_excess(void) {
  volatile double big = 0x1p53, one = 1, sum = big + one, rest = (big + one) - big;
  volatile float large = 0x1p24f, unit = 1, float_rest = (large + unit) - large;
  return FLT_EVAL_METHOD == 0 && sum == big && rest == 0 && float_rest == 0;
}

static bool underflows_gradually(void) {
  volatile float least = FLT_MIN, half = least / 2, twice = half * 2, smallest = 0x1p-149f,
                 up = smallest * 0x1p30f;
  volatile double small = DBL_MIN, part = small / 2, whole = part * 2;
  return half > 0 && twice == FLT_MIN && up > 0 && part > 0 && whole == DBL_MIN;
}

lip_status lip_ieee_check(bool gradual, lip_err *err) {
  const char *wrong = !rounds_to_nearest() ? "this thread does not round to nearest"
                      : !keeps_no_excess() ? "this build keeps more digits than the types have"
                      : gradual && !underflows_gradually() ? "denormal numbers are flushed to zero"
                                                           : NULL;
  if (!wrong) return LIP_OK;
  return lip_fail(err, LIP_UNSUPPORTED, "no certificate: %s, and the error bounds assume IEEE 754 arithmetic",
                  wrong);
}
