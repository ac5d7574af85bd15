/* Multipliers that the layers of a net come with: where every layer of the chain proves a constant 2 -> 2 by itself, the
 * inequalities of all of them, each scaled to begin where the one behind it ends, add up to one of the whole net (Wang,
 * Manchester 2023, theorem 3.2). Proposals only: lip_lmi_prove decides. */
#ifndef LIP_BOUND_HINT_H
#define LIP_BOUND_HINT_H

#include "core/affine/affine.h"
#include "core/net/net.h"

/* lambda (lip_affine_units): so that rho |x|^2 - |h|^2 - sum lambda (...) >= 0 but for rounding, with some rho and h the output
 * of the last layer that bends anything. *tail: about the constant of what comes behind h. False: a layer gives none, or
 * no layer has `multipliers` of its own. */
bool lip_hint(const lip_net *net, const lip_affine *a, double *lambda, double *tail);

#endif
