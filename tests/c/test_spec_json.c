/* io: specs and settings of nets as JSON: every option of every kind there and back, and what must be refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/io/json.h"
#include "core/io/spec_json.h"
#include "core/net/loss.h"
#include "core/net/net.h"
#include "core/net/optim.h"

static lip_spec *layer(const char *kind) {
  lip_spec *s = lip_spec_new(lip_layer_kind_find(kind));
  assert_non_null(s);
  return s;
}

/* Every registered kind with every option moved off its default, where the table allows, survives. */
static void set_other(const lip_desc *desc, void *conf, const lip_opt *o) {
  lip_err err;
  bool any = o->low == 0 && o->high == 0;
  double low = any || isinf(o->low) ? 1 : o->low, high = any || isinf(o->high) ? low + 3 : o->high;
  double v = o->type == LIP_OPT_SIZE ? fmin(low + 2, high) : low + (high - low) * 0.3;
  if (o->type == LIP_OPT_BOOL) {
    assert_int_equal(lip_conf_set_bool(desc, conf, o->name, o->def == 0, &err), LIP_OK);
  } else if (o->type == LIP_OPT_ENUM) {
    int n = 0;
    while (o->names[n]) n++;
    assert_int_equal(lip_conf_set_text(desc, conf, o->name, o->names[n - 1], &err), LIP_OK);
  } else if (o->type == LIP_OPT_REALS) {
    const double list[3] = {v, high, low};
    assert_int_equal(lip_conf_set_reals(desc, conf, o->name, list, 3, &err), LIP_OK);
  } else {
    assert_int_equal(lip_conf_set_number(desc, conf, o->name, v, &err), LIP_OK);
  }
}

static void assert_same_conf(const lip_desc *desc, const void *a, const void *b) {
  for (const lip_opt *o = desc->opts; o && o->name; o++) {
    const void *x = (const char *)a + o->offset, *y = (const char *)b + o->offset;
    switch (o->type) {
    case LIP_OPT_SIZE: assert_int_equal(*(const size_t *)x, *(const size_t *)y); break;
    case LIP_OPT_REAL: assert_memory_equal(x, y, sizeof(double)); break;
    case LIP_OPT_BOOL: assert_int_equal(*(const bool *)x, *(const bool *)y); break;
    case LIP_OPT_ENUM: assert_int_equal(*(const int *)x, *(const int *)y); break;
    case LIP_OPT_REALS: {
      const lip_reals *r = x, *s = y;
      assert_int_equal(r->n, s->n);
      if (r->n) assert_memory_equal(r->v, s->v, r->n * sizeof(double));
    }
    }
  }
}

static void conf_survives(const lip_desc *desc) {
  lip_err err;
  void *conf = lip_conf_new(desc), *back = NULL;
  for (const lip_opt *o = desc->opts; o && o->name; o++) set_other(desc, conf, o);
  lip_json *v;
  lip_str s = {0};
  assert_int_equal(lip_conf_to_json(desc, conf, &v, &err), LIP_OK);
  assert_true(lip_json_print(v, &s));
  lip_json_free(v);
  assert_int_equal(lip_json_parse(s.text, s.len, "conf", &v, &err), LIP_OK);
  if (lip_conf_from_json(desc, v, &back, &err)) fail_msg("%s: %s", s.text, err.msg);
  assert_same_conf(desc, conf, back);
  lip_json_free(v);
  lip_str_free(&s);
  lip_conf_free(desc, conf);
  lip_conf_free(desc, back);
}

static void every_option_survives(void **state) {
  (void)state;
  for (size_t i = 0; lip_layer_kind_at(i); i++) conf_survives(&lip_layer_kind_at(i)->desc);
  for (size_t i = 0; lip_optim_kind_at(i); i++) conf_survives(&lip_optim_kind_at(i)->desc);
  /* a list that is infinite in places */
  typedef struct {
    lip_reals list;
    double top;
  } conf;
  static const lip_opt opts[] = {
      {.name = "list", .type = LIP_OPT_REALS, .offset = offsetof(conf, list), .low = 0, .high = INFINITY},
      {.name = "top",
       .type = LIP_OPT_REAL,
       .offset = offsetof(conf, top),
       .low = -INFINITY,
       .high = INFINITY},
      {.name = NULL}};
  const lip_desc desc = {"made", "for this test", opts, sizeof(conf)};
  lip_json *v;
  lip_err err;
  void *back;
  const char *text = "{\"list\":[\"inf\",0.1],\"top\":\"-inf\"}";
  assert_int_equal(lip_json_parse(text, strlen(text), "conf", &v, &err), LIP_OK);
  assert_int_equal(lip_conf_from_json(&desc, v, &back, &err), LIP_OK);
  const conf *c = back;
  assert_true(c->list.n == 2 && c->list.v[0] == INFINITY && c->list.v[1] == 0.1 && c->top == -INFINITY);
  lip_json_free(v);
  lip_conf_free(&desc, back);
}

static void bad_specs_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *why;
  } bad[] = {
      {"{}", "expected an array"},
      {"[3]", "without a kind"},
      {"[{\"kind\":\"nonsense\",\"options\":{}}]", "unknown kind"},
      {"[{\"kind\":\"dense\"}]", "expected an object"},
      {"[{\"kind\":\"dense\",\"options\":{}}]", "required"},
      {"[{\"kind\":\"dense\",\"options\":{\"out\":0}}]", "whole number"},
      {"[{\"kind\":\"dense\",\"options\":{\"out\":2.5}}]", "whole number"},
      {"[{\"kind\":\"dense\",\"options\":{\"out\":\"many\"}}]", "got \"many\""},
      {"[{\"kind\":\"dense\",\"options\":{\"out\":[2]}}]", "a list"},
      {"[{\"kind\":\"dense\",\"options\":{\"out\":null}}]", "null"},
      {"[{\"kind\":\"dense\",\"options\":{\"out\":true}}]", "true"},
      {"[{\"kind\":\"dense\",\"options\":{\"out\":2,\"depth\":1}}]", "unknown option"},
      {"[{\"kind\":\"relu\",\"options\":{}},{\"kind\":\"relu\",\"options\":[]}]", "layer 2"},
      {"[{\"kind\":\"relu\",\"options\":{},\"children\":[{\"kind\":\"relu\",\"options\":{}}]}]",
       "cannot hold"},
      {"[{\"kind\":\"chain\",\"options\":{},\"children\":3}]", "expected an array"},
      {"[{\"kind\":\"chain\",\"options\":{},\"children\":[{\"kind\":\"x\",\"options\":{}}]}]",
       "unknown kind"},
  };
  size_t before = lip_mem_used();
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    lip_json *v;
    lip_err err;
    lip_spec **specs;
    size_t n;
    assert_int_equal(lip_json_parse(bad[i].text, strlen(bad[i].text), "spec", &v, &err), LIP_OK);
    assert_int_equal(lip_specs_from_json(v, NULL, &specs, &n, &err), LIP_FORMAT);
    assert_null(specs);
    if (!strstr(err.msg, bad[i].why)) fail_msg("%s: expected '%s' in: %s", bad[i].text, bad[i].why, err.msg);
    lip_json_free(v);
  }
  assert_int_equal(lip_mem_used(), before);
}

static void what_cannot_be_read_back_is_not_written(void **state) {
  (void)state;
  lip_err err;
  lip_json *v;
  lip_layer_kind private = *lip_layer_kind_find("relu"); /* same name, not in the registry */
  lip_spec *s = layer("relu");
  s->kind = &private;
  assert_int_equal(lip_spec_to_json(s, &v, &err), LIP_UNSUPPORTED);
  assert_null(v);
  lip_spec_free(s);
  s = layer("relu");
  for (int depth = 0; depth < LIP_SPEC_MAX_NESTING + 1; depth++) {
    lip_spec *outer = layer("chain");
    assert_int_equal(lip_spec_add(outer, s, &err), LIP_OK);
    s = outer;
    if (depth == LIP_SPEC_MAX_NESTING - 1) { /* the deepest that may be written can be read */
      lip_str text = {0};
      lip_spec *back;
      assert_int_equal(lip_spec_to_json(s, &v, &err), LIP_OK);
      assert_true(lip_json_print(v, &text));
      lip_json_free(v);
      assert_int_equal(lip_json_parse(text.text, text.len, "spec", &v, &err), LIP_OK);
      assert_int_equal(lip_spec_from_json(v, NULL, &back, &err), LIP_OK);
      lip_json_free(v);
      lip_spec_free(back);
      lip_str_free(&text);
    }
  }
  assert_int_equal(lip_spec_to_json(s, &v, &err), LIP_UNSUPPORTED);
  lip_spec_free(s);
}

static void counters_keep_64_bits(void **state) {
  (void)state;
  const uint64_t values[] = {0, 1, UINT64_MAX, (uint64_t)1 << 63, 18446744073709551609u};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    uint64_t back;
    lip_json *v = lip_json_new_counter(values[i]);
    assert_true(lip_json_counter(v, &back) && back == values[i]);
    lip_json_free(v);
  }
  const char *const bad[] = {"", "-1", "1.0", " 1", "18446744073709551616", "99999999999999999999"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    uint64_t back;
    lip_json *v = lip_json_new_text(bad[i]);
    assert_false(lip_json_counter(v, &back));
    lip_json_free(v);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_option_survives),
      cmocka_unit_test(bad_specs_are_refused),
      cmocka_unit_test(what_cannot_be_read_back_is_not_written),
      cmocka_unit_test(counters_keep_64_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
