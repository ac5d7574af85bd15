/* lip.projection(f): a projection written in Lua, the option `projection` of nets and of layers with weights.
 *
 * Memory of the engine's side is counted by specs and nets, which keep the userdata with the function as they keep definitions
 * of layers. */
#include <stdio.h>
#include <string.h>

#include "bindings/bind_layer.h"
#include "core/base/mem.h"
#include "core/base/plain.h"

typedef struct own {
  lip_projection core; /* first */
  lipL_host *host;
  bool gone; /* the userdata has been finalised */
  char where[100];
} own;

typedef struct box {
  own *p;
} box;

const lip_projection *lipL_testprojection(lua_State *L, int idx) {
  box *b = luaL_testudata(L, idx, LIP_PROJECTION_T);
  return b && b->p ? &b->p->core : NULL;
}

static void drop(lip_projection *p) {
  if (((own *)p)->gone) lip_free(p);
}

static int projection_gc(lua_State *L) {
  box *b = luaL_checkudata(L, 1, LIP_PROJECTION_T);
  own *p = b->p;
  b->p = NULL;
  if (!p) return 0;
  p->gone = true;
  if (p->core.users == 0) lip_free(p);
  return 0;
}

static int projection_tostring(lua_State *L) {
  const box *b = luaL_checkudata(L, 1, LIP_PROJECTION_T);
  if (b->p)
    lua_pushfstring(L, "lip.projection (%s)", b->p->where);
  else
    lua_pushliteral(L, "lip.projection (closed)");
  return 1;
}

const char *lipL_projectedtext(lua_State *L, const lip_net *net) {
  char place[200];
  bool common = false;
  lua_pushnil(L);
  for (size_t i = 0; i < net->n_leaf; i++) {
    const lip_layer *l = net->leaf[i];
    const lip_projection *p = l->projection;
    const bool of_net = p && p == net->conf.projection;
    if (!p || (of_net && common)) continue;
    common = common || of_net;
    if (of_net || !lip_layer_place(net->root, l, place, sizeof place)) snprintf(place, sizeof place, "net");
    if (lua_isnil(L, -1))
      lua_pushfstring(L, "%s: %s", place, p->origin);
    else
      lua_pushfstring(L, "%s, %s: %s", lua_tostring(L, -1), place, p->origin);
    lua_replace(L, -2);
  }
  return lua_tostring(L, -1);
}

/* ---- in a step ---- */

typedef struct question {
  const own *p;
  const lip_layer *l;
  const lip_param *w;
  float *value;
} question;

static int do_project(lua_State *L) {
  question *q = lua_touserdata(L, 1);
  luaL_checkstack(L, 8, "projection");
  lipL_pushfunctions(L, q->p);
  if (!lua_isfunction(L, -1)) return luaL_error(L, "the projection is gone");
  lip_tensor *copy = lipL_newtensor(L, q->w->ndim, q->w->shape);
  memcpy(copy->data, q->value, lip_tensor_size(copy) * sizeof *copy->data);
  lua_pushnumber(L, q->l->budget);
  lua_call(L, 2, 1);
  lipL_taketensor(L, -1, "its result", q->w->ndim, q->w->shape, q->value);
  return 0;
}

static lip_status project(const lip_projection *p, const lip_layer *l, const lip_param *w, float *value,
                          lip_err *err) {
  question q = {(const own *)p, l, w, value};
  return lipL_protect(q.p->host, do_project, &q, "projection", q.p->where, err);
}

/* ---- making one ---- */

/* lip.projection(f): f(w, budget) returns what the weight w becomes */
static int projection_new(lua_State *L) {
  char got[80];
  lua_Debug ar;
  if (!lua_isfunction(L, 1))
    return luaL_argerror(
        L, 1,
        lua_pushfstring(L, "a function f(w, budget) expected, got %s", lipL_typetext(L, 1, got, sizeof got)));
  lua_settop(L, 1);
  box *b = lipL_newobject(L, LIP_PROJECTION_T, sizeof *b, 1);
  own *p = b->p = lip_alloc(1, sizeof *p);
  if (!p) return luaL_error(L, "lip.projection: out of memory");
  p->core = (lip_projection){.project = project, .origin = p->where, .owner = p, .drop = drop};
  p->host = lipL_layerhost(L);
  lua_pushvalue(L, 1);
  lua_getinfo(L, ">S", &ar);
  if (*ar.what == 'C')
    snprintf(p->where, sizeof p->where, "written in C");
  else
    snprintf(p->where, sizeof p->where, "%s:%d", ar.short_src, ar.linedefined);
  p->where[lip_str_plain(p->where, p->where, strlen(p->where), false)] = '\0'; /* files hold it, as UTF-8 */
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 2, 1);
  lipL_keepkind(L, p);
  return 1;
}

void lipL_open_projection(lua_State *L) {
  static const luaL_Reg functions[] = {{"projection", projection_new}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", projection_gc}, {"__tostring", projection_tostring}, {NULL, NULL}};
  lipL_newtype(L, LIP_PROJECTION_T, NULL, meta);
  luaL_setfuncs(L, functions, 0);
}
