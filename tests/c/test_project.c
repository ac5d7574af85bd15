/* Projections of every tractable pair by every method: feasible as stored, idempotent, nothing moved without need,
 * nearest point where that is promised, the same bits however the range is split. */
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/base/thread.h"
#include "core/norm/opnorm.h"
#include "core/norm/project.h"
#include "core/tensor/gemm.h"
#include "core/tensor/linalg.h"

static const lip_pq pairs[] = {{LIP_P1, LIP_P1},     {LIP_P1, LIP_P2}, {LIP_P1, LIP_PINF},
                               {LIP_PINF, LIP_PINF}, {LIP_P2, LIP_P2}, {LIP_P2, LIP_PINF}};
enum { PAIRS = sizeof pairs / sizeof *pairs };
static const size_t shapes[][2] = {{1, 1},   {1, 9},   {9, 1},   {3, 4},    {8, 16},  {17, 5},
                                   {7, 130}, {130, 7}, {40, 33}, {2, 2500}, {2500, 2}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static bool spectral(lip_pq pq) {
  return pq.p == LIP_P2 && pq.q == LIP_P2;
}

static float *normal(size_t n, uint64_t seed, float deviation) {
  float *w = lip_alloc(n, sizeof *w);
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, w, n, 0, deviation);
  return w;
}

static float *copy(const float *w, size_t n) {
  float *c = lip_alloc(n, sizeof *c);
  memcpy(c, w, n * sizeof *w);
  return c;
}

static double upper_of(const float *W, size_t M, size_t N, lip_pq pq) {
  double u = -1;
  assert_int_equal(lip_opnorm_upper(W, M, N, pq, &u, NULL), LIP_OK);
  return u;
}

static lip_projector *projector(size_t M, size_t N, lip_pq pq, int method) {
  lip_projector *p = NULL;
  assert_int_equal(lip_projector_new(M, N, pq, (lip_project_method)method, &p, NULL), LIP_OK);
  return p;
}

static void project_units(lip_projector *p, float *W, double radius, size_t u0, size_t u1) {
  void *scratch = aligned_alloc(64, (lip_gemm_scratch() + 64) / 64 * 64); /* not counted by base/mem */
  lip_project(p, W, radius, u0, u1, scratch);
  free(scratch);
}

static void project(lip_projector *p, float *W, double radius) {
  project_units(p, W, radius, 0, lip_projector_units(p));
}

/* The rigorous variant, which for every pair but 2->2 must do exactly what the cheap one does. */
static void project_feasibly(lip_projector *p, lip_pq pq, float *W, size_t n, double radius) {
  float *cheap = copy(W, n);
  assert_int_equal(lip_project_exact(p, W, radius, NULL), LIP_OK);
  if (!spectral(pq)) {
    project(p, cheap, radius);
    assert_memory_equal(cheap, W, n * sizeof *W);
  }
  lip_free(cheap);
}

static void check_feasible_and_idempotent(float *W, size_t M, size_t N, double radius) {
  size_t n = M * N;
  for (size_t c = 0; c < PAIRS; c++)
    for (int m = 0; m < LIP_PROJECT_METHODS; m++) {
      lip_projector *p = projector(M, N, pairs[c], m);
      float *X = copy(W, n);
      bool inside = upper_of(W, M, N, pairs[c]) <= radius;
      project_feasibly(p, pairs[c], X, n, radius);
      assert_true(upper_of(X, M, N, pairs[c]) <= radius);
      if (inside) assert_memory_equal(X, W, n * sizeof *W);
      float *Y = copy(X, n);
      project_feasibly(p, pairs[c], Y, n, radius);
      assert_memory_equal(X, Y, n * sizeof *W);
      /* shrinking only: no entry grows or changes sign, except where singular vectors mix entries */
      for (size_t i = 0; i < n && !spectral(pairs[c]); i++) {
        assert_true(fabsf(X[i]) <= fabsf(W[i]));
        assert_int_equal(!signbit(X[i]), !signbit(W[i]));
      }
      lip_free(X);
      lip_free(Y);
      lip_projector_free(p);
    }
}

static void feasible_and_idempotent(void **state) {
  (void)state;
  static const double radii[] = {1e-3, 0.1, 1, 3, 1e4};
  for (size_t s = 0; s < SHAPES; s++)
    for (size_t r = 0; r < 5; r++) {
      float *W = normal(shapes[s][0] * shapes[s][1], 10 * s + r, 1);
      check_feasible_and_idempotent(W, shapes[s][0], shapes[s][1], radii[r]);
      lip_free(W);
    }
}

static void adversarial_magnitudes(void **state) {
  (void)state;
  static const struct {
    float size;
    double radius;
  } cases[] = {{1e30f, 1}, {1e30f, 1e29}, {3e38f, 1e38}, {1e-30f, 1e-30}, {FLT_MIN, 1e-38}, {1e-42f, 1e-42},
               {1, 1e-40}, {1, 1e-44},    {1, 5e-324},   {1, 0x1p-149},   {1e-45f, 1e-45},  {1e30f, 1e-30}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    enum { M = 6, N = 21 };
    float W[M * N];
    lip_rng rng = lip_rng_new(k, LIP_RNG_USER, 0);
    for (size_t i = 0; i < (size_t)M * N; i++) W[i] = (float)(2 * lip_rng_uniform(&rng) - 1) * cases[k].size;
    check_feasible_and_idempotent(W, M, N, cases[k].radius);
    /* equal entries: ties everywhere */
    for (size_t i = 0; i < (size_t)M * N; i++) W[i] = i % 3 ? cases[k].size : -cases[k].size;
    check_feasible_and_idempotent(W, M, N, cases[k].radius);
    /* one huge entry among denormals */
    for (size_t i = 0; i < (size_t)M * N; i++) W[i] = i == 30 ? cases[k].size : 1e-44f;
    check_feasible_and_idempotent(W, M, N, cases[k].radius);
  }
}

static void zero_infinite_and_not_finite(void **state) {
  (void)state;
  enum { M = 4, N = 5 };
  for (size_t c = 0; c < PAIRS; c++)
    for (int m = 0; m < LIP_PROJECT_METHODS; m++) {
      lip_projector *p = projector(M, N, pairs[c], m);
      float *W = normal((size_t)M * N, 3, 1), *X = copy(W, (size_t)M * N);
      project(p, X, INFINITY);
      assert_memory_equal(X, W, M * N * sizeof *W);
      assert_int_equal(lip_project_exact(p, X, INFINITY, NULL), LIP_OK);
      assert_memory_equal(X, W, M * N * sizeof *W);
      project(p, X, 0);
      for (size_t i = 0; i < (size_t)M * N; i++) assert_true(X[i] == 0);
      memcpy(X, W, M * N * sizeof *W);
      assert_int_equal(lip_project_exact(p, X, 0, NULL), LIP_OK);
      for (size_t i = 0; i < (size_t)M * N; i++) assert_true(X[i] == 0);
      for (int k = 0; k < 2; k++) {
        static const double radii[] = {0.5, 0};
        memcpy(X, W, M * N * sizeof *W);
        X[7] = NAN;
        project(p, X, radii[k]);
        assert_true(isnan(X[7]));
        assert_true(upper_of(X, M, N, pairs[c]) == INFINITY);
        for (size_t i = 0; i < (size_t)M * N; i++) assert_true(i == 7 || !isnan(X[i]));
        lip_err err;
        assert_int_equal(lip_project_exact(p, X, radii[k], &err), LIP_NOT_FINITE);
      }
      /* and the projector still works afterwards */
      memcpy(X, W, M * N * sizeof *W);
      assert_int_equal(lip_project_exact(p, X, 0.5, NULL), LIP_OK);
      assert_true(upper_of(X, M, N, pairs[c]) <= 0.5);
      lip_free(W);
      lip_free(X);
      lip_projector_free(p);
    }
}

static void empty_shapes(void **state) {
  (void)state;
  for (size_t c = 0; c < PAIRS; c++)
    for (int m = 0; m < LIP_PROJECT_METHODS; m++)
      for (int k = 0; k < 3; k++) {
        lip_projector *p = projector(k == 1 ? 0 : 3 * (k > 0), k == 2 ? 0 : 3 * (k > 0), pairs[c], m);
        float w = 7;
        project(p, &w, 1);
        assert_int_equal(lip_project_exact(p, &w, 1, NULL), LIP_OK);
        assert_true(w == 7);
        lip_projector_free(p);
      }
}

/* ---- independent units ---- */

static void split_ranges_give_the_same_bits(void **state) {
  (void)state;
  enum { M = 37, N = 91, STEPS = 5 };
  for (size_t c = 0; c < PAIRS; c++)
    for (int m = 0; m < LIP_PROJECT_METHODS; m++) {
      lip_projector *whole = projector(M, N, pairs[c], m), *split = projector(M, N, pairs[c], m);
      size_t units = lip_projector_units(whole);
      bool by_row = pairs[c].q == LIP_PINF;
      assert_int_equal(units, m == LIP_RADIAL || spectral(pairs[c]) ? 1 : by_row ? M : N);
      float *X = normal((size_t)M * N, c, 1), *Y = copy(X, (size_t)M * N);
      lip_rng rng = lip_rng_new(c, LIP_RNG_USER, 9);
      double radius = upper_of(X, M, N, pairs[c]) * 0.6;
      for (int step = 0; step < STEPS; step++) {
        project(whole, X, radius);
        for (size_t u = 0; u < units;) {
          size_t next = u + 1 + lip_rng_below(&rng, 20);
          next = next < units ? next : units;
          project_units(split, Y, radius, u, next);
          u = next;
        }
        assert_memory_equal(X, Y, M * N * sizeof *X);
        for (size_t i = 0; i < (size_t)M * N; i++) Y[i] = X[i] += 0.01f * (float)lip_rng_normal(&rng);
      }
      lip_free(X);
      lip_free(Y);
      lip_projector_free(whole);
      lip_projector_free(split);
    }
}

typedef struct job {
  lip_projector *p;
  float *W;
  double radius;
} job;

static void task(void *arg, const lip_worker *me) {
  job *j = arg;
  size_t begin, end;
  lip_share(me, lip_projector_units(j->p), 1, &begin, &end);
  project_units(j->p, j->W, j->radius, begin, end);
}

/* Inside a region that flushes denormals the result must be what it is outside, and the mode must come back. */
static void threads_and_flushed_denormals_change_nothing(void **state) {
  (void)state;
  enum { M = 24, N = 50 };
  lip_pool *pool = lip_pool_new(2, NULL);
  assert_non_null(pool);
  for (size_t c = 0; c < PAIRS; c++)
    for (int m = 0; m < LIP_PROJECT_METHODS; m++) {
      float *X = normal((size_t)M * N, c, 1e-38f), *Y = copy(X, (size_t)M * N);
      double radius = upper_of(X, M, N, pairs[c]) * 0.5;
      lip_projector *p = projector(M, N, pairs[c], m), *q = projector(M, N, pairs[c], m);
      project(p, X, radius);
      lip_pool_run(pool, true, task, &(job){q, Y, radius});
      assert_memory_equal(X, Y, M * N * sizeof *X);
      if (!spectral(pairs[c])) assert_true(upper_of(Y, M, N, pairs[c]) <= radius);
      lip_projector_free(p);
      lip_projector_free(q);
      lip_free(X);
      lip_free(Y);
    }
  lip_pool_free(pool);
  volatile float tiny = FLT_MIN;
  assert_true(tiny / 2 > 0);
}

/* ---- nearest points ---- */

static int descending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x < y) - (x > y);
}

/* Duchi et al. 2008, figure 1, in double: by sorting. */
static void l1_by_sorting(const float *v, size_t n, size_t step, double radius, double *out) {
  double *u = lip_alloc(n, sizeof *u), sum = 0, all = 0, tau = 0;
  for (size_t i = 0; i < n; i++) all += u[i] = fabs((double)v[i * step]);
  qsort(u, n, sizeof *u, descending);
  for (size_t k = 0; k < n && all > radius; k++) {
    sum += u[k];
    if (u[k] > (sum - radius) / (double)(k + 1)) tau = (sum - radius) / (double)(k + 1);
  }
  for (size_t i = 0; i < n; i++) {
    double a = fabs((double)v[i * step]) - tau;
    out[i] = a > 0 ? copysign(a, (double)v[i * step]) : 0;
  }
  lip_free(u);
}

static void l1_balls_match_sorting(void **state) {
  (void)state;
  for (size_t s = 0; s < SHAPES; s++)
    for (int columns = 0; columns < 2; columns++)
      for (int r = 0; r < 6; r++) {
        static const double ratios[] = {0.001, 0.05, 0.2, 0.6, 0.99, 0.9999999};
        size_t M = shapes[s][0], N = shapes[s][1], n = columns ? M : N;
        lip_pq pq = columns ? (lip_pq){LIP_P1, LIP_P1} : (lip_pq){LIP_PINF, LIP_PINF};
        float *W = normal(M * N, 31 * s + (size_t)r, 1), *X = lip_alloc(M * N, sizeof *X);
        double *want = lip_alloc(n, sizeof *want), radius = upper_of(W, M, N, pq) * ratios[r];
        lip_projector *p = projector(M, N, pq, LIP_EUCLIDEAN);
        /* the second round starts from the thresholds of another matrix */
        for (int round = 0; round < 3; round++) {
          for (size_t i = 0; i < M * N; i++) X[i] = W[i] = round == 1 ? W[i] * 1.7f : W[i] * 0.9f;
          project(p, X, radius);
          for (size_t u = 0; u < (columns ? N : M); u++) {
            size_t step = columns ? N : 1, at = columns ? u : u * N;
            l1_by_sorting(W + at, n, step, radius, want);
            for (size_t i = 0; i < n; i++) /* the float32 at or next below the exact value */
              assert_true(fabs((double)X[at + i * step] - want[i]) <=
                          0x1p-23 * fabs(want[i]) + 1e-11 * radius);
          }
        }
        lip_projector_free(p);
        lip_free(W);
        lip_free(X);
        lip_free(want);
      }
}

/* x is the projection of w onto a convex set exactly when <w - x, y - x> <= 0 for every y in the set. Points y:
 * random ones and ones near x, made feasible by scaling; tolerance: float32 rounding of x. */
static void variational_inequality(void **state) {
  (void)state;
  for (size_t s = 0; s < SHAPES; s++)
    for (size_t c = 0; c < PAIRS; c++)
      for (int r = 0; r < 3; r++) {
        static const double ratios[] = {0.1, 0.5, 0.95};
        size_t M = shapes[s][0], N = shapes[s][1], n = M * N;
        float *W = normal(n, 17 * s + c, 1), *X = copy(W, n), *Y = lip_alloc(n, sizeof *Y);
        double radius = upper_of(W, M, N, pairs[c]) * ratios[r], ww = 0;
        lip_projector *p = projector(M, N, pairs[c], LIP_EUCLIDEAN);
        project_feasibly(p, pairs[c], X, n, radius);
        for (size_t i = 0; i < n; i++) ww += (double)W[i] * (double)W[i];
        lip_rng rng = lip_rng_new(s, LIP_RNG_USER, c);
        for (int k = 0; k < 24; k++) {
          float spread = k % 2 ? 1 : 0.05f;
          for (size_t i = 0; i < n; i++)
            Y[i] = (k % 2 ? 0 : k % 4 ? W[i] : X[i]) + spread * (float)lip_rng_normal(&rng);
          double norm = upper_of(Y, M, N, pairs[c]), t = norm > radius ? radius / norm : 1, inner = 0;
          double moved = 0, other = 0;
          for (size_t i = 0; i < n; i++) {
            double y = t * (double)Y[i], x = (double)X[i], w = (double)W[i];
            inner += (w - x) * (y - x);
            moved += (w - x) * (w - x);
            other += (w - y) * (w - y);
          }
          assert_true(inner <= 2e-6 * ww);
          assert_true(sqrt(moved) <= sqrt(other) + 1e-6 * sqrt(ww));
        }
        lip_projector_free(p);
        lip_free(W);
        lip_free(X);
        lip_free(Y);
      }
}

static void rowwise_and_radial_keep_directions(void **state) {
  (void)state;
  enum { M = 9, N = 33 };
  for (size_t c = 0; c < PAIRS; c++) {
    float *W = normal((size_t)M * N, c, 1), *X = copy(W, (size_t)M * N);
    double norm = upper_of(W, M, N, pairs[c]), radius = norm / 3;
    lip_projector *p = projector(M, N, pairs[c], LIP_RADIAL);
    assert_int_equal(lip_project_exact(p, X, radius, NULL), LIP_OK);
    for (size_t i = 0; i < (size_t)M * N; i++)
      assert_true(fabs((double)X[i] - (double)W[i] / 3) <= 1e-6 * fabs((double)W[i]));
    lip_projector_free(p);
    if ((pairs[c].p == LIP_P1 && pairs[c].q != LIP_PINF) ||
        (pairs[c].q == LIP_PINF && pairs[c].p != LIP_P1)) {
      bool columns = pairs[c].p == LIP_P1;
      lip_p q = columns ? pairs[c].q : lip_p_dual(pairs[c].p);
      p = projector(M, N, pairs[c], LIP_ROWWISE);
      memcpy(X, W, M * N * sizeof *W);
      project(p, X, radius);
      for (size_t u = 0; u < (columns ? N : M); u++) {
        float unit[N];
        for (size_t i = 0; i < (columns ? M : N); i++) unit[i] = W[columns ? i * N + u : u * N + i];
        double own = lip_norm(unit, columns ? M : N, q), f = own > radius ? radius / own : 1;
        for (size_t i = 0; i < (columns ? M : N); i++)
          assert_true(fabs((double)X[columns ? i * N + u : u * N + i] - f * (double)unit[i]) <=
                      1e-6 * fabs((double)unit[i]));
      }
      lip_projector_free(p);
    }
    lip_free(W);
    lip_free(X);
  }
}

/* ---- 2->2 ---- */

static void singular_values(const float *W, size_t M, size_t N, double *s) {
  double *a = lip_alloc(M * N, sizeof *a);
  for (size_t i = 0; i < M * N; i++) a[i] = (double)W[i];
  assert_int_equal(lip_svd(a, M, N, NULL, s, NULL, NULL), LIP_OK);
  lip_free(a);
}

/* The clip leaves every singular value but those above the radius. */
static void spectral_clip_moves_only_violators(void **state) {
  (void)state;
  for (size_t s = 0; s < SHAPES; s++) {
    size_t M = shapes[s][0], N = shapes[s][1], k = M < N ? M : N;
    float *W = normal(M * N, s, 1), *X = copy(W, M * N);
    double *before = lip_alloc(k, sizeof *before), *after = lip_alloc(k, sizeof *after);
    singular_values(W, M, N, before);
    double radius = k > 1 ? (before[0] + before[k / 2]) / 2 : before[0] / 2;
    lip_projector *p = projector(M, N, (lip_pq){LIP_P2, LIP_P2}, LIP_EUCLIDEAN);
    assert_int_equal(lip_project_exact(p, X, radius, NULL), LIP_OK);
    singular_values(X, M, N, after);
    for (size_t i = 0; i < k; i++) assert_true(fabs(after[i] - fmin(before[i], radius)) <= 2e-6 * before[0]);
    lip_projector_free(p);
    /* the cheap step never raises a singular value, and is the same clip when the smaller side is at most 16 */
    p = projector(M, N, (lip_pq){LIP_P2, LIP_P2}, LIP_EUCLIDEAN);
    memcpy(X, W, M * N * sizeof *W);
    project(p, X, radius);
    singular_values(X, M, N, after);
    for (size_t i = 0; i < k; i++) {
      assert_true(after[i] <= before[i] * (1 + 1e-5));
      if (k <= 16) assert_true(fabs(after[i] - fmin(before[i], radius)) <= 4e-6 * before[0]);
    }
    if (k <= 16) { /* and then it is idempotent to the bit */
      float *Y = copy(X, M * N);
      project(p, Y, radius);
      assert_memory_equal(X, Y, M * N * sizeof *X);
      lip_free(Y);
    }
    lip_projector_free(p);
    lip_free(W);
    lip_free(X);
    lip_free(before);
    lip_free(after);
  }
}

/* Warm starts follow a drifting matrix: after every step the norm is close to the radius. */
static void spectral_step_follows_training(void **state) {
  (void)state;
  enum { M = 48, N = 80 };
  for (int m = 0; m < LIP_PROJECT_METHODS; m += 2) {
    float *W = normal((size_t)M * N, 4, 0.1f);
    lip_projector *p = projector(M, N, (lip_pq){LIP_P2, LIP_P2}, m);
    lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 1);
    double sigma[M], worst = 0;
    for (int step = 0; step < 60; step++) {
      for (size_t i = 0; i < (size_t)M * N; i++) W[i] += 1e-3f * (float)lip_rng_normal(&rng);
      project(p, W, 1);
      if (step < 20) continue;
      singular_values(W, M, N, sigma);
      worst = fmax(worst, sigma[0]);
    }
    assert_true(worst < 1.02 && worst > 0.9);
    assert_int_equal(lip_project_exact(p, W, 1, NULL), LIP_OK);
    assert_true(upper_of(W, M, N, (lip_pq){LIP_P2, LIP_P2}) <= 1);
    lip_projector_free(p);
    lip_free(W);
  }
}

/* ---- contract ---- */

static void refusals_and_failed_allocations(void **state) {
  (void)state;
  lip_projector *p = NULL;
  lip_err err;
  assert_int_equal(lip_projector_new(2, 2, (lip_pq){LIP_PINF, LIP_P2}, LIP_EUCLIDEAN, &p, &err),
                   LIP_UNSUPPORTED);
  assert_null(p);
  lip_projector_free(NULL);
  size_t before = lip_mem_used();
  for (size_t c = 0; c < PAIRS; c++)
    for (int m = 0; m < LIP_PROJECT_METHODS; m++) {
      lip_status st;
      size_t n = 1;
      do {
        lip_mem_fail_nth(n++);
        st = lip_projector_new(5, 6, pairs[c], (lip_project_method)m, &p, &err);
        assert_int_equal(st, lip_mem_failed() ? LIP_MEMORY : LIP_OK);
        lip_projector_free(p);
        assert_int_equal(lip_mem_used(), before);
      } while (st != LIP_OK);
    }
  lip_mem_fail_nth(0);
}

static void steps_do_not_allocate_and_exact_survives(void **state) {
  (void)state;
  enum { M = 20, N = 30 };
  for (size_t c = 0; c < PAIRS; c++)
    for (int m = 0; m < LIP_PROJECT_METHODS; m++) {
      float *W = normal((size_t)M * N, 1, 1), *X = copy(W, (size_t)M * N);
      lip_projector *p = projector(M, N, pairs[c], m);
      size_t count = lip_mem_count(), used;
      project(p, X, 0.5);
      project(p, X, 0.4);
      assert_int_equal(lip_mem_count(), count);
      lip_status st;
      size_t n = 1;
      do {
        memcpy(X, W, M * N * sizeof *W);
        used = lip_mem_used();
        lip_mem_fail_nth(n++);
        st = lip_project_exact(p, X, 0.5, NULL);
        assert_int_equal(st, lip_mem_failed() ? LIP_MEMORY : LIP_OK);
        assert_int_equal(lip_mem_used(), used);
      } while (st != LIP_OK);
      lip_mem_fail_nth(0);
      lip_projector_free(p);
      lip_free(W);
      lip_free(X);
    }
}

/* Near the largest float the nearest point may lie outside of float32: then it is refused and nothing is touched. What
 * fits is projected, and nothing goes on for ever. */
static void near_the_largest_float(void **state) {
  (void)state;
  enum { N = 3 };
  static const float signs[N * N] = {-1, 1, 1, 1, 1, -1, 1, -1, -1};
  static const double radii[] = {8.7e38, 8.54e38, 8e38, 6e38, 3e38, 1e38, 1, 1e-30};
  for (int m = 0; m < LIP_PROJECT_METHODS; m++)
    for (size_t c = 0; c < PAIRS; c++)
      for (size_t k = 0; k < sizeof radii / sizeof *radii; k++) {
        float W[N * N], before[N * N];
        for (size_t i = 0; i < (size_t)N * N; i++) before[i] = W[i] = signs[i] * FLT_MAX;
        lip_projector *p = projector(N, N, pairs[c], m);
        lip_err err;
        lip_status st = lip_project_exact(p, W, radii[k], &err);
        if (st == LIP_OK) {
          assert_true(upper_of(W, N, N, pairs[c]) <= radii[k]);
        } else {
          assert_int_equal(st, LIP_NOT_FINITE);
          assert_true(spectral(pairs[c]) && m != LIP_RADIAL && radii[k] > 4e38);
          assert_memory_equal(W, before, sizeof W);
        }
        lip_projector_free(p);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(near_the_largest_float),
      cmocka_unit_test(feasible_and_idempotent),
      cmocka_unit_test(adversarial_magnitudes),
      cmocka_unit_test(zero_infinite_and_not_finite),
      cmocka_unit_test(empty_shapes),
      cmocka_unit_test(split_ranges_give_the_same_bits),
      cmocka_unit_test(threads_and_flushed_denormals_change_nothing),
      cmocka_unit_test(l1_balls_match_sorting),
      cmocka_unit_test(variational_inequality),
      cmocka_unit_test(rowwise_and_radial_keep_directions),
      cmocka_unit_test(spectral_clip_moves_only_violators),
      cmocka_unit_test(spectral_step_follows_training),
      cmocka_unit_test(refusals_and_failed_allocations),
      cmocka_unit_test(steps_do_not_allocate_and_exact_survives),
  };
  return cmocka_run_group_tests_name("project", tests, NULL, NULL);
}
