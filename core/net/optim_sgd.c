/* Stochastic gradient descent, with L2 weight decay d and momentum mu:
 *   g' = g + d w,   v = mu v + g',   w -= lr v                     (Polyak 1964)
 *   Nesterov:                        w -= lr (g' + mu v)
 * The second form is Nesterov's 1983 step in the variables of Sutskever, Martens, Dahl, Hinton 2013, moved so that the
 * gradient is taken where w stands (Bengio, Boulanger-Lewandowski, Pascanu 2013, eq. 7, with the rate
 * outside of the velocity). No dampening; v starts at 0. */
#include <stdint.h>

#include "core/base/simd.h"
#include "core/net/optim_options.h"

typedef struct sgd_conf {
  lip_optim_conf common;
  double momentum;
  bool nesterov;
} sgd_conf;

static const lip_opt options[] = {LIP_OPTIM_OPTIONS(sgd_conf, 0.01),
                                  {"momentum", LIP_OPT_REAL, offsetof(sgd_conf, momentum), false, 0, 0,
                                   LIP_BELOW_ONE, NULL, "mu: share of the last step that is kept"},
                                  {"nesterov", LIP_OPT_BOOL, offsetof(sgd_conf, nesterov), false, 0, 0, 0,
                                   NULL, "look ahead along the velocity"},
                                  {0}};

LIP_HOT static void plain(float *restrict w, const float *restrict g, size_t n, float lr) {
  for (size_t i = 0; i < n; i++) w[i] -= lr * g[i];
}

LIP_HOT static void plain_decay(float *restrict w, const float *restrict g, const float *restrict decay,
                                size_t n, float lr, float wd) {
  for (size_t i = 0; i < n; i++) w[i] -= lr * (g[i] + wd * (decay ? decay[i] : 1.0f) * w[i]);
}

LIP_HOT static void momentum(float *restrict w, const float *restrict g, float *restrict v, size_t n,
                             float lr, float mu, float now, float ahead) {
  for (size_t i = 0; i < n; i++) {
    v[i] = mu * v[i] + g[i];
    w[i] -= lr * (now * g[i] + ahead * v[i]);
  }
}

LIP_HOT static void momentum_decay(float *restrict w, const float *restrict g, float *restrict v,
                                   const float *restrict decay, size_t n, float lr, float wd, float mu,
                                   float now, float ahead) {
  for (size_t i = 0; i < n; i++) {
    float d = g[i] + wd * (decay ? decay[i] : 1.0f) * w[i];
    v[i] = mu * v[i] + d;
    w[i] -= lr * (now * d + ahead * v[i]);
  }
}

static void sgd_update(const void *conf, float *w, const float *g, float *const *slot, const float *decay,
                       size_t i0, size_t i1, double lr, uint64_t t) {
  const sgd_conf *c = conf;
  const float rate = (float)lr, wd = (float)c->common.weight_decay, mu = (float)c->momentum;
  const float *d = decay ? decay + i0 : NULL;
  const size_t n = i1 - i0;
  (void)t;
  if (mu > 0) {
    /* the direction is now * g' + ahead * v: one loop for both forms */
    float now = c->nesterov ? 1.0f : 0.0f, ahead = c->nesterov ? mu : 1.0f;
    if (wd > 0)
      momentum_decay(w + i0, g + i0, slot[0] + i0, d, n, rate, wd, mu, now, ahead);
    else
      momentum(w + i0, g + i0, slot[0] + i0, n, rate, mu, now, ahead);
  } else if (wd > 0) {
    plain_decay(w + i0, g + i0, d, n, rate, wd);
  } else {
    plain(w + i0, g + i0, n, rate);
  }
}

const lip_optim_kind lip_optim_sgd = {
    .desc = {"sgd", "stochastic gradient descent, with momentum", options, sizeof(sgd_conf)},
    .slots = 1,
    .update = sgd_update,
};
