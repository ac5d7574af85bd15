#include "core/affine/block.h"

#include <string.h>

#include "core/base/mem.h"

enum { ARRAYS = 6 };

lip_fold *lip_fold_new(size_t M, size_t N) {
  lip_fold *f = lip_alloc(1, sizeof *f);
  if (!f) return NULL;
  *f = (lip_fold){.W = lip_alloc(M * N, sizeof *f->W), .c = lip_alloc(ARRAYS * M, sizeof *f->c)};
  if (!f->W || !f->c) {
    lip_fold_free(f);
    return NULL;
  }
  f->off = f->c + M;
  f->size = f->c + 2 * M;
  f->rounds = f->c + 3 * M;
  f->flat = f->c + 4 * M;
  f->steep = f->c + 5 * M;
  return f;
}

lip_fold *lip_fold_copy(const lip_block *b) {
  lip_fold *f = lip_fold_new(b->M, b->N);
  if (!f) return NULL;
  memcpy(f->W, b->fold->W, b->M * b->N * sizeof *f->W);
  memcpy(f->c, b->fold->c, ARRAYS * b->M * sizeof *f->c);
  f->reach = b->fold->reach;
  f->rise = b->fold->rise;
  return f;
}

void lip_fold_free(lip_fold *f) {
  if (!f) return;
  lip_free(f->W);
  lip_free(f->c);
  lip_free(f);
}

void lip_block_free(lip_block *k) {
  lip_free(k->W);
  lip_free(k->b);
  lip_fold_free(k->fold);
  lip_free(k->low);
  lip_free(k->high);
  lip_free(k->mate);
  lip_free(k->bend);
  *k = (lip_block){0};
}
