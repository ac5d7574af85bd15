/* What all ways to branch share: limits, and what counts as a counterexample. */
#include <math.h>
#include <string.h>

#include "core/attack/ball.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/number.h"
#include "core/cert/decide_parts.h"
#include "core/norm/round.h"

static const char doubtful[] =
    "the executed net breaks it at a point where exact arithmetic of its weights does not, or nearly so";

/* ---- limits ---- */

const char *lip_search_over(const lip_search *s) {
  if (lip_cancel_raised(s->net->engine.cancel)) return "interrupted";
  if (s->conf->seconds > 0 && lip_seconds() - s->begun > s->conf->seconds) return "out of time";
  if (s->conf->nodes > 0 && s->progress.nodes >= s->conf->nodes) return "out of nodes";
  return NULL;
}

bool lip_search_tell(lip_search *s, double least) {
  lip_decide_state *p = &s->progress;
  lip_watch *w = s->conf->watch;
  lip_snprintf(p->line, sizeof p->line, "%zu nodes, %zu open, depth %zu, %.1f %% proved, least bound %.3g",
               p->nodes, p->open, p->deepest, 100 * p->done, least);
  if (w) w->method = p->line;
  lip_watch_add(w, p->nodes - atomic_load(&w->done));
  return lip_watch_tell(w, false);
}

/* ---- counterexamples ---- */

float lip_search_clamp(const lip_search *s, size_t k, double v) {
  const float least = s->part.least[k], most = s->part.most[k], f = (float)v;
  return f < least ? least : f > most ? most : f; /* NaN stays */
}

static bool is_inside(const lip_search *s, const float *x) {
  const lip_case *c = &s->part;
  for (size_t k = 0; k < s->n_in; k++)
    if (!(x[k] >= c->least[k] && x[k] <= c->most[k])) return false;
  if (!c->ball) return true;
  const lip_ball ball = {.p = c->ball->p, .eps = c->ball->eps, .scale = c->ball->scale};
  return lip_ball_distance(&ball, x, c->ball->x, s->n_in, s->work) <= c->ball->eps; /* rounded up */
}

static void keep(lip_search *s, const float *x, const float *z) {
  lip_decision *d = s->out;
  if (!d->x) {
    d->x = lip_alloc(s->n_in, sizeof *d->x);
    d->z = lip_alloc(s->n_out, sizeof *d->z);
  }
  if (!d->x || !d->z) return; /* then the verdict stands alone */
  memcpy(d->x, x, s->n_in * sizeof *x);
  memcpy(d->z, z, s->n_out * sizeof *z);
}

bool lip_search_try(lip_search *s, const float *x, size_t B) {
  const lip_question *q = s->question;
  lip_net_forward(s->net, x, B, false);
  for (size_t i = 0; i < B; i++) {
    const float *at = x + i * s->n_in, *z = s->net->logits + i * s->n_out;
    if (!is_inside(s, at) || lip_property_state(s->part.property, 0, z) != LIP_BROKEN)
      continue;
    if (q->counts && !q->counts(q->arg, s->number, at, z)) continue;
    keep(s, at, z);
    fenv_t saved;
    lip_ieee_enter(&saved);
    const bool broken = s->relax && lip_search_confirms(s, at);
    lip_ieee_leave(&saved);
    if (!broken) {
      lip_snprintf(s->out->why, sizeof s->out->why, "%s", doubtful);
      continue;
    }
    s->out->verdict = LIP_VIOLATED;
    s->out->case_number = s->number;
    return true;
  }
  return false;
}

/* ---- the region ---- */

lip_region lip_search_region(const lip_search *s) {
  if (s->part.ball) {
    lip_region ball = *s->part.ball;
    ball.executed = LIP_EXECUTED_FLOAT32;
    ball.cancel = s->net->engine.cancel;
    return ball;
  }
  return (lip_region){.p = LIP_PINF,
                      .boxed = true,
                      .from = s->part.from,
                      .to = s->part.to,
                      .executed = LIP_EXECUTED_FLOAT32,
                      .cancel = s->net->engine.cancel};
}
