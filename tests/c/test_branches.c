/* Branches joined and added, and layers anchored at a point: gradients against differences in double, constants against the matrix of the same map, budgets
 * on every step of the norm path, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/norm/opnorm.h"
#include "support_layer.h"

static const lip_pq plain = {LIP_P2, LIP_P2};
static const lip_pq steps[] = {{LIP_P1, LIP_P1}, {LIP_P1, LIP_P2},   {LIP_P1, LIP_PINF},
                               {LIP_P2, LIP_P2}, {LIP_P2, LIP_PINF}, {LIP_PINF, LIP_PINF}};
enum { STEPS = sizeof steps / sizeof *steps };

/* A layer with up to one option. */
static lip_spec *layer(const char *kind, const char *option, double v) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  assert_non_null(s);
  if (option) assert_int_equal(lip_conf_set_number(&s->kind->desc, s->conf, option, v, NULL), LIP_OK);
  return s;
}

static lip_spec *set_list(lip_spec *s, const char *name, const double *v, size_t n) {
  assert_int_equal(lip_conf_set_reals(&s->kind->desc, s->conf, name, v, n, NULL), LIP_OK);
  return s;
}

/* `outer` with these layers inside, up to a NULL. */
static lip_spec *with(lip_spec *outer, ...) {
  va_list list;
  lip_spec *s;
  va_start(list, outer);
  while ((s = va_arg(list, lip_spec *))) assert_int_equal(lip_spec_add(outer, s, NULL), LIP_OK);
  va_end(list);
  return outer;
}

static lip_spec *chain(lip_spec *a, lip_spec *b, lip_spec *c) {
  return with(layer("chain", NULL, 0), a, b, c, (lip_spec *)NULL);
}

/* Branches on n values: a skip, two layers with `between`, one; all n wide. */
static lip_spec *three(const char *kind, size_t n, const char *between) {
  double out = (double)n;
  return with(layer(kind, NULL, 0), chain(NULL, NULL, NULL),
              chain(layer("dense", "out", 5), layer(between, NULL, 0), layer("dense", "out", out)),
              layer("dense", "out", out), (lip_spec *)NULL);
}

static rig open_rig(lip_spec *s, lip_shape in, lip_pq pq, double budget, size_t B) {
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

static void fill(float *x, size_t n, uint64_t seed, float size) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 1);
  lip_rng_fill_normal(&rng, x, n, 0, size);
}

/* ---- gradients ---- */

/* sum of dy y over the rows, in double */
static double value(const rig *r) {
  const lip_layer *l = r->l;
  double sum = 0, *x = malloc((l->n_in + l->n_out) * sizeof *x), *y = x + l->n_in;
  for (size_t row = 0; row < r->B; row++) {
    for (size_t i = 0; i < l->n_in; i++) x[i] = (double)r->x[row * l->n_in + i];
    assert_true(layer_in_double(l, x, y));
    for (size_t i = 0; i < l->n_out; i++) sum += (double)r->dy[row * l->n_out + i] * y[i];
  }
  free(x);
  return sum;
}

static double difference(const rig *r, float *v, float h) {
  const float old = *v, up = old + h, down = old - h;
  *v = up;
  double b = value(r);
  *v = down;
  double a = value(r);
  *v = old;
  return (b - a) / ((double)up - (double)down);
}

/* Differences of steps h and h/2, whose errors of second order cancel. */
static void compare(const rig *r, float *v, const float *g, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double d = (4 * difference(r, v + i, 0x1p-9f) - difference(r, v + i, 0x1p-8f)) / 3;
    if (fabs(d - (double)g[i]) > 2e-5 * (1 + fabs(d))) print_error("%zu: %g, not %g\n", i, (double)g[i], d);
    assert_true(fabs(d - (double)g[i]) <= 2e-5 * (1 + fabs(d)));
  }
}

static void check_gradient(lip_spec *s, lip_shape in) {
  rig r = open_rig(s, in, plain, INFINITY, 19); /* more than one group of rows */
  fill(r.x, r.B * r.l->n_in, 1, 1);
  fill(r.dy, r.B * r.l->n_out, 2, 1);
  for (size_t k = 0; k < r.n_params; k++) r.weights[k] += 0.01f * (float)(k % 7);
  rig_forward(&r);
  rig_backward(&r);
  rig_grad(&r, 0);
  compare(&r, r.x, r.dx, r.B * r.l->n_in);
  compare(&r, r.weights, r.grads, r.n_params);
  float *with_dx = malloc(r.n_params * sizeof *with_dx); /* parameter gradients do not need the input's */
  memcpy(with_dx, r.grads, r.n_params * sizeof *with_dx);
  lip_layer_bind(r.l, r.x, r.y, r.dy, NULL, r.kept, r.capacity);
  rig_forward(&r);
  rig_backward(&r);
  rig_grad(&r, 0);
  assert_memory_equal(with_dx, r.grads, r.n_params * sizeof *with_dx);
  free(with_dx);
  rig_close(&r);
  lip_spec_free(s);
}

static void gradients_are_those_of_the_function_in_double(void **state) {
  (void)state;
  check_gradient(three("concat", 6, "tanh"), features(6));
  check_gradient(three("sum", 6, "sigmoid"), features(6));
  lip_spec *s = three("sum", 4, "tanh");
  set_list(s, "weights", (const double[]){0.7, -1.5, 0.25}, 3);
  check_gradient(s, features(4));
  check_gradient(with(layer("concat", NULL, 0), three("sum", 4, "softplus"), three("concat", 4, "tanh"),
                      chain(layer("tanh", NULL, 0), NULL, NULL), (lip_spec *)NULL),
                 features(4)); /* one in the other */
  lip_spec *conv = layer("conv2d", "channels", 3);
  assert_int_equal(lip_conf_set_number(&conv->kind->desc, conv->conf, "padding", 1, NULL), LIP_OK);
  check_gradient(with(layer("concat", NULL, 0), conv, layer("tanh", NULL, 0), (lip_spec *)NULL),
                 planes(2, 4, 3));
}

static const double some[] = {0.3, -1, 0.5, 0};

static lip_spec *anchored(const char *between) {
  lip_spec *s = set_list(layer("anchor", "value", -2), "at", some, 4);
  return with(s, layer("dense", "out", 5), layer(between, NULL, 0), three("sum", 5, "sigmoid"),
              (lip_spec *)NULL);
}

static void anchors_learn_at_their_point_too(void **state) {
  (void)state;
  check_gradient(anchored("tanh"), features(4));
  check_gradient(
      with(layer("concat", NULL, 0), anchored("softplus"), chain(NULL, NULL, NULL), (lip_spec *)NULL),
      features(4));
  check_gradient(with(layer("anchor", "at", 1), layer("conv2d", "channels", 2), layer("tanh", NULL, 0),
                      layer("flatten", NULL, 0), (lip_spec *)NULL),
                 planes(2, 4, 3));
}

/* The very number, whatever the weights, at any row and wherever the rows are cut. */
static void an_anchor_holds_its_point(void **state) {
  (void)state;
  static const double value[] = {1, 0.25, -3, 7, 1e-3};
  enum { B = 37 };
  lip_spec *s = set_list(anchored("relu"), "value", value, 5);
  rig r = open_rig(s, features(4), plain, 3, B);
  fill(r.weights, r.n_params, 8, 2);
  fill(r.x, B * 4, 9, 1);
  for (size_t row = 0; row < B; row += 3)
    for (size_t i = 0; i < 4; i++) r.x[row * 4 + i] = (float)some[i];
  static const size_t cut[] = {0, 1, 5, 16, 18, 33, B};
  for (size_t k = 0; k + 1 < sizeof cut / sizeof *cut; k++) {
    lip_pass pass = rig_pass(&r, cut[k], cut[k + 1]);
    pass.training = k % 2;
    r.l->kind->forward(r.l, &pass);
  }
  for (size_t row = 0; row < B; row += 3)
    for (size_t i = 0; i < 5; i++) assert_true(r.y[row * 5 + i] == (float)value[i]);
  rig_close(&r);
  lip_spec_free(s);
}

/* ---- constants ---- */

/* >= and nearly the norm of the layer, which must be affine, from its matrix written out. */
static double matrix_norm(const rig *r, lip_pq pq) {
  const size_t n = r->l->n_in, m = r->l->n_out;
  double *x = calloc(n + 2 * m, sizeof *x), *y = x + n, *at0 = y + m, upper;
  float *W = malloc(m * n * sizeof *W);
  assert_true(layer_in_double(r->l, x, at0));
  for (size_t i = 0; i < n; i++) {
    x[i] = 1;
    assert_true(layer_in_double(r->l, x, y));
    for (size_t k = 0; k < m; k++) W[k * n + i] = (float)(y[k] - at0[k]);
    x[i] = 0;
  }
  assert_int_equal(lip_opnorm_upper(W, m, n, pq, &upper, NULL), LIP_OK);
  free(W);
  free(x);
  return upper;
}

static lip_spec *affine(const char *kind, size_t n) {
  return with(layer(kind, NULL, 0), chain(NULL, NULL, NULL),
              chain(layer("scale", "factor", -0.5), NULL, NULL),
              chain(layer("dense", "out", 3), layer("dense", "out", (double)n), NULL),
              layer("dense", "out", (double)n), (lip_spec *)NULL);
}

static double bound_of(const rig *r, lip_pq pq) {
  double upper = NAN;
  assert_int_equal(lip_layer_bound(r->l, pq, &upper, NULL), LIP_OK);
  return upper;
}

static void constants_are_never_below_the_matrix(void **state) {
  (void)state;
  for (size_t k = 0; k < STEPS; k++)
    for (int sum = 0; sum < 2; sum++)
      for (uint64_t seed = 0; seed < 4; seed++) {
        lip_spec *s = affine(sum ? "sum" : "concat", 4);
        rig r = open_rig(s, features(4), steps[k], INFINITY, 1);
        fill(r.weights, r.n_params, 10 + seed, 1);
        double upper = bound_of(&r, steps[k]), exact = matrix_norm(&r, steps[k]);
        assert_true(upper >= exact * (1 - 1e-6) && upper < 30 * exact);
        rig_close(&r);
        lip_spec_free(s);
      }
}

/* Where every branch is one matrix, joining by maxima is exact: also for 1->inf, each branch making the step itself. */
static void joined_maxima_are_exact(void **state) {
  (void)state;
  for (size_t k = 0; k < STEPS; k++) {
    if (steps[k].q != LIP_PINF) continue;
    lip_spec *s = with(layer("concat", NULL, 0), layer("dense", "out", 5), chain(NULL, NULL, NULL),
                       layer("dense", "out", 2), (lip_spec *)NULL);
    rig r = open_rig(s, features(7), steps[k], INFINITY, 1);
    fill(r.weights, r.n_params, 5, 1);
    double upper = bound_of(&r, steps[k]), exact = matrix_norm(&r, steps[k]);
    assert_true(fabs(upper - exact) <= 1e-7 * exact);
    rig_close(&r);
    lip_spec_free(s);
  }
}

static void joined_norms_are_those_of_the_constants(void **state) {
  (void)state;
  const double want[] = {7.5, sqrt(29.25), 5};
  for (int p = LIP_P1; p <= LIP_PINF; p++) {
    lip_spec *s =
        with(layer("concat", NULL, 0), layer("scale", "factor", 2), layer("scale", "factor", 5),
             chain(layer("scale", "factor", -0.5), layer("dropout", NULL, 0), NULL), (lip_spec *)NULL);
    lip_pq pq = {(lip_p)p, (lip_p)p};
    const double rounding = 1e-14; /* a chain rounds up even a single constant */
    rig r = open_rig(s, features(3), pq, INFINITY, 1);
    double upper = bound_of(&r, pq), root = want[p];
    if (!(upper >= root && upper <= root * (1 + rounding))) print_error("%.17g for %.17g\n", upper, root);
    assert_true(upper >= root && upper <= root * (1 + rounding));
    rig_close(&r);
    lip_spec_free(s);
  }
}

/* ---- budgets ---- */

static void budgets_are_met_and_used(void **state) {
  (void)state;
  for (size_t k = 0; k < STEPS; k++)
    for (int sum = 0; sum < 2; sum++) {
      const double K = 2.75;
      lip_spec *s = affine(sum ? "sum" : "concat", 4);
      if (sum) set_list(s, "weights", (const double[]){0.5, -3, 0.1, 7}, 4);
      if (k % 2) s = with(layer("anchor", "at", 1), s, (lip_spec *)NULL);
      rig r = open_rig(s, features(4), steps[k], K, 1);
      fill(r.weights, r.n_params, 3, 2);
      for (size_t f = 0; f < r.n_leaf; f++)
        assert_int_equal(lip_layer_project_exact(r.leaf[f], NULL), LIP_OK);
      double upper = bound_of(&r, steps[k]);
      assert_true(upper <= K && upper > 0.999 * K);
      rig_close(&r);
      lip_spec_free(s);
    }
}

/* ---- refusals ---- */

static void refuses(lip_spec *s, lip_shape in, lip_pq pq, double budget, lip_status code, const char *a,
                    const char *b) {
  rig r;
  lip_err err = {LIP_OK, ""};
  lip_status status = rig_open(&r, s, &in, pq, LIP_EUCLIDEAN, LIP_INIT_HE, budget, 1, &err);
  if (status != code || !strstr(err.msg, a) || !strstr(err.msg, b))
    print_error("expected '%s' and '%s' in: %s\n", a, b, err.msg);
  assert_int_equal(status, code);
  assert_non_null(strstr(err.msg, a));
  assert_non_null(strstr(err.msg, b));
  assert_ptr_equal(strstr(err.msg, s->kind->desc.name), err.msg);
  lip_spec_free(s);
}

static void what_does_not_fit_together_is_refused(void **state) {
  (void)state;
  const lip_pq two = plain, one = {LIP_P1, LIP_P1};
  refuses(layer("concat", NULL, 0), features(4), two, 1, LIP_OPTION, "no branches", "chain{}");
  refuses(layer("sum", NULL, 0), features(4), two, 1, LIP_OPTION, "no branches", "chain{}");
  refuses(with(layer("sum", NULL, 0), chain(NULL, NULL, NULL), layer("dense", "out", 5), (lip_spec *)NULL),
          features(4), two, 4, LIP_SHAPE, "branch 1 gives 4", "branch 2 5");
  refuses(with(layer("concat", NULL, 0), chain(NULL, NULL, NULL), layer("conv2d", "channels", 5),
               (lip_spec *)NULL),
          planes(2, 4, 4), two, 4, LIP_SHAPE, "branch 1 gives 2x4x4", "branch 2 5x2x2");
  refuses(
      with(layer("concat", NULL, 0), chain(NULL, NULL, NULL), layer("flatten", NULL, 0), (lip_spec *)NULL),
      planes(2, 4, 4), two, 4, LIP_SHAPE, "2x4x4", "32");
  refuses(with(layer("concat", NULL, 0), chain(NULL, NULL, NULL),
               chain(layer("relu", NULL, 0), layer("groupsort", "size", 3), NULL), (lip_spec *)NULL),
          features(4), two, 4, LIP_SHAPE, "branch 2: layer 2 (groupsort)", "4");
  refuses(with(layer("concat", NULL, 0), chain(NULL, NULL, NULL), layer("dense", "out", 5), (lip_spec *)NULL),
          features(4), two, 1, LIP_UNSUPPORTED, "budget is 1", "fixed constant 1");
  refuses(with(layer("sum", NULL, 0), layer("relu", NULL, 0), layer("tanh", NULL, 0), (lip_spec *)NULL),
          features(4), one, 1.5, LIP_UNSUPPORTED, "budget is 1.5", "fixed constant 2");
  for (size_t n = 2; n <= 4; n += 2) {
    lip_spec *s = three("sum", 4, "relu");
    set_list(s, "weights", (const double[]){1, 1, 1, 1}, n);
    refuses(s, features(4), two, 4, LIP_OPTION, n == 2 ? "2 numbers" : "4 numbers", "3 branches");
  }
  refuses(with(layer("sum", "weights", 0), layer("relu", NULL, 0), (lip_spec *)NULL), features(4), two, 4,
          LIP_OPTION, "weight 1", "0");
}

/* For norm inf a skip takes nothing from the others: a budget of 1 is enough. */
static void a_skip_costs_nothing_in_norm_inf(void **state) {
  (void)state;
  const lip_pq pq = {LIP_PINF, LIP_PINF};
  lip_spec *s = three("concat", 4, "relu");
  rig r = open_rig(s, features(4), pq, 1, 1);
  for (size_t f = 0; f < r.n_leaf; f++) {
    fill(r.leaf[f]->param[0].value, lip_param_size(&r.leaf[f]->param[0]), f, 3);
    assert_int_equal(lip_layer_project_exact(r.leaf[f], NULL), LIP_OK);
  }
  assert_true(bound_of(&r, pq) == 1);
  rig_close(&r);
  lip_spec_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_are_those_of_the_function_in_double),
      cmocka_unit_test(anchors_learn_at_their_point_too),
      cmocka_unit_test(an_anchor_holds_its_point),
      cmocka_unit_test(constants_are_never_below_the_matrix),
      cmocka_unit_test(joined_maxima_are_exact),
      cmocka_unit_test(joined_norms_are_those_of_the_constants),
      cmocka_unit_test(budgets_are_met_and_used),
      cmocka_unit_test(what_does_not_fit_together_is_refused),
      cmocka_unit_test(a_skip_costs_nothing_in_norm_inf),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
