/* The layer contract. A kind of layer is one file (mathematics, struct, options, functions, one const table, last)
 * and one row in layers.def. Everything that can fail fails in `plan`; forward, backward, grad and project cannot.
 * A missing entry means the cautious answer, decided in layer.c alone: no bound = infinity, no budget = refused.
 *
 * Shapes are per sample; B is the number of rows (samples) of a batch. All arrays are row-major float32. */
#ifndef LIP_LAYER_LAYER_H
#define LIP_LAYER_LAYER_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/opt.h"
#include "core/base/rng.h"
#include "core/norm/pnorm.h"
#include "core/norm/project.h"
#include "core/tensor/order.h"
#include "core/tensor/team.h"

typedef struct lip_layer lip_layer;
typedef struct lip_layer_kind lip_layer_kind;
typedef struct lip_form lip_form; /* form.h */
typedef struct lip_emit lip_emit; /* emit.h */
typedef struct lip_projection lip_projection;

/* ---- a layer before it is planned: a plain value, what a script writes and a checkpoint stores ---- */

typedef struct lip_spec {
  const lip_layer_kind *kind;
  void *conf;              /* options of the kind, owned */
  struct lip_spec **child; /* containers only, owned */
  size_t n_child;
  const lip_projection *projection; /* of this layer's weight, counted there; NULL: the net's */
  size_t depth;                     /* containers inside each other, this one counted */
} lip_spec;

/* Specs and layers are walked by recursion: what no stack holds is refused. */
enum { LIP_SPEC_DEPTH = 1000 };

/* Default options; LIP_MEMORY. Owned: lip_spec_free. */
lip_spec *lip_spec_new(const lip_layer_kind *kind);
void lip_spec_free(lip_spec *spec); /* accepts NULL; frees the children */
lip_spec *lip_spec_copy(const lip_spec *spec);
/* Takes ownership of `child` on success. LIP_MEMORY, LIP_UNSUPPORTED for a kind that is no container and past
 * LIP_SPEC_DEPTH. */
lip_status lip_spec_add(lip_spec *spec, lip_spec *child, lip_err *err);

/* ---- a planned layer ---- */

typedef struct lip_shape {
  int ndim; /* 1..3: {features} or {channels, height, width} */
  size_t dim[3];
} lip_shape;
size_t lip_shape_size(const lip_shape *s);
/* Numbers of one image of this shape as it stands in memory, its border included. */
size_t lip_shape_row(const lip_shape *s, lip_order order);
/* "1x28x28" into buf; returns buf. */
const char *lip_shape_describe(const lip_shape *s, char *buf, size_t size);

/* A trainable array, laid out by the net inside its weight block; gradients and optimiser state mirror it. A frozen one
 * (running statistics) is stored and restored like the others but not trained: `grad` moves it and leaves its gradient
 * at 0, with which no optimiser changes it. So a step that is refused leaves it as it was. */
typedef struct lip_param {
  const char *name; /* "weight", "bias", ... */
  int ndim;
  size_t shape[4];
  bool decay;          /* weight decay applies (matrices yes, biases no) */
  bool frozen;         /* not trained */
  size_t offset;       /* set by the net: first element in the flat block */
  float *value, *grad; /* set by the net */
} lip_param;

size_t lip_param_size(const lip_param *p); /* number of elements */
/* The layer's own param of that name, or NULL. */
lip_param *lip_layer_param(const lip_layer *l, const char *name);

#define LIP_LAYER_MAX_PARAMS 4

/* Rows of a batch, from a multiple of it on, that are always carried back by one thread and in order. */
enum { LIP_PART = 16 };

/* How weights start. "on_ball" scales rows (or columns, or the whole) to the layer's budget. */
typedef enum lip_init {
  LIP_INIT_ORTHOGONAL,
  LIP_INIT_HE,
  LIP_INIT_GLOROT,
  LIP_INIT_LECUN,
  LIP_INIT_ON_BALL
} lip_init;
extern const char *const lip_init_names[]; /* "orthogonal", "he", "glorot", "lecun", "on_ball", NULL */

/* Options that layers with weights share. */
typedef struct lip_own_conf {
  int init;       /* 0: the net's, else 1 + lip_init */
  double budget;  /* K_l; 0: an equal share */
  bool trainable; /* false: `still` */
} lip_own_conf;
extern const char *const lip_own_init_names[]; /* "net", then lip_init_names */

/* Rows for their tables, `at` the offset of a lip_own_conf in the layer's conf. */
#define LIP_OWN_OPTIONS(at)                                                                                  \
  {.name = "init",                                                                                           \
   .type = LIP_OPT_ENUM,                                                                                     \
   .offset = (at) + offsetof(lip_own_conf, init),                                                            \
   .names = lip_own_init_names,                                                                              \
   .help = "how the weights start; net: as the net's option init says"},                                     \
      {.name = "budget",                                                                                     \
       .type = LIP_OPT_REAL,                                                                                 \
       .offset = (at) + offsetof(lip_own_conf, budget),                                                      \
       .low = 0,                                                                                             \
       .high = HUGE_VAL,                                                                                     \
       .help = "Lipschitz constant the layer may have; 0: an equal share of what the others leave"},         \
  {                                                                                                          \
    .name = "trainable", .type = LIP_OPT_BOOL, .offset = (at) + offsetof(lip_own_conf, trainable), .def = 1, \
    .help = "false: neither updated nor projected, whatever its norm; the gradient passes on"                \
  }

/* What layers of functions handed over (custom.h) have to say. */
typedef struct lip_fault {
  lip_err err;                     /* the first failure since somebody has lowered `code` */
  const struct lip_layer *layer;   /* whose */
  const struct lip_layer *running; /* the one whose function runs now; NULL: none */
} lip_fault;

/* What every layer of one net is planned with. */
typedef struct lip_plan {
  lip_project_method method;
  lip_init init;
  uint64_t seed;
  size_t next_id; /* counts layers in order, containers included: the random stream of a layer */
  bool anchored;  /* what is planned now stands inside an anchor */
  bool bounded;   /* the net has a finite budget */
  const lip_projection
      *projection;  /* of all weights whose layers have none of their own; NULL: the engine's */
  lip_fault *fault; /* where passes write down what failed; NULL: nobody asks */
} lip_plan;

struct lip_layer {
  const lip_layer_kind *kind;
  const void *conf;        /* of the spec, borrowed */
  const lip_own_conf *own; /* the part of it that layers with weights share, set by `plan`, or NULL */
  const lip_plan *plan;    /* borrowed */
  size_t id;               /* position in the depth-first order of the net */
  lip_shape in, out;
  size_t n_in, n_out; /* lip_shape_size of both */
  lip_pq pq;          /* the step of the norm path it makes (p == q unless it is weighted) */
  double budget;      /* K_l: project keeps its bound <= this; INFINITY = unconstrained */
  lip_param param[LIP_LAYER_MAX_PARAMS];
  size_t n_param;
  bool anchored;        /* stands inside an anchor: see lip_layer_rows */
  size_t units;         /* independent pieces of `grad` (output features); 0 = nothing to learn */
  size_t unit_grain;    /* units of `grad` that are worth a thread; 0 = the engine's own number */
  size_t project_units; /* independent pieces of `project`; 0 = nothing to project */
  bool whole_batch; /* in training forward and backward want all rows in one call: it, or a layer inside */
  bool on_caller; /* all passes run on the calling thread, with all rows in one call: it, or a layer inside */
  bool
      params_by_unit; /* set by layer.c: unit u's parameters are the u-th part of each param (shape[0] == units) */
  bool
      project_by_unit; /* unit u of `project` is unit u of `grad`: it may follow that unit's update at once */
  /* Its weights, or those of layers inside, are computed from trained numbers (`renew`, `pull`), or it stands inside such a
   * layer: updated after all gradients are there, prepared later. */
  bool computed;
  /* What brings param[0] back in a step, in place of `project`; NULL: that does. */
  const lip_projection *projection;
  bool still;        /* not trained: `grad`, `pull` and projections are not called */
  uint64_t seen;     /* set by the net: check sum of trained numbers as the last `renew` saw them */
  bool prepared;     /* set by the net: the weights are as they were when `prepare` saw all units */
  size_t cache;      /* floats per sample kept from forward to backward */
  size_t scratch;    /* bytes of working memory per thread, in any of the calls */
  void *state;       /* private to the kind; released by its `release` */
  lip_layer **child; /* containers; owned by layer.c */
  size_t n_child;

  /* Images stand in planes, unless the chain that holds this layer has agreed on pixels between it and the next. Then the
   * borders are zeros, and stay so: only the interior is written. */
  lip_order x_order, y_order; /* of x and dx, of y and dy */
  size_t x_row, y_row;        /* floats of one row there: n_in and n_out for planes */
  bool does_planes; /* set by `plan`: with planes on both sides it is as quick, and minds rectify_... */
  /* A rectifier whose work the layers around it do: forwards (y is x), and also back (then dy is dx too). */
  bool merged, merged_back;
  bool rectify_y;  /* of the layer before it: y is 0 where it would be <= 0 */
  bool rectify_dx; /* of the layer behind it: dx is 0 where x <= 0 */
  bool dy_passes;  /* dy and the next layer's dx are only in lip_pass; l->dy and that l->dx are NULL */
  /* Set by `ordered`: in training `backward` sums up what `grad` puts together, by parts of LIP_PART rows, and is called
   * even when dx is NULL. */
  bool grad_by_parts;

  /* Buffers, set by whoever holds the layer (net or container) before the calls below. dx is NULL when nobody
   * needs the input gradient. capacity = rows the buffers have room for. */
  const float *x;  /* (capacity, x_row) */
  float *y;        /* (capacity, y_row) */
  const float *dy; /* (capacity, y_row), or NULL when dy_passes */
  float *dx;       /* (capacity, x_row) or NULL */
  float *kept; /* (capacity * cache) floats, private layout, aligned to 64; zeros when it is bound first */
  size_t capacity; /* a multiple of 16, so that what is laid over kept by rows of capacity is aligned too */
};

/* One call's circumstances. */
typedef struct lip_pass {
  size_t r0, r1;   /* rows [r0, r1) are this call's; threads meet at multiples of LIP_PART */
  bool training;   /* dropout and the like are active */
  bool prepared;   /* weights may be taken as `prepare` has left them */
  uint64_t seed;   /* random numbers of this step: Philox counters, so rows may be split at will */
  void *scratch;   /* layer->scratch bytes (at least), aligned to 64, this thread's own */
  const float *dy; /* backward: row r0 of dy and dx where they pass; NULL: see lip_layer_dy */
  float *dx;
  bool *overflow;   /* backward: raised where such a dy is not lip_gradient_fits; NULL: nobody asks */
  bool again;       /* the layer's last call was the same for other rows, and has left scratch as it is */
  float accumulate; /* grad: 0 overwrite, 1 add */
  size_t rows;      /* grad: rows of the whole batch, lip_layer_rows of them */
  /* grad: told of units a..b as soon as their gradient is final, range after range; NULL: nobody asks */
  void (*done)(void *arg, size_t a, size_t b);
  void *done_arg;
} lip_pass;

/* Error of the float32 forward pass in norms (Higham 2002, section 3.1; see affine/rounding.c). */
typedef struct lip_deviation {
  double size; /* >= norm of the exact activation, over the whole input region */
  double off;  /* >= norm of (executed - exact) */
} lip_deviation;

/* What a function of one number does between two points. At one point alone (from == to) low and high hold a slope of
 * a tangent there. */
typedef struct lip_range {
  double low, high;   /* every slope between two points of [from, to] */
  double least, most; /* every value */
  double off;         /* what float32 gives for a float32 argument is within this of the exact value */
  int curve; /* 1: convex there, -1: concave, 0: neither is known. At low == high it does not matter */
} lip_range;

enum {
  LIP_LAYER_WEIGHTED = 1,  /* see lip_layer_weighted */
  LIP_LAYER_ALIAS = 4,     /* y is x (flatten): forward and backward are never called */
  LIP_LAYER_CONTAINER = 8, /* has children */
  LIP_LAYER_RANDOM =
      16, /* behaves differently in training (dropout): gradients are tested with a fixed seed */
  LIP_LAYER_DESCENDING = 32, /* `exchange` puts the larger value at the lower index, else at the higher */
  /* minds x_order and y_order, which are alike: planes, or pixels with any border, whose zeros it leaves or makes again,
   * in y and in dx */
  LIP_LAYER_EITHER_ORDER = 64,
  LIP_LAYER_RECTIFIER = 128 /* y is 0 where x <= 0, else x */
};

struct lip_layer_kind {
  lip_desc desc;
  unsigned flags;
  const char
      *origin; /* of a kind that is not in the registry: where its definition stands, for people to read */
  /* A spec of this kind has been made (`more`) or freed: one that is not in the registry lives as long as its last spec.
   * (optional) */
  void (*hold)(const lip_layer_kind *kind, bool more);
  /* Given kind, conf, plan, in, pq and children specs: sets out, params, units, project_units, cache, scratch, state.
   * n_in and n_out are computed by layer.c around the call. Errors name the kind and both shapes. */
  lip_status (*plan)(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err);
  void (*release)(lip_layer *l); /* frees `state`; (optional) */
  /* Of layers between images, whether x and y may stand as pixels, each on its own, and with how many zeros around the
   * image at least: *in for x, *out for dy. Then rectify_y and rectify_dx are minded too. (optional: planes only) */
  bool (*borders)(const lip_layer *l, size_t *in, size_t *out);
  void (*ordered)(
      lip_layer *l); /* orders and rows have changed since `plan`: cache and scratch follow (optional) */
  /* Initial values of the params, budget known; values are zero before. (optional) LIP_MEMORY. */
  lip_status (*reset)(lip_layer *l, lip_rng *rng, lip_err *err);
  /* Containers: hand buffers to the children; called whenever this layer's own buffers changed. (optional) */
  void (*bind)(lip_layer *l);
  void (*forward)(const lip_layer *l, const lip_pass *pass); /* rows r0..r1 of y from x; NaN stays visible */
  /* forward outside training in double: y (B, n_out) of x (B, n_in), same weights, nothing of the layer's buffers used.
   * The operations are those of forward, so that its local error is at most 2^-29 of what `deviate` states. (optional:
   * the layer has no double mode) */
  void (*wide)(const lip_layer *l, size_t B, const double *x, double *y);
  void (*backward)(const lip_layer *l,
                   const lip_pass *pass); /* rows r0..r1 of dx from dy (and x, y, kept); not
                                                                   called when dx is NULL, unless a container */
  /* Parameter gradients of output units u0..u1, summed over rows 0..pass->rows in row order, after a forward pass with
   * `training`. Tells pass->done of every unit once. (units > 0) */
  void (*grad)(const lip_layer *l, const lip_pass *pass, size_t u0, size_t u1);
  /* Of layers that are `computed`: `renew` makes effective weights, which are params marked frozen of this layer or of layers
   * inside, from the trained numbers; after reset, and whenever those have changed. `pull` adds what the gradient of the effective
   * weights means for the trained numbers to their gradient (accumulate 1), or overwrites it (0), and sets the former to zero;
   * after all calls of `grad` and before the update. Both run on the calling thread outside of parallel regions, may use the
   * team's threads, allocate nothing, and give the same bits for any number of threads. Layers are renewed before layers inside
   * them, and pulled after them. (optional) */
  void (*renew)(lip_layer *l, const lip_team *team);
  void (*pull)(lip_layer *l, const lip_team *team, float accumulate);
  /* Units u0..u1 will be used by the next step as they stand: a chance to keep them in a faster form, which forward
   * and backward take when pass->prepared and l->prepared. (optional) */
  void (*prepare)(lip_layer *l, size_t u0, size_t u1);
  /* Keeps the bound within `budget` after an update: units u0..u1 (project_units > 0). scratch: as in lip_pass. */
  void (*project)(lip_layer *l, size_t u0, size_t u1, void *scratch);
  /* The same made rigorous (allocates). (optional: then `project` is already exact, and needs
   * no scratch) */
  lip_status (*project_exact)(lip_layer *l, lip_err *err);
  /* The i-th array that a later `project` depends on beside the parameters (warm starts): checkpoints keep it, so that
   * a run continues with the same bits. False past the end. (optional: there is none) */
  bool (*warm)(const lip_layer *l, size_t i, lip_warm *out);
  /* Share the budget out to children. (optional) Fails when the kind cannot meet it. */
  lip_status (*set_budget)(lip_layer *l, double budget, lip_err *err);
  /* Upper bound of the Lipschitz constant from norm pq.p to pq.q, rounding included; INFINITY when unknown. */
  lip_status (*bound)(const lip_layer *l, lip_pq pq, double *upper, lip_err *err);
  /* Upper bound of the slope or norm for printing and gradients only. (optional: `bound` is used) */
  double (*estimate)(const lip_layer *l, lip_pq pq);
  /* What bounds of whole nets are made of (affine/affine.h), in exact arithmetic. A layer offers one of the four, or
   * none: then they do not know it and only its own `bound` serves. Outside training.
   *   matrix    y = W x + b: W (n_out, n_in) and b (n_out), the very float32 numbers
   *   slopes    y_k = phi_k(x_k): [low_k, high_k] (n_in) holds every slope of phi_k, exact or rounded outwards
   *   range     (with slopes) phi_k on [from, to], both finite, exact or rounded outwards
   *   diagonal  (with slopes, where every slope is known) phi_k(x) = a (x - m) + b: sets a, m, b in amb, the very float32
   *             numbers. Executed as a difference, a product and a sum, or fewer, each rounded once or fused
   *   exchange  rounds in which disjoint pairs of values are put in order: mate[k] is the partner of k, or k itself;
   *             false past the last round. Which one comes first: LIP_LAYER_DESCENDING
   *   form      says it in several steps (form.h); counts before the others. False: not this time */
  void (*matrix)(const lip_layer *l, float *W, float *b);
  void (*slopes)(const lip_layer *l, double *low, double *high);
  void (*range)(const lip_layer *l, size_t k, double from, double to, lip_range *r);
  void (*diagonal)(const lip_layer *l, size_t k, float amb[3]);
  bool (*exchange)(const lip_layer *l, size_t round, uint32_t *mate);
  bool (*form)(const lip_layer *l, lip_form *f);
  /* Appends to `e` what the layer executes outside training, and returns the value of y where x is that of x (emit.h).
   * (optional: no other format can have it) */
  size_t (*emit)(const lip_layer *l, lip_emit *e, size_t x);
  /* (with form) Multipliers of bound/lmi.h for the units that its form bends, in their order, with which the layer proves a
   * constant 2 -> 2 by itself: fills lambda, returns about that constant. Only a hint: nothing rests on it. (optional) */
  double (*multipliers)(const lip_layer *l, double *lambda);
  /* Adds A'B to rows u0..u1 of the gradient of W, A (K, n_out), B (K, n_in): how a loss that depends on W itself, not
   * on y alone, is learned from. For layers with `matrix` whose W is trained entry by entry; then W is param[0]. */
  void (*matrix_grad)(const lip_layer *l, size_t K, const float *A, const float *B, size_t u0, size_t u1,
                      void *scratch);
  /* Where every input k is a float32 number in [low_k, high_k] (n_in), finite: every output j as executed outside training, in
   * any order of sums, fused or not, denormal numbers kept or flushed, is in [out_low_j, out_high_j] (n_out); infinite where
   * nothing is known. (optional: then it follows from range, exchange or matrix where there is one) */
  void (*interval)(const lip_layer *l, const double *low, const double *high, double *out_low,
                   double *out_high);
  /* The exponent of the distances that it measures, part of its weights; another one, between two steps: LIP_OPTION,
   * saying what was expected, where it cannot have that. (optional: it has none) */
  double (*p)(const lip_layer *l);
  lip_status (*set_p)(lip_layer *l, double p, lip_err *err);
  /* Carries size and off through the layer as executed in float32, both in norm pq.p before and pq.q after.
   * (optional: then both become INFINITY) */
  void (*deviate)(const lip_layer *l, lip_pq pq, lip_deviation *d);
};

/* Registry: one row per kind, in the order of layers.def. */
const lip_layer_kind *lip_layer_kind_at(size_t i); /* NULL past the end */
const lip_layer_kind *lip_layer_kind_find(const char *name);

/* A projection that is handed over: it takes the place of the engine's own inside of steps, and comes before project_exact
 * when a net is projected at the script's word. Bounds never rely on it, and project_exact remains the engine's. */
struct lip_projection {
  /* What `value` becomes (of the shape of w, weight of a layer that has l->budget), on the thread that has called the net. On
   * failure `value` may be anything. */
  lip_status (*project)(const lip_projection *p, const lip_layer *l, const lip_param *w, float *value,
                        lip_err *err);
  const char *origin; /* where it stands, for people to read */
  void *owner;
  void (*drop)(lip_projection *p); /* the last spec or net that uses it is gone (optional) */
  size_t users;
};
void lip_projection_hold(const lip_projection *p, bool more); /* accepts NULL */

/* Builds and plans the layer of `spec` (borrowed, must outlive it). lip_layer_free releases. */
lip_status lip_layer_new(const lip_spec *spec, const lip_shape *in, lip_pq pq, lip_plan *plan,
                         lip_layer **out, lip_err *err);
void lip_layer_free(lip_layer *l); /* accepts NULL */
/* Whether the layer advances the norm path and takes a share of the budget: its kind is LIP_LAYER_WEIGHTED and, for a
 * container, something inside is. */
bool lip_spec_weighted(const lip_spec *spec);
bool lip_layer_weighted(const lip_layer *l);
/* Number of layers of the tree with their own units (depth first), and the i-th of them. */
size_t lip_layer_leaves(lip_layer *l, lip_layer **out, size_t cap);

/* The contract's defaults live in these. */
lip_status lip_layer_set_budget(lip_layer *l, double budget, lip_err *err);
lip_status lip_layer_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err);
double lip_layer_estimate(const lip_layer *l, lip_pq pq);
void lip_layer_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d);
lip_status lip_layer_project_exact(lip_layer *l, lip_err *err);
/* Takes over the warm starts of a tree of the same layers; those of another size or type are left alone. */
void lip_layer_copy_warm(lip_layer *to, const lip_layer *from);
lip_status lip_layer_reset(lip_layer *l, uint64_t seed, lip_err *err);
/* Buffers: sets x, y, dy, dx, kept, capacity and lets a container pass them on. */
void lip_layer_bind(lip_layer *l, const float *x, float *y, const float *dy, float *dx, float *kept,
                    size_t capacity);
/* Row pass->r0 of dy and dx, wherever they stand; dx NULL: nobody needs it. */
const float *lip_layer_dy(const lip_layer *l, const lip_pass *pass);
float *lip_layer_dx(const lip_layer *l, const lip_pass *pass);
/* Whether n numbers of a gradient are so far below the largest float that their sum over any batch stays finite; NaN is
 * not. */
bool lip_gradient_fits(const float *dy, size_t n);
/* Rows of the buffers of `l` that a batch of B rows takes: B; inside an anchor one more in front of every LIP_PART rows,
 * for the point that it holds fixed. */
size_t lip_layer_rows(const lip_layer *l, size_t B);
/* A parameter declared inside plan. */
void lip_layer_add_param(lip_layer *l, const char *name, int ndim, const size_t *shape, bool decay);
/* How its weights start. */
lip_init lip_layer_init(const lip_layer *l);
/* The budget that it was given by its own options, or 0. */
double lip_layer_own_budget(const lip_layer *l);

/* ---- chains: what a net and every container of layers in sequence are made of ---- */

extern const lip_layer_kind lip_layer_chain;

/* Plans specs in order as children of `l`; sets l->out. The i-th weighted child makes step `path` says (path NULL:
 * every child maps l->pq.p to itself). */
lip_status lip_chain_plan(lip_layer *l, lip_spec *const *specs, size_t n, const lip_path *path,
                          lip_plan *plan, lip_err *err);
/* Floats per sample for the activations, gradients and caches between the children (the chain's own x, y, dy, dx
 * are not counted). */
size_t lip_chain_cache(const lip_layer *l);
/* Lays the children's buffers over l->kept; the last child writes to y and reads dy, the first reads x and writes
 * dx (NULL dx: the gradient is carried down to the first layer that learns, no further). */
void lip_chain_bind(lip_layer *l, const float *x, float *y, const float *dy, float *dx, float *kept,
                    size_t capacity);
void lip_chain_forward(const lip_layer *l, const lip_pass *pass);
void lip_chain_backward(const lip_layer *l, const lip_pass *pass);
/* Product of the children's bounds and estimates along the path they were planned with, rounded up. */
lip_status lip_chain_bound(const lip_layer *l, double *upper, lip_err *err);
/* Product of the known constants of the children that take no budget, and the number of those that do. */
lip_status lip_chain_fixed(const lip_layer *l, double *product, size_t *weighted, lip_err *err);
/* Budget of the weighted children: what their own options say, and for the others equal shares of what those and the constants
 * of the rest leave. LIP_OPTION: all have said something, and the product is more. */
lip_status lip_chain_share_budget(lip_layer *l, double budget, lip_err *err);
void lip_chain_deviate(const lip_layer *l, lip_deviation *d);
/* The children one after the other, as a `form`. */
bool lip_chain_form(const lip_layer *l, lip_form *f);

#endif
