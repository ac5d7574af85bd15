/* Checkpoints: one safetensors file with the weights, the spec and (optionally) everything needed to resume.
 *
 * Arrays: "3.dense.weight" is the weight of the third layer, "5.residual.2.dense.bias" that of the second layer inside
 * the fifth; "optim.0.3.dense.weight" is slot 0 of the optimiser's state for it.
 * With an optimiser also "3.dense.warm.0": the warm start of that layer's projection.
 * Metadata (texts): format = "lipwb", format_version, net and layers (spec_json.h), step, kernels (matrix product
 * used), optim (kind, options, rate, clip_norm, updates), progress and progress_text, and what the caller adds. */
#ifndef LIP_IO_CHECKPOINT_H
#define LIP_IO_CHECKPOINT_H

#include "core/base/error.h"
#include "core/net/net.h"
#include "core/net/optim.h"

/* Where a training run stands, beside weights and optimiser. `text` is free (JSON) for the script's own state. */
typedef struct lip_progress {
  bool present;
  uint64_t step;
  uint64_t epoch;
  uint64_t next; /* samples of the epoch already used */
  uint64_t seed; /* of the shuffling */
  char *text;    /* owned, or NULL */
  bool
      training; /* the weights are as updates left them: to go on from, and to be projected before any other use */
} lip_progress;
void lip_progress_free(lip_progress *p);

/* Writes to a temporary name in the same folder, fsync, rename: an old file survives any failure. opt and progress
 * may be NULL. `extra` (may be NULL) lists further metadata, key, value, key, value, ..., NULL: the bound and its method
 * (known to callers right of io), the program's version, ... LIP_IO, LIP_NOT_FOUND (no such folder), LIP_MEMORY,
 * LIP_NOT_FINITE (a weight or optimiser state is NaN or infinite: the file is not written), LIP_STATE (the optimiser
 * belongs to another net), LIP_UNSUPPORTED (a layer that exists in this run only), LIP_ARGUMENT (extra). */
lip_status lip_checkpoint_save(const char *path, const lip_net *net, const lip_optim *opt,
                               const lip_progress *progress, const char *const *extra, lip_err *err);
/* A new net from the file, projected exactly where the file says that its weights are those of training; *opt and
 * *progress are filled when asked for (not NULL) and present (*opt NULL if not).
 * The bound in the file is not used. Everything is proved before it is used: a damaged file is refused as a whole.
 * LIP_NOT_FOUND, LIP_IO, LIP_FORMAT (what is wrong and where), LIP_MEMORY, and what lip_net_project_exact says. */
lip_status lip_checkpoint_load(const char *path, const lip_engine *engine, lip_net **net, lip_optim **opt,
                               lip_progress *progress, lip_err *err);
/* The same with the weights as they stand in the file: a run goes on from them with the same bits. */
lip_status lip_checkpoint_resume(const char *path, const lip_engine *engine, lip_net **net, lip_optim **opt,
                                 lip_progress *progress, lip_err *err);

#endif
