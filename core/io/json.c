#include "core/io/json.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/number.h"

/* The library's allocator is one setting per process, and the process may hold other users of the library (Lua
 * modules). So it is ours only inside our own calls, under a lock, and put back afterwards. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static json_malloc_t old_malloc;
static json_free_t old_free;
static bool starved; /* an allocation failed since enter() */

/* Stands before each block and says where it came from. */
typedef union origin {
  bool borrowed;
  max_align_t align;
} origin;

static void *take(size_t n) {
  origin *o = n < SIZE_MAX - sizeof *o ? lip_alloc_small(sizeof *o + n) : NULL;
  if (o) return o + 1;
  starved = true;
  return NULL;
}

/* While it parses, the library (2.14) does not notice when the buffer of the word it reads cannot grow, and then writes
 * past its end. So a parser that is refused memory is lent some that is not counted, until it has come out. */
static void *take_or_borrow(size_t n) {
  void *block = take(n);
  if (block) return block;
  origin *o = n < SIZE_MAX - sizeof *o ? malloc(sizeof *o + n) : NULL;
  if (!o) return NULL;
  o->borrowed = true;
  return o + 1;
}

static void give_back(void *block) {
  if (!block) return;
  origin *o = (origin *)block - 1;
  if (o->borrowed)
    free(o);
  else
    lip_free_small(o);
}

static void enter_with(json_malloc_t how) {
  pthread_mutex_lock(&lock);
  json_get_alloc_funcs(&old_malloc, &old_free);
  json_set_alloc_funcs(how, give_back);
  starved = false;
  lip_number_enter(); /* the library knows points of one byte only */
}

static void enter(void) {
  enter_with(take);
}

static void leave(void) {
  lip_number_leave();
  json_set_alloc_funcs(old_malloc, old_free);
  pthread_mutex_unlock(&lock);
}

/* lip_json is never defined: its pointers are the library's. */
static const json_t *in(const lip_json *v) {
  return (const json_t *)(const void *)v;
}

static json_t *in_mut(lip_json *v) {
  return (json_t *)(void *)v;
}

static lip_json *out_of(json_t *v) {
  return (lip_json *)(void *)v;
}

static const lip_json *lend(const json_t *v) {
  return (const lip_json *)(const void *)v;
}

/* ---- reading ---- */

/* What the library would have to build. The text may be anything. */
typedef struct extent {
  size_t depth; /* deepest nesting of brackets outside strings */
  size_t
      parts; /* brackets that open, commas and colons outside strings: as many values, and names of members */
} extent;

static extent extent_of(const char *text, size_t n) {
  extent e = {0, 0};
  size_t depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < n; i++) {
    char c = text[i];
    if (quoted) {
      if (c == '\\')
        i++;
      else if (c == '"')
        quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      e.parts++;
      if (++depth > e.depth) e.depth = depth;
    } else if ((c == ']' || c == '}') && depth > 0) {
      depth--;
    } else if (c == ',' || c == ':') {
      e.parts++;
    }
  }
  return e;
}

size_t lip_json_parts(const char *text, size_t n) {
  return extent_of(text, n).parts;
}

/* Whether this thread may still take what the parser needs: once under way, it cannot be told to stop (see
 * take_or_borrow). */
static bool may_take(size_t parts) {
  enum { PER_PART = 64 };
  size_t left = lip_mem_limit(SIZE_MAX);
  lip_mem_limit(left);
  return parts <= left / PER_PART;
}

lip_status lip_json_parse(const char *text, size_t n, const char *what, lip_json **out, lip_err *err) {
  *out = NULL;
  extent e = extent_of(text, n);
  if (e.depth > LIP_JSON_MAX_DEPTH)
    return lip_fail(err, LIP_FORMAT, "%s: JSON nested %zu deep, at most %d is accepted", what, e.depth,
                    LIP_JSON_MAX_DEPTH);
  if (!may_take(e.parts)) return lip_fail(err, LIP_MEMORY, "%s: no memory to read its JSON", what);
  json_error_t why;
  memset(&why, 0, sizeof why);
  enter_with(take_or_borrow);
  json_t *v = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
  bool no_memory = starved;
  if (no_memory) json_decref(v);
  leave();
  if (v && !no_memory) {
    *out = out_of(v);
    return LIP_OK;
  }
  if (no_memory) return lip_fail(err, LIP_MEMORY, "%s: no memory to read its JSON", what);
  return lip_fail(err, LIP_FORMAT, "%s: bad JSON at byte %d: %.150s", what, why.position, why.text);
}

void lip_json_free(lip_json *v) {
  if (!v) return;
  enter();
  json_decref(in_mut(v));
  leave();
}

lip_json_type lip_json_typeof(const lip_json *v) {
  switch (json_typeof(in(v))) {
  case JSON_OBJECT: return LIP_JSON_OBJECT;
  case JSON_ARRAY: return LIP_JSON_ARRAY;
  case JSON_STRING: return LIP_JSON_TEXT;
  case JSON_INTEGER:
  case JSON_REAL: return LIP_JSON_NUMBER;
  case JSON_TRUE:
  case JSON_FALSE: return LIP_JSON_BOOL;
  case JSON_NULL: break;
  }
  return LIP_JSON_NULL;
}

const char *lip_json_typename(const lip_json *v) {
  static const char *const names[] = {"null", "true or false", "a number", "a text", "an array", "an object"};
  return v ? names[lip_json_typeof(v)] : "nothing";
}

const lip_json *lip_json_get(const lip_json *v, const char *key) {
  return lend(json_object_get(in(v), key));
}

size_t lip_json_size(const lip_json *v) {
  return json_is_array(in(v)) ? json_array_size(in(v)) : json_object_size(in(v));
}

const lip_json *lip_json_at(const lip_json *array, size_t i) {
  return lend(json_array_get(in(array), i));
}

bool lip_json_next(const lip_json *object, void **iter, const char **key, const lip_json **value) {
  /* the library's iterators ask for a mutable object and do not change it */
  json_t *o = (json_t *)(uintptr_t)in(object);
  *iter = *iter ? json_object_iter_next(o, *iter) : json_object_iter(o);
  if (!*iter) return false;
  *key = json_object_iter_key(*iter);
  *value = lend(json_object_iter_value(*iter));
  return true;
}

bool lip_json_text(const lip_json *v, const char **out) {
  if (!json_is_string(in(v))) return false;
  *out = json_string_value(in(v));
  return true;
}

bool lip_json_number(const lip_json *v, double *out) {
  if (json_is_number(in(v))) {
    *out = json_number_value(in(v));
    return true;
  }
  const char *text;
  if (!lip_json_text(v, &text)) return false;
  if (strcmp(text, "inf") != 0 && strcmp(text, "-inf") != 0) return false;
  *out = text[0] == '-' ? (double)-INFINITY : (double)INFINITY;
  return true;
}

bool lip_json_whole(const lip_json *v, uint64_t *out) {
  if (!json_is_integer(in(v)) || json_integer_value(in(v)) < 0) return false;
  *out = (uint64_t)json_integer_value(in(v));
  return true;
}

bool lip_json_signed(const lip_json *v, int64_t *out) {
  if (!json_is_integer(in(v))) return false;
  *out = (int64_t)json_integer_value(in(v));
  return true;
}

bool lip_json_bool(const lip_json *v, bool *out) {
  if (!json_is_boolean(in(v))) return false;
  *out = json_is_true(in(v));
  return true;
}

/* ---- building ---- */

lip_json *lip_json_new_object(void) {
  enter();
  json_t *v = json_object();
  leave();
  return out_of(v);
}

lip_json *lip_json_new_array(void) {
  enter();
  json_t *v = json_array();
  leave();
  return out_of(v);
}

lip_json *lip_json_new_text(const char *text) {
  enter();
  json_t *v = json_string(text);
  leave();
  return out_of(v);
}

lip_json *lip_json_new_number(double x) {
  if (isnan(x)) return NULL;
  if (isinf(x)) return lip_json_new_text(x > 0 ? "inf" : "-inf");
  /* up to 2^53 every whole number is itself; -0 keeps its sign as a real */
  bool whole = x == floor(x) && fabs(x) <= 0x1p53 && !(x == 0 && signbit(x));
  enter();
  json_t *v = whole ? json_integer((json_int_t)x) : json_real(x);
  leave();
  return out_of(v);
}

lip_json *lip_json_new_signed(int64_t x) {
  enter();
  json_t *v = json_integer(x);
  leave();
  return out_of(v);
}

lip_json *lip_json_new_whole(uint64_t x) {
  return x > INT64_MAX ? NULL : lip_json_new_signed((int64_t)x);
}

lip_json *lip_json_new_bool(bool x) {
  return out_of(json_boolean(x));
}

bool lip_json_set(lip_json *object, const char *key, lip_json *value) {
  enter();
  bool ok = value && json_object_set_new(in_mut(object), key, in_mut(value)) == 0;
  leave();
  return ok;
}

bool lip_json_append(lip_json *array, lip_json *value) {
  enter();
  bool ok = value && json_array_append_new(in_mut(array), in_mut(value)) == 0;
  leave();
  return ok;
}

static int add_to(const char *bytes, size_t n, void *out) {
  lip_str_add(out, bytes, n);
  return ((const lip_str *)out)->failed ? -1 : 0;
}

bool lip_json_print(const lip_json *v, lip_str *out) {
  enter();
  int bad = json_dump_callback(in(v), add_to, out, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
  if (bad) out->failed = true;
  leave();
  return !bad;
}
