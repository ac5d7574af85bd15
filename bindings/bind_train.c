/* Losses, optimisers and schedules: constructors made from the tables of the core, and their methods. */
#include <math.h>
#include <string.h>

#include "bindings/bind.h"

/* ---- what the three families share ---- */

typedef enum family { LOSSES, OPTIMS, SCHEDULES } family;

/* The i-th row of a family, or NULL. */
static const lip_desc *desc_at(family f, size_t i) {
  const lip_loss_kind *loss = f == LOSSES ? lip_loss_kind_at(i) : NULL;
  const lip_optim_kind *optim = f == OPTIMS ? lip_optim_kind_at(i) : NULL;
  const lip_schedule_kind *schedule = f == SCHEDULES ? lip_schedule_kind_at(i) : NULL;
  return loss ? &loss->desc : optim ? &optim->desc : schedule ? &schedule->desc : NULL;
}

/* lip.losses() and so on: { {name=, help=, options=}, ... }. Upvalue: the family. */
static int list(lua_State *L) {
  family f = (family)lua_tointeger(L, lua_upvalueindex(1));
  const lip_desc *desc;
  lua_newtable(L);
  for (size_t i = 0; (desc = desc_at(f, i)); i++) {
    lua_createtable(L, 0, 3);
    lua_pushstring(L, desc->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, desc->help);
    lua_setfield(L, -2, "help");
    lipL_pushoptions(L, desc);
    lua_setfield(L, -2, "options");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* The options of a constructor's first argument as a conf of its own. */
static void *take_conf(lua_State *L, const lip_desc *desc) {
  if (lua_istable(L, 1) && lua_rawlen(L, 1) > 0)
    luaL_error(L, "%s: options are given by name, as in %s{name = value}", desc->name, desc->name);
  const void *checked = lipL_checkconf(L, 1, desc, NULL);
  void *conf = lip_conf_copy(desc, checked);
  if (!conf) luaL_error(L, "%s: out of memory", desc->name);
  return conf;
}

/* Pushes { option = value, ... }. */
static void push_values(lua_State *L, const lip_desc *desc, const void *conf) {
  lua_newtable(L);
  for (const lip_opt *o = desc->opts; o && o->name; o++) {
    lipL_pushoption(L, o, conf);
    lua_setfield(L, -2, o->name);
  }
}

/* Pushes "name{option=value, ...}". */
static void push_text(lua_State *L, const lip_desc *desc, const void *conf) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  luaL_addstring(&b, desc->name);
  luaL_addchar(&b, '{');
  for (const lip_opt *o = desc->opts; o && o->name; o++) {
    if (o != desc->opts) luaL_addstring(&b, ", ");
    luaL_addstring(&b, o->name);
    luaL_addchar(&b, '=');
    lipL_pushoption(L, o, conf);
    luaL_tolstring(L, -1, NULL);
    lua_remove(L, -2);
    luaL_addvalue(&b);
  }
  luaL_addchar(&b, '}');
  luaL_pushresult(&b);
}

/* ---- losses ---- */

static int loss_new(lua_State *L) {
  const lip_loss_kind *kind = lip_loss_kind_at((size_t)lua_tointeger(L, lua_upvalueindex(1)));
  lua_settop(L, 1);
  lip_loss *loss = lipL_newobject(L, LIP_LOSS_T, sizeof *loss, 0);
  loss->kind = kind;
  loss->conf = take_conf(L, &kind->desc);
  lua_settop(L, 2);
  return 1;
}

lip_loss *lipL_checkloss(lua_State *L, int idx) {
  lip_loss *loss = luaL_checkudata(L, idx, LIP_LOSS_T);
  if (!loss->conf) lipL_argerror(L, idx, "this loss is closed");
  return loss;
}

static int loss_gc(lua_State *L) {
  lip_loss *loss = luaL_checkudata(L, 1, LIP_LOSS_T);
  if (lipL_pinned(loss)) return 0;
  if (loss->kind) lip_conf_free(&loss->kind->desc, loss->conf);
  loss->conf = NULL;
  return 0;
}

static int loss_tostring(lua_State *L) {
  const lip_loss *loss = luaL_checkudata(L, 1, LIP_LOSS_T);
  if (loss->conf)
    push_text(L, &loss->kind->desc, loss->conf);
  else
    lua_pushliteral(L, "loss (closed)");
  return 1;
}

static int loss_name(lua_State *L) {
  lua_pushstring(L, lipL_checkloss(L, 1)->kind->desc.name);
  return 1;
}

static int loss_options(lua_State *L) {
  const lip_loss *loss = lipL_checkloss(L, 1);
  push_values(L, &loss->kind->desc, loss->conf);
  return 1;
}

/* loss:option(name[, v]): a numeric option as it is, from now on v. */
static int loss_option(lua_State *L) {
  lip_loss *loss = lipL_checkloss(L, 1);
  const lip_desc *desc = &loss->kind->desc;
  const char *name = luaL_checkstring(L, 2);
  const lip_opt *o = lip_opt_find(desc, name);
  lip_err err;
  if (!o || o->type != LIP_OPT_REAL) {
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (const lip_opt *k = desc->opts; k && k->name; k++) {
      if (k->type != LIP_OPT_REAL) continue;
      if (luaL_bufflen(&b) > 0) luaL_addstring(&b, ", ");
      luaL_addstring(&b, k->name);
    }
    luaL_pushresult(&b);
    luaL_argerror(L, 2,
                  lua_pushfstring(L, "%s has no option '%s' that may be set later (those are: %s)",
                                  desc->name, name, lua_rawlen(L, -1) ? lua_tostring(L, -1) : "none"));
  }
  if (!lua_isnoneornil(L, 3) && lip_conf_set_number(desc, loss->conf, name, luaL_checknumber(L, 3), &err))
    return lipL_raise(L, &err);
  lipL_pushoption(L, o, loss->conf);
  return 1;
}

/* "labels" or "values": what the loss compares with. */
static int loss_target(lua_State *L) {
  lua_pushstring(L, lipL_checkloss(L, 1)->kind->target == LIP_TARGET_LABELS ? "labels" : "values");
  return 1;
}

/* The targets at index 3 for z (B, C); their memory lives on the stack. */
static lip_targets check_targets(lua_State *L, const lip_loss *loss, size_t B, size_t C) {
  lip_targets t = {loss->kind->target, NULL, NULL};
  if (t.kind == LIP_TARGET_LABELS) {
    int32_t *labels = lua_newuserdatauv(L, (B ? B : 1) * sizeof *labels, 0);
    lipL_checklabels(L, 3, B, C == 1 ? 2 : C, labels); /* one output separates two classes */
    t.labels = labels;
    return t;
  }
  const lip_tensor *v = lipL_checktensor(L, 3);
  bool column = v->ndim == 1 && C == 1 && v->shape[0] == B;
  if (!column && !(v->ndim == 2 && v->shape[0] == B && v->shape[1] == C)) {
    char got[80];
    luaL_error(L, "%s: the values have shape %s, the outputs %dx%d", loss->kind->desc.name,
               lip_shape_text(v->ndim, v->shape, got, sizeof got), (int)B, (int)C);
  }
  t.values = lipL_contiguous(L, 3)->data;
  return t;
}

/* Mean over the rows; dz (B, C) may be NULL. */
static double mean_loss(lua_State *L, const lip_loss *loss, const float *z, size_t B, size_t C,
                        const lip_targets *t, float *dz) {
  double sum = 0, *value = lua_newuserdatauv(L, B * sizeof *value, 0);
  loss->kind->rows(loss->conf, z, B, C, t, 0, B, value, dz);
  for (size_t i = 0; i < B; i++) sum += value[i];
  return sum / (double)B;
}

static const lip_tensor *check_outputs(lua_State *L, const lip_loss *loss) {
  const lip_tensor *z = lipL_checktensor(L, 2);
  char got[80];
  lip_shape_text(z->ndim, z->shape, got, sizeof got);
  if (z->ndim != 2 || z->shape[0] == 0 || z->shape[1] == 0)
    luaL_error(L, "%s: the outputs must be a tensor (rows, classes), got shape %s", loss->kind->desc.name,
               got);
  if (z->shape[1] < loss->kind->min_outputs)
    luaL_error(L, "%s: needs at least %d outputs per row, got shape %s", loss->kind->desc.name,
               (int)loss->kind->min_outputs, got);
  return lipL_contiguous(L, 2);
}

static int loss_value(lua_State *L) {
  const lip_loss *loss = lipL_checkloss(L, 1);
  lua_settop(L, 3);
  const lip_tensor *z = check_outputs(L, loss);
  lip_targets t = check_targets(L, loss, z->shape[0], z->shape[1]);
  lua_pushnumber(L, mean_loss(L, loss, z->data, z->shape[0], z->shape[1], &t, NULL));
  return 1;
}

static int loss_gradient(lua_State *L) {
  const lip_loss *loss = lipL_checkloss(L, 1);
  lua_settop(L, 3);
  const lip_tensor *z = check_outputs(L, loss);
  lip_targets t = check_targets(L, loss, z->shape[0], z->shape[1]);
  lip_tensor *dz = lipL_newtensor(L, 2, z->shape);
  int at = lua_gettop(L);
  lua_pushnumber(L, mean_loss(L, loss, z->data, z->shape[0], z->shape[1], &t, dz->data));
  lua_pushvalue(L, at);
  return 2;
}

/* ---- optimisers ---- */

typedef struct optim_box {
  lip_optim *opt;
} optim_box;

static int push_optim(lua_State *L) {
  lip_optim *opt = lua_touserdata(L, 1);
  optim_box *box = lipL_newobject(L, LIP_OPTIM_T, sizeof *box, 0);
  box->opt = opt;
  return 1;
}

void lipL_pushoptim(lua_State *L, lip_optim *opt) {
  lua_pushcfunction(L, push_optim);
  lua_pushlightuserdata(L, opt);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    lip_optim_free(opt);
    lua_error(L);
  }
  lipL_account(L, opt->n * opt->kind->slots * sizeof *opt->state);
}

static int optim_new(lua_State *L) {
  const lip_optim_kind *kind = lip_optim_kind_at((size_t)lua_tointeger(L, lua_upvalueindex(1)));
  lua_settop(L, 1);
  if (lua_istable(L, 1) && lua_rawlen(L, 1) > 0)
    luaL_error(L, "%s: options are given by name, as in %s{lr = 0.01}", kind->desc.name, kind->desc.name);
  const void *conf = lipL_checkconf(L, 1, &kind->desc, NULL);
  optim_box *box = lipL_newobject(L, LIP_OPTIM_T, sizeof *box, 0);
  lip_err err;
  if (lip_optim_new(kind, conf, &box->opt, &err)) return lipL_raise(L, &err);
  return 1;
}

lip_optim *lipL_checkoptim(lua_State *L, int idx) {
  optim_box *box = luaL_checkudata(L, idx, LIP_OPTIM_T);
  if (!box->opt) lipL_argerror(L, idx, "this optimiser is closed");
  return box->opt;
}

/* No __close: views of the state may be alive, and they keep this object. */
static int optim_gc(lua_State *L) {
  optim_box *box = luaL_checkudata(L, 1, LIP_OPTIM_T);
  if (lipL_pinned(box->opt)) return 0;
  lip_optim_free(box->opt);
  box->opt = NULL;
  return 0;
}

static int optim_tostring(lua_State *L) {
  const optim_box *box = luaL_checkudata(L, 1, LIP_OPTIM_T);
  if (box->opt)
    push_text(L, &box->opt->kind->desc, box->opt->conf);
  else
    lua_pushliteral(L, "optimiser (closed)");
  return 1;
}

static int optim_name(lua_State *L) {
  lua_pushstring(L, lipL_checkoptim(L, 1)->kind->desc.name);
  return 1;
}

static int optim_options(lua_State *L) {
  const lip_optim *o = lipL_checkoptim(L, 1);
  push_values(L, &o->kind->desc, o->conf);
  return 1;
}

/* opt:lr([v]): the rate of the next update. */
static int optim_lr(lua_State *L) {
  lip_optim *o = lipL_checkoptim(L, 1);
  if (!lua_isnoneornil(L, 2)) {
    const lip_opt *row = lip_opt_find(&o->kind->desc, "lr");
    double v = luaL_checknumber(L, 2);
    if (!(v >= row->low && v <= row->high))
      luaL_error(L, "%s: the learning rate must be a number in [%f, %f], got %f", o->kind->desc.name,
                 row->low, row->high, lip_plain(v));
    o->lr = v;
  }
  lua_pushnumber(L, o->lr);
  return 1;
}

/* { name=, updates=, loss=, lr=, parameters=, options={...}, slots={ view, ... } } */
static int optim_state(lua_State *L) {
  lip_optim *o = lipL_checkoptim(L, 1);
  lua_settop(L, 1);
  lua_createtable(L, 0, 7);
  lua_pushstring(L, o->kind->desc.name);
  lua_setfield(L, 2, "name");
  lua_pushinteger(L, (lua_Integer)o->t);
  lua_setfield(L, 2, "updates");
  lua_pushnumber(L, o->loss);
  lua_setfield(L, 2, "loss");
  lua_pushnumber(L, o->lr);
  lua_setfield(L, 2, "lr");
  lua_pushinteger(L, (lua_Integer)o->n);
  lua_setfield(L, 2, "parameters");
  push_values(L, &o->kind->desc, o->conf);
  lua_setfield(L, 2, "options");
  lua_newtable(L);
  for (size_t k = 0; o->state && k < o->kind->slots; k++) {
    lip_tensor view = lip_tensor_wrap(o->state + k * o->n, 1, &o->n);
    lipL_pushview(L, &view, 1);
    lua_rawseti(L, -2, (lua_Integer)k + 1);
  }
  lua_setfield(L, 2, "slots");
  return 1;
}

/* Back to the first update: no memory of gradients, the rate of the options. */
static int optim_reset(lua_State *L) {
  lip_optim *o = lipL_checkoptim(L, 1);
  const lip_opt *row = lip_opt_find(&o->kind->desc, "lr");
  if (o->state) memset(o->state, 0, o->n * o->kind->slots * sizeof *o->state);
  o->t = 0;
  o->lr = *(const double *)((const char *)o->conf + row->offset);
  lua_settop(L, 1);
  return 1;
}

/* ---- schedules ---- */

static int schedule_new(lua_State *L) {
  const lip_schedule_kind *kind = lip_schedule_kind_at((size_t)lua_tointeger(L, lua_upvalueindex(1)));
  lua_settop(L, 1);
  lip_schedule *s = lipL_newobject(L, LIP_SCHEDULE_T, sizeof *s, 0);
  s->kind = kind;
  s->conf = take_conf(L, &kind->desc);
  lua_settop(L, 2);
  return 1;
}

static const lip_schedule *check_schedule(lua_State *L, int idx) {
  const lip_schedule *s = luaL_checkudata(L, idx, LIP_SCHEDULE_T);
  if (!s->conf) lipL_argerror(L, idx, "this schedule is closed");
  return s;
}

static int schedule_gc(lua_State *L) {
  lip_schedule *s = luaL_checkudata(L, 1, LIP_SCHEDULE_T);
  if (s->kind) lip_conf_free(&s->kind->desc, s->conf);
  s->conf = NULL;
  return 0;
}

static int schedule_tostring(lua_State *L) {
  const lip_schedule *s = luaL_checkudata(L, 1, LIP_SCHEDULE_T);
  if (s->conf)
    push_text(L, &s->kind->desc, s->conf);
  else
    lua_pushliteral(L, "schedule (closed)");
  return 1;
}

static int schedule_name(lua_State *L) {
  lua_pushstring(L, check_schedule(L, 1)->kind->desc.name);
  return 1;
}

static int schedule_options(lua_State *L) {
  const lip_schedule *s = check_schedule(L, 1);
  push_values(L, &s->kind->desc, s->conf);
  return 1;
}

/* sched:factor(step, total, per_epoch), also sched(step, total, per_epoch): step from 0. */
static int schedule_factor(lua_State *L) {
  const lip_schedule *s = check_schedule(L, 1);
  double step = luaL_checknumber(L, 2), total = luaL_optnumber(L, 3, 1), per_epoch = luaL_optnumber(L, 4, 1);
  luaL_argcheck(L, step >= 0 && isfinite(step), 2, "the update is a number from 0 on");
  luaL_argcheck(L, total >= 1 && isfinite(total), 3, "the number of updates is at least 1");
  luaL_argcheck(L, per_epoch >= 1 && isfinite(per_epoch), 4, "the updates of an epoch are at least 1");
  lua_pushnumber(L, s->kind->factor(s->conf, step, total, per_epoch));
  return 1;
}

/* ---- opening ---- */

/* module[table] = { kind = constructor, ... }, module[plural] = the listing. */
static void open_family(lua_State *L, family f, const char *table, const char *plural, lua_CFunction make) {
  const lip_desc *desc;
  lua_newtable(L);
  for (size_t i = 0; (desc = desc_at(f, i)); i++) {
    lua_pushinteger(L, (lua_Integer)i);
    lua_pushcclosure(L, make, 1);
    lua_setfield(L, -2, desc->name);
  }
  lua_setfield(L, -2, table);
  lua_pushinteger(L, f);
  lua_pushcclosure(L, list, 1);
  lua_setfield(L, -2, plural);
}

void lipL_open_train(lua_State *L) {
  static const luaL_Reg loss[] = {
      {"value", loss_value},     {"gradient", loss_gradient}, {"name", loss_name}, {"target", loss_target},
      {"options", loss_options}, {"option", loss_option},     {NULL, NULL}};
  static const luaL_Reg loss_meta[] = {{"__gc", loss_gc}, {"__tostring", loss_tostring}, {NULL, NULL}};
  static const luaL_Reg optim[] = {{"lr", optim_lr},     {"state", optim_state},     {"reset", optim_reset},
                                   {"name", optim_name}, {"options", optim_options}, {NULL, NULL}};
  static const luaL_Reg optim_meta[] = {{"__gc", optim_gc}, {"__tostring", optim_tostring}, {NULL, NULL}};
  static const luaL_Reg schedule[] = {
      {"factor", schedule_factor}, {"name", schedule_name}, {"options", schedule_options}, {NULL, NULL}};
  static const luaL_Reg schedule_meta[] = {
      {"__gc", schedule_gc}, {"__call", schedule_factor}, {"__tostring", schedule_tostring}, {NULL, NULL}};
  lipL_newtype(L, LIP_LOSS_T, loss, loss_meta);
  lipL_newtype(L, LIP_OPTIM_T, optim, optim_meta);
  lipL_newtype(L, LIP_SCHEDULE_T, schedule, schedule_meta);
  open_family(L, LOSSES, "loss", "losses", loss_new);
  open_family(L, OPTIMS, "optim", "optims", optim_new);
  open_family(L, SCHEDULES, "schedule", "schedules", schedule_new);
}
