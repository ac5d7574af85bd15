/* SHA-256 (FIPS 180-4), for telling data sets apart and verifying downloads. */
#ifndef LIP_DATA_SHA256_H
#define LIP_DATA_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

#define LIP_SHA256_BYTES 32

/* A plain value: copying it copies the hash under way. */
typedef struct lip_sha256 {
  uint32_t state[8];
  uint64_t length; /* bytes so far */
  uint8_t block[64];
} lip_sha256;

void lip_sha256_init(lip_sha256 *h);
void lip_sha256_add(lip_sha256 *h, const void *bytes, size_t n);
/* Writes the digest; h must be started anew afterwards. */
void lip_sha256_end(lip_sha256 *h, uint8_t digest[LIP_SHA256_BYTES]);
/* 64 lower-case hexadecimal digits and a terminator. */
void lip_sha256_hex(const uint8_t digest[LIP_SHA256_BYTES], char text[65]);
/* Of all bytes of a file, as text. LIP_NOT_FOUND, LIP_IO, LIP_MEMORY (sha256_file.c). */
lip_status lip_sha256_file(const char *path, char text[65], lip_err *err);

/* Tests only: false makes every later hash use the portable code even where the processor has SHA instructions. */
void lip_sha256_allow_fast(int allow);

#endif
