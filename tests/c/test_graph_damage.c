/* exchange: ONNX files that are cut, nested, that claim much, and a memory that ends: an answer, and nothing is held. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/exchange/graph.h"
#include "support_files.h"
#include "support_onnx.h"

static char path[300], folder[256];
static const lip_graph_conf strict = {false};
static const int64_t two[] = {2}, two_two[] = {2, 2};
static const float weights[] = {1, -2, 0.5f, 3};

static int open_dir(void **state) {
  if (make_dir(state)) return 1;
  in_dir(path, sizeof path, *state, "net.onnx");
  snprintf(folder, sizeof folder, "%s", (const char *)*state);
  return 0;
}

/* Everything that takes memory of its own: raw and typed constants, one beside the file, attributes of every type. */
static onnx_net *rich(void) {
  static float typed[] = {1, 2};
  static char producer[] = "tests";
  char file[300];
  onnx_net *n = onnx_new(17);
  n->model->producer_name = producer;
  onnx_input(n, "x", 1, two);
  onnx_output(n, "y", 1, two);
  onnx_initializer(n, "W", ONNX_FLOAT, 2, two_two, weights, sizeof weights);
  LipOnnx__TensorProto *b = onnx_initializer(n, "b", ONNX_FLOAT, 1, two, NULL, 0);
  b->n_float_data = 2;
  b->float_data = typed;
  onnx_external(n, onnx_initializer(n, "c", ONNX_FLOAT, 2, two_two, NULL, 0), "location", "w.bin");
  in_dir(file, sizeof file, folder, "w.bin");
  write_file(file, weights, sizeof weights);
  LipOnnx__NodeProto *last = onnx_node(n, "Gemm", "last", "h k b", "y"),
                     *first = onnx_node(n, "Gemm", "", "x W c", "h");
  onnx_attribute_int(n, first, "transB", 1);
  onnx_attribute_float(n, first, "alpha", 1);
  onnx_attribute_text(n, last, "note", "some text");
  onnx_attribute_ints(n, last, "list", 2, (const int64_t[2]){1, 2});
  onnx_attribute_ints(n, onnx_node(n, "Constant", "", "", "k"), "value_ints", 2, (const int64_t[2]){3, 4});
  onnx_attribute_tensor(n, onnx_node(n, "Constant", "", "", "l"), "value",
                        onnx_tensor(n, "", ONNX_FLOAT, 1, two, weights, 8));
  return n;
}

static lip_status answer(const uint8_t *bytes, size_t size) {
  lip_graph *g;
  lip_err err = {0};
  size_t used = lip_mem_used();
  write_file(path, bytes, size);
  lip_status s = lip_graph_open(path, &strict, &g, &err);
  assert_true((g != NULL) == (s == LIP_OK));
  if (s) assert_true(err.code == s && err.msg[0] != '\0');
  lip_graph_free(g);
  assert_int_equal(lip_mem_used(), used);
  return s;
}

/* The graph comes last but one in a file, the opset last: nothing that is cut is a net. */
static void a_cut_file_is_no_net(void **state) {
  (void)state;
  size_t size;
  onnx_net *n = rich();
  uint8_t *bytes = onnx_pack(n, &size);
  assert_int_equal(answer(bytes, size), LIP_OK);
  for (size_t k = 0; k < size; k++) {
    lip_status s = answer(bytes, k);
    assert_true(s == LIP_FORMAT || s == LIP_UNSUPPORTED);
  }
  free(bytes);
  onnx_free(n);
}

/* Whatever one byte becomes, there is an answer. */
static void every_byte_may_be_another(void **state) {
  (void)state;
  size_t size, fine = 0;
  onnx_net *n = rich();
  uint8_t *bytes = onnx_pack(n, &size);
  static const uint8_t flips[] = {0x01, 0x08, 0x80, 0xff};
  for (size_t k = 0; k < size; k++)
    for (size_t f = 0; f < sizeof flips; f++) {
      bytes[k] ^= flips[f];
      lip_status s = answer(bytes, size);
      assert_true(s == LIP_OK || s == LIP_FORMAT || s == LIP_UNSUPPORTED || s == LIP_NOT_FOUND);
      fine += s == LIP_OK;
      bytes[k] ^= flips[f];
    }
  assert_true(fine > 0 && fine < 4 * size);
  free(bytes);
  onnx_free(n);
}

static void memory_may_end_anywhere(void **state) {
  (void)state;
  size_t before = lip_mem_used(), k = 0;
  onnx_net *n = rich();
  onnx_write(n, path);
  for (bool done = false; !done;) {
    lip_graph *g;
    lip_err err = {0};
    lip_mem_fail_nth(++k);
    lip_status s = lip_graph_open(path, &strict, &g, &err);
    done = !lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(s, done ? LIP_OK : LIP_MEMORY);
    assert_true((g != NULL) == done);
    lip_graph_free(g);
    assert_int_equal(lip_mem_used(), before);
  }
  assert_true(k > 100);
  onnx_free(n);
}

/* ---- files made byte by byte ---- */

static size_t put_varint(uint8_t *to, size_t v) {
  size_t n = 0;
  for (; v >= 128; v >>= 7) to[n++] = (uint8_t)(v | 128);
  to[n++] = (uint8_t)v;
  return n;
}

/* A graph (field 7) of `n` bytes after the version of the format. */
static uint8_t *graph_of(const uint8_t *inner, size_t n, size_t *size) {
  uint8_t *file = malloc(n + 16);
  assert_non_null(file);
  const uint8_t head[] = {0x08, 8, 0x3a};
  memcpy(file, head, sizeof head);
  *size = sizeof head;
  *size += put_varint(file + *size, n);
  memcpy(file + *size, inner, n);
  *size += n;
  return file;
}

/* Graphs in attributes of nodes of graphs, and groups in groups, far deeper than a stack could follow. */
static void nesting_needs_no_stack(void **state) {
  (void)state;
  enum { DEEP = 100000, EACH = 15 };
  size_t n = 0, at = DEEP * EACH, size;
  uint8_t *bytes = malloc((size_t)DEEP * EACH);
  assert_non_null(bytes);
  for (int k = 0; k < DEEP;
       k++) { /* from the innermost outwards: attribute.g = 6, node.attribute = 5, graph.node = 1 */
    static const uint8_t tags[] = {0x32, 0x2a, 0x0a};
    for (size_t t = 0; t < sizeof tags; t++) {
      uint8_t head[10];
      head[0] = tags[t];
      size_t length = 1 + put_varint(head + 1, n);
      at -= length;
      memcpy(bytes + at, head, length);
      n += length;
    }
  }
  uint8_t *file = graph_of(bytes + at, n, &size);
  assert_int_equal(answer(file, size),
                   LIP_UNSUPPORTED); /* its opset is not said; what is inside stays bytes */
  free(file);
  memset(bytes, 0x0b, (size_t)DEEP * EACH);
  file = graph_of(bytes, (size_t)DEEP * EACH, &size);
  assert_int_equal(answer(file, size), LIP_FORMAT);
  free(file);
  assert_int_equal(answer(bytes, (size_t)DEEP * EACH), LIP_FORMAT);
  free(bytes);
}

/* A message of two bytes that says nothing takes a hundred times as many unpacked: nodes, constants, inputs, outputs and
 * sparse constants. Refused for that before they are all there. */
static void empty_messages_do_not_multiply(void **state) {
  (void)state;
  enum { N = 1 << 20 };
  static const uint8_t tags[] = {0x0a, 0x2a, 0x5a, 0x62, 0x7a};
  uint8_t *bytes = malloc(2 * N);
  assert_non_null(bytes);
  for (size_t t = 0; t < sizeof tags; t++) {
    size_t size;
    lip_graph *g;
    lip_err err;
    for (size_t k = 0; k < N; k++) {
      bytes[2 * k] = tags[t];
      bytes[2 * k + 1] = 0;
    }
    uint8_t *file = graph_of(bytes, 2 * N, &size);
    write_file(path, file, size);
    free(file);
    size_t before = lip_mem_limit(70 * size); /* 64 times, the file and the rest */
    lip_status s = lip_graph_open(path, &strict, &g, &err);
    lip_mem_limit(before);
    assert_int_not_equal(s, LIP_OK);
    assert_int_not_equal(s, LIP_MEMORY);
    assert_null(g);
  }
  free(bytes);
}

/* ---- real nets ---- */

static size_t open_all(const char *data, const char *which) {
  char list[600], file[1200];
  size_t n = 0;
  snprintf(list, sizeof list, "%s/vnncomp/%s", data, which);
  DIR *d = opendir(list);
  for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
    if (!strstr(e->d_name, ".onnx")) continue;
    lip_graph *g;
    lip_err err = {0};
    snprintf(file, sizeof file, "%s/%s", list, e->d_name);
    lip_status s = lip_graph_open(file, &strict, &g, &err);
    if (s) print_message("%s\n", err.msg);
    assert_int_equal(s, LIP_OK);
    assert_true(g->n_input == 1 && g->n_output == 1 && g->n_node > 4 && g->value[g->input[0]].shaped);
    lip_graph_free(g);
    n++;
  }
  if (d) closedir(d);
  return n;
}

static void nets_of_the_competition_open(void **state) {
  (void)state;
  const char *data = getenv("LIPWB_DATA");
  size_t acasxu = data ? open_all(data, "acasxu") : 0, mnist = data ? open_all(data, "mnist_fc") : 0;
  if (acasxu + mnist == 0) {
    print_message("skipped: no vnncomp/acasxu or vnncomp/mnist_fc in LIPWB_DATA\n");
    skip();
  }
  print_message("%zu nets of acasxu, %zu of mnist_fc\n", acasxu, mnist);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_cut_file_is_no_net),           cmocka_unit_test(every_byte_may_be_another),
      cmocka_unit_test(memory_may_end_anywhere),        cmocka_unit_test(nesting_needs_no_stack),
      cmocka_unit_test(empty_messages_do_not_multiply), cmocka_unit_test(nets_of_the_competition_open),
  };
  return cmocka_run_group_tests_name("graph_damage", tests, open_dir, remove_dir);
}
