#define _GNU_SOURCE
#include <math.h>
#include <sanitizer/allocator_interface.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/data/gz.h"
#include "fuzz.h"

_Noreturn void fuzz_broken(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
  abort();
}

/* ---- memory ---- */

static size_t largest, held, peak, counted;
static bool watching;

/* The sanitizer calls these two for every block of the process, whoever takes it. */
static void took(const volatile void *block, size_t size) {
  (void)block;
  if (!watching) return;
  if (size > largest) largest = size;
  held += size;
  if (held > peak) peak = held;
}

static void gave(const volatile void *block) {
  if (!watching || !block) return;
  size_t size = __sanitizer_get_allocated_size(block);
  held -= size < held ? size : held; /* of blocks from before the input nothing is known */
}

void fuzz_begin(void) {
  static bool installed;
  if (!installed) FUZZ_MUST(__sanitizer_install_malloc_and_free_hooks(took, gave) > 0);
  installed = true;
  counted = lip_mem_used();
  largest = held = peak = 0;
  watching = true;
}

void fuzz_end(size_t bytes, size_t more) {
  watching = false;
  FUZZ_MUST(lip_mem_used() == counted);
  /* one byte can become a double, and arrays double their room; a value of JSON takes about a hundred bytes of two */
  size_t one = ((size_t)256 << 10) + 32 * bytes + more;
  size_t all = ((size_t)1 << 20) + 256 * bytes + more;
  if (largest > one || peak > all)
    fprintf(stderr, "a block of %zu bytes, %zu at a time, for %zu that could be read\n", largest, peak,
            bytes);
  FUZZ_MUST(largest <= one);
  FUZZ_MUST(peak <= all);
}

/* ---- files ---- */

const char *fuzz_file(int slot, const uint8_t *bytes, size_t n) {
  static int fd[FUZZ_FILES];
  static char name[FUZZ_FILES][32];
  FUZZ_MUST(slot >= 0 && slot < FUZZ_FILES);
  if (!fd[slot]) {
    fd[slot] = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_MUST(fd[slot] > 0);
    snprintf(name[slot], sizeof name[slot], "/proc/self/fd/%d", fd[slot]);
  }
  FUZZ_MUST(ftruncate(fd[slot], 0) == 0);
  FUZZ_MUST(pwrite(fd[slot], bytes, n, 0) == (ssize_t)n);
  return name[slot];
}

size_t fuzz_readable(const char *path) {
  lip_reader *r;
  lip_err err;
  char piece[1024];
  size_t got, all = 0;
  if (lip_reader_open(path, &r, &err)) return 0;
  lip_status status;
  do {
    status = lip_reader_read(r, piece, sizeof piece, &got, &err);
    all += got;
  } while (!status && got == sizeof piece);
  lip_reader_close(r);
  return all;
}

/* ---- answers ---- */

bool fuzz_answer(lip_status status, const lip_err *err) {
  if (status == LIP_OK) return true;
  FUZZ_MUST(status == err->code);
  FUZZ_MUST(status == LIP_FORMAT || status == LIP_UNSUPPORTED || status == LIP_ARGUMENT);
  FUZZ_MUST(err->msg[0] != '\0' && memchr(err->msg, '\0', sizeof err->msg));
  return false;
}

static void check_classes(const lip_dataset *d) {
  FUZZ_MUST(d->classes <= LIP_MAX_CLASSES);
  for (size_t i = 0; i < d->n; i++) FUZZ_MUST(d->labels[i] >= 0 && (size_t)d->labels[i] < d->classes);
}

static void check_batch(const lip_dataset *d) {
  uint32_t index[2] = {0, (uint32_t)(d->n - 1)};
  size_t targets = d->targets ? d->target_width : 1;
  float *x = lip_alloc(2 * d->features, sizeof *x), *t = lip_alloc(2 * targets, sizeof *t);
  int32_t labels[2];
  FUZZ_MUST(x && t);
  lip_dataset_gather(d, index, 2, x, d->labels ? labels : NULL, d->targets ? t : NULL);
  for (size_t i = 0; d->bytes && i < 2 * d->features; i++) FUZZ_MUST(x[i] >= 0 && x[i] <= 1);
  lip_free(x);
  lip_free(t);
}

void fuzz_dataset(lip_dataset *d) {
  size_t features = 1;
  FUZZ_MUST(d && d->ndim >= 1 && d->ndim <= 3);
  for (int i = 0; i < d->ndim; i++) features *= d->shape[i];
  FUZZ_MUST(features == d->features);
  FUZZ_MUST(!d->bytes != !d->values);
  FUZZ_MUST(strlen(d->sha256) == 64);
  if (d->labels) check_classes(d);
  if (d->n > 0) check_batch(d);
  lip_dataset_free(d);
}

/* ---- mutations ---- */

static size_t mutate_header(uint8_t *data, size_t size, size_t max, size_t header) {
  size_t tail = size - 8 - header, room = max - 8 - tail;
  uint8_t *text = malloc(room + 1);
  FUZZ_MUST(text);
  memcpy(text, data + 8, header);
  size_t now = LLVMFuzzerMutate(text, header, room);
  memmove(data + 8 + now, data + 8 + header, tail);
  memcpy(data + 8, text, now);
  for (int i = 0; i < 8; i++) data[i] = (uint8_t)(now >> 8 * i);
  free(text);
  return 8 + now + tail;
}

size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t max, unsigned seed) {
  uint64_t header = 0;
  for (size_t i = 0; i < 8 && i < size; i++) header |= (uint64_t)data[i] << 8 * i;
  if (size < 10 || size > max || header == 0 || header > size - 8 || seed % 8 == 0)
    return LLVMFuzzerMutate(data, size, max);
  size_t tail = size - 8 - (size_t)header;
  if (seed % 8 < 6 || tail == 0) return mutate_header(data, size, max, (size_t)header);
  LLVMFuzzerMutate(data + 8 + header, tail, tail); /* what it cuts off stays */
  return size;
}
