/* Files read plain or gzip-packed (told apart by their first two bytes), hashed on the way. The only user of zlib. */
#ifndef LIP_DATA_GZ_H
#define LIP_DATA_GZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/data/sha256.h"

typedef struct lip_reader lip_reader;

/* Opens a regular file. LIP_NOT_FOUND, LIP_IO, LIP_MEMORY. Owned by the caller: lip_reader_close (accepts NULL).
 * `path` must outlive the reader (messages name it). */
lip_status lip_reader_open(const char *path, lip_reader **out, lip_err *err);
/* The same over n bytes in memory, read as they are (never unpacked); these and `name` must outlive the reader. LIP_MEMORY. */
lip_status lip_reader_of(const char *name, const void *bytes, size_t n, lip_reader **out, lip_err *err);
void lip_reader_close(lip_reader *r);
const char *lip_reader_path(const lip_reader *r);

/* Up to n bytes into `to`; *got < n only at the end of the data. Truncated or damaged gzip is LIP_FORMAT. */
lip_status lip_reader_read(lip_reader *r, void *to, size_t n, size_t *got, lip_err *err);
/* Exactly n bytes; LIP_FORMAT naming `what` when the file ends before. */
lip_status lip_reader_exact(lip_reader *r, void *to, size_t n, const char *what, lip_err *err);
/* LIP_FORMAT unless the data (and a gzip file's checksum) ends here. */
lip_status lip_reader_end(lip_reader *r, lip_err *err);

/* LIP_FORMAT when `count` items of `size` bytes cannot come any more from a file of this size: a plain file holds what
 * is left of it, a packed one at most 1032 times its size (deflate's limit). Call it before taking memory for what a
 * header claims. */
lip_status lip_reader_claim(const lip_reader *r, size_t count, size_t size, lip_err *err);
/* Makes room for `count` items of `size` bytes that are still to come, piece by piece: a plain file has been measured and
 * gets all at once; of a packed one only what has come is believed, so the block (NULL at first, then lip_realloc'ed)
 * begins with what its size makes likely and doubles at every call, up to `count`. *room: items it holds. The caller
 * fills it before the next call. LIP_MEMORY; the block stays valid. */
lip_status lip_reader_grow(const lip_reader *r, void **block, size_t *room, size_t count, size_t size,
                           lip_err *err);
/* An estimate of the bytes still to come, never more than about 8 times the file's size: for first allocations. */
size_t lip_reader_guess(const lip_reader *r);
/* SHA-256 of the (unpacked) bytes handed out so far. */
void lip_reader_digest(const lip_reader *r, uint8_t digest[LIP_SHA256_BYTES]);

/* The whole (unpacked) file, with a 0 byte after its end; LIP_FORMAT when it has more than `cap` bytes. *bytes is owned
 * by the caller (lip_free), NULL on failure. digest may be NULL. */
lip_status lip_read_file(const char *path, size_t cap, char **bytes, size_t *n,
                         uint8_t digest[LIP_SHA256_BYTES], lip_err *err);

/* ---- texts in memory ---- */

typedef enum lip_packing { LIP_GZIP, LIP_ZLIB } lip_packing; /* RFC 1952 (no name, no time), RFC 1950 */

/* *out is owned by the caller (lip_free), NULL on failure. LIP_MEMORY. */
lip_status lip_deflate(const void *bytes, size_t n, lip_packing as, char **out, size_t *size, lip_err *err);
/* Either packing (told apart by its first bytes), several gzip members too; LIP_FORMAT when it is damaged, cut, followed
 * by other bytes or unpacks to more than `cap` bytes. LIP_MEMORY. *out as above. */
lip_status lip_inflate(const void *bytes, size_t n, size_t cap, char **out, size_t *size, lip_err *err);
/* The checksum of gzip and PNG; `crc` is that of what came before, 0 at the start. */
uint32_t lip_crc32(uint32_t crc, const void *bytes, size_t n);

#endif
