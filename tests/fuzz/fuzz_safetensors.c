/* The container: every array and text that the header announces can be had. */
#include <string.h>

#include "core/base/mem.h"
#include "core/io/safetensors.h"
#include "fuzz.h"

static void read_all(const lip_safetensors *f) {
  lip_pair pair;
  lip_err err;
  size_t elements = 0;
  for (size_t i = 0; i < lip_safetensors_count(f); i++) {
    const lip_array *a = lip_safetensors_at(f, i);
    FUZZ_MUST(lip_safetensors_find(f, a->name) == a);
    FUZZ_MUST(a->ndim >= 0 && a->ndim <= 4 && strlen(a->name) <= LIP_SAFETENSORS_MAX_NAME);
    void *data = lip_alloc(lip_array_size(a), a->wide ? 8 : 4);
    FUZZ_MUST(data);
    FUZZ_MUST(lip_safetensors_read(f, a, data, &err) == LIP_OK);
    elements += lip_array_size(a);
    lip_free(data);
  }
  FUZZ_MUST(elements <= lip_safetensors_bytes(f) / 4);
  FUZZ_MUST(!lip_safetensors_at(f, lip_safetensors_count(f)));
  for (size_t i = 0; lip_safetensors_pair(f, i, &pair); i++)
    FUZZ_MUST(strcmp(lip_safetensors_meta(f, pair.key), pair.value) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lip_safetensors *f;
  lip_err err;
  const char *path = fuzz_file(0, data, size);
  fuzz_begin();
  if (fuzz_answer(lip_safetensors_open(path, &f, &err), &err)) {
    FUZZ_MUST(lip_safetensors_bytes(f) == size);
    read_all(f);
  }
  lip_safetensors_close(f);
  fuzz_end(size, 0);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
  return fuzz_mutate_safetensors(data, size, max, seed);
}
