#include "core/base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/number.h"

void lip_str_free(lip_str *s) {
  lip_free(s->text);
  *s = (lip_str){0};
}

void lip_str_add(lip_str *s, const char *bytes, size_t n) {
  if (s->failed) return;
  if (s->cap - s->len <= n) {
    size_t cap = (s->cap + n + 64) * 2;
    char *bigger = lip_realloc(s->text, cap, 1);
    if (!bigger) {
      s->failed = true;
      return;
    }
    s->text = bigger;
    s->cap = cap;
  }
  memcpy(s->text + s->len, bytes, n);
  s->len += n;
  s->text[s->len] = '\0';
}

void lip_str_puts(lip_str *s, const char *text) {
  lip_str_add(s, text, strlen(text));
}

void lip_str_printf(lip_str *s, const char *fmt, ...) {
  char line[512];
  va_list args;
  lip_number_enter();
  va_start(args, fmt);
  int n = vsnprintf(line, sizeof line, fmt, args);
  va_end(args);
  lip_number_leave();
  if (n < 0) return;
  lip_str_add(s, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}
