/* What a method has found: how it begins, one method run, how it ends. */
#include "core/bound/found.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/base/mem.h"

void lip_found_free(lip_found *f) {
  lip_free(f->pair);
  lip_proof_free(f->proof);
  *f = (lip_found){.upper = INFINITY};
}

lip_status lip_found_init(const lip_ask *ask, const char *method, lip_found *f, lip_err *err) {
  size_t C = lip_ask_outputs(ask), all;
  *f = (lip_found){.upper = INFINITY, .method = method};
  if (!ask->pairs) return LIP_OK;
  if (!lip_mul_fits(C, C, &all) || !(f->pair = lip_alloc(all, sizeof *f->pair)))
    return lip_fail(err, LIP_MEMORY, "out of memory for the pairs of %zu classes", C);
  for (size_t i = 0; i < all; i++) f->pair[i] = i % (C + 1) == 0 ? 0 : (double)INFINITY;
  return LIP_OK;
}

lip_status lip_method_apply(const lip_method *m, const lip_ask *ask, lip_found *out, lip_err *err) {
  lip_status status = lip_found_init(ask, m->name, out, err);
  if (!status && m->takes(ask, out->reason)) {
    lip_watch_begin(ask->progress, m->name, 0);
    status = m->run(ask, out, err);
  }
  if (status) lip_found_free(out);
  if (!(out->upper >= 0)) out->upper = INFINITY; /* NaN */
  return status;
}

/* ---- reasons ---- */

bool lip_because(char *why, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(why, LIP_REASON, format, args);
  va_end(args);
  return false;
}

bool lip_ask_has_form(const lip_ask *ask, char *why) {
  const lip_affine *a = ask->affine;
  if (a->n > 0) return true;
  if (!a->unknown) return lip_because(why, "the net is not known as matrices with slopes between them");
  char where[96];
  snprintf(where, sizeof where, "layer %zu (%s%s%s)", a->unknown_at + 1, a->inside ? a->inside : "",
           a->inside ? ": its " : "", a->unknown);
  if (a->too_large)
    return lip_because(why, "%s makes matrices too large: one of more than 2^27 numbers, or 2^28 in all",
                       where);
  return lip_because(why, "%s is no matrix and no slopes unit by unit, which this method needs", where);
}

void lip_out_of_time(const lip_ask *ask, char *why, size_t done, size_t total, const char *what) {
  lip_because(why, "out of time: %zu of %zu %s done within %.3g s (option seconds)", done, total, what,
              ask->seconds);
}
