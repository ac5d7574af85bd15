/* Checkpoints: one safetensors file with the weights, the spec and (optionally) everything needed to resume. */
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
} lip_progress;
void lip_progress_free(lip_progress *p);

/* Writes to a temporary name in the same folder, fsync, rename: an old file survives any failure. opt and progress
 * may be NULL. Metadata: format version, spec, norm path, budget, bound and its method. LIP_IO, LIP_MEMORY. */
lip_status lip_checkpoint_save(const char *path, lip_net *net, const lip_optim *opt,
                               const lip_progress *progress, lip_err *err);
/* A new net from the file; *opt and *progress are filled when asked for (not NULL) and present (*opt NULL if not).
 * The bound in the file is not used. LIP_NOT_FOUND, LIP_IO, LIP_FORMAT (what is wrong and where), LIP_MEMORY. */
lip_status lip_checkpoint_load(const char *path, const lip_engine *engine, lip_net **net, lip_optim **opt,
                               lip_progress *progress, lip_err *err);

#endif
