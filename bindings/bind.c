#include "bindings/bind.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- errors ---- */

int lipL_raise(lua_State *L, const lip_err *err) {
  return luaL_error(L, "%s", err->msg);
}

int lipL_fail(lua_State *L, const lip_err *err) {
  luaL_pushfail(L);
  lua_pushstring(L, err->msg);
  lua_pushstring(L, lip_status_name(err->code));
  return 3;
}

int lipL_fault(lua_State *L, const lip_err *err) {
  switch (err->code) {
  case LIP_IO:
  case LIP_NOT_FOUND:
  case LIP_FORMAT:
  case LIP_CANCELLED:
  case LIP_MEMORY:
  case LIP_NOT_FINITE: return lipL_fail(L, err);
  default: return lipL_raise(L, err);
  }
}

int lipL_refuse(lua_State *L, const char *path, const char *what, int error) {
  bool absent = error == ENOENT || error == ENOTDIR;
  luaL_pushfail(L);
  lua_pushfstring(L, "%s: cannot %s: %s", path, what, strerror(error));
  lua_pushstring(L, lip_status_name(absent ? LIP_NOT_FOUND : error == ENOMEM ? LIP_MEMORY : LIP_IO));
  return 3;
}

/* ---- userdata ---- */

void lipL_newtype(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta) {
  luaL_newmetatable(L, name);
  if (meta) luaL_setfuncs(L, meta, 0);
  if (methods) {
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
  }
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

void lipL_addmethods(lua_State *L, const char *name, const luaL_Reg *methods) {
  luaL_getmetatable(L, name);
  lua_getfield(L, -1, "__index");
  luaL_setfuncs(L, methods, 0);
  lua_pop(L, 2);
}

/* Holds the pair of lip_number_enter until it is closed, or collected should its coroutine be forgotten. */
#define NUMBERS_T "lip.numbers"

static int numbers_close(lua_State *L) {
  bool *inside = luaL_checkudata(L, 1, NUMBERS_T);
  if (*inside) lip_number_leave();
  *inside = false;
  return 0;
}

int lipL_plain_numbers(lua_State *L) {
  static const luaL_Reg meta[] = {{"__close", numbers_close}, {"__gc", numbers_close}, {NULL, NULL}};
  if (luaL_getmetatable(L, NUMBERS_T) == LUA_TNIL) lipL_newtype(L, NUMBERS_T, NULL, meta);
  lua_pop(L, 1);
  bool *inside = lipL_newobject(L, NUMBERS_T, sizeof *inside, 0);
  lip_number_enter();
  *inside = true;
  return 1;
}

void lipL_numbers(lua_State *L) {
  lipL_plain_numbers(L);
  lua_toclose(L, -1);
}

void *lipL_newobject(lua_State *L, const char *type, size_t size, int user_values) {
  void *object = lua_newuserdatauv(L, size, user_values);
  memset(object, 0, size);
  luaL_setmetatable(L, type);
  return object;
}

const char *lipL_typetext(lua_State *L, int idx, char *buf, size_t size) {
  int type = lua_type(L, idx);
  int name = type == LUA_TUSERDATA ? luaL_getmetafield(L, idx, "__name") : LUA_TNIL;
  if (name == LUA_TSTRING) snprintf(buf, size, "%s", lua_tostring(L, -1));
  if (name != LUA_TNIL) lua_pop(L, 1);
  if (name == LUA_TSTRING) return buf;
  if (type == LUA_TNUMBER) {
    double v = lua_tonumber(L, idx);
    lip_snprintf(buf, size, "the number %.14g", lip_plain(v));
  } else if (type == LUA_TSTRING) {
    snprintf(buf, size, "the string \"%.40s\"", lua_tostring(L, idx));
  } else if (type == LUA_TBOOLEAN) {
    snprintf(buf, size, "%s", lua_toboolean(L, idx) ? "true" : "false");
  } else if (type == LUA_TNONE) {
    snprintf(buf, size, "no value");
  } else {
    snprintf(buf, size, "a %s", lua_typename(L, type));
    if (type == LUA_TNIL) snprintf(buf, size, "nil");
  }
  return buf;
}

void lipL_account(lua_State *L, size_t bytes) {
  size_t kilobytes = bytes / 1024;
  /* the step adds to the collector's debt; not while a script has stopped it on purpose */
  if (kilobytes > 0 && lua_gc(L, LUA_GCISRUNNING))
    lua_gc(L, LUA_GCSTEP, (int)(kilobytes < 1 << 20 ? kilobytes : 1 << 20));
}

/* ---- options ---- */

typedef struct conf_box {
  const lip_desc *desc;
  void *conf;
} conf_box;

#define CONF_T "lip.conf"

static int conf_gc(lua_State *L) {
  conf_box *box = luaL_checkudata(L, 1, CONF_T);
  if (box->conf) lip_conf_free(box->desc, box->conf);
  box->conf = NULL;
  return 0;
}

static conf_box *new_conf_box(lua_State *L) {
  conf_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (conf_box){0};
  if (luaL_newmetatable(L, CONF_T)) {
    lua_pushcfunction(L, conf_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return box;
}

static void set_list(lua_State *L, int idx, const lip_desc *desc, void *conf, const char *name) {
  lip_err err;
  size_t n = lua_rawlen(L, idx);
  double *v = lua_newuserdatauv(L, (n ? n : 1) * sizeof *v, 0); /* collected should an error be raised */
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, idx, (lua_Integer)i + 1);
    if (lua_type(L, -1) != LUA_TNUMBER) {
      char got[80];
      luaL_error(L, "%s: option '%s' expects a list of numbers, element %d is %s", desc->name, name,
                 (int)i + 1, lipL_typetext(L, -1, got, sizeof got));
    }
    v[i] = lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
  if (lip_conf_set_reals(desc, conf, name, v, n, &err)) lipL_raise(L, &err);
  lua_pop(L, 1);
}

/* The numbers of the tensor at idx in order. Through its methods: the files about tensors stand above this one. */
static void set_tensor(lua_State *L, int idx, const lip_desc *desc, void *conf, const char *name) {
  lua_getfield(L, idx, "reshape");
  lua_pushvalue(L, idx);
  lua_pushinteger(L, -1);
  lua_call(L, 2, 1);
  lua_getfield(L, -1, "totable");
  lua_insert(L, -2);
  lua_call(L, 1, 1);
  set_list(L, lua_gettop(L), desc, conf, name);
  lua_pop(L, 1);
}

void lipL_setoption(lua_State *L, int idx, const lip_desc *desc, void *conf, const char *name) {
  lip_err err = {LIP_OK, ""};
  idx = lua_absindex(L, idx);
  const lip_opt *opt = lip_opt_find(desc, name);
  if (!opt) {
    lip_opt_unknown(desc, NULL, name, &err);
    lipL_raise(L, &err);
    return;
  }
  switch (lua_type(L, idx)) {
  case LUA_TNUMBER: lip_conf_set_number(desc, conf, name, lua_tonumber(L, idx), &err); break;
  case LUA_TBOOLEAN: lip_conf_set_bool(desc, conf, name, lua_toboolean(L, idx), &err); break;
  case LUA_TSTRING: lip_conf_set_text(desc, conf, name, lua_tostring(L, idx), &err); break;
  case LUA_TTABLE:
    if (opt->type == LIP_OPT_REALS) {
      set_list(L, idx, desc, conf, name);
      return;
    } /* fall through */
  case LUA_TUSERDATA:
    if (opt->type == LIP_OPT_REALS && luaL_testudata(L, idx, LIP_TENSOR_T)) {
      set_tensor(L, idx, desc, conf, name);
      return;
    } /* fall through */
  default: {
    char got[80];
    lip_opt_wrong_type(desc, opt, lipL_typetext(L, idx, got, sizeof got), &err);
  }
  }
  if (err.code != LIP_OK) lipL_raise(L, &err);
}

static bool in_list(const char *name, const char *const *list) {
  for (; list && *list; list++)
    if (strcmp(*list, name) == 0) return true;
  return false;
}

void *lipL_checkconf(lua_State *L, int idx, const lip_desc *desc, const char *const *ignore) {
  enum { MAX_OPTIONS = 64 };
  bool given[MAX_OPTIONS] = {false};
  idx = lua_absindex(L, idx);
  if (!lua_isnoneornil(L, idx)) luaL_checktype(L, idx, LUA_TTABLE);
  conf_box *box = new_conf_box(L);
  box->desc = desc;
  box->conf = lip_conf_new(desc);
  if (!box->conf) luaL_error(L, "%s: out of memory", desc->name);
  if (lua_istable(L, idx)) {
    lua_pushnil(L);
    while (lua_next(L, idx)) {
      if (lua_type(L, -2) == LUA_TSTRING) {
        const char *name = lua_tostring(L, -2);
        if (!in_list(name, ignore)) {
          if (!lip_opt_find(desc, name)) { /* the names that the caller reads itself are known too */
            lip_err err;
            lip_opt_unknown(desc, ignore, name, &err);
            lipL_raise(L, &err);
          }
          lipL_setoption(L, -1, desc, box->conf, name);
          given[lip_opt_find(desc, name) - desc->opts] = true;
        }
      } else if (lua_type(L, -2) != LUA_TNUMBER) {
        luaL_error(L, "%s: options are given by name, got a %s as a name", desc->name, luaL_typename(L, -2));
      }
      lua_pop(L, 1);
    }
  }
  lip_err err;
  if (lip_conf_complete(desc, given, &err)) lipL_raise(L, &err);
  if (lip_conf_relevant(desc, box->conf, given, &err)) lipL_raise(L, &err);
  return box->conf;
}

void lipL_pushoption(lua_State *L, const lip_opt *opt, const void *conf) {
  const void *m = (const char *)conf + opt->offset;
  switch (opt->type) {
  case LIP_OPT_SIZE: lua_pushinteger(L, (lua_Integer) * (const size_t *)m); break;
  case LIP_OPT_REAL: lua_pushnumber(L, *(const double *)m); break;
  case LIP_OPT_BOOL: lua_pushboolean(L, *(const bool *)m); break;
  case LIP_OPT_ENUM: lua_pushstring(L, opt->names[*(const int *)m]); break;
  case LIP_OPT_REALS: {
    const lip_reals *r = m;
    lua_createtable(L, (int)r->n, 0);
    for (size_t i = 0; i < r->n; i++) {
      lua_pushnumber(L, r->v[i]);
      lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
  }
  }
}

void lipL_pushoptions(lua_State *L, const lip_desc *desc) {
  static const char *const types[] = {"integer", "number", "boolean", "string", "number[]"};
  lua_newtable(L);
  void *conf = lip_conf_new(desc);
  conf_box *box = new_conf_box(L);
  box->desc = desc;
  box->conf = conf;
  if (!conf) luaL_error(L, "%s: out of memory", desc->name);
  lua_Integer i = 1;
  for (const lip_opt *o = desc->opts; o && o->name; o++, i++) {
    lua_newtable(L);
    lua_pushstring(L, o->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, types[o->type]);
    lua_setfield(L, -2, "type");
    lua_pushstring(L, o->help);
    lua_setfield(L, -2, "help");
    lua_pushboolean(L, o->required);
    lua_setfield(L, -2, "required");
    if (!o->required) {
      lipL_pushoption(L, o, conf);
      lua_setfield(L, -2, "default");
    }
    if (o->type == LIP_OPT_ENUM) {
      lua_newtable(L);
      for (int k = 0; o->names[k]; k++) {
        lua_pushstring(L, o->names[k]);
        lua_rawseti(L, -2, k + 1);
      }
      lua_setfield(L, -2, "choices");
    }
    lua_rawseti(L, -3, i);
  }
  lua_pop(L, 1); /* the box */
}

void lipL_owntable(lua_State *L, int idx, const char *const *fields) {
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, 8, "options");
  lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
  lua_createtable(L, n < INT_MAX ? (int)n : INT_MAX,
                  8); /* room for all: the copy has the same length, holes or not */
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, idx, i);
    lua_rawseti(L, -2, i);
  }
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    if (lua_type(L, -2) == LUA_TNUMBER) {
      lua_pop(L, 1);
      continue;
    }
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
  }
  for (; *fields; fields++) {
    lua_getfield(L, idx, *fields);
    lua_setfield(L, -2, *fields);
  }
  lua_replace(L, idx);
}

void lipL_checkfields(lua_State *L, int idx, const char *what, const char *const *known) {
  if (lua_isnoneornil(L, idx)) return;
  luaL_checktype(L, idx, LUA_TTABLE);
  idx = lua_absindex(L, idx);
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    if (lua_type(L, -2) == LUA_TSTRING && !in_list(lua_tostring(L, -2), known)) {
      luaL_Buffer b;
      luaL_buffinit(L, &b);
      for (const char *const *k = known; *k; k++) {
        if (k != known) luaL_addstring(&b, ", ");
        luaL_addstring(&b, *k);
      }
      luaL_pushresult(&b);
      const char *name = lua_tostring(L, -3), *near = lip_opt_nearest(NULL, known, name);
      luaL_error(L, "%s: unknown option '%s'%s%s%s (known: %s)", what, name, near ? ", did you mean '" : "",
                 near ? near : "", near ? "'?" : "", lua_tostring(L, -1));
    }
    lua_pop(L, 1);
  }
  lipL_owntable(L, idx, known);
}

int lipL_argerror(lua_State *L, int idx, const char *message) {
  return idx > 0 ? luaL_argerror(L, idx, message) : luaL_error(L, "%s", message);
}

const char *lipL_checkpath(lua_State *L, int idx) {
  size_t n;
  const char *path = luaL_checklstring(L, idx, &n);
  luaL_argcheck(L, strlen(path) == n, idx, "a zero byte in the name of a file");
  return path;
}

/* Pushes the field (nil when there is no table); true when it is not nil. */
static bool get_field(lua_State *L, int idx, const char *name) {
  if (lua_isnoneornil(L, idx)) {
    lua_pushnil(L);
    return false;
  }
  luaL_checktype(L, idx, LUA_TTABLE);
  return lua_getfield(L, idx, name) != LUA_TNIL;
}

bool lipL_optfield_bool(lua_State *L, int idx, const char *what, const char *name, bool def) {
  bool v = def;
  if (get_field(L, idx, name)) {
    char got[80];
    if (!lua_isboolean(L, -1))
      luaL_error(L, "%s: option '%s' expects true or false, got %s", what, name,
                 lipL_typetext(L, -1, got, sizeof got));
    v = lua_toboolean(L, -1);
  }
  lua_pop(L, 1);
  return v;
}

double lipL_optfield_number(lua_State *L, int idx, const char *what, const char *name, double def) {
  double v = def;
  if (get_field(L, idx, name)) {
    char got[80];
    if (lua_type(L, -1) != LUA_TNUMBER || isnan(lua_tonumber(L, -1)))
      luaL_error(L, "%s: option '%s' expects a number, got %s", what, name,
                 lipL_typetext(L, -1, got, sizeof got));
    v = lua_tonumber(L, -1);
  }
  lua_pop(L, 1);
  return v;
}

size_t lipL_optfield_size(lua_State *L, int idx, const char *what, const char *name, size_t def) {
  double v = lipL_optfield_number(L, idx, what, name, (double)def);
  if (!(v >= 0 && v <= 0x1p48 && v == floor(v)))
    luaL_error(L, "%s: option '%s' expects a whole number >= 0, got %f", what, name, v);
  return (size_t)v;
}

bool lipL_optfield_object(lua_State *L, int idx, const char *what, const char *name, const char *type,
                          const char *expected) {
  if (!get_field(L, idx, name)) return false;
  char got[80];
  if (!luaL_testudata(L, -1, type))
    luaL_error(L, "%s: option '%s' expects %s, got %s", what, name, expected,
               lipL_typetext(L, -1, got, sizeof got));
  return true;
}
