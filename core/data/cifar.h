/* CIFAR, binary version (Krizhevsky 2009): records of the label byte(s) and three planes of 32 x 32 bytes. */
#ifndef LIP_DATA_CIFAR_H
#define LIP_DATA_CIFAR_H

#include "core/base/error.h"
#include "core/data/dataset.h"

/* Samples 3 x 32 x 32 of all `files` files, one after the other, plain or gzip. label_bytes is 1 (CIFAR-10), or 2
 * (CIFAR-100: a coarse label, then the fine one, which is used). Labels must be below `classes`. LIP_FORMAT,
 * LIP_NOT_FOUND, LIP_IO, LIP_MEMORY. */
lip_status lip_cifar_load(const char *name, const char *const *paths, size_t files, size_t label_bytes,
                          size_t classes, lip_dataset **out, lip_err *err);

#endif
