#include "core/base/plain.h"

#include <stdint.h>

/* Bytes of the character at p, 0 when there is none: RFC 3629, so no overlong forms, no surrogates. */
static size_t decode(const unsigned char *p, size_t n, uint32_t *point) {
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  size_t len = p[0] < 0x80             ? 1
               : (p[0] & 0xe0) == 0xc0 ? 2
               : (p[0] & 0xf0) == 0xe0 ? 3
               : (p[0] & 0xf8) == 0xf0 ? 4
                                       : 0;
  if (len == 0 || len > n) return 0;
  uint32_t c = len == 1 ? p[0] : p[0] & (0xffu >> (len + 1));
  for (size_t i = 1; i < len; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
    c = c << 6 | (p[i] & 0x3fu);
  }
  if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
  *point = c;
  return len;
}

static bool is_obeyed(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x61c || c == 0x200e || c == 0x200f ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

size_t lip_str_plain(char *to, const char *from, size_t n, bool lines) {
  const unsigned char *p = (const unsigned char *)from;
  size_t made = 0;
  for (size_t i = 0; i < n;) {
    uint32_t c = 0;
    size_t len = decode(p + i, n - i, &c);
    bool kept = len > 0 && (!is_obeyed(c) || (lines && (c == '\n' || c == '\t')));
    if (!kept) to[made++] = '?';
    for (size_t k = 0; kept && k < len; k++) to[made++] = from[i + k];
    i += len ? len : 1;
  }
  return made;
}
