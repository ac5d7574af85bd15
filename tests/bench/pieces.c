/* What the parts of a training step cost beside its matrix products, on one thread:
 *   cmake --build build --target pieces && build/tests/pieces
 * ns: nanoseconds per element, the median of many calls, each on freshly moved weights as after an update. GB/s: the
 * bytes the piece has to read and write in that time. memory: what a loop with next to no arithmetic reaches on as much
 * memory in the same run, a sum for pieces that only read, x = x + y for the others; share: the piece's part of it. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/base/simd.h"
#include "core/data/dataset.h"
#include "core/net/optim.h"
#include "core/norm/opnorm.h"
#include "core/norm/project.h"
#include "core/norm/quick.h"
#include "core/norm/rows.h"
#include "core/tensor/gemm.h"

enum { MOVES = 4, BATCH = 128 };

typedef struct bench {
  size_t M, N;
  float *W, *rest, *move[MOVES]; /* weights, where they stood, what an update may add */
  float *g, *state, *x;
  double *v;
  lip_projector *p;
  void *scratch; /* of one projection */
  lip_optim *opt;
  lip_dataset *data;
  uint32_t index[BATCH];
  double radius, sink;
  size_t calls;
} bench;

typedef void piece_fn(bench *b);

static double now_ns(void) {
  return lip_seconds() * 1e9;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void *need(void *p) {
  if (p) return p;
  fputs("pieces: no memory\n", stderr);
  exit(1);
}

static void must(lip_status status, const lip_err *err) {
  if (!status) return;
  fprintf(stderr, "pieces: %s\n", err->msg);
  exit(1);
}

/* Median nanoseconds of `run`, `before` not counted, during about 0.15 seconds. */
static double median_ns(bench *b, piece_fn *before, piece_fn *run) {
  enum { MOST = 4000 };
  static double took[MOST];
  size_t n = 0;
  double end = now_ns() + 1.5e8;
  for (int i = 0; i < 5; i++) {
    if (before) before(b);
    run(b);
  }
  while (n < MOST && (n < 5 || now_ns() < end)) {
    if (before) before(b);
    double start = now_ns();
    run(b);
    took[n++] = now_ns() - start;
  }
  qsort(took, n, sizeof *took, ascending);
  return took[n / 2];
}

/* ---- what memory allows ---- */

LIP_HOT static float sum_all(const float *x, size_t n) {
  float part[64] = {0}, sum = 0;
  for (size_t i = 0; i + 64 <= n; i += 64)
    for (size_t k = 0; k < 64; k++) part[k] += x[i + k];
  for (size_t k = 0; k < 64; k++) sum += part[k];
  return sum;
}
LIP_HOT static void add_to(float *restrict x, const float *restrict y, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] += y[i];
}

static struct {
  float *x, *y;
  size_t n;
} stream;
static void run_sum(bench *b) {
  b->sink += (double)sum_all(stream.x, stream.n);
}
static void run_add(bench *b) {
  (void)b;
  add_to(stream.x, stream.y, stream.n);
}

/* GB/s of a loop over `floats` floats in all. */
static double memory_speed(bench *b, size_t floats, bool only_reads) {
  stream.n = only_reads ? floats : floats / 2;
  stream.x = need(lip_alloc(stream.n, sizeof(float)));
  stream.y = need(lip_alloc(stream.n, sizeof(float)));
  double ns = median_ns(b, NULL, only_reads ? run_sum : run_add);
  lip_free(stream.x);
  lip_free(stream.y);
  return (double)stream.n * (only_reads ? 4 : 12) / ns;
}

/* ---- pieces ---- */

static void move(bench *b) {
  const float *by = b->move[b->calls++ % MOVES];
  for (size_t i = 0; i < b->M * b->N; i++) b->W[i] = b->rest[i] + by[i];
}
static void run_project(bench *b) {
  lip_project(b->p, b->W, b->radius, 0, lip_projector_units(b->p), b->scratch);
}
static void run_row_sums(bench *b) {
  for (size_t i = 0; i < b->M; i++) b->sink += lip_quick_abs_sum(b->W + i * b->N, b->N);
}
static void run_scale(bench *b) {
  lip_row_shrink(b->W, b->M * b->N, 0x1.fffffep-1f);
}
static void run_update(bench *b) {
  size_t n = b->M * b->N;
  float *slot[8];
  for (size_t k = 0; k < b->opt->kind->slots; k++) slot[k] = b->opt->state + k * n;
  b->opt->kind->update(b->opt->conf, b->W, b->g, slot, NULL, 0, n, 1e-3, 1000);
}
static void run_gather(bench *b) {
  for (size_t i = 0; i < BATCH; i++) b->index[i] = (uint32_t)((b->index[i] + 7919) % b->data->n);
  lip_dataset_gather(b->data, b->index, BATCH, b->x, NULL, NULL);
}
static void run_estimate(bench *b) {
  static const lip_pq two = {LIP_P2, LIP_P2};
  b->sink += lip_opnorm_estimate(b->W, b->M, b->N, two, 10, b->v, b->v + b->N);
}

/* One line; bytes per element: 0 for pieces that are not bound by memory. */
static void tell(bench *b, const char *name, piece_fn *before, piece_fn *run, double elements, double bytes,
                 size_t floats, bool only_reads) {
  double ns = median_ns(b, before, run) / elements;
  printf("%5zu x %-5zu %-30s %8.3f", b->M, b->N, name, ns);
  if (bytes > 0) {
    double speed = bytes / ns, memory = memory_speed(b, floats, only_reads);
    printf(" %8.1f %8.1f %8.2f", speed, memory, speed / memory);
  }
  putchar('\n');
}

static const struct {
  const char *name;
  lip_pq pq;
  lip_project_method method;
} projections[] = {
    {"inf, rows scaled", {LIP_PINF, LIP_PINF}, LIP_ROWWISE},
    {"inf, rows Euclidean", {LIP_PINF, LIP_PINF}, LIP_EUCLIDEAN},
    {"inf, whole matrix scaled", {LIP_PINF, LIP_PINF}, LIP_RADIAL},
    {"1, columns scaled", {LIP_P1, LIP_P1}, LIP_ROWWISE},
    {"1, columns Euclidean", {LIP_P1, LIP_P1}, LIP_EUCLIDEAN},
    {"1, whole matrix scaled", {LIP_P1, LIP_P1}, LIP_RADIAL},
    {"1->inf, clamped", {LIP_P1, LIP_PINF}, LIP_EUCLIDEAN},
    {"2->inf, rows scaled", {LIP_P2, LIP_PINF}, LIP_ROWWISE},
    {"1->2, columns scaled", {LIP_P1, LIP_P2}, LIP_ROWWISE},
    {"2, whole matrix scaled", {LIP_P2, LIP_P2}, LIP_RADIAL},
    {"2, singular values clipped", {LIP_P2, LIP_P2}, LIP_EUCLIDEAN},
};

/* Weights on the border of the ball, and moves of a hundredth of them. */
static void tell_projection(bench *b, size_t k) {
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, k);
  lip_err err;
  size_t n = b->M * b->N;
  double norm;
  b->scratch = lip_alloc(lip_gemm_scratch() + 1, 1);
  must(lip_projector_new(b->M, b->N, projections[k].pq, projections[k].method, &b->p, &err), &err);
  lip_rng_fill_normal(&rng, b->rest, n, 0, 1);
  must(lip_opnorm_upper(b->rest, b->M, b->N, projections[k].pq, &norm, &err), &err);
  b->radius = norm / 3;
  memcpy(b->W, b->rest, n * sizeof *b->W);
  run_project(b);
  memcpy(b->rest, b->W, n * sizeof *b->W);
  double mean = 0;
  for (size_t i = 0; i < n; i++) mean += fabs((double)b->rest[i]) / (double)n;
  for (int m = 0; m < MOVES; m++) lip_rng_fill_normal(&rng, b->move[m], n, 0, (float)(0.01 * mean));
  tell(b, projections[k].name, move, run_project, (double)n, 0, 0, false);
  lip_projector_free(b->p);
  lip_free(b->scratch);
}

static void tell_update(bench *b, const char *kind, const char *name, size_t arrays) {
  lip_err err;
  size_t n = b->M * b->N;
  must(lip_optim_new(lip_optim_kind_find(kind), NULL, &b->opt, &err), &err);
  must(lip_optim_reserve(b->opt, n, &err), &err);
  tell(b, name, NULL, run_update, (double)n, (double)(8 * arrays - 4), arrays * n, false);
  lip_optim_free(b->opt);
}

static void tell_gather(bench *b) {
  lip_err err;
  size_t shape[] = {b->N};
  must(lip_dataset_new("pieces", 10000, 1, shape, &b->data, &err), &err);
  must(lip_dataset_alloc(b->data, true, false, 0, &err), &err);
  memset(b->data->bytes, 77, b->data->n * b->N);
  for (size_t i = 0; i < BATCH; i++) b->index[i] = (uint32_t)(i * 77);
  tell(b, "bytes gathered (batch of 128)", NULL, run_gather, (double)(BATCH * b->N), 5, 10000 * b->N / 4,
       true);
  lip_dataset_free(b->data);
}

static void tell_shape(size_t M, size_t N) {
  bench b = {.M = M, .N = N};
  size_t n = M * N;
  lip_rng rng = lip_rng_new(2, LIP_RNG_USER, 0);
  b.W = need(lip_alloc(n, sizeof(float)));
  b.rest = need(lip_alloc(n, sizeof(float)));
  b.g = need(lip_alloc(n, sizeof(float)));
  b.x = need(lip_alloc(BATCH * N, sizeof(float)));
  b.v = need(lip_alloc(M + 2 * N, sizeof(double)));
  for (int m = 0; m < MOVES; m++) b.move[m] = need(lip_alloc(n, sizeof(float)));
  lip_rng_fill_normal(&rng, b.W, n, 0, 1);
  lip_rng_fill_normal(&rng, b.g, n, 0, 0.01f);
  tell(&b, "sums over rows", NULL, run_row_sums, (double)n, 4, n, true);
  tell(&b, "scaling", NULL, run_scale, (double)n, 8, n, false);
  tell_update(&b, "adam", "Adam update", 4);
  tell_update(&b, "sgd", "gradient descent update", 2);
  tell_gather(&b);
  tell(&b, "2-norm, one of ten iterations", NULL, run_estimate, 10 * (double)n, 0, 0, false);
  for (size_t k = 0; k < sizeof projections / sizeof *projections; k++) tell_projection(&b, k);
  for (int m = 0; m < MOVES; m++) lip_free(b.move[m]);
  lip_free(b.W);
  lip_free(b.rest);
  lip_free(b.g);
  lip_free(b.x);
  lip_free(b.v);
  if (isnan(b.sink)) puts("NaN");
}

int main(void) {
  printf("%-13s %-30s %8s %8s %8s %8s\n", "matrix", "piece", "ns", "GB/s", "memory", "share");
  tell_shape(256, 784);
  tell_shape(1024, 1024);
  return 0;
}
