/* Calling Lua with a traceback, and reporting what went wrong. */
#include <stdio.h>

#include <lauxlib.h>

#include "bindings/program/program.h"
#include "core/base/plain.h"

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

void lipL_tell(const char *text, size_t n) {
  char piece[1024];
  while (n > 0) {
    size_t take = n < sizeof piece ? n : sizeof piece;
    while (take > 1 && take < n && ((unsigned char)text[take] & 0xc0) == 0x80) take--; /* whole characters */
    fwrite(piece, 1, lip_str_plain(piece, text, take, true), stderr);
    text += take;
    n -= take;
  }
}

void lipL_report(lua_State *L) {
  size_t n = 0;
  const char *message = lua_tolstring(L, -1, &n);
  fflush(stdout);
  fputs("lipwb: ", stderr);
  if (message)
    lipL_tell(message, n);
  else
    fputs("(error without a message)", stderr);
  fputc('\n', stderr);
  fflush(stderr);
  lua_pop(L, 1);
}
