/* Blocks whose units are all multiplied by known numbers, taken into the block behind them: preprocessing, means,
 * batch_norm, units that wait beside them. */
#ifndef LIP_AFFINE_FOLD_H
#define LIP_AFFINE_FOLD_H

#include "core/affine/affine.h"

/* Every such block of `a` whose product with the next one is exact in double. LIP_MEMORY; then `a` is as good as before. */
lip_status lip_fold_blocks(lip_affine *a, lip_err *err);

#endif
