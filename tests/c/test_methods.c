/* What every row of the table of methods owes: infinity for what it cannot say, memory that fails, Ctrl-C, hostile
 * weights, the same numbers for any number of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/bound/method.h"
#include "support_cert.h"

static const char *const paths[] = {"1", "2", "inf", "1->inf", "2->inf", "1->2"};
enum { PATHS = sizeof paths / sizeof *paths };

static const char *name_at(size_t m) {
  const lip_method *method = lip_method_at(m);
  return method ? method->name : m > 0 && lip_method_at(m - 1) ? "best" : NULL;
}

static lip_status run(const char *method, const lip_net *net, const lip_path *path, bool pairs, lip_found *f,
                      lip_err *err) {
  lip_affine a;
  *f = (lip_found){.upper = INFINITY};
  lip_status status = lip_affine_init(&a, net, err);
  lip_ask q = {.net = net,
               .affine = &a,
               .path = *path,
               .p = lip_path_at(path, 0),
               .q = lip_path_at(path, lip_net_weighted(net)),
               .pairs = pairs,
               .seconds = INFINITY};
  if (!status) status = lip_method_run(method, &q, f, err);
  lip_affine_free(&a);
  return status;
}

static lip_net *small(const char *path, uint64_t seed) {
  return cert_build(path, (lip_shape){1, {5}}, "dense out=6;maxmin;dense out=4;relu;dense out=3", 1.2, seed);
}

static void rows_are_complete_and_found(void **state) {
  (void)state;
  lip_err err;
  lip_found f;
  for (size_t m = 0; lip_method_at(m); m++) {
    const lip_method *method = lip_method_at(m);
    assert_non_null(method->help);
    assert_true(strlen(method->help) > 10);
    assert_non_null(method->takes);
    assert_non_null(method->run);
    assert_ptr_equal(lip_method_find(method->name), method);
  }
  assert_null(lip_method_find("nothing"));
  assert_null(lip_method_find("best"));
  lip_net *net = small("2", 1);
  assert_int_equal(run("nothing", net, &net->conf.path, false, &f, &err), LIP_OPTION);
  assert_non_null(strstr(err.msg, "nothing"));
  lip_net_free(net);
}

static void best_is_the_smallest_of_each_number(void **state) {
  (void)state;
  lip_err err;
  for (size_t p = 0; p < PATHS; p++) {
    lip_net *net = small(paths[p], p);
    double upper = INFINITY, pair[9];
    lip_found f;
    for (size_t i = 0; i < 9; i++) pair[i] = INFINITY;
    for (size_t m = 0; lip_method_at(m); m++) {
      assert_int_equal(run(name_at(m), net, &net->conf.path, true, &f, &err), LIP_OK);
      upper = fmin(upper, f.upper);
      for (size_t i = 0; i < 9; i++) pair[i] = fmin(pair[i], f.pair[i]);
      lip_found_free(&f);
    }
    assert_int_equal(run("best", net, &net->conf.path, true, &f, &err), LIP_OK);
    assert_true(isfinite(f.upper) && f.upper <= upper * (1 + 1e-12));
    for (size_t i = 0; i < 9; i++) assert_true(f.pair[i] <= pair[i] * (1 + 1e-12));
    assert_non_null(lip_method_find(f.method));
    lip_found_free(&f);
    lip_net_free(net);
  }
}

/* NaN, infinity and overflow anywhere: unknown, never a number. */
static void hostile_weights_are_unknown(void **state) {
  (void)state;
  const float bad[] = {NAN, INFINITY, -INFINITY};
  lip_err err;
  for (size_t m = 0; name_at(m); m++)
    for (size_t p = 0; p < 3; p++)
      for (size_t l = 0; l < 3; l++)
        for (size_t v = 0; v < 3; v++) {
          lip_net *net = small(paths[p], 3);
          lip_found f;
          lip_net_weighted_layer(net, l)->param[0].value[1] = bad[v];
          assert_int_equal(run(name_at(m), net, &net->conf.path, true, &f, &err), LIP_OK);
          assert_true(f.upper == INFINITY);
          for (size_t i = 0; i < 3; i++)
            for (size_t j = 0; j < 3; j++) {
              double d = f.pair[3 * i + j];
              if (i == j)
                assert_true(d == 0);
              else if (l < 2 || i == 0 || j == 0) /* the other rows of the last matrix are as they were */
                assert_true(d == INFINITY);
              else
                assert_true(d >= 0);
            }
          lip_found_free(&f);
          lip_net_free(net);
        }
}

/* Where float32 numbers are as large or small as they can be, a bound is above what two points attain. */
static void extreme_weights_stay_above(void **state) {
  (void)state;
  const float scale[] = {0x1p-149f, 0x1p-126f, 0x1p-70f, 0x1p70f, 0x1p120f};
  lip_err err;
  for (size_t m = 0; name_at(m); m++)
    for (size_t p = 0; p < 3; p++)
      for (size_t s = 0; s < 5; s++)
        for (size_t t = 0; t < 5; t++) {
          lip_net *net = cert_build(paths[p], (lip_shape){1, {2}}, "dense out=2;relu;dense out=2", 0, 1);
          lip_found f;
          cert_set_weights(net, 0, (float[]){scale[s], 0, 0, scale[s]}); /* x > 0: y = w x - w x' and so on */
          cert_set_weights(net, 1, (float[]){scale[t], 0, 0, -scale[t]});
          double w = (double)scale[s] * (double)scale[t];
          assert_int_equal(run(name_at(m), net, &net->conf.path, true, &f, &err), LIP_OK);
          assert_true(f.upper >= w);
          assert_true(f.pair[1] >= w * (p == 0 ? 1 : p == 1 ? 1.4142135623730949 : 2));
          lip_found_free(&f);
          lip_net_free(net);
        }
}

static void zero_nets_have_constant_zero_at_most_a_little(void **state) {
  (void)state;
  lip_err err;
  for (size_t m = 0; name_at(m); m++)
    for (size_t p = 0; p < 3; p++) {
      lip_net *net = cert_build(paths[p], (lip_shape){1, {4}}, "dense out=4;relu;dense out=3", 0, 1);
      lip_found f;
      assert_int_equal(run(name_at(m), net, &net->conf.path, true, &f, &err), LIP_OK);
      assert_true(f.upper >= 0);
      if (isfinite(f.upper)) assert_true(f.upper <= 1e-100);
      lip_found_free(&f);
      lip_net_free(net);
    }
}

static void unknown_forms_are_infinity(void **state) {
  (void)state;
  lip_err err;
  lip_net *net = cert_build("2", (lip_shape){1, {12}}, "dense out=65;groupsort size=65;dense out=3", 1, 1);
  for (size_t m = 0; name_at(m); m++) {
    lip_found f;
    assert_int_equal(run(name_at(m), net, &net->conf.path, true, &f, &err), LIP_OK);
    bool product = strcmp(name_at(m), "product") == 0 || strcmp(name_at(m), "best") == 0;
    assert_true(product ? isfinite(f.upper) : f.upper == INFINITY);
    assert_true(product ? isfinite(f.pair[1]) : f.pair[1] == INFINITY);
    lip_found_free(&f);
  }
  lip_net_free(net);
}

static void nothing_is_said_of_pairs_unasked(void **state) {
  (void)state;
  lip_err err;
  for (size_t p = 0; p < PATHS; p++) {
    lip_net *net = small(paths[p], 8);
    for (size_t m = 0; name_at(m); m++) {
      lip_found with, without;
      assert_int_equal(run(name_at(m), net, &net->conf.path, true, &with, &err), LIP_OK);
      assert_int_equal(run(name_at(m), net, &net->conf.path, false, &without, &err), LIP_OK);
      assert_null(without.pair);
      if (isfinite(with.upper)) assert_true(fabs(with.upper - without.upper) <= 1e-3 * with.upper);
      lip_found_free(&with);
      lip_found_free(&without);
    }
    lip_net_free(net);
  }
}

static void threads_do_not_matter(void **state) {
  (void)state;
  lip_err err;
  lip_pool *pool = lip_pool_new(3, &err);
  assert_non_null(pool);
  const char *layers = "dense out=48;maxmin;dense out=40;relu;dense out=6";
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = cert_build(paths[p], (lip_shape){1, {96}}, layers, 1, 2);
    for (size_t m = 0; name_at(m); m++) {
      lip_found one, three;
      assert_int_equal(run(name_at(m), net, &net->conf.path, true, &one, &err), LIP_OK);
      net->engine.pool = pool;
      assert_int_equal(run(name_at(m), net, &net->conf.path, true, &three, &err), LIP_OK);
      net->engine.pool = NULL;
      assert_true(one.upper == three.upper);
      assert_memory_equal(one.pair, three.pair, 36 * sizeof(double));
      lip_found_free(&one);
      lip_found_free(&three);
    }
    lip_net_free(net);
  }
  lip_pool_free(pool);
}

static void a_raised_flag_stops(void **state) {
  (void)state;
  lip_err err;
  lip_cancel flag = {0};
  lip_cancel_raise(&flag);
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = small(paths[p], 4);
    net->engine.cancel = &flag;
    size_t held = lip_mem_used();
    for (size_t m = 0; name_at(m); m++) {
      lip_found f;
      lip_status status = run(name_at(m), net, &net->conf.path, true, &f, &err);
      if (status) assert_int_equal(status, LIP_CANCELLED);
      if (strcmp(name_at(m), "abs") == 0 || strcmp(name_at(m), "exact") == 0 ||
          strcmp(name_at(m), "best") == 0)
        assert_int_equal(status, LIP_CANCELLED);
      lip_found_free(&f);
      assert_int_equal(lip_mem_used(), held);
    }
    lip_net_free(net);
  }
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_err err;
  for (size_t p = 0; p < 3; p++)
    for (size_t m = 0; name_at(m); m++) {
      lip_net *net = small(paths[p], 4);
      size_t held = lip_mem_used(), failed = 1;
      for (size_t n = 1; failed; n++) {
        lip_found f;
        assert_true(n < 20000);
        lip_mem_fail_nth(n);
        lip_status status = run(name_at(m), net, &net->conf.path, true, &f, &err);
        failed = lip_mem_failed();
        lip_mem_fail_nth(0);
        assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
        if (failed) assert_true(f.upper == INFINITY && !f.pair && !f.proof);
        lip_found_free(&f);
        assert_int_equal(lip_mem_used(), held);
      }
      lip_net_free(net);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_complete_and_found),
      cmocka_unit_test(best_is_the_smallest_of_each_number),
      cmocka_unit_test(hostile_weights_are_unknown),
      cmocka_unit_test(extreme_weights_stay_above),
      cmocka_unit_test(zero_nets_have_constant_zero_at_most_a_little),
      cmocka_unit_test(unknown_forms_are_infinity),
      cmocka_unit_test(nothing_is_said_of_pairs_unasked),
      cmocka_unit_test(threads_do_not_matter),
      cmocka_unit_test(a_raised_flag_stops),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
