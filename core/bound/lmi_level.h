/* One block of unknowns of the inequality, as lmi_prove.c and lmi_exact.c keep it. */
#ifndef LIP_BOUND_LMI_LEVEL_H
#define LIP_BOUND_LMI_LEVEL_H

#include <stdbool.h>
#include <stddef.h>

/* The unknowns x or y_l. All arrays are padded with zeros to k, a multiple of LIP_PAD. */
typedef struct lip_level {
  size_t n, k, below;      /* below: k of the level before, 0 for x */
  double *A, *size;        /* (k, below) z_l = A y_{l-1}, and its absolute values */
  double *low, *high;      /* (k) */
  double *lambda, *p, *q;  /* (k) of the target at hand */
  double *B;               /* (k + below, k) M_ll over M_l-1,l */
  double *row, *scale, *v; /* (k) sums of |M|; s; scratch */
} lip_level;

/* The arrays of a level whose k and below are set. False: some are missing, for want of memory. */
bool lip_level_alloc(lip_level *l);
void lip_level_free(lip_level *l); /* also of a level that is incomplete */

#endif
