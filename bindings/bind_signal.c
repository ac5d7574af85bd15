/* Ctrl-C. The handler may only do what is safe in a signal handler: raise the flag that C loops poll, and set a hook
 * on the Lua thread now running (lua_sethook is written to be called from a handler; Lua manual 5.4, lua_sethook in
 * lua.c's own use). A hook belongs to one coroutine, so the one now running has to be known: coroutine.resume and
 * coroutine.wrap are replaced by versions that keep track. A permanent hook would cost half the speed of Lua. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <lualib.h>

#include "bindings/bind.h"

static _Atomic(lua_State *) running; /* NULL: not installed */
static atomic_int seen;              /* interrupts since the last rearm */

/* Called by Lua at the next instruction, call or return. The flag is lowered first, so that clean-up code (saving a
 * checkpoint, a last evaluation) can use the engine. */
static void stop(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  lip_cancel_clear(lipL_cancel());
  luaL_error(L, "interrupted");
}

static void arm(lua_State *L) {
  lua_sethook(L, stop, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static void on_sigint(int signal_number) {
  (void)signal_number;
  int saved = errno;
  if (atomic_fetch_add(&seen, 1) > 0) _exit(130); /* the second one does not ask */
  lip_cancel_raise(lipL_cancel());
  lua_State *L = atomic_load(&running);
  if (L) arm(L);
  errno = saved;
}

/* ---- coroutines that tell who runs ---- */

/* Resumes co with the narg values on top of L. Pushes the results and returns their number, or pushes an error message
 * and returns -1. */
static int resume(lua_State *L, lua_State *co, int narg) {
  int results;
  if (!lua_checkstack(co, narg)) {
    lua_pushliteral(L, "too many arguments to resume");
    return -1;
  }
  lua_xmove(L, co, narg);
  lua_State *before = atomic_exchange(&running, co);
  int status = lua_resume(co, L, narg, &results);
  atomic_store(&running, before);
  /* the signal may have come after co's last instruction: hand it on to whoever runs now */
  if (lip_cancel_raised(lipL_cancel()) && atomic_load(&seen) > 0) {
    lua_sethook(co, NULL, 0, 0);
    arm(L);
  }
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(co, L, 1);
    return -1;
  }
  if (!lua_checkstack(L, results + 1)) {
    lua_pop(co, results);
    lua_pushliteral(L, "too many results to resume");
    return -1;
  }
  lua_xmove(co, L, results);
  return results;
}

static lua_State *check_thread(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  return co;
}

static int co_resume(lua_State *L) {
  lua_State *co = check_thread(L);
  int n = resume(L, co, lua_gettop(L) - 1);
  lua_pushboolean(L, n >= 0);
  lua_insert(L, n >= 0 ? -(n + 1) : -2);
  return n >= 0 ? n + 1 : 2;
}

static int wrapped(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  int n = resume(L, co, lua_gettop(L));
  if (n >= 0) return n;
  int status = lua_status(co);
  if (status != LUA_OK &&
      status != LUA_YIELD) { /* it died: close its variables, which may change the error */
    status = lua_resetthread(co);
    lua_pop(L, 1);
    lua_xmove(co, L, 1);
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int co_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, wrapped, 1);
  return 1;
}

/* ---- install ---- */

static void set_handler(void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask); /* and no SA_RESTART: a read from the keyboard returns */
  sigaction(SIGINT, &action, NULL);
}

void lipL_sigint_install(lua_State *L) {
  static const luaL_Reg replaced[] = {{"resume", co_resume}, {"wrap", co_wrap}, {NULL, NULL}};
  lua_getglobal(L, LUA_COLIBNAME);
  luaL_setfuncs(L, replaced, 0);
  lua_pop(L, 1);
  atomic_store(&running, L);
  set_handler(on_sigint);
}

void lipL_sigint_rearm(void) {
  lua_State *L = atomic_load(&running);
  if (L) lua_sethook(L, NULL, 0, 0);
  lip_cancel_clear(lipL_cancel());
  atomic_store(&seen, 0);
}

bool lipL_sigint_seen(void) {
  return atomic_load(&seen) > 0;
}

void lipL_sigint_uninstall(void) {
  atomic_store(&running, (lua_State *)NULL);
  set_handler(SIG_DFL);
}
