/* The model of rounding errors: one layer, norms of absolute values, what is read off a pass. */
#include <float.h>
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

#include "core/affine/rounding.h"
#include "core/affine/walk.h"
#include "core/bound/bound.h"
#include "support_cert.h"

/* ---- numbers that are not finite ---- */

/* NaN in a quantity of the walk itself ends as an infinite error or as NaN, and both fail every test. */
static void nan_in_the_error_stays_visible(void **state) {
  (void)state;
  const float w[] = {1, 2, 3, 4};
  lip_dense_error d = {.M = 2, .N = 2, .pq = {LIP_P2, LIP_P2}, .W = w, .norm = 6, .abs_norm = 6, .bias = 0};
  assert_true(lip_dense_error_local(&d, 2, 1, 6, 6) < 1e-5);
  assert_true(isinf(lip_dense_error_local(&d, 2, NAN, 6, 6)));
  assert_true(isinf(lip_dense_error_local(&d, 2, 1, NAN, 6)));
  assert_true(isinf(lip_dense_error_local(&d, 2, INFINITY, 6, 6)));
  double known = lip_dense_error_local(&d, 2, 1, 6, 6);
  /* the exact result is then bounded by its terms alone */
  assert_true(lip_dense_error_local(&d, 2, 1, 6, NAN) >= known);
  assert_true(isinf(lip_dot_error(3, 1, NAN, 1, 1)));
  assert_true(isinf(lip_dot_error((size_t)1 << 23, 1, 1, 1, 1))); /* too long a sum for float32 */
  assert_true(isinf(lip_up_mul(0, INFINITY)));
  assert_true(lip_up_mul(0.1, 0.1) > 0.1 * 0.1 && lip_up_add(0.1, 0.2) > 0.1 + 0.2);
  assert_true(lip_up_mul(0, 3) == 0 && lip_up_mul(1, 3) == 3 && lip_up_add(0, 3) == 3);
  assert_true(lip_below_div(1, 3) < 1.0 / 3 && lip_below_div(0, 3) == 0);
}

/* ---- the error model itself ---- */

/* Sum of terms in a random binary tree, every operation in float32. */
static float tree_sum(const float *t, size_t n, lip_rng *rng) {
  if (n == 1) return t[0];
  size_t cut = lip_rng_below(rng, 2) ? 1 : 1 + (size_t)lip_rng_below(rng, n - 1);
  float a = tree_sum(t, cut, rng), b = tree_sum(t + cut, n - cut, rng);
  return a + b;
}

static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* Worst orders first: sorted by sign, so that partial sums are as large as they can be. */
static void any_order_of_summation_is_covered(void **state) {
  (void)state;
  enum { N = 200 };
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 0);
  double largest = 0;
  for (int trial = 0; trial < 2000; trial++) {
    float w[N], h[N], t[N + 1], beta = (float)lip_rng_normal(&rng);
    size_t n = 1 + (size_t)lip_rng_below(&rng, N);
    double T = fabs((double)beta), exact = (double)beta, sumw = 0, sumh = 0;
    for (size_t k = 0; k < n; k++) {
      w[k] = (float)lip_rng_normal(&rng);
      h[k] = (float)lip_rng_normal(&rng);
      if (trial % 2 && k > 0) w[k] = -w[k - 1], h[k] = h[k - 1]; /* cancellation */
      t[k] = w[k] * h[k];
      T += fabs((double)w[k] * (double)h[k]);
      exact += (double)w[k] * (double)h[k];
      sumw += (double)w[k] * (double)w[k];
      sumh += (double)h[k] * (double)h[k];
    }
    t[n] = beta;
    if (trial % 4 < 2) qsort(t, n + 1, sizeof *t, by_value);
    lip_dense_error d = {.M = 1, .N = n, .pq = {LIP_P2, LIP_P2}, .W = w, .bias = fabs((double)beta)};
    d.norm = d.abs_norm = sqrt(sumw) * (1 + 1e-12);
    double off = fabs((double)tree_sum(t, n + 1, &rng) - exact), size = sqrt(sumh) * (1 + 1e-12);
    double local = lip_dense_error_local(&d, n, size, T, fabs(exact) + 1e-12 * T);
    assert_true(off <= local + 1e-12 * T);
    assert_true(off <= lip_dot_error(n, size, T, T, d.abs_norm) + 1e-12 * T);
    if (off / local > largest) largest = off / local;
  }
  assert_true(largest > 0.02); /* the bound is about what happens, not a number out of reach */
}

/* || |W| ||_2 by Collatz and Wielandt, against the power method and against the cheap bounds around it. */
static void norm_of_absolute_values(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 0);
  for (int trial = 0; trial < 40; trial++) {
    size_t M = 1 + (size_t)lip_rng_below(&rng, 12), N = 1 + (size_t)lip_rng_below(&rng, 12);
    float W[144];
    double v[12], upper, estimate = 0, frobenius = 0;
    lip_err err;
    lip_rng_fill_normal(&rng, W, M * N, 0, 1);
    if (trial % 5 == 0)
      for (size_t k = 0; k < N; k++) W[k] = 0; /* an empty row */
    assert_int_equal(lip_abs_opnorm_upper(W, M, N, (lip_pq){LIP_P2, LIP_P2}, &upper, &err), LIP_OK);
    for (size_t k = 0; k < N; k++) v[k] = 1;
    for (int it = 0; it < 300; it++) {
      double s[12] = {0}, tt = 0, vv = 0, top = 0;
      for (size_t i = 0; i < M; i++) {
        double t = 0;
        for (size_t k = 0; k < N; k++) t += fabs((double)W[i * N + k]) * v[k];
        for (size_t k = 0; k < N; k++) s[k] += fabs((double)W[i * N + k]) * t;
        tt += t * t;
      }
      for (size_t k = 0; k < N; k++) vv += v[k] * v[k], top = fmax(top, s[k]);
      if (vv > 0) estimate = sqrt(tt / vv);
      for (size_t k = 0; k < N; k++) v[k] = top > 0 ? s[k] / top : 0;
    }
    for (size_t i = 0; i < M * N; i++) frobenius += (double)W[i] * (double)W[i];
    assert_true(upper >= estimate * (1 - 1e-13));
    assert_true(upper <= estimate * 1.01 + 1e-300);
    assert_true(upper <= sqrt(frobenius) * 1.01);
  }
}

/* What the walk reads as the executed input of a layer is the executed input of that layer. */
static void activations_are_read_where_they_are(void **state) {
  (void)state;
  const piece parts[] = {{"dense", 9}, {"relu", 0}, {"dense", 8}, {"maxmin", 0}, {"dense", 3}};
  lip_net *net = cert_net("2", 5, parts, 5, 1, 6, NULL);
  enum { ROWS = 130 };
  float x[ROWS * 5];
  lip_err err;
  lip_walk w;
  double size[6], off[6];
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, x, ROWS * 5, 0, 1);
  assert_int_equal(lip_net_reserve(net, ROWS, &err), LIP_OK);
  assert_int_equal(lip_walk_init(&w, net, NULL, &err), LIP_OK);
  lip_net_forward(net, x, ROWS, false);
  for (size_t r = 0; r < ROWS; r++) {
    lip_centre at = {.size = size, .off = off};
    double h[16], y[16];
    lip_walk_centre(&w, x, r, &at);
    for (size_t k = 0; k < 5; k++) h[k] = (double)x[r * 5 + k];
    for (size_t i = 0; i < 5; i += 2) {
      const lip_layer *l = net->root->child[i];
      double norm = 0, gap = 0;
      for (size_t k = 0; k < l->n_in; k++) norm += h[k] * h[k];
      assert_true(size[i] >= sqrt(norm) - off[i]);
      assert_true(size[i] <= sqrt(norm) * (1 + 1e-5));
      for (size_t o = 0; o < l->n_out; o++) {
        y[o] = (double)l->param[1].value[o];
        for (size_t k = 0; k < l->n_in; k++) y[o] += (double)l->param[0].value[o * l->n_in + k] * h[k];
      }
      memcpy(h, y, sizeof h);
      for (size_t o = 0; i == 0 && o < l->n_out; o++) h[o] = fmax(y[o], 0);
      for (size_t o = 0; i == 2 && o + 1 < l->n_out; o += 2) {
        h[o] = fmax(y[o], y[o + 1]);
        h[o + 1] = fmin(y[o], y[o + 1]);
      }
      for (size_t o = 0; i == 4 && o < 3; o++) gap += pow((double)net->logits[r * 3 + o] - h[o], 2);
      if (i == 4) assert_true(sqrt(gap) <= off[5] && off[5] < 1e-4);
    }
  }
  lip_walk_free(&w);
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nan_in_the_error_stays_visible),
      cmocka_unit_test(any_order_of_summation_is_covered),
      cmocka_unit_test(norm_of_absolute_values),
      cmocka_unit_test(activations_are_read_where_they_are),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
