/* Products on several threads: the bits of lip_gemm, whatever the number of threads; symmetric ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "support_team.h"

static lip_rng rng;

static float *normal(size_t n) {
  float *x = lip_alloc(n + 1, sizeof *x);
  assert_non_null(x);
  lip_rng_fill_normal(&rng, x, n, 0, 1);
  return x;
}

static float *copy(const float *x, size_t n) {
  float *y = lip_alloc(n + 1, sizeof *y);
  assert_non_null(y);
  memcpy(y, x, n * sizeof *x);
  return y;
}

/* Among them products large enough for several threads, and sides that no block divides. */
static const size_t shapes[][3] = {{1, 1, 1},      {7, 5, 3},      {100, 90, 110}, {256, 784, 64},
                                   {784, 131, 50}, {97, 203, 301}, {513, 49, 40},  {64, 64, 0}};

static void gemm_has_the_bits_of_one_thread(void **state) {
  (void)state;
  for (size_t threads = 1; threads <= 5; threads++) {
    lip_team t = new_team(threads);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
      for (int way = 0; way < 4; way++) {
        const size_t M = shapes[s][0], N = shapes[s][1], K = shapes[s][2], ldc = N + 3;
        lip_trans ta = way & 1 ? LIP_T : LIP_N, tb = way & 2 ? LIP_T : LIP_N;
        size_t lda = (ta == LIP_N ? K : M) + 1, ldb = (tb == LIP_N ? N : K) + 2;
        float *A = normal(lda * (ta == LIP_N ? M : K)), *B = normal(ldb * (tb == LIP_N ? K : N));
        float *C = normal(M * ldc), *D = copy(C, M * ldc), beta = way == 1 ? 0 : 0.5f;
        lip_gemm(ta, tb, M, N, K, 1.5f, A, lda, B, ldb, beta, C, ldc, t.scratch);
        lip_team_gemm(&t, ta, tb, M, N, K, 1.5f, A, lda, B, ldb, beta, D, ldc);
        assert_memory_equal(C, D, M * ldc * sizeof *C);
        lip_free(A);
        lip_free(B);
        lip_free(C);
        lip_free(D);
      }
    free_team(&t);
  }
}

/* On and below the diagonal the bits of lip_gemm, above it the same mirrored, beside it nothing touched. */
static void check_symmetric(const float *full, const float *C, const float *before, size_t M, size_t ldc) {
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < ldc; j++) {
      const float *want = j >= M ? &before[i * ldc + j] : j > i ? &full[j * ldc + i] : &full[i * ldc + j];
      assert_memory_equal(want, &C[i * ldc + j], sizeof *want);
    }
}

static void gram_is_symmetric(void **state) {
  (void)state;
  static const size_t sides[][2] = {{1, 1}, {5, 9}, {33, 70}, {100, 110}, {257, 50}, {384, 20}, {130, 0}};
  for (size_t threads = 1; threads <= 5; threads++) {
    lip_team t = new_team(threads);
    for (size_t s = 0; s < sizeof sides / sizeof *sides; s++)
      for (int way = 0; way < 4; way++) {
        const size_t M = sides[s][0], K = sides[s][1], ldc = M + 2;
        lip_trans ta = way & 1 ? LIP_T : LIP_N, tb = way & 1 ? LIP_N : LIP_T;
        size_t lda = (ta == LIP_N ? K : M) + 1;
        float *A = normal(lda * (ta == LIP_N ? M : K)), *C = normal(M * ldc), beta = way & 2 ? 1.0f : 0;
        for (size_t i = 0; i < M; i++)
          for (size_t j = 0; j < i; j++) C[j * ldc + i] = C[i * ldc + j];
        float *before = copy(C, M * ldc), *full = copy(C, M * ldc);
        lip_gemm(ta, tb, M, M, K, -0.5f, A, lda, A, lda, beta, full, ldc, t.scratch);
        lip_team_gram(&t, ta, M, K, -0.5f, A, lda, beta, C, ldc);
        check_symmetric(full, C, before, M, ldc);
        lip_free(A);
        lip_free(C);
        lip_free(before);
        lip_free(full);
      }
    free_team(&t);
  }
}

/* A polynomial of a symmetric matrix: both factors differ, their product is symmetric. */
static void products_of_a_matrix_with_its_square(void **state) {
  (void)state;
  enum { M = 150 };
  lip_team t = new_team(3);
  float *A = normal(M * M), *S = normal(M * M), *C = normal(M * M), *D = normal(M * M);
  lip_team_gram(&t, LIP_N, M, M, 1.0f / M, A, M, 0, S, M);
  lip_team_symmetric(&t, LIP_N, LIP_N, M, M, 1, S, M, S, M, 0, C, M);
  lip_team_symmetric(&t, LIP_N, LIP_N, M, M, 1, S, M, C, M, 0, D, M);
  float *full = normal(M * M);
  lip_gemm(LIP_N, LIP_N, M, M, M, 1, S, M, C, M, 0, full, M, t.scratch);
  check_symmetric(full, D, D, M, M);
  lip_free(A);
  lip_free(S);
  lip_free(C);
  lip_free(D);
  lip_free(full);
  free_team(&t);
}

/* NaN stays visible, in either half. */
static void nan_stays(void **state) {
  (void)state;
  enum { M = 70, K = 20 };
  lip_team t = new_team(2);
  float *A = normal(M * K), *C = normal(M * M);
  A[30 * K + 7] = NAN;
  lip_team_gram(&t, LIP_N, M, K, 1, A, K, 0, C, M);
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < M; j++) assert_true(isnan(C[i * M + j]) == (i == 30 || j == 30));
  lip_free(A);
  lip_free(C);
  free_team(&t);
}

static void nothing_is_allocated(void **state) {
  (void)state;
  enum { M = 300 };
  lip_team t = new_team(2);
  float *A = normal(M * M), *C = normal(M * M);
  size_t count = lip_mem_count();
  lip_team_gram(&t, LIP_N, M, M, 1, A, M, 0, C, M);
  lip_team_gemm(&t, LIP_N, LIP_T, M, M, M, 1, A, M, A, M, 0, C, M);
  assert_int_equal(lip_mem_count(), count);
  lip_free(A);
  lip_free(C);
  free_team(&t);
}

int main(void) {
  rng = lip_rng_new(7, LIP_RNG_USER, 0);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gemm_has_the_bits_of_one_thread),
      cmocka_unit_test(gram_is_symmetric),
      cmocka_unit_test(products_of_a_matrix_with_its_square),
      cmocka_unit_test(nan_stays),
      cmocka_unit_test(nothing_is_allocated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
