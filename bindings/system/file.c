/* lip.file: files and folders, for sweeps and reports. What the outside refuses is nil, message, code.
 * With the option `below` (place.h) a path is looked up below a folder that is not trusted. */
#define _GNU_SOURCE /* mkdtemp, fdopendir with openat */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bindings/bind.h"
#include "bindings/system/place.h"
#include "core/base/atomic.h"
#include "core/base/file.h"

/* Closes what a call opened should Lua raise (no memory) before the call does it itself. */
typedef struct holder {
  int fd; /* -1: none */
  DIR *dir;
  lipL_place at;
} holder;

#define HOLDER_T "lip.holder"

static int holder_gc(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, HOLDER_T);
  if (h->dir) closedir(h->dir);
  if (h->fd >= 0) close(h->fd);
  if (h->at.folder >= 0) close(h->at.folder);
  h->dir = NULL;
  h->fd = h->at.folder = -1;
  return 0;
}

static holder *new_holder(lua_State *L) {
  holder *h = lua_newuserdatauv(L, sizeof *h, 0);
  h->fd = h->at.folder = -1;
  h->dir = NULL;
  luaL_setmetatable(L, HOLDER_T);
  return h;
}

static void close_holder(holder *h) {
  if (h->fd >= 0) close(h->fd);
  if (h->at.folder >= 0) close(h->at.folder);
  h->fd = h->at.folder = -1;
}

/* The argument called `what`, a text; raises naming it. */
static const char *check_text(lua_State *L, int idx, const char *what, size_t *n) {
  if (!lua_isstring(L, idx))
    luaL_argerror(L, idx, lua_pushfstring(L, "%s: string expected, got %s", what, luaL_typename(L, idx)));
  return lua_tolstring(L, idx, n);
}

/* A path: a text without a zero byte and not empty. */
static const char *check_name(lua_State *L, int idx, const char *what) {
  size_t n;
  const char *path = check_text(L, idx, what, &n);
  if (n == 0) luaL_argerror(L, idx, lua_pushfstring(L, "%s: an empty path", what));
  if (strlen(path) != n) luaL_argerror(L, idx, lua_pushfstring(L, "%s: a zero byte in it", what));
  return path;
}

static const char *check_path(lua_State *L) {
  return check_name(L, 1, "path");
}

/* The place of a path, by the option `below` of the table at idx. Both are pushed. */
static holder *find(lua_State *L, const char *path, const char *below, bool make, int *error) {
  holder *h = new_holder(L);
  *error = lipL_place_open(path, below, make, &h->at);
  return h;
}

/* The option of a function that has no other. */
static const char *only_below(lua_State *L, int idx, const char *what) {
  static const char *const known[] = {"below", NULL};
  lipL_checkfields(L, idx, what, known);
  return lipL_optbelow(L, idx, what);
}

static int yes(lua_State *L) {
  lua_pushboolean(L, true);
  return 1;
}

/* ---- folders ---- */

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int mkdir_below(lua_State *L, const char *path, const char *below) {
  struct stat st;
  int error;
  holder *h = find(L, path, below, true, &error);
  if (!error && mkdirat(h->at.folder, h->at.name, 0777) != 0) error = errno;
  if (error == EEXIST && fstatat(h->at.folder, h->at.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
    error = S_ISDIR(st.st_mode) ? 0 : S_ISLNK(st.st_mode) ? ELOOP : EEXIST;
  close_holder(h);
  return error ? lipL_place_refuse(L, path, below, "make this folder", error) : yes(L);
}

/* mkdir(path, { below = }): with every folder above it; true when it is there already */
static int file_mkdir(lua_State *L) {
  const char *path = check_path(L), *below = only_below(L, 2, "file.mkdir");
  if (below) return mkdir_below(L, path, below);
  size_t n = strlen(path);
  char *part = lua_newuserdatauv(L, n + 1, 0);
  memcpy(part, path, n + 1);
  for (size_t i = 1; i <= n; i++) {
    if (part[i] != '/' && part[i] != '\0') continue;
    char c = part[i];
    part[i] = '\0';
    int error = mkdir(part, 0777) == 0 ? 0 : errno;
    if (error && !is_folder(part)) return lipL_refuse(L, part, "make this folder", error);
    part[i] = c;
  }
  return yes(L);
}

/* Names in the folder, without . and .., sorted by bytes. */
static int by_bytes(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Opens it in h->dir; 0 or an errno. */
static int open_listing(holder *h) {
  if (!h->at.inside) {
    h->dir = opendir(h->at.name);
    return h->dir ? 0 : errno;
  }
  struct stat st;
  h->fd = openat(h->at.folder, h->at.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (h->fd < 0 && fstatat(h->at.folder, h->at.name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
    return ELOOP;
  if (h->fd < 0) return errno;
  h->dir = fdopendir(h->fd);
  if (!h->dir) return errno;
  h->fd = -1; /* the listing's now */
  return 0;
}

/* list(path, { below = }) -> { name, ... } */
static int file_list(lua_State *L) {
  const char *path = check_path(L), *below = only_below(L, 2, "file.list");
  int refused;
  holder *h = find(L, path, below, false, &refused);
  if (!refused) refused = open_listing(h);
  close_holder(h);
  if (refused) return lipL_place_refuse(L, path, below, "read this folder", refused);
  lua_newtable(L); /* anchors the texts while they are sorted */
  int found = lua_gettop(L);
  lua_Integer n = 0;
  const struct dirent *entry;
  for (errno = 0; (entry = readdir(h->dir)) != NULL; errno = 0) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    lua_pushstring(L, entry->d_name);
    lua_rawseti(L, found, ++n);
  }
  int error = errno;
  closedir(h->dir);
  h->dir = NULL;
  if (error) return lipL_refuse(L, path, "read this folder", error);
  const char **names = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *names, 0);
  for (lua_Integer i = 0; i < n; i++) {
    lua_rawgeti(L, found, i + 1);
    names[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  qsort(names, (size_t)n, sizeof *names, by_bytes);
  lua_createtable(L, (int)n, 0);
  for (lua_Integer i = 0; i < n; i++) {
    lua_pushstring(L, names[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

enum { DEEPEST = 200 }; /* one open folder for each level */

/* Removes what is called `name` in the folder `at`; symbolic links are removed, never followed. 0 or an errno. */
static int remove_at(int at, const char *name, int depth) {
  if (unlinkat(at, name, 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR && errno != EPERM) return errno; /* EPERM: a folder, by POSIX */
  if (depth >= DEEPEST) return ELOOP;
  int refused = errno, fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return errno == ENOTDIR ? refused : errno;
  DIR *dir = fdopendir(fd);
  if (!dir) {
    int error = errno;
    close(fd);
    return error;
  }
  int error = 0;
  const struct dirent *entry;
  while (!error && (entry = readdir(dir)) != NULL)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      error = remove_at(fd, entry->d_name, depth + 1);
  closedir(dir);
  if (!error && unlinkat(at, name, AT_REMOVEDIR) != 0 && errno != ENOENT) error = errno;
  return error;
}

/* remove_tree(path, { below = }): a folder with all that is in it, or a file; true when nothing is there. "/", "." and ".." are
 * refused. */
static int file_remove_tree(lua_State *L) {
  const char *path = check_path(L), *below = only_below(L, 2, "file.remove_tree");
  size_t n = strlen(path);
  char *copy = lua_newuserdatauv(L, n + 1, 0);
  memcpy(copy, path, n + 1);
  while (n > 1 && copy[n - 1] == '/') copy[--n] = '\0'; /* "link/" would be followed */
  const char *slash = strrchr(copy, '/'), *last = slash ? slash + 1 : copy;
  luaL_argcheck(L, *last && strcmp(last, ".") != 0 && strcmp(last, "..") != 0, 1,
                "path: this one is never removed as a whole");
  int error;
  holder *h = find(L, copy, below, false, &error);
  luaL_argcheck(L, error || strcmp(h->at.name, ".") != 0, 1, "path: this one is never removed as a whole");
  if (!error) error = remove_at(h->at.folder, h->at.name, 0);
  if (error == ENOENT) error = 0;
  close_holder(h);
  return error ? lipL_place_refuse(L, path, below, "remove it", error) : yes(L);
}

/* temporary() -> a new empty folder in $TMPDIR or /tmp */
static int file_temporary(lua_State *L) {
  const char *home = getenv("TMPDIR");
  if (!home || !*home) home = "/tmp";
  lua_pushfstring(L, "%s/lipwb-XXXXXX", home);
  size_t n;
  const char *pattern = lua_tolstring(L, -1, &n);
  char *path = lua_newuserdatauv(L, n + 1, 0);
  memcpy(path, pattern, n + 1);
  if (!mkdtemp(path)) return lipL_refuse(L, home, "make a temporary folder in it", errno);
  lua_pushstring(L, path);
  return 1;
}

/* ---- what is there ---- */

/* 0 or an errno */
static int look(const holder *h, bool follow, struct stat *st) {
  return fstatat(h->at.folder, h->at.name, st, follow ? 0 : AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

/* exists(path, { below = }): there, a link may lead nowhere */
static int file_exists(lua_State *L) {
  const char *path = check_path(L), *below = only_below(L, 2, "file.exists");
  struct stat st;
  int error;
  holder *h = find(L, path, below, false, &error);
  if (!error) error = look(h, !below, &st);
  close_holder(h);
  lua_pushboolean(L, error == 0);
  return 1;
}

static const char *kind_of(mode_t mode) {
  return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "folder" : S_ISLNK(mode) ? "link" : "other";
}

/* stat(path, { follow = true, below = }) -> { kind = "file" | "folder" | "link" | "other", size =, modified = seconds
 * since 1970 }; "link" only when they are not followed, as with `below` */
static int file_stat(lua_State *L) {
  static const char *const known[] = {"follow", "below", NULL};
  const char *path = check_path(L);
  lipL_checkfields(L, 2, "file.stat", known);
  bool follow = lipL_optfield_bool(L, 2, "file.stat", "follow", true);
  const char *below = lipL_optbelow(L, 2, "file.stat");
  struct stat st;
  int error;
  holder *h = find(L, path, below, false, &error);
  if (!error) error = look(h, follow && !below, &st);
  close_holder(h);
  if (error) return lipL_place_refuse(L, path, below, "look at it", error);
  lua_createtable(L, 0, 3);
  lua_pushstring(L, kind_of(st.st_mode));
  lua_setfield(L, -2, "kind");
  lua_pushinteger(L, (lua_Integer)st.st_size);
  lua_setfield(L, -2, "size");
  lua_pushnumber(L, (double)st.st_mtim.tv_sec + 1e-9 * (double)st.st_mtim.tv_nsec);
  lua_setfield(L, -2, "modified");
  return 1;
}

static int file_cwd(lua_State *L) {
  char *path = lua_newuserdatauv(L, PATH_MAX, 0);
  if (!getcwd(path, PATH_MAX)) return lipL_refuse(L, ".", "find the working folder", errno);
  lua_pushstring(L, path);
  return 1;
}

/* What a link that leads nowhere yet leads to; in the place of the path at index 1. */
static const char *led_to(lua_State *L, const char *path) {
  enum { LINKS = 40 }; /* as Linux does */
  char target[PATH_MAX];
  for (int i = 0; i < LINKS; i++) {
    ssize_t n = readlink(path, target, sizeof target);
    if (n <= 0 || n == sizeof target) break;
    const char *slash = strrchr(path, '/');
    lua_pushlstring(L, path, slash && target[0] != '/' ? (size_t)(slash - path) + 1 : 0);
    lua_pushlstring(L, target, (size_t)n);
    lua_concat(L, 2);
    lua_replace(L, 1);
    path = lua_tostring(L, 1);
  }
  return path;
}

/* absolute(path): from the root; a path that exists without links, "." and ".."; a link that leads nowhere yet is
 * followed as well, so that the answer is the same once something stands there */
static int file_absolute(lua_State *L) {
  const char *path = check_path(L);
  lua_settop(L, 1);
  char *full = lua_newuserdatauv(L, PATH_MAX, 0);
  struct stat st;
  if (stat(path, &st) != 0) path = led_to(L, path);
  if (realpath(path, full)) {
    lua_pushstring(L, full);
  } else if (path[0] == '/') {
    lua_pushvalue(L, 1);
  } else {
    if (!getcwd(full, PATH_MAX)) return lipL_refuse(L, ".", "find the working folder", errno);
    lua_pushfstring(L, "%s/%s", full, path);
  }
  return 1;
}

/* rename(from, to, { below = }) */
static int file_rename(lua_State *L) {
  const char *from = check_name(L, 1, "from"), *to = check_name(L, 2, "to");
  const char *below = only_below(L, 3, "file.rename");
  int error, other = 0;
  holder *a = find(L, from, below, false, &error), *b = find(L, to, below, false, &other);
  if (!error) error = other;
  if (!error && renameat(a->at.folder, a->at.name, b->at.folder, b->at.name) != 0) error = errno;
  close_holder(a);
  close_holder(b);
  if (!error) return yes(L);
  lua_pushfstring(L, "rename it to %s", to);
  return lipL_place_refuse(L, from, below, lua_tostring(L, -1), error);
}

/* ---- contents ---- */

/* Adds the rest of the file to b; 0 or an errno. */
static int read_rest(int fd, luaL_Buffer *b) {
  for (;;) {
    char *room = luaL_prepbuffsize(b, 1 << 14);
    ssize_t got = read(fd, room, 1 << 14);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return 0;
    luaL_addsize(b, (size_t)got);
  }
}

/* The file (a regular one) from `offset` on, pushed; `last` > 0: no more than its last bytes. */
static int read_from(lua_State *L, const char *path, const char *below, off_t offset, off_t last) {
  luaL_Buffer b;
  lip_err err;
  int error;
  holder *h = find(L, path, below, false, &error);
  if (!below && lip_file_open(path, &h->fd, NULL, &err)) return lipL_fault(L, &err);
  if (below && !error && (h->fd = lipL_place_file(&h->at, O_RDONLY, 0)) < 0) error = errno;
  if (error) return lipL_place_refuse(L, path, below, "open it", error);
  if (last > 0) {
    off_t end = lseek(h->fd, 0, SEEK_END);
    offset = end > last ? end - last : 0;
  }
  if (offset > 0 || last > 0)
    if (lseek(h->fd, offset, SEEK_SET) < 0) return lipL_refuse(L, path, "read it", errno);
  luaL_buffinit(L, &b);
  error = read_rest(h->fd, &b);
  luaL_pushresult(&b);
  close_holder(h);
  return error ? lipL_refuse(L, path, "read it", error) : 1;
}

/* read(path [, offset [, { below = }]]) -> text */
static int file_read(lua_State *L) {
  const char *path = check_path(L), *below = only_below(L, 3, "file.read");
  lua_Integer offset = luaL_optinteger(L, 2, 0);
  luaL_argcheck(L, offset >= 0, 2, "offset: a number of bytes from the beginning expected");
  return read_from(L, path, below, (off_t)offset, 0);
}

/* tail(path, bytes [, { below = }]) -> the last bytes of it */
static int file_tail(lua_State *L) {
  const char *path = check_path(L), *below = only_below(L, 3, "file.tail");
  lua_Integer bytes = luaL_checkinteger(L, 2);
  luaL_argcheck(L, bytes >= 1, 2, "bytes: a number of at least 1 expected");
  return read_from(L, path, below, 0, (off_t)bytes);
}

/* write(path, text, { below = }): the whole file or nothing of it */
static int file_write(lua_State *L) {
  const char *path = check_path(L), *below = only_below(L, 3, "file.write");
  size_t n;
  lipL_numbers(L); /* the text may be a number */
  const char *text = check_text(L, 2, "text", &n);
  lip_atomic *file;
  lip_err err;
  int error;
  holder *h = find(L, path, below, false, &error);
  if (error) return lipL_place_refuse(L, path, below, "write it", error);
  lip_status s = below ? lip_atomic_open_in(h->at.folder, h->at.name, path, &file, &err)
                       : lip_atomic_open(path, &file, &err);
  if (s == LIP_OK) {
    lip_atomic_write(file, text, n);
    s = lip_atomic_commit(file, &err);
  }
  close_holder(h);
  return s ? lipL_fault(L, &err) : yes(L);
}

/* In one write; 0 or an errno. */
static int append_to(int fd, const char *text, size_t n, bool sync) {
  int error = 0;
  ssize_t done;
  do done = write(fd, text, n);
  while (done < 0 && errno == EINTR);
  if (done < 0)
    error = errno;
  else if ((size_t)done < n)
    error = ENOSPC;
  if (!error && sync && fsync(fd) != 0 && errno != EINVAL) error = errno; /* EINVAL: a pipe or terminal */
  if (close(fd) != 0 && !error && errno != EINTR) error = errno;
  return error;
}

/* append(path, text, { sync = false, below = }): in one write, so that lines of several writers do not mix; a disk that
 * takes only part of it is an error (the file then ends inside of the text) */
static int file_append(lua_State *L) {
  static const char *const known[] = {"sync", "below", NULL};
  const char *path = check_path(L);
  size_t n;
  lua_settop(L, 3);
  lipL_numbers(L);
  const char *text = check_text(L, 2, "text", &n);
  lipL_checkfields(L, 3, "file.append", known);
  bool sync = lipL_optfield_bool(L, 3, "file.append", "sync", false);
  const char *below = lipL_optbelow(L, 3, "file.append");
  int error, fd = -1;
  holder *h = find(L, path, below, false, &error);
  if (!error && (fd = lipL_place_file(&h->at, O_WRONLY | O_APPEND | O_CREAT, 0666)) < 0) error = errno;
  close_holder(h);
  if (error) return lipL_place_refuse(L, path, below, "open it for appending", error);
  error = append_to(fd, text, n, sync);
  return error ? lipL_refuse(L, path, "append to it", error) : yes(L);
}

/* is_left(path, { below = }): whether it is the temporary file of a writer that lives no more */
static int file_is_left(lua_State *L) {
  const char *path = check_path(L), *below = only_below(L, 2, "file.is_left");
  const char *slash = strrchr(path, '/');
  if (!below) { /* its own folder, whichever way that is reached */
    lua_pushlstring(L, slash ? path : ".", slash == path ? 1 : slash ? (size_t)(slash - path) : 1);
    if (!slash) path = lua_pushfstring(L, "./%s", path);
    below = lua_tostring(L, slash ? -1 : -2);
  }
  int error;
  holder *h = find(L, path, below, false, &error);
  bool left = !error && lip_atomic_is_left(h->at.folder, h->at.name);
  close_holder(h);
  lua_pushboolean(L, left);
  return 1;
}

void lipL_open_file(lua_State *L) {
  static const luaL_Reg functions[] = {{"mkdir", file_mkdir},
                                       {"list", file_list},
                                       {"exists", file_exists},
                                       {"stat", file_stat},
                                       {"read", file_read},
                                       {"tail", file_tail},
                                       {"write", file_write},
                                       {"append", file_append},
                                       {"is_left", file_is_left},
                                       {"remove_tree", file_remove_tree},
                                       {"rename", file_rename},
                                       {"absolute", file_absolute},
                                       {"cwd", file_cwd},
                                       {"temporary", file_temporary},
                                       {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", holder_gc}, {NULL, NULL}};
  lipL_newtype(L, HOLDER_T, NULL, meta);
  luaL_newlib(L, functions);
  lua_setfield(L, -2, "file");
}
