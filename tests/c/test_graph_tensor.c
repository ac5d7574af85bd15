/* exchange: constants of ONNX files, in the file and beside it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/exchange/graph.h"
#include "support_files.h"
#include "support_onnx.h"

static char path[300], folder[256]; /* of net.onnx, and where it is */
static const lip_graph_conf strict = {false}, rounding = {true};
static const int64_t one_dim[] = {1};

static int open_dir(void **state) {
  if (make_dir(state)) return 1;
  in_dir(path, sizeof path, *state, "net.onnx");
  snprintf(folder, sizeof folder, "%s", (const char *)*state);
  return 0;
}

/* A net around one constant 'c', which the caller fills. */
static onnx_net *around(int type, int ndim, const int64_t *dim, const void *raw, size_t bytes) {
  onnx_net *n = onnx_new(13);
  onnx_input(n, "x", 1, one_dim);
  onnx_output(n, "y", 1, one_dim);
  onnx_node(n, "Add", "", "x c", "y");
  onnx_initializer(n, "c", type, ndim, dim, raw, bytes);
  return n;
}

static LipOnnx__TensorProto *c_of(onnx_net *n) {
  return n->model->graph->initializer[0];
}

/* Opens what has been written; *c is its constant. */
static lip_graph *opened(onnx_net *n, const lip_graph_conf *conf, const lip_graph_tensor **c) {
  lip_graph *g;
  lip_err err = {0};
  onnx_write(n, path);
  lip_status s = lip_graph_open(path, conf, &g, &err);
  if (s) print_message("%s\n", err.msg);
  assert_int_equal(s, LIP_OK);
  *c = g->value[g->node[0].in[1]].constant;
  assert_non_null(*c);
  return g;
}

/* Refused: with this code, a message about 'c' that has `word`, and nothing held. Frees the net. */
static void refused_by(onnx_net *n, const lip_graph_conf *conf, lip_status code, const char *word) {
  lip_graph *g;
  lip_err err = {0};
  size_t used = lip_mem_used();
  onnx_write(n, path);
  onnx_free(n);
  lip_status s = lip_graph_open(path, conf, &g, &err);
  if (s != code || !strstr(err.msg, word))
    print_message("expected '%s', got %d: %s\n", word, (int)s, err.msg);
  assert_int_equal(s, code);
  assert_non_null(strstr(err.msg, word));
  assert_non_null(strstr(err.msg, "'c'"));
  assert_null(g);
  assert_int_equal(lip_mem_used(), used);
}

static void refused(onnx_net *n, lip_status code, const char *word) {
  refused_by(n, &strict, code, word);
}

/* ---- types ---- */

/* A constant of n numbers that must come out as `real`, or as `whole`. */
static void comes_as(onnx_net *n, size_t count, const float *real, const int64_t *whole) {
  const lip_graph_tensor *c;
  lip_graph *g = opened(n, &strict, &c);
  assert_int_equal(c->n, count);
  assert_false(c->rounded || g->rounded);
  if (real) {
    assert_null(c->i);
    assert_memory_equal(c->f, real, count * sizeof *real);
  } else {
    assert_null(c->f);
    assert_memory_equal(c->i, whole, count * sizeof *whole);
  }
  lip_graph_free(g);
  onnx_free(n);
}

static void raw_numbers_of_every_type(void **state) {
  (void)state;
  static const int64_t dim[] = {3};
  static const float real[] = {0, -1.5f, 1024};
  static const int64_t sign[] = {0, -2, 100}, plain[] = {0, 3, 200}, truth[] = {0, 1, 1};
  const float f[] = {0, -1.5f, 1024};
  const double d[] = {0, -1.5, 1024};
  const uint16_t half[] = {0, 0xbe00, 0x6400}, brain[] = {0, 0xbfc0, 0x4480};
  const int8_t i1[] = {0, -2, 100};
  const int16_t i2[] = {0, -2, 100};
  const int32_t i4[] = {0, -2, 100};
  const uint8_t u1[] = {0, 3, 200}, b[] = {0, 1, 7};
  const uint16_t u2[] = {0, 3, 200};
  const uint32_t u4[] = {0, 3, 200};
  const uint64_t u8[] = {0, 3, 200};
  comes_as(around(ONNX_FLOAT, 1, dim, f, sizeof f), 3, real, NULL);
  comes_as(around(ONNX_DOUBLE, 1, dim, d, sizeof d), 3, real, NULL);
  comes_as(around(ONNX_FLOAT16, 1, dim, half, sizeof half), 3, real, NULL);
  comes_as(around(ONNX_BFLOAT16, 1, dim, brain, sizeof brain), 3, real, NULL);
  comes_as(around(ONNX_INT8, 1, dim, i1, sizeof i1), 3, NULL, sign);
  comes_as(around(ONNX_INT16, 1, dim, i2, sizeof i2), 3, NULL, sign);
  comes_as(around(ONNX_INT32, 1, dim, i4, sizeof i4), 3, NULL, sign);
  comes_as(around(ONNX_INT64, 1, dim, sign, sizeof sign), 3, NULL, sign);
  comes_as(around(ONNX_UINT8, 1, dim, u1, sizeof u1), 3, NULL, plain);
  comes_as(around(ONNX_UINT16, 1, dim, u2, sizeof u2), 3, NULL, plain);
  comes_as(around(ONNX_UINT32, 1, dim, u4, sizeof u4), 3, NULL, plain);
  comes_as(around(ONNX_UINT64, 1, dim, u8, sizeof u8), 3, NULL, plain);
  comes_as(around(ONNX_BOOL, 1, dim, b, sizeof b), 3, NULL, truth);
}

static void typed_numbers_of_every_type(void **state) {
  (void)state;
  static const int64_t dim[] = {3};
  static const float real[] = {0, -1.5f, 1024};
  static const int64_t sign[] = {0, -2, 100}, plain[] = {0, 3, 200}, truth[] = {0, 1, 1};
  static const int as_sign[] = {ONNX_INT8, ONNX_INT16, ONNX_INT32}, as_plain[] = {ONNX_UINT8, ONNX_UINT16};
  float f[] = {0, -1.5f, 1024};
  double d[] = {0, -1.5, 1024};
  int32_t i[] = {0, -2, 100}, u[] = {0, 3, 200}, b[] = {0, 1, -1 & 1}, half[] = {0, 0xbe00, 0x6400},
          brain[] = {0, 0xbfc0, 0x4480};
  int64_t wide[] = {0, -2, 100};
  uint64_t unsigned_wide[] = {0, 3, 200};
#define TYPED(type, field, list, real, whole)                                                                \
  do {                                                                                                       \
    onnx_net *n = around(type, 1, dim, NULL, 0);                                                             \
    c_of(n)->n_##field = 3;                                                                                  \
    c_of(n)->field = list;                                                                                   \
    comes_as(n, 3, real, whole);                                                                             \
  } while (0)
  TYPED(ONNX_FLOAT, float_data, f, real, NULL);
  TYPED(ONNX_DOUBLE, double_data, d, real, NULL);
  TYPED(ONNX_FLOAT16, int32_data, half, real, NULL);
  TYPED(ONNX_BFLOAT16, int32_data, brain, real, NULL);
  for (size_t k = 0; k < 3; k++) TYPED(as_sign[k], int32_data, i, NULL, sign);
  for (size_t k = 0; k < 2; k++) TYPED(as_plain[k], int32_data, u, NULL, plain);
  TYPED(ONNX_BOOL, int32_data, b, NULL, truth);
  TYPED(ONNX_INT64, int64_data, wide, NULL, sign);
  TYPED(ONNX_UINT32, uint64_data, unsigned_wide, NULL, plain);
  TYPED(ONNX_UINT64, uint64_data, unsigned_wide, NULL, plain);
#undef TYPED
}

static void the_ends_of_whole_numbers(void **state) {
  (void)state;
  static const int64_t dim[] = {2};
  static const int64_t i8[] = {INT8_MIN, INT8_MAX}, i64[] = {INT64_MIN, INT64_MAX};
  const int8_t raw8[] = {INT8_MIN, INT8_MAX};
  const uint64_t top[] = {0, UINT64_C(1) << 63};
  comes_as(around(ONNX_INT8, 1, dim, raw8, sizeof raw8), 2, NULL, i8);
  comes_as(around(ONNX_INT64, 1, dim, i64, sizeof i64), 2, NULL, i64);
  refused(around(ONNX_UINT64, 1, dim, top, sizeof top), LIP_FORMAT, "above those of int64");
  static const struct {
    int type;
    int32_t bad;
  } outside[] = {{ONNX_INT8, 128},     {ONNX_INT8, -129},   {ONNX_UINT8, 256},
                 {ONNX_UINT8, -1},     {ONNX_INT16, 32768}, {ONNX_UINT16, -1},
                 {ONNX_UINT16, 65536}, {ONNX_BOOL, 256},    {ONNX_BOOL, -1}};
  for (size_t k = 0; k < sizeof outside / sizeof *outside; k++) {
    int32_t list[] = {0, outside[k].bad};
    onnx_net *n = around(outside[k].type, 1, dim, NULL, 0);
    c_of(n)->n_int32_data = 2;
    c_of(n)->int32_data = list;
    refused(n, LIP_FORMAT, "outside of its type");
  }
  uint64_t wide[] = {0, UINT64_C(1) << 32};
  onnx_net *n = around(ONNX_UINT32, 1, dim, NULL, 0);
  c_of(n)->n_uint64_data = 2;
  c_of(n)->uint64_data = wide;
  refused(n, LIP_FORMAT, "outside of its type");
}

/* By the definition of the format: sign, five bits of exponent, ten of fraction. */
static double half_by_definition(unsigned bits) {
  int exponent = (int)(bits >> 10 & 31);
  double fraction = bits & 0x3ff, v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
  return bits & 0x8000 ? -v : v;
}

static void every_float16_and_bfloat16(void **state) {
  (void)state;
  enum { ALL = 1 << 16 };
  uint16_t *half = malloc(ALL * sizeof *half), *brain = malloc(ALL * sizeof *brain);
  int64_t n_half = 0, n_brain = 0;
  for (unsigned bits = 0; bits < ALL; bits++) {
    if ((bits & 0x7c00) != 0x7c00) half[n_half++] = (uint16_t)bits;
    if ((bits & 0x7f80) != 0x7f80) brain[n_brain++] = (uint16_t)bits;
  }
  const lip_graph_tensor *c;
  onnx_net *n = around(ONNX_FLOAT16, 1, &n_half, half, (size_t)n_half * 2);
  lip_graph *g = opened(n, &strict, &c);
  for (int64_t k = 0; k < n_half; k++) {
    double v = half_by_definition(half[k]);
    assert_true((double)c->f[k] == v && !signbit(c->f[k]) == !signbit(v));
  }
  lip_graph_free(g);
  onnx_free(n);
  n = around(ONNX_BFLOAT16, 1, &n_brain, brain, (size_t)n_brain * 2);
  g = opened(n, &strict, &c);
  for (int64_t k = 0; k < n_brain; k++) {
    uint32_t bits;
    memcpy(&bits, &c->f[k], sizeof bits);
    assert_int_equal(bits, (uint32_t)brain[k] << 16);
  }
  lip_graph_free(g);
  onnx_free(n);
  free(half);
  free(brain);
}

static void float64_is_exact_or_rounded_when_asked(void **state) {
  (void)state;
  static const int64_t dim[] = {3};
  const double good[] = {0.5, -0.0, 0x1p-149}, bad[] = {0.5, 0.1, 0x1p-160}, huge[] = {0.5, 1e39, 0};
  static const float exact[] = {0.5f, -0.0f, 0x1p-149f};
  const lip_graph_tensor *c;
  comes_as(around(ONNX_DOUBLE, 1, dim, good, sizeof good), 3, exact, NULL);
  refused(around(ONNX_DOUBLE, 1, dim, bad, sizeof bad), LIP_UNSUPPORTED, "give round = true");
  onnx_net *n = around(ONNX_DOUBLE, 1, dim, bad, sizeof bad);
  lip_graph *g = opened(n, &rounding, &c);
  assert_true(g->rounded && c->rounded);
  assert_true(c->f[0] == 0.5f && c->f[1] == 0.1f && c->f[2] == 0);
  lip_graph_free(g);
  onnx_free(n);
  n = around(ONNX_DOUBLE, 1, dim, good, sizeof good);
  g = opened(n, &rounding, &c);
  assert_false(g->rounded || c->rounded);
  lip_graph_free(g);
  onnx_free(n);
  refused_by(around(ONNX_DOUBLE, 1, dim, huge, sizeof huge), &rounding, LIP_FORMAT,
             "beyond float32 at place 1");
}

static void numbers_must_be_finite(void **state) {
  (void)state;
  static const int64_t dim[] = {2};
  const float f[2][2] = {{1, NAN}, {-INFINITY, 1}};
  const double d[2][2] = {{1, NAN}, {-INFINITY, 1}};
  const uint16_t half[2][2] = {{0, 0x7e01}, {0xfc00, 0}}, brain[2][2] = {{0, 0xff81}, {0xff80, 0}};
  static const char *const word[] = {"has NaN at place 1", "has an infinite number at place 0"};
  for (int k = 0; k < 2; k++) {
    refused(around(ONNX_FLOAT, 1, dim, f[k], sizeof f[k]), LIP_FORMAT, word[k]);
    refused(around(ONNX_FLOAT16, 1, dim, half[k], sizeof half[k]), LIP_FORMAT, word[k]);
    refused(around(ONNX_BFLOAT16, 1, dim, brain[k], sizeof brain[k]), LIP_FORMAT, word[k]);
    refused(around(ONNX_DOUBLE, 1, dim, d[k], sizeof d[k]), LIP_FORMAT, word[k]);
    refused_by(around(ONNX_DOUBLE, 1, dim, d[k], sizeof d[k]), &rounding, LIP_FORMAT, word[k]);
  }
}

static void other_types_are_named(void **state) {
  (void)state;
  static const int64_t dim[] = {1};
  const uint8_t raw[16] = {0};
  static const int known[] = {0, ONNX_STRING, 14, 15, 17, 18, 19, 20, 21, 22, 23};
  for (size_t k = 0; k < sizeof known / sizeof *known; k++)
    refused(around(known[k], 1, dim, raw, sizeof raw), LIP_UNSUPPORTED,
            "float32, float64, float16, bfloat16, whole");
  refused(around(ONNX_STRING, 1, dim, raw, 1), LIP_UNSUPPORTED, "(string)");
  refused(around(-1, 1, dim, raw, 1), LIP_UNSUPPORTED, "type -1 (unknown)");
  refused(around(INT32_MAX, 1, dim, raw, 1), LIP_UNSUPPORTED, "(unknown)");
  onnx_net *n = around(ONNX_FLOAT, 1, dim, raw, 4);
  c_of(n)->has_data_type = 0;
  refused(n, LIP_UNSUPPORTED, "type 0 (undefined)");
}

/* ---- shapes ---- */

static void shapes_go_with_bytes(void **state) {
  (void)state;
  const float f[] = {1, 2, 3, 4};
  static const int64_t four[] = {4}, eight[] = {2, 1, 1, 1, 1, 1, 1, 2}, nine[] = {4, 1, 1, 1, 1, 1, 1, 1, 1},
                       none[] = {3, 0}, minus[] = {-4}, minus_two[] = {-2, -2}, huge[] = {INT64_MAX},
                       product[] = {1 << 30, 1 << 30, 1 << 30},
                       wraps[] = {INT64_C(1) << 32, INT64_C(1) << 32}, bytes_wrap[] = {INT64_C(1) << 62},
                       five[] = {5};
  comes_as(around(ONNX_FLOAT, 8, eight, f, sizeof f), 4, f, NULL);
  comes_as(around(ONNX_FLOAT, 0, NULL, f, 4), 1, f, NULL);
  comes_as(around(ONNX_FLOAT, 2, none, f, 0), 0, f, NULL);
  comes_as(around(ONNX_FLOAT, 2, none, NULL, 0), 0, f, NULL);
  refused(around(ONNX_FLOAT, 9, nine, f, sizeof f), LIP_UNSUPPORTED, "has 9 dimensions; up to 8");
  refused(around(ONNX_FLOAT, 1, minus, f, sizeof f), LIP_FORMAT, "negative");
  refused(around(ONNX_FLOAT, 2, minus_two, f, sizeof f), LIP_FORMAT, "negative");
  refused(around(ONNX_FLOAT, 1, huge, f, sizeof f), LIP_FORMAT, "more numbers than memory");
  refused(around(ONNX_FLOAT, 3, product, f, sizeof f), LIP_FORMAT, "more numbers than memory");
  refused(around(ONNX_FLOAT, 2, wraps, f, 0), LIP_FORMAT, "more numbers than memory");
  refused(around(ONNX_FLOAT, 1, bytes_wrap, f, 0), LIP_FORMAT, "more numbers than memory");
  refused(around(ONNX_FLOAT, 1, five, f, sizeof f), LIP_FORMAT, "holds 16 bytes, 20 by its shape");
  refused(around(ONNX_FLOAT, 1, four, f, 15), LIP_FORMAT, "holds 15 bytes, 16 by its shape");
  refused(around(ONNX_FLOAT, 1, four, NULL, 0), LIP_FORMAT, "holds 0 numbers, 4 by its shape");
  onnx_net *n = around(ONNX_FLOAT, 1, four, f, sizeof f);
  float typed[] = {1, 2, 3, 4};
  c_of(n)->n_float_data = 4;
  c_of(n)->float_data = typed;
  refused(n, LIP_FORMAT, "twice: raw and typed");
}

/* ---- files beside ---- */

static const float outside[] = {9, 1, 2, 3, 4, 9};
static const int64_t four_dim[] = {4};

/* 'c' stands in `location`, at `offset`, with `length`; NULL: not said. */
static onnx_net *external(const char *location, const char *offset, const char *length) {
  onnx_net *n = around(ONNX_FLOAT, 1, four_dim, NULL, 0);
  if (location) onnx_external(n, c_of(n), "location", location);
  if (offset) onnx_external(n, c_of(n), "offset", offset);
  if (length) onnx_external(n, c_of(n), "length", length);
  c_of(n)->has_data_location = 1;
  c_of(n)->data_location = 1;
  return n;
}

static void write_beside(const char *name, const void *bytes, size_t n) {
  char file[600];
  in_dir(file, sizeof file, folder, name);
  write_file(file, bytes, n);
}

static void weights_may_stand_beside(void **state) {
  (void)state;
  char file[600];
  write_beside("w.bin", outside, sizeof outside);
  comes_as(external("w.bin", "4", "16"), 4, outside + 1, NULL);
  comes_as(external("w.bin", "4", NULL), 4, outside + 1, NULL);
  comes_as(external("w.bin", NULL, NULL), 4, outside, NULL);
  comes_as(external("./w.bin", "8", NULL), 4, outside + 2, NULL);
  in_dir(file, sizeof file, folder, "inner");
  assert_int_equal(mkdir(file, 0700), 0);
  write_beside("inner/..w", outside, sizeof outside);
  comes_as(external("inner/..w", "0", "16"), 4, outside, NULL);
  in_dir(file, sizeof file, folder, "inner/..w");
  unlink(file);
}

static void weights_never_stand_elsewhere(void **state) {
  (void)state;
  char file[600];
  static const char *const out[] = {"/etc/hostname", "../w.bin", "inner/../w.bin", "inner/..", "..", "", "/",
                                    "a//b",          "w.bin/"};
  for (size_t k = 0; k < sizeof out / sizeof *out; k++)
    refused(external(out[k], NULL, NULL), LIP_FORMAT, "below the folder");
  in_dir(file, sizeof file, folder, "link");
  assert_int_equal(symlink("w.bin", file), 0);
  refused(external("link", NULL, NULL), LIP_FORMAT, "symbolic links");
  unlink(file);
  assert_int_equal(symlink("/", file), 0);
  refused(external("link/etc/hostname", NULL, NULL), LIP_FORMAT, "symbolic links");
  unlink(file);
  refused(external(NULL, NULL, NULL), LIP_FORMAT, "without a name");
  onnx_net *n = external("gone.bin", NULL, NULL);
  refused(n, LIP_NOT_FOUND, "stands in 'gone.bin', which is not beside it: copy both files");
}

static void only_regular_files_are_read(void **state) {
  (void)state;
  char file[600];
  lip_graph *g;
  lip_err err;
  in_dir(file, sizeof file, folder, "pipe");
  assert_int_equal(mkfifo(file, 0600), 0);
  onnx_net *n = external("pipe", NULL, NULL);
  onnx_write(n, path);
  onnx_free(n);
  assert_int_equal(lip_graph_open(path, &strict, &g, &err), LIP_IO); /* and does not wait for its other end */
  assert_non_null(strstr(err.msg, "a pipe"));
  unlink(file);
  n = external("inner", NULL, NULL);
  onnx_write(n, path);
  onnx_free(n);
  assert_int_equal(lip_graph_open(path, &strict, &g, &err), LIP_IO);
  assert_non_null(strstr(err.msg, "a folder"));
}

static void places_are_checked(void **state) {
  (void)state;
  refused(external("w.bin", "12", NULL), LIP_FORMAT, "beyond the end of");
  refused(external("w.bin", "18446744073709551615", NULL), LIP_FORMAT, "beyond the end of");
  refused(external("w.bin", "18446744073709551616", NULL), LIP_FORMAT, "no number as its offset");
  refused(external("w.bin", "-4", NULL), LIP_FORMAT, "no number as its offset: '-4'");
  refused(external("w.bin", "", NULL), LIP_FORMAT, "no number as its offset");
  refused(external("w.bin", "4", "many"), LIP_FORMAT, "no number as its length: 'many'");
  refused(external("w.bin", "4", "12"), LIP_FORMAT, "another length in bytes than its shape");
}

/* Many constants that are all the same megabyte would take as many megabytes. */
static void places_do_not_overlap(void **state) {
  (void)state;
  static const int64_t dim[] = {2};
  onnx_net *n = external("w.bin", "4", NULL);
  LipOnnx__TensorProto *t = onnx_initializer(n, "d", ONNX_FLOAT, 1, dim, NULL, 0);
  onnx_external(n, t, "location", "./w.bin");
  onnx_external(n, t, "offset", "16");
  onnx_write(n, path);
  lip_graph *g;
  lip_err err;
  assert_int_equal(lip_graph_open(path, &strict, &g, &err), LIP_FORMAT);
  assert_non_null(strstr(err.msg, "shares bytes with another constant"));
  t->external_data[1]->value = (char[]){"20"};
  t->dims[0] = 1;
  const lip_graph_tensor *c;
  g = opened(n, &strict, &c);
  assert_memory_equal(c->f, outside + 1, 16);
  lip_graph_free(g);
  onnx_free(n);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(raw_numbers_of_every_type),
      cmocka_unit_test(typed_numbers_of_every_type),
      cmocka_unit_test(the_ends_of_whole_numbers),
      cmocka_unit_test(every_float16_and_bfloat16),
      cmocka_unit_test(float64_is_exact_or_rounded_when_asked),
      cmocka_unit_test(numbers_must_be_finite),
      cmocka_unit_test(other_types_are_named),
      cmocka_unit_test(shapes_go_with_bytes),
      cmocka_unit_test(weights_may_stand_beside),
      cmocka_unit_test(weights_never_stand_elsewhere),
      cmocka_unit_test(only_regular_files_are_read),
      cmocka_unit_test(places_are_checked),
      cmocka_unit_test(places_do_not_overlap),
  };
  return cmocka_run_group_tests_name("graph_tensor", tests, open_dir, remove_dir);
}
