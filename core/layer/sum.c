/* sum: y = w_1 f_1(x) + ... + w_n f_n(x), branches f_i over one input with outputs of equal sizes; weights w_i, not 0 and
 * all 1 unless given, are float32 numbers. chain{} passes x on.
 *
 *   dx = sum of f_i'(x)^T (w_i dy), in the order of the branches
 *   constant  sum of |w_i| L_i for p -> q, L_i the constants p -> q of the branches, by the triangle inequality; rounded up
 *   budget K  with F the sum of the fixed |w_i| L_i each of the m branches that hold weights gets |w_i| L_i = (K - F) / m
 *   float32   n products and sums from the first on: |error| <= gamma_n sum of |w_i| |f_i|, plus underflow, on top of the
 *             errors of the branches (Higham 2002, section 3.1) */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/branches.h"
#include "core/layer/emit.h"
#include "core/layer/form.h"
#include "core/layer/same_shape.h"

typedef struct conf {
  lip_reals weights;
} conf;

static const lip_opt options[] = {
    {.name = "weights",
     .type = LIP_OPT_REALS,
     .offset = offsetof(conf, weights),
     .low = -1e12,
     .high = 1e12,
     .help = "factors of the branches, not 0: one number for all, or one each; 1 unless given"},
    {.name = NULL},
};

/* (n_child), or NULL: all 1 */
static const float *weights(const lip_layer *l) {
  return l->state;
}

static lip_status take_weights(lip_layer *l, const lip_reals *given, lip_err *err) {
  if (given->n == 0) return LIP_OK;
  if (given->n != 1 && given->n != l->n_child)
    return lip_fail(err, LIP_OPTION, "sum: option 'weights' has %zu numbers, but there are %zu branches",
                    given->n, l->n_child);
  float *w = lip_alloc(l->n_child, sizeof *w);
  if (!w) return lip_fail(err, LIP_MEMORY, "sum: no memory for %zu weights", l->n_child);
  l->state = w; /* released by layer.c from here on */
  for (size_t i = 0; i < l->n_child; i++) {
    w[i] = (float)given->v[given->n == 1 ? 0 : i];
    if (w[i] == 0)
      return lip_fail(err, LIP_OPTION, "sum: weight %zu is %g, which is 0 in float32: leave the branch out",
                      i + 1, given->v[given->n == 1 ? 0 : i]);
  }
  return LIP_OK;
}

static lip_status plan(lip_layer *l, const lip_spec *spec, lip_plan *p, lip_err *err) {
  char first[64], here[64];
  lip_status status = lip_branches_plan(l, spec, p, err);
  if (status) return status;
  l->out = l->child[0]->out;
  for (size_t i = 1; i < l->n_child; i++)
    if (l->child[i]->n_out != l->child[0]->n_out)
      return lip_fail(
          err, LIP_SHAPE,
          "sum: branch 1 gives %s and branch %zu %s: the sizes must be equal; a dense or 1x1 conv2d at "
          "the end of a branch can make them so",
          lip_shape_describe(&l->out, first, sizeof first), i + 1,
          lip_shape_describe(&l->child[i]->out, here, sizeof here));
  status = take_weights(l, &((const conf *)spec->conf)->weights, err);
  l->cache = lip_branches_cache(l, weights(l) != NULL);
  return status;
}

static void release(lip_layer *l) {
  lip_free(l->state);
}

static void bind(lip_layer *l) {
  lip_branches_bind(l, weights(l) != NULL);
}

/* to = w from, or to += w from */
LIP_HOT static void scaled(float *restrict to, float w, const float *restrict from, size_t n, bool add) {
  if (add)
    for (size_t i = 0; i < n; i++) to[i] += w * from[i];
  else
    for (size_t i = 0; i < n; i++) to[i] = w * from[i];
}

static float weight(const lip_layer *l, size_t i) {
  return weights(l) ? weights(l)[i] : 1;
}

static void forward(const lip_layer *l, const lip_pass *pass) {
  const size_t at = pass->r0 * l->n_out, n = (pass->r1 - pass->r0) * l->n_out;
  lip_branches_forward(l, pass);
  for (size_t i = 0; i < l->n_child; i++) scaled(l->y + at, weight(l, i), l->child[i]->y + at, n, i > 0);
}

static void backward(const lip_layer *l, const lip_pass *pass) {
  const size_t at = pass->r0 * l->n_out, n = (pass->r1 - pass->r0) * l->n_out;
  for (size_t i = 0; weights(l) && i < l->n_child; i++)
    scaled(lip_branch_dy(l, i) + at, weight(l, i), l->dy + at, n, false);
  lip_branches_backward(l, pass);
}

static lip_status set_budget(lip_layer *l, double budget, lip_err *err) {
  return lip_branches_share_budget(l, budget, LIP_P1, weights(l), err);
}

static lip_status bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err) {
  return lip_branches_bound(l, pq, LIP_P1, weights(l), upper, err);
}

static bool form(const lip_layer *l, lip_form *f) {
  return lip_branches_form(l, f) && f->sum(f, weights(l), l->n_child);
}

static void deviate(const lip_layer *l, lip_pq pq, lip_deviation *d) {
  const double u = 0x1p-24, n = (double)l->n_child;
  lip_deviation all = {0, 0};
  for (size_t i = 0; i < l->n_child; i++) {
    lip_deviation f = *d;
    lip_layer_deviate(l->child[i], pq, &f);
    all.size = lip_round_up(all.size + fabs((double)weight(l, i)) * f.size);
    all.off = lip_round_up(all.off + fabs((double)weight(l, i)) * f.off);
  }
  const double gamma = n * u / (1 - n * u),
               underflow = 2 * n * (double)FLT_MIN * lip_ones_norm(l->n_out, pq.q);
  all.off = n * u < 0.5 ? lip_round_up(all.off + gamma * (all.size + all.off) + underflow) : INFINITY;
  lip_check_overflow(&all);
  *d = all;
}

static size_t emit(const lip_layer *l, lip_emit *e, size_t x) {
  size_t *y = lip_branches_emit(l, e, x);
  return y ? lip_emit_sum(e, l, y, l->n_child, weights(l)) : 0;
}

const lip_layer_kind lip_layer_sum = {
    .desc =
        {"sum",
         "branches over one input, their outputs added: sum{dense{out = 8}, chain{dense{out = 8}, relu{}}}",
         options, sizeof(conf)},
    .flags = LIP_LAYER_CONTAINER | LIP_LAYER_WEIGHTED,
    .plan = plan,
    .release = release,
    .bind = bind,
    .forward = forward,
    .backward = backward,
    .set_budget = set_budget,
    .bound = bound,
    .form = form,
    .emit = emit,
    .deviate = deviate,
};
