/* Power iteration on W'W (Golub and Van Loan 2013, sections 7.3.1 and 8.2.4) that reads W (M,N) once per step: estimates of
 * the 2->2 norm, from below but for rounding, and the projection that scales the whole matrix by one. */
#ifndef LIP_NORM_POWER_H
#define LIP_NORM_POWER_H

#include <stddef.h>

/* See lip_opnorm_estimate. */
double lip_power_estimate(const float *W, size_t M, size_t N, size_t iterations, double *v, double *scratch);

/* Vectors that follow the leading right singular vectors of one matrix. */
typedef struct lip_power lip_power;
lip_power *lip_power_new(size_t M, size_t N); /* NULL: no memory */
void lip_power_free(lip_power *p);            /* accepts NULL */
/* The vectors and whether they have been started: what the next call depends on beside W. Lent. */
float *lip_power_warm(lip_power *p, size_t *n);
/* Scales W when its estimated norm exceeds the radius. */
void lip_power_radial(lip_power *p, float *W, double radius);
/* The same for any n numbers and the norm they stand for. */
void lip_power_scale(float *W, size_t n, double sigma, double radius);

/* A block-diagonal matrix given by its products: `pieces` blocks (M,N), each of `weights` numbers of its own that follow those
 * of the block before. forward: y (b, pieces, M) of x (b, pieces, N) for b = 1 or 2; back: the transposed map. */
typedef struct lip_power_map {
  size_t weights;
  void (*forward)(const void *arg, const float *w, size_t b, const float *x, float *y, void *scratch);
  void (*back)(const void *arg, const float *w, size_t b, const float *y, float *x, void *scratch);
  const void *arg;
} lip_power_map;

lip_power *lip_power_new_map(size_t pieces, size_t M, size_t N); /* NULL: no memory */
/* The norm of each piece as far as a pass or two find it, from where the last call arrived; 0 for weights that are zero or not
 * finite. sigma (pieces). Does not allocate; scratch is the map's. */
void lip_power_norms(lip_power *p, const lip_power_map *m, const float *W, double *sigma, void *scratch);

#endif
