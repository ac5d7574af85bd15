#include "core/data/dataset.h"

#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/data/sha256.h"

void lip_dataset_free(lip_dataset *d) {
  if (!d) return;
  if (!d->borrowed) {
    lip_free(d->bytes);
    lip_free(d->values);
    lip_free(d->labels);
    lip_free(d->targets);
  }
  lip_free(d);
}

lip_status lip_dataset_new(const char *name, size_t n, int ndim, const size_t *shape, lip_dataset **out,
                           lip_err *err) {
  size_t features = 1, size;
  *out = NULL;
  if (ndim < 1 || ndim > 3) return lip_fail(err, LIP_SHAPE, "a sample has 1 to 3 dimensions, not %d", ndim);
  for (int i = 0; i < ndim; i++) {
    if (shape[i] == 0) return lip_fail(err, LIP_SHAPE, "dimension %d of a sample is 0", i + 1);
    if (!lip_mul_fits(features, shape[i], &features))
      return lip_fail(err, LIP_SHAPE, "the size of a sample overflows");
  }
  if (n > UINT32_MAX || !lip_mul_fits(n, features, &size) || !lip_mul_fits(size, sizeof(float), &size))
    return lip_fail(err, LIP_SHAPE, "%zu samples of %zu values are too many", n, features);
  lip_dataset *d = lip_alloc(1, sizeof *d);
  if (!d) return lip_fail(err, LIP_MEMORY, "no memory for a data set");
  snprintf(d->name, sizeof d->name, "%s", name ? name : "");
  d->n = n;
  d->ndim = ndim;
  memcpy(d->shape, shape, (size_t)ndim * sizeof *shape);
  d->features = features;
  *out = d;
  return LIP_OK;
}

lip_status lip_dataset_alloc(lip_dataset *d, bool bytes, bool labels, size_t target_width, lip_err *err) {
  size_t size = d->n * d->features, targets; /* proved by lip_dataset_new */
  if (!lip_mul_fits(d->n, target_width, &targets))
    return lip_fail(err, LIP_SHAPE, "%zu targets of %zu values are too many", d->n, target_width);
  d->target_width = target_width;
  if (bytes) d->bytes = lip_alloc(size, 1);
  if (!bytes) d->values = lip_alloc(size, sizeof *d->values);
  if (labels) d->labels = lip_alloc(d->n, sizeof *d->labels);
  if (target_width) d->targets = lip_alloc(targets, sizeof *d->targets);
  if ((!d->bytes && !d->values) || (labels && !d->labels) || (target_width && !d->targets))
    return lip_fail(err, LIP_MEMORY, "no memory for %zu samples of %zu values", d->n, d->features);
  return LIP_OK;
}

lip_status lip_dataset_view(const lip_dataset *d, size_t first, size_t count, lip_dataset **out,
                            lip_err *err) {
  *out = NULL;
  if (first > d->n || count > d->n - first)
    return lip_fail(err, LIP_ARGUMENT, "samples %zu to %zu are not inside a data set of %zu", first + 1,
                    first + count, d->n);
  lip_dataset *v = lip_alloc(1, sizeof *v);
  if (!v) return lip_fail(err, LIP_MEMORY, "no memory for a data set");
  *v = *d;
  v->n = count;
  v->borrowed = true;
  if (v->bytes) v->bytes += first * d->features;
  if (v->values) v->values += first * d->features;
  if (v->labels) v->labels += first;
  if (v->targets) v->targets += first * d->target_width;
  *out = v;
  return LIP_OK;
}

/* Labels -1 and 1, and no others: 0 and 1 from now on. */
static void read_signs(lip_dataset *d) {
  bool minus = false;
  for (size_t i = 0; d->labels && i < d->n; i++) {
    if (d->labels[i] != -1 && d->labels[i] != 1) return;
    minus = minus || d->labels[i] == -1;
  }
  for (size_t i = 0; minus && i < d->n; i++) d->labels[i] = d->labels[i] == 1;
  if (minus) lip_dataset_note(d, "labels -1 and 1 are read as 0 and 1");
}

void lip_dataset_note(lip_dataset *d, const char *text) {
  const size_t n = strlen(d->note);
  snprintf(d->note + n, sizeof d->note - n, "%s%s", n > 0 ? "; " : "", text);
}

lip_status lip_dataset_count_classes(lip_dataset *d, size_t least, lip_err *err) {
  read_signs(d);
  d->classes = least;
  for (size_t i = 0; d->labels && i < d->n; i++) {
    int32_t y = d->labels[i];
    if (y < 0 || y >= LIP_MAX_CLASSES)
      return lip_fail(err, LIP_FORMAT, "label %zu is %d, expected 0 to %d, or -1 and 1 alone", i + 1, (int)y,
                      LIP_MAX_CLASSES - 1);
    if ((size_t)y >= d->classes) d->classes = (size_t)y + 1;
  }
  return LIP_OK;
}

void lip_dataset_set_digest(lip_dataset *d, const uint8_t *digests, size_t files) {
  lip_sha256 h;
  uint8_t all[LIP_SHA256_BYTES];
  lip_sha256_init(&h);
  lip_sha256_add(&h, digests, files * LIP_SHA256_BYTES);
  lip_sha256_end(&h, all);
  lip_sha256_hex(all, d->sha256);
}

size_t lip_dataset_bytes(const lip_dataset *d) {
  size_t cells = d->n * d->features;
  if (d->borrowed) return 0;
  return (d->bytes ? cells : 0) + (d->values ? cells * sizeof(float) : 0) +
         (d->labels ? d->n * sizeof(int32_t) : 0) + (d->targets ? d->n * d->target_width * sizeof(float) : 0);
}

/* to[i] = from[i] / 255, correctly rounded. 1/255 is split into a part of 16 bits, whose product with a byte is exact,
 * and the rest; the sum then differs from the quotient by much less than half a unit in the last place. All 256
 * values are compared with the division in the tests. */
LIP_HOT static void bytes_to_unit(const uint8_t *restrict from, float *restrict to, size_t n) {
  const float high = 0x1.0101p-8f, low = 0x1.010102p-32f;
  for (size_t i = 0; i < n; i++) {
    float b = (float)from[i];
    to[i] = b * high + b * low;
  }
}

static void fetch_ahead(const uint8_t *p, size_t n) {
#if defined(__GNUC__)
  for (size_t i = 0; i < n && i < 4096; i += 64) __builtin_prefetch(p + i);
#else
  (void)p;
  (void)n;
#endif
}

void lip_dataset_gather(const lip_dataset *d, const uint32_t *index, size_t B, float *x, int32_t *labels,
                        float *targets) {
  size_t width = d->features, T = d->target_width;
  for (size_t b = 0; x && b < B; b++) {
    /* the processor cannot guess where the next sample of a shuffled batch lies */
    if (d->bytes && b + 1 < B) fetch_ahead(d->bytes + index[b + 1] * width, width);
    if (d->bytes)
      bytes_to_unit(d->bytes + index[b] * width, x + b * width, width);
    else
      memcpy(x + b * width, d->values + index[b] * width, width * sizeof *x);
  }
  for (size_t b = 0; labels && d->labels && b < B; b++) labels[b] = d->labels[index[b]];
  for (size_t b = 0; targets && d->targets && b < B; b++)
    memcpy(targets + b * T, d->targets + index[b] * T, T * sizeof *targets);
}

/* One plane moved by (dy, dx) in place: rows are visited so that none is overwritten before it has been read. */
static void shift_plane(float *p, size_t H, size_t W, long dy, long dx) {
  size_t left = dx > 0 ? (size_t)dx : 0, right = dx < 0 ? (size_t)-dx : 0; /* columns that become 0 */
  for (size_t k = 0; k < H; k++) {
    size_t row = dy > 0 ? H - 1 - k : k;
    long source = (long)row - dy;
    float *to = p + row * W;
    if (source < 0 || source >= (long)H) {
      memset(to, 0, W * sizeof *to);
      continue;
    }
    memmove(to + left, p + (size_t)source * W + right, (W - left - right) * sizeof *to);
    memset(to, 0, left * sizeof *to);
    memset(to + W - right, 0, right * sizeof *to);
  }
}

void lip_augment_shift(float *x, size_t B, size_t C, size_t H, size_t W, size_t most, uint64_t seed,
                       uint64_t draw) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_DATA, draw);
  size_t my = most < H ? most : H, mx = most < W ? most : W;
  for (size_t b = 0; b < B; b++) {
    long dy = (long)lip_rng_below(&rng, 2 * my + 1) - (long)my;
    long dx = (long)lip_rng_below(&rng, 2 * mx + 1) - (long)mx;
    for (size_t c = 0; c < C; c++) shift_plane(x + (b * C + c) * H * W, H, W, dy, dx);
  }
}
