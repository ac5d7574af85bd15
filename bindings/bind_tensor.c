/* lip.tensor: indexing, views, conversion. The handle is in bind_handle.c, what makes tensors in bind_make.c, arithmetic
 * in bind_math.c.
 *
 * Leaving the scope of a `local t <close>` frees nothing: a view may still show the block; the collector frees it when
 * nobody can see it any more. */
#include <math.h>
#include <string.h>

#include "bindings/bind_tensor.h"
#include "core/tensor/ops.h"

#define METHODS "__methods" /* field of the metatable: the methods, for completion and tests */

/* ---- copying ---- */

void lipL_assign(lua_State *L, lip_tensor *t, int idx) {
  idx = lua_absindex(L, idx);
  if (lua_type(L, idx) == LUA_TTABLE && luaL_getmetafield(L, idx, "__traced") != LUA_TNIL)
    luaL_error(L, "lip.tensor: a value that lip.grad differentiates cannot be written into a tensor: its "
                  "gradient would "
                  "be lost (build the result with lip.cat, or take detach() of it)");
  if (lua_type(L, idx) == LUA_TNUMBER) {
    lip_tensor_fill(t, (float)lua_tonumber(L, idx));
    return;
  }
  bool is_table = lua_istable(L, idx);
  const lip_tensor *from = is_table ? lipL_fromtable(L, idx) : lipL_testtensor(L, idx);
  if (!from) {
    luaL_typeerror(L, idx, "number, table or lip.tensor");
    return;
  }
  if (!lip_tensor_same_shape(t, from)) {
    char a[100], b[100];
    luaL_error(L, "lip.tensor copy: shapes do not match: to %s, from %s",
               lip_shape_text(t->ndim, t->shape, a, sizeof a),
               lip_shape_text(from->ndim, from->shape, b, sizeof b));
  }
  bool overlap = lip_tensor_overlaps(t, from);
  if (overlap) from = lipL_clone(L, is_table ? -1 : idx);
  lip_tensor_copy(t, from);
  lua_pop(L, (is_table ? 1 : 0) + (overlap ? 1 : 0));
}

/* ---- shape and conversion ---- */

static int tensor_shape(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  if (!lua_isnoneornil(L, 2)) {
    lua_pushinteger(L, (lua_Integer)t->shape[lipL_checkdimension(L, 2, t, false)]);
    return 1;
  }
  lua_createtable(L, t->ndim, 0);
  for (int d = 0; d < t->ndim; d++) {
    lua_pushinteger(L, (lua_Integer)t->shape[d]);
    lua_rawseti(L, -2, d + 1);
  }
  return 1;
}

static int tensor_size(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lip_tensor_size(lipL_checktensor(L, 1)));
  return 1;
}

static int tensor_dim(lua_State *L) {
  lua_pushinteger(L, lipL_checktensor(L, 1)->ndim);
  return 1;
}

static int tensor_len(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  if (t->ndim == 0) return luaL_error(L, "lip.tensor: a scalar has no length (size() is 1)");
  lua_pushinteger(L, (lua_Integer)t->shape[0]);
  return 1;
}

static void push_table(lua_State *L, const lip_tensor *t) {
  if (t->ndim == 0) {
    lua_pushnumber(L, (lua_Number)t->data[0]);
    return;
  }
  luaL_checkstack(L, 4, "lip.tensor totable");
  lua_createtable(L, t->shape[0] < 1 << 30 ? (int)t->shape[0] : 0, 0);
  for (size_t i = 0; i < t->shape[0]; i++) {
    if (t->ndim == 1) {
      lua_pushnumber(L, (lua_Number)t->data[i * t->stride[0]]);
    } else {
      lip_tensor row = lip_tensor_select(t, 0, i);
      push_table(L, &row);
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static int tensor_totable(lua_State *L) {
  push_table(L, lipL_checktensor(L, 1));
  return 1;
}

static int tensor_tostring(lua_State *L) {
  lipL_pushtext(L, lipL_checktensor(L, 1));
  return 1;
}

static int tensor_clone(lua_State *L) {
  lipL_clone(L, 1);
  return 1;
}

static int tensor_contiguous(lua_State *L) {
  lua_settop(L, 1);
  lipL_contiguous(L, 1);
  return 1;
}

static int tensor_is_contiguous(lua_State *L) {
  lua_pushboolean(L, lip_tensor_is_contiguous(lipL_checktensor(L, 1)));
  return 1;
}

/* ---- elements ---- */

/* The element at the indices that start at stack position 2; `extra` arguments follow them. */
static float *element(lua_State *L, const lip_tensor *t, int extra) {
  int given = lua_gettop(L) - 1 - extra;
  size_t at = 0;
  if (given != t->ndim)
    luaL_error(L, "lip.tensor: %d indices expected, one per dimension, got %d", t->ndim,
               given < 0 ? 0 : given);
  for (int d = 0; d < t->ndim; d++) at += lipL_checkindex(L, d + 2, t->shape[d]) * t->stride[d];
  return t->data + at;
}

static int tensor_get(lua_State *L) {
  lua_pushnumber(L, (lua_Number)*element(L, lipL_checktensor(L, 1), 0));
  return 1;
}

static int tensor_set(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  float *to = element(L, t, 1);
  *to = (float)luaL_checknumber(L, lua_gettop(L));
  lipL_mean(L, 1, LIPL_NUMBERS);
  lua_settop(L, 1);
  return 1;
}

static int tensor_index(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  if (lua_type(L, 2) != LUA_TNUMBER) { /* a method, or nil */
    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
  }
  if (t->ndim == 0) return luaL_error(L, "lip.tensor: a scalar cannot be indexed (use t:get())");
  size_t i = lipL_checkindex(L, 2, t->shape[0]);
  if (t->ndim == 1) {
    lua_pushnumber(L, (lua_Number)t->data[i * t->stride[0]]);
  } else {
    lip_tensor row = lip_tensor_select(t, 0, i);
    lipL_pushview(L, &row, 1);
  }
  return 1;
}

static int tensor_newindex(lua_State *L) {
  lip_tensor *t = lipL_checktensor(L, 1);
  if (t->ndim == 0) return luaL_error(L, "lip.tensor: a scalar cannot be indexed (use t:set(v))");
  if (lua_type(L, 2) != LUA_TNUMBER) {
    char got[80];
    return luaL_error(L, "lip.tensor: only elements can be assigned, by number, got %s",
                      lipL_typetext(L, 2, got, sizeof got));
  }
  size_t i = lipL_checkindex(L, 2, t->shape[0]);
  if (t->ndim == 1) {
    t->data[i * t->stride[0]] = (float)luaL_checknumber(L, 3);
  } else {
    lip_tensor row = lip_tensor_select(t, 0, i);
    lipL_assign(L, &row, 3);
  }
  lipL_mean(L, 1, LIPL_NUMBERS);
  return 0;
}

/* pairs(t): 1, t[1], 2, t[2], ... (ipairs would end with an error: an index behind the end is a mistake) */
static int next_element(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  lua_Integer i = luaL_optinteger(L, 2, 0);
  if (t->ndim == 0 || i < 0 || (size_t)i >= t->shape[0]) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushinteger(L, i + 1);
  lua_pushinteger(L, i + 1);
  lua_gettable(L, 1);
  return 2;
}

static int tensor_pairs(lua_State *L) {
  lipL_checktensor(L, 1);
  lua_pushcfunction(L, next_element);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 0);
  return 3;
}

static int tensor_copy(lua_State *L) {
  lipL_assign(L, lipL_checktensor(L, 1), 2);
  lipL_mean(L, 1, lipL_meaning_of(L, 2));
  lua_settop(L, 1);
  return 1;
}

static int tensor_fill(lua_State *L) {
  lip_tensor *t = lipL_checktensor(L, 1);
  lip_tensor_fill(t, (float)luaL_checknumber(L, 2));
  lipL_mean(L, 1, LIPL_NUMBERS);
  lua_settop(L, 1);
  return 1;
}

/* ---- views ---- */

static int tensor_slice(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  int dim = lipL_checkdimension(L, 2, t, false);
  lua_Integer size = (lua_Integer)t->shape[dim];
  lua_Integer first = luaL_checkinteger(L, 3), last = luaL_optinteger(L, 4, -1),
              step = luaL_optinteger(L, 5, 1);
  if (first < 0) first += size + 1;
  if (last < 0) last += size + 1;
  luaL_argcheck(L, step >= 1, 5, "a step of at least 1 expected");
  if (first < 1 || last > size || last < first - 1)
    luaL_argerror(L, 3,
                  lua_pushfstring(L, "range %I..%I is outside 1..%I", (LUAI_UACINT)first, (LUAI_UACINT)last,
                                  (LUAI_UACINT)size));
  lip_tensor v = lip_tensor_slice(t, dim, (size_t)(first - 1), (size_t)last, (size_t)step);
  lipL_pushview(L, &v, 1);
  return 1;
}

static int tensor_select(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  int dim = lipL_checkdimension(L, 2, t, false);
  lip_tensor v = lip_tensor_select(t, dim, lipL_checkindex(L, 3, t->shape[dim]));
  lipL_pushview(L, &v, 1);
  return 1;
}

static int tensor_transpose(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  bool given = !lua_isnoneornil(L, 2) || !lua_isnoneornil(L, 3);
  if (!given && t->ndim < 2)
    return luaL_error(L, "lip.tensor transpose: at least 2 dimensions expected, got %d", t->ndim);
  int a = given ? lipL_checkdimension(L, 2, t, false) : t->ndim - 2;
  int b = given ? lipL_checkdimension(L, 3, t, false) : t->ndim - 1;
  lip_tensor v = lip_tensor_transpose(t, a, b);
  lipL_pushview(L, &v, 1);
  return 1;
}

/* A view where the elements lie in one piece, else a copy; `t` is argument 1. */
static int push_reshaped(lua_State *L, int ndim, const size_t *shape) {
  const lip_tensor *t = lipL_contiguous(L, 1);
  lip_tensor v = lip_tensor_wrap(t->data, ndim, shape);
  lipL_pushview(L, &v, 1);
  return 1;
}

static int tensor_reshape(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  size_t shape[LIP_MAX_DIMS], size = lip_tensor_size(t), wanted = 1;
  int ndim = lipL_checkshape(L, 2, lua_gettop(L), &size, shape);
  bool fits = true;
  for (int d = 0; d < ndim; d++) fits = fits && lip_mul_fits(wanted, shape[d], &wanted);
  if (!fits || wanted != size) {
    char a[100], b[100];
    return luaL_error(L, "lip.tensor reshape: %s has another number of elements than %s",
                      lip_shape_text(ndim, shape, a, sizeof a),
                      lip_shape_text(t->ndim, t->shape, b, sizeof b));
  }
  return push_reshaped(L, ndim, shape);
}

static int tensor_flatten(lua_State *L) {
  size_t size = lip_tensor_size(lipL_checktensor(L, 1));
  return push_reshaped(L, 1, &size);
}

/* ---- end ---- */

static int tensor_gc(lua_State *L) {
  lip_tensor_free(luaL_checkudata(L, 1, LIP_TENSOR_T));
  return 0;
}

static int tensor_close(lua_State *L) {
  luaL_checkudata(L, 1, LIP_TENSOR_T);
  return 0;
}

static const luaL_Reg methods[] = {{"shape", tensor_shape},
                                   {"size", tensor_size},
                                   {"dim", tensor_dim},
                                   {"get", tensor_get},
                                   {"set", tensor_set},
                                   {"slice", tensor_slice},
                                   {"select", tensor_select},
                                   {"transpose", tensor_transpose},
                                   {"reshape", tensor_reshape},
                                   {"flatten", tensor_flatten},
                                   {"clone", tensor_clone},
                                   {"contiguous", tensor_contiguous},
                                   {"is_contiguous", tensor_is_contiguous},
                                   {"copy", tensor_copy},
                                   {"fill", tensor_fill},
                                   {"totable", tensor_totable},
                                   {NULL, NULL}};

static const luaL_Reg meta[] = {{"__len", tensor_len},
                                {"__newindex", tensor_newindex},
                                {"__pairs", tensor_pairs},
                                {"__tostring", tensor_tostring},
                                {"__gc", tensor_gc},
                                {"__close", tensor_close},
                                {NULL, NULL}};

void lipL_pushmethods(lua_State *L) {
  luaL_getmetatable(L, LIP_TENSOR_T);
  lua_getfield(L, -1, METHODS);
  lua_remove(L, -2);
}

void lipL_open_tensor(lua_State *L) {
  lipL_newtype(L, LIP_TENSOR_T, NULL, meta);
  luaL_getmetatable(L, LIP_TENSOR_T);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, METHODS);
  lua_pushcclosure(L, tensor_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
