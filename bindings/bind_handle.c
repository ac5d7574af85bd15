/* The handle of lip.tensor: arguments that are tensors, shapes, indices or labels; making and lending tensors.
 *
 * A view holds the object whose memory it shows as its user value. */
#include <math.h>
#include <stdint.h>

#include "bindings/bind_tensor.h"

/* The userdata; for everybody else it is a lip_tensor. */
typedef struct handle {
  lip_tensor t;
  lipL_meaning meaning;
  uint64_t changes; /* how often the owner's numbers were written; in a view: when `meaning` was true */
} handle;

/* The tensor whose memory a view shows; NULL for an owner, and when it is that of something else. */
static handle *owner_of(lua_State *L, int idx, const handle *h) {
  if (h->t.owner) return NULL;
  lua_getiuservalue(L, idx, 1);
  handle *owner = luaL_testudata(L, -1, LIP_TENSOR_T);
  lua_pop(L, 1);
  return owner;
}

lipL_meaning lipL_meaning_of(lua_State *L, int idx) {
  const handle *h = luaL_testudata(L, idx, LIP_TENSOR_T);
  if (!h || h->meaning == LIPL_NUMBERS) return LIPL_NUMBERS;
  const handle *owner = owner_of(L, idx, h);
  return owner && owner->changes != h->changes ? LIPL_NUMBERS : h->meaning;
}

void lipL_mean(lua_State *L, int idx, lipL_meaning meaning) {
  handle *h = luaL_checkudata(L, idx, LIP_TENSOR_T), *owner = owner_of(L, idx, h);
  h->meaning = meaning;
  if (!owner) {
    h->changes++;
    return;
  }
  if (owner->meaning != meaning) owner->meaning = LIPL_NUMBERS;
  h->changes = ++owner->changes;
}

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
  if (!*lender) lipL_argerror(L, idx, "the object whose memory this tensor shows is gone");
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

/* Label i, v on top of the stack, is none. */
static void refuse_label(lua_State *L, int idx, size_t i, size_t classes, bool signs) {
  char got[80];
  lipL_typetext(L, -1, got, sizeof got);
  luaL_argerror(L, idx,
                lua_pushfstring(L, "label %I: a whole number in 0..%I expected%s, got %s",
                                (LUAI_UACINT)(i + 1), (LUAI_UACINT)classes - 1,
                                signs ? ", or -1 and 1 alone" : "", got));
}

bool lipL_checklabels(lua_State *L, int idx, size_t B, size_t classes, int32_t *out) {
  const bool signs = classes == 2 || classes == LIP_MAX_CLASSES; /* -1 may be read as a sign */
  bool minus = false;
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
  if (t && lipL_meaning_of(L, idx) == LIPL_POSITIONS)
    luaL_argerror(L, idx,
                  "labels count from 0, and these are positions, which count from 1 (argmax, argmin, sort): "
                  "take t:classes() in place of t:argmax(2)");
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
    if (!((v >= 0 || (signs && v == -1)) && v < (double)classes && v == floor(v) && v <= INT32_MAX))
      refuse_label(L, idx, i, classes, signs);
    out[i] = (int32_t)v;
    minus = minus || out[i] == -1;
    lua_pop(L, 1);
  }
  for (size_t i = 0; minus && i < B; i++) {
    if (out[i] == 0 || out[i] > 1) {
      luaL_argerror(L, idx,
                    lua_pushfstring(L, "label %I: -1 or 1 expected, as others are -1, got %I",
                                    (LUAI_UACINT)(i + 1), (LUAI_UACINT)out[i]));
    }
    out[i] = out[i] == 1;
  }
  return minus;
}

/* ---- what stands in place of tensors ---- */

/* Pushes the operation `name` of the value at idx; false (nothing pushed) when it has none. */
static bool push_traced(lua_State *L, int idx, const char *name) {
  if (lua_type(L, idx) != LUA_TTABLE || luaL_getmetafield(L, idx, "__traced") == LUA_TNIL) return false;
  if (lua_type(L, -1) == LUA_TTABLE) {
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    lua_remove(L, -2);
  }
  if (lua_type(L, -1) == LUA_TFUNCTION) return true;
  lua_pop(L, 1);
  return false;
}

bool lipL_traced(lua_State *L, const char *name) {
  int top = lua_gettop(L);
  bool found = false;
  luaL_checkstack(L, 8, name);
  for (int i = 1; i <= top && !found; i++) found = push_traced(L, i, name);
  lua_Integer n = !found && lua_type(L, 1) == LUA_TTABLE ? (lua_Integer)lua_rawlen(L, 1) : 0;
  for (lua_Integer i = 1; i <= n && !found; i++) {
    lua_rawgeti(L, 1, i);
    found = push_traced(L, top + 1, name);
    lua_remove(L, top + 1);
  }
  if (!found) return false;
  lua_insert(L, 1);
  lua_call(L, top, LUA_MULTRET);
  return true;
}

/* ---- making and lending ---- */

lip_tensor *lipL_newtensor(lua_State *L, int ndim, const size_t *shape) {
  lip_err err;
  lip_tensor *t = lipL_newobject(L, LIP_TENSOR_T, sizeof(handle), 1);
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
  lip_tensor *t = lipL_newobject(L, LIP_TENSOR_T, sizeof(handle), 1);
  handle *h = (handle *)t, *owner;
  h->meaning = lipL_meaning_of(L, parent);
  *t = shown;
  t->owner = false;
  /* a view of a view holds the owner, so that chains do not grow */
  if (!above || above->owner || lua_getiuservalue(L, parent, 1) == LUA_TNIL) {
    if (above && !above->owner) lua_pop(L, 1);
    lua_pushvalue(L, parent);
  }
  lua_setiuservalue(L, -2, 1);
  owner = owner_of(L, -1, h);
  if (owner) h->changes = owner->changes;
  return t;
}

lip_tensor *lipL_clone(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  const lip_tensor *t = lipL_checktensor(L, idx);
  lip_tensor *copy = lipL_newtensor(L, t->ndim, t->shape);
  lip_tensor_copy(copy, t);
  lipL_mean(L, -1, lipL_meaning_of(L, idx));
  return copy;
}

const lip_tensor *lipL_contiguous(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  const lip_tensor *t = lipL_checktensor(L, idx);
  if (lip_tensor_is_contiguous(t)) return t;
  t = lipL_clone(L, idx);
  lua_replace(L, idx);
  return t;
}
