/* Inside of core/check: what its files work on, and what they share. */
#ifndef LIP_CHECK_PARTS_H
#define LIP_CHECK_PARTS_H

#include <math.h>
#include <stdint.h>

#include "core/check/check.h"
#define GAMMA(k) ((double)(k)*0x1p-53 * (1 + 0x1p-20)) /* k u / (1 - k u) for k < 2^32 */
#define FLOOR 0x1p-900                                 /* above whatever underflow can lose, see README.md */
#define DUAL(p) ((p) == 1 ? 0 : (p) == 2 ? 2 : 1)      /* exponents 1, 2 and 0 = inf */
#define ERROR64(s)                                                                                           \
  ((s)->exact ? 0 : 2 * GAMMA((s)->N + 8)) /* of an inner product with bias in double, times t */

typedef enum kind { LINEAR, UNITS, MOVE, JOIN } kind;
/* One step over the stack: takes k segments, N values, and leaves one of M values where the deepest stood. */
typedef struct step {
  kind op;
  size_t k, slot, at, N, M; /* segments taken; the deepest, and its first value */
  size_t from, from_at;     /* MOVE: the segment that comes here */
  size_t entries;           /* LINEAR: those that are stored, no place twice; all of them: column by column */
  uint32_t *row, *column;
  double *val, *bias;  /* (entries); (M) */
  const float *weight; /* (k) of a sum of segments, or NULL */
  size_t claim, most;  /* index of its norm claim, or SIZE_MAX; terms of a row, at most */
  bool exact, full;    /* nothing is computed; all entries are stored */
  double abs;          /* >= || |W| ||_p->q; where no norm is claimed, also the norm */
  lip_check_kind unit; /* UNITS; of pairs it is |z_0 - z_1| */
  double slope;        /* of it */
  double low, high;    /* every slope between two points; 1 and 1 of other steps */
  const size_t *mate;  /* pairs: (M) partner of a value, or the value itself; NULL: units of one value */
  bool descending;     /* the larger value at the lower index */
  int p, q;            /* norms before and behind */
} step;

/* Linear forms in the increments of the input (or of a shorter u in its place) and of the nonlinearities' own parts. Rows
 * of 2 K: behind each form its twin, the same of absolute values. */
typedef struct forms {
  size_t K, base, vars; /* length; first of them: the input; the others: one per unit. K = 0: not made */
  double *H;            /* (vars + 1) what goes into unit v, base + v entries; in the end that of a pair */
  double *A;            /* (stack) values; in the end the logits */
  double *r, *C;        /* (vars) half the width of the slopes, their middle */
  size_t ops;           /* roundings on the way to an entry, at most */
} forms;
struct lip_check {
  const lip_check_net *net;
  const lip_check_claims *claims;
  size_t n, C, units, stack, claimed; /* stack: values on it at most */
  step *step;                         /* (n), the last one LINEAR */
  double *difference;      /* (C, C + 1) dual norms of row i - row j of the last matrix; j = C: of row i */
  forms shorter, input;    /* from u, and from the input itself */
  double *h, *z, *t;       /* (stack) one row's forward pass */
  double *wide;            /* (stack) how far executed values may be from h in a region */
  double *e, *reach, *d;   /* (segments) README.md, "label, radius" */
  double size, away;       /* norm of what goes into the last step; how far the executed one may be from it */
  struct segment *segment; /* (segments) lower.c: while layers are read, `depth` of them */
  size_t depth;
  struct around *around; /* proof.c: of one region */
  struct held *held;     /* all memory, newest first */
  bool failed;           /* some was refused */
};

/* a * b zeroed elements of 8 bytes, or NULL, and then c->failed. Belong to c until lip_check_drop(c, held before). */
void *lip_check_take(lip_check *c, size_t a, size_t b);
void lip_check_drop(lip_check *c, struct held *until);

/* Layers to steps and what all claims need of them. LIP_FORMAT. */
lip_status lip_check_lower(lip_check *c, lip_err *err);
/* z (M) += W v, t (M) += |W||v|. */
void lip_check_columns(const step *s, const double *v, double *restrict z, double *restrict t);
/* What a step does to the values h; of a matrix z = W h + b, which is h then, and t = |W||h| + |b|. */
void lip_check_apply(const lip_check *c, const step *s);
/* The value of a unit in double. */
double lip_check_unit(const step *s, double z);
/* Errors, README.md, "label, radius": of inner products with bias in any order in float32; of a unit with an argument of size
 * `size` in double, or as executed in float32; `ones` for many of them. */
double lip_check_error32(const step *s, double terms, double result, double size, double ones);
double lip_check_unit_error(const step *s, bool executed, double size, double ones);

/* False: not proved, or no memory. */
bool lip_check_spectral(lip_check *c, const step *s, double claim);
bool lip_check_quadratic(lip_check *c, size_t target, double pair);
double lip_check_abs(lip_check *c, size_t i, size_t j);
/* The forms from the input itself; NULL: too large, or no memory. */
const forms *lip_check_forms(lip_check *c);

/* All that holds within R of row `row` in the box, for the function below; h and wide. False: not known, or no memory. */
bool lip_check_around(lip_check *c, size_t row, const float *x, double R);
/* A lower bound of the executed z_i - z_j there. */
double lip_check_least(lip_check *c, size_t i, size_t j);

static inline bool lip_check_stopped(const lip_check *c) {
  return c->claims->cancel && lip_cancel_raised(c->claims->cancel);
}
/* Whether a unit stands at value i: of a pair at the later one. *m: its other value, or i itself. */
static inline bool lip_check_is_unit(const step *s, size_t i, size_t *m) {
  *m = s->mate ? s->mate[i] : i;
  return !s->mate || *m < i;
}
/* A norm term by term, rounded up in the end; exponents 1, 2 and 0 = inf. The last: >= the result v of a few operations. */
static inline double lip_check_add(double sum, double v, int p) {
  v = fabs(v);
  return p == 1 ? sum + v : p == 2 ? sum + v * v : v > sum ? v : sum;
}
static inline double lip_check_norm_of(double sum, size_t n, int p) {
  return p == 0 ? sum : (p == 2 ? sqrt(sum) : sum) * (1 + GAMMA(n + 16));
}
static inline double lip_check_up(double v) {
  return v * (1 + 0x1p-48) + FLOOR;
}

#endif
