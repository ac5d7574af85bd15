#include "support_cert.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Normal weights and biases, `spread` over the root of what a unit adds up; running statistics stay. */
static void fill_weights(lip_layer *l, double spread, lip_rng *rng) {
  for (size_t k = 0; k < l->n_param; k++) {
    const lip_param *w = &l->param[0];
    double fan = w->ndim > 1 ? (double)(lip_param_size(w) / w->shape[0]) : 1;
    if (!l->param[k].frozen)
      lip_rng_fill_normal(rng, l->param[k].value, lip_param_size(&l->param[k]), 0,
                          (float)(spread / sqrt(fan)));
  }
  for (size_t i = 0; i < l->n_child; i++) fill_weights(l->child[i], spread, rng);
}

static void randomise(lip_net *net, double spread, uint64_t seed, uint64_t stream) {
  lip_rng rng = lip_rng_new(seed, LIP_RNG_USER, stream);
  for (size_t i = 0; i < lip_net_weighted(net); i++)
    fill_weights(lip_net_weighted_layer(net, i), spread, &rng);
}

lip_net *cert_net(const char *path, size_t n_in, const piece *p, size_t n, double spread, uint64_t seed,
                  const lip_engine *engine) {
  lip_err err = {LIP_OK, ""};
  lip_net_conf conf = {.input = {1, {n_in, 0, 0}}, .budget = INFINITY, .init = LIP_INIT_HE};
  lip_spec *spec[16];
  assert_true(n <= 16);
  if (lip_path_parse(path, &conf.path, &err)) fail_msg("%s", err.msg);
  for (size_t i = 0; i < n; i++) {
    const lip_layer_kind *kind = lip_layer_kind_find(p[i].out ? "dense" : p[i].kind);
    if (!kind) fail_msg("no layer %s", p[i].kind);
    spec[i] = lip_spec_new(kind);
    assert_non_null(spec[i]);
    if (p[i].out && lip_conf_set_number(&kind->desc, spec[i]->conf, "out", (double)p[i].out, &err))
      fail_msg("%s", err.msg);
  }
  lip_net *net;
  if (lip_net_new(&conf, spec, n, engine, &net, &err)) fail_msg("%s", err.msg);
  for (size_t i = 0; i < n; i++) lip_spec_free(spec[i]);
  randomise(net, spread, seed, 7);
  return net;
}

/* One word "name=value" for a spec. */
static void set_option(lip_spec *spec, char *word) {
  lip_err err;
  char *value = strchr(word, '=');
  assert_non_null(value);
  *value++ = 0;
  const lip_desc *d = &spec->kind->desc;
  const lip_opt *o = lip_opt_find(d, word);
  if (!o) fail_msg("%s has no option %s", d->name, word);
  double v = strtod(value, NULL);
  lip_status status = o->type == LIP_OPT_REALS  ? lip_conf_set_reals(d, spec->conf, word, &v, 1, &err)
                      : o->type == LIP_OPT_BOOL ? lip_conf_set_bool(d, spec->conf, word, v != 0, &err)
                      : o->type == LIP_OPT_ENUM ? lip_conf_set_text(d, spec->conf, word, value, &err)
                                                : lip_conf_set_number(d, spec->conf, word, v, &err);
  if (status) fail_msg("%s", err.msg);
}

/* The next layer of a list, up to a ';' that stands in no braces; NULL at the end. */
static char *next_layer(char **rest) {
  char *start = *rest;
  int depth = 0;
  if (!start || !*start) return NULL;
  for (char *c = start; *c; c++) {
    depth += (*c == '{') - (*c == '}');
    if (*c != ';' || depth > 0) continue;
    *c = 0;
    *rest = c + 1;
    return start;
  }
  *rest = NULL;
  return start;
}

static lip_spec *read_spec(char *text) {
  lip_err err;
  char *inside = strchr(text, '{'), *end = inside ? strrchr(text, '}') : NULL, *rest;
  if (inside) {
    assert_non_null(end);
    *inside++ = *end = 0;
  }
  char *word = strtok_r(text, " ", &rest);
  const lip_layer_kind *kind = word ? lip_layer_kind_find(word) : NULL;
  if (!kind) fail_msg("no layer %s", word ? word : "");
  lip_spec *spec = lip_spec_new(kind);
  assert_non_null(spec);
  while ((word = strtok_r(NULL, " ", &rest))) set_option(spec, word);
  for (char *child; (child = next_layer(&inside));)
    assert_int_equal(lip_spec_add(spec, read_spec(child), &err), LIP_OK);
  return spec;
}

lip_net *cert_build(const char *path, lip_shape in, const char *layers, double spread, uint64_t seed) {
  enum { MOST = 32 };
  lip_err err = {LIP_OK, ""};
  lip_net_conf conf = {.input = in, .budget = INFINITY, .init = LIP_INIT_HE, .seed = seed};
  lip_spec *spec[MOST];
  lip_net *net;
  size_t n = 0;
  char text[1000], *rest = NULL;
  assert_true(strlen(layers) < sizeof text);
  strcpy(text, layers);
  if (lip_path_parse(path, &conf.path, &err)) fail_msg("%s", err.msg);
  rest = text;
  for (char *layer; (layer = next_layer(&rest));) {
    assert_true(n < MOST);
    spec[n++] = read_spec(layer);
  }
  if (lip_net_new(&conf, spec, n, NULL, &net, &err)) fail_msg("%s: %s", layers, err.msg);
  while (n > 0) lip_spec_free(spec[--n]);
  randomise(net, spread, seed, 8);
  return net;
}

void cert_set_weights(lip_net *net, size_t i, const float *w) {
  lip_layer *l = lip_net_weighted_layer(net, i);
  memcpy(l->param[0].value, w, l->n_in * l->n_out * sizeof *w);
}

void cert_set_bias(lip_net *net, size_t i, const float *b) {
  lip_layer *l = lip_net_weighted_layer(net, i);
  memcpy(l->param[1].value, b, l->n_out * sizeof *b);
}

lip_radius cert_one(lip_net *net, const float *x) {
  return cert_with(net, x, NULL);
}

lip_radius cert_with(lip_net *net, const float *x, const lip_certify_conf *conf) {
  lip_err err = {LIP_OK, ""};
  lip_certifier *c;
  lip_radius r = {-2, NAN, NAN};
  if (lip_certifier_new(net, conf, &c, &err)) fail_msg("%s", err.msg);
  if (lip_certify(c, x, 1, &r, &err)) fail_msg("%s", err.msg);
  lip_certifier_free(c);
  assert_true(r.radius >= 0);
  return r;
}

int32_t cert_label(lip_net *net, const float *x) {
  lip_net_forward(net, x, 1, false);
  if (net->root->n_out == 1) return net->logits[0] > 0;
  size_t best = 0;
  for (size_t j = 1; j < net->root->n_out; j++)
    if (net->logits[j] > net->logits[best]) best = j;
  return (int32_t)best;
}

/* to = x + step, pulled in until its exact distance is certainly at most the radius. */
static void inside(float *to, const float *x, const double *step, size_t n, lip_p p, double radius) {
  double *gap = malloc(n * sizeof *gap), shrink = 1;
  assert_non_null(gap);
  double size = lip_norm_upper_d(step, n, p);
  double scale = size > 0 ? radius / size : 0;
  for (int i = 0;; i++) {
    for (size_t k = 0; k < n; k++) {
      to[k] = (float)((double)x[k] + scale * shrink * step[k]);
      gap[k] = (double)to[k] - (double)x[k];
    }
    if (lip_norm_upper_d(gap, n, p) <= radius) break;
    shrink *= i < 20 ? 1 - 1e-7 * (double)(1 << i) : 0;
  }
  free(gap);
}

static void random_step(double *step, size_t n, lip_p p, lip_rng *rng) {
  uint64_t kind = lip_rng_below(rng, 3);
  for (size_t k = 0; k < n; k++) {
    double v = lip_rng_normal(rng);
    step[k] = p == LIP_PINF || kind == 0 ? (v < 0 ? -1 : 1) : v;
  }
  if (kind == 1) { /* one coordinate */
    size_t at = (size_t)lip_rng_below(rng, n);
    for (size_t k = 0; k < n; k++) step[k] = k == at ? step[k] : 0;
  }
}

typedef struct flip {
  lip_net *net;
  size_t from, to;
} flip;

static void want_flip(void *arg, const lip_worker *me, size_t r0, size_t r1) {
  (void)me;
  const flip *f = arg;
  const size_t n = f->net->root->n_out;
  for (size_t k = r0 * n; k < r1 * n; k++) f->net->dlogits[k] = 0;
  for (size_t r = r0; r < r1; r++) {
    f->net->dlogits[n > 1 ? r * n + f->to : r] = n > 1 || f->to == 1 ? 1 : -1; /* of one output: 0 and f */
    if (n > 1) f->net->dlogits[r * n + f->from] = -1;
  }
}

/* Steepest direction of z_j - z_y at `at`, in the norm p. */
static void gradient_step(lip_net *net, const float *at, int32_t y, size_t j, lip_p p, double *step) {
  size_t n = net->root->n_in, top = 0;
  flip f = {net, (size_t)y, j};
  const lip_probe probe = {.stream = {.use = want_flip, .arg = &f}};
  lip_net_touch(net); /* tests write to the weights */
  lip_net_probe(net, at, 1, &probe);
  const float *g = net->dinput;
  for (size_t k = 0; k < n; k++)
    if (fabsf(g[k]) > fabsf(g[top])) top = k;
  for (size_t k = 0; k < n; k++) {
    double v = (double)g[k];
    step[k] = p == LIP_P2 ? v : p == LIP_PINF ? (v < 0 ? -1 : 1) : k == top ? (v < 0 ? -1 : 1) : 0;
  }
}

size_t cert_attack(lip_net *net, const float *x, const lip_radius *r, lip_p p, size_t tries, uint64_t seed) {
  size_t n = net->root->n_in, C = lip_net_classes(net), flips = 0;
  if (r->label < 0 || !(r->radius > 0)) return 0;
  double *step = malloc(n * sizeof *step);
  float *to = malloc(n * sizeof *to);
  assert_true(step && to);
  lip_rng rng = lip_rng_new(seed, LIP_RNG_ATTACK, 0);
  double radius = fmin(r->radius, 1e30);
  for (size_t t = 0; t < tries; t++) {
    random_step(step, n, p, &rng);
    inside(to, x, step, n, p, radius);
    flips += cert_label(net, to) != r->label;
  }
  for (size_t j = 0; j < C; j++) {
    if ((int32_t)j == r->label) continue;
    memcpy(to, x, n * sizeof *to);
    for (int i = 0; i < 6; i++) {
      gradient_step(net, to, r->label, j, p, step);
      inside(to, x, step, n, p, radius);
      flips += cert_label(net, to) != r->label;
    }
  }
  free(step);
  free(to);
  return flips;
}
