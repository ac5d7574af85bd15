/* All cases of support_layer.h as a table, for tests whose groups are set up by make_layer_cases. */
#ifndef LIP_TESTS_SUPPORT_LAYER_TABLE_H
#define LIP_TESTS_SUPPORT_LAYER_TABLE_H

#include "support_layer.h"

extern test_case layer_case[LAYER_CASES];
extern size_t n_layer_cases;
int make_layer_cases(void **state); /* fails the group when a kind or variant cannot be planned */
int free_layer_cases(void **state);

/* Every step of a norm path that is offered. */
enum { LAYER_STEPS = 6 };
extern const lip_pq layer_step[LAYER_STEPS];

/* rig_open; false: refused. */
bool case_plans(const test_case *c, lip_pq pq, lip_project_method method, lip_init init, double budget,
                size_t B, rig *r);
const char *case_name(const test_case *c); /* "dense on 6"; static storage */
/* lip_layer_bound, which must not fail. */
double case_bound(const test_case *c, const lip_layer *l, lip_pq pq);
void case_fill(float *x, size_t n, uint64_t seed, float size); /* normal numbers */

#define REQUIRE(c, ok, ...)                                                                                  \
  do {                                                                                                       \
    if (!(ok)) {                                                                                             \
      print_error("%s: ", case_name(c));                                                                     \
      print_error(__VA_ARGS__);                                                                              \
      print_error("\n");                                                                                     \
      fail();                                                                                                \
    }                                                                                                        \
  } while (0)

#endif
