/* IDX, the format of MNIST (LeCun, Cortes, Burges, "The MNIST database"): two zero bytes, a type, the number of
 * dimensions, the dimensions as 32-bit big-endian numbers, the values (big-endian too). Plain or gzip. */
#ifndef LIP_DATA_IDX_H
#define LIP_DATA_IDX_H

#include "core/base/error.h"
#include "core/data/dataset.h"
#include "core/data/sha256.h"

/* Samples from `images` (shapes as lip_layout_of reads them; bytes stay bytes and mean pixels, x/255, other types become
 * float32) and labels from `labels` (one dimension of whole numbers; NULL: no labels).
 * LIP_FORMAT, LIP_NOT_FOUND, LIP_IO, LIP_MEMORY. digests: of the two unpacked files, may be NULL. */
lip_status lip_idx_load_as(const char *name, const char *images, const char *labels, lip_channels as,
                           lip_dataset **out, uint8_t digests[2 * LIP_SHA256_BYTES], lip_err *err);
lip_status lip_idx_load(const char *name, const char *images, const char *labels, lip_dataset **out,
                        uint8_t digests[2 * LIP_SHA256_BYTES], lip_err *err);

#endif
