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

/* One line per layer, the interval below; works on whatever a script has made of the table. */
static int bound_tostring(lua_State *L) {
  enum { LAYERS = 2, TRIED, ROW };
  char line[100 + LIP_REASON], text[LIP_REASON];
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "layers");
  lua_getfield(L, 1, "tried");
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
  snprintf(line, sizeof line, "\n     unknown: the layer '%.60s' states no constant for this norm",
           field_text(L, 1, "unknown", "", text, sizeof text));
  if (*text) luaL_addstring(&b, line);
  snprintf(line, sizeof line, "\n     reason: %s", field_text(L, 1, "reason", "", text, sizeof text));
  if (*text) luaL_addstring(&b, line);
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

/* net:bound([{method="product", p=, pairs=false, seconds=, lower=false, data=, points=256}]) -> {upper=, lower=,
 * tightness=, slack=, method=, seconds=, unknown=, reason=, tried=, pq=, pairs=, lower_pairs=, layers={...}}
 *   upper      of the Lipschitz constant by the method, along the norm path (p: along another one), rounded up
 *   pairs      (C, C) the same for z_i - z_j
 *   lower      a quotient that two points attain, rounded down; tightness = lower / upper; lower_pairs with pairs=true
 *   seconds    of the method, without the search for lower
 *   reason     what the method could not do, and why; absent when it could
 *   tried      of "best": {{method=, upper=, seconds=, reason=}, ...}
 *   progress   function({method=, done=, total=, seconds=}), twice a second at most; false: no line on a
 *              terminal */
static int net_bound(lua_State *L) {
  static const char *const known[] = {"p", "lower", "data", "points", "method",   "pairs", "seconds",
                                      "x", "eps",   "box",  "global", "progress", "scale", NULL};
  lip_net *net = lipL_checknet(L, 1);
  lip_path path;
  lip_err err;
  double lower = NAN, *low = NULL;
  lua_settop(L, 2);
  lipL_checkfields(L, 2, "bound", known);
  bool search = lipL_optfield_bool(L, 2, "bound", "lower", false);
  bool pairs = lipL_optfield_bool(L, 2, "bound", "pairs", false);
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
  const float *x = search ? search_points(L, 2, net, points, &B) : NULL;
  if (search && pairs) low = lua_newuserdatauv(L, C * C * sizeof *low, 0);
  lipL_watch watch;
  lip_watch *progress = lipL_watch_begin(L, 2, "bound", net, &watch);
  /* from here no finaliser of a script may run: both ends are about the same weights */
  double began = lip_seconds();
  if (other ? lip_bound_along(net, &path, &h->bound, &err) : lip_bound_product(net, &h->bound, &err))
    return lipL_fault(L, &err);
  lip_status status = local.wanted ? lipL_runlocal(L, h, &local, net, &path, pairs, seconds, progress, &err)
                                   : lipL_runmethod(h, method, net, &path, pairs, seconds, progress, &err);
  lipL_watch_end(&watch);
  if (status) return lipL_fault(L, &err);
  if (!*h->found.reason && h->found.upper > h->bound.upper)
    lip_because(h->found.reason, "above the product of the layers' norms, %.9g",
                lip_digits_up(h->bound.upper, 9));
  double took = lip_seconds() - began;
  if (search && lip_bound_lower(net, &path, x, B, &lower, low, &err)) return lipL_fault(L, &err);
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
