/* The budget of a net, shared out to its layers: when it is made, and again when constants that layers take themselves have
 * changed, as those of distances do with their exponent. */
#include <math.h>

#include "core/base/decimal.h"
#include "core/base/mem.h"
#include "core/net/net.h"

lip_layer *lip_net_weighted_layer(const lip_net *net, size_t i) {
  for (size_t k = 0; k < net->root->n_child; k++)
    if (lip_layer_weighted(net->root->child[k]) && i-- == 0) return net->root->child[k];
  return NULL;
}

size_t lip_net_weighted(const lip_net *net) {
  size_t n = 0;
  while (lip_net_weighted_layer(net, n)) n++;
  return n;
}

/* ---- shares ---- */

/* One share per weighted layer; a total of 0 becomes what they and the fixed constants amount to. */
static lip_status check_given(lip_net *net, lip_err *err) {
  const lip_reals *given = &net->conf.layer_budgets;
  double product;
  size_t weighted;
  lip_status status = lip_chain_fixed(net->root, &product, &weighted, err);
  if (status) return status;
  if (given->n != weighted)
    return lip_fail(err, LIP_OPTION, "net: budgets has %zu entries for %zu weighted layers", given->n,
                    weighted);
  for (size_t i = 0; i < given->n; i++) product *= given->v[i];
  if (net->conf.budget == 0) net->conf.budget = net->root->budget = product;
  if (!(product <= net->conf.budget * (1 + 1e-12)))
    return lip_fail(err, LIP_OPTION, "net: the product of budgets is %g, more than the total budget %g",
                    product, net->conf.budget);
  return LIP_OK;
}

/* What the layers' own options say: a total of 0 becomes what they and the fixed constants amount to. */
static lip_status check_own(lip_net *net, lip_err *err) {
  double product;
  size_t weighted, own = 0;
  lip_status status = lip_chain_fixed(net->root, &product, &weighted, err);
  for (size_t i = 0; !status && i < net->root->n_child; i++) {
    const lip_layer *l = net->root->child[i];
    const double budget = lip_layer_own_budget(l);
    if (budget == 0) continue;
    if (net->conf.layer_budgets.n > 0)
      return lip_fail(
          err, LIP_OPTION,
          "net: layer %zu (%s) has a budget of its own (%g), and the net's option budgets gives it "
          "one too: leave out either",
          i + 1, l->kind->desc.name, budget);
    if (isinf(budget) && isfinite(net->conf.budget))
      return lip_fail(err, LIP_OPTION, "net: layer %zu (%s) has an infinite budget, the net one of %g", i + 1,
                      l->kind->desc.name, net->conf.budget);
    product *= budget;
    own++;
  }
  if (status || own < weighted || own == 0) return status;
  if (net->conf.budget == 0) net->conf.budget = net->root->budget = product;
  if (!(product <= net->conf.budget * (1 + 1e-12)))
    return lip_fail(err, LIP_OPTION,
                    "net: the product of the layers' budgets is %g, more than the total budget %g", product,
                    net->conf.budget);
  return LIP_OK;
}

static lip_status share(lip_net *net, lip_err *err) {
  lip_status status = check_own(net, err);
  if (status) return status;
  if (net->conf.budget == 0 && net->conf.layer_budgets.n == 0)
    return lip_fail(err, LIP_OPTION, "net: budget must be > 0, got 0");
  if (net->conf.layer_budgets.n == 0) return lip_chain_share_budget(net->root, net->conf.budget, err);
  status = check_given(net, err);
  for (size_t i = 0; !status && i < net->conf.layer_budgets.n; i++)
    status = lip_layer_set_budget(lip_net_weighted_layer(net, i), net->conf.layer_budgets.v[i], err);
  return status;
}

/* Shares depend on what a layer is, not on its weights: so they are those of a net that is made, or read from a file, now. */
static void show_weights(const lip_net *net, lip_layer *l, bool shown) {
  for (size_t i = 0; i < l->n_param; i++)
    l->param[i].value = shown && net->weights ? net->weights + l->param[i].offset : NULL;
  for (size_t i = 0; i < l->n_child; i++) show_weights(net, l->child[i], shown);
}

lip_status lip_net_share(lip_net *net, lip_err *err) {
  show_weights(net, net->root, false);
  lip_status status = share(net, err);
  show_weights(net, net->root, true);
  return status;
}

bool lip_net_within(const lip_net *net, double upper) {
  return upper <= net->conf.budget * (1 + 0x1p-30);
}

/* ---- exponents ---- */

/* Into (`set`: from) p, the exponents of the layers of the tree that have one, in order; p NULL: only their number. */
static size_t visit_p(lip_layer *l, double *p, bool set, size_t n) {
  if (l->kind->p) {
    if (p && !set) p[n] = l->kind->p(l);
    if (p && set) (void)l->kind->set_p(l, p[n], NULL);
    n++;
  }
  for (size_t i = 0; i < l->n_child; i++) n = visit_p(l->child[i], p, set, n);
  return n;
}

size_t lip_net_power(const lip_net *net) {
  return visit_p(net->root, NULL, false, 0);
}

static lip_status set_all(lip_layer *l, double p, lip_err *err) {
  lip_status status = l->kind->p ? l->kind->set_p(l, p, err) : LIP_OK;
  for (size_t i = 0; !status && i < l->n_child; i++) status = set_all(l->child[i], p, err);
  return status;
}

lip_status lip_net_set_power(lip_net *net, double p, lip_err *err) {
  const size_t n = lip_net_power(net);
  bool same = true;
  double *old = lip_alloc(n, sizeof *old);
  if (!old) return lip_fail(err, LIP_MEMORY, "net: out of memory");
  visit_p(net->root, old, false, 0);
  for (size_t i = 0; i < n; i++) same = same && old[i] == p;
  lip_status status = same ? LIP_OK : set_all(net->root, p, err);
  if (!same && !status) status = lip_net_share(net, err);
  if (status) {
    visit_p(net->root, old, true, 0);
    (void)lip_net_share(net, NULL);
  } else if (!same) {
    lip_net_touch(net);
    lip_net_renew(net);
  }
  lip_free(old);
  return status;
}

/* A share that cannot be met is told of by whoever looks at the net's constant. */
void lip_net_follow_power(lip_net *net) {
  const size_t n = lip_net_power(net);
  double *p = n > 0 ? lip_alloc(n, sizeof *p) : NULL;
  if (!p) return;
  visit_p(net->root, p, false, 0);
  visit_p(net->root, p, true, 0);
  lip_free(p);
  (void)lip_net_share(net, NULL);
}
