/* The search that all attacks share: which rows are worth attacking, runs towards one class after the other, the best
 * point of each row, and what may be claimed about it in the end. Rows go through the net side by side, each on its own
 * track; one that is broken leaves the others at once. A kind of attack only says where a run starts and how it moves. */
#include "core/attack/attack.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/attack/goal.h"
#include "core/attack/search.h"
#include "core/base/mem.h"
#include "core/norm/rows.h"

enum { ARRAYS = 6 };

struct lip_attack {
  lip_net *net;
  lip_attack_conf conf;
  lip_run run;
  size_t B, n, C, targets, workers;
  lip_track *track;  /* (B) by row */
  lip_track **order; /* (B) those still running: row r of a pass is order[r] */
  float *arrays;     /* (B, ARRAYS, n) */
  int32_t *ranked;   /* (B, targets) other classes by their logit at the input */
  double *work;      /* (workers, LIP_ATTACK_WORK n) */
  double *value;     /* (workers, targets) of a property */
  float *box;        /* (2, n) of the ball, when there is one */
  double *scale;     /* (2, n) likewise: s and 1 / s */
};

/* ---- life ---- */

static lip_status check_conf(const lip_net *net, const lip_attack_conf *c, lip_err *err) {
  if (!(c->eps >= 0 && c->eps <= LIP_LARGEST_EPS))
    return lip_fail(err, LIP_OPTION, "attack: eps is a finite number from 0 to %g, got %g", LIP_LARGEST_EPS,
                    lip_plain(c->eps));
  if (!(c->step >= 0 && c->step <= LIP_LARGEST_EPS))
    return lip_fail(err, LIP_OPTION, "attack: step is a finite number > 0, got %g", lip_plain(c->step));
  for (size_t k = 0; c->boxed && k < net->root->n_in; k++)
    if (!(c->low[k] <= c->high[k] && c->low[k] <= (double)FLT_MAX && c->high[k] >= -(double)FLT_MAX))
      return lip_fail(err, LIP_OPTION, "attack: box is {low, high} with low <= high, got {%g, %g}",
                      lip_plain(c->low[k]), lip_plain(c->high[k]));
  for (size_t k = 0; c->scale && k < net->root->n_in; k++)
    if (!(c->scale[k] >= 0 && c->scale[k] <= LIP_LARGEST_EPS))
      return lip_fail(err, LIP_OPTION, "attack: scale holds numbers from 0 to %g, got %g", LIP_LARGEST_EPS,
                      lip_plain(c->scale[k]));
  if (c->kind->single && c->steps > 1)
    return lip_fail(err, LIP_OPTION, "attack: %s takes one step, got steps = %zu", c->kind->name, c->steps);
  return LIP_OK;
}

/* The least (`up`) or largest float inside of a limit as a real number. */
static float inside(double limit, bool up) {
  double l = limit < -(double)FLT_MAX ? -(double)FLT_MAX : limit > (double)FLT_MAX ? (double)FLT_MAX : limit;
  float f = (float)l;
  if (up ? (double)f < l : (double)f > l) f = nextafterf(f, up ? INFINITY : -INFINITY);
  return f;
}

/* Box and scale of the ball from those of the conf; false: no memory. */
static bool set_ball(lip_attack *a, const lip_attack_conf *c) {
  lip_ball *b = &a->run.ball;
  if (c->boxed) a->box = lip_alloc(2 * a->n, sizeof *a->box);
  if (c->scale) a->scale = lip_alloc(2 * a->n, sizeof *a->scale);
  if ((c->boxed && !a->box) || (c->scale && !a->scale)) return false;
  for (size_t k = 0; c->boxed && k < a->n; k++) {
    a->box[k] = inside(c->low[k], true);
    a->box[a->n + k] = inside(c->high[k], false);
  }
  for (size_t k = 0; c->scale && k < a->n; k++) {
    double inverse = c->scale[k] > 0 ? 1 / c->scale[k] : 0;
    a->scale[k] = inverse < INFINITY ? c->scale[k] : 0; /* one that small moves no float */
    a->scale[a->n + k] = inverse < INFINITY ? inverse : 0;
  }
  if (c->boxed) b->box_low = a->box, b->box_high = a->box + a->n;
  if (c->scale) b->scale = a->scale, b->inverse = a->scale + a->n;
  a->conf.low = a->conf.high = a->conf.scale = NULL; /* the caller's */
  return true;
}

static lip_status reserve(lip_attack *a, lip_err *err) {
  size_t arrays, ranked, work, value;
  bool fits = lip_mul_fits(a->B * ARRAYS, a->n, &arrays) && lip_mul_fits(a->B, a->targets, &ranked) &&
              lip_mul_fits(a->workers * LIP_ATTACK_WORK, a->n, &work) &&
              lip_mul_fits(a->workers, a->targets, &value);
  if (fits) {
    a->track = lip_alloc(a->B, sizeof *a->track);
    a->order = lip_alloc(a->B, sizeof *a->order);
    a->arrays = lip_alloc(arrays, sizeof *a->arrays);
    a->ranked = lip_alloc(ranked, sizeof *a->ranked);
    a->work = lip_alloc(work, sizeof *a->work);
    a->value = lip_alloc(value, sizeof *a->value);
  }
  if (!fits || !set_ball(a, &a->conf) || !a->track || !a->order || !a->arrays || !a->ranked || !a->work ||
      !a->value)
    return lip_fail(err, LIP_MEMORY, "attack: no memory for batches of %zu rows", a->B);
  return lip_net_reserve(a->net, a->B, err);
}

lip_status lip_attack_new(lip_net *net, const lip_attack_conf *conf, size_t B, lip_attack **out,
                          lip_err *err) {
  *out = NULL;
  lip_status status = check_conf(net, conf, err);
  size_t ways = lip_net_classes(net) - 1;
  if (!status && conf->property) status = lip_goal_ways(conf->property, &ways, err);
  if (status) return status;
  if (B == 0 || B > SIZE_MAX / 1024) return lip_fail(err, LIP_SHAPE, "attack: batches of %zu rows", B);
  lip_attack *a = lip_alloc(1, sizeof *a);
  if (!a) return lip_fail(err, LIP_MEMORY, "attack: out of memory");
  *a = (lip_attack){.net = net, .conf = *conf, .B = B, .n = net->root->n_in, .C = net->root->n_out};
  if (a->conf.restarts == 0) a->conf.restarts = 1;
  a->targets = conf->targets < ways ? conf->targets : ways;
  a->workers = lip_pool_threads(net->engine.pool);
  a->run = (lip_run){.ball = {.p = conf->p, .eps = conf->eps}, .n = a->n};
  a->run.steps = conf->steps > 0 ? conf->steps : conf->kind->steps;
  a->run.step = conf->step > 0 ? conf->step : conf->kind->length(conf->p, conf->eps, a->run.steps);
  status = reserve(a, err);
  if (status)
    lip_attack_free(a);
  else
    *out = a;
  return status;
}

void lip_attack_free(lip_attack *a) {
  if (!a) return;
  lip_free(a->track);
  lip_free(a->order);
  lip_free(a->arrays);
  lip_free(a->ranked);
  lip_free(a->work);
  lip_free(a->value);
  lip_free(a->box);
  lip_free(a->scale);
  lip_free(a);
}

/* ---- for the kinds ---- */

void lip_track_displacement(const lip_run *r, const float *at, const float *x, double *v) {
  for (size_t k = 0; k < r->n; k++) v[k] = (double)at[k] - (double)x[k];
  lip_ball_units(&r->ball, v, r->n);
}

void lip_track_go(const lip_run *r, lip_track *t, double *v) {
  lip_ball_project(&r->ball, t->x, t->low, t->high, v, r->n, t->at);
}

void lip_track_ascend(const lip_run *r, lip_track *t, const float *g, double length, size_t active, double *v,
                      double *work) {
  uint32_t *sorting = (uint32_t *)work;
  float *other = (float *)(work + r->n);
  if (lip_ball_ascend(&r->ball, t->low, t->high, t->at, g, r->n, length, active, v, sorting)) return;
  for (size_t k = 0; k < r->n; k++) other[k] = (float)lip_rng_normal(&t->rng);
  lip_ball_ascend(&r->ball, t->low, t->high, t->at, other, r->n, length, active, v, sorting);
}

void lip_track_start_at_input(const lip_run *r, lip_track *t, double *work) {
  (void)work;
  memcpy(t->at, t->x, r->n * sizeof(float));
}

void lip_track_start_random(const lip_run *r, lip_track *t, double *work) {
  lip_ball_random(&r->ball, r->n, &t->rng, work);
  lip_track_go(r, t, work);
}

/* ---- logits; of one output f they are 0 and f (net.h) ---- */

/* The largest logit but that of y; one that is NaN where there is. */
static size_t strongest_other(const float *z, size_t C, size_t y) {
  if (C == 1) return 1 - y;
  size_t top = y == 0;
  for (size_t j = 0; j < C; j++)
    if (j != y && (z[j] > z[top] || isnan(z[j]))) top = j;
  return top;
}

static double rise_of(const float *z, size_t C, size_t y, size_t j) {
  if (C == 1) return y > j ? -(double)*z : (double)*z;
  return (double)z[j] - (double)z[y];
}

static void rise_gradient(size_t C, size_t y, size_t j, float *dz) {
  memset(dz, 0, C * sizeof *dz);
  if (j > 0 || C > 1) dz[C > 1 ? j : 0] = 1;
  if (y > 0 || C > 1) dz[C > 1 ? y : 0] = -1;
}

/* The `targets` largest logits but that of y, in order; of equal ones the lowest index first. */
static void rank_targets(const float *z, size_t C, size_t y, size_t targets, int32_t *ranked) {
  if (C == 1 && targets > 0) {
    *ranked = (int32_t)(1 - y);
    return;
  }
  for (size_t t = 0; t < targets; t++) {
    size_t best = C, last = t > 0 ? (size_t)ranked[t - 1] : C;
    for (size_t j = 0; j < C; j++) {
      bool left = last == C || z[j] < z[last] || (z[j] == z[last] && j > last);
      if (j != y && left && (best == C || z[j] > z[best])) best = j;
    }
    ranked[t] = (int32_t)best;
  }
}

/* ---- one pass of a run ---- */

static void fill_rows(void *arg, size_t r0, size_t r1) {
  const lip_attack *a = arg;
  for (size_t r = r0; r < r1; r++) memcpy(a->net->input + r * a->n, a->order[r]->at, a->n * sizeof(float));
}

/* What was found, kept where it is the nearest so far. */
static void keep(const lip_attack *a, lip_track *t, double margin, bool broken) {
  if (broken || margin < t->margin) {
    t->margin = margin;
    memcpy(t->found, t->at, a->n * sizeof(float));
  }
  t->over = broken;
}

static void judge_property(const lip_attack *a, lip_track *t, const float *z, float *dz) {
  const lip_property *p = a->conf.property;
  double margin = lip_property_value(p, (size_t)t->label, z);
  bool broken = !(margin > 0) && lip_property_state(p, (size_t)t->label, z) == LIP_BROKEN;
  keep(a, t, margin, broken);
  t->rise = lip_goal_rise(p, (size_t)t->label, t->target, z, dz);
}

/* Keeps what was found, and asks for the gradient of the rise. */
static void judge_rows(void *arg, const lip_worker *me, size_t r0, size_t r1) {
  (void)me;
  const lip_attack *a = arg;
  for (size_t r = r0; r < r1; r++) {
    lip_track *t = a->order[r];
    const float *z = a->net->logits + r * a->C;
    float *dz = a->net->dlogits + r * a->C;
    if (a->conf.property) {
      judge_property(a, t, z, dz);
      continue;
    }
    size_t y = (size_t)t->label, other = strongest_other(z, a->C, y);
    size_t j = t->target >= 0 ? (size_t)t->target : other;
    keep(a, t, -rise_of(z, a->C, y, other), lip_outputs_answer(z, a->C) != t->label);
    t->rise = rise_of(z, a->C, y, j);
    rise_gradient(a->C, y, j, dz);
  }
}

static void move_rows(void *arg, const lip_worker *me, size_t r0, size_t r1) {
  const lip_attack *a = arg;
  double *work = a->work + me->id * LIP_ATTACK_WORK * a->n;
  const double *scale = a->run.ball.scale;
  for (size_t r = r0; r < r1; r++) {
    float *g = a->net->dinput + r * a->n;
    if (a->order[r]->over) continue;
    for (size_t k = 0; scale && k < a->n; k++) g[k] = (float)((double)g[k] * scale[k]);
    a->conf.kind->move(&a->run, a->order[r], g, work);
  }
}

static size_t drop_over(lip_track **order, size_t B) {
  size_t left = 0;
  for (size_t i = 0; i < B; i++)
    if (!order[i]->over) order[left++] = order[i];
  return left;
}

/* One run of the B rows in order; returns in *B those that are left. */
static lip_status run_once(lip_attack *a, size_t *B, lip_err *err) {
  const lip_attack_kind *kind = a->conf.kind;
  lip_probe probe = {{fill_rows, judge_rows, a}, move_rows};
  for (size_t k = 0; *B > 0; k++) {
    if (kind->schedule) kind->schedule(&a->run, k);
    if (k < a->run.steps)
      lip_net_probe(a->net, a->net->input, *B, &probe);
    else
      lip_net_stream(a->net, a->net->input, *B, &probe.stream);
    /* a cancelled pass leaves rows as they were: nothing may be read from it */
    if (lip_cancel_raised(a->net->engine.cancel)) return lip_fail(err, LIP_CANCELLED, "attack: cancelled");
    *B = drop_over(a->order, *B);
    if (k == a->run.steps) break;
  }
  return LIP_OK;
}

/* ---- a batch ---- */

typedef struct batch {
  lip_attack *a;
  const float *x;
  const int32_t *labels;
  size_t first, B;
  float *found;
  lip_attacked *out;
} batch;

/* Logits of rows. */
static lip_status look(lip_attack *a, const float *x, size_t B, lip_err *err) {
  lip_net_forward(a->net, x, B, false);
  return lip_cancel_raised(a->net->engine.cancel) ? lip_fail(err, LIP_CANCELLED, "attack: cancelled")
                                                  : LIP_OK;
}

/* Whether row r is to be attacked: what became of it so far, the label it is about and its margin. */
static bool is_right(const lip_attack *a, const batch *b, size_t r, size_t *about) {
  const lip_property *p = a->conf.property;
  const float *z = a->net->logits + r * a->C, *x = b->x + r * a->n;
  int32_t label = lip_outputs_answer(z, a->C), y = b->labels ? b->labels[r] : label;
  if (p && p->asked == LIP_ASK_ROWS) y = 0;
  bool right = y >= 0 && lip_row_all_finite(x, a->n);
  double margin = NAN;
  *about = right ? (size_t)y : 0;
  if (y >= 0 && p) margin = lip_property_value(p, (size_t)y, z);
  if (y >= 0 && !p) margin = -rise_of(z, a->C, (size_t)y, strongest_other(z, a->C, (size_t)y));
  right = right && (p ? lip_property_state(p, *about, z) == LIP_HOLDS : y == label);
  b->out[r] = (lip_attacked){.before = label, .after = label, .correct = right, .margin = margin};
  return right;
}

/* Sets up the track of row r; it is over at once when the row is not to be attacked. */
static void enter(const lip_attack *a, const batch *b, size_t r, double *value) {
  lip_track *t = &a->track[r];
  const float *z = a->net->logits + r * a->C, *x = b->x + r * a->n;
  float *arrays = a->arrays + r * ARRAYS * a->n;
  size_t y;
  bool right = is_right(a, b, r, &y);
  *t = (lip_track){.row = r, .label = (int32_t)y, .over = !right, .x = x, .margin = b->out[r].margin};
  t->found = b->found + r * a->n;
  memcpy(t->found, x, a->n * sizeof(float));
  if (!right) return;
  t->low = arrays;
  t->high = arrays + a->n;
  t->at = arrays + 2 * a->n;
  t->before = arrays + 3 * a->n;
  t->best = arrays + 4 * a->n;
  t->slope = arrays + 5 * a->n;
  t->rng = lip_rng_new(a->conf.seed, LIP_RNG_ATTACK, b->first + r);
  lip_ball_limits(&a->run.ball, x, a->n, t->low, t->high);
  if (a->conf.property)
    lip_goal_rank(a->conf.property, y, z, a->targets, a->ranked + r * a->targets, value);
  else
    rank_targets(z, a->C, y, a->targets, a->ranked + r * a->targets);
}

static void enter_rows(void *arg, const lip_worker *me) {
  const batch *b = arg;
  size_t r0, r1;
  lip_share(me, b->B, 1, &r0, &r1);
  for (size_t r = r0; r < r1; r++) enter(b->a, b, r, b->a->value + me->id * b->a->targets);
}

/* What may be claimed: the label of the point as stored, its distance measured afresh. */
static void settle_rows(void *arg, const lip_worker *me) {
  const batch *b = arg;
  const lip_attack *a = b->a;
  double *work = a->work + me->id * LIP_ATTACK_WORK * a->n;
  size_t r0, r1;
  lip_share(me, b->B, 1, &r0, &r1);
  for (size_t r = r0; r < r1; r++) {
    lip_attacked *o = &b->out[r];
    const float *z = a->net->logits + r * a->C;
    if (!o->correct) continue;
    o->distance = lip_ball_distance(&a->run.ball, b->found + r * a->n, b->x + r * a->n, a->n, work);
    o->after = lip_outputs_answer(z, a->C);
    if (a->conf.property) {
      size_t y = (size_t)a->track[r].label;
      o->margin = lip_property_value(a->conf.property, y, z);
      o->broken = lip_property_state(a->conf.property, y, z) == LIP_BROKEN && o->distance <= a->conf.eps;
      continue;
    }
    o->margin = -rise_of(z, a->C, (size_t)o->before, strongest_other(z, a->C, (size_t)o->before));
    o->broken = o->after != o->before && o->distance <= a->conf.eps;
  }
}

static lip_status check_box(const lip_attack *a, const float *x, size_t first, size_t B, lip_err *err) {
  const lip_ball *b = &a->run.ball;
  for (size_t i = 0; b->box_low && i < B * a->n; i++) {
    float low = b->box_low[i % a->n], high = b->box_high[i % a->n];
    if (x[i] < low || x[i] > high)
      return lip_fail(
          err, LIP_ARGUMENT,
          "attack: row %zu holds %.9g, outside of the box {%.9g, %.9g}: give one that holds the data",
          first + i / a->n + 1, (double)x[i], (double)low, (double)high);
  }
  return LIP_OK;
}

typedef struct starting {
  lip_attack *a;
  size_t B, target;
} starting;

static void start_rows(void *arg, const lip_worker *me) {
  const starting *s = arg;
  lip_attack *a = s->a;
  size_t r0, r1;
  lip_share(me, s->B, 1, &r0, &r1);
  for (size_t r = r0; r < r1; r++) {
    lip_track *t = a->order[r];
    t->target = a->targets > 0 ? a->ranked[t->row * a->targets + s->target] : -1;
    a->conf.kind->start(&a->run, t, a->work + me->id * LIP_ATTACK_WORK * a->n);
  }
}

/* All runs of the rows that can be attacked. */
static lip_status run_all(lip_attack *a, size_t left, lip_err *err) {
  lip_status status = LIP_OK;
  size_t targets = a->targets > 0 ? a->targets : 1;
  for (size_t i = 0; !status && left > 0 && i < a->conf.restarts * targets; i++) {
    a->run.first = i < targets;
    lip_pool_run(a->net->engine.pool, false, start_rows, &(starting){a, left, i % targets});
    status = run_once(a, &left, err);
  }
  return status;
}

lip_status lip_attack_run(lip_attack *a, const float *x, const int32_t *labels, size_t first, size_t B,
                          float *found, lip_attacked *out, lip_err *err) {
  if (B > a->B) return lip_fail(err, LIP_STATE, "attack: %zu rows, made for %zu", B, a->B);
  if (lip_pool_threads(a->net->engine.pool) > a->workers)
    return lip_fail(err, LIP_STATE, "attack: the number of threads has changed, make a new one");
  lip_status status = check_box(a, x, first, B, err);
  if (!status) status = lip_net_reserve(a->net, B, err);
  if (status) return status;
  batch b = {a, x, labels, first, B, found, out};
  size_t left = 0;
  lip_net_touch(a->net); /* somebody may have written to the weights and not said so */
  status = look(a, x, B, err);
  if (!status) {
    lip_pool_run(a->net->engine.pool, false, enter_rows, &b);
    for (size_t r = 0; r < B; r++)
      if (!a->track[r].over) a->order[left++] = &a->track[r];
    status = run_all(a, left, err);
  }
  if (!status) status = look(a, found, B, err);
  if (!status) lip_pool_run(a->net->engine.pool, false, settle_rows, &b);
  if (a->net->lent) lip_net_touch(a->net); /* and may do so again */
  return status;
}
