/* Memory: 64-byte aligned blocks, zeroed, counted, and a hook that fails the n-th allocation. */
#ifndef LIP_BASE_MEM_H
#define LIP_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

#define LIP_ALIGN 64

/* `count` * `size` zeroed bytes, aligned to LIP_ALIGN, or NULL (no memory, or the product overflows).
 * A request of 0 bytes gives a valid block. Owned by the caller: lip_free. */
void *lip_alloc(size_t count, size_t size);
/* Grows or shrinks a block, keeping its contents; new bytes are zero. On NULL the old block stays valid. */
void *lip_realloc(void *block, size_t count, size_t size);
/* Accepts NULL. */
void lip_free(void *block);
/* The same for many small blocks: zeroed, counted, may fail as others do, but aligned as malloc's are and with 16 bytes of
 * overhead instead of 64 to 192. Released by lip_free_small alone (accepts NULL). */
void *lip_alloc_small(size_t bytes);
void lip_free_small(void *block);
/* Copy of a string, or NULL. */
char *lip_strdup(const char *text);

/* Bytes now held through this module, and the number of allocations made so far (all threads). */
size_t lip_mem_used(void);
size_t lip_mem_count(void);

/* Tests only: the n-th allocation from now (n = 1 is the next) fails, once; 0 switches it off.
 * lip_mem_failed() tells whether it has happened since it was armed. */
void lip_mem_fail_nth(size_t n);
bool lip_mem_failed(void);

/* From now on this thread may take at most `bytes` more; requests above fail (SIZE_MAX: no limit, as at the start).
 * Returns what was left of the limit before. For readers: a file's claims must not outgrow its size. */
size_t lip_mem_limit(size_t bytes);

/* False when a*b does not fit in size_t; else *out = a*b. */
bool lip_mul_fits(size_t a, size_t b, size_t *out);
bool lip_add_fits(size_t a, size_t b, size_t *out);

#endif
