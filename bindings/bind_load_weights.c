/* net:load_weights: a state_dict of PyTorch, or arrays of NumPy, into a net that has been described. */
#include <math.h>
#include <string.h>

#include "bindings/bind.h"
#include "core/exchange/torch.h"

#define LOADING_T "lip.loading"

typedef struct loading {
  lip_tensors *file;
  lip_torch torch;
  lip_str why;
} loading;

static void release(loading *t) {
  lip_torch_free(&t->torch);
  lip_tensors_close(t->file);
  lip_str_free(&t->why);
  *t = (loading){0};
}

static int loading_gc(lua_State *L) {
  release(luaL_checkudata(L, 1, LOADING_T));
  return 0;
}

/* ---- where arrays go ---- */

/* Pushes what the map at `map` says of an array: a name of the net's, false (it may be left out), or nil. */
static void ask(lua_State *L, int map, const char *name) {
  char got[80];
  lua_pushstring(L, name);
  if (lua_isfunction(L, map)) {
    lua_pushvalue(L, map);
    lua_insert(L, -2);
    lua_call(L, 1, 1);
  } else if (lua_gettable(L, map) == LUA_TNIL) {
    const char *point = strrchr(name, '.');
    if (point) { /* a module: its arrays go to the layer's parameters of the same names */
      lua_pop(L, 1);
      lua_pushlstring(L, name, (size_t)(point - name));
      if (lua_gettable(L, map) == LUA_TSTRING) {
        lua_pushstring(L, point);
        lua_concat(L, 2);
      }
    }
  }
  const int type = lua_type(L, -1);
  if (type != LUA_TSTRING && type != LUA_TNIL && !(type == LUA_TBOOLEAN && !lua_toboolean(L, -1)))
    luaL_error(
        L, "load_weights: map of \"%s\" expects the name of a parameter (or false: to be left out), got %s",
        name, lipL_typetext(L, -1, got, sizeof got));
}

/* Pushes a list: what the map says of every array. A script's functions run here. */
static void ask_all(lua_State *L, int map, const lip_tensors *file) {
  const size_t n = lip_tensors_count(file);
  lua_newtable(L);
  for (size_t i = 0; i < n; i++) {
    ask(L, map, lip_tensors_at(file, i)->name);
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      lua_pushboolean(L, 1); /* left over */
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void refuse_name(lua_State *L, const lip_torch *t, const char *array, const char *name) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (size_t k = 0; k < t->n_param && k < 12; k++) {
    if (k > 0) luaL_addstring(&b, ", ");
    luaL_addstring(&b, t->named[k].name);
  }
  if (t->n_param > 12) luaL_addstring(&b, ", ...");
  luaL_pushresult(&b);
  luaL_error(L, "load_weights: map of \"%s\": the net has no parameter \"%s\" (it has %s)", array, name,
             lua_tostring(L, -1));
}

/* The list on top of the stack, popped. */
static void follow_map(lua_State *L, lip_torch *t) {
  lip_err err;
  for (size_t i = 0; i < t->n_array; i++) {
    if (lua_rawgeti(L, -1, (lua_Integer)i + 1) == LUA_TSTRING) {
      const char *array = lip_tensors_at(t->file, i)->name, *name = lua_tostring(L, -1);
      const size_t k = lip_torch_param(t, name);
      if (k == LIP_TORCH_LEFT && t->to[i] != LIP_TORCH_IGNORED) refuse_name(L, t, array, name);
      if (k != LIP_TORCH_LEFT && lip_torch_pair(t, i, k, &err))
        luaL_error(L, "load_weights: map: %s", err.msg);
    } else if (!lua_toboolean(L, -1)) {
      t->to[i] = LIP_TORCH_IGNORED;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* ---- the report ---- */

static void push_shape(lua_State *L, int ndim, const size_t *shape) {
  lua_createtable(L, ndim, 0);
  for (int d = 0; d < ndim; d++) {
    lua_pushinteger(L, (lua_Integer)shape[d]);
    lua_rawseti(L, -2, d + 1);
  }
}

/* Appends the value on top of the stack to the list `name` of the report. */
static void append(lua_State *L, int report, const char *name) {
  lua_getfield(L, report, name);
  lua_insert(L, -2);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_pop(L, 1);
}

static void add_pair(lua_State *L, int report, const lip_torch *t, size_t i) {
  const lip_foreign *a = lip_tensors_at(t->file, i);
  const lip_named *named = &t->named[t->to[i]];
  lua_createtable(L, 0, 4);
  lua_pushstring(L, a->name);
  lua_setfield(L, -2, "array");
  lua_pushstring(L, named->name);
  lua_setfield(L, -2, "param");
  if (!t->fits[i]) {
    push_shape(L, a->ndim, a->shape);
    lua_setfield(L, -2, "shape");
    push_shape(L, named->param->ndim, named->param->shape);
    lua_setfield(L, -2, "expected");
  }
  append(L, report, t->fits[i] ? "used" : "differ");
}

static void add_array(lua_State *L, int report, const lip_torch *t, size_t i) {
  const char *name = lip_tensors_at(t->file, i)->name;
  if (t->to[i] < LIP_TORCH_IGNORED) {
    add_pair(L, report, t, i);
  } else {
    lua_pushstring(L, name);
    append(L, report, t->to[i] == LIP_TORCH_LEFT ? "left" : "ignored");
  }
  if (!t->rounded[i]) return;
  lua_pushstring(L, name);
  append(L, report, "rounded");
}

static void push_report(lua_State *L, const lip_torch *t) {
  static const char *const lists[] = {"used", "missing", "left", "differ", "ignored", "rounded"};
  lua_createtable(L, 0, 8);
  const int report = lua_gettop(L);
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    lua_newtable(L);
    lua_setfield(L, report, lists[i]);
  }
  for (size_t i = 0; i < t->n_array; i++) add_array(L, report, t, i);
  for (size_t k = 0; k < t->n_param; k++) {
    if (t->from[k] != LIP_TORCH_LEFT) continue;
    lua_pushstring(L, t->named[k].name);
    append(L, report, "missing");
  }
}

/* How the net stands now: loaded weights are kept as they are, whatever its budget. */
static void add_bound(lua_State *L, lip_net *net) {
  lip_bound bound;
  lip_err err;
  if (lip_bound_product(net, &bound, &err)) return;
  lua_pushnumber(L, bound.upper);
  lua_setfield(L, -2, "bound");
  lua_pushnumber(L, net->conf.budget);
  lua_setfield(L, -2, "budget");
  lua_pushboolean(L, isinf(net->conf.budget) || lip_net_within(net, bound.upper));
  lua_setfield(L, -2, "within");
  lip_bound_free(&bound);
}

static int refuse(lua_State *L, loading *t) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s does not fit the net: %s (map says where arrays go; strict = false takes what fits)",
                  t->torch.path, t->why.text ? t->why.text : "out of memory");
  lua_pushstring(L, lip_status_name(LIP_SHAPE));
  push_report(L, &t->torch);
  return 4;
}

/* net:load_weights(path[, {map =, strict =}]) -> report | nil, message, code[, report] */
static int load_weights(lua_State *L) {
  static const char *const known[] = {"map", "strict", NULL};
  lipL_checkidle(L, 1);
  luaL_checktype(L, 2, LUA_TSTRING); /* a number is no file name */
  const char *path = lipL_checkpath(L, 2);
  lip_err err;
  lua_settop(L, 3);
  lipL_checkfields(L, 3, "load_weights", known);
  const bool strict = lipL_optfield_bool(L, 3, "load_weights", "strict", true);
  if (lua_istable(L, 3))
    lua_getfield(L, 3, "map");
  else
    lua_pushnil(L);
  const int map = lua_gettop(L);
  if (!lua_isnil(L, map) && !lua_istable(L, map) && !lua_isfunction(L, map)) {
    char got[80];
    return luaL_error(
        L,
        "load_weights: option 'map' expects a table {[name in the file] = name in the net} or a function, "
        "got %s",
        lipL_typetext(L, map, got, sizeof got));
  }
  loading *t = lipL_newobject(L, LOADING_T, sizeof *t, 0);
  if (lip_tensors_open(path, &t->file, &err)) return lipL_fail(L, &err);
  if (!lua_isnil(L, map)) ask_all(L, map, t->file);
  lip_net *net = lipL_checkidle(L, 1); /* the map may have been a script's function */
  lip_status status = lip_torch_init(&t->torch, t->file, path, net, &err);
  if (!status && lua_isnil(L, map)) status = lip_torch_pair_in_order(&t->torch, &err);
  if (status) return lipL_fail(L, &err);
  if (!lua_isnil(L, map)) follow_map(L, &t->torch);
  if (!lip_torch_whole(&t->torch, &t->why) && strict) return refuse(L, t);
  if (lip_torch_fill(&t->torch, &err)) return lipL_fail(L, &err);
  push_report(L, &t->torch);
  release(t);
  add_bound(L, net);
  return 1;
}

void lipL_open_load_weights(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", loading_gc}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"load_weights", load_weights}, {NULL, NULL}};
  lipL_newtype(L, LOADING_T, NULL, meta);
  lipL_addmethods(L, LIP_NET_T, methods);
}
