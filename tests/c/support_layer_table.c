#include "support_layer_table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

test_case layer_case[LAYER_CASES];
size_t n_layer_cases;
const lip_pq layer_step[LAYER_STEPS] = {{LIP_P1, LIP_P1}, {LIP_P1, LIP_P2},   {LIP_P1, LIP_PINF},
                                        {LIP_P2, LIP_P2}, {LIP_P2, LIP_PINF}, {LIP_PINF, LIP_PINF}};

bool case_plans(const test_case *c, lip_pq pq, lip_project_method method, lip_init init, double budget,
                size_t B, rig *r) {
  return rig_open(r, c->spec, &c->in, pq, method, init, budget, B, NULL) == LIP_OK;
}

int make_layer_cases(void **state) {
  (void)state;
  n_layer_cases = layer_cases(layer_case, LAYER_CASES);
  assert_true(n_layer_cases > 0); /* 0: a kind or variant could not be planned; the message is above */
  return 0;
}

int free_layer_cases(void **state) {
  (void)state;
  for (size_t i = 0; i < n_layer_cases; i++) lip_spec_free(layer_case[i].spec);
  return 0;
}

const char *case_name(const test_case *c) {
  static char text[100];
  char shape[64];
  snprintf(text, sizeof text, "%s on %s", c->spec->kind->desc.name,
           lip_shape_describe(&c->in, shape, sizeof shape));
  return text;
}

void case_fill(float *x, size_t n, uint64_t seed, float size) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 1);
  lip_rng_fill_normal(&rng, x, n, 0, size);
}

double case_bound(const test_case *c, const lip_layer *l, lip_pq pq) {
  double upper = NAN;
  lip_err err;
  lip_status status = lip_layer_bound(l, pq, &upper, &err);
  REQUIRE(c, status == LIP_OK || (status == LIP_UNSUPPORTED && !lip_pq_tractable(pq)), "bound: status %d",
          status);
  REQUIRE(c, upper >= 0, "bound %g", upper);
  return upper;
}
