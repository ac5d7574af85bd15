/* The options of method "local" in net:bound and net:certify, and the constant of a ball. */
#include "bindings/bind_cert.h"

#include <math.h>
#include <string.h>

static bool given(lua_State *L, int idx, const char *name) {
  bool there = lua_istable(L, idx) && lua_getfield(L, idx, name) != LUA_TNIL;
  if (lua_istable(L, idx)) lua_pop(L, 1);
  return there;
}

/* The tensor of one input on top of the stack, (n_in). */
static const float *read_input(lua_State *L, const char *what, const char *option, const lip_net *net) {
  size_t B;
  const float *v = lipL_optrows(L, what, option, net, &B);
  if (B != 1) luaL_error(L, "%s: option '%s' expects tensors of one input, got %d", what, option, (int)B);
  return v;
}

/* The limit on top of the stack, one for each input, into v (n_in); `i` says which of the two it is. */
static void read_limit(lua_State *L, const char *what, const lip_net *net, int i, double *v) {
  char got[80];
  size_t n = net->root->n_in;
  bool tensor = lipL_testtensor(L, -1);
  double all = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : (double)NAN;
  if (!tensor && isnan(all))
    luaL_error(L, "%s: option 'box' expects two numbers or tensors {from, to}, element %d is %s", what, i,
               lipL_typetext(L, -1, got, sizeof got));
  const float *each = tensor ? read_input(L, what, "box", net) : NULL;
  for (size_t k = 0; k < n; k++) {
    v[k] = each ? (double)each[k] : all;
    if (isnan(v[k])) luaL_error(L, "%s: option 'box': number %d of element %d is nan", what, (int)k + 1, i);
  }
}

void lipL_optbox(lua_State *L, int idx, const char *what, const lip_net *net, lipL_box *box) {
  char got[80];
  size_t n = net->root->n_in;
  *box = (lipL_box){0};
  if (!given(L, idx, "box")) return;
  double *v = lua_newuserdatauv(L, 2 * n * sizeof *v, 0);
  int kept = lua_gettop(L);
  lua_getfield(L, idx, "box");
  if (!lua_istable(L, -1))
    luaL_error(L, "%s: option 'box' expects {from, to}, got %s", what, lipL_typetext(L, -1, got, sizeof got));
  size_t entries = 0;
  for (lua_pushnil(L); lua_next(L, kept + 1); lua_pop(L, 1)) entries++;
  if (entries > 2)
    luaL_error(L, "%s: option 'box' expects {from, to}, got a table of %d", what, (int)entries);
  *box = (lipL_box){true, true, v, v + n};
  for (int i = 1; i <= 2; i++) {
    lua_rawgeti(L, kept + 1, i);
    box->plain = box->plain && lua_type(L, -1) == LUA_TNUMBER;
    read_limit(L, what, net, i, i == 1 ? v : v + n);
    lua_settop(L, kept + 1);
  }
  for (size_t k = 0; k < n; k++)
    if (!(v[k] <= v[n + k]))
      luaL_error(L, "%s: option 'box' expects {from, to} with from <= to, number %d is %f and %f", what,
                 (int)k + 1, v[k], v[n + k]);
  lua_settop(L, kept);
}

const double *lipL_optscale(lua_State *L, int idx, const char *what, const lip_net *net, bool *whole) {
  char got[80];
  const char *name = "scale";
  size_t n = net->root->n_in;
  lua_getfield(L, idx, "eps");
  *whole = lipL_testtensor(L, -1);
  lua_pop(L, 1);
  bool scaled = given(L, idx, name);
  if (*whole && scaled)
    luaL_error(L,
               "%s: options 'eps' and 'scale' are both tensors: give a number as 'eps' to multiply 'scale'",
               what);
  if (!*whole && !scaled) return NULL;
  if (*whole) name = "eps";
  double *v = lua_newuserdatauv(L, n * sizeof *v, 0);
  int kept = lua_gettop(L);
  lua_getfield(L, idx, name);
  if (!lipL_testtensor(L, -1))
    luaL_error(L, "%s: option 'scale' expects a tensor of one input, got %s", what,
               lipL_typetext(L, -1, got, sizeof got));
  const float *each = read_input(L, what, name, net);
  for (size_t k = 0; k < n; k++) {
    v[k] = (double)each[k];
    if (!(v[k] >= 0 && v[k] < INFINITY))
      luaL_error(L, "%s: option '%s' expects finite numbers >= 0, number %d is %f", what, name, (int)k + 1,
                 lip_plain(v[k]));
  }
  lua_settop(L, kept);
  return v;
}

/* A method of the whole net by its name. */
static const char *check_global(lua_State *L, int idx, const char *what) {
  if (!given(L, idx, "global")) return NULL;
  lua_getfield(L, idx, "global");
  const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL; /* the table holds it */
  if (!name || (strcmp(name, "best") != 0 && !lip_method_find(name))) {
    char got[80];
    luaL_error(L, "%s: option 'global' is a method of the whole net (see lip.bound_methods()); got %s", what,
               name ? name : lipL_typetext(L, -1, got, sizeof got));
  }
  lua_pop(L, 1);
  return name;
}

void lipL_optlocal(lua_State *L, int idx, const char *what, const lip_net *net, lipL_local *local) {
  static const char *const own[] = {"box", "scale", "halvings", "global", "x", "spec", "proved", NULL};
  bool certify = strcmp(what, "certify") == 0;
  *local = (lipL_local){0};
  if (given(L, idx, "method")) {
    lua_getfield(L, idx, "method");
    local->wanted = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "local") == 0;
    lua_pop(L, 1);
  }
  for (size_t i = 0; own[i] && !local->wanted; i++)
    if (given(L, idx, own[i])) luaL_error(L, "%s: option '%s' belongs to method=\"local\"", what, own[i]);
  if (!local->wanted && !certify && given(L, idx, "eps"))
    luaL_error(L, "%s: option 'eps' belongs to method=\"local\"", what);
  if (!local->wanted) return;
  lipL_optbox(L, idx, what, net, &local->box);
  local->scale = lipL_optscale(L, idx, what, net, &local->whole);
  local->global = check_global(L, idx, what);
  if (certify) local->halvings = lipL_optfield_size(L, idx, what, "halvings", 0);
  if (local->halvings > 60) luaL_error(L, "%s: option 'halvings' expects at most 60", what);
}

lip_status lipL_runlocal(lua_State *L, lipL_cert *h, const lipL_local *local, const lip_net *net,
                         const lip_path *path, bool pairs, double seconds, lip_watch *progress,
                         lip_err *err) {
  size_t B;
  lua_getfield(L, 2, "x");
  if (!lipL_testtensor(L, -1)) {
    char got[80];
    luaL_error(L, "bound: method 'local' takes the ball around option 'x', a tensor, got %s",
               lipL_typetext(L, -1, got, sizeof got));
  }
  const float *x = lipL_optrows(L, "bound", "x", net, &B);
  if (B != 1) luaL_error(L, "bound: option 'x' expects one input, got %d", (int)B);
  double eps = local->whole ? 1 : lipL_optfield_number(L, 2, "bound", "eps", -1);
  if (!(eps >= 0))
    luaL_error(L,
               "bound: method 'local' needs the size of the ball: option 'eps', a number >= 0 or a tensor");
  const char *method = local->global ? local->global : "best";
  lip_status status = lip_affine_init(&h->affine, net, err);
  if (status) return status;
  lip_ask ask = {.net = net,
                 .affine = &h->affine,
                 .path = *path,
                 .p = lip_path_at(path, 0),
                 .q = lip_path_at(path, lip_net_weighted(net)),
                 .pairs = pairs,
                 .only = h->only,
                 .seconds = seconds,
                 .progress = progress};
  lip_region region = {.x = x,
                       .p = ask.p,
                       .eps = eps,
                       .boxed = local->box.given,
                       .from = local->box.from,
                       .to = local->box.to,
                       .executed = LIP_EXECUTED_EXACT,
                       .cancel = net->engine.cancel,
                       .scale = local->scale};
  return lip_local_bound(method, &ask, &region, &h->found, err);
}
