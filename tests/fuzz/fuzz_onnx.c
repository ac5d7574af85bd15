/* ONNX: a graph is opened within the memory that its file warrants, and may become a net, with the shape of the file or with one of ours; a net that comes out computes
 * as many numbers as it says. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph.h"
#include "core/exchange/onnx.h"
#include "fuzz.h"

/* Numbers of a net: larger ones would only take time here. */
enum { NUMBERS = 1 << 16 };

static void check_net(lip_net *net) {
  lip_err err;
  const size_t n = net->root->n_in, m = net->root->n_out;
  FUZZ_MUST(n > 0 && m > 0);
  if (n > NUMBERS || m > NUMBERS || net->n_params > NUMBERS) return;
  float *x = lip_alloc(2 * n, sizeof *x);
  FUZZ_MUST(x && !lip_net_reserve(net, 2, &err));
  lip_net_forward(net, x, 2, false);
  FUZZ_MUST(memcmp(net->logits, net->logits + m, m * sizeof *x) == 0); /* of equal rows */
  lip_free(x);
}

static void load(const char *path, const lip_onnx_conf *conf) {
  lip_onnx_notes notes;
  lip_net *net;
  lip_err err;
  const lip_status status = lip_onnx_load(path, conf, NULL, &net, &notes, &err);
  if (status == LIP_OK) {
    check_net(net);
    lip_net_free(net);
  } else {
    FUZZ_MUST(!net && status == err.code && err.msg[0] != '\0');
    FUZZ_MUST(status == LIP_FORMAT || status == LIP_UNSUPPORTED || status == LIP_SHAPE ||
              status == LIP_OPTION || status == LIP_NOT_FINITE || status == LIP_NOT_FOUND ||
              status == LIP_IO);
  }
  for (size_t i = 0; i < notes.n; i++) FUZZ_MUST(notes.text[i][0] != '\0');
  lip_onnx_notes_free(&notes);
}

/* Every value that is used comes from before; constants are finite and have as many numbers as their shape. */
static void check_graph(const lip_graph *g) {
  bool *there = lip_alloc(g->n_value, sizeof *there);
  FUZZ_MUST(there && g->n_output > 0 && g->opset >= 7 && g->opset <= 22);
  for (size_t v = 0; v < g->n_value; v++) {
    const lip_graph_tensor *t = g->value[v].constant;
    size_t n = 1;
    there[v] = t != NULL;
    if (!t) continue;
    FUZZ_MUST(t->ndim >= 0 && t->ndim <= LIP_GRAPH_DIMS && !t->f == !!t->i);
    for (int d = 0; d < t->ndim; d++) n *= (size_t)t->dim[d];
    FUZZ_MUST(n == t->n);
    for (size_t k = 0; t->f && k < n; k++) FUZZ_MUST(isfinite(t->f[k]));
  }
  for (size_t k = 0; k < g->n_input; k++) there[g->input[k]] = true;
  for (size_t k = 0; k < g->n_node; k++) {
    const lip_graph_node *node = &g->node[k];
    for (size_t i = 0; i < node->n_in; i++) FUZZ_MUST(node->in[i] == LIP_GRAPH_NONE || there[node->in[i]]);
    for (size_t i = 0; i < node->n_out; i++)
      if (node->out[i] != LIP_GRAPH_NONE) there[node->out[i]] = true;
  }
  for (size_t k = 0; k < g->n_output; k++) FUZZ_MUST(there[g->output[k]]);
  lip_free(there);
}

static void open_graph(const char *path) {
  static const lip_graph_conf strict = {false};
  lip_graph *g;
  lip_err err;
  const lip_status status = lip_graph_open(path, &strict, &g, &err);
  if (status == LIP_NOT_FOUND || status == LIP_IO) { /* of a file beside it */
    FUZZ_MUST(!g && err.code == status && err.msg[0] != '\0');
  } else if (fuzz_answer(status, &err)) {
    check_graph(g);
    lip_graph_free(g);
  } else {
    FUZZ_MUST(!g);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const lip_onnx_conf as_it_is = {.drop_softmax = true};
  static const lip_onnx_conf flat = {.input = {1, {4, 0, 0}}, .round = true};
  const char *path = fuzz_file(0, data, size);
  const size_t readable = fuzz_readable(path);
  fuzz_begin();
  open_graph(path);
  fuzz_end(size + readable, 0);
  fuzz_begin();
  load(path, &as_it_is);
  load(path, &flat);
  /* a net has room for one pass, whatever its weights are */
  fuzz_end(2 * size + readable, (size_t)64 << 20);
  return 0;
}
