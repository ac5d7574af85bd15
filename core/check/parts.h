/* What the two files of the checker share. */
#ifndef LIP_CHECK_PARTS_H
#define LIP_CHECK_PARTS_H

#include "core/check/check.h"

#define GAMMA(k) ((double)(k)*0x1p-53 * (1 + 0x1p-20)) /* k u / (1 - k u) for k < 2^32 */
#define FLOOR 0x1p-900                                 /* above whatever underflow can lose, see README.md */

/* A matrix and what follows it. */
typedef struct block {
  size_t M, N, dense; /* dense: index of its norm claim; an identity has dense = SIZE_MAX */
  const float *W, *b;
  float *own;    /* W of an identity */
  float *across; /* (N, M) W transposed */
  bool follows;  /* a nonlinearity follows: maxmin or leaky */
  bool maxmin;
  double slope, lip; /* of leaky; Lipschitz constant of what follows in every norm */
  int p, q;          /* norms before and behind */
  double abs, bias;  /* >= || |W| ||_{p->q}, ||b||_q */
} block;

/* Linear forms in the increments of the input (or of a shorter u in its place) and of the nonlinearities' own parts. */
typedef struct forms {
  size_t K, base, vars; /* length; first of them: the input; the others: one per nonlinearity */
  double *H, *Ha;       /* (vars, K) what goes into nonlinearity v, and its absolute twin */
  double *A, *Aa;       /* (inputs of the last block, K) */
  size_t *reach, *unit; /* (vars) entries of H that may be nonzero; index of the multiplier */
  double *r;            /* (vars) half the width of the slopes */
  double top;           /* largest entry of the twins */
  size_t ops;           /* roundings on the way to an entry */
} forms;

struct lip_check {
  const lip_check_net *net;
  const lip_check_claims *claims;
  size_t n, C, units, widest;
  block *block;           /* (n) */
  double *row;            /* (C) dual norms of the last block's rows */
  double *difference;     /* (C, C) dual norms of their differences */
  forms quadratic, input; /* made when first asked for; K = 0 until then */
  double *spread;         /* (vars, n_in) of `input`: README.md, "abs" */
  double *h, *z, *t;      /* one row's forward pass */
  double *scalar;         /* (4, n) e, S, T, Z of the blocks */
};

/* Rounded up: sums of n terms >= 0; exponents 1, 2 and 0 = inf. */
double lip_check_add(double sum, double v, int p);
double lip_check_norm_of(double sum, size_t n, int p);
/* >= v, for the result of a few operations on numbers >= 0. */
double lip_check_up(double v);

lip_status lip_check_spectral(const float *W, size_t M, size_t N, double claim, bool *proved);
lip_status lip_check_abs_pair(lip_check *c, size_t i, size_t j, double *constant);
lip_status lip_check_quadratic_pair(lip_check *c, size_t target, double rho, bool *proved);
void lip_check_forms_free(forms *f);

#endif
