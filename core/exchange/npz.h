/* NPZ, NumPy's archive of arrays: a zip file whose members are NPY files "NAME.npy", stored (numpy.savez) or deflated
 * (numpy.savez_compressed). Nothing is written to the disk: names are names of arrays, whatever they look like. */
#ifndef LIP_EXCHANGE_NPZ_H
#define LIP_EXCHANGE_NPZ_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"
#include "core/net/net.h"
#include "core/tensor/tensor.h"

/* All arrays of an archive together have at most so many bytes, whatever it could unpack to. */
#define LIP_NPZ_MAX_BYTES ((size_t)8 << 30)

typedef struct lip_npz_array {
  char *name; /* without ".npy" */
  char type[5];
  int ndim;
  size_t shape[LIP_MAX_DIMS];
  size_t n;
  float *value; /* (n) row-major */
  bool rounded; /* some value is no float32: the nearest one stands for it */
} lip_npz_array;

typedef struct lip_npz lip_npz;

/* Reads all of it. LIP_FORMAT: no zip file or a damaged one, members that are encrypted, packed in another way, given twice, or
 * no NPY files, and sizes that the size of the file does not warrant. LIP_NOT_FOUND, LIP_IO, LIP_MEMORY. */
lip_status lip_npz_open(const char *path, lip_npz **out, lip_err *err);
void lip_npz_close(lip_npz *f); /* accepts NULL */
size_t lip_npz_count(const lip_npz *f);
const lip_npz_array *lip_npz_at(const lip_npz *f, size_t i); /* in the order of the archive; i < count */

/* Writes the parameters of a net as numpy.savez would: members in the order of the net, called as in its checkpoints
 * ("1.dense.weight.npy"), float32, computed weights as they are in effect; the same net, the same bytes. What stood at `path`
 * stays until all of it is written. LIP_NOT_FINITE names the array, LIP_IO, LIP_MEMORY; LIP_NOT_FOUND: no such folder. */
lip_status lip_npz_write(const char *path, const lip_net *net, lip_err *err);

#endif
