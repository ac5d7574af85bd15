/* chain: layers in sequence, y = f_n(...f_1(x)).
 *
 *   dx   through the layers backwards        constant   product of the layers' constants, rounded up
 *
 * Where the norm path steps from p to q the first weighted layer inside makes that step, as in a net. Without one all
 * constants are p -> p, which bounds p -> q as well (q >= p).
 *
 * The functions lip_chain_* are what a net and every other container of layers are made of. The kept block holds,
 * child after child, the outputs that are not the chain's own, their gradients unless they pass (run.c), and what each child
 * keeps. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/emit.h"
#include "core/layer/form.h"
#include "core/layer/run.h"

/* Index of the last child that computes something; n_child when none does. */
static size_t last_worker(const lip_layer *l) {
  for (size_t i = l->n_child; i-- > 0;)
    if (!lip_run_alias(l->child[i])) return i;
  return l->n_child;
}

static bool learns(const lip_layer *l) {
  if (l->units > 0 && !l->still) return true;
  for (size_t i = 0; i < l->n_child; i++)
    if (learns(l->child[i])) return true;
  return false;
}

/* "layer 3 (dense): ..." in front of what the layer itself said; nested chains add their own place. */
static lip_status at_place(lip_err *err, size_t i, const lip_layer_kind *kind, lip_status status) {
  if (!err) return status;
  char said[sizeof err->msg];
  memcpy(said, err->msg, sizeof said);
  const char *text = said;
  size_t n = strlen(kind->desc.name);
  if (strncmp(said, kind->desc.name, n) == 0 && said[n] == ':') text = said + n + 1 + (said[n + 1] == ' ');
  return lip_fail(err, status, "layer %zu (%s): %.340s", i + 1, kind->desc.name, text);
}

lip_status lip_chain_plan(lip_layer *l, lip_spec *const *specs, size_t n, const lip_path *path,
                          lip_plan *plan, lip_err *err) {
  size_t weighted = 0;
  l->child = lip_alloc(n, sizeof(lip_layer *));
  if (!l->child) return lip_fail(err, LIP_MEMORY, "%s: no memory for %zu layers", l->kind->desc.name, n);
  l->out = l->in;
  for (size_t i = 0; i < n; i++) {
    lip_pq pq = {l->pq.p, l->pq.p};
    bool heavy = lip_spec_weighted(specs[i]);
    if (path) {
      pq.p = pq.q = lip_path_at(path, weighted);
      if (heavy) pq = lip_path_step(path, weighted);
    }
    if (heavy) weighted++;
    lip_status status = lip_layer_new(specs[i], &l->out, pq, plan, &l->child[i], err);
    if (status) return at_place(err, i, specs[i]->kind, status);
    l->n_child = i + 1;
    l->out = l->child[i]->out;
    l->whole_batch = l->whole_batch || l->child[i]->whole_batch;
    l->on_caller = l->on_caller || l->child[i]->on_caller;
  }
  lip_run_agree(l);
  return LIP_OK;
}

size_t lip_chain_cache(const lip_layer *l) {
  size_t n = 0, last = last_worker(l);
  for (size_t i = 0; i < l->n_child; i++) {
    const lip_layer *c = l->child[i];
    n += c->cache;
    if (!lip_run_alias(c) && i != last) n += ((size_t)!c->merged + !c->dy_passes) * c->y_row;
  }
  return n;
}

void lip_chain_bind(lip_layer *l, const float *x, float *y, const float *dy, float *dx, float *kept,
                    size_t capacity) {
  size_t last = last_worker(l);
  bool need = dx != NULL; /* does anything before this child want a gradient? */
  float *dx_here = dx;
  for (size_t i = 0; i < l->n_child; i++) {
    lip_layer *c = l->child[i];
    if (lip_run_alias(c)) { /* same numbers under another shape */
      lip_layer_bind(c, x, (float *)(uintptr_t)x, dx_here, dx_here, kept, capacity);
      continue;
    }
    float *yi = y, *dyi = (float *)(uintptr_t)dy;
    if (i != last && kept) {
      yi = c->merged ? (float *)(uintptr_t)x : kept;
      if (!c->merged) kept += capacity * c->y_row;
      dyi = c->dy_passes ? NULL : kept;
      if (dyi) kept += capacity * c->y_row;
    }
    lip_layer_bind(c, x, yi, dyi, need ? dx_here : NULL, kept, capacity);
    if (kept) kept += capacity * c->cache;
    need = need || learns(c);
    x = yi;
    dx_here = dyi;
  }
}

void lip_chain_forward(const lip_layer *l, const lip_pass *pass) {
  lip_run_forward(l, pass);
  if (last_worker(l) == l->n_child) /* nothing computed: y = x */
    memcpy(l->y + pass->r0 * l->n_in, l->x + pass->r0 * l->n_in,
           (pass->r1 - pass->r0) * l->n_in * sizeof(float));
}

void lip_chain_backward(const lip_layer *l, const lip_pass *pass) {
  lip_run_backward(l, pass);
  if (last_worker(l) == l->n_child && l->dx)
    memcpy(l->dx + pass->r0 * l->n_in, l->dy + pass->r0 * l->n_in,
           (pass->r1 - pass->r0) * l->n_in * sizeof(float));
}

/* The product for the steps that were planned, or (`same` not NULL) for that one at every child. */
static lip_status product_of(const lip_layer *l, const lip_pq *same, double *upper, lip_err *err) {
  double product = 1;
  *upper = INFINITY;
  for (size_t i = 0; i < l->n_child; i++) {
    double k;
    lip_status status = lip_layer_bound(l->child[i], same ? *same : l->child[i]->pq, &k, err);
    if (status) return status;
    if (isinf(k)) return LIP_OK;
    if (k != 1) product = k == 0 ? 0 : nextafter(product * k, INFINITY);
  }
  *upper = product;
  return LIP_OK;
}

lip_status lip_chain_bound(const lip_layer *l, double *upper, lip_err *err) {
  return product_of(l, NULL, upper, err);
}

void lip_chain_deviate(const lip_layer *l, lip_deviation *d) {
  for (size_t i = 0; i < l->n_child; i++) lip_layer_deviate(l->child[i], l->child[i]->pq, d);
}

bool lip_chain_form(const lip_layer *l, lip_form *f) {
  for (size_t i = 0; i < l->n_child; i++)
    if (!f->through(f, l->child[i])) return false;
  return true;
}

lip_status lip_chain_fixed(const lip_layer *l, double *product, size_t *weighted, lip_err *err) {
  *product = 1;
  *weighted = 0;
  for (size_t i = 0; i < l->n_child; i++) {
    if (lip_layer_weighted(l->child[i])) {
      ++*weighted;
      continue;
    }
    double k;
    lip_status status = lip_layer_bound(l->child[i], l->child[i]->pq, &k, err);
    if (status) return status;
    if (k > 0 && isfinite(k)) *product *= k;
  }
  return LIP_OK;
}

static bool any_own(const lip_layer *l) {
  for (size_t i = 0; i < l->n_child; i++)
    if (lip_layer_own_budget(l->child[i]) > 0) return true;
  return false;
}

/* Equal shares K^(1/n) for the weighted children that have said nothing, what the others take already set aside. The share is a
 * little short of the root, so that the product, rounded upwards, stays within K. */
lip_status lip_chain_share_budget(lip_layer *l, double budget, lip_err *err) {
  size_t weighted;
  double taken;
  lip_status status = lip_chain_fixed(l, &taken, &weighted, err);
  for (size_t i = 0; i < l->n_child; i++)
    if (lip_layer_own_budget(l->child[i]) > 0) {
      taken *= lip_layer_own_budget(l->child[i]);
      weighted--;
    }
  if (status) return status;
  if (any_own(l) && (isinf(taken) ? isfinite(budget) : weighted == 0 && taken > budget * (1 + 1e-12)))
    return lip_fail(err, LIP_OPTION, "%s: the budgets of its layers amount to %g, more than the %g they have",
                    l->kind->desc.name, taken, budget);
  double share = isinf(budget) ? INFINITY : pow(budget / taken, 1 / (double)weighted) * (1 - 0x1p-40);
  for (size_t i = 0; i < l->n_child; i++)
    if (lip_layer_weighted(l->child[i])) {
      const double own = lip_layer_own_budget(l->child[i]);
      status = lip_layer_set_budget(l->child[i], own > 0 ? own : share, err);
      if (status) return at_place(err, i, l->child[i]->kind, status);
    }
  return LIP_OK;
}

/* ---- the kind ---- */

static lip_status chain_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  const lip_path step = {.n = 2, .p = {l->pq.p, l->pq.q}};
  lip_status status = lip_chain_plan(l, spec->child, spec->n_child, &step, plan, err);
  if (status) return status;
  l->cache = lip_chain_cache(l);
  return LIP_OK;
}

static void chain_bind(lip_layer *l) {
  lip_chain_bind(l, l->x, l->y, l->dy, l->dx, l->kept, l->capacity);
}

/* Whether the planned steps bound pq: a larger exponent only shrinks the norm of the output. Otherwise p -> p does. */
static bool covers(const lip_layer *l, lip_pq pq) {
  return pq.p == l->pq.p && pq.q >= l->pq.q;
}

static lip_status chain_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  const lip_pq same = {pq.p, pq.p};
  *upper = INFINITY;
  return lip_pq_tractable(pq) ? product_of(l, covers(l, pq) ? NULL : &same, upper, err) : LIP_OK;
}

static void chain_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  if (!lip_pq_tractable(pq))
    d->size = d->off = INFINITY;
  else if (covers(l, pq))
    lip_chain_deviate(l, d);
  else
    for (size_t i = 0; i < l->n_child; i++) lip_layer_deviate(l->child[i], (lip_pq){pq.p, pq.p}, d);
}

const lip_layer_kind lip_layer_chain = {
    .desc = {"chain",
             "layers in sequence, used as one: chain{dense{out = 8}, relu{}}; chain{} passes its input on",
             NULL, 0},
    .flags = LIP_LAYER_CONTAINER | LIP_LAYER_WEIGHTED,
    .plan = chain_plan,
    .bind = chain_bind,
    .forward = lip_chain_forward,
    .backward = lip_chain_backward,
    .set_budget = lip_chain_share_budget,
    .bound = chain_bound,
    .form = lip_chain_form,
    .emit = lip_emit_chain,
    .deviate = chain_deviate,
};
