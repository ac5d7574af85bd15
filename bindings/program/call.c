/* Calling Lua with a traceback, and reporting what went wrong. */
#include <stdio.h>

#include <lauxlib.h>

#include "bindings/program/program.h"

static int traceback(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  if (!message) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
    message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  }
  luaL_traceback(L, L, message, 1);
  return 1;
}

int lipL_docall(lua_State *L, int narg, int results) {
  int base = lua_gettop(L) - narg;
  lua_pushcfunction(L, traceback);
  lua_insert(L, base);
  int status = lua_pcall(L, narg, results, base);
  lua_remove(L, base);
  return status;
}

void lipL_report(lua_State *L) {
  const char *message = lua_tostring(L, -1);
  fflush(stdout);
  fprintf(stderr, "lipwb: %s\n", message ? message : "(error without a message)");
  fflush(stderr);
  lua_pop(L, 1);
}
