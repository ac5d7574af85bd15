/* A session: reads a line (more while a statement is not finished), runs it, prints the values of expressions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bindings/bind.h"
#include "bindings/program.h"

/* Pushes the next line without its end; false at the end of the input. */
static bool read_line(lua_State *L, const char *prompt) {
  if (isatty(STDIN_FILENO)) {
    fputs(prompt, stdout);
    fflush(stdout);
  }
  char *line = NULL;
  size_t cap = 0;
  ssize_t n = getline(&line, &cap, stdin);
  if (n > 0 && line[n - 1] == '\n') n--;
  if (n >= 0) lua_pushlstring(L, line, (size_t)n);
  free(line);
  return n >= 0;
}

static bool incomplete(lua_State *L, int status) {
  static const char mark[] = "<eof>";
  if (status != LUA_ERRSYNTAX) return false;
  size_t n;
  const char *message = lua_tolstring(L, -1, &n);
  return n >= sizeof mark - 1 && strcmp(message + n - (sizeof mark - 1), mark) == 0;
}

/* Compiles the statement on top of the stack, reading further lines while it is unfinished; replaces it by the
 * function or the error message. */
static int load_statement(lua_State *L) {
  int at = lua_gettop(L);
  const char *expression = lua_pushfstring(L, "return %s", lua_tostring(L, at));
  int status = luaL_loadbuffer(L, expression, strlen(expression), "=stdin");
  lua_remove(L, -2);
  while (status != LUA_OK) {
    size_t n;
    lua_settop(L, at);
    const char *text = lua_tolstring(L, at, &n);
    status = luaL_loadbuffer(L, text, n, "=stdin");
    if (!incomplete(L, status) || !read_line(L, ">> ")) break;
    lua_remove(L, -2); /* the message; then text, newline, line become the new text */
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  }
  lua_remove(L, at);
  return status;
}

static int print_results(lua_State *L) {
  int n = lua_gettop(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lip.program");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "show");
  lua_insert(L, 1);
  lua_settop(L, n + 1);
  lua_call(L, n, 0);
  return 0;
}

void lipL_repl(lua_State *L) {
  lua_settop(L, 0);
  while (lipL_sigint_rearm(), read_line(L, "> ")) {
    int status = load_statement(L);
    if (status == LUA_OK) status = lipL_docall(L, 0, LUA_MULTRET);
    if (status == LUA_OK && lua_gettop(L) > 0) {
      lua_pushvalue(L, 1);
      lua_setglobal(L, "_");
      lua_pushcfunction(L, print_results);
      lua_insert(L, 1);
      status = lipL_docall(L, lua_gettop(L) - 1, 0);
    }
    if (status != LUA_OK) lipL_report(L);
    lua_settop(L, 0);
  }
}
