/* CIFAR: the first byte chooses label bytes and how the rest is cut into one or two files. */
#include "core/data/cifar.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  unsigned how = data[0];
  size_t files = 1 + (how >> 1 & 1), cut = files == 2 ? (size - 1) / 2 : 0;
  const char *path[2] = {fuzz_file(0, data + 1 + cut, size - 1 - cut), NULL};
  if (files == 2) path[1] = fuzz_file(1, data + 1, cut);
  size_t readable = fuzz_readable(path[0]) + (path[1] ? fuzz_readable(path[1]) : 0);
  lip_dataset *d;
  lip_err err;
  fuzz_begin();
  size_t label_bytes = 1 + (how & 1);
  if (fuzz_answer(lip_cifar_load("fuzz", path, files, label_bytes, label_bytes == 1 ? 10 : 100, &d, &err),
                  &err))
    fuzz_dataset(d);
  fuzz_end(size + readable, 0);
  return 0;
}
