#include "core/data/gz.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "core/base/file.h"
#include "core/base/mem.h"

enum { INPUT = 1 << 16 };

/* Deflate's best: a 258-byte match in two bits, so 1032 bytes out of one (zlib's technical notes). */
static const size_t deflate_limit = 1032;

struct lip_reader {
  const char *path;
  int fd;                     /* -1: of bytes in memory */
  const unsigned char *bytes; /* those that are still to come, and how many */
  size_t left;
  size_t size;   /* of the file on disk, or of the bytes in memory */
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
  r->at = r->have = 0;
  if (r->fd < 0) {
    r->have = r->left < INPUT ? r->left : INPUT;
    if (r->have > 0) memcpy(r->input, r->bytes, r->have);
    r->bytes += r->have;
    r->left -= r->have;
    return LIP_OK;
  }
  ssize_t got;
  do got = read(r->fd, r->input, INPUT);
  while (got < 0 && errno == EINTR);
  if (got < 0) return lip_file_refuse(r->path, "read", errno, err);
  r->have = (size_t)got;
  return LIP_OK;
}

static lip_status start(lip_reader *r, lip_err *err) {
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
  int fd;
  size_t size;
  *out = NULL;
  lip_status s = lip_file_open(path, &fd, &size, err);
  if (s) return s;
  lip_reader *r = lip_alloc(1, sizeof *r);
  if (!r) {
    close(fd);
    return lip_fail(err, LIP_MEMORY, "%s: out of memory", path);
  }
  r->path = path;
  r->fd = fd;
  r->size = size;
  s = start(r, err);
  if (s) {
    lip_reader_close(r);
    return s;
  }
  *out = r;
  return LIP_OK;
}

lip_status lip_reader_of(const char *name, const void *bytes, size_t n, lip_reader **out, lip_err *err) {
  lip_reader *r = *out = lip_alloc(1, sizeof *r);
  if (!r) return lip_fail(err, LIP_MEMORY, "%s: out of memory", name);
  r->path = name;
  r->fd = -1;
  r->bytes = bytes;
  r->left = r->size = n;
  lip_sha256_init(&r->hash);
  return LIP_OK;
}

void lip_reader_close(lip_reader *r) {
  if (!r) return;
  if (r->inflating) inflateEnd(&r->z);
  if (r->fd >= 0) close(r->fd);
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

lip_status lip_reader_grow(const lip_reader *r, void **block, size_t *room, size_t count, size_t size,
                           lip_err *err) {
  size_t next = *room > SIZE_MAX / 2 ? SIZE_MAX : 2 * *room;
  if (!*block) next = r->packed ? (lip_reader_guess(r) + INPUT) / size : count;
  if (next > count) next = count;
  void *bigger = lip_realloc(*block, next, size);
  if (!bigger)
    return lip_fail(err, LIP_MEMORY, "%s: out of memory (%zu values of %zu bytes)", r->path, next, size);
  *block = bigger;
  *room = next;
  return LIP_OK;
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

/* ---- texts in memory ---- */

/* A growing block that zlib writes into, and what is left of its input (zlib counts in unsigned int). */
typedef struct text_stream {
  z_stream z;
  const unsigned char *from;
  size_t rest;
  char *out;
  size_t room, size;
} text_stream;

static bool feed(text_stream *t) {
  if (t->z.avail_in == 0 && t->rest > 0) {
    size_t take = t->rest < INT_MAX ? t->rest : INT_MAX;
    t->z.next_in = (Bytef *)(uintptr_t)t->from; /* zlib's own prototype leaves out the const; it only reads */
    t->z.avail_in = (uInt)take;
    t->from += take;
    t->rest -= take;
  }
  if (t->size == t->room) {
    size_t room = t->room < SIZE_MAX / 4 ? 2 * t->room : t->room;
    char *bigger = lip_realloc(t->out, room + 1, 1);
    if (!bigger) return false;
    t->out = bigger;
    t->room = room;
  }
  size_t space = t->room - t->size < INT_MAX ? t->room - t->size : INT_MAX;
  t->z.next_out = (Bytef *)t->out + t->size;
  t->z.avail_out = (uInt)space;
  return true;
}

static lip_status start_stream(text_stream *t, const void *bytes, size_t n, size_t room, lip_err *err) {
  memset(t, 0, sizeof *t);
  t->z.zalloc = z_take;
  t->z.zfree = z_give;
  t->from = bytes;
  t->rest = n;
  t->room = room;
  t->out = lip_alloc(room + 1, 1);
  return t->out ? LIP_OK : lip_fail(err, LIP_MEMORY, "out of memory");
}

static lip_status finish_stream(text_stream *t, lip_status s, char **out, size_t *size) {
  if (s) {
    lip_free(t->out);
    t->out = NULL;
    t->size = 0;
  } else {
    t->out[t->size] = '\0';
  }
  *out = t->out;
  *size = t->size;
  return s;
}

lip_status lip_deflate(const void *bytes, size_t n, lip_packing as, char **out, size_t *size, lip_err *err) {
  text_stream t;
  lip_status s = start_stream(&t, bytes, n, n / 3 + 64, err);
  if (s) return finish_stream(&t, s, out, size);
  int window = as == LIP_GZIP ? 15 + 16 : 15, code = Z_OK; /* 16: gzip header and checksum */
  if (deflateInit2(&t.z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return finish_stream(&t, lip_fail(err, LIP_MEMORY, "out of memory"), out, size);
  while (s == LIP_OK && code != Z_STREAM_END) {
    if (!feed(&t)) {
      s = lip_fail(err, LIP_MEMORY, "out of memory");
      break;
    }
    uInt before = t.z.avail_out;
    code = deflate(&t.z, t.rest > 0 ? Z_NO_FLUSH : Z_FINISH);
    t.size += before - t.z.avail_out;
  }
  deflateEnd(&t.z);
  return finish_stream(&t, s, out, size);
}

/* One call of inflate; sets *ended after the last member. */
static lip_status inflate_some(text_stream *t, size_t cap, bool *ended, lip_err *err) {
  if (!feed(t)) return lip_fail(err, LIP_MEMORY, "out of memory");
  uInt before = t->z.avail_out;
  int code = inflate(&t->z, Z_NO_FLUSH);
  t->size += before - t->z.avail_out;
  bool more = t->z.avail_in > 0 || t->rest > 0;
  if (t->size > cap) return lip_fail(err, LIP_FORMAT, "unpacks to more than the limit of %zu bytes", cap);
  if (code == Z_MEM_ERROR) return lip_fail(err, LIP_MEMORY, "out of memory");
  if (code == Z_STREAM_END) {
    *ended = !more;
    if (more && (t->z.avail_in == 0 || *t->z.next_in != 0x1f))
      return lip_fail(err, LIP_FORMAT, "other bytes follow the packed data");
    if (more) inflateReset(&t->z);
    return LIP_OK;
  }
  if (code != Z_OK && code != Z_BUF_ERROR)
    return lip_fail(err, LIP_FORMAT, "the packed data is damaged (%s)", t->z.msg ? t->z.msg : "no detail");
  if (!more && t->z.avail_out > 0) return lip_fail(err, LIP_FORMAT, "the packed data is truncated");
  return LIP_OK;
}

lip_status lip_inflate(const void *bytes, size_t n, size_t cap, char **out, size_t *size, lip_err *err) {
  text_stream t;
  size_t guess = n < cap / 4 ? 4 * n : cap;
  lip_status s = start_stream(&t, bytes, n, guess < SIZE_MAX / 4 ? guess + 64 : 64, err);
  if (s) return finish_stream(&t, s, out, size);
  if (inflateInit2(&t.z, 15 + 32) != Z_OK) /* 32: gzip or zlib, by the header */
    return finish_stream(&t, lip_fail(err, LIP_MEMORY, "out of memory"), out, size);
  bool ended = false;
  while (s == LIP_OK && !ended) s = inflate_some(&t, cap, &ended, err);
  inflateEnd(&t.z);
  return finish_stream(&t, s, out, size);
}

uint32_t lip_crc32(uint32_t crc, const void *bytes, size_t n) {
  return (uint32_t)crc32_z(crc, bytes, n);
}
