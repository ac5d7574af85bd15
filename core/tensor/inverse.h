/* Inverses by products, on all threads: what LAPACK does, without its memory and at the speed of gemm. For matrices whose
 * symmetric part is positive definite (I + a skew matrix, Gram matrices with a ridge): no rows are exchanged, which these
 * do not need (Golub, Van Loan 1979, "Unsymmetric positive definite linear systems"). Shapes must be proved by the
 * caller: nothing is checked, nothing allocated, nothing can fail. The same bits for any number of threads. */
#ifndef LIP_TENSOR_INVERSE_H
#define LIP_TENSOR_INVERSE_H

#include <stddef.h>

#include "core/tensor/team.h"

/* Floats of working memory for a matrix of n rows. */
size_t lip_inverse_work(size_t n);

/* A (n,n) becomes its inverse: n^3 multiplications. A row and column whose pivot is below `least` >= 0 depends on those before
 * it, and is left out: zeros there, the inverse of the others elsewhere. So what is finite stays so; NaN stays NaN. */
void lip_team_inverse(const lip_team *t, size_t n, float *A, size_t lda, float least, float *work);

/* The same for a symmetric A, of which both halves are there: half the work, and symmetric bit for bit. */
void lip_team_inverse_symmetric(const lip_team *t, size_t n, float *A, size_t lda, float least, float *work);

#endif
