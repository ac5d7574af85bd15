#include "core/data/gz.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "core/base/mem.h"

enum { INPUT = 1 << 16 };

/* Deflate's best: a 258-byte match in two bits, so 1032 bytes out of one (zlib's technical notes). */
static const size_t deflate_limit = 1032;

struct lip_reader {
  const char *path;
  FILE *file;
  size_t size;   /* of the file on disk */
  size_t handed; /* bytes handed out */
  bool packed, inflating, ended;
  z_stream z;
  lip_sha256 hash;
  unsigned char input[INPUT];
  size_t have, at; /* bytes in `input`, the next one of them */
};

static voidpf z_take(voidpf unused, uInt count, uInt size) {
  (void)unused;
  return lip_alloc(count, size);
}

static void z_give(voidpf unused, voidpf block) {
  (void)unused;
  lip_free(block);
}

/* Makes sure that `input` has at least one byte unless the file is at its end. */
static lip_status fill(lip_reader *r, lip_err *err) {
  if (r->at < r->have) return LIP_OK;
  r->at = 0;
  r->have = fread(r->input, 1, INPUT, r->file);
  if (ferror(r->file)) return lip_fail(err, LIP_IO, "%s: cannot read: %s", r->path, strerror(errno));
  return LIP_OK;
}

static lip_status start(lip_reader *r, lip_err *err) {
  struct stat info;
  if (fstat(fileno(r->file), &info) != 0)
    return lip_fail(err, LIP_IO, "%s: cannot read: %s", r->path, strerror(errno));
  if (!S_ISREG(info.st_mode)) return lip_fail(err, LIP_IO, "%s: not a regular file", r->path);
  r->size = (size_t)info.st_size;
  lip_sha256_init(&r->hash);
  lip_status s = fill(r, err);
  if (s) return s;
  r->packed = r->have >= 2 && r->input[0] == 0x1f && r->input[1] == 0x8b;
  if (!r->packed) return LIP_OK;
  r->z.zalloc = z_take;
  r->z.zfree = z_give;
  if (inflateInit2(&r->z, 15 + 16) != Z_OK) /* 16: gzip header and checksum */
    return lip_fail(err, LIP_MEMORY, "%s: out of memory", r->path);
  r->inflating = true;
  return LIP_OK;
}

lip_status lip_reader_open(const char *path, lip_reader **out, lip_err *err) {
  *out = NULL;
  FILE *file = fopen(path, "rb");
  if (!file)
    return lip_fail(err, errno == ENOENT || errno == ENOTDIR ? LIP_NOT_FOUND : LIP_IO, "%s: %s", path,
                    strerror(errno));
  lip_reader *r = lip_alloc(1, sizeof *r);
  if (!r) {
    fclose(file);
    return lip_fail(err, LIP_MEMORY, "%s: out of memory", path);
  }
  r->path = path;
  r->file = file;
  lip_status s = start(r, err);
  if (s) {
    lip_reader_close(r);
    return s;
  }
  *out = r;
  return LIP_OK;
}

void lip_reader_close(lip_reader *r) {
  if (!r) return;
  if (r->inflating) inflateEnd(&r->z);
  fclose(r->file);
  lip_free(r);
}

const char *lip_reader_path(const lip_reader *r) {
  return r->path;
}

static lip_status read_plain(lip_reader *r, unsigned char *to, size_t n, size_t *got, lip_err *err) {
  while (*got < n) {
    lip_status s = fill(r, err);
    if (s) return s;
    size_t take = r->have - r->at < n - *got ? r->have - r->at : n - *got;
    if (take == 0) break;
    memcpy(to + *got, r->input + r->at, take);
    r->at += take;
    *got += take;
  }
  return LIP_OK;
}

/* After the end of one gzip member: another one may follow (RFC 1952, section 2.2), nothing else. */
static lip_status next_member(lip_reader *r, lip_err *err) {
  lip_status s = fill(r, err);
  if (s) return s;
  if (r->at == r->have) {
    r->ended = true;
    return LIP_OK;
  }
  if (r->input[r->at] != 0x1f)
    return lip_fail(err, LIP_FORMAT, "%s: bytes that are not gzip follow the gzip data", r->path);
  inflateReset(&r->z);
  return LIP_OK;
}

static lip_status read_packed(lip_reader *r, unsigned char *to, size_t n, size_t *got, lip_err *err) {
  while (*got < n && !r->ended) {
    lip_status s = fill(r, err);
    if (s) return s;
    if (r->at == r->have)
      return lip_fail(err, LIP_FORMAT, "%s: the gzip data is truncated (after %zu unpacked bytes)", r->path,
                      r->handed + *got);
    size_t room = n - *got < INT_MAX ? n - *got : INT_MAX;
    r->z.next_in = r->input + r->at;
    r->z.avail_in = (uInt)(r->have - r->at);
    r->z.next_out = to + *got;
    r->z.avail_out = (uInt)room;
    int code = inflate(&r->z, Z_NO_FLUSH);
    r->at = r->have - r->z.avail_in;
    *got += room - r->z.avail_out;
    if (code == Z_MEM_ERROR) return lip_fail(err, LIP_MEMORY, "%s: out of memory", r->path);
    if (code == Z_STREAM_END)
      s = next_member(r, err);
    else if (code != Z_OK && code != Z_BUF_ERROR)
      s = lip_fail(err, LIP_FORMAT, "%s: the gzip data is damaged (%s)", r->path,
                   r->z.msg ? r->z.msg : "no detail");
    if (s) return s;
  }
  return LIP_OK;
}

lip_status lip_reader_read(lip_reader *r, void *to, size_t n, size_t *got, lip_err *err) {
  *got = 0;
  lip_status s = LIP_OK;
  /* in pieces that stay in the cache between unpacking and hashing */
  while (s == LIP_OK && *got < n) {
    unsigned char *piece = (unsigned char *)to + *got;
    size_t want = n - *got < INPUT ? n - *got : INPUT, part = 0;
    s = r->packed ? read_packed(r, piece, want, &part, err) : read_plain(r, piece, want, &part, err);
    lip_sha256_add(&r->hash, piece, part);
    r->handed += part;
    *got += part;
    if (part < want) break;
  }
  return s;
}

lip_status lip_reader_exact(lip_reader *r, void *to, size_t n, const char *what, lip_err *err) {
  size_t got;
  lip_status s = lip_reader_read(r, to, n, &got, err);
  if (s) return s;
  if (got < n)
    return lip_fail(err, LIP_FORMAT, "%s: the file ends inside the %s (%zu of %zu bytes)", r->path, what, got,
                    n);
  return LIP_OK;
}

lip_status lip_reader_end(lip_reader *r, lip_err *err) {
  unsigned char byte;
  size_t got;
  lip_status s = lip_reader_read(r, &byte, 1, &got, err);
  if (s) return s;
  if (got)
    return lip_fail(err, LIP_FORMAT, "%s: more bytes follow after the %zu that the header announces", r->path,
                    r->handed - 1);
  return LIP_OK;
}

lip_status lip_reader_claim(const lip_reader *r, size_t count, size_t size, lip_err *err) {
  size_t bytes, limit;
  if (!lip_mul_fits(count, size, &bytes))
    return lip_fail(err, LIP_FORMAT, "%s: the header announces more bytes than memory can address", r->path);
  if (!r->packed)
    limit = r->size > r->handed ? r->size - r->handed : 0;
  else if (!lip_mul_fits(r->size, deflate_limit, &limit))
    limit = SIZE_MAX;
  if (bytes > limit)
    return lip_fail(err, LIP_FORMAT,
                    "%s: the header announces %zu bytes, a file of %zu bytes cannot hold them", r->path,
                    bytes, r->size);
  return LIP_OK;
}

size_t lip_reader_guess(const lip_reader *r) {
  if (!r->packed) return r->size > r->handed ? r->size - r->handed : 0;
  return r->size < SIZE_MAX / 16 ? r->size * 8 : r->size;
}

void lip_reader_digest(const lip_reader *r, uint8_t digest[LIP_SHA256_BYTES]) {
  lip_sha256 copy = r->hash;
  lip_sha256_end(&copy, digest);
}

static lip_status read_rest(lip_reader *r, size_t cap, char **bytes, size_t *n, lip_err *err) {
  size_t room = lip_reader_guess(r), got = 0;
  if (room > cap) room = cap;
  *n = 0;
  *bytes = lip_alloc(room + 1, 1);
  if (!*bytes) return lip_fail(err, LIP_MEMORY, "%s: out of memory", r->path);
  for (;;) {
    lip_status s = lip_reader_read(r, *bytes + *n, room - *n, &got, err);
    if (s) return s;
    *n += got;
    if (*n < room) return LIP_OK;
    char extra; /* full: is there more? */
    s = lip_reader_read(r, &extra, 1, &got, err);
    if (s || got == 0) return s;
    if (room == cap) return lip_fail(err, LIP_FORMAT, "%s: larger than the limit of %zu bytes", r->path, cap);
    room = room < cap / 2 ? 2 * room + INPUT : cap;
    if (room > cap) room = cap;
    char *bigger = lip_realloc(*bytes, room + 1, 1);
    if (!bigger) return lip_fail(err, LIP_MEMORY, "%s: out of memory", r->path);
    *bytes = bigger;
    (*bytes)[(*n)++] = extra;
  }
}

lip_status lip_read_file(const char *path, size_t cap, char **bytes, size_t *n,
                         uint8_t digest[LIP_SHA256_BYTES], lip_err *err) {
  lip_reader *r;
  *bytes = NULL;
  *n = 0;
  lip_status s = lip_reader_open(path, &r, err);
  if (s) return s;
  s = read_rest(r, cap, bytes, n, err);
  if (s) {
    lip_free(*bytes);
    *bytes = NULL;
    *n = 0;
  } else {
    (*bytes)[*n] = '\0';
    if (digest) lip_reader_digest(r, digest);
  }
  lip_reader_close(r);
  return s;
}
