/* What single kinds of layers promise beyond the contract: exact answers, ties and NaN, refusals, random streams. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/layer/conv_spectral.h"
#include "core/norm/opnorm.h"
#include "core/tensor/lanesort.h"
#include "core/tensor/smooth.h"
#include "support_layer.h"

static const lip_pq plain = {LIP_P2, LIP_P2};

static lip_spec *make(const char *kind) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  assert_non_null(s);
  return s;
}

static void set(lip_spec *s, const char *name, double v) {
  lip_err err;
  assert_int_equal(lip_conf_set_number(&s->kind->desc, s->conf, name, v, &err), LIP_OK);
}

static void add(lip_spec *s, lip_spec *child) {
  assert_int_equal(lip_spec_add(s, child, NULL), LIP_OK);
}

static rig open_rig(const lip_spec *s, lip_shape in, lip_pq pq, double budget, size_t B) {
  rig r;
  lip_err err = {LIP_OK, ""};
  if (rig_open(&r, s, &in, pq, LIP_EUCLIDEAN, LIP_INIT_HE, budget, B, &err)) print_error("%s\n", err.msg);
  assert_int_equal(err.code, LIP_OK);
  return r;
}

static lip_shape features(size_t n) {
  return (lip_shape){1, {n, 0, 0}};
}

static lip_shape planes(size_t c, size_t h, size_t w) {
  return (lip_shape){3, {c, h, w}};
}

/* ---- sorting ---- */

typedef struct keyed {
  float v;
  uint32_t place;
} keyed;

static int by_value_then_place(const void *a, const void *b) {
  const keyed *x = a, *y = b;
  if (x->v != y->v) return x->v < y->v ? -1 : 1;
  return (x->place > y->place) - (x->place < y->place);
}

/* Few different values, so that there are many ties, among them both zeros and both infinities. */
static void fill_with_ties(float *x, size_t n, uint64_t seed) {
  static const float value[] = {-INFINITY, -2, -1, -0.0f, 0.0f, 0x1p-149f, 1, 1.5f, INFINITY};
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 0);
  for (size_t i = 0; i < n; i++)
    x[i] = seed % 2 ? value[lip_rng_below(&rng, 9)] : (float)lip_rng_normal(&rng);
}

static void check_against_qsort(size_t size, size_t S, size_t groups, uint64_t seed) {
  size_t n = groups * size * S;
  float *x = lip_alloc(5 * n, sizeof *x), *y = x + n, *from = y + n, *back = from + n;
  void *scratch = lip_alloc(lip_lanesort_scratch(size), 1);
  keyed *column = malloc(size * sizeof *column);
  fill_with_ties(x, n, seed);
  lip_lanesort(y, from, x, n, size, S, scratch);
  lip_lanesort_back(back, y, from, n, size, S);
  for (size_t t = 0; t < groups * S; t++) {
    size_t at = t / S * size * S + t % S;
    for (size_t k = 0; k < size; k++) column[k] = (keyed){x[at + k * S], (uint32_t)k};
    qsort(column, size, sizeof *column, by_value_then_place);
    for (size_t k = 0; k < size; k++) {
      uint32_t place;
      memcpy(&place, &from[at + k * S], sizeof place);
      assert_true(y[at + k * S] == column[k].v);
      assert_int_equal(place, column[k].place);
    }
  }
  for (size_t i = 0; i < n; i++) assert_true(back[i] == x[i]);
  free(column);
  lip_free(scratch);
  lip_free(x);
}

static void sorting_agrees_with_qsort_and_is_stable(void **state) {
  (void)state;
  for (size_t size = 1; size <= 70; size++)
    for (uint64_t seed = 0; seed < 4; seed++)
      check_against_qsort(size, 1 + seed / 2 * 6, 1 + size % 5 * 7, seed);
  static const size_t large[] = {127, 128, 129, 256, 257, 300, 511, 512, 513, 2000};
  for (size_t i = 0; i < sizeof large / sizeof *large; i++)
    for (uint64_t seed = 0; seed < 4; seed++) check_against_qsort(large[i], 1 + seed / 2, 17, seed);
}

/* No kind turns NaN into a number, as fminf and fmaxf do: training would go on, and predictions look sound. */
static void nan_stays_visible(void **state) {
  (void)state;
  static test_case cases[LAYER_CASES];
  enum { B = 21 };
  size_t n = layer_cases(cases, LAYER_CASES);
  assert_true(n > 0);
  for (size_t i = 0; i < n; i++) {
    size_t found = 0;
    rig r = open_rig(cases[i].spec, cases[i].in, plain, INFINITY, B);
    for (size_t k = 0; k < B * r.l->n_in; k++) r.x[k] = NAN;
    rig_forward(&r);
    for (size_t k = 0; k < B * r.l->n_out; k++) found += isnan(r.y[k]) != 0;
    if (found == 0) fail_msg("%s: NaN comes in, and none comes out", cases[i].spec->kind->desc.name);
    rig_close(&r);
    lip_spec_free(cases[i].spec);
  }
}

/* The bits of all NaN and the other values are still there after sorting, and the gradient goes back to each. */
static void sorts_keep_nan(void **state) {
  (void)state;
  static const char *const kinds[] = {"maxmin", "groupsort", "fullsort"};
  static const size_t widths[] = {2, 6, 256, 300};
  for (size_t k = 0; k < 3; k++)
    for (size_t w = 0; w < 4; w++) {
      size_t n = widths[w], nan_in = 0, nan_out = 0;
      lip_spec *s = make(kinds[k]);
      rig r = open_rig(s, features(n), plain, INFINITY, 1);
      double in = 0, out = 0;
      for (size_t i = 0; i < n; i++) {
        r.x[i] = i % 5 == 1 ? (i % 2 ? NAN : -NAN) : (float)((i * 7) % 11);
        r.dy[i] = (float)i + 1;
      }
      rig_forward(&r);
      rig_backward(&r);
      double gradient = 0;
      for (size_t i = 0; i < n; i++) {
        if (isnan(r.x[i])) nan_in++;
        if (isnan(r.y[i])) nan_out++;
        if (!isnan(r.x[i])) in += (double)r.x[i];
        if (!isnan(r.y[i])) out += (double)r.y[i];
        gradient += (double)r.dx[i];
      }
      assert_int_equal(nan_in, nan_out);
      assert_true(in == out);
      assert_true(gradient == (double)(n * (n + 1) / 2));
      rig_close(&r);
      lip_spec_free(s);
    }
}

static void maxmin_ties_send_the_gradient_straight(void **state) {
  (void)state;
  lip_spec *s = make("maxmin");
  rig r = open_rig(s, features(4), plain, INFINITY, 1);
  const float x[] = {1, 1, -2, 3}, dy[] = {10, 20, 30, 40};
  memcpy(r.x, x, sizeof x);
  memcpy(r.dy, dy, sizeof dy);
  rig_forward(&r);
  rig_backward(&r);
  assert_true(r.y[0] == 1 && r.y[1] == 1 && r.y[2] == 3 && r.y[3] == -2);
  assert_true(r.dx[0] == 10 && r.dx[1] == 20 && r.dx[2] == 40 && r.dx[3] == 30);
  rig_close(&r);
  lip_spec_free(s);
}

/* At t = pi/2 householder is maxmin (Singla, Singla, Feizi 2022). */
static void householder_at_a_right_angle_is_maxmin(void **state) {
  (void)state;
  lip_spec *s = make("householder"), *m = make("maxmin");
  rig r = open_rig(s, features(64), plain, INFINITY, 3), q = open_rig(m, features(64), plain, INFINITY, 3);
  for (size_t i = 0; i < 32; i++) r.weights[i] = 1.57079633f;
  for (size_t i = 0; i < 3 * 64; i++) q.x[i] = r.x[i] = (float)((i * 37) % 101) - 50;
  rig_forward(&r);
  rig_forward(&q);
  for (size_t i = 0; i < 3 * 64; i++) assert_true(fabsf(r.y[i] - q.y[i]) < 1e-4f);
  rig_close(&r);
  rig_close(&q);
  lip_spec_free(s);
  lip_spec_free(m);
}

/* ---- smooth functions ---- */

/* Every 1009th float32 against libm in double. */
static void smooth_functions_keep_their_stated_errors(void **state) {
  (void)state;
  enum { N = 4096 };
  const double u = 0x1p-24;
  static float x[N], t[N], s[N], p[N];
  uint64_t bits = 0;
  while (bits < UINT64_C(1) << 32) {
    for (size_t i = 0; i < N; i++, bits += 1009) {
      uint32_t b = (uint32_t)bits;
      memcpy(&x[i], &b, sizeof b);
    }
    lip_vec_tanh(t, x, N);
    lip_vec_sigmoid(s, x, N);
    lip_vec_softplus(p, x, 1, N);
    for (size_t i = 0; i < N; i++) {
      double v = (double)x[i], a = tanh(v), e = 1 / (1 + exp(-v)), l = fmax(v, 0) + log1p(exp(-fabs(v)));
      if (isnan(v)) {
        assert_true(isnan(t[i]) && isnan(s[i]) && isnan(p[i]));
        continue;
      }
      assert_true(fabs((double)t[i] - a) <= LIP_TANH_ERROR * u * fabs(a) + 0x1p-149);
      assert_true(fabs((double)s[i] - e) <= LIP_SIGMOID_ERROR * u * e + 0x1p-125);
      assert_true((double)p[i] == l || fabs((double)p[i] - l) <= LIP_SOFTPLUS_ERROR * u * l + 0x1p-124);
      assert_true(fabsf(t[i]) <= 1 && s[i] >= 0 && s[i] <= 1 && p[i] >= 0);
    }
  }
  const float big = 3e38f;
  lip_vec_softplus(p, &big, 1000, 1);
  assert_true(p[0] == big); /* beta x overflows, the result does not */
}

/* ---- dropout ---- */

static void dropout_draws_from_philox_by_row_and_column(void **state) {
  (void)state;
  enum { B = 40, N = 203 };
  lip_spec *s = make("dropout");
  set(s, "rate", 0.3);
  rig r = open_rig(s, features(N), plain, INFINITY, B);
  for (size_t i = 0; i < B * N; i++) r.x[i] = 1;
  rig_forward(&r);
  const uint64_t key = lip_rng_new(99, LIP_RNG_DROPOUT, 0).key;
  const uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
  size_t zeros = 0;
  for (size_t row = 0; row < B; row++)
    for (size_t c = 0; c < N; c++) {
      uint32_t out[4], counter[4] = {(uint32_t)(c / 4), (uint32_t)row, (uint32_t)r.l->id, 0};
      lip_philox(counter, k, out);
      bool zero = r.y[row * N + c] == 0;
      assert_int_equal(zero, (double)out[c % 4] < floor(0.3 * 0x1p32));
      assert_true(zero || r.y[row * N + c] == (float)(1 / 0.7));
      zeros += zero;
    }
  double expected = 0.3 * B * N;
  assert_true(fabs((double)zeros - expected) < 5 * sqrt(expected * 0.7));
  lip_pass pass = rig_pass(&r, 0, B);
  pass.training = false;
  r.l->kind->forward(r.l, &pass);
  for (size_t i = 0; i < B * N; i++) assert_true(r.y[i] == 1);
  rig_close(&r);
  lip_spec_free(s);
}

/* ---- convolution ---- */

/* The whole map as a matrix, column by column from the layer itself. */
static float *as_matrix(rig *r) {
  size_t n = r->l->n_in, m = r->l->n_out;
  float *A = malloc(n * m * sizeof *A);
  if (r->l->n_param > 1) memset(r->l->param[1].value, 0, r->l->param[1].shape[0] * sizeof(float));
  for (size_t j = 0; j < n; j++) {
    memset(r->x, 0, n * sizeof(float));
    r->x[j] = 1;
    rig_forward(r);
    for (size_t i = 0; i < m; i++) A[i * n + j] = r->y[i];
  }
  return A;
}

static void conv_norms_agree_with_the_matrix(void **state) {
  (void)state;
  static const struct {
    size_t C, H, W, OUT, kernel, stride, padding, groups, dilation;
  } shape[] = {{2, 5, 6, 3, 3, 1, 1, 1, 1}, {2, 6, 6, 3, 3, 1, 0, 1, 1}, {3, 7, 6, 2, 3, 2, 1, 1, 1},
               {2, 9, 8, 2, 5, 3, 2, 1, 1}, {4, 5, 5, 6, 3, 2, 0, 2, 1}, {1, 3, 3, 2, 5, 2, 2, 1, 1},
               {2, 4, 4, 2, 1, 1, 0, 1, 1}, {2, 5, 4, 4, 2, 4, 1, 2, 1}, {1, 2, 9, 2, 7, 1, 3, 1, 1},
               {2, 6, 5, 3, 3, 1, 2, 1, 2}, {2, 7, 8, 2, 3, 2, 3, 1, 3}, {2, 8, 7, 4, 4, 4, 3, 2, 2},
               {1, 3, 4, 2, 3, 1, 4, 1, 4}, {1, 9, 9, 2, 3, 3, 0, 1, 3}};
  static const lip_pq steps[] = {{LIP_P1, LIP_P1},   {LIP_P1, LIP_P2},     {LIP_P1, LIP_PINF},
                                 {LIP_P2, LIP_PINF}, {LIP_PINF, LIP_PINF}, {LIP_P2, LIP_P2}};
  for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
      lip_spec *s = make("conv2d");
      lip_err err;
      set(s, "channels", (double)shape[i].OUT);
      set(s, "kernel", (double)shape[i].kernel);
      set(s, "stride", (double)shape[i].stride);
      set(s, "padding", (double)shape[i].padding);
      set(s, "groups", (double)shape[i].groups);
      set(s, "dilation", (double)shape[i].dilation);
      rig r = open_rig(s, planes(shape[i].C, shape[i].H, shape[i].W), plain, INFINITY, 1);
      float *A = as_matrix(&r);
      double exact, upper;
      assert_int_equal(lip_opnorm_upper(A, r.l->n_out, r.l->n_in, steps[k], &exact, &err), LIP_OK);
      assert_int_equal(lip_layer_bound(r.l, steps[k], &upper, &err), LIP_OK);
      if (k == 5)
        assert_true(upper >= exact * (1 - 1e-9) && upper <= exact * (1 + 1e-9)); /* small: written out */
      else
        assert_true(fabs(upper - exact) <= 1e-12 * exact);
      r.weights[0] = NAN;
      assert_int_equal(lip_layer_bound(r.l, steps[k], &upper, &err), LIP_OK);
      assert_true(isinf(upper));
      free(A);
      rig_close(&r);
      lip_spec_free(s);
    }
}

/* Kernels whose norms are known or that stress a single frequency; the others are random. */
static void set_kernel(rig *r, size_t kind, size_t n, size_t k) {
  for (size_t i = 0; i < n && kind < 4; i++) {
    size_t y = i / k % k, x = i % k;
    r->weights[i] = kind == 0   ? 0
                    : kind == 1 ? 1
                    : kind == 2 ? ((x + y) % 2 ? -1.0f : 1.0f)
                                : i % (k * k) == k * k / 2;
  }
}

/* The circular bound contains the convolution, for any stride, padding and groups; so do the others. */
static void conv_spectral_bounds_hold(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(11, LIP_RNG_USER, 0);
  for (size_t i = 0; i < 400; i++) {
    size_t groups = 1 + (size_t)lip_rng_below(&rng, 2), k = 1 + (size_t)lip_rng_below(&rng, 5);
    size_t p = (size_t)lip_rng_below(&rng, i % 4 ? 4 : 9), s = 1 + (size_t)lip_rng_below(&rng, 4);
    size_t H = 1 + (size_t)lip_rng_below(&rng, 7), W = 1 + (size_t)lip_rng_below(&rng, 7);
    size_t C = groups * (1 + (size_t)lip_rng_below(&rng, 3)),
           OUT = groups * (1 + (size_t)lip_rng_below(&rng, 3));
    if (H + 2 * p < k || W + 2 * p < k) continue;
    lip_spec *spec = make("conv2d");
    set(spec, "channels", (double)OUT);
    set(spec, "kernel", (double)k);
    set(spec, "stride", (double)s);
    set(spec, "padding", (double)p);
    set(spec, "groups", (double)groups);
    rig r = open_rig(spec, planes(C, H, W), plain, INFINITY, 1);
    lip_rng_fill_normal(&rng, r.weights, OUT * C / groups * k * k, 0, 1);
    set_kernel(&r, i % 10, OUT * C / groups * k * k, k);
    float *A = as_matrix(&r);
    const lip_conv *c = r.l->state;
    const lip_pq two = {LIP_P2, LIP_P2};
    double exact, best, quick, round = 0, written = 0, one;
    assert_int_equal(lip_opnorm_lower(A, r.l->n_out, r.l->n_in, two, &exact, NULL), LIP_OK);
    for (size_t g = 0; g < groups; g++) {
      assert_int_equal(lip_conv_fourier_upper(c, r.weights, g, &one, NULL), LIP_OK);
      round = fmax(round, one);
      assert_int_equal(lip_conv_explicit_upper(c, r.weights, g, &one, NULL), LIP_OK);
      written = fmax(written, one);
    }
    assert_int_equal(lip_conv_norm_upper(c, r.weights, two, &best, NULL), LIP_OK);
    assert_int_equal(lip_conv_norm_quick(c, r.weights, two, &quick, NULL), LIP_OK);
    if (!(round >= exact && written >= exact && best >= exact && quick >= exact))
      fail_msg("C %zu %zux%zu k %zu s %zu p %zu: %g %g %g %g below %g", C, H, W, k, s, p, round, written,
               best, quick, exact);
    assert_true(best <= quick && best <= written);
    assert_true(i % 10 != 3 || round <= 3 * (1 + 1e-6)); /* deltas: shifts, summed over channels */
    free(A);
    rig_close(&r);
    lip_spec_free(spec);
  }
}

/* On images that are wide compared with the kernel, the circle costs little. */
static void the_circle_is_tight(void **state) {
  (void)state;
  static const size_t shape[][5] = {
      {1, 1, 3, 1, 1}, {3, 4, 3, 1, 1}, {2, 3, 3, 1, 0}, {2, 4, 4, 2, 1}, {2, 2, 2, 2, 0}};
  for (size_t i = 0; i < 5; i++) {
    lip_spec *spec = make("conv2d");
    set(spec, "channels", (double)shape[i][1]);
    set(spec, "kernel", (double)shape[i][2]);
    set(spec, "stride", (double)shape[i][3]);
    set(spec, "padding", (double)shape[i][4]);
    rig r = open_rig(spec, planes(shape[i][0], 14, 12), plain, INFINITY, 1);
    double round, written;
    assert_int_equal(lip_conv_fourier_upper(r.l->state, r.weights, 0, &round, NULL), LIP_OK);
    assert_int_equal(lip_conv_explicit_upper(r.l->state, r.weights, 0, &written, NULL), LIP_OK);
    assert_true(round >= written * (1 - 1e-9) && round <= written * 1.05);
    if (i == 4) assert_true(round <= written * (1 + 1e-6)); /* patches side by side: nothing is lost */
    /* the rigorous projection uses the whole budget */
    assert_int_equal(lip_conv_project_exact(r.l->state, r.weights, 0.6 * written, NULL), LIP_OK);
    assert_int_equal(lip_conv_norm_upper(r.l->state, r.weights, plain, &round, NULL), LIP_OK);
    assert_true(round <= 0.6 * written && round >= 0.6 * written * (1 - 1e-5));
    r.weights[1] = INFINITY;
    assert_int_equal(lip_conv_fourier_upper(r.l->state, r.weights, 0, &round, NULL), LIP_OK);
    assert_true(isinf(round));
    rig_close(&r);
    lip_spec_free(spec);
  }
}

static void conv_bounds_survive_no_memory(void **state) {
  (void)state;
  lip_spec *spec = make("conv2d");
  set(spec, "channels", 3);
  set(spec, "kernel", 3);
  rig r = open_rig(spec, planes(2, 6, 6), plain, INFINITY, 1);
  size_t before = lip_mem_used();
  for (int which = 0; which < 4; which++)
    for (size_t n = 1;; n++) {
      double v;
      lip_err err;
      const lip_conv *c = r.l->state;
      lip_mem_fail_nth(n);
      lip_status st = which == 0   ? lip_conv_fourier_upper(c, r.weights, 0, &v, &err)
                      : which == 1 ? lip_conv_explicit_upper(c, r.weights, 0, &v, &err)
                      : which == 2 ? lip_conv_norm_upper(c, r.weights, (lip_pq){LIP_P2, LIP_P2}, &v, &err)
                                   : lip_conv_project_exact(r.l->state, r.weights, 0.7, &err);
      bool failed = lip_mem_failed();
      lip_mem_fail_nth(0);
      assert_int_equal(st, failed ? LIP_MEMORY : LIP_OK);
      assert_int_equal(lip_mem_used(), before);
      if (!failed) break;
    }
  rig_close(&r);
  lip_spec_free(spec);
}

/* ---- containers ---- */

static lip_spec *dense(size_t out) {
  lip_spec *s = make("dense");
  set(s, "out", (double)out);
  return s;
}

static void residuals_nest(void **state) {
  (void)state;
  static const lip_p norms[] = {LIP_P1, LIP_P2, LIP_PINF};
  for (size_t k = 0; k < 3; k++) {
    lip_pq pq = {norms[k], norms[k]};
    lip_spec *outer = make("residual"), *inner = make("residual"), *chain = make("chain");
    add(inner, dense(8));
    add(inner, make("fullsort"));
    add(chain, dense(5));
    add(chain, make("tanh"));
    add(chain, dense(8));
    add(outer, make("flatten"));
    add(outer, inner);
    add(outer, chain);
    add(outer, make("flatten"));
    rig r = open_rig(outer, planes(2, 2, 2), pq, 1, 5);
    lip_err err;
    double upper, x[8], y[8];
    assert_int_equal(r.n_leaf, 3);
    for (size_t f = 0; f < r.n_leaf; f++) assert_int_equal(lip_layer_project_exact(r.leaf[f], &err), LIP_OK);
    assert_int_equal(lip_layer_bound(r.l, pq, &upper, &err), LIP_OK);
    assert_true(upper <= 1 && upper > 0.5);
    for (size_t i = 0; i < 5 * 8; i++) r.x[i] = (float)((i * 13) % 17) / 8 - 1;
    rig_forward(&r);
    for (size_t row = 0; row < 5; row++) {
      for (size_t i = 0; i < 8; i++) x[i] = (double)r.x[row * 8 + i];
      assert_true(layer_in_double(r.l, x, y));
      for (size_t i = 0; i < 8; i++) assert_true(fabs((double)r.y[row * 8 + i] - y[i]) < 1e-5);
    }
    rig_close(&r);
    lip_spec_free(outer);
  }
}

/* Parameter gradients do not need the input's: dx = NULL gives the same ones. */
static void residual_learns_without_an_input_gradient(void **state) {
  (void)state;
  lip_spec *s = make("residual"), *inner = make("residual");
  add(inner, make("abs"));
  add(inner, dense(6));
  add(s, inner);
  add(s, make("maxmin"));
  add(s, dense(6));
  rig r = open_rig(s, features(6), plain, INFINITY, 4);
  for (size_t i = 0; i < 24; i++) r.x[i] = (float)((i * 5) % 11) - 5, r.dy[i] = (float)((i * 3) % 7) - 3;
  rig_forward(&r);
  rig_backward(&r);
  rig_grad(&r, 0);
  float *with = malloc(r.n_params * sizeof *with);
  memcpy(with, r.grads, r.n_params * sizeof *with);
  lip_layer_bind(r.l, r.x, r.y, r.dy, NULL, r.kept, r.capacity);
  rig_forward(&r);
  rig_backward(&r);
  rig_grad(&r, 0);
  assert_memory_equal(with, r.grads, r.n_params * sizeof *with);
  free(with);
  rig_close(&r);
  lip_spec_free(s);
}

/* ---- refusals ---- */

static void refuses(lip_spec *s, lip_shape in, double budget, lip_status code, const char *a, const char *b) {
  rig r;
  lip_err err = {LIP_OK, ""};
  lip_status status = rig_open(&r, s, &in, plain, LIP_EUCLIDEAN, LIP_INIT_HE, budget, 1, &err);
  if (status != code || !strstr(err.msg, a) || !strstr(err.msg, b))
    print_error("expected '%s' and '%s' in: %s\n", a, b, err.msg);
  assert_int_equal(status, code);
  assert_non_null(strstr(err.msg, a));
  assert_non_null(strstr(err.msg, b));
  assert_non_null(strstr(err.msg, s->kind->desc.name));
  lip_spec_free(s);
}

static void wrong_shapes_are_refused_with_both_shapes(void **state) {
  (void)state;
  refuses(make("maxmin"), features(7), INFINITY, LIP_SHAPE, "even", "7");
  refuses(make("maxmin"), planes(3, 2, 2), INFINITY, LIP_SHAPE, "even", "3");
  refuses(make("householder"), features(5), INFINITY, LIP_SHAPE, "even", "5");
  lip_spec *s = make("groupsort");
  set(s, "size", 4);
  refuses(s, features(10), INFINITY, LIP_SHAPE, "4", "10");
  s = make("conv2d");
  set(s, "channels", 3);
  refuses(s, features(12), INFINITY, LIP_SHAPE, "channels x height x width", "12");
  s = make("conv2d");
  set(s, "channels", 3);
  set(s, "kernel", 9);
  refuses(s, planes(2, 4, 4), INFINITY, LIP_SHAPE, "9x9", "2x4x4");
  s = make("conv2d");
  set(s, "channels", 3);
  set(s, "dilation", 4);
  refuses(s, planes(2, 9, 8), INFINITY, LIP_SHAPE, "spans 9x9", "2x9x8");
  s = make("conv2d");
  set(s, "channels", 4);
  set(s, "groups", 4);
  refuses(s, planes(2, 4, 4), INFINITY, LIP_SHAPE, "4 groups", "2x4x4");
  s = make("scale");
  assert_int_equal(lip_conf_set_reals(&s->kind->desc, s->conf, "mean", (const double[]){1, 2}, 2, NULL),
                   LIP_OK);
  refuses(s, planes(3, 2, 2), INFINITY, LIP_SHAPE, "2 numbers", "3x2x2");
  s = make("residual");
  add(s, dense(5));
  refuses(s, features(6), INFINITY, LIP_SHAPE, "6", "5");
  refuses(make("residual"), features(6), INFINITY, LIP_OPTION, "no layers", "residual");
}

static void residual_refuses_budgets_it_cannot_meet(void **state) {
  (void)state;
  lip_spec *s = make("residual");
  lip_err err;
  add(s, dense(6));
  assert_int_equal(lip_conf_set_text(&s->kind->desc, s->conf, "mode", "add", &err), LIP_OK);
  refuses(s, features(6), 1, LIP_UNSUPPORTED, "budget is 1", "mix");
  s = make("residual");
  set(s, "alpha", 0.75);
  add(s, dense(6));
  refuses(s, features(6), 0.5, LIP_UNSUPPORTED, "0.5", "0.75");
  s = make("residual");
  add(s, make("tanh"));
  refuses(s, features(6), 0.9, LIP_UNSUPPORTED, "0.9", "fixed constant 1");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sorting_agrees_with_qsort_and_is_stable),
      cmocka_unit_test(nan_stays_visible),
      cmocka_unit_test(sorts_keep_nan),
      cmocka_unit_test(maxmin_ties_send_the_gradient_straight),
      cmocka_unit_test(householder_at_a_right_angle_is_maxmin),
      cmocka_unit_test(smooth_functions_keep_their_stated_errors),
      cmocka_unit_test(dropout_draws_from_philox_by_row_and_column),
      cmocka_unit_test(conv_norms_agree_with_the_matrix),
      cmocka_unit_test(conv_spectral_bounds_hold),
      cmocka_unit_test(the_circle_is_tight),
      cmocka_unit_test(conv_bounds_survive_no_memory),
      cmocka_unit_test(residuals_nest),
      cmocka_unit_test(residual_learns_without_an_input_gradient),
      cmocka_unit_test(wrong_shapes_are_refused_with_both_shapes),
      cmocka_unit_test(residual_refuses_budgets_it_cannot_meet),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
