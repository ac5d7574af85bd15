/* What the engine asks of a layer written in Lua: shapes, first values, passes, constants (core/layer/custom.h).
 *
 * Everything that may raise runs protected, on the Lua thread that has called the net. Functions get copies of what the net
 * holds and give tensors that are copied in their turn: what a script keeps of them is its own. */
#include "bindings/bind_layer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bindings/bind_tensor.h"

/* One question. */
typedef struct question {
  const lipL_kind *k;
  const lip_layer *l;
  lip_layer *planned; /* of `plan` */
  const lip_custom_rows *rows;
  size_t param;
  uint64_t seed;
  lip_p p;
  const lip_deviation *d;
  double answer;
  lipL_asked asked;
} question;

const char *const lipL_asked_names[LIPL_ASKED] = {"output",   "parameters", "init",     "forward",
                                                  "backward", "lipschitz",  "deviation"};

static lip_status ask(lua_CFunction f, question *q, lip_err *err) {
  lip_err why;
  const lipL_kind *k = q->k;
  lip_status status = lipL_protect(k->host, f, q, NULL, NULL, &why);
  if (!status) return LIP_OK;
  return status == LIP_STATE ? lip_fail(err, status, "%s (%.100s): %.250s", lipL_asked_names[q->asked],
                                        k->where[q->asked], why.msg)
                             : lip_fail(err, status, "%s", why.msg);
}

/* ---- arguments ---- */

/* Pushes the function that is asked. */
static void push_function(lua_State *L, question *q, lipL_asked asked) {
  q->asked = asked;
  luaL_checkstack(L, 16, "layers");
  lipL_pushfunctions(L, q->k);
  if (!lua_istable(L, -1)) luaL_error(L, "the definition of this layer is gone");
  lua_getfield(L, -1, lipL_asked_names[asked]);
  lua_remove(L, -2);
}

static void push_shape(lua_State *L, const lip_shape *s) {
  lua_createtable(L, s->ndim, 0);
  for (int i = 0; i < s->ndim; i++) {
    lua_pushinteger(L, (lua_Integer)s->dim[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

static void push_options(lua_State *L, const question *q) {
  lua_newtable(L);
  for (size_t i = 0; i < q->k->n_opts; i++) {
    lipL_pushoption(L, &q->k->opts[i], q->l->conf);
    lua_setfield(L, -2, q->k->opts[i].name);
  }
}

static void push_copy(lua_State *L, int ndim, const size_t *shape, const float *data) {
  lip_tensor *t = lipL_newtensor(L, ndim, shape);
  memcpy(t->data, data, lip_tensor_size(t) * sizeof(float));
}

/* Rows of a shape. */
static int rows_shape(size_t rows, const lip_shape *s, size_t shape[LIP_MAX_DIMS]) {
  shape[0] = rows;
  for (int i = 0; i < s->ndim; i++) shape[i + 1] = s->dim[i];
  return s->ndim + 1;
}

static void push_rows(lua_State *L, size_t rows, const lip_shape *s, const float *data) {
  size_t shape[LIP_MAX_DIMS];
  push_copy(L, rows_shape(rows, s, shape), shape, data);
}

static void push_params(lua_State *L, const lip_layer *l) {
  lua_createtable(L, 0, (int)l->n_param);
  for (size_t i = 0; i < l->n_param; i++) {
    push_copy(L, l->param[i].ndim, l->param[i].shape, l->param[i].value);
    lua_setfield(L, -2, l->param[i].name);
  }
}

/* What forward has left for backward: a new table, kept with the net where a backward may follow, or the kept one. */
static void push_context(lua_State *L, const question *q, bool fresh) {
  lipL_pushnetof(L, q->l->plan);
  if (!lua_isuserdata(L, -1) || lua_getiuservalue(L, -1, 2) != LUA_TTABLE) luaL_error(L, "its net is gone");
  if (!fresh && lua_rawgetp(L, -1, q->l) == LUA_TTABLE) return;
  if (!fresh) luaL_error(L, "the net has run forward since");
  lua_newtable(L);
  lua_pushboolean(L, q->rows->training);
  lua_setfield(L, -2, "training");
  lua_pushboolean(L, q->rows->gradient);
  lua_setfield(L, -2, "gradient");
  lua_pushinteger(L, (lua_Integer)(q->rows->seed >> 11));
  lua_setfield(L, -2, "seed");
  if (!fresh || !q->rows->gradient) return;
  lua_pushvalue(L, -1);
  lua_rawsetp(L, -3, q->l);
}

/* ---- answers ---- */

static void take_rows(lua_State *L, int idx, const char *what, size_t rows, const lip_shape *s, float *to) {
  size_t shape[LIP_MAX_DIMS];
  const int ndim = rows_shape(rows, s, shape);
  lipL_taketensor(L, idx, what, ndim, shape, to);
}

/* The list of whole numbers > 0 on top of the stack, `most` of them at most. */
static int take_shape(lua_State *L, const char *what, int most, size_t *shape) {
  char got[80];
  if (!lua_istable(L, -1) || lua_rawlen(L, -1) < 1 || lua_rawlen(L, -1) > (size_t)most)
    luaL_error(L, "%s is to be a list of 1 to %d whole numbers > 0, got %s", what, most,
               lua_istable(L, -1) ? "a list of another length" : lipL_typetext(L, -1, got, sizeof got));
  const int n = (int)lua_rawlen(L, -1);
  for (int i = 0; i < n; i++) {
    int whole;
    lua_rawgeti(L, -1, i + 1);
    lua_Integer d = lua_tointegerx(L, -1, &whole);
    if (lua_type(L, -1) != LUA_TNUMBER || !whole || d < 1 || d > 1 << 30)
      luaL_error(L, "%s is to be a list of 1 to %d whole numbers > 0, element %d is %s", what, most, i + 1,
                 lipL_typetext(L, -1, got, sizeof got));
    shape[i] = (size_t)d;
    lua_pop(L, 1);
  }
  return n;
}

static bool flag(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  bool v = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return v;
}

/* ---- questions ---- */

static int do_plan(lua_State *L) {
  question *q = lua_touserdata(L, 1);
  lip_layer *l = q->planned;
  push_function(L, q, LIPL_OUTPUT);
  push_shape(L, &l->in);
  push_options(L, q);
  lua_call(L, 2, 1);
  l->out.ndim = take_shape(L, "the output's shape", 3, l->out.dim);
  for (size_t i = 0; i < q->k->n_param; i++) {
    char what[100];
    size_t shape[4] = {0};
    push_function(L, q, LIPL_PARAMETER);
    lua_pushstring(L, q->k->param[i]);
    push_shape(L, &l->in);
    push_options(L, q);
    lua_call(L, 3, 1);
    snprintf(what, sizeof what, "the shape of '%.60s'", q->k->param[i]);
    const int ndim = take_shape(L, what, 4, shape);
    lip_layer_add_param(l, q->k->param[i], ndim, shape, flag(L, "decay"));
    l->param[i].frozen = !flag(L, "trained");
    lua_pop(L, 1);
  }
  return 0;
}

static lip_status plan(const lip_custom *c, lip_layer *l, lip_err *err) {
  question q = {.k = c->owner, .l = l, .planned = l};
  return ask(do_plan, &q, err);
}

static int do_reset(lua_State *L) {
  question *q = lua_touserdata(L, 1);
  const lip_param *p = &q->l->param[q->param];
  const size_t n = lip_param_size(p);
  push_function(L, q, LIPL_INIT);
  lua_pushstring(L, p->name);
  push_shape(L, &q->l->in);
  push_options(L, q);
  lua_pushinteger(L, (lua_Integer)((q->seed + q->param * 0x9E37) >> 11));
  lua_call(L, 4, 1);
  if (lua_type(L, -1) == LUA_TNUMBER) {
    const float v = (float)lua_tonumber(L, -1);
    for (size_t i = 0; i < n; i++) p->value[i] = v;
  } else {
    char what[100];
    snprintf(what, sizeof what, "'%.60s' at the start", p->name);
    lipL_taketensor(L, -1, what, p->ndim, p->shape, p->value);
  }
  for (size_t i = 0; i < n; i++)
    if (!isfinite(p->value[i])) luaL_error(L, "'%s' is not finite at the start", p->name);
  return 0;
}

static lip_status reset(const lip_custom *c, const lip_layer *l, size_t i, uint64_t seed, lip_err *err) {
  question q = {.k = c->owner, .l = l, .param = i, .seed = seed};
  lip_err why;
  lip_status status = ask(do_reset, &q, &why);
  return status ? lip_fail(err, status, "%.60s: %.330s", l->kind->desc.name, why.msg) : LIP_OK;
}

static int do_forward(lua_State *L) {
  question *q = lua_touserdata(L, 1);
  const lip_custom_rows *r = q->rows;
  push_function(L, q, LIPL_FORWARD);
  const int f = lua_gettop(L);
  push_context(L, q, true);
  lua_replace(L, 1);
  lua_settop(L, f);
  push_rows(L, r->rows, &q->l->in, r->x);
  push_params(L, q->l);
  push_options(L, q);
  lua_pushvalue(L, 1);
  lua_call(L, 4, 1);
  take_rows(L, -1, "its result", r->rows, &q->l->out, r->y);
  return 0;
}

static lip_status forward(const lip_custom *c, const lip_layer *l, const lip_custom_rows *rows,
                          lip_err *err) {
  question q = {.k = c->owner, .l = l, .rows = rows};
  return ask(do_forward, &q, err);
}

/* The gradients of the params in the table on top of the stack. */
static void take_gradients(lua_State *L, const question *q) {
  char what[100], got[80];
  float *to = q->rows->dw;
  bool trained = false;
  for (size_t i = 0; i < q->l->n_param; i++) trained = trained || !q->l->param[i].frozen;
  if (!trained || !to) return;
  if (!lua_istable(L, -1))
    luaL_error(L, "its second result is to be a table with the gradients of the parameters, got %s",
               lipL_typetext(L, -1, got, sizeof got));
  for (size_t i = 0; i < q->l->n_param; i++) {
    const lip_param *p = &q->l->param[i];
    if (!p->frozen) {
      snprintf(what, sizeof what, "the gradient of '%.60s'", p->name);
      lua_getfield(L, -1, p->name);
      lipL_taketensor(L, -1, what, p->ndim, p->shape, to);
      lua_pop(L, 1);
    }
    to += lip_param_size(p);
  }
}

static int do_backward(lua_State *L) {
  question *q = lua_touserdata(L, 1);
  const lip_custom_rows *r = q->rows;
  push_function(L, q, LIPL_BACKWARD);
  const int f = lua_gettop(L);
  push_context(L, q, false);
  lua_replace(L, 1);
  lua_settop(L, f);
  push_rows(L, r->rows, &q->l->in, r->x);
  push_rows(L, r->rows, &q->l->out, r->y);
  push_rows(L, r->rows, &q->l->out, r->dy);
  push_params(L, q->l);
  push_options(L, q);
  lua_pushvalue(L, 1);
  lua_call(L, 6, 2);
  if (r->dx) take_rows(L, -2, "its first result", r->rows, &q->l->in, r->dx);
  take_gradients(L, q);
  return 0;
}

static lip_status backward(const lip_custom *c, const lip_layer *l, const lip_custom_rows *rows,
                           lip_err *err) {
  question q = {.k = c->owner, .l = l, .rows = rows};
  return ask(do_backward, &q, err);
}

/* ---- constants ---- */

static void push_norm(lua_State *L, lip_p p) {
  if (p == LIP_PINF)
    lua_pushnumber(L, HUGE_VAL);
  else
    lua_pushinteger(L, p == LIP_P1 ? 1 : 2);
}

static double answer(lua_State *L) {
  return lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : HUGE_VAL;
}

static int do_constant(lua_State *L) {
  question *q = lua_touserdata(L, 1);
  push_function(L, q, LIPL_LIPSCHITZ);
  push_norm(L, q->p);
  push_params(L, q->l);
  push_options(L, q);
  lua_call(L, 3, 1);
  q->answer = answer(L);
  return 0;
}

static lip_status constant(const lip_custom *c, const lip_layer *l, lip_p p, double *k, lip_err *err) {
  question q = {.k = c->owner, .l = l, .p = p};
  lip_status status = ask(do_constant, &q, err);
  *k = q.answer;
  return status;
}

static int do_deviate(lua_State *L) {
  question *q = lua_touserdata(L, 1);
  push_function(L, q, LIPL_DEVIATION);
  push_norm(L, q->p);
  lua_pushnumber(L, q->d->size);
  lua_pushnumber(L, q->d->off);
  push_params(L, q->l);
  push_options(L, q);
  lua_call(L, 5, 1);
  q->answer = answer(L);
  return 0;
}

static lip_status deviate(const lip_custom *c, const lip_layer *l, lip_p p, const lip_deviation *d,
                          double *off, lip_err *err) {
  question q = {.k = c->owner, .l = l, .p = p, .d = d};
  lip_status status = ask(do_deviate, &q, err);
  *off = q.answer;
  return status;
}

const lip_custom_ops lipL_layer_ops = {plan, reset, forward, backward, constant, deviate, NULL};

void lipL_setassumed(lua_State *L, const lip_net *net) {
  char place[200];
  const lip_layer *l;
  if (!lip_custom_assumed(net->root, 0)) return;
  lua_newtable(L);
  for (size_t i = 0; (l = lip_custom_assumed(net->root, i)) != NULL; i++) {
    lip_layer_place(net->root, l, place, sizeof place);
    lua_pushstring(L, place);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "assumed");
}

const float *lipL_weightsnow(lua_State *L, const lip_net *net) {
  if (!net->root->on_caller) {
    lua_pushnil(L);
    return NULL;
  }
  float *copy = lua_newuserdatauv(L, (net->n_params + 1) * sizeof *copy, 0);
  memcpy(copy, net->weights, net->n_params * sizeof *copy);
  return copy;
}

void lipL_checkweights(lua_State *L, const char *what, const lip_net *net, const float *before) {
  if (before && memcmp(before, net->weights, net->n_params * sizeof *before) != 0)
    luaL_error(L, "%s: a layer has changed the weights that are being looked at", what);
}

const char *lipL_assumedtext(lua_State *L, const lip_net *net) {
  char place[200];
  const lip_layer *l;
  lua_pushnil(L);
  for (size_t i = 0; (l = lip_custom_assumed(net->root, i)) != NULL; i++) {
    lip_layer_place(net->root, l, place, sizeof place);
    if (i == 0)
      lua_pushstring(L, place);
    else
      lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), place);
    lua_replace(L, -2);
  }
  return lua_tostring(L, -1);
}

void lipL_keepown(lua_State *L, int idx, const lip_net *net) {
  if (!net->root->on_caller || !lipL_testtensor(L, idx)) return;
  lipL_clone(L, idx);
  lua_replace(L, idx);
}
