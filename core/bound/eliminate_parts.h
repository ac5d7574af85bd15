/* Inside of eliminate.h: shared by its two files, of no use elsewhere. */
#ifndef LIP_BOUND_ELIMINATE_PARTS_H
#define LIP_BOUND_ELIMINATE_PARTS_H

#include <stdint.h>

#include "core/bound/eliminate.h"
#include "core/bound/leading.h"

enum { LIP_ELIM_OWNED = 24 + 12 * (LIP_ELIM_BLOCKS + 1) };

typedef struct lip_elim_block {
  const lip_block *block;
  size_t N, M,
      F;     /* columns of A; units with padding; the first F of them (padding included) have a multiplier */
  size_t at; /* of its multipliers */
  uint32_t *unit;        /* (M) unit of the block at a place; UINT32_MAX: padding */
  double *At;            /* (N, M) columns m.. of known slope times the slope */
  double *mid, *half;    /* (M); mid = 1, half = 0 at known slopes (they are in At), both 0 at padding */
  double *Q, *P, *H, *E; /* (M, M) behind the block; (F, F) factor; (N, F + rows); (N, M - F) */
  double *z, *y;         /* (M) */
  double *w, *direction; /* (LIP_LEADING, F or rows), (LIP_LEADING, F): leading vectors of the scaled Q */
  double share[LIP_LEADING], limit; /* their weights; the largest eigenvalue */
  bool full, bent;                  /* some mid != 0; some mid^2 != half^2 */
} lip_elim_block;

struct lip_elim {
  const lip_affine *a;
  lip_cancel *cancel;
  size_t n, count, last;     /* hidden blocks; multipliers; inputs of the last matrix as laid out here */
  lip_elim_block *stage;     /* (n) */
  size_t R, rows;            /* room for rows of V, those in use: padded */
  double *V, *W, *T, *S, *s; /* (R, last), (R, last), (N, R), (R, R), (R) */
  /* the input */
  size_t n_in, in; /* padded; after compression */
  bool compress, weighted;
  double *A, *Ad;  /* (M_1, n_in) when compressed or weighted */
  double *R0, *d;  /* (in, in) factor; (n_in) 1 / d */
  double *Ut, *Yt; /* (n_in, in) when weighted and compressed */
  /* forwards: multipliers for rho = 1 (count), two matrices of the widest block; NULL: the net is not of that kind */
  double *forward, *X[2];
  enum { LIP_FORWARD_UNKNOWN, LIP_FORWARD_MADE, LIP_FORWARD_NONE } forward_is;
  double *Q0, *x, *work;      /* (in, in), (LIP_LEADING, in) */
  double weight[LIP_LEADING]; /* of the rows of x in the last gradient */
  void *owned[LIP_ELIM_OWNED];
  size_t n_owned;
  bool failed;
};

#endif
