/* Initial values of weight matrices (OUT, IN) with fan-in IN. */
#ifndef LIP_LAYER_INIT_H
#define LIP_LAYER_INIT_H

#include "core/layer/layer.h"

/* Fills w (OUT, IN):
 *   orthogonal  orthonormal rows or columns from the QR of a normal matrix (Saxe, McClelland, Ganguli 2014)
 *   he          normal, variance 2/IN (He et al. 2015)      lecun  normal, variance 1/IN (LeCun et al. 1998)
 *   glorot      uniform in +-sqrt(6/(IN+OUT)) (Glorot, Bengio 2010)
 *   on_ball     he, then every row (column, matrix) whose norm the budget limits is scaled to sit on its ball
 * and then, for a finite budget, scales what `pq` and `budget` make infeasible back to feasibility. LIP_MEMORY. */
lip_status lip_init_weights(float *w, size_t OUT, size_t IN, lip_init init, lip_pq pq, double budget,
                            lip_rng *rng, lip_err *err);

#endif
