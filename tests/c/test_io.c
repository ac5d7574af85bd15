/* io: JSON values, the safetensors container. */
#include <errno.h>
#include <fcntl.h>
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/atomic.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/io/json.h"
#include "core/io/safetensors.h"
#include "support_files.h"

/* ---- JSON ---- */

static lip_json *parsed(const char *text) {
  lip_json *v;
  lip_err err;
  if (lip_json_parse(text, strlen(text), "test", &v, &err)) fail_msg("%s", err.msg);
  return v;
}

static lip_status parse_status(const char *text, size_t n) {
  lip_json *v;
  lip_err err = {LIP_OK, ""};
  lip_status status = lip_json_parse(text, n, "test", &v, &err);
  assert_int_equal(status, err.code);
  assert_true((status == LIP_OK) == (v != NULL));
  if (status) assert_true(strncmp(err.msg, "test: ", 6) == 0);
  lip_json_free(v);
  return status;
}

static void json_is_read(void **state) {
  (void)state;
  lip_json *v = parsed("{\"a\":[1,2.5,\"inf\",\"-inf\",true,null,\"x\"],\"b\":{\"c\":-3}}");
  const lip_json *a = lip_json_get(v, "a");
  double x;
  uint64_t n;
  bool flag;
  const char *text;
  assert_int_equal(lip_json_typeof(v), LIP_JSON_OBJECT);
  assert_int_equal(lip_json_size(v), 2);
  assert_int_equal(lip_json_size(a), 7);
  assert_true(lip_json_number(lip_json_at(a, 0), &x) && x == 1);
  assert_true(lip_json_whole(lip_json_at(a, 0), &n) && n == 1);
  assert_true(lip_json_number(lip_json_at(a, 1), &x) && x == 2.5);
  assert_false(lip_json_whole(lip_json_at(a, 1), &n));
  assert_true(lip_json_number(lip_json_at(a, 2), &x) && x == INFINITY);
  assert_true(lip_json_number(lip_json_at(a, 3), &x) && x == -INFINITY);
  assert_true(lip_json_bool(lip_json_at(a, 4), &flag) && flag);
  assert_int_equal(lip_json_typeof(lip_json_at(a, 5)), LIP_JSON_NULL);
  assert_true(lip_json_text(lip_json_at(a, 6), &text) && strcmp(text, "x") == 0);
  assert_false(lip_json_number(lip_json_at(a, 6), &x));
  assert_false(lip_json_whole(lip_json_get(lip_json_get(v, "b"), "c"), &n)); /* negative */
  assert_null(lip_json_at(a, 7));
  assert_null(lip_json_get(a, "a"));
  assert_null(lip_json_get(NULL, "a"));
  assert_string_equal(lip_json_typename(NULL), "nothing");
  lip_json_free(v);
}

static void json_refuses_what_it_should(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "{",
                                    "{}x",
                                    "[1,]",
                                    "{\"a\":1,\"a\":2}",
                                    "[NaN]",
                                    "[Infinity]",
                                    "[1e999]",
                                    "[99999999999999999999]",
                                    "[\"\\u0000\"]",
                                    "[\"\xff\"]",
                                    "[\"\\ud800\"]",
                                    "3",
                                    "\"text\""};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(parse_status(bad[i], strlen(bad[i])), LIP_FORMAT);
  assert_int_equal(parse_status("[1]\0", 4), LIP_FORMAT);
  /* brackets inside texts do not count as depth; real ones do, up to the limit */
  char text[4096];
  size_t n = 0;
  for (int i = 0; i < LIP_JSON_MAX_DEPTH; i++) text[n++] = '[';
  n += (size_t)sprintf(text + n, "\"[[[[[\\\"[[[[[[[[[[[\"");
  for (int i = 0; i < LIP_JSON_MAX_DEPTH; i++) text[n++] = ']';
  assert_int_equal(parse_status(text, n), LIP_OK);
  memset(text, '[', sizeof text);
  assert_int_equal(parse_status(text, sizeof text), LIP_FORMAT);
  assert_int_equal(parse_status(text, LIP_JSON_MAX_DEPTH + 1), LIP_FORMAT);
}

/* Every double survives printing and parsing, bit for bit. */
static void json_keeps_every_bit(void **state) {
  (void)state;
  lip_rng rng = lip_rng_new(11, LIP_RNG_USER, 0);
  double special[] = {0.0,       -0.0,     0.1, 1e-320, 0x1p-1074,  0x1.fffffffffffffp1023,
                      INFINITY,  1e300,    1.0, 0x1p53, 0x1p53 + 2, -7,
                      0x1p-1022, -INFINITY};
  const size_t n_special = sizeof special / sizeof *special;
  for (size_t i = 0; i < 2000; i++) {
    uint64_t bits = lip_rng_u64(&rng);
    double x, y;
    memcpy(&x, &bits, 8);
    if (i < n_special) x = special[i];
    if (isnan(x)) continue;
    lip_json *list = lip_json_new_array();
    assert_true(lip_json_append(list, lip_json_new_number(x)));
    lip_str s = {0};
    assert_true(lip_json_print(list, &s));
    lip_json *back = parsed(s.text);
    assert_true(lip_json_number(lip_json_at(back, 0), &y));
    assert_memory_equal(&x, &y, sizeof x);
    lip_json_free(list);
    lip_json_free(back);
    lip_str_free(&s);
  }
  assert_null(lip_json_new_number(NAN));
  assert_null(lip_json_new_whole((uint64_t)1 << 63));
  assert_null(lip_json_new_text("\xff"));
}

static bool build_and_reread(void) {
  lip_json *o = lip_json_new_object(), *list = lip_json_new_array(), *back = NULL;
  bool ok = o && list && lip_json_append(list, lip_json_new_number(0.5)) &&
            lip_json_append(list, lip_json_new_bool(true));
  if (ok)
    ok = lip_json_set(o, "list", list);
  else
    lip_json_free(list);
  ok = ok && lip_json_set(o, "text", lip_json_new_text("\"quoted\"\n\xc3\xa9"));
  lip_str s = {0};
  lip_err err;
  ok = ok && lip_json_print(o, &s);
  if (ok) assert_string_equal(s.text, "{\"list\":[0.5,true],\"text\":\"\\\"quoted\\\"\\n\xc3\xa9\"}");
  if (ok) {
    lip_status status = lip_json_parse(s.text, s.len, "test", &back, &err);
    if (status) assert_int_equal(status, LIP_MEMORY);
    ok = status == LIP_OK;
  }
  lip_json_free(back);
  lip_json_free(o);
  lip_str_free(&s);
  return ok;
}

static void json_survives_every_failed_allocation(void **state) {
  (void)state;
  size_t before = lip_mem_used(), n = 0;
  for (bool done = false; !done;) {
    lip_mem_fail_nth(++n);
    bool ok = build_and_reread();
    done = !lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_true(ok == done);
    assert_int_equal(lip_mem_used(), before);
  }
  assert_true(n > 10);
}

/* ---- safetensors ---- */

static const float four[4] = {1, -2, 0.5f, 3e-39f};
static const double two[2] = {0.1, -1e300};

static lip_status save_sample(const char *path, lip_err *err) {
  const lip_array arrays[] = {{.name = "layer.weight", .ndim = 2, .shape = {2, 2}, .data = four},
                              {.name = "empty", .ndim = 2, .shape = {0, 3}, .data = four},
                              {.name = "wide", .wide = true, .ndim = 1, .shape = {2}, .data = two},
                              {.name = "scalar", .ndim = 0, .data = four + 1}};
  const lip_pair meta[] = {{"format", "test"}, {"note", "caf\xc3\xa9 \"x\""}};
  return lip_safetensors_save(path, arrays, 4, meta, 2, err);
}

static void arrays_come_back(void **state) {
  char path[300];
  lip_err err;
  lip_safetensors *f;
  in_dir(path, sizeof path, *state, "a.safetensors");
  assert_int_equal(save_sample(path, &err), LIP_OK);
  assert_int_equal(lip_safetensors_open(path, &f, &err), LIP_OK);
  assert_int_equal(lip_safetensors_count(f), 4);
  assert_string_equal(lip_safetensors_meta(f, "note"), "caf\xc3\xa9 \"x\"");
  assert_null(lip_safetensors_meta(f, "none"));
  const lip_array *a = lip_safetensors_find(f, "layer.weight");
  float x[4];
  double d[2];
  assert_int_equal(a->ndim, 2);
  assert_int_equal(lip_safetensors_read(f, a, x, &err), LIP_OK);
  assert_memory_equal(x, four, sizeof x);
  a = lip_safetensors_find(f, "wide");
  assert_true(a->wide);
  assert_int_equal(lip_safetensors_read(f, a, d, &err), LIP_OK);
  assert_memory_equal(d, two, sizeof d);
  a = lip_safetensors_find(f, "scalar");
  assert_int_equal(lip_safetensors_read(f, a, x, &err), LIP_OK);
  assert_true(a->ndim == 0 && x[0] == -2);
  assert_int_equal(lip_array_size(lip_safetensors_find(f, "empty")), 0);
  assert_null(lip_safetensors_find(f, "none"));
  lip_pair p;
  assert_true(lip_safetensors_pair(f, 1, &p) && !lip_safetensors_pair(f, 2, &p));
  /* the file is cut while it is open */
  assert_int_equal(truncate(path, (off_t)lip_safetensors_bytes(f) - 4), 0);
  assert_int_equal(lip_safetensors_read(f, lip_safetensors_find(f, "scalar"), x, &err), LIP_FORMAT);
  lip_safetensors_close(f);
}

static void bad_names_are_not_written(void **state) {
  char path[300], name[300];
  lip_err err;
  in_dir(path, sizeof path, *state, "a");
  memset(name, 'n', sizeof name);
  name[LIP_SAFETENSORS_MAX_NAME + 1] = '\0';
  const char *const bad[] = {"",        "__metadata__", name, "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                             "\xe2\x82"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    lip_array a = {.name = bad[i], .ndim = 1, .shape = {4}, .data = four};
    assert_int_equal(lip_safetensors_save(path, &a, 1, NULL, 0, &err), LIP_ARGUMENT);
  }
  const lip_array same[] = {{.name = "a", .ndim = 1, .shape = {4}, .data = four},
                            {.name = "a", .ndim = 1, .shape = {1}, .data = four}};
  assert_int_equal(lip_safetensors_save(path, same, 2, NULL, 0, &err), LIP_ARGUMENT);
  const lip_pair twice[] = {{"k", "1"}, {"k", "2"}}, ugly[] = {{"k", "\x80"}};
  assert_int_equal(lip_safetensors_save(path, same, 1, twice, 2, &err), LIP_ARGUMENT);
  assert_int_equal(lip_safetensors_save(path, same, 1, ugly, 1, &err), LIP_ARGUMENT);
  assert_int_equal(access(path, F_OK), -1);
}

/* A file made by hand: header text, then `n` bytes of data. */
static lip_status open_made(const char *path, const char *header, size_t n, lip_err *err) {
  unsigned char file[2048] = {0};
  size_t len = strlen(header);
  assert_true(8 + len + n <= sizeof file);
  file[0] = (unsigned char)(len & 0xff);
  file[1] = (unsigned char)(len >> 8);
  memcpy(file + 8, header, len);
  write_file(path, file, 8 + len + n);
  lip_safetensors *f;
  lip_status status = lip_safetensors_open(path, &f, err);
  assert_true((status == LIP_OK) == (f != NULL));
  lip_safetensors_close(f);
  return status;
}

static void headers_are_proved(void **state) {
  char path[300];
  lip_err err;
  in_dir(path, sizeof path, *state, "made");
#define T(dtype, shape, offsets) "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
  assert_int_equal(open_made(path, "{\"a\":" T("\"F32\"", "[2]", "[0,8]") "}", 8, &err), LIP_OK);
  assert_int_equal(open_made(path, "{}  ", 0, &err), LIP_OK);
  static const struct {
    const char *header;
    size_t n;
    const char *why;
  } bad[] = {
      {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") "}", 7, "outside the file"},
      {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") "}", 9, "follow the last"},
      {"{\"a\":" T("\"F32\"", "[3]", "[0,8]") "}", 8, "disagree"},
      {"{\"a\":" T("\"F16\"", "[4]", "[0,8]") "}", 8, "dtype"},
      {"{\"a\":" T("7", "[2]", "[0,8]") "}", 8, "dtype"},
      {"{\"a\":" T("\"F32\"", "[-2]", "[0,8]") "}", 8, "whole number"},
      {"{\"a\":" T("\"F32\"", "[2.0]", "[0,8]") "}", 8, "whole number"},
      {"{\"a\":" T("\"F32\"", "2", "[0,8]") "}", 8, "shape"},
      {"{\"a\":" T("\"F32\"", "[1,1,1,1,2]", "[0,8]") "}", 8, "shape"},
      {"{\"a\":" T("\"F32\"", "[4294967296,4294967296]", "[0,0]") "}", 0, "too large"},
      {"{\"a\":" T("\"F32\"", "[2]", "[8,0]") "}", 8, "outside"},
      {"{\"a\":" T("\"F32\"", "[2]", "[0]") "}", 8, "data_offsets"},
      {"{\"a\":" T("\"F32\"", "[2]", "[0,\"8\"]") "}", 8, "data_offsets"},
      {"{\"a\":" T("\"F32\"", "[1]", "[4,8]") "}", 8, "unused bytes"},
      {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") ",\"b\":" T("\"F32\"", "[2]", "[4,12]") "}", 12, "overlaps"},
      {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") ",\"b\":" T("\"F32\"", "[2]", "[0,8]") "}", 8, "overlaps"},
      {"{\"a\":3}", 0, "dtype"},
      {"{\"__metadata__\":3}", 0, "expected an object"},
      {"{\"__metadata__\":{\"k\":3}}", 0, "expected a text"},
      {"[1]", 0, "does not start"},
      {"{\"a\":1,\"a\":2}", 0, "JSON"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(open_made(path, bad[i].header, bad[i].n, &err), LIP_FORMAT);
    if (!strstr(err.msg, bad[i].why))
      fail_msg("%s: expected '%s' in: %s", bad[i].header, bad[i].why, err.msg);
  }
#undef T
}

/* A header that claims 2^63 bytes, or just one more than there are, is refused before memory is taken for it. */
static void lengths_are_checked_before_memory_is_taken(void **state) {
  char path[300];
  lip_err err;
  lip_safetensors *f;
  in_dir(path, sizeof path, *state, "long");
  unsigned char file[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' ', ' ', ' ', ' ', ' '};
  for (int byte = 0; byte < 8; byte++) {
    file[7] = (unsigned char)(byte << 5);
    write_file(path, file, sizeof file);
    size_t before = lip_mem_limit(4096);
    assert_int_equal(lip_safetensors_open(path, &f, &err), LIP_FORMAT);
    lip_mem_limit(before);
  }
  in_dir(path, sizeof path, *state, "sparse"); /* large enough, but the header is above the limit */
  memset(file, 0, 8);
  file[3] = 2;
  write_file(path, file, sizeof file);
  assert_int_equal(truncate(path, 64 << 20), 0);
  size_t before = lip_mem_limit(4096);
  assert_int_equal(lip_safetensors_open(path, &f, &err), LIP_FORMAT);
  lip_mem_limit(before);
  in_dir(path, sizeof path, *state, "missing");
  assert_int_equal(lip_safetensors_open(path, &f, &err), LIP_NOT_FOUND);
  assert_int_equal(lip_safetensors_open(*state, &f, &err), LIP_IO);
  assert_int_equal(lip_safetensors_open("/dev/zero", &f, &err), LIP_IO);
}

/* Every prefix is refused; a changed byte is refused or read without harm. */
static void damaged_files_are_harmless(void **state) {
  char path[300], hurt[300];
  lip_err err;
  size_t size;
  in_dir(path, sizeof path, *state, "good");
  in_dir(hurt, sizeof hurt, *state, "hurt");
  assert_int_equal(save_sample(path, &err), LIP_OK);
  unsigned char *good = read_file(path, &size);
  size_t before = lip_mem_used();
  for (size_t n = 0; n < size; n++) {
    lip_safetensors *f;
    write_file(hurt, good, n);
    assert_int_equal(lip_safetensors_open(hurt, &f, &err), LIP_FORMAT);
    assert_null(f);
  }
  for (size_t at = 0; at < size; at++)
    for (unsigned bit = 0; bit < 8; bit++) {
      lip_safetensors *f;
      good[at] ^= (unsigned char)(1u << bit);
      write_file(hurt, good, size);
      good[at] ^= (unsigned char)(1u << bit);
      lip_status status = lip_safetensors_open(hurt, &f, &err);
      for (size_t i = 0; !status && i < lip_safetensors_count(f); i++) {
        const lip_array *a = lip_safetensors_at(f, i);
        char data[64];
        assert_true(lip_array_size(a) * (a->wide ? 8 : 4) <= sizeof data);
        assert_int_equal(lip_safetensors_read(f, a, data, &err), LIP_OK);
      }
      lip_safetensors_close(f);
    }
  assert_int_equal(lip_mem_used(), before);
  free(good);
}

static void files_survive_every_failed_allocation(void **state) {
  char path[300];
  lip_err err;
  in_dir(path, sizeof path, *state, "a");
  size_t before = lip_mem_used(), n = 0;
  for (bool done = false; !done;) {
    lip_safetensors *f = NULL;
    write_file(path, "old", 3);
    lip_mem_fail_nth(++n);
    lip_status status = save_sample(path, &err);
    if (status) assert_file(path, "old", 3);
    if (!status) status = lip_safetensors_open(path, &f, &err);
    done = !lip_mem_failed();
    lip_mem_fail_nth(0);
    assert_int_equal(status, done ? LIP_OK : LIP_MEMORY);
    lip_safetensors_close(f);
    assert_int_equal(lip_mem_used(), before);
    assert_int_equal(files_in(*state), 1);
  }
  assert_true(n > 50);
}

int main(void) {
#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(json_is_read),
      cmocka_unit_test(json_refuses_what_it_should),
      cmocka_unit_test(json_keeps_every_bit),
      cmocka_unit_test(json_survives_every_failed_allocation),
      IN_DIR(arrays_come_back),
      IN_DIR(bad_names_are_not_written),
      IN_DIR(headers_are_proved),
      IN_DIR(lengths_are_checked_before_memory_is_taken),
      IN_DIR(damaged_files_are_harmless),
      IN_DIR(files_survive_every_failed_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
