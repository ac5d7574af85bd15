/* NPY: the first two bytes say how many bytes of y follow; the rest is x. The values of x are read twice, as an array
 * and as a data set, and must agree. */
#include <string.h>

#include "core/base/mem.h"
#include "core/data/npy.h"
#include "fuzz.h"

static bool same(float a, float b) {
  return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b);
}

/* All values of the file, or NULL. */
static float *array(const char *path, lip_npy *f) {
  lip_err err;
  float *values = NULL;
  if (!fuzz_answer(lip_npy_open(path, f, &err), &err)) return NULL;
  /* a header has to be believed here, as a tensor has its shape from the start: lip_reader_claim bounds it */
  size_t bytes = fuzz_readable(path);
  if (f->count > bytes) {
    lip_npy_close(f);
    return NULL;
  }
  values = lip_alloc(f->count, sizeof *values);
  FUZZ_MUST(values);
  bool good = fuzz_answer(lip_npy_read(f, values, &err), &err);
  lip_npy_close(f);
  if (good) return values;
  lip_free(values);
  return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  size_t n = (size_t)data[0] << 8 | data[1];
  if (n > size - 2) n = size - 2;
  const char *y = n ? fuzz_file(1, data + 2, n) : NULL;
  const char *x = fuzz_file(0, data + 2 + n, size - 2 - n);
  size_t readable = fuzz_readable(x) + (y ? fuzz_readable(y) : 0);
  lip_dataset *d;
  lip_npy f;
  lip_err err;
  fuzz_begin();
  float *values = array(x, &f);
  if (fuzz_answer(lip_npy_dataset("fuzz", x, y, &d, &err), &err)) {
    FUZZ_MUST(values || d->n * d->features == 0);
    for (size_t i = 0; d->values && i < d->n * d->features; i++) FUZZ_MUST(same(d->values[i], values[i]));
    fuzz_dataset(d);
  }
  lip_free(values);
  fuzz_end(size + readable, 0);
  return 0;
}
