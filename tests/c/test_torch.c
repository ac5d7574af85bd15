/* Arrays in and modules out: every allocation that fails leaves the net, and the memory, as they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/exchange/npz.h"
#include "core/exchange/torch.h"

static char folder[] = "/tmp/lipwb-torch-XXXXXX";

static char *in_folder(const char *name) {
  static char path[2][128];
  static int turn;
  turn = !turn;
  snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
  return path[turn];
}

static lip_spec *spec(const char *kind, size_t out) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  assert_non_null(s);
  if (out) assert_int_equal(lip_conf_set_number(&s->kind->desc, s->conf, "out", (double)out, NULL), LIP_OK);
  return s;
}

/* 3 -> 4 -> 4 -> 2 with sorting between. */
static lip_net *make_net(uint64_t seed) {
  lip_net_conf conf = {.input = {1, {3}}, .budget = 2, .seed = seed};
  lip_spec *specs[] = {spec("dense", 4), spec("maxmin", 0), spec("dense", 4), spec("sigmoid", 0),
                       spec("dense", 2)};
  lip_net *net;
  lip_err err;
  assert_int_equal(lip_path_parse("2", &conf.path, &err), LIP_OK);
  assert_int_equal(lip_net_new(&conf, specs, 5, NULL, &net, &err), LIP_OK);
  for (size_t i = 0; i < 5; i++) lip_spec_free(specs[i]);
  return net;
}

static lip_status load(const char *path, lip_net *net, lip_err *err) {
  lip_tensors *file;
  lip_torch t = {0};
  lip_str why = {0};
  lip_status status = lip_tensors_open(path, &file, err);
  if (status) return status;
  status = lip_torch_init(&t, file, path, net, err);
  if (!status) status = lip_torch_pair_in_order(&t, err);
  if (!status && !lip_torch_whole(&t, &why)) status = lip_fail(err, LIP_MEMORY, "only a list can be missing");
  if (!status) status = lip_torch_fill(&t, err);
  lip_str_free(&why);
  lip_torch_free(&t);
  lip_tensors_close(file);
  return status;
}

static lip_status write_torch(const char *path, const lip_net *net, lip_err *err) {
  static const lip_pair meta[] = {{"format", "pt"}, {"writer", "lipwb test"}, {"note", "line\nbreak"}};
  return lip_torch_write(path, net, meta, sizeof meta / sizeof *meta, err);
}

static void test_there_and_back(void **state) {
  (void)state;
  lip_net *a = make_net(1), *b = make_net(2);
  lip_err err;
  assert_int_equal(write_torch(in_folder("net.py"), a, &err), LIP_OK);
  assert_memory_not_equal(a->weights, b->weights, a->n_params * sizeof(float));
  assert_int_equal(load(in_folder("net.safetensors"), b, &err), LIP_OK);
  assert_memory_equal(a->weights, b->weights, a->n_params * sizeof(float));
  lip_net_free(a);
  lip_net_free(b);
}

static void check_failures_of(lip_status (*write)(const char *, const lip_net *, lip_err *), const char *name,
                              const lip_net *net) {
  size_t n = 1;
  for (bool failed = true; failed; n++) {
    lip_err err;
    const size_t used = lip_mem_used();
    unlink(in_folder(name));
    lip_mem_fail_nth(n);
    const lip_status status = write(in_folder(name), net, &err);
    failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(lip_mem_used(), used);
    assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
    assert_int_equal(access(in_folder(name), F_OK), failed ? -1 : 0);
  }
  assert_true(n > 5);
}

static void test_every_allocation_may_fail(void **state) {
  (void)state;
  lip_net *a = make_net(1), *b = make_net(2);
  const size_t bytes = b->n_params * sizeof(float);
  lip_err err;
  lip_status status;
  assert_int_equal(write_torch(in_folder("net.py"), a, &err), LIP_OK);
  float *before = malloc(bytes);
  assert_non_null(before);
  memcpy(before, b->weights, bytes);
  size_t n = 1;
  for (bool failed = true; failed; n++) {
    const size_t used = lip_mem_used();
    lip_mem_fail_nth(n);
    status = load(in_folder("net.safetensors"), b, &err);
    failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(lip_mem_used(), used);
    assert_int_equal(status, failed ? LIP_MEMORY : LIP_OK);
    if (failed) assert_memory_equal(b->weights, before, bytes);
  }
  assert_true(n > 10);
  check_failures_of(write_torch, "net.py", a);
  check_failures_of(lip_npz_write, "net.npz", a);
  free(before);
  lip_net_free(a);
  lip_net_free(b);
}

static void test_order_of_names(void **state) {
  (void)state;
  static const char *const sorted[] = {"",
                                       "0.weight",
                                       "2.bias",
                                       "2.weight",
                                       "10.bias",
                                       "a",
                                       "a.00009",
                                       "a.9",
                                       "a.10",
                                       "a.10.b2",
                                       "a.10.b10",
                                       "b",
                                       "b99999999999999999999",
                                       "b100000000000000000000"};
  const size_t n = sizeof sorted / sizeof *sorted;
  bool by_number;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < n; k++) {
      const int d = lip_name_order(sorted[i], sorted[k], &by_number);
      assert_true(i < k ? d < 0 : i > k ? d > 0 : d == 0);
    }
  lip_name_order("a.9", "a.10", &by_number);
  assert_true(by_number);
  lip_name_order("fc1.weight", "fd0.weight", &by_number);
  assert_false(by_number);
  lip_name_order("a.9", "a.09", &by_number);
  assert_false(by_number);
}

static int set_up(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  unlink(in_folder("net.npz"));
  unlink(in_folder("net.py"));
  unlink(in_folder("net.safetensors"));
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_there_and_back),
                                     cmocka_unit_test(test_every_allocation_may_fail),
                                     cmocka_unit_test(test_order_of_names)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
