/* Local claims of the checker against forward passes in float32, in several orders of summation, at points of the ball and
 * the box: on the rim, at corners, along steps that lower the margin. */
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
#include "support_check.h"

static const act acts[] = {{LIP_CHECK_LEAKY, 0},    {LIP_CHECK_LEAKY, -1},    {LIP_CHECK_LEAKY, 0.125},
                           {LIP_CHECK_LEAKY, 1.5},  {LIP_CHECK_LEAKY, -2.0},  {LIP_CHECK_MAXMIN, 0},
                           {LIP_CHECK_TANH, 0},     {LIP_CHECK_SIGMOID, 0},   {LIP_CHECK_SOFTPLUS, 1},
                           {LIP_CHECK_SOFTPLUS, 8}, {LIP_CHECK_SOFTPLUS, .25}};
enum { ACTS = sizeof acts / sizeof *acts };
static const int norms[] = {1, 2, 0};

/* ---- the net in float32 ---- */

static float unit32(act a, float z) {
  switch (a.kind) {
  case LIP_CHECK_TANH: return tanhf(z);
  case LIP_CHECK_SIGMOID: return 1 / (1 + expf(-z));
  case LIP_CHECK_SOFTPLUS: return (float)(log1p(exp(a.slope * (double)z)) / a.slope);
  default: return z >= 0 ? z : (float)a.slope * z;
  }
}

static void layer32(const float *W, const float *b, size_t M, size_t N, act a, bool last, int order,
                    const float *h, float *y) {
  for (size_t i = 0; i < M; i++) {
    float s = order & 1 ? b[i] : 0;
    for (size_t k = 0; k < N; k++) {
      size_t at = order & 2 ? N - 1 - k : k;
      s = order & 4 ? fmaf(W[i * N + at], h[at], s) : s + W[i * N + at] * h[at];
    }
    y[i] = order & 1 ? s : s + b[i];
  }
  for (size_t i = 0; !last && i < M; i += a.kind == LIP_CHECK_MAXMIN ? 2 : 1) {
    float z = y[i];
    if (a.kind != LIP_CHECK_MAXMIN) {
      y[i] = unit32(a, z);
    } else if (z < y[i + 1]) {
      y[i] = y[i + 1];
      y[i + 1] = z;
    }
  }
}

static int label32(const fixture *f, act a, int order, const float *x, float *z) {
  float h1[H1], h2[H2];
  layer32(f->W1, f->b1, H1, IN, a, false, order, x, h1);
  layer32(f->W2, f->b2, H2, H1, a, false, order, h1, h2);
  layer32(f->W3, f->b3, C, H2, a, true, order, h2, z);
  int y = 0;
  for (int j = 1; j < C; j++)
    if (z[j] > z[y]) y = j;
  return y;
}

static double norm_p(const double *v, size_t n, int p) {
  double s = 0;
  for (size_t k = 0; k < n; k++) s = p == 1 ? s + fabs(v[k]) : p == 2 ? s + v[k] * v[k] : fmax(s, fabs(v[k]));
  return p == 2 ? sqrt(s) : s;
}

/* ---- claims ---- */

static void make_local(fixture *f, act a, int p, uint64_t seed, bool boxed) {
  check_fixture_init(f, a, p, seed);
  f->claims.local = true;
  f->claims.norm = f->claims.pair = NULL;
  f->claims.slope = f->lambda;
  f->claims.from = boxed ? -0.5 : -(double)INFINITY;
  f->claims.to = boxed ? 0.75 : (double)INFINITY;
  for (size_t i = 0; boxed && i < ROWS * IN; i++) f->x[i] = fminf(fmaxf(f->x[i], -0.5f), 0.75f);
}

static bool holds(fixture *f, lip_check *c, size_t r, double R) {
  f->radius[r] = R;
  return lip_check_claim(c, LIP_CHECK_ROW, r, 0, f->x + r * IN, NULL) == LIP_OK;
}

static double largest(fixture *f, lip_check *c, size_t r) {
  double low = 0, high = 16;
  for (int k = 0; k < 50; k++) {
    double mid = low + (high - low) / 2;
    *(holds(f, c, r, mid) ? &low : &high) = mid;
  }
  return low;
}

/* A point of the ball and the box, by a step from x: any direction, or one coordinate after another to its end. */
static bool point(const fixture *f, lip_rng *rng, int p, double R, size_t r, int t, float *x) {
  double d[IN];
  for (int i = 0; i < IN; i++) d[i] = t % 3 ? lip_rng_normal(rng) : lip_rng_uniform(rng) < 0.5 ? -1 : 1;
  if (p == 1 && t % 3 == 0)
    for (int i = 0; i < IN; i++) d[i] = i == t / 3 % IN ? d[i] : 0;
  double s = R * (t % 4 ? 1 : lip_rng_uniform(rng)) / norm_p(d, IN, p) * (1 - 1e-7);
  for (int i = 0; i < IN; i++) {
    double v = (double)f->x[r * IN + (size_t)i] + s * d[i] * (t % 5 ? 1 : 3); /* far ones end at the box */
    x[i] = (float)fmin(fmax(v, f->claims.from), f->claims.to);
    d[i] = (double)x[i] - (double)f->x[r * IN + (size_t)i];
  }
  return norm_p(d, IN, p) <= R;
}

static void balls_hold_in_float32(void **state) {
  (void)state;
  size_t certified = 0, tried = 0, close = 0;
  for (uint64_t seed = 1; seed <= 6; seed++)
    for (int k = 0; k < ACTS; k++)
      for (int p = 0; p < 6; p++) {
        fixture f;
        make_local(&f, acts[k], norms[p % 3], seed, p >= 3);
        lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 3);
        for (size_t i = 0; i < ROWS * UNITS && i < 3 * UNITS; i++)
          f.lambda[i] = seed % 2 ? LIP_CHECK_OWN : lip_rng_uniform(&rng);
        f.claims.rows = 3; /* as many as there is room for slopes */
        lip_check *c = check_opened(&f);
        for (size_t r = 0; r < 3; r++) {
          float z[C], x[IN];
          int y = label32(&f, acts[k], 0, f.x + r * IN, z);
          f.label[r] = (float)y;
          double R = largest(&f, c, r);
          if (!(R > 0)) continue;
          certified++;
          for (int t = 0; t < 300; t++) {
            if (!point(&f, &rng, norms[p % 3], R, r, t, x)) continue;
            tried++;
            assert_int_equal(label32(&f, acts[k], t % 8, x, z), y);
          }
          for (int t = 0; t < 300; t++) /* what is refused is not far off */
            if (point(&f, &rng, norms[p % 3], 2 * R, r, t, x) && label32(&f, acts[k], 0, x, z) != y) {
              close++;
              break;
            }
          f.label[r] = (float)((y + 1) % C);
          assert_false(holds(&f, c, r, 0)); /* another class is above it */
          assert_false(holds(&f, c, r, R));
          f.label[r] = (float)y;
          assert_true(holds(&f, c, r, 0));
          assert_false(holds(&f, c, r, NAN));
          assert_false(holds(&f, c, r, -1));
          assert_false(holds(&f, c, r, INFINITY));
          f.radius[r] = 0;
        }
        lip_check_close(c);
      }
  assert_true(certified > 900);
  assert_true(tried > 150000);
  assert_true(close > certified / 4);
}

/* A linear net: the relaxation is exact, and so is the joint bound over ball and box. */
static void ball_and_box_are_taken_together(void **state) {
  (void)state;
  float W[] = {3, -4, 0, 0, 0, 0}, b[] = {1, 0}, x[] = {0, 0, 0}, label = 0;
  lip_check_layer layer = {.kind = LIP_CHECK_DENSE, .M = 2, .N = 3, .W = W, .b = b};
  lip_check_net net = {3, 2, 1, &layer};
  const struct {
    int p;
    double from, to, truth; /* least R with 3 d_0 - 4 d_1 = -1 */
  } row[] = {{2, -INFINITY, INFINITY, 0.2},
             {2, -0.05, 10, 0.21937951}, /* d_0 at -0.05: d_1 = 0.2125, sqrt(0.0025 + 0.21250^2) = 0.2183 */
             {1, -INFINITY, INFINITY, 0.25},
             {1, -10, 0.1, 0.3},
             {0, -INFINITY, INFINITY, 1.0 / 7},
             {0, -0.1, 10, 0.175}};
  for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
    int path[] = {row[k].p, row[k].p};
    double radius = 0, low = 0, high = 1, truth = row[k].truth;
    if (k == 1) truth = sqrt(0.05 * 0.05 + 0.2125 * 0.2125);
    if (k == 3) truth = 0.1 + 0.6 / 3;
    lip_check_claims claims = {.dense = 1,
                               .path = path,
                               .float32 = true,
                               .rows = 1,
                               .label = &label,
                               .radius = &radius,
                               .local = true,
                               .from = row[k].from,
                               .to = row[k].to};
    lip_check *c;
    assert_int_equal(lip_check_open(&net, &claims, &c, NULL), LIP_OK);
    for (int it = 0; it < 50; it++) {
      radius = low + (high - low) / 2;
      *(lip_check_claim(c, LIP_CHECK_ROW, 0, 0, x, NULL) ? &high : &low) = radius;
    }
    assert_true(low <= truth);
    assert_true(low >= truth * (1 - 1e-4));
    lip_check_close(c);
  }
}

/* Two logits that float32 cannot tell apart everywhere. */
static void a_tie_has_no_ball(void **state) {
  (void)state;
  float W[] = {0x1.8ffb3ep-1f, 0x1.8ffb4p-1f}, x = 0x1.955f56p-1f, label = 1;
  lip_check_layer layer = {.kind = LIP_CHECK_DENSE, .M = 2, .N = 1, .W = W};
  lip_check_net net = {1, 2, 1, &layer};
  int path[] = {2, 2};
  double radius = 1e-9;
  lip_check_claims claims = {.dense = 1,
                             .path = path,
                             .float32 = true,
                             .rows = 1,
                             .label = &label,
                             .radius = &radius,
                             .local = true,
                             .from = -INFINITY,
                             .to = INFINITY};
  lip_check *c;
  assert_int_equal(lip_check_open(&net, &claims, &c, NULL), LIP_OK);
  assert_int_equal(lip_check_claim(c, LIP_CHECK_ROW, 0, 0, &x, NULL), LIP_FORMAT);
  lip_check_close(c);
}

static void hostile_claims_are_refused(void **state) {
  (void)state;
  lip_check *c;
  fixture f;
#define REFUSED(change)                                                                                      \
  do {                                                                                                       \
    make_local(&f, acts[0], 2, 1, true);                                                                     \
    f.claims.rows = 3;                                                                                       \
    change;                                                                                                  \
    assert_int_equal(lip_check_open(&f.net, &f.claims, &c, NULL), LIP_FORMAT);                               \
    assert_null(c);                                                                                          \
  } while (0)
  for (int u = 0; u < UNITS; u++) {
    REFUSED(f.lambda[u] = NAN);
    REFUSED(f.lambda[2 * UNITS + u] = INFINITY);
    REFUSED(f.lambda[u] = -1e9);
  }
  REFUSED(f.claims.from = NAN);
  REFUSED(f.claims.to = NAN);
  REFUSED(f.claims.to = -1);
  REFUSED(f.claims.float32 = false);
  REFUSED(f.claims.units = UNITS + 1);
#undef REFUSED
}

static void memory_may_fail_anywhere(void **state) {
  (void)state;
  size_t before = lip_mem_used();
  for (size_t nth = 1, failed = 1; failed; nth++) {
    fixture f;
    lip_check *c;
    float z[C];
    make_local(&f, acts[5], 2, 1, true);
    f.claims.rows = 1;
    f.label[0] = (float)label32(&f, acts[5], 0, f.x, z);
    lip_mem_fail_nth(nth);
    lip_status status = lip_check_open(&f.net, &f.claims, &c, NULL), row = LIP_OK;
    f.radius[0] = 1e-4;
    if (!status) row = lip_check_claim(c, LIP_CHECK_ROW, 0, 0, f.x, NULL);
    failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(status == LIP_MEMORY || row == LIP_MEMORY, failed);
    if (!status) assert_int_equal(lip_check_claim(c, LIP_CHECK_ROW, 0, 0, f.x, NULL), LIP_OK);
    lip_check_close(c);
    assert_int_equal(lip_mem_used(), before);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(balls_hold_in_float32),    cmocka_unit_test(ball_and_box_are_taken_together),
      cmocka_unit_test(a_tie_has_no_ball),        cmocka_unit_test(hostile_claims_are_refused),
      cmocka_unit_test(memory_may_fail_anywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
