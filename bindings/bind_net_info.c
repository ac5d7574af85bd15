/* Looking inside a net from Lua: its tensors, its shape, its table of layers. Methods of lip.net (bind_net.c). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bindings/bind.h"
#include "core/base/decimal.h"

static void push_param(lua_State *L, lip_param *p, float *data) {
  lip_net *net = lipL_checknet(L, 1);
  lip_net_lend(net);
  lip_tensor view = lip_tensor_wrap(data, p->ndim, p->shape);
  lipL_pushview(L, &view, 1);
}

static int push_named(lua_State *L, const char *name) {
  lip_net *net = lipL_checknet(L, 1);
  lua_Integer want = luaL_checkinteger(L, 2), seen = 0;
  for (size_t i = 0; i < net->n_leaf; i++) {
    lip_layer *l = net->leaf[i];
    if (l->n_param == 0 || strcmp(l->param[0].name, "weight") != 0 || ++seen != want) continue;
    for (size_t k = 0; k < l->n_param; k++)
      if (strcmp(l->param[k].name, name) == 0) {
        push_param(L, &l->param[k], l->param[k].value);
        return 1;
      }
    lua_pushnil(L);
    return 1;
  }
  return luaL_argerror(L, 2,
                       lua_pushfstring(L, "the net has %d layers with weights, got %I", (int)seen, want));
}

/* net:weights(i), net:bias(i): lend the tensors of the i-th layer that has weights; bias may be nil */
static int net_weights(lua_State *L) {
  return push_named(L, "weight");
}

static int net_bias(lua_State *L) {
  return push_named(L, "bias");
}

/* net:parameters() -> { {layer=, kind=, name=, trained=, value=view, grad=view}, ... } */
static int net_parameters(lua_State *L) {
  lip_net *net = lipL_checknet(L, 1);
  lua_Integer at = 1;
  lua_newtable(L);
  for (size_t i = 0; i < net->n_leaf; i++)
    for (size_t k = 0; k < net->leaf[i]->n_param; k++) {
      lip_param *p = &net->leaf[i]->param[k];
      lua_newtable(L);
      lua_pushinteger(L, (lua_Integer)net->leaf[i]->id + 1);
      lua_setfield(L, -2, "layer");
      lua_pushstring(L, net->leaf[i]->kind->desc.name);
      lua_setfield(L, -2, "kind");
      lua_pushstring(L, p->name);
      lua_setfield(L, -2, "name");
      lua_pushboolean(L, !p->frozen);
      lua_setfield(L, -2, "trained");
      push_param(L, p, p->value);
      lua_setfield(L, -2, "value");
      push_param(L, p, p->grad);
      lua_setfield(L, -2, "grad");
      lua_rawseti(L, -2, at++);
    }
  return 1;
}

static int net_weighted(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lip_net_weighted(lipL_checknet(L, 1)));
  return 1;
}

/* net:deviation(size) -> how far an executed float32 output may be from the exact one, in the output's norm, over all
 * inputs of norm <= size; math.huge when a layer does not say */
static int net_deviation(lua_State *L) {
  lip_net *net = lipL_checknet(L, 1);
  lip_deviation d = {luaL_checknumber(L, 2), 0};
  luaL_argcheck(L, d.size >= 0, 2, "a norm >= 0 expected");
  lip_chain_deviate(net->root, &d);
  const int failed = lipL_netfault(L, net);
  if (failed) return failed;
  lua_pushnumber(L, d.off);
  return 1;
}

static void least_p(const lip_layer *l, double *least) {
  const double p = l->kind->p ? l->kind->p(l) : INFINITY;
  if (!(p >= *least)) *least = p;
  for (size_t i = 0; i < l->n_child; i++) least_p(l->child[i], least);
}

/* net:power() -> the exponent p of the layers that measure distances in norm p, the smallest of theirs; nil: there are none
 * net:power(p) gives it to all of them: a power of two up to 4096, or math.huge; the budget is shared out again */
static int net_power(lua_State *L) {
  lip_net *net = lipL_checknet(L, 1);
  lip_err err;
  double least = INFINITY;
  const bool some = lip_net_power(net) > 0;
  if (!lua_isnoneornil(L, 2)) {
    const double p = luaL_checknumber(L, 2);
    if (!some) return luaL_error(L, "power: no layer of this net measures distances in norm p");
    if (lip_net_set_power(net, p, &err)) return luaL_argerror(L, 2, err.msg);
  }
  least_p(net->root, &least);
  if (some)
    lua_pushnumber(L, least);
  else
    lua_pushnil(L);
  return 1;
}

static void push_shape(lua_State *L, const lip_shape *s) {
  lua_createtable(L, s->ndim, 0);
  for (int i = 0; i < s->ndim; i++) {
    lua_pushinteger(L, (lua_Integer)s->dim[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

static size_t count_numbers(const lip_layer *l) {
  size_t n = 0;
  for (size_t i = 0; i < l->n_param; i++)
    if (!l->param[i].frozen) n += lip_param_size(&l->param[i]);
  for (size_t i = 0; i < l->n_child; i++) n += count_numbers(l->child[i]);
  return n;
}

/* net:info() -> {parameters=, norm=, budget=, projection=, projected_by=, project_every=, init=, seed=, input=, output=,
 * layers={...}}; projected_by: where projections written in Lua stand, nil when there are none. Of a layer with weights also
 * whether it is trained. */
static int net_info(lua_State *L) {
  const lip_net *net = lipL_checknet(L, 1);
  char path[256];
  lua_newtable(L);
  lua_pushinteger(L, (lua_Integer)net->n_trainable);
  lua_setfield(L, -2, "parameters");
  lua_pushstring(L, lip_path_text(&net->conf.path, path, sizeof path));
  lua_setfield(L, -2, "norm");
  lua_pushnumber(L, net->conf.budget);
  lua_setfield(L, -2, "budget");
  lua_pushstring(L, net->conf.projection ? net->conf.projection->origin
                                         : lip_project_method_names[net->conf.method]);
  lua_setfield(L, -2, "projection");
  lipL_projectedtext(L, net);
  lua_setfield(L, -2, "projected_by");
  lua_pushinteger(L, (lua_Integer)net->conf.project_every);
  lua_setfield(L, -2, "project_every");
  lua_pushstring(L, lip_init_names[net->conf.init]);
  lua_setfield(L, -2, "init");
  lua_pushinteger(L, (lua_Integer)net->conf.seed);
  lua_setfield(L, -2, "seed");
  push_shape(L, &net->root->in);
  lua_setfield(L, -2, "input");
  push_shape(L, &net->root->out);
  lua_setfield(L, -2, "output");
  lua_newtable(L);
  for (size_t i = 0; i < net->root->n_child; i++) {
    const lip_layer *l = net->root->child[i];
    lua_newtable(L);
    lua_pushstring(L, l->kind->desc.name);
    lua_setfield(L, -2, "kind");
    push_shape(L, &l->in);
    lua_setfield(L, -2, "input");
    push_shape(L, &l->out);
    lua_setfield(L, -2, "output");
    lua_pushinteger(L, (lua_Integer)count_numbers(l));
    lua_setfield(L, -2, "parameters");
    lua_pushstring(L, lip_pq_name(l->pq));
    lua_setfield(L, -2, "step");
    lua_pushnumber(L, l->budget);
    lua_setfield(L, -2, "budget");
    if (l->own) {
      lua_pushboolean(L, !l->still);
      lua_setfield(L, -2, "trainable");
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "layers");
  return 1;
}

static void add_number(luaL_Buffer *b, const char *fmt, double v) {
  char text[64];
  lip_snprintf(text, sizeof text, fmt, v);
  luaL_addstring(b, text);
}

/* One line per layer: kind, shapes, parameters, norm step, budget, bound now; the total below. */
static int net_tostring(lua_State *L) {
  lip_net *const *box = luaL_checkudata(L, 1, LIP_NET_T); /* the handle begins with the net */
  const lip_net *net = *box;
  if (!net) {
    lua_pushliteral(L, "lip.net (closed)");
    return 1;
  }
  if (net->fault.running) {
    lua_pushliteral(L, "lip.net (one of its layers is running)");
    return 1;
  }
  if (net->root->on_caller) lipL_calledfrom(L);
  char line[256], in[64], out[64], path[256];
  double upper;
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  snprintf(line, sizeof line, "%3s  %-12s %-22s %10s  %-10s %10s %12s\n", "", "layer", "shape", "parameters",
           "norm", "budget", "bound");
  luaL_addstring(&b, line);
  for (size_t i = 0; i < net->root->n_child; i++) {
    const lip_layer *l = net->root->child[i];
    char shapes[140];
    snprintf(shapes, sizeof shapes, "%s -> %s", lip_shape_describe(&l->in, in, sizeof in),
             lip_shape_describe(&l->out, out, sizeof out));
    if (lip_layer_bound(l, l->pq, &upper, NULL)) upper = INFINITY;
    snprintf(line, sizeof line, "%3zu  %-12s %-22s %10zu  %-10s ", i + 1, l->kind->desc.name, shapes,
             count_numbers(l), lip_pq_name(l->pq));
    luaL_addstring(&b, line);
    if (l->still)
      luaL_addstring(&b, "     fixed");
    else if (isinf(l->budget))
      luaL_addstring(&b, "         -");
    else
      add_number(&b, "%10.6g", lip_digits_up(l->budget, 6));
    add_number(&b, " %12.8g\n", lip_digits_up(upper, 8)); /* no less than it is */
  }
  if (lip_chain_bound(net->root, &upper, NULL)) upper = INFINITY;
  snprintf(line, sizeof line, "%3s  %-12s %-22s %10zu  %-10s ", "", "total", "", net->n_trainable,
           lip_path_text(&net->conf.path, path, sizeof path));
  luaL_addstring(&b, line);
  if (isinf(net->conf.budget))
    luaL_addstring(&b, "         -");
  else
    add_number(&b, "%10.6g", lip_digits_up(net->conf.budget, 6));
  add_number(&b, " %12.8g", lip_digits_up(upper, 8));
  if (!lip_net_within(net, upper)) luaL_addstring(&b, "  above the budget");
  const lip_layer *l;
  for (size_t i = 0; (l = lip_custom_assumed(net->root, i)) != NULL; i++) {
    char place[200];
    lip_layer_place(net->root, l, place, sizeof place);
    snprintf(line, sizeof line, "\n     rests on the word of the script: %s", place);
    luaL_addstring(&b, line);
  }
  luaL_pushresult(&b);
  return 1;
}

void lipL_open_net_info(lua_State *L) {
  static const luaL_Reg methods[] = {{"weights", net_weights},
                                     {"bias", net_bias},
                                     {"parameters", net_parameters},
                                     {"weighted", net_weighted},
                                     {"deviation", net_deviation},
                                     {"power", net_power},
                                     {"info", net_info},
                                     {NULL, NULL}};
  lipL_addmethods(L, LIP_NET_T, methods);
  luaL_getmetatable(L, LIP_NET_T);
  lua_pushcfunction(L, net_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}
