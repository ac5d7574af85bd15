/* y = |x|. dx = dy for x >= 0, -dy below: the gradient's norm is kept (Anil, Lucas, Grosse 2019, section 4).
 * Constant: 1 for every p -> p, hence for every p -> q with q >= p. Executed without rounding. */
#include <math.h>

#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"

LIP_HOT static void abs_forward(float *restrict y, const float *restrict x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = fabsf(x[i]);
}

LIP_HOT static void abs_backward(float *restrict dx, const float *restrict dy, const float *restrict x,
                                 size_t n) {
  for (size_t i = 0; i < n; i++) dx[i] = x[i] >= 0 ? dy[i] : -dy[i];
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->x_row;
  abs_forward(l->y + at, l->x + at, (pass->r1 - pass->r0) * l->x_row);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->x_row;
  abs_backward(lip_layer_dx(l, pass), lip_layer_dy(l, pass), l->x + at, (pass->r1 - pass->r0) * l->x_row);
}

LIP_HOT static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  for (size_t i = 0; i < B * l->n_in; i++) y[i] = fabs(x[i]);
}

static void slopes(const lip_layer *l, double *low, double *high) {
  for (size_t i = 0; i < l->n_in; i++) low[i] = -1, high[i] = 1;
}

static void range(const lip_layer *l, size_t k, double from, double to, lip_range *r) {
  (void)l, (void)k;
  lip_two_slopes_range(-1, 1, from, to, r);
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_emit_map(e, l, x, LIP_EMIT_ABS, 0);
}

const lip_layer_kind lip_layer_abs = {
    .desc = {"abs", "absolute value; keeps the norm of gradients", NULL, 0},
    .flags = LIP_LAYER_EITHER_ORDER,
    .plan = lip_same_shape_plan,
    .forward = forward,
    .backward = backward,
    .wide = wide,
    .bound = lip_unit_bound,
    .slopes = slopes,
    .range = range,
    .emit = emit,
    .deviate = lip_exact_deviate,
};
