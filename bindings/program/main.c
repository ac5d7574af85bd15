/* The program lipwb: Lua 5.4 with the engine inside, where to find its Lua modules, and the settings of a run. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lualib.h>

#include "bindings/bind.h"
#include "bindings/program/program.h"
#include "bindings/system/signal.h"

enum { OK = 0, FAILED = 1, USAGE = 2, INTERRUPTED = 130 };

static const char usage_text[] =
    "usage: lipwb [options] [script [options and arguments]]\n"
    "       lipwb bench [options]   how long training steps take on this machine (a minute)\n"
    "       lipwb check CERT MODEL [DATA]   verifies a certificate file\n"
    "       lipwb show FILE   what is in it: a net with its bounds, arrays, a query, a certificate\n"
    "       lipwb convert IN OUT   a net as .onnx, .safetensors, .py (PyTorch) or folder/ (C source)\n"
    "       lipwb sweep FILE [-j N]   runs the trials that a sweep file describes; again: goes on\n"
    "       lipwb runs ls|show|diff|best|...   looks at their results; report, reproduce: --help of each\n"
    "  script             a Lua file (./bench for one named bench); - reads it from standard input; none: a "
    "session\n"
    "  --set NAME=VALUE   a setting the script declares with lip.args (repeatable)\n"
    "  --data DIR         where data sets lie (default: $LIPWB_DATA)\n"
    "  --threads N        threads of the engine, 1 to 64 (default: the processors it may use)\n"
    "  --seed N           the setting 'seed' of the script\n"
    "  --plot FILE        the setting 'plot' of the script: where its figure goes, .png, .svg or .pdf\n"
    "  --json FILE        writes the result row the script returns, with version and kernels\n"
    "  --tensorboard DIR  event files for TensorBoard: losses, weights, settings and results\n"
    "  -e CODE            runs CODE (repeatable, before the script)\n"
    "  -i                 a session after the script\n"
    "  --version          what this build is\n"
    "  --help             this page; after a script: the settings of that script\n"
    "  --                 what follows belongs to the script\n"
    "Options may also follow the script; words that are none of them reach it in the table 'arg' (a script "
    "with\n"
    "settings refuses unknown options that stand before --).\n"
    "Exit status: 0 done, 1 an error, 2 wrong usage, 130 interrupted by Ctrl-C.\n";

typedef struct command {
  int argc;
  char **argv;
  bool session, version, help;
  const char *script;
  int failed; /* exit status when the command line is wrong */
} command;

/* ---- where the Lua modules are ---- */

static bool readable(const char *path) {
  return access(path, R_OK) == 0;
}

/* The folder that holds lip/init.lua: LIPWB_LUA, else beside an installed program, else the source tree. */
static void find_modules(char *out, size_t size) {
  static const char beside[] = "/../share/lua/5.4";
  const char *given = getenv("LIPWB_LUA");
  if (given && *given) {
    snprintf(out, size, "%s", given);
    return;
  }
  char exe[3900], probe[4096];
  ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
  if (n > 0) {
    exe[n] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash) *slash = '\0';
    snprintf(probe, sizeof probe, "%s%s/lip/init.lua", exe, beside);
    if (readable(probe)) {
      snprintf(out, size, "%s%s", exe, beside);
      return;
    }
  }
  snprintf(out, size, "%s/scripts", LIP_SOURCE_DIR);
}

/* package.path: our modules, what lies beside the script, then Lua's own places. */
static void set_path(lua_State *L, const char *script) {
  char dir[8192];
  find_modules(dir, sizeof dir);
  lua_getglobal(L, LUA_LOADLIBNAME);
  lua_getfield(L, -1, "path");
  const char *old = lua_tostring(L, -1);
  const char *slash = script ? strrchr(script, '/') : NULL;
  lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;", dir, dir);
  if (slash) {
    lua_pushlstring(L, script, (size_t)(slash - script));
    lua_pushfstring(L, "%s/?.lua;", lua_tostring(L, -1));
    lua_remove(L, -2);
  } else {
    lua_pushliteral(L, "");
  }
  lua_pushstring(L, old ? old : "");
  lua_concat(L, 3);
  lua_setfield(L, -3, "path");
  lua_pop(L, 1);
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, luaopen_lip_core);
  lua_setfield(L, -2, "lip.core");
  lua_pop(L, 2);
}

/* ---- the command line ---- */

static void complain(command *c, const char *what, const char *word) {
  fprintf(stderr, "lipwb: %s: ", what);
  lipL_tell(word, strlen(word));
  fprintf(stderr, "\n%s", usage_text);
  c->failed = USAGE;
}

static void set_string(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

/* NAME=VALUE into settings.set (settings on top of the stack). */
static bool take_set(lua_State *L, command *c, const char *text) {
  const char *equal = strchr(text, '=');
  if (!equal || equal == text) {
    complain(c, "--set expects NAME=VALUE, got", text);
    return false;
  }
  lua_getfield(L, -1, "set");
  lua_pushlstring(L, text, (size_t)(equal - text));
  lua_pushstring(L, equal + 1);
  lua_settable(L, -3);
  lua_pop(L, 1);
  return true;
}

static bool take_whole(lua_State *L, command *c, const char *name, const char *text, long low, long high) {
  char *end;
  errno = 0;
  long v = strtol(text, &end, 10);
  if (errno || end == text || *end || v < low || v > high) {
    char what[96];
    snprintf(what, sizeof what, "--%s expects a whole number from %ld to %ld, got", name, low, high);
    complain(c, what, text);
    return false;
  }
  lua_pushinteger(L, v);
  lua_setfield(L, -2, name);
  return true;
}

static void take_folder(lua_State *L, command *c, const char *path) {
  struct stat info;
  if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
    complain(c, "--data expects a folder, got", path);
  else
    set_string(L, "data", path);
}

/* Before the script runs: its row must not be lost for want of a folder. */
static void take_file(lua_State *L, command *c, const char *path) {
  struct stat info;
  const char *slash = strrchr(path, '/');
  const char *folder = !slash ? "." : lua_pushlstring(L, path, slash == path ? 1 : (size_t)(slash - path));
  bool there = stat(folder, &info) == 0 && S_ISDIR(info.st_mode) && access(folder, W_OK) == 0;
  if (slash) lua_pop(L, 1);
  if (there && !(stat(path, &info) == 0 && S_ISDIR(info.st_mode)))
    set_string(L, "json", path);
  else
    complain(c,
             there ? "--json expects a file, got the folder"
                   : "--json expects a file in a folder that one may write to, got",
             path);
}

/* An option with a value, written "--name value" or "--name=value": its value, or NULL when this word is another. */
static const char *value_of(command *c, int *i, const char *name, bool *bad) {
  const char *word = c->argv[*i];
  size_t n = strlen(name);
  if (strncmp(word, name, n) != 0) return NULL;
  if (word[n] == '=' && n > 2) return word + n + 1;
  if (word[n] != '\0') return NULL;
  if (*i + 1 < c->argc) return c->argv[++*i];
  complain(c, "this option needs a value", name);
  *bad = true;
  return NULL;
}

/* Words that stand in the place of a script: `module`.main(words...) runs and returns the exit status, or a row for --json. */
typedef struct subcommand {
  const char *name, *module;
  bool raw; /* every word after the name is the module's own, options and --help too */
} subcommand;

static const subcommand subcommands[] = {
    {"bench", "lip.bench", false},        {"check", "lip.check", false},
    {"sweep", "lip.sweep.command", true}, {"trial", "lip.sweep.worker", true},
    {"runs", "lip.runs.command", true},   {"report", "lip.report.command", true},
    {"reproduce", "lip.reproduce", true}, {"show", "lip.show", true},
    {"convert", "lip.convert", true},     {"verify", "lip.decide.command", true},
};

/* NULL: `script` is a file. */
static const subcommand *find_subcommand(const char *script) {
  for (size_t i = 0; i < sizeof subcommands / sizeof *subcommands; i++)
    if (strcmp(script, subcommands[i].name) == 0) return &subcommands[i];
  return NULL;
}

/* Options that may stand before and after the script. True when argv[*i] was one of them (or was wrong). */
static bool common_option(lua_State *L, command *c, int *i) {
  const char *v;
  bool bad = false;
  if ((v = value_of(c, i, "--set", &bad))) return take_set(L, c, v), true;
  if ((v = value_of(c, i, "--data", &bad))) return take_folder(L, c, v), true;
  if ((v = value_of(c, i, "--plot", &bad))) return set_string(L, "plot", v), true;
  if ((v = value_of(c, i, "--json", &bad)))
    return strcmp(v, "-") ? take_file(L, c, v) : set_string(L, "json", v), true;
  if ((v = value_of(c, i, "--tensorboard", &bad))) return set_string(L, "tensorboard", v), true;
  if ((v = value_of(c, i, "--threads", &bad)))
    return take_whole(L, c, "threads", v, 1, LIP_MAX_THREADS), true;
  if ((v = value_of(c, i, "--seed", &bad))) return take_whole(L, c, "seed", v, 0, 0x7fffffffffffffff), true;
  if (strcmp(c->argv[*i], "--help") == 0) {
    if (c->script) {
      lua_pushboolean(L, true);
      lua_setfield(L, -2, "help");
    }
    return c->help = true;
  }
  return bad;
}

/* Words before the script; -e chunks are collected in the table at `chunks`. Returns the index of the script. */
static int read_options(lua_State *L, command *c, int chunks) {
  int i = 1;
  for (; i < c->argc && !c->failed; i++) {
    const char *word = c->argv[i];
    bool bad = false;
    const char *code = value_of(c, &i, "-e", &bad);
    if (code) {
      lua_pushstring(L, code);
      lua_rawseti(L, chunks, (lua_Integer)lua_rawlen(L, chunks) + 1);
    } else if (bad || common_option(L, c, &i)) {
      continue;
    } else if (strcmp(word, "-h") == 0) {
      c->help = true;
    } else if (strcmp(word, "--version") == 0 || strcmp(word, "-v") == 0) {
      c->version = true;
    } else if (strcmp(word, "-i") == 0) {
      c->session = true;
    } else if (strcmp(word, "--") == 0) {
      i++;
      break;
    } else if (word[0] == '-' && word[1] != '\0') {
      complain(c, "unknown option", word);
    } else {
      break;
    }
  }
  return i;
}

/* "--word" or "-w", but not "-" and not a negative number. */
static bool is_option(const char *word) {
  return word[0] == '-' && (word[1] == '-' || isalpha((unsigned char)word[1]));
}

/* Fills the settings table (on top), arg and c. */
static void read_command(lua_State *L, command *c, int chunks) {
  int i = read_options(L, c, chunks);
  if (c->failed) return;
  if (i < c->argc) c->script = c->argv[i];
  lua_newtable(L); /* arg */
  lua_insert(L, -2);
  for (int k = 0; k <= i && k < c->argc; k++) {
    lua_pushstring(L, c->argv[k]);
    lua_rawseti(L, -3, k - i);
  }
  lua_Integer n = 0;
  const subcommand *sub = c->script ? find_subcommand(c->script) : NULL;
  bool ours = !sub || !sub->raw;
  const char *unknown = NULL; /* lip.args refuses it: a script with settings has no other options */
  for (i++; i < c->argc && !c->failed; i++) {
    if (ours && strcmp(c->argv[i], "--") == 0) {
      ours = false;
    } else if (!ours || !common_option(L, c, &i)) {
      if (ours && is_option(c->argv[i])) unknown = c->argv[i];
      lua_pushstring(L, c->argv[i]);
      lua_rawseti(L, -3, ++n);
    }
  }
  lua_pushvalue(L, -2);
  lua_setglobal(L, "arg");
  lua_remove(L, -2);
  if (c->script) set_string(L, "script", c->script);
  if (unknown) set_string(L, "unknown", unknown);
}

/* ---- running ---- */

static int run_version(lua_State *L) {
  luaL_requiref(L, "lip.core", luaopen_lip_core, 0);
  lua_getfield(L, -1, "info");
  lua_call(L, 0, 1);
  static const char *const rows[] = {"lua", "blas", "compiler", "cpu"};
  printf("lipwb %s\n", LIP_VERSION);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    lua_getfield(L, -1, rows[i]);
    printf("  %-9s %s\n", rows[i], lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  return OK;
}

static int failed(lua_State *L) {
  bool by_user = lipL_sigint_seen(), usage = false;
  lipL_report(L);
  if (lua_getfield(L, LUA_REGISTRYINDEX, "lip.settings") == LUA_TTABLE) { /* lip.args found a wrong word */
    lua_getfield(L, -1, "wrong_usage");
    usage = lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return by_user ? INTERRUPTED : usage ? USAGE : FAILED;
}

/* lip and help as globals, for sessions and for -e. */
static int open_globals(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lip");
  if (lipL_docall(L, 1, 1)) return failed(L);
  lua_getfield(L, -1, "help");
  lua_setglobal(L, "help");
  lua_setglobal(L, "lip");
  return OK;
}

static int run_chunks(lua_State *L, int chunks) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, chunks);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, chunks, i);
    size_t len;
    const char *code = lua_tolstring(L, -1, &len);
    if (luaL_loadbuffer(L, code, len, "=(command line)") || lipL_docall(L, 0, 0)) return failed(L);
    lua_pop(L, 1);
  }
  return OK;
}

static int file_fault(lua_State *L, const char *what, const char *path) {
  lua_pushfstring(L, "cannot %s %s: %s", what, path, strerror(errno));
  return LUA_ERRFILE;
}

/* Pushes the function of a file (NULL: standard input), or why there is none. *settings: it may call lip.args. */
static int load_file(lua_State *L, const char *path, bool *settings) {
  int top = lua_gettop(L);
  const char *shown = path ? path : "stdin";
  FILE *file = path ? fopen(path, "rb") : stdin;
  if (!file) return file_fault(L, "open", shown);
  const char *name = lua_pushfstring(L, "%s%s", path ? "@" : "=", shown);
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  size_t n;
  while ((n = fread(luaL_prepbuffer(&text), 1, LUAL_BUFFERSIZE, file)) > 0) luaL_addsize(&text, n);
  bool bad = ferror(file);
  int error = errno;
  if (path) fclose(file);
  luaL_pushresult(&text);
  errno = error;
  if (bad) return file_fault(L, "read", shown);
  const char *code = lua_tolstring(L, -1, &n);
  *settings = *code == LUA_SIGNATURE[0] || strstr(code, "args") != NULL;
  int status = lipL_loadscript(L, code, n, name);
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  return status;
}

/* Pushes the function that the word after the options names: a subcommand, else a file's chunk. */
static int load_script(lua_State *L, const char *script, bool *settings) {
  const subcommand *sub = find_subcommand(script);
  if (sub) {
    char code[96];
    snprintf(code, sizeof code, "return require '%s'.main(...)", sub->module);
    return luaL_loadstring(L, code);
  }
  return load_file(L, strcmp(script, "-") == 0 ? NULL : script, settings);
}

/* Runs the script with the words of arg as its arguments; a row it returns goes to --json. */
static int run_script(lua_State *L, const command *c) {
  const char *script = c->script;
  const subcommand *sub = find_subcommand(script);
  bool settings = true;
  /* what a subcommand writes is read by machines, whatever locale a user's sweep file asks for; a trial is the user's */
  if (sub && strcmp(sub->name, "trial") != 0) lip_number_enter();
  if (load_script(L, script, &settings)) return failed(L);
  if (c->help && !settings) /* who asks what a script can be told does not want it to run */
    return printf("%s declares no settings (lip.args); it was not run\n", script), OK;
  lua_getglobal(L, "arg"); /* a chunk of -e may have put anything there */
  if (!lua_istable(L, -1)) return luaL_error(L, "the global 'arg' is no table any more");
  int n = lua_rawlen(L, -1) < INT_MAX / 2 ? (int)lua_rawlen(L, -1) : INT_MAX / 2;
  luaL_checkstack(L, n + 3, "too many arguments to script");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, -i, i);
  lua_remove(L, -n - 1);
  if (lipL_docall(L, n, 2)) return failed(L);
  if (lua_isnil(L, -2) && lua_type(L, -1) == LUA_TSTRING)
    return failed(L); /* what the world outside refused */
  lua_pop(L, 1);
  if (sub && lua_isinteger(L, -1)) /* a status; a row goes to --json, as a script's */
    return lipL_sigint_seen() ? INTERRUPTED : (int)lua_tointeger(L, -1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lip.program");
  if (lipL_docall(L, 1, 1)) return failed(L);
  lua_getfield(L, -1, "finish");
  lua_pushvalue(L, -3);
  if (lipL_docall(L, 1, 0)) return failed(L);
  lua_pop(L, 2);
  return lipL_sigint_seen() ? INTERRUPTED : OK; /* it may have caught the interrupt and tidied up */
}

static int run(lua_State *L, command *c) {
  lua_newtable(L);
  int chunks = lua_gettop(L);
  lua_newtable(L);
  lua_newtable(L);
  lua_setfield(L, -2, "set");
  const char *data = getenv("LIPWB_DATA");
  if (data && *data) set_string(L, "data", data);
  read_command(L, c, chunks);
  if (c->failed) return c->failed;
  lua_setfield(L, LUA_REGISTRYINDEX, "lip.settings");
  if (c->help && !c->script) return fputs(usage_text, stdout), OK;
  lip_err err;
  if (lip_default_threads(&err) == 0) return fprintf(stderr, "lipwb: %s\n", err.msg), USAGE;
  if (c->version) return run_version(L);
  set_path(L, c->script);
  lipL_sigint_install(L);
  bool has_code = lua_rawlen(L, chunks) > 0;
  bool session = c->session || (!c->script && !has_code);
  if (session || has_code) {
    int status = open_globals(L);
    if (status == OK) status = run_chunks(L, chunks);
    if (status != OK) return status;
  }
  if (c->script) {
    int status = run_script(L, c);
    if (status != OK && !c->session) return status;
  }
  if (session) lipL_repl(L);
  return OK;
}

static int protected_main(lua_State *L) {
  command *c = lua_touserdata(L, 1);
  luaL_checkversion(L);
  luaL_openlibs(L);
  lua_pushinteger(L, run(L, c));
  return 1;
}

int main(int argc, char **argv) {
  setlocale(LC_CTYPE, ""); /* and no other category: numbers are written and read the same everywhere */
  signal(SIGXFSZ,
         SIG_IGN); /* a file that may not grow is an error of the write (EFBIG), not the end of the program */
  lua_State *L = luaL_newstate();
  if (!L) {
    fputs("lipwb: not enough memory\n", stderr);
    return FAILED;
  }
  command c = {.argc = argc, .argv = argv};
  lua_pushcfunction(L, protected_main);
  lua_pushlightuserdata(L, &c);
  int status = FAILED;
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
    status = (int)lua_tointeger(L, -1);
  } else {
    lipL_report(L);
  }
  lipL_sigint_uninstall();
  lua_close(L);
  if ((fflush(stdout) != 0 || ferror(stdout)) && status == OK) {
    fprintf(stderr, "lipwb: writing to standard output: %s\n", strerror(errno));
    status = FAILED;
  }
  return status;
}
