/* IDX: the first two bytes say how many bytes of labels follow; the rest are the images. 0: no labels. */
#include "core/data/idx.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  size_t n = (size_t)data[0] << 8 | data[1];
  if (n > size - 2) n = size - 2;
  const char *labels = n ? fuzz_file(1, data + 2, n) : NULL;
  const char *images = fuzz_file(0, data + 2 + n, size - 2 - n);
  size_t readable = fuzz_readable(images) + (labels ? fuzz_readable(labels) : 0);
  lip_dataset *d;
  lip_err err;
  fuzz_begin();
  if (fuzz_answer(lip_idx_load("fuzz", images, labels, &d, NULL, &err), &err)) fuzz_dataset(d);
  fuzz_end(size + readable, 0);
  return 0;
}
