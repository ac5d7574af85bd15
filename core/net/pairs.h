/* How far pairs of logits move apart, while a net is trained against it: estimates K_ij of
 *   max over x, x' of |(z_i - z_j)(x) - (z_i - z_j)(x')| / |x - x'|     in the norm of the net's input
 * for the weights as they are, and d K / d W. Nothing here is a proof; certificates are made by core/cert.
 *
 *   product     ||w_i - w_j||_* times the norms of the matrices before and the constants of what lies between (Leino,
 *               Wang, Fredrikson 2021). For the Euclidean norm one power iteration per step, warm; the gradient is
 *               that of |W v| with v held fixed.
 *   recursion   the quadratic bound of net/signal.h (norm 2) with multipliers that differ from layer to layer
 *   multiplier  the same with one for each unit
 * Multipliers descend while the weights do, one step whenever a pair is looked at.
 *
 * The state (directions, multipliers) is part of a run, and stored with it: see lip_pairs_warm. */
#ifndef LIP_NET_PAIRS_H
#define LIP_NET_PAIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/thread.h"
#include "core/layer/layer.h"
#include "core/net/loss.h"

typedef struct lip_pairs lip_pairs;

/* For the chain `root`, which is borrowed, and pools of up to `threads`. LIP_UNSUPPORTED names the layer that stands in the way; LIP_MEMORY. */
lip_status lip_pairs_new(const lip_layer *root, const lip_pair_conf *conf, size_t threads, lip_pairs **out,
                         lip_err *err);
void lip_pairs_free(lip_pairs *p); /* accepts NULL */
const lip_pair_conf *lip_pairs_conf(const lip_pairs *p);
/* Room for the gradients of B rows. LIP_MEMORY. */
lip_status lip_pairs_reserve(lip_pairs *p, size_t B, lip_err *err);

/* K for the weights as they are; `step` says whose turn it is when not all pairs are looked at. Allocates nothing; the
 * same bits for any pool. */
void lip_pairs_update(lip_pairs *p, uint64_t step, lip_pool *pool);
/* What the loss is given. Lent. */
const lip_pair_terms *lip_pairs_terms(const lip_pairs *p);
/* Takes in what the loss has left in dK for B rows: afterwards lip_pairs_add knows the gradient. False when a bound or
 * a gradient is not finite. */
bool lip_pairs_gather(lip_pairs *p, size_t B);
/* Adds d loss / d K * d K / d W to the gradient of units a..b of layer l (no matrix of p's: nothing). */
void lip_pairs_add(const lip_pairs *p, const lip_layer *l, size_t a, size_t b, void *scratch);

/* The i-th array that later estimates depend on beside the weights; false past the end. Lent. */
bool lip_pairs_warm(lip_pairs *p, size_t i, lip_warm *out);

#endif
