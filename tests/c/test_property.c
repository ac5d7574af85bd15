/* Properties of outputs: exact signs against integers, values and ways against sorting, verdicts against those of labels and
 * against search. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/attack/attack.h"
#include "core/attack/goal.h"
#include "core/base/mem.h"
#include "core/cert/local.h"
#include "core/net/property.h"
#include "support_cert.h"

enum { C = 4 };
__extension__ typedef __int128 wide;

static double uniform(lip_rng *rng, double from, double to) {
  return from + (to - from) * lip_rng_uniform(rng);
}

static lip_property rows(const double *w, const double *d, size_t n, size_t need) {
  lip_err err;
  lip_property p = {.asked = LIP_ASK_ROWS, .C = C};
  assert_int_equal(lip_property_add(&p, w, d, n, need, &err), LIP_OK);
  return p;
}

/* ---- signs ---- */

/* Whole numbers times powers of two, summed in 128 bits. */
static void signs_are_exact(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(31, LIP_RNG_USER, 0);
  size_t ties = 0;
  for (size_t n = 0; n < 20000; n++) {
    double w[C], d;
    float z[C];
    wide sum = 0;
    for (size_t k = 0; k < C; k++) {
      int64_t a = (int64_t)uniform(&rng, -0x1p40, 0x1p40), b = (int64_t)uniform(&rng, -0x1p20, 0x1p20);
      w[k] = (double)a;
      z[k] = (float)b;
      if (n % 2 && k % 2) w[k] = -w[k - 1], z[k] = z[k - 1]; /* cancels */
      sum += (wide)w[k] * (wide)z[k];
    }
    int64_t close = n % 3 == 0 ? (int64_t)uniform(&rng, -2, 2) : 0;
    d = (double)(-sum) + (double)close; /* may be rounded: then the exact sum is not 0 */
    sum += (wide)d;
    lip_property p = rows(w, &d, 1, 1);
    assert_int_equal(lip_property_state(&p, 0, z), sum > 0 ? LIP_HOLDS : LIP_BROKEN);
    ties += sum == 0;
    lip_property_free(&p);
  }
  assert_true(ties > 1000 && ties < 19000);
}

static void odd_numbers_hold_nothing(void **state) {
  (void)state;
  static const float odd[] = {NAN, INFINITY, -INFINITY};
  double w[C] = {1, 0, -1, 0}, zero = 0;
  lip_property p = rows(w, &zero, 1, 1);
  for (size_t i = 0; i < 3; i++) {
    float z[C] = {1, odd[i], 0, 0}; /* no part of the row */
    assert_int_equal(lip_property_state(&p, 0, z), LIP_HOLDS);
    z[0] = odd[i];
    assert_int_equal(lip_property_state(&p, 0, z), i == 1 ? LIP_HOLDS : LIP_BROKEN);
    z[2] = odd[i];
    assert_int_equal(lip_property_state(&p, 0, z), LIP_BROKEN);
  }
  lip_property_free(&p);
  /* rows that are no numbers, products too small or too large: nobody knows */
  static const double weight[] = {NAN, INFINITY, 0x1p-1000, 0x1p1010};
  for (size_t i = 0; i < 4; i++) {
    double v[C] = {weight[i], -weight[i], 0, 0};
    float z[C] = {1, 1, 0, 0};
    p = rows(v, &zero, 1, 1);
    assert_int_equal(lip_property_state(&p, 0, z), LIP_UNDECIDED);
    lip_property_free(&p);
  }
  /* denormal outputs count, whatever this thread flushes */
  double one[C] = {1, 0, 0, 0};
  float least[C] = {0x1p-149f, 0, 0, 0};
  p = rows(one, &zero, 1, 1);
  assert_int_equal(lip_property_state(&p, 0, least), LIP_HOLDS);
  least[0] = -0x1p-149f;
  assert_int_equal(lip_property_state(&p, 0, least), LIP_BROKEN);
  lip_property_free(&p);
}

/* ---- clauses ---- */

static int rising(const void *a, const void *b) {
  double u = *(const double *)a, v = *(const double *)b;
  return u < v ? -1 : u > v;
}

/* The deciding row by sorting, the state by counting. */
static void clauses_count(void **state) {
  (void)state;
  enum { ROWS = 9 };
  lip_rng rng = lip_rng_new(32, LIP_RNG_USER, 0);
  for (size_t n = 0; n < 3000; n++) {
    double w[ROWS * C], d[ROWS], value[ROWS];
    float z[C];
    size_t m = 1 + n % ROWS, need = 1 + (n / ROWS) % m, above = 0, row;
    for (size_t k = 0; k < C; k++) z[k] = (float)(int)uniform(&rng, -3, 3);
    for (size_t i = 0; i < m * C; i++) w[i] = (int)uniform(&rng, -3, 3);
    for (size_t i = 0; i < m; i++) {
      value[i] = d[i] = (int)uniform(&rng, -3, 3);
      for (size_t k = 0; k < C; k++) value[i] += w[i * C + k] * (double)z[k];
      above += value[i] > 0;
    }
    lip_property p = rows(w, d, m, need);
    lip_clause c = lip_property_clause(&p, 0, 0);
    double v = lip_clause_value(&p, &c, 0, z, &row);
    assert_true(row < m && value[row] == v && lip_property_value(&p, 0, z) == v);
    assert_int_equal(lip_property_state(&p, 0, z), above >= need ? LIP_HOLDS : LIP_BROKEN);
    assert_int_equal(lip_property_proved(&p, 0, value), above >= need);
    assert_int_equal(v > 0, above >= need);
    qsort(value, m, sizeof *value, rising);
    assert_true(v == value[m - need]);
    lip_property_free(&p);
  }
}

static void labels_by_hand(void **state) {
  (void)state;
  lip_err err;
  lip_property p;
  float z[C] = {3, 1, 2, 2};
  const struct {
    lip_asked asked;
    size_t number, y;
    lip_state state;
    double value;
  } cases[] = {
      {LIP_ASK_LABEL, 0, 0, LIP_HOLDS, 1},   {LIP_ASK_LABEL, 0, 2, LIP_BROKEN, -1},
      {LIP_ASK_TARGET, 1, 0, LIP_HOLDS, 2},  {LIP_ASK_TARGET, 1, 2, LIP_HOLDS, 1},
      {LIP_ASK_TARGET, 3, 2, LIP_BROKEN, 0}, {LIP_ASK_TARGET, 0, 0, LIP_HOLDS, 1}, /* all of them */
      {LIP_ASK_TOP, 1, 0, LIP_HOLDS, 1},     {LIP_ASK_TOP, 2, 2, LIP_BROKEN, 0},   /* a tie with class 3 */
      {LIP_ASK_TOP, 3, 2, LIP_HOLDS, 1},     {LIP_ASK_TOP, 3, 1, LIP_BROKEN, -1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(lip_property_label(&p, cases[i].asked, C, cases[i].number, &err), LIP_OK);
    assert_int_equal(lip_property_state(&p, cases[i].y, z), cases[i].state);
    assert_true(lip_property_value(&p, cases[i].y, z) == cases[i].value);
  }
  z[1] = NAN;
  assert_int_equal(lip_property_label(&p, LIP_ASK_LABEL, C, 0, &err), LIP_OK);
  assert_int_equal(lip_property_state(&p, 0, z), LIP_BROKEN);
  assert_int_equal(lip_property_label(&p, LIP_ASK_TARGET, C, C, &err), LIP_OPTION);
  assert_int_equal(lip_property_label(&p, LIP_ASK_TOP, C, 0, &err), LIP_OPTION);
  assert_int_equal(lip_property_label(&p, LIP_ASK_TOP, C, C, &err), LIP_OPTION);
  assert_int_equal(lip_property_label(&p, LIP_ASK_LABEL, 1, 0, &err), LIP_OPTION);
  double w[C] = {0}, d = 0;
  p = (lip_property){.asked = LIP_ASK_ROWS, .C = C};
  assert_int_equal(lip_property_add(&p, w, &d, 0, 0, &err), LIP_OPTION);
  assert_int_equal(lip_property_add(&p, w, &d, 1, 2, &err), LIP_OPTION);
  assert_false(lip_property_proved(&p, 0, NULL)); /* nothing asked, nothing proved */
  double nan = NAN;
  assert_int_equal(lip_property_add(&p, w, &d, 1, 1, &err), LIP_OK);
  assert_false(lip_property_proved(&p, 0, &nan));
  lip_property_free(&p);
}

/* ---- ways to break it ---- */

static void ways_are_ranked(void **state) {
  (void)state;
  enum { ROWS = 6 };
  lip_rng rng = lip_rng_new(33, LIP_RNG_USER, 0);
  for (size_t n = 0; n < 500; n++) {
    double w[ROWS * C], d[ROWS];
    float z[C], dz[C];
    for (size_t i = 0; i < ROWS * C; i++) w[i] = uniform(&rng, -1, 1);
    for (size_t i = 0; i < ROWS; i++) d[i] = uniform(&rng, -1, 1);
    for (size_t k = 0; k < C; k++) z[k] = (float)uniform(&rng, -1, 1);
    lip_err err;
    lip_property p = rows(w, d, 3, 3);
    assert_int_equal(lip_property_add(&p, w + 3 * C, d + 3, 3, 1 + n % 2, &err), LIP_OK);
    size_t ways;
    int32_t ranked[8];
    double scratch[8], last = INFINITY;
    assert_int_equal(lip_goal_ways(&p, &ways, &err), LIP_OK);
    assert_int_equal(ways, 4);
    lip_goal_rank(&p, 0, z, 6, ranked, scratch);
    for (size_t i = 0; i < 4; i++) {
      double rise = lip_goal_rise(&p, 0, ranked[i], z, dz);
      assert_true(rise <= last);
      last = rise;
      for (size_t j = 0; j < i; j++) assert_int_not_equal(ranked[i], ranked[j]);
      float there[C];
      for (size_t k = 0; k < C; k++) there[k] = z[k] + 1e-3f * dz[k];
      assert_true(lip_goal_rise(&p, 0, ranked[i], there, dz) > rise - 1e-4);
    }
    assert_true(ranked[4] == -1 && ranked[5] == -1);
    assert_true(lip_goal_rise(&p, 0, -1, z, dz) == lip_goal_rise(&p, 0, ranked[0], z, dz));
    lip_goal_rank(&p, 0, z, 2, ranked + 4, scratch);
    assert_true(ranked[4] == ranked[0] && ranked[5] == ranked[1]);
    lip_property_free(&p);
  }
}

/* ---- verdicts ---- */

enum { IN = 4, POINTS = 40 };

static lip_net *make_net(uint64_t seed) {
  return cert_build("2", (lip_shape){1, {IN}}, "dense out=8;relu;dense out=8;maxmin;dense out=4", 2, seed);
}

static void certify(lip_net *net, const lip_property *p, lip_p norm, const double *eps, size_t n_eps,
                    const float *x, size_t B, lip_radius *io) {
  lip_err err;
  lip_local *c;
  lip_local_conf conf = {
      .p = norm, .eps = eps, .n_eps = n_eps, .halvings = 6, .executed = LIP_EXECUTED_FLOAT32, .property = p};
  assert_int_equal(lip_local_new(net, &conf, &c, &err), LIP_OK);
  assert_int_equal(lip_local_certify(c, x, B, io, &err), LIP_OK);
  lip_local_free(c);
}

/* All margins of the label, by rows and by name, prove what the label alone does. */
static void label_rows_are_the_label(void **state) {
  (void)state;
  static const double eps[] = {0.003, 0.01, 0.03, 0.1};
  lip_rng rng = lip_rng_new(34, LIP_RNG_USER, 0);
  size_t proved = 0;
  for (uint64_t seed = 0; seed < 20; seed++) {
    lip_net *net = make_net(seed);
    lip_err err;
    float x[IN];
    lip_rng_fill_uniform(&rng, x, IN, 0, 1);
    assert_int_equal(lip_net_reserve(net, 1, &err), LIP_OK);
    lip_net_forward(net, x, 1, false);
    lip_radius label = {.label = lip_outputs_answer(net->logits, C), .margin = 1}, byrows, top;
    double w[C * C] = {0}, d[C] = {0};
    size_t n = 0;
    for (size_t j = 0; j < C; j++)
      if ((int32_t)j != label.label) {
        w[n * C + (size_t)label.label] = 1;
        w[n++ * C + j] = -1;
      }
    lip_property p = rows(w, d, n, n), first;
    assert_int_equal(lip_property_label(&first, LIP_ASK_TOP, C, 1, &err), LIP_OK);
    lip_local_begin(&p, net->logits, 1, NULL, &byrows);
    lip_local_begin(&first, net->logits, 1, NULL, &top);
    for (int norm = 0; norm < 3; norm++) {
      lip_radius a = label, b = byrows, t = top;
      certify(net, NULL, (lip_p)norm, eps, 4, x, 1, &a);
      certify(net, &p, (lip_p)norm, eps, 4, x, 1, &b);
      certify(net, &first, (lip_p)norm, eps, 4, x, 1, &t);
      assert_true(a.radius == b.radius && a.radius == t.radius);
      proved += a.radius > 0;
    }
    lip_property_free(&p);
    lip_net_free(net);
  }
  assert_true(proved > 10);
}

/* What is proved is broken by no point that a search finds, and what the attack calls broken is. */
static void verdicts_do_not_contradict(void **state) {
  (void)state;
  static const double eps[] = {0.05, 0.1, 0.2};
  lip_rng rng = lip_rng_new(35, LIP_RNG_USER, 0);
  size_t proved = 0, broken = 0;
  for (uint64_t seed = 0; seed < 60; seed++) {
    lip_net *net = make_net(seed);
    lip_err err;
    lip_property p = {.asked = LIP_ASK_ROWS, .C = C};
    float x[POINTS * IN], found[POINTS * IN];
    lip_radius io[POINTS];
    lip_attacked hit[POINTS];
    if (seed % 3 == 0) {
      assert_int_equal(lip_property_label(&p, LIP_ASK_TOP, C, 1 + seed % 3, &err), LIP_OK);
    } else if (seed % 3 == 1) {
      assert_int_equal(lip_property_label(&p, LIP_ASK_TARGET, C, seed % C, &err), LIP_OK);
    } else {
      for (size_t k = 0; k < 2; k++) {
        double w[3 * C], d[3];
        for (size_t i = 0; i < 3 * C; i++) w[i] = uniform(&rng, -1, 1);
        for (size_t i = 0; i < 3; i++) d[i] = uniform(&rng, 0, 2);
        assert_int_equal(lip_property_add(&p, w, d, 3, 1 + (seed + k) % 3, &err), LIP_OK);
      }
    }
    lip_rng_fill_uniform(&rng, x, POINTS * IN, 0, 1);
    assert_int_equal(lip_net_reserve(net, POINTS, &err), LIP_OK);
    lip_net_forward(net, x, POINTS, false);
    lip_local_begin(&p, net->logits, POINTS, NULL, io);
    lip_p norm = (lip_p)(seed / 3 % 3);
    certify(net, &p, norm, eps, 3, x, POINTS, io);
    for (size_t e = 0; e < 3; e++) {
      lip_attack *a;
      lip_attack_conf conf = {.kind = lip_attack_kind_find("apgd"),
                              .p = norm,
                              .eps = eps[e],
                              .steps = 20,
                              .targets = LIP_ALL_TARGETS,
                              .seed = 1,
                              .property = &p};
      assert_int_equal(lip_attack_new(net, &conf, POINTS, &a, &err), LIP_OK);
      assert_int_equal(lip_attack_run(a, x, NULL, 0, POINTS, found, hit, &err), LIP_OK);
      lip_net_forward(net, found, POINTS, false);
      for (size_t i = 0; i < POINTS; i++) {
        size_t y = (size_t)io[i].label;
        bool bad = lip_property_state(&p, y, net->logits + i * C) == LIP_BROKEN;
        assert_int_equal(hit[i].correct, io[i].margin > 0);
        if (hit[i].broken) assert_true(bad && hit[i].distance <= eps[e]);
        if (hit[i].correct && bad) assert_true(hit[i].broken);
        assert_false(hit[i].broken && io[i].radius >= eps[e]);
        broken += hit[i].broken;
        proved += io[i].radius >= eps[e];
      }
      lip_attack_free(a);
    }
    lip_property_free(&p);
    lip_net_free(net);
  }
  assert_true(proved > 300 && broken > 300);
}

/* Bounds of rows are below what points of the ball come to, and say as much as the verdict. */
static void proved_rows_hold(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(36, LIP_RNG_USER, 0);
  const double eps = 0.05;
  for (uint64_t seed = 0; seed < 20; seed++) {
    lip_net *net = make_net(seed);
    lip_err err;
    lip_local *c;
    float x[IN], y[POINTS * IN];
    double low[C];
    lip_rng_fill_uniform(&rng, x, IN, 0, 1);
    lip_local_conf conf = {.p = LIP_PINF, .eps = &eps, .n_eps = 1, .executed = LIP_EXECUTED_FLOAT32};
    lip_radius io = {.label = (int32_t)(seed % C), .margin = 1};
    assert_int_equal(lip_local_new(net, &conf, &c, &err), LIP_OK);
    assert_int_equal(lip_local_rows(c, x, 1, &io, low, &err), LIP_OK);
    assert_int_equal(lip_local_certify(c, x, 1, &io, &err), LIP_OK);
    size_t above = 0;
    for (size_t j = 0; j < C; j++) above += j != seed % C && low[j] > 0;
    assert_int_equal(above == C - 1, io.radius == eps);
    assert_int_equal(lip_net_reserve(net, POINTS, &err), LIP_OK);
    for (size_t i = 0; i < POINTS * IN; i++) {
      y[i] = (float)uniform(&rng, (double)x[i % IN] - eps, (double)x[i % IN] + eps);
      if (fabs((double)y[i] - (double)x[i % IN]) > eps) y[i] = x[i % IN];
    }
    lip_net_forward(net, y, POINTS, false);
    for (size_t i = 0; i < POINTS; i++)
      for (size_t j = 0; j < C; j++) {
        const float *z = net->logits + i * C;
        assert_true(low[j] > -INFINITY && low[j] <= (double)z[seed % C] - (double)z[j]);
      }
    io.label = -1;
    assert_int_equal(lip_local_rows(c, x, 1, &io, low, &err), LIP_OK);
    for (size_t j = 0; j < C; j++) assert_true(low[j] == -INFINITY);
    lip_local_free(c);
    lip_net_free(net);
  }
}

/* Rows that hold here or there: a sum of them is positive everywhere, or is not when there is a point where none is. */
static void sums_prove_alternatives(void **state) {
  (void)state;
  lip_net *net = cert_build("2", (lip_shape){1, {C}}, "dense out=4", 1, 1);
  float eye[C * C] = {0}, none[C] = {0}, x[C] = {0, 0, 0, 0};
  for (size_t k = 0; k < C; k++) eye[k * C + k] = 1;
  cert_set_weights(net, 0, eye);
  cert_set_bias(net, 0, none);
  const double eps = 0.5, third = 1.0 / 3;
  const struct {
    double w[3 * C], d[3];
    size_t n, need;
    bool holds;
  } cases[] = {
      {{1, 0, 0, 0, -1, 0, 0, 0}, {0.01, 0.01}, 2, 1, true},  /* z > -0.01 or z < 0.01 */
      {{1, 0, 0, 0, -1, 0, 0, 0}, {0, 0}, 2, 1, false},       /* not at 0 */
      {{1, 0, 0, 0, -1, 0, 0, 0}, {0.2, -0.19}, 2, 1, true},  /* z > -0.2 or z < -0.19 */
      {{1, 0, 0, 0, -1, 0, 0, 0}, {0.2, -0.21}, 2, 1, false}, /* not between */
      {{1, 0, 0, 0, -1, 0, 0, 0}, {0.1, 0.1}, 2, 2, false},   /* both */
      {{1, 1, 0, 0, -1, 0, 0, 0, 0, -1, 0, 0}, {0.1, 0, 0}, 3, 1, true},
      {{1, 1, 0, 0, -1, 0, 0, 0, 0, -1, 0, 0}, {0, 0, 0}, 3, 1, false},
      {{1, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0}, {0.1, 0.1, 1}, 3, 2, true}, /* one is always there */
      {{1, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0}, {0.1, 0.1, 0}, 3, 2, false},
      {{0.1, 0.2, 0.7, 0, -0.1, -0.2, -0.7, 0}, {third, -third}, 2, 1, false}, /* a sum of exactly 0 */
      {{1, 0, 0, 0, -0.25, 0, 0, 0}, {0.1, 0.1}, 2, 1, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    lip_property p = rows(cases[i].w, cases[i].d, cases[i].n, cases[i].need);
    lip_radius io = {.label = 0, .margin = 1};
    certify(net, &p, LIP_PINF, &eps, 1, x, 1, &io);
    assert_int_equal(io.radius == eps, cases[i].holds);
    lip_property_free(&p);
  }
  lip_net_free(net);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  double w[3 * C] = {1, -1}, d[3] = {1, 1, 1};
  bool done = false;
  for (size_t n = 1; !done; n++) {
    lip_err err;
    lip_property p = {.asked = LIP_ASK_ROWS, .C = C};
    assert_true(n < 20);
    lip_mem_fail_nth(n);
    lip_status status = lip_property_add(&p, w, d, 3, 3, &err);
    if (!status) status = lip_property_add(&p, w, d, 2, 1, &err);
    lip_mem_fail_nth(0);
    done = status == LIP_OK;
    assert_true(done || status == LIP_MEMORY);
    assert_true(p.m == (done ? 5 : p.n == 1 ? 3 : 0));
    lip_property_free(&p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(signs_are_exact),
      cmocka_unit_test(odd_numbers_hold_nothing),
      cmocka_unit_test(clauses_count),
      cmocka_unit_test(labels_by_hand),
      cmocka_unit_test(ways_are_ranked),
      cmocka_unit_test(label_rows_are_the_label),
      cmocka_unit_test(verdicts_do_not_contradict),
      cmocka_unit_test(proved_rows_hold),
      cmocka_unit_test(sums_prove_alternatives),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
