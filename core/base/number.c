#include "core/base/number.h"

#include <locale.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

/* uselocale and not setlocale: that one is for all threads at once, and belongs to the program. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t plain; /* glibc and musl keep this one ready: it takes no memory */
static _Thread_local unsigned depth;
static _Thread_local locale_t before;

static void make_plain(void) {
  plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

void lip_number_enter(void) {
  pthread_once(&once, make_plain);
  if (depth++ == 0 && plain != (locale_t)0) before = uselocale(plain);
}

void lip_number_leave(void) {
  if (depth == 0 || --depth > 0) return;
  if (plain != (locale_t)0) uselocale(before);
}

int lip_snprintf(char *to, size_t size, const char *fmt, ...) {
  va_list args;
  lip_number_enter();
  va_start(args, fmt);
  int n = vsnprintf(to, size, fmt, args);
  va_end(args);
  lip_number_leave();
  return n;
}
