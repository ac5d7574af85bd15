/* The search for multipliers against the optimum: values of an independent solver, its form against the elimination, what it
 * leaves when it is stopped; and the closed form from the input against the elimination. */
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
#include "core/bound/interior.h"
#include "core/bound/method.h"
#include "support_cert.h"

static const char *const layers[] = {
    "dense out=6;relu;dense out=3",
    "dense out=5;relu;dense out=7;relu;dense out=3",
    "dense out=12;relu;dense out=9;leaky_relu slope=0.2;dense out=10;sigmoid;dense out=4",
    "dense out=6;abs;dense out=4;abs;dense out=2",
    "dense out=6;maxmin;dense out=8;maxmin;dense out=3",
    "dense out=9;groupsort size=3;dense out=6;groupsort size=3;dense out=3",
    "dense out=7;tanh;dense out=5;relu;abs;dense out=2",
    "dense out=8;maxmin;dense out=7;leaky_relu slope=0.1;dense out=11",
    "dense out=8;relu;dense out=20;relu;dense out=12;relu;dense out=9;relu;dense out=8;relu;dense out=3",
};
enum { KINDS = sizeof layers / sizeof *layers, MOST = 40 };

static lip_affine affine_of(const lip_net *net) {
  lip_affine a;
  lip_err err;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  assert_null(a.unknown);
  return a;
}

static lip_found ask_for(const char *method, const lip_net *net, bool pairs, const bool *only,
                         double seconds) {
  lip_found f;
  lip_err err;
  lip_affine a = affine_of(net);
  lip_ask q = {
      .net = net, .affine = &a, .path = net->conf.path, .pairs = pairs, .only = only, .seconds = seconds};
  q.p = lip_path_at(&q.path, 0);
  q.q = lip_path_at(&q.path, lip_net_weighted(net));
  if (lip_method_run(method, &q, &f, &err)) fail_msg("%s: %s", method, err.msg);
  lip_affine_free(&a);
  return f;
}

/* ---- values of LipSDP ---- */

/* Relu net of `hidden` layers of width w, weights uniform with variance 2 / inputs from the seed. */
static lip_net *seeded(const char *path, uint64_t seed, size_t n_in, size_t w, size_t hidden, size_t out) {
  char text[400] = "", one[60];
  for (size_t l = 0; l < hidden; l++) {
    snprintf(one, sizeof one, "dense out=%zu;relu;", w);
    strcat(text, one);
  }
  snprintf(one, sizeof one, "dense out=%zu", out);
  strcat(text, one);
  lip_net *net = cert_build(path, (lip_shape){1, {n_in}}, text, 1, 1);
  for (size_t l = 0; l <= hidden; l++) {
    size_t N = l ? w : n_in, all = (l < hidden ? w : out) * N;
    float *W = calloc(all, sizeof *W);
    assert_non_null(W);
    lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, l);
    for (size_t k = 0; k < all; k++) W[k] = (float)((2 * lip_rng_uniform(&rng) - 1) * sqrt(6 / (double)N));
    cert_set_weights(net, l, W);
    free(W);
  }
  return net;
}

/* LipSDP-Neuron (Fazlyab et al. 2019, theorem 2) of the same weights to nine digits, written in CVXPY 1.9.3 and solved by
 * Clarabel 0.11.1 with its defaults: minimise rho (sum of d for norm inf) with M of lmi.h positive semidefinite and
 * lambda >= 0, each matrix divided by its norm and the result multiplied by these; for norm inf the largest of the
 * values of single rows. */
static const struct {
  const char *path;
  size_t seed, n_in, width, hidden, out;
  double lipsdp;
} reference[] = {
    {"2", 1, 5, 20, 6, 5, 79.48422703},   {"2", 2, 1, 30, 4, 2, 37.05147179},
    {"2", 3, 4, 40, 4, 10, 40.62103359},  {"2", 4, 10, 24, 6, 3, 55.21156393},
    {"2", 6, 4, 16, 4, 3, 18.3635344},    {"inf", 5, 1, 20, 3, 2, 16.45215008},
    {"inf", 6, 4, 16, 4, 3, 31.46894080},
};

static void as_small_as_lipsdp(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof reference / sizeof *reference; i++) {
    lip_net *net = seeded(reference[i].path, reference[i].seed, reference[i].n_in, reference[i].width,
                          reference[i].hidden, reference[i].out);
    lip_found f = ask_for("multiplier", net, false, NULL, INFINITY);
    double want = reference[i].lipsdp;
    print_message("%-7s %zu-%zux%zu-%zu: %.6g, LipSDP %.6g\n", reference[i].path, reference[i].n_in,
                  reference[i].width, reference[i].hidden, reference[i].out, f.upper, want);
    assert_true(f.upper >= want * (1 - 1e-5) && f.upper <= want * (1 + 2e-4));
    assert_string_equal(f.reason, "");
    lip_found_free(&f);
    lip_net_free(net);
  }
}

/* ---- the method itself ---- */

typedef struct attempt {
  lip_net *net;
  lip_affine a;
  lip_elim *e;
  lip_interior *t;
  double *lambda, d[MOST], rho; /* where it begins, then where it ends */
  size_t n_in;
  bool weighted;
} attempt;

static lip_rows some_rows(size_t i, size_t C) {
  if (i % 3 == 0) return (lip_rows){LIP_NO_ROW, LIP_NO_ROW};
  return (lip_rows){i % C, i % 3 == 1 ? (i + 1) % C : LIP_NO_ROW};
}

/* `t` stays where it is: the elimination borrows its matrices. */
static void begin(attempt *t, size_t i, bool weighted) {
  lip_err err;
  *t = (attempt){.n_in = i % 5 < 3 ? 2 + i % 4 : 20, .weighted = weighted};
  t->net = cert_build("2", (lip_shape){1, {t->n_in}}, layers[i % KINDS], 1.5, i);
  t->a = affine_of(t->net);
  assert_int_equal(lip_elim_new(&t->a, weighted, &t->e, &err), LIP_OK);
  assert_int_equal(lip_interior_new(t->e, &t->t, &err), LIP_OK);
  t->lambda = calloc(lip_elim_count(t->e), sizeof *t->lambda);
  assert_non_null(t->lambda);
  for (size_t k = 0; k < t->n_in; k++) t->d[k] = 1;
  lip_elim_target(t->e, some_rows(i, t->a.n_out));
  if (weighted) assert_true(lip_elim_weigh(t->e, t->d));
  t->rho = 2 * lip_elim_closed(t->e, 0.5, t->lambda);
  assert_true(isfinite(t->rho));
}

static void end(attempt *t) {
  free(t->lambda);
  lip_interior_free(t->t);
  lip_elim_free(t->e);
  lip_affine_free(&t->a);
  lip_net_free(t->net);
}

/* The constant squared of multipliers and weights, by the elimination. */
static double value_of(attempt *t, const double *lambda, const double *d) {
  double sum = 0;
  for (size_t k = 0; k < t->n_in; k++) sum += t->weighted ? d[k] : 0;
  if (t->weighted && !lip_elim_weigh(t->e, d)) return INFINITY;
  return lip_elim_rho(t->e, lambda, 1e-12, 0, NULL) * (t->weighted ? sum : 1);
}

static bool stop_after(void *left) {
  int *n = left;
  return (*n)-- == 0;
}

/* What it ends with is feasible by the elimination, which knows nothing of its matrices; and no multipliers around have a
 * value below it by more than the gap. */
static void ends_at_the_least_value(void **state) {
  (void)state;
  const double gap = 1e-5;
  for (size_t i = 0; i < 4 * KINDS; i++) {
    attempt t;
    begin(&t, i, i % 2);
    size_t n = lip_elim_count(t.e);
    double started = value_of(&t, t.lambda, t.d), *other = calloc(n, sizeof *other), d[MOST], sum = 0;
    int never = 1000;
    assert_non_null(other);
    assert_true(lip_interior_run(t.t, t.lambda, t.weighted ? t.d : NULL, &t.rho, gap, stop_after, &never));
    for (size_t k = 0; k < t.n_in; k++) sum += t.weighted ? t.d[k] : 1.0 / (double)t.n_in;
    double found = value_of(&t, t.lambda, t.d);
    assert_true(found <= t.rho * sum * (1 + 1e-9) && found >= t.rho * sum * (1 - 2 * gap));
    assert_true(found < started && never > 950);
    lip_rng rng = lip_rng_new(i, LIP_RNG_USER, 5);
    for (int tries = 0; tries < 200; tries++) {
      double far = exp2(-(double)(tries % 12));
      for (size_t k = 0; k < n; k++) other[k] = t.lambda[k] * exp(far * (2 * lip_rng_uniform(&rng) - 1));
      for (size_t k = 0; k < t.n_in; k++)
        d[k] = t.d[k] * (t.weighted ? exp(far * (2 * lip_rng_uniform(&rng) - 1)) : 1);
      double v = value_of(&t, other, d);
      assert_true(v >= found * (1 - gap));
    }
    free(other);
    end(&t);
  }
}

/* Stopped anywhere it leaves multipliers that are feasible for the rho it says. */
static void can_be_stopped_anywhere(void **state) {
  (void)state;
  for (size_t i = 0; i < KINDS; i++)
    for (int steps = 0; steps < 12; steps++) {
      attempt t;
      begin(&t, i, i % 2);
      double sum = 0;
      int left = steps;
      bool any = lip_interior_run(t.t, t.lambda, t.weighted ? t.d : NULL, &t.rho, 1e-8, stop_after, &left);
      assert_int_equal(any, steps > 0);
      for (size_t k = 0; k < t.n_in; k++) sum += t.weighted ? t.d[k] : 1.0 / (double)t.n_in;
      if (any) assert_true(value_of(&t, t.lambda, t.d) <= t.rho * sum * (1 + 1e-9));
      end(&t);
    }
}

static void nothing_to_begin_with(void **state) {
  (void)state;
  for (size_t i = 0; i < 3; i++) {
    attempt t;
    begin(&t, i, false);
    int never = 1000;
    double bad = i == 0 ? NAN : i == 1 ? INFINITY : 0;
    t.lambda[0] = i == 2 ? t.lambda[0] : bad;
    if (i == 2) t.rho = bad;
    assert_false(lip_interior_run(t.t, t.lambda, NULL, &t.rho, 1e-4, stop_after, &never));
    end(&t);
  }
}

/* ---- forwards ---- */

static void forwards_is_what_the_elimination_says(void **state) {
  (void)state;
  size_t made = 0, smaller = 0;
  for (size_t i = 0; i < 8 * KINDS; i++) {
    attempt t;
    begin(&t, i, false);
    double closed = lip_elim_closed(t.e, LIP_ELIM_ROOM, t.lambda), rho = lip_elim_forward(t.e, t.lambda);
    if (rho < INFINITY) {
      double found = lip_elim_rho(t.e, t.lambda, 1e-12, 0, NULL);
      /* multipliers that are a hair larger may already have a smaller one, where they are next to their limit */
      assert_true(found <= rho * (1 + 1e-9) && found >= rho * (1 - (i % KINDS < 2 ? 1e-4 : 1e-2)));
      made++;
      smaller += rho < closed * (1 - 1e-3);
    }
    end(&t);
  }
  assert_true(made >= 30 && smaller >= 8 && smaller < made);
}

/* ---- the methods ---- */

static void same_for_any_number_of_threads(void **state) {
  (void)state;
  static const char *const path[] = {"2", "inf"};
  for (size_t i = 0; i < 2; i++) {
    lip_err err;
    lip_net *net = seeded(path[i], 9, 3, 14, 6, 4);
    lip_found one = ask_for("multiplier", net, true, NULL, INFINITY);
    lip_pool *pool = lip_pool_new(3, &err);
    assert_non_null(pool);
    net->engine.pool = pool;
    lip_found many = ask_for("multiplier", net, true, NULL, INFINITY);
    assert_memory_equal(&one.upper, &many.upper, sizeof one.upper);
    assert_memory_equal(one.pair, many.pair, 16 * sizeof *one.pair);
    net->engine.pool = NULL;
    lip_pool_free(pool);
    lip_found_free(&one);
    lip_found_free(&many);
    lip_net_free(net);
  }
}

static void survives_without_memory(void **state) {
  (void)state;
  lip_net *net = seeded("inf", 9, 2, 5, 2, 2);
  lip_affine a = affine_of(net);
  lip_ask q = {
      .net = net, .affine = &a, .path = net->conf.path, .p = LIP_PINF, .q = LIP_PINF, .seconds = INFINITY};
  size_t held = lip_mem_used(), failures = 0;
  for (size_t nth = 1;; nth++) {
    lip_found f;
    lip_err err;
    lip_mem_fail_nth(nth);
    lip_status status = lip_method_run("multiplier", &q, &f, &err);
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
    lip_found_free(&f);
    assert_int_equal(lip_mem_used(), held);
    if (!failed) break;
    failures++;
  }
  assert_true(failures > 60);
  lip_affine_free(&a);
  lip_net_free(net);
}

/* Chosen pairs are those of the whole table, the others stay unknown; without time there is the product. */
static void chosen_pairs_and_no_time(void **state) {
  (void)state;
  static const char *const path[] = {"2", "inf"};
  for (size_t i = 0; i < 2; i++) {
    lip_net *net = cert_build(path[i], (lip_shape){1, {4}}, "dense out=6;relu;dense out=5", 1.5, 3);
    bool only[25] = {0};
    only[1 * 5 + 4] = only[4 * 5 + 1] = only[2 * 5] = only[2] = true;
    for (size_t m = 0; lip_method_at(m) || (m > 0 && lip_method_at(m - 1)); m++) {
      const char *name = lip_method_at(m) ? lip_method_at(m)->name : "best";
      lip_found all = ask_for(name, net, true, NULL, INFINITY),
                some = ask_for(name, net, true, only, INFINITY);
      assert_memory_equal(&all.upper, &some.upper, sizeof all.upper);
      for (size_t k = 0; k < 25; k++) {
        double want = k % 6 == 0 || only[k] ? all.pair[k] : (double)INFINITY;
        assert_memory_equal(&some.pair[k], &want, sizeof want);
      }
      lip_found_free(&all);
      lip_found_free(&some);
    }
    lip_found product = ask_for("product", net, true, only, INFINITY);
    for (size_t m = 0; m < 2; m++) {
      lip_found f = ask_for(m ? "multiplier" : "recursion", net, true, only, 0);
      assert_string_equal(f.method, "product");
      assert_null(f.proof);
      assert_true(strstr(f.reason, "out of time: 0 of ") == f.reason);
      assert_memory_equal(&f.upper, &product.upper, sizeof f.upper);
      assert_memory_equal(f.pair, product.pair, 25 * sizeof *f.pair);
      lip_found_free(&f);
    }
    lip_found_free(&product);
    lip_net_free(net);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(as_small_as_lipsdp),
      cmocka_unit_test(ends_at_the_least_value),
      cmocka_unit_test(can_be_stopped_anywhere),
      cmocka_unit_test(nothing_to_begin_with),
      cmocka_unit_test(forwards_is_what_the_elimination_says),
      cmocka_unit_test(same_for_any_number_of_threads),
      cmocka_unit_test(survives_without_memory),
      cmocka_unit_test(chosen_pairs_and_no_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
