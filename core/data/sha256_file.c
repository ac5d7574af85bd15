#include <errno.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/data/sha256.h"

lip_status lip_sha256_file(const char *path, char hex[65], lip_err *err) {
  enum { CHUNK = 1 << 16 };
  uint8_t digest[LIP_SHA256_BYTES];
  lip_sha256 hash;
  ssize_t got;
  int fd;
  lip_status status = lip_file_open(path, &fd, NULL, err);
  if (status) return status;
  unsigned char *chunk = lip_alloc(CHUNK, 1);
  lip_sha256_init(&hash);
  while (chunk && (got = read(fd, chunk, CHUNK)) > 0) lip_sha256_add(&hash, chunk, (size_t)got);
  if (!chunk)
    status = lip_fail(err, LIP_MEMORY, "out of memory for a check sum");
  else if (got < 0)
    status = lip_file_refuse(path, "read", errno, err);
  lip_free(chunk);
  close(fd);
  lip_sha256_end(&hash, digest);
  lip_sha256_hex(digest, hex);
  return status;
}
