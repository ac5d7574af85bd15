/* Intervals of units by linear relaxation with slopes of their own: the line through the kink of every undecided unit before
 * them is chosen for each bound by ascent (Xu et al. 2021). */
#ifndef LIP_CERT_ALPHA_H
#define LIP_CERT_ALPHA_H

#include "core/cert/relax_parts.h"

/* Working memory of one thread. NULL in *out: the net has matrices of few numbers a row (convolutions), for which this is not
 * made. LIP_MEMORY. */
typedef struct lip_alpha lip_alpha;
lip_status lip_alpha_new(const lip_relax *r, lip_alpha **out, lip_err *err);
void lip_alpha_free(lip_alpha *w); /* accepts NULL */

/* from[i] <= u_k <= to[i] for n <= LIP_CHUNK / 2 units of block l >= 1 over the region that g has, the best of so many steps. The
 * intervals in g stay. */
void lip_alpha_units(lip_alpha *w, lip_ranges *g, size_t l, const uint32_t *unit, size_t n, size_t steps,
                     double *from, double *to);

#endif
