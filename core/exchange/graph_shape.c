/* The same numbers in another shape or order: nothing is executed. Shapes that a file works out are worked out here, for a
 * batch of 1. */
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_net.h"

enum { TYPE_FLOAT = 1, TYPE_INT64 = 7, TYPE_DOUBLE = 11 };

/* ---- the result of a node that does not change numbers ---- */

/* Input 0, computed or not, with other sides. */
static lip_status reshaped(lip_onnx *o, int ndim, const int64_t *dim) {
  char a[120], b[120];
  lip_val v = {0};
  const lip_val *x = lip_onnx_in(o, 0);
  const size_t n = x->n;
  lip_status status = LIP_OK;
  if (lip_val_computed(x))
    status = lip_onnx_take_in(o, 0, &v);
  else
    v = (lip_val){.f = x->f, .i = x->i}; /* lent as long as the other, which stays */
  if (!status) status = lip_val_dims(o, &v, ndim, dim);
  if (!status && v.n != n)
    status =
        lip_onnx_refuse(o, "turns %s into %s (a batch counts as 1)",
                        lip_dims_text(x->dim, x->ndim, a, sizeof a), lip_dims_text(dim, ndim, b, sizeof b));
  return lip_onnx_end(o, &v, status);
}

static lip_status want_input(const lip_onnx *o) {
  return lip_onnx_in(o, 0) ? LIP_OK : lip_onnx_refuse(o, "has no input");
}

lip_status lip_onnx_identity(lip_onnx *o) {
  lip_status status = want_input(o);
  if (status) return status;
  const lip_val *v = lip_onnx_in(o, 0), *training = lip_onnx_in(o, 2);
  const char *op = lip_onnx_node(o)->op;
  const int64_t to = lip_onnx_int(o, "to", TYPE_FLOAT);
  if (strcmp(op, "Dropout") == 0 && training && (!training->i || training->i[0] != 0))
    return lip_onnx_refuse(o, "drops values while it is used (training_mode)");
  if (strcmp(op, "Cast") == 0 && (v->i ? to != TYPE_INT64 : to != TYPE_FLOAT && to != TYPE_DOUBLE))
    return lip_onnx_refuse(
        o, "turns numbers into another type (%lld); float, and double as float, are supported",
        (long long)to);
  status = reshaped(o, v->ndim, v->dim);
  if (!status && to == TYPE_DOUBLE)
    return lip_onnx_note(o, "to double vanishes: the net is executed in float32");
  return status;
}

lip_status lip_onnx_flatten_node(lip_onnx *o) {
  lip_status status = want_input(o);
  if (status) return status;
  const lip_val *v = lip_onnx_in(o, 0);
  int64_t axis = lip_onnx_int(o, "axis", 1), dim[2] = {1, 1};
  if (axis < 0) axis += v->ndim;
  if (axis < 0 || axis > v->ndim) return lip_onnx_refuse(o, "axis of a value with %d sides", v->ndim);
  for (int i = 0; i < v->ndim; i++) dim[i >= axis] *= v->dim[i];
  return reshaped(o, 2, dim);
}

/* Whole numbers of input k, a constant with one side at most. */
static lip_status whole(const lip_onnx *o, size_t k, const lip_val **out) {
  const lip_val *v = *out = lip_onnx_in(o, k);
  if (v && v->i && v->ndim <= 1 && v->n <= LIP_GRAPH_DIMS) return LIP_OK;
  return lip_onnx_refuse(o, "input %zu must be a constant list of up to %d whole numbers", k + 1,
                         LIP_GRAPH_DIMS);
}

lip_status lip_onnx_reshape_node(lip_onnx *o) {
  const lip_val *shape;
  int64_t dim[LIP_GRAPH_DIMS];
  int open = -1;
  size_t known = 1;
  lip_status status = want_input(o);
  if (!status) status = whole(o, 1, &shape);
  if (status) return status;
  const lip_val *v = lip_onnx_in(o, 0);
  const bool zero = lip_onnx_int(o, "allowzero", 0) != 0;
  for (size_t i = 0; i < shape->n; i++) {
    dim[i] = shape->i[i] == 0 && !zero && (int)i < v->ndim ? v->dim[i] : shape->i[i];
    if (i == 0 && o->batch > 1 && dim[i] == o->batch) dim[i] = 1; /* all samples there: the one here */
    if (dim[i] == -1 && open < 0)
      open = (int)i;
    else if (dim[i] < 1 || !lip_mul_fits(known, (size_t)dim[i], &known))
      return lip_onnx_refuse(o, "side %zu is %lld", i + 1, (long long)dim[i]);
  }
  if (open >= 0) dim[open] = (int64_t)(v->n / known > 0 ? v->n / known : 1);
  return reshaped(o, (int)shape->n, dim);
}

/* Marks the axes of an attribute, or of input 1 since opset 13; *any: there are some. */
static lip_status axes(const lip_onnx *o, int ndim, bool *mark, bool *any) {
  const lip_graph_attribute *a = lip_graph_attribute_of(lip_onnx_node(o), "axes");
  const lip_val *in = lip_onnx_in(o, 1);
  const int64_t *list = a && a->type == LIP_GRAPH_INTS ? a->ints : NULL;
  size_t n = list ? a->n : 0;
  memset(mark, 0, LIP_GRAPH_DIMS * sizeof *mark);
  if (in) {
    lip_status status = whole(o, 1, &in);
    if (status) return status;
    list = in->i;
    n = in->n;
  }
  *any = list != NULL;
  for (size_t i = 0; i < n; i++) {
    int axis;
    lip_status status = lip_onnx_axis(o, list[i], ndim, &axis);
    if (status) return status;
    if (mark[axis]) return lip_onnx_refuse(o, "names axis %d twice", axis);
    mark[axis] = true;
  }
  return LIP_OK;
}

/* Over the sides of an image. */
lip_status lip_onnx_reduce_mean(lip_onnx *o) {
  bool mark[LIP_GRAPH_DIMS], any;
  lip_status status = want_input(o);
  if (status) return status;
  const lip_val *v = lip_onnx_in(o, 0);
  status = axes(o, v->ndim, mark, &any);
  if (status) return status;
  if (v->ndim != 4 || !any || mark[0] || mark[1] || !mark[2] || !mark[3])
    return lip_onnx_refuse(o,
                           "is supported over height and width of images, (batch, channels, height, width)");
  return lip_onnx_means(o, lip_onnx_int(o, "keepdims", 1) != 0);
}

lip_status lip_onnx_squeeze(lip_onnx *o) {
  bool mark[LIP_GRAPH_DIMS], any;
  int64_t dim[LIP_GRAPH_DIMS];
  int ndim = 0;
  lip_status status = want_input(o);
  if (status) return status;
  const lip_val *v = lip_onnx_in(o, 0);
  status = axes(o, v->ndim, mark, &any);
  if (status) return status;
  for (int i = 0; i < v->ndim; i++) {
    if (any && mark[i] && v->dim[i] != 1)
      return lip_onnx_refuse(o, "axis %d has %lld places", i, (long long)v->dim[i]);
    if (any ? !mark[i] : v->dim[i] != 1) dim[ndim++] = v->dim[i];
  }
  return reshaped(o, ndim, dim);
}

lip_status lip_onnx_unsqueeze(lip_onnx *o) {
  bool mark[LIP_GRAPH_DIMS], any;
  int64_t dim[LIP_GRAPH_DIMS];
  lip_status status = want_input(o);
  if (status) return status;
  const lip_val *v = lip_onnx_in(o, 0), *in = lip_onnx_in(o, 1);
  const lip_graph_attribute *a = lip_graph_attribute_of(lip_onnx_node(o), "axes");
  const size_t more = in ? in->n : a && a->type == LIP_GRAPH_INTS ? a->n : 0;
  const int ndim = v->ndim + (int)(more < LIP_GRAPH_DIMS ? more : LIP_GRAPH_DIMS);
  if (more == 0 || ndim > LIP_GRAPH_DIMS) return lip_onnx_refuse(o, "to %d sides", ndim);
  status = axes(o, ndim, mark, &any);
  for (int i = 0, k = 0; !status && i < ndim; i++) dim[i] = mark[i] ? 1 : v->dim[k++];
  return status ? status : reshaped(o, ndim, dim);
}

/* ---- Transpose ---- */

/* from[j]: the number of the old value that is number j of the new one, whose sides are dim. NULL in *from: j itself. */
static lip_status permutation(const lip_onnx *o, const lip_val *v, const int64_t *perm, const int64_t *dim,
                              uint32_t **from) {
  size_t stride[LIP_GRAPH_DIMS], at[LIP_GRAPH_DIMS] = {0}, step = 1, k = 0;
  bool moved = false;
  for (int i = v->ndim; i-- > 0; step *= (size_t)v->dim[i]) stride[i] = step;
  *from = lip_alloc(v->n, sizeof **from);
  if (!*from) return lip_onnx_no_memory(o);
  for (size_t j = 0; j < v->n; j++) {
    (*from)[j] = (uint32_t)k;
    moved = moved || k != j;
    for (int d = v->ndim; d-- > 0;) {
      k += stride[perm[d]];
      if (++at[d] < (size_t)dim[d]) break;
      k -= stride[perm[d]] * at[d];
      at[d] = 0;
    }
  }
  if (moved) return LIP_OK;
  lip_free(*from);
  *from = NULL;
  return LIP_OK;
}

/* The computed value v in the order `from`: no layer, the next matrix takes it into its columns. */
static void turn(lip_val *v, uint32_t *from) {
  bool moved = false;
  for (size_t j = 0; j < v->n; j++) {
    if (v->map) from[j] = v->map[from[j]];
    moved = moved || from[j] != j;
  }
  lip_free(v->map);
  v->map = from;
  if (moved) return;
  lip_free(v->map);
  v->map = NULL;
}

static lip_status turn_constant(const lip_onnx *o, const lip_val *x, const uint32_t *from, lip_val *v) {
  v->own = lip_alloc(x->n, x->f ? sizeof(float) : sizeof(int64_t));
  if (!v->own) return lip_onnx_no_memory(o);
  float *f = v->own;
  int64_t *i = v->own;
  for (size_t j = 0; j < x->n; j++)
    if (x->f)
      f[j] = x->f[from[j]];
    else
      i[j] = x->i[from[j]];
  v->f = x->f ? f : NULL;
  v->i = x->f ? NULL : i;
  return LIP_OK;
}

lip_status lip_onnx_transpose(lip_onnx *o) {
  int64_t perm[LIP_GRAPH_DIMS], dim[LIP_GRAPH_DIMS];
  bool seen[LIP_GRAPH_DIMS] = {false};
  uint32_t *from = NULL;
  lip_val v = {0};
  lip_status status = want_input(o);
  if (status) return status;
  const lip_val *x = lip_onnx_in(o, 0);
  if (lip_graph_attribute_of(lip_onnx_node(o), "perm"))
    status = lip_onnx_ints(o, "perm", (size_t)x->ndim, 0, perm);
  else
    for (int i = 0; i < x->ndim; i++) perm[i] = x->ndim - 1 - i;
  for (int i = 0; !status && i < x->ndim; i++) {
    if (perm[i] < 0 || perm[i] >= x->ndim || seen[perm[i]])
      return lip_onnx_refuse(o, "perm is no order of the sides");
    seen[perm[i]] = true;
    dim[i] = x->dim[perm[i]];
  }
  if (!status) status = permutation(o, x, perm, dim, &from);
  if (status) return status;
  if (!from) return reshaped(o, x->ndim, dim);
  if (lip_val_computed(x)) {
    status = lip_onnx_take_in(o, 0, &v);
    if (!status)
      turn(&v, from);
    else
      lip_free(from);
  } else {
    status = turn_constant(o, x, from, &v);
    lip_free(from);
  }
  if (!status) status = lip_val_dims(o, &v, x->ndim, dim);
  return lip_onnx_end(o, &v, status);
}

/* ---- shapes as numbers ---- */

/* A list of n whole numbers as output 0; NULL: no memory. */
static int64_t *list_of(const lip_onnx *o, lip_val *v, size_t n, bool one) {
  int64_t *list = v->own = lip_alloc(n, sizeof *list);
  v->i = list;
  v->n = n;
  v->ndim = one ? 0 : 1;
  v->dim[0] = (int64_t)n;
  if (!list) lip_onnx_no_memory(o);
  return list;
}

lip_status lip_onnx_shape_of(lip_onnx *o) {
  lip_val v = {0};
  lip_status status = want_input(o);
  if (status) return status;
  const lip_val *x = lip_onnx_in(o, 0);
  int64_t from = lip_onnx_int(o, "start", 0), to = lip_onnx_int(o, "end", x->ndim);
  from = from < 0 ? from + x->ndim : from;
  to = to < 0 ? to + x->ndim : to > x->ndim ? x->ndim : to;
  if (from < 0 || from > to) return lip_onnx_refuse(o, "start and end");
  int64_t *list = list_of(o, &v, (size_t)(to - from), false);
  for (int64_t i = from; list && i < to; i++) list[i - from] = x->dim[i];
  return lip_onnx_end(o, &v, list ? LIP_OK : LIP_MEMORY);
}

lip_status lip_onnx_gather_shape(lip_onnx *o) {
  lip_val v = {0};
  const lip_val *x = lip_onnx_in(o, 0), *at = lip_onnx_in(o, 1);
  if (!x || !x->i || x->ndim != 1 || !at || !at->i || at->ndim > 1)
    return lip_onnx_refuse(o, "is supported for shapes alone");
  int64_t *list = list_of(o, &v, at->n, at->ndim == 0);
  for (size_t k = 0; list && k < at->n; k++) {
    const int64_t i = at->i[k] < 0 ? at->i[k] + x->dim[0] : at->i[k];
    if (i < 0 || i >= x->dim[0])
      return lip_onnx_end(o, &v, lip_onnx_refuse(o, "index %lld", (long long)at->i[k]));
    list[k] = x->i[i];
  }
  return lip_onnx_end(o, &v, list ? LIP_OK : LIP_MEMORY);
}

/* Lists of whole numbers end to end. */
lip_status lip_onnx_join_shapes(lip_onnx *o) {
  lip_val v = {0};
  size_t n = 0, k = 0;
  for (size_t j = 0; j < lip_onnx_node(o)->n_in; j++) {
    const lip_val *x = lip_onnx_in(o, j);
    if (!x || !x->i || x->ndim != 1) return lip_onnx_refuse(o, "of constants is supported for shapes alone");
    n += x->n;
  }
  int64_t *list = list_of(o, &v, n, false);
  for (size_t j = 0; list && j < lip_onnx_node(o)->n_in; j++) {
    const lip_val *x = lip_onnx_in(o, j);
    memcpy(list + k, x->i, x->n * sizeof *list);
    k += x->n;
  }
  return lip_onnx_end(o, &v, list ? LIP_OK : LIP_MEMORY);
}
