/* Properties of outputs from tables. Everything is copied, as doubles, before the call goes on. */
#include "bindings/bind_property.h"

#include <math.h>

static int property_gc(lua_State *L) {
  lip_property_free(luaL_checkudata(L, 1, LIP_PROPERTY_T));
  return 0;
}

/* One call: for messages, and where the rows go. */
typedef struct reading {
  const char *what;
  size_t C;
  lip_property *to;
} reading;

static bool given(lua_State *L, int idx, const char *name) {
  bool there = lua_getfield(L, idx, name) != LUA_TNIL;
  lua_pop(L, 1);
  return there;
}

/* n numbers of the list or 1-D tensor at idx, which is called `name` in messages, into v. */
static void read_list(lua_State *L, const reading *r, int idx, const char *name, size_t n, double *v) {
  char got[80];
  idx = lua_absindex(L, idx);
  const lip_tensor *t = lipL_testtensor(L, idx);
  if (t ? t->ndim != 1 || t->shape[0] != n : !lua_istable(L, idx) || lua_rawlen(L, idx) != n) {
    char shape[64];
    if (t)
      lip_shape_text(t->ndim, t->shape, shape, sizeof shape);
    else if (lua_istable(L, idx))
      lip_snprintf(shape, sizeof shape, "%zu", (size_t)lua_rawlen(L, idx));
    luaL_error(L, "%s: option 'spec': %s expects %d number%s, got %s%s", r->what, name, (int)n,
               n == 1 ? "" : "s", t || lua_istable(L, idx) ? "" : lipL_typetext(L, idx, got, sizeof got),
               t || lua_istable(L, idx) ? shape : "");
  }
  if (t) t = lipL_contiguous(L, idx);
  for (size_t i = 0; i < n; i++) {
    if (!t) lua_rawgeti(L, idx, (lua_Integer)i + 1);
    if (!t && lua_type(L, -1) != LUA_TNUMBER)
      luaL_error(L, "%s: option 'spec': %s expects numbers, element %d is %s", r->what, name, (int)i + 1,
                 lipL_typetext(L, -1, got, sizeof got));
    v[i] = t ? (double)t->data[i] : lua_tonumber(L, -1);
    if (!t) lua_pop(L, 1);
  }
}

static void check_finite(lua_State *L, const reading *r, const char *name, const double *v, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!isfinite(v[i]))
      luaL_error(L, "%s: option 'spec': %s expects finite numbers, number %d is %f", r->what, name,
                 (int)i + 1, lip_plain(v[i]));
}

/* Rows of the matrix at idx, pushed as userdata; *m of them. */
static double *read_matrix(lua_State *L, const reading *r, int idx, size_t *m) {
  char got[80], shape[64];
  idx = lua_absindex(L, idx);
  const lip_tensor *t = lipL_testtensor(L, idx);
  bool one = t ? t->ndim == 1 : false; /* a row alone */
  if (!t && lua_istable(L, idx)) {
    one = lua_rawgeti(L, idx, 1) == LUA_TNUMBER;
    lua_pop(L, 1);
  }
  if (!t && !lua_istable(L, idx))
    luaL_error(L, "%s: option 'spec': C expects a tensor or table of rows of %d numbers, got %s", r->what,
               (int)r->C, lipL_typetext(L, idx, got, sizeof got));
  if (t && (t->ndim > 2 || t->shape[t->ndim - 1] != r->C))
    luaL_error(L, "%s: option 'spec': C expects rows of one number for each output, (m, %d), got %s", r->what,
               (int)r->C, lip_shape_text(t->ndim, t->shape, shape, sizeof shape));
  *m = one ? 1 : t ? t->shape[0] : (size_t)lua_rawlen(L, idx);
  if (*m == 0) luaL_error(L, "%s: option 'spec': C has no rows", r->what);
  size_t total;
  if (!lip_mul_fits(*m, r->C * sizeof(double), &total))
    luaL_error(L, "%s: option 'spec': too many rows", r->what);
  double *v = lua_newuserdatauv(L, total, 0);
  if (t) {
    t = lipL_contiguous(L, idx);
    for (size_t i = 0; i < *m * r->C; i++) v[i] = (double)t->data[i];
  } else if (one) {
    read_list(L, r, idx, "a row of C", r->C, v);
  } else {
    for (size_t i = 0; i < *m; i++) {
      lua_rawgeti(L, idx, (lua_Integer)i + 1);
      read_list(L, r, -1, "a row of C", r->C, v + i * r->C);
      lua_pop(L, 1);
    }
  }
  check_finite(L, r, "C", v, *m * r->C);
  return v;
}

static void add(lua_State *L, const reading *r, const double *w, const double *d, size_t m, size_t need) {
  lip_err err;
  if (lip_property_add(r->to, w, d, m, need, &err)) luaL_error(L, "%s: option 'spec': %s", r->what, err.msg);
  lipL_account(L, m * r->C * sizeof *w);
}

/* {C=, d=, any=, need=} at idx. */
static void read_rows(lua_State *L, const reading *r, int idx) {
  size_t m;
  lua_getfield(L, idx, "C");
  const double *w = read_matrix(L, r, -1, &m);
  double *d = lua_newuserdatauv(L, m * sizeof *d, 0);
  int type = lua_getfield(L, idx, "d");
  for (size_t i = 0; i < m; i++) d[i] = type == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  if (type != LUA_TNIL && type != LUA_TNUMBER) read_list(L, r, -1, "d", m, d);
  check_finite(L, r, "d", d, m);
  bool any = lipL_optfield_bool(L, idx, "spec", "any", false);
  size_t need = lipL_optfield_size(L, idx, "spec", "need", any ? 1 : m);
  if (any && given(L, idx, "need"))
    luaL_error(L, "%s: option 'spec': any = true means need = 1: give one of them", r->what);
  if (need == 0 || need > m)
    luaL_error(L, "%s: option 'spec': need expects a whole number from 1 to the %d rows of C, got %d",
               r->what, (int)m, (int)need);
  add(L, r, w, d, m, need);
}

/* One side of `between` on top of the stack, a number for all outputs or one for each. */
static void read_side(lua_State *L, const reading *r, double *v) {
  if (lua_type(L, -1) != LUA_TNUMBER) {
    read_list(L, r, -1, "a side of between", r->C, v);
    return;
  }
  for (size_t k = 0; k < r->C; k++) v[k] = lua_tonumber(L, -1);
}

/* {between = {low, high}} at idx: rows z_k - low_k and high_k - z_k, none where a side is infinite. */
static void read_between(lua_State *L, const reading *r, int idx) {
  char got[80];
  size_t C = r->C, m = 0, total;
  if (lua_getfield(L, idx, "between") != LUA_TTABLE || lua_rawlen(L, -1) != 2)
    luaL_error(L, "%s: option 'spec': between expects {low, high}, got %s", r->what,
               lipL_typetext(L, -1, got, sizeof got));
  int at = lua_gettop(L);
  double *side = lua_newuserdatauv(L, 2 * C * sizeof *side, 0);
  for (int i = 0; i < 2; i++) {
    lua_rawgeti(L, at, i + 1);
    read_side(L, r, side + (size_t)i * C);
    lua_pop(L, 1);
  }
  for (size_t k = 0; k < C; k++) {
    if (!(side[k] < side[C + k]))
      luaL_error(L, "%s: option 'spec': between expects low < high, output %d has %f and %f", r->what,
                 (int)k + 1, lip_plain(side[k]), lip_plain(side[C + k]));
    m += (size_t)(isfinite(side[k]) ? 1 : 0) + (size_t)(isfinite(side[C + k]) ? 1 : 0);
  }
  if (m == 0) luaL_error(L, "%s: option 'spec': between has no finite side", r->what);
  if (!lip_mul_fits(m, C * sizeof(double), &total))
    luaL_error(L, "%s: option 'spec': too many rows", r->what);
  double *w = lua_newuserdatauv(L, total, 0), *d = lua_newuserdatauv(L, m * sizeof *d, 0);
  for (size_t i = 0; i < m * C; i++) w[i] = 0;
  for (size_t i = 0, n = 0; i < 2 * C; i++) {
    if (!isfinite(side[i])) continue;
    double sign = i < C ? 1 : -1;
    w[n * C + i % C] = sign;
    d[n++] = -sign * side[i];
  }
  add(L, r, w, d, m, m);
}

/* {target =} or {top =} at idx; false: neither. */
static bool read_label(lua_State *L, const reading *r, int idx) {
  lip_err err;
  bool target = given(L, idx, "target");
  if (!target && !given(L, idx, "top")) return false;
  size_t number = lipL_optfield_size(L, idx, "spec", target ? "target" : "top", 0);
  if (lip_property_label(r->to, target ? LIP_ASK_TARGET : LIP_ASK_TOP, r->C, number, &err))
    luaL_error(L, "%s: option 'spec': %s", r->what, err.msg);
  return true;
}

/* One table at idx; `alone`: it is not part of a list. */
static void read_one(lua_State *L, const reading *r, int idx, bool alone) {
  static const char *const known[] = {"C", "d", "any", "need", "between", "target", "top", NULL};
  static const char *const forms[] = {"C", "between", "target", "top"};
  char got[80];
  int top = lua_gettop(L);
  if (!lua_istable(L, idx))
    luaL_error(L, "%s: option 'spec' expects a table, or a list of tables, got %s", r->what,
               lipL_typetext(L, idx, got, sizeof got));
  lipL_checkfields(L, idx, "spec", known);
  int n = 0;
  for (int i = 0; i < 4; i++) n += given(L, idx, forms[i]);
  if (n != 1)
    luaL_error(L, "%s: option 'spec' expects exactly one of C, between, target, top, got %s", r->what,
               n == 0 ? "none" : "several");
  bool rows = given(L, idx, "C");
  for (int i = 1; i < 4 && !rows; i++)
    if (given(L, idx, known[i])) luaL_error(L, "%s: option 'spec': %s goes with C", r->what, known[i]);
  if (rows)
    read_rows(L, r, idx);
  else if (given(L, idx, "between"))
    read_between(L, r, idx);
  else if (!alone)
    luaL_error(L, "%s: option 'spec': target and top stand alone, not in a list", r->what);
  else
    read_label(L, r, idx);
  lua_settop(L, top);
}

/* Raises when the list at idx holds anything by name. */
static void check_list(lua_State *L, const reading *r, int idx) {
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING)
      luaL_error(L, "%s: option 'spec' expects a table or a list of tables, got a list with '%s'", r->what,
                 lua_tostring(L, -2));
}

const lip_property *lipL_optproperty(lua_State *L, int idx, const char *what, const lip_net *net) {
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, 24, "spec");
  if (!lua_istable(L, idx) || !given(L, idx, "spec")) return NULL;
  lip_property *p = lipL_newobject(L, LIP_PROPERTY_T, sizeof *p, 0);
  int kept = lua_gettop(L);
  *p = (lip_property){.asked = LIP_ASK_ROWS, .C = net->root->n_out};
  reading r = {what, p->C, p};
  lua_getfield(L, idx, "spec");
  size_t n = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  if (n == 0) read_one(L, &r, kept + 1, true);
  for (size_t i = 0; i < n; i++) {
    if (i == 0) check_list(L, &r, kept + 1);
    lua_rawgeti(L, kept + 1, (lua_Integer)i + 1);
    read_one(L, &r, kept + 2, false);
    lua_settop(L, kept + 1);
  }
  lua_settop(L, kept);
  return p;
}

void lipL_open_property(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", property_gc}, {NULL, NULL}};
  lipL_newtype(L, LIP_PROPERTY_T, NULL, meta);
}
