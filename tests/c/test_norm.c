/* norms: names and paths, vector norms, operator norms against brute force and singular values. */
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
#include "core/norm/spectral.h"
#include "core/tensor/linalg.h"

static const lip_pq pairs[] = {{LIP_P1, LIP_P1},     {LIP_P1, LIP_P2}, {LIP_P1, LIP_PINF},
                               {LIP_PINF, LIP_PINF}, {LIP_P2, LIP_P2}, {LIP_P2, LIP_PINF}};
enum { PAIRS = sizeof pairs / sizeof *pairs };
static const lip_pq two = {LIP_P2, LIP_P2};

static float *normal(size_t n, uint64_t seed, float deviation) {
  float *w = lip_alloc(n, sizeof *w);
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, w, n, 0, deviation);
  return w;
}

static double upper_of(const float *W, size_t M, size_t N, lip_pq pq) {
  double u = -1;
  assert_int_equal(lip_opnorm_upper(W, M, N, pq, &u, NULL), LIP_OK);
  return u;
}
static double lower_of(const float *W, size_t M, size_t N, lip_pq pq) {
  double v = -1;
  assert_int_equal(lip_opnorm_lower(W, M, N, pq, &v, NULL), LIP_OK);
  return v;
}

/* ---- names and paths ---- */

static void names_are_read_and_written(void **state) {
  (void)state;
  static const struct {
    const char *text;
    lip_p p;
  } good[] = {{"1", LIP_P1},      {"2", LIP_P2},      {"inf", LIP_PINF}, {"Inf", LIP_PINF},
              {"linf", LIP_PINF}, {"Linf", LIP_PINF}, {"l1", LIP_P1},    {"L2", LIP_P2}};
  lip_p p;
  lip_err err;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    assert_int_equal(lip_p_parse(good[i].text, &p, &err), LIP_OK);
    assert_int_equal(p, good[i].p);
  }
  static const char *const bad[] = {"", "3", "in", "1.0", "l", "infl", "-1", "nan"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(lip_p_parse(bad[i], &p, &err), LIP_OPTION);
  for (int q = LIP_P1; q <= LIP_PINF; q++) {
    assert_int_equal(lip_p_parse(lip_p_name((lip_p)q), &p, &err), LIP_OK);
    assert_int_equal(p, q);
    assert_int_equal(lip_p_dual(lip_p_dual((lip_p)q)), q);
  }
  assert_int_equal(lip_p_dual(LIP_P1), LIP_PINF);
  assert_string_equal(lip_pq_name((lip_pq){LIP_P1, LIP_PINF}), "1->inf");
  assert_string_equal(lip_pq_name((lip_pq){LIP_PINF, LIP_P2}), "inf->2");
}

static void paths_step_up_only(void **state) {
  (void)state;
  lip_path path;
  lip_err err;
  char buf[64];
  assert_int_equal(lip_path_parse("1->2 -> inf", &path, &err), LIP_OK);
  assert_int_equal(path.n, 3);
  assert_string_equal(lip_path_text(&path, buf, sizeof buf), "1->2->inf");
  assert_int_equal(lip_path_step(&path, 0).p, LIP_P1);
  assert_int_equal(lip_path_step(&path, 0).q, LIP_P2);
  assert_int_equal(lip_path_step(&path, 1).q, LIP_PINF);
  assert_int_equal(lip_path_step(&path, 2).p, LIP_PINF);
  assert_int_equal(lip_path_step(&path, 900).q, LIP_PINF);
  assert_int_equal(lip_path_at(&path, 1), LIP_P2);
  assert_string_equal(lip_path_text(&path, buf, 5), "1->2");
  static const char *const down[] = {"inf->1", "2->1", "inf->2", "1->inf->2"};
  for (size_t i = 0; i < 4; i++) assert_int_equal(lip_path_parse(down[i], &path, &err), LIP_UNSUPPORTED);
  assert_non_null(strstr(err.msg, "NP-hard"));
  static const char *const bad[] = {"", "->", "1->", "->1", "1->x", "1-2", "1 2"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(lip_path_parse(bad[i], &path, &err), LIP_OPTION);
  char longest[2000] = "1";
  for (int i = 0; i < LIP_MAX_PATH - 1; i++) strcat(longest, "->1");
  assert_int_equal(lip_path_parse(longest, &path, &err), LIP_OK);
  strcat(longest, "->1");
  assert_int_equal(lip_path_parse(longest, &path, &err), LIP_OPTION);
}

/* ---- vectors ---- */

/* long double sums (64 bits) of short vectors are far more exact than what is checked */
static long double norm_long(const float *x, size_t n, size_t step, lip_p p) {
  long double s = 0;
  for (size_t i = 0; i < n; i++) {
    long double a = fabsl((long double)x[i * step]);
    s = p == LIP_PINF ? (a > s ? a : s) : s + (p == LIP_P1 ? a : a * a);
  }
  return p == LIP_P2 ? sqrtl(s) : s;
}

static void vector_norms_are_rounded_up(void **state) {
  (void)state;
  for (size_t n = 0; n < 70; n++)
    for (int p = 0; p < 3; p++) {
      float *x = normal(n, n, n % 3 ? 1 : 1e-30f);
      double d[70];
      for (size_t i = 0; i < n; i++) d[i] = (double)x[i];
      long double exact = norm_long(x, n, 1, (lip_p)p);
      double up = lip_norm_upper(x, n, (lip_p)p), up_d = lip_norm_upper_d(d, n, (lip_p)p);
      assert_true((long double)up >= exact * (1 - 0x1p-62L) && up <= exact * (1 + 0x1p-51L));
      assert_true((long double)up_d >= exact * (1 - 0x1p-62L) && up_d <= exact * (1 + 0x1p-44L));
      assert_true(fabsl((long double)lip_norm(x, n, (lip_p)p) - exact) <= exact * 0x1p-45L);
      if (n > 0) {
        x[n / 2] = NAN;
        assert_true(lip_norm_upper(x, n, (lip_p)p) == INFINITY && isnan(lip_norm(x, n, (lip_p)p)));
        d[n / 2] = NAN;
        assert_true(lip_norm_upper_d(d, n, (lip_p)p) == INFINITY);
        x[n / 2] = -INFINITY;
        assert_true(lip_norm_upper(x, n, (lip_p)p) == INFINITY);
      }
      lip_free(x);
    }
}

static void exact_sums_are_not_inflated(void **state) {
  (void)state;
  const float x[] = {3, -4, 0, 12}, y[] = {16777216.0f, 1, 0x1p-20f};
  assert_true(lip_norm_upper(x, 4, LIP_P1) == 19 && lip_norm_upper(x, 4, LIP_P2) == 13);
  assert_true(lip_norm_upper(y, 3, LIP_P1) == 16777217.0 + 0x1p-20);
  /* one more bit than a double holds must be rounded up */
  const float z[] = {0x1p100f, 0x1p-100f};
  assert_true(lip_norm_upper(z, 2, LIP_P1) == nextafter(0x1p100, INFINITY));
  const float tiny[] = {FLT_MIN, -FLT_MIN};
  assert_true(lip_norm_upper(tiny, 2, LIP_P1) == 2 * (double)FLT_MIN);
  assert_true(lip_norm_upper(tiny, 2, LIP_P2) >= sqrt(2) * (double)FLT_MIN);
  const double huge[] = {1e300, -1e300}, small[] = {1e-320, 1e-320};
  assert_true(lip_norm_upper_d(huge, 2, LIP_P2) >= 1.4142135623730950e300);
  assert_true(lip_norm_upper_d(huge, 2, LIP_P2) <= 1.4142135623730961e300);
  assert_true(lip_norm_upper_d(small, 2, LIP_P1) >= 2e-320 && lip_norm_upper_d(small, 2, LIP_P1) < 3e-320);
}

/* ---- operator norms of every tractable pair: the maximum over the extreme points of the p-ball ---- */

static long double attained(const float *W, size_t M, size_t N, lip_p q, const double *x) {
  long double s = 0;
  for (size_t i = 0; i < M; i++) {
    long double y = 0;
    for (size_t j = 0; j < N; j++) y += (long double)W[i * N + j] * (long double)x[j];
    y = fabsl(y);
    s = q == LIP_PINF ? (y > s ? y : s) : s + (q == LIP_P1 ? y : y * y);
  }
  return q == LIP_P2 ? sqrtl(s) : s;
}

static long double brute_force(const float *W, size_t M, size_t N, lip_pq pq) {
  long double best = 0;
  double x[16];
  if (pq.p == LIP_P1)
    for (size_t j = 0; j < N; j++) {
      for (size_t i = 0; i < N; i++) x[i] = i == j;
      long double v = attained(W, M, N, pq.q, x);
      best = v > best ? v : best;
    }
  else if (pq.p == LIP_PINF)
    for (unsigned mask = 0; mask < 1u << N; mask++) {
      for (size_t i = 0; i < N; i++) x[i] = mask >> i & 1 ? 1 : -1;
      long double v = attained(W, M, N, pq.q, x);
      best = v > best ? v : best;
    }
  else /* 2->inf: the row itself, normalised, for each row */
    for (size_t i = 0; i < M; i++) {
      long double v = norm_long(W + i * N, N, 1, LIP_P2);
      best = v > best ? v : best;
    }
  return best;
}

static void operator_norms_match_brute_force(void **state) {
  (void)state;
  for (size_t M = 1; M < 9; M++)
    for (size_t N = 1; N < 10; N++)
      for (size_t c = 0; c < PAIRS; c++) {
        if (c == 4) continue;
        float *W = normal(M * N, 100 * M + N, 1);
        long double exact = brute_force(W, M, N, pairs[c]);
        double up = upper_of(W, M, N, pairs[c]), low = lower_of(W, M, N, pairs[c]);
        assert_true((long double)up >= exact * (1 - 0x1p-60L) && up <= exact * (1 + 1e-12L));
        assert_true((long double)low <= exact * (1 + 0x1p-60L) && low >= exact * (1 - 1e-12L));
        lip_free(W);
      }
}

/* Wide columns and rows: blocks, tails and both sides of every vector width. */
static void operator_norms_of_long_rows_and_columns(void **state) {
  (void)state;
  static const size_t shapes[][2] = {{3, 63}, {3, 64}, {2, 65}, {130, 129}, {1, 1000}, {1000, 1}, {5, 8}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (size_t c = 0; c < PAIRS; c++) {
      size_t M = shapes[s][0], N = shapes[s][1];
      if (c == 4) continue;
      float *W = normal(M * N, s, 1e-3f);
      long double exact = 0;
      bool columns = pairs[c].p == LIP_P1;
      for (size_t u = 0; u < (columns ? N : M); u++) {
        long double v =
            columns ? norm_long(W + u, M, N, pairs[c].q) : norm_long(W + u * N, N, 1, lip_p_dual(pairs[c].p));
        exact = v > exact ? v : exact;
      }
      double up = upper_of(W, M, N, pairs[c]);
      assert_true((long double)up >= exact * (1 - 0x1p-60L) && up <= exact * (1 + 1e-12L));
      lip_free(W);
    }
}

/* ---- 2->2 ---- */

static double svd_top(const float *W, size_t M, size_t N) {
  double *a = lip_alloc(M * N, sizeof *a), *s = lip_alloc(M < N ? M : N, sizeof *s);
  for (size_t i = 0; i < M * N; i++) a[i] = (double)W[i];
  assert_int_equal(lip_svd(a, M, N, NULL, s, NULL, NULL), LIP_OK);
  double top = s[0];
  lip_free(a);
  lip_free(s);
  return top;
}

static void check_spectral(const float *W, size_t M, size_t N) {
  double top = svd_top(W, M, N), up = upper_of(W, M, N, two), low = lower_of(W, M, N, two), gram = -1;
  /* LAPACK's own error is a small multiple of 2^-53 */
  assert_true(up >= top * (1 - 1e-13) && up <= top * (1 + 1e-9));
  assert_true(low <= top * (1 + 1e-13) && low >= top * 0.98 && low <= up);
  for (size_t t = 0; t < 9; t += 2) {
    double before = gram;
    assert_int_equal(lip_opnorm_gram_upper(W, M, N, t, &gram, NULL), LIP_OK);
    assert_true(gram >= top * (1 - 1e-13));
    assert_true(t == 0 || gram <= before * (1 + 1e-12));
  }
  /* error factor at most rank^(1/2^(t+1)) */
  assert_true(gram <= top * pow((double)(M < N ? M : N), 1.0 / 512) * (1 + 1e-9));
}

static void spectral_bound_encloses_singular_values(void **state) {
  (void)state;
  static const size_t shapes[][2] = {{1, 1},   {2, 2},   {3, 5},   {5, 3},   {8, 8},
                                     {9, 300}, {300, 9}, {33, 40}, {70, 64}, {128, 257}};
  static const float sizes[] = {1, 1e-30f, 1e30f, 1e-38f, 3e-45f};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (size_t k = 0; k < 5; k++) {
      size_t M = shapes[s][0], N = shapes[s][1];
      if (k > 1 && M * N > 3000) continue;
      float *W = normal(M * N, 7 * s + k, 1);
      for (size_t i = 0; i < M * N; i++) W[i] *= sizes[k];
      W[0] = sizes[k]; /* never the zero matrix */
      check_spectral(W, M, N);
      lip_free(W);
    }
}

/* Matrices whose norm is known: orthogonal to rounding, rank one, diagonal, clustered, graded over 60 decades. */
static void spectral_bound_of_special_matrices(void **state) {
  (void)state;
  enum { N = 24 };
  float W[N * N];
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, W, N * N, 0, 1);
  assert_int_equal(lip_orthonormalise(W, N, N, NULL), LIP_OK);
  check_spectral(W, N, N);
  for (size_t i = 0; i < N * N; i++) W[i] = 0.5f;
  assert_true(fabs(upper_of(W, N, N, two) - 12) < 1e-9 && upper_of(W, N, N, two) >= 12);
  memset(W, 0, sizeof W);
  assert_true(upper_of(W, N, N, two) == 0 && lower_of(W, N, N, two) == 0);
  for (size_t i = 0; i < N; i++) W[i * N + i] = i == 7 ? 1.001f : 1;
  check_spectral(W, N, N);
  for (size_t i = 0; i < N; i++) W[i * N + i] = ldexpf(1, 100 - 8 * (int)i);
  check_spectral(W, N, N);
  assert_true(upper_of(W, N, N, two) >= 0x1p100);
  W[0] = FLT_MAX;
  check_spectral(W, N, N);
}

/* A start orthogonal to the top vector, a flat spectrum, FLT_MIN weights, one row, one column. */
static void power_iteration_traps(void **state) {
  (void)state;
  const float diagonal[] = {1, 0, 0, 1 + 1e-3f};
  double v[2] = {1, 0}, scratch[4];
  assert_true(lip_opnorm_estimate(diagonal, 2, 2, two, 50, v, scratch) <= 1.0000001);
  assert_true(upper_of(diagonal, 2, 2, two) >= (double)(1 + 1e-3f));
  const float tiny[] = {FLT_MIN, -FLT_MIN};
  assert_true(upper_of(tiny, 1, 2, two) >= sqrt(2) * (double)FLT_MIN);
  assert_true(upper_of(tiny, 2, 1, two) >= sqrt(2) * (double)FLT_MIN);
  assert_true(upper_of(tiny, 1, 2, two) <= 1.4142135623731 * (double)FLT_MIN);
  enum { N = 200 };
  float *W = normal((size_t)N * N, 11, 1);
  double *s = lip_alloc(3 * N, sizeof *s);
  double top = svd_top(W, N, N), est = lip_opnorm_estimate(W, N, N, two, 10, NULL, s);
  assert_true(est < top * 0.9999 && est > top * 0.9);
  assert_true(upper_of(W, N, N, two) >= top * (1 - 1e-13));
  /* warm starts close the gap */
  double *warm = lip_alloc(N, sizeof *warm);
  for (int i = 0; i < 300; i++) est = lip_opnorm_estimate(W, N, N, two, 10, warm, s);
  assert_true(est <= top * (1 + 1e-12) && est > top * (1 - 1e-9));
  lip_free(W);
  lip_free(s);
  lip_free(warm);
}

static void not_finite_and_empty(void **state) {
  (void)state;
  const float bad[2][4] = {{1, NAN, 2, 3}, {1, 2, -INFINITY, 3}};
  double g;
  for (size_t c = 0; c < PAIRS; c++) {
    for (int k = 0; k < 2; k++) {
      assert_true(upper_of(bad[k], 2, 2, pairs[c]) == INFINITY);
      assert_true(lower_of(bad[k], 2, 2, pairs[c]) == 0);
      assert_int_equal(lip_opnorm_gram_upper(bad[k], 2, 2, 5, &g, NULL), LIP_OK);
      assert_true(g == INFINITY);
    }
    assert_true(upper_of(bad[0], 0, 2, pairs[c]) == 0 && upper_of(bad[0], 2, 0, pairs[c]) == 0);
  }
  lip_err err;
  double u = 1;
  const float w[] = {1, 2, 3, 4};
  assert_int_equal(lip_opnorm_upper(w, 2, 2, (lip_pq){LIP_PINF, LIP_P1}, &u, &err), LIP_UNSUPPORTED);
  assert_true(u == INFINITY);
}

static void failed_allocations_leave_no_bound(void **state) {
  (void)state;
  float *W = normal(30 * 20, 3, 1);
  size_t before = lip_mem_used();
  for (int which = 0; which < 3; which++) {
    lip_status st;
    size_t n = 1;
    do {
      double v = -1;
      lip_mem_fail_nth(n++);
      st = which == 0   ? lip_opnorm_upper(W, 30, 20, two, &v, NULL)
           : which == 1 ? lip_opnorm_gram_upper(W, 30, 20, 4, &v, NULL)
                        : lip_opnorm_lower(W, 30, 20, two, &v, NULL);
      assert_int_equal(st, lip_mem_failed() ? LIP_MEMORY : LIP_OK);
      assert_true(st == LIP_OK || v == (which == 2 ? 0 : INFINITY));
      assert_int_equal(lip_mem_used(), before);
    } while (st != LIP_OK);
    assert_true(n > 2);
  }
  lip_mem_fail_nth(0);
  lip_free(W);
}

/* `below` proves what is true by 1e-8 and never what is false. */
static void below_a_limit(void **state) {
  (void)state;
  static const size_t shape[][2] = {{1, 1}, {1, 9}, {7, 3}, {16, 40}, {33, 33}};
  static const float deviation[] = {1, 1e-30f, 1e30f};
  for (size_t i = 0; i < 5; i++)
    for (size_t d = 0; d < 3; d++) {
      const size_t M = shape[i][0], N = shape[i][1];
      float *w = normal(M * N, i + 10 * d, deviation[d]);
      double low = lower_of(w, M, N, two), high = upper_of(w, M, N, two);
      bool below;
      const double proved[] = {high * (1 + 1e-8), high * 2};
      const double not_proved[] = {low * (1 - 1e-9), low / 2, 0, -1, -2 * high, NAN};
      for (size_t k = 0; k < 2; k++) {
        assert_int_equal(lip_spectral_below(w, M, N, proved[k], &below, NULL), LIP_OK);
        assert_true(below);
      }
      for (size_t k = 0; k < 6; k++) {
        assert_int_equal(lip_spectral_below(w, M, N, not_proved[k], &below, NULL), LIP_OK);
        assert_false(below);
      }
      w[0] = NAN;
      assert_int_equal(lip_spectral_below(w, M, N, proved[1], &below, NULL), LIP_OK);
      assert_false(below);
      memset(w, 0, M * N * sizeof *w);
      assert_int_equal(lip_spectral_below(w, M, N, 0, &below, NULL), LIP_OK);
      assert_true(below);
      lip_free(w);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(below_a_limit),
      cmocka_unit_test(names_are_read_and_written),
      cmocka_unit_test(paths_step_up_only),
      cmocka_unit_test(vector_norms_are_rounded_up),
      cmocka_unit_test(exact_sums_are_not_inflated),
      cmocka_unit_test(operator_norms_match_brute_force),
      cmocka_unit_test(operator_norms_of_long_rows_and_columns),
      cmocka_unit_test(spectral_bound_encloses_singular_values),
      cmocka_unit_test(spectral_bound_of_special_matrices),
      cmocka_unit_test(power_iteration_traps),
      cmocka_unit_test(not_finite_and_empty),
      cmocka_unit_test(failed_allocations_leave_no_bound),
  };
  return cmocka_run_group_tests_name("norm", tests, NULL, NULL);
}
