#include "core/affine/affine.h"

#include "core/affine/block.h"
#include "core/affine/build.h"
#include "core/affine/fold.h"
#include "core/base/mem.h"

/* Names the layer that stands in the way: the i-th of the chain, or one inside of it. */
static void give_up(lip_affine *a, const lip_build *f, const lip_layer *chain, size_t i) {
  bool large;
  const char *in_chain = i < chain->n_child ? chain->child[i]->kind->desc.name : "net";
  const char *unknown = lip_build_unknown(f, &large);
  lip_affine_free(a);
  a->n_in = chain->n_in;
  a->n_out = chain->n_out;
  a->unknown = unknown ? unknown : in_chain;
  a->inside = a->unknown == in_chain ? NULL : in_chain;
  a->unknown_at = i;
  a->too_large = large;
}

lip_status lip_affine_init(lip_affine *a, const lip_net *net, lip_err *err) {
  const lip_layer *chain = net->root;
  lip_build *f;
  lip_status status = lip_build_new(a, chain->n_in, &f, err);
  if (status) return status;
  size_t i = 0;
  while (i < chain->n_child && lip_build_layer(f, chain->child[i])) i++;
  bool complete = i == chain->n_child && lip_build_end(f);
  a->n_out = chain->n_out;
  if (i > 0 && i == chain->n_child) i--; /* the last one is what the end is made of */
  if (!complete) status = lip_build_status(f, err);
  if (status)
    lip_affine_free(a);
  else if (!complete)
    give_up(a, f, chain, i);
  lip_build_free(f);
  if (!status) status = lip_fold_blocks(a, err);
  if (status) lip_affine_free(a);
  return status;
}

void lip_affine_free(lip_affine *a) {
  for (size_t i = 0; i < a->n; i++) lip_block_free(&a->block[i]);
  lip_free(a->block);
  *a = (lip_affine){0};
}
