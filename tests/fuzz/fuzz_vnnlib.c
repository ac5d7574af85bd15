/* VNN-LIB: what is read is written in both versions, and reading that gives the same text again; a point that the tree
 * calls unsafe is in the box of some case. */
#include <string.h>

#include "core/base/mem.h"
#include "core/exchange/vnnlib.h"
#include "fuzz.h"

/* Larger ones would only take time here. */
enum { NUMBERS = 4096, CASES = 64 };

static void check_text(const lip_vnnlib *v, int version) {
  lip_err err;
  lip_str first = {0}, second = {0};
  lip_vnnlib *again = NULL;
  if (!fuzz_answer(lip_vnnlib_text(v, version, &first, &err), &err)) {
    lip_str_free(&first);
    return;
  }
  FUZZ_MUST(!lip_vnnlib_read("the text", first.text, first.len, &again, &err));
  FUZZ_MUST(again->n_x == v->n_x && again->n_y == v->n_y && again->n_node == v->n_node);
  FUZZ_MUST(!lip_vnnlib_text(again, version, &second, &err));
  FUZZ_MUST(first.len == second.len && memcmp(first.text, second.text, first.len) == 0);
  lip_vnnlib_free(again);
  lip_str_free(&first);
  lip_str_free(&second);
}

static bool in_box(const double *low, const double *high, const float *x, size_t n) {
  for (size_t k = 0; k < n; k++)
    if (!((double)x[k] >= low[k] && (double)x[k] <= high[k])) return false;
  return true;
}

static void check_point(const lip_vnnlib *v, float value) {
  lip_err err;
  lip_vnnlib_cases c;
  lip_vnnlib_state state;
  float *x = lip_alloc(v->n_x, sizeof *x), *y = lip_alloc(v->n_y, sizeof *y);
  double *box = lip_alloc(v->n_x, 2 * sizeof *box);
  FUZZ_MUST(x && y && box);
  for (size_t k = 0; k < v->n_x; k++) x[k] = value;
  for (size_t k = 0; k < v->n_y; k++) y[k] = -value;
  FUZZ_MUST(!lip_vnnlib_point(v, x, y, &state, &err));
  if (fuzz_answer(lip_vnnlib_expand(v, &c, &err), &err)) {
    bool found = false, *empty = lip_alloc(c.n, sizeof *empty);
    FUZZ_MUST(empty && !lip_vnnlib_empty(v, &c, empty, &err));
    for (size_t i = 0; i < c.n && c.n <= CASES; i++) {
      bool some = lip_vnnlib_box(v, &c, i, box, box + v->n_x);
      FUZZ_MUST(empty[i] == !some);
      found = found || (some && in_box(box, box + v->n_x, x, v->n_x));
      lip_property p = {.asked = LIP_ASK_ROWS, .C = v->n_y};
      if (fuzz_answer(lip_vnnlib_spec(v, &c, i, &p, &err), &err)) FUZZ_MUST(p.n == 1);
      lip_property_free(&p);
    }
    FUZZ_MUST(found || state != LIP_VNNLIB_UNSAFE || c.n > CASES);
    lip_free(empty);
    lip_vnnlib_cases_free(&c);
  }
  lip_free(x);
  lip_free(y);
  lip_free(box);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lip_err err;
  lip_vnnlib *v;
  const char *path = fuzz_file(0, data, size);
  size_t readable = fuzz_readable(path);
  fuzz_begin();
  if (fuzz_answer(lip_vnnlib_load(path, &v, &err), &err)) {
    FUZZ_MUST(v->n_x > 0 && v->n_y > 0 && v->n_x <= LIP_VNNLIB_MOST && v->n_y <= LIP_VNNLIB_MOST);
    if (v->n_x <= NUMBERS && v->n_y <= NUMBERS) {
      check_text(v, 1);
      check_text(v, 2);
      check_point(v, 0);
      check_point(v, 0.1f);
    }
    lip_vnnlib_free(v);
  }
  /* the cases of a small file may be many, up to a limit of their own; a decimal has up to 2000 digits when written */
  fuzz_end(2 * size + readable, (size_t)96 << 20);
  return 0;
}
