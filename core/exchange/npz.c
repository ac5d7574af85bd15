#include "core/exchange/npz.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

#include "core/base/atomic.h"
#include "core/base/file.h"
#include "core/base/mem.h"
#include "core/base/number.h"
#include "core/data/npy.h"
#include "core/io/params.h"

/* Deflate's best, and what its first block may cost beside. */
enum { DEFLATE = 1032, SLACK = 1024 };

struct lip_npz {
  const char *path; /* lent while it is read */
  zip_t *zip;
  size_t bytes;  /* of the file */
  size_t packed; /* of the members seen so far */
  size_t plain;  /* the same, unpacked */
  lip_npz_array *array;
  size_t n;
};

void lip_npz_close(lip_npz *f) {
  if (!f) return;
  if (f->zip) zip_discard(f->zip);
  for (size_t i = 0; f->array && i < f->n; i++) {
    lip_free(f->array[i].name);
    lip_free(f->array[i].value);
  }
  lip_free(f->array);
  lip_free(f);
}

static lip_status no_memory(const lip_npz *f, lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "%.200s: no memory to read it", f->path);
}

static lip_status bad(const lip_npz *f, const char *member, const char *what, lip_err *err) {
  return lip_fail(err, LIP_FORMAT, "%.160s: member \"%.80s\" %s", f->path, member, what);
}

/* ---- one member ---- */

/* What the archive says of member i: proved to be something that can be unpacked, and that the file can hold. */
static lip_status look(lip_npz *f, size_t i, zip_stat_t *st, lip_err *err) {
  const zip_uint64_t need =
      ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  if (zip_stat_index(f->zip, i, 0, st) != 0 || (st->valid & need) != need)
    return lip_fail(err, LIP_FORMAT, "%.200s: member %zu of the archive is damaged", f->path, i + 1);
  const size_t len = strlen(st->name);
  if (len >= 8 && strcmp(st->name + len - 8, "data.pkl") == 0)
    return lip_fail(
        err, LIP_FORMAT,
        "%.150s: a file of torch.save, a Python pickle, which can run any program: save it in Python with "
        "safetensors.torch.save_file(model.state_dict(), \"net.safetensors\")",
        f->path);
  if (st->encryption_method != ZIP_EM_NONE) return bad(f, st->name, "is encrypted", err);
  if (st->comp_method != ZIP_CM_STORE && st->comp_method != ZIP_CM_DEFLATE)
    return bad(f, st->name, "is packed in another way than numpy.savez and savez_compressed do", err);
  if (len <= 4 || strcmp(st->name + len - 4, ".npy") != 0)
    return bad(f, st->name, "is no array (NAME.npy)", err);
  if (st->comp_size > f->bytes - f->packed)
    return bad(f, st->name, "lies outside the file, or on another", err);
  f->packed += st->comp_size;
  const bool stored = st->comp_method == ZIP_CM_STORE;
  if (stored ? st->size != st->comp_size : st->size / DEFLATE > st->comp_size + SLACK / DEFLATE)
    return bad(f, st->name, "says that it has more bytes than can be unpacked from the file", err);
  if (st->size > LIP_NPZ_MAX_BYTES - f->plain)
    return lip_fail(err, LIP_FORMAT, "%.200s: unpacks to more than %zu bytes", f->path, LIP_NPZ_MAX_BYTES);
  f->plain += st->size;
  return LIP_OK;
}

/* Its bytes, believed as they come: of a packed member the block begins with what is likely and doubles. */
static lip_status unpack(const lip_npz *f, zip_file_t *file, const zip_stat_t *st, unsigned char **out,
                         lip_err *err) {
  size_t size = st->size, likely = 8 * st->comp_size + 4096, room = size < likely ? size : likely, at = 0;
  unsigned char *block = *out = lip_alloc(room, 1), end;
  if (!block) return no_memory(f, err);
  for (;;) {
    const zip_int64_t got = at < room ? zip_fread(file, block + at, room - at) : zip_fread(file, &end, 1);
    if (got < 0 && zip_error_code_zip(zip_file_get_error(file)) == ZIP_ER_MEMORY) return no_memory(f, err);
    if (got < 0) return bad(f, st->name, "is damaged (its bytes or their checksum)", err);
    if (got == 0) break;
    if (at == size) return bad(f, st->name, "unpacks to more bytes than it says", err);
    if (at == room) { /* `end` is the first byte behind what fits */
      room = size / 2 > room ? 2 * room : size;
      block = lip_realloc(*out, room, 1);
      if (!block) return no_memory(f, err);
      *out = block;
      block[at++] = end;
    } else {
      at += (size_t)got;
    }
  }
  return at == size ? LIP_OK : bad(f, st->name, "unpacks to fewer bytes than it says", err);
}

static void type_text(const lip_npy *npy, char *out, size_t size) {
  if (npy->kind == 'b')
    snprintf(out, size, "BOOL");
  else
    snprintf(out, size, "%c%zu", npy->kind == 'f' ? 'F' : npy->kind == 'i' ? 'I' : 'U', 8 * npy->item);
}

static lip_status parse(const lip_npz *f, const char *member, const void *bytes, size_t n, lip_npz_array *a,
                        lip_err *err) {
  char what[260];
  lip_npy npy;
  snprintf(what, sizeof what, "%.160s: member \"%.80s\"", f->path, member);
  lip_status status = lip_npy_open_bytes(what, bytes, n, &npy, err);
  if (!status) status = lip_npy_take(&npy, &a->value, err);
  if (!status) {
    a->ndim = npy.ndim;
    memcpy(a->shape, npy.shape, sizeof a->shape);
    a->n = npy.count;
    a->rounded = npy.rounded;
    type_text(&npy, a->type, sizeof a->type);
  }
  lip_npy_close(&npy);
  return status;
}

static lip_status read_member(lip_npz *f, size_t i, lip_err *err) {
  zip_stat_t st;
  lip_npz_array *a = &f->array[i];
  lip_status status = look(f, i, &st, err);
  if (status) return status;
  a->name = lip_strdup(st.name);
  if (!a->name) return no_memory(f, err);
  a->name[strlen(a->name) - 4] = '\0';
  zip_file_t *file = zip_fopen_index(f->zip, i, 0);
  if (!file) return bad(f, st.name, "cannot be read (damaged, or no memory)", err);
  unsigned char *bytes;
  status = unpack(f, file, &st, &bytes, err);
  zip_fclose(file);
  if (!status) status = parse(f, st.name, bytes, st.size, a, err);
  lip_free(bytes);
  return status;
}

/* ---- the end of the directory (APPNOTE 4.3.14 to 4.3.16) ---- */

/* An entry of the directory; the end of it, its locator and record for large archives; the longest comment behind. */
enum { ENTRY = 46, END = 22, LOCATOR = 20, END64 = 56, COMMENT = 65535 };

static uint64_t number(const unsigned char *p, size_t bytes) {
  uint64_t v = 0;
  while (bytes-- > 0) v = v << 8 | p[bytes];
  return v;
}

/* Whether `count` entries do not fit in a directory of `size` bytes. */
static bool lies(uint64_t count, uint64_t size) {
  return count > size / ENTRY;
}

/* The same of the record that a locator points to, if it does. */
static bool lies64(int fd, const unsigned char *locator) {
  unsigned char end[END64];
  const uint64_t at = number(locator + 8, 8);
  if (memcmp(locator, "PK\6\7", 4) != 0 || at > INT64_MAX) return false;
  if (pread(fd, end, sizeof end, (off_t)at) != (ssize_t)sizeof end || memcmp(end, "PK\6\6", 4) != 0)
    return false;
  return lies(number(end + 32, 8), number(end + 40, 8));
}

/* The library takes memory for as many members as an end of the directory speaks of, before it has seen them. It may take any
 * mark of such an end near the file's for one, so none that it would believe may lie. */
static lip_status check_ends(const lip_npz *f, int fd, lip_err *err) {
  const size_t most = COMMENT + END + LOCATOR, n = f->bytes < most ? f->bytes : most;
  unsigned char *tail = lip_alloc(n, 1);
  if (!tail) return no_memory(f, err);
  const size_t start = f->bytes - n;
  bool lie = pread(fd, tail, n, (off_t)start) != (ssize_t)n;
  for (size_t i = 0; !lie && i + END <= n; i++) {
    const unsigned char *p = tail + i;
    if (memcmp(p, "PK\5\6", 4) != 0) continue;
    const uint64_t size = number(p + 12, 4), count = number(p + 10, 2);
    const bool taken =
        number(p + 4, 4) == 0 && number(p + 8, 2) == count && number(p + 16, 4) + size <= start + i;
    lie = (taken && lies(count, size)) || (i >= LOCATOR && lies64(fd, p - LOCATOR));
  }
  lip_free(tail);
  if (!lie) return LIP_OK;
  return lip_fail(err, LIP_FORMAT, "%.200s: the archive says that it has more members than it can hold",
                  f->path);
}

/* ---- the archive ---- */

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static lip_status check_names(const lip_npz *f, lip_err *err) {
  const char **name = lip_alloc(f->n, sizeof *name);
  lip_status status = LIP_OK;
  if (!name) return no_memory(f, err);
  for (size_t i = 0; i < f->n; i++) name[i] = f->array[i].name;
  qsort((void *)name, f->n, sizeof *name, by_text);
  for (size_t i = 1; !status && i < f->n; i++)
    if (strcmp(name[i - 1], name[i]) == 0) status = bad(f, name[i], "is there twice", err);
  lip_free((void *)name);
  return status;
}

static lip_status open_zip(lip_npz *f, lip_err *err) {
  int fd, code = 0;
  lip_status status = lip_file_open(f->path, &fd, &f->bytes, err);
  if (status) return status;
  status = check_ends(f, fd, err);
  if (status) {
    close(fd);
    return status;
  }
  f->zip = zip_fdopen(fd, ZIP_RDONLY, &code); /* takes fd when it works */
  if (f->zip) return LIP_OK;
  close(fd);
  if (code == ZIP_ER_MEMORY) return no_memory(f, err);
  zip_error_t why;
  zip_error_init_with_code(&why, code);
  status = lip_fail(err, LIP_FORMAT, "%.200s: not an NPZ archive, or damaged (%.80s)", f->path,
                    zip_error_strerror(&why));
  zip_error_fini(&why);
  return status;
}

static lip_status read_all(lip_npz *f, lip_err *err) {
  lip_status status = open_zip(f, err);
  if (status) return status;
  const zip_int64_t n = zip_get_num_entries(f->zip, 0);
  if (n < 0 || lies((uint64_t)n, f->bytes))
    return lip_fail(err, LIP_FORMAT, "%.200s: the archive says that it has more members than it can hold",
                    f->path);
  f->array = lip_alloc((size_t)n, sizeof *f->array);
  if (!f->array) return no_memory(f, err);
  f->n = (size_t)n;
  for (size_t i = 0; !status && i < f->n; i++) status = read_member(f, i, err);
  return status ? status : check_names(f, err);
}

lip_status lip_npz_open(const char *path, lip_npz **out, lip_err *err) {
  *out = NULL;
  lip_npz *f = lip_alloc(1, sizeof *f);
  if (!f) return lip_fail(err, LIP_MEMORY, "%.200s: no memory to open it", path);
  f->path = path;
  lip_status status = read_all(f, err);
  if (status) {
    lip_npz_close(f);
    return status;
  }
  zip_discard(f->zip);
  f->zip = NULL;
  f->path = NULL;
  *out = f;
  return LIP_OK;
}

size_t lip_npz_count(const lip_npz *f) {
  return f->n;
}

const lip_npz_array *lip_npz_at(const lip_npz *f, size_t i) {
  return &f->array[i];
}

/* ---- writing: made in memory, since a file that is there must stay until the new one is complete ---- */

static lip_status no_memory_to_write(const char *path, lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "%.200s: no memory to write it", path);
}

/* The bytes of one member, which libzip frees: plain malloc. NULL: no memory. */
static char *member(const lip_param *p, size_t *n) {
  const size_t bytes = lip_param_size(p) * sizeof *p->value;
  lip_str head = {0};
  lip_npy_header(&head, p->ndim, p->shape);
  char *block = head.failed ? NULL : malloc(head.len + bytes);
  if (block) {
    memcpy(block, head.text, head.len);
    memcpy(block + head.len, p->value, bytes);
    *n = head.len + bytes;
  }
  lip_str_free(&head);
  return block;
}

static lip_status add(zip_t *zip, const lip_named *named, const char *path, lip_err *err) {
  enum { EPOCH = 33 }; /* the first day that a ZIP file knows: equal nets make equal files */
  const lip_param *p = named->param;
  char name[sizeof named->name + 8];
  size_t n = 0;
  for (size_t i = 0; i < lip_param_size(p); i++)
    if (!isfinite(p->value[i]))
      return lip_fail(err, LIP_NOT_FINITE, "%.160s: %.80s has a NaN or infinite number: not written", path,
                      named->name);
  char *block = member(p, &n);
  zip_source_t *source = block ? zip_source_buffer(zip, block, n, 1) : NULL;
  if (!source) {
    free(block);
    return no_memory_to_write(path, err);
  }
  lip_snprintf(name, sizeof name, "%s.npy", named->name);
  const zip_int64_t at = zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8);
  if (at < 0) zip_source_free(source);
  if (at < 0 || zip_set_file_compression(zip, (zip_uint64_t)at, ZIP_CM_STORE, 0) != 0 ||
      zip_file_set_dostime(zip, (zip_uint64_t)at, 0, EPOCH, 0) != 0)
    return no_memory_to_write(path, err);
  return LIP_OK;
}

/* The archive that stands in `source`, to the disk. */
static lip_status put(zip_source_t *source, const char *path, lip_err *err) {
  enum { PIECE = 1 << 16 };
  char *piece = lip_alloc(PIECE, 1);
  lip_atomic *file = NULL;
  zip_int64_t got = 0;
  lip_status status = piece ? lip_atomic_open(path, &file, err) : no_memory_to_write(path, err);
  if (!status && zip_source_open(source) != 0) status = no_memory_to_write(path, err);
  if (!status) {
    while ((got = zip_source_read(source, piece, PIECE)) > 0) lip_atomic_write(file, piece, (size_t)got);
    zip_source_close(source);
    if (got < 0) status = no_memory_to_write(path, err);
  }
  if (status)
    lip_atomic_abandon(file);
  else
    status = lip_atomic_commit(file, err);
  lip_free(piece);
  return status;
}

lip_status lip_npz_write(const char *path, const lip_net *net, lip_err *err) {
  lip_named *named = NULL;
  size_t n = 0, all = 0;
  lip_status status = lip_params_list(net->root, &named, &n, &all, err);
  if (status) return status;
  zip_source_t *source = zip_source_buffer_create(NULL, 0, 0, NULL);
  zip_t *zip = source ? zip_open_from_source(source, ZIP_TRUNCATE, NULL) : NULL;
  if (!zip) status = no_memory_to_write(path, err);
  if (zip) zip_source_keep(source); /* zip has its own hold on it now */
  for (size_t i = 0; !status && i < n; i++) status = add(zip, &named[i], path, err);
  if (!status) {
    status = zip_close(zip) == 0 ? LIP_OK : no_memory_to_write(path, err);
    if (!status) zip = NULL;
  }
  if (zip) zip_discard(zip);
  if (!status) status = put(source, path, err);
  if (source) zip_source_free(source);
  lip_free(named);
  return status;
}
