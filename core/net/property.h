/* What is asked of a net's outputs z: linear rows w . z + d, of which so many must be above 0. Verdicts prove it for a
 * ball, attacks search a point that breaks it.
 *
 * A property is a list of clauses that must all hold; a clause holds where at least `need` of its rows are above 0. Every
 * row of a clause: need = n; any one of them: need = 1 (an unsafe set "a_1 . z <= b_1 and a_2 . z <= b_2" is the clause
 * {a_1 . z - b_1, a_2 . z - b_2} with need = 1, a union of such sets one clause for each).
 *
 * Or it is about the label y of an input; then row j is the margin z_y - z_j, and row y counts for nothing:
 *   LIP_ASK_LABEL   all margins: y is the answer
 *   LIP_ASK_TARGET  the margin to class `target`; of an input whose label is the target itself, all of them
 *   LIP_ASK_TOP     y is among the `top` largest outputs: at least C - top margins (ties count against it)
 *
 * z are the outputs as computed, in float32 or exactly, whichever a verdict is about; w . z + d is exact arithmetic of
 * these numbers. What is not a number is not above 0. */
#ifndef LIP_NET_PROPERTY_H
#define LIP_NET_PROPERTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

typedef enum lip_asked { LIP_ASK_LABEL, LIP_ASK_TARGET, LIP_ASK_TOP, LIP_ASK_ROWS } lip_asked;

/* Rows first .. first+n-1 but `skip`. */
typedef struct lip_clause {
  size_t first, n, need;
  size_t skip; /* SIZE_MAX: none */
} lip_clause;

typedef struct lip_property {
  lip_asked asked;
  size_t C;           /* outputs */
  size_t target, top; /* of the label */
  size_t m;           /* rows */
  double *weight;     /* (m, C) of LIP_ASK_ROWS; owned */
  double *constant;   /* (m); owned */
  size_t n;           /* clauses of LIP_ASK_ROWS */
  lip_clause *clause; /* (n); owned */
} lip_property;

/* About the label: C >= 2 outputs. LIP_OPTION: no such class, or not 1 <= top < C. */
lip_status lip_property_label(lip_property *p, lip_asked asked, size_t C, size_t number, lip_err *err);
/* Adds a clause of n >= 1 rows, copied, 1 <= need <= n, to a property that is {.asked = LIP_ASK_ROWS, .C = C} at first.
 * LIP_MEMORY; LIP_OPTION. */
lip_status lip_property_add(lip_property *p, const double *weight, const double *constant, size_t n,
                            size_t need, lip_err *err);
void lip_property_free(lip_property *p);
/* *rows = the same of inputs of label y < C as rows of the outputs; of one output f (n_out 1, LIP_ASK_LABEL) f > 0 for y = 1
 * and -f > 0 for y = 0. LIP_MEMORY. */
lip_status lip_property_rows(const lip_property *p, size_t y, size_t n_out, lip_property *rows, lip_err *err);

/* Clauses, and the i-th for inputs of label y (of LIP_ASK_ROWS the label does not matter). */
size_t lip_property_clauses(const lip_property *p, size_t y);
lip_clause lip_property_clause(const lip_property *p, size_t y, size_t i);

/* Whether lower bounds of all rows (m) prove it. */
bool lip_property_proved(const lip_property *p, size_t y, const double *low);

/* What outputs z (C) answer: the lowest index among the largest, -1 when one is NaN; of one output whether it is above 0. */
int32_t lip_outputs_answer(const float *z, size_t C);

/* Of executed outputs z (C), decided in exact arithmetic. LIP_UNDECIDED: some product is below 2^-900 or
 * beyond 2^1000, or a row is not finite itself. */
typedef enum lip_state { LIP_BROKEN, LIP_HOLDS, LIP_UNDECIDED } lip_state;
lip_state lip_property_state(const lip_property *p, size_t y, const float *z);

/* How far it is from being broken, in double: the value of the row that decides a clause, the `need`-th largest; *row tells
 * which (SIZE_MAX: an output of it is NaN). */
double lip_clause_value(const lip_property *p, const lip_clause *c, size_t y, const float *z, size_t *row);
/* The smallest of all clauses; NaN where a clause is. */
double lip_property_value(const lip_property *p, size_t y, const float *z);
/* Row r of a property of label y. */
double lip_property_row(const lip_property *p, size_t y, size_t r, const float *z);
/* to (C) = sign times the gradient of row r. */
void lip_property_gradient(const lip_property *p, size_t y, size_t r, float sign, float *to);

#endif
