/* A network: specs compiled into planned layers over three blocks (weights, gradients, activations). */
#ifndef LIP_NET_NET_H
#define LIP_NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/cancel.h"
#include "core/base/error.h"
#include "core/base/thread.h"
#include "core/layer/layer.h"
#include "core/net/loss.h"
#include "core/net/optim.h"
#include "core/net/pairs.h"

/* Options of a net beside its layers. */
typedef struct lip_net_conf {
  lip_shape input;
  lip_path path;           /* norm path */
  double budget;           /* K, total, from input norm to the norm of the logits; INFINITY = unconstrained */
  lip_reals layer_budgets; /* n = 0: equal shares K^(1/n); else one per weighted layer, product <= budget */
  lip_project_method method;
  const lip_projection *projection; /* of weights inside of steps, NULL: the engine's own */
  size_t project_every;             /* project after every k-th update; 0 = never inside step */
  lip_init init;
  uint64_t seed;
} lip_net_conf;

/* What nets need from the process: threads and the flag that stops them. Both may be NULL. */
typedef struct lip_engine {
  lip_pool *pool;
  lip_cancel *cancel;
  /* Kinds of layers that are not in the registry, by name, for files that name them; NULL: there are none. */
  const lip_layer_kind *(*find_kind)(void *arg, const char *name);
  void *find_arg;
} lip_engine;

typedef struct lip_net {
  lip_net_conf conf;
  lip_spec *spec; /* a chain holding the layers' specs, owned */
  lip_plan plan;
  lip_layer *root; /* the chain */
  lip_engine engine;
  lip_layer **leaf; /* layers that learn or project, in order */
  size_t n_leaf;
  size_t n_params;        /* length of the flat blocks (padding included) */
  size_t n_trainable;     /* numbers that are really trained */
  float *weights, *grads; /* n_params each, aligned */
  float *decay;           /* n_params: 1 where weight decay applies */
  /* batch-sized blocks, grown by lip_net_reserve */
  size_t capacity;
  float *block;
  float *input, *logits, *dlogits, *dinput;
  double *row_value;      /* per-row loss */
  unsigned char *scratch; /* per thread */
  size_t scratch_each;
  size_t rows; /* rows of the last forward */
  uint64_t
      passes; /* begun, of any kind: whoever needs what one has left can tell whether another came since */
  bool trained_forward; /* the last forward kept what backward needs */
  bool backward_ready;  /* prepared weights serve the input gradient of every layer, the first included */
  bool lent;            /* a script holds views of the weights: they may change at any time */
  uint64_t step;        /* updates done: random stream of dropout */
  lip_pairs *pairs;     /* bounds that the last loss took (net/pairs.h); NULL: none did */
  lip_fault fault;      /* plan.fault */
  bool projects_own;    /* some layer has a projection that was handed over */
  bool held; /* a function of the script's works with what the last pass has left: no use but to look at it */
  bool scripted; /* that, or functions handed over in a layer: others may run inside of calls */
  float *undo;   /* room for what a step changes, when projects_own */
  size_t undo_room;
} lip_net;

/* Copies conf and specs. Errors name the layer ("layer 3 (dense): ..."). Owned: lip_net_free. */
lip_status lip_net_new(const lip_net_conf *conf, lip_spec *const *layers, size_t n, const lip_engine *engine,
                       lip_net **out, lip_err *err);
void lip_net_free(lip_net *net); /* accepts NULL */

/* What a layer of functions handed over (layer/custom.h) could not do since lip_net_forgive, with its place: LIP_OK, or why
 * everything that went through it meanwhile is worth nothing. Passes go on without it. */
lip_status lip_net_fault(const lip_net *net, lip_err *err);
void lip_net_forgive(lip_net *net);

/* Buffers for batches of up to B rows; keeps what is there when it is large enough. LIP_MEMORY leaves the net as it
 * was. Every call below that takes B needs B <= capacity. */
lip_status lip_net_reserve(lip_net *net, size_t B, lip_err *err);

/* Shares conf.budget out to the layers, by what these take themselves as they are now. Fails when that leaves too little. */
lip_status lip_net_share(lip_net *net, lip_err *err);
/* Whether a constant of the net is within conf.budget, but for what rounding adds to a product of shares. */
bool lip_net_within(const lip_net *net, double upper);
/* How many layers measure distances in a norm p that can be set, at any depth (layer.h, `p`). */
size_t lip_net_power(const lip_net *net);
/* p of all of them; another one shares the budget out again, and renews computed weights. LIP_OPTION when they cannot have
 * that p, or what it leaves of the budget is too little, LIP_MEMORY: nothing has changed. */
lip_status lip_net_set_power(lip_net *net, double p, lip_err *err);
/* The same for what weights of a file or another net say that have been put in place: to be called before lip_net_recall. */
void lip_net_follow_power(lip_net *net);

/* Weights back to their initial values for `seed`; projects them exactly. */
lip_status lip_net_reset(lip_net *net, uint64_t seed, lip_err *err);

/* logits (B, n_out) of x (B, n_in), kept in net->logits until the next call. With `training` dropout is active and
 * backward may follow. Runs on all threads; the same bits for any number of them. */
void lip_net_forward(lip_net *net, const float *x, size_t B, bool training);
/* What goes along with a forward pass, rows r0..r1-1 at a time, on the thread that carries them through the net and
 * while they are in its cache: `fill` writes those rows of the input, `use` reads what the layers have left. Both run
 * on several threads at once; either may be NULL. */
typedef struct lip_stream {
  void (*fill)(void *arg, size_t r0, size_t r1);
  void (*use)(void *arg, const lip_worker *me, size_t r0, size_t r1);
  void *arg;
} lip_stream;

/* lip_net_forward without training; a cancelled pass leaves rows out. */
void lip_net_stream(lip_net *net, const float *x, size_t B, const lip_stream *stream);
/* The same pass with the same logits, and the gradient of the input after it: stream.use (required) writes those rows
 * of net->dlogits, `back` finds theirs of net->dinput. The gradients of the weights are neither made nor touched.
 * Weights that a script may change through views count as they were at the last lip_net_touch. */
typedef struct lip_probe {
  lip_stream stream;
  void (*back)(void *arg, const lip_worker *me, size_t r0, size_t r1); /* NULL: not wanted */
} lip_probe;
void lip_net_probe(lip_net *net, const float *x, size_t B, const lip_probe *probe);

/* After a training forward: gradients of the weights into net->grads (added to them when `accumulate`), and of the
 * input into net->dinput (B, n_in) when `need_dx`. dlogits (B, n_out). LIP_STATE without such a forward. */
lip_status lip_net_backward(lip_net *net, const float *dlogits, bool accumulate, bool need_dx, lip_err *err);
/* One update of all weights from net->grads. LIP_NOT_FINITE when they are not, and then nothing has changed; LIP_STATE
 * when the optimiser belongs to another size; LIP_MEMORY. */
lip_status lip_net_update(lip_net *net, lip_optim *opt, lip_err *err);
/* Projects every layer onto its budget: the cheap form used in steps (weights that have a projection handed over by that;
 * lip_net_fault tells when one failed, and then nothing has changed), or the rigorous one. */
void lip_net_project(lip_net *net);
/* lip_net_update and, where conf.project_every says so, lip_net_project: both or neither. */
lip_status lip_net_advance(lip_net *net, lip_optim *opt, lip_err *err);
/* What lip_net_project does with all other weights. */
void lip_net_project_rest(lip_net *net);
/* For those two and the step: the projections that were handed over, into net->fault if one fails; room to take back what
 * an update changes (LIP_MEMORY), the state to take back to, and back. opt may be NULL. Nothing where !projects_own. */
lip_status lip_net_project_own(lip_net *net);
lip_status lip_net_undo_reserve(lip_net *net, const lip_optim *opt, lip_err *err);
void lip_net_undo_take(lip_net *net, const lip_optim *opt);
void lip_net_undo(lip_net *net, lip_optim *opt);
lip_status lip_net_project_exact(lip_net *net, lip_err *err);
/* The projections that were handed over, then lip_net_project_exact: both or neither where there are any, and what the former
 * could not do is in net->fault too. LIP_MEMORY, and what those say. */
lip_status lip_net_project_scripted(lip_net *net, lip_err *err);

/* net->pairs for this way of bounding, as it is if it was made for it, else new. LIP_UNSUPPORTED names what cannot be
 * bounded; LIP_MEMORY. */
lip_status lip_net_want_pairs(lip_net *net, const lip_pair_conf *conf, lip_err *err);
/* The bounds of `from`, a net of the same layers, go on in `to`. LIP_MEMORY. */
lip_status lip_net_copy_pairs(lip_net *to, const lip_net *from, lip_err *err);
/* Ready for a loss that takes bounds of the net: afterwards net->pairs has them for the weights as they are. For other
 * losses nothing happens. LIP_UNSUPPORTED and LIP_MEMORY as above. */
lip_status lip_net_measure(lip_net *net, const lip_loss *loss, size_t B, lip_err *err);

/* Mean loss of logits against targets (deterministic order); dlogits (B, n_out) may be NULL. A loss that takes bounds
 * sees those of lip_net_measure. */
double lip_net_loss(lip_net *net, const lip_loss *loss, const lip_targets *t, size_t B, bool need_gradient);

/* One whole training step: forward, loss, backward, clip, update, project (every conf.project_every-th). No
 * allocation after the first call of that size. *value = mean loss before the update. LIP_CANCELLED (nothing
 * updated), LIP_NOT_FINITE when the loss is NaN or infinite (nothing updated), LIP_STATE, LIP_MEMORY. */
lip_status lip_net_step(lip_net *net, const float *x, const lip_targets *t, size_t B, const lip_loss *loss,
                        lip_optim *opt, double *value, lip_err *err);

/* To be called by whoever writes to net->weights between two calls: forgets what was prepared from them. */
void lip_net_touch(lip_net *net);

/* ---- weights that are computed from trained numbers (layer.h); all run on all threads ---- */

/* Effective weights from the trained numbers as they are: after these have changed. */
void lip_net_renew(lip_net *net);
/* The same after numbers have come from a file or another net, effective weights included: these stay as they are. LIP_MEMORY. */
lip_status lip_net_recall(lip_net *net, lip_err *err);
/* Gradients of effective weights become those of the trained numbers, added to them (accumulate 1) or instead of them (0). False
 * when one is not finite. */
bool lip_net_pull(lip_net *net, float accumulate);
/* To be called before a script gets a view of the weights, and whenever it uses the net: trained numbers that it has changed in
 * between count. */
void lip_net_lend(lip_net *net);
void lip_net_follow(lip_net *net);

/* Points every layer at the net's buffers and at the input x, which must live until the calls that use it are over. */
void lip_net_bind(lip_net *net, const float *x, bool need_dx);

size_t lip_net_weighted(const lip_net *net); /* number of weighted layers in the chain */
/* The i-th weighted layer of the chain, or NULL. Lent. */
lip_layer *lip_net_weighted_layer(const lip_net *net, size_t i);

/* Labels 0..C-1 that the logits answer with. One output f has two: it stands for the logits 0 and f, so that label 1 is
 * f > 0, and everything else (0 and -0 too) is label 0. */
static inline size_t lip_net_classes(const lip_net *net) {
  return net->root->n_out > 1 ? net->root->n_out : 2;
}

#endif
