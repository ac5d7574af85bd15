/* Inside of core/check: what needs a proof of its own. */
#ifndef LIP_CHECK_PROOF_H
#define LIP_CHECK_PROOF_H

#include "core/check/parts.h"

/* False: not proved, or no memory. */
bool lip_check_spectral(lip_check *c, const step *s, double claim);
bool lip_check_quadratic(lip_check *c, size_t target);
double lip_check_abs(lip_check *c, size_t i, size_t j);

#endif
