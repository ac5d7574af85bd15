/* A forward pass in double: what arithmetic = "double" runs and certifies. */
#ifndef LIP_NET_WIDE_H
#define LIP_NET_WIDE_H

#include "core/net/net.h"

#define LIP_WIDE_ALIGN 8

/* Kind of the first layer that has no double mode, or NULL: then the calls below may be made. Static. */
const char *lip_wide_missing(const lip_net *net);

/* logits (B, n_out) of x (B, n_in), outside training, with the weights as they are. The class of a row is the lowest
 * index among its largest logits. Same bits for any number of threads and rows. LIP_UNSUPPORTED, LIP_MEMORY,
 * LIP_CANCELLED (then rows are left out). */
lip_status lip_wide_forward(const lip_net *net, const float *x, size_t B, double *logits, lip_err *err);

/* One row, in the caller's room of lip_wide_room(net) doubles, aligned to 64: returns the logits, which lie in it.
 * `seen`, if given, is told of every layer as soon as it has run, with its input and output. */
size_t lip_wide_room(const lip_net *net);
typedef void lip_wide_seen(void *arg, const lip_layer *l, const double *x, const double *y);
const double *lip_wide_row(const lip_net *net, const float *x, double *room, lip_wide_seen *seen, void *arg);

#endif
