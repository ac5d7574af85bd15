/* Files for tests: a scratch folder per test, and whole files in one call. */
#ifndef LIP_TESTS_SUPPORT_FILES_H
#define LIP_TESTS_SUPPORT_FILES_H

#include <stddef.h>

/* cmocka setup and teardown: *state is the name of a fresh folder, removed with all it holds. */
int make_dir(void **state);
int remove_dir(void **state);

/* "dir/name" into out. */
void in_dir(char *out, size_t size, const char *dir, const char *name);
size_t files_in(const char *dir); /* entries, without . and .. */
void write_file(const char *path, const void *bytes, size_t n);
/* The whole file; the caller frees it with free(). */
unsigned char *read_file(const char *path, size_t *n);
/* Fails the test unless the file holds exactly these bytes. */
void assert_file(const char *path, const void *bytes, size_t n);

#endif
