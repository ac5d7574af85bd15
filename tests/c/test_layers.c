/* Every row of layers.def against the contract: shapes, splitting, gradients, projections, bounds, executed error;
 * with its default options (support_layer.h: spec_by_rule) and the variants of support_layer_cases.c. */
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
#include "core/layer/conv_norm.h"
#include "support_layer_table.h"

static const lip_pq plain = {LIP_P2, LIP_P2};

/* Rows of n values at least 1/30 apart and 1/60 away from 0: steps of 1/128 meet no kink of a layer that compares them. */
static void fill_spread(float *x, size_t B, size_t n, uint64_t seed) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 0);
  uint32_t *order = malloc(n * sizeof *order);
  const float gap = fmaxf(1.0f / 30, 4.0f / (float)n);
  for (size_t r = 0; r < B; r++) {
    lip_rng_permute(&rng, order, n);
    for (size_t i = 0; i < n; i++) x[r * n + i] = ((float)order[i] - (float)(n / 2) + 0.5f) * gap;
  }
  free(order);
}

/* ---- shapes and splitting ---- */

static void forward_fills_its_rows_and_no_others(void **state) {
  (void)state;
  for (size_t i = 0; i < n_layer_cases; i++) {
    const test_case *c = &layer_case[i];
    rig r;
    enum { B = 21 };
    if (c->spec->kind->flags & LIP_LAYER_ALIAS) continue;
    assert_true(case_plans(c, plain, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, B, &r));
    size_t n = B * r.l->n_out;
    REQUIRE(c, r.l->n_out == lip_shape_size(&r.l->out) && r.l->n_in == lip_shape_size(&c->in), "sizes");
    case_fill(r.x, B * r.l->n_in, 3, 1);
    for (size_t k = 0; k < n; k++) r.y[k] = NAN;
    rig_forward(&r);
    float *whole = malloc(n * sizeof *whole);
    memcpy(whole, r.y, n * sizeof *whole);
    for (size_t k = 0; k < n; k++) REQUIRE(c, isfinite(whole[k]), "element %zu not written", k);
    if (!(r.l->whole_batch)) {
      static const size_t cut[] = {0, 1, 4, 17, B};
      for (size_t k = 0; k < n; k++) r.y[k] = NAN;
      for (size_t k = 0; k + 1 < sizeof cut / sizeof *cut; k++) {
        lip_pass pass = rig_pass(&r, cut[k], cut[k + 1]);
        r.l->kind->forward(r.l, &pass);
        REQUIRE(c, cut[k + 1] == B || isnan(r.y[cut[k + 1] * r.l->n_out]), "wrote past row %zu", cut[k + 1]);
      }
      REQUIRE(c, memcmp(whole, r.y, n * sizeof *whole) == 0, "rows cut apart give other bits");
    }
    free(whole);
    rig_close(&r);
  }
}

/* ---- gradients ---- */

/* sum of dy * y over the batch, as float32 computes y */
static double weighted_output(rig *r) {
  double sum = 0;
  rig_forward(r);
  for (size_t i = 0; i < r->B * r->l->n_out; i++) sum += (double)r->dy[i] * (double)r->y[i];
  return sum;
}

/* Central difference, and the change of slope between the two sides. */
static double central(rig *r, float *v, float h, double *bend) {
  float old = *v, up = old + h, down = old - h;
  double b = weighted_output(r);
  *v = up;
  double c = weighted_output(r);
  *v = down;
  double a = weighted_output(r);
  *v = old;
  *bend = (c - b) / ((double)up - (double)old) - (b - a) / ((double)old - (double)down);
  return (c - a) / ((double)up - (double)down);
}

/* Compares g with differences of v. A kink within reach shows in slopes that change with the step, or in a bend that
 * does not halve with it; such a place waits for another input. */
static void compare_gradient(const test_case *c, rig *r, float *v, const float *g, size_t n, bool *done,
                             const char *what) {
  for (size_t i = 0; i < n; i++) {
    double bend1, bend2, d1 = central(r, v + i, 1.0f / 128, &bend1),
                         d2 = central(r, v + i, 1.0f / 256, &bend2);
    double scale = 1 + fabs(d2), best = (4 * d2 - d1) / 3; /* Richardson: errors of second order cancel */
    if (fabs(d1 - d2) > 1e-3 * scale || fabs(2 * bend2 - bend1) > 1e-3 * scale) continue;
    done[i] = true;
    REQUIRE(c, fabs(best - (double)g[i]) < 1e-3 * scale, "%s %zu: gradient %g, differences %g", what, i,
            (double)g[i], best);
  }
}

/* Those that are frozen have no gradient, whatever depends on them. */
static void compare_parameters(const test_case *c, rig *r, bool *done) {
  for (size_t k = 0; k < r->n_leaf; k++)
    for (size_t i = 0; i < r->leaf[k]->n_param; i++) {
      const lip_param *p = &r->leaf[k]->param[i];
      const size_t n = lip_param_size(p);
      for (size_t j = 0; p->frozen && j < n; j++) {
        REQUIRE(c, p->grad[j] == 0, "gradient of the frozen %s", p->name);
        done[p->offset + j] = true;
      }
      if (!p->frozen) compare_gradient(c, r, p->value, p->grad, n, done + p->offset, p->name);
    }
}

static void gradients_match_central_differences(void **state) {
  (void)state;
  for (size_t i = 0; i < n_layer_cases; i++) {
    const test_case *c = &layer_case[i];
    rig r;
    assert_true(case_plans(c, plain, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 2, &r));
    size_t n_in = r.B * r.l->n_in, n = n_in + r.n_params;
    float *dx = malloc(n_in * sizeof *dx);
    bool *done = calloc(n, sizeof *done);
    for (size_t k = 0; k < r.n_params; k++) r.weights[k] += 0.01f * (float)(k % 7); /* biases away from 0 */
    for (uint64_t input = 0; input < 6; input++) {
      fill_spread(r.x, r.B, r.l->n_in, 10 * i + input);
      case_fill(r.dy, r.B * r.l->n_out, 50 + i, 1);
      rig_forward(&r);
      rig_backward(&r);
      rig_grad(&r, 0);
      memcpy(dx, r.dx, n_in * sizeof *dx);
      compare_gradient(c, &r, r.x, dx, n_in, done, "dx");
      compare_parameters(c, &r, done + n_in);
    }
    for (size_t k = 0; k < n; k++) REQUIRE(c, done[k], "place %zu of %zu was never compared", k, n);
    free(dx);
    free(done);
    rig_close(&r);
  }
}

static void backward_and_grad_may_be_split(void **state) {
  (void)state;
  enum { B = 21 };
  for (size_t i = 0; i < n_layer_cases; i++) {
    const test_case *c = &layer_case[i];
    rig r;
    if (c->spec->kind->flags & LIP_LAYER_ALIAS) continue;
    assert_true(case_plans(c, plain, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, B, &r));
    case_fill(r.x, B * r.l->n_in, 5, 1);
    case_fill(r.dy, B * r.l->n_out, 6, 1);
    rig_forward(&r);
    rig_backward(&r);
    rig_grad(&r, 0);
    size_t bytes = B * r.l->n_in * sizeof(float), gbytes = r.n_params * sizeof(float);
    float *dx = malloc(bytes), *g = malloc(gbytes + 1);
    memcpy(dx, r.dx, bytes);
    memcpy(g, r.grads, gbytes);
    memset(r.grads, 0xff, gbytes); /* NaN: beta = 0 must not read */
    for (size_t k = 0; k < r.n_leaf; k++) {
      lip_pass pass = rig_pass(&r, 0, B);
      pass.rows = lip_layer_rows(r.leaf[k], B);
      size_t units = r.leaf[k]->units, u = 0;
      for (size_t take = 1; u < units; u += take, take = take % 3 + 1) {
        if (take > units - u) take = units - u;
        r.leaf[k]->kind->grad(r.leaf[k], &pass, u, u + take);
      }
    }
    rig_pull(&r, 0);
    REQUIRE(c, memcmp(g, r.grads, gbytes) == 0, "units cut apart give other bits");
    rig_grad(&r, 1);
    for (size_t k = 0; k < r.n_params; k++)
      REQUIRE(c, fabsf(r.grads[k] - 2 * g[k]) <= 1e-4f * (1 + fabsf(g[k])), "accumulated gradient %zu", k);
    if (!(r.l->whole_batch)) {
      static const size_t cut[] = {0, 3, 4, 20, B};
      memset(r.dx, 0xff, bytes);
      for (size_t k = 0; k + 1 < sizeof cut / sizeof *cut; k++) {
        lip_pass pass = rig_pass(&r, cut[k], cut[k + 1]);
        r.l->kind->backward(r.l, &pass);
      }
      REQUIRE(c, memcmp(dx, r.dx, bytes) == 0, "backward: rows cut apart give other bits");
    }
    free(dx);
    free(g);
    rig_close(&r);
  }
}

/* ---- projections ---- */

static double distance(const float *a, const float *b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
  return sqrt(sum);
}

static size_t weight_size(const lip_layer *l) {
  size_t n = 1;
  for (int i = 0; i < l->param[0].ndim; i++) n *= l->param[0].shape[i];
  return n;
}

/* Random feasible points: none may be nearer to `before` than the projection `l` now holds. */
static void nothing_nearer(const test_case *c, lip_layer *l, const float *before, double K) {
  size_t n = weight_size(l);
  float *w = l->param[0].value, *found = malloc(n * sizeof *found);
  memcpy(found, w, n * sizeof *found);
  double best = distance(before, found, n);
  for (uint64_t t = 0; t < 60; t++) {
    case_fill(w, n, 900 + t, t % 3 ? 0.05f : 1);
    for (size_t i = 0; i < n; i++) w[i] = (t % 3 == 1 ? found[i] : before[i]) + w[i]; /* near either point */
    double k = case_bound(c, l, l->pq);
    if (k > K)
      for (size_t i = 0; i < n; i++) w[i] = (float)((double)w[i] * (K / k));
    REQUIRE(c, distance(before, w, n) >= best * (1 - 1e-5), "%s: a feasible point is nearer",
            lip_pq_name(l->pq));
  }
  memcpy(w, found, n * sizeof *found);
  free(found);
}

/* A convolution limits sets of weights that are the exact ones where a place of the image meets a whole set, and for 2->2 its
 * reshaped kernel: otherwise what it does is sufficient, not nearest (conv_norm.c). */
static bool has_exact_set(const lip_layer *l) {
  if (strncmp(l->kind->desc.name, "conv", 4) != 0) return true;
  const lip_patches *at = &((const lip_conv *)l->state)->at;
  const size_t side = at->flat ? at->W : at->H;
  return !(l->pq.p == LIP_P2 && l->pq.q == LIP_P2) && side >= (at->kernel - 1) * at->dilation + 1;
}

static void check_projection(const test_case *c, rig *r, lip_project_method method) {
  const double K = 0.75;
  lip_err err;
  for (size_t k = 0; k < r->n_leaf; k++) {
    lip_layer *l = r->leaf[k];
    if (l->project_units == 0) continue;
    size_t n = weight_size(l);
    float *w = l->param[0].value, *before = malloc(2 * n * sizeof *before), *once = before + n;
    case_fill(w, n, 31, 1);
    memcpy(before, w, n * sizeof *w);
    l->budget = INFINITY;
    REQUIRE(c, lip_layer_project_exact(l, &err) == LIP_OK && memcmp(w, before, n * sizeof *w) == 0,
            "an infinite budget changes weights");
    l->budget = 2 * case_bound(c, l, l->pq);
    if (has_exact_set(l)) l->kind->project(l, 0, l->project_units, r->scratch);
    REQUIRE(c, memcmp(w, before, n * sizeof *w) == 0, "%s: projection moves what is inside",
            lip_pq_name(l->pq));
    l->budget = K;
    REQUIRE(c, lip_layer_project_exact(l, &err) == LIP_OK, "exact projection failed");
    double now = case_bound(c, l, l->pq);
    REQUIRE(c, now <= K, "%s %s: bound %.17g above the budget %g", lip_pq_name(l->pq),
            lip_project_method_names[method], now, K);
    REQUIRE(c, now > 0.5 * K || !has_exact_set(l), "%s: bound %g far below the budget %g", lip_pq_name(l->pq),
            now, K);
    memcpy(once, w, n * sizeof *w);
    REQUIRE(c, lip_layer_project_exact(l, &err) == LIP_OK && memcmp(w, once, n * sizeof *w) == 0,
            "%s: not idempotent", lip_pq_name(l->pq));
    if (method == LIP_EUCLIDEAN && has_exact_set(l)) nothing_nearer(c, l, before, K);
    free(before);
  }
}

static void projections_are_feasible_idempotent_and_nearest(void **state) {
  (void)state;
  size_t checked = 0;
  for (size_t i = 0; i < n_layer_cases; i++)
    for (size_t s = 0; s < LAYER_STEPS; s++)
      for (int m = 0; m < LIP_PROJECT_METHODS; m++) {
        rig r;
        if (!case_plans(&layer_case[i], layer_step[s], (lip_project_method)m, LIP_INIT_HE, INFINITY, 1, &r))
          continue;
        check_projection(&layer_case[i], &r, (lip_project_method)m);
        checked += r.l->project_units > 0;
        rig_close(&r);
      }
  assert_true(checked >= 50);
}

static void projection_may_be_split(void **state) {
  (void)state;
  for (size_t i = 0; i < n_layer_cases; i++)
    for (size_t s = 0; s < LAYER_STEPS; s++) {
      rig r[2];
      const test_case *c = &layer_case[i];
      bool ok = case_plans(c, layer_step[s], LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 1, &r[0]);
      if (!ok) continue;
      assert_true(case_plans(c, layer_step[s], LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 1, &r[1]));
      for (int k = 0; k < 2; k++)
        for (size_t f = 0; f < r[k].n_leaf; f++) {
          lip_layer *l = r[k].leaf[f];
          if (l->project_units == 0) continue;
          l->budget = 0.3;
          case_fill(l->param[0].value, weight_size(l), 77, 1);
          size_t take = k == 0 ? l->project_units : 1;
          for (size_t u = 0; u < l->project_units; u += take) l->kind->project(l, u, u + take, r[k].scratch);
        }
      REQUIRE(c, memcmp(r[0].weights, r[1].weights, r[0].n_params * sizeof(float)) == 0,
              "%s: projection by units gives other bits", lip_pq_name(layer_step[s]));
      rig_close(&r[0]);
      rig_close(&r[1]);
    }
}

/* A budget given to the layer as a whole is met after the exact projection of its leaves. */
static void budgets_are_met(void **state) {
  (void)state;
  size_t met = 0;
  for (size_t i = 0; i < n_layer_cases; i++)
    for (size_t s = 0; s < LAYER_STEPS; s++)
      for (int init = 0; init <= LIP_INIT_ON_BALL; init++) {
        rig r;
        lip_err err;
        const test_case *c = &layer_case[i];
        const double K = 1.5;
        if (!lip_spec_weighted(c->spec)) continue;
        if (!case_plans(c, layer_step[s], LIP_EUCLIDEAN, (lip_init)init, K, 1, &r)) continue;
        for (int random = 0; random < 2; random++) {
          if (random) case_fill(r.weights, r.n_params, 123, 1);
          for (size_t k = 0; k < r.n_leaf; k++)
            assert_int_equal(lip_layer_project_exact(r.leaf[k], &err), LIP_OK);
          double now = case_bound(c, r.l, layer_step[s]);
          REQUIRE(c, now <= K, "%s: bound %.17g above the budget %g", lip_pq_name(layer_step[s]), now, K);
          met++;
        }
        rig_close(&r);
      }
  assert_true(met > 200);
}

/* ---- bounds ---- */

static double norm_d(const double *v, size_t n, lip_p p) {
  double sum = 0, most = 0;
  for (size_t i = 0; i < n; i++) {
    double a = fabs(v[i]);
    most = fmax(most, a);
    sum += p == LIP_P2 ? a * a : a;
  }
  return p == LIP_PINF ? most : p == LIP_P2 ? sqrt(sum) : sum;
}

/* The d of p-norm 1 with the largest inner product with g. */
static void steepest(double *d, const double *g, size_t n, lip_p p) {
  double norm = norm_d(g, n, LIP_P2);
  size_t top = 0;
  for (size_t i = 0; i < n; i++) {
    if (fabs(g[i]) > fabs(g[top])) top = i;
    d[i] = p == LIP_P2 ? g[i] / (norm > 0 ? norm : 1) : p == LIP_PINF ? (g[i] < 0 ? -1 : 1) : 0;
  }
  if (p == LIP_P1) d[top] = g[top] < 0 ? -1 : 1;
}

/* Rows of the rig: x and x + t d. Returns ||y1 - y0||_q / ||x1 - x0||_p of the steps really made in float32, and leaves
 * the difference of outputs in diff. */
static double slope_along(rig *r, const double *d, double t, lip_pq pq, double *diff, double *step) {
  size_t n = r->l->n_in, m = r->l->n_out;
  for (size_t i = 0; i < n; i++) r->x[n + i] = (float)((double)r->x[i] + t * d[i]);
  lip_pass pass = rig_pass(r, 0, 2);
  pass.training = false;
  if (r->l->kind->flags & LIP_LAYER_ALIAS)
    memcpy(r->y, r->x, 2 * n * sizeof(float));
  else
    r->l->kind->forward(r->l, &pass);
  for (size_t i = 0; i < n; i++) step[i] = (double)r->x[n + i] - (double)r->x[i];
  for (size_t i = 0; i < m; i++) diff[i] = (double)r->y[m + i] - (double)r->y[i];
  double length = norm_d(step, n, pq.p);
  return length > 0 ? norm_d(diff, m, pq.q) / length : 0;
}

/* Alternates between the steepest direction at the output and at the input (Boyd 1974), from several starts. */
static double steepest_slope(rig *r, lip_pq pq, uint64_t seed) {
  size_t n = r->l->n_in, m = r->l->n_out;
  double *d = malloc((2 * n + 2 * m) * sizeof *d), *step = d + n, *diff = step + n, *out = diff + m, best = 0;
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 2);
  for (int start = 0; start < 12; start++) {
    const double t = start % 3 == 0 ? 0.25 : start % 3 == 1 ? 1 : 4;
    lip_rng_fill_normal(&rng, r->x, n, 0, start % 2 ? 1 : 0.3f);
    for (size_t i = 0; i < n; i++) d[i] = lip_rng_normal(&rng);
    steepest(d, d, n, LIP_P2);
    for (int turn = 0; turn < 8; turn++) {
      best = fmax(best, slope_along(r, d, t, pq, diff, step));
      steepest(out, diff, m, lip_p_dual(pq.q)); /* the functional that sees most of it */
      for (size_t i = 0; i < m; i++) r->dy[i] = (float)out[i], r->dy[m + i] = 0;
      lip_pass pass = rig_pass(r, 0, 1);
      pass.training = false;
      if (r->l->kind->flags & LIP_LAYER_ALIAS)
        memcpy(r->dx, r->dy, n * sizeof(float));
      else
        r->l->kind->backward(r->l, &pass);
      for (size_t i = 0; i < n; i++) step[i] = (double)r->dx[i];
      steepest(d, step, n, pq.p);
    }
  }
  free(d);
  return best;
}

static void bounds_are_never_below_a_slope(void **state) {
  (void)state;
  size_t finite = 0, tight = 0;
  for (size_t i = 0; i < n_layer_cases; i++) {
    const test_case *c = &layer_case[i];
    for (size_t s = 0; s < LAYER_STEPS; s++) {
      rig r;
      lip_pq own = {layer_step[s].p, layer_step[s].p};
      if (!case_plans(c, own, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 2, &r)) continue;
      case_fill(r.weights, r.n_params, 400 + i, 0.5f);
      double upper = case_bound(c, r.l, layer_step[s]), slope = steepest_slope(&r, layer_step[s], i);
      /* float32's rounding of y over steps of at least 1/4 of the norm */
      REQUIRE(c, slope <= upper * (1 + 2e-5), "%s: slope %.9g above the bound %.9g",
              lip_pq_name(layer_step[s]), slope, upper);
      finite += isfinite(upper) ? 1 : 0;
      tight += slope > 0.95 * upper;
      lip_pq down = {layer_step[s].q, layer_step[s].p};
      if (down.p != down.q) REQUIRE(c, isinf(case_bound(c, r.l, down)), "%s has a bound", lip_pq_name(down));
      rig_close(&r);
    }
  }
  assert_true(finite >= 6 * n_layer_cases * 9 / 10); /* these kinds have a constant for nearly everything */
  assert_true(tight >= finite / 2);                  /* and the search finds most of them */
}

/* ---- error of the float32 pass ---- */

static void deviations_cover_the_executed_error(void **state) {
  (void)state;
  size_t compared = 0;
  for (size_t i = 0; i < n_layer_cases; i++) {
    const test_case *c = &layer_case[i];
    for (size_t s = 0; s < LAYER_STEPS; s++) {
      rig r;
      lip_pq pq = layer_step[s], own = {pq.p, pq.p};
      if (!case_plans(c, own, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 1, &r)) continue;
      case_fill(r.weights, r.n_params, 500 + i, 0.7f);
      size_t n = r.l->n_in, m = r.l->n_out;
      double *x = malloc((n + 2 * m) * sizeof *x), *y = x + n, *e = y + m;
      for (uint64_t t = 0; t < 40; t++) {
        const float size = t % 4 == 0 ? 30.0f : t % 4 == 1 ? 1e-3f : 1;
        case_fill(r.x, n, 600 + t, size);
        for (size_t k = 0; k < n; k++) x[k] = (double)r.x[k];
        lip_deviation d = {norm_d(x, n, pq.p) * (1 + 1e-12), 0};
        if (t % 2) { /* the executed input is a little off already */
          for (size_t k = 0; k < n; k++) r.x[k] *= 1 + 1e-4f * (float)((k * 7 + t) % 5);
          for (size_t k = 0; k < n; k++) e[k % m] = 0;
          double *off = malloc(n * sizeof *off);
          for (size_t k = 0; k < n; k++) off[k] = (double)r.x[k] - x[k];
          d.off = norm_d(off, n, pq.p) * (1 + 1e-12);
          free(off);
        }
        lip_layer_deviate(r.l, pq, &d);
        lip_pass pass = rig_pass(&r, 0, 1);
        pass.training = false;
        if (c->spec->kind->flags & LIP_LAYER_ALIAS)
          memcpy(r.y, r.x, n * sizeof(float));
        else
          r.l->kind->forward(r.l, &pass);
        for (size_t k = 0; k < m; k++) e[k] = (double)r.y[k];
        REQUIRE(c, norm_d(e, m, pq.q) <= (d.size + d.off) * (1 + 1e-12),
                "%s: executed output larger than stated", lip_pq_name(pq));
        if (!layer_in_double(r.l, x, y)) continue;
        for (size_t k = 0; k < m; k++) e[k] -= y[k];
        REQUIRE(c, norm_d(y, m, pq.q) <= d.size * (1 + 1e-12), "%s: exact output larger than stated",
                lip_pq_name(pq));
        /* 1e-14: the double reference rounds too */
        REQUIRE(c, norm_d(e, m, pq.q) <= d.off + 1e-14 * d.size, "%s: error %g, stated %g", lip_pq_name(pq),
                norm_d(e, m, pq.q), d.off);
        REQUIRE(c, t % 2 || !isfinite(d.off) || d.off < 1e-3 * (1 + d.size), "stated error %g is vacuous",
                d.off);
        compared += isfinite(d.off) ? 1 : 0;
      }
      free(x);
      rig_close(&r);
    }
  }
  assert_true(compared >= 6 * 40 * n_layer_cases * 8 / 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forward_fills_its_rows_and_no_others),
      cmocka_unit_test(gradients_match_central_differences),
      cmocka_unit_test(backward_and_grad_may_be_split),
      cmocka_unit_test(projections_are_feasible_idempotent_and_nearest),
      cmocka_unit_test(projection_may_be_split),
      cmocka_unit_test(budgets_are_met),
      cmocka_unit_test(bounds_are_never_below_a_slope),
      cmocka_unit_test(deviations_cover_the_executed_error),
  };
  return cmocka_run_group_tests(tests, make_layer_cases, free_layer_cases);
}
