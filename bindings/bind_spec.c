/* Layer specs in Lua: one constructor for each row of layers.def, made from the row's option table. A spec is an
 * immutable value: lip.dense{out=128} is checked at once, and may be used in any number of nets. */
#include "bindings/bind.h"
#include "core/layer/parametrisation.h"

#include <string.h>

typedef struct spec_box {
  lip_spec *spec;
} spec_box;

lip_spec *lipL_testspec(lua_State *L, int idx) {
  spec_box *box = luaL_testudata(L, idx, LIP_SPEC_T);
  return box ? box->spec : lipL_testdefinition(L, idx);
}

lip_spec *lipL_checkspec(lua_State *L, int idx) {
  lip_spec *plain = lipL_testdefinition(L, idx);
  if (plain) return plain;
  spec_box *box = luaL_checkudata(L, idx, LIP_SPEC_T);
  if (!box->spec) luaL_argerror(L, idx, "this layer spec is closed");
  return box->spec;
}

static int spec_gc(lua_State *L) {
  spec_box *box = luaL_checkudata(L, 1, LIP_SPEC_T);
  lip_spec_free(box->spec);
  box->spec = NULL;
  return 0;
}

static void push_spec(lua_State *L, const lip_spec *spec) {
  spec_box *box = lipL_newobject(L, LIP_SPEC_T, sizeof *box, 1);
  box->spec = lip_spec_copy(spec);
  if (!box->spec) luaL_error(L, "%s: out of memory", spec->kind->desc.name);
  lipL_keeplayers(L, -1, spec);
}

lip_spec *lipL_checkelement(lua_State *L, const char *what, size_t i) {
  char got[80];
  lip_spec *spec = lipL_testspec(L, -1);
  if (!spec)
    luaL_error(L, "%s: element %d is not a layer but %s: layers are made by calls such as lip.relu()", what,
               (int)i, lipL_typetext(L, -1, got, sizeof got));
  return spec;
}

/* The specs at the integer keys of the table at idx become children. */
static void add_children(lua_State *L, int idx, lip_spec *spec) {
  const char *name = spec->kind->desc.name;
  lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, idx, i);
    const lip_spec *child = lipL_checkelement(L, name, (size_t)i);
    lip_err err;
    lip_spec *copy = lip_spec_copy(child);
    if (!copy) luaL_error(L, "%s: out of memory", name);
    if (lip_spec_add(spec, copy, &err)) {
      lip_spec_free(copy);
      lipL_raise(L, &err);
    }
    lua_pop(L, 1);
  }
}

/* Layers with a weight that may be trained itself take the option `projection`, which files do not hold: it is no part of conf. */
static bool takes_projection(const lip_layer_kind *kind) {
  return lip_opt_find(&kind->desc, "weight") != NULL;
}

/* That option; pushes it. */
static const lip_projection *check_projection(lua_State *L, int idx, const char *name) {
  char got[80];
  if (!lua_istable(L, idx) || lua_getfield(L, idx, "projection") == LUA_TNIL) return NULL;
  const lip_projection *p = lipL_testprojection(L, -1);
  if (!p)
    luaL_error(L, "%s: option 'projection' expects one made by lip.projection(f), got %s", name,
               lipL_typetext(L, -1, got, sizeof got));
  return p;
}

int lipL_newspec(lua_State *L, int idx, const lip_layer_kind *kind) {
  const char *name = kind->desc.name, *prefix = kind->origin ? "" : "lip.";
  if (!lua_isnoneornil(L, idx) && !lua_istable(L, idx)) {
    char got[80];
    return luaL_error(L, "%s: expects a table of options, as in %s%s{...}, got %s", name, prefix, name,
                      lipL_typetext(L, idx, got, sizeof got));
  }
  lua_settop(L, idx);
  if (lua_istable(L, idx) && !(kind->flags & LIP_LAYER_CONTAINER) && lua_rawlen(L, idx) > 0)
    return luaL_error(L, "%s: options are given by name, as in %s%s{name = value}", name, prefix, name);
  static const char *const own[] = {"projection", NULL};
  const bool weight = takes_projection(kind);
  const lip_projection *projection = weight ? check_projection(L, idx, name) : NULL; /* stays on the stack */
  const void *conf = lipL_checkconf(L, idx, &kind->desc, weight ? own : NULL);
  spec_box *box = lipL_newobject(L, LIP_SPEC_T, sizeof *box, 1);
  box->spec = lip_spec_new(kind);
  void *copy = box->spec ? lip_conf_copy(&kind->desc, conf) : NULL;
  if (!copy) return luaL_error(L, "%s: out of memory", name);
  lip_conf_free(&kind->desc, box->spec->conf);
  box->spec->conf = copy;
  box->spec->projection = projection;
  lip_projection_hold(projection, true);
  if (lua_istable(L, idx)) add_children(L, idx, box->spec);
  lipL_keeplayers(L, -1, box->spec);
  return 1;
}

/* lip.NAME{options..., children...}; the kind is an upvalue. */
static int spec_new(lua_State *L) {
  return lipL_newspec(L, 1, lua_touserdata(L, lua_upvalueindex(1)));
}

/* ---- methods ---- */

static int spec_kind(lua_State *L) {
  lua_pushstring(L, lipL_checkspec(L, 1)->kind->desc.name);
  return 1;
}

static int spec_options(lua_State *L) {
  const lip_spec *spec = lipL_checkspec(L, 1);
  lua_newtable(L);
  for (const lip_opt *o = spec->kind->desc.opts; o && o->name; o++) {
    lipL_pushoption(L, o, spec->conf);
    lua_setfield(L, -2, o->name);
  }
  return 1;
}

static int spec_children(lua_State *L) {
  const lip_spec *spec = lipL_checkspec(L, 1);
  lua_newtable(L);
  for (size_t i = 0; i < spec->n_child; i++) {
    push_spec(L, spec->child[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static void describe_option(lua_State *L, luaL_Buffer *b, const lip_opt *o, const void *conf) {
  luaL_addstring(b, o->name);
  luaL_addchar(b, '=');
  if (o->type == LIP_OPT_REALS) {
    const lip_reals *r = (const void *)((const char *)conf + o->offset);
    if (r->n == 1)
      lua_pushfstring(L, "%f", r->v[0]);
    else
      lua_pushfstring(L, "{%d numbers}", (int)r->n);
  } else {
    lipL_pushoption(L, o, conf);
    luaL_tolstring(L, -1, NULL);
    lua_remove(L, -2);
  }
  luaL_addvalue(b);
}

static void describe(lua_State *L, luaL_Buffer *b, const lip_spec *spec) {
  bool first = true;
  luaL_addstring(b, spec->kind->desc.name);
  luaL_addchar(b, '{');
  for (const lip_opt *o = spec->kind->desc.opts; o && o->name; o++) {
    if (!first) luaL_addstring(b, ", ");
    first = false;
    describe_option(L, b, o, spec->conf);
  }
  for (size_t i = 0; i < spec->n_child; i++) {
    if (!first) luaL_addstring(b, ", ");
    first = false;
    describe(L, b, spec->child[i]);
  }
  luaL_addchar(b, '}');
}

static int spec_tostring(lua_State *L) {
  spec_box *box = luaL_checkudata(L, 1, LIP_SPEC_T);
  if (!box->spec) {
    lua_pushliteral(L, "lip.spec (closed)");
    return 1;
  }
  luaL_checkstack(L, 50, "spec is nested too deeply");
  lipL_numbers(L);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  describe(L, &b, box->spec);
  luaL_pushresult(&b);
  return 1;
}

/* The option `projection` in the list of options on top of the stack. */
static void add_projection(lua_State *L) {
  lua_createtable(L, 0, 4);
  lua_pushliteral(L, "projection");
  lua_setfield(L, -2, "name");
  lua_pushliteral(L, "lip.projection");
  lua_setfield(L, -2, "type");
  lua_pushliteral(L, "how this weight is brought back in steps: a lip.projection(f); none: as the net says");
  lua_setfield(L, -2, "help");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "required");
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* lip.layers() -> { {name=, help=, options={...}, container=, weighted=}, ... } in the order of layers.def */
static int list_layers(lua_State *L) {
  const lip_layer_kind *kind;
  lua_newtable(L);
  for (size_t i = 0; (kind = lip_layer_kind_at(i)) != NULL; i++) {
    lua_newtable(L);
    lua_pushstring(L, kind->desc.name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, kind->desc.help);
    lua_setfield(L, -2, "help");
    lipL_pushoptions(L, &kind->desc);
    if (takes_projection(kind)) add_projection(L);
    lua_setfield(L, -2, "options");
    lua_pushboolean(L, (kind->flags & LIP_LAYER_CONTAINER) != 0);
    lua_setfield(L, -2, "container");
    lua_pushboolean(L, (kind->flags & LIP_LAYER_WEIGHTED) != 0);
    lua_setfield(L, -2, "weighted");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

const luaL_Reg lipL_spec_methods[] = {
    {"kind", spec_kind}, {"options", spec_options}, {"children", spec_children}, {NULL, NULL}};

static bool listed(const char *const *names, const char *name) {
  for (; *names; names++)
    if (strcmp(*names, name) == 0) return true;
  return false;
}

/* lip.weights() -> { {name=, help=, dense=, conv=}, ... }: what the option weight of layers may say, in the order of
 * parametrisations.def */
static int list_weights(lua_State *L) {
  const lip_parametrisation *kind;
  lua_newtable(L);
  for (size_t i = 0; (kind = lip_weight_at(i)) != NULL; i++) {
    lua_newtable(L);
    lua_pushstring(L, kind->desc.name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, kind->desc.help);
    lua_setfield(L, -2, "help");
    lua_pushboolean(L, listed(lip_weight_dense_names, kind->desc.name));
    lua_setfield(L, -2, "dense");
    lua_pushboolean(L, listed(lip_weight_conv_names, kind->desc.name));
    lua_setfield(L, -2, "conv");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

void lipL_open_spec(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", spec_gc}, {"__tostring", spec_tostring}, {NULL, NULL}};
  lipL_newtype(L, LIP_SPEC_T, lipL_spec_methods, meta);
  const lip_layer_kind *kind;
  for (size_t i = 0; (kind = lip_layer_kind_at(i)) != NULL; i++) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)kind);
    lua_pushcclosure(L, spec_new, 1);
    lua_setfield(L, -2, kind->desc.name);
  }
  lua_pushcfunction(L, list_layers);
  lua_setfield(L, -2, "layers");
  lua_pushcfunction(L, list_weights);
  lua_setfield(L, -2, "weights");
}
