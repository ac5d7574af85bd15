/* Multipliers by descent (the bound LipSDP-Neuron of Fazlyab et al. 2019 without a general solver for semidefinite programs):
 * rho of eliminate.c is a convex function of them, minimised over their logarithms by Adam with the gradient that the
 * steepest signal gives, from the closed form on. For the norm inf of the input the weights d are searched for as well:
 * minimise rho(lambda, d) sum d. With u the steepest input, sum d_k u_k^2 = 1, rho = u'Qu / u'diag(d)u gives
 * d rho / d d_k = -rho u_k^2. Where kinks stop the descent too early and the net is small, the interior-point method of
 * interior.c follows, which ends at the optimum. */
#include <math.h>
#include <string.h>

#include "core/bound/propose.h"

enum { MOST_STEPS = 400, PATIENT_STEPS = 3000, EVERY = 10 };
/* Step length at first and the factor to the last; a gain of log rho in EVERY steps that counts as little; spread of the
 * eigenvectors in a gradient (see lip_elim_rho) per step length; residual of eigenvectors. */
static const double RATE = 0.1, LAST = 1.0 / 40, LITTLE = 1e-3, BLUR = 0.2, RESIDUAL = 1e-4;

static const double GAP = 2e-4; /* of rho to the optimum, where the net is small */

/* Where that is likely to end too early (lip_interior_needed) and nothing comes behind it: growth of the step at every gain, the
 * longest, and the factor to the last. */
static const double GROWTH = 1.1, LONGEST = 0.3, PATIENT_LAST = 1.0 / 200;

/* Numbers that are searched for, as logarithms: multipliers, then weights of the input. */
typedef struct search {
  lip_proposer *p;
  size_t n, n_in; /* n_in = 0 without weights */
  double *theta, *gradient, *mean, *square, *best, *value;
} search;

/* log rho + log sum d at theta, and its gradient. INFINITY: not feasible. */
static double objective(search *s, double blur) {
  lip_elim *e = s->p->elim;
  double *d = s->value + s->n, *u = s->gradient + s->n, sum = 1;
  for (size_t k = 0; k < s->n + s->n_in; k++) s->value[k] = exp(s->theta[k]);
  if (s->n_in) {
    sum = 0;
    for (size_t k = 0; k < s->n_in; k++) sum += d[k];
    if (!lip_elim_weigh(e, d)) return INFINITY;
  }
  double rho = lip_elim_follow(e, s->value, s->p->lambda, RESIDUAL, blur, s->gradient);
  if (!(rho > 0 && rho < INFINITY)) return INFINITY;
  for (size_t k = 0; k < s->n; k++) s->gradient[k] /= rho;
  if (s->n_in) lip_elim_squares(e, u);
  for (size_t k = 0; k < s->n_in; k++) u[k] = d[k] / sum - d[k] * u[k];
  return log(rho) + log(sum);
}

/* One step of Adam (Kingma, Ba 2015), the t-th. */
static void step(search *s, double rate, int t) {
  double a = 1 - pow(0.9, t), b = 1 - pow(0.99, t);
  for (size_t k = 0; k < s->n + s->n_in; k++) {
    double g = s->gradient[k];
    s->mean[k] = 0.9 * s->mean[k] + 0.1 * g;
    s->square[k] = 0.99 * s->square[k] + 0.01 * g * g;
    if (s->square[k] > 0) s->theta[k] -= rate * (s->mean[k] / a) / (sqrt(s->square[k] / b) + 1e-12);
  }
}

/* From theta downhill. What is kept is the best point visited; when ten steps have gained little, or a step has left the
 * feasible set, the search goes on from there with half the step length. The best ends up in theta and is evaluated. */
static double descend(search *s) {
  size_t all = s->n + s->n_in;
  bool patient = !s->p->interior && lip_interior_needed(s->p->elim);
  double top = INFINITY, mark = INFINITY, rate = RATE, last = RATE * (patient ? PATIENT_LAST : LAST);
  memcpy(s->best, s->theta, all * sizeof *s->best);
  memset(s->mean, 0, all * sizeof *s->mean);
  memset(s->square, 0, all * sizeof *s->square);
  for (int i = 0, t = 0; i < (patient ? PATIENT_STEPS : MOST_STEPS) && rate > last && !lip_propose_stop(s->p);
       i++) {
    double f = objective(s, BLUR * rate);
    if (f < top) {
      if (patient) rate = fmin(rate * GROWTH, LONGEST);
      top = f;
      memcpy(s->best, s->theta, all * sizeof *s->best);
    }
    bool lost = !(f < INFINITY), settled = t % EVERY == EVERY - 1 && !(top < mark - LITTLE);
    if (t % EVERY == EVERY - 1) mark = top;
    if (lost || settled) {
      rate /= 2;
      memcpy(s->theta, s->best, all * sizeof *s->best);
      if (lost) memset(s->mean, 0, all * sizeof *s->mean);
      if (!(objective(s, BLUR * rate) < INFINITY)) break;
    }
    step(s, rate, ++t);
  }
  memcpy(s->theta, s->best, all * sizeof *s->best);
  return objective(s, BLUR * rate);
}

/* Never worse than the closed form: what the descent has not improved stays. */
static double improve(lip_proposer *p) {
  size_t n = lip_elim_params(p->elim), n_in = p->d ? p->ask->affine->n_in : 0;
  double *closed = p->room[6], sum = p->d ? 0 : 1, rho = lip_propose_closed(p);
  search s = {p, n, n_in, p->room[0], p->room[1], p->room[2], p->room[3], p->room[4], p->room[5]};
  if (!(rho > 0 && rho < INFINITY) || lip_propose_stop(p)) return rho;
  memcpy(closed, p->lambda, lip_elim_count(p->elim) * sizeof *closed);
  if (!lip_elim_param(p->elim, p->lambda, s.value)) return rho;
  for (size_t k = 0; k < n; k++) s.theta[k] = log(s.value[k]);
  for (size_t k = 0; k < n_in; k++) {
    s.theta[n + k] = log(p->d[k]);
    sum += p->d[k];
  }
  if (descend(&s) < log(rho) + log(sum)) {
    if (n_in) memcpy(p->d, s.value + n, n_in * sizeof *p->d);
  } else {
    memcpy(p->lambda, closed, lip_elim_count(p->elim) * sizeof *closed);
    if (n_in && !lip_elim_weigh(p->elim, p->d)) return INFINITY;
  }
  return lip_elim_rho(p->elim, p->lambda, 1e-12, 0, NULL);
}

static bool stop(void *arg) {
  return lip_propose_stop(arg);
}

/* Where the interior-point method begins: well inside. False: nowhere. */
static bool begin_inside(lip_proposer *p, double *lambda, double *d, double *rho) {
  const double room = 0.5;
  size_t n_in = p->ask->affine->n_in;
  if (d && !lip_elim_weigh(p->elim, NULL)) return false;
  *rho = 2 * lip_elim_closed(p->elim, room, lambda);
  if (!(*rho > 0 && *rho < INFINITY)) return false;
  if (!d) return true;
  double top = 0;
  lip_elim_spread(p->elim, d);
  for (size_t k = 0; k < n_in; k++) top = fmax(top, d[k]);
  for (size_t k = 0; k < n_in; k++) d[k] = fmax(d[k] / top, 1e-6);
  *rho = 2 * top;
  return true;
}

/* The optimum where the net is small; what is there already stays if that is better. Returns rho. */
static double sharpen(lip_proposer *p, double rho) {
  size_t n = lip_elim_count(p->elim), n_in = p->d ? p->ask->affine->n_in : 0;
  double *lambda = p->room[0], *d = p->d ? p->room[1] : NULL, sum = p->d ? 0 : 1, before = sum, found;
  if (!p->interior || !begin_inside(p, lambda, d, &found) ||
      !lip_interior_run(p->interior, lambda, d, &found, GAP, stop, p))
    return p->d && !lip_elim_weigh(p->elim, p->d) ? (double)INFINITY : rho;
  for (size_t k = 0; k < n_in; k++) before += p->d[k], sum += d[k];
  if (d && !lip_elim_weigh(p->elim, d)) return INFINITY;
  found = lip_elim_rho(p->elim, lambda, 1e-12, 0, NULL);
  if (!(found * sum < rho * before)) return p->d && !lip_elim_weigh(p->elim, p->d) ? (double)INFINITY : rho;
  memcpy(p->lambda, lambda, n * sizeof *lambda);
  if (d) memcpy(p->d, d, n_in * sizeof *d);
  return found;
}

static double search_for(lip_proposer *p) {
  double rho = improve(p);
  if (!(rho > 0 && rho < INFINITY) || lip_propose_stop(p)) return rho;
  return sharpen(p, rho);
}

static lip_status multiplier_run(const lip_ask *ask, lip_found *out, lip_err *err) {
  return lip_propose_all(ask, search_for, out, err);
}

const lip_method lip_method_multiplier = {
    .name = "multiplier",
    .help = "semidefinite inequality with multipliers found by descent, at their optimum for small nets, per "
            "pair; "
            "norms 2 and inf of the input",
    .takes = lip_propose_takes,
    .run = multiplier_run,
};
