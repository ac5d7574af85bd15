/* Whether a net has a property all over a region, decided by branch and bound.
 *
 * Verified: no input of the region breaks the property, neither by exact arithmetic of the stored weights nor by float32 as
 * executed, in any order of summation, fused or not (the real inputs for the one, the float32 inputs among them for the
 * other). Violated: a float32 input of the region that breaks it both as lip_net_forward computes here and by exact
 * arithmetic. Unknown is all else, with the reason. */
#ifndef LIP_CERT_DECIDE_H
#define LIP_CERT_DECIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/bound/watch.h"
#include "core/cert/relax.h"
#include "core/net/net.h"
#include "core/net/property.h"

/* One part of a question: has the net the property wherever from <= x <= to? */
typedef struct lip_case {
  const double *from, *to; /* (n_in) finite; a side with from > to: there is no such x */
  /* A ball of norm 1 or 2 around an x, scaled, cut with a box that x lies in: only inputs in it are asked about (relax.h; its
   * `executed` and `cancel` do not count). from and to are no narrower. NULL: the box alone */
  const lip_region *ball;
  /* (n_in) what of it counts as a counterexample: float32 points with least <= x <= most, none where some least > most */
  const float *least, *most;
  const lip_property *property; /* LIP_ASK_ROWS */
} lip_case;

/* The property must hold in each of n cases. */
typedef struct lip_question {
  size_t n;
  lip_p p; /* of all balls; inf where there are none */
  /* Case i, lent until the next call. */
  lip_status (*at)(void *arg, size_t i, lip_case *out, lip_err *err);
  /* The last word on a counterexample x of case i with its executed outputs z; NULL: no more is asked. */
  bool (*counts)(void *arg, size_t i, const float *x, const float *z);
  void *arg;
} lip_question;

typedef enum lip_verdict { LIP_UNKNOWN, LIP_VERIFIED, LIP_VIOLATED } lip_verdict;
extern const char *const lip_verdict_names[]; /* "unknown", "verified", "violated", NULL */

/* What is split: inputs where there are at most 20 of them, else units; or always the one or the other. */
typedef enum lip_split { LIP_SPLIT_BEST, LIP_SPLIT_INPUT, LIP_SPLIT_UNIT } lip_split;
extern const char *const lip_split_names[]; /* "best", "input", "unit", NULL */

typedef struct lip_decide_conf {
  double seconds; /* <= 0: no limit */
  size_t nodes;   /* 0: no limit. With this one the answer is the same on every run */
  lip_split split;
  bool attack;      /* look for a counterexample first */
  uint64_t seed;    /* of the attack */
  lip_watch *watch; /* bound/watch.h: told after every round; NULL */
} lip_decide_conf;

typedef struct lip_decision {
  lip_verdict verdict;
  size_t case_number; /* where it is violated, or the first that is unknown */
  float *x, *z;       /* (n_in), (n_out) the counterexample and its executed outputs; owned. NULL: none */
  /* Unknown: the lowest bound that is left. -INFINITY: nothing is known */
  double least;
  char why[160]; /* unknown: why */
  size_t nodes, leaves, deepest;
  double seconds;
} lip_decision;

/* Runs on all threads of the net; the tree, and so the answer, does not depend on how many, but for `seconds`. *out is filled
 * also when it is interrupted (LIP_CANCELLED is no failure here: the answer is unknown). LIP_OPTION: a property that does not
 * fit the net, inputs of balls are to be split; LIP_MEMORY before the search has begun; what question->at fails with. lip_decision_free in any case. */
lip_status lip_decide(lip_net *net, const lip_question *q, const lip_decide_conf *conf, lip_decision *out,
                      lip_err *err);
void lip_decision_free(lip_decision *d);

#endif
