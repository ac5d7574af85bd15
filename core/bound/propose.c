#include "core/bound/propose.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/decimal.h"
#include "core/base/mem.h"
#include "core/bound/found.h"
#include "core/bound/hint.h"
#include "core/norm/round.h"

enum { SLACKS = 3 };
static const double slack[SLACKS] = {1e-6, 1e-5,
                                     1e-3}; /* when multipliers are too close to the limit to be proved */

bool lip_propose_takes(const lip_ask *ask, char *why) {
  bool p = ask->p == LIP_P2 || ask->p == LIP_PINF, q = ask->q == LIP_P2 || ask->q == LIP_PINF;
  if (!p || !q)
    return lip_because(why, "multipliers know the norms 2 and inf, not %s of the %s",
                       lip_p_name(p ? ask->q : ask->p), p ? "outputs" : "input");
  if (!lip_ask_has_form(ask, why)) return false;
  if (ask->affine->n < 2)
    return lip_because(why, "the net is a single matrix, whose norm is what the product says already");
  if (ask->affine->n > LIP_ELIM_BLOCKS)
    return lip_because(why, "the net has %zu matrices with slopes between them, and it takes %d at most",
                       ask->affine->n, LIP_ELIM_BLOCKS);
  if (!lip_lmi_fits(ask->affine))
    return lip_because(why, "the layers are too wide: its proof would have more than 2^25 numbers");
  return true;
}

bool lip_propose_stop(lip_proposer *p) {
  if (lip_cancel_raised(p->ask->net->engine.cancel) || !lip_watch_tell(p->ask->progress, true)) return true;
  p->cut = lip_seconds() > p->finish;
  return p->cut;
}

/* What the other closed form finds, where that is smaller. */
static double propose_forward(lip_proposer *p, double rho) {
  double other = lip_elim_forward(p->elim, p->room[0]), found;
  if (!(other < rho)) return rho;
  found = lip_elim_rho(p->elim, p->room[0], 1e-12, 0, NULL); /* nothing but rounding is between the two */
  if (!(found < rho)) return rho;
  memcpy(p->lambda, p->room[0], lip_elim_count(p->elim) * sizeof *p->lambda);
  return found;
}

/* Factors of the layers' multipliers that may do for the target, the likelier last: its norm times what follows them, or the
 * norm of its row, should that be all that follows. Returns how many. */
static size_t factors(const lip_proposer *p, double *factor) {
  const lip_block *b = &p->ask->affine->block[p->ask->affine->n - 1];
  const bool all = p->rows.i == LIP_NO_ROW, pair = p->rows.j != LIP_NO_ROW;
  factor[0] = (!all && pair ? 2 : 1) * p->tail * p->tail;
  double sum = 0;
  for (size_t k = 0; !all && k < b->N; k++) {
    double v = lip_block_weight(b, p->rows.i * b->N + k);
    if (pair) v -= lip_block_weight(b, p->rows.j * b->N + k);
    sum += v * v;
  }
  factor[1] = sum;
  return sum > 0 && sum < factor[0] ? 2 : 1;
}

/* What the layers come with, where that is smaller; with a little more room each time it has none. */
static double propose_hint(lip_proposer *p, double rho) {
  static const double room[] = {2e-6, 1e-4, 1e-2};
  double factor[2], *lambda = p->room[0], found = INFINITY;
  if (!p->hint) return rho;
  for (size_t k = factors(p, factor); k-- > 0 && !(found < INFINITY);)
    for (size_t i = 0; i < sizeof room / sizeof *room && !(found < INFINITY); i++) {
      for (size_t u = 0; u < lip_elim_count(p->elim); u++) lambda[u] = factor[k] * p->hint[u];
      lip_elim_slacken(p->elim, lambda, room[i]);
      found = lip_elim_rho(p->elim, lambda, 1e-12, 0, NULL);
    }
  if (!(found < rho)) return rho;
  memcpy(p->lambda, lambda, lip_elim_count(p->elim) * sizeof *lambda);
  return found;
}

double lip_propose_closed(lip_proposer *p) {
  if (p->d && !lip_elim_weigh(p->elim, NULL)) return INFINITY;
  double rho = lip_elim_closed(p->elim, LIP_ELIM_ROOM, p->lambda), top = 0;
  if (!p->d) return propose_hint(p, propose_forward(p, rho));
  if (!(rho < INFINITY)) return rho;
  size_t n_in = p->ask->affine->n_in;
  lip_elim_spread(p->elim, p->d);
  for (size_t k = 0; k < n_in; k++) top = fmax(top, p->d[k]);
  for (size_t k = 0; k < n_in; k++) p->d[k] = fmax(p->d[k], 1e-9 * top) / top;
  if (!(top > 0) || !lip_elim_weigh(p->elim, p->d)) return INFINITY;
  return lip_elim_rho(p->elim, p->lambda, 1e-12, 0, NULL);
}

/* All targets: pairs (i, j), i < j, row by row, then what the upper bound rests on. */
typedef struct job {
  const lip_ask *ask;
  lip_propose *propose;
  lip_proof *proof;
  size_t n, pairs; /* targets; the first of them are pairs */
  size_t C;        /* classes */
  double began, finish;
  _Atomic double longest; /* seconds of a target that could not be cut short */
  _Atomic double whole;   /* seconds of a target */
  atomic_bool useless;    /* one row alone is as large as what is known */
  atomic_size_t next;     /* target that nobody has taken */
  atomic_size_t cut;      /* targets whose search the clock has ended */
  atomic_int status;
} job;

static void proposer_free(lip_proposer *p) {
  lip_interior_free(p->interior);
  lip_elim_free(p->elim);
  lip_free(p->lambda);
  lip_free(p->d);
  lip_free(p->hint);
  for (int i = 0; i < LIP_ROOMS; i++) lip_free(p->room[i]);
}

static lip_status take_hint(lip_proposer *p, lip_err *err) {
  double *units = lip_alloc(lip_affine_units(p->ask->affine), sizeof *units);
  p->hint = lip_alloc(lip_elim_params(p->elim), sizeof *p->hint);
  const bool complete = units && p->hint;
  if (complete && lip_hint(p->ask->net, p->ask->affine, units, &p->tail)) {
    lip_elim_import(p->elim, units, p->hint);
  } else {
    lip_free(p->hint);
    p->hint = NULL;
  }
  lip_free(units);
  return complete ? LIP_OK : lip_fail(err, LIP_MEMORY, "out of memory for multipliers");
}

static lip_status proposer_init(lip_proposer *p, const lip_ask *ask, bool interior, lip_err *err) {
  bool weighted = ask->p == LIP_PINF;
  *p = (lip_proposer){.ask = ask, .finish = INFINITY};
  lip_status status = lip_elim_new(ask->affine, weighted, &p->elim, err);
  if (!status) lip_elim_watch(p->elim, ask->net->engine.cancel);
  if (!status && interior && lip_interior_pays(p->elim))
    status = lip_interior_new(p->elim, &p->interior, err);
  if (status) return status;
  size_t n = lip_elim_params(p->elim), n_in = ask->affine->n_in;
  bool complete = (p->lambda = lip_alloc(n, sizeof(double))) != NULL;
  if (weighted) complete &= (p->d = lip_alloc(n_in, sizeof(double))) != NULL;
  for (int i = 0; i < LIP_ROOMS; i++) complete &= (p->room[i] = lip_alloc(n + n_in, sizeof(double))) != NULL;
  if (!complete) return lip_fail(err, LIP_MEMORY, "out of memory for multipliers");
  return weighted ? LIP_OK : take_hint(p, err);
}

/* Rows that do not differ need no proof. */
static bool no_rows(const lip_affine *a, lip_rows r) {
  const lip_block *b = &a->block[a->n - 1];
  if (r.i == LIP_NO_ROW) return false;
  for (size_t k = 0; k < b->N; k++)
    if (lip_block_weight(b, r.i * b->N + k) != (r.j == LIP_NO_ROW ? 0 : lip_block_weight(b, r.j * b->N + k)))
      return false;
  return true;
}

/* The proposal proved, with more room for rounding if need be; m->rho stays INFINITY when that is of no use. */
static lip_status prove(lip_proposer *p, lip_lmi *lmi, lip_multipliers *m, double rho, lip_err *err) {
  if (p->d) memcpy(m->d, p->d, p->ask->affine->n_in * sizeof *m->d);
  for (int i = 0; rho < INFINITY; i++) {
    lip_elim_export(p->elim, p->lambda, m->lambda);
    m->rho = fmax(rho, 0x1p-900);
    lip_status status = lip_lmi_prove(lmi, m, err);
    if (status || m->rho < INFINITY || i == SLACKS) return status;
    lip_elim_slacken(p->elim, p->lambda, slack[i]);
    rho = lip_elim_rho(p->elim, p->lambda, 1e-12, 0, NULL);
  }
  return LIP_OK;
}

/* Multipliers from a search may be too far apart for the proof: those in closed form are tried then. */
static lip_status run_target(const job *t, lip_proposer *p, lip_lmi *lmi, lip_multipliers *m, double *began,
                             lip_err *err) {
  if (no_rows(t->ask->affine, m->rows)) {
    m->rho = 0;
    return LIP_OK;
  }
  if (p->d && !(m->d = lip_alloc(t->ask->affine->n_in, sizeof *m->d)))
    return lip_fail(err, LIP_MEMORY, "out of memory for weights");
  lip_elim_target(p->elim, m->rows);
  p->rows = m->rows;
  double rho = t->propose(p);
  if (t->propose != lip_propose_closed) *began = lip_seconds();
  lip_status status = prove(p, lmi, m, rho, err);
  if (status || m->rho < INFINITY || t->propose == lip_propose_closed) return status;
  lip_elim_target(p->elim, m->rows);
  return prove(p, lmi, m, lip_propose_closed(p), err);
}

/* Time for a target: an equal part of what is left for it and those behind it, less what cannot be cut short. */
static double share_of_time(const job *t, size_t at) {
  double now = lip_seconds();
  double threads = (double)lip_pool_threads(t->ask->net->engine.pool);
  return now + (t->finish - now) * fmin(1, threads / (double)(t->n - at)) - atomic_load(&t->longest);
}

/* Whether no further target fits into the time that is left. */
static bool too_late(job *t) {
  return lip_seconds() + atomic_load(&t->longest) > t->finish;
}

static bool is_over(job *t) {
  return too_late(t) || atomic_load(&t->useless);
}

/* The proof runs to its end, the search before it only where it does not look at the clock; a race costs nothing. */
static void note_time(_Atomic double *longest, double took) {
  if (took > atomic_load(longest)) atomic_store(longest, took);
}

/* sqrt(rho sum d), rounded up; 0 needs no multipliers. */
static double constant_of(const job *t, const lip_multipliers *m) {
  if (m->rho == 0) return 0;
  if (!(m->rho < INFINITY)) return INFINITY;
  double sum = m->d ? 0 : 1;
  for (size_t k = 0; m->d && k < t->ask->affine->n_in; k++) sum = lip_up(sum + m->d[k]);
  return lip_sqrt_up(lip_mul_up(m->rho, sum));
}

static lip_status run_targets(job *t, lip_proposer *p, lip_lmi *lmi, lip_err *err) {
  while (!lip_watch_waits(t->ask->progress)) {
    size_t k = atomic_fetch_add(&t->next, 1);
    if (lip_cancel_raised(t->ask->net->engine.cancel))
      return lip_fail(err, LIP_CANCELLED, "bound: cancelled");
    if (k >= t->n || atomic_load(&t->status) || is_over(t)) return LIP_OK;
    p->finish = share_of_time(t, k);
    p->cut = false;
    double began = lip_seconds(), start = began;
    lip_status status = run_target(t, p, lmi, &t->proof->item[k], &began, err);
    if (status) return status;
    note_time(&t->longest, lip_seconds() - began);
    note_time(&t->whole, lip_seconds() - start);
    if (p->cut) atomic_fetch_add(&t->cut, 1);
    double alone = constant_of(t, &t->proof->item[k]);
    if (t->ask->known > 0 && alone >= t->ask->known && alone < INFINITY) atomic_store(&t->useless, true);
    lip_watch_add(t->ask->progress, 1);
  }
  return LIP_OK;
}

static void share(void *arg, const lip_worker *me) {
  job *t = arg;
  lip_proposer p;
  lip_lmi *lmi = NULL;
  lip_err err;
  (void)me;
  lip_status status = proposer_init(&p, t->ask, t->propose != lip_propose_closed, &err);
  if (!status) status = lip_lmi_new(t->ask->affine, &lmi, &err);
  if (!status) status = run_targets(t, &p, lmi, &err);
  if (status) atomic_store(&t->status, (int)status);
  lip_lmi_free(lmi);
  proposer_free(&p);
}

static void fill(const job *t, lip_found *out) {
  for (size_t k = 0; k < t->pairs; k++) {
    const lip_multipliers *m = &t->proof->item[k];
    out->pair[m->rows.i * t->C + m->rows.j] = out->pair[m->rows.j * t->C + m->rows.i] = constant_of(t, m);
  }
  double top = 0;
  for (size_t k = t->pairs; k < t->n; k++) top = fmax(top, constant_of(t, &t->proof->item[k]));
  out->upper = top;
}

static bool all_finite(const lip_affine *a) {
  for (size_t l = 0; l < a->n; l++)
    for (size_t i = 0; i < a->block[l].M * a->block[l].N; i++)
      if (!isfinite(lip_block_weight(&a->block[l], i))) return false;
  return true;
}

static void name_targets(job *t) {
  lip_multipliers *m = t->proof->item;
  for (size_t i = 0; t->pairs && i < t->C; i++)
    for (size_t j = i + 1; j < t->C; j++)
      if (lip_ask_wants(t->ask, i, j)) (m++)->rows = (lip_rows){i, j};
  for (size_t i = 0; m < t->proof->item + t->n; i++)
    (m++)->rows = (lip_rows){t->ask->q == LIP_P2 ? LIP_NO_ROW : i, LIP_NO_ROW};
}

/* One region after the other: where somebody is to be told how far this is, they end for that. */
static void run_regions(job *t) {
  const lip_ask *ask = t->ask;
  do {
    fenv_t saved;
    lip_ieee_enter(&saved);
    lip_pool_run(ask->net->engine.pool, false, share, t);
    lip_ieee_leave(&saved);
    if (!lip_watch_tell(ask->progress, false)) atomic_store(&t->status, (int)LIP_CANCELLED);
  } while (atomic_load(&t->next) < t->n && !atomic_load(&t->status) && !is_over(t));
}

/* Which constants are missing, and why; or that others would come out of more time. */
static void explain(job *t, char *why) {
  size_t proved = 0, cut = atomic_load(&t->cut);
  for (size_t k = 0; k < t->n; k++) proved += t->proof->item[k].rho < INFINITY;
  if (proved == t->n && cut > 0)
    lip_because(why,
                "all are proved, but the search for %zu of %zu pairs and rows ended early, within %.3g s "
                "(option seconds)",
                cut, t->n, t->ask->seconds);
  if (proved == t->n) return;
  if (atomic_load(&t->useless))
    lip_because(why, "cannot be below %.9g, which is known: one output alone is not",
                lip_digits_down(t->ask->known, 9));
  else if (too_late(t))
    lip_because(
        why,
        "out of time: %zu of %zu pairs and rows done within %.3g s (option seconds), product for the rest",
        proved, t->n, t->ask->seconds);
  else
    lip_because(why, "no multipliers could be proved for %zu of %zu pairs and rows", t->n - proved, t->n);
}

/* What is missing, for want of time or of a proof, is at least the product; all of it then is nothing else. */
static lip_status take_product(const job *t, lip_found *out, lip_err *err) {
  size_t proved = 0;
  for (size_t k = 0; k < t->n; k++) proved += t->proof->item[k].rho < INFINITY;
  if (proved == t->n) return LIP_OK;
  if (proved == 0) {
    lip_proof_free(out->proof);
    out->proof = NULL;
    out->method = lip_method_product.name;
  }
  return lip_found_product(t->ask, true, out, err);
}

static size_t count_pairs(const lip_ask *ask) {
  size_t C = ask->affine->n_out, n = 0;
  for (size_t i = 0; ask->pairs && i < C; i++)
    for (size_t j = 0; j < i; j++) n += lip_ask_wants(ask, i, j);
  return n;
}

lip_status lip_propose_all(const lip_ask *ask, lip_propose *propose, lip_found *out, lip_err *err) {
  size_t C = ask->affine->n_out, pairs = count_pairs(ask);
  job t = {.ask = ask, .propose = propose, .pairs = pairs, .C = C, .n = pairs + (ask->q == LIP_P2 ? 1 : C)};
  if (!all_finite(ask->affine)) {
    lip_because(out->reason, "a weight is not finite");
    return LIP_OK;
  }
  t.began = lip_seconds();
  t.finish = t.began + ask->seconds;
  atomic_store(&t.longest, ask->longest);
  lip_status status = lip_proof_new(t.n, lip_affine_units(ask->affine), &t.proof, err);
  if (status) return status;
  name_targets(&t);
  lip_watch_begin(ask->progress, out->method, t.n);
  run_regions(&t);
  status = (lip_status)atomic_load(&t.status);
  if (status) {
    lip_proof_free(t.proof);
    return lip_fail(err, status,
                    status == LIP_CANCELLED ? "bound: cancelled" : "out of memory for multipliers");
  }
  fill(&t, out);
  explain(&t, out->reason);
  out->longest = atomic_load(&t.whole);
  out->proof = t.proof;
  return atomic_load(&t.useless) ? LIP_OK : take_product(&t, out, err);
}
