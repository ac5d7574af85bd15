#include "core/affine/affine.h"

#include <string.h>

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

/* The old values behind as many zeros, in place of *v. False: no memory. */
static bool behind_zeros(float **v, size_t n) {
  float *two = lip_alloc(2 * n, sizeof *two);
  if (!two) return false;
  memcpy(two + n, *v, n * sizeof *two);
  lip_free(*v);
  *v = two;
  return true;
}

/* Slopes behind the last matrix are 1 and say nothing. */
static bool double_slopes(double **v) {
  double *two = lip_alloc(2, sizeof *two);
  if (!two) return false;
  two[0] = two[1] = **v;
  lip_free(*v);
  *v = two;
  return true;
}

/* What the fold knows of its only row, behind a row of zeros that takes no operation. */
static bool fold_behind_zeros(lip_block *b) {
  const lip_fold *old = b->fold;
  lip_fold *f = lip_fold_new(2, b->N);
  if (!f) return false;
  memcpy(f->W + b->N, old->W, b->N * sizeof *f->W);
  f->c[1] = *old->c, f->off[1] = *old->off, f->size[1] = *old->size;
  f->rounds[1] = *old->rounds, f->flat[1] = *old->flat, f->steep[1] = *old->steep;
  f->reach = old->reach;
  f->rise = old->rise;
  lip_fold_free(b->fold);
  b->fold = f;
  return true;
}

lip_status lip_affine_classes(lip_affine *a, const lip_net *net, lip_err *err) {
  lip_status status = lip_affine_init(a, net, err);
  if (status || a->n_out != 1) return status;
  lip_block *last = a->n > 0 ? &a->block[a->n - 1] : NULL;
  a->n_out = 2;
  if (!last) return LIP_OK;
  bool done = behind_zeros(&last->W, last->N) && behind_zeros(&last->b, 1) && double_slopes(&last->low) &&
              double_slopes(&last->high) && (!last->fold || fold_behind_zeros(last));
  last->M = last->own = 2;
  if (done) return LIP_OK;
  lip_affine_free(a);
  return lip_fail(err, LIP_MEMORY, "out of memory for the matrices of a net");
}

void lip_affine_free(lip_affine *a) {
  for (size_t i = 0; i < a->n; i++) lip_block_free(&a->block[i]);
  lip_free(a->block);
  *a = (lip_affine){0};
}
