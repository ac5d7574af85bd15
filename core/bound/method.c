/* The table of methods, the smallest of their numbers, and the plainest of them: the product of operator norms along
 * the norm path (Szegedy et al. 2014), for pairs with the dual norm of w_i - w_j in place of the last layer's (Leino
 * et al. 2021). */
#include "core/bound/method.h"

#include <math.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/bound/bound.h"
#include "core/norm/round.h"

#define LIP_METHOD(name) extern const lip_method lip_method_##name;
#include "core/bound/methods.def"
#undef LIP_METHOD

static const lip_method *const table[] = {
#define LIP_METHOD(name) &lip_method_##name,
#include "core/bound/methods.def"
#undef LIP_METHOD
};

enum { METHODS = sizeof table / sizeof *table };

const lip_method *lip_method_at(size_t i) {
  return i < METHODS ? table[i] : NULL;
}

const lip_method *lip_method_find(const char *name) {
  for (size_t i = 0; i < METHODS; i++)
    if (strcmp(table[i]->name, name) == 0) return table[i];
  return NULL;
}

void lip_found_free(lip_found *f) {
  lip_free(f->pair);
  lip_proof_free(f->proof);
  *f = (lip_found){.upper = INFINITY};
}

/* Infinity everywhere, the diagonal 0. */
static lip_status found_init(const lip_ask *ask, const char *method, lip_found *f, lip_err *err) {
  size_t C = ask->net->root->n_out, all;
  *f = (lip_found){.upper = INFINITY, .method = method};
  if (!ask->pairs) return LIP_OK;
  if (!lip_mul_fits(C, C, &all) || !(f->pair = lip_alloc(all, sizeof *f->pair)))
    return lip_fail(err, LIP_MEMORY, "out of memory for the pairs of %zu classes", C);
  for (size_t i = 0; i < all; i++) f->pair[i] = i % (C + 1) == 0 ? 0 : (double)INFINITY;
  return LIP_OK;
}

static lip_status run_one(const lip_method *m, const lip_ask *ask, lip_found *out, lip_err *err) {
  lip_status status = found_init(ask, m->name, out, err);
  if (!status && m->takes(ask)) status = m->run(ask, out, err);
  if (status) lip_found_free(out);
  if (!(out->upper >= 0)) out->upper = INFINITY; /* NaN */
  return status;
}

/* Keeps the smaller of each number; the name and the proof go with the pairs, or with the upper where there are none. */
static void take_smaller(lip_found *best, lip_found *f, size_t pairs) {
  bool better = f->upper < best->upper;
  if (better) best->upper = f->upper;
  for (size_t i = 0; i < pairs; i++)
    if (f->pair[i] < best->pair[i]) {
      best->pair[i] = f->pair[i];
      better = true;
    }
  if (!better) return;
  best->method = f->method;
  lip_proof *old = best->proof;
  best->proof = f->proof;
  f->proof = old;
}

static lip_status run_best(const lip_ask *ask, lip_found *out, lip_err *err) {
  size_t C = ask->net->root->n_out;
  double finish = lip_seconds() + ask->seconds;
  lip_status status = found_init(ask, "product", out, err);
  for (size_t i = 0; !status && i < METHODS && (i == 0 || lip_seconds() < finish); i++) {
    if (ask->carried && table[i]->bare) continue;
    lip_ask part = *ask;
    part.seconds = finish - lip_seconds();
    lip_found f;
    status = run_one(table[i], &part, &f, err);
    if (status) break;
    take_smaller(out, &f, ask->pairs ? C * C : 0);
    lip_found_free(&f);
  }
  if (status) lip_found_free(out);
  return status;
}

lip_status lip_method_run(const char *name, const lip_ask *ask, lip_found *out, lip_err *err) {
  *out = (lip_found){.upper = INFINITY};
  if (strcmp(name, "best") == 0) return run_best(ask, out, err);
  const lip_method *m = lip_method_find(name);
  if (!m) return lip_fail(err, LIP_OPTION, "there is no method '%s' to bound a net", name);
  return run_one(m, ask, out, err);
}

/* ---- product ---- */

static bool product_takes(const lip_ask *ask) {
  (void)ask;
  return true;
}

/* Pairs share the constant of everything before the last layer when that is a matrix of the form W h + b. */
static void product_pairs(const lip_ask *ask, const lip_bound *b, lip_found *out) {
  const lip_layer *chain = ask->net->root;
  size_t C = chain->n_out, last = chain->n_child;
  while (last > 0 && (chain->child[last - 1]->kind->flags & LIP_LAYER_ALIAS)) last--;
  const lip_layer *head = last > 0 ? chain->child[last - 1] : NULL;
  bool dense = head && head->kind->matrix && head->param[0].ndim == 2;
  size_t until = dense ? last - 1 : last;
  double K = 1;
  for (size_t i = 0; i < until; i++) K = lip_up_mul(K, b->row[i].upper);
  lip_p q = dense ? b->row[until].pq.p : ask->q;
  for (size_t i = 0; i < C; i++)
    for (size_t j = 0; j < C; j++) {
      if (i == j) continue;
      const float *W = dense ? head->param[0].value : NULL;
      double d = dense
                     ? lip_difference_norm(W + i * head->n_in, W + j * head->n_in, head->n_in, lip_p_dual(q))
                     : lip_unit_difference(q);
      out->pair[i * C + j] = lip_up_mul(K, d);
    }
}

static lip_status product_run(const lip_ask *ask, lip_found *out, lip_err *err) {
  lip_bound b;
  lip_status status = lip_bound_along(ask->net, &ask->path, &b, err);
  if (status) return status;
  fenv_t saved;
  lip_ieee_enter(&saved);
  out->upper = b.upper;
  if (ask->pairs) product_pairs(ask, &b, out);
  lip_ieee_leave(&saved);
  lip_bound_free(&b);
  return LIP_OK;
}

const lip_method lip_method_product = {
    .name = "product",
    .help = "product of the layers' norms; per pair with the norm of the difference of two rows",
    .takes = product_takes,
    .run = product_run,
};
