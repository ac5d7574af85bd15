#include "core/net/optim.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/registry.h"

#define LIP_OPTIM(name) extern const lip_optim_kind lip_optim_##name;
#include "core/net/optims.def"
#undef LIP_OPTIM

static const lip_optim_kind *const kinds[] = {
#define LIP_OPTIM(name) &lip_optim_##name,
#include "core/net/optims.def"
#undef LIP_OPTIM
};

LIP_REGISTRY(lip_optim_kind, lip_optim_kind, kinds, desc.name)

/* An option that every kind has, or `none`. */
static double real_option(const lip_desc *desc, const void *conf, const char *name, double none) {
  const lip_opt *o = lip_opt_find(desc, name);
  return o && o->type == LIP_OPT_REAL ? *(const double *)((const char *)conf + o->offset) : none;
}

lip_status lip_optim_new(const lip_optim_kind *kind, const void *conf, lip_optim **out, lip_err *err) {
  *out = NULL;
  lip_optim *o = lip_alloc(1, sizeof *o);
  if (!o) return lip_fail(err, LIP_MEMORY, "%s: no memory for the optimiser", kind->desc.name);
  o->kind = kind;
  o->conf = conf ? lip_conf_copy(&kind->desc, conf) : lip_conf_new(&kind->desc);
  if (!o->conf) {
    lip_free(o);
    return lip_fail(err, LIP_MEMORY, "%s: no memory for the optimiser", kind->desc.name);
  }
  o->lr = real_option(&kind->desc, o->conf, "lr", 0);
  o->clip_norm = real_option(&kind->desc, o->conf, "clip_norm", INFINITY);
  *out = o;
  return LIP_OK;
}

void lip_optim_free(lip_optim *o) {
  if (!o) return;
  lip_conf_free(&o->kind->desc, o->conf);
  lip_free(o->state);
  lip_free(o);
}

lip_status lip_optim_reserve(lip_optim *o, size_t n, lip_err *err) {
  if (o->state) {
    if (o->n == n) return LIP_OK;
    return lip_fail(
        err, LIP_STATE,
        "%s: this optimiser holds the state of another net (%zu parameters, this one has %zu); make "
        "one optimiser per net",
        o->kind->desc.name, o->n, n);
  }
  size_t count;
  float *state = lip_mul_fits(o->kind->slots, n, &count) ? lip_alloc(count, sizeof *state) : NULL;
  if (!state)
    return lip_fail(err, LIP_MEMORY, "%s: no memory for the state of %zu parameters", o->kind->desc.name, n);
  o->state = state;
  o->n = n;
  return LIP_OK;
}
