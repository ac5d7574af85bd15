/* fgsm: one step (Goodfellow, Shlens, Szegedy 2015). For p = inf the sign of the gradient, cut to the box; for p = 1
 * and 2 likewise the point of the ball and the box where the net's linearisation is highest. On a net that is linear no
 * attack does better. */
#include "core/attack/search.h"

static double length(lip_p p, double eps, size_t steps) {
  (void)p;
  (void)steps;
  return eps;
}

static void move(const lip_run *r, lip_track *t, const float *g, double *work) {
  lip_ball ball = r->ball;
  ball.eps = r->step < ball.eps ? r->step : ball.eps;
  if (lip_ball_steepest(&ball, g, r->n, work))
    lip_ball_project(&ball, t->x, t->low, t->high, work, r->n, t->at);
}

const lip_attack_kind lip_attack_fgsm = {
    .name = "fgsm",
    .help = "one step: the highest point of the net's linearisation",
    .steps = 1,
    .single = true,
    .length = length,
    .start = lip_track_start_at_input,
    .move = move,
};
