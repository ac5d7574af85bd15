/* lip.attack: adversarial points, found by the methods of attacks.def. */
#include "bindings/bind_cert.h"
#include "bindings/bind_property.h"

#include <math.h>
#include <string.h>

#define LIP_ATTACK_T "lip.attack"

/* One call. */
typedef struct task {
  lip_net *net;
  const lip_dataset *data; /* or */
  const float *x;
  const int32_t *labels; /* (n); NULL: as executed */
  size_t n, batch;
  lip_attack_conf conf;
  uint32_t *index;   /* (batch) */
  float *rows;       /* (batch, n_in) of a data set */
  lip_attacked *out; /* (n) */
  float *found;      /* (n, n_in) */
} task;

typedef struct holder {
  lip_attack *attack;
} holder;

static int holder_gc(lua_State *L) {
  holder *h = luaL_checkudata(L, 1, LIP_ATTACK_T);
  lip_attack_free(h->attack);
  h->attack = NULL;
  return 0;
}

/* ---- options ---- */

static const lip_attack_kind *check_kind(lua_State *L, int idx) {
  if (lua_getfield(L, idx, "method") == LUA_TNIL) return lip_attack_kind_find("apgd");
  const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL; /* the table holds it */
  const lip_attack_kind *kind = name ? lip_attack_kind_find(name) : NULL;
  if (kind) return kind;
  char got[80];
  luaL_Buffer b;
  lipL_typetext(L, -1, got, sizeof got);
  luaL_buffinit(L, &b);
  for (size_t i = 0; lip_attack_kind_at(i); i++) {
    if (i > 0) luaL_addstring(&b, ", ");
    luaL_addstring(&b, lip_attack_kind_name(lip_attack_kind_at(i)));
  }
  luaL_pushresult(&b);
  luaL_error(L, "attack: option 'method' is one of %s; got %s", lua_tostring(L, -1), name ? name : got);
  return NULL;
}

/* A single norm: 1, 2, math.huge or "inf"; the net's first one when absent. */
static lip_p check_norm(lua_State *L, int idx, const lip_net *net) {
  lip_p p = lip_path_at(&net->conf.path, 0);
  char got[80];
  int type = lua_getfield(L, idx, "p");
  if (type == LUA_TNIL) return p;
  if (type == LUA_TNUMBER && lua_tonumber(L, -1) == 1) return LIP_P1;
  if (type == LUA_TNUMBER && lua_tonumber(L, -1) == 2) return LIP_P2;
  if (type == LUA_TNUMBER && lua_tonumber(L, -1) == HUGE_VAL) return LIP_PINF;
  if (type != LUA_TSTRING || lip_p_parse(lua_tostring(L, -1), &p, NULL))
    luaL_error(L, "attack: option 'p' expects 1, 2, math.huge or \"inf\", got %s",
               lipL_typetext(L, -1, got, sizeof got));
  return p;
}

/* "all", "untargeted", or how many of the strongest other classes. */
static size_t check_targets(lua_State *L, int idx) {
  enum { TARGETS = 9 };
  char got[80];
  int type = lua_getfield(L, idx, "targets");
  if (type == LUA_TNIL) return TARGETS;
  const char *text = type == LUA_TSTRING ? lua_tostring(L, -1) : "";
  if (strcmp(text, "all") == 0) return LIP_ALL_TARGETS;
  if (strcmp(text, "untargeted") == 0) return 0;
  if (type != LUA_TNUMBER || lua_tointeger(L, -1) < 1)
    luaL_error(
        L,
        "attack: option 'targets' expects \"all\", \"untargeted\" or a whole number >= 1 (so many of the "
        "strongest other classes), got %s",
        lipL_typetext(L, -1, got, sizeof got));
  return (size_t)lua_tointeger(L, -1);
}

static double check_length(lua_State *L, int idx, const char *name, bool required) {
  char got[80];
  double v = 0;
  int type = lua_getfield(L, idx, name);
  if (type == LUA_TNIL && !required) return 0;
  if (type == LUA_TNUMBER) v = lua_tonumber(L, -1);
  bool least = required ? v >= 0 : v > 0;
  if (type == LUA_TNUMBER && least && v <= LIP_LARGEST_EPS) return v;
  if (type == LUA_TNIL) luaL_error(L, "attack: option 'eps' is required: the radius of the ball to search");
  luaL_error(L, "attack: option '%s' expects a finite number %s, got %s", name, required ? ">= 0" : "> 0",
             lipL_typetext(L, -1, got, sizeof got));
  return 0;
}

static size_t check_count(lua_State *L, int idx, const char *name, size_t def) {
  size_t v = lipL_optfield_size(L, idx, "attack", name, def);
  if (def != v && v == 0) luaL_error(L, "attack: option '%s' expects a whole number >= 1", name);
  return v;
}

static void check_conf(lua_State *L, int idx, task *t) {
  static const char *const known[] = {"method", "p",     "eps",   "steps", "restarts", "step", "targets",
                                      "box",    "limit", "batch", "seed",  "scale",    "spec", NULL};
  lipL_box box;
  bool whole;
  luaL_checktype(L, idx, LUA_TTABLE);
  lipL_checkfields(L, idx, "attack", known);
  t->conf.kind = check_kind(L, idx);
  t->conf.p = check_norm(L, idx, t->net);
  t->conf.scale = lipL_optscale(L, idx, "attack", t->net, &whole);
  t->conf.eps = whole ? 1 : check_length(L, idx, "eps", true);
  t->conf.step = check_length(L, idx, "step", false);
  t->conf.steps = check_count(L, idx, "steps", 0);
  t->conf.restarts = check_count(L, idx, "restarts", 1);
  t->conf.targets = check_targets(L, idx);
  t->conf.seed = lipL_optfield_size(L, idx, "attack", "seed", 1);
  t->conf.property = lipL_optproperty(L, idx, "attack", t->net);
  lipL_optbox(L, idx, "attack", t->net, &box);
  t->conf.boxed = box.given;
  t->conf.low = box.from;
  t->conf.high = box.to;
  if (box.plain && !t->conf.scale) lipL_warn_wide("attack", t->conf.p, t->conf.eps, *box.from, *box.to);
}

/* ---- the call ---- */

/* Arguments and working memory; userdata stay on the stack for as long as the call lasts. */
static void prepare(lua_State *L, task *t) {
  size_t rows, n_in = t->net->root->n_in;
  t->data = lipL_testdataset(L, 2);
  int options = t->data || (lua_istable(L, 3) && lua_isnoneornil(L, 4)) ? 3 : 4;
  lua_settop(L, options);
  if (t->data) {
    lipL_checkfeatures(L, "attack", t->data, t->net);
    lipL_checkclasses(L, "attack", t->data, t->net);
    rows = t->data->n;
  } else {
    lipL_keepown(L, 2, t->net);
    t->x = lipL_checkrows(L, 2, t->net, &rows);
  }
  check_conf(L, options, t);
  size_t limit = lipL_optfield_size(L, options, "attack", "limit", rows);
  t->n = limit < rows ? limit : rows;
  t->batch = lipL_optfield_size(L, options, "attack", "batch", 256);
  if (t->n == 0 || t->batch == 0)
    luaL_error(L, "attack: nothing to attack (batch or limit is 0, or there are no rows)");
  if (t->batch > t->n) t->batch = t->n;
  if (t->data) {
    t->labels = t->data->labels;
    t->index = lua_newuserdatauv(L, t->batch * sizeof *t->index, 0);
    t->rows = lua_newuserdatauv(L, t->batch * n_in * sizeof *t->rows, 0);
  } else if (options == 4 && !lua_isnil(L, 3)) {
    int32_t *labels = lua_newuserdatauv(L, rows * sizeof *labels, 0);
    lipL_checklabels(L, 3, rows, lip_net_classes(t->net), labels);
    t->labels = labels;
  }
  t->out = lua_newuserdatauv(L, t->n * sizeof *t->out, 0);
}

static lip_status attack_all(task *t, lip_attack *a, lip_err *err) {
  size_t n_in = t->net->root->n_in;
  for (size_t i = 0; i < t->n; i += t->batch) {
    size_t B = t->n - i < t->batch ? t->n - i : t->batch;
    const float *x = t->data ? t->rows : t->x + i * n_in;
    for (size_t r = 0; t->data && r < B; r++) t->index[r] = (uint32_t)(i + r);
    if (t->data) lip_dataset_gather(t->data, t->index, B, t->rows, NULL, NULL);
    lip_status status =
        lip_attack_run(a, x, t->labels ? t->labels + i : NULL, i, B, t->found + i * n_in, t->out + i, err);
    if (status) return status;
  }
  return LIP_OK;
}

/* The tensor of a field on top of the stack, shaped as the net's input or a list. */
static float *push_tensor(lua_State *L, const task *t, const char *name, bool inputs) {
  const lip_shape *in = &t->net->root->in;
  size_t shape[4] = {t->n};
  for (int i = 0; i < in->ndim; i++) shape[i + 1] = in->dim[i];
  float *data = lipL_newtensor(L, inputs ? in->ndim + 1 : 1, shape)->data;
  lua_setfield(L, -2, name);
  return data;
}

static void fill_result(lua_State *L, const task *t, float *labels, float *found_labels, float *margins,
                        float *broken) {
  size_t clean = 0, success = 0;
  lua_getfield(L, -1, "distance");
  for (size_t i = 0; i < t->n; i++) {
    const lip_attacked *o = &t->out[i];
    clean += o->correct;
    success += o->broken;
    labels[i] = (float)o->before;
    found_labels[i] = (float)o->after;
    margins[i] = (float)o->margin;
    broken[i] = o->broken ? 1 : 0;
    lua_pushnumber(L, o->distance);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_pop(L, 1);
  lua_pushinteger(L, (lua_Integer)t->n);
  lua_setfield(L, -2, "n");
  lipL_setnumber(L, "clean", (double)clean / (double)t->n);
  lipL_setnumber(L, "success", (double)success / (double)t->n);
  lipL_setnumber(L, "robust", (double)(clean - success) / (double)t->n);
  lipL_settext(L, "method", lip_attack_kind_name(t->conf.kind));
  lipL_settext(L, "p", lip_p_name(t->conf.p));
  lipL_setnumber(L, "eps", t->conf.eps);
}

/* lip.attack(net, dataset | x[, y], {eps=, method="apgd", p=, steps=, restarts=1, step=, targets=9, box=, scale=,
 * limit=, batch=256, seed=1}) -> {n=, clean=, success=, robust=, adversarial=, distance=, broken=, labels=, found=, margins=,
 * method=, p=, eps=} | nil, message, code
 *   clean, success, robust  fractions of all rows: answered correctly; of those, put into another class; the others
 *   adversarial             points at most eps from the rows, in the box: the least margin found; broken (n): 1 where
 *                           they are put into another class as executed
 *   distance                list of n numbers, rounded up; with a scale s, ||(x' - x) / s||_p
 *   with spec (bind_property.h) a point is correct where it holds and success where it is broken; margins are its value
 *   labels, found           (n) as executed, of the inputs and of the adversarial points
 *   margins                 (n) z_y - max z_j there; one output f counts as the logits 0 and f */
static int attack(lua_State *L) {
  task t = {.net = lipL_checkidle(L, 1)};
  lip_err err;
  prepare(L, &t);
  holder *h = lipL_newobject(L, LIP_ATTACK_T, sizeof *h, 0);
  lua_createtable(L, 0, 16);
  t.found = push_tensor(L, &t, "adversarial", true);
  float *labels = push_tensor(L, &t, "labels", false), *found = push_tensor(L, &t, "found", false);
  for (int i = 0; i < 2; i++) {
    lua_getfield(L, -1, i ? "found" : "labels");
    lipL_mean(L, -1, LIPL_CLASSES);
    lua_pop(L, 1);
  }
  float *margins = push_tensor(L, &t, "margins", false), *broken = push_tensor(L, &t, "broken", false);
  lua_createtable(L, (int)t.n, 0);
  lua_setfield(L, -2, "distance");
  if (lip_attack_new(t.net, &t.conf, t.batch, &h->attack, &err)) return lipL_fault(L, &err);
  const size_t pinned = lipL_pin(t.data);
  const lip_status status = attack_all(&t, h->attack, &err);
  lipL_unpin(pinned);
  const int failed = lipL_netfault(L, t.net);
  if (failed) return failed;
  if (status) return lipL_fault(L, &err);
  lip_attack_free(h->attack);
  h->attack = NULL;
  fill_result(L, &t, labels, found, margins, broken);
  return 1;
}

/* lip.attacks() -> {{name=, help=}, ...} in order of strength */
static int attacks(lua_State *L) {
  lua_newtable(L);
  for (size_t i = 0; lip_attack_kind_at(i); i++) {
    lua_createtable(L, 0, 2);
    lipL_settext(L, "name", lip_attack_kind_name(lip_attack_kind_at(i)));
    lipL_settext(L, "help", lip_attack_kind_help(lip_attack_kind_at(i)));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

void lipL_open_attack(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", holder_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"attack", attack}, {"attacks", attacks}, {NULL, NULL}};
  lipL_newtype(L, LIP_ATTACK_T, NULL, meta);
  luaL_setfuncs(L, functions, 0);
}
