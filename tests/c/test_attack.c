/* Balls cut by boxes against brute force, what is claimed of a point, every allocation failing, cancelling. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/attack/attack.h"
#include "core/attack/ball.h"
#include "core/base/mem.h"
#include "core/cert/certify.h"
#include "support_cert.h"

enum { N = 37, TRIES = 300 };

static const lip_p norms[] = {LIP_P1, LIP_P2, LIP_PINF};

static double norm_of(const double *v, size_t n, lip_p p) {
  long double s = 0;
  for (size_t k = 0; k < n; k++) {
    long double a = fabsl((long double)v[k]);
    s = p == LIP_P1 ? s + a : p == LIP_P2 ? s + a * a : a > s ? a : s;
  }
  return (double)(p == LIP_P2 ? sqrtl(s) : s);
}

/* Inputs of very different sizes, some on the edges of the box, and a displacement. */
typedef struct scene {
  lip_ball ball;
  float x[N], low[N], high[N], out[N], box_low[N], box_high[N];
  double v[N], want[N];
} scene;

static void make_scene(scene *s, lip_p p, lip_rng *rng) {
  double scale = exp2(20 * lip_rng_uniform(rng) - 10);
  bool boxed = lip_rng_below(rng, 3) > 0;
  s->ball = (lip_ball){.p = p, .eps = exp2(12 * lip_rng_uniform(rng) - 8)};
  for (size_t k = 0; k < N; k++) {
    s->x[k] = (float)(scale * (lip_rng_below(rng, 4) ? lip_rng_uniform(rng) : (double)lip_rng_below(rng, 2)));
    s->want[k] = s->v[k] = s->ball.eps * lip_rng_normal(rng) * (lip_rng_below(rng, 5) ? 1 : 0);
  }
  for (size_t k = 0; k < N; k++) {
    s->box_low[k] = boxed ? 0 : -FLT_MAX;
    s->box_high[k] = boxed ? (float)scale : FLT_MAX;
  }
  if (boxed) s->ball.box_low = s->box_low, s->ball.box_high = s->box_high;
  lip_ball_limits(&s->ball, s->x, N, s->low, s->high);
}

static void limits_are_the_last_floats_inside(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  scene s;
  for (int i = 0; i < TRIES; i++) {
    make_scene(&s, LIP_PINF, &rng);
    for (size_t k = 0; k < N; k++) {
      long double x = (long double)s.x[k], eps = (long double)s.ball.eps; /* 64 bits: exact for these */
      assert_true(s.low[k] <= s.x[k] && s.x[k] <= s.high[k]);
      assert_true((long double)s.high[k] - x <= eps && x - (long double)s.low[k] <= eps);
      assert_true(s.low[k] >= s.box_low[k] && s.high[k] <= s.box_high[k]);
      float more = nextafterf(s.high[k], INFINITY), less = nextafterf(s.low[k], -INFINITY);
      assert_true((long double)more - x > eps || more > s.box_high[k]);
      assert_true(x - (long double)less > eps || less < s.box_low[k]);
    }
  }
}

static void points_stay_inside(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(2, LIP_RNG_USER, 0);
  scene s;
  double work[N];
  for (int i = 0; i < TRIES * 3; i++) {
    make_scene(&s, norms[i % 3], &rng);
    if (i % 5 == 0) s.ball.eps *= 0x1p-40; /* below the spacing of many of the inputs */
    if (i % 5 == 0) lip_ball_limits(&s.ball, s.x, N, s.low, s.high);
    for (size_t k = 0; i % 7 == 0 && k < N; k++) s.v[k] *= 0x1p30;
    lip_ball_project(&s.ball, s.x, s.low, s.high, s.v, N, s.out);
    double exact[N];
    for (size_t k = 0; k < N; k++) {
      exact[k] = (double)s.out[k] - (double)s.x[k];
      assert_true(s.out[k] >= s.box_low[k] && s.out[k] <= s.box_high[k]);
      assert_true(s.v[k] == exact[k]);
    }
    double measured = lip_ball_distance(&s.ball, s.out, s.x, N, work);
    assert_true(measured <= s.ball.eps);
    assert_true(measured >= norm_of(exact, N, s.ball.p) * (1 - 0x1p-53));
  }
}

/* No sampled point of the ball and the box is closer to what was wanted, and a point inside stays where it is. */
static void projections_are_nearest(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(3, LIP_RNG_USER, 0);
  scene s;
  for (int i = 0; i < TRIES; i++) {
    make_scene(&s, norms[i % 2], &rng);
    for (size_t k = 0; k < N; k++) { /* so that float32 rounds nothing of interest away */
      s.x[k] = ldexpf(s.x[k], -30);
      s.low[k] = fmaxf(ldexpf(s.low[k], -30), -(float)s.ball.eps);
      s.high[k] = fminf(ldexpf(s.high[k], -30), (float)s.ball.eps);
      if (i % 4 == 3) s.low[k] = fmaxf(s.low[k], s.x[k] - 0.1f * (float)s.ball.eps);
    }
    lip_ball_project(&s.ball, s.x, s.low, s.high, s.v, N, s.out);
    double size = norm_of(s.v, N, s.ball.p), toward[N];
    /* optimal exactly when <want - v, u - v> <= 0 for all u that may be reached */
    for (int t = 0; t < 40; t++) {
      double inner = 0, reach = 0;
      for (size_t k = 0; k < N; k++) {
        double least = (double)s.low[k] - (double)s.x[k], most = (double)s.high[k] - (double)s.x[k];
        double u =
            t < 20 ? s.want[k] + 0.3 * s.ball.eps * lip_rng_normal(&rng) : s.ball.eps * lip_rng_normal(&rng);
        toward[k] = fmin(fmax(u, least), most);
      }
      double over = norm_of(toward, N, s.ball.p) / s.ball.eps;
      for (size_t k = 0; k < N; k++) {
        if (over > 1) toward[k] /= over;
        inner += (s.want[k] - s.v[k]) * (toward[k] - s.v[k]);
        reach += fabs((s.want[k] - s.v[k]) * (toward[k] - s.v[k]));
      }
      assert_true(inner <= 1e-5 * reach + 1e-5 * s.ball.eps * s.ball.eps);
    }
    assert_true(size <= s.ball.eps);
    double before[N];
    memcpy(before, s.v, sizeof before);
    lip_ball_project(&s.ball, s.x, s.low, s.high, s.v, N, s.out);
    for (size_t k = 0; k < N; k++) assert_true(before[k] == s.v[k]);
  }
}

/* The highest value of <g, v> over the ball and the box, found coordinate by coordinate for p = 1 and inf. */
static void steepest_points_are_the_highest(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 0);
  scene s;
  float g[N];
  for (int i = 0; i < TRIES; i++) {
    make_scene(&s, norms[i % 3], &rng);
    double best = 0, value = 0, budget = s.ball.eps, room[N];
    for (size_t k = 0; k < N; k++) {
      g[k] = (float)lip_rng_normal(&rng);
      room[k] = g[k] > 0 ? (double)s.high[k] - (double)s.x[k] : (double)s.x[k] - (double)s.low[k];
    }
    assert_true(lip_ball_steepest(&s.ball, g, N, s.v));
    lip_ball_project(&s.ball, s.x, s.low, s.high, s.v, N, s.out);
    for (size_t k = 0; k < N; k++) value += (double)g[k] * s.v[k];
    if (s.ball.p == LIP_PINF)
      for (size_t k = 0; k < N; k++) best += fabs((double)g[k]) * room[k];
    bool used[N] = {false};
    for (size_t turn = 0; s.ball.p == LIP_P1 && turn < N; turn++) { /* the largest slope first */
      size_t top = N;
      for (size_t k = 0; k < N; k++)
        if (!used[k] && (top == N || fabsf(g[k]) > fabsf(g[top]))) top = k;
      used[top] = true;
      double part = fmin(room[top], budget);
      budget -= part;
      best += fabs((double)g[top]) * part;
    }
    if (s.ball.p == LIP_P2) { /* t g cut to the box, t by halving */
      double low = 0, high = 1e30;
      for (int t = 0; t < 400; t++) {
        double mid = t < 200 ? exp2(log2(fmax(low, 1e-30)) / 2 + log2(high) / 2) : (low + high) / 2, sum = 0;
        for (size_t k = 0; k < N; k++) sum += pow(fmin(mid * fabs((double)g[k]), room[k]), 2);
        if (sqrt(sum) > s.ball.eps)
          high = mid;
        else
          low = mid;
      }
      for (size_t k = 0; k < N; k++) best += fabs((double)g[k]) * fmin(low * fabs((double)g[k]), room[k]);
    }
    double rounding = 0; /* of the point to float32 */
    for (size_t k = 0; k < N; k++) rounding += fabs((double)g[k]) * 0x1p-23 * fabs((double)s.out[k]);
    assert_true(value <= best * (1 + 1e-12) + 1e-300);
    assert_true(value >= best * (1 - 1e-6) - rounding);
  }
}

/* The largest sum of m_k e_k over 0 <= e_k <= room_k, ||e||_p <= eps. */
static long double highest(lip_p p, const long double *m, const long double *room, long double eps) {
  long double low = 0, high = 0x1p60L, sum = 0;
  bool used[N] = {false};
  for (size_t turn = 0; p == LIP_P1 && turn < N; turn++) { /* the largest slope first */
    size_t top = N;
    for (size_t k = 0; k < N; k++)
      if (!used[k] && (top == N || m[k] > m[top])) top = k;
    used[top] = true;
    sum += m[top] * fminl(room[top], eps);
    eps -= fminl(room[top], eps);
  }
  if (p == LIP_P1) return sum;
  for (int i = 0; i < 300; i++) {
    long double t = (low + high) / 2, square = 0;
    for (size_t k = 0; k < N; k++) square += powl(fminl(t * m[k], room[k]), 2);
    *(square > eps * eps ? &high : &low) = t;
  }
  for (size_t k = 0; k < N; k++) sum += m[k] * (p == LIP_P2 ? fminl(low * m[k], room[k]) : room[k]);
  return sum;
}

static void scaled_balls_are_balls_in_their_units(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(6, LIP_RNG_USER, 0);
  for (int i = 0; i < TRIES * 3; i++) {
    scene s;
    float g[N];
    double scale[N], inverse[N], work[N], units[N];
    long double m[N], room[N], value = 0, rounding = 0;
    make_scene(&s, norms[i % 3], &rng);
    for (size_t k = 0; k < N; k++) {
      scale[k] = lip_rng_below(&rng, 6) ? exp2(8 * lip_rng_uniform(&rng) - 4) : 0;
      inverse[k] = scale[k] > 0 ? 1 / scale[k] : 0;
      g[k] = (float)(lip_rng_normal(&rng) * scale[k]); /* by the units */
      if (i % 5 == 0) s.box_high[k] = fmaxf(s.x[k], s.box_high[k] * (float)lip_rng_uniform(&rng));
    }
    s.ball.scale = scale;
    s.ball.inverse = inverse;
    lip_ball_limits(&s.ball, s.x, N, s.low, s.high);
    for (size_t k = 0; k < N; k++) {
      long double x = (long double)s.x[k], reach = (long double)s.ball.eps * (long double)scale[k];
      assert_true(s.low[k] <= s.x[k] && s.x[k] <= s.high[k]);
      assert_true((long double)s.high[k] - x <= reach && x - (long double)s.low[k] <= reach);
      room[k] = g[k] > 0 ? (long double)s.high[k] - x : x - (long double)s.low[k];
      room[k] = scale[k] > 0 ? room[k] / (long double)scale[k] : 0;
      m[k] = fabsl((long double)g[k]);
    }
    if (i % 2 == 0) assert_true(lip_ball_steepest(&s.ball, g, N, s.v)); /* else where the scene wants to go */
    lip_ball_project(&s.ball, s.x, s.low, s.high, s.v, N, s.out);
    for (size_t k = 0; k < N; k++) {
      assert_true(s.out[k] >= s.low[k] && s.out[k] <= s.high[k]);
      if (scale[k] == 0) assert_true(s.out[k] == s.x[k] && s.v[k] == 0);
      units[k] = scale[k] > 0 ? ((double)s.out[k] - (double)s.x[k]) / scale[k] : 0;
      assert_true(fabs(units[k] - s.v[k]) <= 0x1p-50 * fabs(units[k]));
      value += (long double)g[k] * (long double)units[k];
      rounding += m[k] * (long double)(0x1p-23 * fabs((double)s.out[k]) * inverse[k]);
    }
    double measured = lip_ball_distance(&s.ball, s.out, s.x, N, work);
    assert_true(measured <= s.ball.eps && measured >= norm_of(units, N, s.ball.p) * (1 - 0x1p-50));
    if (i % 2) continue;
    long double best = highest(s.ball.p, m, room, (long double)s.ball.eps);
    assert_true(value <= best * (1 + 1e-12L) && value >= best * (1 - 1e-6L) - rounding);
  }
}

/* ---- whole attacks ---- */

static const char *const acts[] = {"relu", "maxmin", "abs", "tanh"};

static lip_net *small_net(size_t i, const lip_engine *engine) {
  const piece p[] = {{"dense", 12}, {acts[i % 4], 0}, {"dense", 8}, {acts[i % 4], 0}, {"dense", 4}};
  return cert_net("2", 6, p, 5, 1.3, i + 1, engine);
}

static lip_attack_conf conf_of(size_t kind, lip_p p, double eps) {
  return (lip_attack_conf){.kind = lip_attack_kind_at(kind),
                           .p = p,
                           .eps = eps,
                           .targets = LIP_ALL_TARGETS,
                           .restarts = 2,
                           .seed = 7};
}

/* Rows are attacked just inside their certified radius, with everything there is. */
static void nothing_breaks_inside_a_certified_radius(void **state) {
  (void)state;
  enum { ROWS = 8 };
  float x[ROWS * 6], found[6];
  size_t attacked = 0;
  lip_rng rng = lip_rng_new(5, LIP_RNG_USER, 0);
  for (size_t i = 0; i < 12; i++) {
    lip_net *net = small_net(i, NULL);
    lip_rng_fill_normal(&rng, x, ROWS * 6, 0, 1);
    lip_path path = {1, {norms[i % 3]}};
    lip_certifier *certifier;
    lip_radius radius[ROWS];
    assert_int_equal(lip_certifier_new(net, &(lip_certify_conf){.path = &path}, &certifier, NULL), LIP_OK);
    assert_int_equal(lip_net_reserve(net, ROWS, NULL), LIP_OK);
    assert_int_equal(lip_certify(certifier, x, ROWS, radius, NULL), LIP_OK);
    lip_certifier_free(certifier);
    for (size_t r = 0; r < ROWS; r++)
      for (size_t kind = 0; radius[r].radius > 0 && lip_attack_kind_at(kind); kind++) {
        lip_attack *a;
        lip_attacked out;
        lip_attack_conf conf = conf_of(kind, norms[i % 3], radius[r].radius);
        assert_int_equal(lip_attack_new(net, &conf, 1, &a, NULL), LIP_OK);
        assert_int_equal(lip_attack_run(a, x + r * 6, NULL, r, 1, found, &out, NULL), LIP_OK);
        lip_attack_free(a);
        assert_true(out.correct && !out.broken && out.after == out.before);
        assert_true(out.distance <= radius[r].radius && out.distance > 0);
        attacked++;
      }
    lip_net_free(net);
  }
  assert_true(attacked > 200);
}

static void the_net_is_left_as_it_was(void **state) {
  (void)state;
  lip_net *net = small_net(1, NULL);
  float x[6] = {0.1f, -0.4f, 0.3f, 0.9f, -1, 0.2f}, found[6], before[6], weights[512];
  lip_attack *a;
  lip_attacked out;
  lip_attack_conf conf = conf_of(3, LIP_P2, 10);
  memcpy(before, x, sizeof x);
  assert_true(net->n_params <= 512);
  memcpy(weights, net->weights, net->n_params * sizeof *weights);
  for (size_t i = 0; i < net->n_params; i++) net->grads[i] = (float)i;
  assert_int_equal(lip_attack_new(net, &conf, 1, &a, NULL), LIP_OK);
  assert_int_equal(lip_attack_run(a, x, NULL, 0, 1, found, &out, NULL), LIP_OK);
  assert_true(out.broken && out.after != out.before && out.margin <= 0);
  for (size_t i = 0; i < net->n_params; i++) assert_true(net->grads[i] == (float)i);
  assert_memory_equal(weights, net->weights, net->n_params * sizeof *weights);
  assert_memory_equal(before, x, sizeof x);
  lip_attack_free(a);
  lip_net_free(net);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_net *net = small_net(0, NULL);
  const double zeros[6] = {0}, ones[6] = {1, 1, 1, 1, 1, 1};
  lip_attack_conf conf = conf_of(3, LIP_P1, 1);
  conf.boxed = true, conf.low = zeros, conf.high = ones, conf.scale = ones;
  bool done = false;
  for (size_t n = 1; !done && n < 50; n++) {
    lip_attack *a = NULL;
    lip_err err;
    size_t used = lip_mem_used();
    lip_mem_fail_nth(n);
    lip_status status = lip_attack_new(net, &conf, 20 * n, &a, &err);
    done = !lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(status, done ? LIP_OK : LIP_MEMORY);
    assert_true(done || (a == NULL && lip_mem_used() == used));
    lip_attack_free(a);
  }
  assert_true(done);
  lip_net_free(net);
}

static void a_raised_flag_cancels(void **state) {
  (void)state;
  lip_cancel cancel;
  lip_cancel_clear(&cancel);
  lip_net *net = small_net(0, &(lip_engine){.cancel = &cancel});
  lip_attack_conf conf = conf_of(3, LIP_P2, 1e-3);
  float x[6] = {1, 2, 3, 4, 5, 6}, found[6];
  lip_attack *a;
  lip_attacked out;
  assert_int_equal(lip_attack_new(net, &conf, 1, &a, NULL), LIP_OK);
  lip_cancel_raise(&cancel);
  assert_int_equal(lip_attack_run(a, x, NULL, 0, 1, found, &out, NULL), LIP_CANCELLED);
  lip_cancel_clear(&cancel);
  assert_int_equal(lip_attack_run(a, x, NULL, 0, 1, found, &out, NULL), LIP_OK);
  assert_int_equal(lip_attack_run(a, x, NULL, 0, 2, found, &out, NULL), LIP_STATE);
  lip_attack_free(a);
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(limits_are_the_last_floats_inside),
      cmocka_unit_test(points_stay_inside),
      cmocka_unit_test(projections_are_nearest),
      cmocka_unit_test(steepest_points_are_the_highest),
      cmocka_unit_test(scaled_balls_are_balls_in_their_units),
      cmocka_unit_test(nothing_breaks_inside_a_certified_radius),
      cmocka_unit_test(the_net_is_left_as_it_was),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(a_raised_flag_cancels),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
