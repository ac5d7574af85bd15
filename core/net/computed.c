/* What follows from weights that have changed, above all where they are computed from trained numbers (layer.h, `renew` and
 * `pull`): W is made anew at once, so that nobody sees one that is out of date; numbers that a script changes through a view
 * are noticed when it uses the net next. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/net/net.h"
#include "core/tensor/vec.h"

void lip_net_touch(lip_net *net) {
  for (size_t i = 0; i < net->n_leaf; i++) net->leaf[i]->prepared = false;
}

static lip_team team_of(const lip_net *net) {
  return (lip_team){net->engine.pool, net->scratch, net->scratch_each};
}

/* Sums of products with odd numbers: no change of one number goes unnoticed. */
static uint64_t check_sum(const lip_layer *l) {
  uint64_t sum = 0;
  for (size_t k = 0; k < l->n_param; k++) {
    const size_t n = l->param[k].frozen ? 0 : lip_param_size(&l->param[k]);
    for (size_t i = 0; i < n; i++) {
      uint32_t bits;
      memcpy(&bits, &l->param[k].value[i], sizeof bits);
      sum += (2 * (uint64_t)i + 1) * (bits + k);
    }
  }
  return sum;
}

static void renew(lip_net *net, lip_layer *l) {
  const lip_team team = team_of(net);
  l->kind->renew(l, &team);
  if (net->lent) l->seen = check_sum(l);
}

static bool renews(const lip_layer *l) {
  return l->computed && l->kind->renew;
}

void lip_net_renew(lip_net *net) {
  for (size_t i = 0; i < net->n_leaf; i++) {
    lip_layer *l = net->leaf[i];
    if (l->computed) l->prepared = false;
    if (renews(l)) renew(net, l);
  }
}

void lip_net_lend(lip_net *net) {
  lip_net_touch(net);
  for (size_t i = 0; !net->lent && i < net->n_leaf; i++)
    if (renews(net->leaf[i])) net->leaf[i]->seen = check_sum(net->leaf[i]);
  net->lent = true;
}

void lip_net_follow(lip_net *net) {
  bool changed = false;
  for (size_t i = 0; net->lent && i < net->n_leaf; i++) {
    lip_layer *l = net->leaf[i];
    if (!renews(l) || check_sum(l) == l->seen) continue;
    renew(net, l);
    changed = true;
  }
  if (changed) lip_net_touch(net);
}

lip_status lip_net_recall(lip_net *net, lip_err *err) {
  bool any = false;
  for (size_t i = 0; i < net->n_leaf; i++) any = any || renews(net->leaf[i]);
  if (!any) return LIP_OK;
  float *copy = lip_alloc(net->n_params, sizeof *copy);
  if (!copy) return lip_fail(err, LIP_MEMORY, "net: no memory for %zu parameters", net->n_params);
  memcpy(copy, net->weights, net->n_params * sizeof *copy);
  lip_net_renew(net);
  memcpy(net->weights, copy, net->n_params * sizeof *copy);
  lip_free(copy);
  return LIP_OK;
}

bool lip_net_pull(lip_net *net, float accumulate) {
  const lip_team team = team_of(net);
  double sum = 0;
  for (size_t i = net->n_leaf; i-- > 0;) {
    lip_layer *l = net->leaf[i];
    if (!l->computed || l->still || !l->kind->pull) continue;
    l->kind->pull(l, &team, accumulate);
    for (size_t k = 0; k < l->n_param; k++)
      if (!l->param[k].frozen) sum += lip_vec_square_sum(l->param[k].grad, lip_param_size(&l->param[k]));
  }
  return isfinite(sum);
}
