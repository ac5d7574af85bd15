/* What makes tensors (lip.tensor, lip.zeros, ...) and what prints them. */
#include <math.h>
#include <stdio.h>

#include "bindings/bind_tensor.h"
#include "core/tensor/ops.h"

/* ---- from Lua tables ---- */

/* "[2][3]": where in a nested table we are */
static const char *place(const size_t *at, int depth, char *buf, size_t size) {
  size_t used = 0;
  buf[0] = '\0';
  for (int d = 0; d < depth && used < size; d++) {
    int n = snprintf(buf + used, size - used, "[%zu]", at[d] + 1);
    if (n > 0) used += (size_t)n;
  }
  return buf;
}

/* Shape as the first elements tell it. */
static int probe(lua_State *L, int idx, size_t shape[LIP_MAX_DIMS]) {
  int ndim = 0, top = lua_gettop(L);
  lua_pushvalue(L, idx);
  while (lua_istable(L, -1)) {
    if (ndim == LIP_MAX_DIMS) luaL_error(L, "lip.tensor: tables nested more than %d deep", LIP_MAX_DIMS);
    shape[ndim++] = (size_t)lua_rawlen(L, -1);
    lua_rawgeti(L, -1, 1);
  }
  lua_settop(L, top);
  return ndim;
}

/* Reads the table on top of the stack, whose place is at[0..depth-1]; *to moves on. */
static void read_level(lua_State *L, int ndim, const size_t *shape, size_t *at, int depth, float **to) {
  char where[100], got[80];
  size_t n = (size_t)lua_rawlen(L, -1);
  if (n != shape[depth])
    luaL_error(L, "lip.tensor: ragged table: element %s has %I entries, expected %I",
               place(at, depth, where, sizeof where), (LUAI_UACINT)n, (LUAI_UACINT)shape[depth]);
  for (size_t i = 0; i < n; i++) {
    bool leaf = depth == ndim - 1;
    at[depth] = i;
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    if (lua_type(L, -1) != (leaf ? LUA_TNUMBER : LUA_TTABLE))
      luaL_error(L, "lip.tensor: ragged table: element %s: a %s expected, got %s",
                 place(at, depth + 1, where, sizeof where), leaf ? "number" : "table",
                 lipL_typetext(L, -1, got, sizeof got));
    if (leaf) {
      *(*to)++ = (float)lua_tonumber(L, -1);
    } else {
      read_level(L, ndim, shape, at, depth + 1, to);
    }
    lua_pop(L, 1);
  }
}

lip_tensor *lipL_fromtable(lua_State *L, int idx) {
  size_t shape[LIP_MAX_DIMS], at[LIP_MAX_DIMS] = {0};
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, LIP_MAX_DIMS + 4, "lip.tensor");
  int ndim = probe(L, idx, shape);
  lip_tensor *t = lipL_newtensor(L, ndim, shape);
  float *to = t->data;
  lua_pushvalue(L, idx);
  read_level(L, ndim, shape, at, 0, &to);
  lua_pop(L, 1);
  return t;
}

static int make_tensor(lua_State *L) {
  if (lipL_testtensor(L, 1)) {
    lipL_clone(L, 1);
  } else if (lua_istable(L, 1)) {
    lipL_fromtable(L, 1);
  } else {
    size_t n = (size_t)lua_gettop(L);
    char got[80];
    if (lua_type(L, 1) != LUA_TNUMBER)
      return luaL_argerror(L, 1,
                           lua_pushfstring(L, "a table, numbers or a lip.tensor expected, got %s",
                                           lipL_typetext(L, 1, got, sizeof got)));
    lip_tensor *t = lipL_newtensor(L, 1, &n);
    for (size_t i = 0; i < n; i++) {
      luaL_checktype(L, (int)i + 1, LUA_TNUMBER);
      t->data[i] = (float)lua_tonumber(L, (int)i + 1);
    }
  }
  return 1;
}

/* ---- filled ---- */

static int make_zeros(lua_State *L) {
  size_t shape[LIP_MAX_DIMS];
  lipL_newtensor(L, lipL_checkshape(L, 1, lua_gettop(L), NULL, shape), shape);
  return 1;
}

static int make_ones(lua_State *L) {
  make_zeros(L);
  lip_tensor_fill(lipL_checktensor(L, -1), 1);
  return 1;
}

static int make_full(lua_State *L) {
  size_t shape[LIP_MAX_DIMS];
  float v = (float)luaL_checknumber(L, 2);
  lip_tensor_fill(lipL_newtensor(L, lipL_checkshape(L, 1, 1, NULL, shape), shape), v);
  return 1;
}

static int make_eye(lua_State *L) {
  size_t shape[2];
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) {
    lua_pushvalue(L, 1);
    lua_replace(L, 2);
  }
  for (int i = 0; i < 2; i++) {
    lua_Integer n = luaL_checkinteger(L, i + 1);
    luaL_argcheck(L, n >= 0, i + 1, "a size >= 0 expected");
    shape[i] = (size_t)n;
  }
  lip_tensor *t = lipL_newtensor(L, 2, shape);
  for (size_t i = 0; i < shape[0] && i < shape[1]; i++) t->data[i * shape[1] + i] = 1;
  return 1;
}

static double check_finite(lua_State *L, int idx) {
  double v = luaL_checknumber(L, idx);
  luaL_argcheck(L, isfinite(v), idx, "a finite number expected");
  return v;
}

/* lip.arange(a, b[, step]) holds a, a+step, ... up to and including b, like Lua's numeric for; lip.arange(n): 1..n.
 * The end may be missed by a billionth of a step: (0, 0.3, 0.1) has four elements. */
static int make_arange(lua_State *L) {
  double a = check_finite(L, 1), b = lua_isnoneornil(L, 2) ? a : check_finite(L, 2);
  double step = lua_isnoneornil(L, 3) ? 1 : check_finite(L, 3);
  if (lua_isnoneornil(L, 2)) a = 1;
  luaL_argcheck(L, step != 0, 3, "a step other than 0 expected");
  double steps = floor((b - a) / step + 1e-9);
  luaL_argcheck(L, steps < 0x1p40, 2, "too many elements");
  size_t n = steps >= 0 ? (size_t)steps + 1 : 0;
  lip_tensor *t = lipL_newtensor(L, 1, &n);
  for (size_t i = 0; i < n; i++) t->data[i] = (float)(a + (double)i * step);
  return 1;
}

/* n equally spaced numbers, both ends included. */
static int make_linspace(lua_State *L) {
  double a = check_finite(L, 1), b = check_finite(L, 2);
  lua_Integer count = luaL_checkinteger(L, 3);
  luaL_argcheck(L, count >= 1, 3, "at least one element expected");
  size_t n = (size_t)count;
  lip_tensor *t = lipL_newtensor(L, 1, &n);
  for (size_t i = 0; i < n; i++) {
    double s = n > 1 ? (double)i / (double)(n - 1) : 0;
    t->data[i] = (float)(a * (1 - s) + b * s);
  }
  return 1;
}

/* lip.rand([rng,] dims...) and lip.rand(seed, {dims}): uniform in [0, 1); lip.randn likewise: standard normal. */
static lip_tensor *make_random(lua_State *L, lip_rng *rng) {
  size_t shape[LIP_MAX_DIMS];
  lip_rng *given = lipL_testrng(L, 1);
  bool seed = !given && lua_istable(L, 2);
  int first = given || seed ? 2 : 1;
  if (seed) *rng = lip_rng_new((uint64_t)luaL_checkinteger(L, 1), LIP_RNG_USER, 0);
  return lipL_newtensor(L, lipL_checkshape(L, first, lua_gettop(L), NULL, shape), shape);
}

static lip_rng *pick_rng(lua_State *L, lip_rng *seeded) {
  lip_rng *given = lipL_testrng(L, 1);
  if (given) return given;
  return lua_istable(L, 2) ? seeded : lipL_defaultrng(L);
}

static int make_rand(lua_State *L) {
  lip_rng seeded;
  lip_tensor *t = make_random(L, &seeded);
  lip_rng_fill_uniform(pick_rng(L, &seeded), t->data, lip_tensor_size(t), 0, 1);
  return 1;
}

static int make_randn(lua_State *L) {
  lip_rng seeded;
  lip_tensor *t = make_random(L, &seeded);
  lip_rng_fill_normal(pick_rng(L, &seeded), t->data, lip_tensor_size(t), 0, 1);
  return 1;
}

/* ---- text ---- */

enum { EDGE = 3, MANY = 2 * EDGE + 1 }; /* longer rows and columns show their first and last EDGE entries */

static void add_row(luaL_Buffer *b, const lip_tensor *row) {
  char text[40];
  size_t n = row->shape[0];
  for (size_t i = 0; i < n; i++) {
    if (n > MANY && i == EDGE) {
      luaL_addstring(b, "       ...");
      i = n - EDGE;
    }
    double v = (double)row->data[i * row->stride[0]];
    lip_snprintf(text, sizeof text, " %10.4g", lip_plain(v));
    luaL_addstring(b, text);
  }
}

static void add_rows(luaL_Buffer *b, const lip_tensor *t) {
  size_t n = t->shape[0];
  for (size_t i = 0; i < n; i++) {
    if (n > MANY && i == EDGE) {
      luaL_addstring(b, "\n        ...");
      i = n - EDGE;
    }
    lip_tensor row = lip_tensor_select(t, 0, i);
    luaL_addstring(b, "\n ");
    add_row(b, &row);
  }
}

void lipL_pushtext(lua_State *L, const lip_tensor *t) {
  char text[160], shape[100];
  luaL_Buffer b;
  lip_tensor shown = *t;
  luaL_buffinit(L, &b);
  luaL_addstring(&b, "lip.tensor ");
  luaL_addstring(&b, lip_shape_text(t->ndim, t->shape, shape, sizeof shape));
  if (lip_tensor_size(t) == 0) {
    luaL_addstring(&b, " (empty)");
  } else if (t->ndim == 0) {
    lip_snprintf(text, sizeof text, " %.7g", lip_plain(t->data[0]));
    luaL_addstring(&b, text);
  } else {
    double mean = lip_tensor_reduce(LIP_REDUCE_MEAN, t);
    if (lip_tensor_all_finite(t)) {
      lip_snprintf(text, sizeof text, "  min %.4g  max %.4g  mean %.4g", lip_tensor_reduce(LIP_REDUCE_MIN, t),
                   lip_tensor_reduce(LIP_REDUCE_MAX, t), mean);
    } else {
      lip_snprintf(text, sizeof text, "  (not all finite)  mean %.4g", lip_plain(mean));
    }
    luaL_addstring(&b, text);
    if (t->ndim > 2) luaL_addstring(&b, t->ndim == 3 ? "\n [1]" : "\n [1][1]");
    while (shown.ndim > 2) shown = lip_tensor_select(&shown, 0, 0);
    if (shown.ndim == 2) {
      add_rows(&b, &shown);
    } else {
      luaL_addstring(&b, "\n ");
      add_row(&b, &shown);
    }
    if (t->ndim > 2) luaL_addstring(&b, "\n ...");
  }
  luaL_pushresult(&b);
}

void lipL_open_make(lua_State *L) {
  static const luaL_Reg functions[] = {{"tensor", make_tensor}, {"zeros", make_zeros},
                                       {"ones", make_ones},     {"full", make_full},
                                       {"eye", make_eye},       {"arange", make_arange},
                                       {"rand", make_rand},     {"linspace", make_linspace},
                                       {"randn", make_randn},   {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
