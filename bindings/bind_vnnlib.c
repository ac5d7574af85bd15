/* lip.property.vnnlib: queries of the language VNN-LIB as objects. */
#include "bindings/bind_vnnlib.h"
#include "core/norm/round.h"

#include <math.h>
#include <string.h>

#define VNNLIB_T "lip.vnnlib"

typedef struct query {
  lip_vnnlib *v;
  bool expanded;
  lip_vnnlib_cases cases;
  lip_str text;      /* while it is written */
  lip_property spec; /* while it is read */
  double *box;       /* likewise */
} query;

static void drop_scratch(query *q) {
  lip_str_free(&q->text);
  q->text = (lip_str){0};
  lip_property_free(&q->spec);
  lip_free(q->box);
  q->box = NULL;
}

static int query_gc(lua_State *L) {
  query *q = luaL_checkudata(L, 1, VNNLIB_T);
  if (lipL_pinned(q->v)) return 0;
  drop_scratch(q);
  lip_vnnlib_cases_free(&q->cases);
  q->expanded = false;
  lip_vnnlib_free(q->v);
  q->v = NULL;
  return 0;
}

static query *check(lua_State *L) {
  query *q = luaL_checkudata(L, 1, VNNLIB_T);
  luaL_argcheck(L, q->v, 1, "the query has been closed");
  return q;
}

/* vnnlib(path) or vnnlib{text = "..."} -> query | nil, message, code */
static int read_query(lua_State *L) {
  static const char *const known[] = {"text", NULL};
  lip_err err;
  lip_status status;
  bool inline_text = lua_istable(L, 1);
  if (inline_text) {
    lipL_checkfields(L, 1, "vnnlib", known);
    if (lua_getfield(L, 1, "text") != LUA_TSTRING)
      luaL_error(L, "vnnlib: option 'text' expects a query as a string, got %s", luaL_typename(L, -1));
    lua_replace(L, 1);
  }
  lua_settop(L, 1);
  size_t n = 0;
  const char *text = inline_text ? lua_tolstring(L, 1, &n) : lipL_checkpath(L, 1);
  query *q = lipL_newobject(L, VNNLIB_T, sizeof *q, 0);
  status =
      inline_text ? lip_vnnlib_read("the text", text, n, &q->v, &err) : lip_vnnlib_load(text, &q->v, &err);
  if (status == LIP_MEMORY) { /* dead objects may hold what is missing */
    lua_gc(L, LUA_GCCOLLECT);
    status =
        inline_text ? lip_vnnlib_read("the text", text, n, &q->v, &err) : lip_vnnlib_load(text, &q->v, &err);
  }
  if (status) return lipL_fail(L, &err); /* also what is not supported: the file says so, not the script */
  const lip_vnnlib *v = q->v;
  lipL_account(L, v->node_room * sizeof *v->node + v->row_room * sizeof *v->row +
                      v->term_room * sizeof *v->term + v->number_room * sizeof *v->number + v->digit_room);
  return 1;
}

/* The cases, made at the first use; false: nil, message, code are pushed. */
static bool expand(lua_State *L, query *q) {
  lip_err err;
  if (!q->expanded && lip_vnnlib_expand(q->v, &q->cases, &err)) {
    lipL_fail(L, &err);
    return false;
  }
  if (!q->expanded) lipL_account(L, q->cases.n * sizeof *q->cases.first);
  q->expanded = true;
  return true;
}

bool lipL_checkvnnlib(lua_State *L, int idx, const char *what, const lip_vnnlib **v, const lip_vnnlib_cases **cases) {
  char got[80];
  query *q = luaL_testudata(L, idx, VNNLIB_T);
  if (!q || !q->v)
    luaL_error(L, "%s: a query of lip.property.vnnlib expected, got %s", what,
               q ? "one that has been closed" : lipL_typetext(L, idx, got, sizeof got));
  if (!expand(L, q)) return false;
  *v = q->v;
  *cases = &q->cases;
  return true;
}

/* Case number at argument 2, from 1 on; the first if not told. */
static size_t check_case(lua_State *L, const query *q) {
  lua_Integer i = luaL_optinteger(L, 2, 1);
  if (i < 1 || (size_t)i > q->cases.n)
    luaL_error(L, "bad argument #1: a case from 1 to %d expected, got %I", (int)q->cases.n, i);
  return (size_t)i - 1;
}

/* ---- text ---- */

static int push_text(lua_State *L, query *q, int version) {
  lip_err err;
  drop_scratch(q);
  if (lip_vnnlib_text(q->v, version, &q->text, &err)) {
    drop_scratch(q);
    return lipL_fail(L, &err);
  }
  lua_pushlstring(L, q->text.text, q->text.len);
  drop_scratch(q);
  return 1;
}

/* query:text{version =} -> text | nil, message, code */
static int query_text(lua_State *L) {
  static const char *const known[] = {"version", NULL};
  query *q = check(L);
  int version = q->v->version;
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    lipL_checkfields(L, 2, "text", known);
    size_t asked = lipL_optfield_size(L, 2, "text", "version", (size_t)version);
    if (asked != 1 && asked != 2) luaL_error(L, "text: option 'version' expects 1 or 2, got %d", (int)asked);
    version = (int)asked;
  }
  return push_text(L, q, version);
}

static int query_tostring(lua_State *L) {
  query *q = luaL_checkudata(L, 1, VNNLIB_T);
  if (!q->v)
    lua_pushliteral(L, "vnnlib (closed)");
  else
    lua_pushfstring(L, "vnnlib %d (%d inputs, %d outputs, %d inequalities)", q->v->version, (int)q->v->n_x,
                    (int)q->v->n_y, (int)q->v->n_row);
  return 1;
}

/* ---- at a point ---- */

static const float *check_numbers(lua_State *L, int idx, size_t n, const char *what) {
  lipL_checktensor(L, idx);
  const lip_tensor *t = lipL_contiguous(L, idx);
  if (lip_tensor_size(t) != n)
    luaL_error(L, "holds: %s expects a tensor of the %d numbers that the query declares, got %d", what,
               (int)n, (int)lip_tensor_size(t));
  return t->data;
}

/* query:holds(x, y) -> "safe" | "unsafe" | "undecided" */
static int query_holds(lua_State *L) {
  static const char *const names[] = {"safe", "unsafe", "undecided"};
  lip_err err;
  lip_vnnlib_state state;
  query *q = check(L);
  const float *x = check_numbers(L, 2, q->v->n_x, "x"), *y = check_numbers(L, 3, q->v->n_y, "y");
  if (lip_vnnlib_point(q->v, x, y, &state, &err)) return lipL_fault(L, &err);
  lua_pushstring(L, names[state]);
  return 1;
}

/* ---- cases ---- */

/* The box of case i in q->box: lows, then highs. */
static bool find_box(lua_State *L, query *q, size_t i) {
  drop_scratch(q);
  q->box = lip_alloc(q->v->n_x, 2 * sizeof *q->box);
  if (!q->box) luaL_error(L, "out of memory for a box of %d numbers", (int)q->v->n_x);
  return lip_vnnlib_box(q->v, &q->cases, i, q->box, q->box + q->v->n_x);
}

enum { SPEC_CASES = 4096 }; /* whose clauses are put together */

/* query:cases() -> { {empty =, inputs =, outputs =, mixed =}, ... } | nil, message, code */
static int query_cases(lua_State *L) {
  lip_err err;
  query *q = check(L);
  if (!expand(L, q)) return 3;
  bool *empty = lua_newuserdatauv(L, q->cases.n * sizeof *empty + 1, 0);
  if (lip_vnnlib_empty(q->v, &q->cases, empty, &err)) return lipL_fail(L, &err);
  lua_createtable(L, (int)q->cases.n, 0);
  for (size_t i = 0; i < q->cases.n; i++) {
    size_t count[5];
    lip_vnnlib_count(q->v, &q->cases, i, count);
    lua_createtable(L, 0, 4);
    lua_pushboolean(L, empty[i]);
    lua_setfield(L, -2, "empty");
    lua_pushinteger(L, (lua_Integer)count[LIP_VNNLIB_INPUTS]);
    lua_setfield(L, -2, "inputs");
    lua_pushinteger(L, (lua_Integer)count[LIP_VNNLIB_OUTPUTS]);
    lua_setfield(L, -2, "outputs");
    lua_pushinteger(L, (lua_Integer)count[LIP_VNNLIB_BOTH]);
    lua_setfield(L, -2, "mixed");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static float float_below(double v) {
  float f = (float)v;
  return (double)f > v ? nextafterf(f, -INFINITY) : f;
}

static float float_above(double v) {
  return -float_below(-v);
}

/* query:box(i) -> low, high, empty | nil, message, code: float32 tensors rounded outwards. */
static int query_box(lua_State *L) {
  query *q = check(L);
  if (!expand(L, q)) return 3;
  size_t i = check_case(L, q), n = q->v->n_x;
  lip_tensor *low = lipL_newtensor(L, 1, &n), *high = lipL_newtensor(L, 1, &n);
  bool some = find_box(L, q, i);
  fenv_t saved; /* denormal numbers count */
  lip_ieee_enter(&saved);
  for (size_t k = 0; k < n; k++) {
    low->data[k] = float_below(q->box[k]);
    high->data[k] = float_above(q->box[n + k]);
  }
  lip_ieee_leave(&saved);
  drop_scratch(q);
  lua_pushboolean(L, !some);
  return 3;
}

/* Pushes {C = rows, d = numbers, any = true} of clause i of q->spec. */
static void push_clause(lua_State *L, const query *q, size_t i) {
  const lip_property *p = &q->spec;
  const lip_clause *c = &p->clause[i];
  lua_createtable(L, 0, 3);
  lua_createtable(L, (int)c->n, 0);
  lua_createtable(L, (int)c->n, 0);
  for (size_t r = 0; r < c->n; r++) {
    lua_createtable(L, (int)p->C, 0);
    for (size_t k = 0; k < p->C; k++) {
      lua_pushnumber(L, p->weight[(c->first + r) * p->C + k]);
      lua_rawseti(L, -2, (lua_Integer)k + 1);
    }
    lua_rawseti(L, -3, (lua_Integer)r + 1);
    lua_pushnumber(L, p->constant[c->first + r] + 0.0);
    lua_rawseti(L, -2, (lua_Integer)r + 1);
  }
  lua_setfield(L, -3, "d");
  lua_setfield(L, -2, "C");
  lua_pushboolean(L, true);
  lua_setfield(L, -2, "any");
}

/* query:spec(i) -> a list as option `spec` takes it | nil, message, code; without i that of all cases. */
static int query_spec(lua_State *L) {
  lip_err err;
  query *q = check(L);
  if (!expand(L, q)) return 3;
  bool all = lua_isnoneornil(L, 2);
  size_t first = all ? 0 : check_case(L, q), n = all ? q->cases.n : 1;
  if (n > SPEC_CASES) {
    lip_fail(&err, LIP_UNSUPPORTED, "the spec of all %zu cases at once is too large: ask for spec(i)", n);
    return lipL_fail(L, &err);
  }
  drop_scratch(q);
  q->spec = (lip_property){.asked = LIP_ASK_ROWS, .C = q->v->n_y};
  for (size_t i = first; i < first + n; i++)
    if (lip_vnnlib_spec(q->v, &q->cases, i, &q->spec, &err)) {
      drop_scratch(q);
      return lipL_fail(L, &err);
    }
  lua_createtable(L, (int)q->spec.n, 0);
  for (size_t i = 0; i < q->spec.n; i++) {
    push_clause(L, q, i);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  drop_scratch(q);
  return 1;
}

/* ---- declarations ---- */

static void push_tensor(lua_State *L, const lip_vnnlib_tensor *t) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, t->name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, t->type);
  lua_setfield(L, -2, "type");
  lua_createtable(L, t->ndim, 0);
  for (int k = 0; k < t->ndim; k++) {
    lua_pushinteger(L, (lua_Integer)t->dim[k]);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setfield(L, -2, "shape");
  lua_pushstring(L, t->onnx); /* nil for NULL */
  lua_setfield(L, -2, "onnx");
}

/* query:networks() -> { {name =, equal_to =, isomorphic_to =, inputs = {...}, outputs = {...}}, ... } */
static int query_networks(lua_State *L) {
  const lip_vnnlib *v = check(L)->v;
  lua_createtable(L, (int)v->n_network, 0);
  for (size_t i = 0; i < v->n_network; i++) {
    const lip_vnnlib_network *net = &v->network[i];
    lua_createtable(L, 0, 5);
    lua_pushstring(L, net->name);
    lua_setfield(L, -2, "name");
    if (net->equal_to != LIP_VNNLIB_NONE)
      lua_pushstring(L, v->network[net->equal_to].name);
    else
      lua_pushnil(L);
    lua_setfield(L, -2, "equal_to");
    if (net->isomorphic_to != LIP_VNNLIB_NONE)
      lua_pushstring(L, v->network[net->isomorphic_to].name);
    else
      lua_pushnil(L);
    lua_setfield(L, -2, "isomorphic_to");
    for (int output = 0; output < 2; output++) {
      lua_newtable(L);
      for (size_t k = 0, n = 0; k < v->n_tensor; k++) {
        if (v->tensor[k].network != i || v->tensor[k].output != (output == 1)) continue;
        push_tensor(L, &v->tensor[k]);
        lua_rawseti(L, -2, (lua_Integer)++n);
      }
      lua_setfield(L, -2, output ? "outputs" : "inputs");
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* The counts by name, else methods. */
static int query_index(lua_State *L) {
  query *q = luaL_checkudata(L, 1, VNNLIB_T);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  const lip_vnnlib *v = q->v;
  if (v && strcmp(name, "inputs") == 0)
    lua_pushinteger(L, (lua_Integer)v->n_x);
  else if (v && strcmp(name, "outputs") == 0)
    lua_pushinteger(L, (lua_Integer)v->n_y);
  else if (v && strcmp(name, "version") == 0)
    lua_pushinteger(L, v->version);
  else {
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
  }
  return 1;
}

void lipL_open_vnnlib(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"text", query_text}, {"holds", query_holds}, {"cases", query_cases},
      {"box", query_box},   {"spec", query_spec},   {"networks", query_networks},
      {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__gc", query_gc}, {"__close", query_gc}, {"__tostring", query_tostring}, {NULL, NULL}};
  lipL_newtype(L, VNNLIB_T, NULL, meta);
  luaL_getmetatable(L, VNNLIB_T);
  luaL_newlib(L, methods);
  lua_pushcclosure(L, query_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  /* not a field of the module: scripts/lip/property.lua takes it */
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushcfunction(L, read_query);
  lua_setfield(L, -2, "lip.vnnlib");
  lua_pop(L, 1);
}
