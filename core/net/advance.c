/* An update with the projection behind it, both or neither; and the projections alone. */
#include "core/net/net.h"

lip_status lip_net_advance(lip_net *net, lip_optim *opt, lip_err *err) {
  const size_t every = net->conf.project_every;
  const bool project = every > 0 && (opt->t + 1) % every == 0;
  lip_status status = lip_optim_reserve(opt, net->n_params, err);
  if (!status && project) status = lip_net_undo_reserve(net, opt, err);
  if (status) return status;
  if (project) lip_net_undo_take(net, opt);
  status = lip_net_update(net, opt, err);
  if (status || !project) return status;
  if (lip_net_project_own(net) == LIP_OK) {
    lip_net_project_rest(net);
    return LIP_OK;
  }
  lip_net_undo(net, opt);
  lip_net_renew(net);
  opt->t--;
  net->step--;
  return lip_net_fault(net, err);
}

void lip_net_project(lip_net *net) {
  lip_err err;
  if (lip_net_undo_reserve(net, NULL, &err)) {
    net->fault = (lip_fault){.err = err, .layer = net->root};
    return;
  }
  lip_net_undo_take(net, NULL);
  if (lip_net_project_own(net) == LIP_OK)
    lip_net_project_rest(net);
  else
    lip_net_undo(net, NULL);
}

lip_status lip_net_project_scripted(lip_net *net, lip_err *err) {
  lip_status status = lip_net_undo_reserve(net, NULL, err);
  if (status) return status;
  lip_net_touch(net);
  lip_net_undo_take(net, NULL);
  status = lip_net_project_own(net) ? lip_net_fault(net, err) : lip_net_project_exact(net, err);
  if (status) lip_net_undo(net, NULL);
  return status;
}
