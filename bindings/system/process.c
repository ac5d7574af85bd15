/* lip.process: programs started and watched. Nothing is forked (threads of the engine would be lost halfway): posix_spawn
 * starts a new program with the standard streams it is given and no other open file. */
#define _GNU_SOURCE /* wait4, memfd_create, posix_spawn_file_actions_addchdir_np and addclosefrom_np */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bindings/bind.h"
#include "bindings/system/place.h"
#include "bindings/system/process.h"
#include "bindings/system/signal.h"

extern char **environ;

typedef struct process {
  pid_t pid;                /* 0: not started */
  unsigned long long start; /* in clock ticks since the machine's start: tells a pid from its next owner */
  bool ended;
  int status; /* of waitpid */
  double seconds;
  size_t memory;
} process;

static process *check_process(lua_State *L, int idx) {
  return luaL_checkudata(L, idx, LIP_PROCESS_T);
}

/* ---- ends ---- */

/* Takes note should it have ended. */
static bool has_ended(process *p) {
  struct rusage use;
  if (p->ended || p->pid == 0) return true;
  pid_t got;
  do got = wait4(p->pid, &p->status, WNOHANG, &use);
  while (got < 0 && errno == EINTR);
  if (got == 0) return false;
  p->ended = true;
  if (got < 0) { /* someone else waited for it: how it ended is unknown */
    p->status = -1;
    return true;
  }
  p->seconds = lipL_processtime(&use);
  p->memory = (size_t)use.ru_maxrss * 1024;
  return true;
}

/* Children whose handles were collected while they ran: waited for now and then, so that none stays a zombie. */
static pid_t *orphans;
static size_t orphan_count, orphan_room;

static void bury_orphans(void) {
  for (size_t i = 0; i < orphan_count;) {
    pid_t got = waitpid(orphans[i], NULL, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
      i++;
    else
      orphans[i] = orphans[--orphan_count];
  }
  if (orphan_count == 0) {
    lip_free(orphans);
    orphans = NULL;
    orphan_room = 0;
  }
}

static int process_gc(lua_State *L) {
  process *p = check_process(L, 1);
  bury_orphans();
  if (!has_ended(p)) {
    if (orphan_count == orphan_room) {
      size_t room = orphan_room ? 2 * orphan_room : 16;
      pid_t *bigger =
          orphans ? lip_realloc(orphans, room, sizeof *orphans) : lip_alloc(room, sizeof *orphans);
      if (bigger) {
        orphans = bigger;
        orphan_room = room;
      }
    }
    if (orphan_count < orphan_room) orphans[orphan_count++] = p->pid;
  }
  p->ended = true;
  p->pid = 0;
  return 0;
}

static void set_integer(lua_State *L, const char *name, lua_Integer v) {
  lua_pushinteger(L, v);
  lua_setfield(L, -2, name);
}

/* { exit = n | signal = "TERM" | n, memory =, seconds = } */
static void push_end(lua_State *L, const process *p) {
  lua_createtable(L, 0, 4);
  if (p->status >= 0 && WIFEXITED(p->status)) set_integer(L, "exit", WEXITSTATUS(p->status));
  if (p->status >= 0 && WIFSIGNALED(p->status)) set_integer(L, "signal", WTERMSIG(p->status));
  set_integer(L, "memory", (lua_Integer)p->memory);
  lua_pushnumber(L, p->seconds);
  lua_setfield(L, -2, "seconds");
}

/* When to give up, for an optional number of seconds at idx. */
static double check_until(lua_State *L, int idx) {
  double seconds = luaL_optnumber(L, idx, INFINITY);
  luaL_argcheck(L, !isnan(seconds), idx, "a number of seconds expected");
  return lip_seconds() + seconds;
}

static int fail_with(lua_State *L, const char *message, const char *code) {
  luaL_pushfail(L);
  lua_pushstring(L, message);
  lua_pushstring(L, code);
  return 3;
}

/* process:wait(seconds) -> how it ended; nil, "timeout"; nil, "interrupted" */
static int process_wait(lua_State *L) {
  process *p = check_process(L, 1);
  luaL_argcheck(L, p->pid != 0, 1, "the process was closed");
  double until = check_until(L, 2);
  if (!lipL_wake_open()) return lipL_nodescriptors(L);
  bury_orphans();
  while (!has_ended(p)) {
    if (lipL_called()) return fail_with(L, "interrupted", "cancelled");
    if (lip_seconds() >= until) return fail_with(L, "timeout", "timeout");
    lipL_doze(until);
  }
  push_end(L, p);
  return 1;
}

/* The first of the list at idx (checked before) that has ended, pushed. */
static bool push_ended(lua_State *L, int idx, lua_Integer n) {
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, idx, i);
    process *p = luaL_testudata(L, -1, LIP_PROCESS_T);
    if (p && has_ended(p)) return true;
    lua_pop(L, 1);
  }
  return false;
}

/* wait_any(list, seconds) -> one that has ended; nil at the timeout and when a signal came */
static int wait_any(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  double until = check_until(L, 2);
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, i);
    luaL_argcheck(L, luaL_testudata(L, -1, LIP_PROCESS_T) != NULL, 1, "a list of processes expected");
    lua_pop(L, 1);
  }
  if (!lipL_wake_open()) return lipL_nodescriptors(L);
  bury_orphans();
  while (!push_ended(L, 1, n)) {
    if (n == 0 && isinf(until)) return fail_with(L, "no processes", "timeout");
    if (lipL_called()) return fail_with(L, "interrupted", "cancelled");
    if (lip_seconds() >= until) return fail_with(L, "timeout", "timeout");
    lipL_doze(until);
  }
  return 1;
}

/* ---- starting ---- */

typedef struct recipe {
  const char **argv, **env;
  const char *cwd;
  int in, out, err; /* descriptors for 0, 1, 2; -1: as they are */
  bool group;
} recipe;

/* 0 or an errno. */
static int start(const recipe *plan, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attr;
  sigset_t set;
  int error = posix_spawn_file_actions_init(&actions);
  if (error) return error;
  error = posix_spawnattr_init(&attr);
  if (error) {
    posix_spawn_file_actions_destroy(&actions);
    return error;
  }
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (plan->group ? POSIX_SPAWN_SETPGROUP : 0);
  sigemptyset(&set);
  if (!error) error = posix_spawnattr_setsigmask(&attr, &set);
  static const int changed[] = {SIGINT,  SIGTERM, SIGHUP,  SIGUSR1, SIGUSR2,
                                SIGCHLD, SIGPIPE, SIGQUIT, SIGXFSZ};
  for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) sigaddset(&set, changed[i]);
  if (!error) error = posix_spawnattr_setsigdefault(&attr, &set);
  if (!error) error = posix_spawnattr_setpgroup(&attr, 0);
  if (!error) error = posix_spawnattr_setflags(&attr, flags);
  const int given[3] = {plan->in, plan->out, plan->err};
  for (int i = 0; i < 3; i++)
    if (!error && given[i] >= 0) error = posix_spawn_file_actions_adddup2(&actions, given[i], i);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
  if (!error) error = posix_spawn_file_actions_addclosefrom_np(&actions, 3); /* other libraries' files too */
#endif
  if (!error && plan->cwd) error = posix_spawn_file_actions_addchdir_np(&actions, plan->cwd);
  /* the prototype leaves out the const; nothing is written */
  if (!error)
    error = posix_spawnp(pid, plan->argv[0], &actions, &attr, (char *const *)(uintptr_t)plan->argv,
                         (char *const *)(uintptr_t)plan->env);
  posix_spawnattr_destroy(&attr);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

/* The list part of the table at idx as a NULL-terminated array (collected by Lua). */
static const char **check_argv(lua_State *L, int idx, const char *what) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
  if (n < 1 || n > 100000) luaL_error(L, "%s: expects a program and its arguments as a list", what);
  const char **argv = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *argv, 0);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, idx, i);
    if (lua_type(L, -1) != LUA_TSTRING || strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1))
      luaL_error(L, "%s: word %d must be a string without zero bytes, got a %s", what, (int)i,
                 luaL_typename(L, -1));
    argv[i - 1] = lua_tostring(L, -1); /* held by the table */
    lua_pop(L, 1);
  }
  argv[n] = NULL;
  return argv;
}

/* Sets `name` in the table of the environment on top of the stack; value at idx: text, or false to leave it out. */
static void set_variable(lua_State *L, const char *what, int idx) {
  if (lua_type(L, idx - 1) != LUA_TSTRING || (lua_type(L, idx) != LUA_TSTRING && lua_toboolean(L, idx)))
    luaL_error(L, "%s: env expects names with texts, or false", what);
}

/* The environment with the changes of the table `env` (a field of idx) as a NULL-terminated array; what it points at
 * is held by a table pushed before it. */
static const char **new_environment(lua_State *L, int idx, const char *what, bool dies) {
  lua_newtable(L); /* name -> value */
  int all = lua_gettop(L);
  for (char **e = environ; e && *e; e++) {
    const char *equal = strchr(*e, '=');
    if (!equal) continue;
    lua_pushlstring(L, *e, (size_t)(equal - *e));
    lua_pushstring(L, equal + 1);
    lua_rawset(L, all);
  }
  lua_pushnil(L);
  lua_setfield(L, all, LIP_PARENT);
  if (dies) {
    lua_pushfstring(L, "%I", (LUAI_UACINT)getpid());
    lua_setfield(L, all, LIP_PARENT);
  }
  if (lua_getfield(L, idx, "env") != LUA_TNIL) {
    if (!lua_istable(L, -1)) luaL_error(L, "%s: option 'env' expects a table", what);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      set_variable(L, what, lua_gettop(L));
      lua_pushvalue(L, -2);
      if (lua_isstring(L, -2))
        lua_pushvalue(L, -2);
      else
        lua_pushnil(L);
      lua_rawset(L, all);
    }
  }
  lua_pop(L, 1);
  lua_newtable(L); /* "name=value" */
  lua_Integer n = 0;
  for (lua_pushnil(L); lua_next(L, all); lua_pop(L, 1)) {
    lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1));
    lua_rawseti(L, all + 1, ++n);
  }
  const char **list = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *list, 0);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, all + 1, i);
    list[i - 1] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  list[n] = NULL;
  return list;
}

/* A text field of the options at idx, or NULL. */
static const char *text_field(lua_State *L, int idx, const char *what, const char *name) {
  const char *text = NULL;
  if (lua_getfield(L, idx, name) != LUA_TNIL) {
    char got[80];
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "%s: option '%s' expects a string, got %s", what, name,
                 lipL_typetext(L, -1, got, sizeof got));
    text = lua_tostring(L, -1);
  }
  lua_pop(L, 1); /* held by the table */
  return text;
}

/* Fills the plan from the options; what it points at stays on the stack. */
static void check_plan(lua_State *L, const char *what, recipe *plan) {
  plan->in = plan->out = plan->err = -1;
  plan->cwd = text_field(L, 1, what, "cwd");
  plan->group = lipL_optfield_bool(L, 1, what, "group", false);
  bool dies = lipL_optfield_bool(L, 1, what, "dies_with_parent", false);
  plan->argv = check_argv(L, 1, what);
  plan->env = new_environment(L, 1, what, dies);
}

static void close_plan(const recipe *plan) {
  const int given[3] = {plan->in, plan->out, plan->err};
  for (int i = 0; i < 3; i++)
    if (given[i] >= 0 && (i < 2 || given[i] != plan->out)) close(given[i]);
}

/* nil, message, code after closing the plan's files. */
static int not_started(lua_State *L, const recipe *plan, const char *name, const char *what, int error) {
  close_plan(plan);
  return lipL_refuse(L, name, what, error);
}

/* -1 with errno. */
static int open_stream(const char *path, const char *below, bool append) {
  lipL_place at;
  int error = lipL_place_open(path, below, false, &at);
  int fd = error ? -1 : lipL_place_file(&at, O_WRONLY | O_CREAT | O_APPEND | (append ? 0 : O_TRUNC), 0666);
  if (!error && fd < 0) error = errno;
  if (at.folder >= 0) close(at.folder);
  errno = error;
  return fd;
}

static int no_folder(const char *path) {
  struct stat st;
  if (stat(path, &st) != 0) return errno;
  return S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
}

/* Starts it; results of the Lua call when it fails, else 0 with the process filled in. */
static int launch(lua_State *L, recipe *plan, process *p) {
  if (!lipL_wake_open()) return close_plan(plan), lipL_nodescriptors(L);
  bury_orphans();
  if (plan->in < 0) plan->in = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (plan->in < 0) return not_started(L, plan, "/dev/null", "open it", errno);
  int error = plan->cwd ? no_folder(plan->cwd) : 0;
  if (error) return not_started(L, plan, plan->cwd, "work in it", error);
  error = start(plan, &p->pid);
  if (error) {
    p->pid = 0;
    return not_started(L, plan, plan->argv[0], "start it", error);
  }
  char state;
  if (!lipL_processstat(p->pid, &state, &p->start)) p->start = 0;
  close_plan(plan);
  return 0;
}

/* spawn{ program, arguments..., stdout=, stderr=, append=, below=, cwd=, env=, group=, dies_with_parent= } -> process;
 * below: where stdout and stderr lie, as of lip.file */
static int spawn(lua_State *L) {
  static const char *const known[] = {"stdout", "stderr", "append",           "below", "cwd",
                                      "env",    "group",  "dies_with_parent", NULL};
  recipe plan;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lipL_checkfields(L, 1, "spawn", known);
  const char *out = text_field(L, 1, "spawn", "stdout"), *err = text_field(L, 1, "spawn", "stderr");
  bool append = lipL_optfield_bool(L, 1, "spawn", "append", false);
  const char *below = lipL_optbelow(L, 1, "spawn");
  check_plan(L, "spawn", &plan);
  process *p = lipL_newobject(L, LIP_PROCESS_T, sizeof *p, 0);
  if (out && (plan.out = open_stream(out, below, append)) < 0)
    return close_plan(&plan), lipL_place_refuse(L, out, below, "write to it", errno);
  if (err && (plan.err = open_stream(err, below, append)) < 0)
    return close_plan(&plan), lipL_place_refuse(L, err, below, "write to it", errno);
  if (!err) plan.err = plan.out;
  int results = launch(L, &plan, p);
  return results ? results : 1;
}

/* ---- run ---- */

/* What a finished program wrote into fd, pushed; the rest beyond `limit` is left out. */
static void push_output(lua_State *L, int fd, size_t limit) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  off_t at = 0;
  while ((size_t)at < limit) {
    char *room = luaL_prepbuffsize(&b, 1 << 14);
    size_t want = limit - (size_t)at < 1 << 14 ? limit - (size_t)at : 1 << 14;
    ssize_t got = pread(fd, room, want, at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    luaL_addsize(&b, (size_t)got);
    at += got;
  }
  luaL_pushresult(&b);
}

/* The three streams of a run, in memory; closed with the userdata. */
typedef struct streams {
  bool open;
  int fd[3];
} streams;

#define STREAMS_T "lip.streams"

static int streams_gc(lua_State *L) {
  streams *s = luaL_checkudata(L, 1, STREAMS_T);
  for (int i = 0; s->open && i < 3; i++)
    if (s->fd[i] >= 0) close(s->fd[i]);
  s->open = false;
  return 0;
}

/* 0 or an errno. */
static int open_streams(streams *s, const char *input, size_t n) {
  s->fd[0] = s->fd[1] = s->fd[2] = -1;
  s->open = true;
  for (int i = 0; i < 3; i++)
    if ((s->fd[i] = memfd_create("lipwb", MFD_CLOEXEC)) < 0) return errno;
  while (n > 0) {
    ssize_t done = write(s->fd[0], input, n);
    if (done < 0 && errno != EINTR) return errno;
    if (done > 0) {
      input += done;
      n -= (size_t)done;
    }
  }
  return lseek(s->fd[0], 0, SEEK_SET) < 0 ? errno : 0;
}

/* Waits for the end; after `until` or at an interrupt the program is killed: "timeout", "interrupted", else NULL. */
static const char *wait_or_kill(process *p, double until) {
  const char *why = NULL;
  while (!has_ended(p)) {
    if (!why) why = lipL_called() ? "interrupted" : lip_seconds() >= until ? "timeout" : NULL;
    if (why) kill(p->pid, SIGKILL);
    lipL_doze(why ? lip_seconds() + 1 : until);
  }
  return why;
}

/* run{ program, arguments..., input=, cwd=, env=, timeout=, limit= } -> { exit | signal, output, errors, memory, seconds } */
static int run(lua_State *L) {
  static const char *const known[] = {"input", "cwd", "env", "timeout", "limit", "group", "dies_with_parent",
                                      NULL};
  recipe plan;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lipL_checkfields(L, 1, "run", known);
  const char *input = text_field(L, 1, "run", "input");
  lua_getfield(L, 1, "input");
  size_t n = input ? lua_rawlen(L, -1) : 0, limit = lipL_optfield_size(L, 1, "run", "limit", (size_t)1 << 28);
  double timeout = lipL_optfield_number(L, 1, "run", "timeout", INFINITY);
  check_plan(L, "run", &plan);
  process *p = lipL_newobject(L, LIP_PROCESS_T, sizeof *p, 0);
  streams *s = lipL_newobject(L, STREAMS_T, sizeof *s, 0);
  int error = open_streams(s, input, n);
  if (error) return lipL_refuse(L, plan.argv[0], "prepare its streams", error);
  int *const ends[3] = {&plan.in, &plan.out, &plan.err};
  for (int i = 0; i < 3; i++) *ends[i] = fcntl(s->fd[i], F_DUPFD_CLOEXEC, 3); /* the plan closes its own */
  int results = launch(L, &plan, p);
  if (results) return results;
  const char *why = wait_or_kill(p, lip_seconds() + timeout);
  if (why) return fail_with(L, why, strcmp(why, "timeout") == 0 ? why : "cancelled");
  push_end(L, p);
  push_output(L, s->fd[1], limit);
  lua_setfield(L, -2, "output");
  push_output(L, s->fd[2], limit);
  lua_setfield(L, -2, "errors");
  return 1;
}

/* ---- methods ---- */

static int process_pid(lua_State *L) {
  lua_pushinteger(L, check_process(L, 1)->pid);
  return 1;
}

static int process_start(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_process(L, 1)->start);
  return 1;
}

static int process_alive(lua_State *L) {
  lua_pushboolean(L, !has_ended(check_process(L, 1)));
  return 1;
}

/* process:signal(name, { group = false }) -> whether it was still there to be told */
static int process_signal(lua_State *L) {
  static const char *const known[] = {"group", NULL};
  process *p = check_process(L, 1);
  int number = lipL_signalnumber(luaL_optstring(L, 2, "TERM"));
  luaL_argcheck(L, number > 0, 2, "the name of a signal expected, such as \"TERM\"");
  lipL_checkfields(L, 3, "signal", known);
  bool group = lipL_optfield_bool(L, 3, "signal", "group", false);
  if (has_ended(p)) return lua_pushboolean(L, false), 1;
  lua_pushboolean(L, kill(group ? -p->pid : p->pid, number) == 0);
  return 1;
}

static int process_tostring(lua_State *L) {
  process *p = check_process(L, 1);
  if (p->pid == 0)
    lua_pushliteral(L, "process (closed)");
  else
    lua_pushfstring(L, "process %I (%s)", (LUAI_UACINT)p->pid, has_ended(p) ? "ended" : "running");
  return 1;
}

void lipL_open_process(lua_State *L) {
  static const luaL_Reg functions[] = {{"spawn", spawn}, {"run", run}, {"wait_any", wait_any}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"pid", process_pid},     {"start", process_start},
                                     {"alive", process_alive}, {"signal", process_signal},
                                     {"wait", process_wait},   {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", process_gc}, {"__tostring", process_tostring}, {NULL, NULL}};
  static const luaL_Reg ends[] = {{"__gc", streams_gc}, {NULL, NULL}};
  lipL_newtype(L, LIP_PROCESS_T, methods, meta);
  lipL_newtype(L, STREAMS_T, NULL, ends);
  luaL_newlib(L, functions);
  lipL_open_self(L);
  lua_setfield(L, -2, "process");
}
