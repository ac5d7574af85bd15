/* Norms of convolutions in 2->2 against the matrix of the same map, on odd shapes: never below it, and how far above. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/layer/conv_band.h"
#include "core/layer/conv_map.h"
#include "core/layer/conv_spectral.h"
#include "core/lip.h"
#include "core/norm/opnorm.h"
#include "support_layer.h"

static const lip_pq two = {LIP_P2, LIP_P2};

typedef struct shape {
  size_t C, H, W, OUT, kernel, stride, padding, groups, dilation;
  bool flat; /* conv1d */
} shape;

static void set(lip_spec *spec, const char *name, size_t v) {
  assert_int_equal(lip_conf_set_number(&spec->kind->desc, spec->conf, name, (double)v, NULL), LIP_OK);
}

static rig open_rig(const shape *s, lip_project_method method, double budget) {
  lip_spec *spec = lip_spec_new(lip_layer_kind_find(s->flat ? "conv1d" : "conv2d"));
  const lip_shape in = {3, {s->C, s->H, s->W}};
  rig r;
  lip_err err;
  assert_non_null(spec);
  set(spec, "channels", s->OUT);
  set(spec, "kernel", s->kernel);
  set(spec, "stride", s->stride);
  set(spec, "padding", s->padding);
  set(spec, "groups", s->groups);
  set(spec, "dilation", s->dilation);
  if (rig_open(&r, spec, &in, two, method, LIP_INIT_HE, budget, 1, &err)) fail_msg("%s", err.msg);
  lip_spec_free(spec); /* what the functions below need is in the plan */
  return r;
}

/* Random numbers; of one sign, so that the norm is where waves are longest; one tap alone; and a checkerboard. */
enum { KERNELS = 4 };
static void fill(rig *r, size_t kind, uint64_t seed) {
  const size_t n = lip_param_size(&r->l->param[0]), k = r->l->param[0].shape[r->l->param[0].ndim - 1];
  const size_t taps = r->l->param[0].ndim == 4 ? k * k : k;
  lip_rng rng = lip_rng_new(seed, LIP_RNG_DATA, 0);
  lip_rng_fill_normal(&rng, r->weights, n, 0, 1);
  for (size_t i = 0; i < n; i++) {
    float *w = r->weights + i;
    if (kind == 1) *w = 1 + 0.3f * *w;
    if (kind == 2 && i % taps != taps / 2) *w = 0;
    if (kind == 3) *w = (i + i / k % k) % 2 ? 1.0f : -1.0f;
  }
}

/* Of the dense matrix of the map. */
static void enclose(const rig *r, size_t n_out, double *lower, double *upper) {
  float *A = lip_alloc(r->l->n_out * r->l->n_in, sizeof *A), *b = lip_alloc(n_out, sizeof *b);
  assert_true(A && b);
  r->l->kind->matrix(r->l, A, b);
  assert_int_equal(lip_opnorm_lower(A, r->l->n_out, r->l->n_in, two, lower, NULL), LIP_OK);
  assert_int_equal(lip_opnorm_upper(A, r->l->n_out, r->l->n_in, two, upper, NULL), LIP_OK);
  lip_free(A), lip_free(b);
}

/* What a group of a convolution is bounded by, the largest of all groups. */
typedef struct bounds {
  double circle, written, band, tight, quick, estimate;
} bounds;

static bounds bounds_of(const rig *r, size_t groups) {
  const lip_conv *c = r->l->state;
  const double schur = lip_conv_abs_norm_upper(c, r->weights, two);
  bounds most = {0}, b;
  for (size_t g = 0; g < groups; g++) {
    assert_int_equal(lip_conv_fourier_upper(c, r->weights, g, &b.circle, NULL), LIP_OK);
    assert_int_equal(lip_conv_explicit_upper(c, r->weights, g, &b.written, NULL), LIP_OK);
    assert_int_equal(lip_conv_estimate(c, r->weights, g, &b.estimate, NULL), LIP_OK);
    assert_int_equal(lip_conv_band_upper(c, r->weights, g, b.estimate, schur, &b.band, NULL), LIP_OK);
    most.circle = fmax(most.circle, b.circle);
    most.written = fmax(most.written, b.written);
    most.estimate = fmax(most.estimate, b.estimate);
    most.band = fmax(most.band, b.band);
  }
  assert_int_equal(lip_conv_norm_upper(c, r->weights, two, &most.tight, NULL), LIP_OK);
  assert_int_equal(lip_conv_norm_quick(c, r->weights, two, &most.quick, NULL), LIP_OK);
  return most;
}

static double worst_circle, worst_band;

static void holds(const shape *s, size_t kernels, uint64_t seed) {
  rig r = open_rig(s, LIP_RADIAL, INFINITY);
  double lower, upper;
  fill(&r, kernels, seed);
  enclose(&r, r.l->n_out, &lower, &upper);
  const bounds b = bounds_of(&r, s->groups);
  lower = fmax(lower, upper * (1 - 1e-8)); /* which its own test has shown to be tight */
  const bool ok = b.circle >= lower && b.written >= lower && b.band >= lower && b.tight >= lower &&
                  b.quick >= lower && b.estimate <= upper * (1 + 1e-5) && b.written <= upper * (1 + 1e-9) &&
                  (upper == 0 || b.band <= upper * 1.005) && b.tight <= upper * 1.005;
  if (!ok)
    fail_msg(
        "%s: %zux%zux%zu to %zu, kernel %zu, stride %zu, padding %zu, dilation %zu, %zu groups, kind %zu: "
        "norm %g to %g, "
        "circle %g, written %g, band %g, tight %g, quick %g, estimate %g",
        r.l->kind->desc.name, s->C, s->H, s->W, s->OUT, s->kernel, s->stride, s->padding, s->dilation,
        s->groups, kernels, lower, upper, b.circle, b.written, b.band, b.tight, b.quick, b.estimate);
  if (lower > 0) {
    worst_circle = fmax(worst_circle, b.circle / upper);
    worst_band = fmax(worst_band, b.band / upper);
  }
  rig_close(&r);
}

static void bounds_hold_on_odd_shapes(void **state) {
  (void)state;
  static const size_t images[][2] = {{1, 1}, {1, 7}, {5, 8}, {9, 2}}, strides[] = {1, 2, 3, 5},
                      paddings[] = {0, 1, 2, 5},
                      channels[][3] = {{1, 1, 1}, {3, 2, 1}, {2, 4, 2}, {3, 3, 3}, {1, 5, 1}};
  size_t tested = 0;
  for (size_t i = 0; i < 4; i++)
    for (size_t k = 1; k <= 4; k++)
      for (size_t n = 0; n < 4 * 4 * 3; n++) {
        const size_t d = n / 16 + 1, span = (k - 1) * d + 1, s = strides[n % 4], p = paddings[n / 4 % 4];
        if (images[i][0] + 2 * p < span || images[i][1] + 2 * p < span || (k == 1 && d > 1)) continue;
        for (size_t j = 0; j < (d > 1 ? 2 : KERNELS); j++, tested++) {
          const size_t *c = channels[tested % 5];
          holds(&(shape){c[0], images[i][0], images[i][1], c[1], k, s, p, c[2], d, false}, j, tested);
        }
      }
  print_message("%zu convolutions: the circle up to %.4f times the norm, the band %.6f\n", tested,
                worst_circle, worst_band);
  assert_true(tested > 600);
}

static void bounds_hold_along_rows(void **state) {
  (void)state;
  static const size_t images[][2] = {{1, 1}, {1, 7}, {1, 20}, {3, 5}}, strides[] = {1, 2, 3, 5},
                      paddings[] = {0, 1, 3, 6}, channels[][3] = {{1, 1, 1}, {3, 2, 1}, {4, 2, 2}, {1, 4, 1}};
  size_t tested = 0;
  worst_circle = worst_band = 0;
  for (size_t i = 0; i < 4; i++)
    for (size_t k = 1; k <= 5; k++)
      for (size_t n = 0; n < 4 * 4 * 2; n++) {
        const size_t d = n / 16 + 1, span = (k - 1) * d + 1, s = strides[n % 4], p = paddings[n / 4 % 4];
        if (images[i][1] + 2 * p < span || (k == 1 && d > 1)) continue;
        for (size_t j = 0; j < KERNELS; j++, tested++) {
          const size_t *c = channels[tested % 4];
          holds(&(shape){c[0], images[i][0], images[i][1], c[1], k, s, p, c[2], d, true}, j, tested);
        }
      }
  print_message("%zu of conv1d: the circle up to %.4f times the norm, the band %.6f\n", tested, worst_circle,
                worst_band);
  assert_true(tested > 900);
}

/* Layers of the size that nets have, which no matrix is written out for: within 1 % of what Lanczos' method attains, which errs
 * by float32 rounding only. */
static void large_bounds_are_tight(void **state) {
  (void)state;
  static const shape shapes[] = {
      {1, 28, 28, 32, 3, 1, 1, 1, 1, false},  {32, 28, 28, 32, 4, 2, 1, 1, 1, false},
      {32, 14, 14, 64, 3, 1, 1, 1, 1, false}, {64, 14, 14, 64, 4, 2, 1, 1, 1, false},
      {64, 32, 32, 64, 3, 1, 1, 1, 1, false}, {16, 12, 12, 16, 5, 1, 2, 1, 1, false},
      {32, 9, 11, 32, 3, 1, 2, 2, 2, false}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    for (size_t kind = 0; kind < 2; kind++) {
      rig r = open_rig(&shapes[i], LIP_RADIAL, INFINITY);
      double upper, attained = 0, one;
      fill(&r, kind, i);
      for (size_t g = 0; g < shapes[i].groups; g++) {
        assert_int_equal(lip_conv_estimate(r.l->state, r.weights, g, &one, NULL), LIP_OK);
        attained = fmax(attained, one);
      }
      assert_int_equal(lip_layer_bound(r.l, two, &upper, NULL), LIP_OK);
      if (!(upper >= attained * (1 - 1e-5) && upper <= attained * 1.01))
        fail_msg("shape %zu, kind %zu: %g, attained %g", i, kind, upper, attained);
      print_message("%zux%zux%zu to %zu, kernel %zu: %.4f\n", shapes[i].C, shapes[i].H, shapes[i].W,
                    shapes[i].OUT, shapes[i].kernel, upper / attained);
      rig_close(&r);
    }
}

/* ---- nets ---- */

static lip_net *net_of(const char *norm) {
  static const size_t conv[][4] = {
      {8, 3, 1, 1}, {10, 4, 2, 1}, {6, 3, 2, 0}}; /* channels, kernel, stride, padding */
  enum { CONVS = 3 };
  lip_spec *layers[2 * CONVS];
  const lip_engine engine = {0};
  lip_net_conf conf = {.input = {3, {4, 18, 18}}, .budget = INFINITY, .seed = 3};
  lip_net *net;
  for (size_t i = 0; i < CONVS; i++) {
    layers[2 * i] = lip_spec_new(lip_layer_kind_find("conv2d"));
    layers[2 * i + 1] = lip_spec_new(lip_layer_kind_find("relu"));
    set(layers[2 * i], "channels", conv[i][0]);
    set(layers[2 * i], "kernel", conv[i][1]);
    set(layers[2 * i], "stride", conv[i][2]);
    set(layers[2 * i], "padding", conv[i][3]);
  }
  assert_int_equal(lip_path_parse(norm, &conf.path, NULL), LIP_OK);
  assert_int_equal(lip_net_new(&conf, layers, 2 * CONVS, &engine, &net, NULL), LIP_OK);
  for (size_t i = 0; i < 2 * CONVS; i++) lip_spec_free(layers[i]);
  return net;
}

/* The product of a net's layers against the norms of the matrices that stand for them: the same in norms 1 and inf, and 1 %
 * above at most in norm 2, of which the first layer is too large to be written out for the bound. */
static void nets_are_bounded_as_their_matrices_are(void **state) {
  (void)state;
  static const char *const norms[] = {"1", "2", "inf", "1->inf", "2->inf"};
  for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
    lip_net *net = net_of(norms[i]);
    double product = 1, upper;
    for (size_t k = 0; k < net->n_leaf; k++) {
      const lip_layer *l = net->leaf[k];
      float *A = lip_alloc(l->n_out * l->n_in, sizeof *A), *b = lip_alloc(l->n_out, sizeof *b);
      double norm;
      assert_true(A && b);
      l->kind->matrix(l, A, b);
      assert_int_equal(lip_opnorm_upper(A, l->n_out, l->n_in, l->pq, &norm, NULL), LIP_OK);
      product *= norm;
      lip_free(A), lip_free(b);
    }
    assert_int_equal(lip_chain_bound(net->root, &upper, NULL), LIP_OK);
    const double slack = strcmp(norms[i], "2") == 0 || strcmp(norms[i], "2->inf") == 0 ? 0.01 : 1e-12;
    if (!(upper >= product * (1 - 1e-9) && upper <= product * (1 + slack)))
      fail_msg("norm %s: %.17g, %.17g of the matrices", norms[i], upper, product);
    lip_net_free(net);
  }
}

/* ---- after updates ---- */

static double bound(const rig *r) {
  double upper;
  assert_int_equal(lip_layer_bound(r->l, two, &upper, NULL), LIP_OK);
  return upper;
}

static void project(rig *r) {
  r->l->kind->project(r->l, 0, r->l->project_units, r->scratch);
}

/* Small steps in the directions that a net may take, each followed by a projection: the norm comes to the budget and
 * stays there. It may be above for some steps when another wave becomes the largest, which vectors that follow the old
 * one take time to find. */
static void norms_stay_at_the_budget(void **state) {
  (void)state;
  static const shape shapes[] = {{1, 12, 12, 8, 3, 1, 1, 1, 1, false}, {8, 12, 12, 8, 4, 2, 1, 1, 1, false},
                                 {6, 9, 11, 4, 3, 1, 0, 2, 1, false},  {8, 10, 10, 8, 3, 1, 1, 8, 1, false},
                                 {5, 7, 7, 3, 1, 1, 0, 1, 1, false},   {4, 9, 9, 4, 2, 3, 0, 1, 1, false}};
  enum { STEPS = 120 };
  const double budget = 1.5;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    for (int method = 0; method < LIP_PROJECT_METHODS; method++) {
      rig r = open_rig(&shapes[i], (lip_project_method)method, budget);
      const size_t n = lip_param_size(&r.l->param[0]);
      float *way = lip_alloc(n, sizeof *way);
      lip_rng rng = lip_rng_new(7, LIP_RNG_DATA, 0);
      const size_t held = lip_mem_count();
      double norm = 0, most = 0;
      assert_non_null(way);
      for (size_t step = 0; step < STEPS; step++) {
        if (step % 40 == 0) lip_rng_fill_normal(&rng, way, n, 0.001f, 0.002f);
        for (size_t j = 0; j < n; j++) r.weights[j] += way[j];
        project(&r);
        if (step == 10) assert_int_equal(lip_mem_count(), held);
        if (step < 20 || step % 10 != 0) continue;
        norm = bound(&r);
        most = fmax(most, norm);
      }
      if (!(most <= budget * 1.08 && norm <= budget * 1.005 && norm >= budget * 0.97))
        fail_msg("shape %zu, %s: %g at most, %g in the end", i, lip_project_method_names[method], most, norm);
      lip_free(way);
      rig_close(&r);
    }
}

/* Each group has a norm of its own; one that is zero or holds a NaN leaves the others alone and stays as it is; and powers of two
 * make no difference, also where squares leave float32's range. */
static void groups_and_scales_are_told_apart(void **state) {
  (void)state;
  const shape s = {6, 8, 9, 6, 3, 1, 1, 3, 1, false};
  const double scales[] = {1, 0x1p-90, 0x1p100};
  float first[36];
  for (size_t i = 0; i < 3; i++) {
    rig r = open_rig(&s, LIP_RADIAL, 0.5 * scales[i]);
    float *w = r.weights;
    const size_t n = lip_param_size(&r.l->param[0]) / 3;
    assert_int_equal(n, 36);
    fill(&r, 0, 3);
    for (size_t j = 0; j < n; j++) {
      w[j] *= (float)scales[i];
      w[n + j] = 0;
    }
    w[2 * n] = NAN;
    for (int k = 0; k < 30; k++) project(&r);
    for (size_t j = 0; j < n; j++) {
      assert_true(w[n + j] == 0 && isnan(w[2 * n + j]) == (j == 0));
      if (i == 0)
        first[j] = w[j];
      else
        assert_true(w[j] == first[j] * (float)scales[i]);
    }
    w[2 * n] = 0;
    for (size_t j = n; j < 3 * n; j++) w[j] = 0;
    const double norm = bound(&r);
    assert_true(norm >= 0.5 * scales[i] * 0.999 && norm <= 0.5 * scales[i] * 1.001);
    rig_close(&r);
  }
}

/* What is kept of the last projection is all that the next depends on: with it, another layer goes on with the same bits. */
static void warm_starts_are_complete(void **state) {
  (void)state;
  const shape s = {4, 9, 8, 6, 3, 1, 1, 2, 1, false};
  for (int method = 0; method < LIP_PROJECT_METHODS; method++) {
    rig a = open_rig(&s, (lip_project_method)method, 0.8), b = open_rig(&s, (lip_project_method)method, 0.8);
    const size_t n = lip_param_size(&a.l->param[0]);
    fill(&a, 0, 9);
    project(&a);
    memcpy(b.weights, a.weights, n * sizeof *a.weights);
    lip_layer_copy_warm(b.l, a.l);
    for (int i = 0; i < 5; i++) {
      for (size_t j = 0; j < n; j++) a.weights[j] *= 1.25f, b.weights[j] *= 1.25f;
      project(&a);
      project(&b);
      assert_memory_equal(a.weights, b.weights, n * sizeof *a.weights);
    }
    rig_close(&a);
    rig_close(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bounds_hold_on_odd_shapes), cmocka_unit_test(bounds_hold_along_rows),
      cmocka_unit_test(large_bounds_are_tight),    cmocka_unit_test(nets_are_bounded_as_their_matrices_are),
      cmocka_unit_test(norms_stay_at_the_budget),  cmocka_unit_test(groups_and_scales_are_told_apart),
      cmocka_unit_test(warm_starts_are_complete),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
