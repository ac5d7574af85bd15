/* lip.process: this process, its signals and its neighbours, as the system shows them. */
#define _GNU_SOURCE /* gethostname and ioctl beside POSIX names */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bindings/bind.h"
#include "bindings/system/process.h"
#include "bindings/system/signal.h"

/* ---- /proc ---- */

bool lipL_processstat(long pid, char *state, unsigned long long *start) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%ld/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return false;
  text[n] = '\0';
  const char *p = strrchr(text, ')'); /* the name before may hold anything */
  return p &&
         sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                state, start) == 2;
}

/* Bytes; the highest this program had in memory (what getrusage says counts the parent before exec too). */
static size_t peak_memory(void) {
  FILE *file = fopen("/proc/self/status", "re");
  char line[256];
  size_t kilobytes = 0;
  while (file && kilobytes == 0 && fgets(line, sizeof line, file))
    if (sscanf(line, "VmHWM: %zu kB", &kilobytes) != 1) kilobytes = 0;
  if (file) fclose(file);
  struct rusage use;
  if (kilobytes == 0 && getrusage(RUSAGE_SELF, &use) == 0) kilobytes = (size_t)use.ru_maxrss;
  return kilobytes * 1024;
}

double lipL_processtime(const struct rusage *use) {
  return (double)use->ru_utime.tv_sec + (double)use->ru_stime.tv_sec +
         1e-6 * ((double)use->ru_utime.tv_usec + (double)use->ru_stime.tv_usec);
}

int lipL_nodescriptors(lua_State *L) {
  return lipL_refuse(L, "pipe", "wait", EMFILE);
}

static void set_integer(lua_State *L, const char *name, lua_Integer v) {
  lua_pushinteger(L, v);
  lua_setfield(L, -2, name);
}

/* ---- this process ---- */

/* self() -> { pid, start, host, program } */
static int self(lua_State *L) {
  char host[256] = "", program[4096], state;
  unsigned long long begun = 0;
  lua_createtable(L, 0, 4);
  set_integer(L, "pid", getpid());
  if (lipL_processstat(getpid(), &state, &begun)) set_integer(L, "start", (lua_Integer)begun);
  gethostname(host, sizeof host - 1);
  lua_pushstring(L, host);
  lua_setfield(L, -2, "host");
  ssize_t n = readlink("/proc/self/exe", program, sizeof program);
  if (n > 0) {
    lua_pushlstring(L, program, (size_t)n);
    lua_setfield(L, -2, "program");
  }
  return 1;
}

/* alive(pid [, start]): is there such a process, the one that began at that time */
static int is_alive(lua_State *L) {
  lua_Integer pid = luaL_checkinteger(L, 1), begun = luaL_optinteger(L, 2, -1);
  unsigned long long start = 0;
  char state = 'X';
  bool found = pid > 0 && pid <= 0x7fffffff && lipL_processstat((long)pid, &state, &start);
  lua_pushboolean(L,
                  found && state != 'Z' && state != 'X' && (begun < 0 || start == (unsigned long long)begun));
  return 1;
}

/* usage() -> { memory = highest so far in bytes, seconds = of processors } */
static int usage(lua_State *L) {
  struct rusage use;
  memset(&use, 0, sizeof use);
  getrusage(RUSAGE_SELF, &use);
  lua_createtable(L, 0, 2);
  set_integer(L, "memory", (lua_Integer)peak_memory());
  lua_pushnumber(L, lipL_processtime(&use));
  lua_setfield(L, -2, "seconds");
  return 1;
}

/* terminal() -> columns of the terminal that standard output is, or nil */
static int terminal(lua_State *L) {
  struct winsize size;
  memset(&size, 0, sizeof size);
  if (!isatty(STDOUT_FILENO)) return 0;
  ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
  lua_pushinteger(L, size.ws_col ? size.ws_col : 80);
  return 1;
}

/* sleep(seconds) -> true; false when a signal came before */
static int doze(lua_State *L) {
  double until = lip_seconds() + luaL_checknumber(L, 1);
  luaL_argcheck(L, !isnan(until), 1, "a number of seconds expected");
  if (!lipL_wake_open()) return lipL_nodescriptors(L);
  while (!lipL_called() && lip_seconds() < until) lipL_doze(until);
  lua_pushboolean(L, !lipL_called());
  return 1;
}

/* follow_parent(): a process that was started to die with its parent is told SIGTERM when that ends. True when there is
 * such a parent and it lives. */
static int follow_parent(lua_State *L) {
  const char *text = getenv(LIP_PARENT);
  long parent = text ? strtol(text, NULL, 10) : 0;
  bool ok = parent > 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) == 0;
  if (ok && getppid() != (pid_t)parent) raise(SIGTERM); /* it ended before */
  lua_pushboolean(L, ok);
  return 1;
}

static int set_signals(lua_State *L) {
  if (!lipL_wake_open()) return lipL_nodescriptors(L);
  lipL_signals(L, 1);
  return 0;
}

static int signal_name(lua_State *L) {
  const char *name = lipL_signalname((int)luaL_checkinteger(L, 1));
  lua_pushstring(L, name);
  return 1;
}

void lipL_open_self(lua_State *L) {
  static const luaL_Reg functions[] = {{"self", self},
                                       {"alive", is_alive},
                                       {"usage", usage},
                                       {"terminal", terminal},
                                       {"sleep", doze},
                                       {"signals", set_signals},
                                       {"pending", lipL_pending},
                                       {"signal_name", signal_name},
                                       {"follow_parent", follow_parent},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
