/* lip.onnx: nets from ONNX files. */
#include <math.h>
#include <string.h>

#include "bindings/bind.h"
#include "core/exchange/onnx.h"

#define ONNX_T "lip.onnx_file"

/* What was read, kept by a userdata until Lua owns it. */
typedef struct imported {
  lip_net *net;
  lip_onnx_notes notes;
} imported;

static int imported_gc(lua_State *L) {
  imported *r = luaL_checkudata(L, 1, ONNX_T);
  lip_net_free(r->net);
  r->net = NULL;
  lip_onnx_notes_free(&r->notes);
  return 0;
}

static void read_input(lua_State *L, lip_shape *shape) {
  char got[80];
  const int type = lua_getfield(L, 2, "input");
  if (type == LUA_TNIL) return;
  const bool one = type == LUA_TNUMBER;
  const lua_Unsigned n = one ? 1 : type == LUA_TTABLE ? lua_rawlen(L, -1) : 0;
  if (n < 1 || n > 3)
    luaL_error(L, "onnx: option 'input' expects a shape of 1 to 3 whole numbers, got %s",
               lipL_typetext(L, -1, got, sizeof got));
  shape->ndim = (int)n;
  for (lua_Unsigned i = 0; i < n; i++) {
    int whole;
    if (one)
      lua_pushvalue(L, -1);
    else
      lua_rawgeti(L, -1, (lua_Integer)i + 1);
    const lua_Integer d = lua_tointegerx(L, -1, &whole);
    if (!whole || d < 1 || d > 0x10000000)
      luaL_error(L, "onnx: option 'input' expects whole numbers from 1 on, got %s",
                 lipL_typetext(L, -1, got, sizeof got));
    shape->dim[i] = (size_t)d;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* norm = 1, 2, math.huge, "inf", "1->inf": 2 if not told */
static void read_norm(lua_State *L, lip_path *path) {
  char text[200] = "inf", got[80];
  lip_err err;
  const int type = lua_getfield(L, 2, "norm");
  if (type == LUA_TNIL) return;
  const lua_Number v = type == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  if (type == LUA_TNUMBER && isfinite(v))
    lip_snprintf(text, sizeof text, "%.17g", v);
  else if (type == LUA_TSTRING)
    lip_snprintf(text, sizeof text, "%s", lua_tostring(L, -1));
  else if (type != LUA_TNUMBER || !(v > 0))
    luaL_error(L, "onnx: option 'norm' expects 1, 2, \"inf\", or a path such as \"1->inf\", got %s",
               lipL_typetext(L, -1, got, sizeof got));
  if (lip_path_parse(text, path, &err)) luaL_error(L, "onnx: option 'norm': %s", err.msg);
  lua_pop(L, 1);
}

/* {sentences..., opset =, producer =, rounded =, shape = as the file has it, -1 open, order = positions or nil} */
static void push_notes(lua_State *L, const lip_onnx_notes *notes) {
  lua_createtable(L, (int)notes->n, 5);
  for (size_t i = 0; i < notes->n; i++) {
    lua_pushstring(L, notes->text[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_pushinteger(L, notes->opset);
  lua_setfield(L, -2, "opset");
  lua_pushstring(L, notes->producer ? notes->producer : "");
  lua_setfield(L, -2, "producer");
  lua_pushboolean(L, notes->rounded);
  lua_setfield(L, -2, "rounded");
  lua_createtable(L, notes->ndim, 0);
  for (int k = 0; k < notes->ndim; k++) {
    lua_pushinteger(L, notes->dim[k]);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setfield(L, -2, "shape");
  if (!notes->order) return;
  lua_createtable(L, (int)notes->n_order, 0);
  for (size_t i = 0; i < notes->n_order; i++) {
    lua_pushinteger(L, (lua_Integer)notes->order[i] + 1);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "order");
}

/* lip.onnx(path[, {input =, norm =, round =, drop_softmax =}]) -> net, notes | nil, message, code */
static int onnx(lua_State *L) {
  static const char *const known[] = {"input", "norm", "round", "drop_softmax", NULL};
  lip_err err;
  luaL_checktype(L, 1, LUA_TSTRING); /* a number is no file name */
  const char *path = lipL_checkpath(L, 1);
  lip_onnx_conf conf = {0};
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    lipL_checkfields(L, 2, "onnx", known);
    read_input(L, &conf.input);
    read_norm(L, &conf.path);
    conf.round = lipL_optfield_bool(L, 2, "onnx", "round", false);
    conf.drop_softmax = lipL_optfield_bool(L, 2, "onnx", "drop_softmax", false);
  }
  const lip_engine *engine = lipL_engine(L);
  imported *r = lipL_newobject(L, ONNX_T, sizeof *r, 0);
  lip_status status = lip_onnx_load(path, &conf, engine, &r->net, &r->notes, &err);
  if (status == LIP_MEMORY) { /* dead tensors may hold what is missing */
    lua_gc(L, LUA_GCCOLLECT);
    lip_onnx_notes_free(&r->notes);
    status = lip_onnx_load(path, &conf, engine, &r->net, &r->notes, &err);
  }
  if (status) return lipL_fail(L, &err); /* also what is not supported: the file says so, not the script */
  lip_net *net = r->net;
  r->net = NULL;
  lipL_pushnet(L, net);
  push_notes(L, &r->notes);
  lip_onnx_notes_free(&r->notes);
  return 2;
}

void lipL_open_onnx(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", imported_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"onnx", onnx}, {NULL, NULL}};
  lipL_newtype(L, ONNX_T, NULL, meta);
  luaL_setfuncs(L, functions, 0);
}
