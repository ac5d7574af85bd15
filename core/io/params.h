/* The arrays of a planned net and the names they have in files. */
#ifndef LIP_IO_PARAMS_H
#define LIP_IO_PARAMS_H

#include <stddef.h>

#include "core/base/error.h"
#include "core/io/safetensors.h"
#include "core/layer/layer.h"

/* A parameter, or the warm start of a projection. */
typedef struct lip_named {
  char name[LIP_SAFETENSORS_MAX_NAME - 32]; /* leaves room for the prefix of an optimiser slot */
  const lip_param *param;                   /* NULL for a warm start */
  lip_warm warm;
} lip_named;

/* All parameters below `root`, depth first, and then all warm starts ("3.dense.warm.0"). The list is owned (lip_free);
 * what it names is lent. *n counts both, *n_param the parameters. LIP_MEMORY; LIP_UNSUPPORTED when a name would be
 * too long. */
lip_status lip_params_list(const lip_layer *root, lip_named **out, size_t *n_param, size_t *n, lip_err *err);

#endif
