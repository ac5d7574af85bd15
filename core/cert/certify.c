/* Certified radii of the float32 network as it is executed.
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
 * A last dense layer (only aliases after it) gives L_yj = K ||w_y - w_j||_{q*}, K the constant up to its input, q the
 * norm there; otherwise L_yj = K ||e_y - e_j||_{q*} with K and q at the logits. e and E use the same split. */
#include "core/cert/certify.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/simd.h"
#include "core/cert/rounding.h"
#include "core/cert/walk.h"
#include "core/norm/round.h"

/* A larger radius says nothing about float32 inputs, and would overflow in the terms of the error. */
#define LARGEST_RADIUS 0x1p100
/* Sizes are rounded up to powers of 2^(1/4) where evaluating the error is costly. */
enum { PER_OCTAVE = 4, LOWEST = -64, ENTRIES = 128 * PER_OCTAVE };

struct lip_certifier {
  lip_net *net;
  lip_walk walk;
  size_t C;
  size_t last; /* stage whose input the pairs start from: the last dense one, or walk.n */
  bool dense_head;
  double *pairs;                            /* (C, C) L_ij */
  double *difference;                       /* (C, C) ||w_i - w_j||_{q*}, or ||e_i - e_j||_{q*} */
  double *row, *bias;                       /* (C) ||w_i||_{q*}, |b_i| */
  double top_difference, top_row, top_bias; /* the largest of each */
  size_t workers;
  lip_centre *centre;    /* (workers) */
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
    if (head) {
      const float *w = head->error.W + i * head->error.N;
      c->row[i] = lip_norm_upper(w, head->error.N, dual);
      c->bias[i] = head->error.b ? fabs((double)head->error.b[i]) : 0;
    }
    for (size_t j = 0; j < C; j++) {
      double d = lip_unit_difference(q);
      if (i == j)
        d = 0;
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

static lip_status reserve(lip_certifier *c, lip_err *err) {
  size_t C = c->C, places = c->walk.n + 1;
  c->workers = lip_pool_threads(c->net->engine.pool);
  c->pairs = lip_alloc(C * C, sizeof(double));
  c->difference = lip_alloc(C * C, sizeof(double));
  c->row = lip_alloc(C, sizeof(double));
  c->bias = lip_alloc(C, sizeof(double));
  c->centre = lip_alloc(c->workers, sizeof *c->centre);
  c->numbers = lip_alloc(c->workers * places * 2, sizeof(double));
  if (c->walk.costly) {
    c->coarse = lip_alloc(ENTRIES, sizeof *c->coarse);
    for (size_t i = 0; c->coarse && i < ENTRIES; i++) c->coarse[i].off = -1;
  }
  if (!c->pairs || !c->difference || !c->row || !c->bias || !c->centre || !c->numbers ||
      (c->walk.costly && !c->coarse))
    return lip_fail(err, LIP_MEMORY, "out of memory for certificates of %zu classes", C);
  for (size_t t = 0; t < c->workers; t++) {
    c->centre[t].size = c->numbers + 2 * t * places;
    c->centre[t].off = c->numbers + (2 * t + 1) * places;
  }
  return LIP_OK;
}

/* Whoever proved them: the smaller constant counts. */
static void take_pairs(lip_certifier *c, const double *proved) {
  for (size_t i = 0; proved && i < c->C * c->C; i++)
    if (proved[i] < c->pairs[i]) c->pairs[i] = proved[i];
}

lip_status lip_certifier_new(lip_net *net, const lip_certify_conf *conf, lip_certifier **out, lip_err *err) {
  *out = NULL;
  lip_net_touch(
      net); /* what runs is what is measured, even if somebody wrote to the weights and did not say so */
  size_t C = net->root->n_out, all;
  if (C < 2)
    return lip_fail(err, LIP_UNSUPPORTED,
                    "a certified radius needs at least 2 classes, the net has %zu (net:bound tells how fast "
                    "its output moves)",
                    C);
  if (!lip_mul_fits(C, C, &all)) return lip_fail(err, LIP_MEMORY, "too many classes (%zu)", C);
  lip_certifier *c = lip_alloc(1, sizeof *c);
  if (!c) return lip_fail(err, LIP_MEMORY, "out of memory for a certificate");
  c->net = net;
  c->C = C;
  lip_status status = lip_walk_init(&c->walk, net, conf ? conf->path : NULL, err);
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
  lip_free(c->centre);
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

/* Where the error of the pair (y, j) comes from at one input or over one ball. */
typedef struct pair_error {
  double off;      /* of the input of the last stage, in norm q */
  double executed; /* its executed norm */
  double own;      /* local error of row y */
} pair_error;

static double dot_error(const lip_certifier *c, double row, double bias, double executed) {
  const lip_dense_error *e = &c->walk.stage[c->last].error;
  return lip_dot_error(e->N, executed, lip_up_add(lip_up_mul(row, executed), bias), e->abs_norm);
}

static double row_error(const lip_certifier *c, size_t i, double executed) {
  return dot_error(c, c->row[i], c->bias[i], executed);
}

static pair_error pair_error_with(const lip_certifier *c, size_t y, double off, double executed) {
  pair_error e = {off, executed, 0};
  if (c->dense_head) e.own = row_error(c, y, executed);
  return e;
}

static pair_error pair_error_of(const lip_certifier *c, size_t y, lip_deviation d) {
  return pair_error_with(c, y, d.off, lip_up_add(d.size, d.off));
}

/* >= |(executed - exact) of z_y - z_j|. */
static double pair_error_at(const lip_certifier *c, const pair_error *e, size_t y, size_t j) {
  double v = lip_up_mul(c->difference[y * c->C + j], e->off);
  return c->dense_head ? lip_up_add(lip_up_add(v, e->own), row_error(c, j, e->executed)) : v;
}

/* >= pair_error_at for every j. Every operation there is monotone in the norms to within its rounding. */
static double pair_error_most(const lip_certifier *c, const pair_error *e) {
  double v = lip_up_mul(c->top_difference, e->off);
  if (c->dense_head) v = v + e->own + dot_error(c, c->top_row, c->top_bias, e->executed);
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

/* Everything the search for a radius asks about one input. */
typedef struct question {
  lip_certifier *c;
  const lip_centre *centre;
  const float *z;
  size_t y;
  double size;    /* ||x|| */
  size_t nearest; /* the class with the smallest m_j / L_yj */
} question;

static double margin(const question *q, size_t j) {
  return lip_down_sub((double)q->z[q->y], (double)q->z[j]);
}

static lip_deviation ball(const question *q, double radius) {
  if (q->c->walk.costly) return coarse_walk(q->c, lip_up_add(q->size, radius));
  return lip_walk_ball(&q->c->walk, q->centre, radius, q->c->last);
}

/* What pair j certifies: (m_j - e_j - E_j(radius)) / L_yj, at most r; 0 if not positive. */
static double pair_part(const question *q, const pair_error *here, const pair_error *there, size_t j,
                        double r) {
  const lip_certifier *c = q->c;
  double left = lip_down_sub(margin(q, j), pair_error_at(c, here, q->y, j));
  left = lip_down_sub(left, pair_error_at(c, there, q->y, j));
  double L = c->pairs[q->y * c->C + j];
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
  pair_error there = pair_error_of(c, q->y, ball(q, radius));
  double most = pair_error_most(c, here) + pair_error_most(c, &there);
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
  pair_error there = pair_error_of(q->c, q->y, ball(q, 0));
  for (size_t j = 0; j < q->c->C; j++) {
    if (j == q->y) continue;
    double left = lip_down_sub(margin(q, j), pair_error_at(q->c, here, q->y, j));
    if (!(left > pair_error_at(q->c, &there, q->y, j))) return false;
  }
  return true;
}

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

static double radius_of(question *q) {
  enum { TRIES = 48 };
  const lip_certifier *c = q->c;
  double R = largest_radius(q);
  if (!(R > 0)) return 0;
  bool costly = c->walk.costly;
  pair_error here = costly ? pair_error_of(c, q->y, coarse_walk(q->c, q->size))
                           : pair_error_with(c, q->y, q->centre->off[c->last], q->centre->size[c->last]);
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
static int32_t label_of(const float *z, size_t C) {
  size_t y = 0;
  for (size_t j = 0; j < C; j++) {
    if (!isfinite(z[j])) return -1;
    if (z[j] > z[y]) y = j;
  }
  return (int32_t)y;
}

static void certify_row(const batch *b, size_t r, lip_centre *centre, lip_radius *out) {
  lip_certifier *c = b->c;
  const float *z = c->net->logits + r * c->C;
  size_t n_in = c->net->root->n_in;
  *out = (lip_radius){label_of(z, c->C), 0, NAN};
  if (out->label < 0) return;
  question q = {c, centre, z, (size_t)out->label, 0, 0};
  out->margin = INFINITY;
  for (size_t j = 0; j < c->C; j++)
    if (j != q.y && (double)z[q.y] - (double)z[j] < out->margin) out->margin = (double)z[q.y] - (double)z[j];
  if (c->walk.costly)
    q.size = lip_norm_upper(b->x + r * n_in, n_in, c->walk.p);
  else
    lip_walk_centre(&c->walk, b->x, r, centre);
  /* an infinite input may be given finite logits (relu, tanh): it has no neighbours to speak of */
  out->radius = (c->walk.costly ? q.size : centre->size[0]) < INFINITY ? radius_of(&q) : 0;
}

static void certify_rows(void *arg, const lip_worker *me, size_t r0, size_t r1) {
  const batch *b = arg;
  fenv_t saved;
  lip_ieee_enter(&saved); /* the bounds are evaluated with gradual underflow, whatever the caller's mode */
  for (size_t r = r0; r < r1; r++) certify_row(b, r, &b->c->centre[me->id], &b->out[r]);
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
