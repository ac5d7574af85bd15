#include "support_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"

void check_fixture_init(fixture *f, act a, int p, uint64_t seed) {
  memset(f, 0, sizeof *f);
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, f->W1, H1 * IN, 0, 0.7f);
  lip_rng_fill_normal(&rng, f->b1, H1, 0, 0.5f);
  lip_rng_fill_normal(&rng, f->W2, H2 * H1, 0, 0.7f);
  lip_rng_fill_normal(&rng, f->b2, H2, 0, 0.5f);
  lip_rng_fill_normal(&rng, f->W3, C * H2, 0, 0.7f);
  lip_rng_fill_normal(&rng, f->b3, C, 0, 0.5f);
  lip_rng_fill_normal(&rng, f->x, ROWS * IN, 0, 1);
  f->layer[0] = (lip_check_layer){.kind = LIP_CHECK_DENSE, .M = H1, .N = IN, .W = f->W1, .b = f->b1};
  f->layer[1] = f->layer[3] = (lip_check_layer){.kind = a.kind, .slope = a.slope};
  f->layer[2] = (lip_check_layer){.kind = LIP_CHECK_DENSE, .M = H2, .N = H1, .W = f->W2, .b = f->b2};
  f->layer[4] = (lip_check_layer){.kind = LIP_CHECK_DENSE, .M = C, .N = H2, .W = f->W3, .b = f->b3};
  f->net = (lip_check_net){IN, C, 5, f->layer};
  for (int i = 0; i < 4; i++) f->path[i] = p;
  for (int i = 0; i < 3; i++) f->norm[i] = INFINITY;
  for (int i = 0; i < C * C; i++) f->pair[i] = i % (C + 1) == 0 ? 0 : (double)INFINITY;
  for (int i = 0; i < 3 * IN; i++) f->weight[i] = 1;
  for (int i = 0; i < 3 * UNITS; i++) f->lambda[i] = 1;
  f->claims = (lip_check_claims){.dense = 3,
                                 .path = f->path,
                                 .float32 = true,
                                 .norm = f->norm,
                                 .pair = f->pair,
                                 .units = a.kind == LIP_CHECK_MAXMIN ? UNITS / 2 : UNITS,
                                 .target = f->target,
                                 .rho = f->rho,
                                 .lambda = f->lambda,
                                 .rows = ROWS,
                                 .label = f->label,
                                 .radius = f->radius};
}

lip_check *check_opened(fixture *f) {
  lip_check *c;
  lip_err err = {0};
  if (lip_check_open(&f->net, &f->claims, &c, &err)) fail_msg("%s", err.msg);
  return c;
}
