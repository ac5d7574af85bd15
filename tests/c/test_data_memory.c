/* data, io: memory is taken for what has been read, not for what a header says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/data/gz.h"
#include "core/data/idx.h"
#include "core/data/npy.h"
#include "core/io/safetensors.h"
#include "support_files.h"

static char path[2][300]; /* names in the scratch folder of this program */

static int open_dir(void **state) {
  if (make_dir(state)) return 1;
  for (int i = 0; i < 2; i++) in_dir(path[i], sizeof path[i], *state, i ? "1" : "0");
  return 0;
}

/* A packed file: a head, then n bytes that are noise (which cannot be packed) or zeros (1000 to one). */
static void write_packed(const char *name, const void *head, size_t head_size, size_t n, bool noise) {
  unsigned char *bytes = calloc(head_size + n, 1);
  assert_non_null(bytes);
  memcpy(bytes, head, head_size);
  uint64_t x = 1;
  for (size_t i = 0; noise && i < n; i++) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    bytes[head_size + i] = (unsigned char)(x >> 56);
  }
  if (!noise && n > 0) bytes[head_size + n - 1] = 1; /* the last one tells that everything is in its place */
  char *packed;
  size_t size;
  lip_err err;
  assert_int_equal(lip_deflate(bytes, head_size + n, LIP_GZIP, &packed, &size, &err), LIP_OK);
  write_file(name, packed, size);
  lip_free(packed);
  free(bytes);
}

static size_t idx_head(uint8_t *to, uint8_t type, size_t rows, size_t columns) {
  const uint8_t head[4] = {0, 0, type, columns ? 2 : 1};
  memcpy(to, head, 4);
  for (int i = 0; i < 4; i++) to[4 + i] = (uint8_t)(rows >> (24 - 8 * i));
  for (int i = 0; columns && i < 4; i++) to[8 + i] = (uint8_t)(columns >> (24 - 8 * i));
  return columns ? 12 : 8;
}

static size_t npy_head(uint8_t *to, const char *descr, bool fortran, size_t rows, size_t columns) {
  char dict[128];
  int n = snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': %s, 'shape': (%zu, %zu), }\n", descr,
                   fortran ? "True" : "False", rows, columns);
  const uint8_t head[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)n, 0};
  memcpy(to, head, 10);
  memcpy(to + 10, dict, (size_t)n);
  return 10 + (size_t)n;
}

enum { FILE_SIZE = 1 << 20, ALLOWED = 48 << 20 };

static const struct {
  uint8_t idx;       /* type of an IDX file, or */
  const char *descr; /* of an NPY file */
  bool fortran;
  size_t item;
} kinds[] = {{0x08, NULL, false, 1}, {0x0B, NULL, false, 2}, {0x0D, NULL, false, 4}, {0, "|u1", false, 1},
             {0, "<f4", false, 4},   {0, "<f4", true, 4},    {0, "<i2", false, 2},   {0, "|u1", true, 1}};

static size_t head_of(size_t k, uint8_t *to, size_t rows, size_t columns) {
  if (kinds[k].idx) return idx_head(to, kinds[k].idx, rows, columns);
  return npy_head(to, kinds[k].descr, kinds[k].fortran, rows, columns);
}

static lip_status load(size_t k, lip_dataset **d, lip_err *err) {
  if (kinds[k].idx) return lip_idx_load("x", path[0], NULL, d, NULL, err);
  return lip_npy_dataset("x", path[0], NULL, d, err);
}

/* A megabyte that claims 700: it may take what its own size makes likely. */
static void a_header_that_lies_takes_no_memory(void **state) {
  (void)state;
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    uint8_t head[160];
    lip_err err;
    lip_dataset *d;
    size_t rows = 700000 / kinds[k].item, used = lip_mem_used();
    write_packed(path[0], head, head_of(k, head, rows, 1000), FILE_SIZE, true);
    size_t before = lip_mem_limit(ALLOWED);
    lip_status s = load(k, &d, &err);
    lip_mem_limit(before);
    assert_int_equal(s, LIP_FORMAT); /* not LIP_MEMORY */
    assert_non_null(strstr(err.msg, "ends inside"));
    assert_null(d);
    assert_int_equal(lip_mem_used(), used);
  }
}

static void an_array_that_lies_takes_no_memory(void **state) {
  (void)state;
  uint8_t head[160];
  lip_err err;
  lip_npy f;
  float *values;
  write_packed(path[0], head, npy_head(head, "<f8", false, 87500, 1000), FILE_SIZE, true);
  size_t before = lip_mem_limit(ALLOWED);
  assert_int_equal(lip_npy_open(path[0], &f, &err), LIP_OK);
  assert_int_equal(lip_npy_take(&f, &values, &err), LIP_FORMAT);
  assert_null(values);
  lip_npy_close(&f);
  lip_mem_limit(before);
}

static void labels_that_lie_take_no_memory(void **state) {
  (void)state;
  uint8_t head[160];
  lip_err err;
  lip_dataset *d;
  const size_t rows = 6000000; /* zeros: a small file for many samples */
  write_packed(path[0], head, idx_head(head, 0x08, rows, 0), rows, false);
  write_packed(path[1], head, idx_head(head, 0x0C, rows, 0), FILE_SIZE, true);
  size_t before = lip_mem_limit(ALLOWED);
  assert_int_equal(lip_idx_load("x", path[0], path[1], &d, NULL, &err), LIP_FORMAT);
  lip_mem_limit(before);
  assert_non_null(strstr(err.msg, "ends inside"));
}

/* Packed a thousand to one: the blocks grow many times, and every value is where it belongs. */
static void what_grows_is_read_right(void **state) {
  (void)state;
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    uint8_t head[160];
    lip_err err;
    lip_dataset *d;
    const size_t rows = 3000, columns = 1001;
    write_packed(path[0], head, head_of(k, head, rows, columns), rows * columns * kinds[k].item, false);
    assert_int_equal(load(k, &d, &err), LIP_OK);
    assert_int_equal(d->n, rows);
    assert_int_equal(d->features, columns);
    for (size_t i = 0; i < rows * columns; i++) {
      bool zero = d->bytes ? d->bytes[i] == 0 : d->values[i] == 0;
      assert_int_equal(zero, i < rows * columns - 1);
    }
    lip_dataset_free(d);
  }
}

/* A header of a megabyte with a value in every second byte would have become a quarter of a gigabyte. */
static void a_header_of_many_values_is_refused(void **state) {
  (void)state;
  const char *const item[] = {"[],", "{},", "1,", "\"\","};
  enum { HEADER = 1 << 20 };
  for (size_t k = 0; k < sizeof item / sizeof *item; k++) {
    char *file = malloc(8 + HEADER);
    assert_non_null(file);
    memset(file + 8, ' ', HEADER);
    for (int i = 0; i < 8; i++) file[i] = (char)((uint64_t)HEADER >> 8 * i & 0xff);
    size_t at = 8, n = strlen(item[k]);
    memcpy(file + at, "{\"a\":[", 6);
    for (at += 6; at + n + 3 < 8 + HEADER; at += n) memcpy(file + at, item[k], n);
    memcpy(file + at, "1]}", 3);
    write_file(path[0], file, 8 + HEADER);
    free(file);
    lip_err err;
    lip_safetensors *f;
    size_t count = lip_mem_count();
    assert_int_equal(lip_safetensors_open(path[0], &f, &err), LIP_FORMAT);
    assert_non_null(strstr(err.msg, "more values"));
    assert_true(lip_mem_count() - count < 10);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_header_that_lies_takes_no_memory),
      cmocka_unit_test(an_array_that_lies_takes_no_memory),
      cmocka_unit_test(labels_that_lie_take_no_memory),
      cmocka_unit_test(what_grows_is_read_right),
      cmocka_unit_test(a_header_of_many_values_is_refused),
  };
  return cmocka_run_group_tests(tests, open_dir, remove_dir);
}
