/* The cases of a question one after the other, and what counts as a counterexample.
 *
 * Bounds with LIP_EXECUTED_FLOAT32 hold for whatever errors of at most off_k each unit makes (relax.c), so for none at all:
 * what they prove of the executed net they prove of exact arithmetic, too.
 *
 * A counterexample must break the property twice: its executed outputs do, decided exactly (net/property.h), and so do those
 * of exact arithmetic (decide_exact.c). */
#include "core/cert/decide.h"

#include <math.h>
#include <string.h>

#include "core/attack/attack.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/number.h"
#include "core/cert/decide_parts.h"
#include "core/norm/round.h"

const char *const lip_verdict_names[] = {"unknown", "verified", "violated", NULL};
const char *const lip_split_names[] = {"best", "input", "unit", NULL};

enum { FEW_INPUTS = 20 }; /* boxes are halved */
enum {
  ATTACKS = 8,
  STARTS = 2
}; /* runs of the attack side by side, from the middle and from points at random */

/* ---- attacks ---- */

/* Where an attack starts, how far it may go, and what of the box. scale (3 n) is room for what it needs. */
static void set_attack(const lip_search *s, lip_attack_conf *conf, float *x, double *scale) {
  const size_t n = s->n_in;
  const lip_case *c = &s->part;
  for (size_t k = 0; k < n; k++) {
    const double low = c->least[k], high = c->most[k], m = c->ball ? (double)c->ball->x[k] : 0.5 * low + 0.5 * high;
    x[k] = lip_search_clamp(s, k, m);
    scale[k] = fmax(high - x[k], x[k] - low);
    scale[n + k] = low;
    scale[2 * n + k] = high;
  }
  for (size_t i = 1; i < ATTACKS; i++) memcpy(x + i * n, x, n * sizeof *x);
  conf->p = s->question->p;
  conf->eps = c->ball ? c->ball->eps : 1;
  conf->scale = c->ball ? c->ball->scale : scale;
  conf->boxed = true;
  conf->low = scale + n;
  conf->high = scale + 2 * n;
}

/* The middle of the case, and what an attack makes of it. LIP_CANCELLED is left to lip_search_over. */
static lip_status attack(lip_search *s, lip_err *err) {
  const size_t n = s->n_in;
  const lip_case *c = &s->part;
  for (size_t k = 0; k < n; k++)
    if (!(c->least[k] <= c->most[k])) return LIP_OK;
  float *x = lip_alloc(2 * ATTACKS * n, sizeof *x), *found = x ? x + ATTACKS * n : NULL;
  double *scale = lip_alloc(3 * n, sizeof *scale);
  lip_attack *a = NULL;
  lip_attacked out[ATTACKS];
  lip_attack_conf conf = {.kind = lip_attack_kind_find("apgd"), .restarts = STARTS, .seed = s->conf->seed, .property = c->property};
  lip_status status = x && scale ? LIP_OK : lip_fail(err, LIP_MEMORY, "decide: out of memory for an attack");
  if (!status) set_attack(s, &conf, x, scale);
  if (!status) status = lip_net_reserve(s->net, ATTACKS, err);
  bool over = !status && lip_search_try(s, x, 1);
  if (!status && !over) status = lip_attack_new(s->net, &conf, ATTACKS, &a, err);
  if (!status && !over) status = lip_attack_run(a, x, NULL, 0, ATTACKS, found, out, err);
  if (!status && !over) lip_search_try(s, found, ATTACKS);
  if (status == LIP_CANCELLED) status = LIP_OK;
  lip_attack_free(a);
  lip_free(x);
  lip_free(scale);
  return status;
}

/* ---- cases ---- */

static bool is_empty(const lip_case *c, size_t n) {
  for (size_t k = 0; k < n; k++)
    if (c->from[k] > c->to[k]) return true;
  return false;
}

/* Makes case i the one that is looked at. */
static lip_status open_case(lip_search *s, size_t i, lip_err *err) {
  lip_status status = s->question->at(s->question->arg, i, &s->part, err);
  if (status) return status;
  if (s->part.property->asked != LIP_ASK_ROWS || s->part.property->C != s->n_out)
    return lip_fail(err, LIP_OPTION, "decide: rows of %zu outputs are asked about, the net has %zu",
                    s->part.property->C, s->n_out);
  s->number = i;
  s->progress.open = s->progress.closed = 0;
  s->progress.done = 0;
  return LIP_OK;
}

/* Whether there is nothing in the case, or relaxation over all of it proves the property. */
static lip_status look_briefly(lip_search *s, bool *proved, lip_err *err) {
  const lip_property *p = s->part.property;
  *proved = is_empty(&s->part, s->n_in);
  if (*proved || !s->relax) return LIP_OK;
  double *low = lip_alloc(p->m, sizeof *low);
  if (!low) return lip_fail(err, LIP_MEMORY, "decide: out of memory");
  lip_ranges *g = s->ranges[0];
  const lip_region region = lip_search_region(s);
  fenv_t saved;
  lip_ieee_enter(&saved);
  lip_ranges_start(g, &region);
  if (s->affine.n > 2) lip_ranges_tighten(g);
  lip_ranges_rows(g, lip_ranges_last(g), p->weight, p->constant, p->m, true, low);
  *proved = lip_property_proved(p, 0, low);
  lip_ieee_leave(&saved);
  lip_free(low);
  return LIP_OK;
}

/* The cases in three rounds: what is plain, attacks on the rest, and branching. `proved` (n). */
enum { BRIEF, ATTACK, BRANCH };

static lip_status look_at_case(lip_search *s, int round, size_t i, bool *proved, lip_err *err) {
  lip_decision *d = s->out;
  lip_status status = open_case(s, i, err);
  d->verdict = LIP_UNKNOWN;
  if (status) return status;
  if (round == BRIEF) return look_briefly(s, proved, err);
  if (round == ATTACK) return attack(s, err);
  if (!s->relax) {
    d->least = -INFINITY;
    if (!*d->why)
      lip_snprintf(d->why, sizeof d->why, "%s%s",
                   s->affine.unknown ? "there are no bounds for layers of kind " : "the net is too large",
                   s->affine.unknown ? s->affine.unknown : "");
    return LIP_OK;
  }
  const bool input = s->conf->split == LIP_SPLIT_INPUT, boxes = s->question->p == LIP_PINF;
  if (input && !boxes)
    return lip_fail(err, LIP_OPTION, "decide: inputs of a ball of norm %s cannot be halved, split units",
                    lip_p_name(s->question->p));
  const bool few = boxes && (input || (s->conf->split == LIP_SPLIT_BEST && s->n_in <= FEW_INPUTS));
  status = few ? lip_decide_input(s, err) : lip_decide_unit(s, err);
  d->leaves += s->progress.closed;
  *proved = d->verdict == LIP_VERIFIED;
  return status;
}

/* The verdict about all cases, in s->out. */
static lip_status look_at_all(lip_search *s, bool *proved, lip_err *err) {
  const size_t n = s->question->n;
  lip_decision *d = s->out;
  size_t left = 0;
  for (size_t i = 0; i < n; i++) proved[i] = false;
  for (int round = BRIEF; round <= BRANCH; round++) {
    if (round == ATTACK && !s->conf->attack) continue;
    for (size_t i = 0; i < n && !lip_search_over(s); i++) {
      if (proved[i]) continue;
      lip_status status = look_at_case(s, round, i, &proved[i], err);
      if (status || d->verdict == LIP_VIOLATED) return status;
      d->leaves += round == BRIEF && proved[i];
    }
  }
  d->verdict = LIP_VERIFIED;
  for (size_t i = n; i-- > 0;)
    if (!proved[i]) d->case_number = i, left++;
  if (left == 0) return LIP_OK;
  d->verdict = LIP_UNKNOWN;
  if (!*d->why)
    lip_snprintf(d->why, sizeof d->why, "%s", lip_search_over(s) ? lip_search_over(s) : "not decided");
  if (left > 1 || !(d->least < INFINITY))
    d->least = -INFINITY; /* nothing is known of cases that nobody came to */
  return LIP_OK;
}

static lip_status open_search(lip_search *s, lip_err *err) {
  s->threads = lip_pool_threads(s->net->engine.pool);
  lip_status status = lip_affine_init(&s->affine, s->net, err);
  if (!status) status = lip_relax_new(&s->affine, s->question->p, &s->relax, err);
  s->work = status ? NULL : lip_alloc(s->n_in, sizeof *s->work);
  if (!status && !s->work) status = lip_fail(err, LIP_MEMORY, "decide: out of memory");
  s->ranges = status ? NULL : lip_alloc(s->threads, sizeof *s->ranges);
  if (!status && !s->ranges) status = lip_fail(err, LIP_MEMORY, "decide: out of memory");
  for (size_t i = 0; s->ranges && i < s->threads; i++) s->ranges[i] = NULL;
  for (size_t i = 0; !status && s->relax && i < s->threads; i++)
    status = lip_ranges_new(s->relax, &s->ranges[i], err);
  return status;
}

static void close_search(lip_search *s) {
  for (size_t i = 0; s->ranges && i < s->threads; i++) lip_ranges_free(s->ranges[i]);
  lip_free(s->ranges);
  lip_free(s->work);
  lip_relax_free(s->relax);
  lip_affine_free(&s->affine);
}

lip_status lip_decide(lip_net *net, const lip_question *q, const lip_decide_conf *conf, lip_decision *out,
                      lip_err *err) {
  *out = (lip_decision){.verdict = LIP_UNKNOWN, .least = INFINITY};
  lip_net_touch(net);
  lip_search s = {.net = net, .question = q, .conf = conf, .out = out, .begun = lip_seconds()};
  s.n_in = net->root->n_in;
  s.n_out = net->root->n_out;
  lip_watch_begin(conf->watch, "attack", 0);
  fenv_t saved;
  lip_ieee_enter(&saved);
  lip_status status = open_search(&s, err);
  lip_ieee_leave(&saved);
  bool *proved = status ? NULL : lip_alloc(q->n, sizeof *proved);
  if (!status && !proved) status = lip_fail(err, LIP_MEMORY, "decide: out of memory for %zu cases", q->n);
  if (!status) status = look_at_all(&s, proved, err);
  if (status) out->verdict = LIP_UNKNOWN;
  lip_free(proved);
  if (out->verdict != LIP_UNKNOWN) out->why[0] = '\0';
  out->nodes = s.progress.nodes;
  out->deepest = s.progress.deepest;
  out->seconds = lip_seconds() - s.begun;
  close_search(&s);
  return status;
}

void lip_decision_free(lip_decision *d) {
  lip_free(d->x);
  lip_free(d->z);
  *d = (lip_decision){0};
}
