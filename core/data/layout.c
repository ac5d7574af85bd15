/* Which array is which samples. */
#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/data/dataset.h"
#include "core/tensor/tensor.h"

static bool few(size_t channels) {
  return channels == 1 || channels == 3 || channels == 4;
}

/* LIP_OK with *last, or a refusal that names both readings. */
static lip_status guess(const char *what, const size_t *dims, bool *last, char *note, lip_err *err) {
  char text[64];
  *last = few(dims[3]) && dims[1] > dims[3] && dims[2] > dims[3];
  if (!*last) return LIP_OK;
  lip_shape_text(4, dims, text, sizeof text);
  if (few(dims[1]))
    return lip_fail(err, LIP_FORMAT,
                    "%.200s: %s may be images of %zu x %zu whose %zu channel%s last (channels = \"last\") or "
                    "%zu channels of %zu x %zu (channels = \"first\"): say which",
                    what, text, dims[1], dims[2], dims[3], dims[3] == 1 ? " stands" : "s stand", dims[1],
                    dims[2], dims[3]);
  if (note)
    snprintf(note, 256,
             "%.60s: %s is read as images of %zu x %zu whose %zu channel%s last; channels = \"first\" reads "
             "%zu channels of %zu x %zu",
             what, text, dims[1], dims[2], dims[3], dims[3] == 1 ? " stands" : "s stand", dims[1], dims[2],
             dims[3]);
  return LIP_OK;
}

lip_status lip_layout_of(const char *what, int ndim, const size_t *dims, lip_channels as, lip_layout *out,
                         char note[256], lip_err *err) {
  bool last = as == LIP_CHANNELS_LAST;
  *out = (lip_layout){1, {1, 1, 1}, false}; /* one value per sample unless there are more sides */
  if (note) note[0] = '\0';
  if (ndim < 1 || ndim > 4)
    return lip_fail(err, LIP_FORMAT, "%.200s: %s is not a list of samples", what,
                    ndim < 1 ? "a single number" : "an array of more than four sides");
  if (last && ndim != 4)
    return lip_fail(err, LIP_ARGUMENT, "%.200s: channels = \"last\" is for N x H x W x C, this has %d side%s",
                    what, ndim, ndim == 1 ? "" : "s");
  if (ndim == 4 && as == LIP_CHANNELS_GUESS) {
    lip_status s = guess(what, dims, &last, note, err);
    if (s) return s;
  }
  out->ndim = ndim == 3 ? 3 : ndim > 1 ? ndim - 1 : 1;
  for (int i = 1; i < ndim; i++) out->shape[out->ndim - ndim + i] = dims[i];
  if (last) {
    out->turn = true;
    out->shape[0] = dims[3];
    out->shape[1] = dims[1];
    out->shape[2] = dims[2];
  }
  return LIP_OK;
}

lip_status lip_dataset_turn(lip_dataset *d, lip_err *err) {
  size_t C = d->shape[0], HW = d->shape[1] * d->shape[2];
  if (d->n == 0 || C == 1 || HW == 1) return LIP_OK; /* nothing to turn, or the same order */
  size_t item = d->bytes ? 1 : sizeof(float);
  unsigned char *all = d->bytes ? d->bytes : (unsigned char *)d->values;
  unsigned char *one = lip_alloc(d->features, item);
  if (!one) return lip_fail(err, LIP_MEMORY, "no memory to turn images of %zu values", d->features);
  for (size_t i = 0; i < d->n; i++) {
    unsigned char *sample = all + i * d->features * item;
    memcpy(one, sample, d->features * item);
    for (size_t c = 0; c < C; c++)
      for (size_t k = 0; k < HW; k++) memcpy(sample + (c * HW + k) * item, one + (k * C + c) * item, item);
  }
  lip_free(one);
  return LIP_OK;
}
