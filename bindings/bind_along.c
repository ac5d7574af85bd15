/* Tensors along one dimension, and in parts: sums of exponentials, entries chosen by mask or index, joining. */
#include "bindings/bind_tensor.h"
#include "core/tensor/along.h"
#include "core/tensor/ops.h"

/* t:logsumexp([dim]): of all a number, along a dimension a tensor without it */
static int tensor_logsumexp(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  bool all = lua_isnoneornil(L, 2);
  lua_settop(L, 2);
  int dim = all ? 0 : lipL_checkdimension(L, 2, t, false);
  size_t n = all ? lip_tensor_size(t) : t->shape[dim];
  if (n == 0) return luaL_error(L, "lip.tensor logsumexp: nothing to take it of: the tensor is empty");
  if (all) {
    float result;
    lip_tensor flat = lip_tensor_wrap(lipL_contiguous(L, 1)->data, 1, &n),
               out = lip_tensor_wrap(&result, 0, NULL);
    lip_tensor_logsumexp(&out, &flat, 0);
    lua_pushnumber(L, (lua_Number)result);
  } else {
    lip_tensor rest = lip_tensor_select(t, dim, 0);
    lip_tensor_logsumexp(lipL_newtensor(L, rest.ndim, rest.shape), t, dim);
  }
  return 1;
}

/* t:softmax([dim]): the last dimension when absent */
static int tensor_softmax(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  int dim = lipL_checkdimension(L, 2, t, true);
  lip_tensor_softmax(lipL_newtensor(L, t->ndim, t->shape), t, dim);
  return 1;
}

/* A tensor or a number that counts as one: see operand in bind_math.c. */
typedef struct operand {
  const lip_tensor *t;
  lip_tensor box;
  float value;
} operand;

static void read_operand(lua_State *L, int idx, operand *o) {
  if (lua_type(L, idx) == LUA_TNUMBER) {
    o->value = (float)lua_tonumber(L, idx);
    o->box = lip_tensor_wrap(&o->value, 0, NULL);
    o->t = &o->box;
    return;
  }
  o->t = lipL_testtensor(L, idx);
  if (!o->t) luaL_typeerror(L, idx, "number or lip.tensor");
}

/* mask:where(a, b): a where the mask is not 0, else b */
static int tensor_where(lua_State *L) {
  operand m, a, b;
  lip_tensor two = {0}, all = {0};
  lip_err err;
  if (lipL_traced(L, "where")) return lua_gettop(L);
  read_operand(L, 1, &m);
  read_operand(L, 2, &a);
  read_operand(L, 3, &b);
  if (lip_op_shape("where (mask a, first b)", m.t, a.t, &two.ndim, two.shape, &err) ||
      lip_op_shape("where (mask and first a, second b)", &two, b.t, &all.ndim, all.shape, &err))
    return lipL_raise(L, &err);
  lip_tensor_where(lipL_newtensor(L, all.ndim, all.shape), m.t, a.t, b.t);
  return 1;
}

/* ---- entries by index ---- */

/* t with a dimension of one element put before dimension `dim`. */
static lip_tensor widen(const lip_tensor *t, int dim) {
  lip_tensor v = *t;
  v.owner = false;
  v.ndim = t->ndim + 1;
  for (int d = v.ndim - 1; d > dim; d--) {
    v.shape[d] = t->shape[d - 1];
    v.stride[d] = t->stride[d - 1];
  }
  v.shape[dim] = v.stride[dim] = 1;
  return v;
}

/* Labels and plain numbers count from 0, positions (argmax, argmin, sort) from 1. */
static int base_of(lua_State *L, int idx) {
  return lipL_meaning_of(L, idx) == LIPL_POSITIONS ? 1 : 0;
}

/* The index at idx, a tensor or a nested table (which a tensor then replaces). */
static const lip_tensor *check_index(lua_State *L, int idx) {
  if (lua_istable(L, idx)) {
    lipL_fromtable(L, idx);
    lua_replace(L, idx);
  }
  return lipL_checktensor(L, idx);
}

/* The same with as many dimensions as t: one entry per row along `dim`, or several. */
static lip_tensor fit_index(lua_State *L, const char *what, const lip_tensor *index, const lip_tensor *t,
                            int dim) {
  lip_tensor v = index->ndim == t->ndim - 1 ? widen(index, dim) : *index;
  bool fits = v.ndim == t->ndim;
  v.owner = false;
  for (int d = 0; fits && d < t->ndim; d++) fits = d == dim || v.shape[d] == t->shape[d];
  if (!fits) {
    char ti[100], tt[100];
    luaL_error(
        L,
        "lip.tensor %s: shapes do not match: tensor %s, index %s (one entry for each row along dimension %d, "
        "or several)",
        what, lip_shape_text(t->ndim, t->shape, tt, sizeof tt),
        lip_shape_text(index->ndim, index->shape, ti, sizeof ti), dim + 1);
  }
  return v;
}

/* t:gather(index[, dim]): the last dimension when absent */
static int tensor_gather(lua_State *L) {
  if (lipL_traced(L, "gather")) return lua_gettop(L);
  lua_settop(L, 3);
  const lip_tensor *t = lipL_checktensor(L, 1), *index = check_index(L, 2);
  int dim = lipL_checkdimension(L, 3, t, true);
  lip_tensor at = fit_index(L, "gather", index, t, dim);
  lip_choice c = {&at, dim, base_of(L, 2)};
  lip_err err;
  lip_tensor *out = lipL_newtensor(L, index->ndim, index->shape);
  lip_tensor to = index->ndim < t->ndim ? widen(out, dim) : *out;
  if (lip_tensor_gather(&to, t, &c, &err)) return lipL_raise(L, &err);
  return 1;
}

/* t:scatter_add_(index, values[, dim]): adds each value at the place that its index names */
static int tensor_scatter_add(lua_State *L) {
  if (lipL_traced(L, "scatter_add_")) return lua_gettop(L);
  lua_settop(L, 4);
  lip_tensor *t = lipL_checktensor(L, 1);
  const lip_tensor *index = check_index(L, 2), *values = lipL_checktensor(L, 3);
  int dim = lipL_checkdimension(L, 4, t, true);
  lip_tensor at = fit_index(L, "scatter_add_", index, t, dim);
  lip_choice c = {&at, dim, base_of(L, 2)};
  lip_err err;
  if (!lip_tensor_same_shape(index, values)) {
    char ti[100], tv[100];
    return luaL_error(L, "lip.tensor scatter_add_: shapes do not match: index %s, values %s",
                      lip_shape_text(index->ndim, index->shape, ti, sizeof ti),
                      lip_shape_text(values->ndim, values->shape, tv, sizeof tv));
  }
  if (t->data == index->data || lip_tensor_overlaps(t, index))
    at = fit_index(L, "scatter_add_", lipL_clone(L, 2), t, dim);
  if (t->data == values->data || lip_tensor_overlaps(t, values)) values = lipL_clone(L, 3);
  lip_tensor from = values->ndim < t->ndim ? widen(values, dim) : *values;
  if (lip_tensor_scatter_add(t, &from, &c, &err)) return lipL_raise(L, &err);
  lipL_mean(L, 1, LIPL_NUMBERS);
  lua_settop(L, 1);
  return 1;
}

/* lip.one_hot(labels, classes): one dimension more, 1 at the label and else 0 */
static int make_one_hot(lua_State *L) {
  if (lipL_traced(L, "one_hot")) return lua_gettop(L);
  lua_settop(L, 2);
  const lip_tensor *labels = check_index(L, 1);
  lua_Integer classes = luaL_checkinteger(L, 2);
  luaL_argcheck(L, classes >= 1, 2, "at least one class expected");
  if (labels->ndim == LIP_MAX_DIMS)
    return luaL_argerror(L, 1, lua_pushfstring(L, "at most %d dimensions expected", LIP_MAX_DIMS - 1));
  size_t shape[LIP_MAX_DIMS];
  int ndim = labels->ndim;
  for (int d = 0; d < ndim; d++) shape[d] = labels->shape[d];
  shape[ndim] = (size_t)classes;
  lip_tensor *out = lipL_newtensor(L, ndim + 1, shape), *ones = lipL_newtensor(L, ndim, shape);
  lip_tensor at = widen(labels, ndim), from = widen(ones, ndim);
  lip_choice c = {&at, ndim, base_of(L, 1)};
  lip_err err;
  lip_tensor_fill(ones, 1);
  if (lip_tensor_scatter_add(out, &from, &c, &err)) return lipL_raise(L, &err);
  lua_pop(L, 1);
  return 1;
}

/* ---- parts ---- */

/* Element i of the list at 1; lent. */
static const lip_tensor *part(lua_State *L, lua_Integer i) {
  char got[80];
  lua_rawgeti(L, 1, i);
  const lip_tensor *t = lipL_testtensor(L, -1);
  if (!t)
    luaL_error(L, "cat: element %d: a lip.tensor expected, got %s", (int)i,
               lipL_typetext(L, -1, got, sizeof got));
  lua_pop(L, 1);
  return t;
}

static bool joins(const lip_tensor *a, const lip_tensor *b, int dim) {
  bool fits = a->ndim == b->ndim;
  for (int d = 0; fits && d < a->ndim; d++) fits = d == dim || a->shape[d] == b->shape[d];
  return fits;
}

/* The shape of all n together. */
static void joined_shape(lua_State *L, lua_Integer n, int dim, size_t shape[LIP_MAX_DIMS]) {
  const lip_tensor *first = part(L, 1);
  size_t total = 0;
  for (lua_Integer i = 1; i <= n; i++) {
    const lip_tensor *t = part(L, i);
    if (!joins(first, t, dim)) {
      char ta[100], tb[100];
      luaL_error(L, "lip.tensor cat: shapes do not match along dimension %d: element 1 %s, element %d %s",
                 dim + 1, lip_shape_text(first->ndim, first->shape, ta, sizeof ta), (int)i,
                 lip_shape_text(t->ndim, t->shape, tb, sizeof tb));
    }
    total += t->shape[dim];
  }
  for (int d = 0; d < first->ndim; d++) shape[d] = first->shape[d];
  shape[dim] = total;
}

/* lip.cat({t, u, ...}[, dim]): end to end along a dimension, the first when absent */
static int make_cat(lua_State *L) {
  static const char *const none[] = {NULL};
  luaL_checktype(L, 1, LUA_TTABLE);
  if (lipL_traced(L, "cat")) return lua_gettop(L);
  lua_settop(L, 2);
  lipL_owntable(L, 1, none);
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  luaL_argcheck(L, n >= 1, 1, "cat: at least one tensor expected");
  const lip_tensor *first = part(L, 1);
  int ndim = first->ndim, dim = 0;
  if (ndim == 0 || !lua_isnoneornil(L, 2)) dim = lipL_checkdimension(L, 2, first, false);
  size_t shape[LIP_MAX_DIMS], at = 0;
  joined_shape(L, n, dim, shape);
  lip_tensor *out = lipL_newtensor(L, ndim, shape);
  for (lua_Integer i = 1; i <= n; i++) {
    const lip_tensor *t = part(L, i);
    if (!joins(out, t, dim) || t->shape[dim] > shape[dim] - at) /* making `out` may have run a finaliser */
      return luaL_error(L, "cat: a finaliser has changed element %d", (int)i);
    lip_tensor to = lip_tensor_slice(out, dim, at, at + t->shape[dim], 1);
    at += t->shape[dim];
    if (lip_tensor_size(t) > 0) lip_tensor_copy(&to, t);
  }
  return 1;
}

static int tensor_detach(lua_State *L) {
  lipL_clone(L, 1);
  return 1;
}

void lipL_open_along(lua_State *L) {
  static const luaL_Reg methods[] = {{"logsumexp", tensor_logsumexp},
                                     {"softmax", tensor_softmax},
                                     {"where", tensor_where},
                                     {"gather", tensor_gather},
                                     {"scatter_add_", tensor_scatter_add},
                                     {"detach", tensor_detach},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"one_hot", make_one_hot}, {"cat", make_cat}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  lipL_pushmethods(L);
  luaL_setfuncs(L, methods, 0);
  lua_pop(L, 1);
}
