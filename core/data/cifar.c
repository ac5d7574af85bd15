#include "core/data/cifar.h"

#include <string.h>

#include "core/base/mem.h"
#include "core/data/gz.h"

enum { PIXELS = 3 * 32 * 32, MAX_LABEL_BYTES = 2 };

/* The records read so far; the arrays grow with what has really been read. */
typedef struct pile {
  uint8_t *bytes;
  int32_t *labels;
  size_t n, room;
  size_t label_bytes, classes;
} pile;

static lip_status make_room(pile *p, size_t room, lip_err *err) {
  if (room <= p->room) return LIP_OK;
  uint8_t *bytes = lip_realloc(p->bytes, room, PIXELS);
  if (bytes) p->bytes = bytes;
  int32_t *labels = bytes ? lip_realloc(p->labels, room, sizeof *labels) : NULL;
  if (!labels) return lip_fail(err, LIP_MEMORY, "no memory for %zu images", room);
  p->labels = labels;
  p->room = room;
  return LIP_OK;
}

static lip_status read_records(lip_reader *r, pile *p, lip_err *err) {
  uint8_t record[MAX_LABEL_BYTES + PIXELS];
  size_t size = p->label_bytes + PIXELS, got;
  for (size_t k = 1;; k++) {
    lip_status s = lip_reader_read(r, record, size, &got, err);
    if (s || got == 0) return s;
    if (got < size)
      return lip_fail(err, LIP_FORMAT, "%s: ends inside record %zu (records have %zu bytes)",
                      lip_reader_path(r), k, size);
    size_t label = record[p->label_bytes - 1];
    if (label >= p->classes)
      return lip_fail(err, LIP_FORMAT, "%s: label of record %zu is %zu, expected 0 to %zu",
                      lip_reader_path(r), k, label, p->classes - 1);
    if (p->n == p->room && (s = make_room(p, p->room + p->room / 2 + 1, err))) return s;
    memcpy(p->bytes + p->n * PIXELS, record + p->label_bytes, PIXELS);
    p->labels[p->n++] = (int32_t)label;
  }
}

/* Room for all files at once, as far as their sizes tell, so that plain files are never copied. */
static lip_status guess_room(pile *p, const char *const *paths, size_t files, lip_err *err) {
  size_t total = 0;
  for (size_t i = 0; i < files; i++) {
    lip_reader *r;
    lip_status s = lip_reader_open(paths[i], &r, err);
    if (s) return s;
    if (!lip_add_fits(total, lip_reader_guess(r), &total)) total = 0;
    lip_reader_close(r);
  }
  return make_room(p, total / (p->label_bytes + PIXELS) + 1, err);
}

static lip_status read_files(pile *p, const char *const *paths, size_t files, uint8_t *digests,
                             lip_err *err) {
  lip_status s = guess_room(p, paths, files, err);
  for (size_t i = 0; s == LIP_OK && i < files; i++) {
    lip_reader *r;
    s = lip_reader_open(paths[i], &r, err);
    if (s) return s;
    s = read_records(r, p, err);
    lip_reader_digest(r, digests + i * LIP_SHA256_BYTES);
    lip_reader_close(r);
  }
  return s;
}

lip_status lip_cifar_load(const char *name, const char *const *paths, size_t files, size_t label_bytes,
                          size_t classes, lip_dataset **out, lip_err *err) {
  const size_t shape[3] = {3, 32, 32};
  pile p = {.label_bytes = label_bytes, .classes = classes};
  *out = NULL;
  if (label_bytes < 1 || label_bytes > MAX_LABEL_BYTES)
    return lip_fail(err, LIP_ARGUMENT, "records have 1 or 2 label bytes, not %zu", label_bytes);
  uint8_t *digests = lip_alloc(files, LIP_SHA256_BYTES);
  lip_status s = digests ? LIP_OK : lip_fail(err, LIP_MEMORY, "no memory for %zu digests", files);
  if (s == LIP_OK) s = read_files(&p, paths, files, digests, err);
  if (s == LIP_OK) s = lip_dataset_new(name, p.n, 3, shape, out, err);
  if (s) {
    lip_free(p.bytes);
    lip_free(p.labels);
  } else {
    (*out)->bytes = p.bytes;
    (*out)->labels = p.labels;
    (*out)->classes = classes;
    lip_dataset_set_digest(*out, digests, files);
  }
  lip_free(digests);
  return s;
}
