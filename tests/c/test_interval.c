/* Intervals of nets without an affine form, and the verdicts and radii that come of them: nothing that is executed inside of a
 * region lies outside of its interval, no attack flips a certified label, ties have radius 0. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/cert/interval.h"
#include "core/cert/local.h"
#include "support_cert.h"
#include "support_layer.h"

enum { IN = 7, OUT = 4, TRIES = 400 };

static const char *const nets[] = {
    "linf_dist out=4",
    "linf_dist out=9 shift=1;linf_dist out=4;scale factor=-1",
    "linf_dist out=9 p=2;linf_dist out=8 p=16 bias=0;linf_dist out=4 p=1024 shift=1",
    "sort_neuron out=8;sort_neuron out=4 q=0.2 terms=3 shift=1",
    "linf_dist out=8;dense out=6;maxmin;relu;linf_dist out=4 p=8",
    "chain {linf_dist out=6;groupsort size=3};tanh;sort_neuron out=5;dense out=4;batch_norm",
    "linf_dist out=80;fullsort;select channels=70;groupsort size=35;linf_dist out=4 p=4",
    "dense out=12;abs;linf_dist out=4;centre;leaky_relu slope=-0.5",
};
enum { NETS = sizeof nets / sizeof *nets };

static lip_net *make(size_t which, uint64_t seed) {
  lip_err err;
  lip_net *net = cert_build("inf", (lip_shape){1, {IN, 0, 0}}, nets[which], 1.5, seed);
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 3);
  for (size_t i = 0; i < net->n_leaf; i++)
    for (size_t k = 0; k < net->leaf[i]->n_param; k++) {
      const lip_param *p = &net->leaf[i]->param[k];
      if (strcmp(p->name, "log2_p") == 0 || strcmp(p->name, "running_variance") == 0) continue;
      lip_rng_fill_normal(&rng, p->value, lip_param_size(p), 0, seed % 3 == 0 ? 30 : 1);
    }
  assert_int_equal(lip_net_reserve(net, TRIES, &err), LIP_OK);
  lip_net_touch(net);
  return net;
}

/* Points of the region: inside, in corners, and where coordinates meet a weight of the first layer. */
static void fill_points(float *x, const float *at, double eps, const double box[2], const lip_net *net,
                        uint64_t seed) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 5);
  const float *w = net->leaf[0]->param[0].value;
  const size_t rows = net->leaf[0]->param[0].shape[0];
  for (size_t t = 0; t < TRIES; t++) {
    const float *near = w + (t % rows) * IN;
    for (size_t k = 0; k < IN; k++) {
      const double low = fmax((double)at[k] - eps, box[0]), high = fmin((double)at[k] + eps, box[1]);
      double v = t % 3 == 0               ? low + (high - low) * lip_rng_uniform(&rng)
                 : lip_rng_below(&rng, 2) ? low
                                          : high;
      if (t % 5 == 1 && (double)near[k] >= low && (double)near[k] <= high) v = (double)near[k];
      float f = (float)v;
      if ((double)f < low) f = nextafterf(f, INFINITY);
      if ((double)f > high) f = nextafterf(f, -INFINITY);
      x[t * IN + k] = (double)f < low ? at[k] : f;
    }
  }
}

static void what_is_executed_lies_inside(void **state) {
  (void)state;
  float *x = malloc(TRIES * IN * sizeof *x), at[IN];
  double from[IN], to[IN];
  size_t close = 0, asked = 0;
  for (size_t which = 0; which < NETS; which++)
    for (uint64_t seed = 0; seed < 12; seed++) {
      lip_net *net = make(which, seed);
      lip_boxes *boxes;
      lip_err err;
      const char *unknown;
      const double eps = seed % 4 == 0   ? 1e-6
                         : seed % 4 == 1 ? 0.02
                         : seed % 4 == 2 ? 0.3
                                         : 0,
                   box[2] = {-1, 1};
      const double *low, *high;
      lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 4);
      lip_rng_fill_uniform(&rng, at, IN, -1, 1);
      for (size_t k = 0; k < IN; k++) from[k] = box[0], to[k] = box[1];
      const lip_region region = {.x = at, .p = LIP_PINF, .eps = eps, .boxed = true, .from = from, .to = to};
      assert_int_equal(lip_boxes_new(net, &boxes, &unknown, &err), LIP_OK);
      assert_non_null(boxes);
      double *room = lip_alloc(lip_boxes_room(boxes), sizeof *room);
      assert_true(lip_boxes_run(boxes, &region, room, &low, &high));
      fill_points(x, at, eps, box, net, seed);
      lip_net_forward(net, x, TRIES, false);
      double least[OUT], most[OUT];
      for (size_t j = 0; j < OUT; j++) least[j] = INFINITY, most[j] = -INFINITY;
      for (size_t i = 0; i < TRIES * OUT; i++) {
        const double z = (double)net->logits[i];
        assert_true(z >= low[i % OUT] && z <= high[i % OUT]);
        least[i % OUT] = fmin(least[i % OUT], z);
        most[i % OUT] = fmax(most[i % OUT], z);
      }
      for (size_t j = 0; which == 0 && eps > 0.01 && j < OUT;
           j++) { /* of one neuron intervals are attained */
        asked++;
        close += most[j] - least[j] > 0.99 * (high[j] - low[j]);
      }
      lip_free(room);
      lip_boxes_free(boxes);
      lip_net_free(net);
    }
  free(x);
  assert_true(close > asked / 2);
}

/* A ball of size 0 is one point: no more is left than rounding. */
static void intervals_of_a_point_are_narrow(void **state) {
  (void)state;
  for (size_t which = 0; which < NETS; which++) {
    lip_net *net = make(which, 1);
    lip_boxes *boxes;
    lip_err err;
    const char *unknown;
    const float at[IN] = {0.25f, -0.5f, 0.125f, 0.75f, 0.3f, -0.1f, 0.9f};
    const double *low, *high;
    assert_int_equal(lip_boxes_new(net, &boxes, &unknown, &err), LIP_OK);
    double *room = lip_alloc(lip_boxes_room(boxes), sizeof *room);
    assert_true(lip_boxes_run(boxes, &(lip_region){.x = at, .p = LIP_P2}, room, &low, &high));
    for (size_t j = 0; j < OUT; j++) assert_true(high[j] - low[j] < 1e-4 * (1 + fabs(high[j])));
    lip_free(room);
    lip_boxes_free(boxes);
    lip_net_free(net);
  }
}

static void certify(lip_net *net, const lip_local_conf *conf, const float *x, size_t B, lip_radius *plain,
                    lip_radius *out) {
  lip_err err;
  lip_certifier *global;
  lip_local *local;
  assert_int_equal(lip_certifier_new(net, NULL, &global, &err), LIP_OK);
  assert_int_equal(lip_certify(global, x, B, plain, &err), LIP_OK);
  memcpy(out, plain, B * sizeof *out);
  assert_int_equal(lip_local_new(net, conf, &local, &err), LIP_OK);
  assert_true(lip_local_boxes(local));
  assert_non_null(lip_local_unknown(local));
  assert_int_equal(lip_local_certify(local, x, B, out, &err), LIP_OK);
  lip_local_free(local);
  lip_certifier_free(global);
}

static const double tried[] = {1e-4, 1e-3, 0.01, 0.05, 0.2};
static const lip_local_conf balls = {
    .p = LIP_PINF, .eps = tried, .n_eps = 5, .halvings = 6, .executed = LIP_EXECUTED_FLOAT32};

static void no_certified_label_can_be_flipped(void **state) {
  (void)state;
  enum { ROWS = 12 };
  size_t constant = 0, more = 0, flipped = 0;
  for (size_t which = 0; which < NETS; which++)
    for (uint64_t seed = 1; seed < 5; seed++) {
      lip_net *net = make(which, seed);
      float x[ROWS * IN];
      lip_radius plain[ROWS], r[ROWS];
      lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 6);
      lip_rng_fill_uniform(&rng, x, ROWS * IN, -1, 1);
      certify(net, &balls, x, ROWS, plain, r);
      for (size_t i = 0; i < ROWS; i++) {
        assert_true(r[i].radius >= plain[i].radius);
        constant += plain[i].radius > 0;
        more += r[i].radius > plain[i].radius;
        assert_int_equal(cert_attack(net, x + i * IN, &r[i], LIP_PINF, 60, seed), 0);
        const lip_radius wide = {r[i].label, 8 * r[i].radius, r[i].margin}; /* the attack is one */
        flipped += cert_attack(net, x + i * IN, &wide, LIP_PINF, 60, seed) > 0;
      }
      lip_net_free(net);
    }
  assert_true(constant > 100);
  assert_true(more > 30);
  assert_true(flipped > 30);
}

/* Two outputs that are one, at the top: no ball keeps the label, nor does the constant. */
static void ties_have_radius_0(void **state) {
  (void)state;
  static const char *const tied[] = {"linf_dist out=2;scale factor=-1", "linf_dist out=2 p=64",
                                     "sort_neuron out=2"};
  for (size_t t = 0; t < 3; t++) {
    lip_net *net = cert_build("inf", (lip_shape){1, {IN, 0, 0}}, tied[t], 1, t);
    lip_err err;
    float *w = net->leaf[0]->param[0].value;
    const float x[IN] = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f};
    lip_radius plain, r;
    memcpy(w + IN, w, IN * sizeof *w);
    assert_int_equal(lip_net_reserve(net, 1, &err), LIP_OK);
    lip_net_touch(net);
    certify(net, &balls, x, 1, &plain, &r);
    assert_int_equal(r.label, 0);
    assert_true(plain.radius == 0 && r.radius == 0);
    w[0] = NAN;
    lip_net_touch(net);
    certify(net, &balls, x, 1, &plain, &r);
    assert_true(r.label == -1 && r.radius == 0);
    lip_net_free(net);
  }
}

/* One wrong number in the place of p, or in a weight, and nothing is certified. */
static void what_is_no_number_certifies_nothing(void **state) {
  (void)state;
  for (size_t which = 1; which < 3; which++)
    for (size_t k = 0; k < 3; k++) {
      lip_net *net = make(which, 1);
      const lip_layer *l = net->leaf[0];
      const float x[IN] = {0};
      lip_radius plain, r;
      l->param[k < 2 ? k : l->n_param - 1].value[0] = NAN;
      lip_net_touch(net);
      certify(net, &balls, x, 1, &plain, &r);
      assert_true(plain.radius == 0 && r.radius == 0);
      lip_net_free(net);
    }
}

static void a_layer_that_says_nothing_is_named(void **state) {
  (void)state;
  lip_net *net = cert_build("inf", (lip_shape){3, {1, 4, 4}},
                            "residual {l2_pool2d kernel=1};flatten;linf_dist out=2", 1, 1);
  lip_boxes *boxes;
  lip_err err;
  const char *unknown;
  assert_int_equal(lip_boxes_new(net, &boxes, &unknown, &err), LIP_OK);
  assert_null(boxes);
  assert_string_equal(unknown, "residual");
  lip_net_free(net);
}

static void failing_allocations_are_survived(void **state) {
  (void)state;
  lip_net *net = make(4, 1);
  const size_t before = lip_mem_used();
  bool failed = true;
  for (size_t nth = 1; failed; nth++) {
    lip_local *local = NULL;
    lip_err err;
    lip_mem_fail_nth(nth);
    const lip_status status = lip_local_new(net, &balls, &local, &err);
    failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_true(status == LIP_OK || (failed && status == LIP_MEMORY));
    lip_local_free(local);
    assert_int_equal(lip_mem_used(), before);
  }
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_executed_lies_inside),
      cmocka_unit_test(intervals_of_a_point_are_narrow),
      cmocka_unit_test(no_certified_label_can_be_flipped),
      cmocka_unit_test(ties_have_radius_0),
      cmocka_unit_test(what_is_no_number_certifies_nothing),
      cmocka_unit_test(a_layer_that_says_nothing_is_named),
      cmocka_unit_test(failing_allocations_are_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
