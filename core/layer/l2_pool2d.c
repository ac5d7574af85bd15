/* l2_pool2d: y[c, oy, ox] = sqrt(sum over ky, kx < k of x[c, oy s + ky - pad, ox s + kx - pad]^2), pixels outside of the
 * image being 0.
 *
 *   dx_i = x_i * sum of dy / y over the windows that see pixel i; a window with y = 0 adds 0 (a subgradient)
 *   constant  exact. A norm moves by at most the norm g_o(d) = ||d in window o||_2 of the move d, and from x = 0 by just
 *             that, so the constant is the largest ||(g_o(d))_o||_q over ||d||_p <= 1. With m windows that see one pixel
 *             and n pixels in one window, at most:
 *               1->q    m^(1/q): a convex function of d, so largest at a corner, one pixel alone
 *               2->2    sqrt(m): sum_o g_o^2 <= m ||d||_2^2, attained by one pixel
 *               2->inf  1: g_o <= ||d||_2, attained by one pixel
 *               inf     sqrt(n): g_o <= sqrt(n) max|d|, attained by equal pixels
 *             Windows side by side: 1 in norm 2.
 *   float32   squares and sums in double, which neither overflow nor vanish there, then one rounding. What is stated,
 *             (n/2 + 3) u y, also covers the double mode, where the sums round like everything else
 * Not a map of single numbers, nor linear: bounds that look through a net do not know it. */
#include <float.h>
#include <math.h>

#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"
#include "core/layer/window.h"

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  lip_status status = lip_window_plan(l, spec->conf, err);
  if (status) return status;
  l->scratch = (l->in.dim[2] + l->out.dim[2]) * sizeof(double);
  return LIP_OK;
}

static void ordered(lip_layer *l) {
  l->scratch = (l->in.dim[2] + l->out.dim[2]) * lip_window_view_of(l).n * sizeof(double);
}

/* One image: t = sums of squares of columns, then s = sums of neighbours in t. */
LIP_HOT static void image(const lip_window *g, const lip_window_view *v, float *restrict y,
                          const float *restrict x, double *restrict t, double *restrict s) {
  const size_t n = v->n, wide = g->W * n, row = v->x.row;
  for (size_t oy = 0; oy < g->OH; oy++, y += v->y.row) {
    size_t from, to;
    lip_window_span(g, oy, g->H, &from, &to);
    for (size_t i = 0; i < wide; i++) t[i] = 0;
    for (size_t r = from; r < to; r++)
      for (size_t i = 0; i < wide; i++) t[i] += (double)x[r * row + i] * (double)x[r * row + i];
    for (size_t o = 0; o < g->OW * n; o++) s[o] = 0;
    for (size_t k = 0; k < g->kernel; k++) {
      lip_window_places(g, k, g->W, g->OW, &from, &to);
      for (size_t o = from; o < to; o++)
        for (size_t c = 0, p = (o * g->stride + k - g->padding) * n; c < n; c++) s[o * n + c] += t[p + c];
    }
    for (size_t o = 0; o < g->OW * n; o++) y[o] = (float)sqrt(s[o]);
  }
}

/* s = dy / y, t = sums of s over the windows that see a column. */
LIP_HOT static void image_back(const lip_window *g, const lip_window_view *v, float *restrict dx,
                               const float *restrict dy, const float *restrict x, const float *restrict y,
                               double *restrict t, double *restrict s) {
  const size_t n = v->n, wide = g->W * n, row = v->x.row;
  for (size_t r = 0; r < g->H; r++)
    for (size_t i = 0; i < wide; i++) dx[r * row + i] = 0;
  for (size_t oy = 0; oy < g->OH; oy++, y += v->y.row, dy += v->y.row) {
    size_t from, to;
    for (size_t o = 0; o < g->OW * n; o++) s[o] = y[o] == 0 ? 0 : (double)dy[o] / (double)y[o];
    for (size_t i = 0; i < wide; i++) t[i] = 0;
    for (size_t k = 0; k < g->kernel; k++) {
      lip_window_places(g, k, g->W, g->OW, &from, &to);
      for (size_t o = from; o < to; o++)
        for (size_t c = 0, p = (o * g->stride + k - g->padding) * n; c < n; c++) t[p + c] += s[o * n + c];
    }
    lip_window_span(g, oy, g->H, &from, &to);
    for (size_t r = from; r < to; r++)
      for (size_t i = 0; i < wide; i++) dx[r * row + i] += (float)((double)x[r * row + i] * t[i]);
  }
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const lip_window *g = l->state;
  const lip_window_view v = lip_window_view_of(l);
  const float *x = l->x + pass->r0 * l->x_row + v.x.first;
  float *y = l->y + pass->r0 * l->y_row + v.y.first;
  double *t = pass->scratch;
  for (size_t i = 0; i < (pass->r1 - pass->r0) * v.images; i++)
    image(g, &v, y + i * v.y.image, x + i * v.x.image, t, t + g->W * v.n);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  const lip_window *g = l->state;
  const lip_window_view v = lip_window_view_of(l);
  const float *x = l->x + pass->r0 * l->x_row + v.x.first, *dy = lip_layer_dy(l, pass) + v.y.first;
  const float *y = l->y + pass->r0 * l->y_row + v.y.first;
  float *dx = lip_layer_dx(l, pass) + v.x.first;
  double *t = pass->scratch;
  for (size_t i = 0; i < (pass->r1 - pass->r0) * v.images; i++)
    image_back(g, &v, dx + i * v.x.image, dy + i * v.y.image, x + i * v.x.image, y + i * v.y.image, t,
               t + g->W * v.n);
}

LIP_HOT static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  const lip_window *g = l->state;
  for (size_t c = 0; c < B * g->C; c++, x += g->H * g->W)
    for (size_t oy = 0; oy < g->OH; oy++)
      for (size_t ox = 0; ox < g->OW; ox++, y++) {
        size_t top, bottom, left, right;
        lip_window_span(g, oy, g->H, &top, &bottom);
        lip_window_span(g, ox, g->W, &left, &right);
        double sum = 0;
        for (size_t r = top; r < bottom; r++)
          for (size_t i = left; i < right; i++) sum += x[r * g->W + i] * x[r * g->W + i];
        *y = sqrt(sum);
      }
}

static double constant(const lip_layer *l, lip_pq pq) {
  lip_window_count m = lip_window_plane(l->state);
  if (m.pixels == 0) return 0; /* no window meets the image */
  return pq.p == LIP_PINF ? lip_root((double)m.pixels, LIP_P2) : lip_root((double)m.places, pq.q);
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)err;
  return lip_constant_bound(pq, constant(l, pq), upper);
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  const lip_window *g = l->state;
  const double kappa = ((double)(g->kernel * g->kernel) / 2 + 3) * 0x1p-24;
  double k = constant(l, pq), rounding = kappa * (1 + 2 * kappa) * k * (d->size + d->off);
  d->off = lip_round_up(k * d->off + rounding) + 2 * (double)FLT_MIN * lip_ones_norm(l->n_out, pq.q);
  d->size = lip_round_up(k * d->size);
  lip_check_overflow(d);
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_window_emit(l, e, x, LIP_EMIT_L2, l->state, 1);
}

const lip_layer_kind lip_layer_l2_pool2d = {
    .desc = {"l2_pool2d", "Euclidean norm of windows", lip_window_options, sizeof(lip_window_conf)},
    .flags = LIP_LAYER_EITHER_ORDER,
    .plan = plan,
    .ordered = ordered,
    .release = lip_window_release,
    .forward = forward,
    .backward = backward,
    .wide = wide,
    .bound = bound,
    .emit = emit,
    .deviate = deviate,
};
