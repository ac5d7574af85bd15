/* How far bounds and certificates are: a line on a terminal, or the option `progress = function(t)`. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bindings/bind_cert.h"

/* One line that the next one overwrites; any thread. */
static bool show_line(lip_watch *p) {
  lipL_watch *w = p->arg;
  size_t done = atomic_load(&p->done), total = atomic_load(&p->total);
  char line[120], much[48] = "";
  if (total > 0) snprintf(much, sizeof much, " %zu of %zu,", done, total);
  int n = lip_snprintf(line, sizeof line, "\r\033[K%s: %s,%s %.0f s", w->what, p->method, much,
                       lip_seconds() - p->began);
  w->shown = true;
  if (n > 0) fputs(line, stderr);
  fflush(stderr);
  return true; /* a terminal that is gone stops nothing */
}

static bool same_weights(const lipL_watch *w) {
  return memcmp(w->before, w->net->weights, w->net->n_params * sizeof *w->before) == 0;
}

/* call(function, watch): the script's function with its table; everything that may raise. */
static int call(lua_State *L) {
  const lipL_watch *w = lua_touserdata(L, 2);
  const lip_watch *p = &w->progress;
  lua_settop(L, 1);
  lua_createtable(L, 0, 4);
  lipL_settext(L, "method", p->method);
  lipL_setnumber(L, "seconds", lip_seconds() - p->began);
  lua_pushinteger(L, (lua_Integer)atomic_load(&p->done));
  lua_setfield(L, -2, "done");
  lua_pushinteger(L, (lua_Integer)atomic_load(&p->total));
  lua_setfield(L, -2, "total");
  lua_call(L, 1, 0);
  if (!same_weights(w))
    return luaL_error(L, "%s: the function 'progress' changed the weights that are being looked at", w->what);
  return 0;
}

/* On the thread of the script and never inside of a parallel region, so the function may use the net. What it raises
 * waits in the slot until the method has put its things away. */
static bool show_script(lip_watch *p) {
  lipL_watch *w = p->arg;
  lua_State *L = w->L;
  lua_pushcfunction(L, call);
  lua_pushvalue(L, w->slot);
  lua_pushlightuserdata(L, w);
  w->failed = lua_pcall(L, 2, 0, 0) != LUA_OK;
  if (w->failed) lua_replace(L, w->slot);
  return !w->failed;
}

lip_watch *lipL_watch_begin(lua_State *L, int idx, const char *what, const lip_net *net, lipL_watch *w) {
  int type = lua_istable(L, idx) ? lua_getfield(L, idx, "progress") : LUA_TNIL;
  if (!lua_istable(L, idx)) lua_pushnil(L);
  bool off = type == LUA_TBOOLEAN && !lua_toboolean(L, -1);
  char got[80];
  if (type != LUA_TNIL && type != LUA_TFUNCTION && !off)
    luaL_error(L, "%s: option 'progress' expects a function, or false for no line on the terminal, got %s",
               what, lipL_typetext(L, -1, got, sizeof got));
  *w = (lipL_watch){.what = what, .L = L, .net = net, .slot = lua_gettop(L)};
  w->progress = (lip_watch){.arg = w, .showing = ATOMIC_FLAG_INIT};
  if (type == LUA_TFUNCTION) {
    w->before = lua_newuserdatauv(L, (net->n_params ? net->n_params : 1) * sizeof *w->before, 0);
    memcpy(w->before, net->weights, net->n_params * sizeof *w->before);
    luaL_checkstack(L, 8, what);
    w->progress.show = show_script;
    w->progress.every = 0.5;
    return &w->progress;
  }
  if (off || !isatty(STDERR_FILENO)) return NULL;
  w->progress.show = show_line;
  w->progress.anywhere = true;
  w->progress.every = 1;
  return &w->progress;
}

void lipL_watch_end(lipL_watch *w) {
  if (w->shown) {
    fputs("\r\033[K", stderr);
    fflush(stderr);
  }
  if (!w->failed) return;
  lua_pushvalue(w->L, w->slot);
  lua_error(w->L);
}
