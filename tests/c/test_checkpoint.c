/* io: checkpoints saved, read back, resumed, damaged and starved. Specs as JSON: test_spec_json.c. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/io/checkpoint.h"
#include "core/io/json.h"
#include "core/io/params.h"
#include "core/io/safetensors.h"
#include "core/io/spec_json.h"
#include "core/net/loss.h"
#include "core/net/net.h"
#include "core/net/optim.h"
#include "support_files.h"

enum { IN = 5, HIDDEN = 7, OUT = 3, B = 16 };

static lip_spec *layer(const char *kind, double out) {
  lip_err err;
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  assert_non_null(s);
  if (out > 0 && lip_conf_set_number(&s->kind->desc, s->conf, "out", out, &err)) fail_msg("%s", err.msg);
  return s;
}

static lip_project_method method = LIP_ROWWISE; /* of the nets below */

/* dense(7), relu, chain { relu, dense(7) }, dense(3) */
static lip_net *make_net(const char *norm, double budget, uint64_t seed) {
  lip_net_conf conf = {.input = {1, {IN, 0, 0}},
                       .budget = budget,
                       .method = method,
                       .project_every = 1,
                       .init = LIP_INIT_HE,
                       .seed = seed};
  lip_err err;
  lip_net *net = NULL;
  if (lip_path_parse(norm, &conf.path, &err)) fail_msg("%s", err.msg);
  lip_spec *inner = layer("chain", 0);
  assert_int_equal(lip_spec_add(inner, layer("relu", 0), &err), LIP_OK);
  assert_int_equal(lip_spec_add(inner, layer("dense", HIDDEN), &err), LIP_OK);
  lip_spec *specs[] = {layer("dense", HIDDEN), layer("relu", 0), inner, layer("dense", OUT)};
  if (lip_net_new(&conf, specs, 4, NULL, &net, &err)) fail_msg("%s", err.msg);
  for (size_t i = 0; i < 4; i++) lip_spec_free(specs[i]);
  return net;
}

static lip_optim *make_optim(const char *kind) {
  lip_err err;
  lip_optim *opt;
  const lip_optim_kind *k = lip_optim_kind_find(kind);
  assert_non_null(k);
  if (lip_optim_new(k, NULL, &opt, &err)) fail_msg("%s", err.msg);
  opt->lr = 0.01;
  return opt;
}

/* Steps `from` .. `to` - 1 of one fixed run. */
static void train(lip_net *net, lip_optim *opt, uint64_t from, uint64_t to) {
  const lip_loss_kind *kind = lip_loss_kind_find("cross_entropy");
  lip_loss loss = {kind, lip_conf_new(&kind->desc)};
  lip_err err;
  assert_int_equal(lip_net_reserve(net, B, &err), LIP_OK);
  for (uint64_t s = from; s < to; s++) {
    float x[B * IN];
    int32_t labels[B];
    double value;
    lip_rng rng = lip_rng_new(77, LIP_RNG_USER, s);
    lip_rng_fill_normal(&rng, x, B * IN, 0, 1);
    for (int i = 0; i < B; i++) labels[i] = (int32_t)lip_rng_below(&rng, OUT);
    lip_targets t = {LIP_TARGET_LABELS, labels, NULL};
    if (lip_net_step(net, x, &t, B, &loss, opt, &value, &err)) fail_msg("%s", err.msg);
  }
  lip_conf_free(&kind->desc, loss.conf);
}

static void assert_same_weights(const lip_net *a, const lip_net *b) {
  assert_int_equal(a->n_params, b->n_params);
  assert_memory_equal(a->weights, b->weights, a->n_params * sizeof(float));
}

/* ---- saving and loading ---- */

static const char *const extra[] = {"bound", "3.5", "bound_method", "product", NULL};

static void everything_comes_back(void **state) {
  char path[300];
  lip_err err;
  in_dir(path, sizeof path, *state, "net");
  lip_net *net = make_net("inf", INFINITY, UINT64_MAX), *back;
  lip_optim *opt = make_optim("adam"), *opt_back;
  char text[] = "{\"best\":0.5}";
  lip_progress progress = {true, 7, 2, (uint64_t)1 << 40, UINT64_MAX - 3, text, true}, progress_back;
  train(net, opt, 0, 7);
  opt->lr = 0.1 + 0.2; /* not a short decimal */
  opt->clip_norm = 2.5;
  assert_int_equal(lip_checkpoint_save(path, net, opt, &progress, extra, &err), LIP_OK);
  if (lip_checkpoint_load(path, NULL, &back, &opt_back, &progress_back, &err)) fail_msg("%s", err.msg);
  assert_same_weights(net, back);
  assert_int_equal(back->step, 7);
  assert_true(back->conf.budget == INFINITY && back->conf.seed == UINT64_MAX &&
              back->plan.seed == UINT64_MAX);
  assert_int_equal(back->conf.method, LIP_ROWWISE);
  assert_int_equal(back->conf.init, LIP_INIT_HE);
  assert_int_equal(back->plan.init, LIP_INIT_HE);
  assert_int_equal(back->conf.project_every, 1);
  assert_ptr_equal(opt_back->kind, opt->kind);
  assert_true(opt_back->lr == opt->lr && opt_back->clip_norm == 2.5 && opt_back->t == opt->t);
  assert_memory_equal(opt_back->state, opt->state, opt->kind->slots * opt->n * sizeof(float));
  assert_true(progress_back.present && progress_back.step == 7 && progress_back.epoch == 2);
  assert_true(progress_back.next == progress.next && progress_back.seed == progress.seed);
  assert_string_equal(progress_back.text, text);
  lip_progress_free(&progress_back);
  lip_net_free(back);
  lip_optim_free(opt_back);
  /* without being asked for, and without being there */
  assert_int_equal(lip_checkpoint_load(path, NULL, &back, NULL, NULL, &err), LIP_OK);
  assert_same_weights(net, back);
  lip_net_free(back);
  assert_int_equal(lip_checkpoint_save(path, net, NULL, NULL, NULL, &err), LIP_OK);
  assert_int_equal(lip_checkpoint_load(path, NULL, &back, &opt_back, &progress_back, &err), LIP_OK);
  assert_null(opt_back);
  assert_false(progress_back.present);
  lip_net_free(back);
  lip_net_free(net);
  lip_optim_free(opt);
}

static void names_can_be_read(void **state) {
  char path[300];
  lip_err err;
  lip_safetensors *f;
  in_dir(path, sizeof path, *state, "net");
  lip_net *net = make_net("1->inf", 4, 1);
  lip_optim *opt = make_optim("adam");
  train(net, opt, 0, 1);
  assert_int_equal(lip_checkpoint_save(path, net, opt, NULL, extra, &err), LIP_OK);
  assert_int_equal(lip_safetensors_open(path, &f, &err), LIP_OK);
  static const char *const names[] = {
      "1.dense.weight", "1.dense.bias",         "3.chain.2.dense.weight", "4.dense.weight",
      "4.dense.bias",   "3.chain.2.dense.bias", "optim.0.1.dense.weight", "optim.1.3.chain.2.dense.bias"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!lip_safetensors_find(f, names[i])) fail_msg("no array %s", names[i]);
  assert_string_equal(lip_safetensors_meta(f, "format"), "lipwb");
  assert_string_equal(lip_safetensors_meta(f, "bound"), "3.5");
  assert_non_null(strstr(lip_safetensors_meta(f, "net"), "\"norm\":\"1->inf\""));
  assert_non_null(strstr(lip_safetensors_meta(f, "net"), "\"budget\":4"));
  lip_safetensors_close(f);
  lip_net_free(net);
  lip_optim_free(opt);
}

/* A run that is put away and continued at every possible step ends with the bits of one that was not. */
static void resumed(const char *dir, const char *norm, double budget, const char *kind) {
  enum { STEPS = 9 };
  char path[300];
  lip_err err;
  in_dir(path, sizeof path, dir, "net");
  lip_net *whole = make_net(norm, budget, 3);
  lip_optim *whole_opt = make_optim(kind);
  train(whole, whole_opt, 0, STEPS);
  for (uint64_t stop = 0; stop <= STEPS; stop++) {
    lip_net *net = make_net(norm, budget, 3), *back;
    lip_optim *opt = make_optim(kind), *opt_back;
    train(net, opt, 0, stop);
    assert_int_equal(lip_checkpoint_save(path, net, opt, NULL, NULL, &err), LIP_OK);
    lip_net_free(net);
    lip_optim_free(opt);
    if (lip_checkpoint_load(path, NULL, &back, &opt_back, NULL, &err)) fail_msg("%s", err.msg);
    train(back, opt_back, stop, STEPS);
    assert_same_weights(whole, back);
    assert_memory_equal(whole_opt->state, opt_back->state,
                        whole_opt->kind->slots * whole_opt->n * sizeof(float));
    lip_net_free(back);
    lip_optim_free(opt_back);
  }
  lip_net_free(whole);
  lip_optim_free(whole_opt);
}

static void resuming_gives_the_same_bits(void **state) {
  for (size_t i = 0; lip_optim_kind_at(i); i++)
    for (int m = 0; m < LIP_PROJECT_METHODS; m++) {
      const char *kind = lip_optim_kind_at(i)->desc.name;
      method = (lip_project_method)m;
      resumed(*state, "inf", 0.8, kind);
      resumed(*state, "2", 0.8, kind);
      resumed(*state, "1", 0.8, kind);
      resumed(*state, "1->inf", INFINITY, kind);
    }
  method = LIP_ROWWISE;
}

static void refusals_name_the_fault(void **state) {
  char path[300];
  lip_err err;
  in_dir(path, sizeof path, *state, "net");
  lip_net *net = make_net("inf", 4, 1), *other = make_net("inf", 4, 1);
  lip_optim *opt = make_optim("adam");
  net->root->child[2]->child[1]->param[0].value[4] = NAN;
  assert_int_equal(lip_checkpoint_save(path, net, NULL, NULL, NULL, &err), LIP_NOT_FINITE);
  assert_non_null(strstr(err.msg, "3.chain.2.dense.weight[4]"));
  assert_int_equal(access(path, F_OK), -1);
  assert_int_equal(lip_optim_reserve(opt, 16, &err), LIP_OK);
  assert_int_equal(lip_checkpoint_save(path, other, opt, NULL, NULL, &err), LIP_STATE);
  const char *const clash[] = {"format", "mine", NULL};
  assert_int_equal(lip_checkpoint_save(path, other, NULL, NULL, clash, &err), LIP_ARGUMENT);
  in_dir(path, sizeof path, *state, "nowhere/net");
  assert_int_equal(lip_checkpoint_save(path, other, NULL, NULL, NULL, &err), LIP_NOT_FOUND);
  lip_net *back = other;
  assert_int_equal(lip_checkpoint_load(path, NULL, &back, NULL, NULL, &err), LIP_NOT_FOUND);
  assert_null(back);
  assert_int_equal(files_in(*state), 0);
  lip_net_free(net);
  lip_net_free(other);
  lip_optim_free(opt);
}

/* ---- damage ---- */

static unsigned char *sample(const char *dir, size_t *size) {
  char path[300];
  lip_err err;
  in_dir(path, sizeof path, dir, "good");
  lip_net *net = make_net("inf", 4, 1);
  lip_optim *opt = make_optim("sgd");
  char text[] = "text";
  lip_progress progress = {true, 2, 0, 32, 1, text, true};
  train(net, opt, 0, 2);
  assert_int_equal(lip_checkpoint_save(path, net, opt, &progress, extra, &err), LIP_OK);
  lip_net_free(net);
  lip_optim_free(opt);
  return read_file(path, size);
}

/* Loads a damaged file: refused with a message, or (a flipped bit of a weight) a whole net. */
static lip_status load_hurt(const char *path, const unsigned char *bytes, size_t n) {
  lip_err err = {LIP_OK, ""};
  lip_net *net;
  lip_optim *opt;
  lip_progress progress;
  write_file(path, bytes, n);
  size_t before = lip_mem_used();
  lip_status status = lip_checkpoint_load(path, NULL, &net, &opt, &progress, &err);
  assert_true((net != NULL) == (status == LIP_OK));
  if (status) {
    assert_true(opt == NULL && !progress.present && err.msg[0] != '\0' && err.code == status);
    assert_true(status == LIP_FORMAT || status == LIP_MEMORY);
  } else {
    for (size_t i = 0; i < net->n_params; i++) assert_true(isfinite(net->weights[i]));
  }
  lip_net_free(net);
  lip_optim_free(opt);
  lip_progress_free(&progress);
  assert_int_equal(lip_mem_used(), before);
  return status;
}

static void every_prefix_is_refused(void **state) {
  char path[300];
  size_t size;
  in_dir(path, sizeof path, *state, "hurt");
  unsigned char *good = sample(*state, &size);
  assert_int_equal(load_hurt(path, good, size), LIP_OK);
  for (size_t n = 0; n < size; n++) assert_int_equal(load_hurt(path, good, n), LIP_FORMAT);
  free(good);
}

static void random_damage_is_harmless(void **state) {
  char path[300];
  size_t size, refused = 0;
  in_dir(path, sizeof path, *state, "hurt");
  unsigned char *good = sample(*state, &size), *bad = malloc(size);
  assert_non_null(bad);
  size_t header = 8 + ((size_t)good[0] | (size_t)good[1] << 8);
  lip_rng rng = lip_rng_new(4, LIP_RNG_USER, 0);
  for (int i = 0; i < 3000; i++) {
    memcpy(bad, good, size);
    uint64_t changes = 1 + lip_rng_below(&rng, 3);
    for (uint64_t k = 0; k < changes; k++) {
      /* mostly in the header, where the claims are; digits become other digits often enough to matter */
      size_t at = (size_t)lip_rng_below(&rng, i % 4 ? header : size);
      unsigned char old = bad[at];
      bad[at] = old >= '0' && old <= '9' ? (unsigned char)('0' + lip_rng_below(&rng, 10))
                                         : (unsigned char)lip_rng_below(&rng, 256);
    }
    refused += load_hurt(path, bad, size) != LIP_OK;
  }
  assert_true(refused > 1000);
  free(bad);
  free(good);
}

/* Replaces the first `from` in the header by `to` of the same length. */
static lip_status load_edited(const char *dir, const char *from, const char *to) {
  char path[300];
  size_t size, n = strlen(from), at = 0;
  assert_int_equal(n, strlen(to));
  in_dir(path, sizeof path, dir, "hurt");
  unsigned char *bytes = sample(dir, &size);
  while (at + n <= size && memcmp(bytes + at, from, n) != 0) at++;
  if (at + n > size) fail_msg("'%s' is not in the file", from);
  memcpy(bytes + at, to, n);
  lip_status status = load_hurt(path, bytes, size);
  free(bytes);
  return status;
}

static void claims_are_checked(void **state) {
  static const char *const edits[][2] = {
      {"\"format\":\"lipwb\"", "\"format\":\"other\""},
      {"\"format_version\":\"1\"", "\"format_version\":\"2\""},
      {"\\\"out\\\":7", "\\\"out\\\":9"},
      {"\\\"budget\\\":4", "\\\"budget\\\":0"},
      {"\\\"norm\\\":\\\"inf\\\"", "\\\"norm\\\":\\\"int\\\""},
      {"\\\"input\\\":[5]", "\\\"input\\\":[6]"},
      {"\\\"kind\\\":\\\"relu\\\"", "\\\"kind\\\":\\\"rely\\\""},
      {"\\\"kind\\\":\\\"sgd\\\"", "\\\"kind\\\":\\\"sgx\\\""},
      {"\"step\":\"2\"", "\"step\":\"x\""},
      {"\"optim\":", "\"optin\":"},
      {"\"1.dense.bias\":", "\"1.dense.bits\":"},
      {"\"shape\":[7,5]", "\"shape\":[5,7]"},
      {"\"dtype\":\"F32\"", "\"dtype\":\"F64\""},
  };
  for (size_t i = 0; i < sizeof edits / sizeof *edits; i++)
    if (load_edited(*state, edits[i][0], edits[i][1]) != LIP_FORMAT) fail_msg("%s was accepted", edits[i][1]);
  assert_int_equal(load_edited(*state, "\"bound\":\"3.5\"", "\"bound\":\"0.0\""), LIP_OK); /* not trusted */
}

/* A spec that asks for 2^24 outputs is refused by comparing shapes, not by running out of memory. */
static void impossible_specs_take_no_memory(void **state) {
  static const char *const layers[] = {
      "[{\"kind\":\"dense\",\"options\":{\"out\":16777216}}]",
      "[{\"kind\":\"dense\",\"options\":{\"out\":16777216}},{\"kind\":\"dense\",\"options\":{\"out\":"
      "16777216}}]",
  };
  char path[300];
  lip_err err;
  in_dir(path, sizeof path, *state, "made");
  for (size_t i = 0; i < 2; i++) {
    const lip_pair meta[] = {
        {"format", "lipwb"},
        {"format_version", "1"},
        {"step", "0"},
        {"layers", layers[i]},
        {"net", "{\"input\":[1048576],\"norm\":\"inf\",\"budget\":1,\"layer_budgets\":[],\"projection\":"
                "\"euclidean\",\"project_every\":1,\"init\":\"orthogonal\",\"seed\":\"1\"}"},
    };
    const float one[1] = {1};
    const lip_array a = {.name = "1.dense.weight", .ndim = 1, .shape = {1}, .data = one};
    assert_int_equal(lip_safetensors_save(path, &a, 1, meta, 5, &err), LIP_OK);
    lip_net *net;
    assert_int_equal(lip_checkpoint_load(path, NULL, &net, NULL, NULL, &err), LIP_FORMAT);
    assert_null(net);
    assert_non_null(strstr(err.msg, "1.dense.weight"));
  }
}

static void non_finite_weights_are_refused(void **state) {
  char path[300];
  size_t size;
  in_dir(path, sizeof path, *state, "hurt");
  unsigned char *bytes = sample(*state, &size);
  const float bad[] = {NAN, INFINITY, -INFINITY};
  size_t start = 8 + ((size_t)bytes[0] | (size_t)bytes[1] << 8);
  for (size_t i = 0; i < 3; i++) {
    float old;
    memcpy(&old, bytes + start + 8, 4);
    memcpy(bytes + start + 8, &bad[i], 4);
    assert_int_equal(load_hurt(path, bytes, size), LIP_FORMAT);
    lip_net *net;
    lip_err err;
    assert_int_equal(lip_checkpoint_load(path, NULL, &net, NULL, NULL, &err), LIP_FORMAT);
    assert_non_null(strstr(err.msg, "1.dense.weight"));
    memcpy(bytes + start + 8, &old, 4);
  }
  assert_int_equal(load_hurt(path, bytes, size), LIP_OK);
  free(bytes);
}

static void every_failed_allocation_is_survived(void **state) {
  char path[300];
  lip_err err;
  in_dir(path, sizeof path, *state, "net");
  lip_net *net = make_net("inf", 4, 1);
  lip_optim *opt = make_optim("adam");
  char text[] = "text";
  lip_progress progress = {true, 2, 0, 32, 1, text, true};
  train(net, opt, 0, 2);
  size_t before = lip_mem_used(), n = 0;
  for (bool done = false; !done;) {
    lip_net *back = NULL;
    lip_optim *opt_back = NULL;
    lip_progress progress_back = {0};
    write_file(path, "old", 3);
    lip_mem_fail_nth(++n);
    lip_status status = lip_checkpoint_save(path, net, opt, &progress, extra, &err);
    if (status) assert_file(path, "old", 3);
    if (!status) status = lip_checkpoint_load(path, NULL, &back, &opt_back, &progress_back, &err);
    done = !lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(status, done ? LIP_OK : LIP_MEMORY);
    assert_true((back != NULL) == done);
    lip_net_free(back);
    lip_optim_free(opt_back);
    lip_progress_free(&progress_back);
    assert_int_equal(lip_mem_used(), before);
    assert_int_equal(files_in(*state), 1);
  }
  assert_true(n > 200);
  lip_net_free(net);
  lip_optim_free(opt);
}

static void full_disk_keeps_the_old_checkpoint(void **state) {
  char path[300];
  size_t size;
  lip_err err;
  struct rlimit old, low;
  in_dir(path, sizeof path, *state, "good");
  unsigned char *good = sample(*state, &size);
  lip_net *net = make_net("inf", 4, 9);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
  low = old;
  low.rlim_cur = 1000;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
  lip_status status = lip_checkpoint_save(path, net, NULL, NULL, NULL, &err);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, handler);
  assert_int_equal(status, LIP_IO);
  assert_file(path, good, size);
  assert_int_equal(files_in(*state), 1);
  free(good);
  lip_net_free(net);
}

int main(void) {
#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
  const struct CMUnitTest tests[] = {
      IN_DIR(everything_comes_back),
      IN_DIR(names_can_be_read),
      IN_DIR(resuming_gives_the_same_bits),
      IN_DIR(refusals_name_the_fault),
      IN_DIR(every_prefix_is_refused),
      IN_DIR(random_damage_is_harmless),
      IN_DIR(claims_are_checked),
      IN_DIR(impossible_specs_take_no_memory),
      IN_DIR(non_finite_weights_are_refused),
      IN_DIR(every_failed_allocation_is_survived),
      IN_DIR(full_disk_keeps_the_old_checkpoint),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
