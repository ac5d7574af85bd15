/* y = x for x >= 0, slope * x below (Maas, Hannun, Ng 2013); slope as stored in float32.
 * dx = dy for x >= 0, slope * dy below (at 0 the right-hand slope).
 * Constant: max(1, |slope|) for every p -> p, element by element, hence for every p -> q with q >= p. */
#include <float.h>
#include <math.h>

#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"

typedef struct conf {
  double slope;
} conf;

static const lip_opt options[] = {{.name = "slope",
                                   .type = LIP_OPT_REAL,
                                   .offset = offsetof(conf, slope),
                                   .def = 0.01,
                                   .low = -1e3,
                                   .high = 1e3,
                                   .help = "slope below zero"},
                                  {0}};

static float slope_of(const lip_layer *l) {
  return (float)((const conf *)l->conf)->slope;
}

LIP_HOT static void select_forward(float *restrict y, const float *restrict x, float slope, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float below = slope * x[i];
    y[i] = x[i] >= 0 ? x[i] : below; /* NaN takes `below` and stays NaN */
  }
}

LIP_HOT static void select_backward(float *restrict dx, const float *restrict dy, const float *restrict x,
                                    float slope, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float below = slope * dy[i];
    dx[i] = x[i] >= 0 ? dy[i] : below;
  }
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->x_row, n = (pass->r1 - pass->r0) * l->x_row;
  select_forward(l->y + at, l->x + at, slope_of(l), n);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->x_row, n = (pass->r1 - pass->r0) * l->x_row;
  select_backward(lip_layer_dx(l, pass), lip_layer_dy(l, pass), l->x + at, slope_of(l), n);
}

LIP_HOT static void select_wide(double *restrict y, const double *restrict x, double slope, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double below = slope * x[i];
    y[i] = x[i] >= 0 ? x[i] : below;
  }
}

static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  select_wide(y, x, (double)slope_of(l), B * l->n_in);
}

static double constant(const lip_layer *l) {
  return fmax(1, fabs((double)slope_of(l)));
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)err;
  return lip_constant_bound(pq, constant(l), upper);
}

static void slopes(const lip_layer *l, double *low, double *high) {
  double slope = (double)slope_of(l);
  for (size_t i = 0; i < l->n_in; i++) low[i] = fmin(slope, 1), high[i] = fmax(slope, 1);
}

static void range(const lip_layer *l, size_t k, double from, double to, lip_range *r) {
  (void)k;
  lip_two_slopes_range((double)slope_of(l), 1, from, to, r);
}

/* One rounded product: u |slope x|, or less than FLT_MIN where it underflows. */
static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  double K = constant(l), slope = fabs((double)slope_of(l));
  double rounding = 0x1p-24 * slope * (d->size + d->off) + (double)FLT_MIN * lip_ones_norm(l->n_out, pq.q);
  d->off = lip_round_up(K * d->off + rounding);
  d->size = lip_round_up(K * d->size);
  lip_check_overflow(d);
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_emit_map(e, l, x, LIP_EMIT_LEAKY_RELU, (double)slope_of(l));
}

const lip_layer_kind lip_layer_leaky_relu = {
    .desc = {"leaky_relu", "x above zero, slope * x below", options, sizeof(conf)},
    .flags = LIP_LAYER_EITHER_ORDER,
    .plan = lip_same_shape_plan,
    .forward = forward,
    .backward = backward,
    .wide = wide,
    .bound = bound,
    .slopes = slopes,
    .range = range,
    .emit = emit,
    .deviate = deviate,
};
