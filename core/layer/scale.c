/* scale, standardise: y_c = a_c (x_c - m_c) for channel c, a_c = factor / std_c; a fixed map, put first in a network
 * so that preprocessing is part of the model and radii are in the units of the raw data.
 *   dx_c = a_c dy_c
 *   constant  max |a_c| for every p -> q with q >= p (a diagonal matrix), exact: a_c and m_c are float32 numbers
 *   float32   two roundings: |error| <= (2u + u^2) |a| (|x| + |m|), plus underflow
 * Both names are the same layer; standardise is the usual one for mean and std. */
#include <float.h>
#include <math.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"

typedef struct conf {
  double factor;
  lip_reals mean, std;
} conf;

static const lip_opt options[] = {
    {.name = "factor",
     .type = LIP_OPT_REAL,
     .offset = offsetof(conf, factor),
     .def = 1,
     .low = -1e12,
     .high = 1e12,
     .help = "multiplies every value"},
    {.name = "mean",
     .type = LIP_OPT_REALS,
     .offset = offsetof(conf, mean),
     .low = -1e12,
     .high = 1e12,
     .help = "subtracted first: one number, or one per channel"},
    {.name = "std",
     .type = LIP_OPT_REALS,
     .offset = offsetof(conf, std),
     .low = 1e-12,
     .high = 1e12,
     .help = "divides: one number, or one per channel"},
    {.name = NULL},
};

/* a (C), then m (C) */
static const float *slopes(const lip_layer *l) {
  return l->state;
}

static const float *means(const lip_layer *l) {
  return slopes(l) + l->in.dim[0];
}

static lip_status check_list(const lip_layer *l, const char *name, const lip_reals *list, lip_err *err) {
  char shape[64];
  if (list->n <= 1 || list->n == l->in.dim[0]) return LIP_OK;
  return lip_fail(err, LIP_SHAPE, "%s: option '%s' has %zu numbers, but the input %s has %zu channels",
                  l->kind->desc.name, name, list->n, lip_shape_describe(&l->in, shape, sizeof shape),
                  l->in.dim[0]);
}

static double entry(const lip_reals *list, size_t c, double absent) {
  if (list->n == 0) return absent;
  return list->n == 1 ? list->v[0] : list->v[c];
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)p;
  const conf *o = spec->conf;
  lip_status status = check_list(l, "mean", &o->mean, err);
  if (!status) status = check_list(l, "std", &o->std, err);
  if (status) return status;
  size_t C = l->in.dim[0];
  float *a = lip_alloc(2 * C, sizeof *a);
  if (!a) return lip_fail(err, LIP_MEMORY, "%s: no memory for %zu channels", l->kind->desc.name, C);
  for (size_t c = 0; c < C; c++) {
    a[c] = (float)(o->factor / entry(&o->std, c, 1));
    a[C + c] = (float)entry(&o->mean, c, 0);
  }
  l->state = a;
  return LIP_OK;
}

static void release(lip_layer *l) {
  lip_free(l->state);
}

LIP_HOT static void affine(float *restrict y, const float *restrict x, const float *restrict a,
                           const float *restrict m, size_t C, size_t S) {
  if (S == 1)
    for (size_t c = 0; c < C; c++) y[c] = a[c] * (x[c] - m[c]);
  else
    for (size_t c = 0; c < C; c++)
      for (size_t i = c * S; i < (c + 1) * S; i++) y[i] = a[c] * (x[i] - m[c]);
}

LIP_HOT static void affine_back(float *restrict dx, const float *restrict dy, const float *restrict a,
                                size_t C, size_t S) {
  if (S == 1)
    for (size_t c = 0; c < C; c++) dx[c] = a[c] * dy[c];
  else
    for (size_t c = 0; c < C; c++)
      for (size_t i = c * S; i < (c + 1) * S; i++) dx[i] = a[c] * dy[i];
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  size_t C, S, n = l->n_in;
  lip_shape_channels(&l->in, &C, &S);
  for (size_t r = pass->r0; r < pass->r1; r++) affine(l->y + r * n, l->x + r * n, slopes(l), means(l), C, S);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  size_t C, S, n = l->n_in;
  lip_shape_channels(&l->in, &C, &S);
  for (size_t r = pass->r0; r < pass->r1; r++) affine_back(l->dx + r * n, l->dy + r * n, slopes(l), C, S);
}

static void wide(const lip_layer *l, size_t B, const double *x, double *y) {
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  for (size_t i = 0; i < B * l->n_in; i++) {
    size_t c = i / S % C;
    y[i] = (double)slopes(l)[c] * (x[i] - (double)means(l)[c]);
  }
}

static double largest(const lip_layer *l) {
  double most = 0;
  for (size_t c = 0; c < l->in.dim[0]; c++) most = fmax(most, fabs((double)slopes(l)[c]));
  return most;
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  (void)err;
  return lip_constant_bound(pq, largest(l), upper);
}

/* A known slope: both ends are the same. */
static void unit_slopes(const lip_layer *l, double *low, double *high) {
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  for (size_t i = 0; i < C * S; i++) low[i] = high[i] = (double)slopes(l)[i / S];
}

static void unit_map(const lip_layer *l, size_t k, float amb[3]) {
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  amb[0] = slopes(l)[k / S];
  amb[1] = means(l)[k / S];
  amb[2] = 0;
}

/* a (x - m): a difference and a product, each rounded once. */
static void range(const lip_layer *l, size_t k, double from, double to, lip_range *r) {
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  double a = (double)slopes(l)[k / S], m = (double)means(l)[k / S];
  double u = a * (from - m), v = a * (to - m);
  double off =
      m == 0 && fabs(a) == 1 ? 0 : fabs(a) * (fmax(fabs(from), fabs(to)) + fabs(m)) * 0x1p-51 + 0x1p-1000;
  double size = fabs(a) * (fmax(fabs(from), fabs(to)) + fabs(m));
  double executed = off == 0 ? 0 : lip_round_up((0x1p-23 + 0x1p-48) * size + (fabs(a) + 1) * (double)FLT_MIN);
  *r = (lip_range){a, a, fmin(u, v) - off, fmax(u, v) + off, executed, 1};
}

/* ||m||_q with every mean at S positions */
static double mean_norm(const lip_layer *l, lip_p q) {
  size_t C, S;
  lip_shape_channels(&l->in, &C, &S);
  return lip_round_up(lip_norm_upper(means(l), C, q) * lip_ones_norm(S, q));
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (lip_step_down(pq, d)) return;
  const double u = 0x1p-24;
  double a = largest(l), m = mean_norm(l, pq.q), ones = lip_ones_norm(l->n_out, pq.q);
  double rounding = (2 * u + u * u) * a * (d->size + d->off + m) + (a + 1) * (double)FLT_MIN * ones;
  d->size = lip_round_up(a * (d->size + m));
  d->off = lip_round_up(a * d->off + rounding);
  lip_check_overflow(d);
}

static bool all_are(const float *v, size_t n, float what) {
  for (size_t c = 0; c < n; c++)
    if (v[c] != what) return false;
  return true;
}

/* Without a product by 1 or a difference from 0 everywhere, which change nothing. */
static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  const size_t C = l->in.dim[0];
  return lip_emit_add(e,
                      &(lip_emit_step){.op = LIP_EMIT_AFFINE,
                                       .out = l->out,
                                       .u.affine = {.a = all_are(slopes(l), C, 1) ? NULL : slopes(l),
                                                    .m = all_are(means(l), C, 0) ? NULL : means(l)}},
                      &x, 1);
}

#define KIND                                                                                                 \
  .plan = plan, .release = release, .forward = forward, .backward = backward, .wide = wide, .bound = bound,  \
  .slopes = unit_slopes, .range = range, .diagonal = unit_map, .emit = emit, .deviate = deviate

const lip_layer_kind lip_layer_scale = {
    .desc = {"scale", "fixed map factor * (x - mean) / std by channel", options, sizeof(conf)},
    KIND,
};

const lip_layer_kind lip_layer_standardise = {
    .desc = {"standardise", "input preprocessing (x - mean) / std by channel, inside the model", options,
             sizeof(conf)},
    KIND,
};
