/* A query of VNN-LIB as a question that branch and bound decides (cert/decide.h). */
#ifndef LIP_EXCHANGE_VNNLIB_QUESTION_H
#define LIP_EXCHANGE_VNNLIB_QUESTION_H

#include "core/cert/decide.h"
#include "core/exchange/vnnlib.h"

/* Boxes are the doubles around the decimals; a counterexample counts where the decimals themselves say so. */
typedef struct lip_vnnlib_question {
  lip_question ask;
  const lip_vnnlib *v; /* both borrowed, for as long as this is used */
  const lip_vnnlib_cases *cases;
  const uint32_t *order; /* (n_x) input i of the net is input order[i] of the query; NULL: i. Borrowed */
  double *side, *sorted; /* (2 n_x) of the case at hand, as the query and as the net has it */
  float *point, *asked;  /* (2 n_x) likewise; (n_x) a counterexample as the query has it */
  lip_property spec;     /* likewise */
} lip_vnnlib_question;

/* For a net of n_x inputs and n_y outputs. LIP_SHAPE: the query has other numbers of them, or several networks; LIP_MEMORY.
 * Case by case then: LIP_UNSUPPORTED where an input has no finite side, and what lip_vnnlib_spec says. Free also after a
 * failure. Must stay where it is. */
lip_status lip_vnnlib_question_init(lip_vnnlib_question *q, const lip_vnnlib *v,
                                    const lip_vnnlib_cases *cases, const uint32_t *order, size_t n_x,
                                    size_t n_y, lip_err *err);
void lip_vnnlib_question_free(lip_vnnlib_question *q);

#endif
