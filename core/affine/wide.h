/* Products in double precision for the proofs of this folder. */
#ifndef LIP_AFFINE_WIDE_H
#define LIP_AFFINE_WIDE_H

#include <stddef.h>

#include "core/affine/affine.h"
#include "core/base/thread.h"

/* C (M, N) += A (M, K) B (K, N), row-major, leading dimensions lda, ldb, ldc. Every element is one sum of K products
 * added to C, in an order of its own: |computed - exact| <= gamma_{K+1} (|C| + |A| |B|) and underflows (Higham 2002,
 * section 3.5). The same bits for any split over rows; `pool` may be NULL. */
void lip_wide_product(size_t M, size_t N, size_t K, const double *A, size_t lda, const double *B, size_t ldb,
                      double *C, size_t ldc, lip_pool *pool);

/* Rows a < b of v (M, n) that are a pair become a + b and a - b; `back` undoes that (half of each). One rounding per
 * element. */
void lip_block_turn(const lip_block *k, double *v, size_t n, bool back);

#endif
