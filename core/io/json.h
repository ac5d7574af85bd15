/* JSON values: parsed, walked, built and printed. json.c is the only file that knows the library behind it.
 *
 * A number that is infinite is stored as the text "inf" or "-inf" (JSON has no infinity) and read back as such;
 * doubles are printed with 17 significant digits, so they survive bit for bit. There is no NaN. */
#ifndef LIP_IO_JSON_H
#define LIP_IO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/str.h"

typedef struct lip_json lip_json;

typedef enum lip_json_type {
  LIP_JSON_NULL,
  LIP_JSON_BOOL,
  LIP_JSON_NUMBER,
  LIP_JSON_TEXT,
  LIP_JSON_ARRAY,
  LIP_JSON_OBJECT
} lip_json_type;

/* ---- reading ---- */

/* Arrays and objects may be nested this deep; deeper text is refused before it is parsed. */
#define LIP_JSON_MAX_DEPTH 64

/* An object or array from `n` bytes of text. `what` names the source in messages. Repeated keys, NUL characters and
 * text after the value are errors. LIP_FORMAT, LIP_MEMORY. Owned: lip_json_free. */
lip_status lip_json_parse(const char *text, size_t n, const char *what, lip_json **out, lip_err *err);
void lip_json_free(lip_json *v); /* accepts NULL */
/* How many values and names the text holds at most, without parsing it: each costs 50 to 200 bytes of memory when it is
 * parsed, and as little as two in the text. For readers of foreign files. */
size_t lip_json_parts(const char *text, size_t n);

lip_json_type lip_json_typeof(const lip_json *v);
const char *lip_json_typename(const lip_json *v); /* "an object", ...; "nothing" for NULL */

/* The member of an object, or NULL (also when v is no object). Lent. */
const lip_json *lip_json_get(const lip_json *v, const char *key);
/* Elements of an array or members of an object; 0 for anything else. */
size_t lip_json_size(const lip_json *v);
const lip_json *lip_json_at(const lip_json *array, size_t i); /* NULL outside */
/* Walks the members of an object: *iter starts as NULL; false at the end. */
bool lip_json_next(const lip_json *object, void **iter, const char **key, const lip_json **value);

/* False when v (which may be NULL) is something else. A text has no NUL inside. */
bool lip_json_text(const lip_json *v, const char **out);
bool lip_json_number(const lip_json *v, double *out); /* also "inf", "-inf" */
bool lip_json_whole(const lip_json *v,
                    uint64_t *out); /* a whole number 0 .. 2^63-1, written without a point */
bool lip_json_signed(const lip_json *v, int64_t *out); /* a whole number written without a point */
bool lip_json_bool(const lip_json *v, bool *out);

/* ---- building: NULL or false mean no memory (or text that is not UTF-8) ---- */

lip_json *lip_json_new_object(void);
lip_json *lip_json_new_array(void);
lip_json *lip_json_new_text(const char *text);
lip_json *lip_json_new_number(double v);  /* NULL for NaN; whole numbers are printed without a point */
lip_json *lip_json_new_signed(int64_t v);
lip_json *lip_json_new_whole(uint64_t v); /* NULL above 2^63-1 */
lip_json *lip_json_new_bool(bool v);
/* Both take `value` whatever happens; a NULL value gives false. */
bool lip_json_set(lip_json *object, const char *key, lip_json *value);
bool lip_json_append(lip_json *array, lip_json *value);

/* Adds the value on one line, members in the order they were set. False: no memory (`out` remembers). */
bool lip_json_print(const lip_json *v, lip_str *out);

#endif
