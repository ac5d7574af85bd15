/* sll, cpl and sandwich: the weights inside against the formulas of their papers in double, constants against slopes that are
 * attained, over weights of every size, and the inverse that sandwich takes. Gradients: test_layers.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/layer/inner.h"
#include "core/norm/opnorm.h"
#include "core/tensor/inverse.h"
#include "support_layer.h"

enum { MOST = 12, THREADS = 3 };
static const lip_pq two = {LIP_P2, LIP_P2};

typedef double matrix[MOST][MOST];

static lip_spec *spec_of(const char *kind, const char *option, double width, const char *activation) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  assert_non_null(s);
  assert_int_equal(lip_conf_set_number(&s->kind->desc, s->conf, option, width, NULL), LIP_OK);
  assert_int_equal(lip_conf_set_text(&s->kind->desc, s->conf, "activation", activation, NULL), LIP_OK);
  return s;
}

static void open_rig(rig *r, lip_spec *spec, size_t n, double budget) {
  const lip_shape in = {1, {n, 0, 0}};
  assert_int_equal(rig_open(r, spec, &in, two, LIP_EUCLIDEAN, LIP_INIT_HE, budget, 2, NULL), LIP_OK);
}

static void fill(float *x, size_t n, uint64_t seed, double size) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 4);
  lip_rng_fill_normal(&rng, x, n, 0, (float)size);
}

static float *own(const rig *r, const char *name) {
  lip_param *p = lip_layer_param(r->l, name);
  assert_non_null(p);
  return p->value;
}

/* ---- weights ---- */

static double gram_entry(const float *V, size_t n, size_t i, size_t j) {
  double sum = 0;
  for (size_t k = 0; k < n; k++) sum += (double)V[i * n + k] * (double)V[j * n + k];
  return sum;
}

/* y = x - 2 W T^-1 relu(W'x + c): as stored, c is sqrt(T) b. */
static void sll_is_that_of_the_paper(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    const size_t n = 3 + seed % 5, h = 2 + seed % 7;
    lip_spec *spec = spec_of("sll", "hidden", (double)h, "relu");
    rig r;
    open_rig(&r, spec, n, INFINITY);
    float *V = own(&r, "free"), *log_q = own(&r, "log_q"), *b = lip_inner_first(r.l)->param[1].value;
    fill(V, h * n, seed, seed % 2 ? 1 : 30);
    fill(log_q, h, seed + 1, 2);
    fill(b, h, seed + 2, 1);
    fill(r.x, n, seed + 3, 1);
    rig_forward(&r);
    double y[MOST], size = 1;
    for (size_t k = 0; k < n; k++) y[k] = (double)r.x[k];
    for (size_t i = 0; i < h; i++) {
      double T = 0, z = 0;
      for (size_t j = 0; j < h; j++)
        T += fabs(gram_entry(V, n, i, j)) * exp((double)log_q[j] - (double)log_q[i]);
      for (size_t k = 0; k < n; k++) z += (double)V[i * n + k] * (double)r.x[k];
      const double v = fmax(z + sqrt(T) * (double)b[i], 0);
      for (size_t k = 0; k < n; k++) y[k] -= 2 * (double)V[i * n + k] / T * v;
      size = fmax(size, v * v / T);
    }
    for (size_t k = 0; k < n; k++) assert_true(fabs(y[k] - (double)r.y[k]) < 1e-5 * size);
    rig_close(&r);
    lip_spec_free(spec);
  }
}

/* A = W / sqrt(c) with ||W||^2 <= c <= rank^(1/32) ||W||^2, and the second matrix is -2 A'. */
static void cpl_divides_by_a_bound(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 20; seed++) {
    const size_t n = 2 + seed % 6, h = 1 + seed % 8;
    lip_spec *spec = spec_of("cpl", "hidden", (double)h, "relu");
    rig r;
    open_rig(&r, spec, n, INFINITY);
    const double size = seed % 3 == 0 ? 1e-7 : seed % 3 == 1 ? 1 : 1e6;
    fill(own(&r, "free"), h * n, seed, size);
    rig_forward(&r);
    const float *A = lip_inner_first(r.l)->param[0].value, *C = lip_inner_second(r.l)->param[0].value;
    double norm, rank = (double)(h < n ? h : n);
    assert_int_equal(lip_opnorm_upper(A, h, n, two, &norm, NULL), LIP_OK);
    assert_true(norm <= 1 + 1e-6 && norm * norm * pow(rank, 1.0 / 32) >= 1 - 1e-5);
    const float ratio = A[0] / own(&r, "free")[0];
    for (size_t i = 0; i < h; i++)
      for (size_t k = 0; k < n; k++) {
        assert_true(fabsf(A[i * n + k] - ratio * own(&r, "free")[i * n + k]) <= 1e-6f);
        assert_true(C[k * h + i] == -2 * A[i * n + k]);
      }
    rig_close(&r);
    lip_spec_free(spec);
  }
}

/* A and B from the weights inside; A = 0 without an activation. */
static void take_parts(const rig *r, double K, matrix A, matrix B) {
  const size_t n = r->l->n_out, m = r->l->n_in;
  const lip_layer *second = lip_inner_second(r->l);
  const float *D = lip_inner_first(r->l)->param[0].value;
  for (size_t i = 0; i < n; i++) {
    const double psi = second ? exp((double)own(r, "log_psi")[i]) : 1;
    for (size_t k = 0; k < m; k++) B[i][k] = (double)D[i * m + k] * (second ? psi / sqrt(2) : 1 / K);
    for (size_t k = 0; k < n; k++) /* C = K sqrt(2) A' Psi */
      A[i][k] = second ? (double)second->param[0].value[k * n + i] / (K * sqrt(2) * psi) : 0;
  }
}

/* AA' + BB' = I, and A' and B' are the Cayley transform: (I + Z) A' = I - Z, B' (I + Z) = -2 Y. */
static void sandwich_is_that_of_the_paper(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 30; seed++) {
    const size_t n = 1 + seed % 6, m = 1 + seed % 9;
    const bool bent = seed % 3 != 0;
    const double K = seed % 2 ? 1 : 2.5;
    lip_spec *spec = spec_of("sandwich", "out", (double)n, bent ? "relu" : "none");
    rig r;
    open_rig(&r, spec, m, seed % 2 ? (double)INFINITY : K);
    const float *X = own(&r, "free"), *Y = X + n * n;
    fill(own(&r, "free"), (n + m) * n, seed, seed % 4 == 1 ? 3 : 0.5);
    if (bent) fill(own(&r, "log_psi"), n, seed + 1, 1);
    rig_forward(&r);
    matrix A, B, Z;
    take_parts(&r, K, A, B);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) {
        double sum = 0;
        Z[i][j] = (double)X[i * n + j] - (double)X[j * n + i];
        for (size_t k = 0; k < m; k++) Z[i][j] += (double)Y[k * n + i] * (double)Y[k * n + j];
        for (size_t k = 0; k < n; k++) sum += A[i][k] * A[j][k];
        for (size_t k = 0; k < m; k++) sum += B[i][k] * B[j][k];
        if (bent) assert_true(fabs(sum - (i == j)) < 2e-5);
      }
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; bent && j < n; j++) {
        double left = A[j][i], size = 1;
        for (size_t k = 0; k < n; k++) left += Z[i][k] * A[j][k], size = fmax(size, fabs(Z[i][k]));
        assert_true(fabs(left - ((i == j) - Z[i][j])) < 2e-5 * size);
      }
    for (size_t k = 0; k < m; k++)
      for (size_t j = 0; j < n; j++) {
        double left = B[j][k], size = 1;
        for (size_t i = 0; i < n; i++) left += B[i][k] * Z[i][j], size = fmax(size, fabs(Z[i][j]));
        assert_true(fabs(left + 2 * (double)Y[k * n + j]) < 2e-5 * size);
      }
    rig_close(&r);
    lip_spec_free(spec);
  }
}

/* ---- constants ---- */

/* ||E + C diag(s) D||_2 by power iteration, from below; D (h, m), C (n, h), E = I or 0. */
static double slope_norm(const float *C, const float *D, size_t n, size_t h, size_t m, bool plus, unsigned s,
                         uint64_t seed) {
  matrix J = {{0}};
  double v[MOST], w[MOST], norm = 0, length = 0;
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 5);
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < m; k++) {
      J[i][k] = plus && i == k;
      for (size_t u = 0; u < h; u++)
        if (s >> u & 1) J[i][k] += (double)C[i * h + u] * (double)D[u * m + k];
    }
  for (size_t k = 0; k < m; k++) v[k] = lip_rng_normal(&rng);
  for (int turn = 0; turn < 40; turn++) {
    length = norm = 0;
    for (size_t k = 0; k < m; k++) length += v[k] * v[k];
    if (!(length > 0)) return 0;
    for (size_t k = 0; k < m; k++) v[k] /= sqrt(length);
    for (size_t i = 0; i < n; i++) {
      w[i] = 0;
      for (size_t k = 0; k < m; k++) w[i] += J[i][k] * v[k];
      norm += w[i] * w[i];
    }
    for (size_t k = 0; k < m; k++) {
      v[k] = 0;
      for (size_t i = 0; i < n; i++) v[k] += J[i][k] * w[i];
    }
  }
  return sqrt(norm);
}

/* Trained numbers of every size: scales of rows apart by up to 1e30, q over 1e12 and under 1e-12, zero rows and columns. */
static void fill_extreme(rig *r, uint64_t seed) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 6);
  static const double sizes[] = {1, 1e-3, 1e3, 1e-12, 1e10, 1e-30};
  for (size_t p = 0; p < r->l->n_param; p++) {
    lip_param *q = &r->l->param[p];
    const size_t rows = q->ndim == 2 ? q->shape[0] : 1, columns = lip_param_size(q) / rows;
    for (size_t i = 0; i < rows; i++) {
      double size =
          q->ndim == 1 ? (seed % 3 == 0 ? 30 : 1) : sizes[seed % 7 < 4 ? 0 : lip_rng_below(&rng, 6)];
      if (q->ndim == 2 && lip_rng_below(&rng, 9) == 0) size = 0;
      for (size_t k = 0; k < columns; k++)
        q->value[i * columns + k] = (float)(size * lip_rng_normal(&rng) * (lip_rng_below(&rng, 8) > 0));
    }
  }
}

/* No pattern of slopes 0 and 1, each of which some biases make, is steeper than the bound. */
static void no_slope_is_above_the_bound(void **state) {
  (void)state;
  static const char *const kinds[] = {"sll", "cpl", "sandwich"};
  size_t near = 0;
  for (uint64_t seed = 0; seed < 1200; seed++) {
    const char *kind = kinds[seed % 3];
    const bool sandwich = seed % 3 == 2, plus = !sandwich;
    const size_t m = 1 + seed % 5, h = 1 + seed / 5 % 5;
    lip_spec *spec = spec_of(kind, sandwich ? "out" : "hidden", (double)h, "relu");
    const double K = seed % 4 == 0 && sandwich ? 3 : 1;
    rig r;
    open_rig(&r, spec, m, K == 1 ? (double)INFINITY : K);
    fill_extreme(&r, seed);
    rig_forward(&r);
    if (seed % 5 == 0) assert_int_equal(lip_layer_project_exact(r.l, NULL), LIP_OK);
    double upper, most = 0;
    assert_int_equal(lip_layer_bound(r.l, two, &upper, NULL), LIP_OK);
    const float *D = lip_inner_first(r.l)->param[0].value, *C = lip_inner_second(r.l)->param[0].value;
    for (unsigned s = 0; s < 1u << h; s++)
      most = fmax(most, slope_norm(C, D, r.l->n_out, h, m, plus, s, seed));
    assert_true(most <= upper * (1 + 1e-13));
    /* float32 inverts what is conditioned worse than 1e7 less well */
    if (!sandwich || seed % 7 < 4) assert_true(upper < K * (1 + 1e-4));
    near += most > 0.9 * upper;
    if (seed % 5 == 0 && (!sandwich || seed % 4 == 0)) assert_true(upper <= K);
    rig_close(&r);
    lip_spec_free(spec);
  }
  assert_true(near > 900);
}

/* Weights inside that a script has set to anything. */
static void other_weights_have_bounds_too(void **state) {
  (void)state;
  static const char *const kinds[] = {"sll", "cpl", "sandwich"};
  for (uint64_t seed = 0; seed < 300; seed++) {
    const bool sandwich = seed % 3 == 2;
    const size_t m = 1 + seed % 4, h = 1 + seed / 4 % 4;
    lip_spec *spec = spec_of(kinds[seed % 3], sandwich ? "out" : "hidden", (double)h, "relu");
    rig r;
    open_rig(&r, spec, m, INFINITY);
    float *D = lip_inner_first(r.l)->param[0].value, *C = lip_inner_second(r.l)->param[0].value;
    fill(D, h * m, seed, seed % 5 ? 1 : 1e-5);
    fill(C, r.l->n_out * h, seed + 1, seed % 7 ? 1 : 1e5);
    if (!sandwich && seed % 2) /* of a norm above 1 */
      for (size_t i = 0; i < h; i++)
        for (size_t k = 0; k < m; k++) C[k * h + i] = -2 * D[i * m + k];
    double upper;
    assert_int_equal(lip_layer_bound(r.l, two, &upper, NULL), LIP_OK);
    for (unsigned s = 0; s < 1u << h; s++)
      assert_true(slope_norm(C, D, r.l->n_out, h, m, !sandwich, s, seed) <= upper * (1 + 1e-13));
    assert_true(upper < INFINITY);
    rig_close(&r);
    lip_spec_free(spec);
  }
}

static void what_is_no_number_has_no_constant(void **state) {
  (void)state;
  static const char *const kinds[] = {"sll", "cpl", "sandwich"};
  for (int i = 0; i < 3; i++)
    for (int bad = 0; bad < 2; bad++) {
      lip_spec *spec = spec_of(kinds[i], i == 2 ? "out" : "hidden", 3, "relu");
      rig r;
      double upper;
      open_rig(&r, spec, 4, i == 2 ? 2 : (double)INFINITY);
      own(&r, "free")[5] = bad ? INFINITY : NAN;
      rig_forward(&r);
      assert_int_equal(lip_layer_bound(r.l, two, &upper, NULL), LIP_OK);
      bool visible = isinf(upper);
      if (!bad) assert_true(visible);
      if (visible) assert_int_equal(lip_layer_project_exact(r.l, NULL), LIP_NOT_FINITE);
      rig_close(&r);
      lip_spec_free(spec);
    }
}

/* ---- on threads ---- */

static void threads_change_no_bits(void **state) {
  (void)state;
  enum { N = 150, M = 90 };
  static const char *const kinds[] = {"sll", "cpl", "sandwich"};
  for (int i = 0; i < 3; i++) {
    lip_spec *spec = spec_of(kinds[i], i == 2 ? "out" : "hidden", N, "relu");
    rig r;
    open_rig(&r, spec, M, INFINITY);
    float *first = malloc(2 * r.n_params * sizeof *first);
    fill(lip_inner_first(r.l)->param[0].grad, N * M, 1, 1);
    fill(lip_inner_second(r.l)->param[0].grad, N * r.l->n_out, 2, 1);
    float *grads = malloc(r.n_params * sizeof *grads);
    memcpy(grads, r.grads, r.n_params * sizeof *grads);
    for (size_t t = 1; t <= THREADS; t++) {
      lip_pool *pool = lip_pool_new(t, NULL);
      const size_t each = (lip_gemm_scratch() + 63) / 64 * 64;
      const lip_team team = {pool, lip_alloc(t, each), each};
      assert_true(pool && team.scratch);
      memcpy(r.grads, grads, r.n_params * sizeof *grads);
      r.l->kind->renew(r.l, &team);
      r.l->kind->pull(r.l, &team, 0);
      if (t == 1) memcpy(first, r.weights, r.n_params * sizeof *first);
      if (t == 1) memcpy(first + r.n_params, r.grads, r.n_params * sizeof *first);
      assert_memory_equal(first, r.weights, r.n_params * sizeof *first);
      assert_memory_equal(first + r.n_params, r.grads, r.n_params * sizeof *first);
      lip_free(team.scratch);
      lip_pool_free(pool);
    }
    free(first);
    free(grads);
    rig_close(&r);
    lip_spec_free(spec);
  }
}

static void inverses_are_inverses(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 2, 63, 64, 65, 130, 200};
  const size_t each = (lip_gemm_scratch() + 63) / 64 * 64;
  const lip_team team = {NULL, lip_alloc(1, each), each};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    const size_t n = sizes[s];
    float *A = lip_alloc(n * n, sizeof *A), *N = lip_alloc(n * n, sizeof *N),
          *work = lip_alloc(lip_inverse_work(n), sizeof *work);
    assert_true(team.scratch && A && N && work);
    fill(A, n * n, s, 1); /* I + (A - A') is normal, with singular values >= 1 */
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++)
        N[i * n + j] = (i == j ? 1 : 0) + (i > j ? A[i * n + j] : i < j ? -A[j * n + i] : 0);
    memcpy(A, N, n * n * sizeof *A);
    lip_team_inverse(&team, n, N, n, 0, work);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t k = 0; k < n; k++) sum += (double)A[i * n + k] * (double)N[k * n + j];
        assert_true(fabs(sum - (i == j)) < 1e-4);
      }
    lip_free(A);
    lip_free(N);
    lip_free(work);
  }
  lip_free(team.scratch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sll_is_that_of_the_paper),      cmocka_unit_test(cpl_divides_by_a_bound),
      cmocka_unit_test(sandwich_is_that_of_the_paper), cmocka_unit_test(no_slope_is_above_the_bound),
      cmocka_unit_test(other_weights_have_bounds_too), cmocka_unit_test(what_is_no_number_has_no_constant),
      cmocka_unit_test(threads_change_no_bits),        cmocka_unit_test(inverses_are_inverses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
