/* Networks in Lua: making one from specs, and its training pieces. Other files add methods: bind_net_info.c looks
 * inside, bounds and certificates are in bind_bound.c and bind_certify.c, files in bind_io.c. */
#include "bindings/bind_cert.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct net_box {
  lip_net *net;
  int32_t *labels; /* scratch of the steps, grown with the batch */
  size_t label_room;
} net_box;

static net_box *check_box(lua_State *L, int idx) {
  net_box *box = luaL_checkudata(L, idx, LIP_NET_T);
  if (!box->net) luaL_argerror(L, idx, "this net is closed");
  if (box->net->scripted) lipL_enternet(L, idx, box->net);
  lip_net_follow(box->net);
  return box;
}

lip_net *lipL_checknet(lua_State *L, int idx) {
  return check_box(L, idx)->net;
}

static net_box *check_idle_box(lua_State *L, int idx) {
  net_box *box = check_box(L, idx);
  if (box->net->held)
    luaL_argerror(
        L, idx,
        "this net is in use: its loss is being computed from what its last pass has left. What else is "
        "needed goes into x, or is found before the step");
  return box;
}

lip_net *lipL_checkidle(lua_State *L, int idx) {
  return check_idle_box(L, idx)->net;
}

static int net_gc(lua_State *L) {
  net_box *box = luaL_checkudata(L, 1, LIP_NET_T);
  if (box->net && (box->net->fault.running || box->net->held))
    return 0; /* asked for by one of its own layers, or its loss */
  lip_net_free(box->net);
  lip_free(box->labels);
  *box = (net_box){0};
  return 0;
}

static int push_net(lua_State *L) {
  net_box *box = lipL_newobject(L, LIP_NET_T, sizeof *box, 2);
  lip_net *net = lua_touserdata(L, 1);
  lipL_keepnet(L, -1, net);
  box->net = net;
  return 1;
}

void lipL_pushnet(lua_State *L, lip_net *net) {
  lua_pushcfunction(L, push_net);
  lua_pushlightuserdata(L, net);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    lip_net_free(net);
    lua_error(L);
  }
  lipL_account(L, net->n_params * 3 * sizeof(float));
}

/* ---- making ---- */

typedef struct net_options {
  lip_reals input, budgets;
  double budget;
  int projection, init;
  size_t project_every, seed;
} net_options;

#define FIELD(member) .offset = offsetof(net_options, member)
static const lip_opt net_opts[] = {
    {.name = "input",
     .type = LIP_OPT_REALS,
     FIELD(input),
     .required = true,
     .low = 1,
     .high = 0x1p30,
     .help = "shape of one sample: features, or {channels, height, width}"},
    {.name = "budget",
     .type = LIP_OPT_REAL,
     FIELD(budget),
     .def = 1,
     .low = 1e-300,
     .high = HUGE_VAL,
     .help = "Lipschitz constant K the whole net may have; math.huge: no limit"},
    {.name = "budgets",
     .type = LIP_OPT_REALS,
     FIELD(budgets),
     .low = 1e-300,
     .high = HUGE_VAL,
     .help = "shares instead of equal ones: one per weighted layer, or by kind as {dense=2, conv2d=4}"},
    {.name = "projection",
     .type = LIP_OPT_ENUM,
     FIELD(projection),
     .names = lip_project_method_names,
     .help = "how weights are brought back onto their budget; also a lip.projection(f)"},
    {.name = "project_every",
     .type = LIP_OPT_SIZE,
     FIELD(project_every),
     .def = 1,
     .help = "project after every so many updates; 0: only when told to"},
    {.name = "init", .type = LIP_OPT_ENUM, FIELD(init), .names = lip_init_names, .help = "how weights start"},
    {.name = "seed", .type = LIP_OPT_SIZE, FIELD(seed), .def = 1, .help = "of initial weights and dropout"},
    {.name = NULL},
};
static const lip_desc net_desc = {"net", "a network of layers in sequence", net_opts, sizeof(net_options)};

#define NORM_TEXT "1, 2, \"inf\", or a path such as \"1->inf\""

/* norm = 1, 2, math.huge, "inf", "1->inf" or {1, "inf"} */
static void check_path(lua_State *L, int idx, lip_path *path) {
  char text[400] = "", got[80];
  size_t at = 0;
  lip_err err;
  int type = lua_getfield(L, idx, "norm");
  if (type == LUA_TNIL) luaL_error(L, "net: option 'norm' is required: " NORM_TEXT);
  lua_Integer n = type == LUA_TTABLE ? luaL_len(L, -1) : 1;
  for (lua_Integer i = 1; i <= n && at < sizeof text; i++) {
    if (type == LUA_TTABLE)
      lua_geti(L, -1, i);
    else
      lua_pushvalue(L, -1);
    if (lua_type(L, -1) == LUA_TNUMBER && isinf(lua_tonumber(L, -1)) && lua_tonumber(L, -1) > 0) {
      lua_pop(L, 1);
      lua_pushliteral(L, "inf");
    }
    bool nan = lua_type(L, -1) == LUA_TNUMBER && isnan(lua_tonumber(L, -1));
    if (nan || (lua_type(L, -1) != LUA_TNUMBER && lua_type(L, -1) != LUA_TSTRING))
      luaL_error(L, "net: option 'norm' expects " NORM_TEXT ", got %s",
                 lipL_typetext(L, -1, got, sizeof got));
    lua_Number whole = lua_tonumber(L, -1);
    if (lua_type(L, -1) == LUA_TNUMBER && whole == floor(whole))
      at += (size_t)snprintf(text + at, sizeof text - at, "%s%.0f", i > 1 ? "->" : "", whole);
    else
      at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i > 1 ? "->" : "", lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  if (lip_path_parse(text, path, &err)) luaL_error(L, "net: option 'norm': %s", err.msg);
}

static void check_input(lua_State *L, const lip_reals *input, lip_shape *shape) {
  if (input->n < 1 || input->n > 3)
    luaL_error(L, "net: option 'input' has 1 to 3 dimensions, got %d", (int)input->n);
  shape->ndim = (int)input->n;
  for (size_t i = 0; i < input->n; i++) {
    if (input->v[i] != floor(input->v[i]))
      luaL_error(L, "net: option 'input' expects whole numbers, got %f", lip_plain(input->v[i]));
    shape->dim[i] = (size_t)input->v[i];
  }
}

/* budgets = {dense = 2, conv2d = 4}: the layers of a kind are a group that shares one number (Gouk et al. 2021).
 * Leaves the list it makes on the stack. */
static lip_reals check_groups(lua_State *L, int idx, lip_spec *const *layers, size_t n) {
  lip_reals r = {lua_newuserdatauv(L, (n + 1) * sizeof(double), 0), 0};
  for (size_t i = 0; i < n; i++) {
    if (!lip_spec_weighted(layers[i])) continue;
    const char *kind = layers[i]->kind->desc.name;
    if (lua_getfield(L, idx, kind) != LUA_TNUMBER || !(lua_tonumber(L, -1) > 0))
      luaL_error(L, "net: option 'budgets' needs a number > 0 for the kind '%s'", kind);
    r.v[r.n++] = lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    bool used = false;
    for (size_t i = 0; lua_type(L, -2) == LUA_TSTRING && i < n; i++)
      used = used || strcmp(lua_tostring(L, -2), layers[i]->kind->desc.name) == 0;
    if (!used)
      luaL_error(L, "net: option 'budgets' names '%s', a kind the net does not have",
                 luaL_tolstring(L, -2, NULL));
    lua_pop(L, 1);
  }
  return r;
}

/* Whether every layer that takes a budget has one in its own options. */
static bool all_own(lip_spec *const *layers, size_t n) {
  size_t own = 0;
  for (size_t i = 0; i < n; i++) {
    const lip_opt *o = lip_opt_find(&layers[i]->kind->desc, "budget");
    if (!lip_spec_weighted(layers[i])) continue;
    if (!o || *(const double *)(const void *)((const char *)layers[i]->conf + o->offset) == 0) return false;
    own++;
  }
  return own > 0;
}

/* lip.net{ input=, norm=, budget=, ..., spec, spec, ... } */
static int net_new(lua_State *L) {
  static const char *const own[] = {"norm", NULL}, *const read[] = {"norm", "budget", "budgets", NULL};
  lip_net_conf conf = {0};
  lip_err err;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lipL_owntable(L, 1, read); /* which keeps the layers, whatever is asked of the script's own */
  if (lua_getfield(L, 1, "projection") == LUA_TUSERDATA && (conf.projection = lipL_testprojection(L, -1))) {
    lua_pushnil(L); /* the object stays on the stack, the engine's own projection is the default */
    lua_setfield(L, 1, "projection");
  }
  const net_options *o = lipL_checkconf(L, 1, &net_desc, own);
  check_path(L, 1, &conf.path);
  check_input(L, &o->input, &conf.input);
  conf.budget = o->budget;
  conf.layer_budgets = o->budgets;
  conf.method = (lip_project_method)o->projection;
  conf.project_every = o->project_every;
  conf.init = (lip_init)o->init;
  conf.seed = o->seed;
  const size_t n =
      lua_rawlen(L, 1); /* raw: a metamethod could make up lengths, and specs that nothing keeps */
  if (n == 0)
    return luaL_error(
        L, "net: has no layers: write them after the options, as in lip.net{input=..., lip.dense{out=10}}");
  lip_spec **layers = lua_newuserdatauv(L, n * sizeof *layers, 0);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    layers[i] = lipL_checkelement(L, "net", i + 1); /* kept alive by the table at 1 */
    lua_pop(L, 1);
  }
  if (lua_getfield(L, 1, "budgets") == LUA_TTABLE) {
    if (luaL_len(L, -1) == 0) conf.layer_budgets = check_groups(L, lua_absindex(L, -1), layers, (size_t)n);
    if (lua_getfield(L, 1, "budget") == LUA_TNIL) conf.budget = 0; /* what the shares amount to */
  } else if (lua_getfield(L, 1, "budget") == LUA_TNIL && all_own(layers, n)) {
    conf.budget = 0;
  }
  lip_engine *engine = lipL_engine(L);
  net_box *box = lipL_newobject(L, LIP_NET_T, sizeof *box, 2);
  lipL_calledfrom(L);
  if (lip_net_new(&conf, layers, n, engine, &box->net, &err)) return lipL_raise(L, &err);
  lipL_keepnet(L, -1, box->net);
  lipL_account(L, box->net->n_params * 3 * sizeof(float));
  return 1;
}

/* ---- arguments ---- */

/* Labels (B) or values (B, n_out), as the loss wants. */
static lip_targets check_targets(lua_State *L, int idx, net_box *box, lip_target kind, size_t B, size_t C) {
  lip_targets t = {.kind = kind};
  if (kind == LIP_TARGET_LABELS) {
    if (box->label_room < B) {
      int32_t *more = lip_realloc(box->labels, B, sizeof *more);
      if (!more) luaL_error(L, "net: out of memory");
      box->labels = more;
      box->label_room = B;
    }
    lipL_checklabels(L, idx, B, lip_net_classes(box->net), box->labels);
    t.labels = box->labels;
    return t;
  }
  const lip_tensor *y = lipL_checktensor(L, idx);
  if (lip_tensor_size(y) != B * C || (y->ndim > 0 && y->shape[0] != B)) {
    char got[64];
    luaL_argerror(L, idx,
                  lua_pushfstring(L, "targets do not fit: expected %dx%d, got %s", (int)B, (int)C,
                                  lip_shape_text(y->ndim, y->shape, got, sizeof got)));
  }
  t.values = lipL_contiguous(L, idx)->data;
  return t;
}

static int fail_cancelled(lua_State *L) {
  const lip_err err = {LIP_CANCELLED, "cancelled by the user"};
  return lipL_fail(L, &err);
}

/* After a pass: 0, or the values that say why it is worth nothing (cancelled, it has left rows unfinished). */
static int check_pass(lua_State *L, const lip_net *net) {
  return lip_cancel_raised(net->engine.cancel) ? fail_cancelled(L) : lipL_netfault(L, net);
}

/* Results are allocated before the pass that fills them: allocating may run a script's finalisers, and those may use
 * this very net, which overwrites its activations or moves them into a larger block. */
static lip_tensor *push_rows(lua_State *L, size_t B, size_t width) {
  return lipL_newtensor(L, 2, (size_t[]){B, width});
}

static void fill_rows(lip_tensor *t, const float *data) {
  memcpy(t->data, data, lip_tensor_size(t) * sizeof(float));
}

void lipL_reserve(lua_State *L, lip_net *net, size_t B) {
  lip_err err;
  size_t before = net->capacity;
  if (lip_net_reserve(net, B, &err)) lipL_raise(L, &err);
  if (net->capacity != before)
    lipL_account(L, net->capacity * (net->root->cache + 2 * net->root->n_in + 2 * net->root->n_out) *
                        sizeof(float));
}

/* ---- training ---- */

/* net:forward(x[, training | {training=false, arithmetic="float32"}]) -> logits (B, n_out), a new tensor */
static int net_forward(lua_State *L) {
  static const char *const known[] = {"training", "arithmetic", NULL};
  lip_net *net = lipL_checkidle(L, 1);
  size_t B;
  const float *x = lipL_checkrows(L, 2, net, &B);
  if (!lua_isnoneornil(L, 3) && !lua_istable(L, 3))
    luaL_checktype(L, 3, LUA_TBOOLEAN); /* "false" would be true */
  bool training = lua_toboolean(L, 3);
  if (lua_istable(L, 3)) {
    lipL_checkfields(L, 3, "forward", known);
    training = lipL_optfield_bool(L, 3, "forward", "training", false);
    if (lipL_optarithmetic(L, 3, "forward", false) == LIP_ARITHMETIC_DOUBLE) {
      if (training) return luaL_error(L, "forward: training runs in float32");
      return lipL_wide_forward(L, net, x, B);
    }
  }
  lipL_reserve(L, net, B);
  lip_tensor *logits = push_rows(L, B, net->root->n_out);
  if (training ||
      net->root->on_caller) { /* backward needs the input again: keep it; scripts may end the tensor */
    memcpy(net->input, x, B * net->root->n_in * sizeof(float));
    x = net->input;
  }
  lip_net_forward(net, x, B, training);
  const int failed = check_pass(L, net);
  if (failed) return failed;
  fill_rows(logits, net->logits);
  return 1;
}

/* net:backward(dlogits[, {accumulate=false, input_gradient=false}]) -> dx (B, n_in) or nothing */
static int net_backward(lua_State *L) {
  static const char *const known[] = {"accumulate", "input_gradient", NULL};
  lip_net *net = lipL_checkidle(L, 1);
  const lip_tensor *dz = lipL_checktensor(L, 2);
  lip_err err;
  lipL_checkfields(L, 3, "backward", known);
  bool add = lipL_optfield_bool(L, 3, "backward", "accumulate", false);
  bool need = lipL_optfield_bool(L, 3, "backward", "input_gradient", false);
  dz = lipL_contiguous(L, 2);
  const size_t B = net->rows;
  lip_tensor *dx = need ? push_rows(L, B, net->root->n_in) : NULL;
  if (net->rows != B) return luaL_error(L, "net: a finaliser used the net between forward and backward");
  if (net->rows > 0 &&
      (lip_tensor_size(dz) != net->rows * net->root->n_out || (dz->ndim > 0 && dz->shape[0] != net->rows))) {
    char got[64];
    return luaL_argerror(L, 2,
                         lua_pushfstring(L, "gradient does not fit the last forward: expected %dx%d, got %s",
                                         (int)net->rows, (int)net->root->n_out,
                                         lip_shape_text(dz->ndim, dz->shape, got, sizeof got)));
  }
  if (lip_net_backward(net, dz->data, add, need, &err)) return lipL_fault(L, &err);
  if (!need) return 0;
  fill_rows(dx, net->dinput);
  return 1;
}

/* net:update(opt): one update from the gradients of the last backward */
static int net_update(lua_State *L) {
  lip_err err;
  if (lip_net_update(lipL_checkidle(L, 1), lipL_checkoptim(L, 2), &err)) return lipL_fault(L, &err);
  return 0;
}

/* net:step(x, y, opt, loss) -> mean loss before the update | nil, message, code */
static int net_step(lua_State *L) {
  net_box *box = check_idle_box(L, 1);
  lip_net *net = box->net;
  lip_optim *opt = lipL_checkoptim(L, 4);
  const lip_loss *loss = lipL_checkloss(L, 5);
  lip_err err;
  size_t B, C = net->root->n_out;
  double value;
  const float *x = lipL_checkrows(L, 2, net, &B);
  if (C < loss->kind->min_outputs)
    return luaL_argerror(L, 5,
                         lua_pushfstring(L, "%s needs at least %d outputs, the net has %d",
                                         loss->kind->desc.name, (int)loss->kind->min_outputs, (int)C));
  lipL_reserve(
      L, net,
      B); /* before the targets: nothing that runs a script's code may come between them and the step */
  lip_targets t = check_targets(L, 3, box, loss->kind->target, B, C);
  if (net->scripted) x = lipL_keeprows(L, net, x, B, &t);
  const size_t pinned = lipL_pin(opt);
  lipL_pin(loss);
  const lip_status status = lip_net_step(net, x, &t, B, loss, opt, &value, &err);
  lipL_unpin(pinned);
  if (status) return lipL_fault(L, &err);
  lua_pushnumber(L, value);
  return 1;
}

/* net:reset([seed]): back to initial weights */
static int net_reset(lua_State *L) {
  lip_net *net = lipL_checkidle(L, 1);
  lua_Integer seed = luaL_optinteger(L, 2, (lua_Integer)net->conf.seed);
  lip_err err;
  luaL_argcheck(L, seed >= 0, 2, "a seed is a whole number >= 0");
  if (lip_net_reset(net, (uint64_t)seed, &err)) return lipL_fault(L, &err);
  return 0;
}

/* ---- evaluation ---- */

/* net:predict(x[, {arithmetic="float32"}]) -> table of labels 0..C-1 (-1 where a logit is NaN); of one output 1 where it
 * is above 0, else 0 */
static int net_predict(lua_State *L) {
  static const char *const known[] = {"arithmetic", NULL};
  lip_net *net = lipL_checkidle(L, 1);
  size_t B, C = net->root->n_out;
  const float *x = lipL_checkrows(L, 2, net, &B);
  if (!lua_isnoneornil(L, 3)) {
    luaL_checktype(L, 3, LUA_TTABLE);
    lipL_checkfields(L, 3, "predict", known);
    if (lipL_optarithmetic(L, 3, "predict", false) == LIP_ARITHMETIC_DOUBLE)
      return lipL_wide_predict(L, net, x, B);
  }
  lipL_reserve(L, net, B);
  lua_createtable(L, B < INT_MAX ? (int)B : 0, 0);
  if (net->root->on_caller) {
    memcpy(net->input, x, B * net->root->n_in * sizeof *x);
    x = net->input;
  }
  lip_net_forward(net, x, B, false);
  const int failed = check_pass(L, net);
  if (failed) return failed;
  for (size_t r = 0; r < B; r++) {
    lua_pushinteger(L, lip_outputs_answer(net->logits + r * C, C));
    lua_rawseti(L, -2, (lua_Integer)r + 1);
  }
  return 1;
}

typedef struct tally {
  size_t n, correct;
  double loss;
} tally;

/* Where the rows of a batch come from. */
typedef struct supply {
  const lip_net *net;
  const lip_dataset *data;
  const uint32_t *index;
} supply;

/* Rows r0..r1-1, by the thread that is about to use them. */
static void supply_rows(void *arg, size_t r0, size_t r1) {
  const supply *s = arg;
  lip_dataset_gather(s->data, s->index + r0, r1 - r0, s->net->input + r0 * s->net->root->n_in, NULL, NULL);
}

static bool evaluate_batch(net_box *box, const lip_dataset *d, const lip_loss *loss, const uint32_t *index,
                           size_t B, float *targets, tally *sum) {
  lip_net *net = box->net;
  supply rows = {net, d, index};
  lip_dataset_gather(d, index, B, NULL, d->labels ? box->labels : NULL, targets);
  lip_net_stream(net, net->input, B, &(lip_stream){supply_rows, NULL, &rows});
  if (lip_cancel_raised(net->engine.cancel) || net->fault.err.code) return false;
  if (loss) {
    lip_targets t = {loss->kind->target, box->labels, targets};
    sum->loss += lip_net_loss(net, loss, &t, B, false) * (double)B;
  }
  const size_t C = net->root->n_out;
  for (size_t r = 0; d->labels && r < B; r++)
    sum->correct += lip_outputs_answer(net->logits + r * C, C) == box->labels[r];
  sum->n += B;
  return true;
}

static void check_evaluation(lua_State *L, const lip_net *net, const lip_dataset *d, const lip_loss *loss) {
  lipL_checkfeatures(L, "evaluate", d, net);
  lipL_checkclasses(L, "evaluate", d, net);
  if (!loss && !d->labels)
    luaL_error(
        L, "evaluate: the data set has %s: an accuracy needs labels, a loss is told by the option 'loss'%s",
        d->targets ? "values" : "neither labels nor values", d->targets ? ", such as lip.loss.mse()" : "");
  if (!loss) return;
  bool fits = loss->kind->target == LIP_TARGET_LABELS ? d->labels != NULL
                                                      : d->targets && d->target_width == net->root->n_out;
  if (!fits || net->root->n_out < loss->kind->min_outputs)
    luaL_error(L, "evaluate: the loss %s does not fit this data set and net", loss->kind->desc.name);
}

/* net:evaluate(dataset, {batch=500, loss=, limit=}) -> {n=, accuracy=, loss=} | nil, message, code */
static int net_evaluate(lua_State *L) {
  static const char *const known[] = {"batch", "loss", "limit", NULL};
  net_box *box = check_idle_box(L, 1);
  lip_net *net = box->net;
  const lip_dataset *d = lipL_checkdataset(L, 2);
  const lip_loss *loss = NULL;
  lua_settop(L, 3);
  lipL_checkfields(L, 3, "evaluate", known);
  size_t batch = lipL_optfield_size(L, 3, "evaluate", "batch", 500);
  size_t limit = lipL_optfield_size(L, 3, "evaluate", "limit", d->n);
  if (lipL_optfield_object(L, 3, "evaluate", "loss", LIP_LOSS_T, "a loss such as lip.loss.cross_entropy()"))
    loss = lipL_checkloss(L, -1);
  check_evaluation(L, net, d, loss);
  if (limit > d->n) limit = d->n;
  if (batch > limit) batch = limit;
  if (batch == 0)
    return luaL_error(L, "evaluate: nothing to evaluate (batch or limit is 0, or the data set is empty)");
  lipL_reserve(L, net, batch);
  if (box->label_room < batch) {
    int32_t *more = lip_realloc(box->labels, batch, sizeof *more);
    if (!more) return luaL_error(L, "evaluate: out of memory");
    box->labels = more;
    box->label_room = batch;
  }
  uint32_t *index = lua_newuserdatauv(L, batch * sizeof *index, 0);
  float *targets = d->targets ? lua_newuserdatauv(L, batch * d->target_width * sizeof *targets, 0) : NULL;
  tally sum = {0};
  lip_err err;
  if (loss && lip_net_measure(net, loss, batch, &err)) return lipL_fault(L, &err);
  for (size_t i = 0; i < limit; i += batch) {
    size_t B = limit - i < batch ? limit - i : batch;
    for (size_t r = 0; r < B; r++) index[r] = (uint32_t)(i + r);
    const size_t pinned = lipL_pin(d);
    lipL_pin(loss);
    const bool done = evaluate_batch(box, d, loss, index, B, targets, &sum);
    lipL_unpin(pinned);
    if (!done) return check_pass(L, net);
  }
  lua_newtable(L);
  lua_pushinteger(L, (lua_Integer)sum.n);
  lua_setfield(L, -2, "n");
  if (d->labels) {
    lua_pushnumber(L, (double)sum.correct / (double)sum.n);
    lua_setfield(L, -2, "accuracy");
  }
  if (loss) {
    lua_pushnumber(L, sum.loss / (double)sum.n);
    lua_setfield(L, -2, "loss");
  }
  return 1;
}

/* lip.net_options() -> the option table of lip.net, for help; `norm` is read by check_path */
static int net_options_list(lua_State *L) {
  lipL_pushoptions(L, &net_desc);
  lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
  for (lua_Integer i = n; i >= 2; i--) { /* second place */
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_newtable(L);
  static const char *const row[][2] = {
      {"name", "norm"},
      {"type", "string|number"},
      {"help", NORM_TEXT ": distances of inputs in the first, of outputs in the last norm"}};
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
    lua_pushstring(L, row[i][1]);
    lua_setfield(L, -2, row[i][0]);
  }
  lua_pushboolean(L, true);
  lua_setfield(L, -2, "required");
  lua_rawseti(L, -2, 2);
  return 1;
}

void lipL_open_net(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"forward", net_forward}, {"backward", net_backward}, {"update", net_update},     {"step", net_step},
      {"reset", net_reset},     {"predict", net_predict},   {"evaluate", net_evaluate}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", net_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"net", net_new}, {"net_options", net_options_list}, {NULL, NULL}};
  lipL_newtype(L, LIP_NET_T, methods, meta);
  luaL_setfuncs(L, functions, 0);
}
