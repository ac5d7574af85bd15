#include "support_files.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

int make_dir(void **state) {
  const char *base = getenv("TMPDIR");
  char *dir = malloc(256);
  if (!dir) return -1;
  /* thousands of small files, each flushed: memory is ten times as fast as a disk */
  if (!base || !*base) base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  snprintf(dir, 256, "%.200s/lipwb-test-XXXXXX", base);
  *state = dir;
  return mkdtemp(dir) ? 0 : -1;
}

/* The folder holds files and empty folders only. */
int remove_dir(void **state) {
  char path[600];
  DIR *d = opendir(*state);
  for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(path, sizeof path, "%s/%s", (const char *)*state, e->d_name);
    if (remove(path) != 0) print_message("cannot remove %s\n", path);
  }
  if (d) closedir(d);
  int bad = rmdir(*state);
  free(*state);
  return bad;
}

void in_dir(char *out, size_t size, const char *dir, const char *name) {
  snprintf(out, size, "%s/%s", dir, name);
}

size_t files_in(const char *dir) {
  size_t n = 0;
  DIR *d = opendir(dir);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d)) != NULL;)
    if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) n++;
  closedir(d);
  return n;
}

void write_file(const char *path, const void *bytes, size_t n) {
  unlink(path); /* some file systems flush to disk when a file is cut to nothing and written again */
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

unsigned char *read_file(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  assert_int_equal(fseek(f, 0, SEEK_END), 0);
  *n = (size_t)ftell(f);
  rewind(f);
  unsigned char *bytes = malloc(*n + 1);
  assert_non_null(bytes);
  assert_int_equal(fread(bytes, 1, *n, f), *n);
  fclose(f);
  return bytes;
}

void assert_file(const char *path, const void *bytes, size_t n) {
  size_t size;
  unsigned char *got = read_file(path, &size);
  assert_int_equal(size, n);
  assert_memory_equal(got, bytes, n);
  free(got);
}
