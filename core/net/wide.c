/* The forward pass in double: float32 weights and inputs, every product and sum in double, activations kept in double
 * from layer to layer. Its rounding error is 2^-29 of the float32 pass's, so a certificate loses nothing to it. */
#include "core/net/wide.h"

#include <stdint.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/base/thread.h"

static bool is_alias(const lip_layer *l) {
  return (l->kind->flags & LIP_LAYER_ALIAS) != 0;
}

const char *lip_wide_missing(const lip_net *net) {
  for (size_t i = 0; i < net->root->n_child; i++) {
    const lip_layer *l = net->root->child[i];
    if (!is_alias(l) && !l->kind->wide) return l->kind->desc.name;
  }
  return NULL;
}

size_t lip_wide_room(const lip_net *net) {
  size_t widest = net->root->n_in;
  for (size_t i = 0; i < net->root->n_child; i++)
    if (net->root->child[i]->n_out > widest) widest = net->root->child[i]->n_out;
  return 2 * ((widest + LIP_WIDE_ALIGN - 1) / LIP_WIDE_ALIGN * LIP_WIDE_ALIGN);
}

const double *lip_wide_row(const lip_net *net, const float *x, double *room, lip_wide_seen *seen, void *arg) {
  double *h = room, *next = room + lip_wide_room(net) / 2;
  for (size_t k = 0; k < net->root->n_in; k++) h[k] = (double)x[k];
  for (size_t i = 0; i < net->root->n_child; i++) {
    const lip_layer *l = net->root->child[i];
    if (is_alias(l)) continue;
    l->kind->wide(l, 1, h, next);
    if (seen) seen(arg, l, h, next);
    double *t = h;
    h = next;
    next = t;
  }
  return h;
}

typedef struct job {
  const lip_net *net;
  const float *x;
  size_t B, each;
  double *room, *logits;
} job;

static void run(void *arg, const lip_worker *me) {
  const job *j = arg;
  size_t r0, r1, n_in = j->net->root->n_in, C = j->net->root->n_out;
  lip_share(me, j->B, 1, &r0, &r1);
  for (size_t r = r0; r < r1 && !lip_cancel_raised(j->net->engine.cancel); r++)
    memcpy(j->logits + r * C, lip_wide_row(j->net, j->x + r * n_in, j->room + me->id * j->each, NULL, NULL),
           C * sizeof *j->logits);
}

lip_status lip_wide_forward(const lip_net *net, const float *x, size_t B, double *logits, lip_err *err) {
  const char *missing = lip_wide_missing(net);
  if (missing) return lip_fail(err, LIP_UNSUPPORTED, "the layer '%s' has no double mode", missing);
  job j = {net, x, B, lip_wide_room(net), NULL, logits};
  j.room = lip_alloc(lip_pool_threads(net->engine.pool) * j.each, sizeof *j.room);
  if (!j.room) return lip_fail(err, LIP_MEMORY, "out of memory for a forward pass in double");
  lip_pool_run(net->engine.pool, false, run, &j);
  lip_free(j.room);
  return lip_cancel_raised(net->engine.cancel) ? lip_fail(err, LIP_CANCELLED, "cancelled by the user")
                                               : LIP_OK;
}
