/* Verdicts and constants for balls around inputs.
 *
 * A verdict asks for a lower bound of every difference z_y - z_j over the ball that is strictly positive, z as executed
 * in float32 (relax.c): then every float32 input of the ball is given the label y. Tried in order of cost: interval
 * arithmetic, relaxation with intervals from interval arithmetic (CROWN-IBP of Zhang et al. 2020), relaxation with
 * intervals that are themselves relaxed (Zhang et al. 2018), and for what that nearly proves a search for a contradiction in
 * the corner of the ball where it could fail (refute.c). Each pair needs one of them only.
 *
 * A net without the form that relaxation takes is looked at by interval arithmetic alone (interval.c).
 *
 * A property of the outputs in place of the label: every clause needs so many of its rows to be positive all over the
 * ball (property.h), and each row is a linear function like a margin. Clauses that hold here by one row and there by
 * another are left to sums of rows (mix.c).
 *
 * A constant of the ball: for two inputs in it every unit before phi stays in its interval, so the slope of phi between
 * the two lies in the slopes of that interval, and whatever a method proves for all slopes in [low, high] holds with the
 * narrower ones (Hein, Andriushchenko 2017; Weng et al. 2018, "Fast-Lip"). A pair whose order is known has slope 1 or
 * -1 in its difference. Nothing but these slopes changes, so methods need not know. */
#include "core/cert/local.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/affine/rounding.h"
#include "core/base/mem.h"
#include "core/bound/found.h"
#include "core/cert/interval.h"
#include "core/cert/mix.h"
#include "core/cert/refute.h"
#include "core/norm/round.h"

struct lip_local {
  lip_net *net;
  lip_local_conf conf;
  double *eps, *from, *to, *scale; /* copies of those in conf */
  double largest;                  /* scale; 1 without one */
  lip_affine affine;
  lip_relax *relax;    /* NULL: then intervals alone prove something */
  lip_boxes *boxes;    /* NULL: there is a relaxation, or nothing can be proved */
  const char *unknown; /* why not */
  size_t threads;
  lip_ranges **ranges;   /* (threads) */
  lip_property property; /* conf.property, or that the label stays */
  double *low;           /* (threads, 2, property.m) */
  double *mix;           /* (threads, lip_mix_work) */
  double *room;          /* (threads, lip_boxes_room) of intervals alone */
};

static lip_status reserve(lip_local *c, lip_err *err) {
  size_t rows, mix;
  c->property = (lip_property){.asked = LIP_ASK_LABEL, .C = c->affine.n_out, .m = c->affine.n_out};
  if (c->conf.property) c->property = *c->conf.property; /* its arrays stay where they are */
  c->threads = lip_pool_threads(c->net->engine.pool);
  c->ranges = lip_alloc(c->threads, sizeof *c->ranges);
  if (lip_mul_fits(2 * c->threads, c->property.m, &rows)) c->low = lip_alloc(rows, sizeof *c->low);
  if (lip_mul_fits(c->threads, lip_mix_work(c->property.C), &mix)) c->mix = lip_alloc(mix, sizeof *c->mix);
  if (c->boxes) c->room = lip_alloc(c->threads * lip_boxes_room(c->boxes), sizeof *c->room);
  if (c->ranges) memset(c->ranges, 0, c->threads * sizeof *c->ranges);
  if (!c->ranges || !c->low || !c->mix || (c->boxes && !c->room))
    return lip_fail(err, LIP_MEMORY, "out of memory for local certificates");
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
  size_t n = net->root->n_in, box = conf->boxed ? n : 0;
  bool kept = copy(&c->eps, conf->eps, conf->n_eps) && copy(&c->from, conf->from, box) &&
              copy(&c->to, conf->to, box) && (!conf->scale || copy(&c->scale, conf->scale, n));
  c->largest = c->scale ? 0 : 1;
  for (size_t k = 0; c->scale && k < n; k++)
    if (!(c->scale[k] <= c->largest)) c->largest = c->scale[k]; /* NaN stays */
  lip_status status = kept ? LIP_OK : lip_fail(err, LIP_MEMORY, "out of memory for local certificates");
  fenv_t saved;
  lip_ieee_enter(&saved);
  /* of a label the logits of lip_affine_classes, of other properties the outputs as they are */
  const bool rows = conf->property && conf->property->asked == LIP_ASK_ROWS;
  if (!status)
    status = rows ? lip_affine_init(&c->affine, net, err) : lip_affine_classes(&c->affine, net, err);
  if (!status) status = lip_relax_new(&c->affine, conf->p, &c->relax, err);
  if (!status && !c->relax) status = lip_boxes_new(net, &c->boxes, &c->unknown, err);
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
  lip_free(c->mix);
  lip_free(c->room);
  lip_boxes_free(c->boxes);
  lip_relax_free(c->relax);
  lip_affine_free(&c->affine);
  lip_free(c->eps);
  lip_free(c->from);
  lip_free(c->to);
  lip_free(c->scale);
  lip_free(c);
}

const char *lip_local_unknown(const lip_local *c) {
  if (c->affine.unknown) return c->affine.unknown;
  return c->relax ? NULL : "size";
}

bool lip_local_boxes(const lip_local *c) {
  return c->boxes != NULL;
}

/* ---- verdicts ---- */

/* Bounds of all rows by one of the ways to get them, into low where they are better. */
static void raise_rows(const lip_local *c, lip_ranges *g, size_t y, bool relaxed, double *low, double *now) {
  const lip_property *p = &c->property;
  if (p->asked == LIP_ASK_ROWS)
    lip_ranges_rows(g, lip_ranges_last(g), p->weight, p->constant, p->m, relaxed, now);
  else
    lip_ranges_margins(g, y, relaxed, now);
  for (size_t j = 0; j < p->m; j++)
    if (now[j] > low[j]) low[j] = now[j];
}

static lip_region region_of(const lip_local *c, const float *x, double eps) {
  const lip_local_conf *f = &c->conf;
  return (lip_region){x, f->p, eps, f->boxed, c->from, c->to, f->executed, c->net->engine.cancel, c->scale};
}

static void begin(const lip_local *c, lip_ranges *g, const float *x, double eps, double *low) {
  const lip_region region = region_of(c, x, eps);
  for (size_t j = 0; j < c->property.m; j++) low[j] = -INFINITY;
  lip_ranges_start(g, &region);
}

/* Its one hidden block has no tighter intervals. */
static bool is_shallow(const lip_local *c) {
  return c->affine.n < 3;
}

/* w . z + d with every z_k in its interval, rounded down. */
static double row_of_box(const double *w, double d, const double *from, const double *to, size_t C) {
  double sum = d, size = fabs(d);
  for (size_t k = 0; k < C; k++) {
    const double t = w[k] == 0 ? 0 : w[k] * (w[k] > 0 ? from[k] : to[k]);
    sum += t;
    size += fabs(t);
  }
  sum = lip_step_down(sum - (2 * lip_gamma(C + 8) * size + 0x1p-900));
  return isfinite(sum) ? sum : -INFINITY;
}

/* All rows from intervals of the outputs. */
static void rows_of_box(const lip_local *c, size_t id, const float *x, size_t y, double eps, double *low) {
  const lip_property *p = &c->property;
  const lip_region region = region_of(c, x, eps);
  const double *from, *to;
  for (size_t j = 0; j < p->m; j++) low[j] = -INFINITY;
  if (!c->boxes || !lip_boxes_run(c->boxes, &region, c->room + id * lip_boxes_room(c->boxes), &from, &to))
    return;
  const double low_single[] = {0, *from}, high_single[] = {0, *to}; /* one output as the logits 0 and f */
  if (p->asked != LIP_ASK_ROWS && c->net->root->n_out == 1) from = low_single, to = high_single;
  for (size_t j = 0; j < p->m; j++)
    if (p->asked == LIP_ASK_ROWS)
      low[j] = row_of_box(p->weight + j * p->C, p->constant ? p->constant[j] : 0, from, to, p->C);
    else
      low[j] = j == y ? 0 : lip_step_down(from[y] - to[j]);
}

static bool proves(const lip_local *c, size_t id, const float *x, size_t y, double eps) {
  const lip_property *p = &c->property;
  lip_ranges *g = c->ranges[id];
  double *low = c->low + 2 * id * p->m, *now = low + p->m;
  if (!g) {
    rows_of_box(c, id, x, y, eps, low);
    return lip_property_proved(p, y, low);
  }
  begin(c, g, x, eps, low);
  for (int relaxed = 0; relaxed < 2; relaxed++) {
    raise_rows(c, g, y, relaxed, low, now);
    if (lip_property_proved(p, y, low)) return true;
  }
  if (!is_shallow(c)) {
    lip_ranges_tighten(g);
    raise_rows(c, g, y, true, low, now);
    if (lip_property_proved(p, y, low)) return true;
  }
  double *work = c->mix + id * lip_mix_work(p->C);
  return lip_mix_proves(g, p, y, low, work) || lip_refute_proves(g, p, y, low, now, work);
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

/* The best bounds of all rows; low is -INFINITY so far. */
static void bound_row(const lip_local *c, size_t id, const float *x, int32_t y, double *low) {
  lip_ranges *g = c->ranges[id];
  double *now = c->low + 2 * id * c->property.m;
  if (y < 0) return;
  if (!g) {
    rows_of_box(c, id, x, (size_t)y, c->eps[0], low);
    return;
  }
  begin(c, g, x, c->eps[0], low);
  raise_rows(c, g, (size_t)y, true, low, now);
  if (is_shallow(c)) return;
  lip_ranges_tighten(g);
  raise_rows(c, g, (size_t)y, true, low, now);
}

typedef struct job {
  const lip_local *c;
  const float *x;
  size_t B;
  lip_radius *io;
  const lip_radius *label; /* or: bounds of rows go to */
  double *low;
  atomic_size_t next;
} job;

/* Rows are taken as threads become free; each row's result is its own, whoever takes it. */
static void certify_rows(void *arg, const lip_worker *me) {
  job *j = arg;
  size_t n = j->c->affine.n_in, m = j->c->property.m;
  fenv_t saved;
  lip_ieee_enter(&saved);
  for (size_t r;
       (r = atomic_fetch_add(&j->next, 1)) < j->B && !lip_cancel_raised(j->c->net->engine.cancel);) {
    if (j->low)
      bound_row(j->c, me->id, j->x + r * n, j->label[r].label, j->low + r * m);
    else
      certify_row(j->c, me->id, j->x + r * n, &j->io[r]);
  }
  lip_ieee_leave(&saved);
}

static lip_status run(lip_local *c, job *j, lip_err *err) {
  if (!c->relax && !c->boxes) return LIP_OK;
  if (lip_pool_threads(c->net->engine.pool) > c->threads)
    return lip_fail(err, LIP_STATE, "certify: the number of threads has changed, make a new certifier");
  lip_pool_run(c->net->engine.pool, false, certify_rows, j);
  if (lip_cancel_raised(c->net->engine.cancel)) return lip_fail(err, LIP_CANCELLED, "certify: cancelled");
  return LIP_OK;
}

lip_status lip_local_certify(lip_local *c, const float *x, size_t B, lip_radius *io, lip_err *err) {
  /* ||x' - x||_p <= the largest scale times ||(x' - x) / scale||_p */
  for (size_t i = 0; c->scale && i < B; i++)
    io[i].radius = io[i].radius > 0 && c->largest >= 0 ? lip_below_div(io[i].radius, c->largest) : 0;
  return run(c, &(job){.c = c, .x = x, .B = B, .io = io}, err);
}

lip_status lip_local_rows(lip_local *c, const float *x, size_t B, const lip_radius *io, double *low,
                          lip_err *err) {
  for (size_t i = 0; i < B * c->property.m; i++) low[i] = -INFINITY;
  return run(c, &(job){.c = c, .x = x, .B = B, .label = io, .low = low}, err);
}

void lip_local_begin(const lip_property *p, const float *z, size_t B, const int32_t *labels, lip_radius *io) {
  for (size_t i = 0; i < B; i++) {
    int32_t y = labels ? labels[i] : lip_outputs_answer(z + i * p->C, p->C);
    if (p->asked == LIP_ASK_ROWS) y = 0;
    io[i] = (lip_radius){.label = y, .margin = NAN};
    if (y < 0) continue;
    lip_state state = lip_property_state(p, (size_t)y, z + i * p->C);
    double value = lip_property_value(p, (size_t)y, z + i * p->C);
    if ((state == LIP_HOLDS) != (value > 0)) value = 0; /* the double next to 0 does not tell */
    io[i].margin = value;
  }
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
      lip_because(out->reason,
                  "the ball was not looked at: the matrices have more than 2^25 numbers that are not 0");
  }
  lip_affine_free(&narrow);
  lip_ranges_free(g);
  lip_relax_free(relax);
  return status;
}
