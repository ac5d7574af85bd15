/* Steps of a net as statements: a call of a helper with constants, and the tables it reads. */
#include <stdio.h>

#include "core/base/mem.h"
#include "core/exchange/c_parts.h"

typedef lip_status writer(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err);

static lip_status no_memory(lip_err *err) {
  return lip_fail(err, LIP_MEMORY, "out of memory for the C source");
}

/* Value i, and the first value that step i takes, as expressions. */
typedef struct between {
  char y[LIP_C_EXPRESSION], x[LIP_C_EXPRESSION];
} between;

static between places(const lip_c *c, const lip_emit_step *s, size_t i) {
  between b;
  lip_c_at(c, i, b.y);
  lip_c_at(c, s->x[0], b.x);
  return b;
}

static lip_status write_dense(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  const size_t n = c->plan.value[s->x[0]].size, m = c->plan.value[i].size;
  const between at = places(c, s, i);
  float *turned = lip_alloc(n * m, sizeof *turned);
  if (!turned) return no_memory(err);
  for (size_t j = 0; j < m; j++)
    for (size_t k = 0; k < n; k++) turned[k * m + j] = s->u.dense.W[j * n + k];
  lip_c_floats(c, "w", i, turned, n * m);
  lip_free(turned);
  char bias[32] = "NULL";
  if (s->u.dense.b) {
    lip_c_floats(c, "b", i, s->u.dense.b, m);
    snprintf(bias, sizeof bias, "@_b%zu", i);
  }
  c->needs[LIP_C_DENSE] = true;
  lip_c_putf(c, &c->body, "  @_dense(%s, %s, @_w%zu, %s, %zuU, %zuU);\n", at.y, at.x, i, bias, n, m);
  return LIP_OK;
}

static lip_status write_map(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  (void)err;
  const between at = places(c, s, i);
  c->needs[LIP_C_RELU] = true;
  lip_c_putf(c, &c->body, "  @_relu(%s, %s, %zuU);\n", at.y, at.x, c->plan.value[i].size);
  return LIP_OK;
}

/* Nothing to do: the value stands where the other one does. */
static lip_status write_reshape(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  (void)c, (void)s, (void)i, (void)err;
  return LIP_OK;
}

static const struct {
  writer *write;
  bool in_place;
} known[] = {
    [LIP_EMIT_DENSE] = {write_dense, false},
    [LIP_EMIT_MAP] = {write_map, true},
    [LIP_EMIT_RESHAPE] = {write_reshape, false},
};

static bool has(lip_emit_op op) {
  return (size_t)op < sizeof known / sizeof *known && known[op].write;
}

bool lip_c_in_place(lip_emit_op op) {
  return has(op) && known[op].in_place;
}

lip_status lip_c_step(lip_c *c, size_t i, lip_err *err) {
  const lip_emit_step *s = &c->emit.step[i];
  if (!has(s->op))
    return lip_fail(err, LIP_UNSUPPORTED,
                    "%s: cannot be written in another format: C source has no such step",
                    s->layer->kind->desc.name);
  return known[s->op].write(c, s, i, err);
}
