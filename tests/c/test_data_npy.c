/* data: NPY, read and written. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/data/npy.h"
#include "support_files.h"

static const char *dir;   /* the scratch folder of this program */
static char path[2][300]; /* and two names in it */

static int open_dir(void **state) {
  if (make_dir(state)) return 1;
  dir = *state;
  for (int i = 0; i < 2; i++) in_dir(path[i], sizeof path[i], *state, i ? "1" : "0");
  return 0;
}

/* Writes a file of the given version, dictionary and values; returns its length. */
static size_t write_npy(const char *name, int version, const char *dict, const void *values, size_t bytes) {
  uint8_t file[512] = {0x93, 'N', 'U', 'M', 'P', 'Y', (uint8_t)version, 0};
  size_t n = strlen(dict), at = 8;
  file[at++] = (uint8_t)n;
  file[at++] = (uint8_t)(n >> 8);
  if (version > 1) at += 2;
  assert_true(at + n + bytes <= sizeof file);
  memcpy(file + at, dict, n);
  memcpy(file + at + n, values, bytes);
  write_file(name, file, at + n + bytes);
  return at + n + bytes;
}

static lip_status read_npy(const char *name, lip_npy *f, float *to, size_t room, lip_err *err) {
  *err = (lip_err){LIP_OK, ""};
  lip_status s = lip_npy_open(name, f, err);
  if (s == LIP_OK) {
    assert_true(f->count <= room);
    s = lip_npy_read(f, to, err);
    lip_npy_close(f);
  }
  lip_npy_close(f);
  assert_int_equal(s, err->code);
  return s;
}

/* Header as NumPy 2.4 writes it (without its padding), bytes by hand. */
static void npy_types_and_orders(void **state) {
  (void)state;
  static const struct {
    const char *descr;
    uint8_t bytes[16];
    size_t item;
    float a, b;
  } cases[] = {
      {"<f4", {0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0}, 4, 1.5f, -2},
      {">f4", {0x3f, 0xc0, 0, 0, 0xc0, 0, 0, 0}, 4, 1.5f, -2},
      {"<f8", {0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0}, 8, 1.5f, -2},
      {">f8", {0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0}, 8, 1.5f, -2},
      {"|u1", {255, 1}, 1, 255, 1},
      {"|i1", {255, 128}, 1, -1, -128},
      {"|b1", {1, 0}, 1, 1, 0},
      {"<i2", {0xfe, 0xff, 2, 1}, 2, -2, 258},
      {"<u2", {0xfe, 0xff, 2, 1}, 2, 65534, 258},
      {"<i4", {0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0}, 4, -1, 65536},
      {">i4", {0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0}, 4, -1, 65536},
      {"<u4", {0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, 4, 4294967296.0f, 1},
      {"<i8", {0, 0, 0, 0, 0, 0, 0, 0x80, 7, 0, 0, 0, 0, 0, 0, 0}, 8, -0x1p63f, 7},
      {"<u8", {0, 0, 0, 0, 0, 0, 0, 0x80, 7, 0, 0, 0, 0, 0, 0, 0}, 8, 0x1p63f, 7},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int version = 1; version <= 3; version++) {
      char dict[128];
      lip_npy f;
      lip_err err;
      float v[2];
      snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (2,), }\n",
               cases[i].descr);
      write_npy(path[0], version, dict, cases[i].bytes, 2 * cases[i].item);
      assert_int_equal(read_npy(path[0], &f, v, 2, &err), LIP_OK);
      assert_int_equal(f.ndim, 1);
      assert_true(v[0] == cases[i].a && v[1] == cases[i].b);
    }
}

static void npy_column_major_is_transposed(void **state) {
  (void)state;
  uint8_t bytes[24];
  lip_npy f;
  lip_err err;
  float v[24];
  for (size_t k = 0; k < 24; k++) { /* shape (2, 3, 4): the k-th stored value has indices (k%2, k/2%3, k/6) */
    size_t i = k % 2, j = k / 2 % 3, l = k / 6;
    bytes[k] = (uint8_t)(100 * i + 10 * j + l);
  }
  write_npy(path[0], 1, "{\"descr\": \"|u1\", \"fortran_order\": True, \"shape\": (2, 3, 4)}", bytes, 24);
  assert_int_equal(read_npy(path[0], &f, v, 24, &err), LIP_OK);
  for (size_t i = 0; i < 2; i++)
    for (size_t j = 0; j < 3; j++)
      for (size_t l = 0; l < 4; l++) assert_true(v[12 * i + 4 * j + l] == (float)(100 * i + 10 * j + l));
}

static void npy_what_is_refused(void **state) {
  (void)state;
  static const char *const dicts[] = {
      "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
      "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
      "{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }",
      "{'descr': '|f4', 'fortran_order': False, 'shape': (1,), }",
      "{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }",
      "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1), }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", /* more than the file has */
      "{'descr': '<f4', 'fortran_order': False, 'shape': (), } x", /* text behind */
      "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }", /* less than the file has */
      "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551617,), }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }",
      "{'descr': '<f4', 'fortran_order': None, 'shape': (1,), }",
      "{'descr': '<f4', 'shape': (1,), }",
      "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
      "{}",
      "",
  };
  const float one = 1;
  for (size_t i = 0; i < sizeof dicts / sizeof *dicts; i++) {
    lip_npy f;
    lip_err err;
    float v[4];
    write_npy(path[0], 1, dicts[i], &one, sizeof one);
    size_t count = lip_mem_count();
    assert_int_equal(read_npy(path[0], &f, v, 4, &err), LIP_FORMAT);
    assert_int_equal(lip_mem_count() - count, 1); /* the reader: nothing for what the header claims */
  }
}

static void npy_round_trip(void **state) {
  (void)state;
  static const size_t shapes[][4] = {{0}, {5}, {2, 3}, {4, 1, 2}, {2, 1, 3, 2}, {3, 0}};
  static const int dims[] = {0, 1, 2, 3, 4, 2};
  float v[64], w[64];
  for (int i = 0; i < 64; i++) v[i] = ldexpf((float)(i - 31), i - 40);
  v[0] = -0.0f;
  for (size_t k = 0; k < 6; k++) {
    lip_npy f;
    lip_err err;
    size_t count = 1;
    uint8_t head[10];
    for (int i = 0; i < dims[k]; i++) count *= shapes[k][i];
    assert_int_equal(lip_npy_save(path[0], dims[k], shapes[k], v, &err), LIP_OK);
    assert_int_equal(read_npy(path[0], &f, w, 64, &err), LIP_OK);
    assert_int_equal(f.ndim, dims[k]);
    assert_int_equal(f.count, count);
    for (int i = 0; i < dims[k]; i++) assert_int_equal(f.shape[i], shapes[k][i]);
    assert_memory_equal(v, w, count * sizeof *v);
    FILE *file = fopen(path[0], "rb");
    assert_non_null(file);
    assert_int_equal(fread(head, 1, 10, file), 10);
    fclose(file);
    assert_int_equal((10 + head[8] + 256 * head[9]) % 64, 0); /* NEP 1: aligned values */
  }
}

static void npy_writing_fails_softly(void **state) {
  (void)state;
  const size_t shape[1] = {2};
  const float v[2] = {1, 2};
  lip_err err;
  assert_int_equal(lip_npy_save("/nonexistent/x.npy", 1, shape, v, &err), LIP_IO);
  assert_int_equal(lip_npy_save(dir, 1, shape, v, &err), LIP_IO); /* a folder is in the way */
  /* whatever is no plain file stays what it is: a device in /dev would become a file */
  struct stat st;
  assert_int_equal(mkfifo(path[1], 0600), 0);
  assert_int_equal(lip_npy_save(path[1], 1, shape, v, &err), LIP_IO);
  assert_int_equal(lstat(path[1], &st), 0);
  assert_true(S_ISFIFO(st.st_mode));
  unlink(path[1]);
  size_t before = lip_mem_used();
  for (size_t n = 1;; n++) {
    lip_mem_fail_nth(n);
    lip_status s = lip_npy_save(path[0], 1, shape, v, &err);
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(lip_mem_used(), before);
    assert_int_equal(s, failed ? LIP_MEMORY : LIP_OK);
    if (!failed) break;
  }
}

static void npy_damage_is_survived(void **state) {
  (void)state;
  static const char dict[] = "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 2), }\n";
  uint8_t good[256];
  lip_npy f;
  lip_err err;
  float v[1024];
  size_t n = write_npy(path[1], 1, dict, "\1\0\2\0\3\0\4\0", 8), before = lip_mem_used();
  FILE *file = fopen(path[1], "rb");
  assert_non_null(file);
  assert_int_equal(fread(good, 1, sizeof good, file), n);
  fclose(file);
  for (size_t k = 0; k < n; k++) {
    write_file(path[0], good, k);
    assert_int_equal(read_npy(path[0], &f, v, 1024, &err), LIP_FORMAT);
  }
  for (size_t k = 0; k < n; k++)
    for (int x = 0; x < 256; x++) {
      uint8_t bad[sizeof good];
      memcpy(bad, good, n);
      bad[k] = (uint8_t)x;
      write_file(path[0], bad, n);
      lip_status s = read_npy(path[0], &f, v, 1024, &err);
      assert_true(s == LIP_OK || s == LIP_FORMAT);
      if (s == LIP_OK) assert_int_equal(f.count * f.item, 8);
    }
  assert_int_equal(lip_mem_used(), before);
}

static void npy_data_sets(void **state) {
  (void)state;
  static const char x_dict[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 3), }";
  lip_err err;
  lip_dataset *d;
  write_npy(path[0], 1, x_dict, "\1\2\3\4\5\6", 6);
  write_npy(path[1], 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }",
            "\7\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 16);
  assert_int_equal(lip_npy_dataset("n", path[0], path[1], &d, &err), LIP_OK);
  assert_int_equal(d->ndim, 3);
  assert_int_equal(d->shape[0], 1);
  assert_int_equal(d->shape[2], 3);
  assert_int_equal(d->bytes[5], 6);
  assert_int_equal(d->labels[0], 7);
  assert_int_equal(d->classes, 8);
  lip_dataset_free(d);
  /* floats are targets */
  write_npy(path[1], 1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1), }",
            "\0\0\0\x40\0\0\x80\x3f", 8);
  assert_int_equal(lip_npy_dataset("n", path[0], path[1], &d, &err), LIP_OK);
  assert_null(d->labels);
  assert_true(d->targets[0] == 2 && d->targets[1] == 1);
  lip_dataset_free(d);
  static const struct {
    const char *dict, *bytes;
    size_t n;
  } wrong[] = {
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "\1\2\3", 3}, /* counts disagree */
      {"{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }", "\2\xff",
       2}, /* -1 beside another than 1 */
      {"{'descr': '|i1', 'fortran_order': False, 'shape': (2, 2), }", "\1\1\1\1", 4}, /* two labels each */
      {"{'descr': '|u1', 'fortran_order': False, 'shape': (), }", "\1", 1},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    write_npy(path[1], 1, wrong[i].dict, wrong[i].bytes, wrong[i].n);
    assert_int_equal(lip_npy_dataset("n", path[0], path[1], &d, &err), LIP_FORMAT);
    assert_null(d);
  }
  write_npy(path[0], 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (), }", "\1", 1);
  assert_int_equal(lip_npy_dataset("n", path[0], NULL, &d, &err), LIP_FORMAT);
  write_npy(path[0], 1, x_dict, "\1\2\3\4\5\6", 6);
  write_npy(path[1], 1, "{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }", "\1\2", 2);
  size_t before = lip_mem_used();
  for (size_t n = 1;; n++) {
    lip_mem_fail_nth(n);
    lip_status s = lip_npy_dataset("n", path[0], path[1], &d, &err);
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(s, failed ? LIP_MEMORY : LIP_OK);
    if (!failed) break;
    assert_int_equal(lip_mem_used(), before);
  }
  lip_dataset_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(npy_types_and_orders),
      cmocka_unit_test(npy_column_major_is_transposed),
      cmocka_unit_test(npy_what_is_refused),
      cmocka_unit_test(npy_round_trip),
      cmocka_unit_test(npy_writing_fails_softly),
      cmocka_unit_test(npy_damage_is_survived),
      cmocka_unit_test(npy_data_sets),
  };
  return cmocka_run_group_tests(tests, open_dir, remove_dir);
}
