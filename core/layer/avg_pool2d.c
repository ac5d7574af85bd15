/* avg_pool2d: y[c, oy, ox] = w * sum over ky, kx < k of x[c, oy s + ky - pad, ox s + kx - pad], pixels outside of the
 * image being 0. w is the largest float32 number that is at most 1 / k^2: also at the border the sum is divided by all of
 * k^2, the padding is counted (PyTorch's count_include_pad = True).
 *
 *   dx_i = w * sum of dy over the windows that see pixel i
 *   constant  exact. A channel's matrix is w R_y (x) R_x (Kronecker), R_y (OH, H) and R_x (OW, W) of zeros and ones.
 *             1->q is the largest q-norm of a column, p->inf the largest p*-norm of a row, and columns, rows and singular
 *             values of a Kronecker product are products: ||R_y (x) R_x|| = ||R_y|| ||R_x|| for each step with q >= p.
 *             All channels have the same matrix A: (sum_c ||A x_c||_q^q)^(1/q) <= ||A|| (sum_c ||x_c||_p^q)^(1/q)
 *             <= ||A|| ||x||_p, as q >= p, with equality on one channel.
 *             On an axis whose fullest column has c ones and row r: 1->q is c^(1/q), p->inf is r^(1/p*); 2->2 is sqrt(r)
 *             for windows side by side (rows with disjoint supports), sqrt(c) for windows of one pixel, otherwise
 *             proved by opnorm.h, or above 256 pixels sqrt(c r) (Schur 1911; above the exact one by about (k/H)^2)
 *   float32   at most k^2 products and additions a place: |error| <= (k^2 + 2) u w sum|x|, as for dense */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"
#include "core/layer/window.h"
#include "core/norm/opnorm.h"

typedef struct average {
  lip_window g; /* first: the state of a layer with windows */
  float w;
  lip_window_count y, x; /* of the axes */
  double two;            /* >= ||R_y|| ||R_x|| in norm 2 */
} average;

enum { WRITTEN_OUT = 256 };

/* >= ||R||_2 of one axis. */
static lip_status axis_norm(const lip_window *g, lip_window_count m, size_t n, size_t out, double *upper,
                            lip_err *err) {
  *upper = lip_root((double)(m.places * m.pixels), LIP_P2);
  if (m.places <= 1 || m.pixels <= 1 || n > WRITTEN_OUT || out > WRITTEN_OUT) return LIP_OK;
  float *R = lip_alloc(out * n, sizeof *R);
  if (!R) return lip_fail(err, LIP_MEMORY, "avg_pool2d: no memory for its norm");
  memset(R, 0, out * n * sizeof *R);
  for (size_t o = 0; o < out; o++) {
    size_t from, to;
    lip_window_span(g, o, n, &from, &to);
    for (size_t i = from; i < to; i++) R[o * n + i] = 1;
  }
  double proved;
  lip_status status = lip_opnorm_upper(R, out, n, (lip_pq){LIP_P2, LIP_P2}, &proved, err);
  if (!status) *upper = fmin(*upper, proved);
  lip_free(R);
  return status;
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  lip_status status = lip_window_plan(l, spec->conf, err);
  if (status) return status;
  average *a = lip_alloc(1, sizeof *a);
  if (!a) return lip_fail(err, LIP_MEMORY, "avg_pool2d: out of memory");
  a->g = *(const lip_window *)l->state;
  lip_free(l->state);
  l->state = a;
  const lip_window *g = &a->g;
  const double pixels = (double)(g->kernel * g->kernel);
  a->w = (float)(1 / pixels);
  if ((double)a->w * pixels > 1) a->w = nextafterf(a->w, 0); /* an exact product: 24 and 21 bits */
  a->y = lip_window_axis(g, g->H, g->OH);
  a->x = lip_window_axis(g, g->W, g->OW);
  double y, x;
  status = axis_norm(g, a->y, g->H, g->OH, &y, err);
  if (!status) status = axis_norm(g, a->x, g->W, g->OW, &x, err);
  if (status) return status;
  a->two = lip_round_up(y * x);
  l->scratch = g->W * sizeof(float);
  return LIP_OK;
}

static void ordered(lip_layer *l) {
  const average *a = l->state;
  l->scratch = a->g.W * lip_window_view_of(l).n * sizeof(float);
}

/* `count` pixels of n numbers, y[o] += t[o step], and back. */
LIP_INLINE void gather(float *restrict y, const float *restrict t, size_t count, size_t step, size_t n) {
  if (n > 1)
    for (size_t o = 0; o < count; o++)
      for (size_t c = 0; c < n; c++) y[o * n + c] += t[o * step * n + c];
  else if (step == 1)
    for (size_t o = 0; o < count; o++) y[o] += t[o];
  else if (step == 2)
    for (size_t o = 0; o < count; o++) y[o] += t[2 * o];
  else
    for (size_t o = 0; o < count; o++) y[o] += t[o * step];
}

LIP_INLINE void scatter(float *restrict t, const float *restrict y, size_t count, size_t step, size_t n) {
  if (n > 1)
    for (size_t o = 0; o < count; o++)
      for (size_t c = 0; c < n; c++) t[o * step * n + c] += y[o * n + c];
  else if (step == 1)
    for (size_t o = 0; o < count; o++) t[o] += y[o];
  else if (step == 2)
    for (size_t o = 0; o < count; o++) t[2 * o] += y[o];
  else
    for (size_t o = 0; o < count; o++) t[o * step] += y[o];
}

/* One image, row by row: t = w times the sum of the rows of the window, then sums of neighbours in t. */
LIP_HOT static void image(const average *a, const lip_window_view *v, float *restrict y,
                          const float *restrict x, float *restrict t) {
  const lip_window *g = &a->g;
  const size_t n = v->n, wide = g->W * n;
  for (size_t oy = 0; oy < g->OH; oy++, y += v->y.row) {
    size_t from, to;
    lip_window_span(g, oy, g->H, &from, &to);
    for (size_t i = 0; i < wide; i++) t[i] = 0;
    for (size_t r = from; r < to; r++)
      for (size_t i = 0; i < wide; i++) t[i] += a->w * x[r * v->x.row + i];
    for (size_t o = 0; o < g->OW * n; o++) y[o] = 0;
    for (size_t k = 0; k < g->kernel; k++) {
      lip_window_places(g, k, g->W, g->OW, &from, &to);
      if (from < to)
        gather(y + from * n, t + (from * g->stride + k - g->padding) * n, to - from, g->stride, n);
    }
  }
}

LIP_HOT static void image_back(const average *a, const lip_window_view *v, float *restrict dx,
                               const float *restrict dy, float *restrict t) {
  const lip_window *g = &a->g;
  const size_t n = v->n, wide = g->W * n;
  for (size_t r = 0; r < g->H; r++)
    for (size_t i = 0; i < wide; i++) dx[r * v->x.row + i] = 0;
  for (size_t oy = 0; oy < g->OH; oy++, dy += v->y.row) {
    size_t from, to;
    for (size_t i = 0; i < wide; i++) t[i] = 0;
    for (size_t k = 0; k < g->kernel; k++) {
      lip_window_places(g, k, g->W, g->OW, &from, &to);
      if (from < to)
        scatter(t + (from * g->stride + k - g->padding) * n, dy + from * n, to - from, g->stride, n);
    }
    lip_window_span(g, oy, g->H, &from, &to);
    for (size_t r = from; r < to; r++)
      for (size_t i = 0; i < wide; i++) dx[r * v->x.row + i] += a->w * t[i];
  }
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const lip_window_view v = lip_window_view_of(l);
  const float *x = l->x + pass->r0 * l->x_row + v.x.first;
  float *y = l->y + pass->r0 * l->y_row + v.y.first;
  for (size_t i = 0; i < (pass->r1 - pass->r0) * v.images; i++)
    image(l->state, &v, y + i * v.y.image, x + i * v.x.image, pass->scratch);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  const lip_window_view v = lip_window_view_of(l);
  const float *dy = lip_layer_dy(l, pass) + v.y.first;
  float *dx = lip_layer_dx(l, pass) + v.x.first;
  for (size_t i = 0; i < (pass->r1 - pass->r0) * v.images; i++)
    image_back(l->state, &v, dx + i * v.x.image, dy + i * v.y.image, pass->scratch);
}

LIP_HOT static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  const average *a = l->state;
  const lip_window *g = &a->g;
  for (size_t c = 0; c < B * g->C; c++, x += g->H * g->W)
    for (size_t oy = 0; oy < g->OH; oy++)
      for (size_t ox = 0; ox < g->OW; ox++, y++) {
        size_t top, bottom, left, right;
        lip_window_span(g, oy, g->H, &top, &bottom);
        lip_window_span(g, ox, g->W, &left, &right);
        *y = 0;
        for (size_t r = top; r < bottom; r++)
          for (size_t i = left; i < right; i++) *y += (double)a->w * x[r * g->W + i];
      }
}

/* >= the norm of one axis. */
static double axis(lip_window_count m, lip_pq pq) {
  return pq.p == LIP_P1 ? lip_root((double)m.places, pq.q) : lip_root((double)m.pixels, lip_p_dual(pq.p));
}

static double norm_upper(const lip_layer *l, lip_pq pq) {
  const average *a = l->state;
  if (a->y.pixels == 0 || a->x.pixels == 0) return 0; /* no window meets the image */
  double ones = pq.p == LIP_P2 && pq.q == LIP_P2 ? a->two : axis(a->y, pq) * axis(a->x, pq);
  bool whole = pq.p == LIP_PINF || pq.q == LIP_PINF ? pq.p != LIP_P2 : pq.q == LIP_P1;
  return whole ? (double)a->w * ones
               : lip_round_up((double)a->w * ones); /* w times a whole number is exact */
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)err;
  if (lip_pq_tractable(pq)) *upper = norm_upper(l, pq);
  return LIP_OK;
}

/* Row (c, oy, ox) holds w at the pixels of its window. */
static void matrix(const lip_layer *l, float *W, float *b) {
  const average *a = l->state;
  const lip_window *g = &a->g;
  memset(W, 0, l->n_out * l->n_in * sizeof *W);
  memset(b, 0, l->n_out * sizeof *b);
  for (size_t o = 0; o < l->n_out; o++) {
    size_t top, bottom, left, right;
    float *row = W + o * l->n_in + o / (g->OH * g->OW) * g->H * g->W;
    lip_window_span(g, o / g->OW % g->OH, g->H, &top, &bottom);
    lip_window_span(g, o % g->OW, g->W, &left, &right);
    for (size_t r = top; r < bottom; r++)
      for (size_t i = left; i < right; i++) row[r * g->W + i] = a->w;
  }
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  const average *a = l->state;
  const double terms = (double)(a->g.kernel * a->g.kernel) + 2, kappa = terms * 0x1p-24;
  double norm = lip_round_up(norm_upper(l, pq)), executed = norm * (d->size + d->off);
  double underflow = 2 * terms * (double)FLT_MIN * lip_ones_norm(l->n_out, pq.q);
  bool fits = executed * (1 + 2 * kappa) < (double)FLT_MAX / 2;
  d->off = fits ? lip_round_up(norm * d->off + kappa * (1 + 2 * kappa) * executed) + underflow : INFINITY;
  d->size = lip_round_up(norm * d->size);
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  const average *a = l->state;
  return lip_window_emit(l, e, x, LIP_EMIT_MEAN, &a->g, a->w);
}

const lip_layer_kind lip_layer_avg_pool2d = {
    .desc = {"avg_pool2d", "mean over windows, zeros around the image counted", lip_window_options,
             sizeof(lip_window_conf)},
    .flags = LIP_LAYER_EITHER_ORDER,
    .plan = plan,
    .ordered = ordered,
    .release = lip_window_release,
    .forward = forward,
    .backward = backward,
    .wide = wide,
    .bound = bound,
    .matrix = matrix,
    .emit = emit,
    .deviate = deviate,
};
