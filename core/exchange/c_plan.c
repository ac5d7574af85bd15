/* Where the values of a net stand: the largest first, each at the lowest place where no value of the same time is (the
 * usual greedy packing of tensor arenas; within a few per cent of the best for chains and their like). */
#include <stdint.h>

#include "core/base/mem.h"
#include "core/exchange/c_parts.h"

static void mark_used(lip_c_plan *p, const lip_emit *e) {
  p->value[e->out].used = true;
  p->value[0].used = true;
  for (size_t i = e->n; i-- > 0;)
    for (size_t k = 0; p->value[i].used && k < e->step[i].n_x; k++) p->value[e->step[i].x[k]].used = true;
}

/* Whether step i may write over its first input: that stands in the room, and nobody reads it later or twice now. */
static bool moves_in(const lip_c_plan *p, const lip_emit *e, size_t i) {
  const lip_emit_step *s = &e->step[i];
  if (!lip_c_in_place(s->op)) return false;
  const size_t home = p->value[s->x[0]].home;
  if (home == 0 || p->value[home].last != i) return false;
  for (size_t k = 1; k < s->n_x; k++)
    if (p->value[s->x[k]].home == home) return false;
  return true;
}

/* Homes and, of each value, the last step that reads its numbers, under whatever name. */
static void settle(lip_c_plan *p, const lip_emit *e) {
  for (size_t i = e->n; i-- > 0;) { /* backwards, so that a new shape has been seen before the value itself */
    lip_c_value *v = &p->value[i];
    const lip_emit_step *s = &e->step[i];
    if (v->last < i) v->last = i;
    for (size_t k = 0; v->used && k < s->n_x; k++) {
      size_t *last = &p->value[s->x[k]].last;
      const size_t until = s->op == LIP_EMIT_RESHAPE ? v->last : i;
      if (*last < until) *last = until;
    }
    if (i == e->out) v->last = e->n;
  }
  p->value[e->out].last = e->n;
}

static void find_homes(lip_c_plan *p, const lip_emit *e) {
  for (size_t i = 0; i < e->n; i++) {
    lip_c_value *v = &p->value[i];
    const lip_emit_step *s = &e->step[i];
    v->home = i;
    v->place = i == 0 ? LIP_C_X : LIP_C_ROOM;
    if (!v->used || s->n_x == 0) continue;
    if (s->op == LIP_EMIT_RESHAPE || moves_in(p, e, i)) v->home = p->value[s->x[0]].home;
    if (v->last > p->value[v->home].last) p->value[v->home].last = v->last;
  }
}

static bool placed_in_room(const lip_c_plan *p, size_t i) {
  return p->value[i].used && p->value[i].home == i && p->value[i].place == LIP_C_ROOM;
}

/* The lowest place for value i beside those that are placed (`done`) and live at the same time. */
static size_t lowest(const lip_c_plan *p, const bool *done, size_t i) {
  const lip_c_value *v = &p->value[i];
  for (size_t at = 0;;) {
    size_t next = at;
    for (size_t j = 0; j < p->n; j++) {
      const lip_c_value *w = &p->value[j];
      const bool together = j <= v->last && i <= w->last;
      if (done[j] && together && w->at < at + v->size && at < w->at + w->size && w->at + w->size > next)
        next = w->at + w->size;
    }
    if (next == at) return at;
    at = next;
  }
}

static void pack(lip_c_plan *p, bool *done) {
  for (;;) {
    size_t largest = SIZE_MAX;
    for (size_t i = 0; i < p->n; i++)
      if (!done[i] && placed_in_room(p, i) &&
          (largest == SIZE_MAX || p->value[i].size > p->value[largest].size))
        largest = i;
    if (largest == SIZE_MAX) return;
    lip_c_value *v = &p->value[largest];
    v->at = lowest(p, done, largest);
    done[largest] = true;
    if (v->at + v->size > p->room) p->room = v->at + v->size;
  }
}

lip_status lip_c_plan_init(lip_c_plan *p, const lip_emit *e, lip_err *err) {
  *p = (lip_c_plan){.n = e->n, .value = lip_alloc(e->n, sizeof *p->value)};
  bool *done = lip_alloc(e->n, sizeof *done);
  if (!p->value || !done) {
    lip_free(done);
    return lip_fail(err, LIP_MEMORY, "out of memory for the C source of %zu steps", e->n);
  }
  for (size_t i = 0; i < e->n; i++) p->value[i].size = lip_shape_size(&e->step[i].out);
  mark_used(p, e);
  settle(p, e);
  find_homes(p, e);
  lip_c_value *out = &p->value[p->value[e->out].home];
  p->copied = out->place == LIP_C_X;
  if (!p->copied) out->place = LIP_C_Y;
  pack(p, done);
  lip_free(done);
  return LIP_OK;
}

void lip_c_plan_free(lip_c_plan *p) {
  lip_free(p->value);
  *p = (lip_c_plan){0};
}
