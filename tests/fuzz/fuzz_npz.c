/* NPZ archives. An even first byte: the rest is the archive. An odd one: the rest is what one member of a sound archive holds,
 * so that its checksum does not stop every change. */
#include <string.h>

#include "core/base/mem.h"
#include "core/data/gz.h"
#include "core/exchange/tensors.h"
#include "fuzz.h"

static uint8_t *put(uint8_t *to, uint64_t v, size_t bytes) {
  for (size_t i = 0; i < bytes; i++, v >>= 8) *to++ = (uint8_t)v;
  return to;
}

/* From the version on: what the file's and the directory's entry of member "a.npy" have in common. */
static uint8_t *put_fields(uint8_t *to, uint32_t crc, size_t size) {
  to = put(to, 20, 2);                                /* version */
  to = put(put(put(to, 0, 2), 0, 2), 0x00210000u, 4); /* flags, stored, time */
  to = put(put(put(to, crc, 4), size, 4), size, 4);
  return put(put(to, 5, 2), 0, 2); /* of the name, of more */
}

/* A zip file with one stored member; owned by the caller. */
static uint8_t *wrap(const uint8_t *data, size_t size, size_t *n) {
  uint8_t *zip = malloc(size + 200), *p = zip;
  FUZZ_MUST(zip);
  const uint32_t crc = lip_crc32(0, data, size);
  p = put_fields(put(p, 0x04034b50, 4), crc, size);
  memcpy(p, "a.npy", 5);
  if (size > 0) memcpy(p + 5, data, size);
  p += 5 + size;
  const size_t at = (size_t)(p - zip);
  p = put_fields(put(put(p, 0x02014b50, 4), 20, 2), crc, size);
  p = put(put(p, 0, 10), 0, 4); /* comment, disk, attributes; where it is */
  memcpy(p, "a.npy", 5);
  p += 5;
  const size_t end = (size_t)(p - zip);
  p = put(put(put(p, 0x06054b50, 4), 0, 4), 0x00010001, 4);
  p = put(put(put(p, end - at, 4), at, 4), 0, 2);
  *n = (size_t)(p - zip);
  return zip;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lip_tensors *f;
  lip_err err;
  if (size < 3) return 0;
  size_t n = size - 1;
  uint8_t *zip = data[0] & 1 ? wrap(data + 1, size - 1, &n) : NULL;
  const uint8_t *bytes = zip ? zip : data + 1;
  if (bytes[0] != 'P' || bytes[1] != 'K') return 0; /* fuzz_tensors */
  const char *path = fuzz_file(0, bytes, n);
  fuzz_begin();
  if (fuzz_answer(lip_tensors_open(path, &f, &err), &err)) {
    size_t elements = 0;
    for (size_t i = 0; i < lip_tensors_count(f); i++) {
      const lip_foreign *a = lip_tensors_at(f, i);
      bool rounded;
      float *to = lip_alloc(a->n, sizeof *to);
      FUZZ_MUST(to && lip_tensors_read(f, i, to, &rounded, &err) == LIP_OK);
      elements += a->n;
      lip_free(to);
    }
    FUZZ_MUST(elements <= 1032 * n + 1024 * lip_tensors_count(f));
  }
  lip_tensors_close(f);
  /* where a directory goes on behind as many members as it speaks of, libzip (1.7) makes room for 65536 more: 2 MB at most, for
   * the next 65536 must stand in the file */
  fuzz_end(n, ((size_t)4 << 20) + (zip ? 0 : 4 * 1032 * n));
  free(zip);
  return 0;
}
