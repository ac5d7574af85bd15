/* Adam and its family, element by element (t = 1, 2, ... counts the updates, d = weight decay):
 *   adam     g' = g + d w;  m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'^2;
 *            w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)                 (Kingma and Ba 2015, algorithm 1)
 *   adamw    the same with g' = g, and w -= lr d w: decay outside of the moments     (Loshchilov and Hutter 2019,
 *            algorithm 2, with their schedule multiplier contained in lr)
 *   amsgrad  adam with v replaced in the step by the largest v so far                (Reddi, Kale, Kumar 2018; both
 *            moments corrected as in adam)
 *   rmsprop  g' = g + d w;  v = b2 v + (1 - b2) g'^2;  w -= lr g' / (sqrt(v) + eps)  (Tieleman and Hinton 2012)
 * One pass over memory; square root and division are exact (the pass waits for memory, not for them). */
#include <math.h>
#include <stdint.h>

#include "core/base/simd.h"
#include "core/net/optim_options.h"

typedef struct adam_conf {
  lip_optim_conf common;
  double beta1, beta2, eps;
} adam_conf;

typedef struct rmsprop_conf {
  lip_optim_conf common;
  double beta2, eps;
} rmsprop_conf;

#define BETA(type, member, value, text)                                                                      \
  { #member, LIP_OPT_REAL, offsetof(type, member), false, value, 0, LIP_BELOW_ONE, NULL, text }
/* Below 1e-30 the float32 sum with a root of denormals could be 0. */
#define EPS(type)                                                                                            \
  {                                                                                                          \
    "eps", LIP_OPT_REAL, offsetof(type, eps), false, 1e-8, 1e-30, 1, NULL,                                   \
        "added to the root of the second moment"                                                             \
  }

static const lip_opt adam_options[] = {LIP_OPTIM_OPTIONS(adam_conf, 0.001),
                                       BETA(adam_conf, beta1, 0.9, "memory of the mean gradient"),
                                       BETA(adam_conf, beta2, 0.999, "memory of the mean squared gradient"),
                                       EPS(adam_conf),
                                       {0}};
static const lip_opt rmsprop_options[] = {
    LIP_OPTIM_OPTIONS(rmsprop_conf, 0.001),
    BETA(rmsprop_conf, beta2, 0.99, "memory of the mean squared gradient"),
    EPS(rmsprop_conf),
    {0}};

/* The numbers of one update, rounded to float32 once. */
typedef struct factors {
  float b1, c1, b2, c2;  /* beta, 1 - beta */
  float rate;            /* lr / (1 - b1^t) */
  float correct;         /* 1 / (1 - b2^t) */
  float eps, l2, shrink; /* weight decay inside the gradient, and outside: lr * d */
} factors;

/* 1 - b^t without cancellation; 1 for b = 0. */
static double remains(double b, uint64_t t) {
  return b > 0 ? -expm1((double)t * log(b)) : 1.0;
}

static factors prepare(const adam_conf *c, double lr, uint64_t t, bool decoupled) {
  return (factors){
      .b1 = (float)c->beta1,
      .c1 = (float)(1 - c->beta1),
      .b2 = (float)c->beta2,
      .c2 = (float)(1 - c->beta2),
      .rate = (float)(lr / remains(c->beta1, t)),
      .correct = (float)(1 / remains(c->beta2, t)),
      .eps = (float)c->eps,
      .l2 = decoupled ? 0.0f : (float)c->common.weight_decay,
      .shrink = decoupled ? (float)(lr * c->common.weight_decay) : 0.0f,
  };
}

LIP_HOT static void adam_loop(float *restrict w, const float *restrict g, float *restrict m,
                              float *restrict v, size_t n, factors f) {
  for (size_t i = 0; i < n; i++) {
    float d = g[i];
    m[i] = f.b1 * m[i] + f.c1 * d;
    v[i] = f.b2 * v[i] + f.c2 * (d * d);
    w[i] -= f.rate * m[i] / (sqrtf(v[i] * f.correct) + f.eps);
  }
}

LIP_HOT static void adam_decay_loop(float *restrict w, const float *restrict g, float *restrict m,
                                    float *restrict v, const float *restrict decay, size_t n, factors f) {
  for (size_t i = 0; i < n; i++) {
    float on = decay ? decay[i] : 1.0f, d = g[i] + f.l2 * on * w[i];
    m[i] = f.b1 * m[i] + f.c1 * d;
    v[i] = f.b2 * v[i] + f.c2 * (d * d);
    w[i] = w[i] - f.shrink * on * w[i] - f.rate * m[i] / (sqrtf(v[i] * f.correct) + f.eps);
  }
}

LIP_HOT static void amsgrad_loop(float *restrict w, const float *restrict g, float *restrict m,
                                 float *restrict v, float *restrict top, const float *restrict decay,
                                 size_t n, factors f) {
  for (size_t i = 0; i < n; i++) {
    float d = g[i] + f.l2 * (decay ? decay[i] : 1.0f) * w[i];
    m[i] = f.b1 * m[i] + f.c1 * d;
    v[i] = f.b2 * v[i] + f.c2 * (d * d);
    top[i] = v[i] > top[i] ? v[i] : top[i];
    w[i] -= f.rate * m[i] / (sqrtf(top[i] * f.correct) + f.eps);
  }
}

LIP_HOT static void rmsprop_loop(float *restrict w, const float *restrict g, float *restrict v,
                                 const float *restrict decay, size_t n, float rate, float b2, float c2,
                                 float eps, float wd) {
  for (size_t i = 0; i < n; i++) {
    float d = g[i] + wd * (decay ? decay[i] : 1.0f) * w[i];
    v[i] = b2 * v[i] + c2 * (d * d);
    w[i] -= rate * d / (sqrtf(v[i]) + eps);
  }
}

static void adam_either(const adam_conf *c, float *w, const float *g, float *const *slot, const float *decay,
                        size_t i0, size_t i1, double lr, uint64_t t, bool decoupled) {
  factors f = prepare(c, lr, t, decoupled);
  float *m = slot[0] + i0, *v = slot[1] + i0;
  if (c->common.weight_decay > 0)
    adam_decay_loop(w + i0, g + i0, m, v, decay ? decay + i0 : NULL, i1 - i0, f);
  else
    adam_loop(w + i0, g + i0, m, v, i1 - i0, f);
}

static void adam_update(const void *conf, float *w, const float *g, float *const *slot, const float *decay,
                        size_t i0, size_t i1, double lr, uint64_t t) {
  adam_either(conf, w, g, slot, decay, i0, i1, lr, t, false);
}

static void adamw_update(const void *conf, float *w, const float *g, float *const *slot, const float *decay,
                         size_t i0, size_t i1, double lr, uint64_t t) {
  adam_either(conf, w, g, slot, decay, i0, i1, lr, t, true);
}

static void amsgrad_update(const void *conf, float *w, const float *g, float *const *slot, const float *decay,
                           size_t i0, size_t i1, double lr, uint64_t t) {
  factors f = prepare(conf, lr, t, false);
  amsgrad_loop(w + i0, g + i0, slot[0] + i0, slot[1] + i0, slot[2] + i0, decay ? decay + i0 : NULL, i1 - i0,
               f);
}

static void rmsprop_update(const void *conf, float *w, const float *g, float *const *slot, const float *decay,
                           size_t i0, size_t i1, double lr, uint64_t t) {
  const rmsprop_conf *c = conf;
  (void)t;
  rmsprop_loop(w + i0, g + i0, slot[0] + i0, decay ? decay + i0 : NULL, i1 - i0, (float)lr, (float)c->beta2,
               (float)(1 - c->beta2), (float)c->eps, (float)c->common.weight_decay);
}

const lip_optim_kind lip_optim_adam = {
    .desc = {"adam", "Adam: steps scaled by the running root mean square", adam_options, sizeof(adam_conf)},
    .slots = 2,
    .update = adam_update,
};
const lip_optim_kind lip_optim_adamw = {
    .desc = {"adamw", "Adam with decoupled weight decay", adam_options, sizeof(adam_conf)},
    .slots = 2,
    .update = adamw_update,
};
const lip_optim_kind lip_optim_amsgrad = {
    .desc = {"amsgrad", "Adam whose second moment never shrinks in the step", adam_options,
             sizeof(adam_conf)},
    .slots = 3,
    .update = amsgrad_update,
};
const lip_optim_kind lip_optim_rmsprop = {
    .desc = {"rmsprop", "gradient over its running root mean square", rmsprop_options, sizeof(rmsprop_conf)},
    .slots = 1,
    .update = rmsprop_update,
};
