/* The product of operator norms along the norm path (Szegedy et al. 2014): every factor is an upper bound of the
 * stored weights' norm, every multiplication is rounded up. */
#include "core/bound/bound.h"

#include <math.h>

#include "core/affine/rounding.h"
#include "core/base/mem.h"
#include "core/norm/round.h"

/* One row; the budget is that of the step that was planned. */
static lip_status fill_row(lip_bound_row *row, const lip_layer *l, lip_pq pq, lip_err *err) {
  bool planned = pq.p == l->pq.p && pq.q == l->pq.q;
  *row = (lip_bound_row){l->kind->desc.name, pq, INFINITY, planned ? l->budget : (double)INFINITY};
  if (!lip_pq_tractable(pq)) return LIP_OK;
  lip_status status = lip_layer_bound(l, pq, &row->upper, err);
  if (status || !(row->upper >= 0)) row->upper = INFINITY;
  return status == LIP_UNSUPPORTED ? LIP_OK : status;
}

lip_status lip_bound_along(const lip_net *net, const lip_path *path, lip_bound *out, lip_err *err) {
  const lip_layer *chain = net->root;
  *out = (lip_bound){.upper = INFINITY, .slack = NAN, .method = "product"};
  lip_bound_row *row = lip_alloc(chain->n_child, sizeof *row);
  if (!row) return lip_fail(err, LIP_MEMORY, "out of memory for a bound of %zu layers", chain->n_child);
  size_t weighted = 0;
  double product = 1;
  for (size_t i = 0; i < chain->n_child; i++) {
    const lip_layer *l = chain->child[i];
    lip_p p = lip_path_at(path, weighted);
    lip_pq pq = {p, p};
    if (lip_layer_weighted(l)) pq = lip_path_step(path, weighted++);
    lip_status status = fill_row(&row[i], l, pq, err);
    if (status) {
      lip_free(row);
      return status;
    }
    if (isinf(row[i].upper) && !out->unknown) {
      out->unknown = l->kind->desc.name;
      out->unknown_at = i;
    }
    fenv_t saved;
    lip_ieee_enter(&saved);
    product = lip_up_mul(product, row[i].upper);
    lip_ieee_leave(&saved);
  }
  out->upper = product;
  out->pq = (lip_pq){lip_path_at(path, 0), lip_path_at(path, weighted)};
  out->n = chain->n_child;
  out->row = row;
  return LIP_OK;
}

lip_status lip_bound_product(const lip_net *net, lip_bound *out, lip_err *err) {
  lip_status status = lip_bound_along(net, &net->conf.path, out, err);
  double budget = net->conf.budget;
  if (!status && budget < INFINITY) out->slack = out->upper / budget;
  return status;
}

void lip_bound_free(lip_bound *b) {
  lip_free(b->row);
  b->row = NULL;
  b->n = 0;
}
