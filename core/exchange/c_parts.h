/* What the files c_*.c share: the source under way, and where its values stand. */
#ifndef LIP_EXCHANGE_C_PARTS_H
#define LIP_EXCHANGE_C_PARTS_H

#include "core/base/str.h"
#include "core/exchange/c_source.h"
#include "core/layer/emit.h"

/* ---- where values stand (c_plan.c) ---- */

typedef enum lip_c_place { LIP_C_X, LIP_C_Y, LIP_C_ROOM } lip_c_place;

typedef struct lip_c_value {
  bool used;   /* something that leads to the outputs takes it */
  size_t size; /* numbers */
  size_t home; /* the first value that stood in its place; what is done in place, or renames, moves in */
  size_t last; /* of a home: the last step that reads it */
  lip_c_place place; /* of a home */
  size_t at;         /* of a home in the room: first number */
} lip_c_value;

typedef struct lip_c_plan {
  size_t n;
  lip_c_value *value; /* (n), owned */
  size_t room;        /* numbers of the scratch */
  bool copied;        /* the outputs are the inputs */
} lip_c_plan;

/* Values share room where no step needs both. LIP_MEMORY; LIP_UNSUPPORTED for more than C objects may hold. */
lip_status lip_c_plan_init(lip_c_plan *p, const lip_emit *e, lip_err *err);
void lip_c_plan_free(lip_c_plan *p);

/* ---- the source under way ---- */

/* Functions that the source carries where a step needs them (c_helper.c). */
typedef enum lip_c_helper { LIP_C_COPY, LIP_C_DENSE, LIP_C_RELU, LIP_C_HELPERS } lip_c_helper;

typedef struct lip_c {
  lip_net *net;
  const lip_c_conf *conf;
  lip_emit emit;
  lip_c_plan plan;
  size_t constants; /* bytes of them */
  bool needs[LIP_C_HELPERS];
  lip_str tables; /* definitions of constants */
  lip_str body;   /* statements of _run */
  bool finite;    /* no constant so far was NaN or infinite */
} lip_c;

/* ---- text (c_text.c) ---- */

/* Adds `text` with NAME for every @ and the same in capitals for every $; ^a[i] reads a constant float, ~a[i] a whole
 * number, wherever constants are. */
void lip_c_put(const lip_c *c, lip_str *to, const char *text);
/* The same of a format that is filled in first: whole texts of a line or two. */
void lip_c_putf(const lip_c *c, lip_str *to, const char *fmt, ...) LIP_PRINTF(3, 4);
/* v as a hexadecimal literal, of type float or double: "-0x1.8p-3F". Finite. */
void lip_c_float(lip_str *to, float v);
void lip_c_double(lip_str *to, double v);
/* static const float NAME_WHATi[n] = {...}; in c->tables. */
void lip_c_floats(lip_c *c, const char *what, size_t i, const float *v, size_t n);
/* The same of whole numbers. */
void lip_c_wholes(lip_c *c, const char *what, size_t i, const uint32_t *v, size_t n);

/* Where value i stands, as an expression of type float * or const float *. buf is filled and returned. */
#define LIP_C_EXPRESSION 40
const char *lip_c_at(const lip_c *c, size_t i, char buf[LIP_C_EXPRESSION]);

/* ---- parts ---- */

/* Whether a step of this kind may write over its first input (c_step.c). */
bool lip_c_in_place(lip_emit_op op);
/* Tables and statements of step i. LIP_UNSUPPORTED, LIP_MEMORY. */
lip_status lip_c_step(lip_c *c, size_t i, lip_err *err);
/* The functions that are needed, in an order in which they may stand (c_helper.c). */
void lip_c_helpers(const lip_c *c, lip_str *to);
/* Tables of the self-test, and its functions in `to` (c_test.c). Runs the net. LIP_NOT_FINITE, LIP_MEMORY, LIP_CANCELLED. */
lip_status lip_c_selftest(lip_c *c, lip_str *to, lip_err *err);
/* The program that runs it. */
void lip_c_test(const lip_c *c, lip_str *to);

#endif
