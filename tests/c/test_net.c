/* Nets in C: every status code reached on purpose, every allocation failed in turn, no allocation inside a step, the
 * gradient of a whole net with containers against central differences. */
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include <cmocka.h>

#include "core/lip.h"

static lip_spec *spec(const char *kind, const char *option, double v) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  if (s && option && lip_conf_set_number(&s->kind->desc, s->conf, option, v, NULL)) {
    lip_spec_free(s);
    return NULL;
  }
  return s;
}

/* dense 6, maxmin, residual(dense 6, relu), dense 3 on 4 inputs. */
static lip_status make(lip_net **net, const lip_engine *engine, double budget, lip_err *err) {
  enum { LAYERS = 4 };
  lip_spec *layers[LAYERS] = {spec("dense", "out", 6), spec("maxmin", NULL, 0), spec("residual", NULL, 0),
                              spec("dense", "out", 3)};
  lip_spec *inner[2] = {spec("dense", "out", 6), spec("relu", NULL, 0)};
  lip_status status = LIP_OK;
  *net = NULL;
  for (int i = 0; i < LAYERS; i++) status = layers[i] ? status : LIP_MEMORY;
  for (int i = 0; i < 2; i++) {
    if (!inner[i] || !layers[2] || lip_spec_add(layers[2], inner[i], err)) {
      lip_spec_free(inner[i]);
      status = LIP_MEMORY;
    }
  }
  if (!status) {
    lip_net_conf conf = {.input = {1, {4, 0, 0}}, .budget = budget, .project_every = 1, .seed = 3};
    status = lip_path_parse("inf", &conf.path, err);
    if (!status) status = lip_net_new(&conf, layers, LAYERS, engine, net, err);
  }
  for (int i = 0; i < LAYERS; i++) lip_spec_free(layers[i]);
  return status;
}

static lip_net *made(double budget) {
  lip_net *net;
  assert_int_equal(make(&net, NULL, budget, NULL), LIP_OK);
  return net;
}

static const float rows[8] = {0.1f, 0.9f, 0.4f, 0.3f, 0.8f, 0.2f, 0.7f, 0.5f};
static const int32_t labels[2] = {2, 0};
static const lip_targets targets = {LIP_TARGET_LABELS, labels, NULL};

static lip_loss new_loss(void) {
  const lip_loss_kind *kind = lip_loss_kind_find("cross_entropy");
  lip_loss loss = {kind, lip_conf_new(&kind->desc)};
  return loss;
}

static void free_loss(lip_loss *loss) {
  lip_conf_free(&loss->kind->desc, loss->conf);
}

/* ---- every status code ---- */

static lip_status reach(lip_status code, lip_err *err) {
  lip_status got = LIP_OK;
  lip_cancel cancel = {0};
  lip_engine engine = {.cancel = &cancel};
  lip_net *net = NULL;
  lip_optim *opt = NULL;
  lip_loss loss = new_loss();
  lip_path path;
  lip_tensor t;
  double value;
  float bad[8];
  memcpy(bad, rows, sizeof bad);
  bad[3] = NAN;
  assert_int_equal(make(&net, &engine, 2, NULL), LIP_OK);
  assert_int_equal(lip_optim_new(lip_optim_kind_find("adam"), NULL, &opt, NULL), LIP_OK);
  switch (code) {
  case LIP_OK: got = lip_net_step(net, rows, &targets, 2, &loss, opt, &value, err); break;
  case LIP_ARGUMENT: got = lip_pool_new(LIP_MAX_THREADS + 1, err) ? LIP_OK : err->code; break;
  case LIP_SHAPE: got = lip_tensor_init(&t, 5, NULL, err); break;
  case LIP_OPTION: got = lip_conf_set_number(&opt->kind->desc, opt->conf, "lr", NAN, err); break;
  case LIP_UNSUPPORTED: got = lip_path_parse("inf->1", &path, err); break;
  case LIP_MEMORY:
    lip_mem_fail_nth(1);
    got = lip_net_reserve(net, 1000, err);
    lip_mem_fail_nth(0);
    break;
  case LIP_IO: got = lip_checkpoint_save("/dev/null/no/such", net, NULL, NULL, NULL, err); break;
  case LIP_NOT_FOUND: {
    lip_net *other = NULL;
    got = lip_checkpoint_load("/no/such/file", NULL, &other, NULL, NULL, err);
    break;
  }
  case LIP_FORMAT: {
    lip_net *other = NULL;
    got = lip_checkpoint_load(LIP_SOURCE_DIR "/CMakeLists.txt", NULL, &other, NULL, NULL, err);
    break;
  }
  case LIP_CANCELLED:
    lip_cancel_raise(&cancel);
    got = lip_net_step(net, rows, &targets, 2, &loss, opt, &value, err);
    break;
  case LIP_NOT_FINITE: got = lip_net_step(net, bad, &targets, 2, &loss, opt, &value, err); break;
  case LIP_STATE: got = lip_net_backward(net, bad, false, false, err); break;
  case LIP_STATUS_COUNT: break;
  }
  free_loss(&loss);
  lip_optim_free(opt);
  lip_net_free(net);
  return got;
}

static void every_status_code_is_reached(void **state) {
  (void)state;
  for (int code = 0; code < LIP_STATUS_COUNT; code++) {
    lip_err err = {LIP_OK, ""};
    assert_int_equal(reach((lip_status)code, &err), code);
    assert_int_equal(err.code, code);
    if (code != LIP_OK) assert_true(strlen(err.msg) > 10);
  }
}

/* ---- allocations ---- */

/* Everything a training run does, stopping at the first failure; nothing may leak. */
static lip_status train_once(void) {
  lip_net *net = NULL;
  lip_optim *opt = NULL;
  lip_loss loss = new_loss();
  lip_bound bound = {0};
  lip_certifier *certifier = NULL;
  double value;
  lip_status status = loss.conf ? LIP_OK : LIP_MEMORY;
  if (!status) status = make(&net, NULL, 2, NULL);
  if (!status) status = lip_optim_new(lip_optim_kind_find("adam"), NULL, &opt, NULL);
  if (!status) status = lip_net_step(net, rows, &targets, 2, &loss, opt, &value, NULL);
  if (!status) status = lip_net_project_exact(net, NULL);
  if (!status) status = lip_bound_product(net, &bound, NULL);
  if (!status) status = lip_certifier_new(net, NULL, &certifier, NULL);
  lip_certifier_free(certifier);
  lip_bound_free(&bound);
  lip_optim_free(opt);
  lip_net_free(net);
  if (loss.conf) free_loss(&loss);
  return status;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  size_t before = lip_mem_used(), failures = 0;
  for (size_t n = 1;; n++) {
    lip_mem_fail_nth(n);
    lip_status status = train_once();
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(lip_mem_used(), before);
    if (!failed) {
      assert_int_equal(status, LIP_OK);
      break;
    }
    /* a few allocations are spare (a bound may then be infinite, which is an answer) */
    if (status != LIP_OK) assert_int_equal(status, LIP_MEMORY), failures++;
  }
  assert_true(failures > 30);
}

static void a_step_does_not_allocate(void **state) {
  (void)state;
  lip_net *net = made(2);
  lip_optim *opt;
  lip_loss loss = new_loss();
  double value;
  assert_int_equal(lip_optim_new(lip_optim_kind_find("adam"), NULL, &opt, NULL), LIP_OK);
  assert_int_equal(lip_net_step(net, rows, &targets, 2, &loss, opt, &value, NULL), LIP_OK);
  size_t count = lip_mem_count();
  for (int i = 0; i < 10; i++)
    assert_int_equal(lip_net_step(net, rows, &targets, 2, &loss, opt, &value, NULL), LIP_OK);
  assert_int_equal(lip_mem_count(), count);
  free_loss(&loss);
  lip_optim_free(opt);
  lip_net_free(net);
}

/* ---- gradient of a whole net ---- */

static double loss_at(lip_net *net, const lip_loss *loss) {
  lip_net_forward(net, rows, 2, true);
  return lip_net_loss(net, loss, &targets, 2, true);
}

/* Central differences of a float32 net: the step is wide, so only a plainly wrong gradient or a kink shows. */
static void gradient_agrees_with_differences(void **state) {
  (void)state;
  lip_net *net = made(INFINITY);
  lip_loss loss = new_loss();
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 0);
  lip_rng_fill_normal(&rng, net->weights, net->n_params, 0, 0.5f);
  assert_true(isfinite(loss_at(net, &loss)));
  assert_int_equal(lip_net_backward(net, net->dlogits, false, true, NULL), LIP_OK);
  size_t checked = 0, off = 0;
  for (size_t i = 0; i < net->n_leaf; i++)
    for (size_t k = 0; k < net->leaf[i]->n_param; k++) {
      lip_param *p = &net->leaf[i]->param[k];
      size_t n = p->ndim == 2 ? p->shape[0] * p->shape[1] : p->shape[0];
      for (size_t j = 0; j < n; j++) {
        const float h = 0x1p-9f, at = p->value[j];
        p->value[j] = at + h;
        double up = loss_at(net, &loss);
        p->value[j] = at - h;
        double down = loss_at(net, &loss);
        p->value[j] = at;
        checked++;
        off += fabs((up - down) / (2 * (double)h) - (double)p->grad[j]) > 2e-3;
      }
    }
  assert_true(checked == 4 * 6 + 6 + 6 * 6 + 6 + 6 * 3 + 3);
  assert_true(off <= 2); /* a step may cross a kink */
  free_loss(&loss);
  lip_net_free(net);
}

static void input_gradient_is_returned(void **state) {
  (void)state;
  lip_net *net = made(2);
  lip_loss loss = new_loss();
  loss_at(net, &loss);
  assert_int_equal(lip_net_backward(net, net->dlogits, false, true, NULL), LIP_OK);
  float x[8];
  memcpy(x, rows, sizeof x);
  for (int i = 0; i < 8; i++) {
    const float h = 0x1p-9f;
    x[i] = rows[i] + h;
    lip_net_forward(net, x, 2, false);
    double up = lip_net_loss(net, &loss, &targets, 2, false);
    x[i] = rows[i] - h;
    lip_net_forward(net, x, 2, false);
    double down = lip_net_loss(net, &loss, &targets, 2, false);
    x[i] = rows[i];
    assert_true(fabs((up - down) / (2 * (double)h) - (double)net->dinput[i]) < 2e-3);
  }
  free_loss(&loss);
  lip_net_free(net);
}

/* The gradient of the second logit with respect to rows. */
static void second_logit(void *arg, const lip_worker *me, size_t r0, size_t r1) {
  (void)me;
  const lip_net *net = arg;
  for (size_t r = r0; r < r1; r++)
    for (size_t c = 0; c < 3; c++) net->dlogits[r * 3 + c] = c == 1 ? 1 : 0;
}

/* A probe has the logits of a pass in use and the gradient of a backward pass, whatever was prepared before it, and
 * leaves the weights' gradients alone. */
static void a_probe_agrees_with_both_passes(void **state) {
  (void)state;
  lip_net *net = made(2);
  lip_loss loss = new_loss();
  lip_optim *opt = NULL;
  double value;
  assert_int_equal(lip_optim_new(lip_optim_kind_find("sgd"), NULL, &opt, NULL), LIP_OK);
  opt->lr = 0.3;
  const lip_probe probe = {{NULL, second_logit, net}, NULL};
  for (int before = 0; before < 4; before++) {
    if (before == 1)
      lip_net_forward(net, rows, 2, false); /* prepared without the first layer's input gradient */
    if (before >= 2) {
      assert_int_equal(lip_net_step(net, rows, &targets, 2, &loss, opt, &value, NULL), LIP_OK);
      if (before == 3) lip_net_probe(net, rows, 2, &probe);
    }
    if (before == 3) {
      for (size_t i = 0; i < net->n_params; i++) net->weights[i] *= -1.5f;
      lip_net_touch(net);
      lip_net_forward(net, rows, 2, false);
    }
    for (size_t i = 0; i < net->n_params; i++) net->grads[i] = (float)i;
    lip_net_probe(net, rows, 2, &probe);
    for (size_t i = 0; i < net->n_params; i++) assert_true(net->grads[i] == (float)i);
    assert_int_equal(lip_net_backward(net, net->dlogits, false, true, NULL), LIP_STATE);
    float dx[8], z[6], dz[6];
    memcpy(dx, net->dinput, sizeof dx);
    memcpy(z, net->logits, sizeof z);
    memcpy(dz, net->dlogits, sizeof dz);
    lip_net_forward(net, rows, 2, false);
    assert_memory_equal(z, net->logits, sizeof z);
    lip_net_forward(net, rows, 2, true);
    assert_int_equal(lip_net_backward(net, dz, false, true, NULL), LIP_OK);
    double size = 0;
    for (int i = 0; i < 8; i++) {
      assert_true(fabsf(dx[i] - net->dinput[i]) < 1e-6f);
      size += fabs((double)dx[i]);
    }
    assert_true(size > 0.01);
  }
  lip_optim_free(opt);
  free_loss(&loss);
  lip_net_free(net);
}

/* ---- floating-point mode ---- */

/* Rounding, traps, and where denormals go; not the sticky flags. */
static unsigned mode(void) {
#if defined(__SSE__)
  return _mm_getcsr() & ~0x3fu;
#else
  return (unsigned)fegetround();
#endif
}

/* Whatever the calling thread has set, it still has after every call that computes. */
static void the_callers_mode_is_left_alone(void **state) {
  (void)state;
  lip_loss loss = new_loss();
  for (int k = 0; k < 4; k++) {
    lip_net *net = made(2);
    lip_optim *opt;
    double value;
    lip_certifier *certifier;
    lip_radius radius[2];
    assert_int_equal(lip_optim_new(lip_optim_kind_find("adam"), NULL, &opt, NULL), LIP_OK);
    fesetround(k % 2 ? FE_UPWARD : FE_DOWNWARD);
#if defined(__SSE__)
    if (k / 2) _mm_setcsr(_mm_getcsr() | 0x8040u);
#endif
    unsigned before = mode();
    assert_int_equal(lip_net_step(net, rows, &targets, 2, &loss, opt, &value, NULL), LIP_OK);
    assert_int_equal(mode(), before);
    lip_net_forward(net, rows, 2, true);
    assert_int_equal(mode(), before);
    lip_net_loss(net, &loss, &targets, 2, true);
    assert_int_equal(lip_net_backward(net, net->dlogits, false, true, NULL), LIP_OK);
    assert_int_equal(mode(), before);
    assert_int_equal(lip_net_update(net, opt, NULL), LIP_OK);
    lip_net_project(net);
    assert_int_equal(lip_net_project_exact(net, NULL), LIP_OK);
    assert_int_equal(mode(), before);
    lip_net_forward(net, rows, 2, false);
    /* a thread that does not round to nearest gets no certificate; one that flushes denormals does */
    assert_int_equal(lip_certifier_new(net, NULL, &certifier, NULL), LIP_UNSUPPORTED);
    assert_int_equal(mode(), before);
    fesetround(FE_TONEAREST);
    before = mode();
    assert_int_equal(lip_certifier_new(net, NULL, &certifier, NULL), LIP_OK);
    assert_int_equal(lip_certify(certifier, rows, 2, radius, NULL), LIP_OK);
    assert_int_equal(mode(), before);
    fesetenv(FE_DFL_ENV);
    lip_certifier_free(certifier);
    lip_optim_free(opt);
    lip_net_free(net);
  }
  free_loss(&loss);
}

/* Working memory belongs to the net, not to each of its layers: 300 small ones in norm 2 take less than 12 MB. */
static void small_layers_take_little_memory(void **state) {
  (void)state;
  enum { LAYERS = 300 };
  size_t before = lip_mem_used();
  lip_spec *layers[LAYERS];
  for (int i = 0; i < LAYERS; i++) layers[i] = spec("dense", "out", 1);
  lip_net_conf conf = {.input = {1, {1, 0, 0}}, .budget = 1, .project_every = 1, .seed = 3};
  assert_int_equal(lip_path_parse("2", &conf.path, NULL), LIP_OK);
  lip_net *net;
  assert_int_equal(lip_net_new(&conf, layers, LAYERS, NULL, &net, NULL), LIP_OK);
  assert_true(lip_mem_used() - before < (size_t)12 << 20);
  lip_net_free(net);
  for (int i = 0; i < LAYERS; i++) lip_spec_free(layers[i]);
  assert_int_equal(lip_mem_used(), before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_layers_take_little_memory),  cmocka_unit_test(every_status_code_is_reached),
      cmocka_unit_test(every_allocation_may_fail),        cmocka_unit_test(a_step_does_not_allocate),
      cmocka_unit_test(gradient_agrees_with_differences), cmocka_unit_test(input_gradient_is_returned),
      cmocka_unit_test(the_callers_mode_is_left_alone),   cmocka_unit_test(a_probe_agrees_with_both_passes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
