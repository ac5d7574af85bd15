/* lip.tensor: the handle, indexing, views, conversion. What makes tensors is in bind_make.c, arithmetic in bind_math.c.
 *
 * A view holds the object whose memory it shows as its user value. Leaving the scope of a `local t <close>` frees
 * nothing: a view may still show the block; the collector frees it when nobody can see it any more. */
#include <math.h>
#include <string.h>

#include "bindings/bind_tensor.h"
#include "core/tensor/ops.h"

#define METHODS "__methods" /* field of the metatable: the methods, for completion and tests */

/* ---- arguments ---- */

/* Finalisers run in an order the script chooses: a finaliser may still hold a view whose owner is already finalised.
 * Every object that lends memory begins with a pointer that is NULL from then on. */
static lip_tensor *check_alive(lua_State *L, int idx, lip_tensor *t) {
  if (t->owner || lua_getiuservalue(L, idx, 1) != LUA_TUSERDATA) {
    if (!t->owner) lua_pop(L, 1);
    return t;
  }
  void *const *lender = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (!*lender) luaL_argerror(L, idx, "the object whose memory this tensor shows is gone");
  return t;
}

bool lipL_tensor_alive(lua_State *L, int idx) {
  const lip_tensor *t = luaL_testudata(L, idx, LIP_TENSOR_T);
  if (!t || !t->data) return false;
  bool lent = !t->owner && lua_getiuservalue(L, idx, 1) == LUA_TUSERDATA;
  bool alive = !lent || *(void *const *)lua_touserdata(L, -1);
  if (!t->owner) lua_pop(L, 1);
  return alive;
}

lip_tensor *lipL_testtensor(lua_State *L, int idx) {
  lip_tensor *t = luaL_testudata(L, idx, LIP_TENSOR_T);
  return t ? check_alive(L, idx, t) : NULL;
}

lip_tensor *lipL_checktensor(lua_State *L, int idx) {
  return check_alive(L, idx, luaL_checkudata(L, idx, LIP_TENSOR_T));
}

size_t lipL_checkindex(lua_State *L, int idx, size_t n) {
  lua_Integer i = luaL_checkinteger(L, idx), size = (lua_Integer)n;
  if (i < 0 && i >= -size) return (size_t)(size + i);
  if (i < 1 || i > size)
    luaL_argerror(L, idx,
                  lua_pushfstring(L, "index %I is outside 1..%I (or -%I..-1)", (LUAI_UACINT)i,
                                  (LUAI_UACINT)size, (LUAI_UACINT)size));
  return (size_t)(i - 1);
}

int lipL_checkdimension(lua_State *L, int idx, const lip_tensor *t, bool last) {
  if (t->ndim == 0) luaL_error(L, "lip.tensor: a scalar has no dimensions");
  if (last && lua_isnoneornil(L, idx)) return t->ndim - 1;
  lua_Integer d = luaL_checkinteger(L, idx);
  if (d < 0 && d >= -t->ndim) return (int)(t->ndim + d);
  if (d < 1 || d > t->ndim)
    luaL_argerror(L, idx, lua_pushfstring(L, "dimension %I is outside 1..%d", (LUAI_UACINT)d, t->ndim));
  return (int)d - 1;
}

/* The entry -1 of a shape that must hold `size` elements. */
static void infer_entry(lua_State *L, int idx, int ndim, size_t shape[LIP_MAX_DIMS], int open, size_t size) {
  size_t rest = 1;
  for (int d = 0; d < ndim; d++)
    if (d != open && !lip_mul_fits(rest, shape[d], &rest)) luaL_argerror(L, idx, "shape too large");
  if (rest == 0 || size % rest != 0)
    luaL_argerror(L, idx,
                  lua_pushfstring(L, "%I elements cannot be split into rows of %I", (LUAI_UACINT)size,
                                  (LUAI_UACINT)rest));
  shape[open] = size / rest;
}

int lipL_checkshape(lua_State *L, int idx, int top, const size_t *infer, size_t shape[LIP_MAX_DIMS]) {
  bool table = lua_istable(L, idx);
  lua_Integer n = table ? (lua_Integer)lua_rawlen(L, idx) : top - idx + 1;
  int open = -1;
  if (!table && n < 1)
    luaL_argerror(L, idx, "a shape expected (numbers, or one table of numbers), got no value");
  if (n > LIP_MAX_DIMS)
    luaL_argerror(L, idx, lua_pushfstring(L, "at most %d dimensions, got %I", LIP_MAX_DIMS, (LUAI_UACINT)n));
  for (int d = 0; d < (int)n; d++) {
    char got[80];
    int is_whole, arg = table ? idx : idx + d;
    if (table) lua_rawgeti(L, idx, d + 1);
    int at = table ? -1 : arg;
    lua_Integer v = lua_type(L, at) == LUA_TNUMBER ? lua_tointegerx(L, at, &is_whole) : (is_whole = 0);
    bool is_open = is_whole && v == -1 && infer && open < 0;
    if (!is_open && (!is_whole || v < 0))
      luaL_argerror(L, arg,
                    lua_pushfstring(L, "dimension %d: a whole number >= 0 expected, got %s", d + 1,
                                    lipL_typetext(L, at, got, sizeof got)));
    if (is_open) open = d;
    shape[d] = is_open ? 0 : (size_t)v;
    if (table) lua_pop(L, 1);
  }
  if (open >= 0) infer_entry(L, idx, (int)n, shape, open, *infer);
  return (int)n;
}

void lipL_checklabels(lua_State *L, int idx, size_t B, size_t classes, int32_t *out) {
  idx = lua_absindex(L, idx);
  const lip_tensor *t = lipL_testtensor(L, idx);
  if (!t && !lua_istable(L, idx))
    luaL_typeerror(L, idx, "labels (a 1-D lip.tensor or a table of whole numbers)");
  if (t && t->ndim != 1) {
    char text[100];
    luaL_argerror(L, idx,
                  lua_pushfstring(L, "labels: one dimension expected, got a tensor of %s",
                                  lip_shape_text(t->ndim, t->shape, text, sizeof text)));
  }
  size_t n = t ? t->shape[0] : (size_t)lua_rawlen(L, idx);
  if (n != B)
    luaL_argerror(
        L, idx,
        lua_pushfstring(L, "%I labels expected (one per row of x), got %I", (LUAI_UACINT)B, (LUAI_UACINT)n));
  for (size_t i = 0; i < B; i++) {
    double v = NAN;
    if (t) {
      lua_pushnumber(L, (lua_Number)t->data[i * t->stride[0]]);
    } else {
      lua_rawgeti(L, idx, (lua_Integer)i + 1);
    }
    if (lua_type(L, -1) == LUA_TNUMBER) v = lua_tonumber(L, -1);
    if (!(v >= 0 && v < (double)classes && v == floor(v) && v <= INT32_MAX)) {
      char got[80];
      luaL_argerror(L, idx,
                    lua_pushfstring(L, "label %I: a whole number in 0..%I expected, got %s",
                                    (LUAI_UACINT)(i + 1), (LUAI_UACINT)classes - 1,
                                    lipL_typetext(L, -1, got, sizeof got)));
    }
    out[i] = (int32_t)v;
    lua_pop(L, 1);
  }
}

/* ---- making and lending ---- */

lip_tensor *lipL_newtensor(lua_State *L, int ndim, const size_t *shape) {
  lip_err err;
  lip_tensor *t = lipL_newobject(L, LIP_TENSOR_T, sizeof *t, 1);
  lip_status status = lip_tensor_init(t, ndim, shape, &err);
  if (status == LIP_MEMORY) { /* dead tensors may hold what is missing */
    lua_gc(L, LUA_GCCOLLECT);
    status = lip_tensor_init(t, ndim, shape, &err);
  }
  if (status) lipL_raise(L, &err);
  lipL_account(L, lip_tensor_size(t) * sizeof(float));
  return t;
}

lip_tensor *lipL_pushview(lua_State *L, const lip_tensor *view, int parent) {
  parent = lua_absindex(L, parent);
  const lip_tensor *above = lipL_testtensor(L, parent);
  lip_tensor shown = *view; /* `view` may live in memory that a collection moves on from */
  lip_tensor *t = lipL_newobject(L, LIP_TENSOR_T, sizeof *t, 1);
  *t = shown;
  t->owner = false;
  /* a view of a view holds the owner, so that chains do not grow */
  if (!above || above->owner || lua_getiuservalue(L, parent, 1) == LUA_TNIL) {
    if (above && !above->owner) lua_pop(L, 1);
    lua_pushvalue(L, parent);
  }
  lua_setiuservalue(L, -2, 1);
  return t;
}

lip_tensor *lipL_clone(lua_State *L, const lip_tensor *t) {
  lip_tensor *copy = lipL_newtensor(L, t->ndim, t->shape);
  lip_tensor_copy(copy, t);
  return copy;
}

const lip_tensor *lipL_contiguous(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  const lip_tensor *t = lipL_checktensor(L, idx);
  if (lip_tensor_is_contiguous(t)) return t;
  t = lipL_clone(L, t);
  lua_replace(L, idx);
  return t;
}

void lipL_assign(lua_State *L, lip_tensor *t, int idx) {
  idx = lua_absindex(L, idx);
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
  if (overlap) from = lipL_clone(L, from);
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
  lipL_clone(L, lipL_checktensor(L, 1));
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
  lua_settop(L, 1);
  return 1;
}

static int tensor_fill(lua_State *L) {
  lip_tensor *t = lipL_checktensor(L, 1);
  lip_tensor_fill(t, (float)luaL_checknumber(L, 2));
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
  lipL_open_make(L);
}
