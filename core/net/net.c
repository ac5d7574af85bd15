/* Building, laying out and freeing a network; its pieces for hand-written loops. The whole step is in step.c. */
#include "core/net/net.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/custom.h"

enum { ROUND = 16 }; /* arrays start at multiples of 64 bytes; so do the rows of capacity */

static size_t rounded(size_t n) {
  return (n + ROUND - 1) / ROUND * ROUND;
}

/* ---- layout ---- */

static size_t count_params(lip_net *net, lip_layer *l, size_t offset) {
  for (size_t i = 0; i < l->n_param; i++) {
    l->param[i].offset = offset;
    offset += rounded(lip_param_size(&l->param[i]));
    if (!l->param[i].frozen) net->n_trainable += lip_param_size(&l->param[i]);
  }
  for (size_t i = 0; i < l->n_child; i++) offset = count_params(net, l->child[i], offset);
  return offset;
}

static void place_params(lip_net *net, lip_layer *l) {
  for (size_t i = 0; i < l->n_param; i++) {
    lip_param *p = &l->param[i];
    p->value = net->weights + p->offset;
    p->grad = net->grads + p->offset;
    for (size_t k = 0; k < lip_param_size(p); k++) net->decay[p->offset + k] = p->decay ? 1 : 0;
  }
  for (size_t i = 0; i < l->n_child; i++) place_params(net, l->child[i]);
}

static lip_status lay_out(lip_net *net, lip_err *err) {
  net->n_params = count_params(net, net->root, 0);
  net->weights = lip_alloc(net->n_params, sizeof(float));
  net->grads = lip_alloc(net->n_params, sizeof(float));
  net->decay = lip_alloc(net->n_params, sizeof(float));
  net->n_leaf = lip_layer_leaves(net->root, NULL, 0);
  net->leaf = lip_alloc(net->n_leaf, sizeof *net->leaf);
  net->scratch_each = (net->root->scratch + 4095) / 4096 * 4096 + 64; /* no two threads share a cache line */
  net->scratch = lip_alloc(lip_pool_threads(net->engine.pool), net->scratch_each);
  if (!net->weights || !net->grads || !net->decay || !net->leaf || !net->scratch)
    return lip_fail(err, LIP_MEMORY, "net: no memory for %zu parameters", net->n_params);
  lip_layer_leaves(net->root, net->leaf, net->n_leaf);
  for (size_t i = 0; i < net->n_leaf; i++) net->projects_own |= net->leaf[i]->projection != NULL;
  net->scripted = net->projects_own || net->root->on_caller;
  place_params(net, net->root);
  return LIP_OK;
}

/* ---- making and freeing ---- */

static lip_status copy_conf(lip_net *net, const lip_net_conf *conf, lip_err *err) {
  const lip_reals *given = &conf->layer_budgets;
  net->conf = *conf;
  lip_projection_hold(net->conf.projection, true);
  net->conf.layer_budgets = (lip_reals){0};
  if (!(conf->budget >= 0))
    return lip_fail(err, LIP_OPTION, "net: budget must be > 0, got %g", lip_plain(conf->budget));
  if (given->n == 0) return LIP_OK;
  net->conf.layer_budgets.v = lip_alloc(given->n, sizeof(double));
  if (!net->conf.layer_budgets.v) return lip_fail(err, LIP_MEMORY, "net: out of memory");
  memcpy(net->conf.layer_budgets.v, given->v, given->n * sizeof(double));
  net->conf.layer_budgets.n = given->n;
  return LIP_OK;
}

static lip_status copy_specs(lip_net *net, lip_spec *const *layers, size_t n, lip_err *err) {
  net->spec = lip_spec_new(lip_layer_kind_find("chain"));
  lip_status status = net->spec ? LIP_OK : LIP_MEMORY;
  for (size_t i = 0; !status && i < n; i++) {
    lip_spec *child = lip_spec_copy(layers[i]);
    status = child ? lip_spec_add(net->spec, child, err) : LIP_MEMORY;
    if (status) lip_spec_free(child);
  }
  return status == LIP_MEMORY ? lip_fail(err, LIP_MEMORY, "net: no memory for %zu layers", n) : status;
}

/* The root is a chain that may change norms on the way, which an inner chain may not. */
static lip_status plan_root(lip_net *net, lip_err *err) {
  lip_layer *root = lip_alloc(1, sizeof *root);
  if (!root) return lip_fail(err, LIP_MEMORY, "net: out of memory");
  net->root = root;
  net->plan = (lip_plan){.method = net->conf.method,
                         .init = net->conf.init,
                         .seed = net->conf.seed,
                         .bounded = isfinite(net->conf.budget),
                         .projection = net->conf.projection,
                         .fault = &net->fault};
  root->kind = net->spec->kind;
  root->plan = &net->plan;
  root->in = net->conf.input;
  root->pq = (lip_pq){lip_path_at(&net->conf.path, 0), lip_path_at(&net->conf.path, 0)};
  root->budget = net->conf.budget;
  if (root->in.ndim < 1 || root->in.ndim > 3)
    return lip_fail(err, LIP_SHAPE, "net: input has 1 to 3 dimensions, got %d", root->in.ndim);
  for (int i = 0; i < root->in.ndim; i++)
    if (root->in.dim[i] == 0 || root->in.dim[i] > (size_t)1 << 30)
      return lip_fail(err, LIP_SHAPE, "net: input dimension %d is %zu", i + 1, root->in.dim[i]);
  root->n_in = lip_shape_size(&root->in);
  lip_status status =
      lip_chain_plan(root, net->spec->child, net->spec->n_child, &net->conf.path, &net->plan, err);
  if (status) return status;
  if (net->conf.path.n > lip_net_weighted(net) + 1)
    return lip_fail(err, LIP_OPTION, "net: the norm path has %zu steps for %zu weighted layers",
                    net->conf.path.n - 1, lip_net_weighted(net));
  root->n_out = lip_shape_size(&root->out);
  root->pq.q = lip_path_at(&net->conf.path, lip_net_weighted(net));
  root->cache = lip_chain_cache(root);
  return LIP_OK;
}

lip_status lip_net_new(const lip_net_conf *conf, lip_spec *const *layers, size_t n, const lip_engine *engine,
                       lip_net **out, lip_err *err) {
  *out = NULL;
  lip_net *net = lip_alloc(1, sizeof *net);
  if (!net) return lip_fail(err, LIP_MEMORY, "net: out of memory");
  if (engine) net->engine = *engine;
  lip_status status = copy_conf(net, conf, err);
  if (!status) status = copy_specs(net, layers, n, err);
  if (!status) status = plan_root(net, err);
  if (!status) status = lip_net_share(net, err);
  if (!status) status = lay_out(net, err);
  if (!status) status = lip_net_reserve(net, 1, err);
  if (!status) status = lip_net_reset(net, conf->seed, err);
  if (status)
    lip_net_free(net);
  else
    *out = net;
  return status;
}

void lip_net_free(lip_net *net) {
  if (!net) return;
  lip_layer_free(net->root);
  lip_spec_free(net->spec);
  lip_projection_hold(net->conf.projection, false);
  lip_free(net->undo);
  lip_free(net->conf.layer_budgets.v);
  lip_free(net->weights);
  lip_free(net->grads);
  lip_free(net->decay);
  lip_free(net->leaf);
  lip_free(net->block);
  lip_free(net->row_value);
  lip_free(net->scratch);
  lip_pairs_free(net->pairs);
  lip_free(net);
}

/* ---- faults ---- */

lip_status lip_net_fault(const lip_net *net, lip_err *err) {
  char place[200];
  const lip_err *why = &net->fault.err;
  if (why->code == LIP_OK) return LIP_OK;
  if (!lip_layer_place(net->root, net->fault.layer, place, sizeof place))
    snprintf(place, sizeof place, "net");
  return lip_fail(err, why->code, "%.100s: %.290s", place, why->msg);
}

void lip_net_forgive(lip_net *net) {
  net->fault.err.code = LIP_OK;
}

/* ---- batches ---- */

lip_status lip_net_reserve(lip_net *net, size_t B, lip_err *err) {
  const lip_layer *root = net->root;
  size_t capacity = rounded(B), per_row = 0, total = 0;
  if (B <= net->capacity) return LIP_OK;
  bool fits = B < (size_t)1 << 40 && lip_add_fits(root->n_in * 2, root->n_out * 2, &per_row) &&
              lip_add_fits(per_row, root->cache, &per_row) && lip_mul_fits(per_row, capacity, &total);
  float *block = fits ? lip_alloc(total, sizeof *block) : NULL;
  double *row_value = block ? lip_alloc(capacity, sizeof *row_value) : NULL;
  if (!row_value) {
    lip_free(block);
    return lip_fail(err, LIP_MEMORY, "net: no memory for a batch of %zu rows", B);
  }
  lip_free(net->block);
  lip_free(net->row_value);
  net->block = block;
  net->row_value = row_value;
  net->capacity = capacity;
  net->rows = 0;
  net->input = block;
  net->dinput = net->input + capacity * root->n_in;
  net->logits = net->dinput + capacity * root->n_in;
  net->dlogits = net->logits + capacity * root->n_out;
  return LIP_OK;
}

void lip_net_bind(lip_net *net, const float *x, bool need_dx) {
  float *kept = net->dlogits + net->capacity * net->root->n_out;
  net->passes++;
  net->root->x = x;
  net->root->y = net->logits;
  net->root->dy = net->dlogits;
  net->root->dx = need_dx ? net->dinput : NULL;
  net->root->kept = kept;
  net->root->capacity = net->capacity;
  lip_chain_bind(net->root, x, net->logits, net->dlogits, net->root->dx, kept, net->capacity);
}

static lip_status project_exact(lip_net *net, bool still, lip_err *err) {
  lip_net_touch(net);
  for (size_t i = 0; i < net->n_leaf; i++) {
    if (net->leaf[i]->still && !still) continue;
    lip_status status = lip_layer_project_exact(net->leaf[i], err);
    if (status) return status;
  }
  return LIP_OK;
}

lip_status lip_net_reset(lip_net *net, uint64_t seed, lip_err *err) {
  lip_pairs_free(net->pairs);
  net->pairs = NULL;
  net->conf.seed = net->plan.seed = seed;
  net->step = 0;
  net->rows = 0;
  lip_net_touch(net);
  memset(net->weights, 0, net->n_params * sizeof(float));
  memset(net->grads, 0, net->n_params * sizeof(float));
  lip_status status = lip_layer_reset(net->root, seed, err);
  if (!status && lip_net_power(net)) status = lip_net_share(net, err); /* exponents have gone back, too */
  if (status) return status;
  lip_net_renew(net);
  return project_exact(net, true, err);
}

lip_status lip_net_project_exact(lip_net *net, lip_err *err) {
  return project_exact(net, false, err);
}

/* ---- bounds that a loss takes ---- */

lip_status lip_net_want_pairs(lip_net *net, const lip_pair_conf *conf, lip_err *err) {
  const lip_pair_conf *old = net->pairs ? lip_pairs_conf(net->pairs) : NULL;
  if (old && old->method == conf->method && old->refresh == conf->refresh) return LIP_OK;
  lip_pairs *made;
  lip_status status = lip_pairs_new(net->root, conf, lip_pool_threads(net->engine.pool), &made, err);
  if (status) return status;
  lip_pairs_free(net->pairs);
  net->pairs = made;
  return LIP_OK;
}

lip_status lip_net_copy_pairs(lip_net *to, const lip_net *from, lip_err *err) {
  lip_warm mine, other;
  if (!from->pairs) return LIP_OK;
  lip_status status = lip_net_want_pairs(to, lip_pairs_conf(from->pairs), err);
  for (size_t i = 0; !status && lip_pairs_warm(from->pairs, i, &other); i++) {
    lip_pairs_warm(to->pairs, i, &mine);
    memcpy(mine.data, other.data, mine.n * (mine.wide ? sizeof(double) : sizeof(float)));
  }
  return status;
}
