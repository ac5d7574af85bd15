/* exchange: where the values of exported C stand, and what is left when memory runs out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/exchange/c_parts.h"

/* ---- plans ---- */

static const lip_emit_op ops[] = {LIP_EMIT_DENSE, LIP_EMIT_MAP,     LIP_EMIT_MOVE, LIP_EMIT_AFFINE,
                                  LIP_EMIT_SORT,  LIP_EMIT_RESHAPE, LIP_EMIT_SUM,  LIP_EMIT_JOIN};

/* Random steps over values that are there, of shapes that fit; `x` holds what each takes. */
static void random_steps(lip_emit *e, lip_emit_step *step, size_t (*x)[3], size_t n, lip_rng *rng) {
  step[0] = (lip_emit_step){.op = LIP_EMIT_INPUT, .out = {1, {1 + lip_rng_below(rng, 9)}}};
  for (size_t i = 1; i < n; i++) {
    lip_emit_step *s = &step[i];
    *s = (lip_emit_step){.op = ops[lip_rng_below(rng, sizeof ops / sizeof *ops)], .n_x = 1, .x = x[i]};
    x[i][0] = lip_rng_below(rng, i);
    s->out = step[x[i][0]].out;
    if (s->op == LIP_EMIT_DENSE || s->op == LIP_EMIT_MOVE) s->out.dim[0] = 1 + lip_rng_below(rng, 9);
    if (s->op == LIP_EMIT_JOIN) s->out.dim[0] *= s->n_x = 2, x[i][1] = x[i][0];
    for (size_t k = i; s->op == LIP_EMIT_SUM && k-- > 0 && s->n_x < 3;)
      if (step[k].out.dim[0] == s->out.dim[0]) x[i][s->n_x++] = k;
  }
  *e = (lip_emit){.n = n, .step = step, .out = n - 1};
}

/* Numbers of memory: the input, the room, the outputs. */
static size_t address(const lip_c_plan *p, size_t i) {
  const lip_c_value *home = &p->value[p->value[i].home];
  return home->place == LIP_C_X ? 0 : home->place == LIP_C_Y ? 2000 : 1000 + home->at;
}

/* Runs the plan on a memory that knows which value each number belongs to: every step must find what it takes. */
static void check_plan(const lip_emit *e, const lip_c_plan *p) {
  static size_t owner[3000];
  static size_t same[64];
  for (size_t i = 0; i < sizeof owner / sizeof *owner; i++) owner[i] = SIZE_MAX;
  for (size_t i = 0; i < e->n; i++) {
    const lip_emit_step *s = &e->step[i];
    if (!p->value[i].used) continue;
    same[i] = s->op == LIP_EMIT_RESHAPE ? same[s->x[0]] : i;
    for (size_t k = 0; k < s->n_x; k++)
      for (size_t j = 0; j < p->value[s->x[k]].size; j++)
        assert_int_equal(owner[address(p, s->x[k]) + j], same[s->x[k]]);
    const lip_c_value *home = &p->value[p->value[i].home];
    if (home->place == LIP_C_X) assert_true(i == 0 || s->op == LIP_EMIT_RESHAPE);
    if (home->place == LIP_C_ROOM) assert_true(home->at + p->value[i].size <= p->room);
    /* what is not written over its first input may be written before the others are read */
    for (size_t k = 0; k < s->n_x && s->op != LIP_EMIT_RESHAPE; k++)
      if (k > 0 || p->value[s->x[k]].home != p->value[i].home) {
        const size_t a = address(p, i), b = address(p, s->x[k]);
        assert_true(a + p->value[i].size <= b || b + p->value[s->x[k]].size <= a);
      }
    for (size_t j = 0; j < p->value[i].size; j++) owner[address(p, i) + j] = same[i];
  }
  assert_true(p->copied ? address(p, e->out) == 0 : address(p, e->out) == 2000);
}

static void values_never_meet(void **unused) {
  (void)unused;
  lip_rng rng = lip_rng_at(7, 1, 0);
  size_t copied = 0, shared = 0;
  for (int round = 0; round < 3000; round++) {
    lip_emit e;
    lip_emit_step step[24];
    size_t x[24][3];
    lip_c_plan p;
    lip_err err;
    random_steps(&e, step, x, 1 + lip_rng_below(&rng, 24), &rng);
    assert_int_equal(lip_c_plan_init(&p, &e, &err), LIP_OK);
    check_plan(&e, &p);
    copied += p.copied;
    size_t all = 0;
    for (size_t i = 1; i < e.n; i++) all += p.value[i].used ? p.value[i].size : 0;
    shared += p.room < all;
    lip_c_plan_free(&p);
  }
  assert_true(copied > 0 && shared > 1500);
}

/* ---- nets ---- */

static lip_net *net_of(void) {
  static const char *const kinds[] = {"dense", "tanh", "dense", "relu", "dense"};
  lip_spec *layer[5];
  lip_err err;
  for (int i = 0; i < 5; i++) {
    layer[i] = lip_spec_new(lip_layer_kind_find(kinds[i]));
    assert_non_null(layer[i]);
    if (i % 2 == 0)
      assert_int_equal(lip_conf_set_number(&layer[i]->kind->desc, layer[i]->conf, "out", 3 + i, &err),
                       LIP_OK);
  }
  lip_net_conf conf = {.input = {1, {4}}, .path = {1, {LIP_P2}}, .budget = INFINITY};
  lip_net *net = NULL;
  assert_int_equal(lip_net_new(&conf, layer, 5, NULL, &net, &err), LIP_OK);
  for (int i = 0; i < 5; i++) lip_spec_free(layer[i]);
  return net;
}

static void no_memory_leaves_nothing(void **unused) {
  (void)unused;
  char folder[] = "/tmp/lipwb-c-XXXXXX", path[64];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/a.c", folder);
  const lip_c_conf conf = {.folder = folder, .name = "a"};
  lip_err err;
  for (size_t n = 1;; n++) {
    lip_net *net = net_of();
    lip_mem_fail_nth(n);
    const lip_status status = lip_c_write(net, &conf, &err);
    const bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    if (failed && !status) assert_int_equal(unlink(path), 0); /* some bound was given up, and is infinite */
    if (status) {
      assert_true(failed);
      assert_int_equal(status, LIP_MEMORY);
      assert_int_equal(access(path, F_OK), -1);
    }
    lip_net_free(net);
    assert_int_equal(lip_mem_used(), 0);
    if (!failed) {
      assert_int_equal(status, LIP_OK);
      assert_true(n > 20);
      break;
    }
  }
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "%s/a%s", folder, (const char *const[]){".h", ".c", "_test.c"}[i]);
    assert_int_equal(unlink(path), 0);
  }
  assert_int_equal(rmdir(folder), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(values_never_meet),
                                     cmocka_unit_test(no_memory_leaves_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
