/* Every row of layers.def when memory runs out: nothing crashes or leaks, and no bound gets smaller. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "support_layer_table.h"

static void every_failing_allocation_is_survived(void **state) {
  (void)state;
  for (size_t i = 0; i < n_layer_cases; i++) {
    for (size_t s = 0; s < LAYER_STEPS; s++)
      for (size_t nth = 1;; nth++) {
        rig r;
        lip_err err = {LIP_OK, ""};
        size_t before = lip_mem_used();
        lip_mem_fail_nth(nth);
        lip_status status = rig_open(&r, layer_case[i].spec, &layer_case[i].in, layer_step[s], LIP_EUCLIDEAN,
                                     LIP_INIT_ON_BALL, 2, 1, &err);
        bool failed = lip_mem_failed();
        lip_mem_fail_nth(0);
        if (failed && status == LIP_OK) { /* something optional went without it */
          rig_close(&r);
        } else if (status == LIP_OK) {
          rig_close(&r);
          break;
        } else {
          if (!failed) break; /* this step of the path is not for this kind */
          REQUIRE(&layer_case[i], status == LIP_MEMORY && err.code == LIP_MEMORY, "allocation %zu: %s", nth,
                  err.msg);
        }
        REQUIRE(&layer_case[i], lip_mem_used() == before, "allocation %zu leaks", nth);
      }
  }
}

static void bound_and_exact_projection_survive_failing_allocations(void **state) {
  (void)state;
  for (size_t i = 0; i < n_layer_cases; i++)
    for (size_t s = 0; s < LAYER_STEPS; s++) {
      rig r;
      const test_case *c = &layer_case[i];
      if (!case_plans(c, layer_step[s], LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 1, &r)) continue;
      case_fill(r.weights, r.n_params, 3, 1);
      double honest = case_bound(c, r.l, layer_step[s]);
      bool failed = true;
      for (size_t nth = 1; failed; nth++) {
        double upper = 0;
        lip_err err;
        lip_mem_fail_nth(nth);
        lip_status status = lip_layer_bound(r.l, layer_step[s], &upper, &err);
        failed = lip_mem_failed();
        lip_mem_fail_nth(0);
        REQUIRE(c, upper >= honest * (1 - 1e-9), "bound %g too small without memory", upper);
        REQUIRE(c, status == LIP_OK || (failed && status == LIP_MEMORY), "bound: status %d", status);
      }
      for (size_t k = 0; k < r.n_leaf; k++) {
        failed = true;
        for (size_t nth = 1; failed; nth++) {
          lip_err err;
          r.leaf[k]->budget = 0.5 / (double)nth;
          lip_mem_fail_nth(nth);
          lip_status status = lip_layer_project_exact(r.leaf[k], &err);
          failed = lip_mem_failed();
          lip_mem_fail_nth(0);
          REQUIRE(c, status == LIP_OK || (failed && status == LIP_MEMORY), "projection: status %d", status);
        }
      }
      rig_close(&r);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_failing_allocation_is_survived),
      cmocka_unit_test(bound_and_exact_projection_survive_failing_allocations),
  };
  return cmocka_run_group_tests(tests, make_layer_cases, free_layer_cases);
}
