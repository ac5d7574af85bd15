/* Inside of interior.h: shared by its two files, of no use elsewhere. */
#ifndef LIP_BOUND_INTERIOR_PARTS_H
#define LIP_BOUND_INTERIOR_PARTS_H

#include "core/bound/eliminate_parts.h"
#include "core/bound/interior.h"

enum { LIP_INTERIOR_OWNED = 32 };

/* Unknowns: `in` inputs, then F units, both padded. Matrices are (N, N) and mirrored unless said otherwise. */
struct lip_interior {
  const lip_elim *e;
  bool weighted, spread; /* every input has a variable of its own; some z depends on levels further before */
  size_t in, F, N, m;    /* m: variables of the input, 1 or the inputs that count */
  size_t count;          /* unknowns and multipliers that count */
  size_t *from, *until;  /* (levels) columns in which z of a level is not 0 */
  unsigned char *live;   /* (N) whether an unknown is more than padding */
  double *Z0, *Y0;       /* (F, N) z of the units; (known units of the last level, N) */
  double *low, *high;    /* (F) slopes */
  /* of the target at hand, scaled so that all variables begin with 1 */
  double *Z, *Zt;                       /* (F, N) and (N, F) */
  double *VV, *V;                       /* V'V; (N, R) */
  double *scale, *cost;                 /* (N); (F + m) of the objective: 0 at multipliers */
  double *start;                        /* (F + m) what a variable of 1 stands for */
  double *v, *w, *dv, *dw;              /* (F + m) variables; slacks w of the first F; steps */
  double *rhs, *trace, *bend;           /* (F + m) */
  double *S, *T, *X, *dS, *dX, *second; /* T = S^-1; `second`: second-order terms of dX */
  double *G, *Y;                        /* working memory */
  double *P[2], *C[2];                  /* Z X, Z T (F, N); Z X Z', Z T Z' (F, F) */
  double *B;                            /* (F + m padded)^2 */
  size_t k;                             /* F + m, padded */
  void *owned[LIP_INTERIOR_OWNED];
  size_t n_owned;
  bool failed;
};

/* The form for the target of e and variables that begin at lambda, d, rho. False: numbers that are not finite. */
bool lip_interior_load(lip_interior *t, const double *lambda, const double *d, double rho);
/* S = sum_k v_k E_k, with - V'V when `whole`. */
void lip_interior_assemble(lip_interior *t, const double *v, bool whole, double *S);
/* P (F, N) = Z M. */
void lip_interior_rows(const lip_interior *t, const double *M, double *P);
/* C (F, F) = P Z'. */
void lip_interior_square(const lip_interior *t, const double *P, double *C);
/* Y = M D for a matrix D made by lip_interior_assemble without V. */
void lip_interior_times(const lip_interior *t, const double *M, const double *D, double *Y);
/* out (F + m): the inner products <E_k, M>; P = Z M. */
void lip_interior_traces(const lip_interior *t, const double *M, const double *P, double *out);

#endif
