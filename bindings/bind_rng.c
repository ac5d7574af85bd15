/* lip.rng: random numbers with explicit state. The same seed gives the same numbers on every machine; a stream number
 * gives an independent sequence of the same seed. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "bindings/bind_tensor.h"

#define DEFAULT_RNG "lip.rng.default" /* key in the registry */

lip_rng *lipL_testrng(lua_State *L, int idx) {
  return luaL_testudata(L, idx, LIP_RNG_T);
}

lip_rng *lipL_checkrng(lua_State *L, int idx) {
  return luaL_checkudata(L, idx, LIP_RNG_T);
}

static lip_rng *push_rng(lua_State *L, lip_rng rng) {
  lip_rng *object = lipL_newobject(L, LIP_RNG_T, sizeof *object, 0);
  *object = rng;
  return object;
}

lip_rng *lipL_defaultrng(lua_State *L) {
  lip_rng *rng;
  if (lua_getfield(L, LUA_REGISTRYINDEX, DEFAULT_RNG) == LUA_TUSERDATA) {
    rng = lipL_checkrng(L, -1);
  } else {
    rng = push_rng(L, lip_rng_new(0, LIP_RNG_USER, 0));
    lua_setfield(L, LUA_REGISTRYINDEX, DEFAULT_RNG);
  }
  lua_pop(L, 1); /* the registry keeps it */
  return rng;
}

/* The 64 bits of a field of a state table; Lua's integers hold them all, the sign is only a way of writing. */
static uint64_t state_field(lua_State *L, int idx, const char *name) {
  int whole = 0;
  lua_getfield(L, idx, name);
  lua_Integer v = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
  if (!whole) {
    char got[80];
    luaL_argerror(L, idx,
                  lua_pushfstring(L, "a state from rng:state() expected: field '%s' is %s", name,
                                  lipL_typetext(L, -1, got, sizeof got)));
  }
  lua_pop(L, 1);
  return (uint64_t)v;
}

static lip_rng read_state(lua_State *L, int idx) {
  static const char *const known[] = {"key", "stream", "position", NULL};
  lipL_checkfields(L, idx, "lip.rng", known);
  uint64_t key = state_field(L, idx, "key"), stream = state_field(L, idx, "stream");
  return lip_rng_at(key, stream, state_field(L, idx, "position"));
}

/* lip.rng(seed[, stream]) or lip.rng(state) */
static int make_rng(lua_State *L) {
  if (lua_istable(L, 1)) {
    push_rng(L, read_state(L, 1));
  } else {
    uint64_t seed = (uint64_t)luaL_checkinteger(L, 1);
    push_rng(L, lip_rng_new(seed, LIP_RNG_USER, (uint64_t)luaL_optinteger(L, 2, 0)));
  }
  return 1;
}

/* rng:uniform([low, high]): in [low, high), [0, 1) when absent */
static int rng_uniform(lua_State *L) {
  lip_rng *rng = lipL_checkrng(L, 1);
  double low = luaL_optnumber(L, 2, 0), high = luaL_optnumber(L, 3, 1);
  luaL_argcheck(L, isfinite(low), 2, "a finite number expected");
  luaL_argcheck(L, isfinite(high) && high >= low, 3, "a finite number not below the lower end expected");
  double u = lip_rng_uniform(rng), v = low * (1 - u) + high * u;
  lua_pushnumber(L, v < high || low == high ? v : nextafter(high, low)); /* rounding may reach `high` */
  return 1;
}

/* rng:normal([mean, deviation]) */
static int rng_normal(lua_State *L) {
  lip_rng *rng = lipL_checkrng(L, 1);
  double mean = luaL_optnumber(L, 2, 0), deviation = luaL_optnumber(L, 3, 1);
  luaL_argcheck(L, isfinite(mean), 2, "a finite number expected");
  luaL_argcheck(L, isfinite(deviation) && deviation >= 0, 3, "a finite deviation >= 0 expected");
  lua_pushnumber(L, mean + deviation * lip_rng_normal(rng));
  return 1;
}

/* rng:below(n): a whole number in 0..n-1 */
static int rng_below(lua_State *L) {
  lip_rng *rng = lipL_checkrng(L, 1);
  lua_Integer n = luaL_checkinteger(L, 2);
  luaL_argcheck(L, n >= 1, 2, "a whole number >= 1 expected");
  lua_pushinteger(L, (lua_Integer)lip_rng_below(rng, (uint64_t)n));
  return 1;
}

/* rng:permutation(n): table of 1..n in random order */
static int rng_permutation(lua_State *L) {
  lip_rng *rng = lipL_checkrng(L, 1);
  lua_Integer n = luaL_checkinteger(L, 2);
  luaL_argcheck(L, n >= 0 && n <= 1 << 28, 2, "a whole number in 0..2^28 expected");
  /* in a userdata, which is collected should the table not fit */
  uint32_t *index = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *index, 0);
  lip_rng_permute(rng, index, (size_t)n);
  lua_createtable(L, (int)n, 0);
  for (lua_Integer i = 0; i < n; i++) {
    lua_pushinteger(L, (lua_Integer)index[i] + 1);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* rng:state(): { key=, stream=, position= }; rng:state(s) goes back there */
static int rng_state(lua_State *L) {
  lip_rng *rng = lipL_checkrng(L, 1);
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    *rng = read_state(L, 2);
  }
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, (lua_Integer)rng->key);
  lua_setfield(L, -2, "key");
  lua_pushinteger(L, (lua_Integer)rng->stream);
  lua_setfield(L, -2, "stream");
  lua_pushinteger(L, (lua_Integer)rng->position);
  lua_setfield(L, -2, "position");
  return 1;
}

static int rng_clone(lua_State *L) {
  push_rng(L, *lipL_checkrng(L, 1));
  return 1;
}

static int rng_tostring(lua_State *L) {
  const lip_rng *rng = lipL_checkrng(L, 1);
  char text[120];
  snprintf(text, sizeof text, "lip.rng key %016" PRIx64 " stream %" PRIu64 " position %" PRIu64, rng->key,
           rng->stream, rng->position);
  lua_pushstring(L, text);
  return 1;
}

void lipL_open_rng(lua_State *L) {
  static const luaL_Reg methods[] = {{"uniform", rng_uniform},
                                     {"normal", rng_normal},
                                     {"below", rng_below},
                                     {"permutation", rng_permutation},
                                     {"state", rng_state},
                                     {"clone", rng_clone},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", rng_tostring}, {NULL, NULL}};
  lipL_newtype(L, LIP_RNG_T, methods, meta);
  lua_pushcfunction(L, make_rng);
  lua_setfield(L, -2, "rng");
}
