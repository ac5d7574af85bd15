/* Projections that were handed over inside of steps: they may fail after the update, which is then taken
 * back. */
#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/net/net.h"
#include "core/tensor/vec.h"

static lip_status project_one(lip_net *net, lip_layer *l, lip_err *err) {
  const lip_param *w = &l->param[0];
  const lip_layer *before = net->fault.running;
  net->fault.running = l;
  lip_status status = l->projection->project(l->projection, l, w, w->value, err);
  net->fault.running = before;
  if (!status && !(lip_vec_abs_max(w->value, lip_param_size(w)) < INFINITY))
    status = lip_fail(err, LIP_NOT_FINITE, "projection gave NaN or infinity");
  return status;
}

lip_status lip_net_project_own(lip_net *net) {
  lip_err err;
  for (size_t i = 0; net->projects_own && i < net->n_leaf; i++) {
    lip_layer *l = net->leaf[i];
    if (!l->projection || l->still || project_one(net, l, &err) == LIP_OK) continue;
    if (net->fault.err.code == LIP_OK) {
      net->fault.err = err;
      net->fault.layer = l;
    }
    return err.code;
  }
  return LIP_OK;
}

/* ---- taking back ---- */

static size_t slots_of(const lip_optim *opt) {
  return opt && opt->state ? opt->kind->slots * opt->n : 0;
}

lip_status lip_net_undo_reserve(lip_net *net, const lip_optim *opt, lip_err *err) {
  const size_t n = net->n_params + slots_of(opt);
  if (!net->projects_own || n <= net->undo_room) return LIP_OK;
  float *more = lip_realloc(net->undo, n, sizeof *more);
  if (!more) return lip_fail(err, LIP_MEMORY, "net: no memory to take an update back");
  net->undo = more;
  net->undo_room = n;
  return LIP_OK;
}

void lip_net_undo_take(lip_net *net, const lip_optim *opt) {
  if (!net->projects_own) return;
  memcpy(net->undo, net->weights, net->n_params * sizeof *net->undo);
  if (slots_of(opt)) memcpy(net->undo + net->n_params, opt->state, slots_of(opt) * sizeof *net->undo);
}

void lip_net_undo(lip_net *net, lip_optim *opt) {
  if (!net->projects_own) return;
  memcpy(net->weights, net->undo, net->n_params * sizeof *net->undo);
  if (slots_of(opt)) memcpy(opt->state, net->undo + net->n_params, slots_of(opt) * sizeof *net->undo);
  lip_net_touch(net);
}
