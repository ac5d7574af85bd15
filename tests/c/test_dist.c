/* Distances against plain loops, whatever the sizes: values, places, order, gradients, what is not finite. On every family of
 * kernels: tests/CMakeLists.txt. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/tensor/dist.h"

static const size_t sizes[][3] = {{1, 1, 1},  {3, 5, 17},  {7, 9, 64},   {5, 3, 200},
                                  {2, 2, 15}, {4, 4, 128}, {1, 70, 333}, {9, 1, 1000}};
enum { SIZES = sizeof sizes / sizeof *sizes };

typedef struct problem {
  lip_dist d;
  float *x, *w, *y;
  double *exact;
} problem;

static problem make(const size_t s[3], float size, uint64_t seed) {
  const size_t B = s[0], M = s[1], n = s[2];
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 0);
  problem p = {.x = malloc(B * n * sizeof(float)),
               .w = malloc(M * n * sizeof(float)),
               .y = malloc(B * M * sizeof(float)),
               .exact = malloc(B * M * sizeof(double))};
  lip_rng_fill_normal(&rng, p.x, B * n, 0, size);
  lip_rng_fill_normal(&rng, p.w, M * n, 0, size);
  p.d = (lip_dist){B, M, n, p.x, p.w};
  return p;
}

static void discard(problem *p) {
  free(p->x);
  free(p->w);
  free(p->y);
  free(p->exact);
}

static float difference(const problem *p, size_t r, size_t j, size_t i) {
  return fabsf(p->x[r * p->d.n + i] - p->w[j * p->d.n + i]);
}

static void norms_are_as_near_as_stated(void **state) {
  (void)state;
  static const float scales[] = {1, 1e-30f, 1e30f, 1e-37f};
  const double u = 0x1p-24;
  for (size_t s = 0; s < SIZES; s++)
    for (int k = 0; k <= LIP_DIST_MOST; k++)
      for (size_t c = 0; c < 4; c++) {
        problem p = make(sizes[s], scales[c], 100 * s + (size_t)k);
        const double n = (double)p.d.n, P = exp2(k);
        const double error = k == 0 ? 1.001 * u : ((n + 3 + 4 * P + n / 4) / P + 5) * u * 1.01;
        double worst = 0;
        lip_dist_plain(&p.d, k, p.exact);
        lip_dist_largest(&p.d, p.y);
        if (k > 0) lip_dist_norm(&p.d, k, p.y);
        for (size_t i = 0; i < p.d.B * p.d.M; i++) {
          const double off = fabs((double)p.y[i] - p.exact[i]);
          assert_true(off <= error * p.exact[i] + (n + 2) * (double)FLT_MIN);
          worst = fmax(worst, off / p.exact[i]);
        }
        assert_true(p.d.B * p.d.M < 30 || c > 0 || worst > 1e-9); /* it does round */
        discard(&p);
      }
}

static void a_part_of_the_rows_gives_the_same_bits(void **state) {
  (void)state;
  for (size_t s = 0; s < SIZES; s++)
    for (int k = 0; k <= LIP_DIST_MOST; k += 3) {
      problem p = make(sizes[s], 1, s);
      float *one = malloc(p.d.M * sizeof *one);
      lip_dist_largest(&p.d, p.y);
      if (k > 0) lip_dist_norm(&p.d, k, p.y);
      for (size_t r = 0; r < p.d.B; r++) {
        const lip_dist d = {1, p.d.M, p.d.n, p.x + r * p.d.n, p.w};
        lip_dist_largest(&d, one);
        if (k > 0) lip_dist_norm(&d, k, one);
        assert_memory_equal(one, p.y + r * p.d.M, p.d.M * sizeof *one);
      }
      free(one);
      discard(&p);
    }
}

static void what_is_not_finite_stays_visible(void **state) {
  (void)state;
  for (size_t s = 0; s < SIZES; s++)
    for (int k = 0; k <= LIP_DIST_MOST; k += 4)
      for (size_t at = 0; at < sizes[s][2]; at += 1 + at / 3)
        for (int infinite = 0; infinite < 2; infinite++) {
          problem p = make(sizes[s], 1, s);
          const size_t last = p.d.B - 1;
          uint32_t *place = malloc(p.d.B * p.d.M * sizeof *place);
          p.x[last * p.d.n + at] = infinite ? INFINITY : NAN;
          lip_dist_largest(&p.d, p.y);
          lip_dist_places(&p.d, p.y, place);
          if (k > 0) lip_dist_norm(&p.d, k, p.y);
          for (size_t j = 0; j < p.d.M; j++) {
            const float y = p.y[last * p.d.M + j];
            assert_true(infinite ? isinf(y) && y > 0 : isnan(y));
            assert_true(place[last * p.d.M + j] < p.d.n);
          }
          if (last > 0) assert_true(isfinite(p.y[0]));
          free(place);
          discard(&p);
        }
}

/* Whole numbers, so that many are alike. */
static void make_ties(problem *p) {
  for (size_t i = 0; i < p->d.B * p->d.n; i++) p->x[i] = roundf(p->x[i]);
  for (size_t i = 0; i < p->d.M * p->d.n; i++) p->w[i] = roundf(p->w[i]);
}

static void the_lowest_place_of_the_largest(void **state) {
  (void)state;
  size_t ties = 0;
  for (size_t s = 0; s < SIZES; s++) {
    problem p = make(sizes[s], 1, 7 + s);
    uint32_t *place = malloc(p.d.B * p.d.M * sizeof *place);
    make_ties(&p);
    lip_dist_largest(&p.d, p.y);
    lip_dist_places(&p.d, p.y, place);
    for (size_t r = 0; r < p.d.B; r++)
      for (size_t j = 0; j < p.d.M; j++) {
        size_t best = 0, alike = 0;
        for (size_t i = 0; i < p.d.n; i++)
          if (difference(&p, r, j, i) > difference(&p, r, j, best)) best = i;
        for (size_t i = 0; i < p.d.n; i++) alike += difference(&p, r, j, i) == difference(&p, r, j, best);
        assert_int_equal(place[r * p.d.M + j], best);
        ties += alike > 1;
      }
    free(place);
    discard(&p);
  }
  assert_true(ties > 20);
}

static void the_largest_in_order(void **state) {
  (void)state;
  enum { K = 10 };
  const float c[K] = {0.5f, 0.25f, 0.125f, 0.0625f, 0.03125f, 0.25f, 0.5f, 0.125f, 1, 2};
  for (size_t s = 0; s < SIZES; s++)
    for (int whole = 0; whole < 2; whole++) {
      problem p = make(sizes[s], 1, 19 + s);
      const size_t n = p.d.n, most = n < K ? n : K;
      uint32_t *place = malloc(p.d.B * p.d.M * most * sizeof *place);
      if (whole) make_ties(&p);
      lip_dist_largest(&p.d, p.y);
      lip_dist_sorted(&p.d, most, c, p.y, place);
      for (size_t r = 0; r < p.d.B; r++)
        for (size_t j = 0; j < p.d.M; j++) {
          const uint32_t *at = place + (r * p.d.M + j) * most;
          float sum = 0;
          for (size_t k = 0; k < most; k++) {
            size_t before = 0; /* that come first: larger, or as large and further left */
            const float v = difference(&p, r, j, at[k]);
            for (size_t i = 0; i < n; i++)
              before += difference(&p, r, j, i) > v || (difference(&p, r, j, i) == v && i < at[k]);
            assert_int_equal(before, k);
            sum += c[k] * v;
          }
          assert_true(p.y[r * p.d.M + j] == sum);
        }
      free(place);
      discard(&p);
    }
}

static void gradients_are_those_of_the_norm(void **state) {
  (void)state;
  for (size_t s = 0; s < SIZES; s++)
    for (int k = 1; k <= LIP_DIST_MOST; k++) {
      problem p = make(sizes[s], 1, 31 * s + (size_t)k);
      const size_t n = p.d.n, M = p.d.M;
      const double P = exp2(k);
      float *acc = malloc(3 * (n + M) * sizeof *acc), *inv = acc + n, *coef = inv + M;
      lip_dist_largest(&p.d, p.y);
      lip_dist_norm(&p.d, k, p.y);
      for (size_t j = 0; j < M; j++) {
        inv[j] = 1 / p.y[j];
        coef[j] = j % 2 ? -0.5f : 1.5f;
      }
      for (size_t i = 0; i < n; i++) acc[i] = 0.25f;
      const lip_dist_terms t = {M, n, p.w, coef, p.y, inv};
      lip_dist_spread(&t, k, n, p.x, acc);
      lip_dist_plain(&p.d, k, p.exact);
      for (size_t i = 0; i < n; i++) {
        double sum = 0.25, size = 0.25;
        for (size_t j = 0; j < M; j++) {
          const double v = (double)p.x[i] - (double)p.w[j * n + i];
          const double term = (double)coef[j] * pow(fabs(v) / p.exact[j], P - 1);
          sum += v < 0 ? -term : term;
          size += fabs(term);
        }
        /* a power by p - 1 takes 4 p u of itself; what is left out is below 2^-26 each */
        assert_true(fabs((double)acc[i] - sum) <= size * (8 * P + (double)M) * 0x1p-24 + (double)M * 0x1p-25);
      }
      free(acc);
      discard(&p);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(norms_are_as_near_as_stated),
      cmocka_unit_test(a_part_of_the_rows_gives_the_same_bits),
      cmocka_unit_test(what_is_not_finite_stays_visible),
      cmocka_unit_test(the_lowest_place_of_the_largest),
      cmocka_unit_test(the_largest_in_order),
      cmocka_unit_test(gradients_are_those_of_the_norm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
