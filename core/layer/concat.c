/* concat: y = (f_1(x), ..., f_n(x)), branches f_i over one input with their outputs end to end; images, which must have
 * equal height and width, by channels (the same order of numbers). chain{} passes x on: a skip.
 *
 *   dx = sum of f_i'(x)^T dy_i, in the order of the branches
 *   constant  || (L_1, ..., L_n) ||_q for p -> q, L_i the constants p -> q of the branches: max L_i for q = inf, the sum
 *             for 1, sqrt(sum L_i^2) for 2. For ||y - y'||_q^q = sum of ||f_i(x) - f_i(x')||_q^q <= sum of
 *             (L_i ||x - x'||_p)^q, and likewise for the maximum. Exact where the branches reach theirs together (for inf
 *             always), else an upper bound
 *   budget K  branches that hold weights get equal constants: for q = inf each K; for 1 and 2 with F the norm of the fixed
 *             constants, (K - F) / m and sqrt((K^2 - F^2) / m)
 *   float32   copies are exact: || (error of f_1, ...) ||_q */
#include <math.h>
#include <string.h>

#include "core/layer/branches.h"
#include "core/layer/emit.h"
#include "core/layer/form.h"
#include "core/layer/same_shape.h"

/* The branches' shapes joined along their first dimension. */
static lip_status join_shapes(lip_layer *l, lip_err *err) {
  char first[64], here[64];
  l->out = l->child[0]->out;
  for (size_t i = 1; i < l->n_child; i++) {
    const lip_shape *s = &l->child[i]->out;
    bool same = s->ndim == l->out.ndim;
    for (int k = 1; same && k < s->ndim; k++) same = s->dim[k] == l->out.dim[k];
    if (!same)
      return lip_fail(
          err, LIP_SHAPE,
          "concat: branch 1 gives %s and branch %zu %s: they must have equal height and width, or "
          "all be features (flatten)",
          lip_shape_describe(&l->child[0]->out, first, sizeof first), i + 1,
          lip_shape_describe(s, here, sizeof here));
    l->out.dim[0] += s->dim[0];
  }
  return LIP_OK;
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  lip_status status = lip_branches_plan(l, spec, p, err);
  if (!status) status = join_shapes(l, err);
  l->cache = lip_branches_cache(l, true);
  return status;
}

static void bind(lip_layer *l) {
  lip_branches_bind(l, true);
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  lip_branches_forward(l, pass);
  for (size_t r = pass->r0; r < pass->r1; r++) {
    float *y = l->y + r * l->n_out;
    for (size_t i = 0; i < l->n_child; y += l->child[i++]->n_out)
      memcpy(y, l->child[i]->y + r * l->child[i]->n_out, l->child[i]->n_out * sizeof *y);
  }
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  for (size_t r = pass->r0; r < pass->r1; r++) {
    const float *dy = l->dy + r * l->n_out;
    for (size_t i = 0; i < l->n_child; dy += l->child[i++]->n_out)
      memcpy(lip_branch_dy(l, i) + r * l->child[i]->n_out, dy, l->child[i]->n_out * sizeof *dy);
  }
  lip_branches_backward(l, pass);
}

static lip_status set_budget(lip_layer *l, double budget, lip_err *err) {
  return lip_branches_share_budget(l, budget, l->pq.q, NULL, err);
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  return lip_branches_bound(l, pq, pq.q, NULL, upper, err);
}

static bool form(const lip_layer *l, lip_form *f) {
  return lip_branches_form(l, f) && f->join(f, l->n_child);
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  lip_deviation all = {0, 0};
  for (size_t i = 0; i < l->n_child; i++) {
    lip_deviation f = *d;
    lip_layer_deviate(l->child[i], pq, &f);
    all.size = lip_join_norm(all.size, f.size, pq.q);
    all.off = lip_join_norm(all.off, f.off, pq.q);
  }
  *d = all;
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  const size_t *y = lip_branches_emit(l, e, x);
  return y ? lip_emit_add(e, &(lip_emit_step){.op = LIP_EMIT_JOIN, .out = l->out}, y, l->n_child) : 0;
}

const lip_layer_kind lip_layer_concat = {
    .desc = {"concat", "branches over one input, their outputs end to end: concat{chain{}, dense{out = 8}}",
             NULL, 0},
    .flags = LIP_LAYER_CONTAINER | LIP_LAYER_WEIGHTED,
    .plan = plan,
    .bind = bind,
    .forward = forward,
    .backward = backward,
    .set_budget = set_budget,
    .bound = bound,
    .form = form,
    .emit = emit,
    .deviate = deviate,
};
