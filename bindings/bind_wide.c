/* Forward passes in double: what arithmetic = "double" runs in net:forward and net:predict. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "bindings/bind.h"

lip_arithmetic lipL_optarithmetic(lua_State *L, int idx, const char *what, bool real) {
  char got[80];
  if (!lua_istable(L, idx) || lua_getfield(L, idx, "arithmetic") == LUA_TNIL) return LIP_ARITHMETIC_FLOAT32;
  for (int i = 0; lip_arithmetic_names[i]; i++)
    if (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), lip_arithmetic_names[i]) == 0 &&
        (real || i != LIP_ARITHMETIC_REAL)) {
      lua_pop(L, 1);
      return (lip_arithmetic)i;
    }
  luaL_error(L, "%s: option 'arithmetic' is \"float32\" or \"double\"%s, got %s", what,
             real ? ", or \"real\"" : "",
             lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : lipL_typetext(L, -1, got, sizeof got));
  return LIP_ARITHMETIC_FLOAT32;
}

/* Logits (B, C) in a userdata left on the stack; NULL after a failure, whose results stand on the stack. */
static const double *run(lua_State *L, lip_net *net, const float *x, size_t B, int *failed) {
  lip_err err;
  double *z = lua_newuserdatauv(L, B * net->root->n_out * sizeof *z, 0);
  if (!lip_wide_forward(net, x, B, z, &err)) return z;
  *failed = lipL_fault(L, &err);
  return NULL;
}

int lipL_wide_forward(lua_State *L, lip_net *net, const float *x, size_t B) {
  int failed;
  lip_tensor *logits = lipL_newtensor(L, 2, (size_t[]){B, net->root->n_out});
  const double *z = run(L, net, x, B, &failed);
  if (!z) return failed;
  for (size_t i = 0; i < B * net->root->n_out; i++) logits->data[i] = (float)z[i];
  lua_pop(L, 1);
  return 1;
}

int lipL_wide_predict(lua_State *L, lip_net *net, const float *x, size_t B) {
  size_t C = net->root->n_out;
  int failed;
  lua_createtable(L, B < INT_MAX ? (int)B : 0, 0);
  const double *z = run(L, net, x, B, &failed);
  if (!z) return failed;
  for (size_t r = 0; r < B; r++) {
    const double *row = z + r * C;
    lua_Integer best = C == 1 && row[0] > 0; /* of one output the sign */
    if (C == 1 && isnan(row[0])) best = -1;
    for (size_t j = 0; C > 1 && j < C && best >= 0; j++) {
      if (isnan(row[j]))
        best = -1;
      else if (row[j] > row[best])
        best = (lua_Integer)j;
    }
    lua_pushinteger(L, best);
    lua_rawseti(L, -3, (lua_Integer)r + 1);
  }
  lua_pop(L, 1);
  return 1;
}
