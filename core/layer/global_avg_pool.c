/* global_avg_pool: y_c = w * sum of the S = H W pixels of channel c; w is the largest float32 number that is at most 1 / S.
 * {C, H, W} becomes {C}.
 *
 *   dx = w dy_c for every pixel of channel c
 *   constant  exact: each channel is the row w (1, ..., 1), of norm w ||1||_{p*} from p to any q, that is w for p = 1,
 *             w sqrt(S) for 2, w S <= 1 for inf. Channels do not mix: (sum_c |y_c|^q)^(1/q) <= w ||1||_{p*}
 *             (sum_c ||x_c||_p^q)^(1/q) <= w ||1||_{p*} ||x||_p for q >= p, with equality on one channel
 *   float32   S products and additions in some order: |error| <= (S + 2) u w sum|x|, as for dense */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"

enum { MOST_PIXELS = 1 << 29, LANES = 16 };

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)spec, (void)p;
  char shape[64];
  lip_shape_describe(&l->in, shape, sizeof shape);
  if (l->in.ndim != 3)
    return lip_fail(err, LIP_SHAPE, "global_avg_pool: expects an input of channels x height x width, got %s",
                    shape);
  const size_t S = l->in.dim[1] * l->in.dim[2];
  if (S > MOST_PIXELS)
    return lip_fail(err, LIP_SHAPE, "global_avg_pool: the input %s has too many pixels", shape);
  float *w = lip_alloc(1, sizeof *w);
  if (!w) return lip_fail(err, LIP_MEMORY, "global_avg_pool: out of memory");
  *w = (float)(1 / (double)S);
  if ((double)*w * (double)S > 1) *w = nextafterf(*w, 0); /* an exact product: 24 and 29 bits */
  l->state = w;
  l->out = (lip_shape){1, {l->in.dim[0], 0, 0}};
  return LIP_OK;
}

static void release(lip_layer *l) {
  lip_free(l->state);
}

static float weight(const lip_layer *l) {
  return *(const float *)l->state;
}

static size_t pixels(const lip_layer *l) {
  return l->in.dim[1] * l->in.dim[2];
}

/* Sums in lanes of their own: one order on every processor. */
LIP_HOT static void means(float *restrict y, const float *restrict x, float w, size_t n, size_t S) {
  for (size_t c = 0; c < n; c++, x += S) {
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= S; i += LANES)
      for (size_t k = 0; k < LANES; k++) lane[k] += w * x[i + k];
    for (; i < S; i++) lane[i % LANES] += w * x[i];
    float sum = lane[0];
    for (size_t k = 1; k < LANES; k++) sum += lane[k];
    y[c] = sum;
  }
}

LIP_HOT static void means_back(float *restrict dx, const float *restrict dy, float w, size_t n, size_t S) {
  for (size_t c = 0; c < n; c++)
    for (size_t i = c * S; i < (c + 1) * S; i++) dx[i] = w * dy[c];
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  means(l->y + pass->r0 * l->n_out, l->x + pass->r0 * l->n_in, weight(l), (pass->r1 - pass->r0) * l->n_out,
        pixels(l));
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  means_back(l->dx + pass->r0 * l->n_in, l->dy + pass->r0 * l->n_out, weight(l),
             (pass->r1 - pass->r0) * l->n_out, pixels(l));
}

static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  const size_t S = pixels(l);
  for (size_t c = 0; c < B * l->n_out; c++) {
    y[c] = 0;
    for (size_t i = c * S; i < (c + 1) * S; i++) y[c] += (double)weight(l) * x[i];
  }
}

static double norm_upper(const lip_layer *l, lip_p p) {
  const double w = (double)weight(l), S = (double)pixels(l);
  return p == LIP_P1 ? w : p == LIP_PINF ? w * S : lip_round_up(w * sqrt(S));
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)err;
  return lip_constant_bound(pq, norm_upper(l, pq.p), upper);
}

static void matrix(const lip_layer *l, float *W, float *b) {
  const size_t S = pixels(l);
  memset(W, 0, l->n_out * l->n_in * sizeof *W);
  memset(b, 0, l->n_out * sizeof *b);
  for (size_t c = 0; c < l->n_out; c++)
    for (size_t i = c * S; i < (c + 1) * S; i++) W[c * l->n_in + i] = weight(l);
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  const double terms = (double)pixels(l) + 2, kappa = terms * 0x1p-24;
  double norm = lip_round_up(norm_upper(l, pq.p)), executed = norm * (d->size + d->off);
  double underflow = 2 * terms * (double)FLT_MIN * lip_ones_norm(l->n_out, pq.q);
  bool fits = kappa < 0.25 && executed * (1 + 2 * kappa) < (double)FLT_MAX / 2;
  d->off = fits ? lip_round_up(norm * d->off + kappa * (1 + 2 * kappa) * executed) + underflow : INFINITY;
  d->size = lip_round_up(norm * d->size);
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  const size_t H = l->in.dim[1], W = l->in.dim[2];
  return lip_emit_add(
      e,
      &(lip_emit_step){
          .op = LIP_EMIT_POOL,
          .out = l->out,
          .u.pool = {.how = LIP_EMIT_MEAN, .kernel = {H, W}, .stride = {H, W}, .factor = weight(l)}},
      &x, 1);
}

const lip_layer_kind lip_layer_global_avg_pool = {
    .desc = {"global_avg_pool", "mean of every channel", NULL, 0},
    .plan = plan,
    .release = release,
    .forward = forward,
    .backward = backward,
    .wide = wide,
    .bound = bound,
    .matrix = matrix,
    .emit = emit,
    .deviate = deviate,
};
