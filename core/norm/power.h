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

#endif
