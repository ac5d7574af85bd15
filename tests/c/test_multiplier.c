/* Proposals of multipliers: what elimination says of them against the inequality written out, their gradients against
 * differences, the methods that rest on them against the product, published numbers and each other. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/bound/eliminate.h"
#include "core/bound/leading.h"
#include "core/bound/method.h"
#include "core/norm/symmetric.h"
#include "support_cert.h"

enum { MOST = 96 };

static const char *const layers[] = {
    "dense out=6;relu;dense out=3",
    "dense out=5;relu;dense out=7;relu;dense out=3",
    "dense out=12;relu;dense out=9;leaky_relu slope=0.2;dense out=10;sigmoid;dense out=4",
    "dense out=6;abs;dense out=4;abs;dense out=2",
    "dense out=6;maxmin;dense out=8;maxmin;dense out=3",
    "dense out=9;groupsort size=3;dense out=6;groupsort size=3;dense out=3",
    "dense out=7;tanh;dense out=5;relu;abs;dense out=2",
    "dense out=8;maxmin;dense out=7;leaky_relu slope=0.1;dense out=11",
};
enum { KINDS = sizeof layers / sizeof *layers };

static lip_net *net_of(size_t kind, size_t n_in, uint64_t seed) {
  return cert_build("2", (lip_shape){1, {n_in}}, layers[kind], 1.5, seed);
}

static lip_affine affine_of(const lip_net *net) {
  lip_affine a;
  lip_err err;
  assert_int_equal(lip_affine_init(&a, net, &err), LIP_OK);
  assert_null(a.unknown);
  return a;
}

/* ---- the inequality of lmi.h, written out ---- */

/* z and y are linear maps of the unknowns (x, y_1, ..., y_{n-1}): rows of coefficients. Units of known slope are
 * replaced by their value. */
typedef struct form {
  size_t n; /* unknowns */
  double M[MOST][MOST];
} form;

typedef double row[MOST];

static void add_product(form *f, double s, const double *a, const double *b) {
  for (size_t i = 0; i < f->n; i++)
    for (size_t j = 0; j < f->n; j++) f->M[i][j] += s / 2 * (a[i] * b[j] + b[i] * a[j]);
}

/* Sums and differences of pairs, and back. */
static void turn(const lip_block *b, row *v, double scale) {
  for (size_t k = 0; b->mate && k < b->M; k++) {
    size_t m = b->mate[k];
    if (m <= k) continue;
    for (size_t i = 0; i < MOST; i++) {
      double s = v[k][i] + v[m][i], d = v[k][i] - v[m][i];
      v[k][i] = scale * s;
      v[m][i] = scale * d;
    }
  }
}

static void through(const lip_block *b, row *in, row *out) {
  memset(out, 0, b->M * sizeof *out);
  for (size_t i = 0; i < b->M; i++)
    for (size_t j = 0; j < b->N; j++)
      for (size_t k = 0; k < MOST; k++) out[i][k] += (double)b->W[i * b->N + j] * in[j][k];
}

/* M without the term of rho. */
static void write_out(form *f, const lip_affine *a, lip_rows rows, const double *lambda) {
  static row y[MOST], z[MOST];
  memset(f, 0, sizeof *f);
  memset(y, 0, sizeof y);
  for (size_t k = 0; k < a->n_in; k++) y[k][k] = 1;
  f->n = MOST;
  size_t next = a->n_in;
  for (size_t l = 0; l + 1 < a->n; l++) {
    const lip_block *b = &a->block[l];
    through(b, y, z);
    turn(b, z, 1);
    memset(y, 0, sizeof y);
    for (size_t k = 0; k < b->M; k++, lambda++) {
      if (b->low[k] == b->high[k]) {
        for (size_t i = 0; i < MOST; i++) y[k][i] = b->low[k] * z[k][i];
        continue;
      }
      row left, right;
      assert_true(next < MOST);
      y[k][next++] = 1;
      for (size_t i = 0; i < MOST; i++) {
        left[i] = y[k][i] - b->low[k] * z[k][i];
        right[i] = b->high[k] * z[k][i] - y[k][i];
      }
      add_product(f, -*lambda, left, right);
    }
    turn(b, y, 0.5);
  }
  through(&a->block[a->n - 1], y, z);
  for (size_t i = 0; i < a->n_out; i++) {
    if (rows.i != LIP_NO_ROW && rows.i != i) continue;
    for (size_t k = 0; rows.j != LIP_NO_ROW && k < MOST; k++) z[i][k] -= z[rows.j][k];
    add_product(f, -1, z[i], z[i]);
  }
  f->n = next;
}

/* Positive definite, by the plainest Cholesky factorisation. */
static bool definite(const form *f, size_t n_in, const double *d, double rho) {
  static double B[MOST][MOST];
  memcpy(B, f->M, sizeof B);
  for (size_t k = 0; k < n_in; k++) B[k][k] += rho * (d ? d[k] : 1);
  for (size_t c = f->n; c-- > 0;) { /* from the output backwards */
    if (!(B[c][c] > 0)) return false;
    for (size_t i = 0; i < c; i++)
      for (size_t j = 0; j < c; j++) B[i][j] -= B[i][c] * B[j][c] / B[c][c];
  }
  return true;
}

static lip_rows some_rows(size_t i, size_t C) {
  return i % 3 == 0   ? (lip_rows){LIP_NO_ROW, LIP_NO_ROW}
         : i % 3 == 1 ? (lip_rows){i % C, (i + 1) % C}
                      : (lip_rows){i % C, LIP_NO_ROW};
}

/* rho is where M stops being definite: for closed-form and for random multipliers, with and without weights. */
static void elimination_finds_the_least_rho(void **state) {
  (void)state;
  static form f;
  size_t feasible = 0;
  for (size_t i = 0; i < 200; i++) {
    lip_err err;
    size_t kind = i % KINDS, n_in = i % 5 < 3 ? 3 + i % 4 : 20; /* wider and narrower than the first matrix */
    bool weighted = i % 2;
    lip_net *net = net_of(kind, n_in, i);
    lip_affine a = affine_of(net);
    lip_elim *e;
    assert_int_equal(lip_elim_new(&a, weighted, &e, &err), LIP_OK);
    size_t n = lip_elim_count(e);
    double *own = calloc(n, sizeof *own), *out = calloc(lip_affine_units(&a), sizeof *out), d[MOST];
    assert_true(own && out);
    lip_rng rng = lip_rng_new(i, LIP_RNG_USER, 3);
    for (size_t k = 0; k < n_in; k++) d[k] = weighted ? exp(lip_rng_normal(&rng)) : 1;
    lip_rows rows = some_rows(i, a.n_out);
    lip_elim_target(e, rows);
    if (weighted) assert_true(lip_elim_weigh(e, d));
    double rho = lip_elim_closed(e, LIP_ELIM_ROOM, own);
    assert_true(isfinite(rho));
    for (int random = 0; random < 2; random++) {
      if (random) {
        for (size_t k = 0; k < n; k++) own[k] *= exp(0.3 * lip_rng_uniform(&rng));
        rho = lip_elim_rho(e, own, 1e-12, 0, NULL);
        if (rho == INFINITY) continue;
        feasible++;
      }
      lip_elim_export(e, own, out);
      write_out(&f, &a, rows, out);
      assert_true(definite(&f, n_in, d, rho * (1 + 1e-6)));
      assert_false(definite(&f, n_in, d, rho * (1 - 1e-6)));
    }
    free(own);
    free(out);
    lip_elim_free(e);
    lip_affine_free(&a);
    lip_net_free(net);
  }
  assert_true(feasible > 100);
}

static void gradients_are_differences(void **state) {
  (void)state;
  for (size_t kind = 0; kind < KINDS; kind++) {
    lip_err err;
    enum { WIDE = 20 };
    lip_net *net = net_of(kind, WIDE, 40 + kind);
    lip_affine a = affine_of(net);
    lip_elim *e;
    assert_int_equal(lip_elim_new(&a, true, &e, &err), LIP_OK);
    size_t n = lip_elim_count(e);
    double *own = calloc(n, sizeof *own), *g = calloc(n, sizeof *g), d[WIDE], square[WIDE], sum = 0;
    assert_true(own && g);
    for (size_t k = 0; k < WIDE; k++) d[k] = 1 + 0.1 * (double)(k % 4);
    lip_elim_target(e, some_rows(kind, a.n_out));
    assert_true(lip_elim_weigh(e, d));
    assert_true(isfinite(lip_elim_closed(e, LIP_ELIM_ROOM, own)));
    lip_elim_slacken(e, own, 0.5);
    double rho = lip_elim_rho(e, own, 1e-12, 0, g), h = 1e-5;
    lip_elim_squares(e, square);
    for (size_t k = 0; k < n; k += 1 + n / 16) {
      double was = own[k];
      own[k] = was * (1 + h);
      double up = lip_elim_rho(e, own, 1e-12, 0, NULL);
      own[k] = was * (1 - h);
      double down = lip_elim_rho(e, own, 1e-12, 0, NULL);
      own[k] = was;
      assert_true(fabs((up - down) / (2 * h) - was * g[k]) <= 1e-4 * (fabs(was * g[k]) + 1e-2 * rho));
    }
    for (size_t k = 0; k < WIDE; k++) {
      sum += d[k] * square[k];
      double was = d[k];
      d[k] = was * (1 + h);
      assert_true(lip_elim_weigh(e, d));
      double up = lip_elim_rho(e, own, 1e-12, 0, NULL);
      d[k] = was * (1 - h);
      assert_true(lip_elim_weigh(e, d));
      double down = lip_elim_rho(e, own, 1e-12, 0, NULL);
      d[k] = was;
      assert_true(fabs((up - down) / (2 * h) + rho * was * square[k]) <= 1e-4 * rho);
    }
    assert_true(fabs(sum - 1) < 1e-9);
    free(own);
    free(g);
    lip_elim_free(e);
    lip_affine_free(&a);
    lip_net_free(net);
  }
}

/* The same where blocks follow their limit, in a generic direction. */
static void gradients_along_the_limit(void **state) {
  (void)state;
  size_t following = 0;
  for (size_t kind = 0; kind < KINDS; kind++) {
    lip_err err;
    lip_net *net = net_of(kind, 20, 60 + kind);
    lip_affine a = affine_of(net);
    lip_elim *e;
    assert_int_equal(lip_elim_new(&a, false, &e, &err), LIP_OK);
    size_t n = lip_elim_params(e);
    double *param = calloc(n, sizeof *param), *own = calloc(n, sizeof *own), *g = calloc(n, sizeof *g),
           *other = calloc(n, sizeof *other);
    assert_true(param && own && g && other);
    lip_rng rng = lip_rng_new(kind, LIP_RNG_USER, 4);
    lip_elim_target(e, some_rows(kind, a.n_out));
    assert_true(isfinite(lip_elim_closed(e, LIP_ELIM_ROOM, own)));
    assert_true(lip_elim_param(e, own, param));
    for (size_t k = 0; k < n; k++)
      param[k] *= k < lip_elim_count(e) ? 1.5 + 0.5 * lip_rng_uniform(&rng) : 1 + lip_rng_uniform(&rng);
    for (size_t k = lip_elim_count(e); k < n; k++) param[k] = fmax(param[k], 0.2);
    double rho = lip_elim_follow(e, param, own, 1e-12, 1e-9, g), h = 1e-5;
    assert_true(isfinite(rho));
    assert_true(fabs(lip_elim_rho(e, own, 1e-12, 0, NULL) - rho) <= 1e-9 * rho);
    for (size_t k = 0; k < n; k++) {
      double was = param[k];
      param[k] = was * (1 + h);
      double up = lip_elim_follow(e, param, own, 1e-12, 1e-9, other);
      param[k] = was * (1 - h);
      double down = lip_elim_follow(e, param, own, 1e-12, 1e-9, other);
      param[k] = was;
      if (!(fabs((up - down) / (2 * h) - g[k]) <= 1e-3 * (fabs(g[k]) + 1e-2 * rho)))
        fail_msg("kind %zu, %zu of %zu: %.9g, difference %.9g, rho %.9g", kind, k, n, g[k],
                 (up - down) / (2 * h), rho);
      following += k >= lip_elim_count(e) && g[k] != 0;
    }
    free(param);
    free(own);
    free(g);
    free(other);
    lip_elim_free(e);
    lip_affine_free(&a);
    lip_net_free(net);
  }
  assert_true(following >= 8);
}

/* Q = sum of c_i q_i q_i' with orthonormal q_i (a Householder matrix): clusters, gaps of 1e-3, zeros. */
static void leading_eigenvalues(void **state) {
  (void)state;
  enum { N = 40 };
  static const double top[][4] = {
      {3, 2, 1, 1}, {1, 1, 1, 1}, {1, 0.999, 0.998, 0.5}, {5, 0, 0, 0}, {0, 0, 0, 0}};
  for (size_t c = 0; c < sizeof top / sizeof *top; c++) {
    static double Q[N * N], x[LIP_LEADING * N], h[N];
    double *work = calloc(lip_leading_work(N), sizeof *work), value[LIP_LEADING], size = 0;
    assert_non_null(work);
    lip_rng rng = lip_rng_new(c, LIP_RNG_USER, 9);
    for (size_t i = 0; i < N; i++) h[i] = lip_rng_normal(&rng), size += h[i] * h[i];
    memset(Q, 0, sizeof Q);
    for (size_t v = 0; v < N; v++) {
      double q[N], e = v < 4 ? top[c][v] : c < 3 ? 0.4 / (double)v : 0;
      for (size_t i = 0; i < N; i++) q[i] = (i == v) - 2 * h[i] * h[v] / size;
      for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++) Q[i * N + j] += e * q[i] * q[j];
    }
    memset(x, 0, sizeof x);
    lip_leading(Q, N, LIP_LEADING, value, x, 1e-10, work);
    assert_true(fabs(value[0] - top[c][0]) <= 1e-12 * (1 + top[c][0]));
    if (c == 0) assert_true(fabs(value[1] - 2) < 1e-8);
    double y[N], rest = 0;
    lip_sym_apply(Q, N, x, y);
    for (size_t i = 0; i < N; i++) rest += (y[i] - value[0] * x[i]) * (y[i] - value[0] * x[i]);
    assert_true(sqrt(rest) <= 1e-8 * (1 + top[c][0]));
    free(work);
  }
}

/* ---- the methods ---- */

static lip_found ask_for(const char *method, const lip_net *net, const lip_affine *a, bool pairs) {
  lip_found f;
  lip_err err;
  lip_ask q = {.net = net, .affine = a, .path = net->conf.path, .pairs = pairs, .seconds = INFINITY};
  q.p = lip_path_at(&q.path, 0);
  q.q = lip_path_at(&q.path, lip_net_weighted(net));
  if (lip_method_run(method, &q, &f, &err)) fail_msg("%s: %s", method, err.msg);
  return f;
}

static void never_above_the_product(void **state) {
  (void)state;
  static const char *const path[] = {"2", "2->inf"};
  size_t better = 0;
  for (size_t i = 0; i < 4 * KINDS; i++) {
    lip_net *net = cert_build(path[i % 2], (lip_shape){1, {3 + i % 17}}, layers[i / 2 % KINDS], 1.5, i);
    lip_affine a = affine_of(net);
    lip_found p = ask_for("product", net, &a, true), r = ask_for("recursion", net, &a, true),
              m = ask_for("multiplier", net, &a, true);
    size_t C = a.n_out;
    double slip = 1 + 4e-5; /* what proofs of nets with units of known slope may cost */
    assert_true(r.upper <= p.upper * slip && m.upper <= r.upper * (1 + 1e-9));
    for (size_t k = 0; k < C * C; k++)
      assert_true(r.pair[k] <= p.pair[k] * slip && m.pair[k] <= r.pair[k] * (1 + 1e-9));
    better += m.upper < 0.999 * r.upper;
    /* what the numbers rest on */
    assert_int_equal(m.proof->n, C * (C - 1) / 2 + (i % 2 ? C : 1));
    assert_int_equal(m.proof->units, lip_affine_units(&a));
    for (size_t k = 0; k < C * (C - 1) / 2; k++) {
      const lip_multipliers *t = &m.proof->item[k];
      double bound = m.pair[t->rows.i * C + t->rows.j];
      assert_true(t->rows.i < t->rows.j && t->rows.j < C && !t->d);
      assert_true(bound * bound >= t->rho && bound * bound <= t->rho * (1 + 1e-12));
    }
    lip_found_free(&p);
    lip_found_free(&r);
    lip_found_free(&m);
    lip_affine_free(&a);
    lip_net_free(net);
  }
  assert_true(better >= 3 * KINDS);
}

/* One unit: f = v relu(w x), constant |v||w|; V-shaped: f = relu(x) + relu(-x), constant 1, product 2 (p = inf), sqrt 2
 * sqrt 2 (p = 2), and LipSDP's 1. */
static void constants_known_by_hand(void **state) {
  (void)state;
  static const char *const path[] = {"2", "inf"};
  for (size_t i = 0; i < 2; i++) {
    lip_net *net = cert_build(path[i], (lip_shape){1, {1}}, "dense out=2;relu;dense out=1", 1, 1);
    cert_set_weights(net, 0, (const float[]){1, -1});
    cert_set_weights(net, 1, (const float[]){1, 1});
    lip_affine a = affine_of(net);
    lip_found m = ask_for("multiplier", net, &a, false);
    assert_true(m.upper >= 1 && m.upper < 1.001);
    lip_found_free(&m);
    lip_affine_free(&a);
    cert_set_weights(net, 0, (const float[]){3, 0});
    a = affine_of(net);
    m = ask_for("multiplier", net, &a, false);
    assert_true(m.upper >= 3 && m.upper < 3.01);
    lip_found_free(&m);
    lip_affine_free(&a);
    lip_net_free(net);
  }
}

static void odd_weights(void **state) {
  (void)state;
  for (size_t i = 0; i < 2; i++) {
    const char *method = i ? "multiplier" : "recursion";
    lip_net *net = cert_build("2", (lip_shape){1, {2}}, "dense out=2;relu;dense out=2", 1, 1);
    float rows[] = {1, 2, 1, 2}, huge[] = {1e25f, 2e25f, -1e25f, 3e25f}, tiny[] = {1e-30f, 0, 2e-30f, 1e-30f};
    cert_set_weights(net, 1, rows); /* two equal rows */
    lip_affine a = affine_of(net);
    lip_found f = ask_for(method, net, &a, true);
    assert_true(f.pair[1] == 0 && f.pair[2] == 0 && f.upper > 0 && isfinite(f.upper));
    lip_found_free(&f);
    lip_affine_free(&a);
    cert_set_weights(net, 0, huge);
    cert_set_weights(net, 1, i ? huge : tiny);
    a = affine_of(net);
    f = ask_for(method, net, &a, true);
    lip_found p = ask_for("product", net, &a, true);
    assert_true(f.upper <= p.upper * (1 + 1e-5) && f.pair[1] <= p.pair[1] * (1 + 1e-5));
    lip_found_free(&p);
    lip_found_free(&f);
    lip_affine_free(&a);
    for (float bad = NAN; !isinf(bad); bad = INFINITY) {
      cert_set_weights(net, 0, (float[]){1, bad, 0, 1});
      a = affine_of(net);
      f = ask_for(method, net, &a, true);
      assert_true(f.upper == INFINITY && f.pair[1] == INFINITY && f.pair[0] == 0);
      lip_found_free(&f);
      lip_affine_free(&a);
    }
    lip_net_free(net);
  }
}

static void same_for_any_number_of_threads(void **state) {
  (void)state;
  static const char *const path[] = {"2", "inf"};
  for (size_t i = 0; i < 2; i++) {
    lip_err err;
    lip_net *net = cert_build(path[i], (lip_shape){1, {20}}, layers[2], 1.5, 5);
    lip_affine a = affine_of(net);
    lip_found one = ask_for("multiplier", net, &a, true);
    for (size_t threads = 2; threads < 4; threads++) {
      lip_pool *pool = lip_pool_new(threads, &err);
      assert_non_null(pool);
      net->engine.pool = pool;
      lip_found many = ask_for("multiplier", net, &a, true);
      assert_memory_equal(&one.upper, &many.upper, sizeof one.upper);
      assert_memory_equal(one.pair, many.pair, a.n_out * a.n_out * sizeof *one.pair);
      lip_found_free(&many);
      net->engine.pool = NULL;
      lip_pool_free(pool);
    }
    lip_found_free(&one);
    lip_affine_free(&a);
    lip_net_free(net);
  }
}

static void stopping(void **state) {
  (void)state;
  lip_err err;
  lip_cancel cancel = {0};
  lip_net *net = net_of(2, 20, 1);
  lip_affine a = affine_of(net);
  lip_found f;
  net->engine.cancel = &cancel;
  lip_ask q = {.net = net,
               .affine = &a,
               .path = net->conf.path,
               .p = LIP_P2,
               .q = LIP_P2,
               .pairs = true,
               .seconds = 1e-9};
  size_t held = lip_mem_used();
  assert_int_equal(lip_method_run("multiplier", &q, &f, &err), LIP_OK); /* no time: unknown */
  assert_true(f.upper > 0);
  lip_found_free(&f);
  lip_cancel_raise(&cancel);
  assert_int_equal(lip_method_run("multiplier", &q, &f, &err), LIP_CANCELLED);
  assert_null(f.pair);
  assert_null(f.proof);
  assert_int_equal(lip_mem_used(), held);
  net->engine.cancel = NULL;
  lip_affine_free(&a);
  lip_net_free(net);
}

static void survives_without_memory(void **state) {
  (void)state;
  static const char *const path[] = {"2", "inf"};
  for (size_t i = 0; i < 2; i++) {
    lip_net *net = cert_build(path[i], (lip_shape){1, {9}}, layers[0], 1.5, 5);
    lip_affine a = affine_of(net);
    lip_ask q = {.net = net, .affine = &a, .path = net->conf.path, .pairs = true, .seconds = INFINITY};
    q.p = lip_path_at(&q.path, 0);
    q.q = lip_path_at(&q.path, lip_net_weighted(net));
    size_t held = lip_mem_used(), failures = 0;
    for (size_t nth = 1;; nth++) {
      lip_found f;
      lip_err err;
      lip_mem_fail_nth(nth);
      lip_status status = lip_method_run("recursion", &q, &f, &err);
      bool failed = lip_mem_failed();
      lip_mem_fail_nth(0);
      assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
      lip_found_free(&f);
      assert_int_equal(lip_mem_used(), held);
      if (!failed) break;
      failures++;
    }
    assert_true(failures > 20);
    lip_affine_free(&a);
    lip_net_free(net);
  }
}

/* ---- the published net of LipSDP: 2-10-30-20-2, numbers of its README ---- */

static void published_numbers(void **state) {
  (void)state;
  char name[1024];
  const char *data = getenv("LIPWB_DATA");
  snprintf(name, sizeof name, "%s/lipsdp/random_weights.txt", data ? data : "");
  FILE *in = data ? fopen(name, "r") : NULL;
  if (!in) {
    print_message("skipped: no lipsdp/random_weights.txt in LIPWB_DATA\n");
    skip();
  }
  lip_net *net = cert_build("2", (lip_shape){1, {2}},
                            "dense out=10;relu;dense out=30;relu;dense out=20;relu;dense out=2", 1, 1);
  size_t n;
  assert_int_equal(fscanf(in, "%zu", &n), 1);
  assert_int_equal(n, 4);
  for (size_t l = 0; l < n; l++) {
    size_t M, N;
    float W[600];
    assert_int_equal(fscanf(in, "%zu %zu", &M, &N), 2);
    assert_int_equal(M, lip_net_weighted_layer(net, l)->n_out);
    assert_int_equal(N, lip_net_weighted_layer(net, l)->n_in);
    for (size_t k = 0; k < M * N; k++) assert_int_equal(fscanf(in, "%f", &W[k]), 1);
    cert_set_weights(net, l, W);
  }
  fclose(in);
  lip_affine a = affine_of(net);
  static const struct {
    const char *method;
    double published, below, above;
  } want[] = {{"product", 43.31, 0.005, 0.005},
              {"recursion", 39.90, 0.005, 0.005},
              {"multiplier", 36.482, 0.0005, 36.482 * 2e-4}};
  for (size_t i = 0; i < 3; i++) {
    lip_found f = ask_for(want[i].method, net, &a, false);
    print_message("%-10s %.5f (%g)\n", want[i].method, f.upper, want[i].published);
    assert_true(f.upper >= want[i].published - want[i].below && f.upper <= want[i].published + want[i].above);
    lip_found_free(&f);
  }
  lip_affine_free(&a);
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(elimination_finds_the_least_rho),
      cmocka_unit_test(gradients_are_differences),
      cmocka_unit_test(gradients_along_the_limit),
      cmocka_unit_test(leading_eigenvalues),
      cmocka_unit_test(never_above_the_product),
      cmocka_unit_test(constants_known_by_hand),
      cmocka_unit_test(odd_weights),
      cmocka_unit_test(same_for_any_number_of_threads),
      cmocka_unit_test(stopping),
      cmocka_unit_test(survives_without_memory),
      cmocka_unit_test(published_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
