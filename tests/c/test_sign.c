/* Nets of one output as classifiers by its sign: the matrices of the logits 0 and f, and radii against search where
 * rounding matters. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/affine/affine.h"
#include "core/base/mem.h"
#include "core/bound/method.h"
#include "core/net/wide.h"
#include "support_cert.h"

static const char *const nets[] = {
    "dense out=1",
    "dense out=6;maxmin;dense out=1",
    "dense out=6;relu;dense out=1;scale factor=3",
    "dense out=6;relu;dense out=1;tanh",
    "scale factor=0.5;dense out=4;abs;dense out=1;abs",
    "residual alpha=0.3 {dense out=6;relu};dense out=1",
};
enum { NETS = sizeof nets / sizeof *nets, N_IN = 6 };

/* The last matrix has a row of zeros before the one it had; nothing else is another. */
static void check_classes(const lip_net *net) {
  lip_err err;
  lip_affine one, two;
  assert_int_equal(lip_affine_init(&one, net, &err), LIP_OK);
  assert_int_equal(lip_affine_classes(&two, net, &err), LIP_OK);
  assert_int_equal(two.n, one.n);
  assert_int_equal(two.n_out, 2);
  const lip_block *a = &one.block[one.n - 1], *b = &two.block[two.n - 1];
  assert_int_equal(b->M, 2);
  assert_int_equal(b->own, 2);
  assert_int_equal(b->N, a->N);
  assert_true((a->fold != NULL) == (b->fold != NULL));
  for (size_t k = 0; k < a->N; k++) {
    assert_true(lip_block_weight(b, k) == 0 && b->W[k] == 0);
    assert_true(lip_block_weight(b, a->N + k) == lip_block_weight(a, k) && b->W[a->N + k] == a->W[k]);
  }
  assert_true(b->b[0] == 0 && b->b[1] == a->b[0]);
  for (size_t i = 0; i < 2; i++) assert_true(b->low[i] == 1 && b->high[i] == 1);
  if (a->fold) {
    const lip_fold *f = a->fold, *g = b->fold;
    assert_true(g->c[0] == 0 && g->off[0] == 0 && g->size[0] == 0 && g->rounds[0] == 0 && g->flat[0] == 0 &&
                g->steep[0] == 0);
    assert_true(g->c[1] == f->c[0] && g->off[1] == f->off[0] && g->size[1] == f->size[0] &&
                g->rounds[1] == f->rounds[0] && g->flat[1] == f->flat[0] && g->steep[1] == f->steep[0]);
    assert_true(g->reach == f->reach && g->rise == f->rise);
  }
  lip_affine_free(&one);
  lip_affine_free(&two);
}

static void a_row_of_zeros(void **state) {
  (void)state;
  bool folded = false;
  for (size_t i = 0; i < NETS; i++) {
    lip_err err;
    lip_affine a;
    lip_net *net = cert_build("2", (lip_shape){1, {N_IN}}, nets[i], 1, i + 1);
    check_classes(net);
    assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
    folded = folded || a.block[a.n - 1].fold;
    lip_affine_free(&a);
    lip_net_free(net);
  }
  assert_true(folded);
}

/* Several outputs are as they are, and what has no form has none. */
static void other_nets_stay(void **state) {
  (void)state;
  lip_err err;
  lip_affine a;
  lip_net *net = cert_build("2", (lip_shape){1, {N_IN}}, "dense out=3", 1, 1);
  assert_int_equal(lip_affine_classes(&a, net, &err), LIP_OK);
  assert_int_equal(a.n_out, 3);
  lip_affine_free(&a);
  lip_net_free(net);
  net = cert_build("2", (lip_shape){1, {130}}, "groupsort size=65;dense out=1", 1, 1);
  assert_int_equal(lip_affine_classes(&a, net, &err), LIP_OK);
  assert_int_equal(a.n, 0);
  assert_int_equal(a.n_out, 2);
  assert_string_equal(a.unknown, "groupsort");
  lip_affine_free(&a);
  lip_net_free(net);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_err err;
  lip_net *net = cert_build("2", (lip_shape){1, {N_IN}}, "dense out=4;relu;dense out=1;scale factor=3", 1, 1);
  size_t held = lip_mem_used(), failed = 1;
  for (size_t n = 1; failed; n++) {
    lip_affine a;
    assert_true(n < 1000);
    lip_mem_fail_nth(n);
    lip_status status = lip_affine_classes(&a, net, &err);
    failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
    lip_affine_free(&a);
    assert_int_equal(lip_mem_used(), held);
  }
  lip_net_free(net);
}

/* Nobody finds the other sign within a radius, whatever the size of weights, biases and inputs. */
static void radii_hold_where_rounding_counts(void **state) {
  (void)state;
  static const double sizes[] = {1e-30, 1e-12, 1e-3, 1, 1e5, 1e20};
  static const char *const paths[] = {"1", "2", "inf", "1->inf", "2->inf"};
  size_t positive = 0, all = 0;
  for (size_t i = 0; i < NETS; i++)
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++)
      for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (uint64_t seed = 1; seed < 4; seed++) {
          lip_net *net = cert_build(paths[p], (lip_shape){1, {N_IN}}, nets[i], 1, seed);
          lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, k);
          float x[N_IN];
          /* large biases that cancel: what is left is rounding */
          lip_layer *last = lip_net_weighted_layer(net, lip_net_weighted(net) - 1);
          if (seed == 3 && last->n_param > 1) last->param[1].value[0] = (float)sizes[k];
          for (size_t n = 0; n < N_IN; n++) x[n] = (float)(sizes[k] * lip_rng_normal(&rng));
          for (int m = 0; m < 3; m++)
            for (int tight = 0; tight < 2; tight++) {
              if (m == 1 && lip_wide_missing(net)) continue;
              lip_certify_conf conf = {.arithmetic = (lip_arithmetic)m, .tight = tight};
              lip_radius r = cert_with(net, x, &conf);
              if (m == 0) assert_int_equal(r.label, cert_label(net, x));
              if (m == 0) assert_int_equal(cert_attack(net, x, &r, net->conf.path.p[0], 12, seed), 0);
              positive += r.radius > 0;
              all++;
            }
          lip_net_free(net);
        }
  assert_true(positive > all / 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_row_of_zeros),
      cmocka_unit_test(other_nets_stay),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(radii_hold_where_rounding_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
