/* Layers that are other layers, made by themselves, with weights that they compute from trained numbers of their own
 * (`renew`, `pull`): child[0] is that layer, a chain or residual, and nearly everything is left to it. So bounds,
 * certificates and executed errors see ordinary layers with the stored float32 weights. */
#ifndef LIP_LAYER_INNER_H
#define LIP_LAYER_INNER_H

#include "core/layer/layer.h"

/* First member of the state of such a layer. */
typedef struct lip_inner {
  lip_spec *spec; /* of child[0], owned */
  float *room;    /* working memory, owned; NULL before lip_inner_take */
} lip_inner;

/* Words of an option `activation`: kinds of layers with slopes in [0, 1], as they are taken for a map between two
 * matrices; the last, "none", leaves it and the second matrix out. */
enum { LIP_INNER_NONE = 4 };
extern const char *const lip_inner_names[];

/* y = W_2 phi(W_1 x + b) with W_1 (hidden, n_in) and W_2 (out, hidden), or y = W_1 x + b without phi (then hidden = out);
 * `around`: plus x. The weights are frozen, b is trained. l->state is a lip_inner. Errors begin with the kind's name. */
lip_status lip_inner_plan(lip_layer *l, size_t hidden, int activation, size_t out, bool around,
                          lip_plan *plan, lip_err *err);
void lip_inner_release(lip_layer *l); /* frees the state too */
/* In reset: n floats of working memory, aligned to 64, as they were if there are any. LIP_MEMORY. */
lip_status lip_inner_take(lip_layer *l, size_t n, lip_err *err);
/* W_1 and W_2 (NULL: there is none), dense layers. */
lip_layer *lip_inner_first(const lip_layer *l);
lip_layer *lip_inner_second(const lip_layer *l);

/* Table entries. `bound` is what child[0] says. */
void lip_inner_bind(lip_layer *l);
bool lip_inner_form(const lip_layer *l, lip_form *f);
lip_status lip_inner_bound(const lip_layer *l, lip_pq pq, double *upper, lip_err *err);
size_t lip_inner_emit(const lip_layer *l, lip_emit *e, size_t x);
void lip_inner_deviate(const lip_layer *l, lip_pq pq, lip_deviation *d);

#endif
