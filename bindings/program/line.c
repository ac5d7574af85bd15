/* Reading a line: libedit when the program is at a terminal (history, completion), plain reading otherwise. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "bindings/bind.h"
#include "bindings/program/program.h"
#include "bindings/system/signal.h"

#if defined(LIP_EDIT)
#include <histedit.h>
#endif

struct lipL_lines {
  lua_State *L;
  const char *prompt;
#if defined(LIP_EDIT)
  EditLine *edit; /* NULL: plain reading */
  History *history;
  char path[4096]; /* of the history file, or empty */
#endif
};

static lipL_line plain_line(lua_State *L, const char *prompt) {
  if (isatty(STDIN_FILENO)) {
    fputs(prompt, stdout);
    fflush(stdout);
  }
  char *line = NULL;
  size_t cap = 0;
  errno = 0;
  ssize_t n = getline(&line, &cap, stdin);
  lipL_line result = LIPL_LINE;
  if (n < 0) {
    result = errno == EINTR && lipL_sigint_seen() ? LIPL_BREAK : LIPL_END;
    clearerr(stdin);
  } else {
    lua_pushlstring(L, line, (size_t)(n > 0 && line[n - 1] == '\n' ? n - 1 : n));
  }
  free(line);
  return result;
}

#if defined(LIP_EDIT)

static char *prompt_of(EditLine *edit) {
  void *self = NULL;
  el_get(edit, EL_CLIENTDATA, &self);
  return (char *)(uintptr_t)((lipL_lines *)self)->prompt; /* libedit does not write to it */
}

/* One character. libedit's own reader starts again after a signal; this one gives up, so that Ctrl-C drops the line. */
static int read_char(EditLine *edit, wchar_t *out) {
  (void)edit;
  mbstate_t state;
  memset(&state, 0, sizeof state);
  for (;;) {
    char byte;
    ssize_t n = read(STDIN_FILENO, &byte, 1);
    if (n < 0 && errno == EINTR && !lipL_sigint_seen()) continue; /* the window changed its size */
    if (n <= 0) return (int)n;
    size_t used = mbrtowc(out, &byte, 1, &state);
    if (used == (size_t)-1) { /* not text in this locale: take the byte as it is */
      *out = (wchar_t)(unsigned char)byte;
      return 1;
    }
    if (used != (size_t)-2) return 1;
  }
}

/* ---- history: $XDG_STATE_HOME/lipwb/history ---- */

static bool make_folder(const char *path) {
  return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static void history_path(char *out, size_t size) {
  const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
  char dir[3900];
  *out = '\0';
  if (state && *state == '/') {
    snprintf(dir, sizeof dir, "%s", state);
  } else if (home && *home == '/') {
    snprintf(dir, sizeof dir, "%s/.local", home);
    make_folder(dir);
    snprintf(dir, sizeof dir, "%s/.local/state", home);
  } else {
    return;
  }
  make_folder(dir);
  int n = snprintf(out, size, "%s/lipwb", dir);
  if (n <= 0 || !make_folder(out)) {
    *out = '\0';
    return;
  }
  snprintf(out, size, "%s/lipwb/history", dir);
}

/* ---- completion: lip.program.complete(text before the cursor) gives the words, each from its first letter ---- */

/* Letters that all words (a table on top of the stack) share. */
static size_t common_length(lua_State *L, size_t n) {
  lua_rawgeti(L, -1, 1);
  const char *first = lua_tostring(L, -1); /* the table keeps it alive */
  lua_pop(L, 1);
  size_t common = strlen(first);
  for (size_t i = 2; i <= n; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i);
    const char *word = lua_tostring(L, -1);
    size_t k = 0;
    while (k < common && word[k] && word[k] == first[k]) k++;
    common = k;
    lua_pop(L, 1);
  }
  return common;
}

static void list_words(lua_State *L, size_t n) {
  enum { MOST = 200, WIDTH = 78 };
  size_t column = 0;
  putchar('\n');
  for (size_t i = 1; i <= n && i <= MOST; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i);
    const char *word = lua_tostring(L, -1);
    size_t width = (strlen(word) / 16 + 1) * 16;
    if (column > 0 && column + width > WIDTH) {
      putchar('\n');
      column = 0;
    }
    printf("%-*s", (int)width, word);
    column += width;
    lua_pop(L, 1);
  }
  if (n > MOST) printf("... (%zu in all)", n);
  putchar('\n');
  fflush(stdout);
}

static int find_words(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lip.program");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "complete");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 2); /* the list, the length of what is typed of the word */
  return 2;
}

static unsigned char complete(EditLine *edit, int key) {
  (void)key;
  void *self = NULL;
  el_get(edit, EL_CLIENTDATA, &self);
  lua_State *L = ((lipL_lines *)self)->L;
  const LineInfo *info = el_line(edit);
  int top = lua_gettop(L);
  unsigned char result = CC_ERROR;
  lua_pushcfunction(L, find_words);
  lua_pushlstring(L, info->buffer, (size_t)(info->cursor - info->buffer));
  if (lua_pcall(L, 1, 2, 0) == LUA_OK && lua_istable(L, -2)) {
    size_t typed = (size_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    size_t n = lua_rawlen(L, -1);
    size_t common = n > 0 ? common_length(L, n) : 0;
    if (common > typed) {
      lua_rawgeti(L, -1, 1);
      lua_pushlstring(L, lua_tostring(L, -1) + typed, common - typed);
      el_insertstr(edit, lua_tostring(L, -1));
      result = CC_REFRESH;
    } else if (n > 1) {
      list_words(L, n);
      result = CC_REDISPLAY;
    }
  }
  lua_settop(L, top);
  return result;
}

static void open_editor(lipL_lines *lines) {
  HistEvent event;
  lines->edit = el_init("lipwb", stdin, stdout, stderr);
  if (!lines->edit) return;
  el_set(lines->edit, EL_CLIENTDATA, lines);
  el_set(lines->edit, EL_PROMPT, prompt_of);
  el_set(lines->edit, EL_EDITOR, "emacs");
  el_set(lines->edit, EL_GETCFN, read_char);
  el_set(lines->edit, EL_ADDFN, "lip-complete", "complete a name", complete);
  el_set(lines->edit, EL_BIND, "^I", "lip-complete", NULL);
  el_set(lines->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
  lines->history = history_init();
  if (lines->history) {
    history(lines->history, &event, H_SETSIZE, 1000);
    history(lines->history, &event, H_SETUNIQUE, 1);
    history_path(lines->path, sizeof lines->path);
    if (*lines->path) history(lines->history, &event, H_LOAD, lines->path);
    el_set(lines->edit, EL_HIST, history, lines->history);
  }
  el_source(lines->edit, NULL);
}

static lipL_line edited_line(lipL_lines *lines) {
  HistEvent event;
  int n = 0;
  el_resize(lines->edit);
  const char *line = el_gets(lines->edit, &n);
  if (!line || n <= 0) {
    putchar('\n');
    if (!lipL_sigint_seen()) return LIPL_END;
    el_reset(lines->edit);
    return LIPL_BREAK;
  }
  size_t length = (size_t)n;
  if (length > 0 && line[length - 1] == '\n') length--;
  lua_pushlstring(lines->L, line, length);
  if (length > 0 && lines->history) {
    history(lines->history, &event, H_ENTER, lua_tostring(lines->L, -1));
    if (*lines->path) history(lines->history, &event, H_SAVE, lines->path);
  }
  return LIPL_LINE;
}

#endif

lipL_lines *lipL_lines_open(lua_State *L) {
  lipL_lines *lines = lip_alloc(1, sizeof *lines);
  if (!lines) return NULL;
  lines->L = L;
#if defined(LIP_EDIT)
  if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) open_editor(lines);
#endif
  return lines;
}

void lipL_lines_close(lipL_lines *lines) {
  if (!lines) return;
#if defined(LIP_EDIT)
  if (lines->history) history_end(lines->history);
  if (lines->edit) el_end(lines->edit);
#endif
  lip_free(lines);
}

lipL_line lipL_lines_read(lipL_lines *lines, const char *prompt) {
  lines->prompt = prompt;
#if defined(LIP_EDIT)
  if (lines->edit) return edited_line(lines);
#endif
  return plain_line(lines->L, prompt);
}
