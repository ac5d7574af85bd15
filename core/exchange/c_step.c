/* Steps of a net as statements: a call of a helper with constants, and the tables it reads. */
#include <math.h>
#include <stdio.h>

#include "core/exchange/c_parts.h"

typedef lip_status writer(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err);

/* Value i, and the first value that step i takes, as expressions. */
typedef struct between {
  char y[LIP_C_EXPRESSION], x[LIP_C_EXPRESSION];
  size_t n; /* numbers of y */
} between;

static between places(const lip_c *c, const lip_emit_step *s, size_t i) {
  between b;
  lip_c_at(c, i, b.y);
  lip_c_at(c, s->x[0], b.x);
  b.n = c->plan.value[i].size;
  return b;
}

static bool same_home(const lip_c *c, size_t i, size_t k) {
  return c->plan.value[i].home == c->plan.value[k].home;
}

static lip_status write_constant(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  (void)err;
  char y[LIP_C_EXPRESSION];
  c->needs[LIP_C_LOAD] = true;
  lip_c_floats(c, "v", i, s->u.constant.v, c->plan.value[i].size);
  lip_c_putf(c, &c->body, "  @_load(%s, @_v%zu, %zuU);\n", lip_c_at(c, i, y), i, c->plan.value[i].size);
  return LIP_OK;
}

static lip_status write_map(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  static const struct {
    const char *name;
    lip_c_helper helper;
    bool parameter, smooth;
  } function[] = {
      [LIP_EMIT_RELU] = {"relu", LIP_C_RELU, false, false},
      [LIP_EMIT_LEAKY_RELU] = {"leaky_relu", LIP_C_LEAKY, true, false},
      [LIP_EMIT_ABS] = {"abs", LIP_C_ABS, false, false},
      [LIP_EMIT_TANH] = {"tanh", LIP_C_TANH, false, true},
      [LIP_EMIT_SIGMOID] = {"sigmoid", LIP_C_SIGMOID, false, true},
      [LIP_EMIT_SOFTPLUS] = {"softplus", LIP_C_SOFTPLUS, true, true},
  };
  const between at = places(c, s, i);
  const size_t f = (size_t)s->u.map.f;
  if (f >= sizeof function / sizeof *function || !function[f].name)
    return lip_fail(err, LIP_UNSUPPORTED,
                    "%s: cannot be written in another format: C source has no such function",
                    s->layer->kind->desc.name);
  c->needs[function[f].helper] = true;
  if (function[f].smooth) c->needs[LIP_C_MAC] = c->needs[LIP_C_EXP] = true;
  lip_c_putf(c, &c->body, "  @_%s(%s, %s, %zuU", function[f].name, at.y, at.x, at.n);
  if (function[f].parameter) {
    lip_str_puts(&c->body, ", ");
    lip_c_float(&c->body, (float)s->u.map.parameter);
  }
  lip_str_puts(&c->body, ");\n");
  return LIP_OK;
}

static lip_status write_affine(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  (void)err;
  const between at = places(c, s, i);
  const size_t channels = s->out.dim[0];
  const struct {
    const char *name;
    const float *v;
  } part[] = {{"a", s->u.affine.a}, {"m", s->u.affine.m}, {"o", s->u.affine.b}};
  c->needs[LIP_C_AFFINE] = true;
  for (int k = 0; k < 3; k++)
    if (part[k].v) lip_c_floats(c, part[k].name, i, part[k].v, channels);
  lip_c_putf(c, &c->body, "  @_affine(%s, %s", at.y, at.x);
  for (int k = 0; k < 3; k++)
    if (part[k].v)
      lip_c_putf(c, &c->body, ", @_%s%zu", part[k].name, i);
    else
      lip_c_put(c, &c->body, ", NULL");
  lip_c_putf(c, &c->body, ", %zuU, %zuU);\n", channels, at.n / channels);
  return LIP_OK;
}

static lip_status write_pool(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  (void)err;
  const between at = places(c, s, i);
  size_t in[3], out[3];
  lip_c_image(&c->emit.step[s->x[0]].out, in);
  lip_c_image(&s->out, out);
  lip_c_window(c, i, in, out, &(lip_c_steps){s->u.pool.kernel, s->u.pool.stride, s->u.pool.padding, NULL});
  const bool mean = s->u.pool.how == LIP_EMIT_MEAN, max = s->u.pool.how == LIP_EMIT_MAX;
  c->needs[mean ? LIP_C_MEAN : max ? LIP_C_MAX : LIP_C_ROOT] = true;
  lip_c_putf(c, &c->body, "  @_%s(%s, %s, &@_g%zu, %zuU",
             mean  ? "mean_pool"
             : max ? "max_pool"
                   : "l2_pool",
             at.y, at.x, i, in[0]);
  if (mean) {
    lip_str_puts(&c->body, ", ");
    lip_c_float(&c->body, s->u.pool.factor);
  }
  lip_str_puts(&c->body, ");\n");
  return LIP_OK;
}

static void copy(lip_c *c, const char *y, const char *x, size_t n) {
  c->needs[LIP_C_COPY] = true;
  lip_c_putf(c, &c->body, "  @_copy(%s, %s, %zuU);\n", y, x, n);
}

static lip_status write_sort(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  (void)err;
  const between at = places(c, s, i);
  const size_t channels = s->out.dim[0];
  if (!same_home(c, i, s->x[0])) copy(c, at.y, at.x, at.n);
  c->needs[s->u.sort.descending ? LIP_C_DOWN : LIP_C_UP] = true;
  lip_c_putf(c, &c->body, "  @_sort_%s(%s, %zuU, %zuU, %zuU);\n", s->u.sort.descending ? "down" : "up", at.y,
             channels / s->u.sort.size, s->u.sort.size, at.n / channels);
  return LIP_OK;
}

static lip_status write_move(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  (void)err;
  const between at = places(c, s, i);
  c->needs[LIP_C_MOVE] = true;
  lip_c_places(c, i, s->u.move.from, at.n);
  lip_c_putf(c, &c->body, "  @_move(%s, %s, @_from%zu, %zuU);\n", at.y, at.x, i, at.n);
  return LIP_OK;
}

/* Nothing to do: the value stands where the other one does. */
static lip_status write_reshape(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  (void)c, (void)s, (void)i, (void)err;
  return LIP_OK;
}

static lip_status write_sum(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  (void)err;
  const between at = places(c, s, i);
  for (size_t k = 0; k < s->n_x; k++) {
    char x[LIP_C_EXPRESSION];
    const float weight = s->u.sum.weight ? s->u.sum.weight[k] : 1;
    const bool first = k == 0;
    if (!isfinite(weight)) c->finite = false;
    if (first && weight == 1) {
      if (!same_home(c, i, s->x[0])) copy(c, at.y, at.x, at.n);
      continue;
    }
    c->needs[first ? LIP_C_SCALE : LIP_C_ADD] = true;
    lip_c_putf(c, &c->body, "  @_%s(%s, %s, ", first ? "scale" : "add", at.y, lip_c_at(c, s->x[k], x));
    lip_c_float(&c->body, isfinite(weight) ? weight : 0);
    lip_c_putf(c, &c->body, ", %zuU);\n", at.n);
  }
  return LIP_OK;
}

static lip_status write_join(lip_c *c, const lip_emit_step *s, size_t i, lip_err *err) {
  (void)err;
  const lip_c_value *home = &c->plan.value[c->plan.value[i].home];
  for (size_t k = 0, at = 0; k < s->n_x; k++) {
    char x[LIP_C_EXPRESSION], y[LIP_C_EXPRESSION];
    const size_t n = c->plan.value[s->x[k]].size;
    if (home->place == LIP_C_ROOM)
      snprintf(y, sizeof y, "&s->room[%zuU]", home->at + at);
    else
      snprintf(y, sizeof y, "&y[%zuU]", at);
    copy(c, y, lip_c_at(c, s->x[k], x), n);
    at += n;
  }
  return LIP_OK;
}

static const struct {
  writer *write;
  bool in_place;
} known[] = {
    [LIP_EMIT_CONSTANT] = {write_constant, false}, [LIP_EMIT_DENSE] = {lip_c_dense, false},
    [LIP_EMIT_CONV] = {lip_c_conv, false},         [LIP_EMIT_MAP] = {write_map, true},
    [LIP_EMIT_AFFINE] = {write_affine, true},      [LIP_EMIT_POOL] = {write_pool, false},
    [LIP_EMIT_SORT] = {write_sort, true},          [LIP_EMIT_MOVE] = {write_move, false},
    [LIP_EMIT_RESHAPE] = {write_reshape, false},   [LIP_EMIT_SUM] = {write_sum, true},
    [LIP_EMIT_JOIN] = {write_join, false},
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
