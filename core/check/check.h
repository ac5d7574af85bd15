/* The independent checker of certificates: works every claim about a net out again, in double precision and with its own
 * formulas (README.md states and proves them), and refuses what it cannot confirm. No code of what finds the bounds, no
 * BLAS, no threads. Every test is written so that NaN fails it. */
#ifndef LIP_CHECK_CHECK_H
#define LIP_CHECK_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/cancel.h"
#include "core/base/error.h"

/* What nets are made of. Values stand in segments, the segments on a stack; a layer takes the top one unless it says
 * otherwise. */
typedef enum lip_check_kind {
  LIP_CHECK_DENSE, /* y = W x + b, W (M, N); has a norm claim */
  LIP_CHECK_LEAKY, /* y = x for x >= 0, slope x below; 0: relu, -1: the absolute value */
  LIP_CHECK_MAXMIN, /* pairs, mate[k] partner of k, or k (NULL: 0 and 1, 2 and 3, ...); the larger value first */
  LIP_CHECK_MINMAX, /* the same, the smaller value to the lower index */
  LIP_CHECK_SPARSE, /* y = W x + b, row i of M has value[e] in column[e], start[i] <= e < start[i + 1] */
  LIP_CHECK_TANH,
  LIP_CHECK_SIGMOID,
  LIP_CHECK_SOFTPLUS, /* log(1 + e^(slope x)) / slope */
  LIP_CHECK_COPY,     /* the segment M below the top is put on top once more */
  LIP_CHECK_DROP,     /* the segment below the top goes */
  LIP_CHECK_JOIN,     /* M segments become one, the deepest first */
  LIP_CHECK_SUM       /* M segments of one size become sum_i W[i] x_i */
} lip_check_kind;
typedef struct lip_check_layer {
  lip_check_kind kind;
  size_t M, N;        /* outputs and inputs of matrices */
  const float *W, *b; /* (M, N) row-major and (M), or b NULL */
  double slope;       /* leaky, softplus; a float32 number */
  const size_t *mate; /* pairs */
  /* sparse, see above; value and bias (M, or NULL) exact as they stand */
  const size_t *start, *column;
  const double *value, *bias;
  bool claimed; /* has a norm claim */
  size_t more;  /* roundings of a row as executed beside those of its products and sums */
} lip_check_layer;
typedef struct lip_check_net {
  size_t n_in, n_out, n;
  const lip_check_layer *layer; /* (n) */
} lip_check_net;
/* What pair constants may rest on, beside the product of the layers' norms. */
enum { LIP_CHECK_ABS = 1, LIP_CHECK_QUADRATIC = 2 };
#define LIP_CHECK_OWN 0x1p20

typedef struct lip_check_claims {
  size_t dense;    /* norm claims */
  const int *path; /* (dense + 1) norms 1, 2 or 0 = inf: of the input, and behind each of them */
  bool float32;    /* radii hold for the net as executed in float32, not just in exact arithmetic */
  unsigned evidence;
  const double *norm;         /* (dense) operator norms; NULL: local claims alone */
  const double *pair;         /* (C, C) constants of z_i - z_j from the norm path[0]; NULL with norm */
  size_t targets, units;      /* proofs of the quadratic inequality; multipliers of each: lip_check_units */
  const double *target, *rho; /* (targets, 2) classes, (targets) */
  const double *lambda, *weight; /* (targets, units), (targets, n_in) or NULL */
  size_t rows;
  const float *label;   /* (rows) class as executed */
  const double *radius; /* (rows) */
  /* Radii may also rest on a relaxation of the ball around each row, cut with the box. */
  bool local;
  double from, to; /* the box, -INFINITY and INFINITY: none */
  const double
      *slope;         /* (rows, units) of the free lines, LIP_CHECK_OWN: the checker's choice; NULL: always */
  lip_cancel *cancel; /* NULL: none. A claim that it interrupts is refused */
} lip_check_claims;
typedef struct lip_check lip_check;

/* Nonlinearities of one number, in the order of layers: a leaky or smooth unit each, of sorts every pair of every round. */
size_t lip_check_units(const lip_check *c);

/* Shapes and signs of everything, and what the claims share. Net and claims are borrowed; numbers among the claims may
 * change between calls. LIP_FORMAT = refused, the message says which claim and why; LIP_MEMORY. Owned: lip_check_close. */
lip_status lip_check_open(const lip_check_net *net, const lip_check_claims *claims, lip_check **out,
                          lip_err *err);
void lip_check_close(lip_check *c); /* accepts NULL */

typedef enum lip_check_what { LIP_CHECK_NORM, LIP_CHECK_PAIR, LIP_CHECK_ROW } lip_check_what;
/* Norm i, pair i, j, or row i with its input x (n_in): LIP_OK = confirmed, LIP_FORMAT = refused with the reason,
 * LIP_MEMORY. Radii rest on norms and pairs, pairs on norms: a certificate holds when all of them are confirmed. */
lip_status lip_check_claim(lip_check *c, lip_check_what what, size_t i, size_t j, const float *x,
                           lip_err *err);

#endif
