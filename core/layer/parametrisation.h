/* Parametrised weights: the effective weight W = K g(V) is computed from trained numbers V, K the layer's budget (1 without
 * one). One parametrisation is one file and one row in parametrisations.def. Everything else (forward, bounds, certificates,
 * exports) sees W as stored in float32, so that no bound depends on how exactly g was computed.
 *
 * A layer with such a weight has param[0] "weight", frozen, and a trained param "free", V. `renew` computes W after V has
 * changed, `pull` turns the gradient of W into that of V; both run on the calling thread between the parallel regions of a
 * step, use the team's threads, and allocate nothing. */
#ifndef LIP_LAYER_PARAMETRISATION_H
#define LIP_LAYER_PARAMETRISATION_H

#include "core/layer/layer.h"
#include "core/tensor/team.h"

typedef struct lip_parametrisation lip_parametrisation;
struct lip_conv; /* conv_norm.h */

/* The options of a layer that say how its weight is made, of all kinds together. */
typedef struct lip_weight_conf {
  int kind;                /* index into the layer's list of names */
  size_t iterations, rank; /* 0: the kind's own number */
} lip_weight_conf;

/* Rows for the table of a layer's options: `names` is lip_weight_dense_names or lip_weight_conv_names, `at` the offset of
 * a lip_weight_conf in its conf. An option that means something only beside some kinds says so in its `names`: "weight",
 * then those kinds. */
#define LIP_WEIGHT_OPTIONS(at, list)                                                                         \
  {                                                                                                          \
    .name = "weight", .type = LIP_OPT_ENUM, .offset = (at) + offsetof(lip_weight_conf, kind),                \
    .names = (list),                                                                                         \
    .help = "how the weight is made from what is trained: trained itself and projected, or one of these "    \
            "functions"                                                                                      \
  }

/* What dense takes beside. */
#define LIP_WEIGHT_MORE_OPTIONS(at)                                                                          \
  {.name = "iterations",                                                                                     \
   .type = LIP_OPT_SIZE,                                                                                     \
   .offset = (at) + offsetof(lip_weight_conf, iterations),                                                   \
   .high = 30,                                                                                               \
   .names = (const char *const[]){"weight", "bjorck", NULL},                                                 \
   .help = "of bjorck after every update (0: 3)"},                                                           \
  {                                                                                                          \
    .name = "rank", .type = LIP_OPT_SIZE, .offset = (at) + offsetof(lip_weight_conf, rank), .high = 1 << 24, \
    .names = (const char *const[]){"weight", "bro", NULL},                                                   \
    .help = "of bro: columns of V (0: a quarter of the larger side, at most the smaller)"                    \
  }

/* One parametrised weight. */
typedef struct lip_weight {
  const lip_parametrisation *kind; /* NULL: none, the weight is trained itself */
  const lip_weight_conf *conf;
  size_t M, N;                 /* W is (M, N); of a convolution (OUT, C / groups * taps of the kernel) */
  const struct lip_conv *conv; /* its geometry; NULL: dense */
  lip_pq pq;
  /* Set by plan: V's shape (before: W's own), floats that g keeps for pull, or from one g to the next as a start that does
   * not change what g gives, and floats of working memory for either. */
  int free_ndim;
  size_t free_shape[4];
  size_t n_free, kept, work; /* n_free is set behind plan */
  float *keep, *tmp;         /* allocated by the layer, aligned to 64; keep is zeros before the first g */
  /* The layer's own */
  float *G;     /* (M, N): g(V) as last computed */
  size_t param; /* index of "free" among the layer's params */
} lip_weight;

enum {
  LIP_WEIGHT_BOUNDED = 1,    /* ||g(V)||_{pq} <= 1 but for rounding, for every finite V */
  LIP_WEIGHT_IDEMPOTENT = 2, /* V has W's shape, and g(g(V)) = g(V) but for rounding */
  /* V has W's shape, and becomes g(V) whenever that has been computed; pull takes the derivative there, where g(V) = V but
   * for what repeated calls of g would still change */
  LIP_WEIGHT_RETRACTS = 4
};

/* All arrays are float32 and row-major, M x N for W, G and dG. */
struct lip_parametrisation {
  lip_desc desc; /* name and one line; options stand in lip_weight_conf */
  unsigned flags;
  /* Given kind, conf, M, N, conv, pq: sets shape of V, kept and work. Refuses steps of the norm path and shapes that it is not
   * made for, with the reason; the text begins with the reason, the layer's name is put before it. */
  lip_status (*plan)(lip_weight *w, lip_err *err);
  /* V from W0 (M, N), weights as the layer's `init` made them, of norm <= 1 if there is a budget, such that g(V) is near W0
   * where g can reach it. keep and tmp may be used. (optional: V = W0) LIP_MEMORY. */
  lip_status (*start)(lip_weight *w, float *V, const float *W0, lip_rng *rng, lip_err *err);
  /* G = g(V); keep for pull. NaN in V stays visible in G. The same bits for any number of threads. */
  void (*g)(const lip_weight *w, const lip_team *team, const float *V, float *G);
  /* dV = accumulate dV + g'(V)^T dG, accumulate 0 or 1, after g of the same V; 0: dV is written without being read. dG may be
   * changed: the layer zeroes it afterwards. */
  void (*pull)(const lip_weight *w, const lip_team *team, const float *V, const float *G, float *dG,
               float *dV, float accumulate);
  /* g in double by simple loops: what the others are compared with. May allocate; LIP_MEMORY. */
  lip_status (*wide)(const lip_weight *w, const double *V, double *G);
};

/* Names for the option `weight`, NULL at the end. */
extern const char *const lip_weight_dense_names[], *const lip_weight_conv_names[];
/* All rows, in the order of parametrisations.def; NULL past the end. */
const lip_parametrisation *lip_weight_at(size_t i);

/* ---- for kinds ---- */

/* For g that does not mind the scale of V: V itself, or where squares of its numbers might leave the range of float32 V times a
 * power of two, in `room` (M N floats). *power: that power, or 1. */
const float *lip_weight_in_range(const lip_weight *w, const float *V, float *room, float *power);

/* ---- for layers, whose state holds the lip_weight ---- */

/* In plan, after the layer's own params were added: param[0] is the weight, conf->kind an index into the names of convolutions
 * if `conv` is given, else of dense. For `projected` w->kind becomes NULL, and the others do nothing. */
lip_status lip_weight_plan(lip_weight *w, lip_layer *l, const lip_weight_conf *conf,
                           const struct lip_conv *conv, lip_err *err);
void lip_weight_release(lip_weight *w);
/* In reset, when param[0] holds W0: V from it. Takes the memory that plan asked for. The layer must be renewed then. */
lip_status lip_weight_reset(lip_weight *w, lip_layer *l, lip_rng *rng, lip_err *err);
/* Budget that W0 is to be made for. */
double lip_weight_init_budget(const lip_weight *w, const lip_layer *l);
void lip_weight_renew(lip_weight *w, lip_layer *l, const lip_team *team);
void lip_weight_pull(const lip_weight *w, lip_layer *l, const lip_team *team, float accumulate);
/* W is scaled, if need be, until the layer's bound is within its budget. V stays. LIP_MEMORY, LIP_NOT_FINITE. */
lip_status lip_weight_project_exact(const lip_weight *w, lip_layer *l, lip_err *err);

#endif
