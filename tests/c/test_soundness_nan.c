/* The fifteenth of the sixteen ways of test_soundness.c: NaN in every place, executed or worked out. And processors that do
 * not compute as the bounds assume. */
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "core/affine/walk.h"
#include "core/base/ieee.h"
#include "support_cert.h"

static const char *const norms[] = {"1", "2", "inf"};

static lip_net *two_layers(const char *path, size_t n_in, size_t h, const char *activation, size_t out) {
  const piece p[] = {{"dense", h}, {activation, 0}, {"dense", out}};
  return cert_net(path, n_in, p, 3, 0, 1, NULL);
}

/* ---- NaN in every place ---- */

static void copy_rows(const lip_layer *l, const lip_pass *pass, size_t at, bool poison) {
  for (size_t r = pass->r0; r < pass->r1; r++)
    for (size_t k = 0; k < l->n_in; k++) {
      float v = l->x[r * l->n_in + k];
      l->y[r * l->n_in + k] = poison && k == at ? NAN : !poison && isnan(v) ? 0 : v;
    }
}

static size_t poisoned; /* which value */
static void poison_forward(const lip_layer *l, const lip_pass *pass) {
  copy_rows(l, pass, poisoned, poisoned < l->n_in);
}
static void cleanse_forward(const lip_layer *l, const lip_pass *pass) {
  copy_rows(l, pass, 0, false);
}
static void copy_wide(const lip_layer *l, size_t B, const double *x, double *y) {
  memcpy(y, x, B * l->n_in * sizeof *y);
}
static lip_status plain_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  (void)l, (void)spec, (void)plan, (void)err;
  return LIP_OK;
}
static lip_status one(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)l, (void)pq, (void)err;
  *upper = 1;
  return LIP_OK;
}
static void nothing_lost(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  (void)l, (void)pq, (void)d;
}
/* They lie: one gives NaN, the other hides it, and both claim to pass everything on. */
static const lip_layer_kind poison = {.desc = {"poison", "", NULL, 0},
                                      .plan = plain_plan,
                                      .forward = poison_forward,
                                      .wide = copy_wide,
                                      .bound = one,
                                      .deviate = nothing_lost};
static const lip_layer_kind cleanse = {.desc = {"cleanse", "", NULL, 0},
                                       .plan = plain_plan,
                                       .forward = cleanse_forward,
                                       .wide = copy_wide,
                                       .bound = one,
                                       .deviate = nothing_lost};

static void case_15_nan_between_layers(void **state) {
  (void)state;
  enum { H = 6 };
  const lip_layer_kind *dense = lip_layer_kind_find("dense");
  lip_spec *spec[] = {lip_spec_new(dense), lip_spec_new(&poison), lip_spec_new(dense), lip_spec_new(&cleanse),
                      lip_spec_new(dense)};
  lip_err err;
  for (size_t i = 0; i < 5; i += 2)
    assert_int_equal(lip_conf_set_number(&dense->desc, spec[i]->conf, "out", i == 4 ? 2 : H, &err), LIP_OK);
  for (lip_p p = LIP_P1; p <= LIP_PINF; p++) {
    lip_net_conf conf = {
        .input = {1, {3, 0, 0}}, .path = {1, {p}}, .budget = INFINITY, .init = LIP_INIT_HE, .seed = 5};
    lip_net *net;
    const float x[] = {1, 2, -1};
    assert_int_equal(lip_net_new(&conf, spec, 5, NULL, &net, &err), LIP_OK);
    cert_set_bias(net, 2, (float[]){5, 0});
    for (poisoned = 0; poisoned <= H; poisoned++)
      for (int tight = 0; tight < 2; tight++) {
        lip_radius r = cert_with(net, x, &(lip_certify_conf){.tight = tight});
        assert_int_equal(r.label, 0);
        assert_true(poisoned == H ? r.radius > 0 : r.radius == 0);
      }
    lip_net_free(net);
  }
  for (size_t i = 0; i < 5; i++) lip_spec_free(spec[i]);
}

/* Every number that the walk is made of, one after the other: the error never gets smaller. */
static void case_15_nan_in_the_walk(void **state) {
  (void)state;
  enum { N = 4, STAGES = 5 };
  const piece parts[] = {{"dense", 6}, {"relu", 0}, {"dense", 6}, {"maxmin", 0}, {"dense", 3}};
  const float x[N] = {1, -0.5f, 2, 0};
  for (size_t p = 0; p < 3; p++) {
    lip_net *net = cert_net(norms[p], N, parts, STAGES, 1, 8, NULL);
    lip_walk w;
    lip_err err;
    double numbers[4][STAGES + 1];
    lip_centre at = {.size = numbers[0], .off = numbers[1], .terms = numbers[2], .result = numbers[3]};
    assert_int_equal(lip_walk_init(&w, net, NULL, &err), LIP_OK);
    lip_net_forward(net, x, 1, false);
    lip_walk_centre(&w, x, 0, &at);
    const double here = at.off[STAGES], there = lip_walk_ball(&w, &at, 0.5, LIP_GRAIN_FLOAT, STAGES).off;
    assert_true(here > 0 && there > here && there < 1e-3);
    for (size_t i = 0; i < STAGES; i++) {
      lip_dense_error *e = &w.stage[i].error;
      double *place[] = {&w.stage[i].upper, &w.stage[i].before, &e->norm, &e->abs_norm,
                         &e->bias,          &e->along,          &e->rest, e->column};
      for (size_t k = 0; k < sizeof place / sizeof *place; k++) {
        if (!place[k] || (!w.stage[i].dense && k >= 2)) continue;
        double kept = *place[k];
        *place[k] = NAN;
        lip_walk_centre(&w, x, 0, &at);
        assert_true(!(at.off[STAGES] < here));
        assert_true(!(lip_walk_ball(&w, &at, 0.5, LIP_GRAIN_FLOAT, STAGES).off < there));
        *place[k] = kept;
      }
    }
    lip_walk_centre(&w, x, 0, &at);
    for (size_t k = 0; k < 4; k++)
      for (size_t i = 0; i < STAGES; i++) {
        double kept = numbers[k][i];
        numbers[k][i] = NAN;
        assert_true(!(lip_walk_ball(&w, &at, 0.5, LIP_GRAIN_FLOAT, STAGES).off < there));
        numbers[k][i] = kept;
      }
    assert_true(lip_walk_ball(&w, &at, 0.5, LIP_GRAIN_FLOAT, STAGES).off == there);
    lip_walk_free(&w);
    lip_net_free(net);
  }
}

static void case_15_nan_in_given_pairs(void **state) {
  (void)state;
  lip_net *net = two_layers("2", 2, 4, "relu", 2);
  const float x[] = {1, 1};
  cert_set_bias(net, 1, (float[]){1, 0});
  lip_radius want = cert_one(net, x);
  const double given[] = {NAN, NAN, NAN, NAN};
  assert_true(cert_with(net, x, &(lip_certify_conf){.pairs = given}).radius == want.radius);
  lip_net_free(net);
}

/* ---- the processor ---- */

static void certificates_want_ieee_arithmetic(void **state) {
  (void)state;
  static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  const float x[] = {1, 1};
  lip_net *net = two_layers("2", 2, 4, "relu", 2);
  lip_certifier *c;
  lip_err err;
  assert_int_equal(lip_ieee_check(true, &err), LIP_OK);
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(fesetround(modes[i]), 0);
    lip_status seen = lip_ieee_check(false, &err), refused = lip_certifier_new(net, NULL, &c, &err);
    assert_int_equal(fesetround(FE_TONEAREST), 0);
    assert_int_equal(seen, LIP_UNSUPPORTED);
    assert_int_equal(refused, LIP_UNSUPPORTED);
    assert_null(c);
    assert_non_null(strstr(err.msg, "nearest"));
  }
#if defined(__SSE__)
  const unsigned mode = _mm_getcsr(), flush[] = {0x8000u, 0x0040u};
  for (size_t i = 0; i < 2; i++) { /* results, operands */
    _mm_setcsr(mode | flush[i]);
    lip_status seen = lip_ieee_check(true, &err), nearest = lip_ieee_check(false, NULL);
    _mm_setcsr(mode);
    assert_int_equal(seen, LIP_UNSUPPORTED);
    assert_int_equal(nearest, LIP_OK);
    assert_non_null(strstr(err.msg, "denormal"));
  }
#endif
  assert_int_equal(lip_ieee_check(true, &err), LIP_OK);
  assert_true(cert_one(net, x).radius == 0); /* all weights are zero: a tie */
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(case_15_nan_between_layers),
      cmocka_unit_test(case_15_nan_in_the_walk),
      cmocka_unit_test(case_15_nan_in_given_pairs),
      cmocka_unit_test(certificates_want_ieee_arithmetic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
