/* A growing text buffer. After a failed allocation it stays valid, keeps what it had and remembers. */
#ifndef LIP_BASE_STR_H
#define LIP_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"

typedef struct lip_str {
  char *text; /* terminated, or NULL while empty */
  size_t len, cap;
  bool failed;
} lip_str; /* {0} is an empty buffer */

void lip_str_free(lip_str *s);
void lip_str_add(lip_str *s, const char *bytes, size_t n);
void lip_str_puts(lip_str *s, const char *text);
void lip_str_printf(lip_str *s, const char *fmt, ...) LIP_PRINTF(2, 3);

#endif
