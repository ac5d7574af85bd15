/* Losses written in Lua: lip.loss.explicit(f), where f(z, y, x, net, gradient) returns the mean loss over the rows of
 * z (B, C) and its gradient in z, or the loss alone when `gradient` is false. They are handles of the type of all
 * losses, but their row has no formula of the engine's: a step is made in pieces, on the calling thread between the
 * two passes. The methods that take losses are replaced by ones that look which kind it is (at the end of this file).
 *
 * User values of the handle: 1 the function, 2 how it is called in messages. */
#include <math.h>
#include <string.h>

#include "bindings/bind_cert.h"

enum { FUNCTION = 1, NAME = 2 };

/* The engine is never told of these losses; should it be, it learns nothing. */
static void unknown_rows(const void *conf, const float *z, size_t B, size_t C, const lip_targets *t,
                         size_t r0, size_t r1, double *value, float *dz) {
  (void)conf, (void)z, (void)B, (void)t;
  for (size_t r = r0; r < r1; r++) {
    value[r] = NAN;
    for (size_t i = 0; dz && i < C; i++) dz[r * C + i] = NAN;
  }
}

static const lip_loss_kind by_function = {
    .desc = {"explicit", "a function f(z, y, x, net) that returns the mean loss and its gradient in z", NULL,
             1},
    .min_outputs = 1,
    .rows = unknown_rows,
};

/* Whether the loss at idx is one of these, and not closed. */
static bool is_own(lua_State *L, int idx) {
  const lip_loss *loss = luaL_testudata(L, idx, LIP_LOSS_T);
  return loss && loss->conf && loss->kind == &by_function;
}

static void push_own_name(lua_State *L, int idx) {
  if (lua_getiuservalue(L, idx, NAME) == LUA_TSTRING) return;
  lua_pop(L, 1);
  lua_pushstring(L, by_function.desc.name);
}

/* "explicit (train.lua:12)" */
static void push_name(lua_State *L, int idx) {
  lua_Debug where;
  if (!lua_isfunction(L, idx)) {
    lua_pushstring(L, by_function.desc.name);
    return;
  }
  lua_pushvalue(L, idx);
  lua_getinfo(L, ">S", &where);
  if (*where.what == 'C')
    lua_pushfstring(L, "%s (written in C)", by_function.desc.name);
  else
    lua_pushfstring(L, "%s (%s:%d)", by_function.desc.name, where.short_src, where.linedefined);
}

/* lip.loss.explicit(f[, name]) */
static int explicit_new(lua_State *L) {
  char got[80];
  if (!lua_isfunction(L, 1) && luaL_getmetafield(L, 1, "__call") == LUA_TNIL)
    return luaL_argerror(L, 1,
                         lua_pushfstring(L, "a function f(z, y, x, net) expected, got %s",
                                         lipL_typetext(L, 1, got, sizeof got)));
  if (!lua_isfunction(L, 1)) lua_pop(L, 1);
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) {
    push_name(L, 1);
    lua_replace(L, 2);
  }
  luaL_checktype(L, 2, LUA_TSTRING);
  lip_loss *loss = lipL_newobject(L, LIP_LOSS_T, sizeof *loss, 2);
  char none = 0;
  loss->kind = &by_function;
  loss->conf = lip_conf_copy(&by_function.desc, &none);
  if (!loss->conf) return luaL_error(L, "explicit: out of memory");
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, FUNCTION);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 3, NAME);
  return 1;
}

/* ---- calling the function ---- */

/* Raises without a position: the name says where the function is. */
static int refuse(lua_State *L, int loss, const char *what) {
  push_own_name(L, loss);
  lua_pushfstring(L, "the loss %s %s", lua_tostring(L, -1), what);
  return lua_error(L);
}

/* The loss at index `loss` of z, y, x and net, which are at the top of the stack and popped; pushes the gradient when it
 * is wanted. `held` (or NULL) is a net whose last pass must stay as it is. */
static double call_loss(lua_State *L, int loss, lip_net *held, bool gradient) {
  char a[80], b[80];
  int z = lua_gettop(L) - 3;
  lua_getiuservalue(L, loss, FUNCTION);
  lua_pushvalue(L, z); /* kept, to compare the gradient with */
  lua_insert(L, z);
  lua_insert(L, z + 1);
  lua_pushboolean(L, gradient);
  if (held) held->held = true; /* the handle is on the stack, and cannot be closed meanwhile */
  const int failed = lua_pcall(L, 5, gradient ? 2 : 1, 0);
  if (held) held->held = false;
  if (failed) lua_error(L);
  bool fits = lua_type(L, z + 1) == LUA_TNUMBER && (!gradient || luaL_testudata(L, z + 2, LIP_TENSOR_T));
  if (!fits)
    refuse(L, loss,
           gradient
               ? lua_pushfstring(L, "must return a number and a tensor, the gradient in z; got %s and %s",
                                 lipL_typetext(L, z + 1, a, sizeof a), lipL_typetext(L, z + 2, b, sizeof b))
               : lua_pushfstring(L, "must return a number, got %s", lipL_typetext(L, z + 1, a, sizeof a)));
  double value = lua_tonumber(L, z + 1);
  if (gradient) {
    const lip_tensor *logits = lipL_checktensor(L, z), *dz = lipL_checktensor(L, z + 2);
    lip_shape_text(dz->ndim, dz->shape, a, sizeof a);
    lip_shape_text(logits->ndim, logits->shape, b, sizeof b);
    if (!lip_tensor_same_shape(logits, dz))
      refuse(L, loss, lua_pushfstring(L, "returned a gradient that does not fit: expected %s, got %s", b, a));
    lua_replace(L, z);
    lua_settop(L, z);
    lipL_contiguous(L, z);
  } else {
    lua_settop(L, z - 1);
  }
  return value;
}

/* loss:value(z, y[, x[, net]]) and loss:gradient(z, y[, x[, net]]) */
static int own_value(lua_State *L) {
  lua_settop(L, 5);
  lipL_checktensor(L, 2);
  lua_pushnumber(L, call_loss(L, 1, NULL, false));
  return 1;
}

static int own_gradient(lua_State *L) {
  lua_settop(L, 5);
  lipL_checktensor(L, 2);
  lua_pushnumber(L, call_loss(L, 1, NULL, true));
  lua_insert(L, -2);
  return 2;
}

static int own_name(lua_State *L) {
  push_own_name(L, 1);
  return 1;
}

/* What y holds only the function knows. */
static int own_target(lua_State *L) {
  (void)L;
  return 0;
}

/* ---- training ---- */

static bool cancelled(const lip_net *net) {
  return lip_cancel_raised(net->engine.cancel);
}

static int fail_cancelled(lua_State *L, const lip_net *net, const char *message) {
  const int failed = lipL_netfault(L, net); /* a layer written in Lua */
  if (failed) return failed;
  lip_err err = {LIP_CANCELLED, ""};
  strncpy(err.msg, message, sizeof err.msg - 1);
  return lipL_fail(L, &err);
}

/* Outputs (B, C) of the rows at x (kept by the net for a backward pass), pushed; NULL: cancelled, or a layer written in Lua
 * failed, nothing pushed. */
static lip_tensor *push_outputs(lua_State *L, lip_net *net, const float *x, size_t B, bool training) {
  lip_tensor *z = lipL_newtensor(L, 2, (size_t[]){B, net->root->n_out});
  lipL_reserve(L, net, B); /* after the tensor: making it may run a finaliser that uses this net */
  memcpy(net->input, x, B * net->root->n_in * sizeof(float));
  lip_net_forward(net, net->input, B, training);
  if (cancelled(net) || net->fault.err.code) {
    lua_pop(L, 1);
    return NULL;
  }
  memcpy(z->data, net->logits, lip_tensor_size(z) * sizeof(float));
  return z;
}

/* From the gradient in z on top of the stack to the update, as lip_net_step does it. */
static lip_status learn(lip_net *net, const float *dz, lip_optim *opt, double value, lip_err *err) {
  lip_status status = lip_net_backward(net, dz, false, false, err);
  if (!status) status = lip_net_advance(net, opt, err);
  if (!status) opt->loss = value;
  return status;
}

/* net:step(x, y, opt, loss) with a loss that is a function */
static int own_step(lua_State *L) {
  lip_net *net = lipL_checkidle(L, 1);
  lip_optim *opt = lipL_checkoptim(L, 4);
  lip_err err;
  size_t B;
  lua_settop(L, 5);
  const float *x = lipL_checkrows(L, 2, net, &B);
  if (!push_outputs(L, net, x, B, true))
    return fail_cancelled(L, net, "cancelled; the weights are as before this step");
  const uint64_t pass = net->passes;
  lua_pushvalue(L, 3);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 1);
  double value = call_loss(L, 5, net, true);
  net = lipL_checknet(L, 1); /* a function may do anything, but not this: */
  opt = lipL_checkoptim(L, 4);
  if (net->passes != pass || net->rows != B)
    return refuse(
        L, 5,
        "has run the net that is being trained (forward, step, certify and the like): its gradient needs "
        "what the last pass has left. z is its output; what else is needed goes into x, or is found "
        "before the step");
  if (!isfinite(value)) {
    lip_fail(
        &err, LIP_NOT_FINITE,
        "the loss is not finite at update %llu (loss %g); the weights are as before this step: lower the "
        "learning rate, or check the data for NaN",
        (unsigned long long)opt->t + 1, lip_plain(value));
    return lipL_fail(L, &err);
  }
  bool fresh = opt->state == NULL;
  if (learn(net, lipL_checktensor(L, -1)->data, opt, value, &err)) return lipL_fault(L, &err);
  if (fresh) lipL_account(L, opt->n * opt->kind->slots * sizeof *opt->state);
  lua_pushnumber(L, value);
  return 1;
}

/* ---- evaluation ---- */

typedef struct tally {
  size_t n, correct;
  double loss;
} tally;

static size_t count_right(const lip_tensor *z, const lip_tensor *labels) {
  size_t right = 0, C = z->shape[1];
  for (size_t r = 0; r < z->shape[0]; r++)
    right += (float)lip_outputs_answer(z->data + r * C, C) == labels->data[r];
  return right;
}

/* Rows first..last (from 1) of the data set at 2, the loss at 4; false: cancelled. */
static bool evaluate_rows(lua_State *L, size_t first, size_t last, bool labels, tally *sum) {
  int top = lua_gettop(L);
  size_t B;
  luaL_getmetafield(L, 2, "__index");
  lua_getfield(L, -1, "batch");
  lua_pushvalue(L, 2);
  lua_pushinteger(L, (lua_Integer)first);
  lua_pushinteger(L, (lua_Integer)last);
  lua_call(L, 3, 2);
  int x = top + 2, y = top + 3;
  lip_net *net = lipL_checknet(L, 1);
  const float *rows = lipL_checkrows(L, x, net, &B);
  const lip_tensor *z = push_outputs(L, net, rows, B, false);
  if (!z) return false;
  if (labels) sum->correct += count_right(z, lipL_checktensor(L, y));
  lua_pushvalue(L, y);
  lua_pushvalue(L, x);
  lua_pushvalue(L, 1);
  sum->loss += call_loss(L, 4, NULL, false) * (double)B;
  sum->n += B;
  lua_settop(L, top);
  return true;
}

/* net:evaluate(data, options), the options read by `evaluate` below and their loss at index 4 */
static int own_evaluate(lua_State *L) {
  const lip_net *net = lipL_checknet(L, 1);
  const lip_dataset *d = lipL_checkdataset(L, 2);
  const bool labels = d->labels && d->classes <= lip_net_classes(net);
  tally sum = {0};
  size_t batch = lipL_optfield_size(L, 3, "evaluate", "batch", 500);
  size_t limit = lipL_optfield_size(L, 3, "evaluate", "limit", d->n);
  if (limit > d->n) limit = d->n;
  if (batch > limit) batch = limit;
  if (batch == 0)
    return luaL_error(L, "evaluate: nothing to evaluate (batch or limit is 0, or the data set is empty)");
  lipL_checkfeatures(L, "evaluate", d, net);
  for (size_t i = 0; i < limit; i += batch) {
    size_t last = limit - i < batch ? limit : i + batch;
    if (!evaluate_rows(L, i + 1, last, labels, &sum)) return fail_cancelled(L, net, "cancelled by the user");
  }
  lua_newtable(L);
  lua_pushinteger(L, (lua_Integer)sum.n);
  lua_setfield(L, -2, "n");
  lipL_setnumber(L, "loss", sum.loss / (double)sum.n);
  if (labels) lipL_setnumber(L, "accuracy", (double)sum.correct / (double)sum.n);
  return 1;
}

/* ---- which loss it is ---- */

/* A method that takes a loss at index `at`. */
typedef struct method {
  const char *type, *name;
  lua_CFunction own;
  int at;
} method;
static const method methods[] = {
    {LIP_NET_T, "step", own_step, 5},      {LIP_LOSS_T, "value", own_value, 1},
    {LIP_LOSS_T, "name", own_name, 1},     {LIP_LOSS_T, "gradient", own_gradient, 1},
    {LIP_LOSS_T, "target", own_target, 1}, {LIP_LOSS_T, "__tostring", own_name, 1},
};

/* Upvalues: the engine's method, and its row above. */
static int choose(lua_State *L) {
  const method *m = lua_touserdata(L, lua_upvalueindex(2));
  return is_own(L, m->at) ? m->own(L) : lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* net:evaluate: the loss is an option. What is handed on is a table that no script knows, read once. */
static int evaluate(lua_State *L) {
  static const char *const known[] = {"batch", "loss", "limit", NULL};
  lua_settop(L, 3);
  lipL_checknet(L, 1);
  lipL_checkdataset(L, 2);
  lipL_checkfields(L, 3, "evaluate", known);
  if (lua_istable(L, 3)) {
    lua_getfield(L, 3, "loss");
    if (is_own(L, 4)) return own_evaluate(L);
    lua_settop(L, 3);
  }
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* Pushes the table that a method of the type stands in. */
static void push_home(lua_State *L, const char *type, const char *name) {
  luaL_getmetatable(L, type);
  if (name[0] == '_') return;
  lua_getfield(L, -1, "__index");
  lua_remove(L, -2);
}

/* After lipL_open_train and lipL_open_net; the module is on top of the stack. */
void lipL_open_loss(lua_State *L) {
  lua_getfield(L, -1, "loss");
  lua_pushcfunction(L, explicit_new);
  lua_setfield(L, -2, "explicit");
  lua_pop(L, 1);
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    push_home(L, methods[i].type, methods[i].name);
    lua_getfield(L, -1, methods[i].name);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&methods[i]);
    lua_pushcclosure(L, choose, 2);
    lua_setfield(L, -2, methods[i].name);
    lua_pop(L, 1);
  }
  push_home(L, LIP_NET_T, "evaluate");
  lua_getfield(L, -1, "evaluate");
  lua_pushcclosure(L, evaluate, 1);
  lua_setfield(L, -2, "evaluate");
  lua_pop(L, 1);
}
