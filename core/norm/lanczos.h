/* Lanczos' method (Golub and Van Loan 2013, section 10.1) with full orthogonalisation, for proposals: not a bound. */
#ifndef LIP_NORM_LANCZOS_H
#define LIP_NORM_LANCZOS_H

#include <stddef.h>

enum { LIP_LANCZOS_MOST = 192 };

/* y = G x for a symmetric G, positive semi-definite but for rounding. */
typedef void lip_lanczos_apply(const void *arg, const double *x, double *y);

/* The largest Ritz value of G (k,k), k a multiple of LIP_PAD (symmetric.h) and zero beyond n, from a fixed start: from below
 * but for rounding. At most `steps` <= n of at most LIP_LANCZOS_MOST products, fewer when eight more have changed it by less than
 * `accuracy`, relative, or the thread's flag is raised (base/cancel.h). V holds steps + 1 vectors of k. */
double lip_lanczos(lip_lanczos_apply *apply, const void *arg, size_t n, size_t k, size_t steps,
                   double accuracy, double *V);

#endif
