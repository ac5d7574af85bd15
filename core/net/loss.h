/* Losses: value and gradient with respect to the logits, row by row. The mean over the batch is taken by the caller:
 * `value` and `dlogits` are per row, dlogits already divided by B. Some also take bounds of the net as inputs, how far
 * two logits move apart at most, and give the gradient in them (net/pairs.h carries it on into the weights). */
#ifndef LIP_NET_LOSS_H
#define LIP_NET_LOSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/opt.h"

typedef enum lip_target { LIP_TARGET_LABELS, LIP_TARGET_VALUES } lip_target;

/* What a loss compares the logits with: class labels (B) or values (B, C). */
typedef struct lip_targets {
  lip_target kind;
  const int32_t *labels; /* in 0..C-1 (0 or 1 for C = 1), proved by the caller */
  const float *values;
} lip_targets;

/* How the bounds that a loss takes are found: see net/pairs.h. */
typedef enum lip_pair_method {
  LIP_PAIR_PRODUCT,
  LIP_PAIR_RECURSION,
  LIP_PAIR_MULTIPLIER,
  LIP_PAIR_METHODS
} lip_pair_method;
extern const char *const lip_pair_method_names[]; /* "product", "recursion", "multiplier", NULL */
typedef struct lip_pair_conf {
  int method;     /* lip_pair_method */
  size_t refresh; /* pairs bounded anew in each step, in turn; 0: all. The product always does all */
} lip_pair_conf;

/* K (C, C): K[i][j] bounds |(z_i - z_j)(x) - (z_i - z_j)(x')| / |x - x'|. A row uses one row of K, from[r], and its
 * gradient in K[from[r]][.], divided by B like dz, is row r of dK (B, C). */
typedef struct lip_pair_terms {
  const float *K;
  uint32_t *from; /* (B) */
  float *dK;      /* (B, C) */
} lip_pair_terms;

typedef struct lip_loss_kind {
  lip_desc desc;
  lip_target target;
  size_t min_outputs; /* C at least */
  /* Rows r0..r1 of z (B, C): value[r] and, if dz is not NULL, dz (B, C) scaled by 1/B. A row with NaN or infinity
   * gives NaN in its value and in every element of its gradient. */
  void (*rows)(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t, size_t r0,
               size_t r1, double *value, float *dz);
  /* Losses that take bounds; NULL: the others. `rows` is then the same with K = 0. k->from and k->dK are written only
   * with dz, and where a row is not finite they are NaN too. */
  const lip_pair_conf *(*pairs)(const void *conf);
  void (*bounded)(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                  const lip_pair_terms *k, size_t r0, size_t r1, double *value, float *dz);
} lip_loss_kind;

typedef struct lip_loss {
  const lip_loss_kind *kind;
  void *conf;
} lip_loss;

const lip_loss_kind *lip_loss_kind_at(size_t i); /* rows of losses.def */
const lip_loss_kind *lip_loss_kind_find(const char *name);

#endif
