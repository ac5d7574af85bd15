/* net:certificate with method "local": sizes of balls that the checker's own relaxation confirms. */
#include "bindings/bind_certificate.h"

#include <math.h>
#include <string.h>

#include "core/base/number.h"

void lipL_certificate_optbox(lua_State *L, int idx, bool local, char *text, size_t size) {
  double side[2];
  *text = 0;
  if (!lua_istable(L, idx)) return;
  if (lua_getfield(L, idx, "box") != LUA_TNIL) {
    char got[80];
    if (!local) luaL_error(L, "certificate: option 'box' belongs to method=\"local\"");
    if (!lua_istable(L, -1))
      luaL_error(L, "certificate: option 'box' expects {from, to}, got %s",
                 lipL_typetext(L, -1, got, sizeof got));
    for (int i = 0; i < 2; i++) {
      side[i] = lua_rawgeti(L, -1, i + 1) == LUA_TNUMBER ? lua_tonumber(L, -1) : NAN;
      if (isnan(side[i]))
        luaL_error(L, "certificate: option 'box' expects two numbers {from, to}, element %d is %s", i + 1,
                   lipL_typetext(L, -1, got, sizeof got));
      lua_pop(L, 1);
    }
    if (!(side[0] <= side[1])) luaL_error(L, "certificate: option 'box' expects {from, to} with from <= to");
    lip_snprintf(text, size, "%.17g %.17g", side[0], side[1]);
  }
  lua_pop(L, 1);
}

const char *lipL_certificate_optglobal(lua_State *L, int idx, bool local) {
  static const char *const known[] = {"product", "abs", "recursion", "multiplier", "best", NULL};
  char got[80];
  if (!lua_istable(L, idx)) return "recursion";
  int type = lua_getfield(L, idx, "global");
  const char *name = type == LUA_TSTRING ? lua_tostring(L, -1) : NULL; /* the table holds it */
  if (type != LUA_TNIL && !local) luaL_error(L, "certificate: option 'global' belongs to method=\"local\"");
  for (size_t i = 0; name && known[i]; i++)
    if (strcmp(name, known[i]) == 0) return lua_pop(L, 1), known[i];
  if (type != LUA_TNIL)
    luaL_error(L, "certificate: option 'global' is product, abs, recursion, multiplier or best; got %s",
               lipL_typetext(L, -1, got, sizeof got));
  lua_pop(L, 1);
  return "recursion";
}

lip_status lipL_certificate_reserve_local(lipL_certificate *c, lip_err *err) {
  size_t n;
  c->claims.units = lip_check_units(c->check);
  c->slope = lip_mul_fits(c->rows, c->claims.units, &n) ? lip_alloc(n, sizeof *c->slope) : NULL;
  c->claims.slope = c->slope;
  if (!c->slope) return lip_fail(err, LIP_MEMORY, "out of memory for the lines of %zu rows", c->rows);
  for (size_t k = 0; k < n; k++) c->slope[k] = LIP_CHECK_OWN;
  return LIP_OK;
}

void lipL_certificate_spare_local(lipL_certificate *c) {
  for (size_t k = 0; k < c->rows * c->claims.units; k++)
    if (c->slope[k] != LIP_CHECK_OWN) return;
  lip_free(c->slope);
  c->slope = NULL;
}

/* Lines of each row as the checker chooses them, then all flat, all steep: the first that do. */
static lip_status settle(lipL_certificate *c, size_t r, const float *x, lip_err *err) {
  const size_t units = c->claims.units;
  const double way[] = {0, 1, LIP_CHECK_OWN};
  lip_status status = lip_check_claim(c->check, LIP_CHECK_ROW, r, 0, x, err);
  for (size_t k = 0; k < 3 && status == LIP_FORMAT; k++) {
    for (size_t v = 0; v < units; v++) c->slope[r * units + v] = way[k];
    if (way[k] != LIP_CHECK_OWN) status = lip_check_claim(c->check, LIP_CHECK_ROW, r, 0, x, err);
  }
  return status;
}

lip_status lipL_certificate_settle_local(lipL_certificate *c, const float *x, size_t r, double radius,
                                         lip_err *err) {
  lip_status status = LIP_FORMAT;
  for (double below = INFINITY, eps; status == LIP_FORMAT && c->label[r] >= 0; below = eps) {
    eps = radius;
    for (size_t k = 0; k < c->n_eps; k++)
      if (c->eps[k] < below && c->eps[k] > eps) eps = c->eps[k];
    if (!(eps > radius)) break;
    c->radius[r] = eps;
    status = settle(c, r, x, err);
  }
  return status;
}
