/* tanh, sigmoid 1/(1 + e^-x), softplus log(1 + e^(beta x))/beta.
 *
 *   kind      y             dx / dy           slope in    constant, every p -> q with q >= p
 *   tanh      tanh x        (1 - y)(1 + y)    [0, 1]      1
 *   sigmoid   sigma(x)      y (1 - y)         [0, 1/4]    1/4
 *   softplus  see above     sigma(beta x)     [0, 1]      1
 *
 * Element by element, so the largest slope is the constant of p -> p (mean value theorem). The functions as executed
 * differ from the exact ones by the errors stated in core/tensor/smooth.h; `deviate` carries those. */
#include <math.h>

#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"
#include "core/tensor/smooth.h"

static const double unit = 0x1p-24;

static void tanh_forward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->n_in;
  lip_vec_tanh(l->y + at, l->x + at, (pass->r1 - pass->r0) * l->n_in);
}

LIP_HOT static void tanh_slope(float *restrict dx, const float *restrict dy, const float *restrict y,
                               size_t n) {
  for (size_t i = 0; i < n; i++) dx[i] = dy[i] * ((1 - y[i]) * (1 + y[i]));
}

static void tanh_backward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->n_in;
  tanh_slope(l->dx + at, l->dy + at, l->y + at, (pass->r1 - pass->r0) * l->n_in);
}

/* |tanh x| <= min(|x|, 1) bounds both the size and the relative error's base. */
static void tanh_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  double ones = lip_ones_norm(l->n_out, pq.q);
  double base = fmin(d->size + d->off, ones);
  d->off = lip_round_up(d->off + LIP_TANH_ERROR * unit * base + 0x1p-148 * ones);
  d->size = fmin(d->size, ones);
}

static void sigmoid_forward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->n_in;
  lip_vec_sigmoid(l->y + at, l->x + at, (pass->r1 - pass->r0) * l->n_in);
}

LIP_HOT static void sigmoid_slope(float *restrict dx, const float *restrict dy, const float *restrict y,
                                  size_t n) {
  for (size_t i = 0; i < n; i++) dx[i] = dy[i] * (y[i] * (1 - y[i]));
}

static void sigmoid_backward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->n_in;
  sigmoid_slope(l->dx + at, l->dy + at, l->y + at, (pass->r1 - pass->r0) * l->n_in);
}

static void sigmoid_slopes(const lip_layer *l, double *low, double *high) {
  for (size_t i = 0; i < l->n_in; i++) low[i] = 0, high[i] = 0.25;
}

static lip_status sigmoid_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)l;
  (void)err;
  return lip_constant_bound(pq, 0.25, upper);
}

static void sigmoid_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  double ones = lip_ones_norm(l->n_out, pq.q);
  d->off = lip_round_up(0.25 * d->off + (LIP_SIGMOID_ERROR * unit + 0x1p-125) * ones);
  d->size = fmin(ones, lip_round_up(0.5 * ones + 0.25 * d->size));
}

typedef struct softplus_conf {
  double beta;
} softplus_conf;

static const lip_opt softplus_options[] = {
    {.name = "beta",
     .type = LIP_OPT_REAL,
     .offset = offsetof(softplus_conf, beta),
     .def = 1,
     .low = 1e-3,
     .high = 1e3,
     .help = "sharpness: log(1 + exp(beta x)) / beta, relu for large beta"},
    {0}};

static float beta_of(const lip_layer *l) {
  return (float)((const softplus_conf *)l->conf)->beta;
}

static void softplus_forward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->n_in;
  lip_vec_softplus(l->y + at, l->x + at, beta_of(l), (pass->r1 - pass->r0) * l->n_in);
}

LIP_HOT static void multiply(float *restrict out, const float *restrict a, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] *= a[i];
}

LIP_HOT static void scaled_copy(float *restrict out, const float *restrict x, float a, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = a * x[i];
}

static void softplus_backward(const lip_layer *l, const lip_pass *pass) {
  size_t at = pass->r0 * l->n_in, n = (pass->r1 - pass->r0) * l->n_in;
  float *dx = l->dx + at;
  scaled_copy(dx, l->x + at, beta_of(l), n);
  lip_vec_sigmoid(dx, dx, n);
  multiply(dx, l->dy + at, n);
}

/* softplus(x) <= max(x, 0) + log(2)/beta; the rounded product beta x moves the result by u |x| at most. */
static void softplus_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  double ones = lip_ones_norm(l->n_out, pq.q), beta = (double)beta_of(l);
  double constant = 0.6931471805599454 / beta * ones, executed = d->size + d->off;
  double rounding = unit * (LIP_SOFTPLUS_ERROR * (executed + constant) + executed) + 0x1p-124 / beta * ones;
  d->off = lip_round_up(d->off + rounding);
  d->size = lip_round_up(d->size + constant);
}

/* ---- on an interval, in double ----
 *
 * The functions of the C library are within a few units in the last place; LOOSE is ten times that. Slopes are
 * computed without cancellation; what underflows stays within 2^-1000. All three rise; tanh and sigmoid are convex
 * below 0, concave above, with the steepest slope at 0, softplus is convex with a rising slope. */
#define LOOSE 0x1p-48

static double tanh_slope_at(double x) {
  double c = cosh(x);
  return 1 / (c * c);
}

static double logistic(double x) {
  double e = exp(-fabs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

static double logistic_slope_at(double x) {
  double e = exp(-fabs(x));
  return e / ((1 + e) * (1 + e));
}

/* The slope falls to both sides of 0, where it is `top`. */
static void bell_range(double (*slope)(double), double top, double from, double to, lip_range *r) {
  double a = slope(from), b = slope(to);
  r->low = fmax(fmin(a, b) * (1 - LOOSE) - 0x1p-1000, 0);
  r->high = from <= 0 && to >= 0 ? top : fmin(fmax(a, b) * (1 + LOOSE) + 0x1p-1000, top);
  r->curve = to <= 0 ? 1 : from >= 0 ? -1 : 0;
}

static void tanh_range(const lip_layer *l, size_t k, double from, double to, lip_range *r) {
  (void)l, (void)k;
  lip_rising_range(tanh(from), tanh(to), LOOSE, r);
  r->off = LIP_TANH_ERROR * unit * fmax(fabs(r->least), fabs(r->most)) + 0x1p-125;
  bell_range(tanh_slope_at, 1, from, to, r);
}

static void sigmoid_range(const lip_layer *l, size_t k, double from, double to, lip_range *r) {
  (void)l, (void)k;
  lip_rising_range(logistic(from), logistic(to), LOOSE, r);
  r->off = LIP_SIGMOID_ERROR * unit * r->most + 0x1p-125;
  bell_range(logistic_slope_at, 0.25, from, to, r);
}

static double softplus_at(double x, double beta) {
  return fmax(x, 0) + log1p(exp(-fabs(beta * x))) / beta;
}

/* The rounded product beta x moves the value by |x| 2^-53 and the slope by a part |beta x| 2^-53 of itself, which is
 * below 2^-43 up to where the slope underflows. */
static void softplus_range(const lip_layer *l, size_t k, double from, double to, lip_range *r) {
  (void)k;
  double beta = (double)beta_of(l);
  lip_rising_range(softplus_at(from, beta), softplus_at(to, beta), LOOSE, r);
  r->least -= fabs(from) * 0x1p-52;
  r->most += fabs(to) * 0x1p-52;
  r->off = lip_round_up(unit * (LIP_SOFTPLUS_ERROR * r->most + fmax(fabs(from), fabs(to))) + 0x1p-124 / beta);
  r->low = fmax(logistic(beta * from) * (1 - 0x1p-43 - LOOSE) - 0x1p-1000, 0);
  r->high = fmin(logistic(beta * to) * (1 + 0x1p-43 + LOOSE) + 0x1p-1000, 1);
  r->curve = 1;
}

static size_t tanh_emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_emit_map(e, l, x, LIP_EMIT_TANH, 0);
}

static size_t sigmoid_emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_emit_map(e, l, x, LIP_EMIT_SIGMOID, 0);
}

static size_t softplus_emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_emit_map(e, l, x, LIP_EMIT_SOFTPLUS, (double)beta_of(l));
}

const lip_layer_kind lip_layer_tanh = {
    .desc = {"tanh", "hyperbolic tangent", NULL, 0},
    .plan = lip_same_shape_plan,
    .forward = tanh_forward,
    .backward = tanh_backward,
    .bound = lip_unit_bound,
    .slopes = lip_rising_slopes,
    .range = tanh_range,
    .emit = tanh_emit,
    .deviate = tanh_deviate,
};

const lip_layer_kind lip_layer_sigmoid = {
    .desc = {"sigmoid", "logistic function 1 / (1 + exp(-x)); constant 1/4", NULL, 0},
    .plan = lip_same_shape_plan,
    .forward = sigmoid_forward,
    .backward = sigmoid_backward,
    .bound = sigmoid_bound,
    .slopes = sigmoid_slopes,
    .range = sigmoid_range,
    .emit = sigmoid_emit,
    .deviate = sigmoid_deviate,
};

const lip_layer_kind lip_layer_softplus = {
    .desc = {"softplus", "smooth relu log(1 + exp(beta x)) / beta", softplus_options, sizeof(softplus_conf)},
    .plan = lip_same_shape_plan,
    .forward = softplus_forward,
    .backward = softplus_backward,
    .bound = lip_unit_bound,
    .slopes = lip_rising_slopes,
    .range = softplus_range,
    .emit = softplus_emit,
    .deviate = softplus_deviate,
};
