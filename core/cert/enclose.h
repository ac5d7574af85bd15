/* What a net can come to while its input stays in a region: intervals of its values, and of its partial derivatives. */
#ifndef LIP_CERT_ENCLOSE_H
#define LIP_CERT_ENCLOSE_H

#include "core/cert/relax.h"

/* Intervals of the values z_l after every matrix, those that their layer takes (affine.h: block[l].own of them): block
 * after block into bounds (sum of own, 2), from and to, rounded outwards; as executed or exact, as region->executed says.
 * `relaxed` false: by interval arithmetic alone. Infinite where nothing is known. LIP_MEMORY, LIP_CANCELLED. */
lip_status lip_enclose_values(const lip_affine *a, const lip_region *region, bool relaxed, double *bounds,
                              lip_err *err);

/* low <= d z_i / d x_k <= high (n_out, n_in) for every element of Clarke's generalised Jacobian at every point of the
 * region, and for every matrix J with f(x) - f(x') = J (x - x') that the slopes between two of its points give (the mean
 * value form: of x and x' that differ in one coordinate the quotient is inside). Of the exact function of the stored
 * weights, whatever region->executed says; rounded outwards. Infinite where nothing is known. LIP_MEMORY,
 * LIP_CANCELLED. */
lip_status lip_enclose_jacobian(const lip_affine *a, const lip_region *region, double *low, double *high,
                                lip_err *err);

#endif
