/* Nets with two free inputs looked at without rounding: their linear pieces over a region, one after the other, and their
 * values in rational numbers. Needs GMP, which comes with MPFR. */
#ifndef LIP_TESTS_SUPPORT_EXACT_H
#define LIP_TESTS_SUPPORT_EXACT_H

#include "core/net/net.h"
#include "core/norm/pnorm.h"

#ifdef LIP_MPFR

#include <gmp.h>

enum { EXACT_REGISTERS = 32, EXACT_OPS = 64, EXACT_WIDEST = 24, EXACT_CORNERS = 40 };

/* One step of a net: registers hold what layers give. Lists of two units each belong to EXACT_ORDER and EXACT_MAX. */
typedef enum exact_kind {
  EXACT_LINEAR, /* to = matrix from + bias */
  EXACT_BEND,   /* slope a below 0 (relu, leaky_relu, abs) */
  EXACT_ORDER,  /* units (i, j) of `to` exchanged when j is larger, one after the other */
  EXACT_MAX,    /* unit i of `to` is the largest of the units j of `from` */
  EXACT_ADD     /* to = a from + b other */
} exact_kind;
typedef struct exact_op {
  exact_kind kind;
  int from, other, to;
  size_t n, m;           /* units of `from` and of `to` */
  double *matrix, *bias; /* (m, n), (m); owned */
  double a, b;
  size_t (*list)[2]; /* (steps), owned */
  size_t steps;      /* decisions to be made */
} exact_op;
typedef struct exact_net {
  exact_op op[EXACT_OPS];
  int n, registers, last; /* `last`: the logits */
  size_t n_in, n_out;
} exact_net;

/* False: a layer is of a kind that is not written out here (smooth ones, batch_norm, householder, l2_pool2d, anchor), or
 * the net is too large. exact_free also after false. */
bool exact_init(exact_net *e, const lip_net *net);
void exact_free(exact_net *e);

/* z (n_out, initialised) = the exact logits at x (n_in). */
void exact_at(const exact_net *e, const double *x, mpq_t *z);

/* {x : ||(x - centre) / scale||_p <= eps}, within from..to; coordinates other than two have scale 0. */
typedef struct exact_region {
  const double *centre, *scale, *from, *to; /* (n) */
  size_t n;
  lip_p p;
  double eps;
} exact_region;
/* Whether x (n) lies in the region, decided in rational numbers. */
bool exact_inside(const exact_region *r, const double *x);
/* The point x (n) of u in the two free coordinates, (x - centre) / scale; u is moved towards the centre until x lies in
 * the region for sure. False: it never does. */
bool exact_point(const exact_region *r, const double u[2], double *x);

/* Every linear piece that meets the region (for p = 2 the square around it): its corners u (n, 2), counterclockwise, and
 * its logits z_j = form[j][0] + form[j][1] u_0 + form[j][2] u_1, in double. Ends after `most` pieces; returns how many. */
typedef void exact_seen(void *arg, const double (*u)[2], size_t n, double (*form)[3]);
size_t exact_pieces(const exact_net *e, const exact_region *r, size_t most, exact_seen *seen, void *arg);

#endif
#endif
