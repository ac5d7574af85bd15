#include "core/layer/branches.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/form.h"

/* ---- planning ---- */

/* "concat: branch 2: ..." in front of what the branch said. */
static lip_status at_branch(const lip_layer *l, size_t i, lip_status status, lip_err *err) {
  char said[sizeof err->msg];
  if (!err) return status;
  memcpy(said, err->msg, sizeof said);
  return lip_fail(err, status, "%s: branch %zu: %.340s", l->kind->desc.name, i + 1, said);
}

lip_status lip_branch_add(lip_layer *l, lip_spec *const *specs, size_t n, lip_plan *plan, lip_err *err) {
  /* only the layers inside refer to their specs: a chain has no options */
  const lip_spec chain = {.kind = &lip_layer_chain, .child = (lip_spec **)(uintptr_t)specs, .n_child = n};
  lip_status status = lip_layer_new(&chain, &l->in, l->pq, plan, &l->child[l->n_child], err);
  if (status) return status;
  const lip_layer *c = l->child[l->n_child++];
  if (c->scratch > l->scratch) l->scratch = c->scratch;
  l->whole_batch = l->whole_batch || c->whole_batch;
  l->on_caller = l->on_caller || c->on_caller;
  return LIP_OK;
}

lip_status lip_branches_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err) {
  const char *name = l->kind->desc.name;
  if (spec->n_child == 0)
    return lip_fail(err, LIP_OPTION,
                    "%s: has no branches: give layers or chains of them, as in %s{chain{...}, dense{...}}; "
                    "chain{} passes the input on",
                    name, name);
  l->child = lip_alloc(spec->n_child, sizeof(lip_layer *));
  if (!l->child) return lip_fail(err, LIP_MEMORY, "%s: no memory for %zu branches", name, spec->n_child);
  for (size_t i = 0; i < spec->n_child; i++) {
    const lip_spec *s = spec->child[i];
    const bool chain = s->kind == &lip_layer_chain;
    lip_status status =
        lip_branch_add(l, chain ? s->child : &spec->child[i], chain ? s->n_child : 1, plan, err);
    if (status) return at_branch(l, i, status, err);
  }
  return LIP_OK;
}

/* ---- buffers ---- */

static size_t shared_dx(const lip_layer *l) {
  return l->n_child > 1 ? l->n_in : 0;
}

size_t lip_branches_cache(const lip_layer *l, bool own_dy) {
  size_t n = shared_dx(l);
  for (size_t i = 0; i < l->n_child; i++) n += l->child[i]->n_out * (own_dy ? 2 : 1) + l->child[i]->cache;
  return n;
}

void lip_branches_bind(lip_layer *l, bool own_dy) {
  if (!l->kept) return;
  float *at = l->kept + l->capacity * shared_dx(l);
  for (size_t i = 0; i < l->n_child; i++) {
    lip_layer *c = l->child[i];
    float *y = at;
    at += l->capacity * c->n_out;
    const float *dy = own_dy ? at : l->dy;
    if (own_dy) at += l->capacity * c->n_out;
    lip_layer_bind(c, l->x, y, dy, l->dx && i > 0 ? l->kept : l->dx, at, l->capacity);
    at += l->capacity * c->cache;
  }
}

float *lip_branch_dy(const lip_layer *l, size_t i) {
  return (float *)(uintptr_t)l->child[i]->dy; /* of the block that bind has laid out */
}

/* ---- passes ---- */

LIP_HOT static void add(float *restrict to, const float *restrict from, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] += from[i];
}

void lip_branches_forward(const lip_layer *l, const lip_pass *pass) {
  for (size_t i = 0; i < l->n_child; i++) l->child[i]->kind->forward(l->child[i], pass);
}

void lip_branches_backward(const lip_layer *l, const lip_pass *pass) {
  const size_t at = pass->r0 * l->n_in, n = (pass->r1 - pass->r0) * l->n_in;
  for (size_t i = 0; i < l->n_child; i++) {
    l->child[i]->kind->backward(l->child[i], pass);
    if (l->dx && i > 0) add(l->dx + at, l->child[i]->dx + at, n);
  }
}

/* Layers of a branch up to its first matrix, which may be read off x at once. */
static size_t leading(const lip_layer *branch) {
  for (size_t i = 0; i < branch->n_child; i++) {
    const lip_layer_kind *kind = branch->child[i]->kind;
    if (kind->matrix && !kind->form) return i + 1;
    if (!kind->matrix && !(kind->flags & LIP_LAYER_ALIAS)) return i;
  }
  return branch->n_child;
}

static bool part_form(const lip_layer *branch, size_t from, size_t to, lip_form *f) {
  for (size_t i = from; i < to; i++)
    if (!f->through(f, branch->child[i])) return false;
  return true;
}

/* First what all branches begin with, so that x does not wait beside them longer than it must. */
bool lip_branches_form(const lip_layer *l, lip_form *f) {
  const size_t n = l->n_child;
  for (size_t i = 0; i < n; i++) {
    const lip_layer *b = l->child[i];
    const bool last = i + 1 == n; /* it may have x itself */
    if (!(last ? f->lift(f, i) : f->copy(f, i)) || !part_form(b, 0, leading(b), f)) return false;
  }
  for (size_t i = 0; i < n; i++) {
    const lip_layer *b = l->child[i];
    if (!f->lift(f, n - 1) || !part_form(b, leading(b), b->n_child, f)) return false;
  }
  return true;
}

size_t *lip_branches_emit(const lip_layer *l, lip_emit *e, size_t x) {
  size_t *y = lip_emit_take(e, l->n_child, sizeof *y);
  for (size_t i = 0; y && i < l->n_child; i++) y[i] = lip_emit_layer(e, l->child[i], x);
  return y;
}

/* ---- constants ---- */

double lip_join_norm(double a, double b, lip_p q) {
  if (a == 0 || b == 0) return a == 0 ? b : a;
  return lip_norm_upper_d((const double[]){a, b}, 2, q);
}

static lip_status add_bound(const lip_layer *l, size_t i, lip_pq pq, lip_p join, const float *w, double *sum,
                            lip_err *err) {
  double k;
  lip_status status = lip_layer_bound(l->child[i], pq, &k, err);
  if (status) return at_branch(l, i, status, err);
  if (w && fabsf(w[i]) != 1) k = nextafter(k * fabs((double)w[i]), INFINITY);
  *sum = lip_join_norm(*sum, k, join);
  return LIP_OK;
}

lip_status lip_branches_bound(const lip_layer *l, lip_pq pq, lip_p join, const float *w, double *upper,
                              lip_err *err) {
  double sum = 0;
  *upper = INFINITY;
  for (size_t i = 0; i < l->n_child; i++) {
    lip_status status = add_bound(l, i, pq, join, w, &sum, err);
    if (status) return status;
  }
  *upper = sum;
  return LIP_OK;
}

/* What each of m equal parts may be, so that with `fixed` they have the norm K; a little less than that, for the
 * roundings on the way up. Infinite constants cannot be met at all: the net says so, and they are left out here. */
static double equal_part(double K, double fixed, size_t m, lip_p join) {
  K *= 1 - 0x1p-44;
  if (isinf(K) || join == LIP_PINF) return K;
  if (isinf(fixed)) fixed = 0;
  return join == LIP_P1 ? (K - fixed) / (double)m : sqrt((K - fixed) * (K + fixed) / (double)m);
}

lip_status lip_branches_share_budget(lip_layer *l, double K, lip_p join, const float *w, lip_err *err) {
  double fixed = 0;
  size_t m = 0;
  for (size_t i = 0; i < l->n_child; i++) {
    lip_status status = LIP_OK;
    if (lip_layer_weighted(l->child[i]))
      m++;
    else
      status = add_bound(l, i, l->pq, join, w, &fixed, err);
    if (status) return status;
  }
  const double part = equal_part(K, fixed, m, join);
  const bool fits = m == 0 || join == LIP_PINF ? fixed <= K * (1 + 0x1p-40) : part > 0;
  if (isfinite(fixed) && isfinite(K) && !fits)
    return lip_fail(err, LIP_UNSUPPORTED,
                    "%s: its share of the budget is %g, but the branches without weights have the fixed "
                    "constant %g in all: raise the budget, or put scale{factor = ...} into them",
                    l->kind->desc.name, K, fixed);
  for (size_t i = 0; i < l->n_child; i++) {
    if (!lip_layer_weighted(l->child[i])) continue;
    lip_status status = lip_layer_set_budget(l->child[i], w ? part / fabs((double)w[i]) : part, err);
    if (status) return at_branch(l, i, status, err);
  }
  return LIP_OK;
}
