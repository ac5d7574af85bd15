/* Text that comes from elsewhere (stores, files, their names) as it may be shown on a terminal. */
#ifndef LIP_BASE_PLAIN_H
#define LIP_BASE_PLAIN_H

#include <stdbool.h>
#include <stddef.h>

/* Copies n bytes to `to` (room for n; may be `from` itself) and returns how many these have become. What a terminal would
 * obey is a question mark: control characters (U+0000 to 1F, 7F to 9F), marks that turn the direction of writing (U+061C,
 * 200E, 200F, 202A to 202E, 2066 to 2069) or end a line (2028, 2029), and each byte that is no UTF-8. With `lines` line
 * breaks and tabs stay. */
size_t lip_str_plain(char *to, const char *from, size_t n, bool lines);

#endif
