/* Arithmetic of lip.tensor: one method per row of LIP_OP_MAP (and one ending in "_" that works in place), reductions,
 * sorting, products, comparisons. Numbers count as scalars; results are float32, sums are made in double. */
#include <math.h>
#include <string.h>

#include "bindings/bind_tensor.h"
#include "core/tensor/ops.h"

/* ---- element by element ---- */

/* A tensor argument, or a number wrapped as a scalar tensor in *box (whose value stands in *value). */
static const lip_tensor *operand(lua_State *L, int idx, lip_tensor *box, float *value) {
  if (lua_type(L, idx) == LUA_TNUMBER) {
    *value = (float)lua_tonumber(L, idx);
    *box = lip_tensor_wrap(value, 0, NULL);
    return box;
  }
  const lip_tensor *t = lipL_testtensor(L, idx);
  if (!t) luaL_typeerror(L, idx, "number or lip.tensor");
  return t;
}

/* Positions beside classes: every answer would be off by one. */
static void check_meanings(lua_State *L, const char *name, int a, int b) {
  lipL_meaning x = lipL_meaning_of(L, a), y = lipL_meaning_of(L, b);
  if (x != LIPL_NUMBERS && y != LIPL_NUMBERS && x != y)
    luaL_error(
        L,
        "lip.tensor %s: one holds classes, which count from 0, the other positions, which count from 1 "
        "(argmax, argmin, sort): take z:classes() in place of z:argmax(2), or subtract 1",
        name);
}

/* Arguments of one operation: the tensors (or numbers) and the numeric parameters, in the order self, numbers, other. */
typedef struct arguments {
  lip_op op;
  const lip_tensor *a, *b;
  float p, q;
  lip_tensor box_a, box_b;
  float value_a, value_b;
} arguments;

static void read_arguments(lua_State *L, arguments *x) {
  int next = 2, numbers = lip_op_numbers(x->op);
  x->p = x->q = 0;
  x->b = NULL;
  if (numbers > 0) x->p = (float)luaL_checknumber(L, next++);
  if (numbers > 1) x->q = (float)luaL_checknumber(L, next++);
  if (x->op == LIP_OP_CLAMP) luaL_argcheck(L, x->p <= x->q, 2, "clamp: low <= high expected");
  if (lip_op_tensors(x->op) == 2) {
    x->b = operand(L, next, &x->box_b, &x->value_b);
    check_meanings(L, lip_op_name(x->op), 1, next);
  }
}

static int apply_op(lua_State *L) {
  arguments x = {.op = (lip_op)lua_tointeger(L, lua_upvalueindex(1))};
  size_t shape[LIP_MAX_DIMS];
  int ndim;
  lip_err err;
  if (lipL_traced(L, lip_op_name(x.op))) return lua_gettop(L);
  x.a = operand(L, 1, &x.box_a, &x.value_a);
  read_arguments(L, &x);
  if (lip_op_shape(lip_op_name(x.op), x.a, x.b ? x.b : x.a, &ndim, shape, &err)) return lipL_raise(L, &err);
  lip_tensor_apply(x.op, lipL_newtensor(L, ndim, shape), x.a, x.b, x.p, x.q);
  return 1;
}

/* In place: the first tensor keeps its shape. Returns it, so that calls chain. */
static int apply_in_place(lua_State *L) {
  arguments x = {.op = (lip_op)lua_tointeger(L, lua_upvalueindex(1))};
  if (lipL_traced(L, "in_place")) return lua_gettop(L);
  lip_tensor *to = lipL_checktensor(L, 1);
  read_arguments(L, &x);
  if (x.b) {
    lip_tensor result = *to;
    char ta[100], tb[100];
    lip_err err;
    if (lip_op_shape(lip_op_name(x.op), to, x.b, &result.ndim, result.shape, &err))
      return lipL_raise(L, &err);
    if (!lip_tensor_same_shape(&result, to))
      return luaL_error(L, "lip.tensor %s_: shapes do not match: a %s, b %s (a cannot grow in place)",
                        lip_op_name(x.op), lip_shape_text(to->ndim, to->shape, ta, sizeof ta),
                        lip_shape_text(x.b->ndim, x.b->shape, tb, sizeof tb));
    if (lip_tensor_overlaps(to, x.b)) x.b = lipL_clone(L, 2 + lip_op_numbers(x.op));
  }
  lip_tensor_apply(x.op, to, to, x.b, x.p, x.q);
  lipL_mean(L, 1, LIPL_NUMBERS);
  lua_settop(L, 1);
  return 1;
}

/* ---- reductions ---- */

static int reduce(lua_State *L) {
  static const char *const names[LIP_REDUCE_COUNT] = {[LIP_REDUCE_SUM] = "sum",
                                                      [LIP_REDUCE_MEAN] = "mean",
                                                      [LIP_REDUCE_MAX] = "max",
                                                      [LIP_REDUCE_MIN] = "min"};
  lip_reduction how = (lip_reduction)lua_tointeger(L, lua_upvalueindex(1));
  const lip_tensor *t = lipL_checktensor(L, 1);
  bool all = lua_isnoneornil(L, 2);
  int dim = all ? 0 : lipL_checkdimension(L, 2, t, false);
  size_t n = all ? lip_tensor_size(t) : t->shape[dim];
  if (n == 0 && how != LIP_REDUCE_SUM)
    return luaL_error(L, "lip.tensor %s: nothing to take it of: the tensor is empty", names[how]);
  if (all) {
    lua_pushnumber(L, lip_tensor_reduce(how, t));
  } else {
    lip_tensor rest = lip_tensor_select(t, dim, 0);
    lip_tensor_reduce_dim(how, lipL_newtensor(L, rest.ndim, rest.shape), t, dim);
  }
  return 1;
}

static lip_reduction check_norm(lua_State *L, int idx) {
  double p = luaL_optnumber(L, idx, 2);
  if (p == 1) return LIP_REDUCE_NORM_1;
  if (p == 2) return LIP_REDUCE_NORM_2;
  if (!(isinf(p) && p > 0)) luaL_argerror(L, idx, "a norm 1, 2 or math.huge expected");
  return LIP_REDUCE_NORM_INF;
}

/* t:norm([p[, dim]]), p = 1, 2 or math.huge */
static int tensor_norm(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  lip_reduction how = check_norm(L, 2);
  if (lua_isnoneornil(L, 3)) {
    lua_pushnumber(L, lip_tensor_reduce(how, t));
  } else {
    int dim = lipL_checkdimension(L, 3, t, false);
    lip_tensor rest = lip_tensor_select(t, dim, 0);
    lip_tensor_reduce_dim(how, lipL_newtensor(L, rest.ndim, rest.shape), t, dim);
  }
  return 1;
}

/* t:argmax(): position of the first largest element in row-major order, from 1; t:argmax(dim): a tensor of positions */
static int arg(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  bool largest = lua_toboolean(L, lua_upvalueindex(1));
  const char *name = largest ? "argmax" : "argmin";
  if (lua_isnoneornil(L, 2)) {
    if (lip_tensor_size(t) == 0) return luaL_error(L, "lip.tensor %s: the tensor is empty", name);
    lua_pushinteger(L, (lua_Integer)lip_tensor_arg(t, largest) + 1);
    return 1;
  }
  int dim = lipL_checkdimension(L, 2, t, false);
  if (t->shape[dim] == 0 || t->shape[dim] >= 1 << 24)
    return luaL_error(L, "lip.tensor %s: dimension %d has %I elements, 1..2^24-1 expected", name, dim + 1,
                      (LUAI_UACINT)t->shape[dim]);
  lip_tensor rest = lip_tensor_select(t, dim, 0);
  lip_tensor *out = lipL_newtensor(L, rest.ndim, rest.shape);
  float one = 1;
  lip_tensor scalar = lip_tensor_wrap(&one, 0, NULL);
  lip_tensor_arg_dim(out, t, dim, largest);
  lip_tensor_apply(LIP_OP_ADD, out, out, &scalar, 0, 0);
  lipL_mean(L, -1, LIPL_POSITIONS);
  return 1;
}

/* The class of one row of logits, as net:predict has it: the first among equals, -1 where one is NaN. */
static lua_Integer class_of(const lip_tensor *row) {
  lua_Integer best = 0;
  double top = -INFINITY;
  for (size_t j = 0; j < row->shape[0]; j++) {
    double v = (double)row->data[j * row->stride[0]];
    if (isnan(v)) return -1;
    if (v > top) {
      best = (lua_Integer)j;
      top = v;
    }
  }
  return best;
}

/* z:classes(): of logits (B, C) the classes (B) from 0, to be compared with labels; of one row (C) a number */
static int tensor_classes(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  size_t C = t->ndim > 0 ? t->shape[t->ndim - 1] : 0;
  char shape[100];
  if (t->ndim < 1 || t->ndim > 2 || C < 2 || C >= 1 << 24)
    return luaL_error(L, "lip.tensor classes: rows of at least two outputs expected, (B, C), got %s",
                      lip_shape_text(t->ndim, t->shape, shape, sizeof shape));
  if (t->ndim == 1) {
    lua_pushinteger(L, class_of(t));
    return 1;
  }
  lip_tensor *out = lipL_newtensor(L, 1, t->shape);
  for (size_t r = 0; r < t->shape[0]; r++) {
    lip_tensor row = lip_tensor_select(t, 0, r);
    out->data[r] = (float)class_of(&row);
  }
  lipL_mean(L, -1, LIPL_CLASSES);
  return 1;
}

/* t:sort([dim[, descending]]) -> sorted, positions (from 1). Stable; NaN comes last in both directions. */
static int tensor_sort(lua_State *L) {
  const lip_tensor *t = lipL_checktensor(L, 1);
  int dim = lipL_checkdimension(L, 2, t, true);
  bool descending = lua_toboolean(L, 3);
  if (!lua_isnoneornil(L, 3)) luaL_checktype(L, 3, LUA_TBOOLEAN);
  lip_tensor *sorted = lipL_newtensor(L, t->ndim, t->shape), *index = lipL_newtensor(L, t->ndim, t->shape);
  lip_err err;
  if (lip_tensor_sort(sorted, index, t, dim, descending, &err)) return lipL_raise(L, &err);
  float one = 1;
  lip_tensor scalar = lip_tensor_wrap(&one, 0, NULL);
  lip_tensor_apply(LIP_OP_ADD, index, index, &scalar, 0, 0);
  lipL_mean(L, -1, LIPL_POSITIONS);
  return 2;
}

/* ---- comparing ---- */

static int tensor_equal(lua_State *L) {
  const lip_tensor *a = lipL_checktensor(L, 1), *b = lipL_checktensor(L, 2);
  check_meanings(L, "equal", 1, 2);
  lua_pushboolean(L, lip_tensor_equal(a, b, 0));
  return 1;
}

/* a == b, where either may be something else: then they differ */
static int tensor_eq(lua_State *L) {
  const lip_tensor *a = lipL_testtensor(L, 1), *b = lipL_testtensor(L, 2);
  check_meanings(L, "==", 1, 2);
  lua_pushboolean(L, a && b && lip_tensor_equal(a, b, 0));
  return 1;
}

/* t:allclose(u[, tolerance]): no pair differs by more than the tolerance (1e-6 when absent) */
static int tensor_allclose(lua_State *L) {
  const lip_tensor *a = lipL_checktensor(L, 1), *b = lipL_checktensor(L, 2);
  double tolerance = luaL_optnumber(L, 3, 1e-6);
  luaL_argcheck(L, tolerance >= 0, 3, "a tolerance >= 0 expected");
  check_meanings(L, "allclose", 1, 2);
  lua_pushboolean(L, lip_tensor_equal(a, b, tolerance));
  return 1;
}

static int tensor_all_finite(lua_State *L) {
  lua_pushboolean(L, lip_tensor_all_finite(lipL_checktensor(L, 1)));
  return 1;
}

/* ---- products ---- */

/* t:dot(u): sum of the products of the elements of two tensors of one shape, in double */
static int tensor_dot(lua_State *L) {
  if (lipL_traced(L, "dot")) return lua_gettop(L);
  const lip_tensor *a = lipL_checktensor(L, 1), *b = lipL_checktensor(L, 2);
  lua_settop(L, 2);
  if (!lip_tensor_same_shape(a, b)) {
    char ta[100], tb[100];
    return luaL_error(L, "lip.tensor dot: shapes do not match: a %s, b %s",
                      lip_shape_text(a->ndim, a->shape, ta, sizeof ta),
                      lip_shape_text(b->ndim, b->shape, tb, sizeof tb));
  }
  a = lipL_contiguous(L, 1);
  b = lipL_contiguous(L, 2);
  lua_pushnumber(L, lip_vec_dot(a->data, b->data, lip_tensor_size(a)));
  return 1;
}

/* A matrix as lip_gemm wants it. */
typedef struct matrix {
  const float *data;
  lip_trans trans;
  size_t rows, cols, ld;
} matrix;

/* The matrix at idx; a vector counts as one row or one column. Rows or columns must lie in one piece, else a copy takes
 * the stack slot. */
static matrix check_matrix(lua_State *L, int idx, bool column) {
  const lip_tensor *t = lipL_checktensor(L, idx);
  if (t->ndim != 1 && t->ndim != 2)
    luaL_argerror(L, idx, lua_pushfstring(L, "matmul: 1 or 2 dimensions expected, got %d", t->ndim));
  bool flat = t->ndim == 2 && t->stride[1] == 1 && t->stride[0] >= t->shape[1];
  bool turned = t->ndim == 2 && t->stride[0] == 1 && t->stride[1] >= t->shape[0];
  if (!flat && !turned) t = lipL_contiguous(L, idx);
  if (t->ndim == 1) {
    size_t n = t->shape[0];
    return (matrix){t->data, LIP_N, column ? n : 1, column ? 1 : n, column ? 1 : n};
  }
  matrix m = {t->data, LIP_N, t->shape[0], t->shape[1], t->shape[1]};
  if (flat) m.ld = t->stride[0];
  if (turned && !flat) {
    m.trans = LIP_T;
    m.ld = t->stride[1];
  }
  return m;
}

/* t:matmul(u): (M,K) x (K,N) -> (M,N); a vector on the left is a row, on the right a column, and leaves the shape */
static int tensor_matmul(lua_State *L) {
  if (lipL_traced(L, "matmul")) return lua_gettop(L);
  const lip_tensor *a = lipL_checktensor(L, 1), *b = lipL_checktensor(L, 2);
  int da = a->ndim, db = b->ndim, ndim = 0;
  char ta[100], tb[100];
  lip_shape_text(da, a->shape, ta, sizeof ta);
  lip_shape_text(db, b->shape, tb, sizeof tb);
  lua_settop(L, 2);
  matrix x = check_matrix(L, 1, false), y = check_matrix(L, 2, true);
  if (x.cols != y.rows)
    return luaL_error(L, "lip.tensor matmul: shapes do not match: a %s, b %s (columns of a, rows of b)", ta,
                      tb);
  size_t shape[2];
  if (da == 2) shape[ndim++] = x.rows;
  if (db == 2) shape[ndim++] = y.cols;
  lip_tensor *out = lipL_newtensor(L, ndim, shape);
  if (x.rows && y.cols && x.cols) {
    void *scratch = lip_alloc(lip_gemm_scratch(), 1);
    if (!scratch) return luaL_error(L, "lip.tensor matmul: out of memory");
    lip_gemm(x.trans, y.trans, x.rows, y.cols, x.cols, 1, x.data, x.ld, y.data, y.ld, 0, out->data, y.cols,
             scratch);
    lip_free(scratch);
  }
  return 1;
}

/* ---- random contents ---- */

typedef void fill(lip_rng *rng, float *x, size_t n, float a, float b);

/* Fills argument 1 in row-major order: a view gets the numbers that a contiguous tensor would. */
static int fill_random(lua_State *L, fill *run, float a, float b) {
  lip_tensor *t = lipL_checktensor(L, 1);
  lip_rng *rng = lua_isnoneornil(L, 2) ? lipL_defaultrng(L) : lipL_checkrng(L, 2);
  if (lip_tensor_is_contiguous(t)) {
    run(rng, t->data, lip_tensor_size(t), a, b);
  } else {
    lip_tensor *all = lipL_newtensor(L, t->ndim, t->shape);
    run(rng, all->data, lip_tensor_size(all), a, b);
    lip_tensor_copy(t, all);
  }
  lipL_mean(L, 1, LIPL_NUMBERS);
  lua_settop(L, 1);
  return 1;
}

static float check_float(lua_State *L, int idx, double def) {
  float v = (float)luaL_optnumber(L, idx, def);
  luaL_argcheck(L, isfinite(v), idx, "a finite number expected");
  return v;
}

/* t:uniform_([rng[, low, high]]) */
static int tensor_uniform(lua_State *L) {
  float low = check_float(L, 3, 0), high = check_float(L, 4, 1);
  luaL_argcheck(L, low <= high, 4, "uniform_: low <= high expected");
  return fill_random(L, lip_rng_fill_uniform, low, high);
}

/* t:normal_([rng[, mean, deviation]]) */
static int tensor_normal(lua_State *L) {
  float mean = check_float(L, 3, 0), deviation = check_float(L, 4, 1);
  luaL_argcheck(L, deviation >= 0, 4, "normal_: a deviation >= 0 expected");
  return fill_random(L, lip_rng_fill_normal, mean, deviation);
}

/* ---- registration ---- */

static void set_closure(lua_State *L, const char *name, lua_CFunction f, int upvalue) {
  lua_pushinteger(L, upvalue);
  lua_pushcclosure(L, f, 1);
  lua_setfield(L, -2, name);
}

void lipL_open_math(lua_State *L) {
  static const luaL_Reg methods[] = {{"norm", tensor_norm},
                                     {"sort", tensor_sort},
                                     {"classes", tensor_classes},
                                     {"equal", tensor_equal},
                                     {"allclose", tensor_allclose},
                                     {"all_finite", tensor_all_finite},
                                     {"dot", tensor_dot},
                                     {"matmul", tensor_matmul},
                                     {"uniform_", tensor_uniform},
                                     {"normal_", tensor_normal},
                                     {NULL, NULL}};
  lipL_pushmethods(L);
  luaL_setfuncs(L, methods, 0);
  for (int op = 0; op < LIP_OP_COUNT; op++) {
    const char *name = lip_op_name((lip_op)op);
    set_closure(L, name, apply_op, op);
    const char *in_place = lua_pushfstring(L, "%s_", name);
    lua_insert(L, -2);
    set_closure(L, in_place, apply_in_place, op);
    lua_remove(L, -2);
  }
  set_closure(L, "sum", reduce, LIP_REDUCE_SUM);
  set_closure(L, "mean", reduce, LIP_REDUCE_MEAN);
  set_closure(L, "max", reduce, LIP_REDUCE_MAX);
  set_closure(L, "min", reduce, LIP_REDUCE_MIN);
  lua_pushboolean(L, 1);
  lua_pushcclosure(L, arg, 1);
  lua_setfield(L, -2, "argmax");
  lua_pushboolean(L, 0);
  lua_pushcclosure(L, arg, 1);
  lua_setfield(L, -2, "argmin");
  lua_pop(L, 1);

  luaL_getmetatable(L, LIP_TENSOR_T);
  set_closure(L, "__add", apply_op, LIP_OP_ADD);
  set_closure(L, "__sub", apply_op, LIP_OP_SUB);
  set_closure(L, "__mul", apply_op, LIP_OP_MUL);
  set_closure(L, "__div", apply_op, LIP_OP_DIV);
  set_closure(L, "__pow", apply_op, LIP_OP_POW);
  set_closure(L, "__unm", apply_op, LIP_OP_NEG);
  lua_pushcfunction(L, tensor_eq);
  lua_setfield(L, -2, "__eq");
  lua_pop(L, 1);
}
