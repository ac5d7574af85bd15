/* PyTorch's nets: arrays of a state_dict into a net that has been described, and a net out as Python source with its arrays. */
#ifndef LIP_EXCHANGE_TORCH_H
#define LIP_EXCHANGE_TORCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/str.h"
#include "core/exchange/tensors.h"
#include "core/io/params.h"
#include "core/net/net.h"

/* ---- in ---- */

#define LIP_TORCH_LEFT SIZE_MAX          /* the array has no place in the net */
#define LIP_TORCH_IGNORED (SIZE_MAX - 1) /* nor does it need one */

/* Which array of a file goes to which parameter of a net. */
typedef struct lip_torch {
  const lip_tensors *file; /* lent */
  const char *path;        /* lent */
  lip_net *net;            /* lent */
  lip_named *named;        /* (n_param) the net's parameters; owned */
  const lip_layer **owner; /* (n_param) whose they are; owned */
  size_t n_param, n_array;
  size_t *to;    /* (n_array) number of the parameter, or one of the above; owned */
  size_t *from;  /* (n_param) number of the array, or LIP_TORCH_LEFT; owned */
  bool *fits;    /* (n_array) it has a place, of its own shape; owned */
  bool *rounded; /* (n_array) set by lip_torch_fill; owned */
} lip_torch;

/* No array has a place yet. file, path and net must outlive it. LIP_MEMORY. Free with lip_torch_free, also after a failure. */
lip_status lip_torch_init(lip_torch *t, const lip_tensors *file, const char *path, lip_net *net,
                          lip_err *err);
void lip_torch_free(lip_torch *t);
/* Array i goes to parameter k. LIP_ARGUMENT: another one does already. */
lip_status lip_torch_pair(lip_torch *t, size_t i, size_t k, lip_err *err);
/* The parameter of that name, where weight, bias and running_var may stand for what the net calls otherwise (gamma of
 * batch_norm); LIP_TORCH_LEFT: there is none. */
size_t lip_torch_param(const lip_torch *t, const char *name);
/* Finds places by the names: the net's own, where the file has all of them. Otherwise modules in order, the k-th module of the
 * file (the names up to the last point) is the k-th layer of the net with parameters, and weight, bias, running_mean and
 * running_var are its own. The order is that of the file for NPZ; safetensors sort names by letters, so their order is
 * lip_name_order. LIP_UNSUPPORTED: two modules of the same shapes could change places, and their names have no numbers that say
 * which is first, or an archive has them in another order than these. LIP_MEMORY. */
lip_status lip_torch_pair_in_order(lip_torch *t, lip_err *err);
/* Every parameter has an array of its shape, and no array is left. Otherwise adds to `why` what is amiss, every list of it
 * bounded. */
bool lip_torch_whole(const lip_torch *t, lip_str *why);
/* Writes what fits to the net: everything or, after a failure, nothing. LIP_NOT_FINITE: NaN, infinite, or beyond float32;
 * LIP_UNSUPPORTED: a weight that is computed from trained numbers; LIP_FORMAT, LIP_IO, LIP_MEMORY. */
lip_status lip_torch_fill(lip_torch *t, lip_err *err);

/* ---- out ---- */

/* Whether the name of a file ends in ".py" and has something before that. */
bool lip_torch_is_path(const char *path);
/* Writes `path`, which ends in ".py", and beside it the same name with ".safetensors": source for Python 3.9 and PyTorch that
 * builds the module, loads its arrays with strict = True and, run by itself, prints the outputs of zeros. The module carries
 * out the steps of layer/emit.h in float32, with the weights in effect. `meta` (n_meta pairs) goes to the arrays' file and, as
 * comments, to the source. LIP_OPTION: another ending; LIP_UNSUPPORTED names the kind that cannot be written; LIP_NOT_FINITE;
 * LIP_IO, also where a file of either name is there that no such export has written (the arrays' own tell it by the pairs
 * "format", "pt" and "writer", "lipwb ..."); LIP_NOT_FOUND, LIP_MEMORY. Either file is written whole or not at all, the arrays
 * first. */
lip_status lip_torch_write(const char *path, const lip_net *net, const lip_pair *meta, size_t n_meta,
                           lip_err *err);

#endif
