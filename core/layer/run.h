/* Inside of core/layer: runs, the children of a chain with images between them (tensor/order.h), which take a few images
 * at a time: what one of them writes is still in a cache when the next reads it. Most children are a run of their own. */
#ifndef LIP_LAYER_RUN_H
#define LIP_LAYER_RUN_H

#include "core/layer/layer.h"

/* y is x, and nothing is computed. */
bool lip_run_alias(const lip_layer *l);

/* All children are planned: agrees on orders, and sets what follows from that (scratch of `l` included). */
void lip_run_agree(lip_layer *l);

/* The rows of `pass` through all children of `l`. */
void lip_run_forward(const lip_layer *l, const lip_pass *pass);
void lip_run_backward(const lip_layer *l, const lip_pass *pass);

#endif
