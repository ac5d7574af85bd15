/* Initial weights: distributions, orthonormality, and feasibility in every norm. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/layer/init.h"
#include "core/norm/opnorm.h"

static const lip_pq steps[] = {{LIP_P1, LIP_P1}, {LIP_P1, LIP_P2},   {LIP_P1, LIP_PINF},
                               {LIP_P2, LIP_P2}, {LIP_P2, LIP_PINF}, {LIP_PINF, LIP_PINF}};
enum { STEPS = sizeof steps / sizeof *steps };

static float *fresh(size_t OUT, size_t IN, lip_init init, lip_pq pq, double budget) {
  lip_rng rng = lip_rng_new(11, LIP_RNG_INIT, 0);
  lip_err err;
  float *w = malloc(OUT * IN * sizeof *w);
  assert_int_equal(lip_init_weights(w, OUT, IN, init, pq, budget, &rng, &err), LIP_OK);
  return w;
}

static void variances_are_as_published(void **state) {
  (void)state;
  enum { OUT = 300, IN = 200, N = OUT * IN };
  const struct {
    lip_init init;
    double variance;
  } row[] = {{LIP_INIT_HE, 2.0 / IN}, {LIP_INIT_LECUN, 1.0 / IN}, {LIP_INIT_GLOROT, 2.0 / (IN + OUT)}};
  for (size_t k = 0; k < 3; k++) {
    float *w = fresh(OUT, IN, row[k].init, steps[3], INFINITY);
    double sum = 0, square = 0, most = 0;
    for (size_t i = 0; i < N; i++) {
      sum += (double)w[i];
      square += (double)w[i] * (double)w[i];
      most = fmax(most, fabs((double)w[i]));
    }
    assert_true(fabs(sum / N) < 5 * sqrt(row[k].variance / N));
    assert_true(fabs(square / N / row[k].variance - 1) < 5 * sqrt(2.0 / N));
    if (row[k].init == LIP_INIT_GLOROT) assert_true(most <= sqrt(6.0 / (IN + OUT)) * (1 + 1e-6));
    free(w);
  }
}

static void orthogonal_is_orthonormal(void **state) {
  (void)state;
  static const size_t shape[][2] = {{8, 8}, {5, 12}, {12, 5}, {1, 7}, {7, 1}};
  for (size_t k = 0; k < 5; k++) {
    size_t OUT = shape[k][0], IN = shape[k][1], n = OUT < IN ? OUT : IN, len = OUT < IN ? IN : OUT;
    size_t step = OUT < IN ? IN : 1, inner = OUT < IN ? 1 : IN; /* rows, or columns of a tall matrix */
    float *w = fresh(OUT, IN, LIP_INIT_ORTHOGONAL, steps[3], INFINITY);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) {
        double dot = 0;
        for (size_t e = 0; e < len; e++)
          dot += (double)w[i * step + e * inner] * (double)w[j * step + e * inner];
        assert_true(fabs(dot - (i == j)) < 1e-5);
      }
    free(w);
  }
}

static void every_start_is_feasible(void **state) {
  (void)state;
  for (int init = 0; init <= LIP_INIT_ON_BALL; init++)
    for (size_t s = 0; s < STEPS; s++)
      for (double K = 0.01; K < 200; K *= 9) {
        lip_err err;
        double upper;
        float *w = fresh(20, 30, (lip_init)init, steps[s], K);
        assert_int_equal(lip_opnorm_upper(w, 20, 30, steps[s], &upper, &err), LIP_OK);
        assert_true(upper <= K);
        if (init == LIP_INIT_ON_BALL) assert_true(upper > K * (1 - 1e-5));
        free(w);
      }
}

/* Every limited row or column sits on its ball, not only the largest. */
static void on_ball_fills_every_row_or_column(void **state) {
  (void)state;
  enum { OUT = 20, IN = 30 };
  const double K = 1.25;
  for (size_t s = 0; s < STEPS; s++) {
    bool rows = steps[s].q == LIP_PINF, columns = !rows && steps[s].p == LIP_P1;
    float *w = fresh(OUT, IN, LIP_INIT_ON_BALL, steps[s], K), piece[IN];
    for (size_t i = 0; rows && i < OUT; i++)
      assert_true(fabs(lip_norm(w + i * IN, IN, lip_p_dual(steps[s].p)) / K - 1) < 1e-5);
    for (size_t j = 0; columns && j < IN; j++) {
      for (size_t i = 0; i < OUT; i++) piece[i] = w[i * IN + j];
      assert_true(fabs(lip_norm(piece, OUT, steps[s].q) / K - 1) < 1e-5);
    }
    free(w);
  }
}

/* Scaled, not thresholded: a start has no weight at zero in any norm. */
static void feasible_starts_are_not_sparse(void **state) {
  (void)state;
  for (size_t s = 0; s < STEPS; s++) {
    float *w = fresh(20, 30, LIP_INIT_HE, steps[s], 0.5);
    for (size_t i = 0; i < 20 * 30; i++) assert_true(w[i] != 0);
    free(w);
  }
}

static void failing_allocations_are_survived(void **state) {
  (void)state;
  float w[12 * 9];
  for (int init = 0; init <= LIP_INIT_ON_BALL; init++)
    for (size_t s = 0; s < STEPS; s++) {
      bool failed = true;
      for (size_t nth = 1; failed; nth++) {
        size_t before = lip_mem_used();
        lip_rng rng = lip_rng_new(1, LIP_RNG_INIT, 0);
        lip_err err;
        lip_mem_fail_nth(nth);
        lip_status status = lip_init_weights(w, 12, 9, (lip_init)init, steps[s], 0.5, &rng, &err);
        failed = lip_mem_failed();
        lip_mem_fail_nth(0);
        assert_true(status == LIP_OK || (failed && status == LIP_MEMORY));
        assert_int_equal(lip_mem_used(), before);
      }
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(variances_are_as_published),     cmocka_unit_test(orthogonal_is_orthonormal),
      cmocka_unit_test(every_start_is_feasible),        cmocka_unit_test(on_ball_fills_every_row_or_column),
      cmocka_unit_test(feasible_starts_are_not_sparse), cmocka_unit_test(failing_allocations_are_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
