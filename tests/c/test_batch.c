/* Layers that look at the whole batch in training: gradients of the batch's function in double, running statistics, and
 * the layer as used, whose constant is held. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_layer.h"

static const lip_pq plain = {LIP_P2, LIP_P2};
static const lip_shape shapes[] = {{1, {5, 0, 0}}, {3, {3, 4, 5}}};
enum { SHAPES = sizeof shapes / sizeof *shapes, B = 21 };

static lip_spec *layer(const char *kind, const char *option, double v) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  assert_non_null(s);
  if (option) assert_int_equal(lip_conf_set_number(&s->kind->desc, s->conf, option, v, NULL), LIP_OK);
  return s;
}

static void fill(float *x, size_t n, uint64_t seed, float mean, float size) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 1);
  lip_rng_fill_normal(&rng, x, n, mean, size);
}

static rig open_rig(const lip_spec *s, lip_shape in, double budget) {
  rig r;
  lip_err err = {LIP_OK, ""};
  if (rig_open(&r, s, &in, plain, LIP_EUCLIDEAN, LIP_INIT_HE, budget, B, &err)) print_error("%s\n", err.msg);
  assert_int_equal(err.code, LIP_OK);
  return r;
}

/* Mean and variance of channel c over the batch. */
static void moments(const rig *r, const double *x, size_t c, double *mean, double *variance) {
  const size_t S = r->l->n_in / r->l->in.dim[0], n = r->l->n_in;
  double sum = 0, square = 0;
  for (size_t i = 0; i < r->B * S; i++) sum += x[i / S * n + c * S + i % S];
  *mean = sum / (double)(r->B * S);
  for (size_t i = 0; i < r->B * S; i++) square += pow(x[i / S * n + c * S + i % S] - *mean, 2);
  *variance = square / (double)(r->B * S);
}

/* sum of dy y with y straight from the definition, x (B, n) and parameters (C each) in double. */
static double value(const rig *r, const double *x, const double *gamma, const double *beta, double eps) {
  const size_t C = r->l->in.dim[0], S = r->l->n_in / C, n = r->l->n_in;
  double sum = 0;
  for (size_t c = 0; c < C; c++) {
    double m, v;
    moments(r, x, c, &m, &v);
    for (size_t i = 0; i < r->B * S; i++) {
      const size_t at = i / S * n + c * S + i % S;
      double y = x[at] - m;
      if (gamma) y = gamma[c] * y / sqrt(v + eps) + beta[c];
      sum += (double)r->dy[at] * y;
    }
  }
  return sum;
}

typedef struct wide {
  double *x, *gamma, *beta, eps;
} wide;

static void compare(const rig *r, const wide *w, double *v, const float *g, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const double h = 1e-5, old = v[i];
    v[i] = old + h;
    double up = value(r, w->x, w->gamma, w->beta, w->eps);
    v[i] = old - h;
    double down = value(r, w->x, w->gamma, w->beta, w->eps);
    v[i] = old;
    double d = (up - down) / (2 * h);
    if (fabs(d - (double)g[i]) > 2e-5 * (1 + fabs(d))) print_error("%zu: %g, not %g\n", i, (double)g[i], d);
    assert_true(fabs(d - (double)g[i]) <= 2e-5 * (1 + fabs(d)));
  }
}

static void gradients_are_those_of_the_batch(void **state) {
  (void)state;
  for (size_t k = 0; k < SHAPES; k++)
    for (int norm = 0; norm < 2; norm++) {
      lip_spec *s = layer(norm ? "batch_norm" : "centre", NULL, 0);
      rig r = open_rig(s, shapes[k], INFINITY);
      const size_t C = r.l->in.dim[0], n = r.B * r.l->n_in;
      fill(r.x, n, 1, 3, 2);
      fill(r.dy, n, 2, 0.5f, 1);
      if (norm) fill(r.weights, 2 * C, 3, 0, 1);
      wide w = {.x = malloc((n + 2 * C) * sizeof *w.x), .eps = 1e-5};
      for (size_t i = 0; i < n; i++) w.x[i] = (double)r.x[i];
      if (norm) w.gamma = w.x + n, w.beta = w.gamma + C;
      for (size_t c = 0; norm && c < C; c++) {
        w.gamma[c] = (double)r.weights[c];
        w.beta[c] = (double)r.weights[C + c];
      }
      rig_forward(&r);
      rig_backward(&r);
      rig_grad(&r, 0);
      double sum = 0;
      for (size_t i = 0; i < n; i++) sum += (double)r.dy[i] * (double)r.y[i];
      const double exact = value(&r, w.x, w.gamma, w.beta, w.eps);
      assert_true(fabs(sum - exact) < 1e-4 * (1 + fabs(exact)));
      compare(&r, &w, w.x, r.dx, n);
      if (norm) compare(&r, &w, w.gamma, r.leaf[0]->param[0].grad, C);
      if (norm) compare(&r, &w, w.beta, r.leaf[0]->param[1].grad, C);
      for (size_t i = norm ? 2 : 0; i < r.l->n_param; i++)
        for (size_t c = 0; c < C; c++) assert_true(r.l->param[i].grad[c] == 0);
      free(w.x);
      rig_close(&r);
      lip_spec_free(s);
    }
}

/* A mean far from 0: statistics keep their digits. */
static void running_statistics_follow_the_batch(void **state) {
  (void)state;
  for (size_t k = 0; k < SHAPES; k++) {
    lip_spec *s = layer("batch_norm", "momentum", 0.25);
    rig r = open_rig(s, shapes[k], INFINITY);
    const size_t C = r.l->in.dim[0], n = r.B * r.l->n_in;
    const double count = (double)(n / C);
    double *x = malloc(n * sizeof *x), mean[5] = {0}, variance[5] = {1, 1, 1, 1, 1};
    for (uint64_t step = 0; step < 3; step++) {
      fill(r.x, n, 10 + step, 3e4f, 2);
      for (size_t i = 0; i < n; i++) x[i] = (double)r.x[i];
      rig_forward(&r);
      rig_grad(&r, 0);
      for (size_t c = 0; c < C; c++) {
        double m, v;
        moments(&r, x, c, &m, &v);
        mean[c] = 0.75 * mean[c] + 0.25 * m;
        variance[c] = 0.75 * variance[c] + 0.25 * v * count / (count - 1);
        assert_true(fabs((double)r.l->param[2].value[c] - mean[c]) < 1e-6 * mean[c]);
        assert_true(fabs((double)r.l->param[3].value[c] - variance[c]) < 1e-5 * variance[c]);
        mean[c] = (double)r.l->param[2].value[c];
        variance[c] = (double)r.l->param[3].value[c];
      }
    }
    free(x);
    rig_close(&r);
    lip_spec_free(s);
  }
}

static void a_lost_variance_certifies_nothing(void **state) {
  (void)state;
  lip_spec *s = layer("batch_norm", NULL, 0);
  rig r = open_rig(s, shapes[0], 0.5);
  double upper;
  lip_deviation d = {1, 0};
  r.l->param[3].value[2] = NAN;
  assert_int_equal(lip_layer_project_exact(r.l, NULL), LIP_OK);
  assert_int_equal(lip_layer_bound(r.l, plain, &upper, NULL), LIP_OK);
  assert_true(isinf(upper));
  lip_layer_deviate(r.l, plain, &d);
  assert_true(isinf(d.off));
  r.l->param[3].value[2] = 0; /* the steepest there is: 1 / sqrt(eps), held to the budget */
  assert_int_equal(lip_layer_project_exact(r.l, NULL), LIP_OK);
  assert_int_equal(lip_layer_bound(r.l, plain, &upper, NULL), LIP_OK);
  assert_true(upper <= 0.5 && upper > 0.4999999);
  assert_true(r.l->param[0].value[2] < 0.0016f);
  rig_close(&r);
  lip_spec_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_are_those_of_the_batch),
      cmocka_unit_test(running_statistics_follow_the_batch),
      cmocka_unit_test(a_lost_variance_certifies_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
