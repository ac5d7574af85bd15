/* linalg: orthonormal factors and singular values against their definitions and published answers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/cancel.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/tensor/linalg.h"

static const size_t shapes[][2] = {{1, 1}, {1, 7}, {7, 1}, {3, 3}, {5, 12}, {12, 5}, {40, 40}, {64, 33}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void orthonormal_factor_of_every_shape(void **state) {
  (void)state;
  for (size_t c = 0; c < SHAPES; c++) {
    size_t M = shapes[c][0], N = shapes[c][1], k = M < N ? M : N;
    float *q = lip_alloc(M * N, sizeof *q), *a = lip_alloc(M * N, sizeof *a);
    lip_rng rng = lip_rng_new(c, LIP_RNG_USER, 0);
    lip_rng_fill_normal(&rng, q, M * N, 0, 1);
    memcpy(a, q, M * N * sizeof *q);
    assert_int_equal(lip_orthonormalise(q, M, N, NULL), LIP_OK);
    for (size_t i = 0; i < k; i++)
      for (size_t j = 0; j < k; j++) {
        double dot = 0;
        for (size_t p = 0; p < (M < N ? N : M); p++)
          dot += M <= N ? (double)q[i * N + p] * (double)q[j * N + p]
                        : (double)q[p * N + i] * (double)q[p * N + j];
        assert_true(fabs(dot - (i == j)) < 1e-6);
      }
    /* a = q r with r triangular and a positive diagonal: vector j lies in the span of q_0..q_j, on q_j's side */
    for (size_t j = 0; j < k; j++)
      for (size_t i = j; i < k; i++) {
        double r = 0;
        for (size_t p = 0; p < (M < N ? N : M); p++)
          r += M <= N ? (double)q[i * N + p] * (double)a[j * N + p]
                      : (double)q[p * N + i] * (double)a[p * N + j];
        if (i == j)
          assert_true(r > 0);
        else
          assert_true(fabs(r) < 1e-5);
      }
    lip_free(q);
    lip_free(a);
  }
}

static void check_svd(const double *a, size_t M, size_t N) {
  size_t k = M < N ? M : N;
  double *b = lip_alloc(M * N, sizeof *b), *u = lip_alloc(M * k, sizeof *u),
         *vt = lip_alloc(k * N, sizeof *vt);
  double *s = lip_alloc(k, sizeof *s), *only = lip_alloc(k, sizeof *only);
  memcpy(b, a, M * N * sizeof *b);
  assert_int_equal(lip_svd(b, M, N, u, s, vt, NULL), LIP_OK);
  memcpy(b, a, M * N * sizeof *b);
  assert_int_equal(lip_svd(b, M, N, NULL, only, NULL, NULL), LIP_OK);
  for (size_t i = 0; i < k; i++) {
    assert_true(s[i] >= 0 && (i == 0 || s[i] <= s[i - 1]));
    assert_true(fabs(s[i] - only[i]) <= 1e-12 * s[0]);
    for (size_t j = 0; j < k; j++) {
      double uu = 0, vv = 0;
      for (size_t p = 0; p < M; p++) uu += u[p * k + i] * u[p * k + j];
      for (size_t p = 0; p < N; p++) vv += vt[i * N + p] * vt[j * N + p];
      assert_true(fabs(uu - (i == j)) < 1e-12 && fabs(vv - (i == j)) < 1e-12);
    }
  }
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < N; j++) {
      double sum = 0;
      for (size_t p = 0; p < k; p++) sum += u[i * k + p] * s[p] * vt[p * N + j];
      assert_true(fabs(sum - a[i * N + j]) <= 1e-12 * (1 + s[0]));
    }
  lip_free(b);
  lip_free(u);
  lip_free(vt);
  lip_free(s);
  lip_free(only);
}

static void singular_values_rebuild_the_matrix(void **state) {
  (void)state;
  for (size_t c = 0; c < SHAPES; c++) {
    size_t n = shapes[c][0] * shapes[c][1];
    double *a = lip_alloc(n, sizeof *a);
    lip_rng rng = lip_rng_new(c, LIP_RNG_USER, 1);
    for (size_t i = 0; i < n; i++) a[i] = lip_rng_normal(&rng);
    check_svd(a, shapes[c][0], shapes[c][1]);
    lip_free(a);
  }
}

/* Golub and Van Loan's textbook example [[3, 0], [4, 5]]: sqrt(45), sqrt(5); and the Hilbert matrix of order 3. */
static void singular_values_known_answers(void **state) {
  (void)state;
  double a[] = {3, 0, 4, 5}, s[3];
  assert_int_equal(lip_svd(a, 2, 2, NULL, s, NULL, NULL), LIP_OK);
  assert_true(fabs(s[0] - sqrt(45)) < 1e-14 * 7 && fabs(s[1] - sqrt(5)) < 1e-14 * 7);
  double h[9];
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) h[3 * i + j] = 1.0 / (i + j + 1);
  assert_int_equal(lip_svd(h, 3, 3, NULL, s, NULL, NULL), LIP_OK);
  assert_true(fabs(s[0] - 1.408318927123654) < 1e-13);
  assert_true(fabs(s[1] - 0.122327065853906) < 1e-13);
  assert_true(fabs(s[2] - 0.002687340355773) < 1e-13);
}

static void bad_input_is_refused(void **state) {
  (void)state;
  float q[] = {1, NAN, 2, 3};
  double a[] = {1, 2, INFINITY, 3}, s[2], u[4];
  lip_err err;
  assert_int_equal(lip_orthonormalise(q, 2, 2, &err), LIP_NOT_FINITE);
  assert_true(isnan(q[1]) && q[0] == 1);
  assert_int_equal(lip_svd(a, 2, 2, NULL, s, NULL, &err), LIP_NOT_FINITE);
  assert_int_equal(lip_svd(a, SIZE_MAX / 8, 8, NULL, s, NULL, &err), LIP_SHAPE);
  assert_int_equal(lip_svd(a, (size_t)1 << 20, (size_t)1 << 20, NULL, s, NULL, &err), LIP_SHAPE);
  assert_int_equal(lip_orthonormalise(q, (size_t)1 << 40, 1, &err), LIP_SHAPE);
  assert_int_equal(lip_svd(u, 2, 2, u, s, NULL, &err), LIP_ARGUMENT);
  assert_int_equal(lip_svd(a, 0, 2, NULL, s, NULL, &err), LIP_OK);
  assert_int_equal(lip_orthonormalise(q, 2, 0, &err), LIP_OK);
}

static void every_failed_allocation_is_reported(void **state) {
  (void)state;
  size_t before = lip_mem_used(), n = 1;
  lip_status st;
  do {
    float q[6] = {1, 2, 3, 4, 5, 7};
    lip_mem_fail_nth(n++);
    st = lip_orthonormalise(q, 3, 2, NULL);
    assert_int_equal(st, lip_mem_failed() ? LIP_MEMORY : LIP_OK);
    assert_int_equal(lip_mem_used(), before);
  } while (st != LIP_OK);
  assert_true(n > 3);
  n = 1;
  do {
    double a[6] = {1, 2, 3, 4, 5, 7}, u[6], s[2], vt[4];
    lip_mem_fail_nth(n++);
    st = lip_svd(a, 3, 2, u, s, vt, NULL);
    assert_int_equal(st, lip_mem_failed() ? LIP_MEMORY : LIP_OK);
    assert_int_equal(lip_mem_used(), before);
  } while (st != LIP_OK);
  assert_true(n > 2);
  lip_mem_fail_nth(0);
}

/* A raised flag ends both at once, whatever LAPACK is at; what it still works on is freed when it is through. */
static void a_raised_flag_is_answered_at_once(void **state) {
  (void)state;
  enum { N = 700 };
  lip_cancel flag = {0};
  lip_err err;
  float *q = lip_alloc((size_t)N * N, sizeof *q);
  double *a = lip_alloc((size_t)N * N, sizeof *a), *s = lip_alloc(N, sizeof *s);
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, q, (size_t)N * N, 0, 1);
  for (size_t i = 0; i < (size_t)N * N; i++) a[i] = (double)q[i];
  size_t held = lip_mem_used();
  assert_null(lip_cancel_watch(&flag));
  assert_int_equal(lip_orthonormalise(q, N, N, &err), LIP_OK); /* on its thread, to the end */
  assert_int_equal(lip_svd(a, N, N, NULL, s, NULL, &err), LIP_OK);
  assert_int_equal(lip_mem_used(), held);
  lip_cancel_raise(&flag);
  assert_true(lip_cancelled());
  assert_int_equal(lip_orthonormalise(q, N, N, &err), LIP_CANCELLED);
  assert_int_equal(lip_svd(a, N, N, NULL, s, NULL, &err), LIP_CANCELLED);
  assert_ptr_equal(lip_cancel_watch(NULL), &flag);
  assert_false(lip_cancelled());
  for (int i = 0; i < 60000 && lip_mem_used() != held; i++) nanosleep(&(struct timespec){0, 1000000}, NULL);
  assert_int_equal(lip_mem_used(), held);
  lip_free(q);
  lip_free(a);
  lip_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(orthonormal_factor_of_every_shape),
      cmocka_unit_test(singular_values_rebuild_the_matrix),
      cmocka_unit_test(singular_values_known_answers),
      cmocka_unit_test(bad_input_is_refused),
      cmocka_unit_test(a_raised_flag_is_answered_at_once),
      cmocka_unit_test(every_failed_allocation_is_reported),
  };
  return cmocka_run_group_tests_name("linalg", tests, NULL, NULL);
}
