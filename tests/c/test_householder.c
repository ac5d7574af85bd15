/* The form of householder: that it is the layer's function, as real numbers and as executed, also where an input lies on
 * the line; what methods make of it; angles that are hard or no numbers. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/affine/bend.h"
#include "core/bound/bound.h"
#include "core/bound/method.h"
#include "core/cert/relax.h"
#include "support_cert.h"
#include "support_layer.h"

static const char *const paths[] = {"1", "2", "inf"};

static lip_affine form_of(const lip_net *net) {
  lip_err err;
  lip_affine a;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  return a;
}

static void set_angles(lip_net *net, const float *angle, size_t n) {
  lip_layer *leaf[16];
  size_t count = lip_layer_leaves(net->root, leaf, 16);
  for (size_t i = 0, at = 0; i < count; i++) {
    if (strcmp(leaf[i]->kind->desc.name, "householder") != 0) continue;
    for (size_t k = 0; k < lip_param_size(&leaf[i]->param[0]); k++)
      leaf[i]->param[0].value[k] = angle[at++ % n];
  }
}

/* ---- the function at one point ---- */

enum { PAIRS = 6, WIDE = 2 * PAIRS };
static const float angles[PAIRS] = {0, 1.5f, -2.7f, 3.14159274f, 1e-6f, 40000.25f};

/* Pairs of random sizes, most of them a few units in the last place beside the line, on either side. */
static void draw_points(float *x, lip_rng *rng, float size) {
  for (size_t k = 0; k < PAIRS; k++) {
    double t = (double)angles[k] / 2;
    float r[2];
    lip_rng_fill_normal(rng, r, 2, 0, size);
    x[2 * k] = (float)(cos(t) * (double)r[0]);
    x[2 * k + 1] = (float)(sin(t) * (double)r[0]);
    for (uint64_t i = lip_rng_below(rng, 4); i > 0; i--)
      x[2 * k] = nextafterf(x[2 * k], r[1] > 0 ? INFINITY : -INFINITY);
    if (lip_rng_below(rng, 4) == 0) x[2 * k + 1] = r[1];
  }
}

/* Intervals of the outputs at x alone hold y, `error` beside it; their width is at most `wide` times a pair's size. */
static void holds(lip_ranges *g, size_t last, const lip_region *region, const double *y, double error,
                  double wide) {
  const double *from, *to;
  lip_ranges_start(g, region);
  lip_ranges_at(g, last, &from, &to);
  for (size_t i = 0; i < WIDE; i++) {
    double size = hypot((double)region->x[i & ~(size_t)1], (double)region->x[i | 1]);
    if (!(from[i] <= y[i] + error * size && to[i] >= y[i] - error * size))
      fail_msg("pair %zu: %.17g is not in [%.17g, %.17g], size %g", i / 2, y[i], from[i], to[i], size);
    if (!(to[i] - from[i] <= wide * size + 1e-34))
      fail_msg("pair %zu: [%.17g, %.17g] is wide for size %g", i / 2, from[i], to[i], size);
  }
}

static void it_is_the_layers_function(void **state) {
  (void)state;
  enum { POINTS = 4000 };
  static const float sizes[] = {1, 1e6f, 1e-3f, 1e-37f, 1e-40f};
  lip_err err;
  lip_relax *r;
  lip_ranges *g;
  lip_net *net = cert_build("inf", (lip_shape){1, {WIDE}}, "householder", 1, 1);
  set_angles(net, angles, PAIRS);
  lip_affine a = form_of(net);
  assert_null(a.unknown);
  assert_int_equal(lip_net_reserve(net, 1, &err), LIP_OK);
  assert_int_equal(lip_relax_new(&a, LIP_PINF, &r, &err), LIP_OK);
  assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 3);
  for (size_t i = 0; i < POINTS; i++) {
    float x[WIDE];
    double wide[WIDE], y[WIDE];
    lip_region at = {.x = x, .p = LIP_PINF, .executed = LIP_EXECUTED_FLOAT32};
    draw_points(x, &rng, sizes[i % (sizeof sizes / sizeof *sizes)]);
    lip_net_forward(net, x, 1, false);
    for (size_t k = 0; k < WIDE; k++) wide[k] = (double)x[k], y[k] = (double)net->logits[k];
    holds(g, a.n - 1, &at, y, 0, 3e-5);
    assert_true(layer_in_double(net->root, wide, y));
    at.executed = LIP_EXECUTED_EXACT;
    holds(g, a.n - 1, &at, y, 4e-15, 1e-11);
  }
  lip_ranges_free(g);
  lip_relax_free(r);
  lip_affine_free(&a);
  lip_net_free(net);
}

/* ---- a bend alone ---- */

/* The number meant by a slope: itself, or one at either end of what is known. */
static long double meant(double slope, int end) {
  return slope == 0 || fabs(slope) == 1 ? (long double)slope : (long double)slope * (1 + end * 0x1p-50L);
}

static void bends_hold_every_number_meant(void **state) {
  (void)state;
  static const double ends[][2] = {{-2, 3}, {-1, -0.3},  {0.7, 0.9},  {0, 5},
                                   {-4, 0}, {1e-9, 1e9}, {-1e-300, 1}};
  static const double slopes[] = {0, 1, -1, 0.7310585786300049, -0.1, 1.9e-17, -1.75};
  enum { SLOPES = sizeof slopes / sizeof *slopes };
  for (size_t i = 0; i < SLOPES * SLOPES; i++)
    for (size_t e = 0; e < sizeof ends / sizeof *ends; e++)
      for (int d = 0; d < 4; d++) {
        lip_bend bend = {slopes[i / SLOPES], slopes[i % SLOPES], 0x1p-20, 0x1p-100};
        lip_block b = {.bend = &bend, .n_phi = 1};
        double from = ends[e][0], to = ends[e][1];
        lip_range r;
        lip_block_range(&b, 0, from, to, &r);
        long double s = meant(bend.below, d / 2 * 2 - 1), t = meant(bend.above, d % 2 * 2 - 1);
        for (int k = 0; k <= 16; k++) {
          double x = k == 16 ? to : from + (to - from) * k / 16;
          long double slope = x < 0 ? s : t, y = slope * (long double)x;
          assert_true((long double)r.least <= y && y <= (long double)r.most);
          if (x != 0) assert_true((long double)r.low <= slope && slope <= (long double)r.high);
          assert_true(r.off >= 0x1p-20 * fabs(x) + 0x1p-100);
        }
        assert_true(r.high - r.low <= 0x1p-46 * fabs(r.low) || bend.below != bend.above);
      }
}

/* ---- what methods say ---- */

static lip_found ask(const char *method, const lip_net *net, const lip_affine *a) {
  lip_err err;
  lip_found f;
  lip_ask q = {.net = net,
               .affine = a,
               .path = net->conf.path,
               .p = lip_path_at(&net->conf.path, 0),
               .q = lip_path_at(&net->conf.path, lip_net_weighted(net)),
               .pairs = true,
               .seconds = INFINITY};
  if (lip_method_run(method, &q, &f, &err)) fail_msg("%s: %s", method, err.msg);
  return f;
}

static const struct {
  lip_shape in;
  const char *layers;
} nets[] = {
    {{1, {4}}, "householder"},
    {{1, {4}}, "dense out=4;householder;dense out=4"},
    {{1, {4}}, "dense out=8;householder;dense out=8;householder;dense out=8;householder;dense out=3"},
    {{1, {4}}, "dense out=6;householder;relu;dense out=6;maxmin;dense out=6;householder;dense out=2"},
    {{1, {6}}, "dense out=6;residual {dense out=6;householder};householder;dense out=3"},
    {{3, {2, 3, 3}}, "householder;conv2d channels=2 kernel=2;householder;flatten;dense out=3"},
};

/* Upper bounds lie above what is attained; in norm 2 no method says more than the product. */
static void methods_hold(void **state) {
  (void)state;
  static const float turns[] = {0.4f, 2.9f, -1.2f, 7, 1.6f};
  enum { POINTS = 8, MOST = 18 };
  size_t tight = 0, found = 0;
  for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
    for (size_t p = 0; p < 3; p++) {
      lip_err err;
      lip_net *net = cert_build(paths[p], nets[i].in, nets[i].layers, 1, i);
      set_angles(net, turns, sizeof turns / sizeof *turns);
      lip_affine a = form_of(net);
      float x[POINTS * MOST];
      double lower, pair[MOST * MOST];
      lip_rng rng = lip_rng_new(i, LIP_RNG_USER, 1);
      lip_rng_fill_normal(&rng, x, POINTS * net->root->n_in, 0, 1);
      assert_int_equal(lip_bound_lower(net, NULL, x, POINTS, &lower, pair, &err), LIP_OK);
      assert_null(a.unknown);
      assert_true(lower > 0);
      double product = INFINITY;
      for (size_t m = 0; lip_method_at(m); m++) {
        const char *name = lip_method_at(m)->name;
        lip_found f = ask(name, net, &a);
        if (!(f.upper >= lower))
          fail_msg("%s, norm %s: %s says %.17g, attained %.17g", nets[i].layers, paths[p], name, f.upper,
                   lower);
        for (size_t k = 0; k < a.n_out * a.n_out; k++) assert_true(f.pair[k] >= pair[k]);
        if (strcmp(name, "product") == 0) product = f.upper;
        if (p == 1 && f.upper < INFINITY && !(f.upper <= product * (1 + 1e-5)))
          fail_msg("%s: %s says %.17g, product %.17g", nets[i].layers, name, f.upper, product);
        found += p == 1 && f.upper < INFINITY;
        if (strcmp(name, "exact") == 0) tight += lower >= 0.999 * f.upper;
        lip_found_free(&f);
      }
      lip_affine_free(&a);
      lip_net_free(net);
    }
  assert_true(tight >= 9 && found >= 24);
}

/* ---- hard angles ---- */

/* The form is there, or says that it is not; with an angle that is no number nothing is finite. */
static void angles_that_are_hard(void **state) {
  (void)state;
  static const float hard[] = {1e-30f, 1e-15f, 1e-45f, -1e-40f, FLT_MAX, NAN, INFINITY, -INFINITY};
  for (size_t i = 0; i < sizeof hard / sizeof *hard; i++)
    for (size_t p = 0; p < 3; p++) {
      lip_net *net = cert_build(paths[p], (lip_shape){1, {4}}, "dense out=4;householder;dense out=2", 1, i);
      set_angles(net, (float[]){0.3f, hard[i]}, 2);
      lip_affine a = form_of(net);
      bool seen = hard[i] == 1e-15f || hard[i] == FLT_MAX;
      assert_true(seen == (a.unknown == NULL));
      if (!seen) assert_string_equal(a.unknown, "householder");
      for (size_t m = 0; lip_method_at(m); m++) {
        lip_found f = ask(lip_method_at(m)->name, net, &a);
        if (!isfinite(hard[i])) assert_true(f.upper == INFINITY);
        lip_found_free(&f);
      }
      lip_affine_free(&a);
      lip_net_free(net);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_is_the_layers_function),
      cmocka_unit_test(bends_hold_every_number_meant),
      cmocka_unit_test(methods_hold),
      cmocka_unit_test(angles_that_are_hard),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
