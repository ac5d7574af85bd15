/* The parameters of a planned net and the names they have in files. */
#ifndef LIP_IO_PARAMS_H
#define LIP_IO_PARAMS_H

#include <stddef.h>

#include "core/base/error.h"
#include "core/io/safetensors.h"
#include "core/layer/layer.h"

typedef struct lip_named {
  char name[LIP_SAFETENSORS_MAX_NAME - 32]; /* leaves room for the prefix of an optimiser slot */
  const lip_param *param;
} lip_named;

/* All parameters below `root`, depth first. The list is owned (lip_free); the params are lent. LIP_MEMORY;
 * LIP_UNSUPPORTED when a name would be too long. */
lip_status lip_params_list(const lip_layer *root, lip_named **out, size_t *n, lip_err *err);
size_t lip_param_size(const lip_param *p);

#endif
