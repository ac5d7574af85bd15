/* relu: y = max(x, 0).
 *
 *   dx = dy where x > 0, else 0 (0 at the kink)
 *   constant  1 for every p -> q with q >= p (slopes in [0, 1]; norms fall as the exponent grows)
 *   float32   exact: a selection */
#include <math.h>

#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"

static lip_status relu_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  (void)l, (void)spec, (void)plan, (void)err;
  return LIP_OK;
}

LIP_HOT static void relu(float *restrict y, const float *restrict x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = x[i] <= 0 ? 0 : x[i]; /* NaN passes */
}

LIP_HOT static void relu_back(float *restrict dx, const float *restrict dy, const float *restrict x,
                              size_t n) {
  for (size_t i = 0; i < n; i++) dx[i] = x[i] <= 0 ? 0 : dy[i];
}

static void relu_forward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->x_row, n = (pass->r1 - pass->r0) * l->x_row;
  relu(l->y + at, l->x + at, n);
}

static void relu_backward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->x_row, n = (pass->r1 - pass->r0) * l->x_row;
  relu_back(lip_layer_dx(l, pass), lip_layer_dy(l, pass), l->x + at, n);
}

LIP_HOT static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  for (size_t i = 0; i < B * l->n_in; i++) y[i] = x[i] <= 0 ? 0 : x[i];
}

static lip_status relu_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)l, (void)err;
  if (pq.q >= pq.p) *upper = 1;
  return LIP_OK;
}

static void relu_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  (void)l;
  if (pq.q < pq.p) d->size = d->off = HUGE_VAL;
}

static void range(const lip_layer *l, size_t k, double from, double to, lip_range *r) {
  (void)l, (void)k;
  lip_two_slopes_range(0, 1, from, to, r);
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_emit_map(e, l, x, LIP_EMIT_RELU, 0);
}

const lip_layer_kind lip_layer_relu = {
    .desc = {"relu", "y = max(x, 0)", NULL, 0},
    .flags =
        LIP_LAYER_EITHER_ORDER | LIP_LAYER_RECTIFIER, /* only if y = max(x, 0): convolutions do it then */
    .plan = relu_plan,
    .forward = relu_forward,
    .backward = relu_backward,
    .wide = wide,
    .bound = relu_bound,
    .slopes = lip_rising_slopes,
    .range = range,
    .emit = emit,
    .deviate = relu_deviate,
};
