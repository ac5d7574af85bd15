/* A session: reads a line (more while a statement is not finished), runs it, prints the values of expressions. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bindings/bind.h"
#include "bindings/program/program.h"
#include "bindings/system/signal.h"

/* Lua ends the message of a statement that may go on with this word. */
static bool unfinished(lua_State *L, int status) {
  static const char mark[] = "<eof>";
  if (status != LUA_ERRSYNTAX) return false;
  size_t n;
  const char *message = lua_tolstring(L, -1, &n);
  return n >= sizeof mark - 1 && strcmp(message + n - (sizeof mark - 1), mark) == 0;
}

/* Compiles the statement on top of the stack, as an expression if it is one, reading further lines while it is
 * unfinished; replaces it by the function or the error message. *last tells how reading ended. */
static int load_statement(lua_State *L, lipL_lines *lines, lipL_line *last) {
  int at = lua_gettop(L);
  const char *expression = lua_pushfstring(L, "return %s", lua_tostring(L, at));
  int status = luaL_loadbuffer(L, expression, strlen(expression), "=stdin");
  lua_remove(L, -2);
  while (status != LUA_OK) {
    size_t n;
    lua_settop(L, at);
    const char *text = lua_tolstring(L, at, &n);
    status = luaL_loadbuffer(L, text, n, "=stdin");
    if (!unfinished(L, status)) break;
    if ((*last = lipL_lines_read(lines, ">> ")) != LIPL_LINE) break;
    lua_remove(L, -2); /* the message; then text, newline and line become the new text */
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  }
  lua_remove(L, at);
  return status;
}

static int show_results(lua_State *L) {
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

static void run_statement(lua_State *L, lipL_lines *lines) {
  lipL_line last = LIPL_LINE;
  int status = load_statement(L, lines, &last);
  if (last == LIPL_BREAK) return;
  if (status == LUA_OK) status = lipL_docall(L, 0, LUA_MULTRET);
  if (status == LUA_OK && lua_gettop(L) > 0) {
    lua_pushglobaltable(L); /* raw: a strict script must not stop the session */
    lua_pushliteral(L, "_");
    lua_pushvalue(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    lua_pushcfunction(L, show_results);
    lua_insert(L, 1);
    status = lipL_docall(L, lua_gettop(L) - 1, 0);
  }
  if (status != LUA_OK) lipL_report(L);
}

void lipL_repl(lua_State *L) {
  lua_settop(L, 0);
  lipL_lines *lines = lipL_lines_open(L);
  if (!lines) return;
  if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
    printf("lipwb %s, %s. help() shows what there is; Ctrl-C stops a computation, Ctrl-D leaves.\n",
           LIP_VERSION, LUA_RELEASE);
  lipL_sigint_rearm();
  for (;;) {
    lipL_line line = lipL_lines_read(lines, "> ");
    if (line == LIPL_END) break;
    if (line == LIPL_LINE) {
      lipL_sigint_rearm();
      run_statement(L, lines);
    }
    lipL_sigint_rearm();
    fflush(stdout);
    lua_settop(L, 0);
  }
  lipL_lines_close(lines);
}
