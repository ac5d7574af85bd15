/* Symmetric double matrices (n,n) that are zero farther than `half` from the diagonal, stored by rows of blocks: the
 * proofs of verify.c for Gram matrices of convolutions. */
#ifndef LIP_NORM_BAND_H
#define LIP_NORM_BAND_H

#include <stdbool.h>
#include <stddef.h>

typedef struct lip_band {
  size_t n, rows; /* rows: n rounded up to whole blocks; what is added is zero */
  size_t blocks;  /* of a row beside the one on the diagonal */
  size_t width;   /* numbers kept of a row */
  double *cell;   /* (rows, width), the lower triangle; owned by the caller: lip_free */
} lip_band;

/* Zeros. False: no memory. */
bool lip_band_open(lip_band *g, size_t n, size_t half);
/* Where element (i,j) is, j <= i <= j + half; those of a row are side by side. */
double *lip_band_at(const lip_band *g, size_t i, size_t j);
/* Multiplications of one factorisation, roughly. */
double lip_band_cost(size_t n, size_t half);
/* True when lambda_max(A A') <= *a is proved for *a = base + what the proof costs (verify.c), given ||A A' - G||_2 <= e. G is
 * overwritten. False also when the thread's flag is raised (base/cancel.h). */
bool lip_band_below(lip_band *g, double base, double e, double *a);

#endif
