/* Certificate files against the net and the rows of certified_net.lua: as they are, and, since a hash over all claims
 * refuses every change, once more under a hash that fits, so that the mathematics has to refuse. Never an error of
 * Lua's, and what is accepted claims no constant below a slope that the net has, and no radius within which its answer
 * changes. */
#include <math.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "bindings/bind.h"
#include "bindings/bind_certificate.h"
#include "core/base/rng.h"
#include "fuzz.h"

static const char setup[] = "local core = require 'lip.core'\n"
                            "local net, x = dofile(...)(core)\n"
                            "return function(path) return core.check_certificate(path, net, x) end, net, x\n";

enum { CHECK = 1, NET = 2, ROWS = 3 }; /* places on the stack, for ever */
enum { IN = 3, OUT = 3, TRIES = 64 };

static lua_State *state(void) {
  static lua_State *L;
  if (L) return L;
  lip_err err;
  setenv("LIPWB_THREADS", "1", 1);
  __lsan_disable(); /* it lives to the end, and empty blocks (base/mem.h) are known by the address behind them */
  L = luaL_newstate();
  FUZZ_MUST(L);
  luaL_openlibs(L);
  luaL_requiref(L, "lip.core", luaopen_lip_core, 0);
  lua_settop(L, 0);
  bool ok = luaL_loadstring(L, setup) == LUA_OK;
  lua_pushliteral(L, LIP_SOURCE_DIR "/tests/fuzz/certified_net.lua");
  if (!ok || lua_pcall(L, 1, 3, 0) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
  }
  /* what the net keeps for itself is not an input's */
  lip_net *net = lipL_checknet(L, NET);
  FUZZ_MUST(net->root->n_in == IN && net->root->n_out == OUT && !lip_net_reserve(net, 1, &err));
  lip_net_forward(net, lipL_checktensor(L, ROWS)->data, 1, false);
  lua_gc(L, LUA_GCCOLLECT);
  __lsan_enable();
  return L;
}

/* True = accepted. */
static bool check(lua_State *L, const char *path) {
  int top = lua_gettop(L);
  lua_pushvalue(L, CHECK);
  lua_pushstring(L, path);
  if (lua_pcall(L, 1, 3, 0) != LUA_OK) {
    fprintf(stderr, "raised: %s\n", lua_tostring(L, -1));
    abort();
  }
  bool accepted = false;
  if (lua_istable(L, -3)) {
    lua_getfield(L, -3, "accepted");
    accepted = lua_toboolean(L, -1);
    lua_getfield(L, -4, "reason");
    FUZZ_MUST(accepted || (lua_isstring(L, -1) && lua_rawlen(L, -1) > 0));
  } else {
    FUZZ_MUST(lua_isnil(L, -3) && lua_isstring(L, -2) && lua_isstring(L, -1));
  }
  lua_settop(L, top);
  return accepted;
}

/* ---- what the net does, found without any of the engine's bounds ---- */

static void outputs(lip_net *net, const float *x, double *z) {
  lip_net_forward(net, x, 1, false);
  for (size_t i = 0; i < net->root->n_out; i++) z[i] = (double)net->logits[i];
}

static double step_of(lip_rng *rng, double size, float *to, const float *from) {
  double norm = 0;
  for (int k = 0; k < IN; k++) to[k] = (float)lip_rng_normal(rng);
  for (int k = 0; k < IN; k++) norm += (double)to[k] * (double)to[k];
  for (int k = 0; k < IN; k++) to[k] = (float)((double)from[k] + size * (double)to[k] / sqrt(norm));
  norm = 0; /* the distance of the float32 points */
  for (int k = 0; k < IN; k++) norm += pow((double)to[k] - (double)from[k], 2);
  return sqrt(norm);
}

/* The path is "2" in the seeds; with another one the distances are those of other norms, and nothing is compared. */
static void compare(const lipL_certificate *c, lip_net *net, const float *x) {
  lip_rng rng = lip_rng_new(1, LIP_RNG_USER, 0);
  if (c->path[0] != 2) return;
  for (size_t r = 0; r < c->rows; r++)
    for (int t = 0; t < TRIES; t++) {
      double radius = c->radius[r], a[OUT], b[OUT];
      float y[IN];
      double far = step_of(&rng, t % 2 || !isfinite(radius) ? 0.5 : 0.999 * radius, y, x + r * IN);
      outputs(net, x + r * IN, a);
      outputs(net, y, b);
      int label = (int)c->label[r];
      FUZZ_MUST(label >= 0 && label < OUT);
      bool inside = far < radius;
      for (int k = 0; k < IN; k++) /* what lies outside of the box does not count */
        inside = inside && (double)y[k] >= c->claims.from && (double)y[k] <= c->claims.to;
      for (int i = 0; c->pair && i < OUT; i++)
        for (int j = 0; j < OUT; j++) /* 1e-5: what float32 rounds in these few sums */
          FUZZ_MUST(fabs((a[i] - a[j]) - (b[i] - b[j])) <= c->pair[i * OUT + j] * far + 1e-5);
      for (int i = 0; inside && i < OUT; i++) FUZZ_MUST(i == label || b[label] > b[i] - 1e-5);
    }
}

/* Under lua_pcall: the path, where to write it again, the net, the state above, the rows. */
static int under_its_hash(lua_State *L) {
  lipL_certificate *c = lipL_newcertificate(L);
  lip_err err;
  lip_status status = lipL_model_init(&c->model, lipL_checknet(L, 3), &err);
  FUZZ_MUST(!status);
  status = lipL_certificate_load(lua_tostring(L, 1), c, &err);
  if (status != LIP_OK && strncmp(err.msg, "claims_sha256", 13) != 0) return 0;
  if (lipL_certificate_save(lua_tostring(L, 2), c, &err))
    return 0; /* a text that is not UTF-8, and the like */
  bool accepted = check(lua_touserdata(L, 4), lua_tostring(L, 2));
  if (!accepted) return 0;
  status = lipL_certificate_claims(c, &err);
  FUZZ_MUST(!status);
  compare(c, lipL_checknet(L, 3), lua_touserdata(L, 5));
  return 0;
}

static const char *folder(void) {
  const char *base = getenv("TMPDIR");
  if (base && *base) return base;
  return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lua_State *L = state();
  char again[300];
  const char *path = fuzz_file(0, data, size);
  snprintf(again, sizeof again, "%.200s/lipwb-fuzz-%ld.cert", folder(), (long)getpid());
  fuzz_begin();
  check(L, path);
  lua_State *one = lua_newthread(L);
  lua_pushcfunction(one, under_its_hash);
  lua_pushstring(one, path);
  lua_pushstring(one, again);
  lua_pushvalue(L, NET);
  lua_xmove(L, one, 1);
  lua_pushlightuserdata(one, L);
  lua_pushlightuserdata(one, lipL_checktensor(L, ROWS)->data);
  int code = lua_pcall(one, 5, 0, 0);
  if (code) fprintf(stderr, "raised: %s\n", lua_tostring(one, -1));
  FUZZ_MUST(code == LUA_OK);
  unlink(again);
  lua_settop(L, ROWS);
  lua_gc(L, LUA_GCCOLLECT);
  fuzz_end(size, 0);
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
  return fuzz_mutate_safetensors(data, size, max, seed);
}
