/* net:export{torch = ...}: a net as a module of PyTorch. */
#include "bindings/bind_export_torch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/number.h"
#include "core/exchange/torch.h"

void lipL_check_export_torch(lua_State *L) {
  char got[80];
  size_t n = 0;
  const int type = lua_getfield(L, 2, "torch");
  const char *path = type == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
  if (type != LUA_TNIL && (!path || strlen(path) != n || !lip_torch_is_path(path)))
    luaL_error(L, "export: option 'torch' expects the name of a file that ends in .py, got %s",
               lipL_typetext(L, -1, got, sizeof got));
  lua_pop(L, 1);
}

int lipL_export_torch(lua_State *L) {
  lip_net *net = lipL_checkidle(L, 1);
  lip_bound bound;
  lip_err err;
  char upper[40] = "inf", budget[40] = "inf";
  lipL_check_export_torch(L);
  lua_getfield(L, 2, "torch"); /* stays in the table, which only this call knows */
  const char *path = lua_tostring(L, -1);
  const char *assumed = lipL_assumedtext(L, net); /* stays on the stack */
  if (lip_bound_product(net, &bound, &err)) return lipL_fault(L, &err);
  if (isfinite(bound.upper)) lip_snprintf(upper, sizeof upper, "%.17g", bound.upper);
  if (isfinite(net->conf.budget)) lip_snprintf(budget, sizeof budget, "%.17g", net->conf.budget);
  const lip_pair meta[] = {{"format", "pt"},
                           {"writer", "lipwb " LIP_VERSION},
                           {"budget", budget},
                           {"bound", upper},
                           {"bound_method", bound.method /* static text */},
                           {"bound_norm", lip_pq_name(bound.pq)},
                           {"bound_assumed", assumed}};
  lip_bound_free(&bound);
  if (lip_torch_write(path, net, meta, sizeof meta / sizeof *meta - (assumed ? 0 : 1), &err))
    return err.code == LIP_UNSUPPORTED ? lipL_fail(L, &err) : lipL_fault(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}
