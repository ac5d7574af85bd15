#include "core/exchange/tensors.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/data/values.h"
#include "core/exchange/npz.h"
#include "core/io/safetensors.h"

struct lip_tensors {
  lip_safetensors *file;
  lip_npz *archive; /* the other is NULL */
  lip_foreign *array;
  size_t *order;
  size_t n;
};

/* ---- names ---- */

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* Digits of the number at *s without zeros in front; *s moves behind it. */
static size_t take_digits(const char **s, const char **first) {
  while (**s == '0' && is_digit((*s)[1])) (*s)++;
  *first = *s;
  while (is_digit(**s)) (*s)++;
  return (size_t)(*s - *first);
}

int lip_name_order(const char *a, const char *b, bool *by_number) {
  const char *a0 = a, *b0 = b;
  if (by_number) *by_number = false;
  while (*a && *b) {
    if (is_digit(*a) && is_digit(*b)) {
      const char *p, *q;
      const size_t m = take_digits(&a, &p), n = take_digits(&b, &q);
      const int d = m != n ? (m < n ? -1 : 1) : strncmp(p, q, m);
      if (by_number) *by_number = d != 0;
      if (d != 0) return d;
    } else {
      if (*a != *b) return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
      a++, b++;
    }
  }
  if (*a || *b) return *a ? 1 : -1;
  return strcmp(a0, b0); /* 01 and 1 */
}

static int by_name(const void *a, const void *b) {
  const lip_foreign *const *x = a, *const *y = b;
  return lip_name_order((*x)->name, (*y)->name, NULL);
}

static lip_status sort_names(lip_tensors *f, lip_err *err) {
  const lip_foreign **list = lip_alloc(f->n, sizeof *list);
  f->order = lip_alloc(f->n, sizeof *f->order);
  if (!list || !f->order) {
    lip_free((void *)list);
    return lip_fail(err, LIP_MEMORY, "no memory for the names of %zu arrays", f->n);
  }
  for (size_t i = 0; i < f->n; i++) list[i] = &f->array[i];
  qsort((void *)list, f->n, sizeof *list, by_name);
  for (size_t i = 0; i < f->n; i++) f->order[i] = (size_t)(list[i] - f->array);
  lip_free((void *)list);
  return LIP_OK;
}

/* ---- opening ---- */

static lip_status list_safetensors(lip_tensors *f, const char *path, lip_err *err) {
  lip_status status = lip_safetensors_open_any(path, &f->file, err);
  if (status) return status;
  f->n = lip_safetensors_count(f->file);
  f->array = lip_alloc(f->n, sizeof *f->array);
  if (!f->array) return lip_fail(err, LIP_MEMORY, "%.200s: no memory for its table", path);
  for (size_t i = 0; i < f->n; i++) {
    const lip_array *a = lip_safetensors_at(f->file, i);
    f->array[i] = (lip_foreign){.name = a->name, .type = a->type, .ndim = a->ndim, .n = lip_array_size(a)};
    memcpy(f->array[i].shape, a->shape, sizeof a->shape);
  }
  return LIP_OK;
}

static lip_status list_npz(lip_tensors *f, const char *path, lip_err *err) {
  lip_status status = lip_npz_open(path, &f->archive, err);
  if (status) return status;
  f->n = lip_npz_count(f->archive);
  f->array = lip_alloc(f->n, sizeof *f->array);
  if (!f->array) return lip_fail(err, LIP_MEMORY, "%.200s: no memory for its table", path);
  for (size_t i = 0; i < f->n; i++) {
    const lip_npz_array *a = lip_npz_at(f->archive, i);
    f->array[i] = (lip_foreign){.name = a->name, .type = a->type, .ndim = a->ndim, .n = a->n};
    memcpy(f->array[i].shape, a->shape, sizeof a->shape);
  }
  return LIP_OK;
}

/* The first bytes of a file tell what it is; *n may be less than asked for. */
static lip_status peek(const char *path, unsigned char *head, size_t *n, lip_err *err) {
  int fd;
  lip_status status = lip_file_open(path, &fd, NULL, err);
  if (status) return status;
  const ssize_t got = pread(fd, head, *n, 0);
  *n = got > 0 ? (size_t)got : 0;
  close(fd);
  return LIP_OK;
}

static lip_status open_either(lip_tensors *f, const char *path, lip_err *err) {
  unsigned char head[8] = {0};
  size_t n = sizeof head;
  lip_status status = peek(path, head, &n, err);
  if (status) return status;
  if (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0) return list_npz(f, path, err);
  if (memcmp(head, "\x93NUMPY", 6) == 0)
    return lip_fail(err, LIP_FORMAT,
                    "%.200s: an NPY file holds one array without a name: read it with load_npy", path);
  /* a pickle says its protocol; as the length of a header that would be too much */
  if (head[0] == 0x80 && head[1] >= 2 && head[1] <= 5 && (head[2] >= 0x80 || head[3] > 0))
    return lip_fail(err, LIP_FORMAT,
                    "%.150s: a Python pickle, which can run any program: save it in Python with "
                    "safetensors.torch.save_file(model.state_dict(), \"net.safetensors\")",
                    path);
  return list_safetensors(f, path, err);
}

lip_status lip_tensors_open(const char *path, lip_tensors **out, lip_err *err) {
  lip_tensors *f = *out = NULL;
  f = lip_alloc(1, sizeof *f);
  if (!f) return lip_fail(err, LIP_MEMORY, "%.200s: no memory to open it", path);
  lip_status status = open_either(f, path, err);
  if (!status) status = sort_names(f, err);
  if (status) {
    lip_tensors_close(f);
    return status;
  }
  *out = f;
  return LIP_OK;
}

void lip_tensors_close(lip_tensors *f) {
  if (!f) return;
  lip_safetensors_close(f->file);
  lip_npz_close(f->archive);
  lip_free(f->array);
  lip_free(f->order);
  lip_free(f);
}

size_t lip_tensors_count(const lip_tensors *f) {
  return f->n;
}

const lip_foreign *lip_tensors_at(const lip_tensors *f, size_t i) {
  return i < f->n ? &f->array[i] : NULL;
}

const size_t *lip_tensors_order(const lip_tensors *f) {
  return f->order;
}

bool lip_tensors_is_archive(const lip_tensors *f) {
  return f->archive != NULL;
}

/* ---- numbers ---- */

/* Of a type of safetensors. */
static lip_number number_of(const lip_array *a) {
  const char kind = a->type[0] == 'B' ? (a->type[1] == 'F' ? 'e' : 'b')
                                      : (char)(a->type[0] == 'F'   ? 'f'
                                               : a->type[0] == 'I' ? 'i'
                                                                   : 'u');
  return (lip_number){kind, a->item, false};
}

lip_status lip_tensors_read(const lip_tensors *f, size_t i, float *to, bool *rounded, lip_err *err) {
  *rounded = false;
  if (f->archive) {
    const lip_npz_array *a = lip_npz_at(f->archive, i);
    if (a->n > 0) memcpy(to, a->value, a->n * sizeof *to);
    *rounded = a->rounded;
    return LIP_OK;
  }
  const lip_array *a = lip_safetensors_at(f->file, i);
  if (strcmp(a->type, "F32") == 0) return lip_safetensors_read(f->file, a, to, err);
  const size_t n = lip_array_size(a);
  const lip_number type = number_of(a);
  void *raw = lip_alloc(n, a->item);
  if (!raw) return lip_fail(err, LIP_MEMORY, "no memory to read array \"%.80s\"", a->name);
  lip_status status = lip_safetensors_read(f->file, a, raw, err);
  if (!status) *rounded = !lip_numbers_to_float(&type, raw, n, to);
  lip_free(raw);
  return status;
}
