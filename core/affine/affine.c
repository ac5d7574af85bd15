#include "core/affine/affine.h"

#include <math.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/layer/same_shape.h"

enum { LARGEST = 1 << 27 };

static lip_status no_memory(lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "out of memory for the matrices of a net");
}

/* A new last block whose units pass everything on. */
static lip_block *add_block(lip_affine *a, size_t M, size_t N) {
  lip_block *grown = lip_alloc(a->n + 1, sizeof *grown);
  if (!grown) return NULL;
  if (a->n) memcpy(grown, a->block, a->n * sizeof *grown);
  lip_free(a->block);
  a->block = grown;
  lip_block *k = &a->block[a->n++];
  *k = (lip_block){.M = M, .N = N};
  k->W = lip_alloc(M * N, sizeof *k->W);
  k->b = lip_alloc(M, sizeof *k->b);
  k->low = lip_alloc(M, sizeof *k->low);
  k->high = lip_alloc(M, sizeof *k->high);
  if (!k->W || !k->b || !k->low || !k->high) return NULL;
  for (size_t i = 0; i < M; i++) k->low[i] = k->high[i] = 1;
  return k;
}

static lip_block *add_identity(lip_affine *a, size_t n) {
  lip_block *k = add_block(a, n, n);
  if (!k) return NULL;
  memset(k->W, 0, n * n * sizeof *k->W);
  memset(k->b, 0, n * sizeof *k->b);
  for (size_t i = 0; i < n; i++) k->W[i * n + i] = 1;
  return k;
}

static bool is_plain(const lip_block *k) {
  if (k->mate || k->phi) return false;
  for (size_t i = 0; i < k->M; i++)
    if (k->low[i] != 1 || k->high[i] != 1) return false;
  return true;
}

/* The block whose matrix is followed by nothing yet. */
static lip_block *open_block(lip_affine *a, size_t n) {
  if (a->n > 0 && is_plain(&a->block[a->n - 1])) return &a->block[a->n - 1];
  return add_identity(a, n);
}

static bool fits(size_t M, size_t N) {
  return N == 0 || M <= LARGEST / N;
}

static lip_status add_slopes(lip_affine *a, const lip_layer *l, lip_err *err) {
  if (l->kind->slopes == lip_identity_slopes) return LIP_OK; /* passes everything on */
  lip_block *k = open_block(a, l->n_in);
  if (!k) return no_memory(err);
  l->kind->slopes(l, k->low, k->high);
  k->phi = l;
  return LIP_OK;
}

static lip_status add_exchanges(lip_affine *a, const lip_layer *l, bool *known, lip_err *err) {
  uint32_t *mate = lip_alloc(l->n_in, sizeof *mate);
  if (!mate) return no_memory(err);
  lip_status status = LIP_OK;
  for (size_t round = 0; !status && l->kind->exchange(l, round, mate); round++) {
    *known = true;
    lip_block *k = open_block(a, l->n_in);
    uint32_t *own = k ? lip_alloc(l->n_in, sizeof *own) : NULL;
    if (!own) {
      status = no_memory(err);
      break;
    }
    memcpy(own, mate, l->n_in * sizeof *own);
    k->mate = own;
    k->descending = (l->kind->flags & LIP_LAYER_DESCENDING) != 0;
    for (size_t i = 0; i < l->n_in; i++)
      if (mate[i] < i) k->low[i] = -1;
  }
  lip_free(mate);
  return status;
}

/* *known tells whether the layer has this form. */
static lip_status add_layer(lip_affine *a, const lip_layer *l, bool *known, lip_err *err) {
  *known = true;
  if (l->kind->flags & LIP_LAYER_ALIAS) return LIP_OK;
  if (!fits(l->n_out, l->n_in)) {
    *known = false;
  } else if (l->kind->matrix) {
    lip_block *k = add_block(a, l->n_out, l->n_in);
    if (!k) return no_memory(err);
    l->kind->matrix(l, k->W, k->b);
  } else if (l->kind->slopes) {
    return add_slopes(a, l, err);
  } else if (l->kind->exchange) {
    *known = false;
    return add_exchanges(a, l, known, err);
  } else {
    *known = false;
  }
  return LIP_OK;
}

lip_status lip_affine_init(lip_affine *a, const lip_net *net, lip_err *err) {
  const lip_layer *chain = net->root;
  *a = (lip_affine){.n_in = chain->n_in, .n_out = chain->n_out};
  for (size_t i = 0; i < chain->n_child; i++) {
    bool known;
    lip_status status = add_layer(a, chain->child[i], &known, err);
    if (!status && known) continue;
    lip_affine_free(a);
    if (status) return status;
    a->n_in = chain->n_in;
    a->n_out = chain->n_out;
    a->unknown = chain->child[i]->kind->desc.name;
    a->unknown_at = i;
    a->too_large = !fits(chain->child[i]->n_out, chain->child[i]->n_in);
    return LIP_OK;
  }
  /* the last block is a matrix alone */
  if (a->n == 0 || !is_plain(&a->block[a->n - 1])) {
    if (!fits(a->n_out, a->n_out)) {
      size_t last = chain->n_child ? chain->n_child - 1 : 0;
      lip_affine_free(a);
      a->unknown = chain->n_child ? chain->child[last]->kind->desc.name : "net";
      a->unknown_at = last;
      a->too_large = true;
    } else if (!add_identity(a, a->n_out)) {
      lip_affine_free(a);
      return no_memory(err);
    }
  }
  return LIP_OK;
}

void lip_affine_free(lip_affine *a) {
  for (size_t i = 0; i < a->n; i++) {
    lip_block *k = &a->block[i];
    lip_free(k->W);
    lip_free(k->b);
    lip_free(k->low);
    lip_free(k->high);
    lip_free(k->mate);
  }
  lip_free(a->block);
  *a = (lip_affine){0};
}
