/* Shared by relax.c (intervals, lines) and relax_back.c (relaxation backwards through the net). */
#ifndef LIP_CERT_RELAX_PARTS_H
#define LIP_CERT_RELAX_PARTS_H

#include "core/cert/relax.h"

/* The rows of V with few numbers, without their zeros; other rows are empty here. */
typedef struct lip_few {
  size_t *start; /* (M + 1) of each row in the two below; NULL: there is no V */
  uint32_t *column;
  double *value;
} lip_few;

/* False: no memory. lip_few_free in any case. */
bool lip_few_init(lip_few *f, const double *V, size_t M, size_t N);
void lip_few_free(lip_few *f);
static inline bool lip_few_has(const lip_few *f, size_t k) {
  return f->start && f->start[k + 1] > f->start[k];
}
/* to (N) += sum_i h_i V[unit_i], i < n, over rows that are here. */
void lip_few_add(const lip_few *f, double *to, const double *h, const size_t *unit, size_t n);

/* A block in units: V = T W, c = T b, where T takes sum and difference of pairs. */
typedef struct slab {
  size_t M, N;
  const lip_block *block;
  double *V;        /* (M, N); NULL: the identity */
  lip_few few;      /* of V */
  double *c;        /* (M) */
  double *norm;     /* (M) first block: dual norms of the rows of V */
  double *terms;    /* (M) products and bias in the float32 sum of a unit; 0: exact */
  double *entry;    /* (M) largest absolute weight among them */
  double *raw_norm; /* (M) and of the rows of W, where there are pairs */
} slab;

/* Row k of V = T W, and of T b: of the unit itself, the sum or the difference. */
void lip_unit_row(const lip_block *b, size_t k, double *v, double *c);
/* >= |c_k| and all that c_k is the sum of; how far c_k is from exact but for that sum. */
double lip_bias_size(const slab *s, size_t k);
double lip_bias_off(const slab *s, size_t k);
/* off_k of the unit itself, or of one value of a pair, and FLT_MAX kept away from; size >= |W_k| |y| and what lip_bias_size
 * says of it, `bulk` the sum of all |y|. */
double lip_unit_rounding(const slab *s, size_t k, double size, double bulk);

struct lip_relax {
  const lip_affine *a;
  lip_p p;
  size_t n, widest; /* blocks; the largest M or N */
  slab *slab;       /* (n) */
  double gamma;     /* of every sum: terms 2 widest + 64 */
};

/* What is known of a block's units over the region. With y' the units after phi:
 *   below_slope u + below <= y' <= above_slope u + above */
typedef struct reach {
  double *from, *to;     /* (M) of u */
  double *size;          /* (M) >= (|V| |y|)_k + |c_k|, y the activations before the block; so >= |u_k| */
  double *off;           /* (M) >= |executed - exact| of u_k from the same executed y */
  double *after;         /* (M) >= |y'_k| */
  double *after_off;     /* (M) the same of y'_k from the same u_k */
  double *y_from, *y_to; /* (M) of the activations behind the block, pairs put in order */
  double *below_slope, *below, *above_slope, *above; /* (M) */
  double *low, *high;                                /* (M) slopes in the region */
  double tiny;                                       /* what underflow can do to one row passing the block */
} reach;

/* phi of unit k of a block on [from, to], both finite. */
void lip_phi_range(const lip_block *b, size_t k, double from, double to, lip_range *r);
/* Lines, slopes and size of y'_k on the interval that stands in q. */
void lip_set_lines(reach *q, const lip_block *b, size_t k, lip_executed executed);

enum { LIP_CHUNK = 64 }; /* rows that go back through the net together */

struct lip_ranges {
  const lip_relax *r;
  const lip_region *region;
  lip_region copy;
  bool known;                      /* false: nothing is finite */
  bool boxed;                      /* the box cuts the ball */
  reach *reach;                    /* (n) */
  double *centre, *half, *bulk;    /* (widest) middle, half width and largest absolute value before a block */
  double *x;                       /* (n_in) the region's centre in double */
  double *x_mid, *x_half, *x_bulk; /* (n_in) of the input */
  double *down, *up;               /* (n_in) how far x_k may go, in the ball's units of it (relax_region.c) */
  double *size, *cap;              /* (n_in, and zeros up to whole vectors) of a row */
  double *numbers;                 /* behind all of them */
  /* relaxation: rows of coefficients, and what they were multiplied to */
  double *G, *H;        /* (LIP_CHUNK, widest) */
  double *strip;        /* (widest, 16) columns of a matrix, packed */
  double *rest, *slack; /* (LIP_CHUNK) constant term; all that rounding may take from it */
  double *found;        /* (LIP_CHUNK) */
  size_t *live;         /* (widest) */
};

/* The region as it stands in g->copy, also into centre, half and bulk; false when it is none. */
bool lip_region_start(lip_ranges *g);
/* How far row . x (n_in) can fall below (`rise`: rise above) its value at the region's x, p = 1 or 2: rounded up. */
double lip_region_away(lip_ranges *g, const double *row, bool rise);

/* Rows g->G (R, N of block `at`) with g->rest and g->slack stand for linear functions of the input of block `at`: lower
 * bounds of them over the region, into g->found (R). Destroys the rows. */
void lip_relax_back(lip_ranges *g, size_t at, size_t R);

/* Middles, half widths and largest absolute values of what comes into block l, into g->centre, half and bulk. False:
 * nothing is known. */
bool lip_relax_before(lip_ranges *g, size_t l);
/* Lower bound of v . y + rest - slack over those, v (n); -INFINITY when it is not finite. */
double lip_relax_plain(const lip_ranges *g, const double *v, size_t n, double rest, double slack);

#endif
