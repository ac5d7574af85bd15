/* Layers between images {channels, height, width}, and conv1d's {channels, length}. Ours have square kernels and equal zeros
 * on every side; a kernel with other sides or zeros becomes a larger square one with taps of 0 around it, so that every sum
 * has the same terms and some that are 0. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/graph_net.h"
#include "core/layer/conv_norm.h"

/* What slides along the last n (1 or 2) sides. */
typedef struct window {
  int n;
  int64_t in[2], kernel[2], stride[2], dilation[2], begin[2], end[2], out[2];
} window;

/* ---- attributes ---- */

static int64_t span(const window *w, int a) {
  return (w->kernel[a] - 1) * w->dilation[a] + 1;
}

/* Zeros of "SAME_UPPER" and "SAME_LOWER": so many that the output has ceil(in / stride) places. */
static void same_pads(window *w, bool upper) {
  for (int a = 0; a < w->n; a++) {
    const int64_t out = (w->in[a] + w->stride[a] - 1) / w->stride[a];
    int64_t more = (out - 1) * w->stride[a] + span(w, a) - w->in[a];
    if (more < 0) more = 0;
    w->begin[a] = upper ? more / 2 : more - more / 2;
    w->end[a] = more - w->begin[a];
  }
}

static lip_status read_pads(const lip_onnx *o, window *w) {
  const char *way = lip_onnx_text(o, "auto_pad", "NOTSET");
  int64_t pads[4];
  if (strcmp(way, "SAME_UPPER") == 0 || strcmp(way, "SAME_LOWER") == 0) {
    same_pads(w, way[5] == 'U');
    return LIP_OK;
  }
  if (strcmp(way, "NOTSET") != 0 && strcmp(way, "VALID") != 0)
    return lip_onnx_refuse(o, "auto_pad %.40s", way);
  lip_status status = lip_onnx_ints(o, "pads", 2 * (size_t)w->n, 0, pads);
  for (int a = 0; !status && a < w->n; a++) {
    w->begin[a] = way[0] == 'V' ? 0 : pads[a];
    w->end[a] = way[0] == 'V' ? 0 : pads[w->n + a];
  }
  return status;
}

/* Takes the zeros of a Pad in front into the window, and the sides of the value back to what they were before it. */
static void take_pad(lip_val *v, window *w) {
  lip_piece *p = lip_run_last(&v->run);
  if (!p || p->what != LIP_PIECE_PAD) return;
  for (int a = 0; a < w->n; a++) {
    const size_t begin = p->pad[2 - w->n + a], end = p->pad[4 - w->n + a];
    w->begin[a] += (int64_t)begin;
    w->end[a] += (int64_t)end;
    w->in[a] -= (int64_t)(begin + end);
    v->dim[v->ndim - w->n + a] = w->in[a];
    v->n = 1;
    for (int i = 0; i < v->ndim; i++) v->n *= (size_t)v->dim[i];
  }
  lip_piece_free(p);
  v->run.n--;
}

/* The window of the node over v (1, C, sides), whose kernel is given or read. */
static lip_status read_window(const lip_onnx *o, lip_val *v, bool padded, window *w) {
  char text[120];
  const size_t n = (size_t)w->n;
  lip_status status = lip_onnx_ints(o, "strides", n, 1, w->stride);
  if (!status) status = lip_onnx_ints(o, "dilations", n, 1, w->dilation);
  for (int a = 0; !status && a < w->n; a++) {
    w->in[a] = v->dim[v->ndim - w->n + a];
    const int64_t most = 1 << 20;
    if (w->kernel[a] < 1 || w->kernel[a] > most || w->stride[a] < 1 || w->stride[a] > most ||
        w->dilation[a] < 1 || w->dilation[a] > most)
      return lip_onnx_refuse(o, "its kernel, strides and dilations must be whole numbers from 1 on");
  }
  if (!status) status = read_pads(o, w);
  if (status) return status;
  if (padded) take_pad(v, w);
  for (int a = 0; a < w->n; a++) {
    if (w->begin[a] < 0 || w->end[a] < 0 || w->begin[a] > 1 << 20 || w->end[a] > 1 << 20)
      return lip_onnx_refuse(o, "pads below 0 would cut the image, and are not supported");
    const int64_t room = w->in[a] + w->begin[a] + w->end[a] - span(w, a);
    if (room < 0)
      return lip_onnx_refuse(o, "the kernel is larger than its input %s",
                             lip_dims_text(v->dim, v->ndim, text, sizeof text));
    w->out[a] = room / w->stride[a] + 1;
  }
  return LIP_OK;
}

/* ---- a window of ours ---- */

typedef struct square {
  int64_t kernel, stride, dilation, padding;
  int64_t offset[2]; /* taps of 0 in front of those of the file */
} square;

static bool axis_fits(const window *w, int a, square *s) {
  const int64_t before = s->padding - w->begin[a],
                room = w->in[a] + 2 * s->padding - (s->kernel - 1) * s->dilation - 1;
  if (before < 0 || before % s->dilation != 0 || room < 0 || room / s->stride + 1 != w->out[a]) return false;
  s->offset[a] = before / s->dilation;
  return s->offset[a] + w->kernel[a] <= s->kernel;
}

/* The smallest one that does the same; false: there is none. */
static bool find_square(const window *w, square *s) {
  int64_t least = 1, pad = 0;
  for (int a = 0; a < w->n; a++) {
    if (w->kernel[a] > least) least = w->kernel[a];
    if (w->begin[a] > pad) pad = w->begin[a];
  }
  for (s->kernel = least; s->kernel <= LIP_CONV_MAX_KERNEL; s->kernel++)
    for (s->padding = pad; s->padding <= 1024 && s->padding <= pad + s->kernel * s->dilation; s->padding++)
      if (axis_fits(w, 0, s) && (w->n == 1 || axis_fits(w, 1, s))) return true;
  return false;
}

/* One stride and one dilation for both sides, where a side with one output or one tap does not care. */
static lip_status common_steps(const lip_onnx *o, const window *w, square *s) {
  *s = (square){.stride = w->stride[0], .dilation = w->dilation[0]};
  if (w->n == 1) return LIP_OK;
  if (w->stride[0] != w->stride[1]) {
    if (w->out[0] > 1 && w->out[1] > 1)
      return lip_onnx_refuse(o, "strides %lldx%lld: different ones are not supported",
                             (long long)w->stride[0], (long long)w->stride[1]);
    s->stride = w->out[0] > 1                                  ? w->stride[0]
                : w->out[1] > 1 || w->stride[1] > w->stride[0] ? w->stride[1]
                                                               : w->stride[0];
  }
  if (w->dilation[0] == w->dilation[1]) return LIP_OK;
  if (w->kernel[0] > 1 && w->kernel[1] > 1)
    return lip_onnx_refuse(o, "dilations %lldx%lld: different ones are not supported",
                           (long long)w->dilation[0], (long long)w->dilation[1]);
  s->dilation = w->dilation[w->kernel[0] > 1 ? 0 : 1];
  return LIP_OK;
}

static lip_status fit_square(const lip_onnx *o, const window *w, square *s) {
  lip_status status = common_steps(o, w, s);
  if (status || find_square(w, s)) return status;
  return lip_onnx_refuse(
      o,
      "kernel %lldx%lld with pads %lld, %lld, %lld, %lld: no square kernel up to %d with equal "
      "padding does the same",
      (long long)w->kernel[0], (long long)w->kernel[w->n - 1], (long long)w->begin[0],
      (long long)w->begin[w->n - 1], (long long)w->end[0], (long long)w->end[w->n - 1], LIP_CONV_MAX_KERNEL);
}

/* ---- Conv ---- */

/* The last side alone: what conv1d does along the rows of an image. */
static bool along_rows(const window *w) {
  return w->n == 2 && w->kernel[0] == 1 && w->kernel[1] > 1 && w->begin[0] == 0 && w->end[0] == 0 &&
         w->stride[0] == 1;
}

static window last_side(const window *w) {
  return (window){.n = 1,
                  .in = {w->in[1]},
                  .kernel = {w->kernel[1]},
                  .stride = {w->stride[1]},
                  .dilation = {w->dilation[1]},
                  .begin = {w->begin[1]},
                  .end = {w->end[1]},
                  .out = {w->out[1]}};
}

/* Taps of the file inside those of ours. */
static void place_taps(const window *w, const square *s, const float *from, size_t planes, float *to) {
  const size_t kh = w->n == 2 ? (size_t)w->kernel[0] : 1, kw = (size_t)w->kernel[w->n - 1];
  const size_t K = (size_t)s->kernel, K2 = w->n == 2 ? K * K : K;
  const size_t oy = w->n == 2 ? (size_t)s->offset[0] : 0, ox = (size_t)s->offset[w->n - 1];
  for (size_t p = 0; p < planes; p++)
    for (size_t y = 0; y < kh; y++)
      memcpy(to + p * K2 + (y + oy) * K + ox, from + (p * kh + y) * kw, kw * sizeof *to);
}

static lip_status tell_square(const lip_onnx *o, const window *w, const square *s) {
  bool same = true;
  for (int a = 0; a < w->n; a++) same = same && s->kernel == w->kernel[a] && s->offset[a] == 0;
  if (same) return LIP_OK;
  return lip_onnx_note(o,
                       "kernel %lldx%lld stands in one of %lld taps a side, the others 0, with padding %lld",
                       (long long)(w->n == 2 ? w->kernel[0] : 1), (long long)w->kernel[w->n - 1],
                       (long long)s->kernel, (long long)s->padding);
}

static lip_status put_conv(lip_onnx *o, lip_val *v, const lip_val *c, const window *w, int64_t groups) {
  square s;
  lip_status status = fit_square(o, w, &s);
  lip_piece *p = status ? NULL : lip_onnx_layer(o, v, w->n == 2 ? "conv2d" : "conv1d");
  if (!p) return status ? status : LIP_MEMORY;
  const struct {
    const char *name;
    int64_t v;
  } option[] = {{"channels", c->dim[0]},  {"kernel", s.kernel}, {"stride", s.stride}, {"padding", s.padding},
                {"dilation", s.dilation}, {"groups", groups},   {"bias", 0}};
  for (size_t i = 0; !status && i < sizeof option / sizeof *option; i++)
    status = lip_onnx_set(o, p, option[i].name, (double)option[i].v);
  const size_t planes = (size_t)(c->dim[0] * c->dim[1]);
  size_t n = (size_t)(w->n == 2 ? s.kernel * s.kernel : s.kernel);
  if (!status && !lip_mul_fits(planes, n, &n)) return lip_onnx_no_memory(o);
  float *W = status ? NULL : lip_onnx_array(o, p, "weight", n);
  if (!W) return status ? status : LIP_MEMORY;
  place_taps(w, &s, c->f, planes, W);
  return tell_square(o, w, &s);
}

/* The sides of what comes out, ours and the file's. */
static lip_status put_sides(const lip_onnx *o, lip_val *v, const window *w, int64_t channels) {
  int64_t dim[LIP_GRAPH_DIMS];
  memcpy(dim, v->dim, sizeof dim);
  dim[1] = channels;
  for (int a = 0; a < w->n; a++) dim[v->ndim - w->n + a] = w->out[a];
  for (int i = 0; i < v->here.ndim; i++) v->here.dim[i] = (size_t)dim[i + 1];
  return lip_val_dims(o, v, v->ndim, dim);
}

static lip_status conv(lip_onnx *o, lip_val *v) {
  char a[120], b[120];
  const lip_val *c = lip_onnx_in(o, 1), *bias = lip_onnx_in(o, 2);
  const int64_t groups = lip_onnx_int(o, "group", 1);
  window w = {.n = v->ndim - 2};
  lip_list list;
  if (!c || !c->f || (bias && !bias->f)) return lip_onnx_refuse(o, "needs constants as weights and bias");
  if (w.n < 1 || w.n > 2 || c->ndim != v->ndim || c->n == 0 || groups < 1 || c->dim[1] > INT64_MAX / groups ||
      c->dim[1] * groups != v->dim[1] || c->dim[0] % groups != 0)
    return lip_onnx_refuse(o, "weights %s in %lld groups do not fit the input %s, or it is no image",
                           lip_dims_text(c->dim, c->ndim, a, sizeof a), (long long)groups,
                           lip_dims_text(v->dim, v->ndim, b, sizeof b));
  for (int i = 0; i < w.n; i++) w.kernel[i] = c->dim[2 + i];
  lip_status status = lip_fold_finite(o, c->f, c->n);
  if (!status) status = read_window(o, v, true, &w);
  if (!status) status = lip_onnx_shape(o, v);
  if (status) return status;
  const window row = last_side(&w);
  status = put_conv(o, v, c, along_rows(&w) ? &row : &w, groups);
  if (!status) status = put_sides(o, v, &w, c->dim[0]);
  if (status || !bias) return status;
  if (bias->n != (size_t)c->dim[0]) return lip_onnx_refuse(o, "its bias has %zu numbers", bias->n);
  status = lip_fold_finite(o, bias->f, bias->n);
  list = (lip_list){bias->n, status ? NULL : lip_alloc(bias->n, sizeof(float))};
  if (!list.v) return status ? status : lip_onnx_no_memory(o);
  memcpy(list.v, bias->f, bias->n * sizeof(float));
  return lip_fold_bias(o, v, &list);
}

lip_status lip_onnx_conv(lip_onnx *o) {
  lip_val v = {0};
  lip_status status = lip_onnx_take_in(o, 0, &v);
  if (!status) status = conv(o, &v);
  return lip_onnx_end(o, &v, status);
}

/* ---- Pad ---- */

/* begin and end of every side: an attribute up to opset 10, then an input. */
static lip_status read_pad(const lip_onnx *o, const lip_val *v, const int64_t **pads) {
  const lip_graph_attribute *a = lip_graph_attribute_of(lip_onnx_node(o), "pads");
  const lip_val *in = lip_onnx_in(o, 1), *value = lip_onnx_in(o, 2);
  const size_t n = 2 * (size_t)v->ndim;
  *pads = in ? in->i : a && a->type == LIP_GRAPH_INTS ? a->ints : NULL;
  if (!*pads || (in ? in->n : a->n) != n || lip_onnx_in(o, 3))
    return lip_onnx_refuse(o, "needs a constant list of %zu pads, and no axes", n);
  if (strcmp(lip_onnx_text(o, "mode", "constant"), "constant") != 0 || lip_onnx_float(o, "value", 0) != 0 ||
      (value && (!value->f || value->n != 1 || value->f[0] != 0)))
    return lip_onnx_refuse(o, "with anything but zeros is not supported");
  return LIP_OK;
}

/* Zeros around the image wait for the window that takes them. */
static lip_status put_pad(lip_onnx *o, lip_val *v, const int64_t *pads) {
  lip_status status = lip_onnx_shape(o, v);
  lip_piece *p = status ? NULL : lip_alloc(1, sizeof *p);
  if (!p) return status ? status : lip_onnx_no_memory(o);
  p->what = LIP_PIECE_PAD;
  for (int a = 0; a < 2; a++) {
    const int i = v->ndim - 2 + a;
    if (i < 2) continue;
    p->pad[a] = (size_t)pads[i];
    p->pad[2 + a] = (size_t)pads[v->ndim + i];
  }
  return lip_run_push(o, &v->run, p);
}

/* Zeros behind all channels, or behind all features. */
static lip_status put_channels(lip_onnx *o, lip_val *v, int64_t more) {
  lip_status status = lip_onnx_shape(o, v);
  if (!status && v->map) status = lip_onnx_refuse(o, "its input comes from a Transpose");
  lip_piece *p = status ? NULL : lip_onnx_layer(o, v, "pad");
  if (!p) return status ? status : LIP_MEMORY;
  v->here.dim[0] += (size_t)more;
  return lip_onnx_set(o, p, "channels", (double)more);
}

static lip_status pad(lip_onnx *o, lip_val *v) {
  const int64_t *pads;
  int64_t dim[LIP_GRAPH_DIMS], sides = 0, others = 0;
  lip_status status = read_pad(o, v, &pads);
  if (status) return status;
  const int n = v->ndim;
  for (int i = 0; i < n; i++) {
    if (pads[i] < 0 || pads[n + i] < 0 || pads[i] > 1 << 20 || pads[n + i] > 1 << 20)
      return lip_onnx_refuse(o, "pads below 0 would cut, and are not supported");
    dim[i] = v->dim[i] + pads[i] + pads[n + i];
    if (i >= 2) sides += pads[i] + pads[n + i];
    if (i < 2) others += pads[i] + pads[n + i];
  }
  if (others > 0 && (n < 2 || sides > 0 || others != pads[n + 1]))
    return lip_onnx_refuse(o, "beside an image, behind all channels, or both at once is not supported");
  if (others > 0)
    status = put_channels(o, v, others);
  else if (sides > 0)
    status = n == 3 || n == 4 ? put_pad(o, v, pads) : lip_onnx_refuse(o, "of %d sides", n);
  return status ? status : lip_val_dims(o, v, n, dim);
}

lip_status lip_onnx_pad(lip_onnx *o) {
  lip_val v = {0};
  lip_status status = lip_onnx_take_in(o, 0, &v);
  if (!status) status = pad(o, &v);
  return lip_onnx_end(o, &v, status);
}

/* ---- pools ---- */

/* The same window as a square one of its own size, or a refusal. */
static lip_status read_pool(lip_onnx *o, lip_val *v, bool zeros, window *w, square *s) {
  w->n = 2;
  if (v->ndim != 4) return lip_onnx_refuse(o, "is supported for images, (batch, channels, height, width)");
  lip_status status = lip_onnx_ints(o, "kernel_shape", 2, 0, w->kernel);
  if (!status) status = read_window(o, v, zeros, w);
  if (!status) status = common_steps(o, w, s);
  if (status) return status;
  s->kernel = w->kernel[0];
  s->padding = w->begin[0];
  if (w->kernel[0] != w->kernel[1] || s->dilation != 1 || !axis_fits(w, 0, s) || !axis_fits(w, 1, s) ||
      s->offset[0] || s->offset[1])
    return lip_onnx_refuse(o, "is supported with a square kernel, equal padding and no dilation");
  if (lip_onnx_int(o, "ceil_mode", 0) != 0)
    for (int a = 0; a < 2; a++)
      if ((w->in[a] + w->begin[a] + w->end[a] - w->kernel[a]) % w->stride[a] != 0)
        return lip_onnx_refuse(o, "ceil_mode with windows that end outside of the image is not supported");
  return lip_onnx_shape(o, v);
}

static lip_status put_pool(lip_onnx *o, lip_val *v, const char *kind, const window *w, const square *s) {
  lip_piece *p = lip_onnx_layer(o, v, kind);
  lip_status status = p ? lip_onnx_set(o, p, "kernel", (double)s->kernel) : LIP_MEMORY;
  if (!status) status = lip_onnx_set(o, p, "stride", (double)s->stride);
  if (!status) status = lip_onnx_set(o, p, "padding", (double)s->padding);
  return status ? status : put_sides(o, v, w, v->dim[1]);
}

static bool power_of_two(size_t n) {
  return (n & (n - 1)) == 0;
}

static lip_status tell_mean(const lip_onnx *o, size_t pixels) {
  if (power_of_two(pixels)) return LIP_OK;
  return lip_onnx_note(o, "multiplies sums by the float32 number next to 1/%zu, not above it", pixels);
}

lip_status lip_onnx_average_pool(lip_onnx *o) {
  lip_val v = {0};
  window w = {0};
  square s = {0};
  const bool counted = lip_onnx_int(o, "count_include_pad", 0) != 0;
  lip_status status = lip_onnx_take_in(o, 0, &v);
  const lip_piece *p = status ? NULL : lip_run_last(&v.run);
  const bool padded = p && p->what == LIP_PIECE_PAD; /* those zeros count in any case */
  if (!status) status = read_pool(o, &v, true, &w, &s);
  if (!status && s.padding > 0 && !counted) {
    int64_t own[4];
    status = lip_onnx_ints(o, "pads", 4, 0, own);
    if (!status && (!padded || own[0] || own[1] || own[2] || own[3]))
      status =
          lip_onnx_refuse(o, "with padding that does not count (count_include_pad = 0) is not supported");
  }
  if (!status) status = put_pool(o, &v, "avg_pool2d", &w, &s);
  if (!status) status = tell_mean(o, (size_t)(s.kernel * s.kernel));
  return lip_onnx_end(o, &v, status);
}

lip_status lip_onnx_max_pool(lip_onnx *o) {
  lip_val v = {0};
  window w = {0};
  square s = {0};
  const lip_graph_node *n = lip_onnx_node(o);
  const bool root = strcmp(n->op, "LpPool") == 0;
  if (n->n_out > 1 && n->out[1] != LIP_GRAPH_NONE && o->val[n->out[1]].open > 0)
    return lip_onnx_refuse(o, "its second output (places) is used");
  if (root && lip_onnx_int(o, "p", 2) != 2)
    return lip_onnx_refuse(o, "with another p than 2 is not supported");
  lip_status status = lip_onnx_take_in(o, 0, &v);
  if (!status) status = read_pool(o, &v, false, &w, &s);
  if (!status) status = put_pool(o, &v, root ? "l2_pool2d" : "max_pool2d", &w, &s);
  return lip_onnx_end(o, &v, status);
}

lip_status lip_onnx_means(lip_onnx *o, bool keep) {
  lip_val v = {0};
  lip_status status = lip_onnx_take_in(o, 0, &v);
  if (!status && v.ndim != 4)
    status = lip_onnx_refuse(o, "is supported for images, (batch, channels, height, width)");
  if (!status) status = lip_onnx_shape(o, &v);
  if (!status && !lip_onnx_layer(o, &v, "global_avg_pool")) status = LIP_MEMORY;
  const size_t pixels = status ? 1 : (size_t)(v.dim[2] * v.dim[3]);
  if (!status) {
    v.here = (lip_shape){1, {(size_t)v.dim[1], 0, 0}};
    status = lip_val_dims(o, &v, keep ? 4 : 2, (int64_t[]){1, v.dim[1], 1, 1});
  }
  if (!status) status = tell_mean(o, pixels);
  return lip_onnx_end(o, &v, status);
}

lip_status lip_onnx_global_pool(lip_onnx *o) {
  return lip_onnx_means(o, true);
}
