/* Certified radii of the network as it is executed.
 *
 * Let z~ be the executed logits, z the exact ones of the stored weights, y the executed label of x and
 * m_j = z~_y(x) - z~_j(x). For a float32 input x' with ||x' - x||_p <= R,
 *   z~_y(x') - z~_j(x') >= m_j - e_j(x) - L_yj ||x' - x||_p - E_j(R),
 * where e_j(x) bounds the rounding error of z_y - z_j in the pass that gave z~(x), E_j(R) the one of any pass on any
 * point of the ball, and L_yj is the Lipschitz constant of z_y - z_j. A result that is strictly positive for every
 * j != y keeps the label, ties included (Leino et al. 2021 for the pairs; Murray 2026 for e and E).
 *
 * E grows with R, so R is chosen first: r = min_j (m_j - e_j - E_j(R)) / L_yj is certified whenever r <= R. The
 * radius R = min_j m_j / L_yj of exact arithmetic is never too small, hence the first choice.
 *
 * m_j - e_j(x) stands for a lower bound of the exact margin at x, and any such bound will do. Where rounding has cost more
 * than a small part of the radius, a pass in double gives a better one (its own error is 2^-29 of float32's; Murray 2026
 * counts the float32 error twice), and the exact sums of absolute terms at x for E. The executed label is still the one
 * of the executed pass. In double arithmetic that pass is the executed one; in real arithmetic E = 0, and where a layer
 * written by a script does not state its rounding (custom.h) there is nothing for it but to take z~ for z: e = 0 too.
 *
 * One output f is read as the logits 0 and f: C = 2, the pair's constant is that of f, and logit 0 has no error.
 *
 * A last dense layer (only aliases after it) gives L_yj = K ||w_y - w_j||_{q*}, K the constant up to its input, q the
 * norm there; otherwise L_yj = K ||e_y - e_j||_{q*} with K and q at the logits. e and E use the same split. */
#include "core/cert/certify.h"

#include <math.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/affine/walk.h"
#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/layer/custom.h"
#include "core/net/wide.h"
#include "core/norm/round.h"

/* A larger radius says nothing about float32 inputs, and would overflow in the terms of the error. */
#define LARGEST_RADIUS 0x1p100
/* Sizes are rounded up to powers of 2^(1/4) where evaluating the error is costly. */
enum { PER_OCTAVE = 4, LOWEST = -64, ENTRIES = 128 * PER_OCTAVE };

const char *const lip_arithmetic_names[] = {"float32", "double", "real", NULL};

/* What one thread works with. */
typedef struct desk {
  lip_centre plain, wide;
  double *z;    /* (C) executed logits */
  double *both; /* of one output: (4) the logits 0 and f of a pass in double, and what q.rows says of them */
  double *room; /* of a pass in double */
} desk;

struct lip_certifier {
  lip_net *net;
  lip_arithmetic arithmetic;
  bool tight, can_widen; /* the net has a double mode */
  bool trusting; /* exact arithmetic, and a layer does not tell how far its executed outputs are from it */
  lip_walk walk;
  size_t C;
  bool single; /* one output */
  size_t last; /* stage whose input the pairs start from: the last dense one, or walk.n */
  bool dense_head;
  double *pairs;                            /* (C, C) L_ij */
  double *difference;                       /* (C, C) ||w_i - w_j||_{q*}, or ||e_i - e_j||_{q*} */
  double *row, *bias;                       /* (C) ||w_i||_{q*}, |b_i| */
  double top_difference, top_row, top_bias; /* the largest of each */
  size_t workers;
  desk *desk;            /* (workers) */
  double *numbers;       /* behind them */
  lip_deviation *coarse; /* (ENTRIES) walks by size, off < 0 = not done yet; costly nets only */
};

/* ---- constants ---- */

static double largest(const double *v, size_t n) {
  double top = 0;
  for (size_t i = 0; i < n; i++) top = v[i] <= top ? top : v[i]; /* NaN stays */
  return top;
}

static void fill_pairs(lip_certifier *c) {
  size_t C = c->C;
  const lip_stage *head = c->dense_head ? &c->walk.stage[c->last] : NULL;
  double K = head ? head->before : c->walk.upper;
  lip_p q = head ? head->pq.p : c->walk.q;
  lip_p dual = lip_p_dual(q);
  for (size_t i = 0; i < C; i++) {
    const size_t k = c->single ? 0 : i; /* row of the matrix */
    if (head && !(c->single && i == 0)) {
      const float *w = head->error.W + k * head->error.N;
      c->row[i] = lip_norm_upper(w, head->error.N, dual);
      c->bias[i] = head->error.b ? fabs((double)head->error.b[k]) : 0;
    }
    for (size_t j = 0; j < C; j++) {
      double d = c->single ? 1 : lip_unit_difference(q);
      if (i == j)
        d = 0;
      else if (head && c->single)
        d = lip_norm_upper(head->error.W, head->error.N, dual);
      else if (head)
        d = lip_difference_norm(head->error.W + i * head->error.N, head->error.W + j * head->error.N,
                                head->error.N, dual);
      c->difference[i * C + j] = d;
      c->pairs[i * C + j] = i == j ? 0 : lip_up_mul(K, d);
    }
  }
  c->top_difference = largest(c->difference, C * C);
  c->top_row = largest(c->row, C);
  c->top_bias = largest(c->bias, C);
}

/* ---- life ---- */

/* Doubles of one desk, whole cache lines of them. */
static size_t desk_room(const lip_certifier *c) {
  size_t n = 8 * (c->walk.n + 1) + c->C + (c->single ? 4 : 0);
  return (n + 7) / 8 * 8 + (c->can_widen ? lip_walk_room(&c->walk) : 0);
}

static double *lay_centre(lip_centre *at, double *v, size_t places) {
  *at = (lip_centre){.size = v, .off = v + places, .terms = v + 2 * places, .result = v + 3 * places};
  return v + 4 * places;
}

static lip_status reserve(lip_certifier *c, lip_err *err) {
  size_t C = c->C, places = c->walk.n + 1, each = desk_room(c);
  c->workers = lip_pool_threads(c->net->engine.pool);
  c->pairs = lip_alloc(C * C, sizeof(double));
  c->difference = lip_alloc(C * C, sizeof(double));
  c->row = lip_alloc(C, sizeof(double));
  c->bias = lip_alloc(C, sizeof(double));
  c->desk = lip_alloc(c->workers, sizeof *c->desk);
  c->numbers = lip_alloc(c->workers * each, sizeof(double));
  if (c->walk.costly) {
    c->coarse = lip_alloc(ENTRIES, sizeof *c->coarse);
    for (size_t i = 0; c->coarse && i < ENTRIES; i++) c->coarse[i].off = -1;
  }
  if (!c->pairs || !c->difference || !c->row || !c->bias || !c->desk || !c->numbers ||
      (c->walk.costly && !c->coarse))
    return lip_fail(err, LIP_MEMORY, "out of memory for certificates of %zu classes", C);
  for (size_t t = 0; t < c->workers; t++) {
    desk *d = &c->desk[t];
    d->room = c->numbers + t * each;
    double *v = d->room + (c->can_widen ? lip_walk_room(&c->walk) : 0);
    d->z = lay_centre(&d->wide, lay_centre(&d->plain, v, places), places);
    d->both = d->z + c->C;
  }
  return LIP_OK;
}

/* Whoever proved them: the smaller constant counts. */
static void take_pairs(lip_certifier *c, const double *proved) {
  for (size_t i = 0; proved && i < c->C * c->C; i++)
    if (proved[i] < c->pairs[i]) c->pairs[i] = proved[i];
}

/* The caller's rounding, and all of it where the bounds are worked out (whether the caller flushes denormals makes no
 * difference: tiny() in rounding.c covers it in what is executed). */
lip_status lip_certify_ready(lip_err *err) {
  fenv_t saved;
  lip_status status = lip_ieee_check(false, err);
  if (status) return status;
  lip_ieee_enter(&saved);
  status = lip_ieee_check(true, err);
  lip_ieee_leave(&saved);
  return status;
}

lip_status lip_certifier_new(lip_net *net, const lip_certify_conf *conf, lip_certifier **out, lip_err *err) {
  *out = NULL;
  lip_net_touch(
      net); /* what runs is what is measured, even if somebody wrote to the weights and did not say so */
  size_t C = lip_net_classes(net), all;
  lip_status status = lip_certify_ready(err);
  if (status) return status;
  if (!lip_mul_fits(C, C, &all)) return lip_fail(err, LIP_MEMORY, "too many classes (%zu)", C);
  lip_certifier *c = lip_alloc(1, sizeof *c);
  if (!c) return lip_fail(err, LIP_MEMORY, "out of memory for a certificate");
  c->net = net;
  c->C = C;
  c->single = net->root->n_out == 1;
  c->arithmetic = conf ? conf->arithmetic : LIP_ARITHMETIC_FLOAT32;
  c->tight = conf && conf->tight;
  const char *missing = lip_wide_missing(net);
  c->can_widen = !missing;
  c->trusting = c->arithmetic == LIP_ARITHMETIC_REAL && lip_custom_unrounded(net->root);
  if (missing && c->arithmetic == LIP_ARITHMETIC_DOUBLE) {
    lip_free(c);
    return lip_fail(err, LIP_UNSUPPORTED, "certify: the layer '%s' has no double mode", missing);
  }
  status = lip_walk_init(&c->walk, net, conf ? conf->path : NULL, err);
  if (!status) {
    c->dense_head = c->walk.n > 0 && c->walk.stage[c->walk.n - 1].dense;
    c->last = c->dense_head ? c->walk.n - 1 : c->walk.n;
    status = reserve(c, err);
  }
  if (status) {
    lip_certifier_free(c);
    return status;
  }
  fenv_t saved;
  lip_ieee_enter(&saved);
  fill_pairs(c);
  if (conf) take_pairs(c, conf->pairs);
  lip_ieee_leave(&saved);
  *out = c;
  return LIP_OK;
}

void lip_certifier_free(lip_certifier *c) {
  if (!c) return;
  lip_walk_free(&c->walk);
  lip_free(c->pairs);
  lip_free(c->difference);
  lip_free(c->row);
  lip_free(c->bias);
  lip_free(c->desk);
  lip_free(c->numbers);
  lip_free(c->coarse);
  lip_free(c);
}

size_t lip_certifier_classes(const lip_certifier *c) {
  return c->C;
}

const double *lip_certifier_pairs(const lip_certifier *c) {
  return c->pairs;
}

/* ---- one input ---- */

/* Everything the search for a radius asks about one input. */
typedef struct question {
  lip_certifier *c;
  const lip_centre *centre; /* of the pass that gave z; not for costly nets */
  const double *z;
  const double *rows; /* (C) >= |w_j|.|h| + |b_j| at the centre, or NULL */
  size_t y;
  double size;          /* ||x|| */
  double grain, around; /* of the pass that gave z, and of those on the ball */
  size_t nearest;       /* the class with the smallest m_j / L_yj */
} question;

/* Where the error of the pair (y, j) comes from at the centre or over a ball. */
typedef struct pair_error {
  double off;           /* of the input of the last stage, in norm q */
  double executed, gap; /* its executed norm, and how far it is from the one at the centre */
  double grain;
  size_t n;   /* products of a row that are not zero */
  double own; /* local error of row y */
} pair_error;

static double dot_error(const lip_certifier *c, const pair_error *e, double terms, double result) {
  const lip_dense_error *d = &c->walk.stage[c->last].error;
  return lip_up_mul(e->grain, lip_dot_error(e->n, e->executed, terms, result, d->abs_norm));
}

/* |w_i.h + b_i| is near |z_i| at the centre, whose own error is at most that of a sum of one sign. */
static double row_error(const question *q, const pair_error *e, size_t i) {
  const lip_certifier *c = q->c;
  if (c->single && i == 0) return 0;
  double row = c->row[i], terms = lip_up_add(lip_up_mul(row, e->executed), c->bias[i]);
  if (q->c->walk.costly) return dot_error(c, e, terms, terms);
  double wider = lip_up_mul(row, e->gap);
  if (q->rows) terms = fmin(terms, lip_up_add(q->rows[i], wider));
  double here = lip_up_add(lip_up_mul(row, q->centre->size[c->last]), c->bias[i]);
  double seen = lip_up_add(fabs(q->z[i]),
                           dot_error(c, &(pair_error){.executed = here, .grain = 1, .n = e->n}, here, here));
  return dot_error(c, e, terms, lip_up_add(seen, wider));
}

static pair_error with_own(const question *q, pair_error e) {
  e.own = q->c->dense_head ? row_error(q, &e, q->y) : 0;
  return e;
}

/* >= |(executed - exact) of z_y - z_j|. */
static double pair_error_at(const question *q, const pair_error *e, size_t j) {
  double v = lip_up_mul(q->c->difference[q->y * q->c->C + j], e->off);
  return q->c->dense_head ? lip_up_add(lip_up_add(v, e->own), row_error(q, e, j)) : v;
}

/* >= pair_error_at for every j. Every operation there is monotone in the norms to within its rounding. */
static double pair_error_most(const question *q, const pair_error *e) {
  const lip_certifier *c = q->c;
  double v = lip_up_mul(c->top_difference, e->off);
  if (c->dense_head) {
    double terms = lip_up_add(lip_up_mul(c->top_row, e->executed), c->top_bias);
    v = v + e->own + dot_error(c, e, terms, terms);
  }
  return v * (1 + 0x1p-40);
}

/* Centre and ball in one, for nets whose layers work out norms on every question: the walk depends on the size of
 * the input alone, so it is done once per size, rounded up. Not for several threads. */
static lip_deviation coarse_walk(lip_certifier *c, double size) {
  lip_deviation unknown = {INFINITY, INFINITY};
  int k = size > 0 ? (int)fmin(fmax(ceil(log2(size) * PER_OCTAVE), -1e6), 1e6) + 1 : LOWEST * PER_OCTAVE;
  if (k < LOWEST * PER_OCTAVE) k = LOWEST * PER_OCTAVE;
  size_t index = (size_t)(k - LOWEST * PER_OCTAVE);
  double rounded = exp2((double)k / PER_OCTAVE) * (1 + 0x1p-40);
  if (index >= ENTRIES || !(size <= rounded)) return unknown;
  if (c->coarse[index].off < 0) {
    lip_deviation d = {rounded, 0};
    for (size_t i = 0; i < c->last; i++) lip_stage_deviate(&c->walk.stage[i], &d);
    if (!(d.off >= 0) || !(d.size >= 0)) d = unknown;
    c->coarse[index] = d;
  }
  return c->coarse[index];
}

/* The operations of pair_error_at on larger numbers, in the same order but for the last sum. */
double lip_certifier_allowance(lip_certifier *c, double size, size_t nonzero) {
  fenv_t saved;
  lip_ieee_enter(&saved);
  lip_deviation d = c->walk.costly ? coarse_walk(c, size) : lip_walk_reach(&c->walk, size, nonzero, c->last);
  size_t n = c->dense_head ? c->walk.stage[c->last].error.most : 0;
  if (c->last == 0 && nonzero < n && !c->walk.costly) n = nonzero;
  pair_error e = {d.off, lip_up_add(d.size, d.off), INFINITY, LIP_GRAIN_FLOAT, n, 0};
  double v = lip_up_mul(c->top_difference, e.off);
  if (c->dense_head) {
    double terms = lip_up_add(lip_up_mul(c->top_row, e.executed), c->top_bias);
    v += 2 * dot_error(c, &e, terms, terms);
  }
  v *= 1 + 0x1p-40;
  lip_ieee_leave(&saved);
  return v < INFINITY ? v : (double)INFINITY;
}

static double margin(const question *q, size_t j) {
  return lip_down_sub(q->z[q->y], q->z[j]);
}

/* Errors of a pass of one grain at inputs of norm up to `size`, from the float32 account of the layers. */
static pair_error coarse_error(const question *q, double size, double grain) {
  size_t n = q->c->dense_head ? q->c->walk.stage[q->c->last].error.most : 0;
  if (grain == LIP_GRAIN_EXACT) return (pair_error){0};
  lip_deviation d = coarse_walk(q->c, size);
  return with_own(q,
                  (pair_error){lip_up_mul(grain, d.off), lip_up_add(d.size, d.off), INFINITY, grain, n, 0});
}

static pair_error error_here(const question *q) {
  const lip_certifier *c = q->c;
  if (c->walk.costly) return coarse_error(q, q->size, q->grain);
  const lip_centre *at = q->centre;
  size_t n = c->last == 0 ? at->nonzero : c->dense_head ? c->walk.stage[c->last].error.most : 0;
  return with_own(q, (pair_error){at->off[c->last], at->size[c->last], 0, q->grain, n, 0});
}

static pair_error error_around(const question *q, double radius) {
  const lip_certifier *c = q->c;
  if (c->walk.costly) return coarse_error(q, lip_up_add(q->size, radius), q->around);
  lip_ball b = lip_walk_ball(&c->walk, q->centre, radius, q->around, c->last);
  size_t n = c->dense_head ? c->walk.stage[c->last].error.most : 0;
  return with_own(q, (pair_error){b.off, b.executed, b.gap, q->around, n, 0});
}

/* What pair j certifies: (m_j - e_j - E_j(radius)) / L_yj, at most r; 0 if not positive. */
static double pair_part(const question *q, const pair_error *here, const pair_error *there, size_t j,
                        double r) {
  double left = lip_down_sub(margin(q, j), pair_error_at(q, here, j));
  left = lip_down_sub(left, pair_error_at(q, there, j));
  double L = q->c->pairs[q->y * q->c->C + j];
  if (!(left > 0) || !(L < INFINITY)) return 0;
  if (L == 0) return r;
  double reach = lip_below_div(left, L);
  return reach >= r ? r : reach;
}

/* The certified part of `radius`: the smallest of all pairs. The one that is nearest without rounding comes first; a
 * pair that is out of reach even with the largest error of all is left out, which changes no bit of the result (the
 * factors 2^-40 are far above the roundings in pair_part). */
static double certified_part(const question *q, const pair_error *here, double radius) {
  const double slack = 0x1p-40;
  const lip_certifier *c = q->c;
  pair_error there = error_around(q, radius);
  double most = pair_error_most(q, here) + pair_error_most(q, &there);
  double r = pair_part(q, here, &there, q->nearest, radius);
  for (size_t j = 0; j < c->C && r > 0; j++) {
    if (j == q->y || j == q->nearest) continue;
    double m = margin(q, j);
    if ((m - most) - (m + most) * slack > r * c->pairs[q->y * c->C + j] * (1 + slack)) continue;
    r = pair_part(q, here, &there, j, r);
  }
  return r;
}

/* Whether some margin remains over the rounding of two passes at the centre. */
static bool margin_left(const question *q, const pair_error *here) {
  pair_error there = error_around(q, 0);
  for (size_t j = 0; j < q->c->C; j++) {
    if (j == q->y) continue;
    double left = lip_down_sub(margin(q, j), pair_error_at(q, here, j));
    if (!(left > pair_error_at(q, &there, j))) return false;
  }
  return true;
}

/* min_j m_j / L_yj, from above; 0 when a margin is not positive. */
static double largest_radius(question *q) {
  double R = LARGEST_RADIUS;
  q->nearest = q->y == 0;
  for (size_t j = 0; j < q->c->C; j++) {
    if (j == q->y) continue;
    double L = q->c->pairs[q->y * q->c->C + j], m = margin(q, j);
    if (!(m > 0) || !(L < INFINITY)) return 0;
    double reach = L > 0 ? lip_step_up(m / L) : (double)INFINITY;
    if (reach >= R) continue;
    R = reach;
    q->nearest = j;
  }
  return R;
}

static double radius_of(question *q, double *real) {
  enum { TRIES = 48 };
  double R = *real = largest_radius(q);
  if (!(R > 0)) return 0;
  pair_error here = error_here(q);
  double best = certified_part(q, &here, R);
  /* This nearly always decides. It falls short where a wide ball brings large errors: then smaller ones, unless not
   * even the centre alone has a margin to show. */
  if (best < R / 2 && margin_left(q, &here))
    for (int i = 0; i < TRIES && R > 2 * best; i++) best = fmax(best, certified_part(q, &here, R /= 4));
  return best;
}

/* ---- a batch ---- */

typedef struct batch {
  lip_certifier *c;
  const float *x;
  const lip_stream *source; /* NULL: x is filled already */
  size_t B;
  lip_radius *out;
} batch;

/* The lowest index among the largest; -1 as soon as one logit is not finite. */
static int32_t label_of(const double *z, size_t C) {
  size_t y = 0;
  for (size_t j = 0; j < C; j++) {
    if (!isfinite(z[j])) return -1;
    if (z[j] > z[y]) y = j;
  }
  return (int32_t)y;
}

/* One output as logits, and bounds of their terms likewise. */
static void read_single(question *q, double *both) {
  both[1] = *q->z;
  both[0] = both[2] = 0;
  if (q->rows) both[3] = *q->rows;
  q->z = both;
  if (q->rows) q->rows = both + 2;
}

/* The question as a pass in double of row x answers it; label and passes on the ball are what they were. */
static question widened(const question *q, const float *x, desk *d) {
  question w = *q;
  if (q->c->walk.costly) {
    w.z = lip_wide_row(q->c->net, x, d->room, NULL, NULL);
  } else {
    w.z = lip_walk_wide(&q->c->walk, x, d->room, &d->wide, &w.rows);
    if (!q->c->dense_head) w.rows = NULL;
    w.centre = &d->wide;
  }
  if (q->c->single) read_single(&w, d->both);
  w.grain = LIP_GRAIN_DOUBLE;
  return w;
}

/* Which pass is executed, and what its logits are. */
static void first_pass(question *q, const float *x, size_t r, desk *d) {
  lip_certifier *c = q->c;
  const float *z = c->net->logits + r * c->net->root->n_out, *row = x + r * c->net->root->n_in;
  q->grain = q->around = LIP_GRAIN_FLOAT;
  q->centre = &d->plain;
  if (c->walk.costly) q->size = lip_norm_upper(row, c->net->root->n_in, c->walk.p);
  if (c->arithmetic != LIP_ARITHMETIC_FLOAT32 && c->can_widen) {
    *q = widened(q, row, d);
  } else {
    if (!c->walk.costly) lip_walk_centre(&c->walk, x, r, &d->plain);
    for (size_t j = 0; j < c->C; j++) d->z[j] = !c->single ? (double)z[j] : j > 0 ? (double)*z : 0;
    q->z = d->z;
  }
  if (c->arithmetic == LIP_ARITHMETIC_DOUBLE) q->around = LIP_GRAIN_DOUBLE;
  if (c->arithmetic == LIP_ARITHMETIC_REAL) q->around = LIP_GRAIN_EXACT;
  if (c->trusting) q->grain = LIP_GRAIN_EXACT;
}

/* A second look costs several passes: where rounding has taken a share of the radius that matters. What a costly layer
 * makes of rounding hardly depends on the activations. */
static bool look_again(const lip_certifier *c, const desk *d, double radius, double real) {
  if (c->arithmetic != LIP_ARITHMETIC_FLOAT32 || !c->can_widen || !(real > 0)) return false;
  if (!c->walk.costly && !(d->plain.off[c->last] < INFINITY)) return false; /* NaN or overflow on the way */
  return c->tight || (!c->walk.costly && radius < real * (1 - 0x1p-3));
}

static void certify_row(const batch *b, size_t r, desk *d, lip_radius *out) {
  lip_certifier *c = b->c;
  double real;
  question q = {.c = c};
  first_pass(&q, b->x, r, d);
  *out = (lip_radius){label_of(q.z, c->C), 0, NAN};
  if (out->label < 0) return;
  q.y = (size_t)out->label;
  out->margin = INFINITY;
  for (size_t j = 0; j < c->C; j++)
    if (j != q.y && q.z[q.y] - q.z[j] < out->margin) out->margin = q.z[q.y] - q.z[j];
  /* an infinite input may be given finite logits (relu, tanh): it has no neighbours to speak of */
  if (!((c->walk.costly ? q.size : q.centre->size[0]) < INFINITY)) return;
  out->radius = radius_of(&q, &real);
  if (!look_again(c, d, out->radius, real)) return;
  question w = widened(&q, b->x + r * c->net->root->n_in, d);
  out->radius = fmax(out->radius, radius_of(&w, &real));
}

static void certify_rows(void *arg, const lip_worker *me, size_t r0, size_t r1) {
  const batch *b = arg;
  fenv_t saved;
  lip_ieee_enter(&saved); /* the bounds are evaluated with gradual underflow, whatever the caller's mode */
  for (size_t r = r0; r < r1; r++) certify_row(b, r, &b->c->desk[me->id], &b->out[r]);
  lip_ieee_leave(&saved);
}

static void fill_rows(void *arg, size_t r0, size_t r1) {
  const lip_stream *source = ((const batch *)arg)->source;
  if (source) source->fill(source->arg, r0, r1);
}

static lip_status certify(lip_certifier *c, const float *x, const lip_stream *source, size_t B,
                          lip_radius *out, lip_err *err) {
  if (B > c->net->capacity)
    return lip_fail(err, LIP_STATE, "certify: %zu rows, but the net has room for %zu: reserve more", B,
                    c->net->capacity);
  if (lip_pool_threads(c->net->engine.pool) > c->workers)
    return lip_fail(err, LIP_STATE, "certify: the number of threads has changed, make a new certifier");
  batch b = {c, x, source, B, out};
  /* walks that are costly are kept in a table that the rows share: those are certified afterwards, on one thread */
  lip_stream both = {fill_rows, c->walk.costly ? NULL : certify_rows, &b};
  lip_net_stream(c->net, x, B, &both);
  /* a cancelled pass leaves rows as an earlier one filled them: nothing may be read from it */
  if (lip_cancel_raised(c->net->engine.cancel)) return lip_fail(err, LIP_CANCELLED, "certify: cancelled");
  if (c->walk.costly) certify_rows(&b, &(lip_worker){0, 1}, 0, B);
  return LIP_OK;
}

lip_status lip_certify(lip_certifier *c, const float *x, size_t B, lip_radius *out, lip_err *err) {
  return certify(c, x, NULL, B, out, err);
}

lip_status lip_certify_stream(lip_certifier *c, const lip_stream *source, size_t B, lip_radius *out,
                              lip_err *err) {
  return certify(c, c->net->input, source, B, out, err);
}
