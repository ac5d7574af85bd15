/* product: operator norms multiplied along the norm path (Szegedy et al. 2014), for pairs with the dual norm of w_i - w_j
 * in place of the last layer's (Leino et al. 2021). */
#include <math.h>

#include "core/affine/rounding.h"
#include "core/bound/bound.h"
#include "core/bound/found.h"
#include "core/norm/round.h"

static bool product_takes(const lip_ask *ask, char *why) {
  (void)ask;
  (void)why;
  return true;
}

/* Pairs share the constant of everything before the last layer when that is a matrix of the form W h + b. */
static void product_pairs(const lip_ask *ask, const lip_bound *b, lip_found *out) {
  if (ask->classes &&
      ask->net->root->n_out == 1) { /* f - 0 is f, whatever norm a single number is measured in */
    if (lip_ask_wants(ask, 0, 1)) out->pair[1] = out->pair[2] = out->upper;
    return;
  }
  const lip_layer *chain = ask->net->root;
  size_t C = lip_ask_outputs(ask), last = chain->n_child;
  while (last > 0 && (chain->child[last - 1]->kind->flags & LIP_LAYER_ALIAS)) last--;
  const lip_layer *head = last > 0 ? chain->child[last - 1] : NULL;
  bool dense = head && head->kind->matrix && head->param[0].ndim == 2;
  size_t until = dense ? last - 1 : last;
  double K = 1;
  for (size_t i = 0; i < until; i++) K = lip_up_mul(K, b->row[i].upper);
  lip_p q = dense ? b->row[until].pq.p : ask->q;
  for (size_t i = 0; i < C; i++)
    for (size_t j = 0; j < C; j++) {
      if (i == j || !lip_ask_wants(ask, i, j)) continue;
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
  if (b.unknown)
    lip_because(out->reason, "layer %zu (%s) states no finite constant for the norms %s", b.unknown_at + 1,
                b.unknown, lip_pq_name(b.row[b.unknown_at].pq));
  else if (!(b.upper < INFINITY))
    lip_because(out->reason, "the product of the layers' norms is too large for a number");
  lip_bound_free(&b);
  return LIP_OK;
}

const lip_method lip_method_product = {
    .name = "product",
    .help = "product of the layers' norms; per pair with the norm of the difference of two rows",
    .takes = product_takes,
    .run = product_run,
};
