#include "core/layer/emit.h"

#include <string.h>

#include "core/base/mem.h"

static void no_memory(lip_emit *e) {
  if (!e->status) e->status = lip_fail(&e->err, LIP_MEMORY, "out of memory for what the net computes");
}

void lip_emit_refuse(lip_emit *e, const char *why) {
  if (!e->status)
    e->status = lip_fail(&e->err, LIP_UNSUPPORTED, "%s: cannot be written in another format: %s",
                         e->layer ? e->layer->kind->desc.name : "net", why);
}

void *lip_emit_take(lip_emit *e, size_t n, size_t size) {
  if (e->status) return NULL;
  if (e->n_block == e->block_room) {
    const size_t room = 2 * e->block_room + 16;
    void **more = lip_realloc(e->block, room, sizeof *more);
    if (!more) return no_memory(e), NULL;
    e->block = more;
    e->block_room = room;
  }
  void *p = lip_alloc(n > 0 ? n : 1, size);
  if (!p) return no_memory(e), NULL;
  return e->block[e->n_block++] = p;
}

size_t lip_emit_add(lip_emit *e, const lip_emit_step *step, const size_t *x, size_t n) {
  if (e->status) return 0;
  if (e->n == e->room) {
    const size_t room = 2 * e->room + 16;
    lip_emit_step *more = lip_realloc(e->step, room, sizeof *more);
    if (!more) return no_memory(e), 0;
    e->step = more;
    e->room = room;
  }
  size_t *own = lip_emit_take(e, n, sizeof *own);
  if (!own) return 0;
  if (n > 0) memcpy(own, x, n * sizeof *own);
  lip_emit_step *at = &e->step[e->n];
  *at = *step;
  at->layer = e->layer;
  at->x = own;
  at->n_x = n;
  return e->n++;
}

size_t lip_emit_map(lip_emit *e, const lip_layer *l, size_t x, lip_emit_function f, double parameter) {
  return lip_emit_add(
      e, &(lip_emit_step){.op = LIP_EMIT_MAP, .out = l->out, .u.map = {.f = f, .parameter = parameter}}, &x,
      1);
}

static bool same_shape(const lip_shape *a, const lip_shape *b) {
  bool same = a->ndim == b->ndim;
  for (int k = 0; same && k < a->ndim; k++) same = a->dim[k] == b->dim[k];
  return same;
}

size_t lip_emit_sum(lip_emit *e, const lip_layer *l, const size_t *x, size_t n, const float *weight) {
  size_t *own = lip_emit_take(e, n, sizeof *own);
  for (size_t i = 0; own && !e->status && i < n; i++)
    own[i] = same_shape(&e->step[x[i]].out, &l->out)
                 ? x[i]
                 : lip_emit_add(e, &(lip_emit_step){.op = LIP_EMIT_RESHAPE, .out = l->out}, &x[i], 1);
  if (!own) return 0;
  return lip_emit_add(e, &(lip_emit_step){.op = LIP_EMIT_SUM, .out = l->out, .u.sum = {.weight = weight}},
                      own, n);
}

size_t lip_emit_layer(lip_emit *e, const lip_layer *l, size_t x) {
  if (e->status) return 0;
  const lip_layer *outer = e->layer;
  e->layer = l;
  size_t y = x;
  if (l->kind->emit)
    y = l->kind->emit(l, e, x);
  else
    lip_emit_refuse(e, "no other format has this layer");
  e->layer = outer;
  return y;
}

size_t lip_emit_chain(const lip_layer *l, lip_emit *e, size_t x) {
  for (size_t i = 0; i < l->n_child; i++) x = lip_emit_layer(e, l->child[i], x);
  return x;
}

lip_status lip_emit_init(lip_emit *e, const lip_layer *root, lip_err *err) {
  *e = (lip_emit){0};
  lip_emit_add(e, &(lip_emit_step){.op = LIP_EMIT_INPUT, .out = root->in}, NULL, 0);
  e->out = lip_emit_layer(e, root, 0);
  if (e->status) *err = e->err;
  return e->status;
}

void lip_emit_free(lip_emit *e) {
  for (size_t i = 0; i < e->n_block; i++) lip_free(e->block[i]);
  lip_free(e->block);
  lip_free(e->step);
  *e = (lip_emit){0};
}
