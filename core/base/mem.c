#include "core/base/mem.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Every block is preceded by one aligned cell that remembers its size. */
typedef struct head {
  size_t size;
} head;

static atomic_size_t used, count, fail_in;
static atomic_bool failed;
static _Thread_local size_t limit = SIZE_MAX;

bool lip_mul_fits(size_t a, size_t b, size_t *out) {
  if (b != 0 && a > SIZE_MAX / b) return false;
  *out = a * b;
  return true;
}

bool lip_add_fits(size_t a, size_t b, size_t *out) {
  if (a > SIZE_MAX - b) return false;
  *out = a + b;
  return true;
}

static bool must_fail(void) {
  size_t n = atomic_load(&fail_in);
  while (n != 0) {
    if (atomic_compare_exchange_weak(&fail_in, &n, n - 1)) {
      if (n != 1) return false;
      atomic_store(&failed, true);
      return true;
    }
  }
  return false;
}

void *lip_alloc(size_t n, size_t size) {
  size_t bytes, total;
  if (!lip_mul_fits(n, size, &bytes) || bytes > SIZE_MAX / 2) return NULL;
  /* aligned_alloc wants a multiple of the alignment */
  total = LIP_ALIGN + (bytes + LIP_ALIGN - 1) / LIP_ALIGN * LIP_ALIGN;
  if (must_fail() || bytes > limit) return NULL;
  unsigned char *block = aligned_alloc(LIP_ALIGN, total);
  if (!block) return NULL;
  if (limit != SIZE_MAX) limit -= bytes;
  memset(block, 0, total);
  ((head *)(void *)block)->size = bytes;
  atomic_fetch_add(&used, bytes);
  atomic_fetch_add(&count, 1);
  return block + LIP_ALIGN;
}

static head *head_of(void *block) {
  return (head *)(void *)((unsigned char *)block - LIP_ALIGN);
}

void *lip_realloc(void *block, size_t n, size_t size) {
  if (!block) return lip_alloc(n, size);
  void *bigger = lip_alloc(n, size);
  if (!bigger) return NULL;
  size_t old = head_of(block)->size, now = head_of(bigger)->size;
  memcpy(bigger, block, old < now ? old : now);
  lip_free(block);
  return bigger;
}

void lip_free(void *block) {
  if (!block) return;
  head *h = head_of(block);
  atomic_fetch_sub(&used, h->size);
  free(h);
}

typedef union small_head {
  size_t size;
  max_align_t align;
} small_head;

void *lip_alloc_small(size_t bytes) {
  if (bytes > SIZE_MAX / 2 || must_fail() || bytes > limit) return NULL;
  small_head *h = calloc(1, sizeof *h + bytes);
  if (!h) return NULL;
  if (limit != SIZE_MAX) limit -= bytes;
  h->size = bytes;
  atomic_fetch_add(&used, bytes);
  atomic_fetch_add(&count, 1);
  return h + 1;
}

void lip_free_small(void *block) {
  if (!block) return;
  small_head *h = (small_head *)block - 1;
  atomic_fetch_sub(&used, h->size);
  free(h);
}

char *lip_strdup(const char *text) {
  size_t n = strlen(text) + 1;
  char *copy = lip_alloc(n, 1);
  if (copy) memcpy(copy, text, n);
  return copy;
}

size_t lip_mem_used(void) {
  return atomic_load(&used);
}

size_t lip_mem_count(void) {
  return atomic_load(&count);
}

void lip_mem_fail_nth(size_t n) {
  atomic_store(&failed, false);
  atomic_store(&fail_in, n);
}

bool lip_mem_failed(void) {
  return atomic_load(&failed);
}

size_t lip_mem_limit(size_t bytes) {
  size_t before = limit;
  limit = bytes;
  return before;
}
