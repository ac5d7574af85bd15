/* What the parametrisations by orthogonal matrices have in common. Only for weight_*.c. */
#ifndef LIP_LAYER_ORTHOGONAL_H
#define LIP_LAYER_ORTHOGONAL_H

#include "core/layer/parametrisation.h"

/* LIP_OK for steps p -> q with p <= 2 <= q, where a matrix with orthonormal rows or columns has norm <= 1:
 * ||Wx||_q <= ||Wx||_2 <= ||x||_2 <= ||x||_p. */
lip_status lip_orthogonal_fits(const lip_weight *w, lip_err *err);

/* min(1, most / ||V||_F), for maps that are not made for V of any size. */
double lip_orthogonal_scale(const float *V, size_t n, double most);
/* dV, the gradient at V of what depends on s V with s = most / ||V||_F < 1 held fixed, loses what it has along V:
 * then s counts as the function of V that it is. `along` is <V, dV> of what dV held before. */
void lip_orthogonal_scale_pull(const float *V, float *dV, size_t n, double along);

/* Plain double, row-major and contiguous: C (M,N) = A (M,K) B (K,N), op(X) as in gemm.h; A becomes its inverse as by
 * lip_team_inverse. */
void lip_plain_product(lip_trans ta, lip_trans tb, size_t M, size_t N, size_t K, const double *A,
                       const double *B, double *C);
void lip_plain_inverse(size_t n, double *A, double least);

#endif
