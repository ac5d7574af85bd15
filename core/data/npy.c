#include "core/data/npy.h"

#include <string.h>

#include "core/base/atomic.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/data/values.h"

enum { MAX_HEADER = 10000 }; /* NumPy itself refuses longer ones (max_header_size) */

static bool little_endian(void) {
  const uint16_t one = 1;
  uint8_t first;
  memcpy(&first, &one, 1);
  return first == 1;
}

/* ---- the dictionary ---- */

typedef struct scan {
  const char *p;
  const char *path;
  lip_err *err;
} scan;

static lip_status bad(const scan *s, const char *what) {
  return lip_fail(s->err, LIP_FORMAT, "%s: the NPY header is damaged: expected %s", s->path, what);
}

static void skip_blanks(scan *s) {
  while (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r') s->p++;
}

static bool take(scan *s, char c) {
  skip_blanks(s);
  if (*s->p != c) return false;
  s->p++;
  return true;
}

/* A Python string without escapes, into text[size]. */
static bool take_string(scan *s, char *text, size_t size) {
  skip_blanks(s);
  char quote = *s->p;
  if (quote != '\'' && quote != '"') return false;
  const char *begin = ++s->p;
  while (*s->p && *s->p != quote && *s->p != '\\') s->p++;
  size_t n = (size_t)(s->p - begin);
  if (*s->p != quote || n >= size) return false;
  memcpy(text, begin, n);
  text[n] = '\0';
  s->p++;
  return true;
}

static bool take_word(scan *s, const char *word) {
  skip_blanks(s);
  size_t n = strlen(word);
  if (strncmp(s->p, word, n) != 0) return false;
  s->p += n;
  return true;
}

static lip_status take_descr(scan *s, lip_npy *f) {
  char d[32];
  if (take(s, '['))
    return lip_fail(s->err, LIP_FORMAT, "%s: arrays of structures are not supported", s->path);
  if (!take_string(s, d, sizeof d)) return bad(s, "a type such as '<f4'");
  f->kind = d[0] ? d[1] : '\0';
  f->item = f->kind && d[2] >= '1' && d[2] <= '8' && d[3] == '\0' ? (size_t)(d[2] - '0') : 0;
  f->swap = d[0] == (little_endian() ? '>' : '<');
  bool order = d[0] == '<' || d[0] == '>' || d[0] == '=' || (d[0] == '|' && f->item == 1);
  bool whole =
      (f->kind == 'i' || f->kind == 'u') && (f->item == 1 || f->item == 2 || f->item == 4 || f->item == 8);
  bool real = f->kind == 'f' && (f->item == 2 || f->item == 4 || f->item == 8);
  if (order && (whole || real || (f->kind == 'b' && f->item == 1))) return LIP_OK;
  return lip_fail(s->err, LIP_FORMAT,
                  "%s: values of type '%s' are not supported (f2, f4, f8, i1 to i8, u1 to u8, b1 are)%s",
                  s->path, d,
                  f->kind == 'O' ? ": objects would have to be unpickled, which can run any program" : "");
}

static lip_status take_shape(scan *s, lip_npy *f) {
  if (!take(s, '(')) return bad(s, "a shape in brackets");
  f->ndim = 0;
  while (!take(s, ')')) {
    size_t v = 0;
    skip_blanks(s);
    if (*s->p < '0' || *s->p > '9') return bad(s, "a whole number in the shape");
    for (; *s->p >= '0' && *s->p <= '9'; s->p++)
      if (!lip_mul_fits(v, 10, &v) || !lip_add_fits(v, (size_t)(*s->p - '0'), &v))
        return bad(s, "a shape that fits in memory");
    if (f->ndim == LIP_MAX_DIMS)
      return lip_fail(s->err, LIP_FORMAT, "%s: more than %d dimensions", s->path, LIP_MAX_DIMS);
    f->shape[f->ndim++] = v;
    if (take(s, ',')) continue;
    if (!take(s, ')')) return bad(s, "',' or ')' in the shape");
    break;
  }
  f->count = 1;
  for (int i = 0; i < f->ndim; i++)
    if (!lip_mul_fits(f->count, f->shape[i], &f->count)) return bad(s, "a shape that fits in memory");
  return LIP_OK;
}

static lip_status take_dictionary(scan *s, lip_npy *f) {
  bool descr = false, order = false, shape = false;
  if (!take(s, '{')) return bad(s, "'{'");
  while (!take(s, '}')) {
    char key[32];
    lip_status code = LIP_OK;
    if (!take_string(s, key, sizeof key) || !take(s, ':')) return bad(s, "a key and ':'");
    if (strcmp(key, "descr") == 0 && !descr) {
      descr = true;
      code = take_descr(s, f);
    } else if (strcmp(key, "fortran_order") == 0 && !order) {
      order = true;
      f->fortran = take_word(s, "True");
      if (!f->fortran && !take_word(s, "False")) code = bad(s, "True or False");
    } else if (strcmp(key, "shape") == 0 && !shape) {
      shape = true;
      code = take_shape(s, f);
    } else {
      code = bad(s, "the keys descr, fortran_order and shape, once each");
    }
    if (code) return code;
    if (take(s, ',')) continue;
    if (!take(s, '}')) return bad(s, "',' or '}'");
    break;
  }
  skip_blanks(s);
  if (!descr || !order || !shape) return bad(s, "the keys descr, fortran_order and shape");
  return *s->p ? bad(s, "nothing behind the dictionary") : LIP_OK;
}

static lip_status read_header(lip_npy *f, lip_err *err) {
  uint8_t head[12];
  char text[MAX_HEADER + 1];
  const char *path = lip_reader_path(f->reader);
  lip_status s = lip_reader_exact(f->reader, head, 8, "NPY header", err);
  if (s) return s;
  if (memcmp(head, "\x93NUMPY", 6) != 0)
    return lip_fail(err, LIP_FORMAT, "%s: not an NPY file%s", path,
                    memcmp(head, "PK", 2) == 0 ? " but an archive (NPZ): read it with lip.tensors" : "");
  if (head[6] < 1 || head[6] > 3 || head[7] != 0)
    return lip_fail(err, LIP_FORMAT, "%s: NPY version %d.%d is not known", path, head[6], head[7]);
  size_t digits = head[6] == 1 ? 2 : 4, n = 0;
  s = lip_reader_exact(f->reader, head, digits, "NPY header", err);
  if (s) return s;
  for (size_t i = digits; i-- > 0;) n = n << 8 | head[i];
  if (n > MAX_HEADER) return lip_fail(err, LIP_FORMAT, "%s: the NPY header has %zu bytes", path, n);
  s = lip_reader_exact(f->reader, text, n, "NPY header", err);
  if (s) return s;
  text[n] = '\0';
  scan in = {text, path, err};
  if (strlen(text) != n) return bad(&in, "text without zero bytes");
  s = take_dictionary(&in, f);
  return s ? s : lip_reader_claim(f->reader, f->count, f->item, err);
}

lip_status lip_npy_open(const char *path, lip_npy *f, lip_err *err) {
  *f = (lip_npy){0};
  lip_status s = lip_reader_open(path, &f->reader, err);
  if (s) return s;
  s = read_header(f, err);
  if (s) lip_npy_close(f);
  return s;
}

lip_status lip_npy_open_bytes(const char *name, const void *bytes, size_t n, lip_npy *f, lip_err *err) {
  *f = (lip_npy){0};
  lip_status s = lip_reader_of(name, bytes, n, &f->reader, err);
  if (s) return s;
  s = read_header(f, err);
  if (s) lip_npy_close(f);
  return s;
}

void lip_npy_close(lip_npy *f) {
  lip_reader_close(f->reader);
  f->reader = NULL;
}

/* ---- values ---- */

/* Where the k-th value of a column-major file belongs in row-major order, kept up to date step by step. */
typedef struct place {
  size_t index[LIP_MAX_DIMS], stride[LIP_MAX_DIMS];
  size_t at;
} place;

static place first_place(const lip_npy *f) {
  place w = {{0}, {0}, 0};
  size_t step = 1;
  for (int i = f->ndim; i-- > 0; step *= f->shape[i]) w.stride[i] = step;
  return w;
}

static void next_place(const lip_npy *f, place *w) {
  if (!f->fortran) {
    w->at++;
    return;
  }
  for (int i = 0; i < f->ndim; i++) {
    w->at += w->stride[i];
    if (++w->index[i] < f->shape[i]) return;
    w->at -= w->index[i] * w->stride[i];
    w->index[i] = 0;
  }
}

/* The next n values in the file's own order, as floats or (`bytes`) as they are. */
static lip_status read_some(lip_npy *f, void *to, bool bytes, size_t n, lip_err *err) {
  if (bytes || (f->kind == 'f' && f->item == sizeof(float) && !f->swap))
    return lip_reader_exact(f->reader, to, n * f->item, "values", err);
  uint8_t piece[8192];
  const lip_number type = {f->kind, f->item, f->swap == little_endian()};
  size_t step = sizeof piece / f->item;
  for (size_t at = 0; at < n; at += step) {
    size_t take = n - at < step ? n - at : step;
    lip_status s = lip_reader_exact(f->reader, piece, take * f->item, "values", err);
    if (s) return s;
    if (!lip_numbers_to_float(&type, piece, take, (float *)to + at)) f->rounded = true;
  }
  return LIP_OK;
}

/* A column-major file's values in row-major order, in place of *block. */
static lip_status reorder(const lip_npy *f, void **block, size_t size, lip_err *err) {
  unsigned char *to = lip_alloc(f->count, size);
  const unsigned char *from = *block;
  if (!to) return lip_fail(err, LIP_MEMORY, "%s: out of memory", lip_reader_path(f->reader));
  place w = first_place(f);
  for (size_t i = 0; i < f->count; i++, next_place(f, &w)) memcpy(to + w.at * size, from + i * size, size);
  lip_free(*block);
  *block = to;
  return LIP_OK;
}

static lip_status take_values(lip_npy *f, bool bytes, void **out, lip_err *err) {
  size_t size = bytes ? 1 : sizeof(float), room = 0, at = 0;
  void *block = NULL;
  lip_status s = LIP_OK;
  *out = NULL;
  do {
    s = lip_reader_grow(f->reader, &block, &room, f->count, size, err);
    if (s == LIP_OK) s = read_some(f, (unsigned char *)block + at * size, bytes, room - at, err);
    at = room;
  } while (s == LIP_OK && at < f->count);
  if (s == LIP_OK) s = lip_reader_end(f->reader, err);
  if (s == LIP_OK && f->fortran) s = reorder(f, &block, size, err);
  if (s)
    lip_free(block);
  else
    *out = block;
  return s;
}

lip_status lip_npy_take(lip_npy *f, float **out, lip_err *err) {
  void *block;
  lip_status s = take_values(f, false, &block, err);
  *out = block;
  return s;
}

static lip_status take_bytes(lip_npy *f, uint8_t **out, lip_err *err) {
  void *block;
  lip_status s = take_values(f, true, &block, err);
  *out = block;
  return s;
}

lip_status lip_npy_read(lip_npy *f, float *to, lip_err *err) {
  if (f->fortran) {
    float *values;
    lip_status s = lip_npy_take(f, &values, err);
    if (s == LIP_OK) memcpy(to, values, f->count * sizeof *to);
    lip_free(values);
    return s;
  }
  lip_status s = read_some(f, to, false, f->count, err);
  return s ? s : lip_reader_end(f->reader, err);
}

lip_status lip_npy_read_bytes(lip_npy *f, uint8_t *to, lip_err *err) {
  if (f->kind != 'u' || f->item != 1)
    return lip_fail(err, LIP_ARGUMENT, "%s: the values are not bytes", lip_reader_path(f->reader));
  uint8_t *bytes;
  lip_status s = take_bytes(f, &bytes, err);
  if (s == LIP_OK) memcpy(to, bytes, f->count);
  lip_free(bytes);
  return s;
}

/* ---- writing ---- */

void lip_npy_header(lip_str *s, int ndim, const size_t *shape) {
  enum { BEFORE = 10, UNIT = 64 }; /* the values start at a multiple of 64 */
  lip_str dict = {0};
  lip_str_printf(&dict, "{'descr': '%cf4', 'fortran_order': False, 'shape': (", little_endian() ? '<' : '>');
  for (int i = 0; i < ndim; i++) lip_str_printf(&dict, i ? ", %zu" : "%zu", shape[i]);
  lip_str_puts(&dict, ndim == 1 ? ",), }" : "), }");
  while ((BEFORE + dict.len + 1) % UNIT != 0 && !dict.failed) lip_str_puts(&dict, " ");
  lip_str_puts(&dict, "\n");
  const char head[BEFORE] = {
      '\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, (char)(dict.len & 255), (char)(dict.len >> 8)};
  lip_str_add(s, head, BEFORE);
  if (dict.text) lip_str_add(s, dict.text, dict.len);
  if (dict.failed) s->failed = true;
  lip_str_free(&dict);
}

lip_status lip_npy_save(const char *path, int ndim, const size_t *shape, const float *values, lip_err *err) {
  lip_str head = {0};
  size_t count = 1;
  for (int i = 0; i < ndim; i++) count *= shape[i];
  lip_npy_header(&head, ndim, shape);
  lip_atomic *file;
  lip_status s = head.failed ? lip_fail(err, LIP_MEMORY, "%s: out of memory", path) : LIP_OK;
  if (!s) s = lip_atomic_open(path, &file, err);
  if (!s) {
    lip_atomic_write(file, head.text, head.len);
    lip_atomic_write(file, values, count * sizeof *values);
    s = lip_atomic_commit(file, err);
  }
  if (s == LIP_NOT_FOUND) s = lip_fail(err, LIP_IO, "%s: cannot write: there is no such folder", path);
  lip_str_free(&head);
  return s;
}

/* ---- data sets ---- */

static lip_status read_x(const char *path, const char *name, lip_channels as, lip_dataset **out,
                         uint8_t *digest, lip_err *err) {
  lip_npy f;
  lip_layout layout;
  char note[256];
  lip_status s = lip_npy_open(path, &f, err);
  if (s) return s;
  bool bytes = f.kind == 'u' && f.item == 1;
  s = lip_layout_of(path, f.ndim, f.shape, as, &layout, note, err);
  if (s == LIP_OK) {
    s = lip_dataset_new(name, f.shape[0], layout.ndim, layout.shape, out, err);
    if (s == LIP_SHAPE) s = lip_fail(err, LIP_FORMAT, "%s: this shape cannot be a list of samples", path);
  }
  if (s == LIP_OK) s = bytes ? take_bytes(&f, &(*out)->bytes, err) : lip_npy_take(&f, &(*out)->values, err);
  if (s == LIP_OK && layout.turn) s = lip_dataset_turn(*out, err);
  if (s == LIP_OK) memcpy((*out)->note, note, sizeof note);
  lip_reader_digest(f.reader, digest);
  lip_npy_close(&f);
  return s;
}

static lip_status labels_from(lip_dataset *d, const float *y, const char *path, lip_err *err) {
  d->labels = lip_alloc(d->n, sizeof *d->labels);
  if (!d->labels) return lip_fail(err, LIP_MEMORY, "%s: out of memory", path);
  for (size_t i = 0; i < d->n; i++) {
    /* whole, because the file's type is; float32 is exact far beyond LIP_MAX_CLASSES */
    if (!(y[i] >= -1 && y[i] < LIP_MAX_CLASSES))
      return lip_fail(err, LIP_FORMAT, "%s: label %zu is %.9g, expected 0 to %d, or -1 and 1 alone", path,
                      i + 1, lip_plain(y[i]), LIP_MAX_CLASSES - 1);
    d->labels[i] = (int32_t)y[i];
  }
  return lip_dataset_count_classes(d, 0, err);
}

static lip_status read_y(const char *path, lip_dataset *d, uint8_t *digest, lip_err *err) {
  lip_npy f;
  lip_status s = lip_npy_open(path, &f, err);
  if (s) return s;
  size_t width = f.ndim == 2 ? f.shape[1] : 1;
  bool fits =
      (f.ndim == 1 || f.ndim == 2) && f.shape[0] == d->n && width > 0 && (f.kind == 'f' || width == 1);
  if (!fits) {
    char text[64];
    s = lip_fail(err, LIP_FORMAT,
                 "%s: shape %s does not go with %zu samples (labels: N whole numbers; targets: N x T)", path,
                 lip_shape_text(f.ndim, f.shape, text, sizeof text), d->n);
  } else {
    float *y;
    s = lip_npy_take(&f, &y, err);
    lip_reader_digest(f.reader, digest);
    if (s == LIP_OK && f.kind == 'f') {
      d->targets = y;
      d->target_width = width;
      y = NULL;
    } else if (s == LIP_OK) {
      s = labels_from(d, y, path, err);
    }
    lip_free(y);
  }
  lip_npy_close(&f);
  return s;
}

lip_status lip_npy_dataset(const char *name, const char *x, const char *y, lip_dataset **out, lip_err *err) {
  return lip_npy_dataset_as(name, x, y, LIP_CHANNELS_GUESS, out, err);
}

lip_status lip_npy_dataset_as(const char *name, const char *x, const char *y, lip_channels as,
                              lip_dataset **out, lip_err *err) {
  uint8_t digests[2 * LIP_SHA256_BYTES] = {0};
  lip_dataset *d = NULL;
  *out = NULL;
  lip_status s = read_x(x, name, as, &d, digests, err);
  if (s == LIP_OK && y) s = read_y(y, d, digests + LIP_SHA256_BYTES, err);
  if (s) {
    lip_dataset_free(d);
    return s;
  }
  lip_dataset_set_digest(d, digests, y ? 2 : 1);
  *out = d;
  return LIP_OK;
}
