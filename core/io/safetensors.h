/* The safetensors container (format of the Hugging Face project, version of 2023):
 *
 *   8 bytes  N, little endian: length of the header
 *   N bytes  JSON object: name -> {"dtype", "shape", "data_offsets": [begin, end)} and "__metadata__": text -> text
 *   rest     the arrays, little endian, without gaps or overlaps
 *
 * float32 (F32) and float64 (F64) arrays of up to four dimensions are our own; files of other programs may also hold
 * F16, BF16, whole numbers and truth values (lip_safetensors_open_any). */
#ifndef LIP_IO_SAFETENSORS_H
#define LIP_IO_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

#define LIP_SAFETENSORS_MAX_NAME 200
/* A header above this is refused: 8 MB describe tens of thousands of arrays. */
#define LIP_SAFETENSORS_MAX_HEADER ((size_t)8 << 20)

typedef struct lip_array {
  const char *name;
  bool wide; /* float64 */
  int ndim;
  size_t shape[4];
  const void *data; /* when writing */
  uint64_t begin;   /* when reading: first byte, from the start of the arrays */
  const char *type; /* "F32", "I64", ...; when writing NULL: as `wide` says, else `item` goes with it */
  size_t item;      /* bytes of one number */
} lip_array;

/* A pair of the metadata. */
typedef struct lip_pair {
  const char *key, *value;
} lip_pair;

/* Writes the file whole or not at all (atomic.h). LIP_ARGUMENT: a name or key is empty, too long, "__metadata__",
 * repeated, or a text is not UTF-8. LIP_IO, LIP_NOT_FOUND, LIP_MEMORY. */
lip_status lip_safetensors_save(const char *path, const lip_array *array, size_t n_array,
                                const lip_pair *meta, size_t n_meta, lip_err *err);

typedef struct lip_safetensors lip_safetensors;

/* Reads and proves the header: its length against the file, types, shapes, and that the arrays fill the rest of the
 * file exactly. Nothing is allocated that the size of the file does not warrant. LIP_NOT_FOUND, LIP_IO, LIP_FORMAT,
 * LIP_MEMORY. Owned: lip_safetensors_close. */
lip_status lip_safetensors_open(const char *path, lip_safetensors **out, lip_err *err);
/* The same for files of other programs: also arrays of F16, BF16, I8 to I64, U8 to U64 and BOOL. Other types are refused by
 * their names. */
lip_status lip_safetensors_open_any(const char *path, lip_safetensors **out, lip_err *err);
void lip_safetensors_close(lip_safetensors *f); /* accepts NULL */

uint64_t lip_safetensors_bytes(const lip_safetensors *f); /* of the whole file */
/* The value of a metadata key, or NULL. Lent. */
const char *lip_safetensors_meta(const lip_safetensors *f, const char *key);
size_t lip_safetensors_count(const lip_safetensors *f);
const lip_array *lip_safetensors_at(const lip_safetensors *f, size_t i); /* in the order of the file; lent */
const lip_array *lip_safetensors_find(const lip_safetensors *f, const char *name);
/* The i-th pair of metadata; false past the end. */
bool lip_safetensors_pair(const lip_safetensors *f, size_t i, lip_pair *out);
/* Fills `data` (numbers of the array's type: float, or double where it is `wide`) with the array. LIP_IO, LIP_FORMAT (the file was cut since). */
lip_status lip_safetensors_read(const lip_safetensors *f, const lip_array *a, void *data, lip_err *err);

/* Number of elements; the shape was proved not to overflow. */
size_t lip_array_size(const lip_array *a);

#endif
