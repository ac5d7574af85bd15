/* The inequality behind quadratic bounds, and its proof. For increments of a net in the form of affine.h, every unit k
 * with slope in [low, high] satisfies
 *   lambda (y - low z) (high z - y) >= 0   for every lambda >= 0                        (Fazlyab et al. 2019)
 * and equals 0 for a known slope, so that there lambda may be as large as one likes. If with multipliers lambda and
 * weights d > 0 the quadratic form in (x, y_1, ..., y_{n-1})
 *   M = rho x' diag(d) x - |V y_{n-1}|^2 - sum_k lambda_k (y_k - low_k z_k) (high_k z_k - y_k),   z_l = W_l y_{l-1},
 * is positive semidefinite, then |V (y - y')|^2 <= rho sum_k d_k (x_k - x'_k)^2: with d = 1 the constant from l_2 is at
 * most sqrt(rho), from l_inf it is at most sqrt(rho sum d). Who proposes lambda and d does not matter: only a proved
 * rho is ever returned. */
#ifndef LIP_BOUND_LMI_H
#define LIP_BOUND_LMI_H

#include <stdbool.h>
#include <stddef.h>

#include "core/affine/affine.h"
#include "core/base/error.h"

/* What moves: V is the difference of rows i and j of the last matrix, row i alone (j = LIP_NO_ROW), or all of it. */
#define LIP_NO_ROW ((size_t)-1)
typedef struct lip_rows {
  size_t i, j; /* both LIP_NO_ROW: all rows */
} lip_rows;

/* What a bound rests on, for one target. */
typedef struct lip_multipliers {
  lip_rows rows;
  double rho;     /* proved */
  double *lambda; /* (units) of all blocks but the last, one after the other; owned */
  double *d;      /* (n_in), or NULL: all 1; owned */
} lip_multipliers;

typedef struct lip_proof {
  size_t n, units;
  lip_multipliers *item; /* (n), owned */
} lip_proof;

/* Units of all blocks but the last: the length of lambda. */
size_t lip_affine_units(const lip_affine *a);
/* LIP_MEMORY; each lambda of `units` zeros, d NULL. Owned: lip_proof_free. */
lip_status lip_proof_new(size_t n, size_t units, lip_proof **out, lip_err *err);
void lip_proof_free(lip_proof *p); /* accepts NULL */

/* False for nets whose matrices are too large for it (or that have no form): the largest take about 0.5 GB and some
 * seconds for each proof. */
bool lip_lmi_fits(const lip_affine *a);
/* What does not depend on target and multipliers; `a` is borrowed. One thread at a time. For a net that does not fit
 * every proof gives INFINITY. LIP_MEMORY. */
typedef struct lip_lmi lip_lmi;
lip_status lip_lmi_new(const lip_affine *a, lip_lmi **out, lip_err *err);
void lip_lmi_free(lip_lmi *m); /* accepts NULL */

/* The smallest rho near m->rho (as proposed, > 0) for which the inequality is proved, into m->rho: the proposal is
 * raised by 1e-9 of itself and then more until the proof succeeds; INFINITY when it does not within a factor of 2 (of
 * 2^-380, for a smaller proposal); 0 when the rows do not differ. Multipliers are written back as they were used:
 * negative and NaN ones as 0, those outside of [2^-300, 2^300] moved there or to 0, and a large one where a known slope had 0.
 * LIP_MEMORY. */
lip_status lip_lmi_prove(lip_lmi *l, lip_multipliers *m, lip_err *err);

#endif
