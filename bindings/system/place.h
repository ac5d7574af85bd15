/* Paths that may not be trusted: what lies below a store may have come with it from anywhere. */
#ifndef LIP_SYSTEM_PLACE_H
#define LIP_SYSTEM_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

#include <lua.h>

/* Where a path leads: a name in a folder. The holder closes the folder, with what else a call has opened. */
typedef struct lipL_place {
  int folder;       /* AT_FDCWD without `below` */
  const char *name; /* the whole path without `below`; "." when the path is `below` itself */
  bool inside;      /* below a folder that is not trusted: nothing is followed, files are regular */
} lipL_place;

/* The folder `below` of the table of options at idx, which stays on the stack; NULL without one. Raises unless it is a
 * text. */
const char *lipL_optbelow(lua_State *L, int idx, const char *what);
/* Opens `path` as far as its last folder. With `below`, which must be how `path` begins, no part after it may be a
 * symbolic link, or ".."; with `make`, folders that are missing are made. 0 or an errno (ELOOP: a link). The folder is
 * the caller's to close, unless it is AT_FDCWD. */
int lipL_place_open(const char *path, const char *below, bool make, lipL_place *p);
/* open() there, which never waits. Inside: never follows, and what is no regular file is refused (ENXIO). */
int lipL_place_file(const lipL_place *p, int flags, mode_t mode);
/* As lipL_refuse; a link is called by its name when `below` forbids it. */
int lipL_place_refuse(lua_State *L, const char *path, const char *below, const char *what, int error);

#endif
