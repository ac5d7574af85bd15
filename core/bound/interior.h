/* The least rho of the inequality of lmi.h by an interior-point method, for nets with few units: it ends near the optimum
 * whatever the net, and its time grows with the cube of the units. Proposals only, in the coordinates of eliminate.h. */
#ifndef LIP_BOUND_INTERIOR_H
#define LIP_BOUND_INTERIOR_H

#include "core/base/error.h"
#include "core/bound/eliminate.h"

typedef struct lip_interior lip_interior;

/* Whether a descent along gradients is likely to end too early for this net. */
bool lip_interior_needed(const lip_elim *e);
/* That, and the net is small enough: some 150 MB for each thread, and for each target about as long as 60 descents. Or so
 * small that it takes no longer than one. */
bool lip_interior_pays(const lip_elim *e);
/* For the net of `e`, which is borrowed; weighted as `e` is. LIP_MEMORY. */
lip_status lip_interior_new(const lip_elim *e, lip_interior **out, lip_err *err);
void lip_interior_free(lip_interior *t); /* accepts NULL */

/* For the target of `e`. lambda (count): where to begin, strictly feasible with rho d_k at the inputs; rho and d (n_in; NULL:
 * all 1, the input unweighted). Improves all of them: lambda stays feasible, rho (sum d, if weighted) falls until it is
 * within `gap` of the least one, relative, or stop(arg) says so. False when nothing could be done. */
bool lip_interior_run(lip_interior *t, double *lambda, double *d, double *rho, double gap,
                      bool (*stop)(void *arg), void *arg);

#endif
