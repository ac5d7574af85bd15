#include "core/tensor/tensor.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"

/* ---- shape ---- */

static void set_shape(lip_tensor *t, int ndim, const size_t *shape) {
  size_t stride = 1;
  t->ndim = ndim;
  for (int d = ndim - 1; d >= 0; d--) {
    t->shape[d] = shape[d];
    t->stride[d] = stride;
    stride *= shape[d] ? shape[d] : 1; /* an empty dimension must not make the other strides meaningless */
  }
}

/* A block larger than this is a mistake in a shape, not a wish. */
static const size_t max_bytes = (size_t)1 << 40;

/* Bytes of a block of that shape. A dimension of 0 counts as 1, so that the strides stay in range too. */
static bool block_bytes(int ndim, const size_t *shape, size_t *bytes) {
  *bytes = sizeof(float);
  for (int d = 0; d < ndim; d++)
    if (!lip_mul_fits(*bytes, shape[d] ? shape[d] : 1, bytes)) return false;
  return *bytes <= max_bytes;
}

static lip_tensor empty_view(void) {
  return (lip_tensor){.ndim = 1, .stride = {1}};
}

const char *lip_shape_text(int ndim, const size_t *shape, char *buf, size_t size) {
  size_t at = 0;
  if (size == 0) return buf;
  if (ndim == 0) {
    snprintf(buf, size, "scalar");
    return buf;
  }
  buf[0] = '\0';
  for (int d = 0; d < ndim && at < size; d++) {
    int n = snprintf(buf + at, size - at, d ? "x%zu" : "%zu", shape[d]);
    if (n < 0) break;
    at += (size_t)n;
  }
  return buf;
}

/* ---- life ---- */

lip_status lip_tensor_init(lip_tensor *t, int ndim, const size_t *shape, lip_err *err) {
  char text[100];
  size_t bytes;
  *t = empty_view();
  if (ndim < 0 || ndim > LIP_MAX_DIMS)
    return lip_fail(err, LIP_SHAPE, "tensor: 0 to %d dimensions expected, got %d", LIP_MAX_DIMS, ndim);
  if (!block_bytes(ndim, shape, &bytes))
    return lip_fail(err, LIP_SHAPE, "tensor: a shape of %s is too large (at most 2^40 bytes)",
                    lip_shape_text(ndim, shape, text, sizeof text));
  lip_tensor made = {.owner = true};
  set_shape(&made, ndim, shape);
  made.data = lip_alloc(lip_tensor_size(&made), sizeof(float));
  if (!made.data)
    return lip_fail(err, LIP_MEMORY, "tensor: no memory for a shape of %s (%zu bytes)",
                    lip_shape_text(ndim, shape, text, sizeof text), bytes);
  *t = made;
  return LIP_OK;
}

lip_tensor lip_tensor_wrap(float *data, int ndim, const size_t *shape) {
  lip_tensor t = {.data = data};
  set_shape(&t, ndim, shape);
  return t;
}

void lip_tensor_free(lip_tensor *t) {
  if (!t->owner) return;
  lip_free(t->data);
  *t = empty_view();
}

/* ---- questions ---- */

size_t lip_tensor_size(const lip_tensor *t) {
  size_t n = 1;
  for (int d = 0; d < t->ndim; d++) n *= t->shape[d];
  return n;
}

bool lip_tensor_is_contiguous(const lip_tensor *t) {
  size_t stride = 1;
  for (int d = t->ndim - 1; d >= 0; d--) {
    if (t->shape[d] == 0) return true;
    if (t->shape[d] != 1 && t->stride[d] != stride) return false; /* one index: its stride is never used */
    stride *= t->shape[d];
  }
  return true;
}

bool lip_tensor_same_shape(const lip_tensor *a, const lip_tensor *b) {
  if (a->ndim != b->ndim) return false;
  for (int d = 0; d < a->ndim; d++)
    if (a->shape[d] != b->shape[d]) return false;
  return true;
}

void lip_tensor_expand(const lip_tensor *t, size_t shape[LIP_MAX_DIMS], size_t stride[LIP_MAX_DIMS]) {
  int missing = LIP_MAX_DIMS - t->ndim;
  for (int d = 0; d < LIP_MAX_DIMS; d++) {
    shape[d] = d < missing ? 1 : t->shape[d - missing];
    stride[d] = d < missing ? 0 : t->stride[d - missing];
  }
}

/* ---- views ---- */

lip_tensor lip_tensor_slice(const lip_tensor *t, int dim, size_t first, size_t last, size_t step) {
  lip_tensor v = *t;
  size_t n = last > first ? (last - first - 1) / step + 1 : 0;
  v.owner = false;
  if (n > 0) v.data = t->data + first * t->stride[dim]; /* an empty range may start behind the block: stay */
  if (n > 1) v.stride[dim] = t->stride[dim] * step;
  v.shape[dim] = n;
  return v;
}

lip_tensor lip_tensor_select(const lip_tensor *t, int dim, size_t i) {
  lip_tensor v = *t;
  v.owner = false;
  if (lip_tensor_size(t) > 0) v.data = t->data + i * t->stride[dim];
  for (int d = dim; d + 1 < t->ndim; d++) {
    v.shape[d] = t->shape[d + 1];
    v.stride[d] = t->stride[d + 1];
  }
  v.ndim = t->ndim - 1;
  return v;
}

lip_tensor lip_tensor_transpose(const lip_tensor *t, int a, int b) {
  lip_tensor v = *t;
  v.owner = false;
  v.shape[a] = t->shape[b];
  v.stride[a] = t->stride[b];
  v.shape[b] = t->shape[a];
  v.stride[b] = t->stride[a];
  return v;
}

/* ---- element by element ---- */

static void copy_row(float *to, size_t st, const float *from, size_t sf, size_t n) {
  if (st == 1 && sf == 1) {
    memcpy(to, from, n * sizeof *to);
    return;
  }
  for (size_t i = 0; i < n; i++) to[i * st] = from[i * sf];
}

void lip_tensor_copy(lip_tensor *to, const lip_tensor *from) {
  size_t n[LIP_MAX_DIMS], st[LIP_MAX_DIMS], sf[LIP_MAX_DIMS];
  size_t size = lip_tensor_size(to);
  if (size == 0 || to->data == from->data) return; /* overlap is identity */
  if (lip_tensor_is_contiguous(to) && lip_tensor_is_contiguous(from)) {
    memcpy(to->data, from->data, size * sizeof *to->data);
    return;
  }
  lip_tensor_expand(from, n, sf);
  lip_tensor_expand(to, n, st);
  for (size_t i = 0; i < n[0]; i++)
    for (size_t j = 0; j < n[1]; j++)
      for (size_t k = 0; k < n[2]; k++)
        copy_row(to->data + i * st[0] + j * st[1] + k * st[2], st[3],
                 from->data + i * sf[0] + j * sf[1] + k * sf[2], sf[3], n[3]);
}

void lip_tensor_fill(lip_tensor *t, float v) {
  size_t n[LIP_MAX_DIMS], s[LIP_MAX_DIMS];
  if (lip_tensor_size(t) == 0) return; /* a huge dimension beside an empty one would count for hours */
  lip_tensor_expand(t, n, s);
  for (size_t i = 0; i < n[0]; i++)
    for (size_t j = 0; j < n[1]; j++)
      for (size_t k = 0; k < n[2]; k++) {
        float *row = t->data + i * s[0] + j * s[1] + k * s[2];
        for (size_t l = 0; l < n[3]; l++) row[l * s[3]] = v;
      }
}
