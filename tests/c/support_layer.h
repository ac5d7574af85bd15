/* One layer with everything it needs to run, for tests: parameters, batch buffers, scratch. */
#ifndef LIP_TESTS_SUPPORT_LAYER_H
#define LIP_TESTS_SUPPORT_LAYER_H

#include "core/layer/layer.h"

enum { RIG_LEAVES = 16 };

typedef struct rig {
  lip_plan plan;
  lip_layer *l;
  size_t B, capacity, n_params, n_leaf; /* capacity: B rounded up as layers want it */
  float *weights, *grads, *x, *y, *dy, *dx, *kept;
  void *scratch;
  size_t scratch_bytes;
  lip_layer *leaf[RIG_LEAVES];
} rig;

/* Plans, lays out and resets a layer of `spec` for batches of B rows. On failure the rig is empty. */
lip_status rig_open(rig *r, const lip_spec *spec, const lip_shape *in, lip_pq pq, lip_project_method method,
                    lip_init init, double budget, size_t B, lip_err *err);
void rig_close(rig *r);

lip_pass rig_pass(const rig *r, size_t r0, size_t r1);
void rig_forward(rig *r);
void rig_backward(rig *r);
void rig_grad(rig *r, float accumulate); /* with rig_pull */
void rig_pull(rig *r, float accumulate);

/* Spec of a kind: default options, required ones filled by rule (a whole number: `whole`; a number: 1), containers hold
 * a dense layer that keeps the width, followed by a maxmin. NULL: no memory. */
lip_spec *spec_by_rule(const lip_layer_kind *kind, size_t width, size_t whole);

/* What the registry's tests run on: every kind by the rule above on 6 features and on a 4x6x5 image, with the first of a
 * few whole numbers that it can be planned with there, on other images should it take neither, and the variants listed in
 * support_layer_cases.c. */
typedef struct test_case {
  lip_spec *spec; /* owned by the caller of layer_cases */
  lip_shape in;
} test_case;
enum { LAYER_CASES = 200 };
/* Returns their number; 0 and a line on stderr when a kind has no case. */
size_t layer_cases(test_case *out, size_t cap);
/* Can `spec` be planned on that input? */
bool layer_plans(const lip_spec *spec, lip_shape in);

/* An option of a layer as a number, and number c of one that is a list: of one for all, or `absent` of none. */
double layer_number(const lip_layer *l, const char *name);
double layer_listed(const lip_layer *l, const char *name, size_t c, double absent);

/* The layer in double precision, straight from its definition and the stored float32 weights; by its own double mode or
 * range when no definition is written out in support_layer.c; false when it has neither. Dropout as in use, not in training. */
bool layer_in_double(const lip_layer *l, const double *x, double *y);
/* The same for unit k alone of a layer that maps units one by one, in long double where it is written out. *error: how
 * far off it may be, relative to the sizes of v and *y. */
bool layer_unit(const lip_layer *l, size_t k, long double v, long double *y, double *error);

#endif
