/* Rows over outputs, intervals of values and of derivatives, against points of the region evaluated in long double by loops
 * of this file, and against what is known exactly. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/cert/enclose.h"
#include "support_cert.h"
#include "support_layer.h"

enum { IN = 5, OUT = 3, MOST = 64 };
__extension__ typedef __int128 wide;

static const char *const nets[] = {
    "dense out=3",
    "dense out=7;relu;dense out=3",
    "dense out=8;relu;dense out=6;relu;dense out=5;relu;dense out=3",
    "dense out=8;maxmin;dense out=6;maxmin;dense out=3",
    "dense out=6;maxmin;dense out=6;relu;dense out=6;maxmin",
    "dense out=6;groupsort size=3;dense out=3",
    "dense out=6;abs;dense out=6;leaky_relu;dense out=3",
    "dense out=6;tanh;dense out=5;softplus;dense out=4;sigmoid;dense out=3",
    "relu;dense out=6;relu;dense out=3;relu",
    "standardise mean=0.3 std=0.4;dense out=6;relu;dense out=3",
    "dense out=6;residual {dense out=6;maxmin};dense out=3",
    "concat {chain {dense out=4;relu};chain {};dense out=3};dense out=6;relu;dense out=3",
};
enum { NETS = sizeof nets / sizeof *nets };

/* z after every matrix and the outputs; *size: of the numbers on the way. */
static void walk(const lip_affine *a, const long double *x, long double z[][MOST]) {
  long double y[MOST];
  memcpy(y, x, a->n_in * sizeof *y);
  for (size_t l = 0; l < a->n; l++) {
    const lip_block *b = &a->block[l];
    assert_true(b->M <= MOST && b->N <= MOST && a->n <= 16);
    for (size_t i = 0; i < b->M; i++) {
      z[l][i] = b->fold ? (long double)b->fold->c[i] : (long double)b->b[i];
      for (size_t k = 0; k < b->N; k++) z[l][i] += (long double)lip_block_weight(b, i * b->N + k) * y[k];
    }
    for (size_t i = 0; i < b->M; i++) {
      size_t m = b->mate ? b->mate[i] : i;
      bool first = m > i ? b->descending : !b->descending; /* i gets the larger */
      double error;
      y[i] = m == i ? z[l][i] : first ? fmaxl(z[l][i], z[l][m]) : fminl(z[l][i], z[l][m]);
      if (m == i && b->phi && i < b->n_phi) assert_true(layer_unit(b->phi, i, z[l][i], &y[i], &error));
      if (m == i && b->bend && i < b->n_phi)
        y[i] = z[l][i] * (long double)(z[l][i] < 0 ? b->bend[i].below : b->bend[i].above);
    }
  }
}

/* A point of the region: corners, faces or its inside. */
static void point(const lip_region *g, lip_rng *rng, long double *x) {
  float d[IN], t[2];
  lip_rng_fill_normal(rng, d, IN, 0, 1);
  lip_rng_fill_uniform(rng, t, 2, 0, 1);
  double size = 0;
  for (size_t i = 0; i < IN; i++) {
    if (g->p == LIP_PINF && t[0] < 0.6f) d[i] = d[i] > 0 ? 1 : -1;
    double v = fabs((double)d[i]);
    size = g->p == LIP_P1 ? size + v : g->p == LIP_P2 ? size + v * v : fmax(size, v);
  }
  if (g->p == LIP_P2) size = sqrt(size);
  double scale = (t[1] < 0.5f ? 1 : (double)t[1]) * g->eps / size * (1 - 1e-12);
  for (size_t i = 0; i < IN; i++) {
    x[i] = (long double)g->x[i] + (long double)((double)d[i] * scale);
    if (g->boxed) x[i] = fminl(fmaxl(x[i], (long double)g->from[i]), (long double)g->to[i]);
  }
}

typedef struct subject {
  lip_net *net;
  lip_affine a;
  lip_region region;
  float x[IN];
  double from[IN], to[IN];
} subject;

static void make(subject *s, size_t net, lip_p p, uint64_t seed, double spread, double eps, bool boxed,
                 lip_rng *rng) {
  lip_err err;
  s->net = cert_build("2", (lip_shape){1, {IN}}, nets[net], spread, seed);
  assert_int_equal(lip_affine_init(&s->a, s->net, &err), LIP_OK);
  assert_null(s->a.unknown);
  lip_rng_fill_uniform(rng, s->x, IN, 0, 1);
  for (size_t i = 0; i < IN; i++) s->from[i] = 0.1 * (double)s->x[i], s->to[i] = 1;
  s->region = (lip_region){.x = s->x, .p = p, .eps = eps, .boxed = boxed, .from = s->from, .to = s->to};
}

static void drop(subject *s) {
  lip_affine_free(&s->a);
  lip_net_free(s->net);
}

static const double sizes[] = {0, 1e-6, 0.02, 0.2, 2};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* ---- rows ---- */

static void random_rows_stay_above(void **state) {
  (void)state;
  enum { ROWS = 70, POINTS = 40 }; /* more than go back together */
  lip_rng rng = lip_rng_new(21, LIP_RNG_USER, 0);
  for (size_t n = 0; n < NETS; n++)
    for (int p = 0; p < 3; p++)
      for (size_t e = 0; e < SIZES; e++) {
        subject s;
        lip_err err;
        lip_relax *r;
        lip_ranges *g;
        float weight[ROWS * MOST], constant[ROWS];
        double C[ROWS * MOST], d[ROWS], low[ROWS], plain[ROWS];
        long double x[IN], z[16][MOST];
        make(&s, n, (lip_p)p, n + e, 2, sizes[e], e % 2 == 0, &rng);
        assert_int_equal(lip_relax_new(&s.a, s.region.p, &r, &err), LIP_OK);
        assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
        lip_ranges_start(g, &s.region);
        lip_ranges_tighten(g);
        for (size_t l = 0; l < s.a.n; l++) { /* of pairs too */
          size_t M = s.a.block[l].M;
          lip_rng_fill_normal(&rng, weight, ROWS * M, 0, 1);
          lip_rng_fill_normal(&rng, constant, ROWS, 0, 1);
          for (size_t i = 0; i < ROWS * M; i++) C[i] = (double)weight[i] * 1.1;
          for (size_t i = 0; i < ROWS; i++) d[i] = (double)constant[i] * 1.1;
          lip_ranges_rows(g, l, C, d, ROWS, false, plain);
          lip_ranges_rows(g, l, C, d, ROWS, true, low);
          for (size_t i = 0; i < POINTS; i++) {
            point(&s.region, &rng, x);
            walk(&s.a, x, z);
            for (size_t k = 0; k < ROWS; k++) {
              long double sum = (long double)d[k], size = fabsl(sum);
              for (size_t j = 0; j < M; j++) {
                sum += (long double)C[k * M + j] * z[l][j];
                size += fabsl((long double)C[k * M + j] * z[l][j]);
              }
              assert_true((long double)low[k] <= sum + 1e-16L * size);
              assert_true(isfinite(low[k]) && low[k] >= plain[k]);
            }
          }
        }
        lip_ranges_free(g);
        lip_relax_free(r);
        drop(&s);
      }
}

/* Margins as rows written out: the same numbers. What is not a number proves nothing. */
static void margins_are_rows(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(22, LIP_RNG_USER, 0);
  for (size_t n = 0; n < NETS; n++) {
    subject s;
    lip_err err;
    lip_relax *r;
    lip_ranges *g;
    make(&s, n, LIP_P2, n, 1, 0.1, false, &rng);
    s.region.executed = LIP_EXECUTED_FLOAT32;
    assert_int_equal(lip_relax_new(&s.a, LIP_P2, &r, &err), LIP_OK);
    assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
    lip_ranges_start(g, &s.region);
    lip_ranges_tighten(g);
    size_t C = s.a.n_out, last = lip_ranges_last(g);
    double margin[MOST], row[MOST] = {0}, low;
    lip_ranges_margins(g, 0, true, margin);
    for (size_t j = 1; j < C; j++) {
      memset(row, 0, sizeof row);
      row[0] = 1;
      row[j] = -1;
      lip_ranges_rows(g, last, row, NULL, 1, true, &low);
      assert_true(low == margin[j] && isfinite(low));
    }
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
      row[1] = bad[i];
      lip_ranges_rows(g, last, row, NULL, 1, true, &low);
      assert_true(low == -INFINITY);
      row[1] = 1;
      lip_ranges_rows(g, last, row, &bad[i], 1, true, &low);
      assert_true(low == -INFINITY);
    }
    lip_ranges_free(g);
    lip_relax_free(r);
    drop(&s);
  }
}

/* Weights of rows that cancel, in whole numbers of more digits than a double has: at one point, in 128 bits. */
static void rounding_of_rows_is_counted(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(41, LIP_RNG_USER, 0);
  size_t close = 0;
  for (size_t n = 0; n < 500; n++) {
    subject s;
    lip_err err;
    lip_relax *r;
    lip_ranges *g;
    make(&s, 0, LIP_P2, n, 1, 0, false, &rng);
    double C[2 * OUT], c = floor(lip_rng_uniform(&rng) * 0x1p45), low[2], plain[2];
    wide exact = 0;
    lip_block *b = &s.a.block[0];
    for (size_t i = 0; i < IN; i++) {
      s.x[i] = floorf(s.x[i] * 0x1p10f);
      b->W[i] = b->W[IN + i] = truncf((float)lip_rng_normal(&rng) * 0x1p20f);
      b->b[0] = b->b[1] = truncf((float)lip_rng_normal(&rng) * 0x1p20f);
    }
    for (size_t i = 0; i < IN; i++) exact += (wide)b->W[i] * (wide)s.x[i];
    exact += (wide)b->b[0]; /* of c + 1 times the first output less c times the second */
    C[0] = -(C[3] = -(c + 1));
    C[1] = -(C[4] = c);
    C[2] = C[5] = 0;
    assert_int_equal(lip_relax_new(&s.a, LIP_P2, &r, &err), LIP_OK);
    assert_int_equal(lip_ranges_new(r, &g, &err), LIP_OK);
    lip_ranges_start(g, &s.region);
    lip_ranges_rows(g, 0, C, NULL, 2, false, plain);
    lip_ranges_rows(g, 0, C, NULL, 2, true, low);
    for (size_t i = 0; i < 2; i++) {
      wide v = i ? -exact : exact;
      assert_true((wide)floor(plain[i]) <= v && (wide)floor(low[i]) <= v);
      close += (double)v - low[i] < 0x1p36;
    }
    lip_ranges_free(g);
    lip_relax_free(r);
    drop(&s);
  }
  assert_true(close > 900); /* terms are of 2^77 */
}

/* ---- values ---- */

static size_t count(const lip_affine *a) {
  size_t n = 0;
  for (size_t l = 0; l < a->n; l++) n += a->block[l].own;
  return n;
}

static void values_stay_inside(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(23, LIP_RNG_USER, 0);
  for (size_t n = 0; n < NETS; n++)
    for (int p = 0; p < 3; p++)
      for (size_t e = 0; e < SIZES; e++)
        for (int relaxed = 0; relaxed < 2; relaxed++) {
          subject s;
          lip_err err;
          double bounds[2 * 16 * MOST];
          long double x[IN], z[16][MOST];
          make(&s, n, (lip_p)p, n + e, 2, sizes[e], e % 2 == 1, &rng);
          assert_true(count(&s.a) <= 16 * MOST);
          assert_int_equal(lip_enclose_values(&s.a, &s.region, relaxed, bounds, &err), LIP_OK);
          for (size_t i = 0; i < 60; i++) {
            point(&s.region, &rng, x);
            walk(&s.a, x, z);
            const double *at = bounds;
            for (size_t l = 0; l < s.a.n; l++)
              for (size_t k = 0; k < s.a.block[l].own; k++, at += 2) {
                long double off = 1e-17L * fabsl(z[l][k]);
                assert_true((long double)at[0] <= z[l][k] + off && z[l][k] - off <= (long double)at[1]);
                assert_true(at[1] - at[0] < INFINITY);
              }
          }
          drop(&s);
        }
}

/* As executed: float32 points of the ball. */
static void executed_outputs_stay_inside(void **state) {
  (void)state;
  enum { POINTS = 32 };
  lip_rng rng = lip_rng_new(24, LIP_RNG_USER, 0);
  for (size_t n = 0; n < NETS; n++)
    for (size_t e = 0; e < SIZES; e++) {
      subject s;
      lip_err err;
      double bounds[2 * 16 * MOST];
      float y[POINTS * IN];
      make(&s, n, LIP_PINF, n + e, 40, sizes[e], false, &rng);
      s.region.executed = LIP_EXECUTED_FLOAT32;
      assert_int_equal(lip_enclose_values(&s.a, &s.region, true, bounds, &err), LIP_OK);
      assert_int_equal(lip_net_reserve(s.net, POINTS, &err), LIP_OK);
      for (size_t i = 0; i < POINTS * IN; i++) {
        float t;
        lip_rng_fill_uniform(&rng, &t, 1, -1, 1);
        y[i] = (float)((double)s.x[i % IN] + (double)t * sizes[e]);
        if (fabs((double)y[i] - (double)s.x[i % IN]) > sizes[e]) y[i] = s.x[i % IN];
      }
      lip_net_forward(s.net, y, POINTS, false);
      const double *at = bounds + 2 * (count(&s.a) - s.a.n_out);
      for (size_t i = 0; i < POINTS * s.a.n_out; i++) {
        double v = (double)s.net->logits[i];
        assert_true(at[2 * (i % s.a.n_out)] <= v && v <= at[2 * (i % s.a.n_out) + 1]);
      }
      drop(&s);
    }
}

/* ---- derivatives ---- */

/* Quotients of pairs of points of the region that differ in one coordinate, far apart or close. */
static void quotients_stay_inside(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(25, LIP_RNG_USER, 0);
  for (size_t n = 0; n < NETS; n++)
    for (int p = 0; p < 3; p++)
      for (size_t e = 1; e < SIZES; e++) {
        subject s;
        lip_err err;
        double low[MOST * IN], high[MOST * IN];
        long double x[IN], z[16][MOST], before[MOST];
        make(&s, n, (lip_p)p, n + 10 * e, 2, sizes[e], e % 2 == 1, &rng);
        assert_int_equal(lip_enclose_jacobian(&s.a, &s.region, low, high, &err), LIP_OK);
        size_t C = s.a.n_out, last = s.a.n - 1;
        for (size_t i = 0; i < 200; i++) {
          float t;
          point(&s.region, &rng, x);
          walk(&s.a, x, z);
          memcpy(before, z[last], sizeof before);
          size_t k = i % IN;
          long double was = x[k], near = (long double)s.x[k];
          lip_rng_fill_uniform(&rng, &t, 1, 0, 1);
          /* towards the middle, which stays in the region */
          x[k] = was + (near - was) * (i % 2 ? (long double)t : 1e-3L);
          long double step = x[k] - was;
          if (fabsl(step) < 1e-12L) continue;
          walk(&s.a, x, z);
          for (size_t j = 0; j < C; j++) {
            long double slope = (z[last][j] - before[j]) / step;
            long double off = 1e-17L * (fabsl(before[j]) + 100) / fabsl(step);
            assert_true((long double)low[j * IN + k] <= slope + off);
            assert_true(slope - off <= (long double)high[j * IN + k]);
            assert_true(high[j * IN + k] - low[j * IN + k] < INFINITY);
          }
        }
        drop(&s);
      }
}

/* A linear net has one derivative, one hidden layer of units that all may bend the sum of what each can do. */
static void small_nets_are_tight(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(26, LIP_RNG_USER, 0);
  lip_err err;
  subject s;
  double low[OUT * IN], high[OUT * IN];
  make(&s, 0, LIP_P2, 1, 2, 5, false, &rng);
  assert_int_equal(lip_enclose_jacobian(&s.a, &s.region, low, high, &err), LIP_OK);
  for (size_t i = 0; i < OUT * IN; i++) {
    double w = (double)s.a.block[0].W[i];
    assert_true(low[i] <= w && w <= high[i] && high[i] - low[i] <= 1e-12 * fabs(w));
  }
  drop(&s);
  make(&s, 1, LIP_PINF, 1, 2, 100, false, &rng); /* a ball in which every unit bends */
  assert_int_equal(lip_enclose_jacobian(&s.a, &s.region, low, high, &err), LIP_OK);
  const lip_block *b = &s.a.block[0], *c = &s.a.block[1];
  for (size_t j = 0; j < OUT; j++)
    for (size_t i = 0; i < IN; i++) {
      double least = 0, most = 0;
      for (size_t k = 0; k < b->M; k++) {
        double v = (double)c->W[j * c->N + k] * (double)b->W[k * IN + i];
        least += fmin(v, 0);
        most += fmax(v, 0);
      }
      assert_true(fabs(low[j * IN + i] - least) <= 1e-12 * (1 + fabs(least)));
      assert_true(fabs(high[j * IN + i] - most) <= 1e-12 * (1 + fabs(most)));
    }
  drop(&s);
}

/* Where no unit bends, all is one matrix: the products keep what cancels. */
static void known_slopes_leave_one_matrix(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(27, LIP_RNG_USER, 0);
  for (size_t n = 0; n < NETS; n++) {
    if (strstr(nets[n], "tanh")) continue;
    subject s;
    lip_err err;
    double low[MOST * IN], high[MOST * IN];
    make(&s, n, LIP_PINF, n + 3, 2, 1e-9, false, &rng);
    assert_int_equal(lip_enclose_jacobian(&s.a, &s.region, low, high, &err), LIP_OK);
    for (size_t i = 0; i < s.a.n_out * IN; i++) assert_true(high[i] - low[i] <= 1e-10 * (1 + fabs(low[i])));
    drop(&s);
  }
}

/* Derivatives of whole numbers that no double holds, all units active: the exact one, in 128 bits, is inside, and doubles that
 * are rounded without care are not always. */
static void rounding_is_counted(void **state) {
  (void)state;
  enum { W = 6 };
  lip_rng rng = lip_rng_new(40, LIP_RNG_USER, 0);
  for (size_t n = 0; n < 300; n++) {
    lip_net *net = cert_build("2", (lip_shape){1, {1}},
                              n % 2 ? "dense out=6;relu;dense out=6;relu;dense out=1"
                                    : "dense out=6;maxmin;dense out=6;relu;dense out=1",
                              1, 1);
    float a[W], b[W * W], c[W], bias[W], x = 0;
    for (size_t i = 0; i < W; i++) {
      a[i] = truncf((float)lip_rng_normal(&rng) * 0x1p21f);
      c[i] = truncf((float)lip_rng_normal(&rng) * 0x1p21f);
      bias[i] = (float)(W - i) * 0x1p60f;
      for (size_t k = 0; k < W; k++) b[i * W + k] = truncf((float)lip_rng_normal(&rng) * 0x1p21f);
      b[i * W] = fabsf(b[i * W]) + 0x1p24f; /* the largest of all: the second layer is active, too */
    }
    cert_set_weights(net, 0, a);
    cert_set_weights(net, 1, b);
    cert_set_weights(net, 2, c);
    cert_set_bias(net, 0, bias);
    lip_net_touch(net);
    wide exact = 0;
    for (size_t i = 0; i < W; i++)
      for (size_t k = 0; k < W; k++) exact += (wide)c[i] * (wide)b[i * W + k] * (wide)a[k];
    lip_affine f;
    lip_err err;
    double low, high;
    assert_int_equal(lip_affine_init(&f, net, &err), LIP_OK);
    lip_region region = {.x = &x, .p = LIP_PINF, .eps = 1e-6};
    assert_int_equal(lip_enclose_jacobian(&f, &region, &low, &high, &err), LIP_OK);
    assert_true((wide)floor(low) <= exact && exact <= (wide)ceil(high));
    assert_true(high - low <= 1e-9 * 0x1p75);
    lip_affine_free(&f);
    lip_net_free(net);
  }
}

/* Weights above 0 and functions that rise: every sign is seen in any ball. */
static void monotone_nets_are_seen(void **state) {
  (void)state;
  static const size_t which[] = {1, 2, 3, 5, 7};
  lip_rng rng = lip_rng_new(28, LIP_RNG_USER, 0);
  for (size_t w = 0; w < 5; w++) {
    subject s;
    lip_err err;
    double low[MOST * IN], high[MOST * IN];
    make(&s, which[w], LIP_P2, w, 1, 3, false, &rng);
    lip_affine_free(&s.a);
    for (size_t i = 0; i < s.net->n_params; i++) s.net->weights[i] = fabsf(s.net->weights[i]);
    lip_net_touch(s.net);
    assert_int_equal(lip_affine_init(&s.a, s.net, &err), LIP_OK);
    assert_int_equal(lip_enclose_jacobian(&s.a, &s.region, low, high, &err), LIP_OK);
    for (size_t i = 0; i < s.a.n_out * IN; i++) assert_true(high[i] > 0 && low[i] >= -1e-12 * high[i]);
    drop(&s);
  }
}

/* ---- what is hostile ---- */

static void hostile_regions_are_unknown(void **state) {
  (void)state;
  static const double bad[] = {NAN, INFINITY, -1};
  lip_rng rng = lip_rng_new(29, LIP_RNG_USER, 0);
  for (size_t n = 0; n < NETS; n++)
    for (size_t i = 0; i < 6; i++) {
      subject s;
      lip_err err;
      double low[MOST * IN], high[MOST * IN], bounds[2 * 16 * MOST];
      make(&s, n, LIP_P2, n, 1, 0.1, false, &rng);
      if (i < 3) s.region.eps = bad[i];
      if (i == 3) s.x[1] = NAN;
      if (i > 3) { /* a weight of the first layer that has some */
        lip_affine_free(&s.a);
        s.net->weights[0] = i == 4 ? NAN : 1e38f;
        for (size_t k = 0; i == 5 && k < s.net->n_params; k++) s.net->weights[k] = 3e38f;
        lip_net_touch(s.net);
        assert_int_equal(lip_affine_init(&s.a, s.net, &err), LIP_OK);
      }
      assert_int_equal(lip_enclose_jacobian(&s.a, &s.region, low, high, &err), LIP_OK);
      assert_int_equal(lip_enclose_values(&s.a, &s.region, true, bounds, &err), LIP_OK);
      for (size_t k = 0; k < s.a.n_out * IN; k++) {
        if (i < 4) assert_true(low[k] == -INFINITY && high[k] == INFINITY);
        assert_true(low[k] <= high[k]); /* no NaN */
      }
      for (size_t k = 0; k < count(&s.a); k++) {
        if (i < 4) assert_true(bounds[2 * k] == -INFINITY && bounds[2 * k + 1] == INFINITY);
        assert_true(bounds[2 * k] <= bounds[2 * k + 1]);
      }
      drop(&s);
    }
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(30, LIP_RNG_USER, 0);
  subject s;
  make(&s, 3, LIP_P2, 1, 1, 0.1, false, &rng);
  for (int kind = 0; kind < 2; kind++) {
    bool done = false;
    for (size_t n = 1; !done; n++) {
      lip_err err;
      double low[MOST * IN], high[MOST * IN], bounds[2 * 16 * MOST];
      assert_true(n < 500);
      lip_mem_fail_nth(n);
      lip_status status = kind ? lip_enclose_jacobian(&s.a, &s.region, low, high, &err)
                               : lip_enclose_values(&s.a, &s.region, true, bounds, &err);
      lip_mem_fail_nth(0);
      done = status == LIP_OK;
      assert_true(done || status == LIP_MEMORY);
    }
  }
  drop(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_rows_stay_above),       cmocka_unit_test(margins_are_rows),
      cmocka_unit_test(rounding_of_rows_is_counted),  cmocka_unit_test(values_stay_inside),
      cmocka_unit_test(executed_outputs_stay_inside), cmocka_unit_test(quotients_stay_inside),
      cmocka_unit_test(small_nets_are_tight),         cmocka_unit_test(known_slopes_leave_one_matrix),
      cmocka_unit_test(monotone_nets_are_seen),       cmocka_unit_test(rounding_is_counted),
      cmocka_unit_test(hostile_regions_are_unknown),  cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
