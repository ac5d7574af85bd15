/* Intervals of a net's outputs by interval arithmetic, layer by layer: for nets that have no affine form (core/affine/affine.h),
 * as those of neurons that measure distances. */
#ifndef LIP_CERT_INTERVAL_H
#define LIP_CERT_INTERVAL_H

#include "core/cert/relax.h"
#include "core/net/net.h"

/* What does not depend on the region: the matrices of layers that have one. The net is borrowed. NULL in *out when the net has
 * a layer that offers neither an interval nor anything that one follows from (its kind in *unknown, static), or matrices of more
 * than 2^25 numbers ("size" there). LIP_MEMORY. */
typedef struct lip_boxes lip_boxes;
lip_status lip_boxes_new(const lip_net *net, lip_boxes **out, const char **unknown, lip_err *err);
void lip_boxes_free(lip_boxes *b); /* accepts NULL */
/* Doubles of working memory for lip_boxes_run, one thread's own. */
size_t lip_boxes_room(const lip_boxes *b);

/* low <= z <= high (n_out) for the outputs z of every float32 input in the region, of the exact function of the stored weights
 * and as executed in float32, in any order of summation; lent, inside of `room`. False: nothing is known. */
bool lip_boxes_run(const lip_boxes *b, const lip_region *region, double *room, const double **low,
                   const double **high);

#endif
