#include <math.h>
#include <string.h>

#include "core/exchange/graph_parts.h"

typedef struct settling {
  lip_graph *g;
  lip_graph_block **blocks;
  const char *path;
  lip_err *err;
} settling;

static lip_status refuse(const settling *s, const lip_graph_node *n, lip_status code, const char *what) {
  char text[LIP_GRAPH_NODE_TEXT];
  return lip_fail(s->err, code, "%.150s: %s %s", s->path, lip_graph_node_text(s->g, n, text), what);
}

/* The numbers of an attribute, in a tensor of their own. */
static lip_status copy_numbers(const settling *s, const lip_graph_node *n, const lip_graph_attribute *a,
                               const lip_graph_tensor **out) {
  bool list = a->type == LIP_GRAPH_FLOATS || a->type == LIP_GRAPH_INTS;
  bool real = a->type == LIP_GRAPH_FLOAT || a->type == LIP_GRAPH_FLOATS;
  size_t count = list ? a->n : 1, size = real ? sizeof(float) : sizeof(int64_t);
  lip_graph_tensor *t = lip_graph_take(s->blocks, 1, sizeof *t);
  void *to = lip_graph_take(s->blocks, count ? count : 1, size);
  if (!t || !to) return refuse(s, n, LIP_MEMORY, "has more numbers than memory");
  const void *from = real ? (list ? (const void *)a->floats : &a->f) : (list ? (const void *)a->ints : &a->i);
  if (count > 0) memcpy(to, from, count * size);
  t->n = count;
  t->ndim = list;
  if (list) t->dim[0] = (int64_t)count;
  if (real)
    t->f = to;
  else
    t->i = to;
  for (size_t k = 0; real && k < count; k++)
    if (!isfinite(t->f[k]))
      return refuse(s, n, LIP_FORMAT, "holds NaN or an infinite number; a net's numbers must be finite");
  *out = t;
  return LIP_OK;
}

static lip_status take_constant(const settling *s, const lip_graph_node *n) {
  static const struct {
    const char *name;
    lip_graph_type type;
  } forms[] = {{"value", LIP_GRAPH_TENSOR},
               {"value_float", LIP_GRAPH_FLOAT},
               {"value_floats", LIP_GRAPH_FLOATS},
               {"value_int", LIP_GRAPH_INT},
               {"value_ints", LIP_GRAPH_INTS}};
  if (n->n_out != 1 || n->n_in != 0 || n->n_attribute != 1)
    return refuse(s, n, LIP_FORMAT, "must have one output, one attribute and no inputs");
  const lip_graph_attribute *a = n->attribute;
  const lip_graph_tensor *t = NULL;
  for (size_t k = 0; k < sizeof forms / sizeof *forms && !t; k++) {
    if (strcmp(a->name, forms[k].name) != 0 || a->type != forms[k].type) continue;
    if (a->type == LIP_GRAPH_TENSOR) {
      t = &a->tensor;
    } else {
      lip_status code = copy_numbers(s, n, a, &t);
      if (code) return code;
    }
  }
  if (!t)
    return refuse(
        s, n, LIP_UNSUPPORTED,
        "holds neither a tensor nor numbers (value, value_float, value_floats, value_int, value_ints)");
  if (n->out[0] != LIP_GRAPH_NONE) s->g->value[n->out[0]].constant = t;
  return LIP_OK;
}

/* True: the output is the same constant as the input. */
static bool pass_on(const settling *s, const lip_graph_node *n) {
  if (strcmp(n->op, "Identity") != 0 || n->n_in != 1 || n->n_out != 1) return false;
  if (n->in[0] == LIP_GRAPH_NONE || n->out[0] == LIP_GRAPH_NONE) return false;
  s->g->value[n->out[0]].constant = s->g->value[n->in[0]].constant;
  return s->g->value[n->out[0]].constant != NULL;
}

lip_status lip_graph_settle(lip_graph *g, lip_graph_block **blocks, const char *path, lip_err *err) {
  settling s = {g, blocks, path, err};
  size_t kept = 0;
  for (size_t k = 0; k < g->n_node; k++) {
    const lip_graph_node *n = &g->node[k];
    if (strcmp(n->op, "Constant") == 0) {
      lip_status code = take_constant(&s, n);
      if (code) return code;
    } else if (!pass_on(&s, n)) {
      g->node[kept++] = *n;
    }
  }
  g->n_node = kept;
  return LIP_OK;
}
