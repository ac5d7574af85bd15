#include "core/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

lip_status lip_file_refuse(const char *path, const char *what, int error, lip_err *err) {
  char why[128] = "";
  if (strerror_r(error, why, sizeof why) != 0) snprintf(why, sizeof why, "error %d", error);
  return lip_fail(err, error == ENOENT || error == ENOTDIR ? LIP_NOT_FOUND : LIP_IO, "%.200s: cannot %s: %s",
                  path, what, why);
}

static lip_status refuse_kind(const char *path, mode_t mode, lip_err *err) {
  const char *kind = S_ISDIR(mode)    ? "a folder"
                     : S_ISFIFO(mode) ? "a pipe"
                     : S_ISSOCK(mode) ? "a socket"
                                      : "a device";
  return lip_fail(err, LIP_IO, "%.200s: %s, not a regular file", path, kind);
}

lip_status lip_file_open(const char *path, int *fd, size_t *size, lip_err *err) {
  struct stat st;
  *fd = -1;
  if (stat(path, &st) != 0) return lip_file_refuse(path, "open", errno, err);
  if (!S_ISREG(st.st_mode)) return refuse_kind(path, st.st_mode, err);
  /* another one may have taken its name since: O_NONBLOCK lets no pipe wait, and what was opened is asked again */
  int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (opened < 0 || fstat(opened, &st) != 0) {
    int error = errno;
    if (opened >= 0) close(opened);
    return lip_file_refuse(path, "open", error, err);
  }
  if (!S_ISREG(st.st_mode)) {
    close(opened);
    return refuse_kind(path, st.st_mode, err);
  }
  if (size) *size = (size_t)st.st_size;
  *fd = opened;
  return LIP_OK;
}
