/* What distances cost beside a product of matrices of the same size, on one thread:
 *   cmake --build build --target dist_bench && build/tests/dist_bench
 * x (128, 784), w (1024, 784), normal numbers. ratio: the least time against that of lip_gemm, measured alternately in the same run. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/tensor/dist.h"
#include "core/tensor/gemm.h"

enum { B = 128, M = 1024, N = 784, RUNS = 25 };

typedef struct arrays {
  float *x, *w, *y, *most, *dy, *inv, *acc;
  uint32_t *place;
  void *scratch;
} arrays;

static void product(const arrays *a, int k) {
  (void)k;
  lip_gemm(LIP_N, LIP_T, B, M, N, 1, a->x, N, a->w, N, 0, a->y, M, a->scratch);
}

static const lip_dist *dist(const arrays *a) {
  static lip_dist d;
  d = (lip_dist){B, M, N, a->x, a->w};
  return &d;
}

static void largest(const arrays *a, int k) {
  (void)k;
  lip_dist_largest(dist(a), a->most);
}

static void places(const arrays *a, int k) {
  (void)k;
  lip_dist_places(dist(a), a->most, a->place);
}

static void norm(const arrays *a, int k) {
  lip_dist_largest(dist(a), a->most);
  lip_dist_norm(dist(a), k, a->most);
}

/* The gradient of x. */
static void spread(const arrays *a, int k) {
  for (size_t i = 0; i < B * M; i++) a->inv[i] = 1 / a->most[i];
  for (size_t c = 0; c < N; c += LIP_DIST_COLUMNS) {
    const size_t n = N - c < LIP_DIST_COLUMNS ? N - c : LIP_DIST_COLUMNS;
    for (size_t j = 0; j < M; j += LIP_DIST_ITEMS)
      for (size_t r = 0; r < B; r++) {
        const size_t at = r * M + j;
        lip_dist_spread(
            &(lip_dist_terms){LIP_DIST_ITEMS, N, a->w + j * N + c, a->dy + at, a->most + at, a->inv + at}, k,
            n, a->x + r * N + c, a->acc + r * N + c);
      }
  }
}

/* The same for p infinite. */
static void scatter(const arrays *a, int k) {
  (void)k;
  for (size_t r = 0; r < B; r++)
    for (size_t j = 0; j < M; j++) {
      const uint32_t i = a->place[r * M + j];
      a->acc[r * N + i] += a->x[r * N + i] < a->w[j * N + i] ? -a->dy[r * M + j] : a->dy[r * M + j];
    }
}

typedef void piece(const arrays *a, int k);

static int ascending(const void *p, const void *q) {
  const double x = *(const double *)p, y = *(const double *)q;
  return (x > y) - (x < y);
}

static double seconds(piece *run, const arrays *a, int k) {
  const double start = lip_seconds();
  run(a, k);
  return lip_seconds() - start;
}

static void report(const char *name, piece *run, const arrays *a, int k) {
  double ours[RUNS], gemm[RUNS];
  for (int i = 0; i < RUNS; i++) {
    gemm[i] = seconds(product, a, k);
    ours[i] = seconds(run, a, k);
  }
  qsort(ours, RUNS, sizeof *ours, ascending);
  qsort(gemm, RUNS, sizeof *gemm, ascending);
  printf("%-24s p = 2^%-2d %8.2f ms %8.2f\n", name, k, *ours * 1e3, *ours / *gemm);
}

int main(void) {
  arrays a = {lip_alloc(B * N, 4), lip_alloc(M * N, 4), lip_alloc(B * M, 4),
              lip_alloc(B * M, 4), lip_alloc(B * M, 4), lip_alloc(B * M, 4),
              lip_alloc(B * N, 4), lip_alloc(B * M, 4), lip_alloc(lip_gemm_scratch(), 1)};
  if (!a.x || !a.w || !a.y || !a.most || !a.dy || !a.inv || !a.acc || !a.place || !a.scratch) return 1;
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, a.x, B * N, 0, 1);
  lip_rng_fill_normal(&rng, a.w, M * N, 0, 1);
  lip_rng_fill_normal(&rng, a.dy, B * M, 0, 1);
  printf("%-24s %8s %8s    %8s\n", "", "", "time", "ratio");
  report("largest", largest, &a, 0);
  report("places of the largest", places, &a, 0);
  report("scatter, p infinite", scatter, &a, 0);
  for (int k = 1; k <= 10; k += 1) {
    report("largest and norm", norm, &a, k);
    report("gradient of x", spread, &a, k);
  }
  return 0;
}
