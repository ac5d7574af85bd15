/* Distances ||x_r - w_j||_p of rows, p = 2^k or infinite, and what leads back through them: in place of a product of
 * matrices where neurons measure distances. Not for layers alone: plain arrays, row-major, no memory is allocated. */
#ifndef LIP_TENSOR_DIST_H
#define LIP_TENSOR_DIST_H

#include <stddef.h>
#include <stdint.h>

/* The largest k of a finite p = 2^k. */
enum { LIP_DIST_MOST = 12 };
/* The most terms of lip_dist_sorted. */
enum { LIP_DIST_TERMS = 32 };
/* Columns and items that lip_dist_spread is sensibly given at a time: those of b then stay in the first cache while the rows of
 * a batch pass. */
enum { LIP_DIST_COLUMNS = 64, LIP_DIST_ITEMS = 256 };

/* x (B, n) and w (M, n), both from row to row without a gap. */
typedef struct lip_dist {
  size_t B, M, n;
  const float *x, *w;
} lip_dist;

/* y (B, M) = max_i |x_ri - w_ji|: one rounding of each difference, then exact. NaN stays visible. */
void lip_dist_largest(const lip_dist *d, float *y);
/* The lowest index i with |x_ri - w_ji| = y_rj as lip_dist_largest has left it, into place (B, M); 0 where y is NaN. */
void lip_dist_places(const lip_dist *d, const float *y, uint32_t *place);

/* y (B, M) = M (sum_i (|d_i| / M)^p)^(1/p), M = max |d_i| in y already, p = 2^k, 1 <= k <= LIP_DIST_MOST. Terms below
 * 2^-26 are left out. Powers by squaring, the root by square roots. In u = 2^-24, to first order: |d_i| / M is right to 3u, its
 * power to (4 p) u, the sum to (n + 3) u more and n 2^-26 for what is left out, the root to 1/p of all that and 2u, its product
 * with M to 2u more (that of M itself is the same in numerator and denominator and counts once):
 *   |y - exact| <= ((n + 3 + 4 p + n / 4) / p + 5) u exact,  besides (n + 2) smallest normal numbers. */
void lip_dist_norm(const lip_dist *d, int k, float *y);

/* y (B, M) = sum over k < K of c_k times the k-th largest |x_ri - w_ji|, K <= n and LIP_DIST_TERMS, summed up in the order of
 * k; y holds the largest ones already, and stays where those are not finite. place (B, M, K) or NULL: where they stand, the
 * lowest index first among equals. */
void lip_dist_sorted(const lip_dist *d, size_t K, const float *c, float *y, uint32_t *place);

/* acc (n) += sum over i < m, in this order, of coef_i sign(a - b_i) (|a - b_i| inv_i)^(p - 1), b (m, n) with ld floats from row
 * to row. With dist_i = ||a - b_i||_p this is the gradient of the distances. Terms with a power below 2^-26 are left
 * out. */
typedef struct lip_dist_terms {
  size_t m, ld;
  const float *b, *coef, *dist, *inv; /* inv_i = 1 / dist_i */
} lip_dist_terms;
void lip_dist_spread(const lip_dist_terms *t, int k, size_t n, const float *a, float *acc);

/* The same by plain loops, to compare with. */
void lip_dist_plain(const lip_dist *d, int k, double *y); /* k = 0: p infinite */

#endif
