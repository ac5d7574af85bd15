/* max_pool2d: y[c, oy, ox] = max over ky, kx < k of x[c, oy s + ky - pad, ox s + kx - pad], pixels outside of the image
 * being -inf: padding < kernel, so that every window meets the image.
 *
 *   dx_i = sum of dy over the windows whose largest value is pixel i. Equal values: the topmost row wins in every column,
 *          then the leftmost column
 *   constant  m^(1/q) for every p -> q with q >= p, exact (1 for inf); m is the largest number of windows that see one
 *             pixel. A maximum moves by at most the largest move d among its pixels, so ||y - y'||_q^q <=
 *             sum_o max_{i in o} |d_i|^q <= sum_i m |d_i|^q <= m ||d||_p^q. Attained where a pixel seen by m windows is
 *             the largest by far, and moves. For q = inf the maximum over o takes the place of the sum.
 *   float32   exact: a selection. NaN is larger than everything
 *   form      a tournament: in each round the values of every window meet in pairs, and the larger ones go on */
#include <math.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/form.h"
#include "core/layer/same_shape.h"
#include "core/layer/window.h"

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  const lip_window_conf *o = spec->conf;
  char shape[64];
  lip_status status = lip_window_plan(l, o, err);
  if (status) return status;
  if (o->padding >= o->kernel)
    return lip_fail(err, LIP_SHAPE,
                    "max_pool2d: padding %zu leaves windows %zux%zu without a pixel of the input %s",
                    o->padding, o->kernel, o->kernel, lip_shape_describe(&l->in, shape, sizeof shape));
  l->cache = lip_shape_size(&l->out); /* the pixel each value came from */
  l->scratch = l->in.dim[2] * (sizeof(float) + sizeof(uint32_t));
  return LIP_OK;
}

static void ordered(lip_layer *l) {
  l->scratch = l->in.dim[2] * lip_window_view_of(l).n * (sizeof(float) + sizeof(uint32_t));
}

/* The larger value and its place; NaN is kept. */
#define TAKE(y, at, x, place)                                                                                \
  do {                                                                                                       \
    bool more_ = (x) > (y) || (x) != (x);                                                                    \
    (y) = more_ ? (x) : (y);                                                                                 \
    (at) = more_ ? (place) : (at);                                                                           \
  } while (0)

/* One image: columns first (v, place), then neighbours in these. Places count from the first pixel inside the border. */
LIP_HOT static void image(const lip_window *g, const lip_window_view *side, float *restrict y,
                          uint32_t *restrict at, const float *restrict x, float *restrict v,
                          uint32_t *restrict place) {
  const size_t n = side->n, wide = g->W * n, row = side->x.row;
  for (size_t oy = 0; oy < g->OH; oy++, y += side->y.row, at += g->OW * n) {
    size_t from, to;
    lip_window_span(g, oy, g->H, &from, &to);
    for (size_t i = 0; i < wide; i++) v[i] = x[from * row + i], place[i] = (uint32_t)(from * row + i);
    for (size_t r = from + 1; r < to; r++)
      for (size_t i = 0; i < wide; i++) TAKE(v[i], place[i], x[r * row + i], (uint32_t)(r * row + i));
    for (size_t o = 0; o < g->OW; o++) {
      size_t first = o * g->stride > g->padding ? o * g->stride - g->padding : 0;
      for (size_t c = 0; c < n; c++) y[o * n + c] = v[first * n + c], at[o * n + c] = place[first * n + c];
    }
    for (size_t k = 0; k < g->kernel; k++) {
      lip_window_places(g, k, g->W, g->OW, &from, &to);
      const size_t s = g->stride, shift = from * s + k - g->padding;
      if (n > 1)
        for (size_t o = from; o < to; o++)
          for (size_t c = 0, p = (shift + (o - from) * s) * n; c < n; c++)
            TAKE(y[o * n + c], at[o * n + c], v[p + c], place[p + c]);
      else if (s == 1)
        for (size_t o = from; o < to; o++) TAKE(y[o], at[o], v[shift + o - from], place[shift + o - from]);
      else
        for (size_t o = from; o < to; o++)
          TAKE(y[o], at[o], v[shift + (o - from) * s], place[shift + (o - from) * s]);
    }
  }
}

static void image_back(const lip_window *g, const lip_window_view *side, float *dx, const float *dy,
                       const uint32_t *at) {
  const size_t wide = g->OW * side->n;
  for (size_t r = 0; r < g->H; r++)
    for (size_t i = 0; i < g->W * side->n; i++) dx[r * side->x.row + i] = 0;
  for (size_t oy = 0; oy < g->OH; oy++, dy += side->y.row, at += wide)
    for (size_t o = 0; o < wide; o++) dx[at[o]] += dy[o];
}

/* Of the images from row r on. */
static uint32_t *places(const lip_layer *l, size_t r) {
  return (uint32_t *)(void *)(l->kept + r * l->cache);
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const lip_window *g = l->state;
  const lip_window_view side = lip_window_view_of(l);
  const float *x = l->x + pass->r0 * l->x_row + side.x.first;
  float *y = l->y + pass->r0 * l->y_row + side.y.first, *v = pass->scratch;
  uint32_t *place = (uint32_t *)(void *)(v + g->W * side.n), *at = places(l, pass->r0);
  for (size_t i = 0; i < (pass->r1 - pass->r0) * side.images; i++)
    image(g, &side, y + i * side.y.image, at + i * (l->cache / side.images), x + i * side.x.image, v, place);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  const lip_window_view side = lip_window_view_of(l);
  const float *dy = lip_layer_dy(l, pass) + side.y.first;
  float *dx = lip_layer_dx(l, pass) + side.x.first;
  const uint32_t *at = places(l, pass->r0);
  for (size_t i = 0; i < (pass->r1 - pass->r0) * side.images; i++)
    image_back(l->state, &side, dx + i * side.x.image, dy + i * side.y.image,
               at + i * (l->cache / side.images));
}

LIP_HOT static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  const lip_window *g = l->state;
  for (size_t c = 0; c < B * g->C; c++, x += g->H * g->W)
    for (size_t oy = 0; oy < g->OH; oy++)
      for (size_t ox = 0; ox < g->OW; ox++, y++) {
        size_t top, bottom, left, right;
        lip_window_span(g, oy, g->H, &top, &bottom);
        lip_window_span(g, ox, g->W, &left, &right);
        *y = x[top * g->W + left];
        for (size_t r = top; r < bottom; r++)
          for (size_t i = left; i < right; i++) {
            double more = x[r * g->W + i];
            *y = more > *y || more != more ? more : *y;
          }
      }
}

static double constant(const lip_layer *l, lip_p q) {
  return lip_root((double)lip_window_plane(l->state).places, q);
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)err;
  return lip_constant_bound(pq, constant(l, pq.q), upper);
}

/* 0 goes to 0, so that the constant also bounds sizes. */
static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  double k = constant(l, pq.q);
  if (k == 1) return;
  d->size = lip_round_up(k * d->size);
  d->off = d->off == 0 ? 0 : lip_round_up(k * d->off);
}

/* Who is left of each window: its count, its values side by side in `from` (places of the last segment). */
typedef struct tournament {
  size_t windows, values;
  uint32_t *left, *from, *mate; /* (windows), (values) twice */
} tournament;

/* The pixels of all windows, into `from` and `left`; without a tournament they are counted only. */
static size_t gather_windows(const lip_window *g, tournament *t) {
  size_t n = 0, o = 0, top, bottom, left, right;
  for (size_t c = 0; c < g->C; c++)
    for (size_t oy = 0; oy < g->OH; oy++)
      for (size_t ox = 0; ox < g->OW; ox++, o++) {
        lip_window_span(g, oy, g->H, &top, &bottom);
        lip_window_span(g, ox, g->W, &left, &right);
        if (t) t->left[o] = (uint32_t)((bottom - top) * (right - left));
        if (!t) n += (bottom - top) * (right - left);
        for (size_t r = top; t && r < bottom; r++)
          for (size_t i = left; i < right; i++) t->from[n++] = (uint32_t)((c * g->H + r) * g->W + i);
      }
  return n;
}

/* Pairs of this round, and which places go on. False: every window has one value. */
static bool next_round(tournament *t) {
  size_t at = 0, n = 0, windows = 0;
  for (size_t o = 0; o < t->windows; o++) {
    size_t left = t->left[o];
    for (size_t i = 0; i < left; i++, at++) {
      t->mate[at] = (uint32_t)(i % 2 ? at - 1 : i + 1 < left ? at + 1 : at);
      if (i % 2 == 0) t->from[n++] = (uint32_t)at;
    }
    windows += left > 1;
    t->left[o] = (uint32_t)((left + 1) / 2);
  }
  t->values = n;
  return windows > 0;
}

static bool form(const lip_layer *l, lip_form *f) {
  size_t values = gather_windows(l->state, NULL);
  if (values > LIP_FORM_MOST) return f->too_large(f);
  tournament t = {l->n_out, values, NULL, NULL, NULL};
  t.left = lip_alloc(l->n_out, sizeof *t.left);
  t.from = lip_alloc(values, sizeof *t.from);
  t.mate = lip_alloc(values, sizeof *t.mate);
  bool known = t.left && t.from && t.mate;
  if (known) {
    (void)gather_windows(l->state, &t);
    known = f->gather(f, t.from, values);
    while (known && next_round(&t)) known = f->exchange(f, t.mate, true) && f->gather(f, t.from, t.values);
  } else {
    (void)f->no_memory(f);
  }
  lip_free(t.left);
  lip_free(t.from);
  lip_free(t.mate);
  return known;
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_window_emit(l, e, x, LIP_EMIT_MAX, l->state, 1);
}

const lip_layer_kind lip_layer_max_pool2d = {
    .desc = {"max_pool2d", "largest value of windows", lip_window_options, sizeof(lip_window_conf)},
    .flags = LIP_LAYER_EITHER_ORDER,
    .plan = plan,
    .ordered = ordered,
    .release = lip_window_release,
    .forward = forward,
    .backward = backward,
    .wide = wide,
    .bound = bound,
    .form = form,
    .emit = emit,
    .deviate = deviate,
};
