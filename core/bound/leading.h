/* The largest eigenvalues of a symmetric matrix, approximately: for proposals only, nothing rests on them. */
#ifndef LIP_BOUND_LEADING_H
#define LIP_BOUND_LEADING_H

#include <stddef.h>

#define LIP_LEADING 8 /* most pairs */

/* Numbers of working memory for matrices of order n. */
size_t lip_leading_work(size_t n);
/* The `count` largest Ritz values of Q (n, n; mirrored, positive semidefinite, n a multiple of LIP_PAD), descending, from
 * below but for rounding; the first with a residual of at most `tolerance` of it. x (count, n): its first row is where to
 * start; the unit vectors found. */
void lip_leading(const double *Q, size_t n, size_t count, double *value, double *x, double tolerance,
                 double *work);

#endif
