/* Lower bounds of one row of the outputs over a region, with the free parts of the relaxation chosen by ascent: the slope of
 * the line through the kink of an undecided unit ("alpha": Xu et al. 2021), and a multiplier for every unit that is supposed to
 * be on one side of its kink ("beta": Wang et al. 2021, theorem 3.1). Any slopes and multipliers prove a bound. */
#ifndef LIP_CERT_DUAL_H
#define LIP_CERT_DUAL_H

#include "core/cert/relax_parts.h"

typedef struct lip_dual {
  const lip_relax *r;
  size_t units;  /* of all blocks but the last */
  size_t *first; /* (n) place of a block's first unit */
  /* (units) each */
  double *alpha, *beta; /* slope of the free line; multiplier >= 0 */
  double *side;         /* what is supposed: side u <= 0, side 1 or -1; 0: nothing */
  double *least, *most; /* of alpha; least > most: no line is free */
  double *curve;        /* of phi there: > 0 convex, the line below is free; < 0 concave, the line above */
  double *g, *h, *u;    /* coefficients behind phi and before; value at the point where the relaxation is least */
  double *ma, *va, *mb, *vb; /* moments of Adam */
  double *best_alpha, *best_beta;
  double *a, *x; /* (n_in) the row at the input; that point there */
  double *y;     /* (widest) */
  double rest;   /* of the last row at the input, slack taken off: f >= a . x + rest */
} lip_dual;

lip_status lip_dual_new(const lip_relax *r, lip_dual **out, lip_err *err);
void lip_dual_free(lip_dual *d); /* accepts NULL */

/* Which lines are free in the region that g has; slopes are kept where they may be, others set as g has them. */
void lip_dual_prepare(lip_dual *d, const lip_ranges *g);
/* A lower bound of w . z + c where all that is supposed holds; -INFINITY: not known. Fills g, h, a, rest. */
double lip_dual_bound(lip_dual *d, lip_ranges *g, const double *w, double c);
/* u and x of the last bound. */
void lip_dual_point(lip_dual *d, lip_ranges *g);
/* Up to `steps` steps; ends at a bound above 0. Returns the best, whose slopes and multipliers are left behind. */
double lip_dual_ascend(lip_dual *d, lip_ranges *g, const double *w, double c, size_t steps);
/* About what unit k of block l takes from the last bound: how far its line is from phi at the point. */
double lip_dual_loss(const lip_dual *d, const lip_ranges *g, size_t l, size_t k);

#endif
