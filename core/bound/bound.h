/* Upper and lower bounds of a network's Lipschitz constant. */
#ifndef LIP_BOUND_BOUND_H
#define LIP_BOUND_BOUND_H

#include "core/base/error.h"
#include "core/net/net.h"

/* One row per layer of the chain. */
typedef struct lip_bound_row {
  const char *kind;
  lip_pq pq;
  double upper;  /* of this layer; INFINITY = unknown */
  double budget; /* INFINITY = none */
} lip_bound_row;

typedef struct lip_bound {
  double upper;        /* product along the norm path, rounded up; INFINITY when a layer is unknown */
  double lower;        /* attained (see lip_bound_lower), rounded down; 0 when not asked for */
  double slack;        /* upper / budget; NaN without a budget */
  const char *method;  /* "product" */
  const char *unknown; /* kind of the first layer without a bound, or NULL */
  size_t unknown_at;   /* its row */
  lip_pq pq;           /* from the norm of the input to the norm of the logits */
  size_t n;
  lip_bound_row *row; /* owned */
} lip_bound;

/* The product of the layers' operator norms along the norm path (Szegedy et al. 2014). LIP_MEMORY. */
lip_status lip_bound_product(const lip_net *net, lip_bound *out, lip_err *err);
/* The same along another path of norms, one step per weighted layer (its last norm repeats); no slack, since the
 * budget is stated for the net's own path. A step that is not tractable counts as unknown. */
lip_status lip_bound_along(const lip_net *net, const lip_path *path, lip_bound *out, lip_err *err);
void lip_bound_free(lip_bound *b);

/* A lower bound that is attained, in the norms at the ends of `path` (NULL: the net's own), rounded down: the largest slope
 * of the net at points that a search from the rows of x (B, n_in) finds. pair (C, C), or NULL: the same for every
 * difference of two outputs. About a second. LIP_MEMORY, LIP_CANCELLED. */
lip_status lip_bound_lower(lip_net *net, const lip_path *path, const float *x, size_t B, double *lower,
                           double *pair, lip_err *err);

#endif
