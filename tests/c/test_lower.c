/* Attained lower bounds: known where the net is known by heart, never above what is proved, whatever the weights. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/bound/attain.h"
#include "core/bound/bound.h"
#include "core/bound/method.h"
#include "core/bound/slope.h"
#include "support_cert.h"

static const char *const paths[] = {"1", "2", "inf", "1->inf", "2->inf", "1->2"};
enum { PATHS = sizeof paths / sizeof *paths };

static double lower_of(lip_net *net, const float *x, size_t B, double *pair) {
  lip_err err;
  double lower = -1;
  if (lip_bound_lower(net, NULL, x, B, &lower, pair, &err)) fail_msg("%s", err.msg);
  return lower;
}

/* Slope of one net at one point in one direction. */
static double slope_at(lip_net *net, const float *x, const float *v, lip_p p, lip_p q, double *pair) {
  lip_err err;
  lip_affine a;
  lip_attain w;
  double lower = 0;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  assert_int_equal(lip_attain_init(&w, &a, &err), LIP_OK);
  lip_attain_at(&w, x, v, p, q, &lower, pair);
  lip_attain_free(&w);
  lip_affine_free(&a);
  return lower;
}

static void linear_nets_are_attained(void **state) {
  (void)state;
  const float w[] = {1, 2, -2, -1, 0, 2}, x[] = {0.3f, -1, 2, 5, 5, 5}; /* row difference 2 2 -4 */
  const double pairs[] = {4, sqrt(24), 8, 4, sqrt(24), 4};
  const double all[] = {4,      sqrt(7 + sqrt(29)), 5, 2, 3,
                        sqrt(8)}; /* of W: columns, sigma, rows, entries ... */
  for (size_t p = 0; p < PATHS; p++) {
    lip_net *net = cert_build(paths[p], (lip_shape){1, {3}}, "dense out=2", 0, 1);
    double pair[4];
    cert_set_weights(net, 0, w);
    double lower = lower_of(net, x, 2, pair);
    assert_true(lower <= all[p] && lower >= all[p] * (1 - 1e-9));
    assert_true(pair[1] <= pairs[p] && pair[1] >= pairs[p] * (1 - 1e-9));
    assert_true(pair[1] == pair[2] && pair[0] == 0 && pair[3] == 0);
    lip_net_free(net);
  }
}

/* relu(x) - relu(x) is 0 everywhere, |x| has slopes of both signs at 0: what cannot be told is not claimed. */
static void kinks_claim_nothing(void **state) {
  (void)state;
  const float v[] = {1}, points[] = {0, 1, -1, 0x1p-149f};
  lip_net *net = cert_build("2", (lip_shape){1, {1}}, "dense out=2;relu;dense out=1", 0, 1);
  cert_set_weights(net, 0, (float[]){1, 1});
  cert_set_weights(net, 1, (float[]){1, -1});
  for (size_t i = 0; i < 4; i++) assert_true(slope_at(net, points + i, v, LIP_P2, LIP_P2, NULL) <= 1e-100);
  lip_net_free(net);
  net = cert_build("2", (lip_shape){1, {1}}, "dense out=1;abs;dense out=1", 0, 1);
  cert_set_weights(net, 0, (float[]){3});
  cert_set_weights(net, 1, (float[]){1});
  assert_true(slope_at(net, points, v, LIP_P2, LIP_P2, NULL) == 0);
  double s = slope_at(net, points + 1, v, LIP_P2, LIP_P2, NULL);
  assert_true(s <= 3 && s > 3 * (1 - 1e-14));
  lip_net_free(net);
  /* the same values in either order: maxmin at a tie, where the two increments may be exchanged */
  net = cert_build("inf", (lip_shape){1, {2}}, "maxmin;dense out=1", 0, 1);
  cert_set_weights(net, 0, (float[]){1, -1}); /* max - min = |a - b| */
  assert_true(slope_at(net, (float[]){1, 1}, (float[]){1, -1}, LIP_PINF, LIP_PINF, NULL) == 0);
  s = slope_at(net, (float[]){1, 2}, (float[]){1, -1}, LIP_PINF, LIP_PINF, NULL);
  assert_true(s <= 2 && s > 2 * (1 - 1e-14));
  lip_net_free(net);
}

static void smooth_slopes_are_known(void **state) {
  (void)state;
  const float v[] = {-2};
  lip_net *net = cert_build("2", (lip_shape){1, {1}}, "dense out=1;tanh;dense out=1", 0, 1);
  cert_set_weights(net, 0, (float[]){1});
  cert_set_weights(net, 1, (float[]){4});
  for (float x = -3; x <= 3; x += 0.37f) {
    double c = cosh((double)x), s = slope_at(net, &x, v, LIP_P2, LIP_P2, NULL);
    assert_true(s <= 4 / (c * c) * (1 + 1e-15) && s >= 4 / (c * c) * (1 - 1e-10));
  }
  float start[] = {2.5f, -2};
  double lower = lower_of(net, start, 2, NULL);
  assert_true(lower <= 4 && lower > 4 * (1 - 1e-3)); /* the slope at 0, found from afar */
  lip_net_free(net);
}

/* Flat around the points given, steep elsewhere: 5 relu(x - 3) and, for the pair of outputs, -2 relu(-x - 4) as well. */
static void steep_places_are_found(void **state) {
  (void)state;
  const float x[] = {0, 0.5f, -0.5f, 1};
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = cert_build(paths[p], (lip_shape){1, {1}}, "dense out=2;relu;dense out=2", 0, 1);
    double pair[4];
    cert_set_weights(net, 0, (float[]){1, -1});
    cert_set_bias(net, 0, (float[]){-3, -4});
    cert_set_weights(net, 1, (float[]){5, 0, 0, 2});
    double lower = lower_of(net, x, 4, pair);
    assert_true(lower <= 5 && lower > 5 * (1 - 1e-9));
    assert_true(pair[1] <= 5 && pair[1] > 5 * (1 - 1e-9));
    lip_net_free(net);
  }
}

static void hostile_numbers_give_nothing(void **state) {
  (void)state;
  const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f};
  for (size_t p = 0; p < 3; p++)
    for (size_t i = 0; i < 4; i++) {
      lip_net *net =
          cert_build(paths[p], (lip_shape){1, {3}}, "dense out=4;maxmin;dense out=4;tanh;dense out=3", 1, 2);
      float x[] = {1, 2, 3, 4, 5, 6};
      double pair[9], good = lower_of(net, x, 2, pair);
      x[1] = bad[i];
      double lower = lower_of(net, x, 2, pair); /* one input is spoilt, what is found elsewhere counts */
      assert_true(lower >= 0 && lower < 100 * good);
      assert_true(slope_at(net, x, (float[]){1, 0, 0}, LIP_P2, LIP_P2, NULL) >= 0);
      assert_true(slope_at(net, x + 3, (float[]){0, 0, 0}, LIP_P2, LIP_P2, NULL) == 0);
      assert_true(slope_at(net, x + 3, (float[]){bad[i], 0, 0}, LIP_P2, LIP_P2, NULL) < 100 * good);
      for (size_t c = 0; c < 4; c++) lip_net_weighted_layer(net, 1)->param[0].value[c] = bad[i];
      lower = lower_of(net, x + 3, 1, pair);
      assert_true(lower == 0 || (i == 3 && lower < INFINITY));
      for (size_t c = 0; c < 9; c++) assert_true(pair[c] >= 0 && pair[c] < INFINITY);
      lip_net_free(net);
    }
}

/* Nets that have no other form are searched by executed quotients. */
static void other_nets_too(void **state) {
  (void)state;
  lip_err err;
  float x[40 * 12];
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 1);
  lip_rng_fill_normal(&rng, x, 40 * 12, 0, 1);
  for (size_t p = 0; p < PATHS; p++) {
    lip_net *net =
        cert_build(paths[p], (lip_shape){1, {12}}, "dense out=65;groupsort size=65;dense out=3", 1, 1);
    double pair[9], lower = lower_of(net, x, 40, pair);
    lip_ask q = {.net = net, .affine = &(lip_affine){0}, .path = net->conf.path, .pairs = true, .seconds = 1};
    q.p = lip_path_at(&q.path, 0);
    q.q = lip_path_at(&q.path, 2);
    lip_found f;
    assert_int_equal(lip_method_run("product", &q, &f, &err), LIP_OK);
    assert_true(lower > 0 && lower <= f.upper);
    for (size_t i = 0; i < 9; i++) {
      assert_true(pair[i] <= f.pair[i]);
      assert_true(i % 4 == 0 ? pair[i] == 0 : pair[i] > 0);
    }
    lip_found_free(&f);
    lip_net_free(net);
  }
}

static void threads_do_not_matter(void **state) {
  (void)state;
  lip_err err;
  lip_pool *pool = lip_pool_new(3, &err);
  assert_non_null(pool);
  float x[20 * 16];
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 1);
  lip_rng_fill_normal(&rng, x, 20 * 16, 0, 1);
  for (size_t p = 0; p < 3; p++) {
    lip_net *net =
        cert_build(paths[p], (lip_shape){1, {16}}, "dense out=20;relu;dense out=16;maxmin;dense out=5", 1, 2);
    double one[25], three[25], lower = lower_of(net, x, 20, one);
    net->engine.pool = pool;
    assert_true(lower_of(net, x, 20, three) == lower);
    assert_memory_equal(one, three, sizeof one);
    net->engine.pool = NULL;
    lip_net_free(net);
  }
  lip_pool_free(pool);
}

/* More pairs than there is work for: some get no ascent, none is left without a number. */
static void many_outputs(void **state) {
  (void)state;
  lip_err err;
  enum { C = 60 };
  float x[6 * 30];
  static double pair[C * C];
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 1);
  lip_rng_fill_normal(&rng, x, 6 * 30, 0, 1);
  lip_net *net = cert_build("2", (lip_shape){1, {30}}, "dense out=30;relu;dense out=60", 1, 2);
  lip_found f;
  lip_affine a;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  lip_ask q = {.net = net,
               .affine = &a,
               .path = net->conf.path,
               .p = LIP_P2,
               .q = LIP_P2,
               .pairs = true,
               .seconds = 1};
  assert_int_equal(lip_method_run("product", &q, &f, &err), LIP_OK);
  double lower = lower_of(net, x, 6, pair);
  assert_true(lower > 0 && lower <= f.upper);
  for (size_t i = 0; i < C; i++)
    for (size_t j = 0; j < C; j++)
      assert_true(i == j ? pair[i * C + j] == 0
                         : pair[i * C + j] > 0 && pair[i * C + j] <= f.pair[i * C + j]);
  lip_found_free(&f);
  lip_affine_free(&a);
  lip_net_free(net);
}

static void a_raised_flag_stops(void **state) {
  (void)state;
  lip_err err;
  lip_cancel flag = {0};
  const float x[] = {1, 2, 3};
  double lower;
  lip_net *net = cert_build("2", (lip_shape){1, {3}}, "dense out=4;relu;dense out=2", 1, 1);
  net->engine.cancel = &flag;
  lip_cancel_raise(&flag);
  size_t held = lip_mem_used();
  assert_int_equal(lip_bound_lower(net, NULL, x, 1, &lower, NULL, &err), LIP_CANCELLED);
  assert_int_equal(lip_mem_used(), held);
  lip_net_free(net);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_err err;
  const float x[24] = {1, 2, 3, 4, 5, 6};
  static const char *const nets[] = {"dense out=4;relu;dense out=4;maxmin;dense out=3",
                                     "dense out=65;groupsort size=65;dense out=3"};
  for (size_t i = 0; i < 2; i++) {
    lip_net *net = cert_build("2", (lip_shape){1, {12}}, nets[i], 1, 1);
    assert_int_equal(lip_net_reserve(net, 2, &err), LIP_OK);
    size_t held = lip_mem_used(), failed = 1;
    for (size_t n = 1; failed; n++) {
      double lower, pair[9];
      assert_true(n < 1000);
      lip_mem_fail_nth(n);
      lip_status status = lip_bound_lower(net, NULL, x, 2, &lower, pair, &err);
      failed = lip_mem_failed();
      lip_mem_fail_nth(0);
      assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
      assert_int_equal(lip_mem_used(), held);
    }
    lip_net_free(net);
  }
}

/* Nets of each kind in each norm: 234 in all. Sanitizers make each ten times as slow, and are after memory, not numbers. */
#if defined(__SANITIZE_ADDRESS__)
#define KNOWN_SEEDS 1
#else
#define KNOWN_SEEDS 6
#endif

static double exact_of(lip_net *net) {
  lip_err err;
  lip_affine a;
  lip_found f;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  lip_ask q = {.net = net, .affine = &a, .path = net->conf.path, .seconds = 60};
  q.p = lip_path_at(&q.path, 0);
  q.q = lip_path_at(&q.path, lip_net_weighted(net));
  if (lip_method_run("exact", &q, &f, &err)) fail_msg("%s", err.msg);
  double upper = f.upper;
  lip_found_free(&f);
  lip_affine_free(&a);
  return upper;
}

/* Nets whose constant is known: the largest norm over all patterns of up to 16 units, every one of which has a point,
 * because the rows of the first matrix are independent, or (`positive`) because all weights are positive and the largest
 * of them all is the one that the positive points far out have. What is attained comes within 1 % of it, every time. */
static void known_constants_are_reached(void **state) {
  (void)state;
  static const struct {
    const char *layers;
    lip_shape in;
    bool positive;
  } nets[] = {
      {"dense out=6;relu;dense out=1", {1, {8}}, false},
      {"dense out=10;relu;dense out=1", {1, {12}}, false},
      {"dense out=16;relu;dense out=1", {1, {20}}, false},
      {"dense out=12;relu;dense out=3", {1, {12}}, false},
      {"dense out=8;abs;dense out=2", {1, {9}}, false},
      {"dense out=12;maxmin;dense out=2", {1, {16}}, false},
      {"dense out=12;leaky_relu;dense out=2", {1, {14}}, false},
      {"conv2d channels=8 kernel=3;relu;flatten;dense out=1", {3, {1, 3, 3}}, false},
      {"conv2d channels=4 kernel=2 stride=2;relu;flatten;dense out=1", {3, {1, 4, 4}}, false},
      {"conv2d channels=3 kernel=2 stride=2;relu;flatten;dense out=2", {3, {2, 4, 4}}, false},
      {"conv2d channels=3 kernel=2 stride=2;abs;flatten;dense out=2", {3, {1, 4, 4}}, false},
      {"dense out=5;relu;dense out=5;relu;dense out=5;relu;dense out=3", {1, {6}}, true},
      {"conv2d channels=2 kernel=2;relu;conv2d channels=2 kernel=2;relu;flatten;dense out=2",
       {3, {1, 3, 3}},
       true},
  };
  enum { NETS = sizeof nets / sizeof *nets, SEEDS = KNOWN_SEEDS, B = 16 };
  double worst = 1;
  size_t n = 0;
  for (size_t k = 0; k < NETS; k++)
    for (size_t p = 0; p < 3; p++)
      for (uint64_t seed = 0; seed < SEEDS; seed++, n++) {
        lip_net *net = cert_build(paths[p], nets[k].in, nets[k].layers, 1, 100 * k + seed);
        for (size_t l = 0; nets[k].positive && l < lip_net_weighted(net); l++) {
          lip_param *w = &lip_net_weighted_layer(net, l)->param[0];
          for (size_t i = 0; i < lip_param_size(w); i++) w->value[i] = fabsf(w->value[i]);
        }
        float *x = lip_alloc(B * net->root->n_in, sizeof *x);
        lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, k);
        lip_rng_fill_normal(&rng, x, B * net->root->n_in, 0, 1);
        double exact = exact_of(net), lower = lower_of(net, x, B, NULL);
        assert_true(lower <= exact);
        if (lower < 0.99 * exact)
          print_message("%s, norm %s, seed %d: %.4f\n", nets[k].layers, paths[p], (int)seed, lower / exact);
        if (lower / exact < worst) worst = lower / exact;
        lip_free(x);
        lip_net_free(net);
      }
  print_message("%zu nets, the least attained is %.5f of the constant\n", n, worst);
  assert_true(n == (size_t)NETS * 3 * SEEDS && worst >= 0.99);
}

/* The steepest of many random points of several sizes, by their gradients (one output, norm 2). */
static double steepest_by_chance(lip_net *net, uint64_t seed) {
  enum { ROUNDS = 200, P = 32 };
  lip_err err;
  lip_affine a;
  lip_slope w;
  double best = 0;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  assert_int_equal(lip_slope_init(&w, &a, P, &err), LIP_OK);
  float *x = lip_alloc(2 * P * a.n_in, sizeof *x), *g = x + P * a.n_in, u[P];
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 5);
  for (size_t r = 0; r < P; r++) u[r] = 1;
  for (int i = 0; i < ROUNDS; i++) {
    lip_rng_fill_normal(&rng, x, P * a.n_in, 0, ldexpf(1, i % 8 - 4));
    lip_slope_at(&w, x, P, 0);
    lip_slope_pull(&w, u, P, g);
    for (size_t r = 0; r < P; r++) best = fmax(best, lip_norm(g + r * a.n_in, a.n_in, LIP_P2));
  }
  lip_free(x);
  lip_slope_free(&w);
  lip_affine_free(&a);
  return best;
}

static void chance_does_not_win(void **state) {
  (void)state;
  static const char *const nets[] = {
      "conv2d channels=8 kernel=3;relu;flatten;dense out=1",
      "conv2d channels=8 kernel=3 padding=1;relu;flatten;dense out=1",
      "conv2d channels=6 kernel=3 stride=2;relu;conv2d channels=6 kernel=2;relu;flatten;dense out=1",
      "flatten;dense out=16;relu;dense out=16;relu;dense out=1"};
  float x[16 * 36];
  lip_rng rng = lip_rng_new(9, LIP_RNG_USER, 1);
  lip_rng_fill_normal(&rng, x, 16 * 36, 0, 1);
  for (size_t k = 0; k < sizeof nets / sizeof *nets; k++)
    for (uint64_t seed = 0; seed < 4; seed++) {
      lip_net *net = cert_build("2", (lip_shape){3, {1, 6, 6}}, nets[k], 1, seed);
      double chance = steepest_by_chance(net, seed), lower = lower_of(net, x, 16, NULL);
      if (!(lower >= chance * (1 - 1e-6))) fail_msg("%s: %g by chance, %g searched", nets[k], chance, lower);
      lip_net_free(net);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(chance_does_not_win),          cmocka_unit_test(known_constants_are_reached),
      cmocka_unit_test(linear_nets_are_attained),     cmocka_unit_test(kinks_claim_nothing),
      cmocka_unit_test(smooth_slopes_are_known),      cmocka_unit_test(steep_places_are_found),
      cmocka_unit_test(hostile_numbers_give_nothing), cmocka_unit_test(other_nets_too),
      cmocka_unit_test(threads_do_not_matter),        cmocka_unit_test(many_outputs),
      cmocka_unit_test(a_raised_flag_stops),          cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
