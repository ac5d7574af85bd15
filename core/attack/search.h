/* What a kind of attack sees of a search, and what it is made of. Private to core/attack. */
#ifndef LIP_ATTACK_SEARCH_H
#define LIP_ATTACK_SEARCH_H

#include "core/attack/attack.h"
#include "core/attack/ball.h"

enum { LIP_ATTACK_WORK = 4 }; /* numbers of working memory per input feature and thread */

/* One row on its way. Arrays of n_in. */
typedef struct lip_track {
  size_t row;            /* of the batch */
  int32_t label, target; /* target -1: the strongest other class at the time */
  bool over;             /* broken, or the run has nothing left to try */
  const float *x;        /* the input */
  float *low, *high;     /* how far every coordinate may go */
  float *at;             /* where the run stands */
  float *found;          /* the point with the least margin of all runs */
  double margin;         /* there */
  double rise;           /* z_target - z_label at `at` */
  lip_rng rng;
  /* of apgd */
  float *before, *best, *slope; /* the point before, the best of this run, the gradient there */
  double last_rise, best_rise, checked_rise;
  double step;
  size_t improved, active, sparse;
  bool halved;
} lip_track;

/* One run of all rows that are still there. */
typedef struct lip_run {
  lip_ball ball;
  size_t n; /* n_in */
  size_t steps;
  double step;
  bool first;    /* the first run towards this class */
  bool check;    /* apgd: this step ends a period of ... */
  size_t period; /* ... so many */
} lip_run;

struct lip_attack_kind {
  const char *name, *help;
  size_t steps;                                        /* of its own */
  double (*length)(lip_p p, double eps, size_t steps); /* of its first step */
  /* Puts t->at on the run's first point; work (LIP_ATTACK_WORK n). */
  void (*start)(const lip_run *r, lip_track *t, double *work);
  /* From t->at with the gradient g of its rise to the next point. */
  void (*move)(const lip_run *r, lip_track *t, const float *g, double *work);
  /* Before move number k: sets check and period. NULL: not needed. */
  void (*schedule)(lip_run *r, size_t k);
  bool single; /* takes exactly one step */
};

/* at = the point of the ball nearest to where the displacement v leads. */
void lip_track_go(const lip_run *r, lip_track *t, double *v);
/* v = at - x. */
void lip_track_displacement(const lip_run *r, const float *at, const float *x, double *v);
/* v += a step up along g; where g is 0, along a random direction. work (2 n) beside v. */
void lip_track_ascend(const lip_run *r, lip_track *t, const float *g, double length, size_t active, double *v,
                      double *work);
void lip_track_start_at_input(const lip_run *r, lip_track *t, double *work);
void lip_track_start_random(const lip_run *r, lip_track *t, double *work);

#endif
