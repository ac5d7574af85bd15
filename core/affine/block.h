/* Life of a block and of its fold. */
#ifndef LIP_AFFINE_BLOCK_H
#define LIP_AFFINE_BLOCK_H

#include "core/affine/affine.h"

void lip_block_free(lip_block *b); /* what it owns */

/* Zeros, for a matrix (M, N); a copy of the fold of a block. NULL: no memory. */
lip_fold *lip_fold_new(size_t M, size_t N);
lip_fold *lip_fold_copy(const lip_block *b);
void lip_fold_free(lip_fold *f); /* accepts NULL */

#endif
