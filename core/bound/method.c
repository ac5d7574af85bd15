/* The table of methods, and the smallest of their numbers. */
#include "core/bound/method.h"

#include <math.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/registry.h"
#include "core/bound/found.h"

#define LIP_METHOD(name) extern const lip_method lip_method_##name;
#include "core/bound/methods.def"
#undef LIP_METHOD

static const lip_method *const table[] = {
#define LIP_METHOD(name) &lip_method_##name,
#include "core/bound/methods.def"
#undef LIP_METHOD
};

LIP_REGISTRY(lip_method, lip_method, table, name)
_Static_assert(sizeof table / sizeof *table <= LIP_METHODS, "lip_found.tried has no room for every method");

/* Keeps the smaller of each number; the name and the proof go with the pairs, or with the upper where there are none. */
static void take_smaller(lip_found *best, lip_found *f, size_t pairs) {
  bool better = f->upper < best->upper;
  if (better) best->upper = f->upper;
  for (size_t i = 0; i < pairs; i++)
    if (f->pair[i] < best->pair[i]) {
      best->pair[i] = f->pair[i];
      better = true;
    }
  if (!better) return;
  best->method = f->method;
  lip_proof *old = best->proof;
  best->proof = f->proof;
  f->proof = old;
}

/* One method of "best", unless there is a reason not to. */
static lip_status try_one(const lip_method *m, const lip_ask *ask, lip_found *best, lip_err *err) {
  size_t C = lip_ask_outputs(ask);
  lip_tried *t = &best->tried[best->n_tried++];
  double began = lip_seconds();
  *t = (lip_tried){.method = m->name, .upper = INFINITY};
  if (ask->carried && m->bare) {
    lip_because(t->reason, "a certificate file cannot carry its proof");
    return LIP_OK;
  }
  if (best->n_tried > 1 && !(ask->seconds > 0)) {
    lip_because(t->reason, "no time is left for it");
    return LIP_OK;
  }
  lip_found f;
  lip_status status = lip_method_apply(m, ask, &f, err);
  if (status) return status;
  t->upper = f.upper;
  t->seconds = lip_seconds() - began;
  memcpy(t->reason, f.reason, sizeof t->reason);
  best->longest = fmax(best->longest, f.longest);
  take_smaller(best, &f, ask->pairs ? C * C : 0);
  lip_found_free(&f);
  return LIP_OK;
}

/* What of the time that is left a method may have: some need it more than others, and what one leaves over goes to those
 * behind it. Those that do not take the question get none. */
static double share_of(const lip_ask *ask, size_t at) {
  static const struct {
    const char *name;
    double weight;
  } hungry[] = {{"recursion", 3}, {"multiplier", 8}};
  double own = 0, all = 0;
  const lip_method *m;
  char why[LIP_REASON];
  for (size_t i = at; (m = lip_method_at(i)); i++) {
    double weight = 1;
    for (size_t k = 0; k < sizeof hungry / sizeof *hungry; k++)
      if (strcmp(m->name, hungry[k].name) == 0) weight = hungry[k].weight;
    if ((ask->carried && m->bare) || !m->takes(ask, why)) weight = 0;
    if (i == at) own = weight;
    all += weight;
  }
  return own > 0 ? own / all : 1;
}

/* The product comes first whatever the time, so that nothing here is ever worse. */
static lip_status run_best(const lip_ask *ask, lip_found *out, lip_err *err) {
  double finish = lip_seconds() + ask->seconds;
  lip_status status = lip_found_init(ask, "product", out, err);
  const lip_method *m;
  for (size_t i = 0; !status && (m = lip_method_at(i)); i++) {
    lip_ask part = *ask;
    part.seconds = (finish - lip_seconds()) * share_of(ask, i);
    part.longest = out->longest;
    part.known = i > 0 && !ask->pairs ? out->upper : 0;
    status = try_one(m, &part, out, err);
  }
  if (status) lip_found_free(out);
  if (!status && !(out->upper < INFINITY)) memcpy(out->reason, out->tried[0].reason, sizeof out->reason);
  for (size_t i = 0; !status && out->upper < INFINITY && i < out->n_tried;
       i++) /* that its search was cut short */
    if (out->method && strcmp(out->tried[i].method, out->method) == 0)
      memcpy(out->reason, out->tried[i].reason, sizeof out->reason);
  return status;
}

lip_status lip_method_run(const char *name, const lip_ask *ask, lip_found *out, lip_err *err) {
  *out = (lip_found){.upper = INFINITY};
  if (strcmp(name, "best") == 0) return run_best(ask, out, err);
  const lip_method *m = lip_method_find(name);
  if (!m) return lip_fail(err, LIP_OPTION, "there is no method '%s' to bound a net", name);
  return lip_method_apply(m, ask, out, err);
}
