/* Inside of lmi_prove.c and lmi_exact.c: the matrix of the inequality, in blocks. */
#ifndef LIP_BOUND_LMI_FORM_H
#define LIP_BOUND_LMI_FORM_H

#include "core/affine/bend.h"
#include "core/bound/lmi.h"
#include "core/bound/lmi_level.h"
#include "core/norm/symmetric.h"

/* What z and V are made of when units of known slope are put in: order of unknowns free units, then x. */
typedef struct lip_chain {
  size_t F, N, units;     /* free units, padded; with x; units of all blocks */
  size_t *at;             /* (units) place of a free unit, or N */
  double *Z, *size;       /* (units, N) z of every unit */
  double *W, *W_size;     /* (rows of the target, N) */
  double *lambda, *p, *q; /* (F) */
  size_t *unit;           /* (F) unit of each */
  double *s, *row;        /* (N) */
  double *G, *T, *U;      /* (N, N); (N, F + rows) twice */
  bool made;              /* Z is that of d = 1 */
} lip_chain;

struct lip_lmi {
  const lip_affine *a;
  size_t n, most;           /* levels (n blocks of the net, so n too); largest k */
  lip_level *at;            /* (n) */
  double *first, *weighted; /* (k0, k0) R for d = 1 and for the target's d; NULL: no compression */
  double *base, *left;      /* (k0, k0) block of x less c and r but for rho; what the others leave behind */
  double *T, *U;            /* (most, most) transposed factors of a product */
  double *V, *V_size;       /* (rows of the target, padded; k of the last level) */
  double *d;                /* (k0) weights of x after compression */
  size_t rows;              /* most rows of a target, padded */
  double least;             /* smallest diagonal entry that is accepted */
  size_t terms;             /* roundings of an entry of the matrix */
  lip_lmi *exact;           /* the same without units of known slope (lmi_exact.c), or NULL */
  lip_chain *chain;         /* of such a one; NULL otherwise */
  bool broken;              /* the first matrix could not be replaced, or slopes are not numbers */
};

static inline size_t lip_lmi_pad(size_t n) {
  return (n + LIP_PAD - 1) / LIP_PAD * LIP_PAD;
}

/* Whether the slope of unit k of level b >= 1 is one number, be it known to a relative error of 2^-50 only. */
static inline bool lip_unit_known(const lip_lmi *m, size_t b, size_t k) {
  return !(m->at[b].low[k] < m->at[b].high[k]) || lip_block_is_line(&m->a->block[b - 1], k);
}

static inline bool lip_unit_dead(const lip_level *l, size_t k) {
  return l->low[k] == 0 && l->high[k] == 0;
}

/* The form of `m` without units of known slope, in *out; NULL there when it has none or is large. LIP_MEMORY. */
lip_status lip_exact_new(const lip_lmi *m, lip_lmi **out, lip_err *err);
void lip_exact_free(lip_lmi *e); /* accepts NULL */
/* Its matrix but for rho, for the target, multipliers and weights that `m` has loaded. d: whether there are weights.
 * False: numbers are too far apart for it. */
bool lip_exact_assemble(lip_lmi *e, const lip_lmi *m, size_t rows, bool d);
/* As row_sums in lmi_prove.c. */
void lip_exact_row_sums(lip_lmi *e, size_t rows, double rho);

#endif
