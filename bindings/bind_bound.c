/* net:bound, lip.bound, lip.bound_methods. */
#include "bindings/bind_cert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/decimal.h"
#include "core/bound/found.h"

#define LIP_BOUND_T "lip.bound" /* metatable of the tables that net:bound returns */

/* Rows first .. first+B-1 of a data set, in order. */
static void gather(const lip_dataset *d, size_t first, size_t B, uint32_t *index, float *x) {
  for (size_t i = 0; i < B; i++) index[i] = (uint32_t)(first + i);
  lip_dataset_gather(d, index, B, x, NULL, NULL);
}

static void push_layers(lua_State *L, const lip_bound *b) {
  lua_createtable(L, (int)b->n, 0);
  for (size_t i = 0; i < b->n; i++) {
    lua_createtable(L, 0, 4);
    lipL_settext(L, "kind", b->row[i].kind);
    lipL_settext(L, "step", lip_pq_name(b->row[i].pq));
    lipL_setnumber(L, "upper", b->row[i].upper);
    lipL_setnumber(L, "budget", b->row[i].budget);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static double field_number(lua_State *L, int idx, const char *name) {
  lua_getfield(L, idx, name);
  double v = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : NAN;
  lua_pop(L, 1);
  return v;
}

/* Numbers as they are shown: a bound never below itself, what is attained never above (core/base/decimal.h). */
static void add_cell(luaL_Buffer *b, const char *fmt, double v) {
  char text[64];
  if (isnan(v))
    lip_snprintf(text, sizeof text, " %14s", "-");
  else
    lip_snprintf(text, sizeof text, fmt, v);
  luaL_addstring(b, text);
}

/* The text of a field of the table at idx, at most `size - 1` bytes; `def` when it is none. */
static const char *field_text(lua_State *L, int idx, const char *name, const char *def, char *buf,
                              size_t size) {
  lua_getfield(L, idx, name);
  snprintf(buf, size, "%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : def);
  lua_pop(L, 1);
  return buf;
}

static void add_layer(lua_State *L, int idx, lua_Integer i, luaL_Buffer *b) {
  char line[200], kind[41], step[21];
  double budget = field_number(L, idx, "budget"), upper = field_number(L, idx, "upper");
  snprintf(line, sizeof line, "%3d  %-12s %-10s", (int)i, field_text(L, idx, "kind", "?", kind, sizeof kind),
           field_text(L, idx, "step", "?", step, sizeof step));
  luaL_addstring(b, line);
  add_cell(b, " %14.9g", lip_digits_up(upper, 9));
  add_cell(b, " %14.9g", isinf(budget) ? (double)NAN : lip_digits_up(budget, 9));
  luaL_addchar(b, '\n');
}

/* What one method of "best" came to. */
static void add_tried(lua_State *L, int idx, lua_Integer i, luaL_Buffer *b) {
  char line[100 + LIP_REASON], method[21], reason[LIP_REASON];
  (void)i;
  double upper = field_number(L, idx, "upper"), seconds = field_number(L, idx, "seconds");
  lip_snprintf(line, sizeof line, "\n     %-12s %14.9g  %8.3g s  %s",
               field_text(L, idx, "method", "?", method, sizeof method), lip_digits_up(upper, 9), seconds,
               field_text(L, idx, "reason", "", reason, sizeof reason));
  luaL_addstring(b, line);
}

/* The tables of the list at stack place `list`; `row` is a free place. */
static void add_rows(lua_State *L, int list, int row, luaL_Buffer *b,
                     void (*add)(lua_State *, int, lua_Integer, luaL_Buffer *)) {
  lua_Integer n = lua_istable(L, list) ? (lua_Integer)lua_rawlen(L, list) : 0;
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, list, i);
    lua_replace(L, row);
    if (lua_istable(L, row)) add(L, row, i, b);
  }
}

/* The texts of the list at stack place `list`. */
static void add_assumed(lua_State *L, int list, int row, luaL_Buffer *b) {
  char line[260];
  const lua_Integer n = lua_istable(L, list) ? (lua_Integer)lua_rawlen(L, list) : 0;
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, list, i);
    lua_replace(L, row);
    snprintf(line, sizeof line, "\n     rests on the word of the script: %.200s",
             lua_type(L, row) == LUA_TSTRING ? lua_tostring(L, row) : "?");
    luaL_addstring(b, line);
  }
}

/* One line per layer, the interval below; works on whatever a script has made of the table. */
static int bound_tostring(lua_State *L) {
  enum { LAYERS = 2, TRIED, ASSUMED, ROW };
  char line[500], text[400];
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "layers");
  lua_getfield(L, 1, "tried");
  lua_getfield(L, 1, "assumed");
  luaL_Buffer b;
  lua_settop(L, ROW); /* fixed slots below the buffer */
  luaL_buffinit(L, &b);
  snprintf(line, sizeof line, "%3s  %-12s %-10s %14s %14s\n", "", "layer", "step", "upper", "budget");
  luaL_addstring(&b, line);
  add_rows(L, LAYERS, ROW, &b, add_layer);
  snprintf(line, sizeof line, "%3s  %-12s %-10.20s", "", "net",
           field_text(L, 1, "pq", "", text, sizeof text));
  luaL_addstring(&b, line);
  add_cell(&b, " %14.9g", lip_digits_up(field_number(L, 1, "upper"), 9));
  double lower = field_number(L, 1, "lower"), slack = field_number(L, 1, "slack");
  if (!isnan(slack)) add_cell(&b, "  (%.6g of the budget)", lip_digits_up(slack, 6));
  if (!isnan(lower)) add_cell(&b, "\n     attained from below: %.9g", lip_digits_down(lower, 9));
  if (!isnan(lower) && lua_istable(L, ASSUMED))
    luaL_addstring(&b, ", by the deviation that the script states");
  snprintf(line, sizeof line, "\n     unknown: the layer '%.60s' states no constant for this norm",
           field_text(L, 1, "unknown", "", text, sizeof text));
  if (*text) luaL_addstring(&b, line);
  snprintf(line, sizeof line, "\n     reason: %s", field_text(L, 1, "reason", "", text, sizeof text));
  if (*text) luaL_addstring(&b, line);
  add_assumed(L, ASSUMED, ROW, &b);
  add_rows(L, TRIED, ROW, &b, add_tried);
  luaL_pushresult(&b);
  return 1;
}

/* Points to search from: the option `data` (tensor or data set, at most `points` rows), else uniform in [0, 1).
 * Leaves what owns them on the stack. */
static const float *search_points(lua_State *L, int idx, const lip_net *net, size_t points, size_t *B) {
  size_t n_in = net->root->n_in;
  lua_getfield(L, idx, "data");
  lip_dataset *d = lipL_testdataset(L, -1);
  if (!d && !lua_isnil(L, -1)) {
    if (!lipL_testtensor(L, -1)) {
      char got[80];
      luaL_error(L, "bound: option 'data' expects a tensor or a data set, got %s",
                 lipL_typetext(L, -1, got, sizeof got));
    }
    const float *x = lipL_optrows(L, "bound", "data", net, B);
    if (*B > points) *B = points;
    return x;
  }
  if (d) lipL_checkfeatures(L, "bound", d, net);
  *B = d && d->n < points ? d->n : points;
  size_t room = *B ? *B : 1;
  float *x = lua_newuserdatauv(L, room * n_in * sizeof *x, 0);
  if (d) {
    uint32_t *index = lua_newuserdatauv(L, room * sizeof *index, 0);
    gather(d, 0, *B, index, x);
  } else {
    lip_rng rng = lip_rng_new(1, LIP_RNG_ATTACK, 0);
    lip_rng_fill_uniform(&rng, x, *B * n_in, 0, 1);
  }
  return x;
}

/* A place among the C outputs from element `at` of the list on top of the stack, from 0. `where` says which list that is. */
static size_t check_output(lua_State *L, lua_Integer at, size_t C, const char *option, const char *where) {
  char got[80];
  lua_rawgeti(L, -1, at);
  int whole;
  lua_Integer k = lua_tointegerx(L, -1, &whole);
  if (lua_type(L, -1) != LUA_TNUMBER || !whole || k < 1 || (size_t)k > C)
    luaL_error(L, "bound: option '%s' expects outputs from 1 to %d, %s is %s", option, (int)C, where,
               lua_type(L, -1) == LUA_TNUMBER ? lua_tostring(L, -1) : lipL_typetext(L, -1, got, sizeof got));
  lua_pop(L, 1);
  return (size_t)k - 1;
}

static void want(bool *only, size_t C, size_t i, size_t j) {
  only[i * C + j] = only[j * C + i] = true;
}

/* pairs = {{i, j}, ...} on top of the stack. */
static void listed_pairs(lua_State *L, size_t C, bool *only) {
  char where[40], got[80];
  for (lua_Integer k = 1; k <= (lua_Integer)lua_rawlen(L, -1); k++) {
    lua_rawgeti(L, -1, k);
    if (!lua_istable(L, -1) || lua_rawlen(L, -1) != 2)
      luaL_error(L, "bound: option 'pairs' expects true, false or a list of pairs {i, j}, element %d is %s",
                 (int)k,
                 lua_istable(L, -1) ? "a table of another length" : lipL_typetext(L, -1, got, sizeof got));
    snprintf(where, sizeof where, "one of element %d", (int)k);
    size_t i = check_output(L, 1, C, "pairs", where), j = check_output(L, 2, C, "pairs", where);
    if (i == j)
      luaL_error(L, "bound: option 'pairs' expects two different outputs, element %d has %d twice", (int)k,
                 (int)i + 1);
    want(only, C, i, j);
    lua_pop(L, 1);
  }
}

/* outputs = {i, ...} on top of the stack: all pairs with one of them. */
static void listed_outputs(lua_State *L, size_t C, bool *only) {
  char where[40], got[80];
  if (!lua_istable(L, -1))
    luaL_error(L, "bound: option 'outputs' expects a list of outputs, got %s",
               lipL_typetext(L, -1, got, sizeof got));
  for (lua_Integer k = 1; k <= (lua_Integer)lua_rawlen(L, -1); k++) {
    snprintf(where, sizeof where, "element %d", (int)k);
    size_t i = check_output(L, k, C, "outputs", where);
    for (size_t j = 0; j < C; j++)
      if (j != i) want(only, C, i, j);
  }
}

/* The options `pairs` and `outputs`: whether there is to be a table, and which of it; *only NULL: all. Leaves what owns it on
 * the stack. */
static bool opt_pairs(lua_State *L, int idx, size_t C, const bool **only) {
  *only = NULL;
  if (!lua_istable(L, idx)) return false;
  bool listed = lua_getfield(L, idx, "pairs") == LUA_TTABLE;
  bool by_output = lua_getfield(L, idx, "outputs") != LUA_TNIL, some = listed || by_output;
  if (listed && by_output)
    luaL_error(L, "bound: options 'pairs' and 'outputs' both list pairs: give one of them");
  bool *room = some ? lua_newuserdatauv(L, C * C * sizeof *room, 0) : NULL;
  if (some) {
    memset(room, 0, C * C * sizeof *room);
    lua_pushvalue(L, listed ? -3 : -2);
    listed ? listed_pairs(L, C, room) : listed_outputs(L, C, room);
    lua_pop(L, 1);
  }
  bool all = !listed && lipL_optfield_bool(L, idx, "bound", "pairs", by_output);
  if (by_output && !all) luaL_error(L, "bound: option 'outputs' says which pairs, and 'pairs' is false");
  *only = room;
  return listed || all;
}

/* ---- words that points refute ---- */

/* Whether two points are farther apart behind the net than the words of a script allow: then nothing that rests on them is left,
 * and a text that says so is pushed. `low` (C, C) may be NULL. */
static bool refuted(lua_State *L, lipL_cert *h, const lip_net *net, double lower, const double *low) {
  const size_t C = net->root->n_out;
  double attained = lower, stated = h->found.upper;
  size_t i = 0, j = 0;
  char between[80] = "", text[200];
  if (!lip_custom_assumed(net->root, 0)) return false;
  for (size_t k = 0; low && !(attained > stated) && k < C * C; k++)
    if (low[k] > h->found.pair[k]) {
      i = k / C;
      j = k % C;
      attained = low[k];
      stated = h->found.pair[k];
      snprintf(between, sizeof between, " in the difference of outputs %zu and %zu", i + 1, j + 1);
    }
  if (!(attained > stated)) return false;
  h->found.upper = INFINITY;
  for (size_t k = 0; h->found.pair && k < C * C; k++)
    if (k / C != k % C) h->found.pair[k] = INFINITY;
  for (size_t k = 0; k < h->found.n_tried; k++) h->found.tried[k].upper = INFINITY;
  lip_snprintf(text, sizeof text, "refuted: two points attain %.9g%s, more than %.9g by the word of ",
               lip_plain(lip_digits_down(attained, 9)), between, lip_plain(lip_digits_up(stated, 9)));
  lua_pushstring(L, text);
  lipL_assumedtext(L, net);
  lua_pushliteral(L, ": lipschitz or deviation is too small");
  lua_concat(L, 3);
  return true;
}

/* net:bound([{method="product", p=, pairs=false, outputs=, seconds=, lower=false, data=, points=256}]) -> {upper=, lower=,
 * tightness=, slack=, method=, seconds=, unknown=, reason=, tried=, pq=, pairs=, lower_pairs=, layers={...}}
 *   upper      of the Lipschitz constant by the method, along the norm path (p: along another one), rounded up
 *   pairs      (C, C) the same for z_i - z_j; infinite where not asked for
 *   lower      a quotient that two points attain, rounded down; tightness = lower / upper; lower_pairs with pairs=true
 *   seconds    of the method, without the search for lower
 *   assumed    the layers whose constants rest on the script's word, and `lower` on what they say of rounding; absent when
 *              there are none. Where lower is above upper that word is refuted: upper is infinite, and reason says so
 *   reason     what the method could not do, and why; absent when it could
 *   tried      of "best": {{method=, upper=, seconds=, reason=}, ...}
 *   progress   function({method=, done=, total=, seconds=}), twice a second at most; false: no line on a
 *              terminal */
static int net_bound(lua_State *L) {
  static const char *const known[] = {"p",      "lower",    "data",  "points",  "method",
                                      "pairs",  "seconds",  "x",     "eps",     "box",
                                      "global", "progress", "scale", "outputs", NULL};
  lip_net *net = lipL_checknet(L, 1);
  lip_path path;
  lip_err err;
  double lower = NAN, *low = NULL;
  lua_settop(L, 2);
  lipL_checkfields(L, 2, "bound", known);
  bool search = lipL_optfield_bool(L, 2, "bound", "lower", false);
  const bool *only;
  bool pairs = opt_pairs(L, 2, net->root->n_out, &only);
  size_t points = lipL_optfield_size(L, 2, "bound", "points", 256), B = 0;
  bool other = lipL_optpath(L, 2, "bound", net, &path);
  double seconds = lipL_optseconds(L, 2, "bound", &path);
  lipL_local local;
  lipL_optlocal(L, 2, "bound", net, &local);
  if (local.wanted && search)
    luaL_error(
        L, "bound: option 'lower' searches everywhere, method 'local' is about one ball: give one of them");
  const char *method = local.wanted ? "local" : lipL_optmethod(L, 2, "bound");
  lipL_cert *h = lipL_newobject(L, LIP_CERTIFIER_T, sizeof *h, 0);
  const size_t C = net->root->n_out;
  h->only = only;
  const float *x = search ? search_points(L, 2, net, points, &B) : NULL;
  if (search && pairs) low = lua_newuserdatauv(L, C * C * sizeof *low, 0);
  lipL_watch watch;
  lip_watch *progress = lipL_watch_begin(L, 2, "bound", net, &watch);
  const float *before = lipL_weightsnow(L, net);
  /* from here no finaliser of a script may run: both ends are about the same weights */
  double began = lip_seconds();
  if (other ? lip_bound_along(net, &path, &h->bound, &err) : lip_bound_product(net, &h->bound, &err))
    return lipL_fault(L, &err);
  lip_status status = local.wanted ? lipL_runlocal(L, h, &local, net, &path, pairs, seconds, progress, &err)
                                   : lipL_runmethod(h, method, net, &path, pairs, seconds, progress, &err);
  lipL_watch_end(&watch);
  int failed = lipL_netfault(L, net);
  if (failed) return failed;
  if (status) return lipL_fault(L, &err);
  if (!*h->found.reason && h->found.upper > h->bound.upper)
    lip_because(h->found.reason, "above the product of the layers' norms, %.9g",
                lip_digits_up(h->bound.upper, 9));
  double took = lip_seconds() - began;
  if (search && lip_bound_lower(net, &path, x, B, &lower, low, &err)) return lipL_fault(L, &err);
  failed = lipL_netfault(L, net);
  if (failed) return failed;
  lipL_checkweights(L, "bound", net, before);
  const bool nothing = search && refuted(L, h, net, lower, low);
  const int why = lua_gettop(L);
  lua_createtable(L, 0, 10);
  lipL_setnumber(L, "upper", h->found.upper);
  if (search) {
    lipL_setnumber(L, "lower", lower);
    lipL_setnumber(L, "tightness",
                   h->found.upper > 0 && isfinite(h->found.upper) ? lower / h->found.upper : 0);
  }
  if (!other && net->conf.budget < INFINITY) lipL_setnumber(L, "slack", h->found.upper / net->conf.budget);
  lipL_settext(L, "method", local.wanted ? method : h->found.method);
  lipL_setnumber(L, "seconds", took);
  lipL_settext(L, "pq", lip_pq_name(h->bound.pq));
  if (h->found.upper == INFINITY && h->bound.unknown) lipL_settext(L, "unknown", h->bound.unknown);
  lipL_setreasons(L, &h->found);
  if (nothing) {
    lua_pushvalue(L, why);
    lua_setfield(L, -2, "reason");
  }
  lipL_setassumed(L, net);
  if (pairs) {
    lipL_pushpairs(L, h->found.pair, net->root->n_out, false);
    lua_setfield(L, -2, "pairs");
  }
  if (low) {
    lipL_pushpairs(L, low, net->root->n_out, true);
    lua_setfield(L, -2, "lower_pairs");
  }
  push_layers(L, &h->bound);
  lua_setfield(L, -2, "layers");
  luaL_setmetatable(L, LIP_BOUND_T);
  return 1;
}

/* lip.bound_methods() -> {{name=, help=}, ...} in order of cost, "best" last */
static int bound_methods(lua_State *L) {
  lua_newtable(L);
  lua_Integer n = 0;
  for (size_t i = 0; lip_method_at(i); i++) {
    lua_createtable(L, 0, 2);
    lipL_settext(L, "name", lip_method_at(i)->name);
    lipL_settext(L, "help", lip_method_at(i)->help);
    lua_rawseti(L, -2, ++n);
  }
  lua_createtable(L, 0, 2);
  lipL_settext(L, "name", "best");
  lipL_settext(L, "help",
               "all of them until `seconds` are used up; the smallest of each number, and what each came to");
  lua_rawseti(L, -2, ++n);
  return 1;
}

void lipL_open_bound(lua_State *L) {
  static const luaL_Reg functions[] = {{"bound", net_bound}, {"bound_methods", bound_methods}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"bound", net_bound}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", bound_tostring}, {NULL, NULL}};
  lipL_newtype(L, LIP_BOUND_T, NULL, meta);
  lipL_addmethods(L, LIP_NET_T, methods);
  luaL_setfuncs(L, functions, 0);
}
