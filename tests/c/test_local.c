/* Local verdicts: what floats do on intervals, threads, cancelling, memory, and balls that are certified by nobody else. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/cert/local.h"
#include "support_cert.h"
#include "support_layer.h"

enum { IN = 6, OUT = 4, ROWS = 24 };

static lip_net *make_net(const char *activation, size_t depth, uint64_t seed, const lip_engine *engine) {
  piece p[16];
  size_t n = 0;
  for (size_t i = 0; i < depth; i++) {
    p[n++] = (piece){"dense", 8};
    p[n++] = (piece){activation, 0};
  }
  p[n++] = (piece){"dense", OUT};
  return cert_net("2", IN, p, n, 1.5, seed, engine);
}

/* ---- `off` of range: the float32 function against long double on float32 arguments ---- */

static void executed_functions_stay_within_off(void **state) {
  (void)state;
  enum { N = 64, TRIES = 400 };
  static const float spreads[] = {1e-38f, 1e-3f, 1, 10, 100};
  size_t inexact = 0;
  for (size_t i = 0; lip_layer_kind_at(i); i++) {
    const lip_layer_kind *kind = lip_layer_kind_at(i);
    if (!kind->range) continue;
    lip_net *net = cert_net("2", N, (piece[]){{kind->desc.name, 0}}, 1, 1, 1, NULL);
    const lip_layer *l = net->root->child[0];
    lip_err err;
    lip_rng rng = lip_rng_new(i, LIP_RNG_USER, 0);
    assert_int_equal(lip_net_reserve(net, 1, &err), LIP_OK);
    for (int t = 0; t < TRIES; t++) {
      float x[N], ends[2];
      float s = spreads[(size_t)t % (sizeof spreads / sizeof *spreads)];
      lip_rng_fill_normal(&rng, ends, 2, 0, s);
      double from = fmin((double)ends[0], (double)ends[1]), to = fmax((double)ends[0], (double)ends[1]);
      lip_rng_fill_uniform(&rng, x, N, (float)from, (float)to);
      lip_net_forward(net, x, 1, false);
      for (size_t k = 0; k < N; k++) {
        lip_range r;
        kind->range(l, k, from, to, &r);
        assert_true(r.off >= 0 && r.off <= 1e-5 * (1 + fmax(fabs(from), fabs(to))));
        if (!((double)x[k] >= from && (double)x[k] <= to)) continue;
        long double exact;
        double off; /* of the reference; nothing to compare with where the kind has no other form */
        if (!layer_unit(l, k, (long double)x[k], &exact, &off)) continue;
        long double error = fabsl((long double)net->logits[k] - exact);
        /* denormal numbers may be taken for zero: bounds count that apart */
        assert_true(error <= (long double)r.off + (off > 1e-17 ? off * fabsl(exact) : 0) + 0x1p-125L);
        inexact += error > 0;
      }
    }
    lip_net_free(net);
  }
  assert_true(inexact > 1000);
}

/* ---- verdicts ---- */

static void fill_rows(float *x, uint64_t seed) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 2);
  lip_rng_fill_normal(&rng, x, ROWS * IN, 0, 1);
}

static void certify(lip_net *net, const lip_local_conf *conf, const float *x, lip_radius *out) {
  lip_err err;
  lip_certifier *global;
  lip_local *local;
  assert_int_equal(lip_net_reserve(net, ROWS, &err), LIP_OK);
  assert_int_equal(lip_certifier_new(net, NULL, &global, &err), LIP_OK);
  assert_int_equal(lip_certify(global, x, ROWS, out, &err), LIP_OK);
  if (lip_local_new(net, conf, &local, &err)) fail_msg("%s", err.msg);
  assert_int_equal(lip_local_certify(local, x, ROWS, out, &err), LIP_OK);
  lip_local_free(local);
  lip_certifier_free(global);
}

static const double sizes[] = {0.01, 0.05, 0.25, 1};
static const lip_local_conf plain = {.p = LIP_P2, .eps = sizes, .n_eps = 4, .executed = LIP_EXECUTED_FLOAT32};

/* attacks of the support file, at the radius that is claimed */
static void no_label_can_be_flipped(void **state) {
  (void)state;
  static const char *const activations[] = {"relu", "maxmin", "abs", "leaky_relu", "tanh"};
  size_t raised = 0;
  for (size_t a = 0; a < 5; a++)
    for (int p = 0; p < 3; p++) {
      lip_net *net = make_net(activations[a], 2, 5 + a, NULL);
      float x[ROWS * IN];
      lip_radius r[ROWS], before[ROWS];
      lip_local_conf conf = plain, none = plain;
      conf.p = none.p = (lip_p)p;
      conf.halvings = 5;
      none.n_eps = 0;
      fill_rows(x, a);
      certify(net, &none, x, before);
      if (p != LIP_P2) /* the certifier speaks of norm 2 */
        for (size_t i = 0; i < ROWS; i++) before[i].radius = 0;
      memcpy(r, before, sizeof r);
      lip_err err;
      lip_local *local;
      assert_int_equal(lip_local_new(net, &conf, &local, &err), LIP_OK);
      assert_null(lip_local_unknown(local));
      assert_int_equal(lip_local_certify(local, x, ROWS, r, &err), LIP_OK);
      lip_local_free(local);
      for (size_t i = 0; i < ROWS; i++) {
        assert_true(r[i].radius >= before[i].radius);
        raised += r[i].radius > before[i].radius;
        assert_int_equal(r[i].label, before[i].label);
        if (r[i].radius > 0) assert_int_equal(cert_attack(net, x + i * IN, &r[i], (lip_p)p, 60, i), 0);
      }
      lip_net_free(net);
    }
  assert_true(raised > 100);
}

static void threads_do_not_matter(void **state) {
  (void)state;
  lip_err err;
  float x[ROWS * IN];
  lip_radius one[ROWS], many[ROWS];
  lip_pool *pool = lip_pool_new(3, &err);
  lip_net *a = make_net("maxmin", 3, 2, NULL), *b = make_net("maxmin", 3, 2, &(lip_engine){.pool = pool});
  lip_local_conf conf = plain;
  conf.halvings = 3;
  fill_rows(x, 9);
  certify(a, &conf, x, one);
  certify(b, &conf, x, many);
  for (size_t i = 0; i < ROWS; i++) assert_true(one[i].radius == many[i].radius);
  lip_net_free(a);
  lip_net_free(b);
  lip_pool_free(pool);
}

static void a_cancelled_call_says_so(void **state) {
  (void)state;
  lip_err err;
  lip_cancel cancel = {0};
  float x[ROWS * IN];
  lip_radius r[ROWS] = {{0}};
  lip_net *net = make_net("relu", 2, 1, &(lip_engine){.cancel = &cancel});
  lip_local *local;
  fill_rows(x, 1);
  for (size_t i = 0; i < ROWS; i++) r[i].margin = 1;
  assert_int_equal(lip_local_new(net, &plain, &local, &err), LIP_OK);
  lip_cancel_raise(&cancel);
  assert_int_equal(lip_local_certify(local, x, ROWS, r, &err), LIP_CANCELLED);
  for (size_t i = 0; i < ROWS; i++) assert_true(r[i].radius == 0);
  lip_local_free(local);
  lip_net_free(net);
}

/* Whatever the caller says of a row with no label, a tie or a margin that is not a number: nothing is claimed. */
static void rows_without_a_margin_stay_at_zero(void **state) {
  (void)state;
  lip_err err;
  lip_net *net = make_net("relu", 1, 1, NULL);
  float x[3 * IN] = {0};
  lip_radius r[3] = {{-1, 0, 1}, {0, 0, 0}, {0, 0, NAN}};
  lip_local *local;
  assert_int_equal(lip_local_new(net, &plain, &local, &err), LIP_OK);
  assert_int_equal(lip_local_certify(local, x, 3, r, &err), LIP_OK);
  for (size_t i = 0; i < 3; i++) assert_true(r[i].radius == 0);
  lip_local_free(local);
  lip_net_free(net);
}

/* ---- constants ---- */

/* relu units that are on or off all over the ball: the net is linear there, and its constant is a norm of one matrix. */
static void a_linear_piece_has_its_own_constant(void **state) {
  (void)state;
  lip_err err;
  lip_net *net = cert_net("inf", 2, (piece[]){{"dense", 2}, {"relu", 0}, {"dense", 2}}, 3, 0, 1, NULL);
  cert_set_weights(net, 0, (float[]){1, 0, 0, 1});
  cert_set_weights(net, 1, (float[]){1, 2, -3, 1});
  lip_affine a;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  lip_ask ask = {
      .net = net, .affine = &a, .path = net->conf.path, .p = LIP_PINF, .q = LIP_PINF, .seconds = INFINITY};
  const struct {
    float x[2];
    double constant;
  } pieces[] = {{{5, 5}, 4}, {{5, -5}, 3}, {{-5, 5}, 2}, {{-5, -5}, 0}};
  for (size_t i = 0; i < 4; i++) {
    lip_found f;
    lip_region region = {pieces[i].x, LIP_PINF, 1, false, 0, 0, LIP_EXECUTED_EXACT, NULL, NULL};
    assert_int_equal(lip_local_bound("best", &ask, &region, &f, &err), LIP_OK);
    assert_true(f.upper >= pieces[i].constant && f.upper <= pieces[i].constant * (1 + 1e-6) + 1e-6);
    lip_found_free(&f);
    region.eps = 6; /* now all units move: no less than the largest piece */
    assert_int_equal(lip_local_bound("best", &ask, &region, &f, &err), LIP_OK);
    assert_true(f.upper >= 4);
    lip_found_free(&f);
    region.eps = NAN; /* nothing is known: the constant of the whole net */
    assert_int_equal(lip_local_bound("best", &ask, &region, &f, &err), LIP_OK);
    assert_true(f.upper >= 4 && f.upper < 10);
    lip_found_free(&f);
  }
  lip_affine_free(&a);
  lip_net_free(net);
}

/* A pair whose order is known all over the ball. */
static void a_known_order_is_linear(void **state) {
  (void)state;
  lip_err err;
  lip_net *net = cert_net("inf", 2, (piece[]){{"dense", 2}, {"maxmin", 0}, {"dense", 1}}, 3, 0, 1, NULL);
  cert_set_weights(net, 0, (float[]){1, 0, 0, 1});
  cert_set_weights(net, 1, (float[]){3, 1});
  lip_affine a;
  lip_relax *relax;
  lip_ranges *g;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  assert_int_equal(lip_relax_new(&a, LIP_PINF, &relax, &err), LIP_OK);
  assert_int_equal(lip_ranges_new(relax, &g, &err), LIP_OK);
  for (int i = 0; i < 3; i++) {
    lip_affine near;
    float x[2] = {i == 0 ? 5 : 0, i == 1 ? 5 : 0};
    lip_region region = {x, LIP_PINF, 1, false, 0, 0, LIP_EXECUTED_EXACT, NULL, NULL};
    lip_ranges_start(g, &region);
    assert_int_equal(lip_ranges_affine(g, &near, &err), LIP_OK);
    assert_true(near.block[0].low[0] == 1 && near.block[0].high[0] == 1);
    assert_true(near.block[0].low[1] == (i == 0 ? 1 : -1)); /* max - min against z_0 - z_1 */
    assert_true(near.block[0].high[1] == (i == 1 ? -1 : 1));
    lip_affine_free(&near);
  }
  lip_ranges_free(g);
  lip_relax_free(relax);
  lip_affine_free(&a);
  lip_net_free(net);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_err err;
  lip_net *net = make_net("maxmin", 2, 1, NULL);
  float x[IN] = {0};
  const double zeros[IN] = {0}, ones[IN] = {1, 1, 1, 1, 1, 1};
  lip_local_conf conf = plain;
  conf.boxed = true, conf.from = zeros, conf.to = ones, conf.scale = ones;
  bool done = false;
  for (size_t n = 1; !done; n++) {
    assert_true(n < 2000);
    lip_local *local = NULL;
    lip_found f = {.upper = INFINITY};
    lip_affine a = {0};
    lip_mem_fail_nth(n);
    lip_status status = lip_local_new(net, &conf, &local, &err);
    if (!status) status = lip_affine_init(&a, net, &err);
    if (!status) {
      lip_ask ask = {
          .net = net, .affine = &a, .path = net->conf.path, .p = LIP_P2, .q = LIP_P2, .seconds = INFINITY};
      lip_region region = {x, LIP_P2, 0.1, false, 0, 0, LIP_EXECUTED_EXACT, NULL, NULL};
      status = lip_local_bound("abs", &ask, &region, &f, &err);
    }
    lip_mem_fail_nth(0);
    done = status == LIP_OK;
    assert_true(done || status == LIP_MEMORY);
    lip_local_free(local);
    lip_found_free(&f);
    lip_affine_free(&a);
  }
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(executed_functions_stay_within_off),
      cmocka_unit_test(no_label_can_be_flipped),
      cmocka_unit_test(threads_do_not_matter),
      cmocka_unit_test(a_cancelled_call_says_so),
      cmocka_unit_test(rows_without_a_margin_stay_at_zero),
      cmocka_unit_test(a_linear_piece_has_its_own_constant),
      cmocka_unit_test(a_known_order_is_linear),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
