/* Numbers as they are shown: on the safe side, the next of their length, and as they are where they are short. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/decimal.h"
#include "core/base/rng.h"

static double printed(const char *fmt, int digits, double v) {
  char text[400];
  snprintf(text, sizeof text, fmt, digits, v);
  return strtod(text, NULL);
}

/* The text of what is shown reads back to it, is no less than v, and a text of as many digits between the two there is
 * none: the nearest text of v is that or the one below it. */
static void check_digits(double v, int digits) {
  double up = lip_digits_up(v, digits), down = lip_digits_down(v, digits);
  if (isfinite(up)) assert_true(printed("%.*g", digits, up) == up);
  if (isfinite(down)) assert_true(printed("%.*g", digits, down) == down);
  if (!(up >= v && down <= v)) fail_msg("%d digits of %.17g: %.17g and %.17g", digits, v, down, up);
  double nearest = printed("%.*g", digits, v);
  assert_true(nearest == up || nearest == down || !isfinite(nearest));
  if (nearest == v) assert_true(up == v && down == v);
  if (up > v && down < v) { /* neighbours */
    double middle = printed("%.*g", digits, down + (up - down) / 2);
    assert_true(middle == up || middle == down || digits > 14);
  }
  assert_true(lip_digits_up(-v, digits) == -down);
}

static void check_decimals(double v, int n) {
  double up = lip_decimals_up(v, n), down = lip_decimals_down(v, n), unit = pow(10, -n);
  assert_true(up >= v && down <= v && up - down <= unit * (1 + 1e-3) + fabs(v) * 0x1p-51);
  if (fabs(v) < 1e14 * unit) assert_true(printed("%.*f", n, up) == up && printed("%.*f", n, down) == down);
  if (printed("%.*f", n, v) == v) assert_true(up == v && down == v);
}

static void any_number(void **state) {
  (void)state;
  static const double some[] = {0.1,
                                0.10000000149,
                                0.3,
                                1,
                                9.9999999995,
                                99970,
                                99999.5,
                                1e22,
                                1e-300,
                                5e-324,
                                2e-308,
                                1e308,
                                1.7976931348623157e308,
                                0.57300000000000006,
                                1000000,
                                123456789.125,
                                4503599627370497.5};
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  for (size_t i = 0; i < sizeof some / sizeof *some; i++)
    for (int n = 1; n <= 15; n++) {
      check_digits(some[i], n);
      check_decimals(some[i], n);
      check_decimals(-some[i], n - 1);
    }
  for (size_t i = 0; i < 20000; i++) {
    uint64_t bits = (uint64_t)lip_rng_below(&rng, UINT32_MAX) << 32 | lip_rng_below(&rng, UINT32_MAX);
    double v, tame = pow(10, 8 * lip_rng_uniform(&rng) - 4);
    memcpy(&v, &bits, sizeof v);
    if (isfinite(v)) check_digits(v, 1 + (int)(i % 15));
    check_digits((double)(float)tame, 1 + (int)(i % 15));
    check_decimals(i % 2 ? tame : -tame, (int)(i % 16));
    check_decimals(i % 2 ? 1e4 * tame : -1e4 * tame, (int)(i % 16));
  }
}

static void known_numbers(void **state) {
  (void)state;
  assert_true(lip_digits_up((double)0.1f, 9) == 0.100000002);
  assert_true(lip_digits_up((double)0.1f, 8) == 0.10000001);
  assert_true(lip_digits_down((double)0.1f, 9) == 0.100000001);
  assert_true(lip_digits_up(9.996, 3) == 10 && lip_digits_down(9.996, 3) == 9.99);
  assert_true(lip_digits_up(-9.996, 3) == -9.99 && lip_digits_down(-9.996, 3) == -10);
  assert_true(lip_digits_down(99970, 3) == 99900 && lip_digits_up(-99970, 3) == -99900);
  assert_true(lip_decimals_up(0.001, 2) == 0.01 && lip_decimals_down(0.001, 2) == 0);
  assert_true(lip_decimals_up(-0.001, 2) == 0 && lip_decimals_down(-0.001, 2) == -0.01);
  assert_true(lip_digits_up(INFINITY, 5) == INFINITY && isnan(lip_digits_up(NAN, 5)));
  assert_true(lip_decimals_down(-INFINITY, 5) == -INFINITY && isnan(lip_decimals_up(NAN, 5)));
  assert_true(lip_digits_up(1.7976931348623157e308, 5) == INFINITY);
  assert_true(lip_digits_up(0, 3) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(known_numbers), cmocka_unit_test(any_number)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
