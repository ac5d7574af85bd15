/* What follows the matrix of a block, unit by unit: the function of a layer, or a bend (core/layer/form.h). */
#ifndef LIP_AFFINE_BEND_H
#define LIP_AFFINE_BEND_H

#include "core/affine/affine.h"

/* Whether unit k is multiplied by one fixed number that is no double: bend[k].below but for a relative error of 2^-50, which
 * is 8 roundings. Who works in double takes it for that, and counts these with its own. */
static inline bool lip_block_is_line(const lip_block *b, size_t k) {
  return b->bend && k < b->n_phi && b->bend[k].below == b->bend[k].above && b->low[k] < b->high[k];
}

/* phi of a unit k < n_phi, which is none of a pair, on [from, to], both finite; rounded outwards. */
void lip_block_range(const lip_block *b, size_t k, double from, double to, lip_range *r);

#endif
