/* Operator norms and projections of single matrices, for hand-written loops: the same code the layers use. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bindings/bind.h"

/* "inf", 1, 2, math.huge, or a step such as "1->inf" */
static lip_pq check_pq(lua_State *L, int idx) {
  lip_path path;
  lip_err err;
  if (lua_type(L, idx) == LUA_TNUMBER) { /* as text 4/2 would be "2.0" */
    char text[40];
    lip_snprintf(text, sizeof text, "%.14g", lip_plain(lua_tonumber(L, idx)));
    lua_pushstring(L, text);
    lua_replace(L, idx);
  }
  if (lip_path_parse(luaL_checkstring(L, idx), &path, &err)) luaL_argerror(L, idx, err.msg);
  luaL_argcheck(L, path.n <= 2, idx, "one norm, or one step such as \"1->inf\", expected");
  return (lip_pq){path.p[0], path.p[path.n - 1]};
}

/* A contiguous matrix (M, N); a vector is one row. */
static const lip_tensor *check_matrix(lua_State *L, int idx, size_t *M, size_t *N) {
  const lip_tensor *t = lipL_checktensor(L, idx);
  luaL_argcheck(L, t->ndim == 1 || t->ndim == 2, idx, "a matrix (or one row) expected");
  *M = t->ndim == 2 ? t->shape[0] : 1;
  *N = t->shape[t->ndim - 1];
  return lipL_contiguous(L, idx);
}

/* lip.opnorm_upper(w, norm): rigorous upper bound of the operator norm of the stored numbers */
static int opnorm_upper(lua_State *L) {
  size_t M, N;
  double upper;
  lip_err err;
  lip_pq pq = check_pq(L, 2);
  const lip_tensor *w = check_matrix(L, 1, &M, &N);
  if (lip_opnorm_upper(w->data, M, N, pq, &upper, &err)) return lipL_fault(L, &err);
  lua_pushnumber(L, upper);
  return 1;
}

/* lip.opnorm_lower(w, norm): an attained value, rounded down */
static int opnorm_lower(lua_State *L) {
  size_t M, N;
  double lower;
  lip_err err;
  lip_pq pq = check_pq(L, 2);
  const lip_tensor *w = check_matrix(L, 1, &M, &N);
  if (lip_opnorm_lower(w->data, M, N, pq, &lower, &err)) return lipL_fault(L, &err);
  lua_pushnumber(L, lower);
  return 1;
}

/* lip.opnorm_estimate(w, norm[, iterations=20]): power iteration for 2->2; not a bound */
static int opnorm_estimate(lua_State *L) {
  size_t M, N;
  lip_pq pq = check_pq(L, 2);
  lua_Integer iterations = luaL_optinteger(L, 3, 20);
  luaL_argcheck(L, iterations >= 1 && iterations <= 1000000, 3, "1 to 1000000 iterations expected");
  const lip_tensor *w = check_matrix(L, 1, &M, &N);
  double *scratch = lua_newuserdatauv(L, (M + N + 1) * sizeof *scratch, 0);
  lua_pushnumber(L, lip_opnorm_estimate(w->data, M, N, pq, (size_t)iterations, NULL, scratch));
  return 1;
}

static lip_project_method check_method(lua_State *L, int idx) {
  const char *name = luaL_optstring(L, idx, "euclidean");
  for (int i = 0; lip_project_method_names[i]; i++)
    if (strcmp(name, lip_project_method_names[i]) == 0) return (lip_project_method)i;
  luaL_argerror(L, idx, "one of euclidean, rowwise, radial expected");
  return LIP_EUCLIDEAN;
}

/* lip.singular_values(w): a table, the largest first; by LAPACK in double, so no bound */
static int singular_values(lua_State *L) {
  size_t M, N;
  lip_err err;
  const lip_tensor *w = check_matrix(L, 1, &M, &N);
  size_t k = M < N ? M : N;
  double *a = lua_newuserdatauv(L, (M * N + k + 1) * sizeof *a, 0), *s = a + M * N;
  for (size_t i = 0; i < M * N; i++) a[i] = w->data[i];
  if (lip_svd(a, M, N, NULL, s, NULL, &err)) return lipL_fault(L, &err);
  lua_createtable(L, (int)k, 0);
  for (size_t i = 0; i < k; i++) {
    lua_pushnumber(L, s[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* lip.project_(w, norm, radius[, method="euclidean"]): in place; afterwards opnorm_upper(w, norm) <= radius */
static int project(lua_State *L) {
  lip_projector *p = NULL;
  lip_err err;
  lip_tensor *w = lipL_checktensor(L, 1);
  lip_pq pq = check_pq(L, 2);
  double radius = luaL_checknumber(L, 3);
  lip_project_method method = check_method(L, 4);
  luaL_argcheck(L, (w->ndim == 1 || w->ndim == 2) && lip_tensor_is_contiguous(w), 1,
                "a contiguous matrix (or one row) expected");
  luaL_argcheck(L, radius >= 0, 3, "a radius >= 0 expected");
  size_t M = w->ndim == 2 ? w->shape[0] : 1, N = w->shape[w->ndim - 1];
  lip_status status = lip_projector_new(M, N, pq, method, &p, &err);
  if (!status) status = lip_project_exact(p, w->data, radius, &err);
  lip_projector_free(p);
  if (status) return lipL_fault(L, &err);
  lua_settop(L, 1);
  return 1;
}

void lipL_open_norm(lua_State *L) {
  static const luaL_Reg functions[] = {{"opnorm_upper", opnorm_upper},
                                       {"opnorm_lower", opnorm_lower},
                                       {"opnorm_estimate", opnorm_estimate},
                                       {"singular_values", singular_values},
                                       {"project_", project},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
