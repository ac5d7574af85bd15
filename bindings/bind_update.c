/* Optimisers and nets together: one update, what follows it, and going on from a checkpoint. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bindings/bind.h"
#include "core/base/decimal.h"
#include "core/base/number.h"

/* opt:step(net[, project]): one update from net's gradients. With `project` true it also does what net:step does after
 * an update: it projects when the net's project_every says so. One call, so that Ctrl-C cannot come in between. */
static int optim_step(lua_State *L) {
  lip_optim *o = lipL_checkoptim(L, 1);
  lip_net *net = lipL_checkidle(L, 2);
  bool fresh = o->state == NULL;
  lip_err err;
  if ((lua_toboolean(L, 3) ? lip_net_advance : lip_net_update)(net, o, &err)) return lipL_fault(L, &err);
  if (fresh) lipL_account(L, o->n * o->kind->slots * sizeof *o->state);
  lua_pushboolean(L, true);
  return 1;
}

static double constant_of(const lip_layer *l) {
  double upper;
  return lip_layer_bound(l, l->pq, &upper, NULL) ? INFINITY : upper;
}

/* Pushes a text about the first layer that is not trained, so not projected either, and above its budget; 0: there is none. */
static int push_untrained(lua_State *L, const lip_net *net) {
  for (size_t i = 0; i < net->n_leaf; i++) {
    const lip_layer *l = net->leaf[i];
    if (!l->still || isinf(l->budget)) continue;
    const double upper = constant_of(l);
    if (upper <= l->budget) continue;
    char text[200];
    lip_snprintf(text, sizeof text,
                 "layer %zu (%s) is not trained and has the constant %g, more than its budget %g", l->id + 1,
                 l->kind->desc.name, lip_plain(lip_digits_up(upper, 6)), l->budget);
    lua_pushstring(L, text);
    return 1;
  }
  return 0;
}

/* Layers whose constant is not what the shares were made for: those above their share, and above 1 those that have none. */
static void add_layers(luaL_Buffer *b, const lip_net *net) {
  const char *before = ": ";
  for (size_t i = 0; i < net->root->n_child; i++) {
    const lip_layer *l = net->root->child[i];
    const bool weighted = lip_layer_weighted(l);
    const double upper = constant_of(l);
    char text[200];
    if (upper <= (weighted ? l->budget * (1 + 0x1p-30) : 1)) continue;
    lip_snprintf(text, sizeof text, "%slayer %zu (%s), step %s, has %g", before, i + 1, l->kind->desc.name,
                 lip_pq_name(l->pq), lip_plain(lip_digits_up(upper, 6)));
    luaL_addstring(b, text);
    if (weighted)
      lip_snprintf(text, sizeof text, " for a share of %g", l->budget);
    else
      lip_snprintf(text, sizeof text, " and takes no budget");
    luaL_addstring(b, text);
    before = ", ";
  }
}

/* Pushes a text about a net that is above its budget after a projection of all layers: which of them are to blame, and what
 * can be done; 0: it is within. */
static int push_excess(lua_State *L, const lip_net *net) {
  double upper;
  char text[200];
  luaL_Buffer b;
  if (lip_chain_bound(net->root, &upper, NULL)) upper = INFINITY;
  if (lip_net_within(net, upper)) return 0;
  luaL_buffinit(L, &b);
  lip_snprintf(text, sizeof text, "the net has the constant %g, more than its budget %g",
               lip_plain(lip_digits_up(upper, 6)), net->conf.budget);
  luaL_addstring(&b, text);
  add_layers(&b, net);
  if (lip_net_weighted(net) == 0) luaL_addstring(&b, " (none of its layers takes a share)");
  if (isinf(upper))
    lip_snprintf(text, sizeof text, "; of this net only budget = math.huge can be asked");
  else
    lip_snprintf(text, sizeof text, "; what helps is a budget of %g%s, or a norm in which they have less",
                 lip_digits_up(upper, 6),
                 lip_net_weighted(net) > 0 ? "" : ", a dense or conv2d layer that makes up for them");
  luaL_addstring(&b, text);
  luaL_pushresult(&b);
  return 1;
}

/* net:project([{exact=false, script=true}]) -> true[, what is above its budget all the same] | nil, message, code. What the net as a whole
 * has is asked only after the exact projection: it costs as much. */
static int net_project(lua_State *L) {
  static const char *const known[] = {"exact", "script", NULL};
  lip_net *net = lipL_checkidle(L, 1);
  lip_err err;
  lip_status status = LIP_OK;
  lipL_checkfields(L, 2, "project", known);
  const bool exact = lipL_optfield_bool(L, 2, "project", "exact", true);
  const bool script = lipL_optfield_bool(L, 2, "project", "script", true);
  if (!exact && !script)
    return luaL_error(L, "project: options 'exact' and 'script' are both false: at most one of them can be");
  if (!exact)
    lip_net_project(net);
  else
    status = (script ? lip_net_project_scripted : lip_net_project_exact)(net, &err);
  const int failed = lipL_netfault(L, net);
  if (failed) return failed;
  if (status) return lipL_fault(L, &err);
  lua_pushboolean(L, 1);
  if (push_untrained(L, net)) return 2;
  if (!exact) return 1;
  const int n = push_excess(L, net), again = lipL_netfault(L, net);
  return again ? again : 1 + n;
}

/* ---- resuming ---- */

/* Of a kind written in Lua another definition will do: what it learns is compared below. */
static bool same_kind(const lip_layer_kind *a, const lip_layer_kind *b) {
  return a == b || (a->origin && b->origin && strcmp(a->desc.name, b->desc.name) == 0);
}

static bool same_kinds(const lip_spec *a, const lip_spec *b) {
  if (!same_kind(a->kind, b->kind) || a->n_child != b->n_child) return false;
  for (size_t i = 0; i < a->n_child; i++)
    if (!same_kinds(a->child[i], b->child[i])) return false;
  return true;
}

/* True when both nets have the same kinds of layers, with the same arrays in the same places. */
static bool same_layout(const lip_net *a, const lip_net *b) {
  if (a->n_params != b->n_params || a->n_leaf != b->n_leaf || !same_kinds(a->spec, b->spec)) return false;
  for (size_t i = 0; i < a->n_leaf; i++) {
    const lip_layer *l = a->leaf[i], *m = b->leaf[i];
    if (l->n_param != m->n_param) return false;
    for (size_t k = 0; k < l->n_param; k++)
      if (l->param[k].offset != m->param[k].offset || l->param[k].ndim != m->param[k].ndim ||
          memcmp(l->param[k].shape, m->param[k].shape,
                 (size_t)l->param[k].ndim * sizeof *l->param[k].shape) != 0)
        return false;
  }
  return true;
}

typedef struct difference {
  char text[400];
} difference;

/* As layers_differ, for what the two themselves learn and keep. */
static bool params_differ(const lip_layer *here, const lip_layer *there, const char *where, difference *d) {
  const char *kind = here->kind->desc.name;
  for (size_t k = 0; k < here->n_param; k++) {
    const lip_param *p = &here->param[k], *q = lip_layer_param(there, p->name);
    char mine[64], saved[64];
    if (q && p->ndim == q->ndim && memcmp(p->shape, q->shape, (size_t)p->ndim * sizeof *p->shape) == 0)
      continue;
    if (q)
      snprintf(d->text, sizeof d->text, "%s (%s): its %s is %s there, %s here", where, kind, p->name,
               lip_shape_text(q->ndim, q->shape, saved, sizeof saved),
               lip_shape_text(p->ndim, p->shape, mine, sizeof mine));
    else
      snprintf(d->text, sizeof d->text, "%s (%s): it has no %s there", where, kind, p->name);
    return true;
  }
  for (size_t k = 0; k < there->n_param; k++) {
    if (lip_layer_param(here, there->param[k].name)) continue;
    snprintf(d->text, sizeof d->text, "%s (%s): it has no %s here", where, kind, there->param[k].name);
    return true;
  }
  return false;
}

/* Writes the first difference of two layers, `here` and `there`, called `where`; false when there is none to tell. */
static bool layers_differ(const lip_layer *here, const lip_layer *there, const char *where, difference *d) {
  if (!same_kind(here->kind, there->kind)) {
    snprintf(d->text, sizeof d->text, "%s is %s there, %s here", where, there->kind->desc.name,
             here->kind->desc.name);
    return true;
  }
  if (params_differ(here, there, where, d)) return true;
  for (size_t i = 0; i < here->n_child && i < there->n_child; i++) {
    char inside[300];
    lip_snprintf(inside, sizeof inside, "%s%slayer %zu", where, where[0] ? ", inside " : "", i + 1);
    if (layers_differ(here->child[i], there->child[i], inside, d)) return true;
  }
  if (here->n_child == there->n_child) return false;
  snprintf(d->text, sizeof d->text, "%s%s has other layers there: %zu, here %zu", where,
           where[0] ? "" : "the net", there->n_child, here->n_child);
  return true;
}

/* lip.restore(net, opt, saved_net, saved_opt): weights, dropout stream, warm starts, optimiser memory and count of updates as
 * saved; options (learning rate, decay, budget, ...) stay as they are in net and opt. */
static int restore(lua_State *L) {
  lip_net *net = lipL_checkidle(L, 1), *from = lipL_checkidle(L, 3);
  lip_optim *opt = lipL_checkoptim(L, 2), *old = lipL_checkoptim(L, 4);
  lip_err err;
  if (!same_layout(net, from)) {
    difference d;
    const bool told = layers_differ(net->root, from->root, "", &d);
    return luaL_error(L, "restore: the saved net has other layers or shapes than this one%s%s",
                      told ? ": " : "", told ? d.text : "");
  }
  if (opt->kind != old->kind)
    return luaL_error(L, "restore: the saved optimiser is %s, this one is %s", old->kind->desc.name,
                      opt->kind->desc.name);
  if (old->state && old->n != from->n_params)
    return luaL_error(L, "restore: the saved optimiser belongs to another net");
  if (lip_optim_reserve(opt, net->n_params, &err) || lip_net_copy_pairs(net, from, &err))
    return lipL_fault(L, &err);
  const size_t bytes = opt->n * opt->kind->slots * sizeof *opt->state;
  if (old->state)
    memcpy(opt->state, old->state, bytes);
  else
    memset(opt->state, 0, bytes);
  opt->t = old->t;
  lip_net_touch(net);
  memcpy(net->weights, from->weights, net->n_params * sizeof *net->weights);
  lip_net_follow_power(net);
  if (lip_net_recall(net, &err)) return lipL_fault(L, &err);
  lip_layer_copy_warm(net->root, from->root);
  net->step = from->step;
  lua_pushboolean(L, true);
  return 1;
}

void lipL_open_update(lua_State *L) {
  static const luaL_Reg methods[] = {{"step", optim_step}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"restore", restore}, {NULL, NULL}};
  static const luaL_Reg of_net[] = {{"project", net_project}, {NULL, NULL}};
  lipL_addmethods(L, LIP_OPTIM_T, methods);
  lipL_addmethods(L, LIP_NET_T, of_net);
  luaL_setfuncs(L, functions, 0);
}
