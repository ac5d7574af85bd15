/* Layers that pool: their constants against matrices and single moves, ties, gradients at 0, refusals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/norm/opnorm.h"
#include "support_layer.h"

static const lip_pq steps[] = {{LIP_P1, LIP_P1}, {LIP_P1, LIP_P2},   {LIP_P1, LIP_PINF},
                               {LIP_P2, LIP_P2}, {LIP_P2, LIP_PINF}, {LIP_PINF, LIP_PINF}};
enum { STEPS = sizeof steps / sizeof *steps };

static lip_spec *make(const char *kind, size_t kernel, size_t stride, size_t padding) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  assert_non_null(s);
  const struct {
    const char *name;
    size_t v;
  } opt[] = {{"kernel", kernel}, {"stride", stride}, {"padding", padding}};
  for (size_t i = 0; i < 3 && s->kind->desc.opts; i++)
    assert_int_equal(lip_conf_set_number(&s->kind->desc, s->conf, opt[i].name, (double)opt[i].v, NULL),
                     LIP_OK);
  return s;
}

static rig open_rig(const lip_spec *s, size_t C, size_t H, size_t W, size_t B) {
  rig r;
  lip_err err = {LIP_OK, ""};
  lip_shape in = {3, {C, H, W}};
  if (rig_open(&r, s, &in, (lip_pq){LIP_P2, LIP_P2}, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, B, &err))
    fail_msg("%s", err.msg);
  return r;
}

static double bound_of(const lip_layer *l, lip_pq pq) {
  double upper;
  assert_int_equal(lip_layer_bound(l, pq, &upper, NULL), LIP_OK);
  return upper;
}

typedef struct geometry {
  size_t C, H, W, kernel, stride, padding;
} geometry;

/* Kernels 1 to 4 on 1x1, 1x7 and 5x8, strides above the kernel, padding up to above the kernel. */
static size_t geometries(geometry *out) {
  static const size_t image[][2] = {{1, 1}, {1, 7}, {5, 8}};
  size_t n = 0;
  for (size_t i = 0; i < 3; i++)
    for (size_t k = 1; k <= 4; k++)
      for (size_t s = 1; s <= 5; s += s > 1 ? 2 : 1)
        for (size_t p = 0; p <= 5; p++) {
          if (image[i][0] + 2 * p < k || image[i][1] + 2 * p < k) continue;
          out[n++] = (geometry){1 + (k + s) % 2, image[i][0], image[i][1], k, s, p};
        }
  return n;
}
enum { MOST = 3 * 4 * 6 * 5 };

/* avg_pool2d against the norm of its matrix, which is what forward does column by column. */
static void averages_have_the_norm_of_their_matrix(void **state) {
  (void)state;
  static geometry list[MOST];
  size_t n = geometries(list);
  assert_true(n > 150);
  for (size_t i = 0; i <= n; i++) {
    geometry g = i < n ? list[i] : (geometry){3, 4, 6, 2, 0, 0};
    lip_spec *s =
        i < n ? make("avg_pool2d", g.kernel, g.stride, g.padding) : make("global_avg_pool", 0, 0, 0);
    rig r = open_rig(s, g.C, g.H, g.W, 1);
    size_t in = r.l->n_in, out = r.l->n_out;
    float *A = malloc((in * out + out) * sizeof *A);
    assert_non_null(A);
    r.l->kind->matrix(r.l, A, A + in * out);
    for (size_t k = 0; k < in; k++) {
      memset(r.x, 0, in * sizeof *r.x);
      r.x[k] = 1;
      rig_forward(&r);
      for (size_t o = 0; o < out; o++) assert_true(r.y[o] == A[o * in + k] && A[in * out + o] == 0);
    }
    for (size_t k = 0; k < STEPS; k++) {
      double exact, upper = bound_of(r.l, steps[k]);
      assert_int_equal(lip_opnorm_upper(A, out, in, steps[k], &exact, NULL), LIP_OK);
      if (!(upper >= exact * (1 - 1e-10) && upper <= exact * (1 + 1e-10)))
        fail_msg("%zux%zu kernel %zu stride %zu padding %zu, %s: %.17g, matrix %.17g", g.H, g.W, g.kernel,
                 g.stride, g.padding, lip_pq_name(steps[k]), upper, exact);
      assert_int_equal(lip_opnorm_lower(A, out, in, steps[k], &exact, NULL), LIP_OK);
      assert_true(upper >= exact);
    }
    assert_true(bound_of(r.l, (lip_pq){LIP_PINF, LIP_PINF}) <= 1);
    free(A);
    rig_close(&r);
    lip_spec_free(s);
  }
}

/* On an axis too long to be written out: proved otherwise, and hardly larger. */
static void long_images(void **state) {
  (void)state;
  lip_spec *s = make("avg_pool2d", 3, 1, 1);
  rig r = open_rig(s, 1, 3, 300, 1), q = open_rig(s, 1, 3, 200, 1);
  double more = bound_of(r.l, (lip_pq){LIP_P2, LIP_P2}), less = bound_of(q.l, (lip_pq){LIP_P2, LIP_P2});
  assert_true(more >= less && more <= less * (1 + 1e-3));
  rig_close(&r);
  rig_close(&q);
  lip_spec_free(s);
}

static double norm(const float *v, size_t n, lip_p p) {
  double sum = 0, most = 0;
  for (size_t i = 0; i < n; i++) {
    double a = fabs((double)v[i]);
    most = fmax(most, a);
    sum += p == LIP_P2 ? a * a : a;
  }
  return p == LIP_PINF ? most : p == LIP_P2 ? sqrt(sum) : sum;
}

/* max and l2: one pixel that rises from 0 on an image of -1 (or 0), and all pixels that rise from 0, attain the constant. */
static void constants_are_attained(void **state) {
  (void)state;
  static geometry list[MOST];
  size_t n = geometries(list), seen = 0;
  static const char *const kinds[] = {"max_pool2d", "l2_pool2d"};
  for (size_t i = 0; i < 2 * n; i++) {
    geometry g = list[i / 2];
    if (i % 2 == 0 && g.padding >= g.kernel) continue; /* refused */
    lip_spec *s = make(kinds[i % 2], g.kernel, g.stride, g.padding);
    rig r = open_rig(s, g.C, g.H, g.W, 1);
    size_t in = r.l->n_in, out = r.l->n_out;
    for (size_t k = 0; k < STEPS; k++) {
      double most = 0, upper = bound_of(r.l, steps[k]);
      for (size_t at = 0; at <= in; at++) {
        for (size_t c = 0; c < in; c++) r.x[c] = at == in ? 1 : c == at ? 4 : i % 2 ? 0 : -1;
        rig_forward(&r);
        if (at < in && i % 2 == 0) /* the move is from 0 to 4 */
          for (size_t o = 0; o < out; o++) r.y[o] = r.y[o] == 4 ? 4 : 0;
        double y = norm(r.y, out, steps[k].q);
        double x = at < in ? 4 : norm(r.x, in, steps[k].p);
        most = fmax(most, y / x);
      }
      if (!(most <= upper * (1 + 1e-6) && most >= upper * (1 - 1e-6)))
        fail_msg("%s on %zux%zu kernel %zu stride %zu padding %zu, %s: constant %g, attained %g",
                 kinds[i % 2], g.H, g.W, g.kernel, g.stride, g.padding, lip_pq_name(steps[k]), upper, most);
      seen++;
    }
    rig_close(&r);
    lip_spec_free(s);
  }
  assert_true(seen > 1000);
}

static void equal_values_and_infinities(void **state) {
  (void)state;
  lip_spec *s = make("max_pool2d", 2, 2, 0);
  rig r = open_rig(s, 1, 2, 4, 1);
  const float x[] = {1, 1, -INFINITY, -INFINITY, 1, 1, -INFINITY, -INFINITY}, dy[] = {3, 5};
  memcpy(r.x, x, sizeof x);
  memcpy(r.dy, dy, sizeof dy);
  rig_forward(&r);
  rig_backward(&r);
  assert_true(r.y[0] == 1 && r.y[1] == -INFINITY);
  for (size_t i = 0; i < 8; i++) assert_true(r.dx[i] == (i == 0 ? 3 : i == 2 ? 5 : 0));
  for (size_t at = 0; at < 8; at++) { /* a NaN is the largest, wherever it is */
    for (size_t i = 0; i < 8; i++) r.x[i] = i == at ? NAN : (float)i;
    rig_forward(&r);
    rig_backward(&r);
    assert_true(isnan(r.y[at % 4 / 2]) && !isnan(r.y[1 - at % 4 / 2]));
    assert_true(r.dx[at] == dy[at % 4 / 2]);
  }
  rig_close(&r);
  lip_spec_free(s);
}

/* No gradient where the window is 0; numbers whose squares float32 does not hold. */
static void l2_at_zero_and_far_out(void **state) {
  (void)state;
  lip_spec *s = make("l2_pool2d", 2, 2, 0);
  rig r = open_rig(s, 1, 2, 6, 1);
  const float x[] = {0, 0, 3e30f, 0, 3e-30f, 0, 0, -0.0f, 0, 4e30f, 0, -4e-30f}, dy[] = {1, 2, 2};
  memcpy(r.x, x, sizeof x);
  memcpy(r.dy, dy, sizeof dy);
  rig_forward(&r);
  rig_backward(&r);
  assert_true(r.y[0] == 0 && fabsf(r.y[1] / 5e30f - 1) < 1e-6f && fabsf(r.y[2] / 5e-30f - 1) < 1e-6f);
  for (size_t i = 0; i < 12; i++) {
    float want = i == 2 || i == 4 ? 1.2f : i == 9 ? 1.6f : i == 11 ? -1.6f : 0;
    assert_true(fabsf(r.dx[i] - want) < 1e-6f);
  }
  rig_close(&r);
  lip_spec_free(s);
}

static void refuses(lip_spec *s, lip_shape in, const char *a, const char *b) {
  rig r;
  lip_err err = {LIP_OK, ""};
  lip_status status =
      rig_open(&r, s, &in, (lip_pq){LIP_P2, LIP_P2}, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 1, &err);
  if (status != LIP_SHAPE || !strstr(err.msg, a) || !strstr(err.msg, b) ||
      !strstr(err.msg, s->kind->desc.name))
    fail_msg("expected '%s' and '%s' in: %s", a, b, err.msg);
  lip_spec_free(s);
}

static void wrong_shapes_are_refused_with_both_shapes(void **state) {
  (void)state;
  static const char *const kinds[] = {"avg_pool2d", "max_pool2d", "l2_pool2d"};
  const lip_shape image = {3, {2, 3, 5}}, features = {1, {12, 0, 0}};
  for (size_t i = 0; i < 3; i++) {
    refuses(make(kinds[i], 4, 1, 0), image, "4x4", "2x3x5");
    refuses(make(kinds[i], 8, 0, 1), image, "8x8", "padding 1");
    refuses(make(kinds[i], 2, 0, 0), features, "channels x height x width", "12");
  }
  refuses(make("global_avg_pool", 0, 0, 0), features, "channels x height x width", "12");
  refuses(make("max_pool2d", 2, 1, 2), image, "padding 2", "2x3x5");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(averages_have_the_norm_of_their_matrix),
      cmocka_unit_test(long_images),
      cmocka_unit_test(constants_are_attained),
      cmocka_unit_test(equal_values_and_infinities),
      cmocka_unit_test(l2_at_zero_and_far_out),
      cmocka_unit_test(wrong_shapes_are_refused_with_both_shapes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
