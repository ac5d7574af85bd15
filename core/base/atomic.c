#include "core/base/atomic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/mem.h"

struct lip_atomic {
  int fd;
  int error; /* errno of the first failed write, or 0 */
  char *path, *folder, *temp;
};

static lip_status refuse(lip_err *err, const char *path, const char *what, int error) {
  char why[128] = "";
  if (strerror_r(error, why, sizeof why) != 0) snprintf(why, sizeof why, "error %d", error);
  return lip_fail(err, error == ENOENT ? LIP_NOT_FOUND : LIP_IO, "%.200s: cannot %s: %s", path, what, why);
}

static void release(lip_atomic *a) {
  lip_free(a->path);
  lip_free(a->folder);
  lip_free(a->temp);
  lip_free(a);
}

/* Path, folder and room for the temporary name. */
static lip_atomic *describe(const char *path) {
  lip_atomic *a = lip_alloc(1, sizeof *a);
  if (!a) return NULL;
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) : 0;
  a->fd = -1;
  a->path = lip_strdup(path);
  a->folder = lip_alloc(n + 2, 1);
  a->temp = lip_alloc(strlen(path) + 64, 1);
  if (!a->path || !a->folder || !a->temp) {
    release(a);
    return NULL;
  }
  memcpy(a->folder, slash ? path : ".", slash ? n : 1);
  if (slash && n == 0) a->folder[0] = '/';
  return a;
}

/* A new file beside the final one. Names carry the process and a counter; one that is taken is skipped. */
static int create(lip_atomic *a, mode_t mode) {
  static atomic_uint counter;
  const char *slash = strrchr(a->path, '/'), *name = slash ? slash + 1 : a->path;
  int before = (int)(name - a->path);
  for (int tries = 0; tries < 100; tries++) {
    sprintf(a->temp, "%.*s.%.180s.%ld-%u.tmp", before, a->path, name, (long)getpid(),
            atomic_fetch_add(&counter, 1u) & 0xffffffu);
    int fd = open(a->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

lip_status lip_atomic_open(const char *path, lip_atomic **out, lip_err *err) {
  *out = NULL;
  struct stat st;
  bool old = stat(path, &st) == 0;
  if (old && !S_ISREG(st.st_mode))
    return lip_fail(err, LIP_IO, "%.200s: cannot write: it is not a regular file", path);
  lip_atomic *a = describe(path);
  if (!a) return lip_fail(err, LIP_MEMORY, "%.200s: no memory to write it", path);
  a->fd = create(a, 0666);
  if (a->fd < 0) {
    int error = errno;
    release(a);
    return refuse(err, path, "create a file beside it", error);
  }
  /* the new file keeps the permissions of the one it replaces, where that is allowed */
  if (old && fchmod(a->fd, st.st_mode & 0777) != 0) errno = 0;
  *out = a;
  return LIP_OK;
}

void lip_atomic_write(lip_atomic *a, const void *bytes, size_t n) {
  const char *p = bytes;
  while (n > 0 && a->error == 0) {
    ssize_t done = write(a->fd, p, n < (size_t)1 << 30 ? n : (size_t)1 << 30);
    if (done < 0) {
      if (errno != EINTR) a->error = errno;
    } else {
      p += done;
      n -= (size_t)done;
    }
  }
}

/* Some file systems cannot flush a folder and say EINVAL: nothing more can be done there. */
static int flush_folder(const char *folder) {
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno == EACCES ? 0 : errno; /* a folder may be writable and not readable */
  int error = fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP ? errno : 0;
  close(fd);
  return error;
}

lip_status lip_atomic_commit(lip_atomic *a, lip_err *err) {
  int error = a->error;
  const char *step = "write";
  if (!error && fsync(a->fd) != 0) error = errno;
  /* some file systems report a full disk only here */
  if (close(a->fd) != 0 && !error && errno != EINTR) error = errno;
  a->fd = -1;
  if (!error && rename(a->temp, a->path) != 0) {
    error = errno;
    step = "rename the finished file";
  }
  if (error) {
    lip_status status = refuse(err, a->path, step, error);
    lip_atomic_abandon(a);
    return status;
  }
  error = flush_folder(a->folder);
  lip_status status = error ? refuse(err, a->path, "flush its folder", error) : LIP_OK;
  release(a);
  return status;
}

void lip_atomic_abandon(lip_atomic *a) {
  if (!a) return;
  if (a->fd >= 0) close(a->fd);
  unlink(a->temp);
  release(a);
}
