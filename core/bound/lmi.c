#include "core/bound/lmi.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"

size_t lip_affine_units(const lip_affine *a) {
  size_t units = 0;
  for (size_t i = 0; i + 1 < a->n; i++) units += a->block[i].M;
  return units;
}

lip_status lip_proof_new(size_t n, size_t units, lip_proof **out, lip_err *err) {
  *out = NULL;
  lip_proof *p = lip_alloc(1, sizeof *p);
  if (!p) return lip_fail(err, LIP_MEMORY, "out of memory for a proof");
  p->units = units;
  p->item = lip_alloc(n, sizeof *p->item);
  bool complete = p->item != NULL;
  for (; complete && p->n < n; p->n++) {
    lip_multipliers *m = &p->item[p->n];
    *m = (lip_multipliers){{LIP_NO_ROW, LIP_NO_ROW}, INFINITY, lip_alloc(units, sizeof(double)), NULL};
    complete = m->lambda != NULL;
    if (complete) memset(m->lambda, 0, units * sizeof *m->lambda);
  }
  if (!complete) {
    lip_proof_free(p);
    return lip_fail(err, LIP_MEMORY, "out of memory for %zu proofs of %zu multipliers", n, units);
  }
  *out = p;
  return LIP_OK;
}

void lip_proof_free(lip_proof *p) {
  if (!p) return;
  for (size_t i = 0; i < p->n; i++) {
    lip_free(p->item[i].lambda);
    lip_free(p->item[i].d);
  }
  lip_free(p->item);
  lip_free(p);
}
