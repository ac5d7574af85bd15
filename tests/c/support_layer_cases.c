#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_layer.h"

typedef struct variant {
  const char *kind;
  lip_shape in;
  struct {
    const char *name;
    double v;
  } opt[6];
  const char *mode; /* or activation */
} variant;

static const lip_shape usual[] = {{1, {6, 0, 0}}, {3, {4, 6, 5}}},
                       other[] = {{3, {4, 4, 4}}, {3, {12, 2, 3}}, {1, {24, 0, 0}}, {1, {1, 0, 0}}};
static const size_t whole[] = {4, 2, 3, 1, 8};

static const variant variants[] = {
    {"dense", {1, {9, 0, 0}}, {{"out", 1}}, NULL},
    {"dense", {1, {3, 0, 0}}, {{"out", 17}}, NULL},
    {"dense", {1, {3, 0, 0}}, {{"out", 130}}, NULL},
    {"leaky_relu", {1, {5, 0, 0}}, {{"slope", -1.5}}, NULL},
    {"softplus", {1, {7, 0, 0}}, {{"beta", 5}}, NULL},
    {"groupsort", {1, {12, 0, 0}}, {{"size", 4}}, NULL},
    {"groupsort", {3, {6, 2, 3}}, {{"size", 3}}, NULL},
    {"fullsort", {1, {33, 0, 0}}, {{NULL, 0}}, NULL},
    {"dropout", {1, {300, 0, 0}}, {{"rate", 0.25}}, NULL},
    {"scale", {3, {3, 2, 2}}, {{"factor", -2.5}, {"mean", 0.5}, {"std", 0.3}}, NULL},
    {"conv2d", {3, {3, 5, 6}}, {{"channels", 4}, {"kernel", 3}, {"padding", 1}}, NULL},
    {"conv2d", {3, {2, 6, 5}}, {{"channels", 3}, {"kernel", 3}, {"stride", 2}, {"padding", 1}}, NULL},
    {"conv2d", {3, {4, 5, 5}}, {{"channels", 6}, {"kernel", 2}, {"stride", 3}, {"groups", 2}}, NULL},
    {"conv2d", {3, {1, 3, 3}}, {{"channels", 2}, {"kernel", 5}, {"stride", 2}, {"padding", 2}}, NULL},
    {"conv2d", {3, {2, 6, 5}}, {{"channels", 3}, {"kernel", 3}, {"padding", 2}, {"dilation", 2}}, NULL},
    {"conv2d", {3, {2, 8, 9}}, {{"channels", 2}, {"stride", 2}, {"padding", 3}, {"dilation", 3}}, NULL},
    {"conv1d", {2, {3, 9, 0}}, {{"channels", 4}, {"kernel", 3}, {"padding", 1}}, NULL},
    {"conv1d",
     {2, {4, 11, 0}},
     {{"channels", 6}, {"kernel", 4}, {"stride", 3}, {"padding", 2}, {"groups", 2}},
     NULL},
    {"conv1d",
     {3, {2, 1, 14}},
     {{"channels", 3}, {"kernel", 3}, {"stride", 2}, {"dilation", 3}, {"padding", 1}},
     NULL},
    {"conv1d", {3, {2, 3, 5}}, {{"channels", 3}, {"kernel", 2}, {"stride", 2}}, NULL},
    {"avg_pool2d", {3, {1, 1, 1}}, {{"kernel", 1}, {"stride", 0}, {"padding", 0}}, NULL},
    {"avg_pool2d", {3, {2, 1, 7}}, {{"kernel", 1}, {"stride", 2}, {"padding", 0}}, NULL},
    {"avg_pool2d", {3, {2, 5, 8}}, {{"kernel", 3}, {"stride", 1}, {"padding", 1}}, NULL},
    {"avg_pool2d", {3, {1, 5, 8}}, {{"kernel", 3}, {"stride", 2}, {"padding", 1}}, NULL},
    {"avg_pool2d", {3, {1, 5, 8}}, {{"kernel", 2}, {"stride", 3}, {"padding", 1}}, NULL},
    {"avg_pool2d", {3, {1, 7, 5}}, {{"kernel", 4}, {"stride", 1}, {"padding", 2}}, NULL},
    {"avg_pool2d", {3, {1, 6, 6}}, {{"kernel", 4}, {"stride", 3}, {"padding", 3}}, NULL},
    {"max_pool2d", {3, {1, 1, 1}}, {{"kernel", 1}, {"stride", 0}, {"padding", 0}}, NULL},
    {"max_pool2d", {3, {2, 1, 7}}, {{"kernel", 1}, {"stride", 2}, {"padding", 0}}, NULL},
    {"max_pool2d", {3, {2, 5, 8}}, {{"kernel", 3}, {"stride", 1}, {"padding", 1}}, NULL},
    {"max_pool2d", {3, {1, 5, 8}}, {{"kernel", 3}, {"stride", 2}, {"padding", 1}}, NULL},
    {"max_pool2d", {3, {1, 5, 8}}, {{"kernel", 2}, {"stride", 3}, {"padding", 1}}, NULL},
    {"max_pool2d", {3, {1, 7, 5}}, {{"kernel", 4}, {"stride", 1}, {"padding", 2}}, NULL},
    {"max_pool2d", {3, {1, 6, 6}}, {{"kernel", 4}, {"stride", 3}, {"padding", 3}}, NULL},
    {"l2_pool2d", {3, {1, 1, 1}}, {{"kernel", 1}, {"stride", 0}, {"padding", 0}}, NULL},
    {"l2_pool2d", {3, {2, 1, 7}}, {{"kernel", 1}, {"stride", 2}, {"padding", 0}}, NULL},
    {"l2_pool2d", {3, {2, 5, 8}}, {{"kernel", 3}, {"stride", 1}, {"padding", 1}}, NULL},
    {"l2_pool2d", {3, {1, 5, 8}}, {{"kernel", 3}, {"stride", 2}, {"padding", 1}}, NULL},
    {"l2_pool2d", {3, {1, 5, 8}}, {{"kernel", 2}, {"stride", 3}, {"padding", 1}}, NULL},
    {"l2_pool2d", {3, {1, 7, 5}}, {{"kernel", 4}, {"stride", 1}, {"padding", 2}}, NULL},
    {"l2_pool2d", {3, {1, 6, 6}}, {{"kernel", 4}, {"stride", 3}, {"padding", 3}}, NULL},
    {"avg_pool2d", {3, {1, 3, 2}}, {{"kernel", 2}, {"stride", 1}, {"padding", 3}}, NULL},
    {"l2_pool2d", {3, {1, 3, 2}}, {{"kernel", 2}, {"stride", 1}, {"padding", 3}}, NULL},
    {"global_avg_pool", {3, {3, 1, 7}}, {{NULL, 0}}, NULL},
    {"global_avg_pool", {3, {2, 9, 11}}, {{NULL, 0}}, NULL},
    {"space_to_depth", {3, {2, 6, 4}}, {{"block", 2}}, NULL},
    {"space_to_depth", {3, {1, 3, 9}}, {{"block", 3}}, NULL},
    {"depth_to_space", {3, {8, 2, 3}}, {{"block", 2}}, NULL},
    {"depth_to_space", {3, {9, 1, 2}}, {{"block", 3}}, NULL},
    {"shift", {3, {9, 3, 1}}, {{"share", 0.23}}, NULL},
    {"shift", {3, {5, 1, 7}}, {{"share", 0.2}}, NULL},
    {"shift", {3, {16, 2, 2}}, {{"share", 0.125}}, NULL},
    {"pad", {3, {2, 1, 7}}, {{"channels", 3}}, NULL},
    {"select", {3, {5, 2, 3}}, {{"channels", 5}}, NULL},
    {"select", {1, {9, 0, 0}}, {{"channels", 1}}, NULL},
    {"residual", {1, {6, 0, 0}}, {{"alpha", 0.3}}, "mix"},
    {"residual", {1, {6, 0, 0}}, {{NULL, 0}}, "add"},
    {"centre", {3, {3, 2, 5}}, {{NULL, 0}}, "trained"},
    {"batch_norm", {3, {3, 2, 5}}, {{"eps", 0.5}, {"momentum", 1}}, NULL},
    {"sum", {1, {6, 0, 0}}, {{"weights", -0.3}}, NULL},
    {"linf_dist", {1, {11, 0, 0}}, {{"out", 2}, {"p", 2}}, NULL},
    {"linf_dist", {1, {40, 0, 0}}, {{"out", 7}, {"p", 8}, {"shift", 1}}, NULL},
    {"linf_dist", {1, {150, 0, 0}}, {{"out", 2}, {"p", 256}, {"bias", 0}}, NULL},
    {"linf_dist", {1, {150, 0, 0}}, {{"out", 9}, {"shift", 1}, {"bias", 0}}, NULL},
    {"sort_neuron", {1, {13, 0, 0}}, {{"out", 3}, {"q", 0.4}, {"shift", 1}}, NULL},
    {"sort_neuron", {1, {20, 0, 0}}, {{"out", 3}, {"terms", 3}, {"q", 1}}, NULL},
    {"anchor", {1, {6, 0, 0}}, {{"at", 0.7}, {"value", -2}}, NULL},
    {"sll", {1, {7, 0, 0}}, {{"hidden", 4}}, "tanh"},
    {"sll", {1, {3, 0, 0}}, {{"hidden", 5}}, "relu"},
    {"cpl", {1, {7, 0, 0}}, {{"hidden", 3}}, "relu"},
    {"cpl", {1, {4, 0, 0}}, {{"hidden", 9}}, "softplus"},
    {"sandwich", {1, {9, 0, 0}}, {{"out", 3}}, "none"},
    {"sandwich", {1, {2, 0, 0}}, {{"out", 5}}, "sigmoid"},
    {"sandwich", {1, {5, 0, 0}}, {{"out", 1}}, "relu"},
};

enum { VARIANTS = sizeof variants / sizeof *variants };

bool layer_plans(const lip_spec *spec, lip_shape in) {
  rig r;
  bool ok = rig_open(&r, spec, &in, (lip_pq){LIP_P2, LIP_P2}, LIP_EUCLIDEAN, LIP_INIT_HE, INFINITY, 1,
                     NULL) == LIP_OK;
  if (ok) rig_close(&r);
  return ok;
}

/* Takes the spec when it can be planned on `in`, frees it otherwise. */
static bool add_case(test_case *out, size_t *n, size_t cap, lip_spec *spec, lip_shape in) {
  bool ok = spec && *n < cap && layer_plans(spec, in);
  if (ok) {
    out[(*n)++] = (test_case){spec, in};
  } else {
    lip_spec_free(spec);
  }
  return ok;
}

/* The kind by rule, with the first of the whole numbers that fits. */
static bool add_by_rule(test_case *out, size_t *n, size_t cap, const lip_layer_kind *kind, lip_shape in) {
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
    if (add_case(out, n, cap, spec_by_rule(kind, lip_shape_size(&in), whole[i]), in)) return true;
  return false;
}

static bool add_kind(test_case *out, size_t *n, size_t cap, const lip_layer_kind *kind) {
  bool some = false;
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
    some = add_by_rule(out, n, cap, kind, usual[i]) || some;
  for (size_t i = 0; !some && i < sizeof other / sizeof *other; i++)
    some = add_by_rule(out, n, cap, kind, other[i]);
  return some;
}

static bool set_option(const lip_desc *desc, void *conf, const char *name, double v) {
  const lip_opt *o = lip_opt_find(desc, name);
  if (o && o->type == LIP_OPT_BOOL) return lip_conf_set_bool(desc, conf, name, v != 0, NULL) == LIP_OK;
  return lip_conf_set_number(desc, conf, name, v, NULL) == LIP_OK;
}

static lip_spec *spec_of(const variant *v) {
  const lip_layer_kind *kind = lip_layer_kind_find(v->kind);
  lip_spec *spec = kind ? spec_by_rule(kind, lip_shape_size(&v->in), whole[0]) : NULL;
  bool ok = spec != NULL;
  for (size_t k = 0; ok && v->opt[k].name; k++)
    ok = set_option(&kind->desc, spec->conf, v->opt[k].name, v->opt[k].v);
  const char *mode = ok && lip_opt_find(&kind->desc, "mode") ? "mode" : "activation";
  if (ok && v->mode) ok = lip_conf_set_text(&kind->desc, spec->conf, mode, v->mode, NULL) == LIP_OK;
  if (ok) return spec;
  lip_spec_free(spec);
  return NULL;
}

size_t layer_cases(test_case *out, size_t cap) {
  const lip_layer_kind *kind;
  const char *bad = NULL;
  size_t n = 0;
  for (size_t i = 0; (kind = lip_layer_kind_at(i)); i++)
    if (!add_kind(out, &n, cap, kind)) bad = kind->desc.name;
  for (size_t i = 0; i < VARIANTS; i++)
    if (!add_case(out, &n, cap, spec_of(&variants[i]), variants[i].in)) bad = variants[i].kind;
  if (!bad) return n;
  fprintf(stderr, "%s: no default case, or a variant, cannot be planned\n", bad);
  while (n > 0) lip_spec_free(out[--n].spec);
  return 0;
}
