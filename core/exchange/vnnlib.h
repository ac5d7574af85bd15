/* Queries about nets in the language VNN-LIB, versions 1 and 2 (www.vnnlib.org): declared inputs and outputs, and a boolean
 * combination of linear inequalities between them that describes the UNSAFE set: a net has the property where no input
 * of the set exists (with its outputs). All numbers are kept as the decimals they are, so that whether a point is in the
 * set is decided exactly; where doubles or float32 are given, the set only grows. */
#ifndef LIP_EXCHANGE_VNNLIB_H
#define LIP_EXCHANGE_VNNLIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/str.h"
#include "core/net/property.h"

#define LIP_VNNLIB_DIMS 8
#define LIP_VNNLIB_NONE UINT32_MAX
#define LIP_VNNLIB_OUTPUT 0x80000000u /* in the number of a variable: of outputs, otherwise of inputs */
#define LIP_VNNLIB_MOST (1u << 24)    /* numbers of inputs, or of outputs, that a file may declare */

/* ---- the file ---- */

/* A decimal: digits [at, at + n) of the pool, times 10^exponent; down <= it <= up, next to each other or the same. */
typedef struct lip_vnnlib_number {
  double down, up;
  size_t at;
  int32_t n, exponent;
  bool negative;
} lip_vnnlib_number;

typedef struct lip_vnnlib_term {
  uint32_t variable, number; /* its coefficient */
} lip_vnnlib_term;

/* sum of terms first .. first + n - 1 <= bound, or < bound. Each variable once, in order, none with 0. */
typedef struct lip_vnnlib_row {
  size_t first;
  uint32_t n, bound;
  bool strict;
} lip_vnnlib_row;

typedef enum lip_vnnlib_kind { LIP_VNNLIB_ROW, LIP_VNNLIB_AND, LIP_VNNLIB_OR } lip_vnnlib_kind;

/* The set as a tree, parents before their children. An `and` is never below an `and`, nor an `or` below an `or`, and both
 * have two children or more. */
typedef struct lip_vnnlib_node {
  uint32_t kind;
  uint32_t n; /* of a row its number, else how many nodes follow that belong to it */
} lip_vnnlib_node;

typedef struct lip_vnnlib_tensor {
  char *name, *type, *onnx; /* owned; onnx: the name in the net's file, or NULL */
  uint32_t network;
  bool output;
  int ndim; /* 0: one number, written without [ ] */
  uint32_t dim[LIP_VNNLIB_DIMS];
  uint32_t first, n; /* variables of its kind, row by row */
} lip_vnnlib_tensor;

typedef struct lip_vnnlib_network {
  char *name;        /* owned */
  uint32_t equal_to; /* the same weights as that earlier network; LIP_VNNLIB_NONE */
  uint32_t isomorphic_to;
} lip_vnnlib_network;

typedef struct lip_vnnlib {
  int version;     /* 1 or 2 */
  size_t n_x, n_y; /* of all networks together, in the order of the file */
  size_t n_network, network_room, n_tensor, tensor_room;
  lip_vnnlib_network *network; /* version 1: one, without a name */
  lip_vnnlib_tensor *tensor;   /* version 1: X and Y */
  size_t n_node, node_room;
  lip_vnnlib_node *node; /* trees one after the other: all of them hold */
  size_t n_row, row_room, n_term, term_room, n_number, number_room, n_digit, digit_room;
  lip_vnnlib_row *row;
  lip_vnnlib_term *term;
  lip_vnnlib_number *number;
  char *digit; /* 0 to 9 */
} lip_vnnlib;

#define LIP_VNNLIB_BYTES ((size_t)256 << 20)
enum { LIP_VNNLIB_DEPTH = 64 };

/* Plain or gzip, read piece by piece; memory is a small multiple of what has been read. LIP_FORMAT and LIP_UNSUPPORTED name
 * line and column: what is no VNN-LIB, nested deeper than LIP_VNNLIB_DEPTH, larger than LIP_VNNLIB_BYTES unpacked; products
 * of variables, hidden tensors. LIP_NOT_FOUND, LIP_IO, LIP_MEMORY. */
lip_status lip_vnnlib_load(const char *path, lip_vnnlib **out, lip_err *err);
/* The same of n bytes in memory; messages call it `name`. */
lip_status lip_vnnlib_read(const char *name, const char *text, size_t n, lip_vnnlib **out, lip_err *err);
void lip_vnnlib_free(lip_vnnlib *v); /* accepts NULL */

/* Appends it in canonical form, version 1 or 2; reading that gives the same again. LIP_UNSUPPORTED: version 1 of several
 * networks. LIP_MEMORY. */
lip_status lip_vnnlib_text(const lip_vnnlib *v, int version, lip_str *to, lip_err *err);

/* Whether inputs x (n_x) with outputs y (n_y) are in the unsafe set, by exact arithmetic of these numbers. Undecided: some
 * number that matters is not finite, or too large or small for the arithmetic. LIP_MEMORY. */
typedef enum lip_vnnlib_state { LIP_VNNLIB_SAFE, LIP_VNNLIB_UNSAFE, LIP_VNNLIB_UNDECIDED } lip_vnnlib_state;
lip_status lip_vnnlib_point(const lip_vnnlib *v, const float *x, const float *y, lip_vnnlib_state *state,
                            lip_err *err);

/* ---- the set as a union of cases ---- */

/* A case is a list of rows that all hold: the common ones and its own, rows own[first[i]] .. own[first[i + 1] - 1]. What
 * cases share is stored once. */
typedef struct lip_vnnlib_cases {
  size_t n_common, n;
  uint32_t *common;
  size_t *first; /* (n + 1) */
  uint32_t *own;
} lip_vnnlib_cases;

enum { LIP_VNNLIB_CASES = 1 << 16, LIP_VNNLIB_REFERENCES = 1 << 22 };

/* LIP_UNSUPPORTED: more than LIP_VNNLIB_CASES, or LIP_VNNLIB_REFERENCES rows of cases. LIP_MEMORY. */
lip_status lip_vnnlib_expand(const lip_vnnlib *v, lip_vnnlib_cases *out, lip_err *err);
void lip_vnnlib_cases_free(lip_vnnlib_cases *c);

typedef enum lip_vnnlib_about {
  LIP_VNNLIB_CONSTANT, /* no variable is left */
  LIP_VNNLIB_BOX,      /* one input: a side of the box */
  LIP_VNNLIB_INPUTS,
  LIP_VNNLIB_OUTPUTS,
  LIP_VNNLIB_BOTH
} lip_vnnlib_about;
lip_vnnlib_about lip_vnnlib_row_about(const lip_vnnlib *v, const lip_vnnlib_row *r);

/* The box of case i, closed and rounded outwards: low and high (n_x), infinite where nothing bounds them. False: it has no
 * point, proved (by a side, or by a row without variables). */
bool lip_vnnlib_box(const lip_vnnlib *v, const lip_vnnlib_cases *c, size_t i, double *low, double *high);
/* The same rounded inwards: whatever is between these sides is in the box itself. False: nothing may be. */
bool lip_vnnlib_inner_box(const lip_vnnlib *v, const lip_vnnlib_cases *c, size_t i, double *low,
                          double *high);
/* The same of all cases, without writing their boxes down: empty (n). LIP_MEMORY. */
lip_status lip_vnnlib_empty(const lip_vnnlib *v, const lip_vnnlib_cases *c, bool *empty, lip_err *err);
/* The rows of case i that lip_vnnlib_box says nothing about, counted by kind: [about]. */
void lip_vnnlib_count(const lip_vnnlib *v, const lip_vnnlib_cases *c, size_t i, size_t count[5]);

/* Adds to *p, which is {.asked = LIP_ASK_ROWS, .C = n_y} at first, the clause that holds where the outputs are outside of
 * case i: some row w . y + d is above 0. Coefficients are exact (a row is multiplied by a power of ten where that makes
 * them so), d is rounded down. LIP_UNSUPPORTED: the case asks nothing of the outputs alone, has rows between inputs that
 * are no box or between inputs and outputs, or coefficients with more digits than doubles hold. LIP_MEMORY. */
lip_status lip_vnnlib_spec(const lip_vnnlib *v, const lip_vnnlib_cases *c, size_t i, lip_property *p,
                           lip_err *err);

#endif
