/* Layers that move values: each against its definition value by value, pairs that undo each other, refusals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_layer.h"

static lip_spec *make(const char *kind, const char *option, double v) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  assert_non_null(s);
  assert_int_equal(lip_conf_set_number(&s->kind->desc, s->conf, option, v, NULL), LIP_OK);
  return s;
}

static rig open_rig(const lip_spec *s, lip_shape in, size_t B) {
  rig r;
  lip_err err = {LIP_OK, ""};
  if (rig_open(&r, s, &in, (lip_pq){LIP_P2, LIP_P2}, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, B, &err))
    fail_msg("%s", err.msg);
  return r;
}

static bool moves(const lip_layer_kind *kind) {
  static const char *const kinds[] = {"space_to_depth", "depth_to_space", "shift", "pad", "select"};
  for (size_t i = 0; i < 5; i++)
    if (strcmp(kind->desc.name, kinds[i]) == 0) return true;
  return false;
}

/* Forward gives the very bits of the definition, backward its transpose, the double mode and the matrix the same. */
static void values_go_where_the_definition_says(void **state) {
  (void)state;
  static test_case cases[LAYER_CASES];
  size_t n = layer_cases(cases, LAYER_CASES), seen = 0;
  for (size_t c = 0; c < n; c++) {
    if (moves(cases[c].spec->kind)) {
      rig r = open_rig(cases[c].spec, cases[c].in, 1);
      size_t in = r.l->n_in, out = r.l->n_out;
      double *x = calloc(in + 2 * out, sizeof *x), *y = x + in, *wide = y + out, upper;
      float *A = calloc(in * out + out, sizeof *A);
      assert_true(x && A);
      for (size_t i = 0; i < in; i++) r.x[i] = (float)(i + 1), x[i] = (double)(i + 1);
      for (size_t i = 0; i < out; i++) r.dy[i] = -(float)(i + 1);
      rig_forward(&r);
      rig_backward(&r);
      assert_true(layer_in_double(r.l, x, y));
      r.l->kind->wide(r.l, 1, x, wide);
      r.l->kind->matrix(r.l, A, A + in * out);
      for (size_t o = 0; o < out; o++) {
        assert_true((double)r.y[o] == y[o] && wide[o] == y[o] && A[in * out + o] == 0);
        for (size_t i = 0; i < in; i++) assert_true(A[o * in + i] == (y[o] == (double)(i + 1)));
      }
      for (size_t i = 0; i < in; i++) {
        float want = 0;
        for (size_t o = 0; o < out; o++)
          if (y[o] == (double)(i + 1)) want = r.dy[o];
        assert_true(r.dx[i] == want);
      }
      for (int p = LIP_P1; p <= LIP_PINF; p++)
        for (int q = p; q <= LIP_PINF; q++) {
          lip_deviation d = {3, 0};
          assert_int_equal(lip_layer_bound(r.l, (lip_pq){(lip_p)p, (lip_p)q}, &upper, NULL), LIP_OK);
          assert_true(upper == 1);
          lip_layer_deviate(r.l, (lip_pq){(lip_p)p, (lip_p)q}, &d);
          assert_true(d.size == 3 && d.off == 0);
        }
      free(x);
      free(A);
      rig_close(&r);
      seen++;
    }
    lip_spec_free(cases[c].spec);
  }
  assert_true(seen >= 15);
}

static void depth_and_space_undo_each_other(void **state) {
  (void)state;
  for (size_t b = 1; b <= 4; b++) {
    lip_spec *s = make("space_to_depth", "block", (double)b), *t = make("depth_to_space", "block", (double)b);
    lip_shape in = {3, {3, 2 * b, 3 * b}};
    rig r = open_rig(s, in, 4), q = open_rig(t, r.l->out, 4);
    assert_memory_equal(&q.l->out, &in, sizeof in);
    size_t n = 4 * r.l->n_in;
    for (size_t i = 0; i < n; i++) r.x[i] = (float)i;
    rig_forward(&r);
    memcpy(q.x, r.y, n * sizeof *q.x);
    rig_forward(&q);
    assert_memory_equal(q.y, r.x, n * sizeof *q.y);
    rig_close(&r);
    rig_close(&q);
    lip_spec_free(s);
    lip_spec_free(t);
  }
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
  const lip_shape image = {3, {6, 4, 5}}, features = {1, {12, 0, 0}}, thin = {3, {3, 4, 4}};
  refuses(make("space_to_depth", "block", 2), image, "2x2", "6x4x5");
  refuses(make("depth_to_space", "block", 2), image, "2x2", "6x4x5");
  refuses(make("space_to_depth", "block", 1), features, "channels x height x width", "12");
  refuses(make("depth_to_space", "block", 1), features, "channels x height x width", "12");
  refuses(make("shift", "share", 0.25), features, "channels x height x width", "12");
  refuses(make("shift", "share", 0.25), thin, "0.25", "3x4x4");
  refuses(make("select", "channels", 7), image, "7 channels", "6x4x5");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_go_where_the_definition_says),
      cmocka_unit_test(depth_and_space_undo_each_other),
      cmocka_unit_test(wrong_shapes_are_refused_with_both_shapes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
