/* dense: y = W x + b, W (OUT, IN), b (OUT).
 *
 *   dx = W' dy        dW = sum over rows of dy x'        db = sum over rows of dy
 *   constant  ||W||_{p->q} for every pair with q >= p (norm/project.h); exact except 2->2, which is rigorous
 *   float32   |fl(Wx+b) - (Wx+b)| <= (IN+2) u (|W||x| + |b|) in every order of summation (Jeannerod, Rump 2013),
 *             plus one smallest normal number per operation for underflow, flushed to zero or not */
#include <float.h>
#include <math.h>
#include <stddef.h>

#include "core/base/mem.h"
#include "core/layer/init.h"
#include "core/layer/layer.h"
#include "core/norm/opnorm.h"
#include "core/tensor/gemm.h"
#include "core/tensor/vec.h"

typedef struct dense_conf {
  size_t out;
  bool bias;
} dense_conf;

typedef struct dense_state {
  lip_projector *projector;
  float *packed; /* the weight in the order of lip_gemm_packed, or NULL */
} dense_state;

static const lip_opt options[] = {
    {.name = "out",
     .type = LIP_OPT_SIZE,
     .offset = offsetof(dense_conf, out),
     .required = true,
     .low = 1,
     .high = 1 << 24,
     .help = "number of output features"},
    {.name = "bias",
     .type = LIP_OPT_BOOL,
     .offset = offsetof(dense_conf, bias),
     .def = 1,
     .help = "add a trained offset to every output"},
    {.name = NULL},
};

static lip_status dense_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  const dense_conf *conf = spec->conf;
  if (l->in.ndim != 1) {
    char shape[64];
    return lip_fail(err, LIP_SHAPE, "dense: expects a flat input, got %s: put a flatten layer before it",
                    lip_shape_describe(&l->in, shape, sizeof shape));
  }
  l->out = (lip_shape){1, {conf->out, 0, 0}};
  lip_layer_add_param(l, "weight", 2, (size_t[]){conf->out, l->in.dim[0]}, true);
  if (conf->bias) lip_layer_add_param(l, "bias", 1, (size_t[]){conf->out}, false);
  l->units = conf->out;
  l->scratch = lip_gemm_scratch();
  dense_state *state = l->state = lip_alloc(1, sizeof *state);
  if (!state) return lip_fail(err, LIP_MEMORY, "dense: out of memory");
  lip_status status = lip_projector_new(conf->out, l->in.dim[0], l->pq, plan->method, &state->projector, err);
  if (status) return status;
  l->project_units = lip_projector_units(state->projector);
  l->project_by_unit = lip_projector_by_rows(state->projector);
  return LIP_OK;
}

static void dense_release(lip_layer *l) {
  dense_state *state = l->state;
  if (!state) return;
  lip_projector_free(state->projector);
  lip_free(state->packed);
  lip_free(state);
}

static lip_projector *projector_of(const lip_layer *l) {
  return ((const dense_state *)l->state)->projector;
}

/* The packed weight is as large as the weight itself: like that it is taken when the net is laid out, not in plan,
 * which also serves to compare a file with what it claims. */
static lip_status dense_reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  dense_state *state = l->state;
  size_t floats = lip_gemm_packed_size(l->n_out, l->n_in);
  if (floats > 0 && !state->packed) {
    state->packed = lip_alloc(floats, sizeof(float));
    if (!state->packed) return lip_fail(err, LIP_MEMORY, "dense: no memory for %zu weights", floats);
  }
  return lip_init_weights(l->param[0].value, l->n_out, l->n_in, l->plan->init, l->pq, l->budget, rng, err);
}

static void dense_prepare(lip_layer *l, size_t u0, size_t u1) {
  float *packed = ((const dense_state *)l->state)->packed;
  if (packed) lip_gemm_pack(packed, l->param[0].value, l->n_out, l->n_in, u0, u1);
}

static void dense_forward(const lip_layer *l, const lip_pass *pass) {
  size_t B = pass->r1 - pass->r0;
  const float *x = l->x + pass->r0 * l->n_in, *packed = ((const dense_state *)l->state)->packed;
  float *y = l->y + pass->r0 * l->n_out;
  if (packed && l->prepared && pass->in_step)
    lip_gemm_packed(B, l->n_out, l->n_in, x, l->n_in, packed, y, l->n_out, pass->scratch);
  else
    lip_gemm(LIP_N, LIP_T, B, l->n_out, l->n_in, 1, x, l->n_in, l->param[0].value, l->n_in, 0, y, l->n_out,
             pass->scratch);
  if (l->n_param > 1) lip_vec_add_rows(y, l->param[1].value, B, l->n_out);
}

static void dense_backward(const lip_layer *l, const lip_pass *pass) {
  size_t B = pass->r1 - pass->r0;
  lip_gemm(LIP_N, LIP_N, B, l->n_in, l->n_out, 1, l->dy + pass->r0 * l->n_out, l->n_out, l->param[0].value,
           l->n_in, 0, l->dx + pass->r0 * l->n_in, l->n_in, pass->scratch);
}

static void dense_grad(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1) {
  lip_gemm(LIP_T, LIP_N, u1 - u0, l->n_in, pass->rows, 1, l->dy + u0, l->n_out, l->x, l->n_in,
           pass->accumulate, l->param[0].grad + u0 * l->n_in, l->n_in, pass->scratch);
  if (l->n_param > 1)
    lip_vec_sum_rows(l->param[1].grad + u0, l->dy + u0, l->n_out, pass->rows, u1 - u0, pass->accumulate);
}

static void dense_project(lip_layer *l, size_t u0, size_t u1) {
  lip_project(projector_of(l), l->param[0].value, l->budget, u0, u1);
}

static lip_status dense_project_exact(lip_layer *l, lip_err *err) {
  return lip_project_exact(projector_of(l), l->param[0].value, l->budget, err);
}

static bool dense_warm(const lip_layer *l, size_t i, lip_warm *out) {
  if (i == 0) *out = lip_projector_warm(projector_of(l));
  return i == 0;
}

static lip_status dense_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  return lip_opnorm_upper(l->param[0].value, l->n_out, l->n_in, pq, upper, err);
}

/* || |W| ||, an upper bound: equal to ||W|| but for 2->2, where the entries' signs matter. */
static double abs_norm(const lip_layer *l, lip_pq pq, double norm) {
  if (pq.p != LIP_P2 || pq.q != LIP_P2) return norm;
  size_t n = l->n_in * l->n_out;
  float *a = lip_alloc(n, sizeof *a);
  if (!a) return INFINITY;
  for (size_t i = 0; i < n; i++) a[i] = fabsf(l->param[0].value[i]);
  double upper = INFINITY;
  if (lip_opnorm_upper(a, l->n_out, l->n_in, pq, &upper, NULL)) upper = INFINITY;
  lip_free(a);
  return upper;
}

static void dense_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  const double up = 1 + 0x1p-48, u = 0x1p-24, n = (double)l->n_in;
  double norm, bias = 0, kappa = (n + 2) * u;
  if (lip_opnorm_upper(l->param[0].value, l->n_out, l->n_in, pq, &norm, NULL)) norm = INFINITY;
  if (l->n_param > 1) bias = lip_norm_upper(l->param[1].value, l->n_out, pq.q);
  double spread = abs_norm(l, pq, norm), executed = d->size + d->off;
  double underflow = 2 * (n + 2) * (double)FLT_MIN * (double)l->n_out;
  /* no intermediate sum of the executed pass may overflow: each is at most its row's |w||x| + |b| */
  bool fits = (spread * executed + bias) * (1 + 2 * kappa) < (double)FLT_MAX / 2;
  d->off = fits ? (norm * d->off + kappa * (spread * executed + bias)) * up + underflow : INFINITY;
  d->size = (norm * d->size + bias) * up;
}

const lip_layer_kind lip_layer_dense = {
    .desc = {"dense", "fully connected: y = W x + b", options, sizeof(dense_conf)},
    .flags = LIP_LAYER_WEIGHTED,
    .plan = dense_plan,
    .release = dense_release,
    .reset = dense_reset,
    .forward = dense_forward,
    .backward = dense_backward,
    .grad = dense_grad,
    .prepare = dense_prepare,
    .project = dense_project,
    .project_exact = dense_project_exact,
    .warm = dense_warm,
    .bound = dense_bound,
    .deviate = dense_deviate,
};
