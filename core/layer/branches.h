/* Branches: chains over one input, side by side. child[i] is branch i, a chain, in the order of the script; a layer that
 * is no chain makes one of its own. What containers of branches share: they differ in how outputs are joined. */
#ifndef LIP_LAYER_BRANCHES_H
#define LIP_LAYER_BRANCHES_H

#include "core/layer/emit.h"
#include "core/layer/layer.h"

/* The n layers of `specs` (borrowed) as the next child of `l`, a chain that makes the step l->pq. `l->child` has room. */
lip_status lip_branch_add(lip_layer *l, lip_spec *const *specs, size_t n, lip_plan *plan, lip_err *err);
/* Every spec inside as a branch; at least one. l->out is not set. Errors name the branch. */
lip_status lip_branches_plan(lip_layer *l, const lip_spec *spec, lip_plan *plan, lip_err *err);

/* What is kept for a batch: the gradients of x by the branches after the first, one after the other in one block
 * (n_in), then for each branch its output, with `own_dy` the gradient of it, and what its layers keep. Without own_dy
 * every branch reads l->dy. Floats per sample: */
size_t lip_branches_cache(const lip_layer *l, bool own_dy);
void lip_branches_bind(lip_layer *l, bool own_dy);
/* Where the gradient of branch i's output is written, with own_dy. */
float *lip_branch_dy(const lip_layer *l, size_t i);

/* The outputs of all branches, rows r0..r1. */
void lip_branches_forward(const lip_layer *l, const lip_pass *pass);
/* From the gradients of the outputs to l->dx, summed in the order of the branches. */
void lip_branches_backward(const lip_layer *l, const lip_pass *pass);

/* The first part of a `form`: from x on top to the outputs of all branches, the first one deepest. */
bool lip_branches_form(const lip_layer *l, lip_form *f);
/* What the branches make of value x, (n_child) that live as long as the list; NULL after a failure (emit.h). */
size_t *lip_branches_emit(const lip_layer *l, lip_emit *e, size_t x);

/* >= || (w_1 L_1, ..., w_n L_n) ||_join, L_i the constants pq of the branches, rounded up; INFINITY when one is unknown.
 * w (n), not 0, signs do not matter; or NULL: all 1. */
lip_status lip_branches_bound(const lip_layer *l, lip_pq pq, lip_p join, const float *w, double *upper,
                              lip_err *err);
/* Keeps that norm for the step l->pq within K: every branch that can shrink gets the same w_i L_i, those without weights
 * have what they have. LIP_UNSUPPORTED when they leave nothing. */
lip_status lip_branches_share_budget(lip_layer *l, double K, lip_p join, const float *w, lip_err *err);
/* || (a, b) ||_q of two numbers >= 0, rounded up unless one of them is 0. */
double lip_join_norm(double a, double b, lip_p q);

#endif
