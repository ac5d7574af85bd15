#include "core/layer/window.h"

#include <math.h>

#include "core/base/mem.h"
#include "core/layer/same_shape.h"

const lip_opt lip_window_options[] = {
    {.name = "kernel",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(lip_window_conf, kernel),
     .def = 2,
     .low = 1,
     .high = 1024,
     .help = "height and width of the window"},
    {.name = "stride",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(lip_window_conf, stride),
     .low = 0,
     .high = 1024,
     .help = "step from one window to the next; 0: the kernel, side by side"},
    {.name = "padding",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(lip_window_conf, padding),
     .low = 0,
     .high = 1024,
     .help = "pixels around the image"},
    {.name = NULL},
};

lip_status lip_window_plan(lip_layer *l, const lip_window_conf *o, lip_err *err) {
  const char *name = l->kind->desc.name;
  char shape[64];
  lip_shape_describe(&l->in, shape, sizeof shape);
  if (l->in.ndim != 3)
    return lip_fail(err, LIP_SHAPE, "%s: expects an input of channels x height x width, got %s", name, shape);
  const size_t C = l->in.dim[0], H = l->in.dim[1], W = l->in.dim[2], k = o->kernel, pad = o->padding;
  const size_t s = o->stride ? o->stride : k;
  if (H + 2 * pad < k || W + 2 * pad < k)
    return lip_fail(err, LIP_SHAPE,
                    "%s: the window %zux%zu is larger than the input %s with padding %zu; give a smaller "
                    "kernel or more padding",
                    name, k, k, shape, pad);
  if (H * W > UINT32_MAX / 2)
    return lip_fail(err, LIP_SHAPE, "%s: the input %s has too many pixels", name, shape);
  lip_window *g = lip_alloc(1, sizeof *g);
  if (!g) return lip_fail(err, LIP_MEMORY, "%s: out of memory", name);
  l->state = g; /* released by layer.c from here on */
  *g = (lip_window){C, H, W, k, s, pad, (H + 2 * pad - k) / s + 1, (W + 2 * pad - k) / s + 1};
  l->out = (lip_shape){3, {C, g->OH, g->OW}};
  return LIP_OK;
}

void lip_window_release(lip_layer *l) {
  lip_free(l->state);
}

void lip_window_span(const lip_window *g, size_t o, size_t n, size_t *from, size_t *to) {
  size_t first = o * g->stride, last = first + g->kernel; /* in the padded image */
  *from = first > g->padding ? first - g->padding : 0;
  *to = last > g->padding ? last - g->padding : 0;
  if (*to > n) *to = n;
  if (*from > *to) *from = *to;
}

void lip_window_places(const lip_window *g, size_t k, size_t n, size_t out, size_t *from, size_t *to) {
  const size_t s = g->stride, end = n + g->padding; /* pixels end there in the padded image */
  *from = k < g->padding ? (g->padding - k + s - 1) / s : 0;
  *to = k < end ? (end - k + s - 1) / s : 0;
  if (*to > out) *to = out;
  if (*from > *to) *from = *to;
}

static lip_window_side side_of(const lip_shape *s, lip_order order) {
  const size_t C = s->dim[0], H = s->dim[1], W = s->dim[2], b = order.border;
  if (!order.pixels) return (lip_window_side){0, H * W, W};
  const size_t row = (W + 2 * b) * C;
  return (lip_window_side){b * row + b * C, (H + 2 * b) * row, row};
}

lip_window_view lip_window_view_of(const lip_layer *l) {
  const bool pixels = l->x_order.pixels;
  return (lip_window_view){pixels ? l->in.dim[0] : 1, pixels ? 1 : l->in.dim[0], side_of(&l->in, l->x_order),
                           side_of(&l->out, l->y_order)};
}

lip_window_count lip_window_axis(const lip_window *g, size_t n, size_t out) {
  lip_window_count most = {0, 0};
  size_t first = 0; /* place that still sees the pixel a place begins with */
  for (size_t o = 0; o < out; o++) {
    size_t from, to, f, t;
    lip_window_span(g, o, n, &from, &to);
    if (from == to) continue;
    if (to - from > most.pixels) most.pixels = to - from;
    for (; lip_window_span(g, first, n, &f, &t), t <= from; first++) {
    }
    if (o - first + 1 > most.places) most.places = o - first + 1; /* all of these see pixel `from` */
  }
  return most;
}

lip_window_count lip_window_plane(const lip_window *g) {
  lip_window_count y = lip_window_axis(g, g->H, g->OH), x = lip_window_axis(g, g->W, g->OW);
  return (lip_window_count){y.places * x.places, y.pixels * x.pixels};
}

double lip_root(double m, lip_p q) {
  return q == LIP_P1 ? m : q == LIP_PINF || m == 1 ? 1 : m == 0 ? 0 : lip_round_up(sqrt(m));
}

size_t lip_window_emit(const lip_layer *l, lip_emit *e, size_t x, lip_emit_pool how, const lip_window *g,
                       float factor) {
  return lip_emit_add(e,
                      &(lip_emit_step){.op = LIP_EMIT_POOL,
                                       .out = l->out,
                                       .u.pool = {.how = how,
                                                  .kernel = {g->kernel, g->kernel},
                                                  .stride = {g->stride, g->stride},
                                                  .padding = {g->padding, g->padding},
                                                  .factor = factor}},
                      &x, 1);
}
