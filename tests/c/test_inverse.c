/* Inverses by products against elimination in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/tensor/inverse.h"
#include "support_team.h"

static lip_rng rng;

static float *floats(size_t n) {
  float *x = lip_alloc(n + 1, sizeof *x);
  assert_non_null(x);
  return x;
}

/* Largest entry of |X A - I|, with X in float and the products in double. */
static double residual(const float *X, const float *A, size_t n, size_t lda) {
  double worst = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      double sum = i == j ? -1 : 0;
      for (size_t k = 0; k < n; k++) sum += (double)X[i * lda + k] * (double)A[k * lda + j];
      worst = fmax(worst, fabs(sum));
    }
  return worst;
}

/* I + K - K' + V'V / n with normal K, V: the symmetric part is at least I. skew 0: symmetric. */
static void fill(float *A, size_t n, size_t lda, float skew) {
  for (size_t i = 0; i < n; i++) A[i * lda + i] = 1;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < i; j++) {
      float k = skew * (float)lip_rng_normal(&rng) / sqrtf((float)n);
      A[i * lda + j] += k;
      A[j * lda + i] -= k;
    }
  float *v = floats(n);
  for (int rank = 0; rank < 3; rank++) {
    lip_rng_fill_normal(&rng, v, n, 0, 1);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) A[i * lda + j] += v[i] * v[j] / (float)n;
  }
  lip_free(v);
}

static void check(const lip_team *t, size_t n, bool symmetric, double tolerance) {
  const size_t lda = n + 3;
  float *A = floats(n * lda), *X = floats(n * lda), *work = floats(lip_inverse_work(n));
  for (size_t i = 0; i < n * lda; i++) A[i] = 0;
  fill(A, n, lda, symmetric ? 0 : 2);
  for (size_t i = 0; i < n; i++) A[i * lda + n] = 77;
  memcpy(X, A, n * lda * sizeof *A);
  if (symmetric)
    lip_team_inverse_symmetric(t, n, X, lda, 0.5f, work);
  else
    lip_team_inverse(t, n, X, lda, 0.5f, work);
  assert_true(residual(X, A, n, lda) < tolerance);
  for (size_t i = 0; i < n; i++) {
    assert_true(X[i * lda + n] == 77);
    for (size_t j = 0; symmetric && j < i; j++) assert_true(X[i * lda + j] == X[j * lda + i]);
  }
  lip_free(A);
  lip_free(X);
  lip_free(work);
}

static void inverts(void **state) {
  (void)state;
  static const size_t sides[] = {1, 2, 7, 31, 32, 33, 48, 64, 65, 100, 129, 256, 300, 392};
  lip_team t = new_team(2);
  for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
    check(&t, sides[i], false, 4e-6);
    check(&t, sides[i], true, 4e-6);
  }
  free_team(&t);
}

static void bits_do_not_depend_on_threads(void **state) {
  (void)state;
  enum { N = 330 };
  float *A = floats(N * N), *first = floats(N * N), *X = floats(N * N), *work = floats(lip_inverse_work(N));
  fill(A, N, N, 2);
  for (size_t threads = 1; threads <= 5; threads++) {
    lip_team t = new_team(threads);
    memcpy(X, A, N * N * sizeof *A);
    lip_team_inverse(&t, N, X, N, 0.5f, work);
    if (threads == 1) memcpy(first, X, N * N * sizeof *X);
    assert_memory_equal(first, X, N * N * sizeof *X);
    free_team(&t);
  }
  lip_free(A);
  lip_free(first);
  lip_free(X);
  lip_free(work);
}

/* Of vectors, among them multiples of others and zeros. */
static void what_depends_is_left_out(void **state) {
  (void)state;
  enum { N = 70, K = 90 };
  const size_t twice[][2] = {{20, 7}, {45, 40}, {69, 7}};
  lip_team t = new_team(2);
  float *V = floats(N * K), *A = floats(N * N), *X = floats(N * N), *work = floats(lip_inverse_work(N));
  lip_rng_fill_normal(&rng, V, N * K, 0, 0.1f);
  for (size_t i = 0; i < 3; i++)
    for (size_t k = 0; k < K; k++) V[twice[i][0] * K + k] = i == 2 ? 0 : 3 * V[twice[i][1] * K + k];
  lip_team_gram(&t, LIP_N, N, K, 1, V, K, 0, A, N);
  for (int symmetric = 0; symmetric < 2; symmetric++) {
    memcpy(X, A, N * N * sizeof *A);
    if (symmetric)
      lip_team_inverse_symmetric(&t, N, X, N, 1e-3f, work);
    else
      lip_team_inverse(&t, N, X, N, 1e-3f, work);
    for (size_t i = 0; i < 3; i++)
      for (size_t k = 0; k < N; k++) assert_true(X[twice[i][0] * N + k] == 0 && X[k * N + twice[i][0]] == 0);
    for (size_t i = 0; i < N; i++)
      for (size_t j = 0; j < N; j++) {
        double sum = 0;
        for (size_t k = 0; k < N; k++) sum += (double)X[i * N + k] * (double)A[k * N + j];
        bool out = i == 20 || i == 45 || i == 69, other = j == 20 || j == 45 || j == 69;
        if (!other) assert_true(fabs(sum - (i == j && !out)) < 1e-3);
      }
  }
  lip_free(V);
  lip_free(A);
  lip_free(X);
  lip_free(work);
  free_team(&t);
}

static void nan_stays(void **state) {
  (void)state;
  enum { N = 70 };
  lip_team t = new_team(1);
  float *A = floats(N * N), *work = floats(lip_inverse_work(N));
  for (size_t i = 0; i < N * N; i++) A[i] = i % (N + 1) == 0;
  A[60 * N + 60] = NAN;
  lip_team_inverse_symmetric(&t, N, A, N, 0.25f, work);
  assert_true(isnan(A[60 * N + 60]));
  lip_free(A);
  lip_free(work);
  free_team(&t);
}

int main(void) {
  rng = lip_rng_new(8, LIP_RNG_USER, 0);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(inverts),
      cmocka_unit_test(bits_do_not_depend_on_threads),
      cmocka_unit_test(what_depends_is_left_out),
      cmocka_unit_test(nan_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
