/* The float32 kernels of norm/ against plain loops, and the power iteration against singular values. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/norm/opnorm.h"
#include "core/norm/power.h"
#include "core/norm/project.h"
#include "core/norm/quick.h"
#include "core/norm/rows.h"
#include "core/tensor/linalg.h"

static const size_t lengths[] = {0, 1, 5, 15, 16, 17, 63, 64, 65, 255, 256, 257, 300, 784, 4097};
enum { LENGTHS = sizeof lengths / sizeof *lengths };
static const lip_pq two = {LIP_P2, LIP_P2};

static float *normal(size_t n, uint64_t seed, float deviation) {
  float *w = lip_alloc(n, sizeof *w);
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, w, n, 0, deviation);
  return w;
}

static void sums_keep_their_error(void **state) {
  (void)state;
  static const float sizes[] = {1, 1e-18f, 1e18f};
  for (size_t k = 0; k < LENGTHS; k++)
    for (int s = 0; s < 3; s++) {
      size_t n = lengths[k];
      float *x = normal(n, 3 * k + (size_t)s, sizes[s]);
      long double sum = 0, squares = 0;
      for (size_t i = 0; i < n; i++) {
        sum += fabsl((long double)x[i]);
        squares += (long double)x[i] * (long double)x[i];
      }
      long double lost = (long double)n * 0x1p-148L;
      assert_true(fabsl((long double)lip_quick_abs_sum(x, n) - sum) <= (long double)lip_quick_error(n) * sum);
      assert_true(fabsl((long double)lip_quick_square_sum(x, n) - squares) <=
                  (long double)lip_quick_square_error(n) * squares + lost);
      lip_free(x);
    }
  /* squares beyond and below float32's range */
  const float large[] = {1e30f, 0}, small[] = {1e-30f, 1e-30f};
  assert_true(lip_quick_square_sum(large, 2) == INFINITY);
  assert_true(fabs(lip_quick_square_sum(small, 2) - 2e-60) <= 2 * 0x1p-148);
  const float nan[] = {1, NAN};
  assert_true(isnan(lip_quick_abs_sum(nan, 2)) && isnan(lip_quick_square_sum(nan, 2)));
}

static void active_elements_are_those_above(void **state) {
  (void)state;
  for (size_t k = 0; k < LENGTHS; k++)
    for (int s = 0; s < 5; s++) {
      static const float levels[] = {0, 0.1f, 0.7f, 2.5f, 100};
      size_t n = lengths[k], count = 0;
      float *x = normal(n, 7 * k + (size_t)s, 1), least = INFINITY, t = levels[s];
      long double sum = 0;
      if (n > 3) t = s == 1 ? fabsf(x[n / 2]) : t; /* not above itself */
      if (n > 8) x[8] = 0, x[7] = -x[3];
      for (size_t i = 0; i < n; i++) {
        if (!(fabsf(x[i]) > t)) continue;
        sum += fabsl((long double)x[i]);
        least = fminf(least, fabsf(x[i]));
        count++;
      }
      lip_active a = lip_active_above(x, n, t);
      assert_int_equal(a.count, count);
      assert_true(a.least == least);
      assert_true(fabsl((long double)a.sum - sum) <= (long double)lip_row_sum_error(n) * sum);
      lip_free(x);
    }
}

/* Rows a hair outside the ball, or outside by one element, from thresholds that have nothing to do with them. */
static void rows_close_to_the_ball(void **state) {
  (void)state;
  enum { N = 300 };
  static const double outside[] = {0, 1e-9, 1e-7, 3e-7, 1e-6, 1e-4, 0.5};
  static const float before[] = {0, 1e-7f, 1e-3f, 1};
  lip_pq pq = {LIP_PINF, LIP_PINF};
  for (size_t k = 0; k < sizeof outside / sizeof *outside; k++)
    for (size_t b = 0; b < sizeof before / sizeof *before; b++) {
      float *x = normal(N, k, 1), *first = normal(N, 99, before[b]);
      lip_projector *p = NULL;
      assert_int_equal(lip_projector_new(1, N, pq, LIP_EUCLIDEAN, &p, NULL), LIP_OK);
      lip_project(p, first, 1, 0, 1, NULL);
      double norm = lip_row_norm(x, N, LIP_P1).high, radius = norm / (1 + outside[k]), moved = 0;
      float *y = lip_alloc(N, sizeof *y);
      memcpy(y, x, N * sizeof *y);
      lip_project(p, y, radius, 0, 1, NULL);
      assert_true(lip_row_norm(y, N, LIP_P1).high <= radius);
      assert_true(lip_row_norm(y, N, LIP_P1).low >= radius * (1 - 0x1p-22));
      for (size_t i = 0; i < N; i++) moved = fmax(moved, fabs((double)x[i] - (double)y[i]));
      if (outside[k] == 0) assert_memory_equal(x, y, N * sizeof *x);
      if (k + 1 < sizeof outside / sizeof *outside)
        assert_true(moved <= 2 * (norm - radius) / N + 1e-6); /* nearly all are active */
      lip_projector_free(p);
      lip_free(first);
      lip_free(x);
      lip_free(y);
    }
}

static double top_of(const float *W, size_t M, size_t N) {
  double *a = lip_alloc(M * N, sizeof *a), *s = lip_alloc(M < N ? M : N, sizeof *s);
  for (size_t i = 0; i < M * N; i++) a[i] = (double)W[i];
  assert_int_equal(lip_svd(a, M, N, NULL, s, NULL, NULL), LIP_OK);
  double top = s[0];
  lip_free(a);
  lip_free(s);
  return top;
}

/* Iterations raise the estimate, from below, for any size of number and shape. */
static void estimates_rise_to_the_norm(void **state) {
  (void)state;
  static const size_t shapes[][2] = {{1, 1}, {1, 20}, {20, 1}, {3, 4}, {4, 3}, {17, 33}, {50, 21}};
  static const float sizes[] = {1, 1e-30f, 1e30f, 1e-43f};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int k = 0; k < 4; k++) {
      size_t M = shapes[s][0], N = shapes[s][1];
      float *W = normal(M * N, s, 1);
      W[0] += 20; /* a direction that stands out */
      for (size_t i = 0; i < M * N; i++) W[i] *= sizes[k];
      double *scratch = lip_alloc(M + N, sizeof *scratch), *v = lip_alloc(N, sizeof *v), last = 0;
      double top = top_of(W, M, N);
      for (size_t it = 0; it < 30; it += 5) {
        double e = lip_opnorm_estimate(W, M, N, two, it, NULL, scratch);
        assert_true(e <= top * (1 + 1e-12) && e >= last * (1 - 1e-9));
        last = e;
      }
      assert_true(last >= top * (1 - 1e-9));
      assert_true(fabs(lip_opnorm_estimate(W, M, N, two, 30, v, scratch) - top) <= 1e-9 * top);
      double length = 0;
      for (size_t j = 0; j < N; j++) length += v[j] * v[j];
      assert_true(fabs(length - 1) < 1e-12);
      lip_free(W);
      lip_free(v);
      lip_free(scratch);
    }
}

/* The whole matrix scaled: close to the radius (noise may also lower the norm) from the first call, whatever the numbers, and untouched when inside. */
static void radial_steps_stay_close(void **state) {
  (void)state;
  static const float sizes[] = {1, 1e-30f, 1e25f};
  for (int k = 0; k < 3; k++)
    for (int wide = 0; wide < 2; wide++) {
      size_t M = wide ? 30 : 70, N = wide ? 70 : 30;
      float *W = normal(M * N, (uint64_t)k, sizes[k]);
      double radius = 0.5 * top_of(W, M, N), most = 0, least = INFINITY;
      lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 1);
      lip_power *p = lip_power_new(M, N);
      assert_non_null(p);
      for (int step = 0; step < 80; step++) {
        lip_power_radial(p, W, radius);
        double top = top_of(W, M, N);
        most = fmax(most, top);
        least = fmin(least, top);
        for (size_t i = 0; i < M * N; i++) W[i] += 0.01f * sizes[k] * (float)lip_rng_normal(&rng);
      }
      assert_true(most <= 1.02 * radius && least >= 0.96 * radius);
      for (size_t i = 0; i < M * N; i++) W[i] *= 0.5f;
      float *copy = lip_alloc(M * N, sizeof *copy);
      memcpy(copy, W, M * N * sizeof *copy);
      lip_power_radial(p, W, radius);
      assert_memory_equal(copy, W, M * N * sizeof *copy);
      /* zeros and NaN are survived */
      memset(copy, 0, M * N * sizeof *copy);
      for (int i = 0; i < 20; i++) lip_power_radial(p, copy, radius);
      copy[3] = NAN;
      lip_power_radial(p, copy, radius);
      memcpy(copy, W, M * N * sizeof *copy);
      for (size_t i = 0; i < M * N; i++) copy[i] *= 8;
      for (int i = 0; i < 20; i++) lip_power_radial(p, copy, radius);
      assert_true(top_of(copy, M, N) <= 1.02 * radius);
      lip_free(W);
      lip_free(copy);
      lip_power_free(p);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sums_keep_their_error),   cmocka_unit_test(active_elements_are_those_above),
      cmocka_unit_test(rows_close_to_the_ball),  cmocka_unit_test(estimates_rise_to_the_norm),
      cmocka_unit_test(radial_steps_stay_close),
  };
  return cmocka_run_group_tests_name("norm_quick", tests, NULL, NULL);
}
