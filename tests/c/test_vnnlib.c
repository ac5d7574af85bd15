/* exchange: VNN-LIB queries: decimals, reading, writing, points, cases. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/exchange/vnnlib.h"
#include "core/exchange/vnnlib_decimal.h"

static lip_decimal decimal(const char *text) {
  lip_decimal d;
  assert_true(lip_decimal_is(text, strlen(text)));
  assert_true(lip_decimal_read(&d, text, strlen(text)));
  return d;
}

static void assert_written(const lip_decimal *d, const char *text) {
  lip_str s = {0};
  lip_decimal_write(d, &s);
  assert_string_equal(s.text, text);
  lip_str_free(&s);
}

static void test_decimals_are_exact(void **state) {
  (void)state;
  static const char *const cases[][4] = {
      {"0.1", "0.2", "0.3", "0.02"},
      {"-1.5", "1.5", "0.0", "-2.25"},
      {"999", "1", "1000.0", "999.0"},
      {"1e20", "-1", "99999999999999999999.0", "-100000000000000000000.0"},
      {"0.029999999329447746", "-.03", "-0.000000000670552254", "-0.00089999997988343238"},
      {"+5.", "0", "5.0", "0.0"},
      {"-0.0", "00.10", "0.1", "0.0"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    lip_decimal a = decimal(cases[i][0]), b = decimal(cases[i][1]), c;
    assert_true(lip_decimal_add(&c, &a, &b));
    assert_written(&c, cases[i][2]);
    assert_true(lip_decimal_multiply(&c, &a, &b));
    assert_written(&c, cases[i][3]);
  }
  static const char *const none[] = {"", "-", ".", "1e", "e5", "1e+", "0x1", "1.2.3", "nan", "inf", "1 "};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    assert_false(lip_decimal_is(none[i], strlen(none[i])));
  lip_decimal d;
  assert_false(lip_decimal_read(&d, "1e2001", 6));
  assert_false(lip_decimal_read(&d, "1e99999999999", 13));
  assert_false(lip_decimal_read(&d, "1e-2001", 7));
}

/* down <= decimal <= up in exact arithmetic, and no double between. */
static void assert_enclosed(const lip_decimal *d) {
  double down, up;
  lip_decimal exact;
  lip_decimal_enclose(d, &down, &up);
  if (isfinite(down)) {
    lip_decimal_of(&exact, down);
    assert_true(lip_decimal_compare(&exact, d) <= 0);
  }
  if (isfinite(up)) {
    lip_decimal_of(&exact, up);
    assert_true(lip_decimal_compare(&exact, d) >= 0);
  }
  assert_true(down == up || nextafter(down, INFINITY) == up);
  if (down == up) {
    lip_decimal_of(&exact, down);
    assert_int_equal(lip_decimal_compare(&exact, d), 0);
  }
}

static void test_doubles_enclose(void **state) {
  (void)state;
  static const char *const texts[] = {"0",
                                      "1",
                                      "-1",
                                      "0.5",
                                      "0.1",
                                      "-0.1",
                                      "0.679857769",
                                      "1e308",
                                      "1e309",
                                      "-1e309",
                                      "1e-320",
                                      "1e-400",
                                      "-1e-400",
                                      "5e-324",
                                      "1e22",
                                      "1e23",
                                      "9007199254740993",
                                      "0.029999999329447746",
                                      "2.2250738585072011e-308",
                                      "179769313486231580793728971405301e276"};
  double down, up;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    lip_decimal d = decimal(texts[i]);
    assert_enclosed(&d);
  }
  uint64_t bits = 12345;
  for (int i = 0; i < 2000; i++) {
    double v;
    bits = bits * 6364136223846793005u + 1442695040888963407u;
    memcpy(&v, &bits, sizeof v);
    if (!isfinite(v)) continue;
    lip_decimal d;
    lip_decimal_of(&d, v);
    lip_decimal_enclose(&d, &down, &up);
    assert_true(down == v && up == v);
    if (d.n > 17) d.n = 17;
    if (d.digit[d.n - 1] != 0) assert_enclosed(&d);
  }
  lip_decimal d = decimal("1e309");
  lip_decimal_enclose(&d, &down, &up);
  assert_true(down == DBL_MAX && isinf(up));
}

static lip_vnnlib *query(const char *text) {
  lip_vnnlib *v = NULL;
  lip_err err = {0};
  lip_status status = lip_vnnlib_read("text", text, strlen(text), &v, &err);
  if (status) fail_msg("%s", err.msg);
  return v;
}

#define ONE "(declare-const X_0 Real)(declare-const Y_0 Real)"

static void test_refusals_name_the_place(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"", "line 1, column 1: the file declares no inputs"},
      {"(declare-const X_0 Real)", "declares no outputs"},
      {ONE "\n(assert (<= X_0 Z))", "line 2, column 17: 'Z' is no number"},
      {ONE "\n\n  (assert (<= X_0 1)", "line 3, column 21: ')' expected, got the end of the file"},
      {ONE "(assert (<= (* X_0 Y_0) 1))", "a product of variables"},
      {ONE "(assert (<= (/ X_0 2) 1))", "one of + - * expected, got '/'"},
      {ONE "(assert (<= X_0 1 2))", "')' expected, got '2'"},
      {ONE "(assert (and))", "a condition"},
      {ONE "(assert (xor (<= X_0 1) (<= X_0 2)))", "and, or, not"},
      {ONE "(declare-const X_0 Real)", "declared twice"},
      {ONE "(declare-const X_2 Real)", "X_1 is not declared, but X_2 is"},
      {"(declare-const X_00 Real)", "a variable X_i"},
      {"(declare-const X_99999999 Real)", "a variable X_i"},
      {"(declare-const X_0 Int)", "the type Real expected"},
      {ONE "(check-sat)", "assert, declare-const"},
      {ONE "(vnnlib-version <2.0>)", "not the first command"},
      {"(vnnlib-version <3.0>)", "version <1.0> or <2.0> expected"},
      {"(vnnlib-version <2.0>)(declare-const X_0 Real)", "belongs to version 1"},
      {"(declare-network N (declare-output Y real []))", "at a wrong place"},
      {"(declare-network N (declare-input X real [0]))", "no numbers"},
      {"(declare-network N (declare-input X real [4097,4097]))", "no numbers, or of more"},
      {"(declare-network N (declare-input X bool [1]))", "a type of real numbers"},
      {"(declare-network N (declare-input X real [1])(declare-hidden H real [1] \"h\"))", "hidden tensors"},
      {"(declare-network N (declare-input X real [1])(declare-output X real [1]))", "is used twice"},
      {"(declare-network N (equal-to M)(declare-input X real [1])(declare-output Y real [1]))",
       "declared before"},
      {"(declare-network N (declare-input X real [2])(declare-output Y real [1]))(assert (<= X[2] 1))",
       "index 2"},
      {"(declare-network N (declare-input X real [2])(declare-output Y real [1]))(assert (<= X 1))", "'['"},
      {"(declare-network N (declare-input X real [])(declare-output Y real [1]))(assert (<= X[0] 1))",
       "one number"},
      {ONE "\x01", "byte 1 does not belong"},
      {ONE "(assert (<= X_0 \"a))", "does not end on its line"},
      {ONE "(assert (<= X_0 1e5000))", "beyond 1e2000"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    lip_vnnlib *v;
    lip_err err = {0};
    assert_int_not_equal(lip_vnnlib_read("text", cases[i][0], strlen(cases[i][0]), &v, &err), LIP_OK);
    assert_null(v);
    if (!strstr(err.msg, cases[i][1])) fail_msg("case %zu: %s, not: %s", i, err.msg, cases[i][1]);
  }
}

static void test_nesting_is_bounded(void **state) {
  (void)state;
  char text[4096];
  for (int depth = 1; depth < 200; depth++) {
    lip_vnnlib *v;
    lip_err err = {0};
    size_t at = (size_t)snprintf(text, sizeof text, ONE "(assert ");
    for (int i = 0; i < depth; i++) at += (size_t)snprintf(text + at, sizeof text - at, "(not ");
    at += (size_t)snprintf(text + at, sizeof text - at, "(<= X_0 Y_0))");
    for (int i = 0; i < depth; i++) text[at++] = ')';
    lip_status status = lip_vnnlib_read("text", text, at, &v, &err);
    assert_int_equal(status, depth <= LIP_VNNLIB_DEPTH - 2 ? LIP_OK : LIP_UNSUPPORTED);
    assert_true(status == LIP_OK || strstr(err.msg, "nested deeper"));
    lip_vnnlib_free(v);
  }
}

/* What a query in version 1 with two inputs and two outputs says of a point. */
static lip_vnnlib_state at(const char *condition, float x0, float x1, float y0, float y1) {
  char text[2000];
  float x[2] = {x0, x1}, y[2] = {y0, y1};
  lip_vnnlib_state state;
  lip_err err;
  snprintf(text, sizeof text,
           "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
           "(assert %s)",
           condition);
  lip_vnnlib *v = query(text);
  assert_int_equal(lip_vnnlib_point(v, x, y, &state, &err), LIP_OK);
  lip_vnnlib_free(v);
  return state;
}

#define SAFE LIP_VNNLIB_SAFE
#define UNSAFE LIP_VNNLIB_UNSAFE

static void test_points_are_exact(void **state) {
  (void)state;
  float tenth = 0.1f; /* 0.100000001490116... */
  assert_int_equal(at("(<= X_0 0.1)", tenth, 0, 0, 0), SAFE);
  assert_int_equal(at("(<= X_0 0.100000001490116119384765625)", tenth, 0, 0, 0), UNSAFE);
  assert_int_equal(at("(<= X_0 0.100000001490116119384765624)", tenth, 0, 0, 0), SAFE);
  assert_int_equal(at("(< X_0 0.100000001490116119384765625)", tenth, 0, 0, 0), SAFE);
  assert_int_equal(at("(< X_0 0.100000001490116119384765626)", tenth, 0, 0, 0), UNSAFE);
  assert_int_equal(at("(= X_0 0.100000001490116119384765625)", tenth, 0, 0, 0), UNSAFE);
  assert_int_equal(at("(!= X_0 0.100000001490116119384765625)", tenth, 0, 0, 0), SAFE);
  /* coefficients that are no doubles: 0.1 y = 1 - 0.1 (10 - y) at y = 3 exactly */
  assert_int_equal(at("(<= (* 0.1 Y_0) 0.3)", 0, 0, 3, 0), UNSAFE);
  assert_int_equal(at("(< (* 0.1 Y_0) 0.3)", 0, 0, 3, 0), SAFE);
  assert_int_equal(at("(== (+ (* 0.1 Y_0) (* 0.7 Y_1)) (- 1 0.1 -0.1))", 0, 0, 3, 1), UNSAFE);
  assert_int_equal(at("(<= (+ (* 0.1 Y_0) (* 0.7 Y_1)) 0.99999999999999999999999999999)", 0, 0, 3, 1), SAFE);
  assert_int_equal(at("(<= (+ (* 1e-30 Y_0) (* 1e30 Y_1)) 1e30)", 0, 0, 0x1p-149f, 1), SAFE);
  assert_int_equal(at("(<= (+ (* -1e-30 Y_0) (* 1e30 Y_1)) 1e30)", 0, 0, 0x1p-149f, 1), UNSAFE);
  assert_int_equal(at("(<= (- (* 2 (+ X_0 X_1)) (* (- 3) Y_0)) 1)", 1, 1, -1, 0), UNSAFE);
  assert_int_equal(at("(<= (- X_0 X_0) 0)", NAN, 0, 0, 0), UNSAFE); /* the variable is not in it any more */
  assert_int_equal(at("(<= X_0 0)", NAN, 0, 0, 0), LIP_VNNLIB_UNDECIDED);
  assert_int_equal(at("(or (<= X_0 0) (<= Y_0 0))", NAN, 0, 0, 0), UNSAFE);
  assert_int_equal(at("(not (and (<= X_0 0) (or (< Y_0 0) (> Y_1 0))))", 0, 0, 0, 0), UNSAFE);
  assert_int_equal(at("(not (or (> X_0 0) (< Y_0 0) (> Y_1 0)))", 0, 0, 0, 0), UNSAFE);
  assert_int_equal(at("(<= 1 0)", 0, 0, 0, 0), SAFE);
}

static void test_boxes_grow_only(void **state) {
  (void)state;
  lip_vnnlib *v = query(ONE "(declare-const X_1 Real)(declare-const X_2 Real)"
                            "(assert (and (<= X_0 0.1) (>= X_0 -0.1) (<= (* 3 X_1) 1) (>= X_1 0.5)))"
                            "(assert (or (>= Y_0 0.1) (<= Y_0 (* 0.25 X_0))))");
  lip_vnnlib_cases c;
  lip_err err;
  double low[3], high[3];
  assert_int_equal(lip_vnnlib_expand(v, &c, &err), LIP_OK);
  assert_int_equal(c.n, 2);
  assert_int_equal(c.n_common, 4);
  assert_false(lip_vnnlib_box(v, &c, 0, low, high)); /* x1 <= 1/3 and x1 >= 0.5 */
  assert_true(high[0] >= 0.1 && low[0] == -high[0] && high[0] <= nextafter(0.1, 1));
  assert_true(fma(3, high[1], -1) > 0 && high[1] <= 0x1.5555555555557p-2);
  assert_true(isinf(low[2]) && isinf(high[2]));
  lip_property p = {.asked = LIP_ASK_ROWS, .C = 1};
  assert_int_equal(lip_vnnlib_spec(v, &c, 0, &p, &err), LIP_OK);
  /* unsafe: y >= 0.1; outside of it -y + 0.1 > 0, the constant rounded down */
  assert_true(p.n == 1 && p.weight[0] == -1 && p.constant[0] <= 0.1 && p.constant[0] >= nextafter(0.1, 0));
  assert_int_equal(lip_vnnlib_spec(v, &c, 1, &p, &err), LIP_UNSUPPORTED);
  assert_non_null(strstr(err.msg, "compares inputs with outputs"));
  lip_property_free(&p);
  lip_vnnlib_cases_free(&c);
  lip_vnnlib_free(v);
}

static void test_cases_are_bounded(void **state) {
  (void)state;
  char text[8192];
  size_t n = (size_t)snprintf(text, sizeof text, ONE);
  for (int i = 0; i < 17; i++)
    n += (size_t)snprintf(text + n, sizeof text - n, "(assert (or (<= X_0 %d) (>= Y_0 %d)))", i, i);
  lip_vnnlib *v = query(text);
  lip_vnnlib_cases c;
  lip_err err;
  assert_int_equal(lip_vnnlib_expand(v, &c, &err), LIP_UNSUPPORTED);
  assert_non_null(strstr(err.msg, "cases"));
  assert_null(c.own);
  lip_vnnlib_state at_point;
  float x = 3, y = 3;
  assert_int_equal(lip_vnnlib_point(v, &x, &y, &at_point, &err), LIP_OK);
  assert_int_equal(at_point, UNSAFE);
  lip_vnnlib_free(v);
}

/* What lip_vnnlib_empty says of every case is what its box says. */
static void test_empty_cases(void **state) {
  (void)state;
  lip_vnnlib *v = query(
      ONE
      "(declare-const X_1 Real)(assert (<= X_1 1))(assert (>= X_0 -1))"
      "(assert (or (<= X_0 -2) (and (>= X_0 2) (< X_0 3)) (>= Y_0 1) (< 1 1) (and (<= X_1 2) (>= X_1 1.5))"
      "(and (>= X_0 0.1) (<= X_0 0.1)) (and (>= X_0 0.25) (<= X_0 0.125))))");
  const bool expected[] = {true, false, false, true, true, false, true};
  lip_vnnlib_cases c;
  lip_err err;
  bool empty[7];
  double low[2], high[2];
  assert_int_equal(lip_vnnlib_expand(v, &c, &err), LIP_OK);
  assert_int_equal(c.n, 7);
  assert_int_equal(lip_vnnlib_empty(v, &c, empty, &err), LIP_OK);
  for (size_t i = 0; i < 7; i++) {
    assert_int_equal(empty[i], expected[i]);
    assert_int_equal(lip_vnnlib_box(v, &c, i, low, high), !expected[i]);
  }
  lip_vnnlib_cases_free(&c);
  lip_vnnlib_free(v);
}

static void test_work_is_bounded(void **state) {
  (void)state;
  /* a number of 500 digits times a sum of 500 digits each, again and again */
  lip_str s = {0};
  lip_err err;
  lip_vnnlib *v;
  lip_str_puts(&s, ONE);
  for (int k = 0; k < 3; k++) {
    lip_str_puts(&s, "(assert (<= (* ");
    for (int i = 0; i < 300; i++) lip_str_puts(&s, "7");
    lip_str_puts(&s, " (+");
    for (int j = 0; j < 400; j++) lip_str_puts(&s, " X_0");
    lip_str_puts(&s, ")");
    for (int i = 0; i < 300; i++) lip_str_puts(&s, "3");
    lip_str_puts(&s, ") 1))");
  }
  assert_int_equal(lip_vnnlib_read("text", s.text, s.len, &v, &err), LIP_UNSUPPORTED);
  assert_non_null(strstr(err.msg, "more work"));
  lip_str_free(&s);
}

static void test_memory_may_end_anywhere(void **state) {
  (void)state;
  const char *text =
      "(vnnlib-version <2.0>)(declare-network f (declare-input X float32 [2] \"in\")"
      "(declare-output Y float32 [2]))(assert (or (<= (+ (* 0.1 X[0]) (* 0.3 X[0])) 1) (< Y[0] Y[1])))"
      "(assert (or (<= X[1] 1) (== (* 0.7 Y[0]) Y[1])))";
  for (size_t n = 1;; n++) {
    lip_err err = {0};
    lip_vnnlib *v = NULL;
    lip_vnnlib_cases c = {0};
    lip_str s = {0};
    lip_property p = {.asked = LIP_ASK_ROWS, .C = 2};
    lip_vnnlib_state at_point;
    float x[2] = {9, 9}, y[2] = {1, 1};
    size_t used = lip_mem_used();
    lip_mem_fail_nth(n);
    lip_status status = lip_vnnlib_read("text", text, strlen(text), &v, &err);
    if (!status) status = lip_vnnlib_text(v, 2, &s, &err);
    if (!status) status = lip_vnnlib_point(v, x, y, &at_point, &err);
    if (!status) status = lip_vnnlib_expand(v, &c, &err);
    if (!status) status = lip_vnnlib_spec(v, &c, 3, &p, &err);
    bool failed = lip_mem_failed();
    lip_mem_fail_nth(0);
    lip_property_free(&p);
    lip_vnnlib_cases_free(&c);
    lip_str_free(&s);
    lip_vnnlib_free(v);
    assert_int_equal(lip_mem_used(), used);
    if (!failed) {
      assert_int_equal(status, LIP_OK);
      break;
    }
    assert_int_equal(status, LIP_MEMORY);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_decimals_are_exact),
      cmocka_unit_test(test_doubles_enclose),
      cmocka_unit_test(test_refusals_name_the_place),
      cmocka_unit_test(test_nesting_is_bounded),
      cmocka_unit_test(test_points_are_exact),
      cmocka_unit_test(test_boxes_grow_only),
      cmocka_unit_test(test_cases_are_bounded),
      cmocka_unit_test(test_work_is_bounded),
      cmocka_unit_test(test_empty_cases),
      cmocka_unit_test(test_memory_may_end_anywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
