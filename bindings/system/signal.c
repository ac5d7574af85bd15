/* Ctrl-C and the other signals that ask a process to end. The handler may only do what is safe in a signal handler: raise the flag that C loops poll, and set a hook
 * on the Lua thread now running (lua_sethook is written to be called from a handler; Lua manual 5.4, lua_sethook in
 * lua.c's own use). A hook belongs to one coroutine, so the one now running has to be known: coroutine.resume and
 * coroutine.wrap are replaced by versions that keep track. A permanent hook would cost half the speed of Lua. */
#define _GNU_SOURCE /* pipe2 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <lualib.h>

#include "bindings/bind.h"
#include "bindings/system/signal.h"

static lip_cancel cancel_flag;

lip_cancel *lipL_cancel(void) {
  return &cancel_flag;
}

static _Atomic(lua_State *) running; /* NULL: not installed */
static atomic_int seen;              /* interrupts since the last rearm */

/* What signals mean (lip.process.signals). NORMAL: SIGINT stops the state, a second one ends the process. STOP: SIGTERM,
 * SIGHUP and SIGUSR1 do so too, and repeated ones (a scheduler and a parent may both send some) only from the fourth on.
 * HOLD: they are counted for lip.process.pending. */
enum { NORMAL, STOP, HOLD, LAST = 4 };
static atomic_int mode, held, last_held;
static int told; /* of the held ones: those that `pending` has shown */

/* Sleeping calls poll the reading end; handlers write a byte, so that no signal falls between a look and the sleep. */
static int wake_pipe[2] = {-1, -1};

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

static void wake(void) {
  if (wake_pipe[1] < 0) return;
  ssize_t done = write(wake_pipe[1], "", 1); /* a full pipe wakes as well */
  (void)done;
}

static void on_signal(int number) {
  int saved = errno;
  if (atomic_load(&mode) == HOLD) {
    atomic_store(&last_held, number);
    if (atomic_fetch_add(&held, 1) + 1 >= LAST) _exit(130);
  } else {
    int before = atomic_fetch_add(&seen, 1);
    if (before + 1 >= (atomic_load(&mode) == STOP ? LAST : 2)) _exit(130); /* this one does not ask */
    if (before == 0) {
      lip_cancel_raise(lipL_cancel());
      lua_State *L = atomic_load(&running);
      if (L) arm(L);
    }
  }
  wake();
  errno = saved;
}

static void on_child(int number) {
  (void)number;
  int saved = errno;
  wake();
  errno = saved;
}

void lipL_interrupt(lua_State *L) {
  lip_cancel_raise(lipL_cancel());
  arm(L);
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

static void set_handler(int number, void (*handler)(int), int flags) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, NULL);
}

static const int asking[] = {SIGTERM, SIGHUP, SIGUSR1};
static const char *const mode_names[] = {"normal", "stop", "hold", NULL};

void lipL_signals(lua_State *L, int idx) {
  int wanted = luaL_checkoption(L, idx, NULL, mode_names);
  atomic_store(&mode, wanted);
  /* no SA_RESTART: a read from the keyboard returns */
  for (size_t i = 0; i < sizeof asking / sizeof *asking; i++)
    set_handler(asking[i], wanted == NORMAL ? SIG_DFL : on_signal, 0);
  if (wanted != NORMAL || atomic_load(&running)) set_handler(SIGINT, on_signal, 0);
}

/* A signal's name without "SIG". */
static const struct {
  int number;
  const char *name;
} names[] = {{SIGINT, "INT"},   {SIGTERM, "TERM"}, {SIGHUP, "HUP"},   {SIGUSR1, "USR1"}, {SIGUSR2, "USR2"},
             {SIGKILL, "KILL"}, {SIGSTOP, "STOP"}, {SIGCONT, "CONT"}, {SIGABRT, "ABRT"}, {SIGSEGV, "SEGV"},
             {SIGQUIT, "QUIT"}, {SIGPIPE, "PIPE"}, {SIGALRM, "ALRM"}, {SIGBUS, "BUS"},   {SIGILL, "ILL"},
             {SIGFPE, "FPE"},   {SIGXCPU, "XCPU"}, {SIGXFSZ, "XFSZ"}, {SIGTRAP, "TRAP"}, {SIGSYS, "SYS"}};

const char *lipL_signalname(int number) {
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].number == number) return names[i].name;
  return NULL;
}

int lipL_signalnumber(const char *name) {
  if (strncmp(name, "SIG", 3) == 0) name += 3;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i].name, name) == 0) return names[i].number;
  return -1;
}

int lipL_pending(lua_State *L) {
  told = atomic_load(&held);
  lua_pushinteger(L, told);
  if (told == 0) return 1;
  lua_pushstring(L, lipL_signalname(atomic_load(&last_held)));
  return 2;
}

/* ---- sleeping ---- */

bool lipL_called(void) {
  return atomic_load(&held) != told || (atomic_load(&mode) != HOLD && atomic_load(&seen) > 0);
}

bool lipL_wake_open(void) {
  struct sigaction old;
  if (wake_pipe[0] < 0 && pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
    wake_pipe[0] = wake_pipe[1] = -1;
    return false;
  }
  if (sigaction(SIGCHLD, NULL, &old) == 0 && (old.sa_handler == SIG_DFL || old.sa_handler == SIG_IGN))
    set_handler(SIGCHLD, on_child, SA_RESTART | SA_NOCLDSTOP);
  return true;
}

void lipL_doze(double until) {
  /* at most a second: another library may have taken SIGCHLD for itself */
  double rest = until - lip_seconds();
  if (!(rest > 0)) return;
  int wait = rest < 1 ? (int)ceil(1000 * rest) : 1000;
  struct pollfd fd = {.fd = wake_pipe[0], .events = POLLIN};
  char bytes[64];
  if (poll(&fd, 1, wait) > 0)
    while (read(wake_pipe[0], bytes, sizeof bytes) > 0) continue;
}

/* ---- the program ---- */

void lipL_sigint_install(lua_State *L) {
  static const luaL_Reg replaced[] = {{"resume", co_resume}, {"wrap", co_wrap}, {NULL, NULL}};
  lua_getglobal(L, LUA_COLIBNAME);
  luaL_setfuncs(L, replaced, 0);
  lua_pop(L, 1);
  atomic_store(&running, L);
  set_handler(SIGINT, on_signal, 0);
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
  set_handler(SIGINT, SIG_DFL, 0);
}
