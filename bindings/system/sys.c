/* The process as seen from Lua: threads, the cancel flag, what this build is, and the program's settings. */
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/system/signal.h"
#include "core/base/decimal.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif

/* ---- engine: a pool per number of threads asked for, kept until the state closes, because nets made under one
 * number keep using its pool ---- */

typedef struct engine_box {
  lip_engine engine;
  size_t threads; /* wanted; 0: the usual number */
  size_t usual;   /* of this process, once it is known: asking takes a few files */
  lip_pool *pool[LIP_MAX_THREADS + 1];
} engine_box;

#define ENGINE_T "lip.engine"

static engine_box *get_box(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, ENGINE_T "_box");
  engine_box *box = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return box;
}

static int engine_gc(lua_State *L) {
  engine_box *box = luaL_checkudata(L, 1, ENGINE_T);
  for (size_t i = 0; i <= LIP_MAX_THREADS; i++) {
    lip_pool_free(box->pool[i]);
    box->pool[i] = NULL;
  }
  box->engine.pool = NULL;
  return 0;
}

static size_t threads_of(lua_State *L, engine_box *box) {
  if (box->threads) return box->threads;
  lip_err err;
  if (!box->usual && !(box->usual = lip_default_threads(&err))) lipL_raise(L, &err);
  return box->usual;
}

lip_engine *lipL_engine(lua_State *L) {
  engine_box *box = get_box(L);
  size_t n = threads_of(L, box);
  if (!box->pool[n]) {
    lip_err err;
    box->pool[n] = lip_pool_new(n, &err);
    if (!box->pool[n]) lipL_raise(L, &err);
  }
  box->engine.pool = box->pool[n];
  box->engine.find_kind = lipL_findlayer;
  box->engine.find_arg = lipL_layerhost(L);
  return &box->engine;
}

/* Made when the module is opened, before any net: finalisers run in the opposite order, so every net is gone before
 * its pool. */
static void new_box(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", engine_gc}, {NULL, NULL}};
  lip_cancel_watch(lipL_cancel());
  if (get_box(L)) return;
  lipL_newtype(L, ENGINE_T, NULL, meta);
  engine_box *box = lipL_newobject(L, ENGINE_T, sizeof *box, 0);
  box->engine.cancel = lipL_cancel();
  lua_setfield(L, LUA_REGISTRYINDEX, ENGINE_T "_box");
}

static int sys_threads(lua_State *L) {
  engine_box *box = get_box(L);
  if (!lua_isnoneornil(L, 1)) {
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n >= 1 && n <= LIP_MAX_THREADS, 1,
                  "the number of threads is a whole number from 1 to 64");
    box->threads = (size_t)n;
  }
  lua_pushinteger(L, (lua_Integer)threads_of(L, box));
  return 1;
}

/* Seconds on a clock that never steps back; only differences mean something. */
static int sys_time(lua_State *L) {
  lua_pushnumber(L, lip_seconds());
  return 1;
}

/* Seconds since 1970 by the clock on the wall. */
static int sys_now(lua_State *L) {
  lua_pushnumber(L, lip_wall_seconds());
  return 1;
}

/* Blocks of engine memory taken so far: a loop that must not allocate can be watched. */
static int sys_allocations(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lip_mem_count());
  return 1;
}

static int sys_interrupted(lua_State *L) {
  lua_pushboolean(L, lip_cancel_raised(lipL_cancel()) || lipL_sigint_seen());
  return 1;
}

/* ---- what this is ---- */

/* The processor's own name, or "unknown". */
static const char *cpu_name(char out[49]) {
  strcpy(out, "unknown");
#if defined(__x86_64__) && defined(__GNUC__)
  unsigned r[12];
  for (unsigned i = 0; i < 3; i++)
    if (!__get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3])) return out;
  memcpy(out, r, 48);
  out[48] = '\0';
  size_t n = strlen(out);
  while (n > 0 && out[n - 1] == ' ') out[--n] = '\0';
#endif
  return out;
}

static const char *compiler(void) {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown";
#endif
}

static void set_text(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

static int sys_info(lua_State *L) {
  char cpu[49];
  lua_newtable(L);
  set_text(L, "version", LIP_VERSION);
  set_text(L, "blas", lip_gemm_backend());
  set_text(L, "compiler", compiler());
  set_text(L, "flags", LIP_FLAGS);
  set_text(L, "cpu", cpu_name(cpu));
  lua_pushinteger(L, (lua_Integer)lip_processors());
  lua_setfield(L, -2, "processors");
  set_text(L, "lua", LUA_RELEASE);
  lua_pushinteger(L, (lua_Integer)threads_of(L, get_box(L)));
  lua_setfield(L, -2, "threads");
  lua_pushinteger(L, (lua_Integer)lip_mem_used());
  lua_setfield(L, -2, "memory");
  return 1;
}

/* plain(text, lines) -> as it may be shown on a terminal (core/base/plain.h) */
static int plain(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  bool lines = lua_toboolean(L, 2);
  luaL_Buffer b;
  char *room = luaL_buffinitsize(L, &b, n);
  luaL_pushresultsize(&b, lip_str_plain(room, text, n, lines));
  return 1;
}

/* round_up, round_down(v, digits, fixed) -> the number that is shown for v (core/base/decimal.h) */
static int shown(lua_State *L, bool up) {
  double v = luaL_checknumber(L, 1);
  lua_Integer n = luaL_checkinteger(L, 2);
  bool fixed = lua_toboolean(L, 3);
  luaL_argcheck(L, n >= (fixed ? 0 : 1) && n <= 15, 2,
                fixed ? "expected 0 to 15 decimals" : "expected 1 to 15 digits");
  double at = fixed ? up ? lip_decimals_up(v, (int)n) : lip_decimals_down(v, (int)n)
              : up ? lip_digits_up(v, (int)n)
                    : lip_digits_down(v, (int)n);
  lua_pushnumber(L, at);
  return 1;
}

static int round_up(lua_State *L) {
  return shown(L, true);
}

static int round_down(lua_State *L) {
  return shown(L, false);
}

void lipL_open_sys(lua_State *L) {
  static const luaL_Reg functions[] = {{"info", sys_info},
                                       {"threads", sys_threads},
                                       {"interrupted", sys_interrupted},
                                       {"plain_numbers", lipL_plain_numbers},
                                       {"time", sys_time},
                                       {"allocations", sys_allocations},
                                       {"now", sys_now},
                                       {"plain", plain},
                                       {"round_up", round_up},
                                       {"round_down", round_down},
                                       {NULL, NULL}};
  new_box(L);
  luaL_setfuncs(L, functions, 0);
  set_text(L, "arch", lip_gemm_backend());
  /* what the program was told on its command line; empty in a stock lua5.4 */
  if (lua_getfield(L, LUA_REGISTRYINDEX, "lip.settings") != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_newtable(L);
    lua_setfield(L, -2, "set");
  }
  if (lua_getfield(L, -1, "threads") == LUA_TNUMBER) get_box(L)->threads = (size_t)lua_tointeger(L, -1);
  lua_pop(L, 1);
  lua_setfield(L, -2, "settings");
}
