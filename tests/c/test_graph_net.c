/* exchange: ONNX files become nets: every kind that is written is read back with the same outputs, or refused with a reason; and
 * whichever allocation fails, nothing is kept. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/exchange/onnx.h"
#include "core/exchange/onnx_write.h"
#include "support_files.h"
#include "support_layer_table.h"
#include "support_onnx.h"

static const lip_onnx_write_conf plain = {NULL, "0"};
static const lip_onnx_conf as_it_is = {.path = {.n = 1, .p = {LIP_P2}}};

static lip_net *net_of(const test_case *c) {
  lip_net_conf conf = {.input = c->in,
                       .path = {.n = 1, .p = {LIP_P2}},
                       .budget = INFINITY,
                       .method = LIP_EUCLIDEAN,
                       .init = LIP_INIT_HE,
                       .seed = 3};
  lip_net *net;
  lip_err err;
  return lip_net_new(&conf, &c->spec, 1, NULL, &net, &err) ? NULL : net;
}

/* Outputs of both nets for 5 rows, as far apart as two orders of summation may be. */
static void compare(const test_case *c, lip_net *net, lip_net *back) {
  enum { ROWS = 5 };
  const size_t n = net->root->n_in, m = net->root->n_out;
  lip_err err;
  REQUIRE(c, back->root->n_in == n && back->root->n_out == m, "%zu -> %zu", back->root->n_in,
          back->root->n_out);
  float *x = lip_alloc(ROWS * n, sizeof *x), *y = lip_alloc(ROWS * m, sizeof *y);
  assert_true(x && y);
  case_fill(x, ROWS * n, 7, 1);
  REQUIRE(c, !lip_net_reserve(net, ROWS, &err) && !lip_net_reserve(back, ROWS, &err), "%s", err.msg);
  lip_net_forward(net, x, ROWS, false);
  memcpy(y, net->logits, ROWS * m * sizeof *y);
  lip_net_forward(back, x, ROWS, false);
  const float *z = back->logits;
  for (size_t i = 0; i < ROWS * m; i++)
    REQUIRE(c, fabsf(y[i] - z[i]) <= 1e-4F * (1 + fabsf(y[i])), "output %zu: %g, not %g", i, (double)z[i],
            (double)y[i]);
  lip_free(x);
  lip_free(y);
}

static void test_kinds_come_back(void **state) {
  char path[300];
  size_t came = 0;
  in_dir(path, sizeof path, *state, "net.onnx");
  for (size_t i = 0; i < n_layer_cases; i++) {
    const test_case *c = &layer_case[i];
    lip_net *net = net_of(c), *back = NULL;
    lip_onnx_notes notes;
    lip_err err = {LIP_OK, ""};
    if (!net || lip_onnx_write(net, path, &plain, &err)) {
      lip_net_free(net);
      continue;
    }
    lip_onnx_conf conf = as_it_is;
    conf.input = net->root->in;
    const lip_status status = lip_onnx_load(path, &conf, NULL, &back, &notes, &err);
    if (status) {
      REQUIRE(c, status == LIP_UNSUPPORTED && err.msg[0] && !back, "status %d: %s", status, err.msg);
      REQUIRE(c, strcmp(c->spec->kind->desc.name, "anchor") == 0, "%s", err.msg);
    } else {
      REQUIRE(c, notes.opset == 17 && !notes.rounded, "opset %d", (int)notes.opset);
      compare(c, net, back);
      came++;
    }
    lip_onnx_notes_free(&notes);
    lip_net_free(back);
    lip_net_free(net);
  }
  assert_true(came > 40);
}

static void test_memory_may_end_anywhere(void **state) {
  char path[300];
  in_dir(path, sizeof path, *state, "net.onnx");
  for (size_t i = 0; i < n_layer_cases; i++) {
    const test_case *c = &layer_case[i];
    lip_net *net = net_of(c);
    lip_err err;
    const bool written = net && !lip_onnx_write(net, path, &plain, &err);
    lip_net_free(net);
    bool failed = written;
    for (size_t n = 1; failed; n++) {
      lip_net *back;
      lip_onnx_notes notes;
      const size_t used = lip_mem_used();
      lip_mem_fail_nth(n);
      const lip_status status = lip_onnx_load(path, &as_it_is, NULL, &back, &notes, &err);
      failed = lip_mem_failed();
      lip_mem_fail_nth(0);
      REQUIRE(c, !failed || status == LIP_MEMORY, "status %d after allocation %zu: %s", status, n, err.msg);
      REQUIRE(c, !back == (status != LIP_OK), "a net and a failure, or neither");
      lip_onnx_notes_free(&notes);
      lip_net_free(back);
      REQUIRE(c, lip_mem_used() == used, "allocation %zu: %zu bytes are kept", n, lip_mem_used() - used);
    }
  }
}

/* An input with one side, left open: the option says how long it is, and without it nothing is made up. */
static void test_open_side(void **state) {
  (void)state;
  const size_t in = 0, out = 1;
  size_t input = 0, output = 1;
  lip_graph_node node = {.op = "Relu", .name = "", .n_in = 1, .n_out = 1, .in = &in, .out = &out};
  lip_graph_value value[2] = {{.name = "x", .shaped = true, .ndim = 1, .dim = {-1}}, {.name = "y"}};
  lip_graph g = {.opset = 17, .n_node = 1, .n_value = 2, .n_input = 1, .n_output = 1};
  g.node = &node;
  g.value = value;
  g.input = &input;
  g.output = &output;
  lip_onnx_conf conf = as_it_is;
  lip_onnx_notes notes = {0};
  lip_net *net;
  lip_err err = {LIP_OK, ""};
  assert_int_equal(lip_onnx_net(&g, &conf, NULL, &net, &notes, &err), LIP_OPTION);
  assert_non_null(strstr(err.msg, "give the option input with 1 sides"));
  lip_onnx_notes_free(&notes);
  conf.input = (lip_shape){1, {4, 0, 0}};
  assert_int_equal(lip_onnx_net(&g, &conf, NULL, &net, &notes, &err), LIP_OK);
  assert_int_equal(net->root->n_in, 4);
  lip_onnx_notes_free(&notes);
  lip_net_free(net);
}

/* Made for 5 samples: the first side of input, output and shapes; and a mean over the sides of an image. */
static void test_fixed_batch(void **state) {
  enum { INT64 = 7 }; /* ONNX's number of the type */
  char path[300];
  const int64_t image[] = {5, 3, 2, 2}, flat[] = {5, 3}, two[] = {2}, sides[] = {-1, 2}, shape[] = {5, 3};
  lip_onnx_notes notes;
  lip_net *net;
  lip_err err;
  in_dir(path, sizeof path, *state, "batch.onnx");
  onnx_net *n = onnx_new(18);
  onnx_input(n, "x", 4, image);
  onnx_output(n, "z", 2, flat);
  onnx_initializer(n, "sides", INT64, 1, two, sides, sizeof sides);
  onnx_initializer(n, "shape", INT64, 1, two, shape, sizeof shape);
  onnx_node(n, "ReduceMean", "mean", "x sides", "y");
  onnx_node(n, "Reshape", "flat", "y shape", "z");
  onnx_write(n, path);
  onnx_free(n);
  assert_int_equal(lip_onnx_load(path, &as_it_is, NULL, &net, &notes, &err), LIP_OK);
  assert_int_equal(net->root->n_in, 12);
  assert_int_equal(net->root->n_out, 3);
  const float x[12] = {1, 2, 3, 6, 0, 0, 0, 4, -1, -1, -1, -1};
  assert_int_equal(lip_net_reserve(net, 1, &err), LIP_OK);
  lip_net_forward(net, x, 1, false);
  const float means[] = {3, 1, -1};
  for (size_t c = 0; c < 3; c++) assert_true(net->logits[c] == means[c]);
  lip_onnx_notes_free(&notes);
  lip_net_free(net);
}

/* ---- values that change their places ---- */

/* Loads what was built, for 1 row of x: y, or the message that refuses it. Frees n. */
static lip_status run_file(const char *folder, onnx_net *n, const float *x, float *y, lip_err *err) {
  char path[300];
  lip_onnx_notes notes;
  lip_net *net;
  in_dir(path, sizeof path, folder, "move.onnx");
  onnx_write(n, path);
  onnx_free(n);
  const lip_status status = lip_onnx_load(path, &as_it_is, NULL, &net, &notes, err);
  assert_true(status == err->code || !status);
  if (!status) {
    assert_int_equal(lip_net_reserve(net, 1, err), LIP_OK);
    lip_net_forward(net, x, 1, false);
    memcpy(y, net->logits, net->root->n_out * sizeof *y);
  }
  lip_onnx_notes_free(&notes);
  lip_net_free(net);
  return status;
}

static void refused(lip_status status, const lip_err *err, const char *text) {
  assert_int_equal(status, LIP_UNSUPPORTED);
  if (!strstr(err->msg, text)) fail_msg("%s", err->msg);
}

static onnx_net *one_node(int64_t opset, int ndim, const int64_t *in, const char *op, const char *takes,
                          LipOnnx__NodeProto **node) {
  onnx_net *n = onnx_new(opset);
  onnx_input(n, "x", ndim, in);
  onnx_output(n, "y", ndim, (int64_t[]){-1, -1, -1, -1});
  *node = onnx_node(n, op, "move", takes, "y");
  return n;
}

static void whole(onnx_net *n, const char *name, size_t count, const int64_t *v) {
  onnx_initializer(n, name, ONNX_INT64, 1, (int64_t[]){(int64_t)count}, v, count * sizeof *v);
}

static const float eight[] = {1, 2, 3, 4, 5, 6, 7, 8};

/* Both orders of ONNX are the same from or to one channel, and apart with more. */
static void test_blocks(void **state) {
  const int64_t flat[] = {1, 1, 2, 4}, deep[] = {1, 4, 1, 2}, two[] = {1, 2, 2, 2}, many[] = {1, 8, 1, 1};
  const float channels[] = {1, 3, 2, 4, 5, 7, 6, 8}, pixels[] = {1, 3, 2, 4, 5, 7, 6, 8};
  float y[8];
  lip_err err;
  LipOnnx__NodeProto *node;
  onnx_net *n = one_node(13, 4, flat, "SpaceToDepth", "x", &node);
  onnx_attribute_int(n, node, "blocksize", 2);
  assert_int_equal(run_file(*state, n, eight, y, &err), LIP_OK);
  assert_memory_equal(y, channels, sizeof y);
  n = one_node(13, 4, deep, "DepthToSpace", "x", &node);
  onnx_attribute_int(n, node, "blocksize", 2);
  assert_int_equal(run_file(*state, n, eight, y, &err), LIP_OK);
  assert_memory_equal(y, pixels, sizeof y);
  n = one_node(13, 4, two, "SpaceToDepth", "x", &node);
  onnx_attribute_int(n, node, "blocksize", 2);
  refused(run_file(*state, n, eight, y, &err), &err, "of 2 channels has another order");
  n = one_node(13, 4, many, "DepthToSpace", "x", &node);
  onnx_attribute_int(n, node, "blocksize", 2);
  refused(run_file(*state, n, eight, y, &err), &err, "mode CRD");
  n = one_node(13, 4, many, "DepthToSpace", "x", &node);
  onnx_attribute_int(n, node, "blocksize", 3);
  refused(run_file(*state, n, eight, y, &err), &err, "do not fit");
}

static void test_slice(void **state) {
  const int64_t in[] = {1, 4, 2, 1}, zero = 0, one = 1, two = 2, less = -1;
  float y[8];
  lip_err err;
  LipOnnx__NodeProto *node;
  onnx_net *n = one_node(9, 4, in, "Slice", "x", &node); /* lists are attributes there */
  onnx_attribute_ints(n, node, "starts", 1, &zero);
  onnx_attribute_ints(n, node, "ends", 1, &less);
  onnx_attribute_ints(n, node, "axes", 1, &one);
  assert_int_equal(run_file(*state, n, eight, y, &err), LIP_OK);
  assert_memory_equal(y, eight, 6 * sizeof *y);
  n = one_node(13, 4, in, "Slice", "x zero most one", &node); /* all of them: no layer */
  whole(n, "zero", 1, &zero);
  whole(n, "most", 1, &(int64_t){INT64_MAX});
  whole(n, "one", 1, &one);
  assert_int_equal(run_file(*state, n, eight, y, &err), LIP_OK);
  assert_memory_equal(y, eight, sizeof y);
  n = one_node(13, 4, in, "Slice", "x zero one two", &node);
  whole(n, "zero", 1, &zero);
  whole(n, "one", 1, &one);
  whole(n, "two", 1, &two);
  refused(run_file(*state, n, eight, y, &err), &err, "first channels or features");
  n = one_node(13, 4, in, "Slice", "x one two one", &node);
  whole(n, "one", 1, &one);
  whole(n, "two", 1, &two);
  refused(run_file(*state, n, eight, y, &err), &err, "first channels or features");
}

/* An order of features: in the columns of the matrix behind it; none is made up at the end, and nothing is taken twice. */
static void test_order(void **state) {
  const int64_t in[] = {1, 4}, order[] = {2, 0, -1, 1}, twice[] = {0, 1, 1, 2}, far[] = {0, 1, 2, 4};
  const float rows[] = {1, 10, 100, 1000};
  float y[4];
  lip_err err;
  LipOnnx__NodeProto *node;
  onnx_net *n = onnx_new(17);
  onnx_input(n, "x", 2, in);
  onnx_output(n, "y", 2, (int64_t[]){1, 1});
  onnx_initializer(n, "W", ONNX_FLOAT, 2, (int64_t[]){4, 1}, rows, sizeof rows);
  whole(n, "order", 4, order);
  onnx_attribute_int(n, onnx_node(n, "Gather", "move", "x order", "z"), "axis", -1);
  onnx_node(n, "MatMul", "matrix", "z W", "y");
  assert_int_equal(run_file(*state, n, eight, y, &err), LIP_OK);
  assert_true(y[0] == 3 + 10 + 400 + 2000);
  const struct {
    const int64_t *list;
    const char *says;
  } bad[] = {{order, "another order"}, {twice, "place 1: it must take every value once"}, {far, "place 4"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    n = one_node(17, 2, in, "Gather", "x order", &node);
    onnx_attribute_int(n, node, "axis", 1);
    whole(n, "order", 4, bad[i].list);
    refused(run_file(*state, n, eight, y, &err), &err, bad[i].says);
  }
}

/* Shapes alone: a net of one flatten. And what no layer takes behind a Pad is not told as a lack of memory. */
static void test_nothing_happens(void **state) {
  const int64_t in[] = {1, 2, 2, 2}, there[] = {1, 8}, back[] = {1, 2, 4}, pads[] = {0, 0, 1, 1, 0, 0, 1, 1};
  float y[8];
  lip_err err;
  LipOnnx__NodeProto *node;
  onnx_net *n = onnx_new(17);
  onnx_input(n, "x", 4, in);
  onnx_output(n, "y", 3, back);
  whole(n, "there", 2, there);
  whole(n, "back", 3, back);
  onnx_node(n, "Reshape", "first", "x there", "z");
  onnx_node(n, "Reshape", "second", "z back", "y");
  assert_int_equal(run_file(*state, n, eight, y, &err), LIP_OK);
  assert_memory_equal(y, eight, sizeof y);
  n = one_node(17, 4, in, "Identity", "x", &node);
  assert_int_equal(run_file(*state, n, eight, y, &err), LIP_OK);
  assert_memory_equal(y, eight, sizeof y);
  n = onnx_new(17);
  onnx_input(n, "x", 4, in);
  onnx_output(n, "y", 4, in);
  whole(n, "pads", 8, pads);
  onnx_node(n, "Pad", "pad", "x pads", "z");
  onnx_node(n, "Relu", "relu", "z", "y");
  refused(run_file(*state, n, eight, y, &err), &err, "stands behind a Pad");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_open_side),
      cmocka_unit_test_setup_teardown(test_fixed_batch, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(test_blocks, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(test_slice, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(test_order, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(test_nothing_happens, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(test_kinds_come_back, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(test_memory_may_end_anywhere, make_dir, remove_dir)};
  return cmocka_run_group_tests(tests, make_layer_cases, free_layer_cases);
}
