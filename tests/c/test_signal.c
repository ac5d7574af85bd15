/* net/signal.c against one quadratic form in all free variables, written down in double without any recursion: its
 * maximum is rho, and differences of that maximum in every weight, at the same theta, are the gradient. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/net/signal.h"

enum { MOST = 64, STAGES = 3 };

/* A small net: hidden stages and the row asked about. */
typedef struct small {
  size_t n, size[STAGES + 1], units;
  double W[STAGES][MOST * MOST], v[MOST];
  float Wf[STAGES][MOST * MOST], vf[MOST];
  double low[STAGES][MOST], high[STAGES][MOST];
  size_t mate[STAGES][MOST];
  bool pairs[STAGES];
} small;

typedef enum act { RELU, LEAKY, ABS, MAXMIN, LINEAR, MIXED, ACTS } act;

static void set_act(small *s, size_t l, act a, lip_rng *rng) {
  s->pairs[l] = a == MAXMIN;
  for (size_t i = 0; i < s->size[l + 1]; i++) {
    act one = a == MIXED ? (act)lip_rng_below(rng, 3) : a;
    s->low[l][i] = one == RELU ? 0 : one == LEAKY ? 0.25 : one == ABS ? -1 : 1;
    s->high[l][i] = 1;
    s->mate[l][i] = i;
    if (a == MIXED && i % 3 == 0) s->low[l][i] = s->high[l][i] = 0.5;
    if (a == MIXED && i % 4 == 1) s->low[l][i] = -0.3, s->high[l][i] = 0.7;
    if (a == MAXMIN) s->mate[l][i] = i ^ 1, s->low[l][i] = i % 2 ? -1 : 1;
  }
}

static void make(small *s, size_t n, const size_t *size, act a, uint64_t seed) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 0);
  memset(s, 0, sizeof *s);
  s->n = n;
  memcpy(s->size, size, (n + 1) * sizeof *size);
  for (size_t l = 0; l < n; l++) {
    lip_rng_fill_normal(&rng, s->Wf[l], size[l] * size[l + 1], 0, 1);
    for (size_t i = 0; i < size[l] * size[l + 1]; i++) s->W[l][i] = (double)s->Wf[l][i];
    set_act(s, l, a, &rng);
    s->units += size[l + 1];
  }
  lip_rng_fill_normal(&rng, s->vf, size[n], 0, 1);
  for (size_t i = 0; i < size[n]; i++) s->v[i] = (double)s->vf[i];
}

/* ---- the form ---- */

enum { DIM = 40 };
typedef double line[DIM]; /* a linear function of the free variables */

static void combine(line to, double a, const line x, double b, const line y) {
  for (size_t i = 0; i < DIM; i++) to[i] = a * x[i] + b * y[i];
}

/* P += c x y', symmetric part. */
static void add_product(double P[DIM][DIM], double c, const line x, const line y) {
  for (size_t i = 0; i < DIM; i++)
    for (size_t j = 0; j < DIM; j++) P[i][j] += c / 2 * (x[i] * y[j] + x[j] * y[i]);
}

/* z and y of one unit whose y is variable `at`, or known. */
static void unit(double P[DIM][DIM], double low, double high, double lambda, const line z, line y,
                 size_t *at) {
  line below, above, own = {0};
  if (low == high) {
    combine(y, low, z, 0, z);
    return;
  }
  own[(*at)++] = 1;
  combine(below, 1, own, -low, z);
  combine(above, high, z, -1, own);
  add_product(P, lambda, below, above);
  combine(y, 1, own, 0, own);
}

/* Of the stages after the first `from`: fills P and returns the number of variables; their input is the first. */
static size_t form(const small *s, size_t from, const double *lambda, double P[DIM][DIM]) {
  static line y[MOST], z[MOST], sum, difference, ys, yd;
  size_t at = s->size[from], unit0 = 0;
  for (size_t l = 0; l < from; l++) unit0 += s->size[l + 1];
  memset(P, 0, sizeof(double[DIM][DIM]));
  memset(y, 0, sizeof y);
  for (size_t i = 0; i < s->size[from]; i++) y[i][i] = 1;
  for (size_t l = from; l < s->n; l++) {
    size_t M = s->size[l + 1], N = s->size[l];
    memset(z, 0, sizeof z);
    for (size_t i = 0; i < M; i++)
      for (size_t j = 0; j < N; j++) combine(z[i], 1, z[i], s->W[l][i * N + j], y[j]);
    for (size_t i = 0; i < M; i++) {
      size_t m = s->mate[l][i];
      const double h = sqrt(0.5);
      if (m == i) {
        unit(P, s->low[l][i], s->high[l][i], lambda[unit0 + i], z[i], y[i], &at);
      } else if (i < m) {
        combine(sum, h, z[i], h, z[m]);
        combine(difference, h, z[i], -h, z[m]);
        unit(P, 1, 1, 0, sum, ys, &at);
        unit(P, -1, 1, lambda[unit0 + m], difference, yd, &at);
        combine(y[i], h, ys, h, yd);
        combine(y[m], h, ys, -h, yd);
      }
    }
    unit0 += M;
  }
  memset(sum, 0, sizeof sum);
  for (size_t i = 0; i < s->size[s->n]; i++) combine(sum, 1, sum, s->v[i], y[i]);
  add_product(P, 1, sum, sum);
  assert_true(at <= DIM);
  return at;
}

/* Largest value over |input| = 1 and all other variables: eliminated one by one, then Jacobi's rotations. */
static double maximum(const small *s, size_t from, const double *lambda) {
  static double P[DIM][DIM];
  size_t n0 = s->size[from], n = form(s, from, lambda, P);
  for (size_t k = n; k-- > n0;) {
    assert_true(P[k][k] < 0);
    for (size_t i = 0; i < k; i++)
      for (size_t j = 0; j < k; j++) P[i][j] -= P[i][k] * P[k][j] / P[k][k];
  }
  for (int sweep = 0; sweep < 60; sweep++)
    for (size_t p = 0; p < n0; p++)
      for (size_t q = p + 1; q < n0; q++) {
        if (P[p][q] == 0) continue;
        double t = 0.5 * atan2(2 * P[p][q], P[p][p] - P[q][q]), c = cos(t), d = sin(t);
        for (size_t i = 0; i < n0; i++) {
          double a = P[i][p], b = P[i][q];
          P[i][p] = c * a + d * b, P[i][q] = c * b - d * a;
        }
        for (size_t i = 0; i < n0; i++) {
          double a = P[p][i], b = P[q][i];
          P[p][i] = c * a + d * b, P[q][i] = c * b - d * a;
        }
      }
  double best = P[0][0];
  for (size_t i = 1; i < n0; i++) best = fmax(best, P[i][i]);
  return best;
}

/* q of stage l: the same maximum over the stages after it, or |v|^2. */
static double eigenvalue(const small *s, size_t l, const double *lambda) {
  double sum = 0;
  if (l + 1 < s->n) return maximum(s, l + 1, lambda);
  for (size_t i = 0; i < s->size[s->n]; i++) sum += s->v[i] * s->v[i];
  return sum;
}

/* to = theta q with the theta of `lambda`, which belonged to `base`, and the q of s. */
static double maximum_at_theta(const small *s, const small *base, const double *lambda) {
  static double to[MOST];
  size_t at = s->units;
  memcpy(to, lambda, sizeof to);
  for (size_t l = s->n; l-- > 0;) {
    double ratio = eigenvalue(s, l, to) / eigenvalue(base, l, lambda);
    for (size_t i = 0; i < s->size[l + 1]; i++) to[at - i - 1] *= ratio;
    at -= s->size[l + 1];
  }
  return maximum(s, 0, to);
}

/* d rho / d *w, w an entry of s, by central differences. */
static double difference(small *s, double *w, const double *lambda) {
  static small base;
  const double was = *w, h = 1e-4;
  base = *s;
  *w = was + h;
  double up = maximum_at_theta(s, &base, lambda);
  *w = was - h;
  double down = maximum_at_theta(s, &base, lambda);
  *w = was;
  return (up - down) / (2 * h);
}

/* ---- the subject ---- */

typedef struct subject {
  lip_signals *signals;
  lip_signal out;
  float room[16 * MOST];
  double lambda[MOST];
} subject;

enum { MOVES = 4 };

static void run(subject *t, const small *s, bool moves) {
  static const float zero[MOST];
  lip_signal_stage stage[STAGES];
  lip_rng rng = lip_rng_new(77, LIP_RNG_USER, 0);
  for (size_t l = 0; l < s->n; l++)
    stage[l] = (lip_signal_stage){
        s->size[l + 1],      s->size[l],           s->Wf[l],
        (double *)s->low[l], (double *)s->high[l], s->pairs[l] ? (size_t *)s->mate[l] : NULL};
  memset(t, 0, sizeof *t);
  t->signals = lip_signals_new(stage, s->n, 1);
  assert_non_null(t->signals);
  float *at = t->room;
  t->out = (lip_signal){.x = at,
                        .y = at + MOST,
                        .delta = at + 4 * MOST,
                        .theta = at + 7 * MOST,
                        .top = at + 8 * MOST,
                        .mean = moves ? at + 9 * MOST : NULL,
                        .square = moves ? at + 10 * MOST : NULL,
                        .dv = at + 11 * MOST,
                        .lambda = t->lambda};
  lip_rng_fill_normal(&rng, t->out.x, s->size[0], 0, 1);
  lip_signals_load(t->signals);
  for (int turn = 0; turn < 200; turn++) { /* multipliers move a little, all that depends on them settles */
    if (turn == MOVES) t->out.mean = t->out.square = NULL;
    lip_signals_run(t->signals, 0, s->vf, zero, 30, 0.1, &t->out);
  }
}

static const size_t shapes[][STAGES + 1] = {{5, 6}, {5, 4, 6}, {4, 8, 6}, {5, 6, 4, 6}};
static const size_t depth[] = {1, 2, 2, 3};

static void value_is_the_maximum(void **state) {
  (void)state;
  static small s;
  subject t;
  for (size_t k = 0; k < 4; k++)
    for (int a = 0; a < ACTS; a++) {
      make(&s, depth[k], shapes[k], (act)a, 10 * k + (size_t)a);
      run(&t, &s, a % 2 == 0);
      double want = maximum(&s, 0, t.lambda);
      if (!(fabs(t.out.rho - want) <= 1e-5 * want))
        fail_msg("shape %zu act %d: %g, not %g", k, a, t.out.rho, want);
      lip_signals_free(t.signals);
    }
}

/* The gradient in W of stage l, as a sum of delta y', against differences of the maximum. */
static void check_stage(small *s, const subject *t, size_t l) {
  size_t M = s->size[l + 1], N = s->size[l], at = 0, below = 0;
  for (size_t i = 0; i < l; i++) below = at, at += s->size[i + 1];
  for (size_t i = 0; i < M; i++)
    for (size_t j = 0; j < N; j++) {
      double got = 0, want = difference(s, &s->W[l][i * N + j], t->lambda);
      for (size_t row = 0; row <= l; row++) {
        double y = (double)(l == 0 ? t->out.x[j] : t->out.y[row * s->units + below + j]);
        got += (double)t->out.delta[row * s->units + at + i] * y;
      }
      if (!(fabs(got - want) <= 1e-3 * t->out.rho))
        fail_msg("stage %zu, weight %zu %zu: %g, not %g (rho %g)", l, i, j, got, want, t->out.rho);
    }
}

static void gradient_is_that_of_the_maximum(void **state) {
  (void)state;
  static small s;
  subject t;
  for (size_t k = 0; k < 4; k++)
    for (int a = 0; a < ACTS; a++) {
      make(&s, depth[k], shapes[k], (act)a, 10 * k + (size_t)a);
      run(&t, &s, a % 2 == 0);
      for (size_t l = 0; l < s.n; l++) check_stage(&s, &t, l);
      for (size_t i = 0; i < s.size[s.n]; i++) {
        double want = difference(&s, &s.v[i], t.lambda);
        if (!(fabs((double)t.out.dv[i] - want) <= 1e-3 * t.out.rho))
          fail_msg("v %zu: %g, not %g", i, (double)t.out.dv[i], want);
      }
      lip_signals_free(t.signals);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(value_is_the_maximum),
      cmocka_unit_test(gradient_is_that_of_the_maximum),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
