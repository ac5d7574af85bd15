/* The forward pass in 600 digits beside the executed ones, float32 and double: the true deviation of the logits stays
 * below what the certificates allow for it, at the input and around it, on 1,000 random nets: scaled badly, with large
 * biases that a later layer takes back, with sums that cancel. Needs MPFR; without it the test says so. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef LIP_MPFR
int main(void) {
  puts("skipped: built without MPFR (Debian: libmpfr-dev)");
  return 77;
}
#else

#include <mpfr.h>

#include "core/base/mem.h"

#include "core/affine/walk.h"
#include "core/net/wide.h"
#include "support_cert.h"

enum { PRECISION = 2048, WIDEST = 40, DEEPEST = 7, NETS = 1000 };

static const char *const activations[] = {"relu", "leaky_relu", "abs", "maxmin", "groupsort"};

/* ---- the exact net ---- */

static mpfr_t here[WIDEST], next[WIDEST], product;

static void exact_dense(const lip_layer *l) {
  const float *W = l->param[0].value;
  for (size_t o = 0; o < l->n_out; o++) {
    mpfr_set_d(next[o], l->n_param > 1 ? (double)l->param[1].value[o] : 0, MPFR_RNDN);
    for (size_t k = 0; k < l->n_in; k++) {
      mpfr_mul_d(product, here[k], (double)W[o * l->n_in + k], MPFR_RNDN);
      mpfr_add(next[o], next[o], product, MPFR_RNDN);
    }
  }
  for (size_t o = 0; o < l->n_out; o++) mpfr_swap(here[o], next[o]);
}

static void exact_activation(const char *kind, size_t n) {
  for (size_t k = 0; k < n; k++) {
    bool below = mpfr_sgn(here[k]) < 0;
    if (strcmp(kind, "relu") == 0 && below) mpfr_set_zero(here[k], 1);
    if (strcmp(kind, "leaky_relu") == 0 && below) mpfr_mul_d(here[k], here[k], (double)0.01f, MPFR_RNDN);
    if (strcmp(kind, "abs") == 0) mpfr_abs(here[k], here[k], MPFR_RNDN);
    /* larger first, smaller first */
    if (k % 2 == 1 && strcmp(kind, "maxmin") == 0 && mpfr_less_p(here[k - 1], here[k]))
      mpfr_swap(here[k - 1], here[k]);
    if (k % 2 == 1 && strcmp(kind, "groupsort") == 0 && mpfr_greater_p(here[k - 1], here[k]))
      mpfr_swap(here[k - 1], here[k]);
  }
}

/* The exact logits of x, in `here`. */
static void exact_net(const lip_net *net, const float *x) {
  for (size_t k = 0; k < net->root->n_in; k++) mpfr_set_d(here[k], (double)x[k], MPFR_RNDN);
  for (size_t i = 0; i < net->root->n_child; i++) {
    const lip_layer *l = net->root->child[i];
    if (l->n_param > 0)
      exact_dense(l);
    else
      exact_activation(l->kind->desc.name, l->n_in);
  }
}

/* ||z - exact||_q, not above it. */
static double deviation(const double *z, size_t n, lip_p q) {
  double norm = 0;
  for (size_t j = 0; j < n; j++) {
    mpfr_sub_d(product, here[j], z[j], MPFR_RNDN);
    double d = fabs(mpfr_get_d(product, MPFR_RNDZ));
    norm = q == LIP_P1 ? norm + d : q == LIP_P2 ? norm + d * d : fmax(norm, d);
  }
  return (q == LIP_P2 ? sqrt(norm) : norm) * (1 - 1e-13);
}

/* ---- random nets ---- */

/* Adds `size` to every unit of weighted layer i and takes it back in the biases of layer i + 1, as far as float32 goes. */
static void hide_bias(lip_net *net, size_t i, float size) {
  lip_layer *a = lip_net_weighted_layer(net, i), *b = lip_net_weighted_layer(net, i + 1);
  for (size_t o = 0; o < a->n_out; o++) a->param[1].value[o] += size;
  for (size_t o = 0; o < b->n_out; o++) {
    double sum = 0;
    for (size_t k = 0; k < b->n_in; k++) sum += (double)b->param[0].value[o * b->n_in + k];
    b->param[1].value[o] -= (float)((double)size * sum);
  }
}

/* Every second weight the negative of the one before, up to a few units in the last place. */
static void cancel(lip_layer *l, lip_rng *rng) {
  float *W = l->param[0].value;
  for (size_t i = 1; i < l->n_in * l->n_out; i += 2)
    W[i] = -W[i - 1] * (1 + 0x1p-22f * (float)lip_rng_below(rng, 4));
}

static lip_net *random_net(uint64_t seed, lip_rng *rng) {
  static const char *const paths[] = {"1", "2", "inf", "1->inf", "1->2", "2->inf"};
  piece p[DEEPEST];
  size_t n = 1 + 2 * (size_t)lip_rng_below(rng, 3);
  for (size_t i = 0; i < n; i += 2) {
    p[i] = (piece){"dense", 2 + 2 * (size_t)lip_rng_below(rng, WIDEST / 2 - 1)};
    p[i + 1] = (piece){activations[lip_rng_below(rng, 5)], 0};
  }
  lip_net *net = cert_net(paths[lip_rng_below(rng, 6)], 1 + (size_t)lip_rng_below(rng, WIDEST - 1), p, n, 1.5,
                          seed, NULL);
  for (size_t i = 0; i < lip_net_weighted(net); i++) {
    lip_layer *l = lip_net_weighted_layer(net, i);
    float scale = ldexpf(1, (int)lip_rng_below(rng, 21) - 10);
    if (seed % 3 == 1)
      for (size_t k = 0; k < l->n_in * l->n_out; k++) l->param[0].value[k] *= scale;
    if (seed % 4 == 1) cancel(l, rng);
  }
  for (size_t i = 0; seed % 5 == 2 && i + 1 < lip_net_weighted(net); i++)
    hide_bias(net, i, seed % 2 ? 1e6f : 1000);
  return net;
}

/* ---- the tests ---- */

typedef struct largest {
  double single, wide, around; /* of deviation / allowance */
} largest;

static double share(double off, double allowed) {
  assert_true(off <= allowed);
  return allowed > 0 ? off / allowed : 0;
}

static void compare(lip_net *net, lip_rng *rng, largest *most) {
  enum { MATES = 3 };
  size_t N = net->root->n_in, C = net->root->n_out;
  float x[WIDEST], to[WIDEST];
  double numbers[2][4][DEEPEST + 1], z[WIDEST];
  const double *rows;
  lip_centre at[2];
  lip_walk w;
  lip_err err;
  for (size_t k = 0; k < 2; k++)
    at[k] = (lip_centre){
        .size = numbers[k][0], .off = numbers[k][1], .terms = numbers[k][2], .result = numbers[k][3]};
  lip_rng_fill_normal(rng, x, N, 0, 1);
  for (size_t k = 0; k < N; k += 1 + (size_t)lip_rng_below(rng, 3)) x[k] = 0;
  assert_int_equal(lip_walk_init(&w, net, NULL, &err), LIP_OK);
  double *room = lip_alloc(lip_walk_room(&w), sizeof *room);
  assert_non_null(room);
  exact_net(net, x);
  lip_net_forward(net, x, 1, false);
  for (size_t j = 0; j < C; j++) z[j] = (double)net->logits[j];
  lip_walk_centre(&w, x, 0, &at[0]);
  most->single = fmax(most->single, share(deviation(z, C, w.q), at[0].off[w.n]));
  memcpy(z, lip_walk_wide(&w, x, room, &at[1], &rows), C * sizeof *z);
  most->wide = fmax(most->wide, share(deviation(z, C, w.q), at[1].off[w.n]));
  for (int i = 0; i < MATES;
       i++) { /* coordinates of the ball, and what is allowed there from either centre */
    double radius = i == 0 ? 1e-3 : (double)i, gap[WIDEST];
    for (size_t k = 0; k < N; k++) {
      to[k] = x[k] + (float)(radius / (double)N * (2 * lip_rng_uniform(rng) - 1));
      gap[k] = (double)to[k] - (double)x[k];
    }
    radius = lip_norm_upper_d(gap, N, w.p);
    exact_net(net, to);
    lip_net_forward(net, to, 1, false);
    for (size_t j = 0; j < C; j++) z[j] = (double)net->logits[j];
    double off = deviation(z, C, w.q);
    for (size_t k = 0; k < 2; k++)
      most->around =
          fmax(most->around, share(off, lip_walk_ball(&w, &at[k], radius, LIP_GRAIN_FLOAT, w.n).off));
    memcpy(z, lip_wide_row(net, to, room, NULL, NULL), C * sizeof *z);
    for (size_t k = 0; k < 2; k++)
      share(deviation(z, C, w.q), lip_walk_ball(&w, &at[k], radius, LIP_GRAIN_DOUBLE, w.n).off);
  }
  lip_free(room);
  lip_walk_free(&w);
}

static void allowances_hold(void **state) {
  (void)state;
  largest most = {0, 0, 0};
  lip_rng rng = lip_rng_new(6, LIP_RNG_USER, 11);
  for (uint64_t seed = 1; seed <= NETS; seed++) {
    lip_net *net = random_net(seed, &rng);
    compare(net, &rng, &most);
    lip_net_free(net);
  }
  /* bounds about what happens, not numbers out of reach */
  printf("deviation over allowance, at most: float32 %.3f, around %.3f, double %.3f\n", most.single,
         most.around, most.wide);
  assert_true(most.single > 0.1 && most.around > 0.05 && most.wide > 0.02);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(allowances_hold)};
  for (size_t k = 0; k < WIDEST; k++) mpfr_inits2(PRECISION, here[k], next[k], (mpfr_ptr)0);
  mpfr_init2(product, PRECISION);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  for (size_t k = 0; k < WIDEST; k++) mpfr_clears(here[k], next[k], (mpfr_ptr)0);
  mpfr_clear(product);
  mpfr_free_cache();
  return failed;
}
#endif
