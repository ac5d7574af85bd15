/* Blocks, one after the other, from what layers say of themselves (core/layer/form.h). */
#ifndef LIP_AFFINE_BUILD_H
#define LIP_AFFINE_BUILD_H

#include "core/affine/affine.h"
#include "core/layer/form.h"

typedef struct lip_build lip_build;

/* An empty form of a net with n_in inputs, into `a` (borrowed, cleared here). LIP_MEMORY. */
lip_status lip_build_new(lip_affine *a, size_t n_in, lip_build **out, lip_err *err);
void lip_build_free(lip_build *f); /* accepts NULL; the blocks stay with `a` */
/* The next layer of the net. False: nothing more can be added. */
bool lip_build_layer(lip_build *f, const lip_layer *l);
/* What is left becomes the last block, a matrix alone. False likewise. */
bool lip_build_end(lip_build *f);
/* Why it was false: LIP_MEMORY, or LIP_OK where there is no such form. */
lip_status lip_build_status(const lip_build *f, lip_err *err);
/* The kind of the innermost layer that has none, or whose matrix has too many entries; NULL: the net as a whole has. */
const char *lip_build_unknown(const lip_build *f, bool *too_large);

#endif
