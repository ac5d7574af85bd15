/* What the files c_*.c share: the source under way, and where its values stand. */
#ifndef LIP_EXCHANGE_C_PARTS_H
#define LIP_EXCHANGE_C_PARTS_H

#include "core/base/str.h"
#include "core/exchange/c_source.h"
#include "core/layer/emit.h"

/* What every file begins with. */
#define LIP_C_MARK "/* Written by lipwb"

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

/* Functions that the source carries where a step needs them (c_helper.c), in the order in which they stand there. */
typedef enum lip_c_helper {
  LIP_C_COPY,
  LIP_C_LOAD,
  LIP_C_PATCH,
  LIP_C_RELU,
  LIP_C_LEAKY,
  LIP_C_ABS,
  LIP_C_MAC, /* smooth functions */
  LIP_C_EXP,
  LIP_C_TANH,
  LIP_C_SIGMOID,
  LIP_C_SOFTPLUS,
  LIP_C_AFFINE,
  LIP_C_MAX,
  LIP_C_MEAN,
  LIP_C_ROOT,
  LIP_C_UP,
  LIP_C_DOWN,
  LIP_C_MOVE,
  LIP_C_SCALE,
  LIP_C_ADD,
  LIP_C_HELPERS
} lip_c_helper;

typedef struct lip_c {
  lip_net *net;
  const lip_c_conf *conf;
  lip_emit emit;
  lip_c_plan plan;
  size_t constants; /* bytes of them */
  bool needs[LIP_C_HELPERS];
  bool windows;      /* some step looks through windows */
  bool narrow;       /* places of values fit in 16 bits */
  size_t patch, sum; /* numbers of the scratch for convolutions */
  lip_str tables;    /* definitions of constants */
  lip_str functions; /* those with constants of one step in them */
  lip_str body;      /* statements of _run */
  bool finite;       /* no constant so far was NaN or infinite */
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
/* The same of places of values: static const NAME_place NAME_fromi[n]. */
void lip_c_places(lip_c *c, size_t i, const uint32_t *v, size_t n);

/* Where value i stands, as an expression of type float * or const float *. buf is filled and returned. */
#define LIP_C_EXPRESSION 40
const char *lip_c_at(const lip_c *c, size_t i, char buf[LIP_C_EXPRESSION]);

/* Channels, height and width of a value; what has one dimension fewer has one row. */
void lip_c_image(const lip_shape *s, size_t dim[3]);
/* How a window moves, each down and across; dilation may be NULL. */
typedef struct lip_c_steps {
  const size_t *kernel, *stride, *padding, *dilation;
} lip_c_steps;
/* Table g of step i: what the helpers know of windows. */
void lip_c_window(lip_c *c, size_t i, const size_t in[3], const size_t out[3], const lip_c_steps *steps);

/* ---- parts ---- */

/* Whether a step of this kind may write over its first input (c_step.c). */
bool lip_c_in_place(lip_emit_op op);
/* Tables and statements of step i. LIP_UNSUPPORTED, LIP_MEMORY. */
lip_status lip_c_step(lip_c *c, size_t i, lip_err *err);
/* The same of two kinds (c_product.c). */
lip_status lip_c_dense(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err);
lip_status lip_c_conv(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err);
/* Types that helpers and tables need. */
void lip_c_types(const lip_c *c, lip_str *to);
/* The functions that are needed, in an order in which they may stand (c_helper.c). */
void lip_c_helpers(const lip_c *c, lip_str *to);
/* Tables of the self-test, and its functions in `to` (c_test.c). Runs the net. LIP_NOT_FINITE, LIP_MEMORY, LIP_CANCELLED. */
typedef struct lip_c_radius lip_c_radius; /* c_radius.h */
lip_status lip_c_selftest(lip_c *c, const lip_c_radius *radius, lip_str *to, lip_err *err);
/* The program that runs it. */
void lip_c_test(const lip_c *c, lip_str *to);

#endif
