/* apgd: projected gradient with momentum and a step that halves itself (Croce and Hein 2020, algorithm 1):
 *   z = P(x_k + h g_k),  x_{k+1} = P(x_k + 3/4 (z - x_k) + 1/4 (x_k - x_{k-1})),  h = 2 eps at first
 * After periods of 22 % of the steps, each 3 % shorter than the one before and at least 6 %, a row whose steps have risen
 * in at most 3 of 4 cases, or whose best point has not changed although its step was not halved last time, halves h and
 * goes on from its best point.
 *
 * p = 1 (Croce and Hein 2021, "Mind the box"): h = eps at first, no momentum, each step along a few entries only: a fifth
 * at first, later two thirds of those in which the best point differs from the input; checked every 4 % of the steps. A
 * row whose best point has become sparser by 5 % goes on from it with h = eps, else h shrinks by 1.5 down to eps / 10.
 *
 * The first run towards a class starts at the input and goes to where the net's linearisation is highest (the point of
 * fgsm), since nets of bounded slope are close to it; others start at random points. */
#include <math.h>
#include <string.h>

#include "core/attack/search.h"

static double first_step(lip_p p, double eps, size_t steps) {
  (void)steps;
  return p == LIP_P1 ? eps : 2 * eps;
}

static size_t share(double of, size_t steps) {
  size_t n = (size_t)(of * (double)steps);
  return n > 0 ? n : 1;
}

static void begin(const lip_run *r, lip_track *t, double *work) {
  if (r->first)
    lip_track_start_at_input(r, t, work);
  else
    lip_track_start_random(r, t, work);
  memcpy(t->before, t->at, r->n * sizeof(float));
  t->last_rise = t->best_rise = t->checked_rise = -INFINITY;
  t->step = r->step;
  t->improved = 0;
  t->halved = true; /* the first check asks for progress only */
  t->active = r->n / 5;
  t->sparse = r->n;
}

/* When the checks are: the end of the period that step k is in. */
static void schedule(lip_run *r, size_t k) {
  size_t period = share(0.22, r->steps), shorter = share(0.03, r->steps), least = share(0.06, r->steps), end;
  if (r->ball.p == LIP_P1) period = least = share(0.04, r->steps);
  for (end = period; end < k; end += period) period = period > least + shorter ? period - shorter : least;
  r->check = k > 0 && end == k;
  r->period = period;
}

static void go_back(const lip_run *r, lip_track *t) {
  memcpy(t->at, t->best, r->n * sizeof(float));
  memcpy(t->before, t->best, r->n * sizeof(float));
  t->last_rise = t->best_rise;
}

static size_t differing(const float *a, const float *b, size_t n) {
  size_t count = 0;
  for (size_t k = 0; k < n; k++) count += a[k] != b[k];
  return count;
}

/* Returns whether the row goes on from its best point. */
static bool check_1(const lip_run *r, lip_track *t) {
  size_t now = differing(t->best, t->x, r->n);
  bool sparser = (double)now < 0.95 * (double)t->sparse;
  t->sparse = now;
  t->active = (size_t)((double)now / 1.5);
  t->step = sparser ? r->step : fmax(t->step / 1.5, r->step / 10);
  return sparser;
}

static bool check_2(const lip_run *r, lip_track *t) {
  bool rises = (double)t->improved > 0.75 * (double)r->period;
  bool stuck = !t->halved && t->best_rise == t->checked_rise;
  t->checked_rise = t->best_rise;
  t->improved = 0;
  t->halved = !rises || stuck;
  if (t->halved) t->step /= 2;
  return t->halved;
}

/* z = P(x_k + h g_k), then momentum. */
static void advance(const lip_run *r, lip_track *t, const float *g, bool opening, double *work) {
  const size_t n = r->n;
  double *v = work, *spare = work + n;
  bool jump = opening && r->first && lip_ball_steepest(&r->ball, g, n, v);
  if (!jump) {
    lip_track_displacement(r, t->at, t->x, v);
    lip_track_ascend(r, t, g, t->step, t->active, v, spare);
  }
  bool plain = opening || r->ball.p == LIP_P1;
  for (size_t k = 0; k < n && !plain; k++) spare[k] = 0.25 * ((double)t->at[k] - (double)t->before[k]);
  memcpy(t->before, t->at, n * sizeof(float));
  lip_track_go(r, t, v);
  if (plain) return;
  for (size_t k = 0; k < n; k++) {
    double x = (double)t->x[k], from = (double)t->before[k];
    v[k] = from - x + 0.75 * ((double)t->at[k] - from) + spare[k];
  }
  lip_ball_units(&r->ball, v, n);
  lip_track_go(r, t, v);
}

static void move(const lip_run *r, lip_track *t, const float *g, double *work) {
  const size_t n = r->n;
  bool opening = t->last_rise == -INFINITY;
  t->improved += t->rise > t->last_rise && !opening;
  t->last_rise = t->rise;
  if (t->rise > t->best_rise) {
    t->best_rise = t->rise;
    memcpy(t->best, t->at, n * sizeof(float));
    memcpy(t->slope, g, n * sizeof(float));
  }
  if (r->check && (r->ball.p == LIP_P1 ? check_1(r, t) : check_2(r, t))) {
    go_back(r, t);
    g = t->slope;
  }
  advance(r, t, g, opening, work);
}

const lip_attack_kind lip_attack_apgd = {
    .name = "apgd",
    .help = "with momentum and a step that halves itself when it brings nothing",
    .steps = 100,
    .length = first_step,
    .start = begin,
    .schedule = schedule,
    .move = move,
};
