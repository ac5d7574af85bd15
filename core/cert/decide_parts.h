/* Shared by decide.c (the cases of a question) and what it is made of: decide_search.c (limits, counterexamples), decide_exact.c,
 * decide_tree.c, decide_input.c (splitting the input), decide_score.c, decide_unit.c (deciding units). */
#ifndef LIP_CERT_DECIDE_PARTS_H
#define LIP_CERT_DECIDE_PARTS_H

#include "core/cert/decide.h"
#include "core/cert/relax.h"

typedef struct lip_score lip_score;

/* How far a search is. */
typedef struct lip_decide_state {
  size_t open, closed; /* nodes of this case that wait; that are proved */
  size_t nodes;        /* looked at, of all cases */
  size_t deepest;
  double done; /* part of this case's box that is proved, about */
  char line[120];
} lip_decide_state;

/* A search, for as long as the question lasts. */
typedef struct lip_search {
  lip_net *net;
  const lip_question *question;
  const lip_decide_conf *conf;
  lip_affine affine;
  lip_relax *relax;
  size_t threads, n_in, n_out;
  lip_ranges **ranges; /* (threads) */
  double *work;        /* (n_in) */
  lip_decision *out;
  double begun;
  /* of the case that is looked at */
  size_t number;
  lip_case part;
  lip_decide_state progress;
} lip_search;

/* Why a search ends now: too long, too many nodes, cancelled; NULL: it goes on. */
const char *lip_search_over(const lip_search *s);
/* The box of the case, of the executed net. */
lip_region lip_search_region(const lip_search *s);
/* Tells who watches; least: the lowest bound among open nodes. False: the search ends. */
bool lip_search_tell(lip_search *s, double least);
/* Looks at B float32 points x (B, n_in) with B <= the net's capacity; those outside of the case do not count. True: one of
 * them is a counterexample, which is now in the answer. */
bool lip_search_try(lip_search *s, const float *x, size_t B);
/* Whether exact arithmetic of the stored weights breaks the property at x, too: proved. */
bool lip_search_confirms(lip_search *s, const float *x);
/* The point of the case's float32 inputs next to v. */
float lip_search_clamp(const lip_search *s, size_t k, double v);

/* Splits the box until the property is proved, broken or the search is over: the answer's verdict. LIP_MEMORY. */
lip_status lip_decide_input(lip_search *s, lip_err *err);

/* The same by deciding units. */
lip_status lip_decide_unit(lip_search *s, lip_err *err);

/* ---- which input to split ---- */

/* Working memory of one thread. NULL: no memory. */
lip_score *lip_score_new(const lip_relax *r);
void lip_score_free(lip_score *s); /* accepts NULL */
/* score (n_in): what splitting input k would do for the bound of the row w (n_out) of the outputs, about; a (n_in): the
 * row's coefficients at the input. from, to (n_in): the box. */
void lip_score_inputs(lip_score *s, const lip_ranges *g, const double *w, const double *from,
                      const double *to, const double *a, double *score);

#endif
