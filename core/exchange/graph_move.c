/* Values that change their places: by the layers that do the same, to the bit. Orders that no layer makes wait for a matrix,
 * which takes them into its columns. */
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_net.h"
#include "core/layer/emit.h"

enum { MAX_BLOCK = 1024 };

static bool same_shape(const lip_shape *a, const lip_shape *b) {
  bool same = a->ndim == b->ndim;
  for (int i = 0; same && i < a->ndim; i++) same = a->dim[i] == b->dim[i];
  return same;
}

/* ---- orders of an image that a layer makes ---- */

/* *same: a layer of that spec makes `want` of `in`, by taking value map[i] for place i. */
static lip_status makes(const lip_onnx *o, const lip_spec *spec, const lip_shape *in, const lip_shape *want,
                        const uint32_t *map, bool *same) {
  lip_plan plan = {.method = LIP_EUCLIDEAN};
  lip_layer *l;
  lip_emit e;
  lip_err why;
  *same = false;
  lip_status status = lip_layer_new(spec, in, (lip_pq){LIP_P2, LIP_P2}, &plan, &l, &why);
  if (status) return status == LIP_MEMORY ? lip_onnx_no_memory(o) : LIP_OK; /* it does not fit */
  status = lip_emit_init(&e, l, &why);
  *same = !status && e.step[e.out].op == LIP_EMIT_MOVE && same_shape(&l->out, want) &&
          memcmp(e.step[e.out].u.move.from, map, l->n_out * sizeof *map) == 0;
  lip_emit_free(&e);
  lip_layer_free(l);
  return status == LIP_MEMORY ? lip_onnx_no_memory(o) : LIP_OK;
}

/* A layer of that kind in place of the order v->map, if it makes it. */
static lip_status try_kind(lip_onnx *o, lip_val *v, const lip_shape *want, const char *kind,
                           const char *option, double value) {
  bool found;
  lip_piece *p = lip_onnx_layer(o, v, kind);
  lip_status status = p ? lip_onnx_set(o, p, option, value) : o->err->code;
  if (!status) status = makes(o, p->spec, &v->here, want, v->map, &found);
  if (status) return status;
  if (!found) {
    v->run.n--;
    lip_piece_free(p);
    return LIP_OK;
  }
  v->here = *want;
  lip_free(v->map);
  v->map = NULL;
  return LIP_OK;
}

/* How many channels move each way, if it is a shift of an image of that shape: those that move stand in front. 0: it is not. */
static size_t shifted(const lip_shape *image, const uint32_t *map) {
  const size_t S = image->dim[1] * image->dim[2],
               ways = image->dim[1] > 1 ? 4 : 2; /* one row: left and right alone */
  size_t last = image->dim[0] * S;
  while (last > 0 && map[last - 1] == last - 1) last--;
  const size_t moved = (last + S - 1) / S, each = moved / ways;
  return moved % ways == 0 && 4 * each <= image->dim[0] ? each : 0;
}

/* The order of v, an image again, as a layer, where there is one. */
static lip_status settle(lip_onnx *o, lip_val *v) {
  if (!v->map || v->here.ndim != 3 || v->ndim != 4 || v->dim[0] != 1) return LIP_OK;
  const lip_shape want = {3, {(size_t)v->dim[1], (size_t)v->dim[2], (size_t)v->dim[3]}}, in = v->here;
  const size_t down = in.dim[1] / want.dim[1], up = want.dim[1] / in.dim[1];
  if (down > 1 && down <= MAX_BLOCK && want.dim[0] == in.dim[0] * down * down)
    return try_kind(o, v, &want, "space_to_depth", "block", (double)down);
  if (up > 1 && up <= MAX_BLOCK && in.dim[0] == want.dim[0] * up * up)
    return try_kind(o, v, &want, "depth_to_space", "block", (double)up);
  const size_t each = same_shape(&in, &want) ? shifted(&in, v->map) : 0;
  if (each == 0) return LIP_OK;
  const double share = ((double)each + 0.5) / (double)in.dim[0]; /* rounded down it is `each` again */
  return try_kind(o, v, &want, "shift", "share", share < 0.25 ? share : 0.25);
}

lip_status lip_onnx_reshape(lip_onnx *o) {
  const lip_graph_node *n = lip_onnx_node(o);
  lip_status status = lip_onnx_reshape_node(o);
  lip_val *v = !status && n->n_out > 0 && n->out[0] != LIP_GRAPH_NONE ? &o->val[n->out[0]] : NULL;
  return v && v->known && lip_val_computed(v) ? settle(o, v) : status;
}

/* ---- Gather ---- */

/* Value i of v is from[i] of what it was. */
static lip_status reorder(lip_onnx *o, lip_val *v, const int64_t *from) {
  uint32_t *map = lip_alloc(v->n, sizeof *map);
  bool *seen = lip_alloc(v->n, sizeof *seen), moved = false;
  lip_status status = map && seen ? LIP_OK : lip_onnx_no_memory(o);
  for (size_t i = 0; !status && i < v->n; i++) {
    const uint64_t k = from[i] < 0 ? (uint64_t)from[i] + v->n : (uint64_t)from[i];
    if (k >= v->n || seen[k]) {
      status = lip_onnx_refuse(o, "place %lld: it must take every value once", (long long)from[i]);
      break;
    }
    seen[k] = true;
    map[i] = v->map ? v->map[k] : (uint32_t)k;
    moved = moved || map[i] != i;
  }
  lip_free(seen);
  if (status) {
    lip_free(map);
    return status;
  }
  lip_free(v->map);
  v->map = moved ? map : NULL;
  if (!moved) lip_free(map);
  return LIP_OK;
}

/* Of shapes, or of all features in another order. */
lip_status lip_onnx_gather(lip_onnx *o) {
  lip_val v = {0};
  int axis = 0;
  const lip_val *x = lip_onnx_in(o, 0), *at = lip_onnx_in(o, 1);
  if (!x || !lip_val_computed(x)) return lip_onnx_gather_shape(o);
  lip_status status = lip_onnx_axis(o, lip_onnx_int(o, "axis", 0), x->ndim, &axis);
  if (status) return status;
  if (!at || !at->i || at->ndim != 1 || at->n != x->n || x->dim[axis] != (int64_t)x->n)
    return lip_onnx_refuse(o, "of computed values is supported where it puts all features in another order");
  status = lip_onnx_take_in(o, 0, &v);
  if (!status) status = lip_val_dims(o, &v, x->ndim, x->dim);
  if (!status) status = reorder(o, &v, at->i);
  return lip_onnx_end(o, &v, status);
}

/* ---- blocks of pixels ---- */

/* The image in front and its blocks; with one channel both orders of ONNX are ours. */
static lip_status take_blocks(lip_onnx *o, lip_val *v, const char *kind, size_t *block) {
  const int64_t b = lip_onnx_int(o, "blocksize", 0);
  if (b < 1 || b > MAX_BLOCK) return lip_onnx_refuse(o, "blocksize %lld: 1 to %d", (long long)b, MAX_BLOCK);
  lip_status status = lip_onnx_take_in(o, 0, v);
  if (!status && v->ndim != 4)
    status = lip_onnx_refuse(o, "is supported for images, (batch, channels, height, width)");
  if (!status) status = lip_onnx_shape(o, v);
  lip_piece *p = status ? NULL : lip_onnx_layer(o, v, kind);
  if (!status) status = p ? lip_onnx_set(o, p, "block", (double)b) : o->err->code;
  *block = (size_t)b;
  return status;
}

static lip_status end_blocks(lip_onnx *o, lip_val *v, size_t C, size_t H, size_t W) {
  lip_status status = lip_val_dims(o, v, 4, (int64_t[]){1, (int64_t)C, (int64_t)H, (int64_t)W});
  if (!status) v->here = (lip_shape){3, {C, H, W}};
  return lip_onnx_end(o, v, status);
}

lip_status lip_onnx_depth_to_space(lip_onnx *o) {
  lip_val v = {0};
  size_t b = 1;
  lip_status status = take_blocks(o, &v, "depth_to_space", &b);
  if (status) return lip_onnx_end(o, &v, status);
  const size_t C = v.here.dim[0] / (b * b);
  if (v.here.dim[0] % (b * b) != 0)
    status = lip_onnx_refuse(o, "blocks %zux%zu of %zu channels do not fit", b, b, v.here.dim[0]);
  else if (C > 1 && strcmp(lip_onnx_text(o, "mode", "DCR"), "CRD") != 0)
    status = lip_onnx_refuse(o, "is supported in mode CRD alone, the order of PyTorch's pixel_shuffle");
  if (status) return lip_onnx_end(o, &v, status);
  return end_blocks(o, &v, C, v.here.dim[1] * b, v.here.dim[2] * b);
}

lip_status lip_onnx_space_to_depth(lip_onnx *o) {
  lip_val v = {0};
  size_t b = 1;
  lip_status status = take_blocks(o, &v, "space_to_depth", &b);
  if (status) return lip_onnx_end(o, &v, status);
  if (v.here.dim[1] % b != 0 || v.here.dim[2] % b != 0)
    status = lip_onnx_refuse(o, "blocks %zux%zu do not divide the image %zux%zu", b, b, v.here.dim[1],
                             v.here.dim[2]);
  else if (v.here.dim[0] > 1)
    status = lip_onnx_refuse(o,
                             "of %zu channels has another order than space_to_depth; it is read from one "
                             "channel, or as Reshape, Transpose, Reshape",
                             v.here.dim[0]);
  if (status) return lip_onnx_end(o, &v, status);
  return end_blocks(o, &v, v.here.dim[0] * b * b, v.here.dim[1] / b, v.here.dim[2] / b);
}

/* ---- Slice ---- */

/* The only number of a list: input k, or the attribute that it was up to opset 9. */
static lip_status only(const lip_onnx *o, size_t k, const char *name, int64_t absent, int64_t *out) {
  const lip_val *c = lip_onnx_in(o, k);
  if (!c) return lip_onnx_ints(o, name, 1, absent, out);
  if (!c->i || c->n != 1) return lip_onnx_refuse(o, "%s must be one constant whole number", name);
  *out = c->i[0];
  return LIP_OK;
}

/* The first channels or features. */
static lip_status put_select(lip_onnx *o, lip_val *v, int64_t channels) {
  int64_t dim[LIP_GRAPH_DIMS];
  lip_status status = lip_onnx_shape(o, v);
  if (!status && v->map) status = lip_onnx_refuse(o, "its values are in another order (Transpose or Gather)");
  lip_piece *p = status ? NULL : lip_onnx_layer(o, v, "select");
  if (!status) status = p ? lip_onnx_set(o, p, "channels", (double)channels) : o->err->code;
  if (status) return status;
  memcpy(dim, v->dim, sizeof dim);
  dim[1] = channels;
  v->here.dim[0] = (size_t)channels;
  return lip_val_dims(o, v, v->ndim, dim);
}

lip_status lip_onnx_slice(lip_onnx *o) {
  lip_val v = {0};
  int axis = 0;
  int64_t from = 0, to = 0, side = 0, step = 1;
  const lip_val *x = lip_onnx_in(o, 0);
  if (!x || !lip_val_computed(x)) return lip_onnx_refuse(o, "of constants is not supported");
  lip_status status = only(o, 1, "starts", 0, &from);
  if (!status) status = only(o, 2, "ends", INT64_MAX, &to);
  if (!status) status = only(o, 3, "axes", 0, &side);
  if (!status) status = only(o, 4, "steps", 1, &step);
  if (!status) status = lip_onnx_axis(o, side, x->ndim, &axis);
  if (status) return status;
  const int64_t n = x->dim[axis];
  if (to < 0) to += n;
  if (to > n) to = n;
  if (x->ndim < 2 || x->dim[0] != 1 || axis != 1 || (from != 0 && from != -n) || to < 1 || step != 1)
    return lip_onnx_refuse(o, "is supported where it takes the first channels or features (axis 1, from 0)");
  if (to == n) return lip_onnx_identity(o);
  status = lip_onnx_take_in(o, 0, &v);
  if (!status) status = put_select(o, &v, to);
  return lip_onnx_end(o, &v, status);
}
