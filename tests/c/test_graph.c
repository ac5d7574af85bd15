/* exchange: ONNX files become graphs, or are refused with a reason. */
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
#include "core/data/gz.h"
#include "core/exchange/graph.h"
#include "support_files.h"
#include "support_onnx.h"

static char path[300]; /* of net.onnx in the scratch folder */
static const lip_graph_conf strict = {false};

static int open_dir(void **state) {
  if (make_dir(state)) return 1;
  in_dir(path, sizeof path, *state, "net.onnx");
  return 0;
}

static const int64_t two[] = {2}, two_two[] = {2, 2}, open_two[] = {-1, 2};
static const float weights[] = {1, -2, 0.5f, 3}, biases[] = {0.25f, -1};

/* y = relu(x W + b) */
static onnx_net *small(void) {
  onnx_net *n = onnx_new(17);
  onnx_input(n, "x", 2, open_two);
  onnx_output(n, "y", 2, open_two);
  onnx_initializer(n, "W", ONNX_FLOAT, 2, two_two, weights, sizeof weights);
  onnx_initializer(n, "b", ONNX_FLOAT, 1, two, biases, sizeof biases);
  LipOnnx__NodeProto *gemm = onnx_node(n, "Gemm", "first", "x W b", "h");
  onnx_attribute_float(n, gemm, "alpha", 1);
  onnx_attribute_int(n, gemm, "transB", 0);
  onnx_node(n, "Relu", "", "h", "y");
  return n;
}

static lip_graph *must_open(const lip_graph_conf *conf) {
  lip_graph *g;
  lip_err err = {0};
  lip_status s = lip_graph_open(path, conf, &g, &err);
  if (s) print_message("%s\n", err.msg);
  assert_int_equal(s, LIP_OK);
  assert_non_null(g);
  return g;
}

static lip_graph *written(onnx_net *n, const lip_graph_conf *conf) {
  onnx_write(n, path);
  return must_open(conf);
}

/* The file is refused with this code, a message that has `word`, and nothing is held. */
static void refused_file(const lip_graph_conf *conf, lip_status code, const char *word) {
  lip_graph *g;
  lip_err err = {0};
  size_t used = lip_mem_used();
  lip_status s = lip_graph_open(path, conf, &g, &err);
  if (s != code || !strstr(err.msg, word))
    print_message("expected '%s', got %d: %s\n", word, (int)s, err.msg);
  assert_int_equal(s, code);
  assert_int_equal(err.code, code);
  assert_non_null(strstr(err.msg, word));
  assert_null(g);
  assert_int_equal(lip_mem_used(), used);
}

/* The same of a net, which is freed. */
static void refused(onnx_net *n, lip_status code, const char *word) {
  onnx_write(n, path);
  onnx_free(n);
  refused_file(&strict, code, word);
}

static const lip_graph_tensor *constant(const lip_graph *g, const char *name) {
  for (size_t v = 0; v < g->n_value; v++)
    if (strcmp(g->value[v].name, name) == 0) return g->value[v].constant;
  fail_msg("no value %s", name);
  return NULL;
}

static LipOnnx__TensorProto *initializer(onnx_net *n, size_t k) {
  return n->model->graph->initializer[k];
}

/* ---- what is in a graph ---- */

static void check_small(const lip_graph *g) {
  assert_int_equal(g->n_node, 2);
  assert_int_equal(g->n_value, 5);
  assert_int_equal(g->n_input, 1);
  assert_int_equal(g->n_output, 1);
  const lip_graph_node *gemm = &g->node[0], *relu = &g->node[1];
  assert_string_equal(gemm->op, "Gemm");
  assert_string_equal(gemm->name, "first");
  assert_int_equal(gemm->n_in, 3);
  assert_int_equal(gemm->n_out, 1);
  assert_string_equal(relu->op, "Relu");
  assert_string_equal(relu->name, "");
  assert_int_equal(relu->in[0], gemm->out[0]);
  assert_int_equal(gemm->in[0], g->input[0]);
  assert_int_equal(relu->out[0], g->output[0]);
  const lip_graph_value *x = &g->value[g->input[0]], *W = &g->value[gemm->in[1]], *b = &g->value[gemm->in[2]];
  assert_string_equal(x->name, "x");
  assert_int_equal(x->type, ONNX_FLOAT);
  assert_true(x->shaped && x->ndim == 2 && x->dim[0] == -1 && x->dim[1] == 2);
  assert_null(x->constant);
  assert_true(W->constant && W->constant->ndim == 2 && W->constant->dim[0] == 2 && W->constant->n == 4);
  assert_memory_equal(W->constant->f, weights, sizeof weights);
  assert_null(W->constant->i);
  assert_memory_equal(b->constant->f, biases, sizeof biases);
  assert_false(g->rounded);
}

static void a_small_net_opens(void **state) {
  (void)state;
  onnx_net *n = small();
  n->model->producer_name = (char[]){"somebody"};
  lip_graph *g = written(n, &strict);
  check_small(g);
  assert_int_equal(g->opset, 17);
  assert_string_equal(g->producer, "somebody");
  char text[LIP_GRAPH_NODE_TEXT];
  assert_string_equal(lip_graph_node_text(g, &g->node[0], text), "node 'first' (Gemm)");
  assert_string_equal(lip_graph_node_text(g, &g->node[1], text), "node (Relu) of 'y'");
  lip_graph_free(g);
  onnx_free(n);
  lip_graph_free(NULL);
}

static void packed_files_open(void **state) {
  (void)state;
  size_t size, packed_size;
  lip_err err;
  char *packed;
  onnx_net *n = small();
  uint8_t *bytes = onnx_pack(n, &size);
  assert_int_equal(lip_deflate(bytes, size, LIP_GZIP, &packed, &packed_size, &err), LIP_OK);
  write_file(path, packed, packed_size);
  lip_graph *g = must_open(&strict);
  check_small(g);
  lip_graph_free(g);
  write_file(path, packed, packed_size - 9);
  refused_file(&strict, LIP_FORMAT, "truncated");
  lip_free(packed);
  free(bytes);
  onnx_free(n);
}

static void attributes_of_every_type(void **state) {
  (void)state;
  const int64_t ints[] = {3, -4};
  float floats[] = {0.5f, -1};
  onnx_net *n = small();
  LipOnnx__NodeProto *node = n->model->graph->node[1];
  onnx_attribute_float(n, node, "a", 2.5f);
  onnx_attribute_int(n, node, "b", -7);
  onnx_attribute_text(n, node, "c", "SAME");
  onnx_attribute_tensor(n, node, "d", onnx_tensor(n, "", ONNX_FLOAT, 1, two, biases, sizeof biases));
  LipOnnx__AttributeProto *list = onnx_attribute(n, node, "e", 6);
  list->n_floats = 2;
  list->floats = floats;
  onnx_attribute_ints(n, node, "f", 2, ints);
  onnx_attribute(n, node, "g", 5)->has_g = 1;
  onnx_attribute_text(n, node, "h", "");
  lip_graph *g = written(n, &strict);
  const lip_graph_node *r = &g->node[1];
  assert_int_equal(r->n_attribute, 8);
  assert_true(r->attribute[0].type == LIP_GRAPH_FLOAT && r->attribute[0].f == 2.5f);
  assert_true(r->attribute[1].type == LIP_GRAPH_INT && r->attribute[1].i == -7);
  assert_int_equal(r->attribute[2].type, LIP_GRAPH_TEXT);
  assert_string_equal(r->attribute[2].text, "SAME");
  assert_int_equal(r->attribute[3].type, LIP_GRAPH_TENSOR);
  assert_memory_equal(r->attribute[3].tensor.f, biases, sizeof biases);
  assert_true(r->attribute[4].type == LIP_GRAPH_FLOATS && r->attribute[4].n == 2);
  assert_memory_equal(r->attribute[4].floats, floats, sizeof floats);
  assert_true(r->attribute[5].type == LIP_GRAPH_INTS && r->attribute[5].n == 2);
  assert_memory_equal(r->attribute[5].ints, ints, sizeof ints);
  assert_int_equal(r->attribute[6].type, LIP_GRAPH_OTHER);
  assert_string_equal(r->attribute[7].text, "");
  assert_ptr_equal(lip_graph_attribute_of(r, "f"), &r->attribute[5]);
  assert_null(lip_graph_attribute_of(r, "z"));
  lip_graph_free(g);
  onnx_free(n);
}

/* Files of versions before 4 list initializers among the inputs. */
static void initializers_among_inputs_are_constants(void **state) {
  (void)state;
  onnx_net *n = small();
  n->model->ir_version = 3;
  onnx_input(n, "W", 2, two_two);
  onnx_input(n, "b", 1, two);
  lip_graph *g = written(n, &strict);
  check_small(g);
  lip_graph_free(g);
  onnx_free(n);
}

static void optional_inputs_may_be_left_out(void **state) {
  (void)state;
  onnx_net *n = small();
  onnx_node(n, "Clip", "c", "x - b", "z -");
  lip_graph *g = written(n, &strict);
  assert_int_equal(g->node[2].in[1], LIP_GRAPH_NONE);
  assert_int_equal(g->node[2].out[1], LIP_GRAPH_NONE);
  lip_graph_free(g);
  onnx_free(n);
}

/* ---- order ---- */

static void nodes_are_sorted(void **state) {
  (void)state;
  onnx_net *n = onnx_new(13);
  onnx_input(n, "x", 1, two);
  onnx_output(n, "y", 1, two);
  onnx_node(n, "Add", "last", "c d", "y");
  onnx_node(n, "Abs", "one", "x", "a");
  onnx_node(n, "Neg", "two", "a", "c");
  onnx_node(n, "Relu", "three", "b", "d");
  onnx_node(n, "Exp", "four", "a", "b");
  lip_graph *g = written(n, &strict);
  static const char *const order[] = {"one", "two", "four", "three", "last"};
  for (size_t k = 0; k < 5; k++) assert_string_equal(g->node[k].name, order[k]);
  lip_graph_free(g);
  onnx_free(n);
}

static void nodes_in_order_stay(void **state) {
  (void)state;
  onnx_net *n = onnx_new(13);
  onnx_input(n, "x", 1, two);
  onnx_output(n, "e", 1, two);
  onnx_node(n, "Abs", "0", "x", "a");
  onnx_node(n, "Abs", "1", "x", "unused");
  onnx_node(n, "Abs", "2", "x", "b");
  onnx_node(n, "Add", "3", "b a", "c");
  onnx_node(n, "Abs", "4", "a", "d");
  onnx_node(n, "Add", "5", "d c", "e");
  lip_graph *g = written(n, &strict);
  for (size_t k = 0; k < 6; k++) assert_int_equal(atoi(g->node[k].name), k);
  lip_graph_free(g);
  onnx_free(n);
}

/* A hundred thousand nodes, the last first: no recursion, no search per node. */
static void long_chains_are_sorted(void **state) {
  (void)state;
  enum { N = 100000 };
  onnx_net *n = onnx_new(13);
  char in[16], out[16];
  onnx_input(n, "v0", 1, two);
  snprintf(out, sizeof out, "v%d", N);
  onnx_output(n, out, 1, two);
  for (int k = N; k-- > 0;) {
    snprintf(in, sizeof in, "v%d", k);
    snprintf(out, sizeof out, "v%d", k + 1);
    onnx_node(n, "Abs", "", in, out);
  }
  lip_graph *g = written(n, &strict);
  assert_int_equal(g->n_node, N);
  for (size_t k = 1; k < N; k++) assert_int_equal(g->node[k].in[0], g->node[k - 1].out[0]);
  lip_graph_free(g);
  n->model->graph->node[N - 1]->input[0] = out; /* now it is a circle */
  refused(n, LIP_FORMAT, "no circles");
}

/* ---- constants as nodes ---- */

static void constant_nodes_become_constants(void **state) {
  (void)state;
  float floats[] = {1, 2, 3};
  const int64_t ints[] = {4, 5};
  onnx_net *n = small();
  onnx_attribute_tensor(n, onnx_node(n, "Constant", "", "", "k1"), "value",
                        onnx_tensor(n, "", ONNX_FLOAT, 1, two, biases, sizeof biases));
  onnx_attribute_float(n, onnx_node(n, "Constant", "", "", "k2"), "value_float", 0.5f);
  onnx_attribute_int(n, onnx_node(n, "Constant", "", "", "k3"), "value_int", -9);
  onnx_attribute_ints(n, onnx_node(n, "Constant", "", "", "k4"), "value_ints", 2, ints);
  LipOnnx__AttributeProto *a = onnx_attribute(n, onnx_node(n, "Constant", "", "", "k5"), "value_floats", 6);
  a->n_floats = 3;
  a->floats = floats;
  onnx_attribute_ints(n, onnx_node(n, "Constant", "", "", "k6"), "value_ints", 0, NULL);
  onnx_node(n, "Identity", "", "k8", "k9"); /* before it is computed */
  onnx_node(n, "Identity", "", "W", "k8");
  onnx_node(n, "Identity", "kept", "x", "z");
  lip_graph *g = written(n, &strict);
  assert_int_equal(g->n_node, 3);
  assert_string_equal(g->node[2].name, "kept");
  assert_memory_equal(constant(g, "k1")->f, biases, sizeof biases);
  assert_true(constant(g, "k2")->ndim == 0 && constant(g, "k2")->n == 1 && constant(g, "k2")->f[0] == 0.5f);
  assert_true(constant(g, "k3")->ndim == 0 && constant(g, "k3")->n == 1 && constant(g, "k3")->i[0] == -9);
  assert_true(constant(g, "k4")->ndim == 1 && constant(g, "k4")->dim[0] == 2);
  assert_memory_equal(constant(g, "k4")->i, ints, sizeof ints);
  assert_true(constant(g, "k5")->ndim == 1 && constant(g, "k5")->dim[0] == 3);
  assert_memory_equal(constant(g, "k5")->f, floats, sizeof floats);
  assert_true(constant(g, "k6")->ndim == 1 && constant(g, "k6")->n == 0 && constant(g, "k6")->i);
  assert_ptr_equal(constant(g, "k9"), constant(g, "W"));
  lip_graph_free(g);
  onnx_free(n);
}

static void constant_nodes_of_other_kinds_are_refused(void **state) {
  (void)state;
  onnx_net *n = small();
  onnx_attribute_text(n, onnx_node(n, "Constant", "k", "", "t"), "value_string", "word");
  refused(n, LIP_UNSUPPORTED, "'k' (Constant)");
  n = small();
  onnx_node(n, "Constant", "k", "", "t");
  refused(n, LIP_FORMAT, "'k' (Constant)");
  n = small();
  onnx_attribute_float(n, onnx_node(n, "Constant", "k", "", "t"), "value_float", INFINITY);
  refused(n, LIP_FORMAT, "'k' (Constant) holds NaN or an infinite");
  n = small();
  onnx_attribute_int(n, onnx_node(n, "Constant", "k", "", "t"), "value_float", 1);
  refused(n, LIP_UNSUPPORTED, "'k' (Constant)");
  n = small();
  onnx_attribute_tensor(n, onnx_node(n, "Constant", "k", "", "t"), "value",
                        onnx_tensor(n, "", ONNX_FLOAT, 1, two, biases, 4));
  refused(n, LIP_FORMAT, "a constant of node 'k' (Constant) holds 4 bytes");
}

/* ---- what is wrong ---- */

static void faults_of_names(void **state) {
  (void)state;
  onnx_net *n = small();
  onnx_node(n, "Relu", "again", "x", "h");
  refused(n, LIP_FORMAT, "node 'again' (Relu) computes a value that is there already: 'h'");
  n = small();
  onnx_node(n, "Relu", "again", "x", "W");
  refused(n, LIP_FORMAT, "there already: 'W'");
  n = small();
  onnx_node(n, "Relu", "again", "h", "x");
  refused(n, LIP_FORMAT, "there already: 'x'");
  n = small();
  onnx_node(n, "Split", "twice", "x", "p p");
  refused(n, LIP_FORMAT, "there already: 'p'");
  n = small();
  onnx_initializer(n, "W", ONNX_FLOAT, 2, two_two, weights, sizeof weights);
  refused(n, LIP_FORMAT, "'W' is a constant twice");
  n = small();
  onnx_input(n, "x", 1, two);
  refused(n, LIP_FORMAT, "'x' is an input twice");
  n = small();
  onnx_node(n, "Add", "lost", "x nothing", "z");
  refused(n, LIP_FORMAT, "node 'lost' (Add) takes a value that nothing computes: 'nothing'");
  n = small();
  onnx_output(n, "nothing", 1, two);
  refused(n, LIP_FORMAT, "'nothing' is an output, but no node computes it");
  n = small();
  onnx_node(n, "Add", "self", "x z", "z");
  refused(n, LIP_FORMAT, "node 'self' (Add) takes what is computed from its own output");
  n = small();
  onnx_node(n, "Add", "p", "x r", "q");
  onnx_node(n, "Abs", "", "q", "r");
  refused(n, LIP_FORMAT, "own output");
  n = small();
  initializer(n, 0)->name = NULL;
  refused(n, LIP_FORMAT, "a constant has no name");
  n = small();
  onnx_input(n, "", 0, NULL);
  refused(n, LIP_FORMAT, "input 2 has no name");
  n = small();
  onnx_output(n, "", 0, NULL);
  refused(n, LIP_FORMAT, "output 2 has no name");
  n = small();
  n->model->graph->n_output = 0;
  refused(n, LIP_FORMAT, "no output");
}

static void faults_of_nodes(void **state) {
  (void)state;
  onnx_net *n = small();
  n->model->graph->node[0]->op_type = NULL;
  refused(n, LIP_FORMAT, "node 'first' () has no operator");
  n = small();
  n->model->graph->node[1]->domain = (char[]){"com.microsoft"};
  refused(n, LIP_UNSUPPORTED,
          "node (Relu) of 'y' is no standard operator; export the net without the domain 'com.microsoft'");
  n = small();
  n->model->graph->node[1]->domain = (char[]){"ai.onnx"};
  lip_graph_free(written(n, &strict));
  onnx_attribute(n, n->model->graph->node[0], "", 1);
  refused(n, LIP_FORMAT, "node 'first' (Gemm) has an attribute without a name");
  n = small();
  onnx_attribute_int(n, n->model->graph->node[0], "alpha", 1);
  refused(n, LIP_FORMAT, "the same attribute twice: 'alpha'");
  n = small();
  onnx_attribute(n, n->model->graph->node[0], "beta", 1)->has_type = 0;
  refused(n, LIP_FORMAT, "without a type: 'beta'");
  n = small();
  onnx_attribute(n, n->model->graph->node[0], "beta", 1)->ref_attr_name = (char[]){"outer"};
  refused(n, LIP_FORMAT, "only a function could have: 'beta'");
  n = small();
  onnx_attribute(n, n->model->graph->node[0], "w", 4);
  refused(n, LIP_FORMAT, "lacks the numbers of its attribute 'w'");
  n = small();
  onnx_attribute_text(n, n->model->graph->node[0], "w", "ab");
  n->model->graph->node[0]->attribute[2]->s.data[1] = '\0';
  refused(n, LIP_FORMAT, "zero byte in its attribute 'w'");
  n = small();
  for (int k = 0; k < 70; k++)
    onnx_attribute_int(n, n->model->graph->node[0], (char[]){'a', (char)(33 + k), 0}, 1);
  refused(n, LIP_FORMAT, "more attributes than any operator");
}

static void faults_of_models(void **state) {
  (void)state;
  static const int64_t opsets[] = {-1, 0, 1, 6, 23, INT64_MAX};
  for (size_t k = 0; k < sizeof opsets / sizeof *opsets; k++) {
    onnx_net *n = small();
    n->model->opset_import[0]->version = opsets[k];
    refused(n, LIP_UNSUPPORTED, "opsets 7 to 22");
  }
  for (int64_t k = 7; k <= 22; k++) {
    onnx_net *n = small();
    n->model->opset_import[0]->version = k;
    lip_graph *g = written(n, &strict);
    assert_int_equal(g->opset, k);
    lip_graph_free(g);
    onnx_free(n);
  }
  onnx_net *n = small();
  n->model->opset_import[0]->domain = (char[]){"ai.onnx.ml"};
  refused(n, LIP_UNSUPPORTED, "opset 1;");
  n = small();
  n->model->ir_version = 99;
  refused(n, LIP_UNSUPPORTED, "version 99");
  n = small();
  n->model->has_ir_version = 0;
  refused(n, LIP_FORMAT, "not an ONNX file: it has no version");
  n = small();
  n->model->graph = NULL;
  refused(n, LIP_FORMAT, "not an ONNX file: it has no graph");
  n = small();
  LipOnnx__FunctionProto f = LIP_ONNX__FUNCTION_PROTO__INIT, *functions = &f;
  f.name = (char[]){"Relu"};
  n->model->n_functions = 1;
  n->model->functions = &functions;
  refused(n, LIP_UNSUPPORTED, "'Relu' by itself");
  n = small();
  LipOnnx__SparseTensorProto sparse = LIP_ONNX__SPARSE_TENSOR_PROTO__INIT, *list = &sparse;
  sparse.values = initializer(n, 0);
  n->model->graph->n_sparse_initializer = 1;
  n->model->graph->sparse_initializer = &list;
  refused(n, LIP_UNSUPPORTED, "'W' is sparse");
  n = small();
  n->model->graph->input[0]->type->tensor_type = NULL;
  refused(n, LIP_UNSUPPORTED, "'x' is no tensor");
  n = small();
  onnx_input(n, "many", 9, (const int64_t[9]){1, 1, 1, 1, 1, 1, 1, 1, 1});
  refused(n, LIP_UNSUPPORTED, "'many' has 9 dimensions");
  write_file(path, "", 0);
  refused_file(&strict, LIP_FORMAT, "not an ONNX file");
  write_file(path, "PK\3\4 something else", 18);
  refused_file(&strict, LIP_FORMAT, "not an ONNX file");
  unlink(path);
  refused_file(&strict, LIP_NOT_FOUND, "net.onnx");
}

/* Names go into messages, and messages to terminals. */
static void messages_hold_no_control_characters(void **state) {
  (void)state;
  onnx_net *n = small();
  onnx_node(n, "Relu", "\33[2Jx", "lost", "z");
  refused(n, LIP_FORMAT, "node '?[2Jx' (Relu)");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_small_net_opens),
      cmocka_unit_test(packed_files_open),
      cmocka_unit_test(attributes_of_every_type),
      cmocka_unit_test(initializers_among_inputs_are_constants),
      cmocka_unit_test(optional_inputs_may_be_left_out),
      cmocka_unit_test(nodes_are_sorted),
      cmocka_unit_test(nodes_in_order_stay),
      cmocka_unit_test(long_chains_are_sorted),
      cmocka_unit_test(constant_nodes_become_constants),
      cmocka_unit_test(constant_nodes_of_other_kinds_are_refused),
      cmocka_unit_test(faults_of_names),
      cmocka_unit_test(faults_of_nodes),
      cmocka_unit_test(faults_of_models),
      cmocka_unit_test(messages_hold_no_control_characters),
  };
  return cmocka_run_group_tests_name("graph", tests, open_dir, remove_dir);
}
