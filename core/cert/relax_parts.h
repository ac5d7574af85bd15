/* Shared by relax.c (intervals), relax_lines.c (lines), relax_back.c (relaxation backwards through the net), relax_region.c
 * and relax_cut.c (what rows come to at the input) and others. */
#ifndef LIP_CERT_RELAX_PARTS_H
#define LIP_CERT_RELAX_PARTS_H

#include "core/cert/relax.h"

/* A row of V: n numbers at the columns `at`, or at 0 .. n-1 where that is NULL. */
typedef struct lip_row {
  const double *v;
  const uint32_t *at;
  size_t n;
} lip_row;

/* v . m, |v| . h and |v| . w. */
typedef struct lip_sums {
  double at, half, size;
} lip_sums;
void lip_row_sums(lip_row v, const double *m, const double *h, const double *w, lip_sums *out);
/* sum of |p_i + sign q_i| h_i, p and q with the same columns: how far one value of a pair can be from its middle. */
double lip_row_raw_half(lip_row p, lip_row q, double sign, const double *h);

#define LIP_FULL UINT32_MAX

/* A block in units: V = T W, c = T b, where T takes sum and difference of pairs. */
typedef struct slab {
  size_t M, N;
  const lip_block *block;
  double *V; /* numbers of all rows, one row after the other: N of a full one, else those of its pattern */
  size_t numbers;    /* in V */
  size_t *row;       /* (M) where a row begins in V */
  uint32_t *pattern; /* (M) which columns a row has, or LIP_FULL: all. Both of a pair have the same */
  size_t patterns;
  size_t *column0;  /* (patterns + 1) of each pattern in column */
  uint32_t *column; /* ascending */
  size_t *unit0;    /* (patterns + 1) of each pattern in unit */
  uint32_t *unit;   /* (M) by pattern, ascending; the full ones last, from unit0[patterns] on */
  double *c;        /* (M) */
  double *norm;     /* (M) first block: dual norms of the rows of V */
  double *terms;    /* (M) products and bias in the float32 sum of a unit; 0: exact */
  double *entry;    /* (M) largest absolute weight among them */
  double *raw_norm; /* (M) and of the rows of W, where there are pairs */
} slab;

/* *numbers counts those of all blocks. False: no memory, or `large`: too many of them. lip_slab_free in any case. */
bool lip_slab_init(slab *s, const lip_block *b, bool first, lip_p p, size_t *numbers, bool *large);
void lip_slab_free(slab *s);
/* V V' (M, M), or NULL: *ok tells whether that is for want of memory. */
double *lip_slab_gram(const slab *s, bool *ok);
static inline lip_row lip_slab_row(const slab *s, size_t k) {
  uint32_t p = s->pattern[k];
  if (p == LIP_FULL) return (lip_row){s->V + s->row[k], NULL, s->N};
  return (lip_row){s->V + s->row[k], s->column + s->column0[p], s->column0[p + 1] - s->column0[p]};
}
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
  double *gram;     /* V V' (M, M) of the first block, for balls of norm 2; NULL: not worth it */
};

/* One unit as a row needs it that goes back: lines, c, and what the slack grows by for each |h_k|, and for
 * each |g'_k| on the line below and above. */
typedef struct lip_passage {
  double below_slope, below, above_slope, above, c, by_h, by_below, by_above;
} lip_passage;

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
  lip_passage *pass;                                 /* (M) */
} reach;

/* phi of unit k of a block on [from, to], both finite. */
void lip_phi_range(const lip_block *b, size_t k, double from, double to, lip_range *r);
/* Lines, slopes and size of y'_k on the interval that stands in q. */
void lip_set_lines(reach *q, const lip_block *b, size_t k, lip_executed executed);

enum { LIP_CHUNK = 64 }; /* rows that go back through the net together */

/* Rows side by side: of every column they have numbers in, the numbers of all rows. Columns are all there are, or those
 * in `at`, each with its place + 1 in lip_ranges' `where`, which is 0 elsewhere. */
typedef struct sheaf {
  double *v;    /* (n, lanes) */
  uint32_t *at; /* (n) */
  size_t n;
  bool all;
} sheaf;

/* A unit, and its place in the sheaf; its numbers in V instead. */
typedef struct lip_live {
  uint32_t unit, place;
} lip_live;
typedef struct lip_part {
  const double *v;
  size_t place;
} lip_part;

/* What is supposed of the inputs besides the region (relax_cut.c): a . x + rest <= 0. */
typedef struct lip_cut {
  bool wanted;       /* rows are to reach the input */
  bool on;           /* something is supposed */
  double *a;         /* (n_in) */
  double *row, *sum; /* (n_in) one row; and with a part of a */
  double rest, norm; /* norm: about ||a||_2 */
} lip_cut;

struct lip_ranges {
  const lip_relax *r;
  const lip_region *region;
  lip_region copy;
  bool known;                      /* false: nothing is finite */
  bool boxed;                      /* the box cuts the ball */
  reach *reach;                    /* (n) */
  double *centre, *half, *bulk;    /* (widest) middle, half width and largest absolute value before a block */
  double *x;                       /* (n_in) the region's centre in double */
  lip_sums *sum;                   /* (widest) of rows with these */
  double *first;                   /* (units of the first block) V_k . x where the region is not cut */
  double *x_mid, *x_half, *x_bulk; /* (n_in) of the input */
  double *down, *up;               /* (n_in) how far x_k may go, in the ball's units of it (relax_region.c) */
  double *size, *cap;              /* (n_in, and zeros up to whole vectors) of a row */
  double mu;                       /* and how the last one was split */
  double *numbers;                 /* behind all of them */
  double *kept;                    /* copy of what the reaches have, and of passes */
  /* relaxation */
  double *G;            /* (LIP_CHUNK, widest) rows of coefficients */
  sheaf now, next;      /* before and behind one block */
  size_t lanes;         /* of both */
  double *strip;        /* (widest, 8) columns of a matrix, packed */
  double *rest, *slack; /* (LIP_CHUNK) constant term; all that rounding may take from it */
  double *found;        /* (LIP_CHUNK) */
  lip_live *live;       /* (widest) */
  lip_part *part;       /* (widest) */
  lip_passage *passes;  /* of all blocks */
  lip_cut cut;
  uint32_t *indices; /* behind all that follow, (widest) each; those from `where` on are 0 between uses */
  uint32_t *link, *touched, *spot, *waiting, *where, *head;
};

/* The region as it stands in g->copy, also into centre, half and bulk; false when it is none. */
bool lip_region_start(lip_ranges *g);
/* How far row . x can fall below (`rise`: rise above) its value at the region's x, p = 1 or 2: rounded up. */
double lip_region_away(lip_ranges *g, lip_row row, bool rise);

/* About a . x at the point where row . x is least, for the row (n_in) that the last lip_region_away was about. */
double lip_region_change(const lip_ranges *g, const double *row, const double *a);
/* rest + at - away, rounded down; `slack` and the rounding of these sums taken off: size >= what `at` adds up. */
double lip_settle(double rest, double at, double size, double away, double slack, double gamma);

/* Supposes that the row in lane r, which has come back to the input, is <= 0. False: it is not finite. */
bool lip_cut_suppose(lip_ranges *g, size_t r);
/* The same of a . x + rest <= 0, a (n_in). */
bool lip_cut_suppose_row(lip_ranges *g, const double *a, double rest);
/* How much of its way from the region's x that row falls beyond 0, about; `low` is its bound. */
double lip_cut_excess(lip_ranges *g, size_t r, double low);
/* Bounds in g->found of the rows at the input, raised by what is supposed. */
void lip_cut_rows(lip_ranges *g);

/* Rows g->G (R, N of block `at`) with g->rest and g->slack stand for linear functions of the input of block `at`: lower
 * bounds of them over the region, into g->found (R). Destroys rest and slack. */
void lip_relax_back(lip_ranges *g, size_t at, size_t R);
/* The end of that way: g->now (L lanes of the inputs), rest and slack; bounds into g->found. */
void lip_relax_end(lip_ranges *g, size_t L);
/* Whether phi(0) = 0 is a kink of unit k on [from, to]: lines through it of slopes *least to *most stay below phi (*curve 1) or
 * above it (-1). */
bool lip_kink_slopes(const lip_block *b, size_t k, double from, double to, double *least, double *most,
                     double *curve);
/* The same of n <= LIP_CHUNK / 2 units of block l: of u_k into found[i], of -u_k into found[n + i]. Best where units with
 * the same pattern follow each other. */
void lip_relax_units(lip_ranges *g, size_t l, const uint32_t *unit, size_t n);

/* A row w . z + d after matrix l into row `row` of g->G, rest and slack; w (M) lies elsewhere. */
void lip_relax_put(lip_ranges *g, size_t l, const double *w, double d, size_t row);
/* Block l anew from what comes into it, met with what was known, and relaxed. False: nothing is known, or *empty: some unit
 * can have no value. */
bool lip_relax_renew(lip_ranges *g, size_t l, bool *empty);
/* Lines and activations of block l from its intervals, which somebody has made smaller. False: one is not finite. */
bool lip_relax_lines(lip_ranges *g, size_t l);
/* Everything that is known of the region's units: kept aside, and back again. */
void lip_relax_keep(lip_ranges *g);
void lip_relax_restore(lip_ranges *g);

/* Middles, half widths and largest absolute values of what comes into block l, into g->centre, half and bulk. False:
 * nothing is known. */
bool lip_relax_before(lip_ranges *g, size_t l);
/* Lower bound of v . y + rest - slack over those, v (n); -INFINITY when it is not finite. */
double lip_relax_plain(const lip_ranges *g, const double *v, size_t n, double rest, double slack);

#endif
