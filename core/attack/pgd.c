/* bim: steps of equal length, each brought back into ball and box, from the input (Kurakin, Goodfellow, Bengio 2017).
 * pgd: the same from random points of the ball (Madry et al. 2018); steps of norm 1 go along the largest hundredth of
 * the gradient's entries (Tramer and Boneh 2019). */
#include "core/attack/search.h"

static double short_steps(lip_p p, double eps, size_t steps) {
  (void)p;
  return 1.5 * eps / (double)steps;
}

static double long_steps(lip_p p, double eps, size_t steps) {
  (void)p;
  return 2.5 * eps / (double)steps;
}

static void move(const lip_run *r, lip_track *t, const float *g, double *work) {
  lip_track_displacement(r, t->at, t->x, work);
  lip_track_ascend(r, t, g, r->step, r->n / 100, work, work + r->n);
  lip_track_go(r, t, work);
}

const lip_attack_kind lip_attack_bim = {
    .name = "bim",
    .help = "steps of equal length from the input, each projected",
    .steps = 10,
    .length = short_steps,
    .start = lip_track_start_at_input,
    .move = move,
};

const lip_attack_kind lip_attack_pgd = {
    .name = "pgd",
    .help = "steps of equal length from a random point, each projected",
    .steps = 40,
    .length = long_steps,
    .start = lip_track_start_random,
    .move = move,
};
