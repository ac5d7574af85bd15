/* Decompositions, by LAPACK. They allocate and can fail; none is called inside a training step. LAPACK cannot
 * be stopped: what takes long runs apart (lip_run_apart), and both answer LIP_CANCELLED at once when the flag that the
 * thread watches is raised, while the work goes on unseen to its end. */
#ifndef LIP_TENSOR_LINALG_H
#define LIP_TENSOR_LINALG_H

#include <stddef.h>

#include "core/base/error.h"

/* q (M,N), row-major: orthonormal rows (M <= N) or columns (M >= N) from the QR factorisation of the matrix in it,
 * with the sign of R's diagonal moved into Q, so that a normal matrix gives the uniform (Haar) distribution
 * (Mezzadri 2007). LIP_MEMORY, LIP_NOT_FINITE, LIP_CANCELLED. */
lip_status lip_orthonormalise(float *q, size_t M, size_t N, lip_err *err);

/* Singular value decomposition a = u diag(s) vt of a (M,N), row-major, destroyed. k = min(M,N); u (M,k), s (k)
 * descending, vt (k,N); u and vt may both be NULL. Working precision double. */
lip_status lip_svd(double *a, size_t M, size_t N, double *u, double *s, double *vt, lip_err *err);

#endif
