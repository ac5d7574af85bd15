/* batch_norm: y = gamma_c (x - m_c) / sqrt(v_c + eps) + beta_c for channel c (Ioffe, Szegedy 2015), its constant held under
 * a budget (Gouk, Frank, Pfahringer, Cree 2021, section 3.3).
 *
 *   training  m and v are mean and variance of the batch, over rows and positions. Running means of them, (1 - momentum) old
 *             + momentum new, v times n / (n - 1) there, are moved with the gradient of a step; they are stored with the net
 *             but not trained by the optimiser
 *   as used   y = a_c x + b_c with the running m and v: a = gamma / sqrt(v + eps), b = beta - a m, computed in double and
 *             rounded to float32, a towards 0. These float32 numbers are the layer
 *
 *   dgamma = sum of dy x^, dbeta = sum of dy, x^ = (x - m) / sqrt(v + eps)
 *   dx     = gamma / sqrt(v + eps) (dy - mean of dy - x^ mean of (dy x^)) in training, else a dy
 *   constant  max |a_c| for every p -> q with q >= p (a diagonal matrix), exact, of the layer as used. In training every y
 *             depends on all rows of the batch: there is no constant by row
 *   budget K  |gamma_c| <= K sqrt(v_c + eps), and not a float32 number more: the nearest gamma, unit by unit
 *   float32   two roundings (diagonal.h)
 * With trainable = false a batch in training is mapped as used, and the running m and v stay.
 * A negative variance, which only a script can have put there, counts as 0; NaN stays. */
#include <math.h>

#include "core/base/simd.h"
#include "core/layer/diagonal.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"

typedef struct conf {
  double momentum, eps;
  lip_own_conf own;
} conf;

static const lip_opt options[] = {
    {.name = "momentum",
     .type = LIP_OPT_REAL,
     .offset = offsetof(conf, momentum),
     .def = 0.1,
     .low = 1e-6,
     .high = 1,
     .help = "weight of a batch in the running mean and variance"},
    {.name = "eps",
     .type = LIP_OPT_REAL,
     .offset = offsetof(conf, eps),
     .def = 1e-5,
     .low = 1e-12,
     .high = 1e12,
     .help = "added to the variance"},
    LIP_OWN_OPTIONS(offsetof(conf, own)),
    {.name = NULL},
};

enum { GAMMA, BETA, MEAN, VARIANCE, PARAMS };

static double deviation(const lip_layer *l, size_t c) {
  double v = (double)l->param[VARIANCE].value[c];
  return sqrt((v < 0 ? 0 : v) + ((const conf *)l->conf)->eps);
}

/* Towards 0, so that a ratio within the budget stays there. */
static float slope(const lip_layer *l, size_t c, float gamma) {
  double exact = (double)gamma / deviation(l, c);
  float a = (float)exact;
  return fabs((double)a) > fabs(exact) ? nextafterf(a, 0) : a;
}

static void fused(const lip_layer *l, size_t c, float *a, float *b) {
  *a = slope(l, c, l->param[GAMMA].value[c]);
  *b = (float)((double)l->param[BETA].value[c] - (double)*a * (double)l->param[MEAN].value[c]);
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  static const char *const names[PARAMS] = {"gamma", "beta", "running_mean", "running_variance"};
  (void)p;
  l->own = &((const conf *)spec->conf)->own;
  const size_t C = l->in.dim[0];
  for (size_t i = 0; i < PARAMS; i++) {
    lip_layer_add_param(l, names[i], 1, &C, false);
    l->param[i].frozen = i >= MEAN;
  }
  l->units = l->project_units = C;
  l->project_by_unit = true;
  l->whole_batch = l->own->trainable;
  return lip_diagonal_plan(l, fused, err);
}

static lip_status reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  (void)rng, (void)err;
  const bool on_ball = lip_layer_init(l) == LIP_INIT_ON_BALL && isfinite(l->budget);
  for (size_t c = 0; c < l->units; c++) {
    l->param[VARIANCE].value[c] = 1;
    l->param[GAMMA].value[c] = on_ball ? (float)(l->budget * deviation(l, c)) : 1;
  }
  return LIP_OK;
}

/* ---- passes ---- */

static double batch_deviation(const lip_layer *l, size_t c) {
  return sqrt(((const lip_diagonal *)l->state)->variance[c] + ((const conf *)l->conf)->eps);
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  if (!pass->training || l->still) {
    lip_diagonal_forward(l, pass);
    return;
  }
  const size_t C = l->units;
  float *amb = pass->scratch;
  lip_diagonal_measure(l, pass->r0, pass->r1);
  for (size_t c = 0; c < C; c++) {
    amb[c] = (float)((double)l->param[GAMMA].value[c] / batch_deviation(l, c));
    amb[C + c] = (float)((const lip_diagonal *)l->state)->mean[c];
    amb[2 * C + c] = l->param[BETA].value[c];
  }
  lip_channel_affine(l, l->y, l->x, pass->r0, pass->r1, amb);
}

/* Sums of dy and of dy x^ over the batch, channels c0..c1-1, into sum and dot. */
static void sum_back(const lip_layer *l, size_t r0, size_t r1, size_t c0, size_t c1) {
  const lip_diagonal *d = l->state;
  lip_channel_sums(l, l->x, l->dy, r0, r1, c0, c1, d->sum, d->dot);
  for (size_t c = c0; c < c1; c++) d->dot[c] = (d->dot[c] - d->mean[c] * d->sum[c]) / batch_deviation(l, c);
}

/* dx = k (dy - p) - t (x - m) for n values of one channel each, or S of each. */
LIP_HOT static void back_row(float *restrict dx, const float *restrict dy, const float *restrict x,
                             const float *restrict k, const float *restrict p, const float *restrict t,
                             const float *restrict m, size_t C, size_t S) {
  if (S == 1)
    for (size_t c = 0; c < C; c++) dx[c] = k[c] * (dy[c] - p[c]) - t[c] * (x[c] - m[c]);
  else
    for (size_t c = 0; c < C; c++)
      for (size_t i = c * S; i < (c + 1) * S; i++) dx[i] = k[c] * (dy[i] - p[c]) - t[c] * (x[i] - m[c]);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  if (!pass->training || l->still) {
    lip_diagonal_backward(l, pass);
    return;
  }
  const lip_diagonal *d = l->state;
  size_t C, S, n = l->n_in;
  lip_shape_channels(&l->in, &C, &S);
  float *k = pass->scratch, *p = k + C, *t = p + C, *m = t + C;
  sum_back(l, pass->r0, pass->r1, 0, C);
  for (size_t c = 0; c < C; c++) {
    const double s = batch_deviation(l, c), gain = (double)l->param[GAMMA].value[c] / s;
    k[c] = (float)gain;
    p[c] = (float)(d->sum[c] / (double)d->count);
    t[c] = (float)(gain * d->dot[c] / (s * (double)d->count));
    m[c] = (float)d->mean[c];
  }
  for (size_t r = pass->r0; r < pass->r1; r++)
    back_row(l->dx + r * n, l->dy + r * n, l->x + r * n, k, p, t, m, C, S);
}

/* One value alone has no variance: the running one stays. */
static void move_running(const lip_layer *l, size_t c) {
  const lip_diagonal *d = l->state;
  const double momentum = ((const conf *)l->conf)->momentum, n = (double)d->count;
  float *m = &l->param[MEAN].value[c], *v = &l->param[VARIANCE].value[c];
  *m = lip_running(*m, d->mean[c], momentum);
  if (d->count > 1) *v = lip_running(*v, d->variance[c] * (n / (n - 1)), momentum);
}

static void grad(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1) {
  const lip_diagonal *d = l->state;
  sum_back(l, 0, pass->rows, u0, u1);
  for (size_t c = u0; c < u1; c++) {
    const double now[PARAMS] = {d->dot[c], d->sum[c], 0, 0};
    for (size_t i = 0; i < PARAMS; i++) {
      float *g = &l->param[i].grad[c];
      *g = (float)((pass->accumulate != 0 ? (double)*g : 0) + now[i]);
    }
    move_running(l, c);
  }
  if (pass->done) pass->done(pass->done_arg, u0, u1);
}

static void project(lip_layer *l, size_t u0, size_t u1, void *scratch) {
  (void)scratch;
  for (size_t c = u0; c < u1; c++) {
    float *gamma = &l->param[GAMMA].value[c];
    if (!(fabs((double)slope(l, c, *gamma)) > l->budget)) continue;
    *gamma = copysignf((float)(l->budget * deviation(l, c)), *gamma);
    while (fabs((double)slope(l, c, *gamma)) > l->budget) *gamma = nextafterf(*gamma, 0);
  }
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  const size_t C = l->units;
  float *a = lip_emit_take(e, 2 * C, sizeof *a);
  if (!a) return 0;
  for (size_t c = 0; c < C; c++) fused(l, c, &a[c], &a[C + c]);
  return lip_emit_add(
      e, &(lip_emit_step){.op = LIP_EMIT_AFFINE, .out = l->out, .u.affine = {.a = a, .b = a + C}}, &x, 1);
}

const lip_layer_kind lip_layer_batch_norm = {
    .desc = {"batch_norm", "normalises channels over the batch; as used, a factor and an offset by channel",
             options, sizeof(conf)},
    .flags = LIP_LAYER_WEIGHTED,
    .plan = plan,
    .release = lip_diagonal_release,
    .reset = reset,
    .forward = forward,
    .wide = lip_diagonal_wide,
    .backward = backward,
    .grad = grad,
    .project = project,
    .bound = lip_diagonal_bound,
    .slopes = lip_diagonal_slopes,
    .range = lip_diagonal_range,
    .diagonal = lip_diagonal_unit,
    .emit = emit,
    .deviate = lip_diagonal_deviate,
};
