/* Checkpoints: a net that was accepted can be run, and takes memory by the size of its file. */
#include <string.h>

#include "core/base/mem.h"
#include "core/io/checkpoint.h"
#include "fuzz.h"

enum { SCRATCH = 4 << 20 }; /* of a net with norms of matrices, whatever its size */

static void run(lip_net *net) {
  lip_err err;
  float *x = lip_alloc(net->root->n_in, sizeof *x);
  FUZZ_MUST(x && lip_net_reserve(net, 1, &err) == LIP_OK);
  lip_net_forward(net, x, 1, false);
  lip_free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lip_net *net;
  lip_optim *opt;
  lip_progress progress;
  lip_err err;
  const char *path = fuzz_file(0, data, size);
  fuzz_begin();
  lip_status status = lip_checkpoint_load(path, NULL, &net, &opt, &progress, &err);
  /* what the file does not warrant is refused as memory (base/mem.h) */
  if (status != LIP_MEMORY && fuzz_answer(status, &err)) {
    FUZZ_MUST(net);
    run(net);
  } else {
    FUZZ_MUST(!net && !opt && !progress.present && !progress.text);
  }
  lip_net_free(net);
  lip_optim_free(opt);
  lip_progress_free(&progress);
  fuzz_end(size, SCRATCH);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
  return fuzz_mutate_safetensors(data, size, max, seed);
}
