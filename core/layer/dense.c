/* dense: y = W x + b, W (OUT, IN), b (OUT).
 *
 *   dx = W' dy        dW = sum over rows of dy x'        db = sum over rows of dy
 *   constant  ||W||_{p->q} for every pair with q >= p (norm/project.h); exact except 2->2, which is rigorous
 *   float32   |fl(Wx+b) - (Wx+b)| <= (IN+2) u (|W||x| + |b|) in every order of summation (Jeannerod, Rump 2013),
 *             plus one smallest normal number per operation for underflow, flushed to zero or not */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/emit.h"
#include "core/layer/init.h"
#include "core/layer/parametrisation.h"
#include "core/norm/lanes.h"
#include "core/norm/opnorm.h"
#include "core/tensor/gemm.h"
#include "core/tensor/panel.h"
#include "core/tensor/vec.h"

/* Packed copies cost memory traffic; where they save more than that was measured on nets with 64 to 1024 features.
 * Of the weight for backward: while it stays cached (256 x 256: 3 % of a step; 1024 x 1024: it loses 3 %). Of the
 * input for grad: when enough output features read it (256: 2 % of a step; 64: it loses 3 %). */
enum { SECOND_COPY = 1 << 18, PACKED_INPUT = 128 };

typedef struct dense_conf {
  size_t out;
  bool bias;
  lip_weight_conf weight;
  lip_own_conf own;
} dense_conf;

typedef struct dense_state {
  lip_weight weight;
  lip_projector *projector; /* NULL: the weight is computed */
  lip_panel along,
      across; /* the weight packed for forward, and for backward if it is small; no data before reset */
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
    LIP_WEIGHT_OPTIONS(offsetof(dense_conf, weight), lip_weight_dense_names),
    LIP_WEIGHT_MORE_OPTIONS(offsetof(dense_conf, weight)),
    LIP_OWN_OPTIONS(offsetof(dense_conf, own)),
    {.name = NULL},
};

static lip_status dense_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  const dense_conf *conf = spec->conf;
  if (l->in.ndim != 1) {
    char shape[64];
    return lip_fail(err, LIP_SHAPE, "dense: expects a flat input, got %s: put a flatten layer before it",
                    lip_shape_describe(&l->in, shape, sizeof shape));
  }
  l->own = &conf->own;
  l->out = (lip_shape){1, {conf->out, 0, 0}};
  lip_layer_add_param(l, "weight", 2, (size_t[]){conf->out, l->in.dim[0]}, true);
  if (conf->bias) lip_layer_add_param(l, "bias", 1, (size_t[]){conf->out}, false);
  l->units = conf->out;
  l->scratch = lip_gemm_scratch();
  if (conf->out >= PACKED_INPUT) l->cache = lip_panel_row_floats(l->in.dim[0]);
  dense_state *state = l->state = lip_alloc(1, sizeof *state);
  if (!state) return lip_fail(err, LIP_MEMORY, "dense: out of memory");
  lip_status status = lip_weight_plan(&state->weight, l, &conf->weight, NULL, err);
  if (status || state->weight.kind) return status;
  status = lip_projector_new(conf->out, l->in.dim[0], l->pq, plan->method, &state->projector, err);
  if (status) return status;
  l->project_units = lip_projector_units(state->projector);
  l->project_by_unit = lip_projector_by_rows(state->projector);
  return LIP_OK;
}

static void dense_release(lip_layer *l) {
  dense_state *state = l->state;
  if (!state) return;
  lip_weight_release(&state->weight);
  lip_projector_free(state->projector);
  lip_free(state->along.data);
  lip_free(state);
}

static const float *bias_of(const lip_layer *l) {
  const bool computed = ((const dense_state *)l->state)->weight.kind != NULL;
  return l->n_param > (computed ? 2 : 1) ? l->param[1].value : NULL; /* the last is V, if there is one */
}

static lip_projector *projector_of(const lip_layer *l) {
  return ((const dense_state *)l->state)->projector;
}

/* The packed weights are as large as the weight itself: like that they are taken when the net is laid out, not in plan,
 * which also serves to compare a file with what it claims. */
static lip_status dense_reset(lip_layer *l, lip_rng *rng, lip_err *err) {
  dense_state *state = l->state;
  if (!state->along.data) {
    size_t along = lip_panel_floats(LIP_SUM_COLS, l->n_out, l->n_in);
    size_t across = lip_panel_floats(LIP_SUM_ROWS, l->n_out, l->n_in);
    if (l->n_out * l->n_in > SECOND_COPY) across = 0;
    along = (along + 15) / 16 * 16; /* what follows is aligned to 64 bytes too */
    float *data = lip_alloc(along + across, sizeof *data);
    if (!data) return lip_fail(err, LIP_MEMORY, "dense: no memory for %zu weights", along + across);
    state->along = (lip_panel){LIP_SUM_COLS, l->n_out, l->n_in, data};
    state->across = (lip_panel){LIP_SUM_ROWS, l->n_out, l->n_in, across ? data + along : NULL};
  }
  lip_status status = lip_init_weights(l->param[0].value, l->n_out, l->n_in, lip_layer_init(l), l->pq,
                                       lip_weight_init_budget(&state->weight, l), rng, err);
  return status ? status : lip_weight_reset(&state->weight, l, rng, err);
}

static void dense_renew(lip_layer *l, const lip_team *team) {
  lip_weight_renew(&((dense_state *)l->state)->weight, l, team);
}

static void dense_pull(lip_layer *l, const lip_team *team, float accumulate) {
  lip_weight_pull(&((dense_state *)l->state)->weight, l, team, accumulate);
}

static void dense_prepare(lip_layer *l, size_t u0, size_t u1) {
  const dense_state *state = l->state;
  lip_panel_pack(&state->along, l->param[0].value, u0, u1);
  if (l->dx && state->across.data) lip_panel_pack(&state->across, l->param[0].value, u0, u1);
}

static bool packed(const lip_layer *l, const lip_pass *pass) {
  return l->prepared && pass->prepared;
}

/* The input of the whole batch, packed; its rows enter as they come through forward. Only with l->cache. */
static lip_panel input_panel(const lip_layer *l) {
  return (lip_panel){LIP_SUM_ROWS, l->capacity, l->n_in, l->kept};
}

static void dense_forward(const lip_layer *l, const lip_pass *pass) {
  const size_t B = pass->r1 - pass->r0;
  const float *x = l->x + pass->r0 * l->n_in;
  float *y = l->y + pass->r0 * l->n_out;
  if (pass->training && l->cache > 0) {
    lip_panel input = input_panel(l);
    lip_panel_pack(&input, l->x, pass->r0, pass->r1);
  }
  if (packed(l, pass))
    lip_panel_forward(&((const dense_state *)l->state)->along, B, x, y, pass->scratch);
  else
    lip_gemm(LIP_N, LIP_T, B, l->n_out, l->n_in, 1, x, l->n_in, l->param[0].value, l->n_in, 0, y, l->n_out,
             pass->scratch);
  if (bias_of(l)) lip_vec_add_rows(y, bias_of(l), B, l->n_out);
}

/* y_o = sum_k w_ok x_k + b_o for o in [o0, o0 + n), n <= 4: each sum by itself, in eight lanes. */
LIP_INLINE void wide_outputs(const float *W, const float *b, size_t N, const double *x, double *y, size_t n) {
  lip_d8 sum[4] = {{0}};
  size_t k = 0;
  for (; k + LIP_LANES <= N; k += LIP_LANES) {
    lip_d8 v;
    LIP_LOAD(v, x + k);
    for (size_t o = 0; o < n; o++) {
      lip_f8 w;
      LIP_LOAD(w, W + o * N + k);
      sum[o] += __builtin_convertvector(w, lip_d8) * v;
    }
  }
  for (size_t o = 0; o < n; o++) {
    double rest = b ? (double)b[o] : 0;
    for (size_t i = k; i < N; i++) rest += (double)W[o * N + i] * x[i];
    y[o] = lip_sum_lanes(&sum[o]) + rest;
  }
}

LIP_HOT static void wide_row(const float *W, const float *b, size_t M, size_t N, const double *x, double *y) {
  size_t o = 0;
  for (; o + 4 <= M; o += 4) wide_outputs(W + o * N, b ? b + o : NULL, N, x, y + o, 4);
  for (; o < M; o++) wide_outputs(W + o * N, b ? b + o : NULL, N, x, y + o, 1);
}

static void dense_wide(const lip_layer *l, size_t B, const double *x, double *y) {
  const float *b = bias_of(l);
  for (size_t r = 0; r < B; r++)
    wide_row(l->param[0].value, b, l->n_out, l->n_in, x + r * l->n_in, y + r * l->n_out);
}

static void dense_backward(const lip_layer *l, const lip_pass *pass) {
  const size_t B = pass->r1 - pass->r0;
  const float *dy = l->dy + pass->r0 * l->n_out;
  const lip_panel *across = &((const dense_state *)l->state)->across;
  float *dx = l->dx + pass->r0 * l->n_in;
  if (packed(l, pass) && across->data)
    lip_panel_backward(across, B, dy, dx, pass->scratch);
  else
    lip_gemm(LIP_N, LIP_N, B, l->n_in, l->n_out, 1, dy, l->n_out, l->param[0].value, l->n_in, 0, dx, l->n_in,
             pass->scratch);
}

static void dense_grad(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1) {
  const lip_panel input = input_panel(l);
  float *dw = l->param[0].grad;
  if (bias_of(l))
    lip_vec_sum_rows(l->param[1].grad + u0, l->dy + u0, l->n_out, pass->rows, u1 - u0, pass->accumulate);
  if (l->cache > 0) {
    lip_panel_grad(&input, pass->rows, l->dy, l->n_out, u0, u1, pass->accumulate, dw, pass->scratch,
                   pass->done, pass->done_arg);
    return;
  }
  lip_gemm(LIP_T, LIP_N, u1 - u0, l->n_in, pass->rows, 1, l->dy + u0, l->n_out, l->x, l->n_in,
           pass->accumulate, dw + u0 * l->n_in, l->n_in, pass->scratch);
  if (pass->done) pass->done(pass->done_arg, u0, u1);
}

static void dense_project(lip_layer *l, size_t u0, size_t u1, void *scratch) {
  lip_project(projector_of(l), l->param[0].value, l->budget, u0, u1, scratch);
}

static lip_status dense_project_exact(lip_layer *l, lip_err *err) {
  const dense_state *state = l->state;
  if (state->weight.kind) return lip_weight_project_exact(&state->weight, l, err);
  return lip_project_exact(projector_of(l), l->param[0].value, l->budget, err);
}

static bool dense_warm(const lip_layer *l, size_t i, lip_warm *out) {
  if (i > 0 || !projector_of(l)) return false;
  *out = lip_projector_warm(projector_of(l));
  return true;
}

static lip_status dense_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  return lip_opnorm_upper(l->param[0].value, l->n_out, l->n_in, pq, upper, err);
}

static void dense_matrix(const lip_layer *l, float *W, float *b) {
  memcpy(W, l->param[0].value, l->n_out * l->n_in * sizeof *W);
  for (size_t i = 0; i < l->n_out; i++) b[i] = bias_of(l) ? bias_of(l)[i] : 0;
}

static void dense_matrix_grad(const lip_layer *l, size_t K, const float *A, const float *B, size_t u0,
                              size_t u1, void *scratch) {
  lip_gemm(LIP_T, LIP_N, u1 - u0, l->n_in, K, 1, A + u0, l->n_out, B, l->n_in, 1,
           l->param[0].grad + u0 * l->n_in, l->n_in, scratch);
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
  if (bias_of(l)) bias = lip_norm_upper(bias_of(l), l->n_out, pq.q);
  double spread = abs_norm(l, pq, norm), executed = d->size + d->off;
  double underflow = 2 * (n + 2) * (double)FLT_MIN * (double)l->n_out;
  /* no intermediate sum of the executed pass may overflow: each is at most its row's |w||x| + |b| */
  bool fits = (spread * executed + bias) * (1 + 2 * kappa) < (double)FLT_MAX / 2;
  d->off = fits ? (norm * d->off + kappa * (spread * executed + bias)) * up + underflow : INFINITY;
  d->size = (norm * d->size + bias) * up;
}

static size_t dense_emit(const lip_layer *l, lip_emit *e, size_t x) {
  return lip_emit_add(e,
                      &(lip_emit_step){.op = LIP_EMIT_DENSE,
                                       .out = l->out,
                                       .u.dense = {.W = l->param[0].value, .b = bias_of(l)}},
                      &x, 1);
}

const lip_layer_kind lip_layer_dense = {
    .desc = {"dense", "fully connected: y = W x + b", options, sizeof(dense_conf)},
    .flags = LIP_LAYER_WEIGHTED,
    .plan = dense_plan,
    .release = dense_release,
    .reset = dense_reset,
    .forward = dense_forward,
    .backward = dense_backward,
    .wide = dense_wide,
    .grad = dense_grad,
    .renew = dense_renew,
    .pull = dense_pull,
    .prepare = dense_prepare,
    .project = dense_project,
    .project_exact = dense_project_exact,
    .warm = dense_warm,
    .bound = dense_bound,
    .emit = dense_emit,
    .matrix = dense_matrix,
    .matrix_grad = dense_matrix_grad,
    .deviate = dense_deviate,
};
