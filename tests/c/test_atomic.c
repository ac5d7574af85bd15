/* base/atomic: files that are there in full or not at all. */
#define _GNU_SOURCE /* lchown */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/atomic.h"
#include "core/base/mem.h"
#include "support_files.h"

static void file_appears_whole(void **state) {
  const char *dir = *state;
  char path[300];
  lip_err err;
  lip_atomic *a;
  in_dir(path, sizeof path, dir, "whole");
  assert_int_equal(lip_atomic_open(path, &a, &err), LIP_OK);
  lip_atomic_write(a, "new ", 4);
  assert_int_equal(access(path, F_OK), -1); /* not before it is complete */
  lip_atomic_write(a, "content", 7);
  assert_int_equal(lip_atomic_commit(a, &err), LIP_OK);
  assert_file(path, "new content", 11);
  assert_int_equal(files_in(dir), 1);
  /* an abandoned one leaves the old file; permissions are kept by a finished one */
  assert_int_equal(chmod(path, 0640), 0);
  assert_int_equal(lip_atomic_open(path, &a, &err), LIP_OK);
  lip_atomic_write(a, "half", 4);
  lip_atomic_abandon(a);
  lip_atomic_abandon(NULL);
  assert_file(path, "new content", 11);
  assert_int_equal(files_in(dir), 1);
  assert_int_equal(lip_atomic_open(path, &a, &err), LIP_OK);
  assert_int_equal(lip_atomic_commit(a, &err), LIP_OK);
  assert_file(path, "", 0);
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0640);
  /* a name alone stands in the current folder */
  int here = open(".", O_RDONLY);
  assert_int_equal(chdir(dir), 0);
  assert_int_equal(lip_atomic_open("plain", &a, &err), LIP_OK);
  lip_atomic_write(a, "x", 1);
  assert_int_equal(lip_atomic_commit(a, &err), LIP_OK);
  assert_file("plain", "x", 1);
  assert_int_equal(fchdir(here), 0);
  close(here);
}

/* What lies in `folder` beside `known`: the name of the one temporary file. */
static void temporary_in(const char *folder, const char *known, char *out, size_t size) {
  DIR *d = opendir(folder);
  assert_non_null(d);
  out[0] = '\0';
  for (const struct dirent *e; (e = readdir(d)) != NULL;)
    if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, known) != 0)
      snprintf(out, size, "%s", e->d_name);
  closedir(d);
}

/* A writer that is killed half way. */
static void be_killed(const char *path) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    lip_atomic *a;
    if (lip_atomic_open(path, &a, NULL) == LIP_OK) {
      lip_atomic_write(a, "half", 4);
      kill(getpid(), SIGKILL);
    }
    _exit(1);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status));
}

static void what_killed_writers_left_goes(void **state) {
  const char *dir = *state;
  char path[300], other[300], left[256], live[600];
  lip_err err;
  lip_atomic *a, *b;
  struct stat st;
  in_dir(path, sizeof path, dir, "net.x");
  in_dir(other, sizeof other, dir, "net");
  be_killed(path);
  assert_int_equal(files_in(dir), 1);
  temporary_in(dir, "", left, sizeof left);
  int folder = open(dir, O_RDONLY | O_DIRECTORY);
  assert_true(folder >= 0);
  assert_true(lip_atomic_is_left(folder, left));
  assert_false(lip_atomic_is_left(folder, "net.x"));
  assert_false(lip_atomic_is_left(folder, ".net.x.12-1.part")); /* not there */
  /* another name's writer leaves it, this name's removes it; one that is at work keeps its own */
  assert_int_equal(lip_atomic_open(other, &a, &err), LIP_OK);
  lip_atomic_abandon(a);
  assert_int_equal(files_in(dir), 1);
  assert_int_equal(lip_atomic_open(path, &a, &err), LIP_OK);
  assert_int_equal(files_in(dir), 1);
  temporary_in(dir, "", left, sizeof left);
  assert_false(lip_atomic_is_left(folder, left));
  be_killed(path);
  be_killed(path);
  assert_int_equal(files_in(dir), 2);
  assert_int_equal(lip_atomic_open(path, &b, &err), LIP_OK);
  lip_atomic_write(a, "a", 1);
  assert_int_equal(lip_atomic_commit(a, &err), LIP_OK);
  lip_atomic_write(b, "b", 1);
  assert_int_equal(lip_atomic_commit(b, &err), LIP_OK);
  assert_file(path, "b", 1);
  assert_int_equal(files_in(dir), 1);
  /* a pipe of such a name is nobody's, and is not waited for */
  snprintf(live, sizeof live, "%s/.net.x.77-1.part", dir);
  assert_int_equal(mkfifo(live, 0600), 0);
  assert_false(lip_atomic_is_left(folder, ".net.x.77-1.part"));
  assert_int_equal(lip_atomic_open(path, &a, &err), LIP_OK);
  lip_atomic_abandon(a);
  assert_int_equal(lstat(live, &st), 0);
  close(folder);
}

static void long_names_have_room(void **state) {
  const char *dir = *state;
  lip_err err;
  lip_atomic *a;
  char name[256], path[600];
  for (size_t n = 170; n <= 255; n += n < 185 || n > 240 ? 1 : 20) {
    memset(name, 'n', n);
    name[n] = '\0';
    snprintf(path, sizeof path, "%s/%s", dir, name);
    be_killed(path);
    assert_int_equal(lip_atomic_open(path, &a, &err), LIP_OK);
    lip_atomic_write(a, name, n);
    assert_int_equal(lip_atomic_commit(a, &err), LIP_OK);
    assert_file(path, name, n);
    assert_int_equal(files_in(dir), 1);
    assert_int_equal(unlink(path), 0);
  }
}

/* Writes "new" to `path` and returns the status. */
static lip_status write_new(const char *path) {
  lip_err err;
  lip_atomic *a;
  lip_status s = lip_atomic_open(path, &a, &err);
  if (s) return s;
  lip_atomic_write(a, "new", 3);
  return lip_atomic_commit(a, &err);
}

static void links_are_followed(void **state) {
  const char *dir = *state;
  char link[300], to[300], folder[300], file[300];
  struct stat st;
  in_dir(link, sizeof link, dir, "link");
  in_dir(to, sizeof to, dir, "to");
  in_dir(folder, sizeof folder, dir, "deep");
  in_dir(file, sizeof file, dir, "deep/file");
  assert_int_equal(mkdir(folder, 0755), 0);
  write_file(file, "old", 3);
  /* by way of two links, one of them relative to where it lies; the temporary file is beside the target */
  assert_int_equal(symlink("deep/file", to), 0);
  assert_int_equal(symlink(to, link), 0);
  assert_int_equal(write_new(link), LIP_OK);
  assert_file(file, "new", 3);
  assert_int_equal(lstat(link, &st), 0);
  assert_true(S_ISLNK(st.st_mode));
  assert_int_equal(files_in(folder), 1);
  assert_int_equal(unlink(file), 0); /* a link to nothing says where a file shall be */
  assert_int_equal(write_new(link), LIP_OK);
  assert_file(file, "new", 3);
  assert_int_equal(unlink(to), 0);
  assert_int_equal(symlink("link", to), 0);
  assert_int_equal(write_new(link), LIP_IO); /* in a circle */
  assert_int_equal(unlink(to), 0);
  assert_int_equal(symlink("deep", to), 0);
  assert_int_equal(write_new(link), LIP_IO); /* to a folder */
  assert_int_equal(unlink(to), 0);
  assert_int_equal(symlink("none/x", to), 0);
  assert_int_equal(write_new(link), LIP_NOT_FOUND);
  /* by a name in an open folder nothing is followed */
  lip_err err;
  lip_atomic *a;
  int at = open(dir, O_RDONLY | O_DIRECTORY);
  assert_int_equal(lip_atomic_open_in(at, "link", link, &a, &err), LIP_IO);
  assert_non_null(strstr(err.msg, "symbolic link"));
  close(at);
  assert_int_equal(unlink(file), 0);
}

/* Where everybody may write, somebody else's link would choose what is overwritten. */
static void links_of_strangers_are_refused(void **state) {
  const char *dir = *state;
  char shared[300], link[300], file[300];
  in_dir(shared, sizeof shared, dir, "shared");
  in_dir(link, sizeof link, dir, "shared/link");
  in_dir(file, sizeof file, dir, "file");
  write_file(file, "old", 3);
  assert_int_equal(mkdir(shared, 0777), 0);
  assert_int_equal(chmod(shared, 01777), 0);
  assert_int_equal(symlink(file, link), 0);
  assert_int_equal(write_new(link), LIP_OK); /* one's own */
  write_file(file, "old", 3);
  if (geteuid() != 0) {
    print_message("not root: nobody else's link can be made\n");
  } else {
    assert_int_equal(lchown(link, 12345, 12345), 0);
    assert_int_equal(write_new(link), LIP_IO);
    assert_file(file, "old", 3);
    assert_int_equal(chmod(shared, 0777), 0); /* not sticky: all may replace the file as well */
    assert_int_equal(write_new(link), LIP_OK);
  }
  assert_int_equal(unlink(link), 0);
}

static void impossible_places_are_refused(void **state) {
  const char *dir = *state;
  char path[300];
  lip_err err;
  lip_atomic *a;
  in_dir(path, sizeof path, dir, "nowhere/file");
  assert_int_equal(lip_atomic_open(path, &a, &err), LIP_NOT_FOUND);
  assert_null(a);
  assert_int_equal(lip_atomic_open(dir, &a, &err), LIP_IO); /* a folder */
  assert_int_equal(lip_atomic_open("/dev/null", &a, &err), LIP_IO);
  in_dir(path, sizeof path, dir, "sealed");
  assert_int_equal(mkdir(path, 0555), 0);
  if (geteuid() == 0) {
    print_message("running as root: the folder without permission is not tried\n");
  } else {
    in_dir(path, sizeof path, dir, "sealed/file");
    assert_int_equal(lip_atomic_open(path, &a, &err), LIP_IO);
  }
  in_dir(path, sizeof path, dir, "taken");
  assert_int_equal(lip_atomic_open(path, &a, &err), LIP_OK);
  assert_int_equal(mkdir(path, 0755), 0); /* somebody makes a folder of that name meanwhile */
  assert_int_equal(lip_atomic_commit(a, &err), LIP_IO);
  assert_int_equal(files_in(dir), 2);
}

/* A limit on the size of files stands in for a full disk: the write fails half way. */
static void full_disk_leaves_the_old_file(void **state) {
  const char *dir = *state;
  char path[300], block[4096] = {0};
  lip_err err;
  lip_atomic *a;
  struct rlimit old, low;
  in_dir(path, sizeof path, dir, "file");
  write_file(path, "old", 3);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  low = old;
  low.rlim_cur = 10000;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
  lip_status opened = lip_atomic_open(path, &a, &err);
  for (int i = 0; !opened && i < 10; i++) lip_atomic_write(a, block, sizeof block);
  lip_status status = opened ? opened : lip_atomic_commit(a, &err);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, handler);
  assert_int_equal(opened, LIP_OK);
  assert_int_equal(status, LIP_IO);
  assert_non_null(strstr(err.msg, "cannot write"));
  assert_file(path, "old", 3);
  assert_int_equal(files_in(dir), 1);
}

/* Two files change together: the second finds no room, and the first, finished and not yet committed, is given up. */
static void finished_is_not_yet_there(void **state) {
  char path[300];
  lip_err err;
  lip_atomic *a;
  in_dir(path, sizeof path, *state, "file");
  write_file(path, "old", 3);
  assert_int_equal(lip_atomic_open(path, &a, &err), LIP_OK);
  lip_atomic_write(a, "new one", 7);
  assert_int_equal(lip_atomic_finish(a, &err), LIP_OK);
  assert_int_equal(lip_atomic_finish(a, &err), LIP_OK);
  assert_file(path, "old", 3);
  assert_int_equal(lip_atomic_commit(a, &err), LIP_OK);
  assert_file(path, "new one", 7);
  assert_int_equal(lip_atomic_open(path, &a, &err), LIP_OK);
  assert_int_equal(lip_atomic_finish(a, &err), LIP_OK);
  lip_atomic_abandon(a);
  assert_file(path, "new one", 7);
  assert_int_equal(files_in(*state), 1);
}

static void no_memory_is_said(void **state) {
  char path[300];
  lip_err err;
  lip_atomic *a;
  in_dir(path, sizeof path, *state, "file");
  size_t before = lip_mem_used();
  for (size_t n = 1;; n++) {
    lip_mem_fail_nth(n);
    lip_status s = lip_atomic_open(path, &a, &err);
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(s, failed ? LIP_MEMORY : LIP_OK);
    lip_atomic_abandon(a);
    assert_int_equal(lip_mem_used(), before);
    assert_int_equal(files_in(*state), 0);
    if (!failed) break;
  }
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIR(file_appears_whole),
      IN_DIR(what_killed_writers_left_goes),
      IN_DIR(long_names_have_room),
      IN_DIR(links_are_followed),
      IN_DIR(links_of_strangers_are_refused),
      IN_DIR(impossible_places_are_refused),
      IN_DIR(full_disk_leaves_the_old_file),
      IN_DIR(finished_is_not_yet_there),
      IN_DIR(no_memory_is_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
