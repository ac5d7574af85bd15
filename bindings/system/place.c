/* Names below a folder that is not trusted, looked up one part at a time and never through a symbolic link. */
#define _GNU_SOURCE /* O_PATH */
#include "bindings/system/place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bindings/bind.h"

const char *lipL_optbelow(lua_State *L, int idx, const char *what) {
  if (lua_isnoneornil(L, idx)) return NULL;
  lua_getfield(L, idx, "below");
  if (lua_isnil(L, -1)) return NULL;
  if (lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "%s: option 'below' expects a folder (a string), got %s", what, luaL_typename(L, -1));
  return lua_tostring(L, -1);
}

/* What follows `below` in `path`, without slashes at its beginning; NULL when it is somewhere else. */
static const char *rest_of(const char *path, const char *below) {
  size_t n = strlen(below);
  while (n > 1 && below[n - 1] == '/') n--;
  if (strncmp(path, below, n) != 0 || (path[n] != '/' && path[n] != '\0' && below[n - 1] != '/')) return NULL;
  const char *rest = path + n;
  while (*rest == '/') rest++;
  return rest;
}

/* Why the part of a path could not be entered: links look like something that is no folder. */
static int why_not(int folder, const char *name, int error) {
  struct stat st;
  if (error != ENOTDIR && error != ELOOP) return error;
  return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode) ? ELOOP : error;
}

/* One folder further down; closes the one above. */
static int enter(int *folder, const char *name, bool make) {
  if (make && mkdirat(*folder, name, 0777) != 0 && errno != EEXIST) return errno;
  int next = openat(*folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (next < 0) return why_not(*folder, name, errno);
  close(*folder);
  *folder = next;
  return 0;
}

int lipL_place_open(const char *path, const char *below, bool make, lipL_place *p) {
  *p = (lipL_place){.folder = AT_FDCWD, .name = path, .inside = below != NULL};
  if (!below) return 0;
  const char *rest = rest_of(path, below);
  if (!rest) return EXDEV;
  int folder = open(below, O_PATH | O_DIRECTORY | O_CLOEXEC), error = folder < 0 ? errno : 0;
  p->name = *rest ? rest : ".";
  for (const char *slash; !error && (slash = strchr(rest, '/')) != NULL;) {
    char name[NAME_MAX + 1];
    size_t n = (size_t)(slash - rest);
    if (n > NAME_MAX) {
      error = ENAMETOOLONG;
      break;
    }
    memcpy(name, rest, n);
    name[n] = '\0';
    while (*slash == '/') slash++;
    if (strcmp(name, "..") == 0)
      error = EXDEV;
    else if (strcmp(name, ".") != 0)
      error = enter(&folder, name, make);
    rest = slash;
    p->name = *rest ? rest : ".";
  }
  if (!error && strcmp(rest, "..") == 0) error = EXDEV;
  if (!error)
    p->folder = folder;
  else if (folder >= 0)
    close(folder);
  return error;
}

int lipL_place_file(const lipL_place *p, int flags, mode_t mode) {
  struct stat st;
  if (!p->inside) { /* a pipe that nobody reads is refused (ENXIO), not waited for */
    int fd = open(p->name, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode), set = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    if (set >= 0) fcntl(fd, F_SETFL, set & ~O_NONBLOCK);
    return fd;
  }
  int late = flags & O_TRUNC; /* not before it is known what it is */
  int fd = openat(p->folder, p->name, (flags & ~O_TRUNC) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, mode);
  if (fd < 0) return fd;
  int error = fstat(fd, &st) != 0        ? errno
              : S_ISDIR(st.st_mode)      ? EISDIR
              : !S_ISREG(st.st_mode)     ? ENXIO
              : late && ftruncate(fd, 0) ? errno
                                         : 0;
  if (!error) return fd;
  close(fd);
  errno = error;
  return -1;
}

int lipL_place_refuse(lua_State *L, const char *path, const char *below, const char *what, int error) {
  const char *why = !below           ? NULL
                    : error == ELOOP ? "a symbolic link stands there, and none is followed below a store"
                    : error == EXDEV ? "it leads out of the folder it belongs to"
                    : error == ENXIO ? "it is not a regular file"
                                     : NULL;
  if (!why) return lipL_refuse(L, path, what, error);
  luaL_pushfail(L);
  lua_pushfstring(L, "%s: cannot %s: %s", path, what, why);
  lua_pushstring(L, lip_status_name(LIP_IO));
  return 3;
}
