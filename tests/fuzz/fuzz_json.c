/* JSON: what was read and printed reads as the same again. */
#include <math.h>
#include <string.h>

#include "core/io/json.h"
#include "fuzz.h"

/* Visits everything, by every function that looks at a value. */
static void walk(const lip_json *v, int depth) {
  const char *text = NULL, *key = NULL;
  const lip_json *value;
  double number;
  uint64_t whole;
  int64_t whole_or_less;
  bool flag;
  void *iter = NULL;
  size_t members = 0;
  FUZZ_MUST(v && depth <= LIP_JSON_MAX_DEPTH + 1); /* the innermost have no brackets */
  if (lip_json_text(v, &text)) FUZZ_MUST(text);
  if (lip_json_number(v, &number)) FUZZ_MUST(!isnan(number));
  if (lip_json_whole(v, &whole)) FUZZ_MUST(lip_json_signed(v, &whole_or_less) && whole_or_less >= 0);
  if (lip_json_bool(v, &flag)) FUZZ_MUST(lip_json_typeof(v) == LIP_JSON_BOOL);
  FUZZ_MUST(lip_json_typename(v));
  if (lip_json_typeof(v) == LIP_JSON_ARRAY)
    for (size_t i = 0; i < lip_json_size(v); i++) walk(lip_json_at(v, i), depth + 1);
  if (lip_json_typeof(v) != LIP_JSON_OBJECT) return;
  while (lip_json_next(v, &iter, &key, &value)) {
    FUZZ_MUST(lip_json_get(v, key) == value);
    walk(value, depth + 1);
    members++;
  }
  FUZZ_MUST(members == lip_json_size(v));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lip_json *v, *again;
  lip_err err;
  lip_str one = {0}, two = {0};
  fuzz_begin();
  if (fuzz_answer(lip_json_parse((const char *)data, size, "fuzz", &v, &err), &err)) {
    walk(v, 1);
    FUZZ_MUST(lip_json_print(v, &one));
    FUZZ_MUST(lip_json_parse(one.text, one.len, "printed", &again, &err) == LIP_OK);
    FUZZ_MUST(lip_json_print(again, &two));
    FUZZ_MUST(one.len == two.len && memcmp(one.text, two.text, one.len) == 0);
    lip_json_free(again);
  }
  lip_json_free(v);
  lip_str_free(&one);
  lip_str_free(&two);
  fuzz_end(size, 0);
  return 0;
}
