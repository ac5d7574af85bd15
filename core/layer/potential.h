/* What layers of the form y = x - 2 A' phi(A x + b) share, A (h, n) with ||A||_2 <= 1 and phi with slopes in [0, 1]: a step
 * down the gradient of a convex function (Meunier et al. 2022). Its derivative J = I - 2 A' D A, D diagonal in [0, 1], is
 * symmetric, and I - 2 A'A <= J <= I, so that
 *   ||J||_2 <= max(1, 2 ||A||_2^2 - 1)                                                    for every A,
 * which is 1 for ||A||_2 <= 1. The second matrix is stored as -2 A': doubling is exact in float32, so that this is the
 * constant of the very numbers that are stored. Kinds differ in how A is made.
 *
 *   y = x - 2 W T^-1 relu(W'x + b) with T > 0 diagonal (Araujo et al. 2023) is this with A = T^-1/2 W' and T^-1/2 b for b,
 *   since relu(T^1/2 z) = T^1/2 relu(z); y = x - (2 / c) W' relu(W x + b) is this with A = W / sqrt(c) */
#ifndef LIP_LAYER_POTENTIAL_H
#define LIP_LAYER_POTENTIAL_H

#include "core/layer/inner.h"

typedef struct lip_potential_conf {
  size_t hidden; /* 0: as wide as the input */
  int activation;
} lip_potential_conf;

/* Rows of a table of options, for a conf that begins with a lip_potential_conf. */
#define LIP_POTENTIAL_OPTIONS                                                                                \
  {.name = "hidden",                                                                                         \
   .type = LIP_OPT_SIZE,                                                                                     \
   .offset = offsetof(lip_potential_conf, hidden),                                                           \
   .low = 0,                                                                                                 \
   .high = 1 << 20,                                                                                          \
   .help = "width between the two matrices; 0: that of the input"},                                          \
  {                                                                                                          \
    .name = "activation", .type = LIP_OPT_ENUM, .offset = offsetof(lip_potential_conf, activation),          \
    .names = lip_potential_names, .help = "what stands between them: a function with slopes in [0, 1]"       \
  }
extern const char *const lip_potential_names[];

typedef struct lip_potential {
  lip_inner inner;
  size_t h, n; /* A is (h, n) */
} lip_potential;

/* Plans everything but what is trained beside the bias. LIP_UNSUPPORTED for steps from another norm in a net that has a
 * budget: it could not be met. l->state becomes `size` bytes that begin with a lip_potential. */
lip_status lip_potential_plan(lip_layer *l, size_t size, lip_plan *plan, lip_err *err);
/* A (h, n) and, behind a training pass, its gradient. */
float *lip_potential_matrix(const lip_layer *l);
float *lip_potential_gradient(const lip_layer *l);
/* After A was made: the second matrix. */
void lip_potential_store(const lip_layer *l);
/* Before a pull: adds to the gradient of A what that of the second matrix means for it. Behind it: both are zero. */
void lip_potential_gather(const lip_layer *l);
void lip_potential_clear(const lip_layer *l);

/* Table entries. */
lip_status lip_potential_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err);
lip_status lip_potential_project_exact(lip_layer *l, lip_err *err);
double lip_potential_multipliers(const lip_layer *l, double *lambda);
#define LIP_POTENTIAL_KIND                                                                                   \
  .release = lip_inner_release, .bind = lip_inner_bind, .forward = lip_chain_forward,                        \
  .backward = lip_chain_backward, .project_exact = lip_potential_project_exact,                              \
  .bound = lip_potential_bound, .form = lip_inner_form, .multipliers = lip_potential_multipliers,            \
  .emit = lip_inner_emit, .deviate = lip_inner_deviate

#endif
