/* What definitions of layers written in Lua share with specs and nets: who calls, who keeps whom alive, what may not be ended.
 *
 * Memory of the engine's side is counted by specs (lip_custom.specs) and outlives the userdata; the script's functions are
 * its user value, and every spec and net keeps the definitions that it uses as user values of its own. Should a finaliser
 * use a net whose definition has been finalised, its functions are gone, and the pass says so. */
#include <stdio.h>
#include <string.h>

#include "bindings/bind_layer.h"
#include "bindings/system/signal.h"

static const char host_key, kinds_key, nets_key; /* of the registry */

/* ---- the host ---- */

lipL_host *lipL_layerhost(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &host_key);
  lipL_host *host = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return host;
}

void lipL_calledfrom(lua_State *L) {
  lipL_host *host = lipL_layerhost(L);
  if (!host) return;
  host->thread = pthread_self();
  if (host->L == L) return;
  luaL_checkstack(L, 4, "layers");
  lua_pushthread(L); /* kept: a finaliser may leave a coroutine here that has ended since */
  lua_rawsetp(L, LUA_REGISTRYINDEX, host);
  host->L = L;
}

const lip_layer_kind *lipL_findlayer(void *arg, const char *name) {
  for (const lipL_kind *k = ((const lipL_host *)arg)->named; k; k = k->next)
    if (strcmp(k->custom.kind.desc.name, name) == 0) return &k->custom.kind;
  return NULL;
}

void lipL_unlist(lipL_kind *k) {
  for (lipL_kind **at = &k->host->named; k->listed && *at; at = &(*at)->next)
    if (*at == k) {
      *at = k->next;
      break;
    }
  k->listed = false;
}

/* ---- pins ---- */

/* Of the calls that this thread is in, the inner ones last. */
static _Thread_local struct pins {
  const void *at[1024];
  size_t n;
} pins;

size_t lipL_pin(const void *object) {
  const size_t before = pins.n;
  if (pins.n < sizeof pins.at / sizeof *pins.at) pins.at[pins.n++] = object;
  return before;
}

void lipL_unpin(size_t before) {
  pins.n = before;
}

bool lipL_pinned(const void *object) {
  for (size_t i = 0; i < pins.n; i++)
    if (object && pins.at[i] == object) return true;
  return false;
}

/* ---- who keeps whom ---- */

static void push_registered(lua_State *L, const void *table, const void *key) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, table);
  lua_rawgetp(L, -1, key);
  lua_remove(L, -2);
}

void lipL_pushfunctions(lua_State *L, const void *key) {
  push_registered(L, &kinds_key, key);
  if (lua_isuserdata(L, -1)) lua_getiuservalue(L, -1, 1);
}

void lipL_pushnetof(lua_State *L, const lip_plan *plan) {
  push_registered(L, &nets_key, plan);
}

void lipL_keepkind(lua_State *L, const void *key) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kinds_key);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, key);
  lua_pop(L, 1);
}

/* Adds what is registered for key to the table on top of the stack. */
static void keep_in(lua_State *L, const void *key) {
  push_registered(L, &kinds_key, key);
  lua_pushboolean(L, 1);
  if (lua_isnil(L, -2))
    lua_pop(L, 2);
  else
    lua_rawset(L, -3);
}

/* Adds the definitions that spec uses to the table on top of the stack. */
static void collect(lua_State *L, const lip_spec *spec) {
  if (lip_custom_of(spec->kind)) keep_in(L, spec->kind);
  if (spec->projection) keep_in(L, spec->projection);
  for (size_t i = 0; i < spec->n_child; i++) collect(L, spec->child[i]);
}

static bool uses_any(const lip_spec *spec) {
  bool found = lip_custom_of(spec->kind) || spec->projection;
  for (size_t i = 0; !found && i < spec->n_child; i++) found = uses_any(spec->child[i]);
  return found;
}

void lipL_keeplayers(lua_State *L, int idx, const lip_spec *spec) {
  if (!uses_any(spec)) return;
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, 8, "layers");
  lua_newtable(L);
  collect(L, spec);
  lua_setiuservalue(L, idx, 1);
}

void lipL_keepnet(lua_State *L, int idx, const lip_net *net) {
  if (!net->scripted) return;
  idx = lua_absindex(L, idx);
  lua_newtable(L);
  collect(L, net->spec);
  if (net->conf.projection) keep_in(L, net->conf.projection);
  lua_setiuservalue(L, idx, 1);
  lua_newtable(L); /* what passes leave for the way back, by layer */
  lua_setiuservalue(L, idx, 2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &nets_key);
  lua_pushvalue(L, idx);
  lua_rawsetp(L, -2, &net->plan);
  lua_pop(L, 1);
}

/* The last definition of a name is the one that files mean; the registry keeps it. */
void lipL_listlayer(lua_State *L, lipL_kind *k) {
  const char *name = k->custom.kind.desc.name;
  for (lipL_kind *old = k->host->named; old; old = old->next)
    if (strcmp(old->custom.kind.desc.name, name) == 0) {
      lipL_unlist(old);
      break;
    }
  k->next = k->host->named;
  k->host->named = k;
  k->listed = true;
  lipL_keepkind(L, k);
  lua_getfield(L, LUA_REGISTRYINDEX, LIP_LAYER_T "s");
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

static void new_weak(lua_State *L, const void *key) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void lipL_newlayerhost(lua_State *L) {
  if (lipL_layerhost(L)) return;
  lipL_host *host = lua_newuserdatauv(L, sizeof *host, 0);
  *host = (lipL_host){.L = NULL};
  lua_rawsetp(L, LUA_REGISTRYINDEX, &host_key);
  new_weak(L, &kinds_key);
  new_weak(L, &nets_key);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LIP_LAYER_T "s");
  lua_pop(L, 1);
}

lip_spec *lipL_testdefinition(lua_State *L, int idx) {
  lipL_definition *d = luaL_testudata(L, idx, LIP_LAYER_T);
  return d ? d->spec : NULL;
}

/* Of a net with layers written in Lua: no use of it from inside of one, and what went wrong before is over. */
void lipL_enternet(lua_State *L, int idx, lip_net *net) {
  const lip_layer *running = net->fault.running;
  if (running) {
    const char *name = running->kind->desc.name;
    lipL_argerror(L, idx, lua_pushfstring(L, "this net is in use: its layer '%s' is running", name));
  }
  lipL_calledfrom(L);
  lip_net_forgive(net);
}

int lipL_netfault(lua_State *L, const lip_net *net) {
  lip_err err;
  return lip_net_fault(net, &err) ? lipL_fault(L, &err) : 0;
}

/* Inputs and targets where no layer written in Lua can end or change them. What holds them is pushed. */
const float *lipL_keeprows(lua_State *L, lip_net *net, const float *x, size_t B, lip_targets *t) {
  const size_t C = net->root->n_out;
  if (t->kind == LIP_TARGET_VALUES) {
    float *values = lua_newuserdatauv(L, B * C * sizeof *values, 0);
    memcpy(values, t->values, B * C * sizeof *values);
    t->values = values;
  }
  memcpy(net->input, x, B * net->root->n_in * sizeof *x);
  return net->input;
}

/* ---- calling ---- */

/* One line: an error that says where it was raised, behind the function's own place. */
static lip_status say(lua_State *L, const char *what, const char *where, lip_err *err) {
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  char raised[60];
  if (text && lipL_sigint_seen() && strstr(text, "interrupted")) {
    lipL_interrupt(L);
    return lip_fail(err, LIP_CANCELLED, "cancelled by the user");
  }
  snprintf(raised, sizeof raised, "raised a %s", luaL_typename(L, -1));
  if (!what) return lip_fail(err, LIP_STATE, "%.350s", text ? text : raised);
  return lip_fail(err, LIP_STATE, "%s (%.100s): %.250s", what, where, text ? text : raised);
}

lip_status lipL_protect(lipL_host *host, lua_CFunction f, void *arg, const char *what, const char *where,
                        lip_err *err) {
  lua_State *L = host->L;
  if (!L || !pthread_equal(host->thread, pthread_self()))
    return lip_fail(err, LIP_STATE, "its functions run on the thread of the script only");
  if (!lua_checkstack(L, LUA_MINSTACK)) return lip_fail(err, LIP_MEMORY, "no room to call its functions");
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, arg);
  const int status = lua_pcall(L, 1, 0, 0);
  host->L = L; /* whatever ran meanwhile */
  if (status == LUA_OK) return LIP_OK;
  lip_status code =
      status == LUA_ERRMEM ? lip_fail(err, LIP_MEMORY, "out of memory") : say(L, what, where, err);
  lua_pop(L, 1);
  return code;
}

void lipL_taketensor(lua_State *L, int idx, const char *what, int ndim, const size_t *shape, float *to) {
  char want[100], got[100];
  lip_shape_text(ndim, shape, want, sizeof want);
  lip_tensor *t = luaL_testudata(L, idx, LIP_TENSOR_T);
  if (!t)
    luaL_error(L, "%s is to be a tensor of %s, got %s", what, want, lipL_typetext(L, idx, got, sizeof got));
  if (!lipL_tensor_alive(L, idx)) luaL_error(L, "%s is a tensor whose memory is gone", what);
  bool same = t->ndim == ndim;
  for (int i = 0; same && i < ndim; i++) same = t->shape[i] == shape[i];
  if (!same)
    luaL_error(L, "%s is to be a tensor of %s, got one of %s", what, want,
               lip_shape_text(t->ndim, t->shape, got, sizeof got));
  lip_tensor whole = lip_tensor_wrap(to, ndim, shape);
  lip_tensor_copy(&whole, t);
}
