/* The inequality behind quadratic bounds: what is proved is never below an attained quotient, for any multipliers. */
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
#include "core/bound/lmi.h"

enum { MOST = 64, BLOCKS = 4 };

typedef enum kind { RELU, LEAKY, ABS, MAXMIN, MIXED, KINDS } kind;

/* ---- nets made by hand ---- */

static void set_units(lip_block *b, kind k) {
  for (size_t i = 0; i < b->M; i++) {
    b->low[i] = k == LEAKY ? 0.1 : k == ABS ? -1 : 0;
    b->high[i] = 1;
    if (k == MIXED) { /* stable, dead, sigmoid-like and others */
      static const double low[] = {0.25, 0, 0, -0.5}, high[] = {0.25, 0, 0.25, 2};
      b->low[i] = low[i % 4];
      b->high[i] = high[i % 4];
    }
  }
  if (k != MAXMIN) return;
  b->mate = lip_alloc(b->M, sizeof *b->mate);
  for (size_t i = 0; i < b->M; i++) {
    size_t mate = i ^ 1;
    b->mate[i] = (uint32_t)(mate < b->M ? mate : i);
    b->low[i] = b->mate[i] < i ? -1 : 1;
  }
}

/* dim: n + 1 sizes. Weights are normal with deviation spread / sqrt(fan-in). */
static lip_affine make(const size_t *dim, size_t n, kind k, double spread, uint64_t seed) {
  lip_affine a = {.n = n, .block = lip_alloc(n, sizeof(lip_block)), .n_in = dim[0], .n_out = dim[n]};
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 0);
  for (size_t l = 0; l < n; l++) {
    lip_block *b = &a.block[l];
    *b = (lip_block){.M = dim[l + 1], .N = dim[l]};
    b->W = lip_alloc(b->M * b->N, sizeof *b->W);
    b->b = lip_alloc(b->M, sizeof *b->b);
    b->low = lip_alloc(b->M, sizeof *b->low);
    b->high = lip_alloc(b->M, sizeof *b->high);
    lip_rng_fill_normal(&rng, b->W, b->M * b->N, 0, (float)(spread / sqrt((double)b->N)));
    for (size_t i = 0; i < b->M; i++) b->low[i] = b->high[i] = 1;
    if (l + 1 < n) set_units(b, k);
  }
  return a;
}

/* ---- the oracle: quotients of the net itself, by plain loops ---- */

/* One hidden unit: a secant of slope low or high, or anything between, between z and z + dz. Here a net is only its
 * slopes: y moves by s dz with s in [low, high], a pair as MaxMin's Jacobian between identity and exchange. */
static void move(const lip_affine *a, const double *dx, lip_rng *rng, double *out) {
  double y[MOST], z[MOST];
  memcpy(y, dx, a->n_in * sizeof *y);
  for (size_t l = 0; l < a->n; l++) {
    const lip_block *b = &a->block[l];
    for (size_t i = 0; i < b->M; i++) {
      z[i] = 0;
      for (size_t j = 0; j < b->N; j++) z[i] += (double)b->W[i * b->N + j] * y[j];
    }
    for (size_t i = 0; i < b->M; i++) {
      size_t mate = b->mate ? b->mate[i] : i;
      double t = lip_rng_below(rng, 4) ? (double)lip_rng_below(rng, 2) : (double)lip_rng_below(rng, 5) / 4;
      if (mate == i) {
        y[i] = (b->low[i] + t * (b->high[i] - b->low[i])) * z[i];
      } else if (i < mate) {
        y[i] = t * z[i] + (1 - t) * z[mate];
        y[mate] = (1 - t) * z[i] + t * z[mate];
      }
    }
  }
  memcpy(out, y, a->n_out * sizeof *y);
}

static double moved(const lip_multipliers *m, const double *f, size_t C) {
  double s = 0;
  if (m->rows.i != LIP_NO_ROW) {
    double v = f[m->rows.i] - (m->rows.j == LIP_NO_ROW ? 0 : f[m->rows.j]);
    return v * v;
  }
  for (size_t i = 0; i < C; i++) s += f[i] * f[i];
  return s;
}

/* Largest |V df|^2 / dx' diag(d) dx found: random moves, then hill climbing with the same slopes. */
static double attained(const lip_affine *a, const lip_multipliers *m, size_t tries, uint64_t seed) {
  double best = 0, dx[MOST], at[MOST], f[MOST];
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, 1);
  for (size_t t = 0; t < tries; t++) {
    double here = 0, step = 1;
    for (size_t j = 0; j < a->n_in; j++) at[j] = lip_rng_normal(&rng);
    for (int i = 0; i < 40; i++) {
      double size = 0;
      for (size_t j = 0; j < a->n_in; j++) {
        dx[j] = at[j] + (i ? step * lip_rng_normal(&rng) : 0);
        size += dx[j] * dx[j] * (m->d ? m->d[j] : 1);
      }
      lip_rng same = lip_rng_new(seed, LIP_RNG_USER, 2 + t);
      move(a, dx, &same, f);
      double q = moved(m, f, a->n_out) / size;
      if (q > here) {
        here = q;
        memcpy(at, dx, sizeof at);
      } else {
        step *= 0.9;
      }
    }
    best = fmax(best, here);
  }
  return best;
}

static double sigma(const lip_block *b) {
  double v[MOST], w[MOST], s = 0;
  for (size_t j = 0; j < b->N; j++) v[j] = 1 + 0.3 * (double)(j % 3);
  for (int it = 0; it < 2000; it++) {
    double n = 0, y = 0;
    memset(w, 0, sizeof w);
    for (size_t i = 0; i < b->M; i++) {
      double t = 0;
      for (size_t j = 0; j < b->N; j++) t += (double)b->W[i * b->N + j] * v[j];
      for (size_t j = 0; j < b->N; j++) w[j] += (double)b->W[i * b->N + j] * t;
      y += t * t;
    }
    for (size_t j = 0; j < b->N; j++) n += w[j] * w[j];
    s = sqrt(y);
    for (size_t j = 0; j < b->N; j++) v[j] = n > 0 ? w[j] / sqrt(n) : v[j];
  }
  return s;
}

static double target_norm(const lip_affine *a, const lip_rows *r) {
  const lip_block *b = &a->block[a->n - 1];
  double s = 0;
  if (r->i == LIP_NO_ROW) return sigma(b);
  for (size_t j = 0; j < b->N; j++) {
    double v = (double)b->W[r->i * b->N + j] - (r->j == LIP_NO_ROW ? 0 : (double)b->W[r->j * b->N + j]);
    s += v * v;
  }
  return sqrt(s);
}

/* Multipliers that give the product of norms (slopes in [-1, 1]), as the top comments of the proposers derive: with q
 * the square of what follows, q (y - low z)(high z - y) scaled so that Lambda >= q; returns the product's square. */
static double product(const lip_affine *a, lip_multipliers *m) {
  double n = target_norm(a, &m->rows), q = n * n;
  size_t first = lip_affine_units(a);
  for (size_t l = a->n - 1; l-- > 0;) {
    const lip_block *b = &a->block[l];
    first -= b->M;
    for (size_t i = 0; i < b->M; i++) {
      bool relu = b->low[i] == 0, pair = b->mate && b->mate[i] != i;
      m->lambda[first + i] = b->low[i] == b->high[i] ? 0 : q * (relu ? 2 : pair ? 0.5 : 1) * (1 + 0.5e-5);
    }
    n = sigma(b);
    q *= n * n * (1 + 1e-5);
  }
  return q;
}

static lip_proof *proof_for(const lip_affine *a) {
  lip_proof *p;
  assert_int_equal(lip_proof_new(1, lip_affine_units(a), &p, NULL), LIP_OK);
  return p;
}

static lip_lmi *lmi_for(const lip_affine *a) {
  lip_lmi *m;
  assert_int_equal(lip_lmi_new(a, &m, NULL), LIP_OK);
  return m;
}

static double prove(lip_lmi *l, lip_multipliers *m) {
  assert_int_equal(lip_lmi_prove(l, m, NULL), LIP_OK);
  assert_true(m->rho >= 0);
  return m->rho;
}

static const size_t shapes[][BLOCKS + 1] = {
    {3, 4, 2}, {7, 4, 3}, {20, 9, 6, 3}, {2, 11, 5, 4, 2}, {12, 8, 8, 5, 3}};
static const size_t depth[] = {2, 2, 3, 4, 4};
enum { SHAPES = sizeof depth / sizeof *depth };

static lip_rows target(size_t i) {
  static const lip_rows rows[] = {{0, 1}, {1, LIP_NO_ROW}, {LIP_NO_ROW, LIP_NO_ROW}};
  return rows[i % 3];
}

/* ---- tests ---- */

static void gives_the_product(void **state) {
  (void)state;
  for (size_t s = 0; s < SHAPES; s++)
    for (kind k = RELU; k <= MAXMIN; k++)
      for (size_t t = 0; t < 3; t++) {
        if (k == LEAKY) continue; /* needs another multiplier */
        lip_affine a = make(shapes[s], depth[s], k, 1.2, s * 10 + (uint64_t)k);
        lip_lmi *l = lmi_for(&a);
        lip_proof *p = proof_for(&a);
        lip_multipliers *m = &p->item[0];
        m->rows = target(t);
        double q = product(&a, m);
        m->rho = q;
        double rho = prove(l, m);
        if (!(rho <= q * (1 + 1e-8))) fail_msg("shape %zu kind %d: %g of %g", s, k, rho, q);
        assert_true(rho >= attained(&a, m, 50, s));
        lip_lmi_free(l);
        lip_proof_free(p);
        lip_affine_free(&a);
      }
}

/* Too deep for known slopes to be put in: they are a penalty. */
static void deep_nets_pay_a_penalty(void **state) {
  (void)state;
  const size_t dim[] = {9, 6, 6, 6, 6, 6, 6, 6, 6, 6, 2};
  for (size_t t = 0; t < 3; t++) {
    lip_affine a = make(dim, 10, MAXMIN, 1, 60 + t);
    lip_lmi *l = lmi_for(&a);
    lip_proof *p = proof_for(&a);
    lip_multipliers *m = &p->item[0];
    m->rows = target(t);
    double q = product(&a, m);
    m->rho = q;
    double rho = prove(l, m);
    assert_true(rho <= q * (1 + 1e-3) && rho >= attained(&a, m, 50, t));
    for (size_t u = 0; u < p->units; u++) assert_true(m->lambda[u] > 0);
    lip_lmi_free(l);
    lip_proof_free(p);
    lip_affine_free(&a);
  }
}

/* Whatever is proposed, no proved number is below an attained quotient. */
static void any_multipliers_are_sound(void **state) {
  (void)state;
  static const double odd[] = {0, -1, NAN, INFINITY, -INFINITY, 5e-324, 1e300, 1e-300, 1e-30, 1e30};
  size_t proved = 0;
  for (size_t s = 0; s < SHAPES; s++)
    for (kind k = RELU; k < KINDS; k++) {
      lip_affine a = make(shapes[s], depth[s], k, 1.2, 100 + s * 10 + (uint64_t)k);
      lip_lmi *l = lmi_for(&a);
      lip_proof *p = proof_for(&a), *base = proof_for(&a);
      lip_multipliers *m = &p->item[0];
      lip_rng rng = lip_rng_new(7, LIP_RNG_USER, s * 10 + (uint64_t)k);
      for (size_t t = 0; t < 3; t++) {
        m->rows = base->item[0].rows = target(t);
        double q = product(&a, &base->item[0]), reached = attained(&a, m, 400, t);
        for (int i = 0; i < 120; i++) {
          double spread = i % 4 == 0 ? 0 : i % 4 == 1 ? 0.1 : 1;
          for (size_t u = 0; u < p->units; u++) {
            m->lambda[u] = base->item[0].lambda[u] * exp(spread * lip_rng_normal(&rng));
            if (i % 10 == 9 && lip_rng_below(&rng, 4) == 0) m->lambda[u] = odd[lip_rng_below(&rng, 10)];
          }
          m->rho = q * exp(-3 * lip_rng_uniform(&rng) + 1.5);
          if (i % 30 == 5) m->rho = reached * 0.999 / 2 / (1 + 1e-6);
          double proposed = m->rho, rho = prove(l, m);
          if (isfinite(rho)) proved++;
          if (!(rho >= reached)) fail_msg("shape %zu kind %d: %.17g below %.17g", s, k, rho, reached);
          assert_true(isinf(rho) || rho <= proposed * 2);
        }
      }
      lip_lmi_free(l);
      lip_proof_free(p);
      lip_proof_free(base);
      lip_affine_free(&a);
    }
  assert_true(proved > 1500);
}

/* ---- every pattern of slopes ---- */

/* |V J|^2 in the norm weighted by d for the slopes of one pattern. */
static double pattern(const lip_affine *a, const lip_multipliers *m, unsigned bits) {
  double J[MOST][MOST] = {{0}}, next[MOST][MOST], best = 0;
  size_t n = a->n_in;
  for (size_t j = 0; j < n; j++) J[j][j] = 1 / sqrt(m->d ? m->d[j] : 1);
  for (size_t l = 0; l < a->n; l++) {
    const lip_block *b = &a->block[l];
    memset(next, 0, sizeof next);
    for (size_t i = 0; i < b->M; i++)
      for (size_t k = 0; k < b->N; k++)
        for (size_t j = 0; j < n; j++) next[i][j] += (double)b->W[i * b->N + k] * J[k][j];
    for (size_t i = 0; i < b->M; i++) {
      bool pair = b->mate && b->mate[i] != i, on = false;
      if (l + 1 < a->n && (!pair || i < b->mate[i])) {
        on = bits & 1;
        bits >>= 1;
      }
      for (size_t j = 0; j < n; j++) {
        double s = on ? b->high[i] : b->low[i];
        if (!pair) J[i][j] = s * next[i][j];
        if (pair && i < b->mate[i]) {
          J[i][j] = next[on ? b->mate[i] : i][j];
          J[b->mate[i]][j] = next[on ? i : b->mate[i]][j];
        }
      }
    }
  }
  if (m->rows.i != LIP_NO_ROW) {
    for (size_t j = 0; j < n; j++) {
      double v = J[m->rows.i][j] - (m->rows.j == LIP_NO_ROW ? 0 : J[m->rows.j][j]);
      best += v * v;
    }
    return best;
  }
  double v[MOST], w[MOST];
  for (size_t j = 0; j < n; j++) v[j] = 1 + 0.1 * (double)j;
  for (int it = 0; it < 60; it++) {
    double top = 0, size = 0, f;
    memset(w, 0, sizeof w);
    for (size_t j = 0; j < n; j++) size += v[j] * v[j];
    for (size_t i = 0; i < a->n_out; i++) {
      f = 0;
      for (size_t j = 0; j < n; j++) f += J[i][j] * v[j];
      top += f * f;
      for (size_t j = 0; j < n; j++) w[j] += J[i][j] * f;
    }
    best = fmax(best, top / size);
    for (size_t j = 0; j < n; j++) v[j] = w[j] / sqrt(size);
  }
  return best;
}

static double exact(const lip_affine *a, const lip_multipliers *m) {
  double best = 0;
  for (unsigned bits = 0; bits < 1u << lip_affine_units(a); bits++) best = fmax(best, pattern(a, m, bits));
  return best;
}

/* A bound within a factor of the enumerated constant, never below; nothing is proved below it. */
static void against_every_pattern(void **state) {
  (void)state;
  static const size_t small[][BLOCKS + 1] = {{3, 6, 2}, {9, 6, 2}, {5, 4, 4, 2}, {2, 4, 4, 3}};
  for (size_t s = 0; s < 4; s++)
    for (kind k = RELU; k < KINDS; k++)
      for (size_t t = 0; t < 6; t++) {
        lip_affine a = make(small[s], s < 2 ? 2 : 3, k, 1.5, 300 + s * 10 + (uint64_t)k);
        lip_lmi *l = lmi_for(&a);
        lip_proof *p = proof_for(&a);
        lip_multipliers *m = &p->item[0];
        lip_rng rng = lip_rng_new(s, LIP_RNG_USER, t);
        m->rows = target(t);
        if (t >= 3) {
          m->d = lip_alloc(a.n_in, sizeof *m->d);
          for (size_t j = 0; j < a.n_in; j++) m->d[j] = exp(2 * lip_rng_normal(&rng));
        }
        double truth = exact(&a, m), q = product(&a, m);
        double *d = m->d;
        m->d = NULL; /* nothing of one question is left in the next */
        m->rho = 10 * q;
        (void)prove(l, m);
        m->d = d;
        for (int i = 0; i < 20; i++) {
          m->rho = truth * 0.4995;
          if (!isinf(prove(l, m)))
            fail_msg("shape %zu kind %d target %zu: %.17g of %.17g", s, k, t, m->rho, truth);
          m->rho = q * exp(lip_rng_normal(&rng));
          assert_true(prove(l, m) >= truth);
          for (size_t u = 0; u < p->units; u++) m->lambda[u] *= exp(lip_rng_normal(&rng));
        }
        lip_lmi_free(l);
        lip_proof_free(p);
        lip_affine_free(&a);
      }
}

/* One unit: nothing is lost, so the bound is the constant itself. */
static void one_unit_is_exact(void **state) {
  (void)state;
  const size_t dim[] = {5, 1, 2};
  for (kind k = RELU; k <= ABS; k++)
    for (size_t t = 0; t < 3; t++) {
      lip_affine a = make(dim, 2, k, 1, 17 + t);
      lip_lmi *l = lmi_for(&a);
      lip_proof *p = proof_for(&a);
      lip_multipliers *m = &p->item[0];
      m->rows = target(t);
      double n = target_norm(&a, &m->rows), v2 = n * n, w = sigma(&a.block[0]);
      /* K = Lh^2 / (Lambda - v2) - Lambda low high is smallest at Lambda = 2 v2 / (high - low) for high = 1, |low| < 1 */
      double low = a.block[0].low[0];
      m->lambda[0] = v2 * 2 / (1 - low) * (k == ABS ? 1 + 1e-8 : 1);
      m->rho = v2 * w * w * (1 - 1e-6);
      double rho = prove(l, m);
      if (!(rho >= v2 * w * w * (1 - 1e-14) && rho <= v2 * w * w * (1 + 1e-7)))
        fail_msg("kind %d target %zu: %.17g of %.17g", k, t, rho, v2 * w * w);
      lip_lmi_free(l);
      lip_proof_free(p);
      lip_affine_free(&a);
    }
}

/* ---- scales, zeros, failures ---- */

static void multiply(lip_block *b, int e) {
  for (size_t i = 0; i < b->M * b->N; i++) b->W[i] = ldexpf(b->W[i], e);
}

/* Moving powers of two from one matrix to the next changes no bit. */
static void powers_of_two_do_not_matter(void **state) {
  (void)state;
  for (size_t s = 0; s < SHAPES; s++)
    for (kind k = RELU; k < KINDS; k++) {
      double rho[2];
      for (int moved_by = 0; moved_by < 2; moved_by++) {
        lip_affine a = make(shapes[s], depth[s], k, 1.2, 500 + s);
        lip_proof *p = proof_for(&a);
        lip_multipliers *m = &p->item[0];
        m->rows = target(s);
        double q = product(&a, m);
        size_t unit = 0;
        for (size_t l = 0, e = 0; l + 1 < a.n; l++, e++)
          for (size_t i = 0; i < a.block[l].M; i++, unit++) {
            m->lambda[unit] *= 1.01; /* an ordinary number in both */
            if (moved_by) m->lambda[unit] = ldexp(m->lambda[unit], e % 2 ? 0 : -190);
          }
        for (size_t l = 0; moved_by && l + 1 < a.n; l += 2) {
          multiply(&a.block[l], 95);
          multiply(&a.block[l + 1], -95);
        }
        lip_lmi *l = lmi_for(&a);
        m->rho = q;
        rho[moved_by] = prove(l, m);
        lip_lmi_free(l);
        lip_proof_free(p);
        lip_affine_free(&a);
      }
      assert_true(rho[0] == rho[1]);
    }
}

/* Rows and columns from 1e-30 to 1e30 in one matrix. */
static void bad_scales_are_sound(void **state) {
  (void)state;
  size_t proved = 0;
  for (size_t s = 0; s < SHAPES; s++)
    for (kind k = RELU; k < KINDS; k++)
      for (int e = 0; e < 8; e++) {
        lip_affine a = make(shapes[s], depth[s], k, 1, 700 + s);
        lip_rng rng = lip_rng_new(s, LIP_RNG_USER, (uint64_t)e);
        for (size_t l = 0; l < a.n; l++)
          for (size_t i = 0; i < a.block[l].M * a.block[l].N; i++)
            if (lip_rng_below(&rng, 3) == 0)
              a.block[l].W[i] *= powf(10, (float)(30 * (1 - 2 * lip_rng_uniform(&rng))) / (float)(e % 4 + 1));
        lip_lmi *l = lmi_for(&a);
        lip_proof *p = proof_for(&a);
        lip_multipliers *m = &p->item[0];
        m->rows = target((size_t)e);
        double q = product(&a, m), reached = attained(&a, m, 60, s);
        for (int i = 0; i < 10; i++) {
          m->rho = q * exp(-4 * lip_rng_uniform(&rng) + 1);
          double rho = prove(l, m);
          if (isfinite(rho)) proved++;
          assert_true(rho >= reached);
          for (size_t u = 0; u < p->units; u++) m->lambda[u] *= exp(0.3 * lip_rng_normal(&rng));
        }
        lip_lmi_free(l);
        lip_proof_free(p);
        lip_affine_free(&a);
      }
  assert_true(proved > 500);
}

static void zeros_and_broken_numbers(void **state) {
  (void)state;
  for (size_t z = 0; z < 8; z++)
    for (kind k = RELU; k < KINDS; k++) {
      lip_affine a = make(shapes[2], 3, k, 1, 900);
      lip_proof *p = proof_for(&a);
      lip_multipliers *m = &p->item[0];
      m->rows = target(z);
      if (z < 3) memset(a.block[z].W, 0, a.block[z].M * a.block[z].N * sizeof(float));
      (void)product(&a, m);
      for (size_t u = 0; u < p->units; u++) m->lambda[u] *= 100; /* enough for any slopes */
      m->rho = z == 0 ? 1e-250 : z < 3 ? 1e-20 : 1;
      if (z == 3) a.block[0].W[3] = NAN;
      if (z == 4) a.block[1].W[3] = INFINITY;
      if (z == 5) a.block[2].W[0] = NAN, m->rows = (lip_rows){0, 1};
      if (z == 6) a.block[0].low[1] = NAN;
      if (z == 7) a.block[1].high[1] = INFINITY;
      lip_lmi *l = lmi_for(&a);
      double rho = prove(l, m);
      if (z < 3) { /* constant 0 */
        assert_true(rho <= 1.1e-20);
      } else {
        assert_true(isinf(rho));
      }
      static const double bad[] = {0, -1, NAN, INFINITY};
      for (size_t i = 0; z < 2 && i < 4; i++) {
        m->rho = bad[i];
        assert_true(isinf(prove(l, m)));
      }
      lip_lmi_free(l);
      lip_proof_free(p);
      lip_affine_free(&a);
    }
  lip_block wide[2] = {{.M = 6000, .N = 3}, {.M = 2, .N = 6000}}; /* never read */
  lip_affine none = {0}, large = {.n = 2, .block = wide, .n_in = 3, .n_out = 2};
  assert_true(!lip_lmi_fits(&none) && !lip_lmi_fits(&large));
  lip_lmi *l = lmi_for(&none);
  lip_multipliers m = {{0, 1}, 1, NULL, NULL};
  assert_true(isinf(prove(l, &m)));
  lip_lmi_free(l);
  l = lmi_for(&large);
  m.rho = 1;
  assert_true(isinf(prove(l, &m)));
  lip_lmi_free(l);
}

/* A single matrix: its norm, weighted or not. */
static void one_matrix(void **state) {
  (void)state;
  static const size_t dim[][2] = {{30, 4}, {3, 9}};
  for (size_t s = 0; s < 2; s++)
    for (size_t t = 0; t < 6; t++) {
      lip_affine a = make(dim[s], 1, RELU, 1, s);
      lip_lmi *l = lmi_for(&a);
      lip_proof *p = proof_for(&a);
      lip_multipliers *m = &p->item[0];
      m->rows = target(t);
      if (t > 2) m->d = lip_alloc(a.n_in, sizeof *m->d);
      for (size_t j = 0; t > 2 && j < a.n_in; j++) m->d[j] = 0.25 + (double)j;
      double truth = pattern(&a, m, 0);
      m->rho = truth * (1 - 1e-5);
      double rho = prove(l, m);
      assert_true(rho >= truth * (1 - 1e-9) && rho <= truth * (1 + 1e-5));
      m->rho = truth * 0.4995;
      assert_true(isinf(prove(l, m)));
      if (t > 2) { /* weights must be positive */
        m->d[1] = t == 3 ? 0 : t == 4 ? NAN : -1;
        m->rho = truth;
        assert_true(isinf(prove(l, m)));
      }
      lip_lmi_free(l);
      lip_proof_free(p);
      lip_affine_free(&a);
    }
}

static void memory_may_fail(void **state) {
  (void)state;
  lip_affine a = make(shapes[2], 3, MAXMIN, 1, 3);
  size_t before = lip_mem_used();
  for (size_t n = 1;; n++) {
    lip_lmi *l = NULL;
    lip_err err;
    lip_multipliers m = {{0, 1}, 1, NULL, NULL};
    lip_mem_fail_nth(n);
    lip_status st = lip_lmi_new(&a, &l, &err);
    if (st == LIP_OK) {
      double lambda[15] = {0}, d[20];
      for (size_t i = 0; i < 15; i++) lambda[i] = 1;
      for (size_t i = 0; i < 20; i++) d[i] = 1;
      m.lambda = lambda;
      m.d = d;
      st = lip_lmi_prove(l, &m, &err);
    } else {
      assert_null(l);
    }
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    lip_lmi_free(l);
    assert_int_equal(st, failed ? LIP_MEMORY : LIP_OK);
    assert_true(!failed || isinf(m.rho) || m.rho == 1);
    assert_int_equal(lip_mem_used(), before);
    if (!failed) break;
  }
  lip_affine_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gives_the_product),
      cmocka_unit_test(deep_nets_pay_a_penalty),
      cmocka_unit_test(any_multipliers_are_sound),
      cmocka_unit_test(against_every_pattern),
      cmocka_unit_test(one_unit_is_exact),
      cmocka_unit_test(powers_of_two_do_not_matter),
      cmocka_unit_test(bad_scales_are_sound),
      cmocka_unit_test(zeros_and_broken_numbers),
      cmocka_unit_test(one_matrix),
      cmocka_unit_test(memory_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
