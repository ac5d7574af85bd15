/* Inside of core/check: what needs a proof of its own. */
#ifndef LIP_CHECK_PROOF_H
#define LIP_CHECK_PROOF_H

#include "core/check/parts.h"

/* False: not proved, or no memory. */
bool lip_check_spectral(lip_check *c, const step *s, double claim);
bool lip_check_quadratic(lip_check *c, size_t target);
double lip_check_abs(lip_check *c, size_t i, size_t j);
/* The forms from the input itself; NULL: too large, or no memory. */
const forms *lip_check_forms(lip_check *c);
/* The form of z_i - z_j, its twin behind it; NULL: no memory. */
double *lip_check_last_form(lip_check *c, const forms *f, size_t i, size_t j);

/* All that holds within R of row `row` in the box, for the two functions below. False: not known, or no memory. */
bool lip_check_around(lip_check *c, size_t row, const float *x, double R);
/* A lower bound of the executed z_i - z_j there; whether z_i is finite. */
double lip_check_least(lip_check *c, size_t i, size_t j);
bool lip_check_bounded(const lip_check *c, size_t i);

#endif
