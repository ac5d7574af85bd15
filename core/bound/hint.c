/* Backwards from weight w = 1 at the output of the last layer that bends: a layer of constant k with own multipliers lambda,
 *   k^2 |x|^2 - |y|^2 - sum lambda_i (y_i - low z_i)(high z_i - y_i) >= 0,
 * takes part with w lambda and leaves w k^2 to the layer before. A matrix has none and k = ||W||. Of a map of single values
 * with slopes in [low, high], s = max(|low|, |high|) and t the other one, lambda = 2 s / |s - t| leaves the square
 * (s z - y)^2 t' with t' >= 0; a pair that is put in order counts as slopes [-1, 1] of its difference, whose square is
 * twice as large as in orthonormal coordinates. */
#include "core/bound/hint.h"

#include <math.h>
#include <string.h>

#include "core/bound/lmi.h"

static const lip_pq euclidean = {LIP_P2, LIP_P2};

/* Multipliers of one block of a layer of single values or pairs, times w; its constant. */
static double of_units(const lip_block *b, double w, double *lambda) {
  double most = 0;
  for (size_t k = 0; k < b->own; k++) {
    const double low = b->low[k], high = b->high[k], s = fmax(fabs(low), fabs(high));
    const bool pair = b->mate && b->mate[k] != k;
    if (low < high) lambda[k] = w * (pair ? 0.5 : 2 * s / (high - low));
    most = fmax(most, s);
  }
  return most;
}

/* The blocks of layer i are those before *b with that place; *at: their first unit. They get w times their multipliers.
 * Returns the constant of the layer, negative: unknown. */
static double of_layer(const lip_layer *l, const lip_affine *a, size_t i, double w, double *lambda, size_t *b,
                       size_t *at) {
  double k = 1, upper = INFINITY;
  bool told = false;
  if (l->kind->flags & LIP_LAYER_ALIAS) return 1;
  const bool plain = l->n_child == 0 && (l->kind->slopes || l->kind->exchange) && !l->kind->matrix;
  while (*b > 0 && a->block[*b - 1].layer >= i) {
    const lip_block *block = &a->block[--*b];
    bool bends = false;
    *at -= block->M;
    for (size_t u = 0; u < block->own; u++) bends = bends || block->low[u] < block->high[u];
    if (block->layer != i || !bends) continue;
    if (l->kind->multipliers && !told) {
      k = l->kind->multipliers(l, lambda + *at);
      for (size_t u = 0; u < block->own; u++) lambda[*at + u] *= w;
      told = true;
    } else if (plain) {
      const double own = of_units(block, w, lambda + *at);
      k *= own;
      w *= own * own;
      told = true;
    } else {
      return -1;
    }
  }
  if (told) return k;
  if (lip_layer_bound(l, euclidean, &upper, NULL) || !(upper < INFINITY)) return -1;
  return upper;
}

static bool has_blocks(const lip_affine *a, size_t n, size_t i) {
  for (size_t b = 0; b < n; b++)
    for (size_t u = 0; a->block[b].layer == i && u < a->block[b].own; u++)
      if (a->block[b].low[u] < a->block[b].high[u]) return true;
  return false;
}

bool lip_hint(const lip_net *net, const lip_affine *a, double *lambda, double *tail) {
  const lip_layer *chain = net->root;
  size_t b = a->n - 1, at = lip_affine_units(a), i = chain->n_child;
  bool any = false;
  double w = 1;
  for (size_t k = 0; k < chain->n_child; k++) any = any || chain->child[k]->kind->multipliers;
  if (!any) return false;
  memset(lambda, 0, at * sizeof *lambda);
  *tail = 1;
  for (; i > 0 && !has_blocks(a, a->n - 1, i - 1); i--) {
    double k;
    if (chain->child[i - 1]->kind->flags & LIP_LAYER_ALIAS) continue;
    if (lip_layer_bound(chain->child[i - 1], euclidean, &k, NULL)) return false;
    *tail *= k;
  }
  for (; i > 0; i--) {
    const double k = of_layer(chain->child[i - 1], a, i - 1, w, lambda, &b, &at);
    if (!(k > 0 && k < INFINITY)) return false;
    w *= k * k;
  }
  return *tail > 0 && *tail < INFINITY;
}
