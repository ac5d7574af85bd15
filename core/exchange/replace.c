#include "core/exchange/replace.h"

#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/io/safetensors.h"

static lip_status refuse(const char *path, lip_err *err) {
  return lip_fail(err, LIP_IO,
                  "%.200s: is there and not from such an export, it would be lost: choose another name, or "
                  "remove it",
                  path);
}

lip_status lip_replace_text(const char *path, const char *mark, lip_err *err) {
  char start[160];
  const size_t want = strlen(mark);
  size_t size, have = 0;
  int fd;
  lip_status status = lip_file_open(path, &fd, &size, err);
  if (status == LIP_NOT_FOUND) return LIP_OK;
  if (status) return status;
  while (have < want && want <= sizeof start) {
    const ssize_t got = read(fd, start + have, want - have);
    if (got <= 0) break;
    have += (size_t)got;
  }
  close(fd);
  return size == 0 || (have == want && memcmp(start, mark, want) == 0) ? LIP_OK : refuse(path, err);
}

lip_status lip_replace_arrays(const char *path, lip_err *err) {
  lip_safetensors *f;
  size_t size;
  int fd;
  lip_status status = lip_file_open(path, &fd, &size, err);
  if (status == LIP_NOT_FOUND) return LIP_OK;
  if (status) return status;
  close(fd);
  if (size == 0) return LIP_OK;
  status = lip_safetensors_open_any(path, &f, err);
  if (status == LIP_MEMORY) return status;
  if (status) return refuse(path, err);
  const char *writer = lip_safetensors_meta(f, "writer"), *format = lip_safetensors_meta(f, "format");
  const bool ours = writer && format && strncmp(writer, "lipwb", 5) == 0 && strcmp(format, "pt") == 0;
  lip_safetensors_close(f);
  return ours ? LIP_OK : refuse(path, err);
}
