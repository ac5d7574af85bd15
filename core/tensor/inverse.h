/* The inverse of a matrix on all threads, for work that stands between the parallel regions of a step (team.h): nothing
 * is checked, nothing is allocated, and the bits do not depend on the number of threads. */
#ifndef LIP_TENSOR_INVERSE_H
#define LIP_TENSOR_INVERSE_H

#include "core/tensor/team.h"

/* Floats of working memory. */
size_t lip_team_invert_work(size_t n);
/* A (n,n) becomes its inverse, for A whose symmetric part (A + A')/2 is positive definite: then no pivot is needed (Golub,
 * Van Loan 2013, section 4.3.2). Of others it gives some numbers or NaN. work: lip_team_invert_work(n), aligned to 64. */
void lip_team_invert(const lip_team *t, size_t n, float *A, float *work);

#endif
