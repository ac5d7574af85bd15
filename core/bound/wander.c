/* Every row is a point that tries others and moves to those that are not less steep. For nets of relu and its kin the
 * slope is constant on pieces, so what is searched are patterns of units, and a step is
 *   - across one boundary: of all units whose other slope would raise u'Jv (by (s' - s) r t, known for all of them after
 *     one pass, slope.h) one is drawn, likelier the more it gains and the nearer it is, and the point goes straight
 *     through that unit's kink. Whether other units have changed too is seen by what comes out;
 *   - a random step of any length, from a thousandth of the point's own size to several times that;
 *   - towards the origin or away from it, where biases no longer matter; or to the other side. */
#include "core/bound/wander.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/base/rng.h"

static double size_of(const float *x, size_t n) {
  double size = lip_norm(x, n, LIP_P2) / sqrt((double)n);
  return size > 0 && size < INFINITY ? size : 1;
}

/* After so many steps one row in BEHIND, the least steep ones, begins again where the steepest are. */
enum { EVERY = 20, BEHIND = 8 };

/* About a standard normal number, from one word: the sum of its bytes. */
static double roughly_normal(lip_rng *rng) {
  uint32_t u = lip_rng_u32(rng);
  double sum = (double)((u & 255) + (u >> 8 & 255) + (u >> 16 & 255) + (u >> 24));
  return (sum - 510) / 147.8;
}

/* A step of a random length in a random direction, or a random factor. */
static void leap(const float *x, float *y, size_t n, lip_rng *rng) {
  double kind = lip_rng_uniform(rng), size = size_of(x, n);
  if (kind < 0.1) {
    float f = (float)exp2(8 * lip_rng_uniform(rng) - 4);
    if (kind < 0.03) f = -f;
    for (size_t k = 0; k < n; k++) y[k] = f * x[k];
    return;
  }
  double far = size * exp2(12 * lip_rng_uniform(rng) - 10);
  size_t only = kind < 0.3 ? (size_t)lip_rng_below(rng, n) : n; /* one coordinate, or all */
  for (size_t k = 0; k < n; k++) {
    double d = only == n || only == k ? roughly_normal(rng) : 0;
    y[k] = (float)((double)x[k] + far * d);
  }
}

/* Slopes at the rows of y, and how steep each is: into value. */
static void look(lip_wander *w, const float *y, double *value) {
  size_t n = w->slope->a->n_in, C = w->slope->a->n_out;
  lip_slope_at(w->slope, y, w->rows, 0);
  lip_slope_pull(w->slope, w->u, w->rows, w->g);
  for (size_t r = 0; r < w->rows; r++) lip_dual_vector(w->v + r * n, w->g + r * n, n, lip_p_dual(w->p));
  if (w->whole) lip_slope_push(w->slope, w->v, w->rows, w->t);
  for (size_t r = 0; r < w->rows; r++)
    value[r] = w->whole ? lip_norm(w->t + r * C, C, w->q) : lip_norm(w->g + r * n, n, lip_p_dual(w->p));
}

static void propose(lip_wander *w, bool cross, lip_rng *rng, double *value) {
  size_t n = w->slope->a->n_in;
  if (cross) {
    look(w, w->x, value);
    if (!w->whole) lip_slope_push(w->slope, w->v, w->rows, w->t);
    lip_slope_cross(w->slope, w->rows, rng, w->grad);
    for (size_t i = 0; i < w->rows * n; i++) w->y[i] = w->x[i] + w->grad[i];
  } else {
    for (size_t r = 0; r < w->rows; r++) leap(w->x + r * n, w->y + r * n, n, rng);
  }
}

static void take(lip_wander *w, size_t r, double value) {
  size_t n = w->slope->a->n_in, C = w->slope->a->n_out;
  memcpy(w->x + r * n, w->y + r * n, n * sizeof *w->x);
  if (w->whole && lip_norm(w->t + r * C, C, LIP_PINF) > 0)
    lip_dual_vector(w->u + r * C, w->t + r * C, C, w->q);
  if (value > w->best) {
    w->best = value;
    memcpy(w->best_x, w->y + r * n, n * sizeof *w->x);
  }
}

static void gather(lip_wander *w, double *now) {
  size_t n = w->slope->a->n_in, C = w->slope->a->n_out, K = w->rows / BEHIND;
  for (size_t i = 0; i < K; i++) {
    size_t worst = 0, best = 0;
    for (size_t r = 1; r < w->rows; r++) {
      if (now[r] < now[worst]) worst = r;
      if (now[r] > now[best]) best = r;
    }
    memcpy(w->x + worst * n, w->x + best * n, n * sizeof *w->x);
    memcpy(w->u + worst * C, w->u + best * C, C * sizeof *w->u);
    now[worst] = now[best];
    now[best] = nextafter(now[best], 0); /* the next one takes another */
  }
}

void lip_wander_run(lip_wander *w) {
  double now[LIP_SLOPE_ROWS], then[LIP_SLOPE_ROWS];
  lip_rng rng = lip_rng_new(w->seed, LIP_RNG_ATTACK, 3);
  size_t n = w->slope->a->n_in;
  look(w, w->x, now);
  memcpy(w->y, w->x, w->rows * n * sizeof *w->x);
  for (size_t r = 0; r < w->rows; r++) take(w, r, now[r]);
  for (size_t step = 0; step < w->steps && !lip_cancel_raised(w->cancel); step++) {
    propose(w, step % 2 == 0, &rng, then);
    look(w, w->y, then);
    for (size_t r = 0; r < w->rows; r++)
      if (then[r] >= now[r] * (1 - 1e-7) && then[r] < INFINITY) {
        now[r] = then[r];
        take(w, r, then[r]);
      }
    if (step % EVERY == EVERY - 1) gather(w, now);
  }
}
