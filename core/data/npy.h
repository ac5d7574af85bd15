/* NPY, NumPy's format for one array (NumPy Enhancement Proposal 1; versions 1 to 3): the mark "\x93NUMPY", a version, the
 * length of a Python dictionary {descr, fortran_order, shape}, the dictionary, the values. Plain or gzip. */
#ifndef LIP_DATA_NPY_H
#define LIP_DATA_NPY_H

#include <stdbool.h>

#include "core/base/error.h"
#include "core/base/str.h"
#include "core/data/dataset.h"
#include "core/data/gz.h"
#include "core/tensor/tensor.h"

/* An open file whose header has been read, and checked against the file's size. */
typedef struct lip_npy {
  lip_reader *reader;
  char kind;   /* 'f' float, 'i' signed, 'u' unsigned, 'b' truth value */
  size_t item; /* bytes of one value: 1, 2, 4, 8 (floats: 2, 4, 8) */
  bool swap;   /* the file's byte order is not this machine's */
  bool fortran;
  bool rounded; /* some value that was read is no float32 */
  int ndim;
  size_t shape[LIP_MAX_DIMS];
  size_t count; /* product of shape */
} lip_npy;

/* LIP_NOT_FOUND, LIP_IO, LIP_MEMORY; LIP_FORMAT also for types that are not numbers (objects, structures, text) and for
 * more than LIP_MAX_DIMS dimensions. `path` must outlive *f. After a failure *f needs no close (but takes one). */
lip_status lip_npy_open(const char *path, lip_npy *f, lip_err *err);
/* The same of n bytes in memory, which must outlive it; `name` stands in messages. */
lip_status lip_npy_open_bytes(const char *name, const void *bytes, size_t n, lip_npy *f, lip_err *err);
/* All values, as float32 in row-major order whatever the file's type and order, into to (count). */
lip_status lip_npy_read(lip_npy *f, float *to, lip_err *err);
/* The same into a block of its own, which grows as the values come from a packed file: no header is believed about
 * memory. Owned by the caller (lip_free), NULL on failure. LIP_MEMORY. */
lip_status lip_npy_take(lip_npy *f, float **out, lip_err *err);
/* As lip_npy_read for files of kind 'u' with 1-byte items, kept as bytes. LIP_ARGUMENT for others. */
lip_status lip_npy_read_bytes(lip_npy *f, uint8_t *to, lip_err *err);
/* Harmless on what is closed already. */
void lip_npy_close(lip_npy *f);

/* What stands in front of float32 values of that shape in this machine's byte order. */
void lip_npy_header(lip_str *s, int ndim, const size_t *shape);
/* Writes version 1, float32, row-major, to a temporary name beside `path` and renames it; refuses devices and
 * folders. LIP_IO, LIP_MEMORY. */
lip_status lip_npy_save(const char *path, int ndim, const size_t *shape, const float *values, lip_err *err);

/* A data set from two files. x: shapes as lip_layout_of reads them; unsigned bytes stay bytes (pixels: they become x/255,
 * as in every data set), other types float32. y (may be NULL): whole numbers (N) or (N, 1) are labels, floats (N) or
 * (N, T) targets; labels are never scaled. */
lip_status lip_npy_dataset_as(const char *name, const char *x, const char *y, lip_channels as,
                              lip_dataset **out, lip_err *err);
lip_status lip_npy_dataset(const char *name, const char *x, const char *y, lip_dataset **out, lip_err *err);

#endif
