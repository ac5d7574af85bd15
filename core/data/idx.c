#include "core/data/idx.h"

#include <string.h>

#include "core/base/mem.h"
#include "core/data/gz.h"

enum { U8 = 0x08, I8 = 0x09, I16 = 0x0B, I32 = 0x0C, F32 = 0x0D, F64 = 0x0E, MAX_DIMS = 4 };

typedef struct head {
  int type, ndim;
  size_t item; /* bytes of one value */
  size_t shape[MAX_DIMS];
  size_t count;
} head;

static size_t item_size(int type) {
  switch (type) {
  case U8:
  case I8: return 1;
  case I16: return 2;
  case I32:
  case F32: return 4;
  case F64: return 8;
  default: return 0;
  }
}

static uint64_t big_endian(const uint8_t *p, size_t bytes) {
  uint64_t v = 0;
  for (size_t i = 0; i < bytes; i++) v = v << 8 | p[i];
  return v;
}

static lip_status read_head(lip_reader *r, head *h, lip_err *err) {
  uint8_t raw[4 * MAX_DIMS];
  const char *path = lip_reader_path(r);
  lip_status s = lip_reader_exact(r, raw, 4, "IDX header", err);
  if (s) return s;
  h->type = raw[2];
  h->ndim = raw[3];
  h->item = item_size(h->type);
  if (raw[0] != 0 || raw[1] != 0 || h->item == 0)
    return lip_fail(err, LIP_FORMAT, "%s: not an IDX file (starts with %02x %02x %02x %02x)", path, raw[0],
                    raw[1], raw[2], raw[3]);
  if (h->ndim < 1 || h->ndim > MAX_DIMS)
    return lip_fail(err, LIP_FORMAT, "%s: %d dimensions, expected 1 to %d", path, h->ndim, MAX_DIMS);
  s = lip_reader_exact(r, raw, 4 * (size_t)h->ndim, "IDX header", err);
  if (s) return s;
  h->count = 1;
  for (int i = 0; i < h->ndim; i++) {
    h->shape[i] = (size_t)big_endian(raw + 4 * i, 4);
    if (i > 0 && h->shape[i] == 0) return lip_fail(err, LIP_FORMAT, "%s: dimension %d is 0", path, i + 1);
    if (!lip_mul_fits(h->count, h->shape[i], &h->count))
      return lip_fail(err, LIP_FORMAT, "%s: the product of the dimensions overflows", path);
  }
  return lip_reader_claim(r, h->count, h->item, err);
}

static double value_of(int type, const uint8_t *p) {
  uint64_t v = big_endian(p, item_size(type));
  switch (type) {
  case U8: return (double)v;
  case I8: return (double)(int8_t)(uint8_t)v;
  case I16: return (double)(int16_t)(uint16_t)v;
  case I32: return (double)(int32_t)(uint32_t)v;
  case F32: {
    uint32_t bits = (uint32_t)v;
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
  }
  default: {
    double d;
    memcpy(&d, &v, sizeof d);
    return d;
  }
  }
}

typedef enum value_type { BYTES, FLOATS, LABELS } value_type;

/* The next n values, converted piece by piece. */
static lip_status read_some(lip_reader *r, const head *h, value_type as, void *to, size_t n, lip_err *err) {
  uint8_t piece[4096];
  size_t step = sizeof piece / h->item;
  if (as == BYTES) return lip_reader_exact(r, to, n, "samples", err);
  for (size_t at = 0; at < n; at += step) {
    size_t take = n - at < step ? n - at : step;
    lip_status s = lip_reader_exact(r, piece, take * h->item, "values", err);
    if (s) return s;
    for (size_t i = 0; i < take; i++) {
      double v = value_of(h->type, piece + i * h->item);
      if (as == FLOATS)
        ((float *)to)[at + i] = (float)v;
      else
        ((int32_t *)to)[at + i] = (int32_t)v; /* a whole number of at most 32 bits: see read_labels */
    }
  }
  return LIP_OK;
}

/* All values, in a block that grows as they come, and then the end of the file. NULL on failure. */
static lip_status read_values(lip_reader *r, const head *h, value_type as, void **out, lip_err *err) {
  size_t size = as == BYTES ? 1 : 4, room = 0, at = 0;
  void *block = NULL;
  lip_status s;
  *out = NULL;
  do {
    s = lip_reader_grow(r, &block, &room, h->count, size, err);
    if (s == LIP_OK) s = read_some(r, h, as, (unsigned char *)block + at * size, room - at, err);
    at = room;
  } while (s == LIP_OK && at < h->count);
  if (s == LIP_OK) s = lip_reader_end(r, err);
  if (s)
    lip_free(block);
  else
    *out = block;
  return s;
}

static lip_status read_labels(lip_reader *r, lip_dataset *d, lip_err *err) {
  head h;
  lip_status s = read_head(r, &h, err);
  if (s) return s;
  if (h.ndim != 1 || h.type == F32 || h.type == F64)
    return lip_fail(err, LIP_FORMAT,
                    "%s: labels are one dimension of whole numbers; this file has %d dimension%s%s",
                    lip_reader_path(r), h.ndim, h.ndim == 1 ? "" : "s",
                    h.type == F32 || h.type == F64 ? " of floating-point numbers" : "");
  if (h.count != d->n)
    return lip_fail(err, LIP_FORMAT, "%s: %zu labels for %zu samples", lip_reader_path(r), h.count, d->n);
  void *labels;
  s = read_values(r, &h, LABELS, &labels, err);
  d->labels = labels;
  return s ? s : lip_dataset_count_classes(d, 0, err);
}

static lip_status read_samples(lip_reader *r, const char *name, lip_channels as, lip_dataset **out,
                               lip_err *err) {
  head h;
  lip_layout layout;
  char note[256];
  lip_status s = read_head(r, &h, err);
  if (s == LIP_OK) s = lip_layout_of(lip_reader_path(r), h.ndim, h.shape, as, &layout, note, err);
  if (s) return s;
  s = lip_dataset_new(name, h.shape[0], layout.ndim, layout.shape, out, err);
  if (s)
    return s == LIP_SHAPE ? lip_fail(err, LIP_FORMAT, "%s: the dimensions are not usable", lip_reader_path(r))
                          : s;
  lip_dataset *d = *out;
  void *values;
  s = read_values(r, &h, h.type == U8 ? BYTES : FLOATS, &values, err);
  if (s) return s;
  if (h.type == U8)
    d->bytes = values;
  else
    d->values = values;
  memcpy(d->note, note, sizeof note);
  return layout.turn ? lip_dataset_turn(d, err) : LIP_OK;
}

lip_status lip_idx_load(const char *name, const char *images, const char *labels, lip_dataset **out,
                        uint8_t digests[2 * LIP_SHA256_BYTES], lip_err *err) {
  return lip_idx_load_as(name, images, labels, LIP_CHANNELS_GUESS, out, digests, err);
}

lip_status lip_idx_load_as(const char *name, const char *images, const char *labels, lip_channels as,
                           lip_dataset **out, uint8_t digests[2 * LIP_SHA256_BYTES], lip_err *err) {
  uint8_t own[2 * LIP_SHA256_BYTES] = {0};
  uint8_t *digest = digests ? digests : own;
  lip_dataset *d = NULL;
  lip_reader *r;
  *out = NULL;
  lip_status s = lip_reader_open(images, &r, err);
  if (s) return s;
  s = read_samples(r, name, as, &d, err);
  lip_reader_digest(r, digest);
  lip_reader_close(r);
  if (s == LIP_OK && labels) {
    s = lip_reader_open(labels, &r, err);
    if (s == LIP_OK) {
      s = read_labels(r, d, err);
      lip_reader_digest(r, digest + LIP_SHA256_BYTES);
      lip_reader_close(r);
    }
  }
  if (s) {
    lip_dataset_free(d);
    return s;
  }
  lip_dataset_set_digest(d, digest, labels ? 2 : 1);
  *out = d;
  return LIP_OK;
}
