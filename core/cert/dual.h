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
  double *g, *h,
      *u; /* coefficients behind phi and before; value at the point where the relaxation is least */
  double *ma, *va, *mb, *vb; /* moments of Adam */
  double *best_alpha, *best_beta;
  double *a, *x; /* (n_in) the row at the input; that point there */
  double *y, *z; /* (widest) */
  double rest;   /* of the last row at the input, slack taken off: f >= a . x + rest */
} lip_dual;

enum { LIP_ROWS = 64 }; /* at most */

/* Rows w_j . z + c_j of the outputs of which all are supposed to be <= 0: a contradiction is a weighted sum of them that is
 * above 0. */
typedef struct lip_rows {
  size_t n;
  const double *w, *c; /* (n, C), (n) */
  double *share;       /* (n) weights >= 0 of sum 1: found, kept from one ascent to the next */
  double *sum;         /* (C) working memory */
} lip_rows;

lip_status lip_dual_new(const lip_relax *r, lip_dual **out, lip_err *err);
void lip_dual_free(lip_dual *d); /* accepts NULL */

/* Which lines are free in the region that g has; slopes are kept where they may be, those that are NaN set as g has them. */
void lip_dual_prepare(lip_dual *d, const lip_ranges *g);
/* A lower bound of the weighted sum where all that is supposed holds; -INFINITY: not known. Fills g, h, a, rest. */
double lip_dual_bound(lip_dual *d, lip_ranges *g, const lip_rows *rows);
/* u and x of the last bound, and about what each row is there into value (n; NULL). */
void lip_dual_point(lip_dual *d, lip_ranges *g, const lip_rows *rows, double *value);
/* Up to `steps` steps; ends at a bound above 0. Returns the best, whose slopes, multipliers and shares are left behind, with
 * g, h, a, rest, u and x of its own where it is not above 0. */
double lip_dual_ascend(lip_dual *d, lip_ranges *g, const lip_rows *rows, size_t steps);
/* About what unit k of block l takes from the last bound: how far its line is from phi at the point. */
double lip_dual_loss(const lip_dual *d, const lip_ranges *g, size_t l, size_t k);

#endif
