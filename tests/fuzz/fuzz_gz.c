/* Packed files and texts: two readers of the same bytes must agree, and what was unpacked must survive packing. */
#include <string.h>

#include "core/base/mem.h"
#include "core/data/gz.h"
#include "fuzz.h"

enum { CAP = 1 << 16 };

static void pack_again(const char *bytes, size_t n, lip_packing as) {
  char *packed, *back;
  size_t size, got;
  lip_err err;
  FUZZ_MUST(lip_deflate(bytes, n, as, &packed, &size, &err) == LIP_OK);
  FUZZ_MUST(lip_inflate(packed, size, n, &back, &got, &err) == LIP_OK);
  FUZZ_MUST(got == n && memcmp(back, bytes, n) == 0);
  lip_free(packed);
  lip_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *path = fuzz_file(0, data, size);
  size_t readable = fuzz_readable(path), n, m;
  char *file, *text;
  lip_err err, other;
  uint8_t digest[LIP_SHA256_BYTES];
  fuzz_begin();
  bool packed = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
  bool whole = fuzz_answer(lip_read_file(path, CAP, &file, &n, digest, &err), &err);
  bool inflated = fuzz_answer(lip_inflate(data, size, CAP, &text, &m, &other), &other);
  FUZZ_MUST(whole == (file != NULL) && inflated == (text != NULL));
  if (packed) FUZZ_MUST(whole == inflated);
  if (whole && !packed) FUZZ_MUST(n == size && memcmp(file, data, size) == 0);
  if (whole && packed) FUZZ_MUST(n == m && memcmp(file, text, n) == 0);
  if (whole) FUZZ_MUST(file[n] == '\0');
  if (inflated) {
    pack_again(text, m, LIP_GZIP);
    pack_again(text, m, LIP_ZLIB);
  }
  lip_free(file);
  lip_free(text);
  fuzz_end(size + readable + (inflated ? m : 0), 0);
  return 0;
}
