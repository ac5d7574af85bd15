/* Sorting in groups of channels, as net:export writes it: Split, Max, Min and Concat of pairs, TopK of larger groups, each
 * between two Reshapes, which execute nothing. */
#include <string.h>

#include "core/exchange/graph_net.h"

/* Input 0, whose sides 1 and 2 are the groups and what is in them, along our channels; with nothing behind them, along all
 * features. */
static lip_status take_groups(lip_onnx *o, int64_t axis, lip_val *v) {
  char a[120];
  lip_status status = lip_onnx_take_in(o, 0, v);
  if (status) return status;
  if (axis < 0) axis += v->ndim;
  if (!v->map && axis == 2 && v->ndim == 3) status = lip_onnx_flatten(o, v);
  if (status) return status;
  const bool fits = !v->map && axis == 2 && (v->ndim == 3 || v->ndim == 4) && v->dim[0] == 1 &&
                    (size_t)v->dim[1] * (size_t)v->dim[2] == v->here.dim[0];
  if (fits) return LIP_OK;
  return lip_onnx_refuse(
      o, "along axis %lld of %s: sorting is read in groups of neighbouring channels, sides 1 and 2 of 3 or 4",
      (long long)axis, lip_dims_text(v->dim, v->ndim, a, sizeof a));
}

/* The layer that sorts groups of `size`; descending ones are pairs. */
static lip_status sorted(lip_onnx *o, lip_val *v, size_t size, bool descending) {
  if (descending && size != 2)
    return lip_onnx_refuse(o, "from the largest down is supported for pairs alone");
  const bool all = !descending && v->dim[1] == 1 && size != 2;
  lip_piece *p = lip_onnx_layer(o, v, descending ? "maxmin" : all ? "fullsort" : "groupsort");
  if (!p) return LIP_MEMORY;
  return descending || all ? LIP_OK : lip_onnx_set(o, p, "size", (double)size);
}

lip_status lip_onnx_top(lip_onnx *o) {
  lip_val v = {0};
  const lip_graph_node *n = lip_onnx_node(o);
  const lip_val *k = lip_onnx_in(o, 1);
  if (!k || !k->i || k->n != 1 ||
      (n->n_out > 1 && n->out[1] != LIP_GRAPH_NONE && o->val[n->out[1]].open > 0) ||
      lip_onnx_int(o, "sorted", 1) != 1)
    return lip_onnx_refuse(o, "is read where it sorts whole groups and only the values are used");
  const int64_t size = k->i[0];
  lip_status status = take_groups(o, lip_onnx_int(o, "axis", -1), &v);
  if (!status && v.dim[2] != size)
    status = lip_onnx_refuse(o, "takes %lld of %lld: only sorting all of a group is supported",
                             (long long)size, (long long)v.dim[2]);
  if (!status) status = sorted(o, &v, (size_t)size, lip_onnx_int(o, "largest", 1) != 0);
  return lip_onnx_end(o, &v, status);
}

/* The node behind the one that is read which takes exactly these two values, in either order for Max and Min; used once. */
static size_t find_pair(const lip_onnx *o, const char *op, size_t a, size_t b, bool ordered) {
  const lip_graph *g = o->g;
  for (size_t i = o->at + 1; i < g->n_node; i++) {
    const lip_graph_node *n = &g->node[i];
    if (!o->live[i] || strcmp(n->op, op) != 0 || n->n_in != 2 || n->n_out != 1) continue;
    if ((n->in[0] == a && n->in[1] == b) || (!ordered && n->in[0] == b && n->in[1] == a)) return i;
  }
  return LIP_GRAPH_NONE;
}

/* The three nodes behind a Split into pairs, and which comes first; false: it is something else. */
static bool find_sort(const lip_onnx *o, size_t part[3], bool *descending) {
  const lip_graph_node *n = lip_onnx_node(o), *node = o->g->node;
  if (n->n_out != 2 || n->out[0] == LIP_GRAPH_NONE || n->out[1] == LIP_GRAPH_NONE) return false;
  if (o->val[n->out[0]].open != 2 || o->val[n->out[1]].open != 2) return false;
  part[0] = find_pair(o, "Max", n->out[0], n->out[1], false);
  part[1] = find_pair(o, "Min", n->out[0], n->out[1], false);
  if (part[0] == LIP_GRAPH_NONE || part[1] == LIP_GRAPH_NONE) return false;
  const size_t max = node[part[0]].out[0], min = node[part[1]].out[0];
  if (max == LIP_GRAPH_NONE || min == LIP_GRAPH_NONE || o->val[max].open != 1 || o->val[min].open != 1)
    return false;
  part[2] = find_pair(o, "Concat", max, min, true);
  *descending = part[2] != LIP_GRAPH_NONE;
  if (!*descending) part[2] = find_pair(o, "Concat", min, max, true);
  return part[2] != LIP_GRAPH_NONE;
}

lip_status lip_onnx_split(lip_onnx *o) {
  lip_val v = {0};
  size_t part[3];
  bool descending = false;
  const lip_graph_node *n = lip_onnx_node(o);
  if (n->n_out == 1) return lip_onnx_identity(o);
  if (!find_sort(o, part, &descending))
    return lip_onnx_refuse(
        o, "is read where Max and Min of its two parts are put together by Concat (pairs in order)");
  const lip_val *in = lip_onnx_in(o, 0);
  const int64_t axis = lip_onnx_int(o, "axis", 0);
  lip_status status = take_groups(o, axis, &v);
  if (!status && v.dim[2] != 2)
    status = lip_onnx_refuse(o, "cuts groups of %lld: only pairs are sorted", (long long)v.dim[2]);
  if (!status) status = sorted(o, &v, 2, descending);
  if (status || !in) return lip_onnx_end(o, &v, status);
  const size_t at = o->at;
  o->at = part[2]; /* what is read with it */
  const int64_t joined = lip_onnx_int(o, "axis", 0);
  if (joined != 2 && joined != 2 - v.ndim)
    status = lip_onnx_refuse(o, "joins pairs along axis %lld, not 2", (long long)joined);
  for (int i = 0; i < 3; i++) o->live[part[i]] = false;
  status = lip_onnx_end(o, &v, status);
  o->at = at;
  return status;
}
