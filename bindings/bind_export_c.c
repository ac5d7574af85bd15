/* net:export{c = ...}: C source of a net. */
#include "bindings/bind_export_c.h"

#include <string.h>

#include "bindings/bind_cert.h"
#include "core/exchange/c_source.h"

/* The text of field `name` of the table at 2, pushed; NULL: absent. Raises for what is no text. */
static const char *text_field(lua_State *L, const char *name) {
  char got[64];
  const int type = lua_getfield(L, 2, name);
  if (type == LUA_TNIL) return NULL;
  if (type != LUA_TSTRING || strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1))
    luaL_error(L, "export: option '%s': a text expected, got %s", name,
               lipL_typetext(L, -1, got, sizeof got));
  return lua_tostring(L, -1);
}

static bool check_place(lua_State *L, const char *text) {
  if (text && strcmp(text, "const") != 0 && strcmp(text, "progmem") != 0)
    luaL_error(L,
               "export: option 'weights': \"const\" or \"progmem\" expected, got \"%s\" (nor int8: a "
               "certificate for "
               "quantised nets is another matter)",
               text);
  return text && strcmp(text, "progmem") == 0;
}

int lipL_export_c(lua_State *L) {
  lip_net *net = lipL_checkidle(L, 1);
  lip_c_conf conf = {0};
  lip_err err;
  lua_settop(L, 2);
  conf.folder = text_field(L, "c");
  conf.name = text_field(L, "name");
  if (!conf.folder || !*conf.folder)
    return luaL_error(L, "export: option 'c': the name of a folder expected");
  if (!conf.name)
    return luaL_error(L, "export: option 'name': expected a C identifier that names the files and functions");
  if (lip_c_name(conf.name, &err)) return luaL_error(L, "export: option %s", err.msg);
  conf.progmem = check_place(L, text_field(L, "weights"));
  if (lua_getfield(L, 2, "inputs") != LUA_TNIL) {
    char got[64];
    if (!lipL_testtensor(L, -1))
      return luaL_error(L, "export: option 'inputs': a tensor expected, got %s",
                        lipL_typetext(L, -1, got, sizeof got));
    conf.sample = lipL_optrows(L, "export", "inputs", net, &conf.n_sample);
  }
  lipL_reserve(L, net, conf.n_sample > LIP_C_SAMPLES ? conf.n_sample : LIP_C_SAMPLES);
  const lip_status status = lip_c_write(net, &conf, &err);
  const int failed = lipL_netfault(L, net);
  if (failed) return failed;
  if (status) return lipL_fail(L, &err);
  lua_pushboolean(L, true);
  return 1;
}
