/* Verdicts and constants for balls around inputs.
 *
 * A verdict asks for a lower bound of every difference z_y - z_j over the ball that is strictly positive, z as executed
 * in float32 (relax.c): then every float32 input of the ball is given the label y. Tried in order of cost: interval
 * arithmetic, relaxation with intervals from interval arithmetic (CROWN-IBP of Zhang et al. 2020), relaxation with
 * intervals that are themselves relaxed (Zhang et al. 2018). Each pair needs one of them only.
 *
 * A constant of the ball: for two inputs in it every unit before phi stays in its interval, so the slope of phi between
 * the two lies in the slopes of that interval, and whatever a method proves for all slopes in [low, high] holds with the
 * narrower ones (Hein, Andriushchenko 2017; Weng et al. 2018, "Fast-Lip"). A pair whose order is known has slope 1 or
 * -1 in its difference. Nothing but these slopes changes, so methods need not know. */
#include "core/cert/local.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/bound/found.h"
#include "core/norm/round.h"

struct lip_local {
  lip_net *net;
  lip_local_conf conf;
  double *eps, *from, *to; /* copies of those in conf */
  lip_affine affine;
  lip_relax *relax; /* NULL: nothing can be proved */
  size_t threads;
  lip_ranges **ranges; /* (threads) */
  double *low;         /* (threads, C) */
};

static lip_status reserve(lip_local *c, lip_err *err) {
  size_t C = c->affine.n_out;
  c->threads = lip_pool_threads(c->net->engine.pool);
  c->ranges = lip_alloc(c->threads, sizeof *c->ranges);
  c->low = lip_alloc(2 * c->threads * C, sizeof *c->low);
  if (c->ranges) memset(c->ranges, 0, c->threads * sizeof *c->ranges);
  if (!c->ranges || !c->low) return lip_fail(err, LIP_MEMORY, "out of memory for local certificates");
  lip_status status = LIP_OK;
  for (size_t t = 0; !status && c->relax && t < c->threads; t++)
    status = lip_ranges_new(c->relax, &c->ranges[t], err);
  return status;
}

/* Room for 1 at least. */
static bool copy(double **to, const double *from, size_t n) {
  *to = lip_alloc(n ? n : 1, sizeof **to);
  if (*to && n) memcpy(*to, from, n * sizeof **to);
  return *to != NULL;
}

lip_status lip_local_new(lip_net *net, const lip_local_conf *conf, lip_local **out, lip_err *err) {
  *out = NULL;
  lip_net_touch(net);
  lip_local *c = lip_alloc(1, sizeof *c);
  if (!c) return lip_fail(err, LIP_MEMORY, "out of memory for local certificates");
  *c = (lip_local){.net = net, .conf = *conf};
  size_t box = conf->boxed ? net->root->n_in : 0;
  bool kept =
      copy(&c->eps, conf->eps, conf->n_eps) && copy(&c->from, conf->from, box) && copy(&c->to, conf->to, box);
  lip_status status = kept ? LIP_OK : lip_fail(err, LIP_MEMORY, "out of memory for local certificates");
  fenv_t saved;
  lip_ieee_enter(&saved);
  if (!status) status = lip_affine_init(&c->affine, net, err);
  if (!status) status = lip_relax_new(&c->affine, conf->p, &c->relax, err);
  if (!status) status = reserve(c, err);
  lip_ieee_leave(&saved);
  if (status) {
    lip_local_free(c);
    return status;
  }
  *out = c;
  return LIP_OK;
}

void lip_local_free(lip_local *c) {
  if (!c) return;
  for (size_t t = 0; c->ranges && t < c->threads; t++) lip_ranges_free(c->ranges[t]);
  lip_free(c->ranges);
  lip_free(c->low);
  lip_relax_free(c->relax);
  lip_affine_free(&c->affine);
  lip_free(c->eps);
  lip_free(c->from);
  lip_free(c->to);
  lip_free(c);
}

const char *lip_local_unknown(const lip_local *c) {
  if (c->affine.unknown) return c->affine.unknown;
  return c->relax ? NULL : "size";
}

/* ---- verdicts ---- */

/* Whether all margins are positive by now, low[j] the best bound so far. */
static bool all_positive(lip_ranges *g, size_t y, bool relaxed, size_t C, double *low, double *now) {
  bool all = true;
  lip_ranges_margins(g, y, relaxed, now);
  for (size_t j = 0; j < C; j++) {
    if (now[j] > low[j]) low[j] = now[j];
    if (j != y && !(low[j] > 0)) all = false;
  }
  return all;
}

static bool proves(const lip_local *c, size_t id, const float *x, size_t y, double eps) {
  const lip_local_conf *f = &c->conf;
  size_t C = c->affine.n_out;
  lip_ranges *g = c->ranges[id];
  double *low = c->low + 2 * id * C, *now = low + C;
  lip_region region = {x, f->p, eps, f->boxed, c->from, c->to, f->executed, c->net->engine.cancel};
  for (size_t j = 0; j < C; j++) low[j] = -INFINITY;
  lip_ranges_start(g, &region);
  if (all_positive(g, y, false, C, low, now) || all_positive(g, y, true, C, low, now)) return true;
  if (c->affine.n < 3) return false; /* its one hidden block has no tighter intervals */
  lip_ranges_tighten(g);
  return all_positive(g, y, true, C, low, now);
}

static void certify_row(const lip_local *c, size_t id, const float *x, lip_radius *r) {
  const lip_local_conf *f = &c->conf;
  if (r->label < 0 || !(r->margin > 0)) return;
  double refused = 0;
  for (size_t k = 0; k < f->n_eps && refused == 0; k++) {
    if (r->radius > 0 && c->eps[k] <= r->radius) continue;
    if (!(c->eps[k] > 0)) continue; /* a radius of 0 says nothing */
    if (proves(c, id, x, (size_t)r->label, c->eps[k]))
      r->radius = c->eps[k];
    else
      refused = c->eps[k];
  }
  for (size_t i = 0; i < f->halvings && refused > 0; i++) {
    double middle = 0.5 * (r->radius + refused);
    if (!(middle > r->radius && middle < refused)) break;
    if (proves(c, id, x, (size_t)r->label, middle))
      r->radius = middle;
    else
      refused = middle;
  }
}

typedef struct job {
  const lip_local *c;
  const float *x;
  size_t B;
  lip_radius *io;
  atomic_size_t next;
} job;

/* Rows are taken as threads become free; each row's result is its own, whoever takes it. */
static void certify_rows(void *arg, const lip_worker *me) {
  job *j = arg;
  fenv_t saved;
  lip_ieee_enter(&saved);
  for (size_t r; (r = atomic_fetch_add(&j->next, 1)) < j->B && !lip_cancel_raised(j->c->net->engine.cancel);)
    certify_row(j->c, me->id, j->x + r * j->c->affine.n_in, &j->io[r]);
  lip_ieee_leave(&saved);
}

lip_status lip_local_certify(lip_local *c, const float *x, size_t B, lip_radius *io, lip_err *err) {
  if (!c->relax) return LIP_OK;
  if (lip_pool_threads(c->net->engine.pool) > c->threads)
    return lip_fail(err, LIP_STATE, "certify: the number of threads has changed, make a new certifier");
  job j = {c, x, B, io, 0};
  lip_pool_run(c->net->engine.pool, false, certify_rows, &j);
  if (lip_cancel_raised(c->net->engine.cancel)) return lip_fail(err, LIP_CANCELLED, "certify: cancelled");
  return LIP_OK;
}

/* ---- constants ---- */

lip_status lip_local_bound(const char *method, const lip_ask *ask, const lip_region *region, lip_found *out,
                           lip_err *err) {
  *out = (lip_found){.upper = INFINITY};
  lip_relax *relax = NULL;
  lip_ranges *g = NULL;
  lip_affine narrow = {0};
  lip_ask near = *ask;
  fenv_t saved;
  lip_ieee_enter(&saved);
  lip_status status = lip_relax_new(ask->affine, region->p, &relax, err);
  if (!status && relax) status = lip_ranges_new(relax, &g, err);
  if (!status && g) {
    lip_ranges_start(g, region);
    lip_ranges_tighten(g);
    status = lip_ranges_affine(g, &narrow, err);
    near.affine = &narrow;
  }
  lip_ieee_leave(&saved);
  if (!status && lip_cancel_raised(region->cancel)) status = lip_fail(err, LIP_CANCELLED, "bound: cancelled");
  if (!status) status = lip_method_run(method, &near, out, err);
  if (!status && !g && !*out->reason) {
    if (lip_ask_has_form(ask, out->reason))
      lip_because(out->reason, "the ball was not looked at: the matrices have more than 2^25 numbers");
  }
  lip_affine_free(&narrow);
  lip_ranges_free(g);
  lip_relax_free(relax);
  return status;
}
