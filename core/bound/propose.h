/* What the proposers of multipliers share: which rows are asked about, threads, proofs, and the table of pairs. */
#ifndef LIP_BOUND_PROPOSE_H
#define LIP_BOUND_PROPOSE_H

#include "core/bound/eliminate.h"
#include "core/bound/interior.h"
#include "core/bound/method.h"

#define LIP_ROOMS 7

/* One thread's state; what it finds for a target does not depend on the targets before it. */
typedef struct lip_proposer {
  lip_elim *elim;
  lip_interior
      *interior; /* NULL: not worth while (lip_interior_pays), or only the closed form is asked for */
  const lip_ask *ask;
  double *lambda; /* (count) the proposal */
  double *d;      /* (n_in) weights of the input; NULL for p = 2: all 1 */
  double *hint;   /* (count) what the layers come with (hint.h), for a target of norm 1; NULL: nothing */
  double tail;    /* constant of what stands between that and the outputs */
  lip_rows rows;  /* of the target */
  double *room[LIP_ROOMS]; /* (lip_elim_params + n_in) each: working memory */
  double finish;           /* time by which this target should be done */
  bool cut;                /* it was not: its search ended early */
} lip_proposer;

/* Proposes multipliers (and d) for rows that lip_elim_target has been told of; returns rho, INFINITY for none. */
typedef double lip_propose(lip_proposer *p);

/* The closed form: multipliers of lip_elim_closed or, where that is smaller, of lip_elim_forward or what the layers come with
 * (hint.h); weights d_k = sum_j |Q_kj| of the form Q that they leave at the input,
 * which make diag(d) - Q diagonally dominant. */
double lip_propose_closed(lip_proposer *p);

/* Goes through pairs when asked for, and the rows of the upper bound; proves each proposal; fills `out`. */
lip_status lip_propose_all(const lip_ask *ask, lip_propose *propose, lip_found *out, lip_err *err);
/* p = 2 or inf from the input, q = 2 or inf at the logits, and a net of matrices with slopes between (of a single
 * matrix the product is the norm itself). */
bool lip_propose_takes(const lip_ask *ask, char *why);
bool lip_propose_stop(lip_proposer *p); /* cancelled, or out of time (p->cut); tells how far things are */

#endif
