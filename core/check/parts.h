/* Inside of core/check: what its files work on, and what they share. */
#ifndef LIP_CHECK_PARTS_H
#define LIP_CHECK_PARTS_H

#include <math.h>

#include "core/check/check.h"
#define GAMMA(k) ((double)(k)*0x1p-53 * (1 + 0x1p-20)) /* k u / (1 - k u) for k < 2^32 */
#define FLOOR 0x1p-900                                 /* above whatever underflow can lose, see README.md */
#define DUAL(p) ((p) == 1 ? 0 : (p) == 2 ? 2 : 1)      /* exponents 1, 2 and 0 = inf */

/* A matrix and what follows it. */
typedef struct block {
  size_t M, N, dense; /* dense: index of its norm claim; an identity has SIZE_MAX */
  const float *W, *b;
  float *across;        /* (N, M) W transposed */
  bool follows, maxmin; /* a nonlinearity follows: maxmin or leaky */
  double slope, lip;    /* of leaky; Lipschitz constant of what follows in every norm */
  int p, q;             /* norms before and behind */
  double abs;           /* >= || |W| ||_{p->q} */
  size_t most;          /* weights of a row that are not zero, at most */
} block;

/* Linear forms in the increments of the input (or of a shorter u in its place) and of the nonlinearities' own parts. */
typedef struct forms {
  size_t K, base,
      vars;       /* length; first of them: the input; the others: one per nonlinearity. K = 0: not made */
  double *H, *Ha; /* (vars, K) what goes into nonlinearity v, and its absolute twin */
  double *A, *Aa; /* (inputs of the last block, K) */
  size_t *reach, *unit; /* (vars) entries of H that may be nonzero; index of the multiplier */
  double *r, top;       /* (vars) half the width of the slopes; largest entry of the twins */
  size_t ops;           /* roundings on the way to an entry */
} forms;
struct lip_check {
  const lip_check_net *net;
  const lip_check_claims *claims;
  size_t n, C, units, widest;
  block *block;               /* (n) */
  double *row, *difference;   /* (C), (C, C) dual norms of the last block's rows and of their differences */
  forms shorter, input;       /* from u, and from the input itself */
  double *spread;             /* (vars, n_in) of `input`: README.md, "abs" */
  double *h, *z, *t, *scalar; /* one row's forward pass; (4, n) e, S, T, Z of the blocks */
  struct held *held;          /* all memory, newest first */
  bool failed;                /* some was refused */
};

/* a * b zeroed elements of 8 bytes, or NULL, and then c->failed. Belong to c until lip_check_drop(c, held before). */
void *lip_check_take(lip_check *c, size_t a, size_t b);
void lip_check_drop(lip_check *c, struct held *until);

/* A norm term by term, rounded up in the end; exponents 1, 2 and 0 = inf. The last: >= the result v of a few operations. */
static inline double lip_check_add(double sum, double v, int p) {
  v = fabs(v);
  return p == 1 ? sum + v : p == 2 ? sum + v * v : v > sum ? v : sum;
}
static inline double lip_check_norm_of(double sum, size_t n, int p) {
  return p == 0 ? sum : (p == 2 ? sqrt(sum) : sum) * (1 + GAMMA(n + 16));
}
static inline double lip_check_up(double v) {
  return v * (1 + 0x1p-48) + FLOOR;
}

#endif
