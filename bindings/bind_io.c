/* Checkpoints in Lua: net:save, lip.load, and a look at a file without building its net. */
#include "bindings/bind.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/plain.h"
#include "core/io/safetensors.h"

/* ---- saving ---- */

/* A whole number >= 0 of the progress table; 0 when absent. */
static uint64_t progress_counter(lua_State *L, int idx, const char *name) {
  int whole;
  lua_getfield(L, idx, name);
  lua_Integer v = lua_isnil(L, -1) ? 0 : lua_tointegerx(L, -1, &whole);
  if (!lua_isnil(L, -1) && (lua_type(L, -1) != LUA_TNUMBER || !whole || v < 0)) {
    char got[80];
    luaL_error(L, "save: progress.%s expects a whole number >= 0, got %s", name,
               lipL_typetext(L, -1, got, sizeof got));
  }
  lua_pop(L, 1);
  return (uint64_t)v;
}

/* A field that is true, false or absent. */
static bool check_flag(lua_State *L, int idx, const char *what, const char *name) {
  int type = lua_getfield(L, idx, name);
  if (type != LUA_TNIL && type != LUA_TBOOLEAN)
    luaL_error(L, "%s%s expects true or false, got a %s", what, name, lua_typename(L, type));
  bool v = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return v;
}

/* The progress at idx (a table; its text stays on the stack). */
static lip_progress check_progress(lua_State *L, int idx) {
  static const char *const known[] = {"step", "epoch", "next", "seed", "text", "training", NULL};
  lip_progress p = {.present = true};
  if (!lua_istable(L, idx)) {
    char got[80];
    luaL_error(L, "save: option 'progress' expects a table, got %s", lipL_typetext(L, idx, got, sizeof got));
  }
  lipL_checkfields(L, idx, "save: progress", known);
  p.step = progress_counter(L, idx, "step");
  p.epoch = progress_counter(L, idx, "epoch");
  p.next = progress_counter(L, idx, "next");
  p.seed = progress_counter(L, idx, "seed");
  p.training = check_flag(L, idx, "save: progress.", "training");
  int type = lua_getfield(L, idx, "text");
  if (type != LUA_TNIL && type != LUA_TSTRING)
    luaL_error(L, "save: progress.text expects a string, got a %s", lua_typename(L, type));
  size_t n = 0;
  p.text = (char *)(uintptr_t)lua_tolstring(L, -1, &n); /* lent, only read by the writer */
  if (p.text && strlen(p.text) != n) luaL_error(L, "save: progress.text has a zero byte inside");
  return p;
}

/* net:save(path[, {optimizer=, progress={step=, epoch=, next=, seed=, text=, training=}}]) -> true | nil, message, code */
static int net_save(lua_State *L) {
  static const char *const known[] = {"optimizer", "progress", NULL};
  lip_net *net = lipL_checknet(L, 1);
  luaL_checktype(L, 2, LUA_TSTRING); /* a number is no file name */
  const char *path = lipL_checkpath(L, 2);
  const lip_optim *opt = NULL;
  lip_progress progress = {0};
  lip_bound bound;
  lip_err err;
  char number[40] = "inf";
  lua_settop(L, 3);
  lipL_checkfields(L, 3, "save", known);
  if (lua_istable(L, 3)) {
    if (lipL_optfield_object(L, 3, "save", "optimizer", LIP_OPTIM_T, "an optimiser such as lip.optim.adam()"))
      opt = lipL_checkoptim(L, -1);
    if (lua_getfield(L, 3, "progress") != LUA_TNIL) progress = check_progress(L, lua_gettop(L));
  }
  const char *assumed = lipL_assumedtext(L, net); /* stays on the stack */
  const char *projected = lipL_projectedtext(L, net);
  if (lip_bound_product(net, &bound, &err)) return lipL_fault(L, &err);
  if (isfinite(bound.upper)) lip_snprintf(number, sizeof number, "%.17g", bound.upper);
  const char *extra[16] = {"bound",        number,
                           "bound_method", bound.method /* static text */,
                           "bound_norm",   lip_pq_name(bound.pq),
                           "writer",       "lipwb " LIP_VERSION}; /* NULL behind them */
  size_t n = 8;
  if (assumed) {
    extra[n++] = "bound_assumed";
    extra[n++] = assumed;
  }
  if (projected) {
    extra[n++] = "projection";
    extra[n] = projected;
  }
  lip_bound_free(&bound);
  if (lip_checkpoint_save(path, net, opt, progress.present ? &progress : NULL, extra, &err))
    return lipL_fault(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- loading ---- */

/* What was read, kept by a userdata until the Lua objects own it. */
typedef struct loaded {
  lip_net *net;
  lip_optim *opt;
  lip_progress progress;
  lip_safetensors *file;
} loaded;

#define LOADED_T "lip.loaded"

static int loaded_gc(lua_State *L) {
  loaded *r = luaL_checkudata(L, 1, LOADED_T);
  lip_net_free(r->net);
  lip_optim_free(r->opt);
  lip_progress_free(&r->progress);
  lip_safetensors_close(r->file);
  *r = (loaded){0};
  return 0;
}

static void push_progress(lua_State *L, const lip_progress *p) {
  lua_createtable(L, 0, 6);
  lua_pushinteger(L, (lua_Integer)p->step);
  lua_setfield(L, -2, "step");
  lua_pushinteger(L, (lua_Integer)p->epoch);
  lua_setfield(L, -2, "epoch");
  lua_pushinteger(L, (lua_Integer)p->next);
  lua_setfield(L, -2, "next");
  lua_pushinteger(L, (lua_Integer)p->seed);
  lua_setfield(L, -2, "seed");
  lua_pushstring(L, p->text); /* nil when there is none */
  lua_setfield(L, -2, "text");
  if (p->training) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "training");
  }
}

/* Files do not hold functions: whoever goes on from here has the engine's projection. */
static void warn_projection(const char *path, const lip_safetensors *file) {
  const char *by = lip_safetensors_meta(file, "projection");
  char text[600];
  if (!by) return;
  snprintf(
      text, sizeof text,
      "load: %.200s was projected by a function of a script (%.250s), which files do not hold: this net has "
      "the engine's projection",
      path, by);
  const size_t n = lip_str_plain(text, text, strlen(text), false);
  fprintf(stderr, "lipwb: WARNING: %.*s\n", (int)n, text);
}

/* lip.load(path[, {resume = true}]) -> net, optimizer or nil, progress or nil | nil, message, code */
static int load(lua_State *L) {
  static const char *const known[] = {"resume", NULL};
  const char *path = lipL_checkpath(L, 1);
  const lip_engine *engine = lipL_engine(L);
  lip_err err;
  lua_settop(L, 2);
  lipL_checkfields(L, 2, "load", known);
  bool resume = lua_istable(L, 2) && check_flag(L, 2, "load: option ", "resume");
  loaded *r = lipL_newobject(L, LOADED_T, sizeof *r, 0);
  lipL_calledfrom(L);
  if (lip_safetensors_open(path, &r->file, &err)) return lipL_fault(L, &err);
  lip_status status = (resume ? lip_checkpoint_resume : lip_checkpoint_load)(path, engine, &r->net, &r->opt,
                                                                             &r->progress, &err);
  if (!status && !resume) warn_projection(path, r->file);
  lip_safetensors_close(r->file);
  r->file = NULL;
  if (status) return lipL_fault(L, &err);
  lip_net *net = r->net;
  lip_optim *opt = r->opt;
  r->net = NULL; /* the pushers take ownership */
  lipL_pushnet(L, net);
  r->opt = NULL;
  if (opt)
    lipL_pushoptim(L, opt);
  else
    lua_pushnil(L);
  if (r->progress.present)
    push_progress(L, &r->progress);
  else
    lua_pushnil(L);
  return 3;
}

/* lip.inspect(path) -> {metadata = {key = text}, arrays = { {name=, shape={...}, type="F32"}, ... }} | nil, message, code
 * of any safetensors file, without building a net. */
static int inspect(lua_State *L) {
  const char *path = lipL_checkpath(L, 1);
  lip_err err;
  lip_pair pair;
  loaded *r = lipL_newobject(L, LOADED_T, sizeof *r, 0);
  if (lip_safetensors_open_any(path, &r->file, &err)) return lipL_fault(L, &err);
  lua_newtable(L);
  lua_newtable(L);
  for (size_t i = 0; lip_safetensors_pair(r->file, i, &pair); i++) {
    lua_pushstring(L, pair.value);
    lua_setfield(L, -2, pair.key);
  }
  lua_setfield(L, -2, "metadata");
  lua_newtable(L);
  for (size_t i = 0; i < lip_safetensors_count(r->file); i++) {
    const lip_array *a = lip_safetensors_at(r->file, i);
    lua_newtable(L);
    lua_pushstring(L, a->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, a->type);
    lua_setfield(L, -2, "type");
    lua_newtable(L);
    for (int k = 0; k < a->ndim; k++) {
      lua_pushinteger(L, (lua_Integer)a->shape[k]);
      lua_rawseti(L, -2, k + 1);
    }
    lua_setfield(L, -2, "shape");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "arrays");
  lip_safetensors_close(r->file);
  r->file = NULL;
  return 1;
}

void lipL_open_io(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", loaded_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"load", load}, {"inspect", inspect}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"save", net_save}, {NULL, NULL}};
  lipL_newtype(L, LOADED_T, NULL, meta);
  lipL_addmethods(L, LIP_NET_T, methods);
  luaL_setfuncs(L, functions, 0);
}
