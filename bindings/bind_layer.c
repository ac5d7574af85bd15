/* Definitions of layers written in Lua: what lip.layer (scripts/lip/layer.lua) makes of its table. */
#include "bindings/bind_layer.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"

/* ---- a definition ---- */

static void kind_free(lipL_kind *k) {
  lip_free(k->text);
  lip_free(k->opts);
  lip_free(k->words);
  lip_free(k);
}

static void drop(lip_custom *c) {
  if (((lipL_kind *)c)->gone) kind_free((lipL_kind *)c);
}

static int definition_gc(lua_State *L) {
  lipL_definition *d = luaL_checkudata(L, 1, LIP_LAYER_T);
  lipL_definition was = *d;
  *d = (lipL_definition){0};
  if (!was.kind) return 0;
  lipL_unlist(was.kind);
  was.kind->gone = true;
  if (was.spec)
    lip_spec_free(was.spec); /* and the kind with the last of them */
  else
    kind_free(was.kind);
  return 0;
}

static int definition_tostring(lua_State *L) {
  const lipL_definition *d = luaL_checkudata(L, 1, LIP_LAYER_T);
  if (d->spec)
    lua_pushfstring(L, "lip.layer '%s' (%s)", d->kind->custom.kind.desc.name, d->kind->custom.kind.origin);
  else
    lua_pushliteral(L, "lip.layer (closed)");
  return 1;
}

/* swish{beta = 2} */
static int definition_call(lua_State *L) {
  const lipL_definition *d = luaL_checkudata(L, 1, LIP_LAYER_T);
  if (!d->spec) return luaL_error(L, "lip.layer: this definition is closed");
  lua_settop(L, 2);
  return lipL_newspec(L, 2, &d->kind->custom.kind);
}

/* ---- making one ---- */

/* Texts gathered in two passes: the first only counts. */
typedef struct texts {
  char *at;
  size_t size, room;
} texts;

static const char *keep(lua_State *L, texts *t, const char *text) {
  const size_t n = strlen(text) + 1;
  char *at = t->at;
  t->size += n;
  if (!at) return "";
  if (t->size > t->room) luaL_error(L, "lip.layer_kind: its table has changed meanwhile");
  memcpy(at, text, n);
  t->at += n;
  return at;
}

/* The text of a field of the table at idx, checked by lip.layer before. */
static const char *field(lua_State *L, int idx, const char *name, texts *t) {
  idx = lua_absindex(L, idx);
  lua_pushstring(L, name);
  lua_rawget(L, idx);
  const char *text = keep(L, t, lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "");
  lua_pop(L, 1);
  return text;
}

/* The text on top of the stack. */
static const char *check_text(lua_State *L) {
  char got[80];
  if (lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "lip.layer_kind: a text expected, got %s", lipL_typetext(L, -1, got, sizeof got));
  return lua_tostring(L, -1);
}

static double check_number(lua_State *L) {
  char got[80];
  if (lua_type(L, -1) != LUA_TNUMBER)
    luaL_error(L, "lip.layer_kind: a default expected, got %s", lipL_typetext(L, -1, got, sizeof got));
  return lua_tonumber(L, -1);
}

enum { SLOT = 16 }; /* bytes of an option in a conf: the largest member is a lip_reals */

/* Option i, the table on top of the stack: {name=, default=} where a list of texts as default means a choice. */
static void read_option(lua_State *L, lipL_kind *k, size_t i, texts *t, size_t *n_words) {
  if (!lua_istable(L, -1)) luaL_error(L, "lip.layer_kind: option %d is no table", (int)i + 1);
  lip_opt row = {.name = field(L, -1, "name", t), .offset = i * SLOT, .help = field(L, -1, "help", t)};
  lua_pushliteral(L, "default");
  switch (lua_rawget(L, -2)) {
  case LUA_TBOOLEAN:
    row.type = LIP_OPT_BOOL;
    row.def = lua_toboolean(L, -1);
    break;
  case LUA_TTABLE: {
    const size_t n = lua_rawlen(L, -1);
    row.type = LIP_OPT_ENUM;
    row.names = k->words ? k->words + *n_words : NULL;
    for (size_t w = 0; w < n; w++) {
      lua_rawgeti(L, -1, (lua_Integer)w + 1);
      const char *word = keep(L, t, check_text(L));
      if (k->words && *n_words + w < k->n_words) k->words[*n_words + w] = word;
      lua_pop(L, 1);
    }
    *n_words += n + 1;
    break;
  }
  default:
    row.type = LIP_OPT_REAL;
    row.def = check_number(L);
    row.low = -HUGE_VAL;
    row.high = HUGE_VAL;
  }
  lua_pop(L, 1);
  if (k->opts && i < k->n_opts) k->opts[i] = row;
}

/* Everything of the table at 1 that is text; first to count, then into the memory for it. */
static void read_table(lua_State *L, lipL_kind *k, lip_desc *desc, const char **origin, texts *t,
                       size_t *n_opt, size_t *n_words) {
  *n_words = 0;
  desc->name = field(L, 1, "name", t);
  desc->help = field(L, 1, "help", t);
  *origin = field(L, 1, "origin", t);
  lua_getfield(L, 1, "options");
  *n_opt = lua_rawlen(L, -1);
  for (size_t i = 0; i < *n_opt; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    read_option(L, k, i, t, n_words);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  lua_getfield(L, 1, "parameters");
  k->n_param = lua_rawlen(L, -1);
  if (k->n_param > LIP_LAYER_MAX_PARAMS)
    luaL_error(L, "lip.layer: at most %d parameters, got %d", LIP_LAYER_MAX_PARAMS, (int)k->n_param);
  for (size_t i = 0; i < k->n_param; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    k->param[i] = keep(L, t, check_text(L));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  lua_getfield(L, 1, "where");
  for (int i = 0; i < LIPL_ASKED; i++) k->where[i] = field(L, -1, lipL_asked_names[i], t);
  lua_pop(L, 1);
}

static double number_or_infinity(lua_State *L, const char *name) {
  double v = lua_getfield(L, 1, name) == LUA_TNUMBER ? lua_tonumber(L, -1) : INFINITY;
  lua_pop(L, 1);
  return v;
}

static bool has_function(lua_State *L, const char *name) {
  lua_getfield(L, 1, "functions");
  bool has = lua_getfield(L, -1, name) == LUA_TFUNCTION;
  lua_pop(L, 2);
  return has;
}

/* The engine's side of the definition on top of the stack. */
static void fill(lua_State *L, lipL_definition *d) {
  lip_desc desc = {0};
  const char *origin;
  texts t = {0};
  size_t n_opt, n_words;
  lipL_kind *k = d->kind;
  read_table(L, k, &desc, &origin, &t, &n_opt, &n_words);
  k->text = lip_alloc(t.size, 1);
  k->opts = lip_alloc(n_opt + 1, sizeof *k->opts);
  k->words = lip_alloc(n_words + 1, sizeof *k->words);
  k->n_opts = n_opt;
  k->n_words = n_words;
  if (!k->text || !k->opts || !k->words) luaL_error(L, "lip.layer: out of memory");
  const size_t opts = n_opt, words = n_words;
  t = (texts){.at = k->text, .room = t.size};
  read_table(L, k, &desc, &origin, &t, &n_opt, &n_words);
  if (n_opt != opts || n_words != words) luaL_error(L, "lip.layer_kind: its table has changed meanwhile");
  desc.opts = k->opts;
  desc.conf_size = n_opt * SLOT;
  k->custom.ops = lipL_layer_ops;
  k->custom.ops.drop = drop;
  k->custom.owner = k;
  k->custom.constant = number_or_infinity(L, "constant");
  k->custom.relative = number_or_infinity(L, "relative");
  if (!has_function(L, "lipschitz")) k->custom.ops.constant = NULL;
  if (!has_function(L, "deviation")) k->custom.ops.deviate = NULL;
  lip_custom_init(&k->custom, &desc, origin);
  d->spec = lip_spec_new(&k->custom.kind);
  if (!d->spec) luaL_error(L, "lip.layer: out of memory");
}

/* lip.layer_kind{name=, help=, origin=, options={{name=, default=, help=}, ...}, parameters={name, ...}, functions={...},
 * where={...}, constant=, relative=} -> definition; its one caller, lip.layer, has checked everything */
static int layer_kind(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  const char *const read[] = {"name",      "help",  "origin",   "options",  "parameters",
                              "functions", "where", "constant", "relative", NULL};
  lipL_owntable(L, 1, read);
  lua_getfield(L, 1, "name");
  const char *name = check_text(L);
  if (lip_layer_kind_find(name)) return luaL_error(L, "lip.layer: '%s' is a layer of the engine", name);
  static const char *const tables[] = {"options", "parameters", "functions", "where"};
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    if (lua_getfield(L, 1, tables[i]) != LUA_TTABLE)
      return luaL_error(L, "lip.layer_kind: option '%s' expects a table", tables[i]);
  lipL_definition *d = lipL_newobject(L, LIP_LAYER_T, sizeof *d, 1);
  d->kind = lip_alloc(1, sizeof *d->kind);
  if (!d->kind) return luaL_error(L, "lip.layer: out of memory");
  d->kind->host = lipL_layerhost(L);
  fill(L, d);
  lua_getfield(L, 1, "functions");
  lua_setiuservalue(L, -2, 1);
  lipL_listlayer(L, d->kind);
  return 1;
}

void lipL_open_layer(lua_State *L) {
  static const luaL_Reg functions[] = {{"layer_kind", layer_kind}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", definition_gc},
                                  {"__tostring", definition_tostring},
                                  {"__call", definition_call},
                                  {NULL, NULL}};
  lipL_newlayerhost(L);
  lipL_newtype(L, LIP_LAYER_T, lipL_spec_methods, meta);
  luaL_setfuncs(L, functions, 0);
}
