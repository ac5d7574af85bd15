/* What the options of all optimisers begin with: the same names, ranges and help for each of them. */
#ifndef LIP_NET_OPTIM_OPTIONS_H
#define LIP_NET_OPTIM_OPTIONS_H

#include <math.h>
#include <stddef.h>

#include "core/net/optim.h"

/* First member of every conf. */
typedef struct lip_optim_conf {
  double lr, weight_decay, clip_norm;
} lip_optim_conf;

#define LIP_BELOW_ONE (1 - 1e-9)

/* The rows of the common options; `type` is the conf with the member `common`. */
#define LIP_OPTIM_OPTIONS(type, rate)                                                                        \
  {"lr", LIP_OPT_REAL, offsetof(type, common.lr), false, rate, 0, 1e6, NULL, "learning rate"},               \
      {"weight_decay",                                                                                       \
       LIP_OPT_REAL,                                                                                         \
       offsetof(type, common.weight_decay),                                                                  \
       false,                                                                                                \
       0,                                                                                                    \
       0,                                                                                                    \
       1e6,                                                                                                  \
       NULL,                                                                                                 \
       "pull of the weights (not of the biases) to zero"},                                                   \
  {                                                                                                          \
    "clip_norm", LIP_OPT_REAL, offsetof(type, common.clip_norm), false, (double)INFINITY, 1e-30,             \
        (double)INFINITY, NULL, "a gradient longer than this (l2, all layers) is scaled down to it"          \
  }

#endif
