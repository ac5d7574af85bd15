/* Kernels on columns [u0, u1) of a row-major matrix (M,N): rows are streamed, so every access is contiguous, and each
 * column sums its elements from the first row to the last whatever the range. Work arrays hold N entries, of which
 * those of the range are used. */
#ifndef LIP_NORM_COLS_H
#define LIP_NORM_COLS_H

#include <stddef.h>
#include <stdint.h>

#include "core/norm/pnorm.h"
#include "core/norm/rows.h"

/* One column's working memory, as arrays. */
typedef struct lip_cols {
  double *tau, *all, *sum;
  uint32_t *count, *before;
  float *level;
} lip_cols;

/* Largest enclosed norm of all columns: {max low, max high}. */
lip_interval lip_cols_norm(const float *W, size_t M, size_t N, lip_p p);
/* Enclosed norm of one column. */
lip_interval lip_col_norm(const float *W, size_t M, size_t N, size_t j, lip_p p);

/* Scales the columns whose norm (1 or 2) is above the radius. Uses all, sum. */
void lip_cols_scale(float *W, size_t M, size_t N, lip_p p, double radius, lip_cols *c, size_t u0, size_t u1);
/* Nearest point of the l1 ball for each column (see l1ball.h). Uses all of c. */
void lip_cols_l1(float *W, size_t M, size_t N, double radius, lip_cols *c, size_t u0, size_t u1);

#endif
