/* The largest eigenvalue of a symmetric matrix, approximately: for proposals only, nothing rests on it. */
#ifndef LIP_CERT_LEADING_H
#define LIP_CERT_LEADING_H

#include <stddef.h>

/* Numbers of working memory for matrices of order n. */
size_t lip_leading_work(size_t n);
/* Largest Ritz value of Q (n, n; mirrored, positive semidefinite, n a multiple of LIP_PAD), from below but for rounding,
 * with a residual of at most `tolerance` of it. x (n): where to start, and the unit vector found. */
double lip_leading(const double *Q, size_t n, double *x, double tolerance, double *work);

#endif
