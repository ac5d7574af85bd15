/* Packed matrices: the products against plain loops in double within the a-priori bound, the bits of lip_gemm, packing
 * undone exactly and done in ranges, weight gradients cut apart. tests/CMakeLists.txt runs this on several kernels. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/tensor/gemm.h"
#include "core/tensor/panel.h"

static lip_rng rng;

static float *zeros(size_t n) {
  float *x = lip_alloc(n, sizeof *x);
  assert_non_null(x);
  return x;
}

static float *normal(size_t n) {
  float *x = zeros(n);
  lip_rng_fill_normal(&rng, x, n, 0, 1);
  return x;
}

static size_t between(size_t low, size_t high) {
  return low + lip_rng_below(&rng, high - low + 1);
}

static lip_panel panel(lip_panel_sum sum, size_t rows, size_t cols) {
  return (lip_panel){sum, rows, cols, zeros(lip_panel_floats(sum, rows, cols))};
}

/* Brings the rows in by up to three ranges, the middle one first. */
static void pack_in_ranges(const lip_panel *to, const float *X) {
  size_t a = between(0, to->rows), b = between(a, to->rows);
  lip_panel_pack(to, X, a, b);
  lip_panel_pack(to, X, b, to->rows);
  lip_panel_pack(to, X, 0, a);
}

/* Element (i, j) of a product that sums a(i, k) b(k, j): strides of a and b by i or j and by k. Any order of summation in
 * float32 errs by at most (K + 2) u times the sum of magnitudes (Jeannerod, Rump 2013); `before` was there first. */
static void check(const float *C, const float *before, size_t M, size_t N, size_t K, const float *a,
                  size_t ai, size_t ak, const float *b, size_t bj, size_t bk) {
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < N; j++) {
      double sum = before ? (double)before[i * N + j] : 0, size = fabs(sum);
      for (size_t k = 0; k < K; k++) {
        double t = (double)a[i * ai + k * ak] * (double)b[j * bj + k * bk];
        sum += t;
        size += fabs(t);
      }
      assert_true(fabs((double)C[i * N + j] - sum) <= 0x1p-24 * ((double)K + 2) * size);
    }
}

typedef struct pieces {
  size_t next, count;
} pieces;

static void count_piece(void *arg, size_t a, size_t b) {
  pieces *p = arg;
  assert_int_equal(a, p->next);
  assert_true(b > a);
  p->next = b;
  p->count++;
}

/* dW in one go, told piece by piece; then in two ranges on top of what is there. Returns the number of pieces. */
static size_t check_grad(size_t B, size_t OUT, size_t IN, const float *X, const float *dY, void *scratch) {
  lip_panel x = panel(LIP_SUM_ROWS, B + between(0, 3), IN); /* room for more rows than the batch has */
  size_t cut = between(0, OUT);
  float *dW = zeros(OUT * IN), *same = zeros(OUT * IN), *twice = zeros(OUT * IN);
  memset(dW, 0xff, OUT * IN * sizeof *dW); /* NaN: beta = 0 must not read */
  lip_panel_pack(&x, X, between(0, B / 2), B);
  lip_panel_pack(&x, X, 0, B / 2);
  pieces told = {0, 0};
  lip_panel_grad(&x, B, dY, OUT, 0, OUT, 0, dW, scratch, count_piece, &told);
  assert_int_equal(told.next, OUT);
  check(dW, NULL, OUT, IN, B, dY, 1, OUT, X, 1, IN);
  lip_gemm(LIP_T, LIP_N, OUT, IN, B, 1, dY, OUT, X, IN, 0, same, IN, scratch);
  assert_memory_equal(dW, same, OUT * IN * sizeof *dW);

  memcpy(twice, dW, OUT * IN * sizeof *dW);
  told = (pieces){cut, 0};
  lip_panel_grad(&x, B, dY, OUT, cut, OUT, 1, twice, scratch, count_piece, &told);
  lip_panel_grad(&x, B, dY, OUT, 0, cut, 1, twice, scratch, NULL, NULL);
  check(twice, dW, OUT, IN, B, dY, 1, OUT, X, 1, IN);
  lip_gemm(LIP_T, LIP_N, OUT, IN, B, 1, dY, OUT, X, IN, 1, same, IN, scratch);
  assert_memory_equal(twice, same, OUT * IN * sizeof *dW);
  told = (pieces){0, 0};
  lip_panel_grad(&x, B, dY, OUT, 0, OUT, 0, same, scratch, count_piece, &told);
  assert_memory_equal(dW, same, OUT * IN * sizeof *dW);
  lip_free(x.data);
  lip_free(dW);
  lip_free(same);
  lip_free(twice);
  return told.count;
}

static size_t check_shape(size_t B, size_t OUT, size_t IN) {
  float *X = normal(B * IN), *W = normal(OUT * IN), *dY = normal(B * OUT);
  float *Y = normal(B * OUT), *dX = normal(B * IN), *same = normal(B * (IN > OUT ? IN : OUT));
  void *scratch = lip_alloc(lip_gemm_scratch() + 1, 1);
  lip_panel along = panel(LIP_SUM_COLS, OUT, IN), across = panel(LIP_SUM_ROWS, OUT, IN);
  pack_in_ranges(&along, W);
  pack_in_ranges(&across, W);

  lip_panel_forward(&along, B, X, Y, scratch);
  check(Y, NULL, B, OUT, IN, X, IN, 1, W, IN, 1);
  lip_gemm(LIP_N, LIP_T, B, OUT, IN, 1, X, IN, W, IN, 0, same, OUT, scratch);
  assert_memory_equal(Y, same, B * OUT * sizeof *Y);

  lip_panel_backward(&across, B, dY, dX, scratch);
  check(dX, NULL, B, IN, OUT, dY, OUT, 1, W, 1, IN);
  lip_gemm(LIP_N, LIP_N, B, IN, OUT, 1, dY, OUT, W, IN, 0, same, IN, scratch);
  assert_memory_equal(dX, same, B * IN * sizeof *dX);

  size_t count = check_grad(B, OUT, IN, X, dY, scratch);
  float *all[] = {X, W, dY, Y, dX, same, along.data, across.data};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) lip_free(all[i]);
  lip_free(scratch);
  return count;
}

static void every_side_from_1_to_70(void **state) {
  (void)state;
  for (size_t n = 1; n <= 70; n++)
    for (int t = 0; t < 4; t++) {
      check_shape(n, between(1, 70), between(1, 70));
      check_shape(between(1, 70), n, between(1, 70));
      check_shape(between(1, 70), between(1, 70), n);
      check_shape(n, n, n);
    }
}

/* Longer than every block of the kernels: rows, sums, columns; gradients of several pieces. */
static void large_and_odd_shapes(void **state) {
  (void)state;
  check_shape(33, 257, 785);
  check_shape(801, 37, 30);
  check_shape(491, 21, 13);
  check_shape(3, 487, 11);
  check_shape(2, 10, 2001);
  assert_true(check_shape(40, 1023, 1025) > 1);
  assert_true(check_shape(1, 65, 5001) > 1);
}

/* Any bits go in and come out again: NaN with its payload, signed zeros, denormals. */
static void unpacking_undoes_packing(void **state) {
  (void)state;
  for (size_t t = 0; t < 200; t++) {
    lip_panel_sum sum = t % 2 ? LIP_SUM_COLS : LIP_SUM_ROWS;
    size_t rows = between(1, 90), cols = t < 190 ? between(1, 90) : between(700, 1100), n = rows * cols;
    uint32_t *X = lip_alloc(n, sizeof *X), *Y = lip_alloc(n, sizeof *Y);
    for (size_t i = 0; i < n; i++) X[i] = (uint32_t)lip_rng_u64(&rng);
    lip_panel whole = panel(sum, rows, cols), ranges = panel(sum, rows, cols);
    lip_panel_pack(&whole, (const float *)(const void *)X, 0, rows);
    pack_in_ranges(&ranges, (const float *)(const void *)X);
    assert_memory_equal(whole.data, ranges.data, lip_panel_floats(sum, rows, cols) * sizeof(float));
    size_t a = between(0, rows), b = between(a, rows);
    memset(Y, 0xa5, n * sizeof *Y);
    lip_panel_unpack(&whole, (float *)(void *)Y, a, b);
    for (size_t i = 0; i < n; i++)
      assert_int_equal(Y[i], i / cols >= a && i / cols < b ? X[i] : UINT32_C(0xa5a5a5a5));
    lip_panel_unpack(&whole, (float *)(void *)Y, 0, rows);
    assert_memory_equal(X, Y, n * sizeof *X);
    lip_free(X);
    lip_free(Y);
    lip_free(whole.data);
    lip_free(ranges.data);
  }
}

static void sizes(void **state) {
  (void)state;
  for (size_t n = 1; n <= 70; n++)
    for (size_t rows = 16; rows <= 64; rows += 16) {
      size_t floats = lip_panel_floats(LIP_SUM_ROWS, rows, n);
      assert_true(floats > rows * n && rows * lip_panel_row_floats(n) >= floats);
      assert_int_equal(lip_panel_floats(LIP_SUM_COLS, n, rows), floats);
    }
}

/* A packed matrix whose last float is the last before memory that must not be touched. */
static lip_panel at_the_edge(lip_panel_sum sum, size_t rows, size_t cols, void **map, size_t *length) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = lip_panel_floats(sum, rows, cols) * sizeof(float);
  size_t whole = (bytes + page - 1) / page * page;
  *length = whole + page;
  *map = mmap(NULL, *length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(*map != MAP_FAILED);
  unsigned char *end = (unsigned char *)*map + whole;
  assert_int_equal(mprotect(end, page, PROT_NONE), 0);
  return (lip_panel){sum, rows, cols, (float *)(void *)(end - bytes)};
}

/* Kernels read ahead: not further than the sizes allow. */
static void nothing_past_the_end_is_read(void **state) {
  (void)state;
  float *x = normal(70 * 100), *y = normal(70 * 100);
  void *scratch = lip_alloc(lip_gemm_scratch() + 1, 1);
  for (size_t n = 1; n <= 70; n++) {
    size_t k = between(1, 70), length[3];
    void *map[3];
    lip_panel along = at_the_edge(LIP_SUM_COLS, n, k, &map[0], &length[0]);
    lip_panel across = at_the_edge(LIP_SUM_ROWS, k, n, &map[1], &length[1]);
    lip_panel input = at_the_edge(LIP_SUM_ROWS, k, n, &map[2], &length[2]);
    lip_panel_pack(&along, x, 0, n);
    lip_panel_pack(&across, x, 0, k);
    lip_panel_pack(&input, x, 0, k);
    lip_panel_forward(&along, 33, x, y, scratch);
    lip_panel_backward(&across, 33, x, y, scratch);
    lip_panel_grad(&input, k, x, 31, 0, 31, 0, y, scratch, NULL, NULL);
    for (int i = 0; i < 3; i++) munmap(map[i], length[i]);
  }
  lip_free(x);
  lip_free(y);
  lip_free(scratch);
}

int main(void) {
  rng = lip_rng_new(12, LIP_RNG_USER, 0);
  print_message("kernels: %s\n", lip_gemm_backend());
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_side_from_1_to_70),      cmocka_unit_test(large_and_odd_shapes),
      cmocka_unit_test(unpacking_undoes_packing),     cmocka_unit_test(sizes),
      cmocka_unit_test(nothing_past_the_end_is_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
