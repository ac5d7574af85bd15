/* centre: y = x - m_c for channel c.
 *
 *   mode "running"   in training m is the mean of the batch (over rows and positions); a running mean of it, (1 - momentum) m
 *                    + momentum mean, is what is subtracted outside of training. It is stored with the net but not trained
 *                    by the optimiser (Ioffe, Szegedy 2015; without the variance: Salimans, Kingma 2016, section 3)
 *   mode "trained"   m is a parameter, the same in training and outside
 *
 *   dx = dy - mean of dy in training with the mean of the batch, else dy; dm = -sum of dy ("trained")
 *   constant  1 for every p -> q with q >= p, exact, of the net as used: a translation
 *   float32   one rounding, stated as two (diagonal.h); the numbers m are float32 */
#include <math.h>

#include "core/layer/diagonal.h"
#include "core/layer/emit.h"
#include "core/layer/same_shape.h"

typedef struct conf {
  int mode;
  double momentum;
} conf;

enum { RUNNING, TRAINED };

static const lip_opt options[] = {
    {.name = "mode",
     .type = LIP_OPT_ENUM,
     .offset = offsetof(conf, mode),
     .def = RUNNING,
     .names = (const char *const[]){"running", "trained", NULL},
     .help = "running: the batch's mean in training, a running mean otherwise; trained: a parameter"},
    {.name = "momentum",
     .type = LIP_OPT_REAL,
     .offset = offsetof(conf, momentum),
     .def = 0.1,
     .low = 1e-6,
     .high = 1,
     .help = "weight of a batch in the running mean"},
    {.name = NULL},
};

static bool runs(const lip_layer *l) {
  return ((const conf *)l->conf)->mode == RUNNING;
}

static void translation(const lip_layer *l, size_t c, float *a, float *b) {
  *a = 1;
  *b = -l->param[0].value[c];
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  (void)spec, (void)p;
  const size_t C = l->in.dim[0];
  lip_layer_add_param(l, runs(l) ? "running_mean" : "mean", 1, &C, false);
  l->param[0].frozen = l->whole_batch = runs(l);
  l->units = C;
  return lip_diagonal_plan(l, translation, err);
}

/* y = x - m_c with m (C) in double */
static void subtract(const lip_layer *l, float *y, const float *x, const lip_pass *pass, const double *m) {
  const size_t C = l->in.dim[0];
  float *amb = pass->scratch;
  for (size_t c = 0; c < C; c++) {
    amb[c] = 1;
    amb[C + c] = (float)m[c];
    amb[2 * C + c] = 0;
  }
  lip_channel_affine(l, y, x, pass->r0, pass->r1, amb);
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  if (!pass->training || !runs(l)) {
    lip_diagonal_forward(l, pass);
    return;
  }
  lip_diagonal_measure(l, pass->r0, pass->r1);
  subtract(l, l->y, l->x, pass, ((const lip_diagonal *)l->state)->mean);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  if (!pass->training || !runs(l)) {
    lip_diagonal_backward(l, pass);
    return;
  }
  const lip_diagonal *d = l->state;
  lip_channel_sums(l, l->dy, l->dy, pass->r0, pass->r1, 0, l->units, d->sum, d->dot);
  for (size_t c = 0; c < l->units; c++) d->sum[c] /= (double)d->count;
  subtract(l, l->dx, l->dy, pass, d->sum);
}

static void grad(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1) {
  const lip_diagonal *d = l->state;
  const lip_param *m = &l->param[0];
  if (!runs(l)) lip_channel_sums(l, l->dy, l->dy, 0, pass->rows, u0, u1, d->sum, d->dot);
  for (size_t c = u0; c < u1; c++) {
    const float before = pass->accumulate != 0 ? m->grad[c] : 0;
    m->grad[c] = runs(l) ? before : (float)((double)before - d->sum[c]);
    if (runs(l)) m->value[c] = lip_running(m->value[c], d->mean[c], ((const conf *)l->conf)->momentum);
  }
  if (pass->done) pass->done(pass->done_arg, u0, u1);
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_emit_add(
      e, &(lip_emit_step){.op = LIP_EMIT_AFFINE, .out = l->out, .u.affine = {.m = l->param[0].value}}, &x, 1);
}

const lip_layer_kind lip_layer_centre = {
    .desc = {"centre", "subtracts a mean by channel", options, sizeof(conf)},
    .plan = plan,
    .release = lip_diagonal_release,
    .forward = forward,
    .wide = lip_diagonal_wide,
    .backward = backward,
    .grad = grad,
    .bound = lip_unit_bound,
    .slopes = lip_diagonal_slopes,
    .range = lip_diagonal_range,
    .diagonal = lip_diagonal_unit,
    .emit = emit,
    .deviate = lip_diagonal_deviate,
};
