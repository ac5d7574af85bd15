/* Arrays that other programs have saved, as float32: safetensors files (PyTorch's, among others) and NumPy's NPZ archives,
 * told apart by their first bytes. */
#ifndef LIP_EXCHANGE_TENSORS_H
#define LIP_EXCHANGE_TENSORS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"
#include "core/tensor/tensor.h"

typedef struct lip_foreign {
  const char *name; /* lent by the file */
  const char *type; /* "F32", "I64", ... as safetensors calls them */
  int ndim;
  size_t shape[LIP_MAX_DIMS];
  size_t n; /* numbers */
} lip_foreign;

typedef struct lip_tensors lip_tensors;

/* Everything that the headers say is proved against the size of the file, and nothing is allocated that it does not warrant
 * (of a packed archive: 1032 times its size, as it is unpacked). LIP_FORMAT says what is wrong and what to do: other types
 * of numbers than those of core/data/values.h, more than four dimensions, archives that are encrypted or packed in another
 * way, files of torch.save. LIP_NOT_FOUND, LIP_IO, LIP_MEMORY. Owned: lip_tensors_close. */
lip_status lip_tensors_open(const char *path, lip_tensors **out, lip_err *err);
void lip_tensors_close(lip_tensors *f); /* accepts NULL */

size_t lip_tensors_count(const lip_tensors *f);
/* The i-th array in the order of the file; NULL past the end. Lent. */
const lip_foreign *lip_tensors_at(const lip_tensors *f, size_t i);
/* The numbers of every array in the order of their names (lip_name_order); (count), lent. */
const size_t *lip_tensors_order(const lip_tensors *f);
/* The i-th array into `to` (n), row-major, every number the nearest float32; *rounded: some number is none. LIP_IO,
 * LIP_MEMORY, LIP_FORMAT (the file was cut since). */
lip_status lip_tensors_read(const lip_tensors *f, size_t i, float *to, bool *rounded, lip_err *err);
bool lip_tensors_is_archive(
    const lip_tensors *f); /* NPZ: the order of the file is the one in which it was made */

/* Texts as people order them, numbers in them by their values: "0.weight" < "2.weight" < "10.weight". < 0, 0, > 0. *by_number
 * (may be NULL): the difference that decides stands between two numbers. */
int lip_name_order(const char *a, const char *b, bool *by_number);

#endif
