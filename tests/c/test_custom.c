/* Layers of functions that are handed over: passes, parameters, faults, constants, counting of specs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/lip.h"

enum { IN = 3, OUT = 2, B = 5 };

/* y_k = g_k (x_k + x_2), k = 0, 1; a second param, not trained, is left alone. */
typedef struct world {
  int forwards, backwards, drops;
  size_t rows;     /* of the last forward */
  bool trained;    /* it was told of */
  lip_status fail; /* forward fails with it */
  bool nan;        /* forward gives NaN */
} world;

static lip_status plan(const lip_custom *c, lip_layer *l, lip_err *err) {
  (void)c;
  if (l->n_in != IN) return lip_fail(err, LIP_SHAPE, "takes %d values", IN);
  l->out = (lip_shape){1, {OUT}};
  lip_layer_add_param(l, "gain", 1, (size_t[]){OUT}, false);
  lip_layer_add_param(l, "still", 1, (size_t[]){4}, false);
  l->param[1].frozen = true;
  return LIP_OK;
}

static lip_status reset(const lip_custom *c, const lip_layer *l, size_t i, uint64_t seed, lip_err *err) {
  (void)c, (void)seed, (void)err;
  for (size_t k = 0; k < lip_param_size(&l->param[i]); k++) l->param[i].value[k] = (float)(k + 1) / 2;
  return LIP_OK;
}

static lip_status forward(const lip_custom *c, const lip_layer *l, const lip_custom_rows *r, lip_err *err) {
  world *w = c->owner;
  w->forwards++;
  w->rows = r->rows;
  w->trained = r->training;
  assert_ptr_equal(l->plan->fault->running, l);
  if (w->fail) return lip_fail(err, w->fail, "on purpose");
  for (size_t i = 0; i < r->rows; i++)
    for (size_t k = 0; k < OUT; k++)
      r->y[i * OUT + k] = w->nan ? NAN : l->param[0].value[k] * (r->x[i * IN + k] + r->x[i * IN + 2]);
  return LIP_OK;
}

static lip_status backward(const lip_custom *c, const lip_layer *l, const lip_custom_rows *r, lip_err *err) {
  (void)err;
  ((world *)c->owner)->backwards++;
  for (size_t i = 0; i < r->rows; i++) {
    const float *dy = r->dy + i * OUT, *x = r->x + i * IN, *g = l->param[0].value;
    for (size_t k = 0; r->dw && k < OUT; k++) r->dw[k] += dy[k] * (x[k] + x[2]);
    if (!r->dx) continue;
    for (size_t k = 0; k < OUT; k++) r->dx[i * IN + k] = g[k] * dy[k];
    r->dx[i * IN + 2] = g[0] * dy[0] + g[1] * dy[1];
  }
  return LIP_OK;
}

static lip_status constant(const lip_custom *c, const lip_layer *l, lip_p p, double *k, lip_err *err) {
  const float *g = l->param[0].value;
  (void)c, (void)err;
  *k =
      p == LIP_PINF ? 2 * fmax(fabs((double)g[0]), fabs((double)g[1])) : NAN; /* of others nothing is known */
  return LIP_OK;
}

static void drop(lip_custom *c) {
  ((world *)c->owner)->drops++;
}

static lip_custom make(world *w) {
  static const lip_desc desc = {"halves", "a test", NULL, 0};
  lip_custom c = {.ops = {plan, reset, forward, backward, constant, NULL, drop},
                  .owner = w,
                  .constant = INFINITY,
                  .relative = 0x1p-20};
  lip_custom_init(&c, &desc, "test_custom.c");
  return c;
}

/* dense{3}, then the layer. */
static lip_net *net_of(const lip_custom *c, lip_engine *engine) {
  lip_err err;
  lip_spec *layers[2] = {lip_spec_new(lip_layer_kind_find("dense")), lip_spec_new(&c->kind)};
  assert_int_equal(lip_conf_set_number(&layers[0]->kind->desc, layers[0]->conf, "out", IN, &err), LIP_OK);
  lip_net_conf conf = {.input = {1, {4}}, .budget = INFINITY, .seed = 3};
  assert_int_equal(lip_path_parse("inf", &conf.path, &err), LIP_OK);
  lip_net *net;
  assert_int_equal(lip_net_new(&conf, layers, 2, engine, &net, &err), LIP_OK);
  for (int i = 0; i < 2; i++) lip_spec_free(layers[i]);
  return net;
}

static void fill(float *x, size_t n) {
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 1);
  lip_rng_fill_uniform(&rng, x, n, -1, 1);
}

static void specs_are_counted(void **state) {
  (void)state;
  world w = {0};
  lip_custom c = make(&w);
  lip_spec *a = lip_spec_new(&c.kind), *b = lip_spec_copy(a);
  lip_net *net = net_of(&c, NULL);
  assert_int_equal(c.specs, 3);
  lip_spec_free(a);
  lip_spec_free(b);
  assert_int_equal(w.drops, 0);
  lip_net_free(net);
  assert_int_equal(w.drops, 1);
  assert_ptr_equal(lip_custom_of(&c.kind), &c);
  assert_null(lip_custom_of(lip_layer_kind_find("relu")));
}

static void passes_are_whole(void **state) {
  (void)state;
  enum { MANY = 1000 };
  static float x[MANY * 4];
  lip_err err;
  world w = {0};
  lip_custom c = make(&w);
  lip_pool *pool = lip_pool_new(3, &err);
  lip_net *net = net_of(&c, &(lip_engine){.pool = pool});
  assert_int_equal(lip_net_reserve(net, MANY, &err), LIP_OK);
  fill(x, MANY * 4);
  for (int training = 0; training < 2; training++) {
    lip_net_forward(net, x, MANY, training);
    assert_int_equal(w.rows, MANY);
    assert_int_equal(w.trained, training);
  }
  assert_int_equal(w.forwards, 2);
  lip_net_free(net);
  lip_pool_free(pool);
}

/* Gradients of every weight against central differences. */
static void gradients(void **state) {
  (void)state;
  float x[B * 4], dz[B * OUT];
  lip_err err;
  world w = {0};
  lip_custom c = make(&w);
  lip_net *net = net_of(&c, NULL);
  assert_int_equal(lip_net_reserve(net, B, &err), LIP_OK);
  fill(x, B * 4);
  fill(dz, B * OUT);
  for (int twice = 0; twice < 2; twice++) {
    lip_net_forward(net, x, B, true);
    assert_int_equal(lip_net_backward(net, dz, twice, true, &err), LIP_OK);
  }
  for (size_t l = 0; l < net->n_leaf; l++)
    for (size_t p = 0; p < net->leaf[l]->n_param; p++)
      for (size_t i = 0; i < lip_param_size(&net->leaf[l]->param[p]); i++) {
        const lip_param *q = &net->leaf[l]->param[p];
        double sum[2] = {0, 0};
        const float was = q->value[i];
        for (int s = 0; s < 2; s++) {
          q->value[i] = was + (s ? 0x1p-8f : -0x1p-8f);
          lip_net_touch(net);
          lip_net_forward(net, x, B, true);
          for (size_t k = 0; k < B * OUT; k++) sum[s] += (double)net->logits[k] * (double)dz[k];
        }
        q->value[i] = was;
        const double slope = q->frozen ? 0 : 2 * (sum[1] - sum[0]) * 0x1p7; /* added twice */
        assert_true(fabs(slope - (double)q->grad[i]) < 1e-3);
      }
  lip_net_free(net);
}

/* What fails ends a step before anything has changed. */
static void faults(void **state) {
  (void)state;
  float x[B * 4];
  const int32_t labels[B] = {0, 1, 1, 0, 1};
  const lip_targets t = {LIP_TARGET_LABELS, labels, NULL};
  lip_err err;
  double value;
  world w = {0};
  lip_custom c = make(&w);
  lip_net *net = net_of(&c, NULL);
  const lip_loss_kind *kind = lip_loss_kind_find("cross_entropy");
  lip_loss loss = {kind, lip_conf_new(&kind->desc)};
  const lip_optim_kind *sgd = lip_optim_kind_find("sgd");
  void *conf = lip_conf_new(&sgd->desc);
  lip_optim *opt;
  assert_int_equal(lip_optim_new(sgd, conf, &opt, &err), LIP_OK);
  fill(x, B * 4);
  assert_int_equal(lip_net_step(net, x, &t, B, &loss, opt, &value, &err), LIP_OK);
  float *before = lip_alloc(net->n_params, sizeof *before);
  memcpy(before, net->weights, net->n_params * sizeof *before);
  for (int k = 0; k < 3; k++) {
    w.fail = k == 0 ? LIP_STATE : k == 1 ? LIP_CANCELLED : LIP_OK;
    w.nan = k == 2;
    const int backwards = w.backwards;
    const lip_status wanted = k == 2 ? LIP_NOT_FINITE : w.fail;
    assert_int_equal(lip_net_step(net, x, &t, B, &loss, opt, &value, &err), wanted);
    assert_non_null(strstr(err.msg, "layer 2 (halves): "));
    assert_memory_equal(before, net->weights, net->n_params * sizeof *before);
    assert_int_equal(net->step, 1);
    assert_int_equal(opt->t, 1);
    assert_int_equal(w.backwards, backwards); /* nobody is asked any more */
    assert_null(net->fault.running);
    const int forwards = w.forwards;
    lip_net_forward(net, x, B, false);
    assert_int_equal(w.forwards, forwards);
    assert_true(isnan(net->logits[0]));
    lip_net_forgive(net);
    w.fail = LIP_OK;
    w.nan = false;
  }
  assert_int_equal(lip_net_fault(net, &err), LIP_OK);
  assert_int_equal(lip_net_step(net, x, &t, B, &loss, opt, &value, &err), LIP_OK);
  assert_true(memcmp(before, net->weights, net->n_params * sizeof *before) != 0);
  lip_free(before);
  lip_optim_free(opt);
  lip_conf_free(&sgd->desc, conf);
  lip_conf_free(&kind->desc, loss.conf);
  lip_net_free(net);
}

static void constants(void **state) {
  (void)state;
  lip_err err;
  char place[80];
  world w = {0};
  lip_custom c = make(&w);
  lip_net *net = net_of(&c, NULL);
  lip_layer *l = net->root->child[1];
  double k;
  assert_int_equal(lip_layer_bound(l, (lip_pq){LIP_PINF, LIP_PINF}, &k, &err), LIP_OK);
  assert_true(k == 2); /* gains 0.5 and 1 */
  assert_int_equal(lip_layer_bound(l, (lip_pq){LIP_P2, LIP_PINF}, &k, &err), LIP_OK);
  assert_true(isinf(k)); /* NaN is no constant */
  l->param[0].value[1] = -3;
  assert_int_equal(lip_layer_bound(l, (lip_pq){LIP_PINF, LIP_PINF}, &k, &err), LIP_OK);
  assert_true(k == 6);
  lip_deviation d = {10, 0.5};
  lip_layer_deviate(l, (lip_pq){LIP_PINF, LIP_PINF}, &d);
  assert_true(d.size >= 60 && d.size < 60.001); /* f(0) = 0 */
  assert_true(d.off >= 3 + 10.5 * 0x1p-20 && d.off < 3.0001);
  d = (lip_deviation){10, 0.5};
  lip_layer_deviate(l, (lip_pq){LIP_P1, LIP_P1}, &d);
  assert_true(isinf(d.off));
  assert_ptr_equal(lip_custom_assumed(net->root, 0), l);
  assert_null(lip_custom_assumed(net->root, 1));
  assert_null(lip_custom_unrounded(net->root));
  assert_true(lip_layer_place(net->root, l, place, sizeof place));
  assert_string_equal(place, "layer 2 (halves)");
  assert_false(lip_layer_place(net->root, net->root, place, sizeof place));
  w.fail = LIP_STATE; /* what does not answer counts as infinite */
  d = (lip_deviation){10, 0.5};
  lip_layer_deviate(l, (lip_pq){LIP_PINF, LIP_PINF}, &d);
  assert_true(isinf(d.off));
  assert_int_equal(lip_net_fault(net, &err), LIP_STATE);
  lip_net_free(net);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(specs_are_counted), cmocka_unit_test(passes_are_whole),
                                     cmocka_unit_test(gradients), cmocka_unit_test(faults),
                                     cmocka_unit_test(constants)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
