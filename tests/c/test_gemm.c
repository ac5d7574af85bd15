/* The matrix product against plain loops in double, its independence of how the work is split, vector kernels. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/tensor/gemm.h"
#include "core/tensor/vec.h"

static lip_rng rng;

static float *normal(size_t n) {
  float *x = lip_alloc(n, sizeof *x);
  assert_non_null(x);
  lip_rng_fill_normal(&rng, x, n, 0, 1);
  return x;
}

/* |fl - exact| <= (K + 2) u sum |a b| for every order of summation (Jeannerod, Rump 2013), u = 2^-24. */
static void check(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, float alpha, float beta,
                  size_t pad) {
  size_t lda = (ta == LIP_N ? K : M) + pad, ldb = (tb == LIP_N ? N : K) + pad, ldc = N + pad;
  float *A = normal(lda * (ta == LIP_N ? M : K) + 1), *B = normal(ldb * (tb == LIP_N ? K : N) + 1);
  float *C = normal(ldc * M + 1), *R = lip_alloc(ldc * M + 1, sizeof *R),
        *S = lip_alloc(ldc * M + 1, sizeof *S);
  void *scratch = lip_alloc(lip_gemm_scratch() + 1, 1);
  memcpy(R, C, (ldc * M + 1) * sizeof *C);
  memcpy(S, C, (ldc * M + 1) * sizeof *C);
  lip_gemm(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc, scratch);
  lip_gemm_ref(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, R, ldc);
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < ldc; j++) {
      size_t at = i * ldc + j;
      if (j >= N) { /* the padding between rows is nobody's */
        assert_memory_equal(&C[at], &S[at], sizeof *C);
        continue;
      }
      double sum = 0, size = 0;
      for (size_t k = 0; k < K; k++) {
        double a = ta == LIP_N ? A[i * lda + k] : A[k * lda + i];
        double b = tb == LIP_N ? B[k * ldb + j] : B[j * ldb + k];
        sum += a * b;
        size += fabs(a * b);
      }
      double exact = (double)alpha * sum + (double)beta * (double)S[at];
      double bound =
          0x1p-24 * ((double)K + 4) * (fabs((double)alpha) * size + fabs((double)beta * (double)S[at]));
      assert_true(fabs((double)C[at] - exact) <= bound);
      assert_true(fabs((double)R[at] - exact) <= bound);
    }
  lip_free(A);
  lip_free(B);
  lip_free(C);
  lip_free(R);
  lip_free(S);
  lip_free(scratch);
}

static void every_small_shape(void **state) {
  (void)state;
  static const size_t side[] = {1, 2, 3, 5, 6, 7, 11, 12, 13, 16, 17, 31, 32, 33, 48, 70};
  enum { N = sizeof side / sizeof *side };
  for (size_t i = 0; i < N; i++)
    for (size_t j = 0; j < N; j++)
      for (size_t k = 0; k < N; k += 3)
        for (int t = 0; t < 4; t++)
          check(t & 1 ? LIP_T : LIP_N, t & 2 ? LIP_T : LIP_N, side[i], side[j], side[k], 1, (float)(t & 1),
                i % 3);
}

static void large_and_odd_shapes(void **state) {
  (void)state;
  check(LIP_N, LIP_T, 33, 257, 784, 1, 0, 0);
  check(LIP_T, LIP_N, 485, 13, 400, 1, 1, 3);
  check(LIP_N, LIP_N, 800, 37, 390, 1, 0, 0);
  check(LIP_T, LIP_T, 37, 800, 770, -0.5f, 0.25f, 1);
  check(LIP_N, LIP_T, 1, 1, 2000, 1, 0, 0);
}

static void empty_products(void **state) {
  (void)state;
  float c[4] = {NAN, 1, 2, 3};
  void *scratch = lip_alloc(lip_gemm_scratch() + 1, 1);
  lip_gemm(LIP_N, LIP_N, 0, 5, 3, 1, NULL, 3, NULL, 5, 0, NULL, 5, scratch);
  lip_gemm(LIP_N, LIP_N, 2, 2, 0, 1, NULL, 0, NULL, 2, 0, c, 2, scratch);
  for (int i = 0; i < 4; i++) assert_true(c[i] == 0);
  lip_free(scratch);
}

/* beta = 0 must not read C; NaN in an operand must come through. */
static void nan_rules(void **state) {
  (void)state;
  float a[2] = {1, NAN}, b[2] = {2, 3}, c = NAN;
  void *scratch = lip_alloc(lip_gemm_scratch() + 1, 1);
  lip_gemm(LIP_N, LIP_T, 1, 1, 1, 1, a, 1, b, 1, 0, &c, 1, scratch);
  assert_true(c == 2);
  lip_gemm(LIP_N, LIP_T, 1, 1, 2, 1, a, 2, b, 2, 0, &c, 1, scratch);
  assert_true(isnan(c));
  lip_free(scratch);
}

/* A row of the result has the same bits alone, inside any block of rows, and in any block of columns. */
static void bits_do_not_depend_on_the_split(void **state) {
  (void)state;
  enum { M = 67, N = 45, K = 500 };
  for (int t = 0; t < 4; t++) {
    lip_trans ta = t & 1 ? LIP_T : LIP_N, tb = t & 2 ? LIP_T : LIP_N;
    size_t lda = ta == LIP_N ? K : M, ldb = tb == LIP_N ? N : K;
    float *A = normal(M * K), *B = normal(N * K), *C = normal(M * N), *D = normal(M * N);
    void *scratch = lip_alloc(lip_gemm_scratch() + 1, 1);
    lip_gemm(ta, tb, M, N, K, 1, A, lda, B, ldb, 0, C, N, scratch);
    size_t rows[] = {0, 1, 14, 40, M}, cols[] = {0, 7, 30, 31, N};
    for (int i = 0; i < 4; i++)
      for (int j = 0; j < 4; j++) {
        const float *a = A + (ta == LIP_N ? rows[i] * lda : rows[i]),
                    *b = B + (tb == LIP_N ? cols[j] : cols[j] * ldb);
        lip_gemm(ta, tb, rows[i + 1] - rows[i], cols[j + 1] - cols[j], K, 1, a, lda, b, ldb, 0,
                 D + rows[i] * N + cols[j], N, scratch);
      }
    assert_memory_equal(C, D, M * N * sizeof *C);
    lip_free(A);
    lip_free(B);
    lip_free(C);
    lip_free(D);
    lip_free(scratch);
  }
}

static void vector_kernels(void **state) {
  (void)state;
  for (size_t n = 0; n < 70; n++) {
    float *x = normal(n + 1), *y = normal(n + 1);
    double dot = 0, sum = 0, mag = 0, size = 0, square = 0;
    float top = 0;
    for (size_t i = 0; i < n; i++) {
      dot += (double)x[i] * (double)y[i];
      size += fabs((double)x[i] * (double)y[i]);
      sum += (double)x[i];
      mag += fabs((double)x[i]);
      square += (double)x[i] * (double)x[i];
      top = fmaxf(top, fabsf(x[i]));
    }
    double eps = 0x1p-52 * (double)(n + 1);
    assert_true(fabs(lip_vec_dot(x, y, n) - dot) <= eps * size);
    assert_true(fabs(lip_vec_sum(x, n) - sum) <= eps * mag);
    assert_true(fabs(lip_vec_abs_sum(x, n) - mag) <= eps * mag);
    assert_true(fabs(lip_vec_square_sum(x, n) - square) <= eps * square);
    assert_true(lip_vec_abs_max(x, n) == top);
    assert_true(lip_vec_all_finite(x, n));
    if (n > 0) {
      x[n / 2] = NAN;
      assert_true(isnan(lip_vec_abs_max(x, n)));
      assert_false(lip_vec_all_finite(x, n));
      x[n / 2] = -INFINITY;
      assert_true(isinf(lip_vec_abs_max(x, n)));
      assert_false(lip_vec_all_finite(x, n));
    }
    lip_free(x);
    lip_free(y);
  }
  float y[6] = {1, 2, 3, 4, 5, 6}, b[3] = {10, 20, 30}, s[3] = {1, 1, 1};
  lip_vec_sum_rows(s, y, 3, 2, 3, 1);
  assert_true(s[0] == 6 && s[1] == 8 && s[2] == 10);
  lip_vec_sum_rows(s, y, 3, 2, 3, 0);
  assert_true(s[0] == 5 && s[2] == 9);
  lip_vec_add_rows(y, b, 2, 3);
  assert_true(y[0] == 11 && y[5] == 36);
  lip_vec_axpy(y, 2, b, 3);
  assert_true(y[2] == 93);
  lip_vec_scale(y, 0.5f, 1);
  assert_true(y[0] == 15.5f);
}

int main(void) {
  rng = lip_rng_new(11, LIP_RNG_USER, 0);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_small_shape),
      cmocka_unit_test(large_and_odd_shapes),
      cmocka_unit_test(empty_products),
      cmocka_unit_test(nan_rules),
      cmocka_unit_test(bits_do_not_depend_on_the_split),
      cmocka_unit_test(vector_kernels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
