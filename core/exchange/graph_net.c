/* A graph becomes a net: its input, its nodes one after the other, its output. Each operator is a row of `readers`. */
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_net.h"

static lip_onnx_read read_softmax;

static const struct {
  const char *op;
  lip_onnx_read *read;
} readers[] = {
    {"Abs", lip_onnx_unit},
    {"Add", lip_onnx_add},
    {"AveragePool", lip_onnx_average_pool},
    {"BatchNormalization", lip_onnx_batch_norm},
    {"Cast", lip_onnx_identity},
    {"Clip", lip_onnx_clip},
    {"Concat", lip_onnx_concat},
    {"Conv", lip_onnx_conv},
    {"DepthToSpace", lip_onnx_depth_to_space},
    {"Div", lip_onnx_div},
    {"Dropout", lip_onnx_identity},
    {"Flatten", lip_onnx_flatten_node},
    {"Gather", lip_onnx_gather},
    {"Gemm", lip_onnx_gemm},
    {"GlobalAveragePool", lip_onnx_global_pool},
    {"Identity", lip_onnx_identity},
    {"LeakyRelu", lip_onnx_leaky},
    {"LogSoftmax", read_softmax},
    {"LpPool", lip_onnx_max_pool},
    {"MatMul", lip_onnx_matmul},
    {"Max", lip_onnx_max},
    {"MaxPool", lip_onnx_max_pool},
    {"Min", lip_onnx_min},
    {"Mul", lip_onnx_mul},
    {"Neg", lip_onnx_neg},
    {"PRelu", lip_onnx_leaky},
    {"Pad", lip_onnx_pad},
    {"ReduceMean", lip_onnx_reduce_mean},
    {"Relu", lip_onnx_unit},
    {"Reshape", lip_onnx_reshape},
    {"Shape", lip_onnx_shape_of},
    {"Sigmoid", lip_onnx_unit},
    {"Slice", lip_onnx_slice},
    {"Softmax", read_softmax},
    {"Softplus", lip_onnx_unit},
    {"SpaceToDepth", lip_onnx_space_to_depth},
    {"Split", lip_onnx_split},
    {"Squeeze", lip_onnx_squeeze},
    {"Sub", lip_onnx_sub},
    {"Tanh", lip_onnx_unit},
    {"TopK", lip_onnx_top},
    {"Transpose", lip_onnx_transpose},
    {"Unsqueeze", lip_onnx_unsqueeze},
};

enum { READERS = sizeof readers / sizeof *readers };

static lip_status read_softmax(lip_onnx *o) {
  const lip_graph_node *n = lip_onnx_node(o);
  bool last = n->n_out > 0 && n->out[0] == o->g->output[0];
  if (!last || !o->conf->drop_softmax)
    return lip_onnx_refuse(
        o, last ? "is no layer here; drop_softmax = true leaves it out (the same label, other outputs)"
                : "is supported at the end alone, where drop_softmax = true leaves it out");
  lip_status status = lip_onnx_identity(o);
  return status ? status : lip_onnx_note(o, "is left out: outputs are what goes into it");
}

static lip_status refuse_operator(const lip_onnx *o) {
  char known[370];
  size_t at = 0;
  known[0] = 0;
  for (size_t i = 0; i < READERS; i++) {
    size_t n = strlen(readers[i].op);
    if (at + n + 2 > sizeof known) break;
    if (at > 0) known[at++] = ' ';
    memcpy(known + at, readers[i].op, n + 1);
    at += n;
  }
  const lip_graph_node *n = lip_onnx_node(o);
  return lip_fail(o->err, LIP_UNSUPPORTED, "%.30s \"%.30s\": unknown operator; known: %s", n->op, n->name,
                  known);
}

static lip_status read_node(lip_onnx *o) {
  const char *op = lip_onnx_node(o)->op;
  for (size_t i = 0; i < READERS; i++)
    if (strcmp(readers[i].op, op) == 0) return readers[i].read(o);
  return refuse_operator(o);
}

/* ---- before the first node ---- */

/* Which nodes lead to the output, and how often each value is used on the way. */
static void find_uses(lip_onnx *o) {
  const lip_graph *g = o->g;
  o->val[g->output[0]].open = 1;
  for (size_t i = g->n_node; i-- > 0;) {
    const lip_graph_node *n = &g->node[i];
    for (size_t k = 0; k < n->n_out; k++)
      if (n->out[k] != LIP_GRAPH_NONE && o->val[n->out[k]].open > 0) o->live[i] = true;
    for (size_t k = 0; o->live[i] && k < n->n_in; k++)
      if (n->in[k] != LIP_GRAPH_NONE) o->val[n->in[k]].open++;
  }
}

static void take_constants(lip_onnx *o) {
  for (size_t i = 0; i < o->g->n_value; i++) {
    const lip_graph_tensor *t = o->g->value[i].constant;
    if (!t) continue;
    lip_val *v = &o->val[i];
    v->known = true;
    v->f = t->f;
    v->i = t->i;
    v->n = t->n;
    v->ndim = t->ndim;
    memcpy(v->dim, t->dim, sizeof v->dim);
  }
}

/* Files may be made for a fixed number of samples: the first side, when it is that of the output too, or when the option says
 * that a sample is the rest. */
static int64_t fixed_batch(const lip_onnx *o, const lip_graph_value *in) {
  const lip_graph_value *out = &o->g->value[o->g->output[0]];
  const lip_shape *want = &o->conf->input;
  size_t rest = 1;
  if (!in->shaped || in->ndim < 2 || in->dim[0] < 2) return 1;
  for (int i = 1; i < in->ndim; i++)
    if (in->dim[i] < 1 || !lip_mul_fits(rest, (size_t)in->dim[i], &rest)) return 1;
  if (want->ndim > 0) return lip_shape_size(want) == rest ? in->dim[0] : 1;
  return out->shaped && out->ndim > 1 && out->dim[0] == in->dim[0] ? in->dim[0] : 1;
}

/* The sides of the input with a batch of 1: those of the file, where it leaves them open those of the option. */
static lip_status input_sides(const lip_onnx *o, const lip_graph_value *in, int *ndim, int64_t *dim) {
  char text[120];
  const lip_shape *want = &o->conf->input;
  *ndim = in->shaped ? in->ndim : want->ndim + 1;
  if (*ndim > LIP_GRAPH_DIMS || (!in->shaped && want->ndim == 0))
    return lip_fail(o->err, LIP_OPTION,
                    "the file does not say which shape its input \"%.60s\" has: give the option input",
                    in->name);
  for (int i = 0; i < *ndim; i++) {
    dim[i] = in->shaped ? in->dim[i] : -1;
    if (i == 0 && o->batch > 1) dim[i] = 1;
    if (dim[i] >= 0) continue;
    const bool batch = i == 0 && *ndim > 1, alone = *ndim == 1;
    if (!batch && (want->ndim == 0 || (!alone && want->ndim + 1 != *ndim)))
      return lip_fail(
          o->err, LIP_OPTION,
          "the file leaves sides of its input \"%.60s\" open, %s: give the option input with %d sides",
          in->name, lip_dims_text(in->dim, in->ndim, text, sizeof text), alone ? 1 : *ndim - 1);
    dim[i] = batch ? 1 : alone ? (int64_t)lip_shape_size(want) : (int64_t)want->dim[i - 1];
  }
  return LIP_OK;
}

/* Our shape of it: the option, else what the file says without its batch; one side where the others are 1. */
static lip_status input_shape(const lip_onnx *o, const lip_val *v, lip_shape *here) {
  char a[120], b[64];
  const int drop = v->ndim > 1 && v->dim[0] == 1;
  int sides = 0;
  if (o->conf->input.ndim > 0) {
    *here = o->conf->input;
    if (lip_shape_size(here) == v->n) return LIP_OK;
    return lip_fail(o->err, LIP_SHAPE,
                    "the input of the file has the shape %s, %zu numbers; the option input says %s",
                    lip_dims_text(v->dim, v->ndim, a, sizeof a), v->n, lip_shape_describe(here, b, sizeof b));
  }
  for (int i = 0; i < v->ndim; i++) sides += v->dim[i] > 1;
  *here = (lip_shape){1, {v->n, 0, 0}};
  if (sides < 2 || v->ndim - drop > 3) return LIP_OK;
  here->ndim = v->ndim - drop;
  for (int i = drop; i < v->ndim; i++) here->dim[i - drop] = (size_t)v->dim[i];
  return LIP_OK;
}

static lip_status take_input(lip_onnx *o) {
  const lip_graph *g = o->g;
  if (g->n_input != 1 || g->n_output != 1)
    return lip_fail(o->err, LIP_UNSUPPORTED, "a net has one input and one output, this graph %zu and %zu",
                    g->n_input, g->n_output);
  const lip_graph_value *in = &g->value[g->input[0]];
  lip_val *v = &o->val[g->input[0]];
  int64_t dim[LIP_GRAPH_DIMS];
  int ndim = 0;
  o->batch = fixed_batch(o, in);
  o->notes->ndim = in->shaped ? in->ndim : 0;
  for (int i = 0; in->shaped && i < in->ndim; i++) o->notes->dim[i] = in->dim[i];
  lip_status status = input_sides(o, in, &ndim, dim);
  if (status) return status;
  o->at = 0;
  v->known = true;
  v->base = LIP_GRAPH_NONE;
  v->ndim = ndim;
  v->n = 1;
  for (int i = 0; i < ndim; i++) {
    v->dim[i] = dim[i];
    if (dim[i] < 1 || !lip_mul_fits(v->n, (size_t)dim[i], &v->n) || v->n > (size_t)1 << 28)
      return lip_fail(o->err, LIP_UNSUPPORTED, "the input has no numbers, or too many");
  }
  status = input_shape(o, v, &v->here);
  o->input = v->here;
  return status;
}

/* ---- the whole ---- */

/* What comes out is one run over the input; a row of features where the file has one. */
static lip_status take_output(lip_onnx *o) {
  lip_val *out = &o->val[o->g->output[0]];
  o->at = o->g->n_node; /* behind the last */
  if (!out->known || !lip_val_computed(out))
    return lip_fail(o->err, LIP_UNSUPPORTED, "the output of the graph does not depend on its input");
  if (out->base != LIP_GRAPH_NONE)
    return lip_fail(o->err, LIP_UNSUPPORTED, "branches of the graph do not meet again before its output");
  if (out->map)
    return lip_fail(o->err, LIP_UNSUPPORTED,
                    "the output of the graph is in another order (Transpose or Gather) that no layer makes");
  return out->ndim <= 2 ? lip_onnx_flatten(o, out) : LIP_OK;
}

static lip_status read_nodes(lip_onnx *o) {
  lip_status status = LIP_OK;
  for (size_t i = 0; !status && i < o->g->n_node; i++) {
    o->at = i;
    if (o->live[i]) status = read_node(o);
  }
  return status ? status : take_output(o);
}

lip_status lip_onnx_net(const lip_graph *g, const lip_onnx_conf *conf, const lip_engine *engine,
                        lip_net **out, lip_onnx_notes *notes, lip_err *err) {
  lip_err unread = {0};
  lip_onnx o = {.g = g, .conf = conf, .notes = notes, .err = err ? err : &unread};
  *out = NULL;
  notes->opset = g->opset;
  notes->rounded = g->rounded;
  notes->producer = lip_strdup(g->producer ? g->producer : "");
  o.val = lip_alloc(g->n_value, sizeof *o.val);
  o.live = lip_alloc(g->n_node, sizeof *o.live);
  lip_status status = notes->producer && o.val && o.live ? LIP_OK : lip_onnx_no_memory(&o);
  if (!status) take_constants(&o);
  if (!status) status = take_input(&o);
  if (!status) find_uses(&o);
  if (!status) status = read_nodes(&o);
  if (!status) status = lip_onnx_build(&o, &o.val[g->output[0]].run, engine, out);
  for (size_t i = 0; o.val && i < g->n_value; i++) lip_val_free(&o.val[i]);
  lip_free(o.val);
  lip_free(o.live);
  return status ? o.err->code : LIP_OK; /* a layer that has no place behind a Pad is no lack of memory */
}

lip_status lip_onnx_load(const char *path, const lip_onnx_conf *conf, const lip_engine *engine, lip_net **out,
                         lip_onnx_notes *notes, lip_err *err) {
  lip_graph *g = NULL;
  lip_err why = {0};
  *out = NULL;
  *notes = (lip_onnx_notes){0};
  lip_graph_conf read = {.round = conf->round};
  lip_status status = lip_graph_open(path, &read, &g, err);
  if (status) return status;
  status = lip_onnx_net(g, conf, engine, out, notes, &why);
  lip_graph_free(g);
  return status ? lip_fail(err, status, "%.100s: %s", path, why.msg) : LIP_OK;
}
