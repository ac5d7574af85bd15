/* Operator norms ||W||_{p->q} = max ||Wx||_q / ||x||_p of a float32 matrix W (M,N), row-major, leading dimension N.
 * Formulas: Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 6.2; table in project.h. */
#ifndef LIP_NORM_OPNORM_H
#define LIP_NORM_OPNORM_H

#include <stddef.h>

#include "core/base/error.h"
#include "core/norm/pnorm.h"

/* Rigorous: *upper is never below the exact norm of the stored float32 numbers, rounding included.
 * 1->q and p->inf: exact value rounded upwards (relative excess < 1e-12).
 * 2->2: power iteration proposes, a floating-point Cholesky factorisation of a*I - G proves (Rump 2006); relative
 * excess about 1e-11 when proved, and the Gram iteration (Delattre et al. 2023) or Frobenius norm, whichever is
 * smaller, should the proof fail. NaN or infinity in W: *upper = INFINITY. Allocates for 2->2; on LIP_MEMORY or
 * LIP_UNSUPPORTED *upper = INFINITY. Empty W: 0. */
lip_status lip_opnorm_upper(const float *W, size_t M, size_t N, lip_pq pq, double *upper, lip_err *err);

/* Not a bound from above: power iteration for 2->2 (from below up to rounding; the iterations in float32, each reading W
 * once, what they arrive at measured in double), nearest value otherwise.
 * `v` (N) is the start and receives the last right vector (may be NULL: a fixed start is used); scratch holds
 * M + N doubles. */
double lip_opnorm_estimate(const float *W, size_t M, size_t N, lip_pq pq, size_t iterations, double *v,
                           double *scratch);

/* Attained value, rounded down: a rigorous lower bound of the norm (||Wx|| / ||x|| for the best x seen). */
lip_status lip_opnorm_lower(const float *W, size_t M, size_t N, lip_pq pq, double *lower, lip_err *err);

/* The Gram iteration alone (rigorous, with its rounding term), `iterations` doublings; for reports and tests. */
lip_status lip_opnorm_gram_upper(const float *W, size_t M, size_t N, size_t iterations, double *upper,
                                 lip_err *err);

#endif
