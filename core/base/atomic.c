#define _GNU_SOURCE /* O_PATH */
#include "core/base/atomic.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/mem.h"

enum {
  STEM = 180,     /* bytes of the final name in a temporary one */
  LINKS = 40,     /* followed at most, as Linux does */
  HALF = PATH_MAX /* room for a path, its zero byte included */
};

struct lip_atomic {
  int fd, folder; /* -1: none */
  int error;      /* errno of the first failed write, or 0 */
  bool finished;  /* on the disk and closed, but for the lock */
  char *path;     /* for messages */
  char *name;     /* in the folder */
  char temp[STEM + 64];
};

static lip_status refuse(lip_err *err, const char *path, const char *what, int error) {
  char why[128] = "";
  const char *text = strerror_r(error, why, sizeof why); /* GNU's: the text may stand elsewhere */
  return lip_fail(err, error == ENOENT ? LIP_NOT_FOUND : LIP_IO, "%.200s: cannot %s: %s", path, what, text);
}

static void release(lip_atomic *a) {
  if (a->fd >= 0) close(a->fd);
  if (a->folder >= 0) close(a->folder);
  lip_free(a->path);
  lip_free(a->name);
  lip_free(a);
}

/* ---- temporary files of killed writers ---- */

/* ".STEM." and what follows it in `name`, or NULL. */
static const char *after_stem(const char *name, const char *final) {
  size_t n = strlen(final);
  if (n > STEM) n = STEM;
  return name[0] == '.' && strncmp(name + 1, final, n) == 0 && name[n + 1] == '.' ? name + n + 2 : NULL;
}

/* "PID-COUNT.part", to the end */
static bool is_ending(const char *text) {
  const char *p = text;
  while (isdigit((unsigned char)*p)) p++;
  if (p == text || *p != '-') return false;
  const char *count = ++p;
  while (isdigit((unsigned char)*p)) p++;
  return p > count && strcmp(p, ".part") == 0;
}

static bool is_temporary(const char *name) {
  if (name[0] != '.') return false;
  for (const char *p = strchr(name + 1, '.'); p; p = strchr(p + 1, '.'))
    if (is_ending(p + 1)) return true;
  return false;
}

/* An open and locked file of that name, or -1: its writer lives, it is no file, or nobody can tell (some network file
 * systems have no locks, and then writers hold none). */
static int take(int folder, const char *name) {
  struct stat mine, there;
  int flags = O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC;
  int fd = openat(folder, name, O_RDWR | flags);
  if (fd < 0 && errno == EACCES) fd = openat(folder, name, O_RDONLY | flags);
  if (fd < 0) return -1;
  if (fstat(fd, &mine) == 0 && S_ISREG(mine.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
      fstatat(folder, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_ino == mine.st_ino &&
      there.st_dev == mine.st_dev)
    return fd;
  close(fd);
  return -1;
}

bool lip_atomic_is_left(int folder, const char *name) {
  if (!is_temporary(name)) return false;
  int fd = take(folder, name);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

/* Removes what killed writers of this name have left. A folder that cannot be listed is left alone. */
static void sweep_up(int folder, const char *final) {
  int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
  if (!dir) {
    if (fd >= 0) close(fd);
    return;
  }
  const struct dirent *entry;
  while ((entry = readdir(dir)) != NULL) {
    const char *rest = after_stem(entry->d_name, final);
    if (!rest || !is_ending(rest)) continue;
    int left = take(folder, entry->d_name);
    if (left < 0) continue;
    unlinkat(folder, entry->d_name, 0); /* while it is ours: its writer cannot come back to it */
    close(left);
  }
  closedir(dir);
}

/* A new file beside the final one, locked. Names carry the process and a counter; one that is taken is skipped, and so
 * is one that somebody else has swept up before it was locked. */
static int create(lip_atomic *a) {
  static atomic_uint counter;
  struct stat st;
  for (int tries = 0; tries < 100; tries++) {
    snprintf(a->temp, sizeof a->temp, ".%.*s.%ld-%u.part", STEM, a->name, (long)getpid(),
             atomic_fetch_add(&counter, 1u) & 0xffffffu);
    int fd = openat(a->folder, a->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno != EEXIST) return -1;
    if (fd < 0) continue;
    bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; /* or there are no locks here */
    if (locked && fstat(fd, &st) == 0 && st.st_nlink > 0) return fd;
    close(fd);
  }
  errno = EEXIST;
  return -1;
}

/* ---- where to write ---- */

/* As the kernel does for open (protected_symlinks in proc(5)): in a folder where everybody may write, and nobody may
 * remove what is another's, links are followed only when they are one's own, or the folder's owner's. */
static bool may_follow(const char *path, const char *slash, const struct stat *link) {
  char folder[HALF];
  struct stat st;
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
  if (stat(folder, &st) != 0) return false;
  bool open_to_all = (st.st_mode & S_ISVTX) && (st.st_mode & S_IWOTH);
  return !open_to_all || link->st_uid == geteuid() || link->st_uid == st.st_uid;
}

/* Replaces `path` (room for HALF bytes) by what it leads to, as long as that is a symbolic link; 0 or an errno. */
static int follow(char *path) {
  char target[HALF];
  struct stat st;
  for (int i = 0; i < LINKS; i++) {
    if (lstat(path, &st) != 0 || !S_ISLNK(st.st_mode)) return 0;
    char *slash = strrchr(path, '/');
    if (!may_follow(path, slash, &st)) return EACCES;
    ssize_t n = readlink(path, target, sizeof target);
    if (n < 0) return errno;
    size_t before = target[0] != '/' && slash ? (size_t)(slash - path) + 1 : 0;
    if (n == 0 || before + (size_t)n >= HALF) return ENAMETOOLONG;
    memcpy(path + before, target, (size_t)n);
    path[before + (size_t)n] = '\0';
  }
  return ELOOP;
}

/* Opens the folder of `path` and cuts the path down to the name in it; 0 or an errno. */
static int open_folder(char *path, const char **name, int *folder) {
  char *slash = strrchr(path, '/');
  *name = slash ? slash + 1 : path;
  if (slash) *slash = '\0';
  const char *where = !slash ? "." : slash == path ? "/" : path;
  *folder = open(where, O_PATH | O_DIRECTORY | O_CLOEXEC); /* writable is enough, it need not be readable */
  if (*folder < 0) return errno;
  return **name ? 0 : EISDIR;
}

static lip_status open_in(int folder, const char *name, const char *path, lip_atomic **out, lip_err *err) {
  struct stat st;
  bool old = fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
  if (old && !S_ISREG(st.st_mode)) {
    close(folder);
    return lip_fail(err, LIP_IO, "%.200s: cannot write: it is %s", path,
                    S_ISLNK(st.st_mode) ? "a symbolic link" : "not a regular file");
  }
  lip_atomic *a = lip_alloc(1, sizeof *a);
  if (a) {
    a->fd = -1;
    a->folder = folder;
    a->path = lip_strdup(path);
    a->name = lip_strdup(name);
  }
  if (!a || !a->path || !a->name) {
    if (a)
      release(a);
    else
      close(folder);
    return lip_fail(err, LIP_MEMORY, "%.200s: no memory to write it", path);
  }
  sweep_up(folder, name);
  a->fd = create(a);
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

lip_status lip_atomic_open(const char *path, lip_atomic **out, lip_err *err) {
  *out = NULL;
  char full[HALF];
  const char *name;
  int folder = -1, error = ENAMETOOLONG;
  if (strlen(path) < sizeof full) {
    strcpy(full, path);
    error = follow(full);
    if (!error) error = open_folder(full, &name, &folder);
  }
  if (error) {
    if (folder >= 0) close(folder);
    return refuse(err, path, "create a file beside it", error);
  }
  return open_in(folder, name, path, out, err);
}

lip_status lip_atomic_open_in(int folder, const char *name, const char *path, lip_atomic **out,
                              lip_err *err) {
  *out = NULL;
  int own = fcntl(folder, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return refuse(err, path, "create it", errno);
  return open_in(own, name, path, out, err);
}

/* ---- writing ---- */

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
static int flush_folder(int folder) {
  int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno == EACCES ? 0 : errno; /* a folder may be writable and not readable */
  int error = fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP ? errno : 0;
  close(fd);
  return error;
}

/* Closes the file; 0 or an errno. Some file systems report a full disk only here. What is left open is the lock: it
 * must outlast the temporary name. */
static int close_but_lock(lip_atomic *a) {
  int lock = fcntl(a->fd, F_DUPFD_CLOEXEC, 0);
  if (lock < 0) return errno;
  int error = close(a->fd) != 0 && errno != EINTR ? errno : 0;
  a->fd = lock;
  return error;
}

lip_status lip_atomic_finish(lip_atomic *a, lip_err *err) {
  if (!a->error && !a->finished) {
    if (fsync(a->fd) != 0) a->error = errno;
    if (!a->error) a->error = close_but_lock(a);
    a->finished = true;
  }
  return a->error ? refuse(err, a->path, "write", a->error) : LIP_OK;
}

lip_status lip_atomic_commit(lip_atomic *a, lip_err *err) {
  lip_status status = lip_atomic_finish(a, err);
  if (!status && renameat(a->folder, a->temp, a->folder, a->name) != 0)
    status = refuse(err, a->path, "rename the finished file", errno);
  if (status) {
    lip_atomic_abandon(a);
    return status;
  }
  const int error = flush_folder(a->folder);
  if (error) status = refuse(err, a->path, "flush its folder", error);
  release(a);
  return status;
}

void lip_atomic_abandon(lip_atomic *a) {
  if (!a) return;
  unlinkat(a->folder, a->temp, 0);
  release(a);
}
