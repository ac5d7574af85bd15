#include "core/io/safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/atomic.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/io/json.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the arrays of the file are little endian: this machine's are not"
#endif

#define META "__metadata__"

size_t lip_array_size(const lip_array *a) {
  size_t n = 1;
  for (int i = 0; i < a->ndim; i++) n *= a->shape[i];
  return n;
}

static size_t width(const lip_array *a) {
  return a->item ? a->item : a->wide ? 8 : 4;
}

/* ---- writing ---- */

static bool set_offsets(lip_json *entry, uint64_t begin, uint64_t end) {
  lip_json *pair = lip_json_new_array();
  return pair && lip_json_append(pair, lip_json_new_whole(begin)) &&
                 lip_json_append(pair, lip_json_new_whole(end))
             ? lip_json_set(entry, "data_offsets", pair)
             : (lip_json_free(pair), false);
}

static bool set_shape(lip_json *entry, const lip_array *a) {
  lip_json *shape = lip_json_new_array();
  bool ok = shape != NULL;
  for (int i = 0; ok && i < a->ndim; i++) ok = lip_json_append(shape, lip_json_new_whole(a->shape[i]));
  if (ok) return lip_json_set(entry, "shape", shape);
  lip_json_free(shape);
  return false;
}

/* Adds one array to the header; *offset moves to its end. */
static bool add_entry(lip_json *header, const lip_array *a, uint64_t *offset) {
  lip_json *entry = lip_json_new_object();
  uint64_t end = *offset + (uint64_t)lip_array_size(a) * width(a);
  bool ok = entry &&
            lip_json_set(entry, "dtype",
                         lip_json_new_text(a->type   ? a->type
                                           : a->wide ? "F64"
                                                     : "F32")) &&
            set_shape(entry, a) && set_offsets(entry, *offset, end);
  *offset = end;
  if (ok) return lip_json_set(header, a->name, entry);
  lip_json_free(entry);
  return false;
}

static bool add_meta(lip_json *header, const lip_pair *meta, size_t n) {
  lip_json *object = lip_json_new_object();
  bool ok = object != NULL;
  for (size_t i = 0; ok && i < n; i++)
    ok = lip_json_set(object, meta[i].key, lip_json_new_text(meta[i].value));
  if (ok) return lip_json_set(header, META, object);
  lip_json_free(object);
  return false;
}

/* UTF-8 (RFC 3629): neither overlong forms nor surrogates nor values above U+10FFFF. */
static bool is_utf8(const char *text) {
  const unsigned char *s = (const unsigned char *)text;
  while (*s) {
    size_t more = *s < 0x80 ? 0 : *s >= 0xc2 && *s < 0xe0 ? 1 : *s >= 0xe0 && *s < 0xf0 ? 2 : 3;
    if (more == 3 && (*s < 0xf0 || *s > 0xf4)) return false;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    if (*s == 0xe0) low = 0xa0;
    if (*s == 0xed) high = 0x9f;
    if (*s == 0xf0) low = 0x90;
    if (*s == 0xf4) high = 0x8f;
    for (size_t i = 1; i <= more; i++) {
      if (s[i] < low || s[i] > high) return false;
      low = 0x80;
      high = 0xbf;
    }
    s += more + 1;
  }
  return true;
}

static lip_status check_name(const char *name, const char *what, lip_err *err) {
  size_t n = strlen(name);
  if (n == 0 || n > LIP_SAFETENSORS_MAX_NAME)
    return lip_fail(err, LIP_ARGUMENT, "%s name has %zu bytes, expected 1 to %d", what, n,
                    LIP_SAFETENSORS_MAX_NAME);
  if (strcmp(name, META) == 0)
    return lip_fail(err, LIP_ARGUMENT, "%s name \"%s\" belongs to the file format", what, name);
  if (!is_utf8(name)) return lip_fail(err, LIP_ARGUMENT, "%s name is not UTF-8", what);
  return LIP_OK;
}

static lip_status check_contents(const lip_array *array, size_t n_array, const lip_pair *meta, size_t n_meta,
                                 lip_err *err) {
  for (size_t i = 0; i < n_array; i++) {
    lip_status status = check_name(array[i].name, "array", err);
    if (status) return status;
  }
  for (size_t i = 0; i < n_meta; i++) {
    lip_status status = check_name(meta[i].key, "metadata", err);
    if (status) return status;
    if (!is_utf8(meta[i].value))
      return lip_fail(err, LIP_ARGUMENT, "metadata \"%s\" is not UTF-8 text", meta[i].key);
    for (size_t k = 0; k < i; k++)
      if (strcmp(meta[k].key, meta[i].key) == 0)
        return lip_fail(err, LIP_ARGUMENT, "metadata \"%s\" is given twice", meta[i].key);
  }
  return LIP_OK;
}

static lip_status make_header(const lip_array *array, size_t n_array, const lip_pair *meta, size_t n_meta,
                              lip_str *text, lip_err *err) {
  lip_json *header = lip_json_new_object();
  bool ok = header && (n_meta == 0 || add_meta(header, meta, n_meta));
  uint64_t offset = 0;
  for (size_t i = 0; ok && i < n_array; i++) {
    if (lip_json_get(header, array[i].name)) {
      lip_json_free(header);
      return lip_fail(err, LIP_ARGUMENT, "array \"%s\" is given twice", array[i].name);
    }
    ok = add_entry(header, &array[i], &offset);
  }
  ok = ok && lip_json_print(header, text);
  lip_json_free(header);
  while (ok && !text->failed && text->len % 8 != 0) lip_str_puts(text, " "); /* arrays start aligned */
  if (!ok || text->failed) return lip_fail(err, LIP_MEMORY, "no memory to write a file header");
  if (text->len > LIP_SAFETENSORS_MAX_HEADER)
    return lip_fail(err, LIP_UNSUPPORTED, "file header of %zu bytes, at most %zu can be read back", text->len,
                    LIP_SAFETENSORS_MAX_HEADER);
  return LIP_OK;
}

lip_status lip_safetensors_save(const char *path, const lip_array *array, size_t n_array,
                                const lip_pair *meta, size_t n_meta, lip_err *err) {
  lip_str header = {0};
  lip_atomic *a = NULL;
  lip_status status = check_contents(array, n_array, meta, n_meta, err);
  if (!status) status = make_header(array, n_array, meta, n_meta, &header, err);
  if (!status) status = lip_atomic_open(path, &a, err);
  if (!status) {
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)header.len >> 8 * i & 0xff);
    lip_atomic_write(a, length, sizeof length);
    lip_atomic_write(a, header.text, header.len);
    for (size_t i = 0; i < n_array; i++)
      lip_atomic_write(a, array[i].data, lip_array_size(&array[i]) * width(&array[i]));
    status = lip_atomic_commit(a, err);
  }
  lip_str_free(&header);
  return status;
}

/* ---- reading ---- */

struct lip_safetensors {
  int fd;
  char *path;
  bool any;              /* types that are not our own too */
  uint64_t bytes, start; /* of the file; where the arrays begin */
  lip_json *header;      /* names and metadata are lent from it */
  lip_array *array;      /* sorted by begin */
  size_t n_array;
  lip_pair *pair;
  size_t n_pair;
};

void lip_safetensors_close(lip_safetensors *f) {
  if (!f) return;
  if (f->fd >= 0) close(f->fd);
  lip_free(f->path);
  lip_json_free(f->header);
  lip_free(f->array);
  lip_free(f->pair);
  lip_free(f);
}

/* Exactly n bytes from `at`. */
static lip_status read_at(const lip_safetensors *f, uint64_t at, void *out, size_t n, lip_err *err) {
  char *p = out;
  while (n > 0) {
    ssize_t got = pread(f->fd, p, n < (size_t)1 << 30 ? n : (size_t)1 << 30, (off_t)at);
    if (got < 0) {
      if (errno == EINTR) continue;
      return lip_file_refuse(f->path, "read", errno, err);
    }
    if (got == 0) return lip_fail(err, LIP_FORMAT, "%.200s: the file ends %zu bytes early", f->path, n);
    p += got;
    at += (uint64_t)got;
    n -= (size_t)got;
  }
  return LIP_OK;
}

static lip_status open_file(const char *path, lip_safetensors *f, lip_err *err) {
  size_t size;
  f->path = lip_strdup(path);
  if (!f->path) return lip_fail(err, LIP_MEMORY, "%.200s: no memory to open it", path);
  lip_status status = lip_file_open(path, &f->fd, &size, err);
  if (!status) f->bytes = size;
  return status;
}

static lip_status read_header(lip_safetensors *f, lip_err *err) {
  unsigned char length[8];
  uint64_t n = 0;
  if (f->bytes < 10)
    return lip_fail(err, LIP_FORMAT, "%.200s: %llu bytes are too few for a safetensors file", f->path,
                    (unsigned long long)f->bytes);
  lip_status status = read_at(f, 0, length, sizeof length, err);
  if (status) return status;
  for (int i = 0; i < 8; i++) n |= (uint64_t)length[i] << 8 * i;
  if (n < 2 || n > f->bytes - 8)
    return lip_fail(err, LIP_FORMAT,
                    "%.200s: not a safetensors file, or cut short (header of %llu bytes, file of %llu)%s",
                    f->path, (unsigned long long)n, (unsigned long long)f->bytes,
                    length[0] == 8 && length[2] == 18 ? "; an ONNX file? lip.onnx reads these" : "");
  if (n > LIP_SAFETENSORS_MAX_HEADER)
    return lip_fail(err, LIP_FORMAT, "%.200s: header of %llu bytes, at most %zu are accepted", f->path,
                    (unsigned long long)n, LIP_SAFETENSORS_MAX_HEADER);
  f->start = 8 + n;
  char *text = lip_alloc((size_t)n, 1);
  if (!text) return lip_fail(err, LIP_MEMORY, "%.200s: no memory for its header", f->path);
  char what[220];
  snprintf(what, sizeof what, "%.200s", f->path);
  status = read_at(f, 8, text, (size_t)n, err);
  if (!status && text[0] != '{')
    status = lip_fail(err, LIP_FORMAT, "%.200s: not a safetensors file (its header does not start with '{')",
                      f->path);
  /* the densest entry has 4.9 bytes to each of its values and names */
  if (!status && lip_json_parts(text, (size_t)n) > n / 4 + 64)
    status = lip_fail(err, LIP_FORMAT, "%.200s: its header holds more values than entries of arrays have",
                      f->path);
  if (!status) status = lip_json_parse(text, (size_t)n, what, &f->header, err);
  lip_free(text);
  return status;
}

static lip_status bad(const lip_safetensors *f, const char *name, const char *what, lip_err *err) {
  return lip_fail(err, LIP_FORMAT, "%.180s: array \"%.80s\": %s", f->path, name, what);
}

/* Type and size of the numbers of an array; false: not one of those that are read here. */
static bool known_type(const lip_safetensors *f, const char *dtype, lip_array *a) {
  static const struct {
    const char *name;
    size_t item;
  } known[] = {{"F32", 4}, {"F64", 8}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2},
               {"I8", 1},  {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1}};
  const size_t n = f->any ? sizeof known / sizeof *known : 2;
  for (size_t i = 0; i < n; i++) {
    if (strcmp(known[i].name, dtype) != 0) continue;
    a->type = known[i].name;
    a->item = known[i].item;
    a->wide = i == 1;
    return true;
  }
  return false;
}

static lip_status bad_type(const lip_safetensors *f, const char *name, const char *dtype, lip_err *err) {
  if (!f->any) return bad(f, name, "its dtype is not F32 or F64", err);
  return lip_fail(
      err, LIP_FORMAT,
      "%.150s: array \"%.80s\": its dtype is %.20s, not one of F64, F32, F16, BF16, I8 to I64, U8 to "
      "U64, BOOL: save it as float32",
      f->path, name, dtype);
}

static lip_status read_shape(const lip_safetensors *f, const char *name, const lip_json *shape, lip_array *a,
                             size_t *bytes, lip_err *err) {
  if (!shape || lip_json_typeof(shape) != LIP_JSON_ARRAY || lip_json_size(shape) > 4)
    return bad(f, name,
               f->any ? "its shape is not a list of at most four sizes (reshape it before it is saved)"
                      : "its shape is not a list of at most four sizes",
               err);
  a->ndim = (int)lip_json_size(shape);
  *bytes = width(a);
  for (int i = 0; i < a->ndim; i++) {
    uint64_t d;
    if (!lip_json_whole(lip_json_at(shape, (size_t)i), &d) || d > SIZE_MAX)
      return bad(f, name, "a size of its shape is not a whole number", err);
    a->shape[i] = (size_t)d;
    if (!lip_mul_fits(*bytes, a->shape[i], bytes)) return bad(f, name, "its shape is too large", err);
  }
  return LIP_OK;
}

/* One entry of the header; *end is one past its last byte. */
static lip_status read_entry(const lip_safetensors *f, const char *name, const lip_json *entry, lip_array *a,
                             uint64_t *end, lip_err *err) {
  const char *dtype;
  const lip_json *shape = lip_json_get(entry, "shape"), *offsets = lip_json_get(entry, "data_offsets");
  a->name = name;
  if (strlen(name) > LIP_SAFETENSORS_MAX_NAME) return bad(f, name, "its name is too long", err);
  if (!lip_json_text(lip_json_get(entry, "dtype"), &dtype)) return bad(f, name, "it has no dtype", err);
  if (!known_type(f, dtype, a)) return bad_type(f, name, dtype, err);
  size_t bytes;
  lip_status status = read_shape(f, name, shape, a, &bytes, err);
  if (status) return status;
  if (!offsets || lip_json_size(offsets) != 2 || !lip_json_whole(lip_json_at(offsets, 0), &a->begin) ||
      !lip_json_whole(lip_json_at(offsets, 1), end))
    return bad(f, name, "data_offsets is not a pair of whole numbers", err);
  if (a->begin > *end || *end > f->bytes - f->start) return bad(f, name, "it lies outside the file", err);
  if (*end - a->begin != bytes) return bad(f, name, "its shape and its bytes disagree", err);
  return LIP_OK;
}

static int by_begin(const void *a, const void *b) {
  const lip_array *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  /* empty arrays before the one that starts at the same byte */
  size_t m = lip_array_size(x), n = lip_array_size(y);
  return m < n ? -1 : m > n;
}

static lip_status read_meta(lip_safetensors *f, const lip_json *meta, lip_err *err) {
  if (lip_json_typeof(meta) != LIP_JSON_OBJECT)
    return lip_fail(err, LIP_FORMAT, "%.200s: " META " is %s, expected an object", f->path,
                    lip_json_typename(meta));
  f->pair = lip_alloc(lip_json_size(meta), sizeof *f->pair);
  if (!f->pair) return lip_fail(err, LIP_MEMORY, "%.200s: no memory for its metadata", f->path);
  void *iter = NULL;
  const char *key;
  const lip_json *value;
  while (lip_json_next(meta, &iter, &key, &value)) {
    lip_pair *p = &f->pair[f->n_pair];
    p->key = key;
    if (!lip_json_text(value, &p->value))
      return lip_fail(err, LIP_FORMAT, "%.180s: metadata \"%.80s\" is %s, expected a text", f->path, key,
                      lip_json_typename(value));
    f->n_pair++;
  }
  return LIP_OK;
}

static lip_status read_entries(lip_safetensors *f, lip_err *err) {
  f->array = lip_alloc(lip_json_size(f->header), sizeof *f->array);
  if (!f->array) return lip_fail(err, LIP_MEMORY, "%.200s: no memory for its table", f->path);
  void *iter = NULL;
  const char *name;
  const lip_json *entry;
  while (lip_json_next(f->header, &iter, &name, &entry)) {
    uint64_t end;
    lip_status status = strcmp(name, META) == 0
                            ? read_meta(f, entry, err)
                            : read_entry(f, name, entry, &f->array[f->n_array++], &end, err);
    if (status) return status;
  }
  qsort(f->array, f->n_array, sizeof *f->array, by_begin);
  uint64_t at = 0;
  for (size_t i = 0; i < f->n_array; i++) {
    const lip_array *a = &f->array[i];
    if (a->begin != at)
      return bad(f, a->name, a->begin < at ? "it overlaps another" : "unused bytes stand before it", err);
    at += (uint64_t)lip_array_size(a) * width(a);
  }
  if (at != f->bytes - f->start)
    return lip_fail(err, LIP_FORMAT, "%.200s: %llu bytes follow the last array", f->path,
                    (unsigned long long)(f->bytes - f->start - at));
  return LIP_OK;
}

static lip_status open_as(const char *path, bool any, lip_safetensors **out, lip_err *err) {
  *out = NULL;
  lip_safetensors *f = lip_alloc(1, sizeof *f);
  if (!f) return lip_fail(err, LIP_MEMORY, "%.200s: no memory to open it", path);
  f->fd = -1;
  f->any = any;
  lip_status status = open_file(path, f, err);
  if (!status) status = read_header(f, err);
  if (!status) status = read_entries(f, err);
  if (status) {
    lip_safetensors_close(f);
    return status;
  }
  *out = f;
  return LIP_OK;
}

lip_status lip_safetensors_open(const char *path, lip_safetensors **out, lip_err *err) {
  return open_as(path, false, out, err);
}

lip_status lip_safetensors_open_any(const char *path, lip_safetensors **out, lip_err *err) {
  return open_as(path, true, out, err);
}

uint64_t lip_safetensors_bytes(const lip_safetensors *f) {
  return f->bytes;
}

const char *lip_safetensors_meta(const lip_safetensors *f, const char *key) {
  const char *value;
  return lip_json_text(lip_json_get(lip_json_get(f->header, META), key), &value) ? value : NULL;
}

size_t lip_safetensors_count(const lip_safetensors *f) {
  return f->n_array;
}

const lip_array *lip_safetensors_at(const lip_safetensors *f, size_t i) {
  return i < f->n_array ? &f->array[i] : NULL;
}

const lip_array *lip_safetensors_find(const lip_safetensors *f, const char *name) {
  for (size_t i = 0; i < f->n_array; i++)
    if (strcmp(f->array[i].name, name) == 0) return &f->array[i];
  return NULL;
}

bool lip_safetensors_pair(const lip_safetensors *f, size_t i, lip_pair *out) {
  if (i >= f->n_pair) return false;
  *out = f->pair[i];
  return true;
}

lip_status lip_safetensors_read(const lip_safetensors *f, const lip_array *a, void *data, lip_err *err) {
  return read_at(f, f->start + a->begin, data, lip_array_size(a) * width(a), err);
}
