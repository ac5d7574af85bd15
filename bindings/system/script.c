/* The text of a script as a function. A file that the program runs, a sweep file, the text of a trial kept in a store:
 * whatever runs as a script is loaded here, so that one text means the same everywhere. */
#include <string.h>

#include "bindings/bind.h"

/* As Lua loads files: a byte-order mark does not count, and neither does a first line that begins with # (its end stays,
 * for the numbers of the lines below; but a compiled chunk begins with its own first byte). */
int lipL_loadscript(lua_State *L, const char *text, size_t n, const char *name) {
  static const char mark[] = "\xef\xbb\xbf";
  const char *end = text + n;
  if (n >= sizeof mark - 1 && memcmp(text, mark, sizeof mark - 1) == 0) text += sizeof mark - 1;
  if (text < end && *text == '#') {
    const char *line = memchr(text, '\n', (size_t)(end - text));
    text = line ? line : end;
    if (end - text > 1 && text[1] == LUA_SIGNATURE[0]) text++;
  }
  return luaL_loadbuffer(L, text, (size_t)(end - text), name);
}

/* load_script(text, path) -> function | nil, message */
static int load_script(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  const char *name = lua_pushfstring(L, "@%s", luaL_checkstring(L, 2));
  if (lipL_loadscript(L, text, n, name) == LUA_OK) return 1;
  luaL_pushfail(L);
  lua_insert(L, -2);
  return 2;
}

void lipL_open_script(lua_State *L) {
  lua_pushcfunction(L, load_script);
  lua_setfield(L, -2, "load_script");
}
