/* A small net with room for every claim that a certificate makes of it. */
#ifndef LIP_TEST_SUPPORT_CHECK_H
#define LIP_TEST_SUPPORT_CHECK_H

#include <stdint.h>

#include "core/check/check.h"

enum { IN = 3, H1 = 4, H2 = 4, C = 3, UNITS = H1 + H2, ROWS = 4 };

/* A net IN - H1 - H2 - C and everything claimed of it. */
typedef struct fixture {
  float W1[H1 * IN], b1[H1], W2[H2 * H1], b2[H2], W3[C * H2], b3[C];
  lip_check_layer layer[5];
  lip_check_net net;
  int path[4];
  double norm[3], pair[C * C], target[2 * 3], rho[3], lambda[3 * UNITS], weight[3 * IN], radius[ROWS];
  float label[ROWS], x[ROWS * IN];
  lip_check_claims claims;
} fixture;

typedef struct act {
  lip_check_kind kind;
  double slope;
} act;
/* Random weights and inputs for `seed`, exponent p (1, 2, 0 = inf) everywhere, claims that are true of any net. */
void check_fixture_init(fixture *f, act a, int p, uint64_t seed);
/* The checker of it; fails the test when it does not open. */
lip_check *check_opened(fixture *f);

#endif
