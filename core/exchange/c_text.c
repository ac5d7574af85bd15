/* Text of C source: names, literals, tables. Numbers are written by hand: printf's would follow the locale. */
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/exchange/c_parts.h"

static const char *const keywords[] = {
    "auto",   "break",    "case",     "char",     "const", "continue", "default", "do",     "double",
    "else",   "enum",     "extern",   "float",    "for",   "goto",     "if",      "inline", "int",
    "long",   "register", "restrict", "return",   "short", "signed",   "sizeof",  "static", "struct",
    "switch", "typedef",  "union",    "unsigned", "void",  "volatile", "while",   "main",   NULL};

/* NAME.h beside them, in a folder that is searched with -I, would be found in their place; some file systems do not
 * tell "Math.h" from "math.h" either. */
static const char *const headers[] = {"assert",   "complex", "ctype",       "errno",   "fenv",   "inttypes",
                                      "iso646",   "limits",  "locale",      "math",    "setjmp", "signal",
                                      "stdalign", "stdarg",  "stdatomic",   "stdbool", "stddef", "stdint",
                                      "stdio",    "stdlib",  "stdnoreturn", "string",  "tgmath", "threads",
                                      "time",     "uchar",   "wchar",       "wctype",  NULL};

lip_status lip_c_name(const char *name, lip_err *err) {
  static const char letters[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"; /* of no locale */
  const size_t n = strlen(name);
  const bool fits = n > 0 && n <= LIP_C_NAME && strspn(name, letters) == n && strspn(name, letters + 52) == 0;
  if (!fits)
    return lip_fail(err, LIP_OPTION,
                    "name: expected a C identifier of at most %d letters, digits and _ that starts with a "
                    "letter, got \"%.60s\"",
                    LIP_C_NAME, name);
  for (size_t i = 0; keywords[i]; i++)
    if (strcmp(name, keywords[i]) == 0)
      return lip_fail(err, LIP_OPTION,
                      "name: \"%s\" is a word of C itself; choose another one, say \"my_%s\"", name, name);
  for (size_t i = 0; headers[i]; i++)
    if (strcasecmp(name, headers[i]) == 0)
      return lip_fail(err, LIP_OPTION,
                      "name: <%s.h> is a header of C itself; choose another one, say \"my_%s\"", headers[i],
                      name);
  return LIP_OK;
}

void lip_c_put(const lip_c *c, lip_str *to, const char *text) {
  const char *name = c->conf->name;
  bool reading = false; /* an element of a constant: up to its bracket */
  for (const char *p = text; *p;) {
    const size_t plain = strcspn(p, "@$^~]");
    lip_str_add(to, p, plain);
    p += plain;
    const char sign = *p;
    p += sign != '\0';
    if (sign == '@') lip_str_puts(to, name);
    if (sign == '$')
      for (const char *q = name; *q; q++)
        lip_str_add(to, &(char){*q >= 'a' && *q <= 'z' ? (char)(*q - 'a' + 'A') : *q}, 1);
    if ((sign == '^' || sign == '~') && c->conf->progmem) {
      lip_str_puts(to, sign == '^' ? "pgm_read_float(&" : c->narrow ? "pgm_read_word(&" : "pgm_read_dword(&");
      reading = true;
    }
    if (sign == ']') {
      lip_str_puts(to, reading ? "])" : "]");
      reading = false;
    }
  }
}

void lip_c_putf(const lip_c *c, lip_str *to, const char *fmt, ...) {
  char text[1024];
  va_list list;
  va_start(list, fmt);
  const int n = vsnprintf(text, sizeof text, fmt, list);
  va_end(list);
  if (n < 0 || (size_t)n >= sizeof text)
    to->failed = true;
  else
    lip_c_put(c, to, text);
}

/* m 2^e with m in [1, 2) or 0: of m the leading bit and `digits` hexadecimal ones, those at the end that are 0 left out. */
static void hex(lip_str *to, bool minus, uint64_t fraction, int digits, int e) {
  char text[40];
  size_t n = 0;
  if (minus) text[n++] = '-';
  memcpy(text + n, "0x1", 3), n += 3;
  if (fraction) text[n++] = '.';
  for (int i = digits - 1; i >= 0 && fraction; i--) {
    const uint64_t digit = fraction >> (4 * i);
    text[n++] = "0123456789abcdef"[digit];
    fraction -= digit << (4 * i);
  }
  lip_str_add(to, text, n);
  lip_str_printf(to, "p%+d", e);
}

void lip_c_double(lip_str *to, double v) {
  int e;
  const double m = frexp(fabs(v), &e);
  if (v == 0)
    lip_str_puts(to, signbit(v) ? "-0.0" : "0.0");
  else
    hex(to, v < 0, (uint64_t)(ldexp(m, 53)) - ((uint64_t)1 << 52), 13, e - 1);
}

void lip_c_float(lip_str *to, float v) {
  lip_c_double(to, (double)v);
  lip_str_puts(to, "F");
}

static void open_table(lip_c *c, const char *type, const char *what, size_t i, size_t n) {
  lip_c_putf(c, &c->tables, "static const %s @_%s%zu[%zuU]%s = {", type, what, i, n,
             c->conf->progmem ? " PROGMEM" : "");
}

void lip_c_floats(lip_c *c, const char *what, size_t i, const float *v, size_t n) {
  lip_str *to = &c->tables;
  open_table(c, "float", what, i, n);
  for (size_t k = 0; k < n && !to->failed; k++) {
    if (!isfinite(v[k])) c->finite = false;
    lip_str_puts(to, k % 8 == 0 ? "\n  " : " ");
    lip_c_float(to, isfinite(v[k]) ? v[k] : 0);
    if (k + 1 < n) lip_str_puts(to, ",");
  }
  lip_str_puts(to, "\n};\n");
  c->constants += 4 * n;
}

void lip_c_places(lip_c *c, size_t i, const uint32_t *v, size_t n) {
  lip_str *to = &c->tables;
  open_table(c, "@_place", "from", i, n);
  for (size_t k = 0; k < n && !to->failed; k++)
    lip_str_printf(to, "%s%luU%s", k % 12 == 0 ? "\n  " : " ",
                   (unsigned long)(c->narrow && v[k] == LIP_EMIT_ZERO ? UINT16_MAX : v[k]),
                   k + 1 < n ? "," : "");
  lip_str_puts(to, "\n};\n");
  c->constants += (c->narrow ? 2 : 4) * n;
}

const char *lip_c_at(const lip_c *c, size_t i, char buf[LIP_C_EXPRESSION]) {
  const lip_c_value *home = &c->plan.value[c->plan.value[i].home];
  if (home->place == LIP_C_ROOM)
    snprintf(buf, LIP_C_EXPRESSION, "&s->room[%zuU]", home->at);
  else
    snprintf(buf, LIP_C_EXPRESSION, "%s", home->place == LIP_C_X ? "x" : "y");
  return buf;
}

void lip_c_image(const lip_shape *s, size_t dim[3]) {
  dim[0] = s->dim[0];
  dim[1] = s->ndim > 2 ? s->dim[1] : 1;
  dim[2] = s->ndim > 2 ? s->dim[2] : s->ndim > 1 ? s->dim[1] : 1;
}

void lip_c_window(lip_c *c, size_t i, const size_t in[3], const size_t out[3], const lip_c_steps *v) {
  const size_t down = v->dilation ? v->dilation[0] : 1, across = v->dilation ? v->dilation[1] : 1;
  c->windows = true;
  lip_c_putf(c, &c->tables,
             "static const @_window @_g%zu = {%zuU, %zuU, %zuU, %zuU, %zuU, %zuU, %zuU, %zuU, %zuU, %zuU, "
             "%zuU, %zuU};\n",
             i, in[1], in[2], out[1], out[2], v->kernel[0], v->kernel[1], v->stride[0], v->stride[1],
             v->padding[0], v->padding[1], down, across);
}
