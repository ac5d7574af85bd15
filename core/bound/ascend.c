/* Where is a net steepest? First the gradients of every output at all points given, and at the same points with noise;
 * then, for every pair of outputs and for the norm of the whole, gradient ascent (slope.h) from the best of these and
 * from some others, the averaging of slopes growing finer from step to step. From where that ends the search goes on
 * among the linear pieces around (wander.h), and as long as that helps and is affordable all begins again from points of
 * other sizes. What counts is measured at the end. */
#include "core/bound/ascend.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/bound/attain.h"
#include "core/bound/slope.h"
#include "core/bound/wander.h"

enum {
  ROWS = 32,
  PAIR_ROWS = 10,
  STEPS = 80,
  FEWEST = 8,
  MOST_POINTS = 256,
  MOST_VALUES = 1 << 24,
  POWER = 60,
  CHAINS = 4, /* at a time */
  MOST_CHAINS = 16,
  WANDER = 400,
  LEAST_WANDER = 16
};

#define FAR 1e30f /* where points are left alone */

/* One thing to make large: (z_i - z_j), or the norm of all outputs (i = j). */
typedef struct target {
  size_t i, j;
} target;

typedef struct worker {
  lip_slope slope;
  lip_attain attain;
  float *x, *start, *v, *g, *grad; /* (ROWS, n_in), one block */
  float *u, *t, *power;            /* (ROWS + 1, C), one block */
  float *J;                        /* (C, n_in) */
  double *gram;                    /* (C, C) */
  float *best_x;                   /* (n_in) */
  double lower, *pair;             /* what it has measured */
} worker;

typedef struct search {
  const lip_ascent *how;
  const lip_affine *a;
  size_t n_in, C, points, targets;
  size_t steps, ascents;          /* of an ascent, and targets that get one: the last ones */
  size_t pair_rows, all_rows;     /* of an ascent */
  size_t pair_wander, all_wander; /* steps after it; 0: none */
  size_t chains, chain;           /* ascents of one target; the first of those that run now */
  float *point;                   /* (points, n_in) */
  float *value;                   /* (points, targets) */
  worker *w;                      /* (threads) */
  size_t threads;
} search;

static target target_at(const search *s, size_t k) {
  size_t i = 1;
  if (k + 1 == s->targets) return (target){0, 0};
  for (; k >= i; i++) k -= i;
  return (target){i, k};
}

/* ---- norms of a Jacobian ---- */

/* ||u' J|| in the dual norm of p. */
static double dual_norm(const float *g, size_t n, lip_p p) {
  return lip_norm(g, n, lip_p_dual(p));
}

/* u (C) with u' J of the largest norm, near enough: the left singular vector for 2->2, from J J'. */
static void singular(worker *w, size_t C, size_t n) {
  float *u = w->power;
  for (size_t i = 0; i < C; i++)
    for (size_t j = 0; j <= i; j++) {
      double sum = 0;
      for (size_t k = 0; k < n; k++) sum += (double)w->J[i * n + k] * (double)w->J[j * n + k];
      w->gram[i * C + j] = w->gram[j * C + i] = sum;
    }
  for (size_t i = 0; i < C; i++) u[i] = 1 + (float)i / (float)C;
  for (int it = 0; it < POWER; it++) {
    double size = 0;
    float *next = u + C;
    for (size_t i = 0; i < C; i++) {
      double sum = 0;
      for (size_t j = 0; j < C; j++) sum += w->gram[i * C + j] * (double)u[j];
      next[i] = (float)sum;
      size = fmax(size, fabs(sum));
    }
    if (!(size > 0) || !(size < INFINITY)) return;
    for (size_t i = 0; i < C; i++) u[i] = (float)((double)next[i] / size);
  }
}

/* v (n_in) for which J v is longest, and how long: a column, a row, or a singular vector. */
static double steepest(const search *s, worker *w, float *v) {
  size_t C = s->C, n = s->n_in, top = 0;
  lip_p p = s->how->p, q = s->how->q;
  double best = 0;
  if (p == LIP_P1) {
    for (size_t k = 0; k < n; k++) {
      for (size_t i = 0; i < C; i++) w->power[i] = w->J[i * n + k];
      double length = lip_norm(w->power, C, q);
      if (length > best) best = length, top = k;
    }
    memset(v, 0, n * sizeof *v);
    v[top] = 1;
    return best;
  }
  if (q == LIP_PINF) {
    for (size_t i = 0; i < C; i++) {
      double length = dual_norm(w->J + i * n, n, p);
      if (length > best) best = length, top = i;
    }
    lip_dual_vector(v, w->J + top * n, n, lip_p_dual(p));
    return best;
  }
  singular(w, C, n);
  double length = lip_norm(w->power, C, LIP_P2);
  for (size_t k = 0; k < n; k++) {
    double sum = 0;
    for (size_t i = 0; i < C; i++) sum += (double)w->power[i] * (double)w->J[i * n + k];
    v[k] = (float)sum;
  }
  return length > 0 ? lip_norm(v, n, LIP_P2) / length : 0;
}

/* w->J at one point; uses g and t. */
static void jacobian(const search *s, worker *w, const float *x) {
  size_t n = s->n_in, C = s->C;
  for (size_t c0 = 0; c0 < C; c0 += ROWS) {
    size_t P = C - c0 < ROWS ? C - c0 : ROWS;
    memset(w->t, 0, P * C * sizeof *w->t);
    for (size_t r = 0; r < P; r++) {
      memcpy(w->g + r * n, x, n * sizeof *x);
      w->t[r * C + c0 + r] = 1;
    }
    lip_slope_at(&w->slope, w->g, P, 0);
    lip_slope_pull(&w->slope, w->t, P, w->J + c0 * n);
  }
}

/* ---- all points, all targets ---- */

static void screen_point(const search *s, worker *w, size_t at) {
  float *value = s->value + at * s->targets;
  size_t n = s->n_in;
  jacobian(s, w, s->point + at * n);
  for (size_t k = 0; k + 1 < s->targets; k++) {
    target t = target_at(s, k);
    for (size_t c = 0; c < n; c++) w->v[c] = w->J[t.i * n + c] - w->J[t.j * n + c];
    value[k] = (float)dual_norm(w->v, n, s->how->p);
  }
  value[s->targets - 1] = (float)steepest(s, w, w->v);
}

static void screen(void *arg, const lip_worker *me) {
  search *s = arg;
  for (size_t at = me->id; at < s->points; at += me->count) {
    if (lip_cancel_raised(s->how->cancel)) return;
    screen_point(s, &s->w[me->id], at);
  }
}

/* ---- ascent for one target ---- */

/* Half of the rows from the points with the largest values, the others from here and there. */
static void begin(const search *s, worker *w, size_t k, size_t rows) {
  size_t n = s->n_in, chosen[ROWS];
  for (size_t r = 0; r < rows; r++) {
    size_t pick = s->points;
    for (size_t at = 0; r < (rows + 1) / 2 && at < s->points; at++) {
      bool taken = false;
      for (size_t e = 0; e < r; e++) taken = taken || chosen[e] == at;
      if (taken) continue;
      if (pick == s->points || s->value[at * s->targets + k] > s->value[pick * s->targets + k]) pick = at;
    }
    chosen[r] = pick < s->points ? pick : (k * 7 + r * 13) % s->points;
    memcpy(w->x + r * n, s->point + chosen[r] * n, n * sizeof *w->x);
  }
}

/* Other starts, anywhere from an eighth of the points' size to 32 times that, some of them around the points. */
static void begin_far(const search *s, worker *w, size_t k, size_t rows, size_t chain) {
  size_t n = s->n_in;
  lip_rng rng = lip_rng_new(k, LIP_RNG_ATTACK, 16 + chain);
  for (size_t r = 0; r < rows; r++) {
    const float *from = s->point + lip_rng_below(&rng, s->points) * n;
    double size = lip_norm(from, n, LIP_P2) / sqrt((double)n);
    double far = (size > 0 ? size : 1) * exp2(8 * lip_rng_uniform(&rng) - 3);
    for (size_t c = 0; c < n; c++)
      w->x[r * n + c] = (float)(far * lip_rng_normal(&rng)) + (r % 2 ? from[c] : 0);
  }
}

/* u from J v; where nothing moves, one output after the other. */
static void aim(const search *s, float *u, const float *t, size_t turn) {
  size_t C = s->C;
  if (lip_norm(t, C, LIP_PINF) > 0) {
    lip_dual_vector(u, t, C, s->how->q);
    return;
  }
  memset(u, 0, C * sizeof *u);
  u[turn % C] = 1;
}

/* v from the gradient; where there is none, a direction of its own. */
static void head(const search *s, float *v, const float *g, size_t turn) {
  size_t n = s->n_in;
  lip_p dual = lip_p_dual(s->how->p);
  if (lip_norm(g, n, LIP_PINF) > 0) {
    lip_dual_vector(v, g, n, dual);
    return;
  }
  lip_rng rng = lip_rng_new(turn, LIP_RNG_ATTACK, 2);
  lip_rng_fill_normal(&rng, v, n, 0, 1);
  lip_dual_vector(v, v, n, dual);
}

/* What the target looks at, in every row. The norm of the whole begins with what is steepest there. */
static void look(const search *s, worker *w, target t, size_t rows) {
  size_t n = s->n_in, C = s->C;
  if (t.i != t.j) {
    memset(w->u, 0, rows * C * sizeof *w->u);
    for (size_t r = 0; r < rows; r++) w->u[r * C + t.i] = 1, w->u[r * C + t.j] = -1;
    return;
  }
  for (size_t r = 0; r < rows; r++) {
    jacobian(s, w, w->x + r * n);
    (void)steepest(s, w, w->v + r * n);
  }
  lip_slope_at(&w->slope, w->x, rows, 0);
  lip_slope_push(&w->slope, w->v, rows, w->u);
  for (size_t r = 0; r < rows; r++) aim(s, w->u + r * C, w->u + r * C, r);
}

/* One step up, of length `far`, or a tenth of 1 where x is 0. */
static void climb(float *x, const float *grad, const float *start, size_t n, double far) {
  double size = lip_norm(grad, n, LIP_P2), from = lip_norm(start, n, LIP_P2);
  if (!(size > 0) || !(size < INFINITY)) return;
  double t = far * (from > 0 ? from : 0.1) / size;
  for (size_t k = 0; k < n; k++) x[k] += (float)(t * (double)grad[k]);
}

/* The steepest point met on the way, into w->best_x; returns how steep. */
static double ascend(const search *s, worker *w, size_t k, size_t chain) {
  const double widest = 2, longest = 0.7, shrink = 0.03;
  size_t n = s->n_in, C = s->C;
  target t = target_at(s, k);
  double best = -1;
  size_t rows = t.i == t.j ? s->all_rows : s->pair_rows;
  if (chain == 0)
    begin(s, w, k, rows);
  else
    begin_far(s, w, k, rows, chain);
  memcpy(w->start, w->x, rows * n * sizeof *w->x);
  memcpy(w->best_x, w->x, n * sizeof *w->x);
  look(s, w, t, rows);
  for (size_t step = 0; step < s->steps && !lip_cancel_raised(s->how->cancel); step++) {
    double fine = pow(shrink, (double)step / (double)s->steps);
    lip_slope_at(&w->slope, w->x, rows, widest * fine);
    lip_slope_pull(&w->slope, w->u, rows, w->g);
    for (size_t r = 0; r < rows; r++) head(s, w->v + r * n, w->g + r * n, step * rows + r);
    lip_slope_push(&w->slope, w->v, rows, w->t);
    lip_slope_bend(&w->slope, rows, w->grad);
    for (size_t r = 0; r < rows; r++) {
      bool pair = t.i != t.j;
      double value = pair ? dual_norm(w->g + r * n, n, s->how->p) : lip_norm(w->t + r * C, C, s->how->q);
      if (value > best && value < INFINITY) {
        best = value;
        memcpy(w->best_x, w->x + r * n, n * sizeof *w->x);
      }
      if (!pair) aim(s, w->u + r * C, w->t + r * C, step + r);
      climb(w->x + r * n, w->grad + r * n, w->start + r * n, n, longest * fine);
    }
  }
  return best;
}

static void measure(const search *s, worker *w, target t) {
  size_t n = s->n_in;
  jacobian(s, w, w->best_x);
  if (t.i == t.j) {
    (void)steepest(s, w, w->v);
  } else {
    for (size_t c = 0; c < n; c++) w->grad[c] = w->J[t.i * n + c] - w->J[t.j * n + c];
    lip_dual_vector(w->v, w->grad, n, lip_p_dual(s->how->p));
  }
  lip_attain_at(&w->attain, w->best_x, w->v, s->how->p, s->how->q, &w->lower, w->pair);
}

/* On from where the ascent ended, among the linear pieces around. */
static void wander(const search *s, worker *w, size_t k, size_t chain, double best) {
  size_t n = s->n_in;
  target t = target_at(s, k);
  bool whole = t.i == t.j;
  lip_wander go = {.slope = &w->slope,
                   .cancel = s->how->cancel,
                   .p = s->how->p,
                   .q = s->how->q,
                   .whole = whole,
                   .rows = whole ? s->all_rows : s->pair_rows,
                   .steps = whole ? s->all_wander : s->pair_wander,
                   .seed = k * MOST_CHAINS + chain,
                   .x = w->x,
                   .u = w->u,
                   .y = w->start,
                   .v = w->v,
                   .g = w->g,
                   .grad = w->grad,
                   .t = w->t,
                   .best_x = w->best_x,
                   .best = best};
  if (go.steps == 0) return;
  for (size_t i = 0; i < go.rows * n; i++)
    if (!(fabsf(w->x[i]) < FAR)) w->x[i] = 0;
  lip_wander_run(&go);
  measure(s, w, t);
  if (!whole || s->C == 1) return;
  double top = -1; /* `best` was of one u, and only nearly the norm of J */
  for (size_t r = 0; r < go.rows; r++) {
    memcpy(w->start, w->x + r * n, n * sizeof *w->x);
    jacobian(s, w, w->start);
    double value = steepest(s, w, w->v);
    if (!(value > top)) continue;
    top = value;
    memcpy(w->best_x, w->start, n * sizeof *w->x);
  }
  measure(s, w, t);
}

/* Chains s->chain .. s->chain + CHAINS - 1 of every target. */
static void climb_all(void *arg, const lip_worker *me) {
  search *s = arg;
  worker *w = &s->w[me->id];
  size_t chains = s->chains - s->chain < CHAINS ? s->chains - s->chain : CHAINS;
  for (size_t i = me->id; i < s->ascents * chains; i += me->count) {
    size_t at = s->targets - 1 - i / chains, chain = s->chain + i % chains;
    if (lip_cancel_raised(s->how->cancel)) return;
    double best = ascend(s, w, at, chain);
    measure(s, w, target_at(s, at));
    wander(s, w, at, chain, best);
  }
}

/* ---- life ---- */

static bool worker_init(worker *w, const search *s, bool pairs, lip_err *err) {
  size_t n = s->n_in, C = s->C;
  if (lip_slope_init(&w->slope, s->a, ROWS, err) || lip_attain_init(&w->attain, s->a, err)) return false;
  w->x = lip_alloc(5 * ROWS * n, sizeof(float));
  w->u = lip_alloc(3 * (ROWS + 1) * C, sizeof(float));
  w->J = lip_alloc(C * n, sizeof(float));
  w->gram = lip_alloc(C * C, sizeof(double));
  w->best_x = lip_alloc(n, sizeof(float));
  w->pair = pairs ? lip_alloc(C * C, sizeof(double)) : NULL;
  if (!w->x || !w->u || !w->J || !w->gram || !w->best_x || (pairs && !w->pair)) return false;
  w->start = w->x + ROWS * n;
  w->v = w->x + 2 * ROWS * n;
  w->g = w->x + 3 * ROWS * n;
  w->grad = w->x + 4 * ROWS * n;
  w->t = w->u + (ROWS + 1) * C;
  w->power = w->u + 2 * (ROWS + 1) * C;
  return true;
}

static void search_free(search *s) {
  for (size_t i = 0; s->w && i < s->threads; i++) {
    worker *w = &s->w[i];
    lip_slope_free(&w->slope);
    lip_attain_free(&w->attain);
    lip_free(w->x);
    lip_free(w->u);
    lip_free(w->J);
    lip_free(w->gram);
    lip_free(w->best_x);
    lip_free(w->pair);
  }
  lip_free(s->w);
  lip_free(s->point);
  lip_free(s->value);
}

static size_t clamp(double v, size_t least, size_t most) {
  return v >= (double)most ? most : v > (double)least ? (size_t)v : least;
}

/* What the ascents leave of three fifths of the work goes to wandering, and where that is plenty to more chains. First of
 * all for the norm of the whole. */
static void plan_chains(search *s, double once, double all, double pair) {
  double step = 6 * once, pairs = (double)(s->ascents - 1);
  double left = 0.6 * s->how->work - all - pairs * pair;
  s->all_wander = clamp(left / (step * (double)s->all_rows), 0, WANDER);
  left -= step * (double)s->all_rows * (double)s->all_wander;
  s->pair_wander = pairs > 0 ? clamp(left / (step * (double)s->pair_rows * pairs), 0, WANDER) : WANDER;
  if (s->all_wander < LEAST_WANDER) s->all_wander = 0;
  if (s->pair_wander < LEAST_WANDER) s->pair_wander = 0;
  double chain = all + step * (double)s->all_rows * WANDER;
  chain += pairs * (pair + step * (double)s->pair_rows * WANDER);
  s->chains = s->pair_wander == WANDER ? clamp(0.6 * s->how->work / chain, 1, MOST_CHAINS) : 1;
}

/* How much of everything the work allows: a fifth for the screening. */
static void plan(search *s, bool pairs) {
  double once = 1, C = (double)s->C, n = (double)s->n_in, work = s->how->work;
  for (size_t l = 0; l < s->a->n; l++) /* a unit's slope costs about as much as 60 multiplications */
    once += (double)s->a->block[l].M * ((double)s->a->block[l].N + 60);
  s->targets = pairs ? s->C * (s->C - 1) / 2 + 1 : 1;
  size_t most = s->how->B < MOST_POINTS ? 2 * s->how->B : 2 * MOST_POINTS;
  if (most > MOST_VALUES / s->targets) most = MOST_VALUES / s->targets;
  s->points = clamp(work / 5 / (C * once + C * C * n), 2, most > 2 ? most : 2);
  s->all_rows = s->points < ROWS ? s->points : ROWS;
  s->pair_rows = s->points < PAIR_ROWS ? s->points : PAIR_ROWS;
  double row = 4 * once * STEPS,
         all = row * ((double)s->all_rows + (double)s->pair_rows * (double)(s->targets - 1));
  s->steps = clamp(STEPS * work / all, FEWEST, STEPS);
  double each = row * (double)s->steps / STEPS, left = work - each * (double)s->all_rows;
  s->ascents = 1 + clamp(left / (each * (double)s->pair_rows), 0, s->targets - 1);
  plan_chains(s, once, each * (double)s->all_rows, each * (double)s->pair_rows);
}

/* The points given, evenly taken, and each with noise of their own size. */
static lip_status place_points(search *s, lip_err *err) {
  size_t n = s->n_in, given = (s->points + 1) / 2;
  double square = 0;
  s->point = lip_alloc(s->points * n, sizeof *s->point);
  s->value = lip_alloc(s->points * s->targets, sizeof *s->value);
  if (!s->point || !s->value) return lip_fail(err, LIP_MEMORY, "out of memory for a search");
  for (size_t r = 0; r < given; r++)
    for (size_t c = 0; c < n; c++) {
      float v = s->how->x[r * s->how->B / given * n + c];
      s->point[r * n + c] = isfinite(v) ? v : 0;
      square += (double)s->point[r * n + c] * (double)s->point[r * n + c];
    }
  float size = (float)sqrt(square / (double)(given * n));
  if (!(size > 0) || !isfinite(size)) size = 1;
  lip_rng rng = lip_rng_new(1, LIP_RNG_ATTACK, 1);
  for (size_t r = given; r < s->points; r++) {
    float *x = s->point + r * n;
    lip_rng_fill_normal(&rng, x, n, 0, size);
    for (size_t c = 0; r % 3 && c < n; c++) x[c] += s->point[(r - given) * n + c];
  }
  return LIP_OK;
}

static bool raise(double *to, double v) {
  bool better = v > *to * (1 + 1e-5);
  if (v > *to) *to = v;
  return better;
}

/* What all threads have measured so far; true when that is more than before. */
static bool collect(search *s, double *lower, double *pair) {
  bool better = false;
  for (size_t i = 0; i < s->threads; i++) {
    better |= raise(lower, s->w[i].lower);
    for (size_t c = 0; pair && c < s->C * s->C; c++) better |= raise(&pair[c], s->w[i].pair[c]);
  }
  return better;
}

static lip_status run(search *s, double *lower, double *pair, lip_err *err) {
  const lip_ascent *how = s->how;
  plan(s, pair != NULL);
  lip_status status = place_points(s, err);
  s->threads = lip_pool_threads(how->pool);
  if (!status && !(s->w = lip_alloc(s->threads, sizeof *s->w)))
    status = lip_fail(err, LIP_MEMORY, "out of memory for a search");
  for (size_t i = 0; !status && i < s->threads; i++)
    if (!worker_init(&s->w[i], s, pair != NULL, err))
      status = lip_fail(err, LIP_MEMORY, "out of memory for a search");
  if (status) return status;
  lip_pool_run(how->pool, false, screen, s);
  bool better = true; /* chains that find nothing new are the last ones */
  for (; better && s->chain < s->chains && !lip_cancel_raised(how->cancel); s->chain += CHAINS) {
    lip_pool_run(how->pool, false, climb_all, s);
    better = collect(s, lower, pair);
  }
  return lip_cancel_raised(how->cancel) ? lip_fail(err, LIP_CANCELLED, "bound: cancelled") : LIP_OK;
}

lip_status lip_ascend(const lip_ascent *how, double *lower, double *pair, lip_err *err) {
  search s = {.how = how, .a = how->a, .n_in = how->a->n_in, .C = how->a->n_out};
  if (how->B == 0 || how->a->n == 0) return LIP_OK;
  lip_status status = run(&s, lower, pair, err);
  search_free(&s);
  return status;
}
