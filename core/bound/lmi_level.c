#include "core/bound/lmi_level.h"

#include "core/base/mem.h"

bool lip_level_alloc(lip_level *l) {
  double **vectors[] = {&l->low, &l->high, &l->lambda, &l->p, &l->q, &l->row, &l->scale, &l->v};
  bool complete = true;
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    *vectors[i] = lip_alloc(l->k, sizeof(double));
    complete = complete && *vectors[i];
  }
  l->A = lip_alloc(l->k, l->below * sizeof(double));
  l->size = lip_alloc(l->k, l->below * sizeof(double));
  l->B = lip_alloc(l->k + l->below, l->k * sizeof(double));
  return complete && l->A && l->size && l->B;
}

void lip_level_free(lip_level *l) {
  double *own[] = {l->A, l->size, l->low, l->high, l->lambda, l->p, l->q, l->B, l->row, l->scale, l->v};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) lip_free(own[i]);
}
