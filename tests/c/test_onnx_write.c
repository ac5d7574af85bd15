/* exchange: nets as ONNX files, read back as graphs: nodes, names, and the very bits of all arrays. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/exchange/graph.h"
#include "core/exchange/onnx_write.h"
#include "core/io/params.h"
#include "support_files.h"
#include "support_layer_table.h"

static const lip_onnx_write_conf plain = {NULL, "0"};

/* A net of one layer in norm 2, without a budget; NULL: not there. */
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

static bool writes(const test_case *c) {
  static const char *const refused[] = {"householder", "linf_dist", "sort_neuron", "l2_pool2d"};
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    if (strcmp(c->spec->kind->desc.name, refused[i]) == 0) return false;
  return true;
}

static const lip_graph_tensor *constant(const lip_graph *g, const char *name) {
  for (size_t i = 0; i < g->n_value; i++)
    if (g->value[i].constant && strcmp(g->value[i].name, name) == 0) return g->value[i].constant;
  return NULL;
}

/* Weights and biases as they run: "weight" and "bias" of dense layers and convolutions. */
static void check_arrays(const test_case *c, const lip_net *net, const lip_graph *g) {
  size_t n, n_param;
  lip_named *named;
  lip_err err;
  REQUIRE(c, lip_params_list(net->root, &named, &n_param, &n, &err) == LIP_OK, "%s", err.msg);
  for (size_t i = 0; i < n_param; i++) {
    const lip_param *p = named[i].param;
    if (strcmp(p->name, "weight") != 0 && strcmp(p->name, "bias") != 0) continue;
    const lip_graph_tensor *t = constant(g, named[i].name);
    REQUIRE(c, t && t->f, "%s is not there", named[i].name);
    REQUIRE(c, t->n == lip_param_size(p), "%s has %zu numbers", named[i].name, t->n);
    REQUIRE(c, memcmp(t->f, p->value, t->n * sizeof(float)) == 0, "%s has other bits", named[i].name);
  }
  lip_free(named);
}

static void check_ports(const test_case *c, const lip_net *net, const lip_graph *g) {
  REQUIRE(c, g->opset == 17 && g->n_input == 1 && g->n_output == 1, "opset %d", (int)g->opset);
  const struct {
    const char *name;
    const lip_shape *shape;
    const lip_graph_value *v;
  } port[] = {{"input", &net->root->in, &g->value[g->input[0]]},
              {"output", &net->root->out, &g->value[g->output[0]]}};
  for (size_t i = 0; i < 2; i++) {
    REQUIRE(c, strcmp(port[i].v->name, port[i].name) == 0, "%s", port[i].v->name);
    REQUIRE(c, port[i].v->shaped && port[i].v->ndim == port[i].shape->ndim + 1, "rank of %s", port[i].name);
    REQUIRE(c, port[i].v->dim[0] == -1, "the batch is not open");
    for (int k = 0; k < port[i].shape->ndim; k++)
      REQUIRE(c, port[i].v->dim[k + 1] == (int64_t)port[i].shape->dim[k], "side %d of %s", k, port[i].name);
  }
}

/* No node and no array has the name of another: lip_graph_open refuses values that two compute. */
static void check_names(const test_case *c, const lip_graph *g) {
  for (size_t i = 0; i < g->n_node; i++)
    for (size_t k = 0; k < i; k++)
      REQUIRE(c, strcmp(g->node[i].name, g->node[k].name) != 0, "two nodes are called %s", g->node[i].name);
}

static void test_kinds(void **state) {
  char path[300];
  in_dir(path, sizeof path, *state, "net.onnx");
  for (size_t i = 0; i < n_layer_cases; i++) {
    const test_case *c = &layer_case[i];
    lip_net *net = net_of(c);
    lip_graph *g;
    lip_err err = {LIP_OK, ""};
    if (!net) continue;
    const lip_status status = lip_onnx_write(net, path, &plain, &err);
    if (writes(c)) {
      REQUIRE(c, status == LIP_OK, "%s", err.msg);
      const lip_graph_conf strict = {false};
      REQUIRE(c, lip_graph_open(path, &strict, &g, &err) == LIP_OK, "%s", err.msg);
      check_ports(c, net, g);
      check_arrays(c, net, g);
      check_names(c, g);
      lip_graph_free(g);
      remove(path);
    } else {
      REQUIRE(c, status == LIP_UNSUPPORTED && strstr(err.msg, c->spec->kind->desc.name) == err.msg, "%s",
              err.msg);
    }
    REQUIRE(c, files_in(*state) == 0, "something is left in the folder");
    lip_net_free(net);
  }
}

/* Whichever allocation fails: told, and nothing is left behind. */
static void test_memory(void **state) {
  char path[300];
  in_dir(path, sizeof path, *state, "net.onnx");
  for (size_t i = 0; i < n_layer_cases; i += 3) {
    const test_case *c = &layer_case[i];
    lip_net *net = writes(c) ? net_of(c) : NULL;
    lip_err err;
    bool failed = net != NULL;
    for (size_t n = 1; failed; n++) {
      lip_mem_fail_nth(n);
      const lip_status status = lip_onnx_write(net, path, &plain, &err);
      failed = lip_mem_failed();
      lip_mem_fail_nth(0);
      REQUIRE(c, status == LIP_OK || (failed && status == LIP_MEMORY), "status %d", status);
      REQUIRE(c, files_in(*state) == (status ? 0U : 1U), "a file is left, or none is there");
      remove(path);
    }
    lip_net_free(net);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_kinds, make_dir, remove_dir),
                                     cmocka_unit_test_setup_teardown(test_memory, make_dir, remove_dir)};
  return cmocka_run_group_tests(tests, make_layer_cases, free_layer_cases);
}
