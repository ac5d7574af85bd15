/* The tables of parametrisations, and what layers with such a weight have in common. */
#include "core/layer/parametrisation.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/norm/round.h"
#include "core/tensor/vec.h"

/* ---- tables ---- */

/* The weight itself is trained: what layers do by themselves. */
static const lip_parametrisation lip_weight_projected = {
    .desc = {"projected", "trained itself, and projected onto the budget after updates", NULL, 0},
};

#define LIP_WEIGHT_ALL(name) extern const lip_parametrisation lip_weight_##name;
#define LIP_WEIGHT_DENSE(name) LIP_WEIGHT_ALL(name)
#define LIP_WEIGHT_CONV(name) LIP_WEIGHT_ALL(name)
#include "core/layer/parametrisations.def"
#undef LIP_WEIGHT_ALL

#define LIP_WEIGHT_ALL(name) &lip_weight_##name,
static const lip_parametrisation *const of_all[] = {
#include "core/layer/parametrisations.def"
    NULL,
};
#undef LIP_WEIGHT_CONV
#define LIP_WEIGHT_CONV(name)
static const lip_parametrisation *const of_dense[] = {
#include "core/layer/parametrisations.def"
    NULL,
};
#undef LIP_WEIGHT_CONV
#undef LIP_WEIGHT_DENSE
#define LIP_WEIGHT_CONV(name) LIP_WEIGHT_ALL(name)
#define LIP_WEIGHT_DENSE(name)
static const lip_parametrisation *const of_conv[] = {
#include "core/layer/parametrisations.def"
    NULL,
};
#undef LIP_WEIGHT_ALL
#define LIP_WEIGHT_ALL(name) #name,
const char *const lip_weight_conv_names[] = {
#include "core/layer/parametrisations.def"
    NULL,
};
#undef LIP_WEIGHT_CONV
#undef LIP_WEIGHT_DENSE
#define LIP_WEIGHT_CONV(name)
#define LIP_WEIGHT_DENSE(name) LIP_WEIGHT_ALL(name)
const char *const lip_weight_dense_names[] = {
#include "core/layer/parametrisations.def"
    NULL,
};

const lip_parametrisation *lip_weight_at(size_t i) {
  return i < sizeof of_all / sizeof *of_all ? of_all[i] : NULL;
}

/* ---- one weight ---- */

lip_status lip_weight_plan(lip_weight *w, lip_layer *l, const lip_weight_conf *conf,
                           const struct lip_conv *conv, lip_err *err) {
  lip_param *W = &l->param[0];
  const lip_parametrisation *kind = (conv ? of_conv : of_dense)[conf->kind];
  const char *layer = l->kind->desc.name;
  lip_err why;
  *w = (lip_weight){.conf = conf, .conv = conv, .pq = l->pq, .M = W->shape[0]};
  if (!kind->g) return LIP_OK;
  w->N = lip_param_size(W) / w->M;
  w->free_ndim = W->ndim;
  memcpy(w->free_shape, W->shape, sizeof w->free_shape);
  w->kind = kind;
  lip_status status = kind->plan(w, &why);
  if (status) return lip_fail(err, status, "%s: weight = \"%s\": %.300s", layer, kind->desc.name, why.msg);
  w->param = l->n_param;
  lip_layer_add_param(l, "free", w->free_ndim, w->free_shape, W->decay);
  w->n_free = lip_param_size(&l->param[w->param]);
  W->frozen = true;
  W->decay = false;
  l->computed = true;
  l->project_units = 0;
  l->project_by_unit = false;
  return LIP_OK;
}

void lip_weight_release(lip_weight *w) {
  lip_free(w->G);
  lip_free(w->keep);
  lip_free(w->tmp);
  w->G = w->keep = w->tmp = NULL;
}

double lip_weight_init_budget(const lip_weight *w, const lip_layer *l) {
  return w->kind && isfinite(l->budget) ? 1 : l->budget;
}

/* Like a layer's other working memory these are taken when the net is laid out, not in plan. */
static lip_status take_memory(lip_weight *w, const lip_layer *l, lip_err *err) {
  if (!w->G) w->G = lip_alloc(w->M * w->N, sizeof *w->G);
  if (!w->keep) w->keep = lip_alloc(w->kept, sizeof *w->keep);
  if (!w->tmp) w->tmp = lip_alloc(w->work, sizeof *w->tmp);
  if (w->G && w->keep && w->tmp) return LIP_OK;
  return lip_fail(err, LIP_MEMORY, "%s: no memory for %zu weights and what weight = \"%s\" keeps",
                  l->kind->desc.name, w->M * w->N, w->kind->desc.name);
}

lip_status lip_weight_reset(lip_weight *w, lip_layer *l, lip_rng *rng, lip_err *err) {
  if (!w->kind) return LIP_OK;
  lip_status status = take_memory(w, l, err);
  if (status) return status;
  float *V = l->param[w->param].value;
  const float *W0 = l->param[0].value;
  if (w->kind->start) return w->kind->start(w, V, W0, rng, err);
  memcpy(V, W0, w->n_free * sizeof *V);
  return LIP_OK;
}

void lip_weight_renew(lip_weight *w, lip_layer *l, const lip_team *team) {
  if (!w->kind) return;
  const size_t n = w->M * w->N;
  const float k = lip_budget_factor(l->budget);
  float *W = l->param[0].value;
  w->kind->g(w, team, l->param[w->param].value, w->G);
  memcpy(W, w->G, n * sizeof *W);
  if (w->kind->flags & LIP_WEIGHT_RETRACTS) memcpy(l->param[w->param].value, w->G, n * sizeof *W);
  if (k != 1) lip_vec_scale(W, k, n);
}

void lip_weight_pull(const lip_weight *w, lip_layer *l, const lip_team *team, float accumulate) {
  if (!w->kind) return;
  const size_t n = w->M * w->N;
  const float k = lip_budget_factor(l->budget);
  float *dW = l->param[0].grad;
  const lip_param *V = &l->param[w->param];
  if (k != 1) lip_vec_scale(dW, k, n);
  /* where V has become g(V) it is what was stored, and w->G, which is made anew when a net is read, need not be */
  const float *G = w->kind->flags & LIP_WEIGHT_RETRACTS ? V->value : w->G;
  w->kind->pull(w, team, V->value, G, dW, V->grad, accumulate);
  memset(dW, 0, n * sizeof *dW);
}

/* ---- the budget ---- */

lip_status lip_weight_project_exact(const lip_weight *w, lip_layer *l, lip_err *err) {
  const size_t n = w->M * w->N;
  float *W = l->param[0].value;
  double upper, margin = 0x1p-22;
  if (isinf(l->budget)) return LIP_OK;
  lip_status status = lip_layer_bound(l, l->pq, &upper, err);
  while (!status && upper > l->budget) {
    if (!lip_vec_all_finite(W, n))
      return lip_fail(err, LIP_NOT_FINITE, "%s: a weight is NaN or infinite: not projected",
                      l->kind->desc.name);
    const double scale = lip_shrink(upper, l->budget, &margin);
    for (size_t i = 0; i < n; i++) W[i] = (float)((double)W[i] * scale);
    status = lip_layer_bound(l, l->pq, &upper, err);
  }
  return status;
}
