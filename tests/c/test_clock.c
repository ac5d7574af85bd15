/* The clocks: one that never steps back, and the one on the wall. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/clock.h"

static void never_back(void **state) {
  (void)state;
  double first = lip_seconds(), last = first;
  for (int i = 0; i < 100000; i++) {
    double t = lip_seconds();
    assert_true(t >= last);
    last = t;
  }
  assert_true(last > first);
}

/* A sleep is not shorter than asked for, by this clock too. */
static void counts_seconds(void **state) {
  (void)state;
  double first = lip_seconds();
  const struct timespec rest = {.tv_nsec = 20000000};
  nanosleep(&rest, NULL);
  assert_true(lip_seconds() - first >= 0.02);
}

static void on_the_wall(void **state) {
  (void)state;
  assert_true(fabs(lip_wall_seconds() - (double)time(NULL)) < 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(never_back), cmocka_unit_test(counts_seconds),
                                     cmocka_unit_test(on_the_wall)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
